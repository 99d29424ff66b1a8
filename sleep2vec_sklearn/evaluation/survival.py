# SPDX-License-Identifier: BSD-3-Clause
"""Survival scores as scikit-learn wants them: called with an estimator, X and y."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np

from .concordance import (
    check_risks,
    concordance_index,
    mean_over_outcomes,
    refuse_entries,
    uno_of_events,
    within_follow_up,
)
from .survival_curves import auc_of_outcome, average_over_time, brier_of_outcome, check_moments
from .survival_outcome import SurvivalOutcome, read_outcome

__all__ = ["DynamicAUC", "HarrellConcordance", "IntegratedBrier", "UnoConcordance"]

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
