# SPDX-License-Identifier: BSD-3-Clause
"""Survival scores as scikit-learn wants them: called with an estimator, X and y."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np

from .survival import SurvivalOutcome, censoring_survival, kaplan_meier, read_outcome

__all__ = [
    "DynamicAUC",
    "HarrellConcordance",
    "IntegratedBrier",
    "UnoConcordance",
    "brier_score",
    "check_risks",
    "concordance_index",
    "dynamic_auc",
    "integrated_brier_score",
    "mean_over_outcomes",
    "uno_concordance",
]

_SHARES = np.linspace(0.1, 0.9, 9)


@dataclass(frozen=True, eq=False)
class HarrellConcordance:
    """Harrell's concordance index of ``estimator.predict``; see :func:`concordance_index`.

    Called as ``scorer(estimator, X, y)``. Several outcomes are averaged.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sleep2vec_sklearn.evaluation import HarrellConcordance, survival_outcome
    >>> X = np.array([[3.0], [2.0], [1.0], [0.0]])
    >>> y = survival_outcome([1, 1, 0, 1], [2.0, 5.0, 6.0, 9.0])
    >>> HarrellConcordance()(LinearRegression().fit(X, -y["time"]), X, y)
    1.0
    """

    def __call__(self, estimator, X, y) -> float:
        return concordance_index(y, estimator.predict(X))


@dataclass(frozen=True, eq=False)
class UnoConcordance:
    """Uno's concordance index of ``estimator.predict``; see :func:`uno_concordance`.

    Parameters
    ----------
    y_train : structured array of shape (m,) or (m, k), optional
        Outcomes that tell how censoring works. By default those that the estimator keeps of its
        training as ``training_outcomes_``.
    tau : float, optional
        Only events before it count. By default those within the follow-up of the training.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sleep2vec_sklearn.evaluation import UnoConcordance, survival_outcome
    >>> X = np.array([[3.0], [2.0], [0.5], [1.0]])
    >>> y = survival_outcome([1, 1, 0, 1], [2.0, 5.0, 6.0, 9.0])
    >>> round(UnoConcordance(y)(LinearRegression().fit(X, -y["time"]), X, y), 3)
    1.0
    """

    y_train: np.ndarray | None = None
    tau: float | None = None

    def __call__(self, estimator, X, y) -> float:
        train, test = _outcomes(self, estimator, y)
        risk = check_risks(estimator.predict(X), test)

        def score(column: int) -> float:
            known, event, time, _ = test.column(column)
            if not event.any():
                return np.nan
            early = (
                time < self.tau if self.tau is not None else within_follow_up(train, column, time)
            )
            counted = event & early
            return uno_of_events(train, test, risk[known, column], column, counted)

        return mean_over_outcomes(test, score)


@dataclass(frozen=True, eq=False)
class DynamicAUC:
    """Mean cumulative/dynamic AUC of ``estimator.predict``; see :func:`dynamic_auc`.

    Parameters
    ----------
    y_train : structured array of shape (m,) or (m, k), optional
        As for :class:`UnoConcordance`.
    times : array-like of shape (n_times,), optional
        By default the deciles of the event times in the training, as far as they lie within the
        follow-up of the rows to be scored.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sleep2vec_sklearn.evaluation import DynamicAUC, survival_outcome
    >>> X = np.array([[3.0], [0.5], [2.0], [1.0]])
    >>> y = survival_outcome([1, 1, 0, 1], [2.0, 5.0, 6.0, 9.0])
    >>> round(DynamicAUC(y, times=[3, 6])(LinearRegression().fit(X, -y["time"]), X, y), 3)
    0.75
    """

    y_train: np.ndarray | None = None
    times: np.ndarray | None = None

    def __call__(self, estimator, X, y) -> float:
        train, test = _outcomes(self, estimator, y)
        risk = check_risks(estimator.predict(X), test)

        def score(column: int) -> float:
            times = _times_of(self.times, train, test, column)
            return auc_of_outcome(train, test, risk, times, column)[1] if len(times) else np.nan

        return mean_over_outcomes(test, score)


@dataclass(frozen=True, eq=False)
class IntegratedBrier:
    """Minus the integrated Brier score; see :func:`integrated_brier_score`.

    The sign is turned, as scikit-learn's searches look for the highest score. The estimator needs
    ``predict_survival_function``, as :class:`Sleep2VecCoxRegressor` and scikit-survival have it.

    Parameters
    ----------
    y_train : structured array of shape (m,) or (m, k), optional
        As for :class:`UnoConcordance`.
    times : array-like of shape (n_times,), optional
        As for :class:`DynamicAUC`; at least two.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import IntegratedBrier, survival_outcome
    >>> class CoinFlip:
    ...     def predict_survival_function(self, X, times):
    ...         return np.full((len(X), len(times)), 0.5)
    >>> y = survival_outcome([1, 1, 0, 1], [2.0, 5.0, 6.0, 9.0])
    >>> round(IntegratedBrier(y, times=[3, 5])(CoinFlip(), np.zeros((4, 1)), y), 3)
    -0.25
    """

    y_train: np.ndarray | None = None
    times: np.ndarray | None = None

    def __call__(self, estimator, X, y) -> float:
        train, test = _outcomes(self, estimator, y)
        moments = [_times_of(self.times, train, test, c) for c in range(test.n_outcomes)]
        together = np.unique(np.concatenate(moments))
        survival = _predict_survival(estimator, X, together) if len(together) else None

        def score(column: int) -> float:
            times = moments[column]
            if len(times) < 2 or not test.event[:, column].any():
                return np.nan
            ours = survival[:, column, np.searchsorted(together, times)]
            return -average_over_time(brier_of_outcome(train, test, ours, times, column), times)

        return mean_over_outcomes(test, score)


def _outcomes(scorer, estimator, y) -> tuple[SurvivalOutcome, SurvivalOutcome]:
    y_train = scorer.y_train
    if y_train is None:
        y_train = getattr(_innermost(estimator), "training_outcomes_", None)
    if y_train is None:
        name = type(scorer).__name__
        raise ValueError(
            f"{name} needs outcomes that tell how censoring works, and "
            f"{type(estimator).__name__} keeps none of its training (training_outcomes_). Pass "
            f"them: {name}(y_train)."
        )
    train, test = read_outcome(y_train, "y_train"), read_outcome(y)
    refuse_entries(train, test)
    if train.n_outcomes != test.n_outcomes:
        raise ValueError(
            f"y_train holds {train.n_outcomes} outcomes and y {test.n_outcomes}; accepted is one "
            "number of both."
        )
    return train, test


def _innermost(estimator):
    """What was fitted in the end, in a pipeline or a search."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator[-1]
        else:
            return estimator


def _times_of(times, train: SurvivalOutcome, test: SurvivalOutcome, column: int) -> np.ndarray:
    if times is not None:
        return check_moments(times)
    _, event, time, _ = train.column(column)
    follow_up = test.column(column)[2]
    if not event.any() or not len(follow_up):
        return np.empty(0)
    times = np.unique(np.quantile(time[event], _SHARES))
    within = (times >= follow_up.min()) & (times < follow_up.max())
    return times[within & within_follow_up(train, column, times)]


def _predict_survival(estimator, X, times: np.ndarray) -> np.ndarray:
    """Survival as [n, k, n_times], from whatever form the estimator gives it in."""
    if hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    if hasattr(estimator, "steps"):
        for _, step in estimator.steps[:-1]:
            X = X if step in (None, "passthrough") else step.transform(X)
        estimator = estimator[-1]
    predict = getattr(estimator, "predict_survival_function", None)
    if predict is None:
        raise TypeError(
            f"{type(estimator).__name__} has no predict_survival_function, which IntegratedBrier "
            "needs. Score risks with UnoConcordance or DynamicAUC."
        )
    if "times" in inspect.signature(predict).parameters:
        survival = np.asarray(predict(X, times=times), dtype=np.float64)
    else:
        survival = np.stack([function(times) for function in predict(X)])
    return survival if survival.ndim == 3 else survival[:, None, :]


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
