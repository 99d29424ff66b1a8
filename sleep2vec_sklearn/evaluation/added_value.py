# SPDX-License-Identifier: BSD-3-Clause
"""Does the recording add anything to what is known without it?"""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .baseline import DemographicBaseline
from .comparison import EstimatorComparison, compare_estimators
from .held_out import held_out_answers
from .subjects import folds_by_subject, recorded_subjects, subjects_of

__all__ = ["BesideBaseline", "compare_with_baseline"]

_CLOSEST = 1e-6


def compare_with_baseline(
    estimator, X, y, groups=None, *, baseline=None, cv=5, scoring=None, n_resamples: int = 1000,
    level: float = 0.95, random_state=0, n_jobs: int | None = None,
) -> EstimatorComparison:  # fmt: skip
    """Compare an estimator, a baseline of age, sex and BMI, and the two together.

    Parameters
    ----------
    estimator : estimator
        Takes recordings, such as ``make_pipeline(Sleep2VecTransformer(), LogisticRegression())``.
    X : list of Recording, list of lists of them, or EpochSequence
    y : array-like of shape (len(X),)
    groups : array-like of shape (len(X),), optional
        Subjects; by default those of the recordings.
    baseline : estimator, optional
        :class:`DemographicBaseline` by default.
    cv, scoring, n_resamples, level, random_state, n_jobs
        As of :func:`compare_estimators`.

    Returns
    -------
    EstimatorComparison
        Of "baseline", which the others are compared with, "estimator" and "both". The embedding
        adds something where the difference of "both" is above zero.

    Notes
    -----
    "both" is :class:`BesideBaseline`: a linear model of two numbers, the answers of the two for
    training people who were held out in turn, so each of the two is fitted four times per fold.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import compare_with_baseline
    >>> cohort = make_sleep_cohort(24, hours=0.5, modalities=["ibi"], random_state=0)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(C=0.01))
    >>> found = compare_with_baseline(model, cohort, cohort.metadata["hypertension"], cv=3)
    >>> found.scores.index.get_level_values("estimator").tolist()
    ['baseline', 'estimator', 'both']
    """
    if baseline is None:
        baseline = DemographicBaseline("classifier" if is_classifier(estimator) else "regressor")
    y = np.asarray(y)
    groups = subjects_of(X, groups, stacklevel=2)
    both = BesideBaseline(estimator, baseline, random_state=random_state)
    return compare_estimators(
        {"baseline": baseline, "estimator": estimator, "both": both},
        X,
        y,
        groups=groups,
        cv=cv,
        scoring=scoring,
        n_resamples=n_resamples,
        level=level,
        random_state=random_state,
        n_jobs=n_jobs,
    )


class BesideBaseline(BaseEstimator):
    """An estimator and a baseline, weighed by a linear model.

    Parameters
    ----------
    estimator, baseline : estimator
        Two classifiers or two regressors.
    n_splits : int, default=3
        Folds of subjects from which the weights are learned.
    random_state : int, RandomState or None, default=None
        Of the folds.

    Attributes
    ----------
    estimator_, baseline_ : estimator
        Fitted to all rows.
    weights_ : LogisticRegression or LinearRegression
        Of their answers: log-odds of each class but the first, or predictions.
    classes_ : ndarray
        Of classifiers.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import BesideBaseline, DemographicBaseline
    >>> cohort = make_sleep_cohort(20, hours=0.5, modalities=["ibi"], random_state=0)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(C=0.01))
    >>> both = BesideBaseline(model, DemographicBaseline(), random_state=0)
    >>> both.fit(cohort, cohort.metadata["hypertension"]).weights_.coef_.shape
    (1, 2)
    """

    def __init__(self, estimator, baseline, *, n_splits=3, random_state=None):
        self.estimator = estimator
        self.baseline = baseline
        self.n_splits = n_splits
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = self.estimator.__sklearn_tags__().estimator_type
        tags.target_tags.required = True
        return tags

    def fit(self, X, y):
        """Fit both in folds of subjects, weigh their answers, then fit both to all rows.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence
        y : array-like of shape (len(X),)

        Returns
        -------
        self
        """
        y = np.asarray(y)
        classify = is_classifier(self.estimator)
        if classify:
            self.classes_ = np.unique(y)
        groups = recorded_subjects(X)
        splitter = StratifiedGroupKFold if classify else GroupKFold
        n_splits = min(self.n_splits, len(set(groups.tolist())))
        if classify:
            # each fold has somebody of the rarest class to learn from
            rarest = min(len(set(groups[y == of].tolist())) for of in self.classes_)
            n_splits = max(2, min(n_splits, rarest))
        cv = splitter(n_splits, shuffle=True, random_state=self.random_state)
        folds = folds_by_subject(cv, y, groups, classify=classify)
        both = {"estimator": self.estimator, "baseline": self.baseline}
        held_out = held_out_answers(both, X, y, folds)
        rows = np.arange(len(y))
        answers = np.hstack([_as_columns(found, rows, classify) for found in held_out.values()])
        head = LogisticRegression() if classify else LinearRegression()
        self.weights_ = head.fit(answers, y)
        self.estimator_ = clone(self.estimator).fit(X, y)
        self.baseline_ = clone(self.baseline).fit(X, y)
        return self

    def predict(self, X) -> np.ndarray:
        """Predict the outcome from both; shape (len(X),)."""
        return self.weights_.predict(self._answers(X))

    @available_if(lambda self: is_classifier(self.estimator))
    def predict_proba(self, X) -> np.ndarray:
        """Probability of each class of ``classes_``; shape (len(X), n_classes)."""
        return self.weights_.predict_proba(self._answers(X))

    def _answers(self, X) -> np.ndarray:
        check_is_fitted(self)
        classify = is_classifier(self.estimator)
        both = (self.estimator_, self.baseline_)
        return np.hstack([_as_columns(fitted, X, classify) for fitted in both])


def _as_columns(fitted, X, classify: bool) -> np.ndarray:
    """Answers as columns of a linear model: log-odds to the first class, or predictions."""
    if not classify:
        return np.asarray(fitted.predict(X), dtype=float).reshape(len(X), -1)
    if hasattr(fitted, "predict_proba"):
        logs = np.log(np.clip(fitted.predict_proba(X), _CLOSEST, None))
        return logs[:, 1:] - logs[:, :1]
    return np.asarray(fitted.decision_function(X), dtype=float).reshape(len(X), -1)
