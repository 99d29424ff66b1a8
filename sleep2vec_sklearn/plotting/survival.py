# SPDX-License-Identifier: BSD-3-Clause
"""Displays over follow-up: Kaplan-Meier curves and cumulative incidence, with numbers at risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arguments import check_row_order
from ..evaluation.competing_risks import (
    CumulativeIncidence,
    check_cause,
    cumulative_incidence,
    read_competing,
    start_at,
)
from ..evaluation.survival import SurvivalOutcome, kaplan_meier, read_outcome
from ..evaluation.survival_scores import check_risks, final_method
from ._display import COLORS, make_axes, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

# tell the curves apart in print
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
_RISK_GROUPS: dict[int, Sequence[str]] = {
    2: ("low risk", "high risk"),
    3: ("low risk", "middle risk", "high risk"),
}


@dataclass(eq=False, repr=False)
class KaplanMeierDisplay:
    """Event-free survival over time in each of some groups.

    Parameters
    ----------
    groups : mapping of str to structured ndarray of shape (n,)
        Name and outcomes of each group, as :func:`survival_outcome` makes them; six at most.
    level : float or None, default=0.95
        Of the pointwise confidence bands; None draws none.
    unit : str
        Of the times, for the axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    curves_ : dict of str to KaplanMeier
    lines_ : dict of str to Line2D
    bands_ : dict of str to PolyCollection
        Empty without bands.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import survival_outcome
    >>> from sleep2vec_sklearn.plotting import KaplanMeierDisplay
    >>> y = survival_outcome([True, False, True, False], [5.0, 8.0, 3.0, 9.0])
    >>> list(KaplanMeierDisplay.from_predictions(y, [0.4, 0.1, 0.9, 0.2]).curves_)
    ['low risk', 'high risk']
    """

    groups: Mapping[str, Any]
    _: KW_ONLY
    level: float | None = 0.95
    unit: str = "years"

    @classmethod
    def from_predictions(
        cls, y: Any, risk: Any, *, n_groups: int = 2, thresholds: Any = None, outcome: int = 0,
        level: float | None = 0.95, unit: str = "years", ax: Axes | None = None,
    ) -> KaplanMeierDisplay:  # fmt: skip
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
        level, unit, ax
            See the class and :meth:`plot`.

        Raises a ValueError if a group is empty, or arguments do not fit.
        """
        outcomes = read_outcome(y)
        if not 0 <= outcome < outcomes.n_outcomes:
            raise ValueError(f"outcome={outcome!r}: y holds {outcomes.n_outcomes}, from 0 on.")
        known = ~np.isnan(outcomes.time[:, outcome])
        risk = check_risks(risk, outcomes)[known, outcome]
        y = outcomes.to_array().reshape(len(outcomes), -1)[known, outcome]
        groups = {name: y[rows] for name, rows in _risk_groups(risk, n_groups, thresholds).items()}
        return cls(groups, level=level, unit=unit).plot(ax=ax)

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, **options: Any) -> KaplanMeierDisplay:
        """Draw groups by the risk that a fitted estimator predicts, as :meth:`from_predictions`."""
        return cls.from_predictions(y, estimator.predict(X), **options)

    def plot(self, ax: Axes | None = None) -> KaplanMeierDisplay:
        """Draw on ``ax``, by default in a new figure.

        Raises a ValueError if there are no groups, or more than six.
        """
        _check_number(self.groups)
        level = 0.95 if self.level is None else self.level
        self.curves_ = {name: kaplan_meier(y, level=level) for name, y in self.groups.items()}
        self.figure_, self.ax_ = make_axes(ax, 6.4, 4.2 + 0.2 * len(self.groups))
        self.lines_: dict[str, Line2D] = {}
        self.bands_: dict[str, PolyCollection] = {}
        for (name, curve), color, dashes in zip(
            self.curves_.items(), _colors(len(self.curves_)), _DASHES, strict=False
        ):
            label = f"{name} ({curve.n_events.sum()} of {len(self.groups[name])})"
            self.lines_[name] = _draw_steps(self.ax_, curve.times, curve.survival, 1.0,
                                            color=color, linestyle=dashes, label=label)  # fmt: skip
            _, event, time, _ = read_outcome(self.groups[name]).column(0)
            censored = np.unique(time[~event])
            self.ax_.plot(censored, curve.at(censored), "|", color=color, markersize=5, alpha=0.6)
            if self.level is not None:
                limits = curve.lower, curve.upper
                self.bands_[name] = _draw_band(self.ax_, curve.times, limits, 1.0, color)
        longest = max(curve.times[-1] for curve in self.curves_.values())
        _label_axes(self.ax_, longest, "Event-free survival", self.unit)
        self.ax_.set(ylim=(0, 1.02))
        _place_legend(self.ax_, "Group (events of subjects)", "lower left")
        outcomes = {name: read_outcome(y) for name, y in self.groups.items()}
        _write_numbers_at_risk(self.ax_, outcomes, _colors(len(outcomes)))
        return self


@dataclass(eq=False, repr=False)
class CumulativeIncidenceDisplay:
    """Cumulative incidence of competing causes over time, in one or several groups.

    Parameters
    ----------
    groups : mapping of str to structured ndarray of shape (n,), or to DataFrame
        Name and outcomes of each group, as :func:`competing_outcome` makes them; six at most.
    causes : mapping of int to str, or sequence of int, optional
        Which causes to draw, and their names; by default all with an event. Six at most in one
        group. In several groups a group is told by its colour, a cause by its dashes.
    level : float or None, default=0.95
        Of the pointwise confidence bands; None draws none.
    unit : str
        Of the times, for the axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    curves_ : dict of str to CumulativeIncidence
        Of each group.
    lines_ : dict of (str, int) to Line2D
        Of each group and cause.
    bands_ : dict of (str, int) to PolyCollection
        Empty without bands.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import competing_outcome
    >>> from sleep2vec_sklearn.plotting import CumulativeIncidenceDisplay
    >>> y = competing_outcome([1, 2, 0, 1], [5.0, 8.0, 3.0, 9.0])
    >>> display = CumulativeIncidenceDisplay.from_outcome(y, causes={1: "cardiac", 2: "other"})
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['cardiac (2 of 4)', 'other (1 of 4)']
    """

    groups: Mapping[str, Any]
    _: KW_ONLY
    causes: Mapping[int, str] | Sequence[int] | None = None
    level: float | None = 0.95
    unit: str = "years"

    @classmethod
    def from_outcome(
        cls, y: Any, *, by: Any = None, causes: Mapping[int, str] | Sequence[int] | None = None,
        level: float | None = 0.95, unit: str = "years", ax: Axes | None = None,
    ) -> CumulativeIncidenceDisplay:  # fmt: skip
        """Draw all subjects, or groups of them.

        Parameters
        ----------
        y : structured array of shape (n,), or DataFrame
        by : array-like of shape (n,), optional
            Group of each subject, such as a column of a table; those without one are left out.
        causes, level, unit, ax
            See the class and :meth:`plot`.

        Raises a ValueError if ``by`` does not fit y or has its index in another order, or as
        :meth:`plot`.
        """
        check_row_order(y=y, by=by)
        outcome = read_competing(y)
        known, y = ~np.isnan(outcome.time), outcome.to_array()
        if by is None:
            groups = {"all": y[known]}
        else:
            labels = pd.Series(np.asarray(by, dtype=object))
            if len(labels) != len(y):
                raise ValueError(f"by has {len(labels)} elements for {len(y)} outcomes in y.")
            names = sorted(labels[known].dropna().unique())
            # a gap makes floats of codes
            groups = {
                f"{name:g}" if isinstance(name, float) else str(name): y[
                    known & (labels == name).to_numpy()
                ]
                for name in names
            }
        return cls(groups, causes=causes, level=level, unit=unit).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, y: Any, risk: Any, *, cause: int = 1, n_groups: int = 2, thresholds: Any = None,
        level: float | None = 0.95, unit: str = "years", ax: Axes | None = None,
    ) -> CumulativeIncidenceDisplay:  # fmt: skip
        """Draw the incidence of one cause in groups of equal size by risk.

        Parameters
        ----------
        y : structured array of shape (n,), or DataFrame
        risk : array-like of shape (n,)
            Higher means more likely, such as predicted incidence.
        cause : int
        n_groups, thresholds
            As of :class:`KaplanMeierDisplay`.
        level, unit, ax
            See the class and :meth:`plot`.

        Raises a ValueError if a group is empty, or arguments do not fit.
        """
        outcome = read_competing(y)
        known = ~np.isnan(outcome.time)
        risk, y = check_risks(risk, outcome.survival())[known, 0], outcome.to_array()[known]
        groups = {name: y[rows] for name, rows in _risk_groups(risk, n_groups, thresholds).items()}
        return cls(groups, causes=[cause], level=level, unit=unit).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, cause: int = 1, time: float | None = None,
        **options: Any,
    ) -> CumulativeIncidenceDisplay:  # fmt: skip
        """Draw groups by the incidence that a fitted :class:`CauseSpecificCox` predicts.

        ``time`` is that of the predicted incidence, by default the last event of the training;
        other options are those of :meth:`from_predictions`. Plot subjects that the estimator was
        not fitted on.
        """
        predict, rows = final_method(estimator, "predict_cumulative_incidence", X)
        if predict is None:
            raise TypeError(
                f"{type(estimator).__name__} has no predict_cumulative_incidence; accepted is a "
                "CauseSpecificCox. Pass other risks to from_predictions."
            )
        times = None if time is None else [time]
        risk = predict(rows, times, cause=cause)[:, -1]
        return cls.from_predictions(y, risk, cause=cause, **options)

    def plot(self, ax: Axes | None = None) -> CumulativeIncidenceDisplay:
        """Draw on ``ax``, by default in a new figure.

        Raises a ValueError if there are no groups, more than six, or no event.
        """
        _check_number(self.groups)
        outcomes = {name: read_competing(y).known() for name, y in self.groups.items()}
        named = self._name_causes(np.concatenate([y.cause for y in outcomes.values()]))
        level = 0.95 if self.level is None else self.level
        self.curves_ = {
            name: cumulative_incidence(y, level=level, causes=list(named))
            for name, y in self.groups.items()
        }
        self.figure_, self.ax_ = make_axes(ax, 6.4, 4.2 + 0.2 * len(self.groups))
        self.lines_: dict[tuple[str, int], Line2D] = {}
        self.bands_: dict[tuple[str, int], PolyCollection] = {}
        alone = len(self.groups) == 1
        colors = _colors(len(named) if alone else len(self.groups))
        for index, name in enumerate(self.curves_):
            for row, cause in enumerate(named):
                dashes = index if len(named) == 1 else row
                style = {"color": colors[row if alone else index], "linestyle": _DASHES[dashes]}
                text = ", ".join([*([] if alone else [name]), *self._label(named, cause, alone)])
                self._draw_cause(name, cause, len(outcomes[name]), text, style)
        longest = max(curve.times[-1] for curve in self.curves_.values())
        _label_axes(self.ax_, longest, "Cumulative incidence", self.unit)
        self.ax_.set_ylim(bottom=0)
        kind = "Cause" if alone else "Group"
        _place_legend(self.ax_, f"{kind} (events of subjects)", "upper left")
        survivals = {name: outcome.survival() for name, outcome in outcomes.items()}
        _write_numbers_at_risk(self.ax_, survivals, ["0.2"] if alone else colors)
        return self

    def _name_causes(self, seen: np.ndarray) -> dict[int, str]:
        causes = self.causes
        if causes is None:
            causes = np.unique(seen[seen > 0]).tolist()
        if not 1 <= len(causes) <= len(_DASHES):
            raise ValueError(
                f"causes must be from 1 to {len(_DASHES)}, got {len(causes)}. Name those to draw: "
                "causes={1: 'cardiac', 2: 'other'}."
            )
        if isinstance(causes, Mapping):
            return {check_cause(cause): str(name) for cause, name in causes.items()}
        return {check_cause(cause): f"cause {cause}" for cause in causes}

    def _label(self, named: Mapping[int, str], cause: int, alone: bool) -> list[str]:
        """The name of a cause where there is more than one to tell apart."""
        return [named[cause]] if alone or len(named) > 1 else []

    def _draw_cause(self, name: str, cause: int, n: int, text: str, style: dict[str, Any]) -> None:
        curve: CumulativeIncidence = self.curves_[name]
        row = curve.row_of(cause)
        label = f"{text} ({curve.n_events[row].sum()} of {n})"
        key = name, cause
        self.lines_[key] = _draw_steps(
            self.ax_, curve.times, curve.incidence[row], 0.0, label=label, **style
        )
        if self.level is not None:
            limits = curve.lower[row], curve.upper[row]
            self.bands_[key] = _draw_band(self.ax_, curve.times, limits, 0.0, style["color"])


def _check_number(groups: Mapping[str, Any]) -> None:
    if not 1 <= len(groups) <= len(COLORS):
        raise ValueError(f"groups must be from 1 to {len(COLORS)}, got {len(groups)}.")


def _colors(number: int) -> list[str]:
    """Colours of some curves; of three, the last is in the colour that it has of two."""
    order = (0, 2, 1) if number == 3 else range(number)
    return [COLORS[index] for index in order]


def _risk_groups(risk: np.ndarray, n_groups: int, thresholds: Any) -> dict[str, np.ndarray]:
    """Rows of each group by risk, as masks."""
    if thresholds is None:
        thresholds = np.quantile(risk, np.arange(1, n_groups) / n_groups)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    n_groups = len(thresholds) + 1
    if not 2 <= n_groups <= len(COLORS):
        raise ValueError(f"n_groups must be from 2 to {len(COLORS)}, got {n_groups}.")
    group = np.searchsorted(thresholds, risk, side="right")
    numbered = [f"risk group {number + 1}" for number in range(n_groups)]
    names = _RISK_GROUPS.get(n_groups, numbered)
    groups = {name: group == index for index, name in enumerate(names)}
    empty = [name for name, members in groups.items() if not members.any()]
    if empty:
        raise ValueError(
            f"nobody is in the group {empty[0]!r}: risks are from {risk.min():g} to "
            f"{risk.max():g}, thresholds {thresholds}. Choose fewer groups or other thresholds."
        )
    return groups


def _draw_steps(
    ax: Axes, times: np.ndarray, values: np.ndarray, start: float, **style: Any
) -> Line2D:
    steps = np.append(0.0, times), start_at(start, values)
    (line,) = ax.step(*steps, where="post", linewidth=1.8, **style)
    return line


def _draw_band(
    ax: Axes, times: np.ndarray, limits: tuple[np.ndarray, np.ndarray], start: float, color: str
) -> PolyCollection:
    lower, upper = (start_at(start, limit) for limit in limits)
    times = np.append(0.0, times)
    return ax.fill_between(times, lower, upper, step="post", color=color, alpha=0.18, linewidth=0)


def _label_axes(ax: Axes, longest: float, ylabel: str, unit: str) -> None:
    ax.set(xlim=(0, longest), xlabel=f"Time ({unit})", ylabel=ylabel)
    style_axes(ax)


def _place_legend(ax: Axes, title: str, inside: str) -> None:
    # more than three would cover the curves
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    position = beside if len(ax.get_legend_handles_labels()[1]) > 3 else {"loc": inside}
    ax.legend(frameon=False, title=title, alignment="left", **position)


def _write_numbers_at_risk(
    ax: Axes, outcomes: Mapping[str, SurvivalOutcome], colors: Sequence[str]
) -> None:
    """A row per group below the axis, at its ticks."""
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    _write(ax, "Number at risk", low, row=-1, ha="left")
    for row, ((name, outcome), color) in enumerate(zip(outcomes.items(), colors, strict=True)):
        _, _, time, entry = outcome.column(0)
        for tick in ticks:
            at_risk = (time >= tick) & ((entry < tick) | np.isinf(entry))
            _write(ax, str(at_risk.sum()), tick, row, ha="center", color=color)
        _write(ax, f"  {name}", high, row, ha="left", color=color)


def _write(ax: Axes, text: str, x: float, row: int, **style: Any) -> None:
    # in points, as a share of the axes would move when a layout shrinks them
    ax.annotate(
        text, (x, 0), (0, -57 - 13 * row), xycoords=ax.get_xaxis_transform(),
        textcoords="offset points", va="center", fontsize=9, annotation_clip=False, **style,
    )  # fmt: skip
