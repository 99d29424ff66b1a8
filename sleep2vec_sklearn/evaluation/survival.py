# SPDX-License-Identifier: BSD-3-Clause
"""Survival outcomes and the Kaplan-Meier estimator.

Weighed for the estimator: ``scipy.stats.ecdf`` gives the same curve and limits to 1e-15 but takes
no late entries; statsmodels has no log-log limits; torchsurv (MIT) works in float32, lifelines
needs pandas below 3, scikit-survival is GPL-3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import rankdata

from .._arguments import as_array, as_numbers, check_number, check_row_order
from .._html import ShownAsTable
from .._warnings import warn
from ..errors import OutcomeWarning
from ._subjects import refuse_epochs
from .tables import TableExportMixin

# names of columns in which 1 means that the event was not observed, or may do so
_ALIVE = re.compile(r"(^|[^a-z])(alive|vital|surviv|cens)", re.IGNORECASE)
_DEAD = re.compile(r"dead|death|died|dying|(^|[^a-z])(not|un|non)", re.IGNORECASE)
_FEWEST_TO_TELL = 10
_HINT = "Make it with survival_outcome(event, time)."


@dataclass(frozen=True)
class SurvivalOutcome:
    """Outcomes of n subjects, as arrays of shape (n, k)."""

    event: np.ndarray  # False where the outcome is missing
    time: np.ndarray  # NaN where it is missing
    entry: np.ndarray | None  # None without left truncation, -inf for those observed from the start
    one_dimensional: bool  # y had the shape (n,)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def n_outcomes(self) -> int:
        return self.time.shape[1]

    def column(self, column: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Which subjects have one outcome, and their event, time and entry (-inf without one)."""
        known = ~np.isnan(self.time[:, column])
        entry = np.full(known.sum(), -np.inf)
        if self.entry is not None:
            entry = self.entry[known, column]
        return known, self.event[known, column], self.time[known, column], entry

    def to_array(self) -> np.ndarray:
        """The structured array that :func:`read_outcome` takes."""
        y = _make_structured(self.event.astype(float), self.time, self.entry)
        return y[:, 0] if self.one_dimensional else y


def survival_outcome(
    event: ArrayLike, time: ArrayLike, entry: ArrayLike | None = None
) -> np.ndarray:
    """The y of survival estimators and scores, from events and times.

    Parameters
    ----------
    event : array-like of shape (n,) or (n, k)
        1 or True where the event was observed, 0 or False where follow-up ended without it.
        Several outcomes are columns.
    time : array-like of the same shape
        Time of the event or of the end of follow-up, in any one unit, above zero. NaN where the
        outcome is unknown, as it is where ``event`` is missing.
    entry : array-like of the same shape, or of shape (n,), optional
        When observation began on the same time scale (left truncation), where times are not
        counted from the recording, such as age. Missing means from the start.

    Returns
    -------
    structured ndarray of shape (n,) or (n, k)
        Fields "event" (bool), "time" (float) and, if given, "entry" (float). Without entries it
        is also what scikit-survival takes.

    Raises
    ------
    ValueError
        If shapes differ, an event is not binary, a time is not above zero, an entry is not before
        its time, or columns have the same index in another order.
    TypeError
        If times are dates or durations.

    Warns
    -----
    OutcomeWarning
        If 1 seems to mean alive or censored: ``event`` is a column whose name says so, such as
        "vital" of SHHS, or most rows are 1 and are followed up to the end, while those of 0 leave
        earlier.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import survival_outcome
    >>> table = pd.DataFrame({"died": [1, 0, None], "years": [2.5, 8.0, 8.0]})
    >>> survival_outcome(table["died"], table["years"]).tolist()
    [(True, 2.5), (False, 8.0), (False, nan)]
    """
    check_row_order(event=event, time=time, entry=entry)
    times, events = _as_numbers(time, "time"), _as_numbers(event, "event")
    if events.shape != times.shape or times.ndim not in (1, 2):
        raise ValueError(
            f"event has the shape {events.shape} and time {times.shape}; accepted is one shape of "
            "both, (n_subjects,) or (n_subjects, n_outcomes)."
        )
    invalid = events[~np.isnan(events) & ~np.isin(events, (0, 1))]
    if len(invalid):
        raise ValueError(
            f"event holds {invalid[0]:g}; accepted are 1 or True (event observed), 0 or False "
            "(censored) and NaN. Tables that code them otherwise need a comparison, such as "
            "table['status'] == 2."
        )
    entries = None
    if entry is not None:
        entries = _as_numbers(entry, "entry")
        if entries.ndim == 1 and times.ndim == 2 and len(entries) == len(times):
            entries = entries[:, None]
        if entries.shape not in (times.shape, (len(times), 1)):
            raise ValueError(
                f"entry has the shape {entries.shape}; accepted are {times.shape} and "
                f"({len(times)},)."
            )
    y = _make_structured(events, times, entries)
    read_outcome(y)
    _warn_of_inverted(event, y)
    return y


def _make_structured(
    events: np.ndarray, times: np.ndarray, entries: np.ndarray | None
) -> np.ndarray:
    fields = [("event", np.bool_), ("time", np.float64), ("entry", np.float64)]
    y = np.empty(times.shape, dtype=fields[:2] if entries is None else fields)
    y["time"] = np.where(np.isnan(events), np.nan, times)
    y["event"] = (events == 1) & ~np.isnan(y["time"])
    if entries is not None:
        y["entry"] = entries
    return y


def _warn_of_inverted(event: Any, y: np.ndarray) -> None:
    """Warn where 1 seems to mean that the event was not observed."""
    name = getattr(event, "name", None)
    named = isinstance(name, str) and _ALIVE.search(name) and not _DEAD.search(name)
    outcome = read_outcome(y)
    late = [i for i in range(outcome.n_outcomes) if _leave_last(*outcome.column(i)[1:])]
    if not named and not late:
        return
    sign = f"event is the column {name!r}"
    if not named:
        which = f" (outcome {late[0]})" if outcome.n_outcomes > 1 else ""
        sign = f"most rows are 1{which} and stay to the end, while those of 0 leave earlier"
    warn(
        f"{sign}, so 1 may mean alive or censored, as in the column 'vital' of SHHS; accepted is "
        "1 where the event was observed. Pass event=table['vital'] == 0 there; if 1 is the event, "
        "rename the column.",
        OutcomeWarning,
    )


def _leave_last(event: np.ndarray, time: np.ndarray, entry: np.ndarray) -> bool:
    """Whether events come at the end of follow-up, and censoring before, as never is the case."""
    n_events, n_censored = event.sum(), (~event).sum()
    if n_censored < _FEWEST_TO_TELL or n_events <= n_censored:
        return False
    followed = np.where(np.isfinite(entry), time - entry, time)
    ranks = rankdata(followed)
    later = (ranks[event].sum() - n_events * (n_events + 1) / 2) / (n_events * n_censored)
    return bool(later >= 0.8 and np.median(followed[event]) >= 0.6 * followed.max())


def _as_numbers(values: ArrayLike, field: str) -> np.ndarray:
    """Float64, NaN where a table has no value."""
    array = as_array(field, values)
    if array.dtype.kind in "mM":
        raise TypeError(
            f"{field} holds {array.dtype}; accepted are numbers. Turn durations into years, such "
            "as (table['end'] - table['night']) / pd.Timedelta(days=365.25)."
        )
    words = [value for value in array.flat if isinstance(value, str)]
    if field == "event" and words:
        raise ValueError(
            f"event holds text, such as {str(words[0])!r}; accepted are 1 or True (event "
            "observed), 0 or False (censored) and NaN. Map it: column.map({'alive': 0, 'dead': 1})."
        )
    return as_numbers(field, array, ndim=(1, 2))


def is_outcome(y: Any) -> bool:
    """Whether y is a survival outcome: an array with fields, or a table with such columns."""
    is_table = isinstance(y, pd.DataFrame)
    names = y.columns if is_table else getattr(getattr(y, "dtype", None), "names", None)
    return names is not None and {"event", "time"} <= set(names)


def read_outcome(y: Any, name: str = "y") -> SurvivalOutcome:
    """Check a structured array or a table and split it; ``name`` is used in errors."""
    if isinstance(y, pd.DataFrame):
        y = _as_structured(y, name)
    fields = getattr(getattr(y, "dtype", None), "names", None)
    if fields is None:
        raise TypeError(
            f"{name} is {type(y).__name__}; accepted is a structured array with the fields 'event' "
            f"and 'time', or a DataFrame with such columns. {_HINT}"
        )
    missing = [field for field in ("event", "time") if field not in fields]
    if missing:
        raise ValueError(
            f"{name} has the fields {', '.join(fields)} and lacks {', '.join(missing)}; accepted "
            f"are 'event', 'time' and optionally 'entry'. {_HINT}"
        )
    if y.ndim not in (1, 2) or not y.size:
        raise ValueError(
            f"{name} has the shape {y.shape}; accepted is (n_subjects,) or (n_subjects, "
            "n_outcomes), with at least one subject."
        )
    shape = (len(y), -1)
    time = np.asarray(y["time"], dtype=np.float64).reshape(shape)
    event = np.asarray(y["event"]).reshape(shape)
    if not np.isin(event[~np.isnan(time)], (0, 1)).all():
        raise ValueError(f"{name}: the field 'event' holds more than 0 and 1. {_HINT}")
    bad = ~np.isnan(time) & ~((time > 0) & np.isfinite(time))
    if bad.any():
        first, at = _first(bad)
        raise ValueError(
            f"{name}: {bad.sum()} of {time.size} times are not above zero and finite; the first, "
            f"of {at}, is {time[first]:g}. Count from the recording, set what is not known to NaN, "
            "and leave out those whose event came before."
        )
    entry = None
    if "entry" in fields:
        entry = np.asarray(y["entry"], dtype=np.float64).reshape(shape)
        entry = np.where(np.isnan(entry), -np.inf, entry)
        late = entry >= time
        if late.any():
            first, at = _first(late)
            raise ValueError(
                f"{name}: {late.sum()} of {time.size} entries are not before their time; the "
                f"first, of {at}, enters at {entry[first]:g} and leaves at {time[first]:g}. Leave "
                "such subjects out, or set their time to NaN."
            )
    return SurvivalOutcome((event == 1) & ~np.isnan(time), time, entry, y.ndim == 1)


def share_between_nights(
    outcome: SurvivalOutcome, subjects: np.ndarray, names: np.ndarray
) -> SurvivalOutcome:
    """The same with gaps filled from other nights of the subject, whose outcomes have to agree."""
    n_subjects, k = len(names), outcome.n_outcomes
    shared = {}
    unknown = np.isnan(outcome.time)
    fields = {"time": outcome.time, "event": outcome.event.astype(float)}
    if outcome.entry is not None:
        fields["entry"] = outcome.entry
    for name, values in fields.items():
        low, high = np.full((n_subjects, k), np.inf), np.full((n_subjects, k), -np.inf)
        np.minimum.at(low, subjects, np.where(unknown, np.inf, values))
        np.maximum.at(high, subjects, np.where(unknown, -np.inf, values))
        differs = np.argwhere((high > low) & np.isfinite(high))
        if len(differs):
            subject, column = differs[0]
            raise ValueError(
                f"nights of the subject {str(names[subject])!r} have different outcomes: '{name}' "
                f"is {low[subject, column]:g} and {high[subject, column]:g}. Several nights are "
                "one observation: count time from the same day for all, or leave all but one out."
            )
        shared[name] = high[subjects]
    unknown = np.isinf(shared["time"])
    time = np.where(unknown, np.nan, shared["time"])
    entry = np.where(unknown, -np.inf, shared["entry"]) if "entry" in shared else None
    event = (shared["event"] == 1) & ~unknown
    return SurvivalOutcome(event, time, entry, outcome.one_dimensional)


def outcome_of_subjects(y: Any, X: Any, subjects: np.ndarray) -> np.ndarray:
    """One outcome for each row of X, the same for all nights of a subject, as y of shape (n,)."""
    outcome = read_outcome(y)
    refuse_epochs(X)
    if outcome.n_outcomes != 1 or len(outcome) != len(subjects):
        raise ValueError(
            f"y holds {outcome.n_outcomes} outcomes of {len(outcome)} rows for {len(subjects)} "
            "rows of X; accepted is one of each. Choose a column: y[:, 0]."
        )
    names, codes = np.unique(subjects, return_inverse=True)
    return share_between_nights(outcome, codes, names).to_array().reshape(len(outcome))


def _as_structured(table: pd.DataFrame, name: str) -> np.ndarray:
    """The structured array of a table with the columns event, time and, if known, entry."""
    columns = set(table.columns)
    if not {"event", "time"} <= columns <= {"event", "time", "entry"}:
        raise ValueError(
            f"{name} has the columns {', '.join(map(str, table.columns))}; accepted are 'event', "
            "'time' and optionally 'entry'. Rename them: table[['died', 'years']].rename(columns="
            "{'died': 'event', 'years': 'time'})."
        )
    return survival_outcome(table["event"], table["time"], table.get("entry"))


def _first(mask: np.ndarray) -> tuple[tuple[int, ...], str]:
    """Index of the first marked cell, and its name in errors."""
    row, column = np.argwhere(mask)[0]
    return (row, column), f"row {row}{f', outcome {column}' if mask.shape[1] > 1 else ''}"


@dataclass(frozen=True, repr=False)
class KaplanMeier(TableExportMixin, ShownAsTable):
    """A survival curve: a step function that decreases at each event.

    Attributes
    ----------
    times : ndarray of shape (n_times,)
        Distinct times of events and of censoring, ascending.
    survival, lower, upper : ndarray of shape (n_times,)
        From each time on; ``lower`` and ``upper`` are pointwise confidence limits.
    n_events, n_at_risk : int ndarray of shape (n_times,)
        Events at each time, and subjects under observation just before it.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import kaplan_meier, survival_outcome
    >>> kaplan_meier(survival_outcome([1, 0, 1, 0], [1.0, 2.0, 3.0, 4.0])).n_at_risk
    array([4, 3, 2, 1])
    """

    times: np.ndarray
    survival: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    n_events: np.ndarray
    n_at_risk: np.ndarray

    def to_frame(self, times: ArrayLike | None = None) -> pd.DataFrame:
        """The curve, or the survival of a table at some times of the follow-up.

        Columns are time, value (of survival), low, high, n_events and n_at_risk; at ``times`` the
        first four. Raises a ValueError if a time is beyond the last.
        """
        if times is not None:
            rows = rows_at(self.times, times)
            curves = {"value": self.survival, "low": self.lower, "high": self.upper}
            at = {name: np.append(1.0, curve)[rows] for name, curve in curves.items()}
            return pd.DataFrame({"time": np.asarray(times, dtype=float), **at})
        columns = (self.times, self.survival, self.lower, self.upper, self.n_events, self.n_at_risk)
        names = ("time", "value", "low", "high", "n_events", "n_at_risk")
        return pd.DataFrame(dict(zip(names, columns, strict=True)))

    def _headline(self) -> str:
        return f"KaplanMeier({self.n_events.sum()} events at {len(self.times)} times)"

    def at(self, times: ArrayLike) -> np.ndarray:
        """Survival at any times; 1 before the first, and the last value after the last."""
        return step_values(self.times, self.survival, times)


def rows_at(times: np.ndarray, at: ArrayLike) -> np.ndarray:
    """Number of steps of a curve until each of some times, within the follow-up."""
    wanted = as_numbers("times", at)
    outside = wanted[~((wanted >= 0) & (wanted <= times[-1]))]
    if len(outside):
        raise ValueError(
            f"times holds {outside[0]:g}; accepted are those of the follow-up, from 0 to "
            f"{times[-1]:g}. Beyond it nothing is known."
        )
    return np.searchsorted(times, wanted, side="right")


def kaplan_meier(y: np.ndarray, *, level: float = 0.95) -> KaplanMeier:
    """Estimate event-free survival.

    Parameters
    ----------
    y : structured array of shape (n,)
        As :func:`survival_outcome` makes it; it may have entries (left truncation).
    level : float, default=0.95
        Of the pointwise confidence limits.

    Returns
    -------
    KaplanMeier

    Raises
    ------
    ValueError
        If y holds several outcomes, nothing but NaN, or invalid values.

    Notes
    -----
    Confidence limits are Greenwood's on the log-log scale (Kalbfleisch & Prentice), which keeps
    them between 0 and 1. They are 1 before the first event and NaN where no subject is left.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import kaplan_meier, survival_outcome
    >>> kaplan_meier(survival_outcome([1, 0, 1, 0], [1.0, 2.0, 3.0, 4.0])).at([0.5, 3.5])
    array([1.   , 0.375])
    """
    outcome = read_outcome(y)
    if outcome.n_outcomes != 1:
        raise ValueError(
            f"y holds {outcome.n_outcomes} outcomes; accepted is one. Choose a column: y[:, 0]."
        )
    known, event, time, entry = outcome.column(0)
    if not known.any():
        raise ValueError("y holds nothing but NaN; accepted is at least one known time.")
    level = check_number("level", level, 0, 1, above=True, below=True)
    times, n_events, n_at_risk = count_at_risk(event, time, entry)
    survival = np.cumprod(1 - n_events / n_at_risk)
    lower, upper = _limits(survival, n_events, n_at_risk, ndtri(0.5 + level / 2))
    return KaplanMeier(times, survival, lower, upper, n_events, n_at_risk)


def _limits(
    survival: np.ndarray, n_events: np.ndarray, n_at_risk: np.ndarray, quantile: float
) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(n_events / (n_at_risk * (n_at_risk - n_events)))
        width = quantile * np.sqrt(greenwood) / np.log(survival)
        lower, upper = survival ** np.exp(-width), survival ** np.exp(width)
    undefined = [survival == 1, survival == 0]
    return np.select(undefined, [1.0, np.nan], lower), np.select(undefined, [1.0, np.nan], upper)


def count_at_risk(
    event: np.ndarray, time: np.ndarray, entry: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct times, events at each, and subjects under observation just before it."""
    times = np.unique(time)
    n_events = np.bincount(np.searchsorted(times, time[event]), minlength=len(times))
    n_left = np.searchsorted(np.sort(time), times, side="left")
    n_entered = np.searchsorted(np.sort(entry), times, side="left")
    return times, n_events, n_entered - n_left


def step_values(
    times: np.ndarray, values: np.ndarray, at: ArrayLike, *, before: bool = False
) -> np.ndarray:
    """Values (or just before) of a step function that is 1 before the first of its times."""
    side: Literal["left", "right"] = "left" if before else "right"
    return np.append(1.0, values)[np.searchsorted(times, at, side=side)]
