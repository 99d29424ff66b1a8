# SPDX-License-Identifier: BSD-3-Clause
"""Survival scores: concordance, cumulative/dynamic AUC and Brier score, also as scorers.

torchsurv 0.2 (MIT) was weighed for them: its censoring weights are float32, so scores differ by up
to 6e-8, it takes no late entries, and a concordance of 4000 subjects takes 3.9 s instead of 0.05 s.
lifelines needs pandas below 3; scikit-survival is GPL-3 and gave the values frozen in the tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arguments import as_numbers, check_number, shown
from .survival import SurvivalOutcome, count_at_risk, read_outcome, step_values

DECILES = np.linspace(0.1, 0.9, 9)


def concordance_index(y: np.ndarray, risk: ArrayLike, *, tied_tol: float = 1e-8) -> float:
    """Harrell's concordance index.

    A pair is comparable if one of the two has the event while the other is under observation and
    still without it. It is concordant if the risk of the first is higher; ties count half.

    Parameters
    ----------
    y : structured array of shape (n,) or (n, k)
        As :func:`survival_outcome` makes it; with entries (left truncation), only pairs that were
        under observation together are compared.
    risk : array-like of the same shape
        Higher means earlier.
    tied_tol : float
        Risks closer than this are tied.

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
    Harrell et al., Statistics in Medicine 15 (1996). A subject censored at the time of another's
    event is taken to be without it, and is compared.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import concordance_index, survival_outcome
    >>> y = survival_outcome([1, 1, 0, 1], [2.0, 5.0, 6.0, 9.0])
    >>> concordance_index(y, [0.9, 0.1, 0.4, 0.2])
    0.6
    """
    outcome = read_outcome(y)
    risks = check_risks(risk, outcome)
    tied_tol = check_number("tied_tol", tied_tol, 0)

    def score(column: int) -> float:
        known, event, time, entry = outcome.column(column)
        return _concordance(event, time, entry, risks[known, column], event.astype(float), tied_tol)

    return _mean_over_outcomes(outcome, score)


def uno_concordance(
    y_train: np.ndarray, y_test: np.ndarray, risk: ArrayLike, *, tau: float | None = None,
    tied_tol: float = 1e-8,
) -> float:  # fmt: skip
    """Uno's concordance index, which does not depend on the length of follow-up.

    Parameters
    ----------
    y_train : structured array of shape (m,) or (m, k)
        Outcomes of the training set, from which censoring is estimated.
    y_test : structured array of shape (n,) or (n, k)
    risk : array-like of the shape of ``y_test``
        Higher means earlier.
    tau : float, optional
        Only events before it count. By default all.
    tied_tol : float
        As for :func:`concordance_index`.

    Returns
    -------
    float
        The mean over outcomes with an event before ``tau``.

    Raises
    ------
    ValueError
        If no pair is comparable, an event comes after the follow-up of the training set, y has
        entries (left truncation), shapes differ, or a risk is not finite.

    Notes
    -----
    Uno et al., Statistics in Medicine 30 (2011): an event is weighted by the inverse square of the
    probability of not being censored until then.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import survival_outcome, uno_concordance
    >>> y = survival_outcome([1, 0, 1, 1, 0], [2.0, 3.0, 5.0, 6.0, 9.0])
    >>> round(uno_concordance(y, y, [0.9, 0.3, 0.2, 0.4, 0.1]), 3)
    0.81
    """
    train, test = read_outcome(y_train, "y_train"), read_outcome(y_test, "y_test")
    _refuse_entries(train, test)
    risks = check_risks(risk, test)
    tied_tol = check_number("tied_tol", tied_tol, 0)
    if tau is not None:
        tau = check_number("tau", tau, 0, above=True)

    def score(column: int) -> float:
        known, event, time, _ = test.column(column)
        counted = event if tau is None else event & (time < tau)
        return _uno(train, test, risks[known, column], column, counted, tied_tol)

    return _mean_over_outcomes(test, score)


def dynamic_auc(
    y_train: np.ndarray, y_test: np.ndarray, risk: ArrayLike, times: ArrayLike
) -> tuple[np.ndarray, float]:
    """Cumulative/dynamic AUC: those with the event by each time against those without.

    Parameters
    ----------
    y_train, y_test, risk
        As for :func:`uno_concordance`, of one outcome.
    times : array-like of shape (n_times,)
        Ascending, within the follow-up of ``y_test``.

    Returns
    -------
    auc : ndarray of shape (n_times,)
        Of those with the event by the time against those without it after the time; NaN where
        none had it yet.
    mean : float
        Over the times, each weighted by the decrease in survival since the one before.

    Raises
    ------
    ValueError
        As :func:`uno_concordance`, or if times are not ascending or outside the follow-up, or no
        AUC is defined.

    Notes
    -----
    Uno et al., JASA 102 (2007); the mean is that of Lambert & Chevret (2014). Events are weighted
    by the inverse of the probability of not being censored until then.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import dynamic_auc, survival_outcome
    >>> y = survival_outcome([1, 0, 1, 1, 0], [2.0, 3.0, 5.0, 6.0, 9.0])
    >>> auc, mean = dynamic_auc(y, y, [0.9, 0.3, 0.2, 0.4, 0.1], times=[2.5, 5.5])
    >>> auc.round(3), round(mean, 3)
    (array([1.   , 0.714]), 0.837)
    """
    train, test, moments = _read_single(y_train, y_test, times)
    auc, mean = _auc(train, test, check_risks(risk, test), moments, 0)
    if np.isnan(mean):
        raise ValueError(f"no event until {moments[-1]:g}: no AUC is defined. Choose later times.")
    return auc, mean


def brier_score(
    y_train: np.ndarray, y_test: np.ndarray, survival: ArrayLike, times: ArrayLike
) -> np.ndarray:
    """Mean squared error of predicted survival at each time, weighted for censoring.

    Parameters
    ----------
    y_train, y_test
        As for :func:`uno_concordance`, of one outcome.
    survival : array-like of shape (n, n_times)
        Predicted probability of event-free survival beyond each time.
    times : array-like of shape (n_times,)
        Ascending, within the follow-up of ``y_test``.

    Returns
    -------
    ndarray of shape (n_times,)
        0 at best; 0.25 for a constant prediction of one half.

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
    train, test, moments = _read_single(y_train, y_test, times)
    predicted = as_numbers("survival", survival, ndim=(1, 2))
    if predicted.shape != (len(test), len(moments)):
        raise ValueError(
            f"survival has the shape {predicted.shape}; accepted is {(len(test), len(moments))}, "
            "one row per subject and one column per time."
        )
    needed = predicted[~np.isnan(test.time[:, 0])]
    if not ((needed >= 0) & (needed <= 1)).all():
        raise ValueError("survival holds values that are no probabilities (0 to 1).")
    return _brier(train, test, predicted, moments, 0)


def integrated_brier_score(
    y_train: np.ndarray, y_test: np.ndarray, survival: ArrayLike, times: ArrayLike
) -> float:
    """Mean over time of the Brier score, by the trapezoidal rule.

    Parameters
    ----------
    y_train, y_test, survival, times
        As for :func:`brier_score`; at least two times.

    Returns
    -------
    float
        Lower is better.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import integrated_brier_score, survival_outcome
    >>> y = survival_outcome([1, 1, 0], [1.0, 3.0, 4.0])
    >>> integrated_brier_score(y, y, [[0.5, 0.5]] * 3, times=[2.0, 3.5])
    0.25
    """
    scores = brier_score(y_train, y_test, survival, times)
    return mean_over_time(scores, check_times(times))


@dataclass(frozen=True, eq=False)
class HarrellConcordance:
    """Scorer by :func:`concordance_index` of ``estimator.predict``, the mean over outcomes.

    Called as ``scorer(estimator, X, y)``, as scikit-learn's scorers are.

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

    def __call__(self, estimator: Any, X: Any, y: np.ndarray) -> float:
        return concordance_index(y, estimator.predict(X))


@dataclass(frozen=True, eq=False)
class UnoConcordance:
    """Scorer by :func:`uno_concordance` of ``estimator.predict``.

    Parameters
    ----------
    y_train : structured array of shape (m,) or (m, k), optional
        Outcomes from which censoring is estimated. By default ``training_outcomes_`` of the
        estimator.
    tau : float, optional
        Only events before it count. By default those within the follow-up of the training.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sleep2vec_sklearn.evaluation import UnoConcordance, survival_outcome
    >>> X, y = [[0]] * 3, survival_outcome([1, 1, 0], [1.0, 3.0, 4.0])
    >>> UnoConcordance(y)(DummyRegressor().fit(X, [0, 0, 0]), X, y)  # all risks are tied
    0.5
    """

    y_train: np.ndarray | None = None
    tau: float | None = None

    def __call__(self, estimator: Any, X: Any, y: np.ndarray) -> float:
        train, test = _outcomes_of(self, self.y_train, estimator, y)
        risk = check_risks(estimator.predict(X), test)

        def score(column: int) -> float:
            known, event, time, _ = test.column(column)
            if not event.any():
                return np.nan
            if self.tau is None:
                counted = event & within_follow_up(train, column, time)
            else:
                counted = event & (time < self.tau)
            return _uno(train, test, risk[known, column], column, counted)

        return _mean_over_outcomes(test, score)


@dataclass(frozen=True, eq=False)
class DynamicAUC:
    """Scorer by the mean :func:`dynamic_auc` of ``estimator.predict``.

    Parameters
    ----------
    y_train : structured array of shape (m,) or (m, k), optional
        As for :class:`UnoConcordance`.
    times : array-like of shape (n_times,), optional
        By default the deciles of the event times in the training, as far as they lie within the
        follow-up of the scored rows.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sleep2vec_sklearn.evaluation import DynamicAUC, survival_outcome
    >>> X, y = [[0]] * 3, survival_outcome([1, 1, 0], [1.0, 3.0, 4.0])
    >>> DynamicAUC(y, times=[2, 3.5])(DummyRegressor().fit(X, [0, 0, 0]), X, y)
    0.5
    """

    y_train: np.ndarray | None = None
    times: ArrayLike | None = None

    def __call__(self, estimator: Any, X: Any, y: np.ndarray) -> float:
        train, test = _outcomes_of(self, self.y_train, estimator, y)
        risk = check_risks(estimator.predict(X), test)

        def score(column: int) -> float:
            times = _choose_times(self.times, train, test, column)
            return _auc(train, test, risk, times, column)[1] if len(times) else np.nan

        return _mean_over_outcomes(test, score)


@dataclass(frozen=True, eq=False)
class IntegratedBrier:
    """Scorer by minus the :func:`integrated_brier_score`, so that higher is better.

    The estimator needs ``predict_survival_function``, as :class:`Sleep2VecCoxRegressor` and
    scikit-survival's have it.

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
    times: ArrayLike | None = None

    def __call__(self, estimator: Any, X: Any, y: np.ndarray) -> float:
        train, test = _outcomes_of(self, self.y_train, estimator, y)
        times = [_choose_times(self.times, train, test, c) for c in range(test.n_outcomes)]
        # all outcomes are predicted at once, at the times of any of them
        union = np.unique(np.concatenate(times))
        survival = predict_survival(estimator, X, union) if len(union) else np.empty(0)

        def score(column: int) -> float:
            moments = times[column]
            if len(moments) < 2 or not test.event[:, column].any():
                return np.nan
            predicted = survival[:, column, np.searchsorted(union, moments)]
            return -mean_over_time(_brier(train, test, predicted, moments, column), moments)

        return _mean_over_outcomes(test, score)


def _outcomes_of(
    scorer: object, y_train: np.ndarray | None, estimator: Any, y: np.ndarray
) -> tuple[SurvivalOutcome, SurvivalOutcome]:
    if y_train is None:
        y_train = getattr(innermost(estimator), "training_outcomes_", None)
    if y_train is None:
        name = type(scorer).__name__
        raise ValueError(
            f"{name} needs outcomes from which censoring is estimated, and "
            f"{type(estimator).__name__} keeps none of its training (training_outcomes_). Pass "
            f"them: {name}(y_train)."
        )
    train, test = read_outcome(y_train, "y_train"), read_outcome(y)
    _refuse_entries(train, test)
    if train.n_outcomes != test.n_outcomes:
        raise ValueError(
            f"y_train holds {train.n_outcomes} outcomes and y {test.n_outcomes}; accepted is one "
            "number of both."
        )
    return train, test


def innermost(estimator: Any) -> Any:
    """The final estimator of a pipeline or search."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator[-1]
        else:
            return estimator


def _choose_times(
    times: ArrayLike | None, train: SurvivalOutcome, test: SurvivalOutcome, column: int
) -> np.ndarray:
    if times is not None:
        return check_times(times)
    _, event, time, _ = train.column(column)
    follow_up = test.column(column)[2]
    if not event.any() or not len(follow_up):
        return np.empty(0)
    deciles = np.unique(np.quantile(time[event], DECILES))
    within = (deciles >= follow_up.min()) & (deciles < follow_up.max())
    return deciles[within & within_follow_up(train, column, deciles)]


def predict_survival(estimator: Any, X: Any, times: np.ndarray) -> np.ndarray:
    """Survival as [n, k, n_times], from arrays or from scikit-survival's step functions."""
    predict, X = final_method(estimator, "predict_survival_function", X)
    if predict is None:
        raise TypeError(
            f"{type(innermost(estimator)).__name__} has no predict_survival_function, from which "
            "probabilities are taken. Score risks with UnoConcordance or DynamicAUC."
        )
    if "times" in inspect.signature(predict).parameters:
        survival = np.asarray(predict(X, times=times), dtype=np.float64)
    else:
        survival = np.stack([function(times) for function in predict(X)])
    return survival if survival.ndim == 3 else survival[:, None, :]


def final_method(estimator: Any, name: str, X: Any) -> tuple[Any, Any]:
    """A method of the final step of a pipeline or search, or None, and its X."""
    if hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    if hasattr(estimator, "steps"):
        for _, step in estimator.steps[:-1]:
            X = X if step in (None, "passthrough") else step.transform(X)
        estimator = estimator[-1]
    return getattr(estimator, name, None), X


def _mean_over_outcomes(outcome: SurvivalOutcome, score: Callable[[int], float]) -> float:
    """Mean of the score of each column where it is defined; refused where it is nowhere."""
    scores = np.array([score(column) for column in range(outcome.n_outcomes)])
    if np.isnan(scores).all():
        raise ValueError(
            f"no comparable pair: {outcome.event.sum()} events and "
            f"{(~np.isnan(outcome.time)).sum()} known times in {len(outcome)} subjects, and none "
            "was followed up beyond another's event. A score needs more events: use fewer or "
            "larger folds, or pool the outcomes."
        )
    return float(np.nanmean(scores))


def mean_over_time(scores: np.ndarray, times: np.ndarray) -> float:
    if len(times) < 2:
        raise ValueError(f"an integral needs at least two times, got {len(times)}.")
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))


def _read_single(
    y_train: np.ndarray, y_test: np.ndarray, times: ArrayLike
) -> tuple[SurvivalOutcome, SurvivalOutcome, np.ndarray]:
    train, test = read_outcome(y_train, "y_train"), read_outcome(y_test, "y_test")
    _refuse_entries(train, test)
    if train.n_outcomes != 1 or test.n_outcomes != 1:
        raise ValueError(
            f"y_train holds {train.n_outcomes} and y_test {test.n_outcomes} outcomes; accepted is "
            "one. Choose a column: y[:, 0]."
        )
    return train, test, check_times(times)


def _refuse_entries(*outcomes: SurvivalOutcome) -> None:
    if any(outcome.entry is not None for outcome in outcomes):
        raise ValueError(
            "y has the field 'entry' (left truncation), for which only Harrell's concordance is "
            "defined here. Use concordance_index or HarrellConcordance, or leave the entries out "
            "with y[['event', 'time']]."
        )


def check_times(times: ArrayLike) -> np.ndarray:
    moments = np.atleast_1d(as_numbers("times", [times] if np.isscalar(times) else times, range(9)))
    if not (
        moments.ndim == 1
        and moments.size
        and np.isfinite(moments).all()
        and (np.diff(moments) > 0).all()
    ):
        raise ValueError(
            f"times must be finite, distinct and ascending numbers; got {shown(times)}. Pass for "
            "example times=[1, 2, 5], in the unit of the outcomes."
        )
    return moments


def check_risks(risk: ArrayLike, outcome: SurvivalOutcome) -> np.ndarray:
    """Risks as an (n, k) array, finite where the outcome is known."""
    risks = as_numbers("risk", risk, ndim=(1, 2))
    risks = risks[:, None] if risks.ndim == 1 else risks
    if risks.shape != outcome.time.shape:
        raise ValueError(
            f"risk has the shape {risks.shape}, outcomes {outcome.time.shape}; accepted is one "
            "risk per subject and outcome."
        )
    if not np.isfinite(risks[~np.isnan(outcome.time)]).all():
        raise ValueError("risk holds values that are not finite. Did the training diverge?")
    return risks


def check_follow_up(test: SurvivalOutcome, column: int, times: np.ndarray) -> None:
    known = test.column(column)[2]
    if not len(known) or times.min() < known.min() or times.max() >= known.max():
        span = f"from {known.min():g} to below {known.max():g}" if len(known) else "of no subject"
        raise ValueError(
            f"times from {times.min():g} to {times.max():g}: the follow-up of the outcomes to be "
            f"scored is {span}. Choose times within it."
        )


def _auc(
    train: SurvivalOutcome, test: SurvivalOutcome, risks: np.ndarray, times: np.ndarray, column: int
) -> tuple[np.ndarray, float]:
    """AUCs of one outcome and their mean, which is NaN where none is defined."""
    check_follow_up(test, column, times)
    known, event, time, entry = test.column(column)
    km_times, n_events, n_at_risk = count_at_risk(event, time, entry)
    survival = step_values(km_times, np.cumprod(1 - n_events / n_at_risk), times)
    order = np.argsort(risks[known, column], kind="stable")
    event, time, risk = event[order], time[order], risks[known, column][order]
    weights = _case_weights(train, column, event, time, times[-1])
    first = np.searchsorted(risk, risk, side="left")
    last = np.searchsorted(risk, risk, side="right")
    auc = np.full(len(times), np.nan)
    for i, moment in enumerate(times):
        cases = np.where(time <= moment, weights, 0.0)
        n_controls = np.append(0, np.cumsum(time > moment))
        if cases.sum() > 0:
            n_below = (n_controls[first] + n_controls[last]) / 2
            auc[i] = np.sum(cases * n_below) / cases.sum() / n_controls[-1]
    decreases = -np.diff(survival, prepend=1.0)
    decreases[np.isnan(auc)] = 0.0
    if not decreases.sum():
        return auc, np.nan
    return auc, float(np.nansum(auc * decreases) / decreases.sum())


def _brier(
    train: SurvivalOutcome, test: SurvivalOutcome, survival: np.ndarray, times: np.ndarray,
    column: int,
) -> np.ndarray:  # fmt: skip
    check_follow_up(test, column, times)
    known, event, time, _ = test.column(column)
    survival = survival[known]
    weights = _case_weights(train, column, event, time, times[-1])
    case_weights = np.where(time[:, None] <= times, weights[:, None], 0.0)
    control_weights = (time[:, None] > times) * inverse_censoring(train, column, times)
    return np.mean(survival**2 * case_weights + (1 - survival) ** 2 * control_weights, axis=0)


def _case_weights(
    train: SurvivalOutcome, column: int, event: np.ndarray, time: np.ndarray, last: float
) -> np.ndarray:
    """Inverse censoring weights of the events until the last time, 0 of the rest."""
    cases = event & (time <= last)
    weights = np.zeros(len(time))
    weights[cases] = inverse_censoring(train, column, time[cases])
    return weights


def inverse_censoring(
    train: SurvivalOutcome, column: int, times: np.ndarray, *, before: bool = False
) -> np.ndarray:
    """One over the probability of not being censored until (or before) each time."""
    if column >= train.n_outcomes:
        raise ValueError(f"y_train has {train.n_outcomes} outcomes; y_test has more.")
    if not times.size:
        return np.ones(0)
    if np.isnan(train.time[:, column]).all():
        raise ValueError(f"y_train holds nothing but NaN in outcome {column}.")
    last, uncensored = _uncensored_until(train, column, times, before)
    beyond = (times > last) | (uncensored <= 0)
    if beyond.any():
        raise ValueError(
            f"a time of {times[beyond].min():g} is beyond the follow-up of the training outcomes: "
            f"none of them is known to have had no event then (the last leaves at {last:g}). Pass "
            "an earlier tau, or earlier times."
        )
    return 1 / uncensored


def within_follow_up(train: SurvivalOutcome, column: int, times: np.ndarray) -> np.ndarray:
    """Whether censoring until each time can be estimated from the training outcomes."""
    last, uncensored = _uncensored_until(train, column, times)
    return (times <= last) & (uncensored > 0)


def _uncensored_until(
    train: SurvivalOutcome, column: int, at: np.ndarray, before: bool = False
) -> tuple[float, np.ndarray]:
    """Last training time, and the Kaplan-Meier probability of being uncensored until each time."""
    _, event, time, entry = train.column(column)
    if not len(time):
        return -np.inf, np.zeros(len(at))
    times, n_events, n_at_risk = count_at_risk(event, time, entry)
    n_censored = np.bincount(np.searchsorted(times, time[~event]), minlength=len(times))
    # those with an event at a time are not at risk of being censored at it
    uncensored = np.cumprod(1 - n_censored / np.maximum(n_at_risk - n_events, 1))
    return times[-1], step_values(times, uncensored, at, before=before)


def _uno(
    train: SurvivalOutcome, test: SurvivalOutcome, risk: np.ndarray, column: int,
    counted: np.ndarray, tied_tol: float = 1e-8,
) -> float:  # fmt: skip
    """Uno's index of one outcome over the counted events, NaN without a pair."""
    _, event, time, entry = test.column(column)
    weights = np.zeros(len(time))
    weights[counted] = inverse_censoring(train, column, time[counted]) ** 2
    return _concordance(event, time, entry, risk, weights, tied_tol)


def _concordance(
    event: np.ndarray, time: np.ndarray, entry: np.ndarray, risk: np.ndarray, weights: np.ndarray,
    tied_tol: float,
) -> float:  # fmt: skip
    """Weighted fraction of concordant pairs, NaN without any; weights are those of the events."""
    cases = np.flatnonzero(event & (weights > 0))
    # those censored at the time of an event leave half a step later
    leaves = np.unique(time, return_inverse=True)[1] * 2 + ~event
    order = np.argsort(leaves, kind="stable")
    first_later = np.searchsorted(leaves[order], leaves[cases], side="right")
    risks, entries, has_entries = risk[order], entry[order], np.isfinite(entry).any()
    n_pairs, n_lower, n_not_higher = np.zeros((3, len(cases)), dtype=int)
    for i, case in enumerate(cases):
        others = risks[first_later[i] :]
        if has_entries:
            others = others[entries[first_later[i] :] < time[case]]
        n_pairs[i] = len(others)
        n_lower[i] = np.count_nonzero(others < risk[case] - tied_tol)
        n_not_higher[i] = np.count_nonzero(others <= risk[case] + tied_tol)
    if not n_pairs.any():
        return np.nan
    weights = weights[cases]
    return float(np.sum(weights * (n_lower + n_not_higher)) / 2 / np.sum(weights * n_pairs))


class FoldConcordance:
    """Harrell's concordance of pairs of subjects within a fold, over all folds; also resampled.

    Risks of different fits have no common scale. The nights of a subject, who is in one fold, are
    one observation of their mean risk.
    """

    def __init__(self, y: np.ndarray, codes: np.ndarray, fold: np.ndarray) -> None:
        outcome = read_outcome(y)
        first = np.unique(codes, return_index=True)[1]
        self.codes = codes
        self.pairs = []
        for number in np.unique(fold):
            subjects = np.flatnonzero((fold[first] == number) & ~np.isnan(outcome.time[first, 0]))
            rows = first[subjects]
            event, time = outcome.event[rows, 0], outcome.time[rows, 0]
            # those censored at the time of an event leave half a step later
            leaves = np.unique(time, return_inverse=True)[1] * 2 + ~event
            comparable = leaves > leaves[event][:, None]
            if outcome.entry is not None:
                comparable &= outcome.entry[rows, 0] < time[event][:, None]
            self.pairs.append((subjects, subjects[event], comparable))

    def __call__(self, predictions: Any, rows: np.ndarray, y: np.ndarray) -> float:
        draws = np.bincount(np.unique(self.codes[rows]), minlength=self.codes.max() + 1)
        return float(self.resample(predictions, rows, draws[None].astype(float))[0])

    def resample(self, predictions: Any, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The index of each resample, whose ``counts`` say how often it holds each subject."""
        n_nights = np.bincount(self.codes[rows], minlength=counts.shape[1])
        risks = check_finite(predictions.predict(rows))
        with np.errstate(invalid="ignore"):
            risk = np.bincount(self.codes[rows], risks, minlength=counts.shape[1]) / n_nights
        concordant, all_pairs = np.zeros((2, len(counts)))
        for subjects, cases, comparable in self.pairs:
            known = comparable & (n_nights[subjects] > 0)
            gap = risk[cases][:, None] - risk[subjects]
            share = np.where(known, ((gap > 1e-8) + (gap >= -1e-8).astype(float)) / 2, 0.0)
            drawn, drawn_cases = counts[:, subjects], counts[:, cases]
            concordant += ((drawn_cases @ share) * drawn).sum(axis=1)
            all_pairs += ((drawn_cases @ known.astype(float)) * drawn).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return concordant / all_pairs


def check_finite(risk: ArrayLike) -> np.ndarray:
    """Risks of one outcome; refuses others, and those that are not finite."""
    risks = np.asarray(risk, dtype=np.float64)
    if risks.ndim != 1 or not np.isfinite(risks).all():
        raise ValueError(
            f"predict gives an array of shape {risks.shape}, or values that are not finite; "
            "accepted is one log hazard ratio a row."
        )
    return risks
