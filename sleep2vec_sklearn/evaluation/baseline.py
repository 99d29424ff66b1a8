# SPDX-License-Identifier: BSD-3-Clause
"""A baseline of covariates such as age, sex and BMI, and what an estimator adds to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._validation import NON_NEGATIVE, StrOptions, count, validate_params
from ..encoding._base import RecordingInputMixin
from ..encoding.covariates import RecordingMetadata
from ..encoding.inputs import EncoderInput
from ..errors import InvalidRecordingError
from ..recordings.recording import as_names
from ._covariates import check_covariates, stated_fields
from ._cross_validation import as_columns, fit_aligning_classes, held_out_predictions
from ._subjects import folds_by_event, folds_by_subject, recorded_subjects, subjects_of
from .comparison import EstimatorComparison, compare_estimators
from .cox_regression import CoxRegression
from .survival import is_outcome, outcome_of_subjects

if TYPE_CHECKING:
    from sklearn.utils import Tags


def compare_with_baseline(
    estimator: Any, X: Any, y: ArrayLike, groups: Iterable | None = None, *, baseline: Any = None,
    covariates: Sequence[str] | None = None, combine: str = "stacked", cv: Any = 5,
    scoring: Any = None, n_resamples: int = 1000, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0, n_jobs: int | None = None,
) -> EstimatorComparison:  # fmt: skip
    """Compare an estimator, a baseline of covariates such as age and sex, and the two together.

    Parameters
    ----------
    estimator : estimator
        Takes recordings, such as ``make_pipeline(Sleep2VecTransformer(), LogisticRegression())``.
    X : list of Recording, list of lists of them, or EpochSequence
    y : array-like of shape (len(X),), structured array or DataFrame
        Classes, numbers, or a survival outcome as of :func:`compare_estimators`.
    groups : array-like of shape (len(X),), optional
        Subjects; by default those of the recordings.
    baseline : estimator, optional
        :class:`DemographicBaseline` by default.
    covariates : sequence of str, optional
        Keys of ``Recording.metadata``, such as columns of ``cohort.metadata``, for the default
        baseline; instead of age, sex and BMI as far as they are known. For numbers that are
        categories pass ``baseline=DemographicBaseline(fields=..., categorical=...)``.
    combine : {"stacked", "joint"}, default="stacked"
        How "both" is made. "stacked" is a linear model of the two predictions
        (:class:`BaselineComparison`). "joint" is one model of the covariates and of the columns
        that the last step of ``estimator`` reads, which has to be a pipeline, by that last step;
        its penalty then applies to the covariates as well.
    cv, scoring, n_resamples, level, random_state, n_jobs
        As of :func:`compare_estimators`.

    Returns
    -------
    EstimatorComparison
        Of "baseline", the reference, "estimator" and "both". The embedding adds something where
        the difference of "both" is above zero.

    Warns
    -----
    RecordingWarning
        If test subjects have a category that no training subject has; see
        :class:`RecordingMetadata`.
    LeakageWarning
        As of :func:`compare_estimators`.

    Raises
    ------
    InvalidRecordingError
        If no recording states one of ``covariates``, all state the same value of it, or it is y in
        other words.
    ValueError
        If both ``baseline`` and ``covariates`` are given, for "joint" if the estimator is no
        pipeline or the baseline no :class:`DemographicBaseline`, and as of
        :func:`compare_estimators`.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import compare_with_baseline
    >>> cohort = make_sleep_cohort(24, hours=0.5, modalities=["ibi"], random_state=0)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(C=0.01))
    >>> y = cohort.metadata["hypertension"]
    >>> comparison = compare_with_baseline(model, cohort, y, cv=3, n_resamples=100)
    >>> comparison.scores.index.get_level_values("estimator").tolist()
    ['baseline', 'estimator', 'both']
    """
    if combine not in ("stacked", "joint"):
        raise ValueError(f"combine={combine!r}; accepted are 'stacked' and 'joint'.")
    kind = "classifier" if is_classifier(estimator) else "regressor"
    if is_outcome(y):
        kind, y = "survival", outcome_of_subjects(y, X, subjects_of(X, groups))
    if covariates is not None:
        if baseline is not None:
            raise ValueError(
                "baseline and covariates are both given; accepted is one of them. Name the "
                "covariates in the baseline: DemographicBaseline(fields=...)."
            )
        baseline = DemographicBaseline(kind, fields=check_covariates(covariates, X, y))
    elif baseline is None:
        baseline = DemographicBaseline(kind)
    both: Any = BaselineComparison(estimator, baseline, random_state=random_state)
    if combine == "joint":
        both = _join(estimator, baseline)
    estimators = {"baseline": baseline, "estimator": estimator, "both": both}
    return compare_estimators(
        estimators, X, np.asarray(y), subjects_of(X, groups), cv=cv, scoring=scoring,
        n_resamples=n_resamples, level=level, random_state=random_state, n_jobs=n_jobs,
    )  # fmt: skip


def _join(estimator: Any, baseline: Any) -> Pipeline:
    """The last step of a pipeline, of its own columns and those of a baseline."""
    is_pipeline = isinstance(estimator, Pipeline) and len(estimator) > 1
    if not is_pipeline or not isinstance(baseline, DemographicBaseline):
        raise ValueError(
            f"combine='joint' has an estimator of type {type(estimator).__name__} and a baseline "
            f"of type {type(baseline).__name__}; accepted are a Pipeline of a transformer and a "
            "head, and a DemographicBaseline. Use 'stacked' for others."
        )
    columns = [("embedding", clone(estimator[:-1])), ("covariates", baseline._make_columns())]
    return Pipeline([("columns", FeatureUnion(columns)), ("head", clone(estimator[-1]))])


class BaselineComparison(BaseEstimator):
    """An estimator and a baseline, stacked: a linear model of their two predictions.

    Both predict training subjects held out in turn, so each is fitted ``n_splits + 1`` times. It
    asks whether a score of the night adds something to the baseline, and keeps the penalty of each;
    one model of covariates and embedding together is ``combine="joint"`` of
    :func:`compare_with_baseline`.

    Parameters
    ----------
    estimator, baseline : estimator
        Two classifiers, two regressors, or two that predict log hazard ratios.
    n_splits : int, default=3
        Folds of subjects from which the weights are learned.
    random_state : int, RandomState or None, default=None
        Of the folds.

    Attributes
    ----------
    estimator_, baseline_ : estimator
        Fitted to all rows.
    weights_ : LogisticRegression, LinearRegression or CoxRegression
        Of their predictions: log-odds of each class but the first, numbers, or log hazard ratios.
    classes_ : ndarray
        Of classifiers.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import BaselineComparison, DemographicBaseline
    >>> cohort = make_sleep_cohort(20, hours=0.5, modalities=["ibi"], random_state=0)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(C=0.01))
    >>> both = BaselineComparison(model, DemographicBaseline(), random_state=0)
    >>> both.fit(cohort, cohort.metadata["hypertension"]).weights_.coef_.shape
    (1, 2)
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_splits": [count(2)],
        "random_state": ["random_state"],
    }

    def __init__(
        self, estimator: Any, baseline: Any, *, n_splits: int = 3, random_state: Any = None
    ) -> None:
        self.estimator = estimator
        self.baseline = baseline
        self.n_splits = n_splits
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.estimator_type = self.estimator.__sklearn_tags__().estimator_type
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: ArrayLike, groups: Iterable | None = None) -> BaselineComparison:
        """Fit the weights to predictions for held-out subjects, then both to all rows.

        X is a list of Recording, a list of lists of them, or an EpochSequence; y has one outcome
        each, and groups one subject each, by default those of the recordings. No group is both
        predicted and trained on.
        """
        validate_params(self)
        classify = is_classifier(self.estimator)
        subjects = recorded_subjects(X) if groups is None else as_names(list(groups))
        self._survival = is_outcome(y)
        y = outcome_of_subjects(y, X, subjects) if self._survival else np.asarray(y)
        if classify:
            self.classes_ = np.unique(y)
        check_consistent_length(X, y, subjects)
        folds = self._split(y, subjects)
        both = {"estimator": self.estimator, "baseline": self.baseline}
        predictions = held_out_predictions(both, X, y, folds, subjects).values()
        columns = np.hstack([as_columns(p, np.arange(len(y)), classify) for p in predictions])
        stacker = LogisticRegression() if classify else LinearRegression()
        if self._survival:
            # the level of a risk is that of its fit, and says nothing
            for _, test in folds:
                columns[test] -= columns[test].mean(axis=0)
            stacker = CoxRegression()
        self.weights_ = stacker.fit(columns, y)
        self.estimator_, self.baseline_ = (
            fit_aligning_classes(model, X, y, None, subjects) for model in both.values()
        )
        return self

    def _split(self, y: np.ndarray, subjects: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        if self._survival:
            return folds_by_event(self.n_splits, y["event"], subjects, self.random_state)
        classify = is_classifier(self.estimator)
        splitter = self._splitter(y, subjects, classify)
        return folds_by_subject(splitter, y, subjects, classify=classify)

    def _splitter(
        self, y: np.ndarray, subjects: np.ndarray, classify: bool
    ) -> GroupKFold | StratifiedGroupKFold:
        n_splits = min(self.n_splits, len(set(subjects.tolist())))
        if not classify:
            return GroupKFold(n_splits, shuffle=True, random_state=self.random_state)
        # each fold's training subjects include one of the rarest class
        rarest = min(len(set(subjects[y == label].tolist())) for label in self.classes_)
        n_splits = max(2, min(n_splits, rarest))
        return StratifiedGroupKFold(n_splits, shuffle=True, random_state=self.random_state)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the outcome, or log hazard ratios, from both; shape (len(X),)."""
        return self.weights_.predict(self._stack(X))

    @available_if(lambda self: is_classifier(self.estimator))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class of ``classes_``; shape (len(X), n_classes)."""
        return self.weights_.predict_proba(self._stack(X))

    def _stack(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        classify = is_classifier(self.estimator)
        return np.hstack([as_columns(m, X, classify) for m in (self.estimator_, self.baseline_)])


class DemographicBaseline(RecordingInputMixin, BaseEstimator):
    """A linear model of age, sex and BMI, to compare models of recordings with.

    Logistic, ridge or Cox regression on the recordings' metadata. A missing number is
    imputed by the median of the training subjects, with an indicator column; a missing category is
    a category of its own.

    Parameters
    ----------
    kind : {"classifier", "regressor", "survival"}, default="classifier"
        Of "survival", y is as :func:`survival_outcome` makes it, and the nights of a subject weigh
        as one row.
    fields : sequence of str, default=("age", "sex", "bmi")
        Keys of ``Recording.metadata``; those that no training recording has are left out.
        Categories are one column each.
    categorical : sequence of str, default=()
        Those of ``fields`` whose numbers are categories, as of :class:`RecordingMetadata`.
    handle_unknown : {"warn", "ignore", "error"}, default="warn"
        What to do with a category that no training recording has, as of
        :class:`RecordingMetadata`: 0 in all columns of its field, or an error.
    penalty : float, default=1.0
        Strength of the L2 penalty on standardised columns.
    class_weight : dict, "balanced" or None, default=None
        Of a classifier.

    Attributes
    ----------
    fields_ : tuple of str
        Those that are used.
    classes_ : ndarray
        Of a classifier.
    model_ : Pipeline
        Metadata, imputer, scaler and linear model.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import DemographicBaseline
    >>> cohort = make_sleep_cohort(40, hours=0.5, modalities=["ibi"], random_state=0)
    >>> baseline = DemographicBaseline().fit(cohort, cohort.metadata["hypertension"])
    >>> baseline.fields_
    ('age', 'sex', 'bmi')
    >>> baseline.predict_proba(cohort[:2]).round(1)
    array([[0.8, 0.2],
           [0.9, 0.1]], dtype=float32)
    """

    _parameter_constraints: ClassVar[dict] = {
        "kind": [StrOptions({"classifier", "regressor", "survival"})],
        "penalty": [NON_NEGATIVE],
        "handle_unknown": [StrOptions({"warn", "ignore", "error"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self, kind: str = "classifier", *, fields: Sequence[str] = ("age", "sex", "bmi"),
        categorical: Sequence[str] = (), handle_unknown: str = "warn", penalty: float = 1.0,
        class_weight: dict | str | None = None,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.fields = fields
        self.categorical = categorical
        self.handle_unknown = handle_unknown
        self.penalty = penalty
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.estimator_type = None if self.kind == "survival" else self.kind
        return tags

    def fit(self, X: Any, y: ArrayLike) -> DemographicBaseline:
        """Fit to the recordings' metadata; no signal is read.

        X is a list of Recording, a list of lists of them, or an EpochSequence; y has one outcome
        each. Raises InvalidRecordingError if no recording has any of the fields.
        """
        validate_params(self)
        head, more = Ridge(alpha=self.penalty), {}
        if self.kind == "survival":
            head = CoxRegression(penalty=self.penalty)
            counts = np.unique(recorded_subjects(X), return_inverse=True, return_counts=True)
            more["coxregression__sample_weight"] = 1 / counts[2][counts[1]]
        if self.kind == "classifier":
            strength = 1 / self.penalty if self.penalty else np.inf
            head = LogisticRegression(C=strength, class_weight=self.class_weight)
        columns = self._make_columns()
        self.model_ = make_pipeline(*(step for _, step in columns.steps), head)
        self.model_.fit(X, y if self.kind == "survival" else np.asarray(y), **more)
        self.fields_ = self.model_[0].fields_
        if self.kind == "classifier":
            self.classes_ = self.model_.classes_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the outcome, or log hazard ratios, of recordings as of :meth:`fit`; (len(X),)."""
        check_is_fitted(self)
        return self.model_.predict(X)

    @available_if(lambda self: self.kind == "classifier")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class of ``classes_``, of a classifier; shape (len(X), n_classes)."""
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def score(self, X: Any, y: ArrayLike) -> float:
        """Accuracy of a classifier, R2 of a regressor, Harrell's concordance of survival."""
        check_is_fitted(self)
        return self.model_.score(X, y)

    def _make_columns(self) -> Pipeline:
        """Metadata, imputer and scaler for the fields that the training recordings state."""
        return make_pipeline(
            _StatedMetadata(
                self.fields, categorical=self.categorical, missing="category",
                handle_unknown=self.handle_unknown,
            ),
            SimpleImputer(strategy="median", add_indicator=True),
            StandardScaler(),
        )  # fmt: skip


class _StatedMetadata(RecordingMetadata):
    """Metadata without the fields that none of the recordings it is fitted to states."""

    def _choose_fields(self, fields: tuple[str, ...], inputs: EncoderInput) -> tuple[str, ...]:
        stated = stated_fields(inputs)
        chosen = tuple(field for field in fields if field in stated)
        if not chosen:
            raise InvalidRecordingError(
                f"no recording states {' or '.join(map(repr, fields))}; their metadata has "
                f"{', '.join(sorted(map(str, stated))) or 'nothing'}. Give it with "
                "Recording(..., metadata={...}), or name other fields."
            )
        return chosen
