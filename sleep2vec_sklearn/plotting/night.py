# SPDX-License-Identifier: BSD-3-Clause
"""One colour per stage, in all pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..recordings import EPOCH_SECONDS, SleepStage, as_stages

__all__ = [
    "STAGE_COLORS",
    "TOP_TO_BOTTOM",
    "EventsDisplay",
    "HypnodensityDisplay",
    "HypnogramDisplay",
    "NightOverviewDisplay",
]

TOP_TO_BOTTOM = (SleepStage.W, SleepStage.R, SleepStage.N1, SleepStage.N2, SleepStage.N3)
# Okabe and Ito's colours; their lightness falls with the depth of sleep, for print in grey
STAGE_COLORS: dict[SleepStage, str] = {
    SleepStage.W: "#f0e442",
    SleepStage.R: "#e69f00",
    SleepStage.N1: "#56b4e9",
    SleepStage.N2: "#0072b2",
    SleepStage.N3: "#10253f",
}


_THERE, _GAP = "#0072b2", "#e8e8e8"


class NightOverviewDisplay:
    """Coverage of each sensor, stages, hypnodensity and embedding, one above the other.

    Parameters
    ----------
    staged : StagedNight
        What :func:`stage_night` gives.
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

    def __init__(self, staged, *, y_true=None):
        self.staged = staged
        self.y_true = y_true

    @classmethod
    def from_night(cls, staged, *, y_true=None, figure=None) -> NightOverviewDisplay:
        """Make the display and draw it; see the class for the parameters."""
        return cls(staged, y_true=y_true).plot(figure)

    def plot(self, figure=None) -> NightOverviewDisplay:
        """Draw.

        Parameters
        ----------
        figure : matplotlib Figure, optional
            An empty one; a new one by default. There is no ``ax``, as there are four of them.

        Raises
        ------
        ValueError
            If the scored stages differ in length.
        """
        staged = self.staged
        n_sensors = len(staged.modalities)
        if self.y_true is not None and len(as_stages(self.y_true)) != len(staged.stages):
            raise ValueError(
                f"y_true has {len(self.y_true)} epochs, the night has {len(staged.stages)}."
            )
        heights = [0.3 + 0.22 * n_sensors, 1.4 if self.y_true is None else 2.6, 1.5, 1.5]
        if figure is None:
            import matplotlib.pyplot as plt

            figure = plt.figure(figsize=(10, 1.2 + sum(heights)), layout="constrained")
        self.figure_ = figure
        axes = figure.subplots(4, 1, sharex=True, height_ratios=heights)
        names = ("coverage", "stages", "probabilities", "embedding")
        self.axes_ = dict(zip(names, axes, strict=True))
        self._draw_coverage()
        HypnogramDisplay(y_true=self.y_true, y_pred=staged.stages).plot(self.axes_["stages"])
        HypnodensityDisplay(staged.probabilities).plot(self.axes_["probabilities"])
        self._draw_embedding()
        for ax in axes[:-1]:
            ax.set_xlabel("")
        axes[-1].set_xlabel("Hours since start of recording")
        if staged.id is not None:
            figure.suptitle(str(staged.id), x=0.01, ha="left", fontsize=10)
        return self

    def _draw_coverage(self) -> None:
        from matplotlib.colors import ListedColormap

        ax, measured = self.axes_["coverage"], self.staged.measured
        hours = len(measured) * EPOCH_SECONDS / 3600
        ax.imshow(
            measured.to_numpy().T, aspect="auto", interpolation="nearest", vmin=0, vmax=1,
            cmap=ListedColormap([_GAP, _THERE]), extent=(0, hours, measured.shape[1], 0),
        )  # fmt: skip
        for row in range(1, measured.shape[1]):
            ax.axhline(row, color="white", linewidth=1.5)
        ax.set_yticks(np.arange(measured.shape[1]) + 0.5, measured.columns, fontsize=8)
        shares = [f"{100 * share:.0f} %" for share in measured.mean()]
        for row, share in enumerate(shares):
            ax.text(1.005, row + 0.5, share, transform=ax.get_yaxis_transform(), va="center",
                    fontsize=8)  # fmt: skip
        ax.tick_params(axis="y", length=0)

    def _draw_embedding(self) -> None:
        ax, rows = self.axes_["embedding"], np.asarray(self.staged.embedding, dtype=float)
        # what the encoder makes of epochs without a signal is of those around them
        seen = self.staged.measured.to_numpy().any(axis=1)
        spread = rows[seen].std(axis=0)
        scores = (rows - rows[seen].mean(axis=0)) / np.where(spread > 0, spread, 1)
        order = _by_likeness(scores[seen])
        scores[~seen] = np.nan
        hours = len(rows) * EPOCH_SECONDS / 3600
        image = ax.imshow(
            scores.T[order], aspect="auto", interpolation="nearest", vmin=-2.5,
            vmax=2.5, cmap="cividis", extent=(0, hours, rows.shape[1], 0),
        )  # fmt: skip
        ax.set(ylabel=f"{rows.shape[1]} columns", yticks=[])
        bar = self.figure_.colorbar(image, ax=ax, pad=0.01, aspect=12)
        bar.set_label("SD of the night", fontsize=8)


def _by_likeness(scores: np.ndarray) -> np.ndarray:
    """Order of the columns by their part in the strongest pattern of the night."""
    if len(scores) < 2:
        return np.arange(scores.shape[1])
    _, _, patterns = np.linalg.svd(scores, full_matrices=False)
    first = patterns[0] * np.sign(patterns[0][np.abs(patterns[0]).argmax()])
    return np.argsort(first)


_HEIGHT = {stage: -place for place, stage in enumerate(TOP_TO_BOTTOM)}
_PREDICTED = "#0072b2"
_SCORED = "#333333"
_DIFFERS = "#e69f00"


class HypnogramDisplay:
    """A night's stages, scored and predicted, one above the other.

    Parameters
    ----------
    y_true : array-like of shape (n_epochs,) or None
        Scored stages; unscored epochs are left blank.
    y_pred : array-like of shape (n_epochs,) or None
        Predicted stages. At least one of the two is given.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
        The steps drawn, "scored" and "predicted".

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import HypnogramDisplay
    >>> display = HypnogramDisplay.from_predictions([0, 1, 2, 2, 3], [0, 0, 2, 2, 3])
    >>> sorted(display.lines_)
    ['predicted', 'scored']
    """

    def __init__(self, *, y_true=None, y_pred=None):
        self.y_true = y_true
        self.y_pred = y_pred

    @classmethod
    def from_predictions(cls, y_true, y_pred=None, *, ax=None) -> HypnogramDisplay:
        """Make the display and draw it; see the class for the parameters."""
        return cls(y_true=y_true, y_pred=y_pred).plot(ax=ax)

    def plot(self, ax=None) -> HypnogramDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Raises
        ------
        ValueError
            If there is nothing to draw, or the two differ in length.
        """
        given = {"scored": self.y_true, "predicted": self.y_pred}
        stages = {name: as_stages(y) for name, y in given.items() if y is not None}
        lengths = {name: len(y) for name, y in stages.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"y_true and y_pred need one common length, got {lengths}.")
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(10, 1.2 + 1.6 * len(stages)), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_ = {}
        for row, (name, y) in enumerate(stages.items()):
            self._draw_steps(name, y, offset=-6 * row)
        if len(stages) == 2:
            self._mark_differences(stages["scored"], stages["predicted"])
        self._label_axes(list(stages), len(y))
        return self

    def _draw_steps(self, name: str, y: np.ndarray, offset: float) -> None:
        edges = np.arange(len(y) + 1) * (EPOCH_SECONDS / 3600)
        heights = np.array([_HEIGHT.get(SleepStage(s), np.nan) for s in y]) + offset
        color = _SCORED if name == "scored" else _PREDICTED
        (self.lines_[name],) = self.ax_.step(
            edges, np.append(heights, heights[-1]), where="post", color=color, linewidth=0.9
        )
        rem = np.where(y == SleepStage.R, heights, np.nan)
        self.ax_.step(edges, np.append(rem, np.nan), where="post", color=color, linewidth=3)

    def _mark_differences(self, scored: np.ndarray, predicted: np.ndarray) -> None:
        differs = np.flatnonzero((scored != predicted) & (scored >= 0))
        hours = (differs + 0.5) * (EPOCH_SECONDS / 3600)
        self.ax_.plot(hours, np.full(len(hours), -5.0), "|", color=_DIFFERS, markersize=6)

    def _label_axes(self, names: list[str], n_epochs: int) -> None:
        rows = range(len(names))
        ticks = [height - 6 * row for row in rows for height in _HEIGHT.values()]
        labels = [stage.name for _ in rows for stage in TOP_TO_BOTTOM]
        if len(names) == 2:
            ticks.append(-5.0)
            labels.append("differs")
        self.ax_.set(yticks=ticks, yticklabels=labels, xlabel="Hours since start of recording")
        self.ax_.set_xlim(0, n_epochs * EPOCH_SECONDS / 3600)
        for row, name in enumerate(names):
            self.ax_.text(1.005, -6 * row - 2, name, rotation=270, va="center", ha="left",
                          transform=self.ax_.get_yaxis_transform())  # fmt: skip
        self.ax_.spines[["top", "right"]].set_visible(False)
        self.ax_.grid(axis="y", linewidth=0.3)


class HypnodensityDisplay:
    """Probabilities of the stages, stacked: deep sleep at the bottom, wake on top.

    Parameters
    ----------
    probabilities : array-like of shape (n_epochs, 5)
        Columns W, N1, N2, N3, R, as ``predict_proba`` and :func:`stage_night` give them. Epochs
        of NaN are left blank.
    y_true : array-like of shape (n_epochs,), optional
        Scored stages, drawn as a strip above.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    areas_ : dict of str to PolyCollection
        By stage.

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import HypnodensityDisplay
    >>> display = HypnodensityDisplay([[0.7, 0.2, 0.1, 0, 0], [0.1, 0.2, 0.6, 0.1, 0]]).plot()
    >>> list(display.areas_)
    ['N3', 'N2', 'N1', 'R', 'W']
    """

    def __init__(self, probabilities, *, y_true=None):
        self.probabilities = probabilities
        self.y_true = y_true

    @classmethod
    def from_night(cls, staged, *, y_true=None, ax=None) -> HypnodensityDisplay:
        """Draw a :class:`StagedNight`."""
        return cls(staged.probabilities, y_true=y_true).plot(ax=ax)

    def plot(self, ax=None) -> HypnodensityDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Raises
        ------
        ValueError
            If there is not one column per stage, or the scored stages differ in length.
        """
        found = np.asarray(self.probabilities, dtype=float)
        if found.ndim != 2 or found.shape[1] != 5:
            raise ValueError(
                f"probabilities have shape {found.shape}; accepted is (n_epochs, 5), with the "
                "columns W, N1, N2, N3, R."
            )
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(10, 2.8), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.areas_ = {}
        edges = np.arange(len(found) + 1) * (EPOCH_SECONDS / 3600)
        # each epoch from its begin to its end, or the last one before a gap would not be seen
        hours = np.repeat(edges, 2)[1:-1]
        below = np.zeros(len(hours))
        for stage in reversed(TOP_TO_BOTTOM):
            above = below + np.repeat(found[:, stage], 2)
            self.areas_[stage.name] = ax.fill_between(
                hours, below, above, color=STAGE_COLORS[stage], linewidth=0, label=stage.name
            )
            below = above
        top = 1.0 if self.y_true is None else draw_strip(ax, self.y_true, 1.06, 1.16, len(found))
        ax.set(xlim=(0, edges[-1]), ylim=(0, top), ylabel="probability")
        ax.set(xlabel="Hours since start of recording", yticks=[0, 0.5, 1])
        handles = [self.areas_[stage.name] for stage in TOP_TO_BOTTOM]
        names = [stage.name for stage in TOP_TO_BOTTOM]
        ax.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return self


def draw_strip(ax, stages, bottom: float, top: float, n_epochs: int) -> float:
    """Draw scored stages as a strip of colours; returns where it ends.

    Raises
    ------
    ValueError
        If there is not one stage per epoch.
    """
    from ..recordings import as_stages

    stages = as_stages(stages)
    if len(stages) != n_epochs:
        raise ValueError(f"y_true has {len(stages)} epochs, the probabilities have {n_epochs}.")
    starts = np.flatnonzero(np.diff(stages, prepend=-2))
    ends = np.append(starts[1:], n_epochs)
    hour = EPOCH_SECONDS / 3600
    for start, end in zip(starts, ends, strict=True):
        if stages[start] >= 0:
            color = STAGE_COLORS[SleepStage(int(stages[start]))]
            ax.axvspan(start * hour, end * hour, bottom / top, 1.0, color=color, linewidth=0)
    ax.text(0, (1 + bottom) / 2, " scored", va="center", ha="left", fontsize=7)
    return top


_DETECTED_EVENT = "#0072b2"
_SCORED_EVENT = "#333333"
_THRESHOLD = "#d55e00"
_COLOR_OF_BAR = {"scored": _SCORED_EVENT, "detected": _DETECTED_EVENT}


class EventsDisplay:
    """Probability of events through a night, above bars of scored and detected ones.

    Parameters
    ----------
    probabilities : mapping of str to array-like of shape (n_seconds,)
        By type of event.
    detected, scored : DataFrame, optional
        Columns onset, duration and type, as :meth:`Sleep2VecEventDetector.predict_events` gives
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
    bars_ : dict of (str, str) to BrokenBarHCollection
        By type, and "scored" or "detected".

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.plotting import EventsDisplay
    >>> probability = np.zeros(600)
    >>> probability[100:130] = 0.9
    >>> scored = pd.DataFrame({"onset": [105.0], "duration": [20.0], "type": ["apnea"]})
    >>> display = EventsDisplay.from_predictions({"apnea": probability}, scored=scored)
    >>> list(display.bars_)
    [('apnea', 'scored')]
    """

    def __init__(self, *, probabilities, detected=None, scored=None, thresholds=None):
        self.probabilities = probabilities
        self.detected = detected
        self.scored = scored
        self.thresholds = thresholds

    @classmethod
    def from_predictions(
        cls, probabilities, detected=None, *, scored=None, thresholds=None, ax=None
    ) -> EventsDisplay:
        """Make the display and draw it; see the class for the parameters."""
        display = cls(
            probabilities=probabilities, detected=detected, scored=scored, thresholds=thresholds
        )
        return display.plot(ax=ax)

    @classmethod
    def from_estimator(cls, detector, recording, *, scored=None, ax=None) -> EventsDisplay:
        """Detect the events of a night, and draw them.

        Parameters
        ----------
        detector : Sleep2VecEventDetector
            Fitted.
        recording : Recording
        scored : DataFrame, optional
            By default ``recording.events``.
        ax : matplotlib Axes or sequence of them, optional
        """
        from ..evaluation.events import is_type

        (seconds,) = detector.predict_proba([recording])
        scored = getattr(recording, "events", None) if scored is None else scored
        if scored is not None:
            kinds = detector.event_types_.items()
            parts = [scored[is_type(scored["type"], *t)].assign(type=name) for name, t in kinds]
            scored = _concatenated(parts)
        return cls.from_predictions(
            dict(zip(detector.event_types_, seconds.T, strict=True)),
            detector.predict_events([recording]),
            scored=scored,
            thresholds=detector.thresholds_,
            ax=ax,
        )

    def plot(self, ax=None) -> EventsDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, optional
            One for each type. A new figure by default.

        Raises
        ------
        ValueError
            If there is no type, or not one axes for each.
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
        self.lines_, self.bars_ = {}, {}
        for axes, name in zip(self.ax_, names, strict=True):
            self._draw(axes, name)
        self.ax_[-1].set_xlabel("Hours since start of recording")
        return self

    def _draw(self, axes, name: str) -> None:
        probability = np.asarray(self.probabilities[name], dtype=float)
        hours = (np.arange(len(probability)) + 0.5) / 3600
        (self.lines_[name],) = axes.plot(hours, probability, color=_DETECTED_EVENT, linewidth=0.8)
        if self.thresholds is not None and name in self.thresholds:
            level = self.thresholds[name]
            axes.axhline(level, color=_THRESHOLD, linewidth=0.8, linestyle="--")
            axes.annotate(f"threshold\n{level:.2f}", (1.005, level), color=_THRESHOLD, va="center",
                          fontsize="small", xycoords=axes.get_yaxis_transform())  # fmt: skip
        rows = {"detected": self.detected, "scored": self.scored}
        rows = {kind: table for kind, table in rows.items() if table is not None}
        level = 0 if self.thresholds is None else self.thresholds.get(name, 0)
        # rare events have low probabilities, and so low thresholds
        peak = max(np.nanmax(probability, initial=0), level)
        top = next(top for top in (0.1, 0.2, 0.5, 1) if peak <= top)
        ticks = [0, top / 2, top]
        labels = [f"{tick:g}" for tick in ticks]
        for row, (kind, table) in enumerate(rows.items()):
            middle = -top * (0.25 + 0.3 * row)
            mine = table[table["type"] == name]
            spans = (mine[["onset", "duration"]].to_numpy(dtype=float) / 3600).tolist()
            self.bars_[name, kind] = axes.broken_barh(
                spans, (middle - 0.1 * top, 0.2 * top), color=_COLOR_OF_BAR[kind], linewidth=0.4
            )
            ticks.append(middle)
            labels.append(f"{kind} ({len(mine)})")
        axes.set(yticks=ticks, yticklabels=labels, ylabel=name.replace("_", " "))
        axes.set_ylim(-top * (0.1 + 0.3 * len(rows)), 1.03 * top)
        axes.set_xlim(0, len(probability) / 3600)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", linewidth=0.3)


def _concatenated(tables):
    import pandas as pd

    return pd.concat(tables, ignore_index=True)
