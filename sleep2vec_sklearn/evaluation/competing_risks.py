# SPDX-License-Identifier: BSD-3-Clause
"""Outcomes with competing causes and the Aalen-Johansen estimator of cumulative incidence.

Weighed for the estimator: statsmodels' ``CumIncidenceRight`` takes no late entries and gives no
limits; lifelines moves tied times at random and needs pandas below 3; scikit-survival is GPL-3 and
gave the values frozen in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

from .._arguments import check_row_order
from .._html import ShownAsTable
from .._warnings import listed, warn
from ..errors import OutcomeWarning
from .survival import SurvivalOutcome, count_at_risk, read_outcome, rows_at, survival_outcome
from .tables import TableExportMixin

_HINT = "Make it with competing_outcome(cause, time)."


@dataclass(frozen=True)
class CompetingOutcome:
    """Cause, time and entry of n subjects, as arrays of shape (n,)."""

    cause: np.ndarray  # 0 where censored or missing
    time: np.ndarray  # NaN where it is missing
    entry: np.ndarray | None  # None without left truncation

    def __len__(self) -> int:
        return len(self.time)

    @property
    def causes(self) -> np.ndarray:
        """Causes with an event, ascending."""
        return np.unique(self.cause[self.cause > 0])

    def known(self) -> CompetingOutcome:
        """The same without the subjects whose outcome is missing."""
        known = ~np.isnan(self.time)
        entry = None if self.entry is None else self.entry[known]
        return CompetingOutcome(self.cause[known], self.time[known], entry)

    def survival(self, cause: int | None = None) -> SurvivalOutcome:
        """Time to one cause with the others censored, or to an event of any cause."""
        event = self.cause > 0 if cause is None else self.cause == cause
        entry = None if self.entry is None else self.entry[:, None]
        return SurvivalOutcome(event[:, None], self.time[:, None], entry, True)

    def to_array(self) -> np.ndarray:
        """The structured array that :func:`read_competing` takes."""
        return competing_outcome(
            np.where(np.isnan(self.time), np.nan, self.cause), self.time, self.entry
        )

    def count(self) -> str:
        """Events of each cause, for messages."""
        counts = [f"{(self.cause == cause).sum()} of cause {cause}" for cause in self.causes]
        return listed(counts) if counts else "none"


def competing_outcome(
    cause: ArrayLike, time: ArrayLike, entry: ArrayLike | None = None
) -> np.ndarray:
    """The y of analyses of competing risks, from causes and times.

    Parameters
    ----------
    cause : array-like of shape (n,)
        0 where follow-up ended without an event, else the number of the cause of the first event,
        from 1 on. NaN or None where it is unknown.
    time : array-like of shape (n,)
        Time of the first event or of the end of follow-up, in any one unit, above zero. NaN where
        unknown.
    entry : array-like of shape (n,), optional
        When observation began on the same time scale (left truncation), as in
        :func:`survival_outcome`.

    Returns
    -------
    structured ndarray of shape (n,)
        Fields "cause" (int), "time" (float) and, if given, "entry" (float). Functions that take it
        also take a DataFrame with these columns.

    Raises
    ------
    ValueError
        If a cause is text, negative or not whole, shapes differ, a time is not above zero, or an
        entry is not before its time.
    TypeError
        If times are dates or durations.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import competing_outcome
    >>> table = pd.DataFrame({"death": ["alive", "cardiac", "other"], "years": [8.0, 2.5, 4.0]})
    >>> cause = table["death"].map({"alive": 0, "cardiac": 1, "other": 2})
    >>> competing_outcome(cause, table["years"]).tolist()
    [(0, 8.0), (1, 2.5), (2, 4.0)]
    """
    check_row_order(cause=cause, time=time, entry=entry)
    causes = _as_causes(cause)
    if causes.ndim != 1 or np.shape(time) != causes.shape:
        raise ValueError(
            f"cause has the shape {causes.shape} and time {np.shape(time)}; accepted is "
            "(n_subjects,) of both. Causes are numbers in one column, not a column each."
        )
    # times and entries are checked as those of any survival outcome
    y = survival_outcome(np.where(np.isnan(causes), np.nan, causes > 0), time, entry)
    names = ("time",) if entry is None else ("time", "entry")
    fields = [("cause", np.int64), *[(name, np.float64) for name in names]]
    competing = np.empty(len(y), dtype=fields)
    competing["cause"] = np.where(y["event"], causes, 0)
    for name in names:
        competing[name] = y[name]
    return competing


def _as_causes(cause: ArrayLike) -> np.ndarray:
    """Float64, NaN where a table has no value."""
    if isinstance(cause, np.ndarray) and cause.dtype.kind in "iu" and (cause >= 0).all():
        return cause.astype(np.float64)
    column = pd.Series(np.ravel(np.asarray(cause, dtype=object)), dtype=object)
    known = column[column.notna()]
    numbers = pd.to_numeric(known, errors="coerce").astype(np.float64)
    whole = (numbers >= 0) & (numbers == np.floor(numbers)) & np.isfinite(numbers)
    if not whole.all():
        found = [repr(value) for value in known[~whole].unique()]
        raise ValueError(
            f"cause holds {listed(found, 3)}; accepted are 0 (censored), the numbers of causes "
            "from 1 on, and NaN. Number them: table['cause'].map({'alive': 0, 'cardiac': 1, "
            "'other': 2})."
        )
    causes = np.full(len(column), np.nan)
    causes[column.notna()] = numbers
    return causes.reshape(np.shape(cause))


def read_competing(y: Any, name: str = "y") -> CompetingOutcome:
    """Check a structured array or table and split it; ``name`` is used in errors."""
    is_table = isinstance(y, pd.DataFrame)
    fields = list(y.columns) if is_table else getattr(getattr(y, "dtype", None), "names", None)
    if fields is None:
        raise TypeError(
            f"{name} is {type(y).__name__}; accepted is a structured array or a DataFrame with the "
            f"fields 'cause' and 'time'. {_HINT}"
        )
    missing = [field for field in ("cause", "time") if field not in fields]
    if missing:
        raise ValueError(
            f"{name} has the fields {', '.join(map(str, fields))} and lacks {', '.join(missing)}; "
            f"accepted are 'cause', 'time' and optionally 'entry'. {_HINT}"
        )
    if is_table:
        y = competing_outcome(y["cause"], y["time"], y["entry"] if "entry" in fields else None)
    if y.ndim != 1:
        raise ValueError(
            f"{name} has the shape {y.shape}; accepted is (n_subjects,). Causes are numbers in one "
            "field, not a column each."
        )
    causes, names = _as_causes(y["cause"]), ["time", *(["entry"] if "entry" in fields else [])]
    checked = np.empty(len(y), [("event", np.bool_), *[(field, np.float64) for field in names]])
    checked["event"] = causes > 0
    for field in names:
        checked[field] = y[field]
    outcome = read_outcome(checked, name)
    entry = None if outcome.entry is None else outcome.entry[:, 0]
    cause = np.where(outcome.event[:, 0], causes, 0).astype(np.int64)
    return CompetingOutcome(cause, outcome.time[:, 0], entry)


def cause_specific_outcome(y: Any, cause: int) -> np.ndarray:
    """The survival outcome of one cause, with events of the others censored.

    Parameters
    ----------
    y : structured array of shape (n,), or DataFrame
        As :func:`competing_outcome` makes it.
    cause : int
        From 1 on. One without an event gives an outcome that is all censored.

    Returns
    -------
    structured ndarray of shape (n,)
        As :func:`survival_outcome` makes it, with the entries of y.

    Raises
    ------
    ValueError
        If ``cause`` is no number of a cause, or y is invalid.

    Notes
    -----
    It is the outcome of a cause-specific hazard, which a Cox model estimates without an assumption
    on how causes depend on each other (Prentice et al., Biometrics 34, 1978). One minus the
    Kaplan-Meier curve of it is *not* the probability of the event; that is
    :func:`cumulative_incidence`.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import cause_specific_outcome, competing_outcome
    >>> y = competing_outcome([1, 2, 0], [3.0, 4.0, 5.0])
    >>> cause_specific_outcome(y, 2)["event"].tolist()
    [False, True, False]
    """
    return read_competing(y).survival(check_cause(cause)).to_array()


def check_cause(cause: Any) -> int:
    """The number of a cause."""
    if isinstance(cause, bool | np.bool_) or not isinstance(cause, int | np.integer) or cause < 1:
        raise ValueError(f"cause={cause!r}; accepted is the number of a cause, from 1 on.")
    return int(cause)


@dataclass(frozen=True, repr=False)
class CumulativeIncidence(TableExportMixin, ShownAsTable):
    """Probability of an event of each cause over time: step functions that increase at events.

    Attributes
    ----------
    times : ndarray of shape (n_times,)
        Distinct times of events and of censoring, ascending.
    causes : int ndarray of shape (n_causes,)
    incidence, lower, upper : ndarray of shape (n_causes, n_times)
        From each time on; ``lower`` and ``upper`` are pointwise confidence limits.
    standard_error : ndarray of shape (n_causes, n_times)
    survival : ndarray of shape (n_times,)
        Probability to be without an event of any cause.
    n_events : int ndarray of shape (n_causes, n_times)
        Events of each cause at each time.
    n_at_risk : int ndarray of shape (n_times,)
        Subjects under observation and without an event just before each time.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import competing_outcome, cumulative_incidence
    >>> curves = cumulative_incidence(competing_outcome([1, 2, 0, 1], [1.0, 2.0, 3.0, 4.0]))
    >>> curves.to_frame().query("cause == 1")["value"].tolist()
    [0.25, 0.25, 0.25, 0.75]
    """

    times: np.ndarray
    causes: np.ndarray
    incidence: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    standard_error: np.ndarray
    survival: np.ndarray
    n_events: np.ndarray
    n_at_risk: np.ndarray

    def to_frame(self, times: ArrayLike | None = None) -> pd.DataFrame:
        """The curves, or the incidences of a table at some times of the follow-up.

        Columns are cause, time, value (of incidence), low, high, n_events and n_at_risk; at
        ``times`` the first five. Raises a ValueError if a time is beyond the last.
        """
        if times is not None:
            rows = rows_at(self.times, times)
            curves = {"value": self.incidence, "low": self.lower, "high": self.upper}
            at = {name: start_at(0.0, curve)[:, rows].ravel() for name, curve in curves.items()}
            moments = np.asarray(times, dtype=float)
            cause = np.repeat(self.causes, len(moments))
            return pd.DataFrame({"cause": cause, "time": np.tile(moments, len(self.causes)), **at})
        n_causes, n_times = self.incidence.shape
        columns = {
            "cause": np.repeat(self.causes, n_times), "time": np.tile(self.times, n_causes),
            "value": self.incidence.ravel(), "low": self.lower.ravel(), "high": self.upper.ravel(),
            "n_events": self.n_events.ravel(), "n_at_risk": np.tile(self.n_at_risk, n_causes),
        }  # fmt: skip
        return pd.DataFrame(columns)

    def _headline(self) -> str:
        counts = zip(self.n_events.sum(axis=1), self.causes, strict=True)
        events = ", ".join(f"{number} events of cause {cause}" for number, cause in counts)
        return f"CumulativeIncidence({events})"

    def at(self, times: ArrayLike, cause: int | None = None) -> np.ndarray:
        """Incidence at any times; 0 before the first, and the last value after the last.

        Parameters
        ----------
        times : array-like of shape (n_times,)
        cause : int, optional
            By default all.

        Returns
        -------
        ndarray of shape (n_causes, n_times), or (n_times,) of one cause

        Raises
        ------
        ValueError
            If there is no such cause.
        """
        values = start_at(0.0, self.incidence)[:, np.searchsorted(self.times, times, side="right")]
        return values if cause is None else values[self.row_of(cause)]

    def row_of(self, cause: int) -> int:
        """Index of a cause in ``causes``."""
        (rows,) = np.nonzero(self.causes == cause)
        if not len(rows):
            known = ", ".join(map(str, self.causes))
            raise ValueError(f"cause={cause!r}; accepted are those of the curves: {known}.")
        return int(rows[0])


def cumulative_incidence(
    y: Any, *, level: float = 0.95, causes: Sequence[int] | None = None
) -> CumulativeIncidence:
    """Estimate the probability of an event of each cause by each time.

    Parameters
    ----------
    y : structured array of shape (n,), or DataFrame
        As :func:`competing_outcome` makes it; it may have entries (left truncation).
    level : float, default=0.95
        Of the pointwise confidence limits.
    causes : sequence of int, optional
        Whose curves to give; by default of those with an event in y. Without an event the curve
        is zero.

    Returns
    -------
    CumulativeIncidence

    Raises
    ------
    ValueError
        If y holds nothing but NaN or is invalid, or no event while ``causes`` is not given.

    Warns
    -----
    OutcomeWarning
        If everyone under observation had the event while others had not yet entered: the curves
        stay where they are, whatever happens later.

    Notes
    -----
    Estimator of Aalen & Johansen (Scandinavian Journal of Statistics 5, 1978). It assumes that rows
    are independent, one of each subject, and that censoring and entry are independent of the time
    and the cause of the event. One minus the Kaplan-Meier curve of a cause is larger, as it is of a
    world without the other causes.

    Variances are by the delta method from multinomial increments, as in Marubini & Valsecchi
    (Analysing Survival Data from Clinical Trials, 1995), which is the Greenwood-type estimator of
    Andersen et al. (1993, section 4.4) and Greenwood's for one cause. Limits are on the scale of
    log(-log(1 - F)), as those of :func:`kaplan_meier` (Beyersmann et al., Competing Risks and
    Multistate Models with R, 2012). Both are NaN at an incidence of 1, the upper one also before
    the first event of a cause: for n subjects followed without one it is near 3 / n (Hanley &
    Lippman-Hand, JAMA 249, 1983).

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import competing_outcome, cumulative_incidence
    >>> y = competing_outcome([1, 2, 0, 1], [1.0, 2.0, 3.0, 4.0])
    >>> cumulative_incidence(y).at([0.5, 2.5, 4.0])
    array([[0.  , 0.25, 0.75],
           [0.  , 0.25, 0.25]])
    """
    outcome = read_competing(y).known()
    if not len(outcome):
        raise ValueError("y holds nothing but NaN; accepted is at least one known time.")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    shown = outcome.causes if causes is None else np.array([check_cause(c) for c in causes])
    if not len(shown):
        raise ValueError(
            f"y holds no event in {len(outcome)} known rows: all are censored, and no cause is "
            "known. Look at how causes are coded, or name them: causes=[1, 2]."
        )
    _, event, time, entry = outcome.survival().column(0)
    times, n_any, n_at_risk = count_at_risk(event, time, entry)
    _warn_of_emptied(times, n_any, n_at_risk)
    place = np.searchsorted(times, time)
    n_events = np.array(
        [np.bincount(place[outcome.cause == cause], minlength=len(times)) for cause in shown]
    )
    survival = np.cumprod(1 - n_any / n_at_risk)
    before = start_at(1.0, survival)[:-1]
    incidence = np.cumsum(before * n_events / n_at_risk, axis=1)
    rows = range(len(shown))
    error = np.sqrt([_variance(incidence[k], n_events[k], n_any, n_at_risk, before) for k in rows])
    lower, upper = _limits(incidence, error, ndtri(0.5 + level / 2))
    return CumulativeIncidence(
        times, shown, incidence, lower, upper, error, survival, n_events, n_at_risk
    )


def start_at(value: float, curves: np.ndarray) -> np.ndarray:
    """Step functions along the last axis, with their value before the first step."""
    return np.concatenate([np.full((*curves.shape[:-1], 1), value), curves], axis=-1)


def _warn_of_emptied(times: np.ndarray, n_any: np.ndarray, n_at_risk: np.ndarray) -> None:
    emptied = np.flatnonzero(n_any == n_at_risk)
    if len(emptied) and emptied[0] < len(times) - 1:
        time, number = times[emptied[0]], n_at_risk[emptied[0]]
        warn(
            f"all {number} under observation at time {time:g} had the event, while others enter "
            "later: the curves stay as they are from there on. Start where more are under "
            "observation, by leaving out those whose time is earlier and raising entries to it.",
            OutcomeWarning,
        )


def _variance(
    incidence: np.ndarray, n_cause: np.ndarray, n_any: np.ndarray, n: np.ndarray, before: np.ndarray
) -> np.ndarray:
    """Of one cause: the sum over event times of (F(t) - F(s))^2 v - 2 (F(t) - F(s)) w + u."""
    # after the last at risk had an event F does not change, so that v has no part
    v = np.divide(n_any, n * (n - n_any), out=np.zeros(len(n)), where=n > n_any)
    w = before * n_cause / n**2
    u = before**2 * n_cause * (n - n_cause) / n.astype(np.float64) ** 3
    sums = [np.cumsum(term) for term in (v, incidence * v, incidence**2 * v, w, incidence * w, u)]
    sum_v, sum_fv, sum_ffv, sum_w, sum_fw, sum_u = sums
    squares = incidence**2 * sum_v - 2 * incidence * sum_fv + sum_ffv
    return np.maximum(squares - 2 * (incidence * sum_w - sum_fw) + sum_u, 0.0)


def _limits(
    incidence: np.ndarray, error: np.ndarray, quantile: float
) -> tuple[np.ndarray, np.ndarray]:
    # a sum of increments reaches 1 up to rounding
    rest = np.where(incidence > 1 - 1e-12, 0.0, 1 - incidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        width = quantile * error / (rest * np.log(rest))
        lower, upper = 1 - rest ** np.exp(width), 1 - rest ** np.exp(-width)
    undefined = [incidence == 0, rest == 0]
    return np.select(undefined, [0.0, np.nan], lower), np.where(np.any(undefined, 0), np.nan, upper)
