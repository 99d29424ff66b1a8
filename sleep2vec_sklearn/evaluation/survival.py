# SPDX-License-Identifier: BSD-3-Clause
"""Outcomes that are times: what y holds when follow-up ends before everyone's event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

__all__ = [
    "KaplanMeier",
    "SurvivalOutcome",
    "kaplan_meier",
    "read_outcome",
    "survival_outcome",
]

_FLAGS = (0.0, 1.0)


@dataclass(frozen=True)
class SurvivalOutcome:
    """Outcomes of n subjects, as plain arrays.

    Attributes
    ----------
    event : bool ndarray of shape (n, k)
        False where the outcome is missing.
    time : float64 ndarray of shape (n, k)
        NaN where the outcome is missing.
    entry : float64 ndarray of shape (n, k) or None
        None without left truncation; never NaN otherwise, -inf for those seen from the start.
    one_dimensional : bool
        Whether y had the shape (n,).
    """

    event: np.ndarray
    time: np.ndarray
    entry: np.ndarray | None
    one_dimensional: bool

    def __len__(self) -> int:
        return len(self.time)

    @property
    def n_outcomes(self) -> int:
        """k, the number of columns."""
        return self.time.shape[1]

    def column(self, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What is known of one outcome.

        Returns
        -------
        known : bool ndarray of shape (n,)
        event, time, entry : ndarray of shape (known.sum(),)
            Entries are -inf without left truncation.
        """
        known = ~np.isnan(self.time[:, place])
        entry = np.full(known.sum(), -np.inf)
        if self.entry is not None:
            entry = self.entry[known, place]
        return known, self.event[known, place], self.time[known, place], entry

    def to_array(self) -> np.ndarray:
        """The structured array that :func:`read_outcome` takes apart."""
        fields = {"event": self.event, "time": self.time}
        if self.entry is not None:
            fields["entry"] = self.entry
        y = np.empty(self.time.shape, dtype=[(name, v.dtype) for name, v in fields.items()])
        for name, values in fields.items():
            y[name] = values
        return y[:, 0] if self.one_dimensional else y


def survival_outcome(event, time, entry=None) -> np.ndarray:
    """Put events and times together as the y of survival estimators and scores.

    Parameters
    ----------
    event : array-like of shape (n,) or (n, k)
        1 or True where the event was seen, 0 or False where follow-up ended without it. Several
        outcomes stand side by side.
    time : array-like of the same shape
        Time of the event or of the end of follow-up, in any one unit, above zero. NaN where the
        outcome is not known, as it is where ``event`` is missing.
    entry : array-like of the same shape, or of shape (n,), optional
        When observation began on the same clock (left truncation), for those whose time is not
        counted from their recording, such as age. Missing means from the start.

    Returns
    -------
    structured ndarray of shape (n,) or (n, k)
        Fields "event" (bool), "time" (float) and, if given, "entry" (float). Without entries it
        is also what scikit-survival takes.

    Raises
    ------
    ValueError
        If shapes differ, an event is no flag, a time is not above zero, or an entry is not before
        its time.
    TypeError
        If times are dates or durations.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import survival_outcome
    >>> table = pd.DataFrame({"died": [1, 0, None], "years": [2.5, 8.0, 8.0]})
    >>> survival_outcome(table["died"], table["years"])
    array([( True, 2.5), (False, 8. ), (False, nan)],
          dtype=[('event', '?'), ('time', '<f8')])
    """
    time = _as_numbers(time, "time")
    flags = _as_numbers(event, "event")
    if flags.shape != time.shape or time.ndim not in (1, 2):
        raise ValueError(
            f"event has the shape {flags.shape} and time {time.shape}; accepted is one shape of "
            "both, (n_subjects,) or (n_subjects, n_outcomes)."
        )
    odd = flags[~np.isnan(flags) & ~np.isin(flags, _FLAGS)]
    if len(odd):
        raise ValueError(
            f"event holds {odd[0]:g}; accepted are 1 or True (the event was seen), 0 or False "
            "(censored) and NaN. Tables that code them otherwise need a comparison, such as "
            "table['status'] == 2."
        )
    fields = [("event", np.bool_), ("time", np.float64)]
    y = np.empty(time.shape, dtype=fields if entry is None else [*fields, ("entry", np.float64)])
    y["time"] = np.where(np.isnan(flags), np.nan, time)
    y["event"] = (flags == 1) & ~np.isnan(y["time"])
    if entry is not None:
        y["entry"] = _spread(_as_numbers(entry, "entry"), time.shape)
    read_outcome(y)
    return y


def read_outcome(y, name: str = "y") -> SurvivalOutcome:
    """Check a structured array and take it apart.

    Parameters
    ----------
    y : structured array of shape (n,) or (n, k)
        Fields "event", "time" and optionally "entry", as :func:`survival_outcome` makes it.
    name : str
        What to call it in errors.

    Raises
    ------
    TypeError
        If it is no structured array.
    ValueError
        If fields are missing or values cannot be.
    """
    way_out = "Make it with survival_outcome(event, time)."
    fields = getattr(getattr(y, "dtype", None), "names", None)
    if fields is None:
        raise TypeError(
            f"{name} is {type(y).__name__}; accepted is a structured array with the fields 'event' "
            f"and 'time'. {way_out}"
        )
    missing = [field for field in ("event", "time") if field not in fields]
    if missing:
        raise ValueError(
            f"{name} has the fields {', '.join(fields)} and lacks {', '.join(missing)}; accepted "
            f"are 'event', 'time' and optionally 'entry'. {way_out}"
        )
    if y.ndim not in (1, 2) or not y.size:
        raise ValueError(
            f"{name} has the shape {y.shape}; accepted is (n_subjects,) or (n_subjects, "
            "n_outcomes), with at least one subject."
        )
    shape = (len(y), -1)
    time = np.asarray(y["time"], dtype=np.float64).reshape(shape)
    event = np.asarray(y["event"]).reshape(shape)
    if not np.isin(event[~np.isnan(time)], _FLAGS).all():
        raise ValueError(f"{name}: the field 'event' holds more than 0 and 1. {way_out}")
    _check_times(time, name)
    entry = None
    if "entry" in fields:
        entry = np.asarray(y["entry"], dtype=np.float64).reshape(shape)
        entry = np.where(np.isnan(entry), -np.inf, entry)
        _check_entries(entry, time, name)
    return SurvivalOutcome((event == 1) & ~np.isnan(time), time, entry, y.ndim == 1)


def _check_times(time: np.ndarray, name: str) -> None:
    bad = ~np.isnan(time) & ~((time > 0) & np.isfinite(time))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{name}: {bad.sum()} of {time.size} times are not above zero and finite; the first, "
            f"of row {row}{_in_column(column, time)}, is {time[row, column]:g}. A follow-up takes "
            "time: count from the recording, set what is not known to NaN, and leave out those "
            "whose event came before."
        )


def _check_entries(entry: np.ndarray, time: np.ndarray, name: str) -> None:
    late = entry >= time
    if late.any():
        row, column = np.argwhere(late)[0]
        raise ValueError(
            f"{name}: {late.sum()} of {time.size} entries are not before their time; the first, of "
            f"row {row}{_in_column(column, time)}, enters at {entry[row, column]:g} and leaves at "
            f"{time[row, column]:g}. Those were never under observation: leave them out, or set "
            "their time to NaN."
        )


def _in_column(column: int, time: np.ndarray) -> str:
    return f", outcome {column}" if time.shape[1] > 1 else ""


def _as_numbers(values, field: str) -> np.ndarray:
    """Float64, NaN where a table has nothing."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    values = np.asarray(values)
    if values.dtype.kind in "mM":
        raise TypeError(
            f"{field} holds {values.dtype}; accepted are numbers. Turn durations into years, such "
            "as (table['end'] - table['night']) / pd.Timedelta(days=365.25)."
        )
    if values.dtype.kind == "O":
        import pandas as pd

        values = np.where(pd.isna(values), np.nan, values)
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{field} holds what is no number; accepted are numbers, True and False, and NaN or "
            "None where it is not known."
        ) from None


def _spread(entry: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if entry.ndim == 1 and len(shape) == 2 and len(entry) == shape[0]:
        entry = entry[:, None]
    if entry.shape != shape and entry.shape != (shape[0], 1):
        raise ValueError(
            f"entry has the shape {entry.shape}; accepted are {shape} and ({shape[0]},)."
        )
    return np.broadcast_to(entry, shape)


@dataclass(frozen=True)
class KaplanMeier:
    """A step function that falls at each event.

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
    >>> curve = kaplan_meier(survival_outcome([1, 0, 1, 0], [1.0, 2.0, 3.0, 4.0]))
    >>> curve.at([0.5, 1.5, 3.5])
    array([1.   , 0.75 , 0.375])
    """

    times: np.ndarray
    survival: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    n_events: np.ndarray
    n_at_risk: np.ndarray

    def at(self, times) -> np.ndarray:
        """Survival at any times; 1 before the first, and the last value after the last."""
        return np.append(1.0, self.survival)[np.searchsorted(self.times, times, side="right")]


def kaplan_meier(y, *, level: float = 0.95) -> KaplanMeier:
    """Estimate the share of subjects without the event over time.

    Parameters
    ----------
    y : structured array of shape (n,)
        As :func:`survival_outcome` makes it; entries (left truncation) are allowed for.
    level : float, default=0.95
        Of the pointwise limits.

    Returns
    -------
    KaplanMeier

    Raises
    ------
    ValueError
        If y holds several outcomes, nothing but NaN, or values that cannot be.

    Notes
    -----
    Limits are Greenwood's on the log-log scale (Kalbfleisch & Prentice), which keeps them between
    0 and 1. They are 1 before the first event and NaN where nobody is left.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import kaplan_meier, survival_outcome
    >>> curve = kaplan_meier(survival_outcome([1, 0, 1, 0], [1.0, 2.0, 3.0, 4.0]))
    >>> curve.survival
    array([0.75 , 0.75 , 0.375, 0.375])
    >>> curve.at([0.5, 3.5])
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
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    times, n_events, n_at_risk = _count(event, time, entry)
    survival = np.cumprod(1 - n_events / n_at_risk)
    lower, upper = _limits(survival, n_events, n_at_risk, ndtri(0.5 + level / 2))
    return KaplanMeier(times, survival, lower, upper, n_events, n_at_risk)


def censoring_survival(outcome: SurvivalOutcome, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability of still being followed up, as times and the value from each time on.

    Those with an event at a time are not at risk of being censored at it.
    """
    _, event, time, entry = outcome.column(column)
    times, n_events, n_at_risk = _count(event, time, entry)
    n_censored = np.bincount(np.searchsorted(times, time[~event]), minlength=len(times))
    left = n_at_risk - n_events
    return times, np.cumprod(1 - n_censored / np.maximum(left, 1))


def _count(event, time, entry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    times = np.unique(time)
    n_events = np.bincount(np.searchsorted(times, time[event]), minlength=len(times))
    gone = np.searchsorted(np.sort(time), times, side="left")
    entered = np.searchsorted(np.sort(entry), times, side="left")
    return times, n_events, entered - gone


def _limits(survival, n_events, n_at_risk, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(n_events / (n_at_risk * (n_at_risk - n_events)))
        log_survival = np.log(survival)
        spread = quantile * np.sqrt(greenwood) / log_survival
        lower, upper = survival ** np.exp(-spread), survival ** np.exp(spread)
    before = survival == 1
    nobody = survival == 0
    return tuple(np.where(before, 1.0, np.where(nobody, np.nan, v)) for v in (lower, upper))
