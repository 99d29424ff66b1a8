# SPDX-License-Identifier: BSD-3-Clause
"""Scores at given times: who has had the event by then, and how sure was the prediction?"""

from __future__ import annotations

import numpy as np

from .concordance import check_risks, inverse_censoring, refuse_entries
from .kaplan_meier import kaplan_meier
from .survival_outcome import SurvivalOutcome, read_outcome

__all__ = ["brier_score", "dynamic_auc", "integrated_brier_score"]


def dynamic_auc(y_train, y_test, risk, times) -> tuple[np.ndarray, float]:
    """Area under the ROC curve of who has the event by each time (cumulative/dynamic AUC).

    Parameters
    ----------
    y_train : structured array of shape (m,)
        Outcomes that tell how censoring works: those of the training set.
    y_test : structured array of shape (n,)
    risk : array-like of shape (n,)
        Higher means earlier.
    times : array-like of shape (n_times,)
        Within the follow-up of ``y_test``; sorted here.

    Returns
    -------
    auc : ndarray of shape (n_times,)
        Of those with the event by the time against those without it after the time; NaN where
        nobody had it yet.
    mean : float
        Over the times, each weighted by how far survival falls until it from the one before.

    Raises
    ------
    ValueError
        If times are outside the follow-up, y has entries or several outcomes, shapes differ, or
        no AUC is defined.

    Notes
    -----
    Uno et al., JASA 102 (2007); the mean is that of Lambert & Chevret (2014). Events count with
    the inverse of the probability of not being censored until then.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import dynamic_auc, survival_outcome
    >>> y = survival_outcome([1, 0, 1, 1, 0], [2.0, 3.0, 5.0, 6.0, 9.0])
    >>> auc, mean = dynamic_auc(y, y, [0.9, 0.3, 0.2, 0.4, 0.1], times=[2.5, 5.5])
    >>> auc.round(3), round(mean, 3)
    (array([1.   , 0.714]), 0.837)
    """
    train, test, times = _read(y_train, y_test, times)
    auc, mean = auc_of_outcome(train, test, check_risks(risk, test), times, 0)
    if np.isnan(mean):
        raise ValueError(f"no event until {times[-1]:g}: no AUC is defined. Choose later times.")
    return auc, mean


def brier_score(y_train, y_test, survival, times) -> np.ndarray:
    """Mean squared error of predicted survival at each time, censoring allowed for.

    Parameters
    ----------
    y_train : structured array of shape (m,)
        Outcomes that tell how censoring works: those of the training set.
    y_test : structured array of shape (n,)
    survival : array-like of shape (n, n_times)
        Predicted probability to be without the event after each time.
    times : array-like of shape (n_times,)
        Ascending, within the follow-up of ``y_test``.

    Returns
    -------
    ndarray of shape (n_times,)
        0 at best; 0.25 for a constant prediction of one half.

    Raises
    ------
    ValueError
        If times are outside the follow-up or not ascending, y has entries or several outcomes, or
        shapes differ.

    Notes
    -----
    Graf et al., Statistics in Medicine 18 (1999).

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import brier_score, survival_outcome
    >>> y = survival_outcome([1, 1, 0], [1.0, 3.0, 4.0])
    >>> brier_score(y, y, [[0.1, 0.0], [0.8, 0.4], [0.9, 0.9]], times=[2.0, 3.5]).round(4)
    array([0.02  , 0.0567])
    """
    train, test, times = _read(y_train, y_test, times)
    return brier_of_outcome(train, test, _check_survival(survival, test, times), times, 0)


def integrated_brier_score(y_train, y_test, survival, times) -> float:
    """Mean over time of the Brier score, by the trapezoidal rule.

    Parameters
    ----------
    y_train, y_test, survival, times
        As for :func:`brier_score`; at least two times.

    Returns
    -------
    float
        Lower is better.

    Raises
    ------
    ValueError
        As :func:`brier_score`, or if there are fewer than two times.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import integrated_brier_score, survival_outcome
    >>> y = survival_outcome([1, 1, 0], [1.0, 3.0, 4.0])
    >>> survival = [[0.1, 0.0], [0.8, 0.4], [0.9, 0.9]]
    >>> round(integrated_brier_score(y, y, survival, times=[2.0, 3.5]), 4)
    0.0383
    """
    scores = brier_score(y_train, y_test, survival, times)
    return average_over_time(scores, np.asarray(times, dtype=np.float64))


def average_over_time(scores: np.ndarray, times: np.ndarray) -> float:
    """Integral by the trapezoidal rule over the span of the times, divided by it."""
    if len(times) < 2:
        raise ValueError(f"an integral needs at least two times, got {len(times)}.")
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))


def check_follow_up(test: SurvivalOutcome, column: int, times: np.ndarray) -> None:
    """Refuse times at which nothing, or everything, has happened.

    Raises
    ------
    ValueError
        If a time is before the first of the outcomes, or not before the last.
    """
    known = test.column(column)[2]
    if not len(known) or times.min() < known.min() or times.max() >= known.max():
        span = f"from {known.min():g} to below {known.max():g}" if len(known) else "of nobody"
        raise ValueError(
            f"times from {times.min():g} to {times.max():g}: the follow-up of the outcomes to be "
            f"scored is {span}. Choose times within it."
        )


def auc_of_outcome(train, test, risk, times, column: int) -> tuple[np.ndarray, float]:
    """AUCs and their mean of one outcome; the mean is NaN where none is defined."""
    check_follow_up(test, column, times)
    known, event, time, _ = test.column(column)
    risk = risk[known, column]
    order = np.argsort(risk, kind="stable")
    event, time, risk = event[order], time[order], risk[order]
    weights = np.zeros(len(time))
    cases = event & (time <= times[-1])
    weights[cases] = inverse_censoring(train, column, time[cases])
    first = np.searchsorted(risk, risk, side="left")
    last = np.searchsorted(risk, risk, side="right")
    auc = np.full(len(times), np.nan)
    for place, moment in enumerate(times):
        until = np.where(time <= moment, weights, 0.0)
        controls = np.append(0, np.cumsum(time > moment))
        if until.sum() > 0:
            below = (controls[first] + controls[last]) / 2
            auc[place] = np.sum(until * below) / until.sum() / controls[-1]
    curve = kaplan_meier(_one(test, column)).at(times)
    falls = -np.diff(curve, prepend=1.0)
    falls[np.isnan(auc)] = 0.0
    if not falls.sum():
        return auc, np.nan
    return auc, float(np.nansum(auc * falls) / falls.sum())


def brier_of_outcome(train, test, survival, times, column: int) -> np.ndarray:
    """Brier scores of one outcome."""
    check_follow_up(test, column, times)
    known, event, time, _ = test.column(column)
    survival = survival[known]
    cases = event & (time <= times[-1])
    weights = np.zeros(len(time))
    weights[cases] = inverse_censoring(train, column, time[cases])
    case_weights = np.where(time[:, None] <= times, weights[:, None], 0.0)
    control_weights = (time[:, None] > times) * inverse_censoring(train, column, times)
    return np.mean(survival**2 * case_weights + (1 - survival) ** 2 * control_weights, axis=0)


def _read(y_train, y_test, times) -> tuple[SurvivalOutcome, SurvivalOutcome, np.ndarray]:
    train, test = read_outcome(y_train, "y_train"), read_outcome(y_test, "y_test")
    refuse_entries(train, test)
    if train.n_outcomes != 1 or test.n_outcomes != 1:
        raise ValueError(
            f"y_train holds {train.n_outcomes} and y_test {test.n_outcomes} outcomes; accepted is "
            "one. Choose a column: y[:, 0]."
        )
    return train, test, check_moments(times)


def check_moments(times) -> np.ndarray:
    """Times as an array, ascending.

    Raises
    ------
    ValueError
        If there are none, or they are not finite and ascending.
    """
    times = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if times.ndim != 1 or not times.size or not (np.diff(times) > 0).all():
        raise ValueError(f"times must be ascending and distinct, and at least one; got {times}.")
    if not np.isfinite(times).all():
        raise ValueError(f"times must be finite, got {times}.")
    return times


def _check_survival(survival, test: SurvivalOutcome, times: np.ndarray) -> np.ndarray:
    survival = np.asarray(survival, dtype=np.float64)
    if survival.shape != (len(test), len(times)):
        raise ValueError(
            f"survival has the shape {survival.shape}; accepted is {(len(test), len(times))}, one "
            "row per subject and one column per time."
        )
    needed = survival[~np.isnan(test.time[:, 0])]
    if not ((needed >= 0) & (needed <= 1)).all():
        raise ValueError("survival holds values that are no probabilities (0 to 1).")
    return survival


def _one(outcome: SurvivalOutcome, column: int) -> np.ndarray:
    y = np.empty(len(outcome), dtype=[("event", np.bool_), ("time", np.float64)])
    y["event"], y["time"] = outcome.event[:, column], outcome.time[:, column]
    return y
