# SPDX-License-Identifier: BSD-3-Clause
"""Events of a night over time: how probable, which were scored, which were detected."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["EventsDisplay"]

_DETECTED = "#0072b2"
_SCORED = "#333333"
_THRESHOLD = "#d55e00"
_COLOR_OF_BAR = {"scored": _SCORED, "detected": _DETECTED}


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
        from ..evaluation.event_types import is_type

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
        (self.lines_[name],) = axes.plot(hours, probability, color=_DETECTED, linewidth=0.8)
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
