# SPDX-License-Identifier: BSD-3-Clause
"""Survival curves of groups of people."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..evaluation.concordance import check_risks
from ..evaluation.kaplan_meier import kaplan_meier
from ..evaluation.survival_outcome import read_outcome
from .palette import COLORS

__all__ = ["KaplanMeierDisplay"]

# the colours are told apart by dashes in print
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
_NAMES = {
    2: ("low risk", "high risk"),
    3: ("low risk", "middle risk", "high risk"),
}


class KaplanMeierDisplay:
    """The share without the event over time in each of some groups.

    Parameters
    ----------
    groups : mapping of str to structured ndarray of shape (n,)
        Name and outcomes of each group, as :func:`survival_outcome` makes them; six at most.
    level : float or None, default=0.95
        Of the pointwise bands; None draws none.
    unit : str
        Of the times, for the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    curves_ : dict of str to KaplanMeier
    lines_ : dict of str to Line2D
    bands_ : dict of str to PolyCollection
        Empty without bands.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import survival_outcome
    >>> from sleep2vec_sklearn.plotting import KaplanMeierDisplay
    >>> table = make_sleep_cohort(100, hours=1, modalities=["ibi"], random_state=0).metadata
    >>> y = survival_outcome(table["event"], table["survival_time"])
    >>> display = KaplanMeierDisplay.from_predictions(y, table["age"])
    >>> list(display.curves_)
    ['low risk', 'high risk']
    """

    def __init__(self, groups: Mapping, *, level: float | None = 0.95, unit: str = "years"):
        self.groups = groups
        self.level = level
        self.unit = unit

    @classmethod
    def from_predictions(
        cls,
        y,
        risk,
        *,
        n_groups: int = 2,
        thresholds=None,
        outcome: int = 0,
        level: float | None = 0.95,
        unit: str = "years",
        ax=None,
    ) -> KaplanMeierDisplay:
        """Draw groups of equal size by risk.

        Parameters
        ----------
        y : structured array of shape (n,) or (n, k)
        risk : array-like of the same shape
        n_groups : int
            From two to six.
        thresholds : array-like of shape (n_groups - 1,), optional
            Ascending risks that begin the next group, such as quantiles in the training set. By
            default quantiles of ``risk``.
        outcome : int
            Which of several outcomes.
        level, unit
            See the class.
        ax : matplotlib Axes, optional

        Raises
        ------
        ValueError
            If a group has nobody, or arguments do not fit.
        """
        outcomes = read_outcome(y)
        if not 0 <= outcome < outcomes.n_outcomes:
            raise ValueError(f"outcome={outcome!r}: y holds {outcomes.n_outcomes}, from 0 on.")
        known = ~np.isnan(outcomes.time[:, outcome])
        risk = check_risks(risk, outcomes)[known, outcome]
        mine = np.asarray(y if y.ndim == 1 else y[:, outcome])[known]
        if thresholds is None:
            thresholds = np.quantile(risk, np.arange(1, n_groups) / n_groups)
        thresholds = np.asarray(thresholds, dtype=np.float64)
        if not 2 <= len(thresholds) + 1 <= len(COLORS):
            raise ValueError(
                f"n_groups must be from 2 to {len(COLORS)}, got {len(thresholds) + 1}."
            )
        group = np.searchsorted(thresholds, risk, side="right")
        names = _NAMES.get(len(thresholds) + 1)
        if names is None:
            names = [f"risk group {place + 1}" for place in range(len(thresholds) + 1)]
        groups = {name: mine[group == place] for place, name in enumerate(names)}
        empty = [name for name, members in groups.items() if not len(members)]
        if empty:
            raise ValueError(
                f"nobody is in the group {empty[0]!r}: risks are from {risk.min():g} to "
                f"{risk.max():g}, thresholds {thresholds}. Choose fewer groups or other "
                "thresholds."
            )
        return cls(groups, level=level, unit=unit).plot(ax=ax)

    @classmethod
    def from_estimator(cls, estimator, X, y, **options) -> KaplanMeierDisplay:
        """Draw groups by the risk that a fitted estimator predicts.

        Parameters
        ----------
        estimator : estimator
            Whose ``predict`` is a risk.
        X : list of recordings, or whatever it takes
        y : structured array of shape (n,) or (n, k)
        **options
            Of :meth:`from_predictions`.
        """
        return cls.from_predictions(y, estimator.predict(X), **options)

    def plot(self, ax=None) -> KaplanMeierDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Raises
        ------
        ValueError
            If there are no groups, or more than six.
        """
        if not 1 <= len(self.groups) <= len(COLORS):
            raise ValueError(
                f"groups must be from 1 to {len(COLORS)}, or nobody can tell them apart; got "
                f"{len(self.groups)}."
            )
        level = 0.95 if self.level is None else self.level
        self.curves_ = {name: kaplan_meier(y, level=level) for name, y in self.groups.items()}
        if ax is None:
            import matplotlib.pyplot as plt

            size = (6.4, 4.2 + 0.2 * len(self.groups))
            _, ax = plt.subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_, self.bands_ = {}, {}
        order = (0, 2, 1) if len(self.curves_) == 3 else range(len(self.curves_))
        colors = [COLORS[place] for place in order]
        for name, color, dashes in zip(self.curves_, colors, _DASHES, strict=False):
            self._draw_curve(name, color, dashes)
        self._label_axes()
        self._write_numbers_at_risk()
        return self

    def _draw_curve(self, name: str, color: str, dashes) -> None:
        curve = self.curves_[name]
        times = np.append(0.0, curve.times)
        (self.lines_[name],) = self.ax_.step(
            times, np.append(1.0, curve.survival), where="post", color=color, linestyle=dashes,
            linewidth=1.8, label=f"{name} ({curve.n_events.sum()} of {len(self.groups[name])})",
        )  # fmt: skip
        outcome = read_outcome(self.groups[name])
        _, event, time, _ = outcome.column(0)
        censored = np.unique(time[~event])
        self.ax_.plot(censored, curve.at(censored), "|", color=color, markersize=5, alpha=0.6)
        if self.level is not None:
            limits = (np.append(1.0, limit) for limit in (curve.lower, curve.upper))
            self.bands_[name] = self.ax_.fill_between(
                times, *limits, step="post", color=color, alpha=0.18, linewidth=0
            )

    def _label_axes(self) -> None:
        longest = max(curve.times[-1] for curve in self.curves_.values())
        self.ax_.set(xlim=(0, longest), ylim=(0, 1.02), ylabel="Share without the event")
        self.ax_.set_xlabel(f"Time ({self.unit})")
        many = len(self.groups) > 3
        beside = (
            {"loc": "upper left", "bbox_to_anchor": (1.01, 1)} if many else {"loc": "lower left"}
        )
        self.ax_.legend(frameon=False, title="Group (events of people)", alignment="left", **beside)
        self.ax_.spines[["top", "right"]].set_visible(False)

    def _write_numbers_at_risk(self) -> None:
        """A row per group below the axis, at its ticks."""
        low, high = self.ax_.get_xlim()
        ticks = [tick for tick in self.ax_.get_xticks() if low <= tick <= high]
        self._write("Number at risk", low, row=-1, ha="left")
        for row, (name, y) in enumerate(self.groups.items()):
            color = self.lines_[name].get_color()
            _, _, time, entry = read_outcome(y).column(0)
            for tick in ticks:
                there = (time >= tick) & ((entry < tick) | np.isinf(entry))
                self._write(str(there.sum()), tick, row, ha="center", color=color)
            self._write(f"  {name}", high, row, ha="left", color=color)

    def _write(self, text: str, x: float, row: int, **style) -> None:
        # points, as a share of the axes would move when a layout shrinks them
        self.ax_.annotate(
            text, (x, 0), (0, -57 - 13 * row), xycoords=self.ax_.get_xaxis_transform(),
            textcoords="offset points", va="center", fontsize=9, annotation_clip=False, **style,
        )  # fmt: skip
