# SPDX-License-Identifier: BSD-3-Clause
"""The Kaplan-Meier estimate: the share without the event over time, censoring allowed for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from .survival_outcome import SurvivalOutcome, read_outcome

__all__ = ["KaplanMeier", "kaplan_meier"]


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
