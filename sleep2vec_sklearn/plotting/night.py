# SPDX-License-Identifier: BSD-3-Clause
"""Displays of one night: sensors, stages, hypnodensity, embedding and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..recordings.modality import EPOCH_SECONDS
from ..recordings.stages import SleepStage, as_stages
from ._display import COLORS, PREDICTED, SCORED, make_axes, style_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

    from ..finetuning.staged_night import StagedNight
    from ..recordings.recording import Recording

# from top to bottom; the lightness of these colours of Okabe and Ito falls with the depth of
# sleep, for print in grey
STAGE_COLORS = {
    SleepStage.W: "#f0e442",
    SleepStage.R: "#e69f00",
    SleepStage.N1: "#56b4e9",
    SleepStage.N2: "#0072b2",
    SleepStage.N3: "#10253f",
}
_HEIGHTS = {stage: -index for index, stage in enumerate(STAGE_COLORS)}
_HOURS_PER_EPOCH = EPOCH_SECONDS / 3600
_TIME_LABEL = "Hours since start of recording"
_GAP, _THRESHOLD, _DIFFERENCE = "#e8e8e8", COLORS[1], COLORS[4]
# height and label of the row of differences, between the scored and the predicted hypnogram
_DIFFERENCE_ROW = (-5.0, "differs")


@dataclass(eq=False, repr=False)
class NightOverviewDisplay:
    """Coverage of each sensor, stages, hypnodensity and embedding, one above the other.

    Parameters
    ----------
    staged : StagedNight
        As :func:`stage_night` returns it.
    y_true : array-like of shape (n_epochs,), optional
        Scored stages, drawn above the predicted ones.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : dict of str to Axes
        "coverage", "stages", "probabilities", "embedding".

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
    >>> from sleep2vec_sklearn.plotting import NightOverviewDisplay
    >>> night = make_sleep_cohort(1, hours=1, modalities=["ibi"], random_state=0)[0]
    >>> display = NightOverviewDisplay.from_night(stage_night(night), y_true=night.stages)
    >>> list(display.axes_)
    ['coverage', 'stages', 'probabilities', 'embedding']
    """

    staged: StagedNight
    _: KW_ONLY
    y_true: Any = None

    @classmethod
    def from_night(
        cls, staged: StagedNight, *, y_true: Any = None, figure: Figure | None = None
    ) -> NightOverviewDisplay:
        """Make the display and draw it; see the class for the parameters."""
        return cls(staged, y_true=y_true).plot(figure)

    def plot(self, figure: Figure | None = None) -> NightOverviewDisplay:
        """Draw on an empty figure, by default a new one; there is no ``ax``, as there are four.

        Raises a ValueError if the scored stages differ in length.
        """
        staged, n_epochs = self.staged, len(self.staged.stages)
        if self.y_true is not None and len(as_stages(self.y_true)) != n_epochs:
            raise ValueError(f"y_true has {len(self.y_true)} epochs, the night has {n_epochs}.")
        n_sensors = len(staged.modalities)
        heights = [0.3 + 0.22 * n_sensors, 1.4 if self.y_true is None else 2.6, 1.5, 1.5]
        if figure is None:
            import matplotlib.pyplot as plt

            figure = plt.figure(figsize=(10, 1.2 + sum(heights)), layout="constrained")
        self.figure_: Figure = figure
        axes = figure.subplots(4, 1, sharex=True, height_ratios=heights)
        names = ("coverage", "stages", "probabilities", "embedding")
        self.axes_: dict[str, Axes] = dict(zip(names, axes, strict=True))
        self._draw_coverage()
        HypnogramDisplay(y_true=self.y_true, y_pred=staged.stages).plot(self.axes_["stages"])
        HypnodensityDisplay(staged.probabilities).plot(self.axes_["probabilities"])
        self._draw_embedding()
        for ax in axes[:-1]:
            ax.set_xlabel("")
        axes[-1].set_xlabel(_TIME_LABEL)
        if staged.id is not None:
            figure.suptitle(str(staged.id), x=0.01, ha="left", fontsize=10)
        return self

    def _draw_coverage(self) -> None:
        from matplotlib.colors import ListedColormap

        ax, measured = self.axes_["coverage"], self.staged.measured
        n_sensors = measured.shape[1]
        colors = ListedColormap([_GAP, COLORS[0]])
        _draw_rows(ax, measured.to_numpy().T, vmin=0, vmax=1, cmap=colors)
        for row in range(1, n_sensors):
            ax.axhline(row, color="white", linewidth=1.5)
        ax.set_yticks(np.arange(n_sensors) + 0.5, measured.columns, fontsize=8)
        for row, share in enumerate(measured.mean()):
            ax.text(1.005, row + 0.5, f"{100 * share:.0f} %", va="center", fontsize=8,
                    transform=ax.get_yaxis_transform())  # fmt: skip
        ax.tick_params(axis="y", length=0)

    def _draw_embedding(self) -> None:
        ax, rows = self.axes_["embedding"], np.asarray(self.staged.embedding, dtype=float)
        # epochs without a signal get their rows from those around them
        measured = self.staged.measured.to_numpy().any(axis=1)
        sd = rows[measured].std(axis=0)
        scores = (rows - rows[measured].mean(axis=0)) / np.where(sd > 0, sd, 1)
        order = _order_by_pattern(scores[measured])
        scores[~measured] = np.nan
        image = _draw_rows(ax, scores.T[order], vmin=-2.5, vmax=2.5, cmap="cividis")
        ax.set(ylabel=f"{rows.shape[1]} columns", yticks=[])
        bar = self.figure_.colorbar(image, ax=ax, pad=0.01, aspect=12)
        bar.set_label("SD of the night", fontsize=8)


def _draw_rows(ax: Axes, values: np.ndarray, **options: Any) -> AxesImage:
    """Draw an image of shape (n_rows, n_epochs) over the hours of a night."""
    n_rows, n_epochs = values.shape
    extent = (0, n_epochs * _HOURS_PER_EPOCH, n_rows, 0)
    return ax.imshow(values, aspect="auto", interpolation="nearest", extent=extent, **options)


def _order_by_pattern(scores: np.ndarray) -> np.ndarray:
    """Order of the columns by their part in the strongest pattern of the night."""
    if len(scores) < 2:
        return np.arange(scores.shape[1])
    _, _, patterns = np.linalg.svd(scores, full_matrices=False)
    first = patterns[0] * np.sign(patterns[0][np.abs(patterns[0]).argmax()])
    return np.argsort(first)


@dataclass(eq=False, repr=False, kw_only=True)
class HypnogramDisplay:
    """A night's stages, scored and predicted, one above the other.

    Parameters
    ----------
    y_true : array-like of shape (n_epochs,) or None
        Scored stages; unscored epochs are left blank.
    y_pred : array-like of shape (n_epochs,) or None
        Predicted stages. At least one of the two is needed.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    lines_ : dict of str to Line2D
        The steps drawn, "scored" and "predicted".

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import HypnogramDisplay
    >>> display = HypnogramDisplay.from_predictions([0, 1, 2, 2, 3], [0, 0, 2, 2, 3])
    >>> sorted(display.lines_)
    ['predicted', 'scored']
    """

    y_true: Any = None
    y_pred: Any = None

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any = None, *, ax: Axes | None = None
    ) -> HypnogramDisplay:
        """Make the display and draw it; see the class for the parameters."""
        return cls(y_true=y_true, y_pred=y_pred).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> HypnogramDisplay:
        """Draw on ``ax``, by default in a new figure.

        Raises a ValueError if there is nothing to draw, or the two differ in length.
        """
        inputs = {"scored": self.y_true, "predicted": self.y_pred}
        stages = {name: as_stages(y) for name, y in inputs.items() if y is not None}
        lengths = {name: len(y) for name, y in stages.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"y_true and y_pred need one common length, got {lengths}.")
        self.figure_, self.ax_ = make_axes(ax, 10, 1.2 + 1.6 * len(stages))
        self.lines_: dict[str, Line2D] = {}
        labels = []
        for row, (name, y) in enumerate(stages.items()):
            labels += self._draw_stages(name, y, offset=-6.0 * row)
        if len(stages) == 2:
            scored, predicted = stages.values()
            differs = np.flatnonzero((scored != predicted) & (scored >= 0))
            height, _ = _DIFFERENCE_ROW
            hours, heights = (differs + 0.5) * _HOURS_PER_EPOCH, np.full(len(differs), height)
            self.ax_.plot(hours, heights, "|", color=_DIFFERENCE, markersize=6)
            labels.append(_DIFFERENCE_ROW)
        self.ax_.set_yticks(*zip(*labels, strict=True))
        self.ax_.set(xlabel=_TIME_LABEL, xlim=(0, len(y) * _HOURS_PER_EPOCH))
        style_axes(self.ax_, "y")
        return self

    def _draw_stages(self, name: str, y: np.ndarray, offset: float) -> list[tuple[float, str]]:
        """Draw one hypnogram, REM sleep as thick lines; returns heights and names of its stages."""
        edges = np.arange(len(y) + 1) * _HOURS_PER_EPOCH
        heights = np.array([_HEIGHTS.get(SleepStage(s), np.nan) for s in y]) + offset
        color = SCORED if name == "scored" else PREDICTED
        (self.lines_[name],) = self.ax_.step(
            edges, np.append(heights, heights[-1]), where="post", color=color, linewidth=0.9
        )
        rem = np.where(y == SleepStage.R, heights, np.nan)
        self.ax_.step(edges, np.append(rem, np.nan), where="post", color=color, linewidth=3)
        self.ax_.text(1.005, offset - 2, name, rotation=270, va="center", ha="left",
                      transform=self.ax_.get_yaxis_transform())  # fmt: skip
        return [(height + offset, stage.name) for stage, height in _HEIGHTS.items()]


@dataclass(eq=False, repr=False)
class HypnodensityDisplay:
    """Probabilities of the stages, stacked: deep sleep at the bottom, wake on top.

    Parameters
    ----------
    probabilities : array-like of shape (n_epochs, 5)
        Columns W, N1, N2, N3, R, as ``predict_proba`` and :func:`stage_night` return them. Epochs
        of NaN are left blank.
    y_true : array-like of shape (n_epochs,), optional
        Scored stages, drawn as a strip above.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    areas_ : dict of str to PolyCollection
        By stage.

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import HypnodensityDisplay
    >>> display = HypnodensityDisplay([[0.7, 0.2, 0.1, 0, 0], [0.1, 0.2, 0.6, 0.1, 0]]).plot()
    >>> list(display.areas_)
    ['N3', 'N2', 'N1', 'R', 'W']
    """

    probabilities: Any
    _: KW_ONLY
    y_true: Any = None

    @classmethod
    def from_night(
        cls, staged: StagedNight, *, y_true: Any = None, ax: Axes | None = None
    ) -> HypnodensityDisplay:
        """Draw a :class:`StagedNight`."""
        return cls(staged.probabilities, y_true=y_true).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> HypnodensityDisplay:
        """Draw on ``ax``, by default in a new figure.

        Raises a ValueError if there is not one column per stage, or the stages differ in length.
        """
        probabilities = np.asarray(self.probabilities, dtype=float)
        if probabilities.ndim != 2 or probabilities.shape[1] != 5:
            raise ValueError(
                f"probabilities have shape {probabilities.shape}; accepted is (n_epochs, 5), with "
                "the columns W, N1, N2, N3, R."
            )
        n_epochs = len(probabilities)
        self.figure_, self.ax_ = make_axes(ax, 10, 2.8)
        self.areas_: dict[str, PolyCollection] = {}
        edges = np.arange(n_epochs + 1) * _HOURS_PER_EPOCH
        # each epoch has both of its ends, so that the last one before a gap is visible
        hours = np.repeat(edges, 2)[1:-1]
        bottom = np.zeros(len(hours))
        for stage in reversed(STAGE_COLORS):
            top = bottom + np.repeat(probabilities[:, stage], 2)
            self.areas_[stage.name] = self.ax_.fill_between(
                hours, bottom, top, color=STAGE_COLORS[stage], linewidth=0, label=stage.name
            )
            bottom = top
        height = 1.0 if self.y_true is None else self._draw_strip(n_epochs)
        self.ax_.set(xlim=(0, edges[-1]), ylim=(0, height), ylabel="probability")
        self.ax_.set(xlabel=_TIME_LABEL, yticks=[0, 0.5, 1])
        # from the top, as the areas lie
        handles = list(reversed(self.areas_.values()))
        self.ax_.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        style_axes(self.ax_)
        return self

    def _draw_strip(self, n_epochs: int, bottom: float = 1.06, top: float = 1.16) -> float:
        """Draw the scored stages above the probabilities; returns the height of the axes."""
        stages = as_stages(self.y_true)
        if len(stages) != n_epochs:
            raise ValueError(f"y_true has {len(stages)} epochs, the probabilities have {n_epochs}.")
        starts = np.flatnonzero(np.diff(stages, prepend=-2))
        hours = np.append(starts, n_epochs) * _HOURS_PER_EPOCH
        for start, end, stage in zip(hours[:-1], hours[1:], stages[starts], strict=True):
            if stage >= 0:
                color = STAGE_COLORS[SleepStage(int(stage))]
                self.ax_.axvspan(start, end, bottom / top, 1.0, color=color, linewidth=0)
        self.ax_.text(0, (1 + bottom) / 2, " scored", va="center", ha="left", fontsize=7)
        return top


@dataclass(eq=False, repr=False, kw_only=True)
class EventsDisplay:
    """Probability of events through a night, above bars of scored and detected ones.

    Parameters
    ----------
    probabilities : mapping of str to array-like of shape (n_seconds,)
        By type of event.
    detected, scored : DataFrame, optional
        Columns onset, duration and type, as :meth:`Sleep2VecEventDetector.predict_events` returns
        them; types that have no probability are left out.
    thresholds : mapping of str to float, optional
        Drawn as lines.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes
        One for each type.
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
        The probability of each type.
    bars_ : dict of (str, str) to PolyCollection
        By type, and "scored" or "detected".

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.plotting import EventsDisplay
    >>> scored = pd.DataFrame({"onset": [105.0], "duration": [20.0], "type": ["apnea"]})
    >>> display = EventsDisplay.from_predictions({"apnea": [0.1] * 600}, scored=scored)
    >>> list(display.bars_)
    [('apnea', 'scored')]
    """

    probabilities: Mapping[str, Any]
    detected: pd.DataFrame | None = None
    scored: pd.DataFrame | None = None
    thresholds: Mapping[str, float] | None = None

    @classmethod
    def from_predictions(
        cls, probabilities: Mapping[str, Any], detected: pd.DataFrame | None = None, *,
        ax: Any = None, **options: Any,
    ) -> EventsDisplay:  # fmt: skip
        """Make the display and draw it; see the class for the parameters."""
        return cls(probabilities=probabilities, detected=detected, **options).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls, detector: Any, recording: Recording, *, scored: pd.DataFrame | None = None,
        ax: Any = None,
    ) -> EventsDisplay:  # fmt: skip
        """Detect the events of a night, and draw them with the scored ones, by default its own."""
        import pandas as pd

        from ..recordings._event_names import EventNames

        (seconds,) = detector.predict_proba([recording])
        scored = getattr(recording, "events", None) if scored is None else scored
        if scored is not None:
            groups = detector.event_types_
            every = [name for group in groups.values() for name in group]
            rules = getattr(detector, "rules", None)
            names = EventNames(getattr(rules, "event_names", None), also=every)
            parts = [
                scored[names.are(scored["type"], *group)].assign(type=name)
                for name, group in groups.items()
            ]
            scored = pd.concat(parts, ignore_index=True)
        probabilities = dict(zip(detector.event_types_, seconds.T, strict=True))
        detected = detector.predict_events([recording])
        options = {"scored": scored, "thresholds": detector.thresholds_}
        return cls.from_predictions(probabilities, detected, ax=ax, **options)

    def plot(self, ax: Any = None) -> EventsDisplay:
        """Draw on one axes for each type, by default in a new figure.

        Raises a ValueError if there is no type, or not one axes for each.
        """
        names = list(self.probabilities) if isinstance(self.probabilities, Mapping) else []
        if not names:
            raise ValueError("probabilities must be a mapping of type to one number per second.")
        if ax is None:
            import matplotlib.pyplot as plt

            size = (10, 0.6 + 1.7 * len(names))
            _, ax = plt.subplots(len(names), figsize=size, sharex=True, layout="constrained")
        self.ax_ = np.atleast_1d(np.asarray(ax, dtype=object))
        if len(self.ax_) != len(names):
            raise ValueError(f"{len(names)} types need as many axes, got {len(self.ax_)}.")
        self.figure_ = self.ax_[0].figure
        self.lines_: dict[str, Line2D] = {}
        self.bars_: dict[tuple[str, str], PolyCollection] = {}
        for axes, name in zip(self.ax_, names, strict=True):
            self._draw_type(axes, name)
        self.ax_[-1].set_xlabel(_TIME_LABEL)
        return self

    def _draw_type(self, axes: Axes, name: str) -> None:
        probability = np.asarray(self.probabilities[name], dtype=float)
        hours = (np.arange(len(probability)) + 0.5) / 3600
        (self.lines_[name],) = axes.plot(hours, probability, color=PREDICTED, linewidth=0.8)
        level = (self.thresholds or {}).get(name)
        if level is not None:
            axes.axhline(level, color=_THRESHOLD, linewidth=0.8, linestyle="--")
            axes.annotate(f"threshold\n{level:.2f}", (1.005, level), color=_THRESHOLD, va="center",
                          fontsize="small", xycoords=axes.get_yaxis_transform())  # fmt: skip
        # rare events have low probabilities, and so low thresholds
        peak = max(np.nanmax(probability, initial=0), level or 0)
        top = next(top for top in (0.1, 0.2, 0.5, 1) if peak <= top)
        labels = [(tick, f"{tick:g}") for tick in (0, top / 2, top)]
        labels += self._draw_bars(axes, name, top)
        axes.set_yticks(*zip(*labels, strict=True))
        n_rows = len(labels) - 3
        axes.set(ylabel=name.replace("_", " "), xlim=(0, len(probability) / 3600))
        axes.set_ylim(-top * (0.1 + 0.3 * n_rows), 1.03 * top)
        style_axes(axes, "x")

    def _draw_bars(self, axes: Axes, name: str, top: float) -> list[tuple[float, str]]:
        """Draw detected and scored events below zero; returns heights and labels of the rows."""
        labels: list[tuple[float, str]] = []
        kinds = {"detected": (self.detected, PREDICTED), "scored": (self.scored, SCORED)}
        for kind, (table, color) in kinds.items():
            if table is None:
                continue
            middle = -top * (0.25 + 0.3 * len(labels))
            events = table[table["type"] == name]
            spans = (events[["onset", "duration"]].to_numpy(dtype=float) / 3600).tolist()
            self.bars_[name, kind] = axes.broken_barh(
                spans, (middle - 0.1 * top, 0.2 * top), color=color, linewidth=0.4
            )
            labels.append((middle, f"{kind} ({len(events)})"))
        return labels
