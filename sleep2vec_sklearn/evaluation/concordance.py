# SPDX-License-Identifier: BSD-3-Clause
"""Concordance: of two people, has the one with the higher risk the event first?"""

from __future__ import annotations

import numpy as np

from .kaplan_meier import censoring_survival
from .survival_outcome import SurvivalOutcome, read_outcome

__all__ = ["check_risks", "concordance_index", "mean_over_outcomes", "uno_concordance"]


def concordance_index(y, risk, *, tied_tol: float = 1e-8) -> float:
    """Harrell's concordance index.

    A pair is comparable if one of the two has the event while the other is under observation and
    still without it. It is concordant if the risk of the first is higher; equal risks count half.

    Parameters
    ----------
    y : structured array of shape (n,) or (n, k)
        As :func:`survival_outcome` makes it; with entries (left truncation), only pairs that were
        under observation together are compared.
    risk : array-like of the same shape
        Higher means earlier.
    tied_tol : float
        Risks closer than this are equal.

    Returns
    -------
    float
        0.5 for chance, 1 for the right order of all; the mean over outcomes with an event.

    Raises
    ------
    ValueError
        If no pair is comparable, shapes differ, or a risk is not finite.

    Notes
    -----
    Harrell et al., Statistics in Medicine 15 (1996). One censored at the time of another's event
    had it not, and is compared. Takes O(n log n) steps.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import concordance_index, survival_outcome
    >>> y = survival_outcome([1, 1, 0, 1], [2.0, 5.0, 6.0, 9.0])
    >>> concordance_index(y, [0.9, 0.4, 0.1, 0.2])
    1.0
    >>> concordance_index(y, [0.9, 0.1, 0.4, 0.2])
    0.6
    """
    outcome = read_outcome(y)
    risk = check_risks(risk, outcome)

    def score(column: int) -> float:
        known, event, time, entry = outcome.column(column)
        return _concordance(event, time, entry, risk[known, column], event.astype(float), tied_tol)

    return mean_over_outcomes(outcome, score)


def uno_concordance(
    y_train, y_test, risk, *, tau: float | None = None, tied_tol: float = 1e-8
) -> float:
    """Uno's concordance index, which does not depend on how long people were followed up.

    Parameters
    ----------
    y_train : structured array of shape (m,) or (m, k)
        Outcomes that tell how censoring works: those of the training set.
    y_test : structured array of shape (n,) or (n, k)
    risk : array-like of the shape of ``y_test``
        Higher means earlier.
    tau : float, optional
        Only events before it count. By default all.
    tied_tol : float
        Risks closer than this are equal.

    Returns
    -------
    float
        The mean over outcomes with an event before ``tau``.

    Raises
    ------
    ValueError
        If no pair is comparable, an event comes later than the training set was followed up, y
        has entries (left truncation), shapes differ, or a risk is not finite.

    Notes
    -----
    Uno et al., Statistics in Medicine 30 (2011): an event counts with the inverse square of the
    probability of not being censored until then.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import survival_outcome, uno_concordance
    >>> y = survival_outcome([1, 0, 1, 1, 0], [2.0, 3.0, 5.0, 6.0, 9.0])
    >>> round(uno_concordance(y, y, [0.9, 0.3, 0.2, 0.4, 0.1]), 3)
    0.81
    """
    train, test = read_outcome(y_train, "y_train"), read_outcome(y_test, "y_test")
    refuse_entries(train, test)
    risk = check_risks(risk, test)

    def score(column: int) -> float:
        known, event, time, _ = test.column(column)
        counted = event if tau is None else event & (time < tau)
        return uno_of_events(train, test, risk[known, column], column, counted, tied_tol)

    return mean_over_outcomes(test, score)


def uno_of_events(train, test, risk, column: int, counted: np.ndarray, tied_tol=1e-8) -> float:
    """Uno's index of one outcome over the events that count, NaN without a pair."""
    _, event, time, entry = test.column(column)
    weights = np.zeros(len(time))
    weights[counted] = inverse_censoring(train, column, time[counted]) ** 2
    return _concordance(event, time, entry, risk, weights, tied_tol)


def check_risks(risk, outcome: SurvivalOutcome) -> np.ndarray:
    """Risks as an (n, k) array.

    Raises
    ------
    ValueError
        If they do not fit the outcomes, or one that is needed is not finite.
    """
    risk = np.asarray(risk, dtype=np.float64)
    risk = risk[:, None] if risk.ndim == 1 else risk
    if risk.shape != outcome.time.shape:
        raise ValueError(
            f"risk has the shape {risk.shape}, outcomes {outcome.time.shape}; accepted is one risk "
            "per subject and outcome."
        )
    if not np.isfinite(risk[~np.isnan(outcome.time)]).all():
        raise ValueError("risk holds values that are not finite. Did the training diverge?")
    return risk


def mean_over_outcomes(outcome: SurvivalOutcome, score) -> float:
    """Mean of a score over the outcomes it is defined for.

    Parameters
    ----------
    outcome : SurvivalOutcome
    score : callable
        Of the column; NaN where it is not defined.

    Raises
    ------
    ValueError
        If it is defined for none.
    """
    scores = np.array([score(column) for column in range(outcome.n_outcomes)])
    if np.isnan(scores).all():
        raise ValueError(
            f"no comparable pair: {outcome.event.sum()} events and "
            f"{(~np.isnan(outcome.time)).sum()} known times in {len(outcome)} subjects, and none "
            "was followed up beyond another's event. A score needs more events: use fewer or "
            "larger folds, or pool the outcomes."
        )
    return float(np.nanmean(scores))


def refuse_entries(*outcomes: SurvivalOutcome) -> None:
    """Weights of inverse censoring are not defined here for late entries."""
    if any(outcome.entry is not None for outcome in outcomes):
        raise ValueError(
            "y has the field 'entry' (left truncation), for which only Harrell's concordance is "
            "defined here. Use concordance_index or HarrellConcordance, or leave the entries out "
            "with y[['event', 'time']]."
        )


def inverse_censoring(train: SurvivalOutcome, column: int, times: np.ndarray) -> np.ndarray:
    """One over the probability of not being censored until each time.

    Raises
    ------
    ValueError
        If the training outcomes end before one of the times.
    """
    if column >= train.n_outcomes:
        raise ValueError(f"y_train has {train.n_outcomes} outcomes; y_test has more.")
    if not times.size:
        return np.ones(0)
    if np.isnan(train.time[:, column]).all():
        raise ValueError(f"y_train holds nothing but NaN in outcome {column}.")
    grid, free = _censoring_until(train, column, times)
    beyond = (times > grid[-1]) | (free <= 0)
    if beyond.any():
        raise ValueError(
            f"a time of {times[beyond].min():g} is beyond the follow-up of the training outcomes: "
            f"none of them is known to have had no event then (the last leaves at {grid[-1]:g}). "
            "Pass an earlier tau, or earlier times."
        )
    return 1 / free


def within_follow_up(train: SurvivalOutcome, column: int, times: np.ndarray) -> np.ndarray:
    """Which of the times the training outcomes tell about censoring for."""
    if np.isnan(train.time[:, column]).all():
        return np.zeros(len(times), dtype=bool)
    grid, free = _censoring_until(train, column, times)
    return (times <= grid[-1]) & (free > 0)


def _censoring_until(train, column: int, times) -> tuple[np.ndarray, np.ndarray]:
    grid, probability = censoring_survival(train, column)
    return grid, np.append(1.0, probability)[np.searchsorted(grid, times, side="right")]


def _concordance(event, time, entry, risk, weights, tied_tol: float) -> float:
    """Weighted share of concordant pairs, NaN without any; weights are those of the events."""
    cases = np.flatnonzero(event & (weights > 0))
    at = time[cases]
    # at the time of an event, those censored are later than it: half a step behind
    leaves = np.unique(time, return_inverse=True)[1] * 2 + ~event
    below = np.sort(risk)
    first = np.searchsorted(below, risk[cases] - tied_tol, side="left")
    last = np.searchsorted(below, risk[cases] + tied_tol, side="right")
    ranks = np.searchsorted(below, risk, side="left")
    stays = np.argsort(-leaves, kind="stable")
    n_later = np.searchsorted(-leaves[stays], -leaves[cases], side="left")
    late = np.argsort(-entry, kind="stable")
    n_not_yet = np.searchsorted(-entry[late], -at, side="right")
    n_pairs = n_later - n_not_yet
    if not (n_pairs > 0).any():
        return np.nan
    lower, not_higher = (
        _count_below(ranks[stays], n_later, bound) - _count_below(ranks[late], n_not_yet, bound)
        for bound in (first, last)
    )
    weights = weights[cases]
    return float(np.sum(weights * (lower + not_higher)) / 2 / np.sum(weights * n_pairs))


def _count_below(values: np.ndarray, n_first: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """How many of the first ``n_first`` values are below ``bound``, for many questions at once.

    A wavelet matrix: the values are sorted by one binary digit after another, from the highest,
    and each question follows the digits of its bound.
    """
    left, right, found = np.zeros_like(n_first), n_first, np.zeros_like(n_first)
    for bit in reversed(range(len(values).bit_length())):
        ones = (values >> bit) & 1 == 1
        zeros_before = np.append(0, np.cumsum(~ones))
        up = (bound >> bit) & 1 == 1
        left_zeros, right_zeros = zeros_before[left], zeros_before[right]
        found = found + np.where(up, right_zeros - left_zeros, 0)
        left = np.where(up, zeros_before[-1] + left - left_zeros, left_zeros)
        right = np.where(up, zeros_before[-1] + right - right_zeros, right_zeros)
        values = np.concatenate([values[~ones], values[ones]])
    return found
