# SPDX-License-Identifier: BSD-3-Clause
"""Cumulative incidence from Cox models of each cause."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from .._validation import count, validate_params
from .._warnings import listed, warn
from ..errors import TrainingWarning
from .competing_risks import CompetingOutcome, cause_specific_outcome, read_competing, start_at
from .competing_scores import CompetingConcordance
from .survival_scores import predict_survival


class CauseSpecificCox(MetaEstimatorMixin, BaseEstimator):
    """Predict the cumulative incidence of causes by a Cox model of each.

    Parameters
    ----------
    estimator : estimator
        A survival estimator with ``predict`` (log hazard ratio) and ``predict_survival_function``,
        such as :class:`Sleep2VecCoxRegressor`, or a pipeline that ends in one. It is cloned for
        each cause.
    cause : int, default=1
        The cause of interest, of which :meth:`predict` and :meth:`score` are.

    Attributes
    ----------
    causes_ : int ndarray of shape (n_causes,)
        Causes with an event in the training, ascending.
    estimators_ : list of estimators
        Fitted to each of ``causes_``, with events of the others censored.
    event_times_ : ndarray of shape (n_times,)
        Distinct times of an event of any cause in the training.
    training_outcomes_ : structured ndarray of shape (n,)
        y of the training, from which scorers estimate censoring.

    Notes
    -----
    ``y`` is made by :func:`competing_outcome`. With hazards h of each cause and S(t) = exp(-sum of
    the cumulative hazards), the incidence of cause k is the sum of S(t-) h_k(t) over event times
    (Benichou & Gail, Biometrics 46, 1990; Cheng, Fine & Wei, Biometrics 54, 1998). At each time
    the decrease of S is shared between the causes in proportion to their hazards, so that
    incidences and S add up to 1, and one cause gives 1 - S. The baseline hazard is the estimator's,
    Breslow's for Cox models.

    It assumes proportional hazards of each cause, and censoring and entry that are independent
    given X. A hazard ratio of one cause says nothing of its incidence by itself: who dies of
    another cause first has no event. Proportional subdistribution hazards (Fine & Gray) are not
    modelled.

    A cause of interest without an event in the training is an error. Of the others, only those
    with an event are known: a cause that training rows (such as those of a fold) lack has hazard 0,
    with a warning where the numbering of causes has a gap.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from sleep2vec_sklearn.evaluation import CauseSpecificCox, competing_outcome
    >>> class ConstantHazard(BaseEstimator):
    ...     def fit(self, X, y):
    ...         self.hazard_ = y["event"].sum() / y["time"].sum()
    ...         return self
    ...     def predict(self, X):
    ...         return np.zeros(len(X))
    ...     def predict_survival_function(self, X, times):
    ...         return np.tile(np.exp(-self.hazard_ * times), (len(X), 1))
    >>> y = competing_outcome([1, 2, 1, 0], [1.0, 2.0, 3.0, 4.0])
    >>> model = CauseSpecificCox(ConstantHazard()).fit(np.zeros((4, 1)), y)
    >>> model.predict_cumulative_incidence(np.zeros((1, 1)), [1.0, 3.0]).round(3)
    array([[0.173, 0.396]])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "cause": [count()],
    }

    def __init__(self, estimator: Any, *, cause: int = 1):
        self.estimator = estimator
        self.cause = cause

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = self.estimator.__sklearn_tags__().input_tags
        return tags

    def fit(self, X: Any, y: Any, **fit_params: Any) -> CauseSpecificCox:
        """Fit a clone of the estimator for each cause.

        Parameters
        ----------
        X : array-like or list of shape (n,)
            What the estimator takes.
        y : structured array of shape (n,), or DataFrame
            As :func:`competing_outcome` makes it.
        **fit_params
            Passed to each ``fit``.

        Returns
        -------
        CauseSpecificCox

        Raises
        ------
        ValueError
            If y is invalid, all are censored, the cause of interest has no event, or the estimator
            is a classifier or cannot be fitted to a cause.

        Warns
        -----
        TrainingWarning
            If a cause below the highest number has no event.
        """
        validate_params(self)
        if is_classifier(self.estimator):
            raise ValueError(
                f"estimator is a classifier ({type(self.estimator).__name__}); accepted is one of "
                "survival, with predict_survival_function, such as CoxRegression()."
            )
        outcome = read_competing(y)
        self._check_causes(outcome)
        self.causes_ = outcome.causes
        self.event_times_ = np.unique(outcome.time[outcome.cause > 0])
        self.training_outcomes_ = outcome.to_array()
        self.estimators_ = [self._fit_cause(c, X, fit_params) for c in self.causes_.tolist()]
        return self

    def _fit_cause(self, cause: int, X: Any, fit_params: dict) -> Any:
        target = cause_specific_outcome(self.training_outcomes_, cause)
        try:
            return clone(self.estimator).fit(X, target, **fit_params)
        except ValueError as error:
            error.add_note(
                f"It was raised while fitting cause {cause}, which has {target['event'].sum()} "
                f"events in {len(target)} rows."
            )
            raise

    def _check_causes(self, outcome: CompetingOutcome) -> None:
        if self.cause not in outcome.causes:
            raise ValueError(
                f"cause {self.cause}, the one of interest, has no event in {len(outcome)} training "
                f"rows (events: {outcome.count()}). Choose one of them by cause=, or use fewer "
                "folds, stratified by cause: StratifiedKFold(5).split(X, y['cause'])."
            )
        absent = np.setdiff1d(np.arange(1, outcome.causes.max()), outcome.causes)
        if len(absent):
            warn(
                f"no event of cause {listed(list(map(str, absent)))} in {len(outcome)} training "
                f"rows (events: {outcome.count()}): its hazard is taken as 0, and the incidence of "
                "others comes out too high if it happens. Use larger folds, or number causes "
                "without gaps.",
                TrainingWarning,
            )

    def predict(self, X: Any) -> np.ndarray:
        """Predict the log hazard ratio of the cause of interest.

        Parameters
        ----------
        X : array-like or list of shape (n,)

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        return self.estimators_[self._row_of(self.cause)].predict(X)

    def predict_cumulative_incidence(
        self, X: Any, times: ArrayLike | None = None, *, cause: int | None = None
    ) -> np.ndarray:
        """Predict the probability of an event of a cause by each time.

        Parameters
        ----------
        X : array-like or list of shape (n,)
        times : array-like of shape (n_times,), optional
            By default ``event_times_``. Beyond the last of them, curves stay flat.
        cause : int, optional
            By default the one of interest.

        Returns
        -------
        float64 ndarray of shape (n, n_times)

        Raises
        ------
        ValueError
            If the cause had no event in the training, or times are no list of numbers.
        TypeError
            If the estimator has no ``predict_survival_function``.
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        row = self._row_of(self.cause if cause is None else cause)
        moments, places = self._places(times)
        hazards = self._hazards(X, moments)
        total = hazards.sum(axis=0)
        before = np.exp(total - np.cumsum(total, axis=1))
        share = np.divide(hazards[row], total, out=np.zeros_like(total), where=total > 0)
        incidence = np.cumsum(-before * np.expm1(-total) * share, axis=1)
        return start_at(0.0, np.minimum(incidence, 1.0))[:, places]

    def predict_survival_function(self, X: Any, times: ArrayLike | None = None) -> np.ndarray:
        """Predict the probability to be without an event of any cause after each time.

        Parameters and errors are those of :meth:`predict_cumulative_incidence`.

        Returns
        -------
        float64 ndarray of shape (n, n_times)
        """
        check_is_fitted(self)
        moments, places = self._places(times)
        total = self._hazards(X, moments).sum(axis=0)
        return start_at(1.0, np.exp(-np.cumsum(total, axis=1)))[:, places]

    def score(self, X: Any, y: Any) -> float:
        """Concordance of the cause of interest; see :class:`CompetingConcordance`.

        Parameters
        ----------
        X : array-like or list of shape (n,)
        y : structured array of shape (n,), or DataFrame

        Returns
        -------
        float
        """
        return CompetingConcordance(cause=self.cause)(self, X, y)

    def _row_of(self, cause: int) -> int:
        (rows,) = np.nonzero(self.causes_ == cause)
        if not len(rows):
            known = ", ".join(map(str, self.causes_))
            raise ValueError(
                f"cause={cause!r} had no event in the training, so that its incidence is not "
                f"known; accepted are {known}. Use larger folds, stratified by cause."
            )
        return int(rows[0])

    def _places(self, times: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
        """Event times that are needed, and how many of them each of ``times`` has passed."""
        asked = np.asarray(self.event_times_ if times is None else times, dtype=np.float64)
        if asked.ndim != 1 or not len(asked) or np.isnan(asked).any():
            raise ValueError(f"times must be a list of numbers, got {times!r}.")
        n_needed = max(1, np.searchsorted(self.event_times_, asked.max(), side="right"))
        moments = self.event_times_[:n_needed]
        return moments, np.searchsorted(moments, asked, side="right")

    def _hazards(self, X: Any, moments: np.ndarray) -> np.ndarray:
        """Increments of the cumulative hazard of each cause, of shape (n_causes, n, n_times)."""
        hazards = []
        for fitted in self.estimators_:
            survival = predict_survival(fitted, X, moments)[:, 0]
            # a survival of 0 would leave differences of infinities
            reached = -np.log(np.maximum(survival, np.finfo(np.float64).tiny))
            hazards.append(np.maximum(np.diff(reached, axis=1, prepend=0.0), 0.0))
        return np.stack(hazards)
