# SPDX-License-Identifier: BSD-3-Clause
"""Scores of predicted cumulative incidence: concordance and Brier score, also as scorers.

R's pec and riskRegression are the reference implementations; no Python library that was found has
either score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._warnings import listed, warn
from ..errors import OutcomeWarning
from .competing_risks import CompetingOutcome, check_cause, read_competing
from .survival import SurvivalOutcome
from .survival_scores import (
    DECILES,
    check_follow_up,
    check_risks,
    check_times,
    final_method,
    innermost,
    inverse_censoring,
    mean_over_time,
    within_follow_up,
)


def competing_concordance(
    y_train: Any, y_test: Any, risk: ArrayLike, *, cause: int = 1, tau: float | None = None,
    tied_tol: float = 1e-8,
) -> float:  # fmt: skip
    """Concordance of predicted risks of one cause, where other causes compete.

    A subject with the event of the cause is compared with those who are still without any event,
    and with those who had another event before and thus never have this one. Pairs are weighted by
    the inverse of the probability of not being censored.

    Parameters
    ----------
    y_train : structured array of shape (m,), or DataFrame
        Outcomes of the training set, from which censoring is estimated.
    y_test : structured array of shape (n,), or DataFrame
        As :func:`competing_outcome` makes it.
    risk : array-like of shape (n,)
        Higher means more likely, such as the predicted cumulative incidence at ``tau``.
    cause : int, default=1
    tau : float, optional
        Only events until then count. By default all.
    tied_tol : float
        Risks closer than this are tied, and count half.

    Returns
    -------
    float
        0.5 for chance, 1 for the right order of all.

    Raises
    ------
    ValueError
        If no pair is comparable, an event comes after the follow-up of the training set, y has
        entries (left truncation), shapes differ, or a risk is not finite.

    Notes
    -----
    Wolbers, Blanche, Koller, Witteman & Gerds, Biostatistics 15 (2014). It assumes that censoring
    does not depend on the subject. A subject censored at the time of another's event is taken to be
    without it, and is compared. With one cause it differs from :func:`uno_concordance` only where
    events and censoring share a time.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import competing_concordance, competing_outcome
    >>> y = competing_outcome([1, 2, 0, 1], [2.0, 1.0, 6.0, 5.0])
    >>> competing_concordance(y, y, [0.9, 0.5, 0.1, 0.3])
    0.8
    """
    train, test = _read_pair(y_train, y_test)
    risks = check_risks(risk, test.survival())[:, 0]
    counted = _cases(test, check_cause(cause), tau)
    return _concordance(train, test, risks, counted, cause, tied_tol)


def competing_brier_score(
    y_train: Any, y_test: Any, incidence: ArrayLike, times: ArrayLike, *, cause: int = 1
) -> np.ndarray:
    """Mean squared error of predicted cumulative incidence, weighted for censoring.

    Parameters
    ----------
    y_train, y_test
        As for :func:`competing_concordance`.
    incidence : array-like of shape (n, n_times)
        Predicted probability of an event of the cause until each time.
    times : array-like of shape (n_times,)
        Ascending, within the follow-up of ``y_test``.
    cause : int, default=1

    Returns
    -------
    ndarray of shape (n_times,)
        0 at best. Compare with the score of the incidence of the training set, the same for all.

    Raises
    ------
    ValueError
        As :func:`competing_concordance`, or if an incidence is no probability, or times are not
        ascending or outside the follow-up.

    Notes
    -----
    Graf's score for competing risks: Schoop, Beyersmann, Schumacher & Binder, Biometrical Journal
    53 (2011). Who had any event by a time is weighted by the inverse of the probability of not
    being censored before the event, others by that of not being censored by the time.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import competing_brier_score, competing_outcome
    >>> y = competing_outcome([1, 2, 0], [1.0, 3.0, 4.0])
    >>> competing_brier_score(y, y, [[0.9, 0.9], [0.2, 0.2], [0.1, 0.1]], [2.0, 3.5]).round(4)
    array([0.02, 0.02])
    """
    train, test = _read_pair(y_train, y_test)
    moments, predicted = check_times(times), np.asarray(incidence, dtype=np.float64)
    if predicted.shape != (len(test), len(moments)):
        raise ValueError(
            f"incidence has the shape {predicted.shape}; accepted is {(len(test), len(moments))}, "
            "one row per subject and one column per time."
        )
    needed = predicted[~np.isnan(test.time)]
    if not ((needed >= 0) & (needed <= 1)).all():
        raise ValueError("incidence holds values that are no probabilities (0 to 1).")
    return _brier(train, test, predicted, moments, check_cause(cause))


def integrated_competing_brier_score(
    y_train: Any, y_test: Any, incidence: ArrayLike, times: ArrayLike, *, cause: int = 1
) -> float:
    """Mean over time of the Brier score for competing risks, by the trapezoidal rule.

    Parameters
    ----------
    y_train, y_test, incidence, times, cause
        As for :func:`competing_brier_score`; at least two times.

    Returns
    -------
    float
        Lower is better.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import competing_outcome, integrated_competing_brier_score
    >>> y = competing_outcome([1, 2, 0], [1.0, 3.0, 4.0])
    >>> integrated_competing_brier_score(y, y, [[0.5, 0.5]] * 3, [2.0, 3.5])
    0.25
    """
    scores = competing_brier_score(y_train, y_test, incidence, times, cause=cause)
    return mean_over_time(scores, np.asarray(times, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class CompetingConcordance:
    """Scorer by :func:`competing_concordance`.

    Risks are the cumulative incidence at ``tau`` where the estimator predicts it, as
    :class:`CauseSpecificCox` does, else ``estimator.predict``. Called as
    ``scorer(estimator, X, y)``.

    Parameters
    ----------
    y_train : structured array of shape (m,), or DataFrame, optional
        Outcomes from which censoring is estimated. By default ``training_outcomes_`` of the
        estimator.
    cause : int, optional
        By default the one of interest of a :class:`CauseSpecificCox`, else 1.
    tau : float, optional
        Only events until then count. By default those within the follow-up of the training.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sleep2vec_sklearn.evaluation import CompetingConcordance, competing_outcome
    >>> X, y = [[0]] * 3, competing_outcome([1, 2, 0], [1.0, 3.0, 4.0])
    >>> CompetingConcordance(y)(DummyRegressor().fit(X, [0, 0, 0]), X, y)  # all risks are tied
    0.5
    """

    y_train: Any = None
    cause: int | None = None
    tau: float | None = None

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        train, test = _outcomes_of(self, self.y_train, estimator, y)
        cause = _cause_of(self.cause, estimator)
        counted = _cases(test, cause, self.tau)
        if self.tau is None:
            counted &= within_follow_up(train, 0, test.time)
        predict, rows = final_method(estimator, "predict_cumulative_incidence", X)
        if predict is None or not counted.any():
            risk = estimator.predict(X)
        else:
            tau = test.time[counted].max() if self.tau is None else self.tau
            risk = predict(rows, [tau], cause=cause)[:, 0]
        risks = check_risks(risk, test.survival())[:, 0]
        return _concordance(train, test, risks, counted, cause)


@dataclass(frozen=True, eq=False)
class CompetingIntegratedBrier:
    """Scorer by minus the :func:`integrated_competing_brier_score`, so that higher is better.

    The estimator needs ``predict_cumulative_incidence(X, times, cause=...)``, as
    :class:`CauseSpecificCox` has it.

    Parameters
    ----------
    y_train, cause
        As for :class:`CompetingConcordance`.
    times : array-like of shape (n_times,), optional
        By default deciles of the times of the cause's events in the training, as far as they lie
        within the follow-up of the scored rows; at least two.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import CompetingIntegratedBrier, competing_outcome
    >>> class CoinFlip:
    ...     def predict_cumulative_incidence(self, X, times, *, cause=1):
    ...         return np.full((len(X), len(times)), 0.5)
    >>> y = competing_outcome([1, 2, 0, 1], [2.0, 5.0, 6.0, 9.0])
    >>> round(CompetingIntegratedBrier(y, times=[3, 5])(CoinFlip(), np.zeros((4, 1)), y), 3)
    -0.25
    """

    y_train: Any = None
    cause: int | None = None
    times: ArrayLike | None = None

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        train, test = _outcomes_of(self, self.y_train, estimator, y)
        cause = _cause_of(self.cause, estimator)
        predict, rows = final_method(estimator, "predict_cumulative_incidence", X)
        if predict is None:
            raise TypeError(
                f"{type(innermost(estimator)).__name__} has no predict_cumulative_incidence, which "
                "CompetingIntegratedBrier needs. Wrap a Cox estimator: CauseSpecificCox(estimator)."
            )
        times = self._choose_times(estimator, train, test, cause)
        predicted = np.asarray(predict(rows, times, cause=cause), dtype=np.float64)
        return -mean_over_time(_brier(train, test, predicted, times, cause), times)

    def _choose_times(
        self, estimator: Any, train: SurvivalOutcome, test: CompetingOutcome, cause: int
    ) -> np.ndarray:
        if self.times is not None:
            return check_times(self.times)
        y_train = _training_outcomes(self, self.y_train, estimator)
        fitted = read_competing(y_train, "y_train")
        events, follow_up = fitted.time[fitted.cause == cause], test.known().time
        if not len(events) or not len(follow_up):
            raise ValueError(
                f"times cannot be chosen: {len(events)} events of cause {cause} in the "
                f"training, {len(follow_up)} known times to score. Pass times."
            )
        deciles = np.unique(np.quantile(events, DECILES))
        within = (deciles >= follow_up.min()) & (deciles < follow_up.max())
        return deciles[within & within_follow_up(train, 0, deciles)]


def _cause_of(cause: int | None, estimator: Any) -> int:
    return check_cause(getattr(innermost(estimator), "cause", 1) if cause is None else cause)


def _training_outcomes(scorer: object, y_train: Any, estimator: Any) -> Any:
    found = getattr(innermost(estimator), "training_outcomes_", None)
    if y_train is None and found is None:
        name = type(scorer).__name__
        raise ValueError(
            f"{name} needs outcomes from which censoring is estimated, and "
            f"{type(estimator).__name__} keeps none of its training (training_outcomes_). Pass "
            f"them: {name}(y_train)."
        )
    return found if y_train is None else y_train


def _outcomes_of(
    scorer: object, y_train: Any, estimator: Any, y: Any
) -> tuple[SurvivalOutcome, CompetingOutcome]:
    train, test = _read_pair(_training_outcomes(scorer, y_train, estimator), y)
    seen = getattr(innermost(estimator), "causes_", test.causes)
    unseen = np.setdiff1d(test.causes, seen)
    if len(unseen):
        warn(
            f"causes {listed(list(map(str, unseen)))} have events in the rows that are scored "
            f"({test.count()}), and none in the training of {type(innermost(estimator)).__name__}: "
            "its incidences of the others are too high. Use larger folds, stratified by cause: "
            "StratifiedKFold(5).split(X, y['cause']).",
            OutcomeWarning,
        )
    return train, test


def _read_pair(y_train: Any, y_test: Any) -> tuple[SurvivalOutcome, CompetingOutcome]:
    """Times to any event of the training set, and the outcomes to be scored."""
    train, test = read_competing(y_train, "y_train"), read_competing(y_test, "y_test")
    if train.entry is not None or test.entry is not None:
        raise ValueError(
            "y has the field 'entry' (left truncation), for which scores of competing risks are "
            "not defined. Leave the entries out with y[['cause', 'time']], or score cause-specific "
            "risks: concordance_index(cause_specific_outcome(y, 1), risk)."
        )
    return train.survival(), test


def _cases(test: CompetingOutcome, cause: int, tau: float | None) -> np.ndarray:
    cases = test.cause == cause
    return cases if tau is None else cases & (test.time <= tau)


def _concordance(
    train: SurvivalOutcome, test: CompetingOutcome, risk: np.ndarray, counted: np.ndarray,
    cause: int, tied_tol: float = 1e-8,
) -> float:  # fmt: skip
    known = ~np.isnan(test.time)
    causes, time, risk, counted = (v[known] for v in (test.cause, test.time, risk, counted))
    cases = np.flatnonzero(counted)
    # those censored at the time of an event leave half a step later
    leaves = np.unique(time, return_inverse=True)[1] * 2 + (causes == 0)
    competing = (causes > 0) & (causes != cause) & (time <= time[cases].max(initial=0.0))
    without = np.zeros(len(time))
    without[competing] = inverse_censoring(train, 0, time[competing], before=True)
    at_case = inverse_censoring(train, 0, time[cases])
    before_case = inverse_censoring(train, 0, time[cases], before=True)
    total = concordant = 0.0
    for case, at, before in zip(cases, at_case, before_case, strict=True):
        later = leaves > leaves[case]
        weights = np.where(later, at, np.where(time <= time[case], without, 0.0)) * before
        difference = risk[case] - risk
        total += weights.sum()
        concordant += weights[difference > tied_tol].sum()
        concordant += weights[np.abs(difference) <= tied_tol].sum() / 2
    if not total:
        raise ValueError(
            f"no comparable pair: {len(cases)} events of cause {cause} that count among "
            f"{len(time)} known outcomes (events: {test.count()}). Use fewer or larger folds, "
            "stratified by cause, or a later tau."
        )
    return float(concordant / total)


def _brier(
    train: SurvivalOutcome, test: CompetingOutcome, incidence: np.ndarray, times: np.ndarray,
    cause: int,
) -> np.ndarray:  # fmt: skip
    check_follow_up(test.survival(), 0, times)
    known = ~np.isnan(test.time)
    causes, time = test.cause[known], test.time[known]
    happened = (causes > 0) & (time <= times[-1])
    weights = np.zeros(len(time))
    weights[happened] = inverse_censoring(train, 0, time[happened], before=True)
    gone = time[:, None] <= times
    all_weights = np.where(gone, weights[:, None], inverse_censoring(train, 0, times))
    observed = gone & (causes == cause)[:, None]
    return np.mean(all_weights * (observed - incidence[known]) ** 2, axis=0)
