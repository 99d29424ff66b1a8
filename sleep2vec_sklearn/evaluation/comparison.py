# SPDX-License-Identifier: BSD-3-Clause
"""Is one estimator better than another? The same folds, people held out, differences paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..encoding._base import RecordingInputMixin
from ..encoding.covariates import RecordingMetadata
from ..encoding.inputs import read_input
from ..errors import InvalidRecordingError
from ._cross_validation import (
    ResampledScores,
    SubjectScorer,
    check_labels,
    held_out_predictions,
    named_scorers,
)
from ._subjects import SubjectBootstrap, folds_by_subject, recorded_subjects, subjects_of

__all__ = [
    "BaselineComparison",
    "DemographicBaseline",
    "EstimatorComparison",
    "compare_estimators",
    "compare_with_baseline",
]


def compare_estimators(
    estimators: Mapping, X, y, groups=None, *, cv=5, scoring=None, reference: str | None = None,
    average: str = "auto", n_resamples: int = 1000, level: float = 0.95, random_state=0,
    n_jobs: int | None = None,
) -> EstimatorComparison:  # fmt: skip
    """Compare estimators on people that none of them was fitted on.

    Every estimator is fitted on the training people of the same folds and answers for those held
    out. Intervals, of scores and of differences, are by bootstrap over subjects, with the same
    draws for all.

    Parameters
    ----------
    estimators : mapping of str to estimator
        At least two, classifiers or not alike.
    X : list of recordings, EpochSequence, or array of shape (n, n_features)
    y : array-like of shape (n, ...)
    groups : array-like of shape (n,), optional
        Subjects; by default those of the recordings.
    cv : int, splitter or iterable, default=5
        Folds by subject, stratified for classes; or a splitter that holds each row out once.
    scoring : str, callable, list or dict, optional
        Names of scikit-learn's scorers, "kappa", or scorers. By default "roc_auc" for two classes,
        "kappa" for more, "neg_mean_absolute_error" for numbers.
    reference : str, optional
        Whom the others are compared with; the first by default.
    average : {"auto", "subject", "pooled"}, default="auto"
        Mean of each test subject's score, over those in whom it is defined, or the score of all
        held-out rows together. "auto" takes the former where subjects have 20 rows or more in the
        median, as they have where rows are epochs.
    n_resamples : int, default=1000
    level : float, default=0.95
    random_state : int, RandomState or None, default=0
        Of the bootstrap.
    n_jobs : int, optional
        Processes that fit.

    Returns
    -------
    EstimatorComparison

    Warns
    -----
    LeakageWarning
        If groups are missing where subjects repeat, or a subject is in training and test.

    Raises
    ------
    ValueError
        For fewer than two estimators or subjects, folds that do not hold each row out once, or a
        fold whose training people are of one class.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn.evaluation import compare_estimators
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 3))
    >>> y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)
    >>> models = {"prior": DummyClassifier(), "linear": LogisticRegression()}
    >>> compare_estimators(models, X, y, n_resamples=200)
    EstimatorComparison(60 subjects, 5 folds, all rows together; differences to 'prior')
            metric                score              difference
     prior roc_auc 0.452 [0.333, 0.606]
    linear roc_auc 0.813 [0.683, 0.940] +0.361 [+0.174, +0.516]
    """
    estimators = dict(estimators)
    reference = _check(estimators, reference)
    first = estimators[reference]
    classify = is_classifier(first)
    y = check_labels(y, X, classify=classify)
    groups = subjects_of(X, groups)
    folds = folds_by_subject(cv, y, groups, classify=classify)
    draws = SubjectBootstrap(groups, n_resamples, level, random_state)
    scorer = SubjectScorer(named_scorers(scoring, y, first), y, draws, average)
    answers = held_out_predictions(estimators, X, y, folds, n_jobs)
    rows = np.arange(len(y))
    scored = {name: scorer.score(found, rows, strict=False) for name, found in answers.items()}
    fold = np.empty(len(y), dtype=int)
    for number, (_, test) in enumerate(folds):
        fold[test] = number
    return EstimatorComparison(
        reference=reference,
        average=scorer.average,
        scores=_scores(scored, scorer),
        differences=_differences(scored, reference, scorer),
        answers={name: found.answers for name, found in answers.items()},
        fold=fold,
        groups=groups,
    )


@dataclass(frozen=True, repr=False)
class EstimatorComparison:
    """What :func:`compare_estimators` finds.

    Attributes
    ----------
    reference : str
    average : {"subject", "pooled"}
    scores : DataFrame
        Index estimator, metric; columns value, low, high, subjects.
    differences : DataFrame
        Estimator minus reference: difference, low, high, ``share_above`` (of the resamples in
        which it is above zero) and subjects. Higher scores are better.
    answers : dict of str to dict of str to ndarray
        By estimator and method, what was answered for every row by a clone that did not see it.
    fold : int ndarray of shape (n,)
        Which fold held each row out.
    groups : ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn.evaluation import compare_estimators
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> models = {"prior": DummyClassifier(), "linear": LogisticRegression()}
    >>> found = compare_estimators(models, X, (X[:, 0] > 0).astype(int), cv=3, n_resamples=50)
    >>> found.reference, sorted(found.answers)
    ('prior', ['linear', 'prior'])
    """

    reference: str
    average: str
    scores: pd.DataFrame
    differences: pd.DataFrame
    answers: dict[str, dict[str, np.ndarray]]
    fold: np.ndarray
    groups: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """Scores and differences in one table: columns estimator, metric, value, ..., high."""
        columns = {"low": "difference_low", "high": "difference_high"}
        columns |= {"share_above": "share_above", "difference": "difference"}
        beside = self.differences.drop(columns="subjects").rename(columns=columns)
        return self.scores.join(beside).reset_index()

    def __repr__(self) -> str:
        n_subjects = len(set(self.groups.tolist()))
        how = "all rows together" if self.average == "pooled" else "mean over subjects"
        head = (
            f"EstimatorComparison({n_subjects} subjects, {self.fold.max() + 1} folds, {how}; "
            f"differences to {self.reference!r})"
        )
        rows = []
        for key, row in self.scores.iterrows():
            cells = [f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]", ""]
            if key in self.differences.index:
                d = self.differences.loc[key]
                cells[1] = f"{d['difference']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
            rows.append([*key, *cells])
        table = pd.DataFrame(rows, columns=["", "metric", "score", "difference"])
        lines = table.to_string(index=False).splitlines()
        return "\n".join([head, *(line.rstrip() for line in lines)])


def _check(estimators: dict, reference: str | None) -> str:
    if len(estimators) < 2:
        raise ValueError(
            f"estimators has {len(estimators)} element(s); accepted is a dict of at least two."
        )
    kinds = {name: is_classifier(estimator) for name, estimator in estimators.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(f"estimators mixes classifiers with others (classifier: {kinds}).")
    reference = next(iter(estimators)) if reference is None else reference
    if reference not in estimators:
        raise ValueError(f"reference={reference!r} is none of {', '.join(map(str, estimators))}.")
    return reference


def _scores(scored: Mapping[str, ResampledScores], scorer: SubjectScorer) -> pd.DataFrame:
    rows = {}
    for name, of in scored.items():
        low, high = scorer.draws.interval(of.replicates)
        numbers = zip(of.estimates, low, high, _subjects(of, scorer), strict=True)
        for metric, row in zip(scorer.scorers, numbers, strict=True):
            rows[name, metric] = row
    return _as_table(rows, ["value", "low", "high", "subjects"])


def _differences(
    scored: Mapping[str, ResampledScores], reference: str, scorer: SubjectScorer
) -> pd.DataFrame:
    rows = {}
    for name in [name for name in scored if name != reference]:
        of = _minus(scored[name], scored[reference], scorer)
        low, high = scorer.draws.interval(of.replicates)
        above = [_share_above(column) for column in of.replicates.T]
        numbers = zip(of.estimates, low, high, above, _subjects(of, scorer), strict=True)
        for metric, row in zip(scorer.scorers, numbers, strict=True):
            rows[name, metric] = row
    return _as_table(rows, ["difference", "low", "high", "share_above", "subjects"])


def _minus(of: ResampledScores, to: ResampledScores, scorer: SubjectScorer) -> ResampledScores:
    if of.values is not None:
        # only people in whom both are defined are compared
        return scorer.of_values(of.values - to.values)
    return ResampledScores(None, of.estimates - to.estimates, of.replicates - to.replicates)


def _subjects(of: ResampledScores, scorer: SubjectScorer) -> list[int]:
    if of.values is None:
        return [len(scorer.draws.subjects)] * len(scorer.scorers)
    return np.isfinite(of.values).sum(axis=0).tolist()


def _share_above(resampled: np.ndarray) -> float:
    known = resampled[np.isfinite(resampled)]
    return float((known > 0).mean()) if len(known) else np.nan


def _as_table(rows: dict, columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index = pd.MultiIndex.from_tuples(rows, names=["estimator", "metric"])
    return table


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
    "both" is :class:`BaselineComparison`: a linear model of two numbers, the answers of the two for
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
    groups = subjects_of(X, groups)
    both = BaselineComparison(estimator, baseline, random_state=random_state)
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


class BaselineComparison(BaseEstimator):
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
    >>> from sleep2vec_sklearn.evaluation import BaselineComparison, DemographicBaseline
    >>> cohort = make_sleep_cohort(20, hours=0.5, modalities=["ibi"], random_state=0)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(C=0.01))
    >>> both = BaselineComparison(model, DemographicBaseline(), random_state=0)
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
        held_out = held_out_predictions(both, X, y, folds)
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


_KINDS = ("classifier", "regressor")


class DemographicBaseline(RecordingInputMixin, BaseEstimator):
    """A linear model of what is known of the sleepers without a recording.

    Logistic regression, or ridge regression, on the recordings' metadata. What is missing is
    imputed by the training people's median, with a column that says so.

    Parameters
    ----------
    kind : {"classifier", "regressor"}, default="classifier"
    fields : sequence of str, default=("age", "sex", "bmi")
        Keys of ``Recording.metadata``; those that no training recording states are left out.
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
        Lookup, imputer, scaler and linear model.

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

    def __init__(
        self, kind="classifier", *, fields=("age", "sex", "bmi"), penalty=1.0, class_weight=None
    ):
        self.kind = kind
        self.fields = fields
        self.penalty = penalty
        self.class_weight = class_weight

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.kind in _KINDS:
            tags.estimator_type = self.kind
        return tags

    def fit(self, X, y):
        """Fit to the sleepers' metadata; no signal is read.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence
        y : array-like of shape (len(X),)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``kind`` is neither, or y holds one class.
        InvalidRecordingError
            If no recording states any of the fields.
        """
        if self.kind not in _KINDS:
            raise ValueError(f"kind must be 'classifier' or 'regressor', got {self.kind!r}.")
        self.fields_ = self._stated(X)
        if self.kind == "classifier":
            head = LogisticRegression(C=1 / self.penalty, class_weight=self.class_weight)
        else:
            head = Ridge(alpha=self.penalty)
        self.model_ = make_pipeline(
            RecordingMetadata(self.fields_),
            SimpleImputer(strategy="median", add_indicator=True),
            StandardScaler(),
            head,
        )
        self.model_.fit(X, np.asarray(y))
        if self.kind == "classifier":
            self.classes_ = self.model_.classes_
        return self

    def predict(self, X) -> np.ndarray:
        """Predict the outcome.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence

        Returns
        -------
        ndarray of shape (len(X),)
        """
        check_is_fitted(self)
        return self.model_.predict(X)

    @available_if(lambda self: self.kind == "classifier")
    def predict_proba(self, X) -> np.ndarray:
        """Probability of each class, in the order of ``classes_``; of a classifier.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence

        Returns
        -------
        ndarray of shape (len(X), n_classes)
        """
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def score(self, X, y) -> float:
        """Accuracy of a classifier, R2 of a regressor.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence
        y : array-like of shape (len(X),)
        """
        check_is_fitted(self)
        return self.model_.score(X, y)

    def _stated(self, X) -> tuple[str, ...]:
        given = read_input(X, "nan")
        stated = {
            key
            for recording in given.recordings
            for key, value in recording.metadata.items()
            if value is not None and value == value
        }
        known = tuple(field for field in self.fields if field in stated)
        if not known:
            raise InvalidRecordingError(
                f"no recording states {' or '.join(map(repr, self.fields))}; their metadata has "
                f"{', '.join(sorted(map(str, stated))) or 'nothing'}. Give it with "
                "Recording(..., metadata={...}), or name other fields."
            )
        return known
