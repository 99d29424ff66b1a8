# SPDX-License-Identifier: BSD-3-Clause
"""Paired comparisons of estimators on held-out subjects, and a baseline of age, sex and BMI."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._validation import NON_NEGATIVE, StrOptions, count, validate_params
from ..encoding._base import RecordingInputMixin
from ..encoding.covariates import RecordingMetadata
from ..encoding.inputs import read_input
from ..encoding.transformer import Sleep2VecTransformer
from ..encoding.union import EncoderUnion
from ..errors import InvalidRecordingError
from ._cross_validation import (
    ResampledScores,
    SubjectScorer,
    check_labels,
    held_out_predictions,
    named_scorers,
)
from ._subjects import SubjectBootstrap, folds_by_subject, recorded_subjects, subjects_of

if TYPE_CHECKING:
    from sklearn.utils import Tags

_MIN_PROBABILITY = 1e-6
_RIDGE_PENALTIES = tuple(10.0 ** np.arange(1, 6))


def compare_estimators(
    estimators: Mapping[str, Any], X: Any, y: ArrayLike, groups: Iterable | None = None, *,
    cv: Any = 5, scoring: Any = None, reference: str | None = None, average: str = "auto",
    n_resamples: int = 1000, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0, n_jobs: int | None = None,
) -> EstimatorComparison:  # fmt: skip
    """Compare estimators on subjects that none of them was fitted to.

    Every estimator is fitted to the training subjects of the same folds and predicts the others.
    Intervals are by bootstrap over subjects, with the same resamples for all.

    Parameters
    ----------
    estimators : mapping of str to estimator
        At least two, classifiers or not alike.
    X : list of recordings, EpochSequence, or array of shape (n, n_features)
    y : array-like of shape (n, ...)
    groups : array-like of shape (n,), optional
        Subjects; by default those of the recordings.
    cv : int, splitter or iterable, default=5
        Folds by subject, stratified for classes; or a splitter that tests each row once.
    scoring : str, callable, list or dict, optional
        Names of scikit-learn's scorers, "kappa", or scorers. By default "roc_auc" for two classes,
        "kappa" for more, "neg_mean_absolute_error" for numbers.
    reference : str, optional
        Name of the one that the others are compared with; the first by default.
    average : {"auto", "subject", "pooled"}, default="auto"
        Mean of each test subject's score, where it is defined, or the score of all held-out rows.
        "auto" takes the former where the median subject has 20 rows or more, as with epochs.
    n_resamples, level, random_state
        Of the bootstrap, see :func:`bland_altman`.
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
        For fewer than two estimators or subjects, folds that do not test each row once, or a fold
        whose training subjects are of one class.

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
    plan = _Plan.of(
        estimators, X, y, groups, cv=cv, scoring=scoring, reference=reference, average=average,
        draws={"n_resamples": n_resamples, "level": level, "random_state": random_state},
    )  # fmt: skip
    return plan.carry_out(estimators, X, n_jobs)


def compare_encoders(
    encoders: Mapping[str, Any] | Sequence[Any], X: Any, y: ArrayLike,
    groups: Iterable | None = None, *, head: Any = None, cv: Any = 5, scoring: Any = None,
    reference: str | None = None, average: str = "auto", n_resamples: int = 1000,
    level: float = 0.95, random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
) -> EstimatorComparison:  # fmt: skip
    """Compare encoders, and several side by side, by the same head on held-out subjects.

    Encoders learn nothing from X: rows are made once, all encoders read each night together, and
    the head alone is fitted in every fold.

    Parameters
    ----------
    encoders : mapping of str to encoder, or sequence of encoders
        At least two. Each is what ``Sleep2VecTransformer(checkpoint=...)`` takes, a
        :class:`Sleep2VecTransformer` or :class:`ExpertFeatures` with parameters of its own, or a
        tuple of these, whose rows stand side by side. Without names of their own they are called
        by their checkpoint; a tuple by its parts.
    X : list of Recording, list of lists of them, or EpochSequence
        All rows are labelled: ``X = X[X.stages >= 0]``.
    y : array-like of shape (len(X),)
        Classes as integers, text or booleans; floating-point numbers take a regressor.
    groups : array-like of shape (len(X),), optional
        Subjects; by default those of the recordings.
    head : estimator, optional
        Of rows. By default standardised columns and a logistic regression with balanced classes and
        C=0.01, or ridge regression for numbers. A grid search chooses a penalty for each encoder;
        rows of NaN (``on_error="nan"``) need an imputer.
    cv, scoring, reference, average, n_resamples, level, random_state, n_jobs
        As of :func:`compare_estimators`; the reference is an encoder's name.

    Returns
    -------
    EstimatorComparison

    Raises
    ------
    CheckpointError
        If an encoder cannot be read.
    TypeError
        If one of them is no encoder, or is an estimator that learns, which belongs in the head.
    ValueError
        As of :func:`compare_estimators`, for two encoders of one name, and for fewer than two.

    See Also
    --------
    sleep2vec_sklearn.encoding.EncoderUnion : the rows of several encoders in a pipeline.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn import EpochSequence, make_sleep_cohort
    >>> from sleep2vec_sklearn.encoding import ExpertFeatures
    >>> from sleep2vec_sklearn.evaluation import compare_encoders
    >>> X = EpochSequence(make_sleep_cohort(4, hours=1, modalities=["ibi"], random_state=0))
    >>> encoders = {"features": ExpertFeatures(levels=False), "sleep2vec": "sleep2vec-mini"}
    >>> head = LogisticRegression(C=1e-3, max_iter=300)
    >>> comparison = compare_encoders(encoders, X, X.stages > 0, head=head, cv=2, n_resamples=100)
    >>> comparison.differences.index.tolist()
    [('sleep2vec', 'roc_auc')]
    """
    parts = _name_encoders(encoders)
    head = clone(_default_head(np.asarray(y)) if head is None else head)
    # refusals come before the rows, which may take hours
    plan = _Plan.of(
        dict.fromkeys(parts, head), X, y, groups, cv=cv, scoring=scoring, reference=reference,
        average=average,
        draws={"n_resamples": n_resamples, "level": level, "random_state": random_state},
    )  # fmt: skip
    distinct = list(dict.fromkeys(part for group in parts.values() for part in group))
    union = EncoderUnion([(f"encoder{i}", part) for i, part in enumerate(distinct)])
    rows = np.asarray(union.fit_transform(X))
    stops = np.cumsum([step.n_features_out_ for _, step in union.transformer_list])
    places = {
        part: np.arange(stop - step.n_features_out_, stop)
        for part, stop, (_, step) in zip(distinct, stops, union.transformer_list, strict=True)
    }
    models = {
        name: make_pipeline(
            ColumnTransformer(
                [("rows", "passthrough", np.concatenate([places[part] for part in group]))]
            ),
            clone(head),
        )
        for name, group in parts.items()
    }
    return plan.carry_out(models, rows, n_jobs)


def _default_head(y: np.ndarray) -> Any:
    if np.issubdtype(y.dtype, np.floating):
        return make_pipeline(StandardScaler(), RidgeCV(_RIDGE_PENALTIES))
    logistic = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300)
    return make_pipeline(StandardScaler(), logistic)


def _name_encoders(encoders: Any) -> dict[str, tuple[Sleep2VecTransformer, ...]]:
    """The transformers of each encoder by its name; what occurs twice is one transformer."""
    given = encoders.values() if isinstance(encoders, Mapping) else encoders
    if isinstance(encoders, str) or len(encoders) < 2 or () in given:
        raise ValueError(
            f"encoders={encoders!r}; accepted are at least two, as a list or a dict by name, each "
            "an encoder or a tuple of some. Give ExpertFeatures(levels=False) to compare with."
        )
    known: dict[Any, Sleep2VecTransformer] = {}

    def open_parts(encoder: Any) -> tuple[Sleep2VecTransformer, ...]:
        parts = encoder if isinstance(encoder, tuple) else (encoder,)
        return tuple(known.setdefault(_identity(part), _as_transformer(part)) for part in parts)

    if isinstance(encoders, Mapping):
        return {name: open_parts(encoder) for name, encoder in encoders.items()}
    named: dict[str, tuple[Sleep2VecTransformer, ...]] = {}
    for parts in map(open_parts, encoders):
        name = " + ".join(part._load_checkpoint().name for part in parts)
        if name in named:
            raise ValueError(
                f"encoders: two are called {name!r}. Pass a dict of names to encoders."
            )
        named[name] = parts
    return named


def _identity(encoder: Any) -> Any:
    return os.fspath(encoder) if isinstance(encoder, str | os.PathLike) else id(encoder)


def _as_transformer(encoder: Any) -> Sleep2VecTransformer:
    if isinstance(encoder, Sleep2VecTransformer):
        return clone(encoder)
    if isinstance(encoder, list | type) or hasattr(encoder, "fit"):
        raise TypeError(
            f"encoders: got {encoder!r}; accepted are checkpoints, encoders, Sleep2VecTransformer "
            "and, for several side by side, tuples of these. Put steps that learn into the head: "
            "head=make_pipeline(PCA(50), LogisticRegression())."
        )
    return Sleep2VecTransformer(encoder)


@dataclass(frozen=True)
class _Plan:
    """What all estimators of a comparison share, checked before any is fitted."""

    reference: str
    y: np.ndarray
    subjects: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]
    scorer: SubjectScorer

    @classmethod
    def of(
        cls, estimators: dict, X: Any, y: ArrayLike, groups: Iterable | None, *, cv: Any,
        scoring: Any, reference: str | None, average: str, draws: Mapping[str, Any],
    ) -> _Plan:  # fmt: skip
        reference = _check_estimators(estimators, reference)
        classify = is_classifier(estimators[reference])
        y = check_labels(y, X, classify=classify)
        subjects = subjects_of(X, groups)
        folds = folds_by_subject(cv, y, subjects, classify=classify)
        scorers = named_scorers(scoring, y, estimators[reference])
        scorer = SubjectScorer(scorers, y, SubjectBootstrap(subjects, **draws), average)
        return cls(reference, y, subjects, folds, scorer)

    def carry_out(self, estimators: dict, X: Any, n_jobs: int | None) -> EstimatorComparison:
        scorer, rows = self.scorer, np.arange(len(self.y))
        predictions = held_out_predictions(estimators, X, self.y, self.folds, n_jobs)
        scores = {name: scorer.score(p, rows, strict=False) for name, p in predictions.items()}
        others = [name for name in scores if name != self.reference]
        differences = {
            name: _subtract(scores[name], scores[self.reference], scorer) for name in others
        }
        fold = np.empty(len(self.y), dtype=int)
        for i, (_, test) in enumerate(self.folds):
            fold[test] = i
        return EstimatorComparison(
            reference=self.reference,
            average=scorer.average,
            scores=_tabulate(scores, scorer).drop(columns="fraction_above"),
            differences=_tabulate(differences, scorer).rename(columns={"value": "difference"}),
            predictions={name: p.responses for name, p in predictions.items()},
            fold=fold,
            groups=self.subjects,
        )


@dataclass(frozen=True, repr=False)
class EstimatorComparison:
    """Result of :func:`compare_estimators` and :func:`compare_encoders`.

    Attributes
    ----------
    reference : str
    average : {"subject", "pooled"}
    scores : DataFrame
        Index estimator, metric; columns value, low, high, subjects.
    differences : DataFrame
        Estimator minus reference: difference, low, high, ``fraction_above`` (fraction of resamples
        in which it is above zero) and subjects. Higher scores are better.
    predictions : dict of str to dict of str to ndarray
        By estimator and method, the predictions for every row by a clone not fitted to it.
    fold : int ndarray of shape (n,)
        Fold in which each row was tested.
    groups : ndarray of shape (n,)

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sleep2vec_sklearn.evaluation import compare_estimators
    >>> models = {"mean": DummyRegressor(), "median": DummyRegressor(strategy="median")}
    >>> X, y = [[0]] * 6, [1, 2, 3, 4, 5, 9]
    >>> comparison = compare_estimators(models, X, y, cv=3, n_resamples=100)
    >>> comparison.differences.index.tolist()
    [('median', 'neg_mean_absolute_error')]
    """

    reference: str
    average: str
    scores: pd.DataFrame
    differences: pd.DataFrame
    predictions: dict[str, dict[str, np.ndarray]]
    fold: np.ndarray
    groups: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """Scores and differences in one table: columns estimator, metric, value, ..., high."""
        names = {"low": "difference_low", "high": "difference_high"}
        differences = self.differences.drop(columns="subjects").rename(columns=names)
        return self.scores.join(differences).reset_index()

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


def _check_estimators(estimators: dict, reference: str | None) -> str:
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


def _tabulate(results: Mapping[str, ResampledScores], scorer: SubjectScorer) -> pd.DataFrame:
    rows: dict[tuple[str, str], tuple] = {}
    for name, result in results.items():
        low, high = scorer.draws.interval(result.replicates)
        defined = np.isfinite(result.replicates)
        with np.errstate(invalid="ignore"):
            above = ((result.replicates > 0) & defined).sum(axis=0) / defined.sum(axis=0)
        n_subjects = [len(scorer.draws.subjects)] * len(scorer.scorers)
        if result.values is not None:
            n_subjects = np.isfinite(result.values).sum(axis=0).tolist()
        metrics = zip(result.estimates, low, high, above, n_subjects, strict=True)
        rows |= {(name, m): row for m, row in zip(scorer.scorers, metrics, strict=True)}
    columns = ["value", "low", "high", "fraction_above", "subjects"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index = pd.MultiIndex.from_tuples(rows, names=["estimator", "metric"])
    return table


def _subtract(a: ResampledScores, b: ResampledScores, scorer: SubjectScorer) -> ResampledScores:
    if a.values is not None and b.values is not None:
        # only subjects in whom both are defined are compared
        return scorer.from_subjects(a.values - b.values)
    return ResampledScores(None, a.estimates - b.estimates, a.replicates - b.replicates)


def compare_with_baseline(
    estimator: Any, X: Any, y: ArrayLike, groups: Iterable | None = None, *, baseline: Any = None,
    cv: Any = 5, scoring: Any = None, n_resamples: int = 1000, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0, n_jobs: int | None = None,
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
        Of "baseline", the reference, "estimator" and "both", a :class:`BaselineComparison`. The
        embedding adds something where the difference of "both" is above zero.

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
    if baseline is None:
        baseline = DemographicBaseline("classifier" if is_classifier(estimator) else "regressor")
    both = BaselineComparison(estimator, baseline, random_state=random_state)
    estimators = {"baseline": baseline, "estimator": estimator, "both": both}
    return compare_estimators(
        estimators, X, np.asarray(y), subjects_of(X, groups), cv=cv, scoring=scoring,
        n_resamples=n_resamples, level=level, random_state=random_state, n_jobs=n_jobs,
    )  # fmt: skip


class BaselineComparison(BaseEstimator):
    """An estimator and a baseline, stacked by a linear model of their predictions.

    Both predict training subjects held out in turn, so each is fitted ``n_splits + 1`` times.

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
        Of their predictions: log-odds of each class but the first, or numbers.
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

    def fit(self, X: Any, y: ArrayLike) -> BaselineComparison:
        """Fit the weights to predictions for held-out subjects, then both to all rows.

        X is a list of Recording, a list of lists of them, or an EpochSequence; y has one outcome
        each.
        """
        validate_params(self)
        y, classify = np.asarray(y), is_classifier(self.estimator)
        if classify:
            self.classes_ = np.unique(y)
        subjects = recorded_subjects(X)
        folds = folds_by_subject(self._splitter(y, subjects), y, subjects, classify=classify)
        both = {"estimator": self.estimator, "baseline": self.baseline}
        predictions = held_out_predictions(both, X, y, folds).values()
        columns = np.hstack([_as_columns(p, np.arange(len(y)), classify) for p in predictions])
        stacker = LogisticRegression() if classify else LinearRegression()
        self.weights_ = stacker.fit(columns, y)
        self.estimator_ = clone(self.estimator).fit(X, y)
        self.baseline_ = clone(self.baseline).fit(X, y)
        return self

    def _splitter(self, y: np.ndarray, subjects: np.ndarray) -> GroupKFold | StratifiedGroupKFold:
        n_splits = min(self.n_splits, len(set(subjects.tolist())))
        if not is_classifier(self.estimator):
            return GroupKFold(n_splits, shuffle=True, random_state=self.random_state)
        # each fold's training subjects include one of the rarest class
        rarest = min(len(set(subjects[y == label].tolist())) for label in self.classes_)
        n_splits = max(2, min(n_splits, rarest))
        return StratifiedGroupKFold(n_splits, shuffle=True, random_state=self.random_state)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the outcome from both; shape (len(X),)."""
        return self.weights_.predict(self._stack(X))

    @available_if(lambda self: is_classifier(self.estimator))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class of ``classes_``; shape (len(X), n_classes)."""
        return self.weights_.predict_proba(self._stack(X))

    def _stack(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        classify = is_classifier(self.estimator)
        return np.hstack([_as_columns(m, X, classify) for m in (self.estimator_, self.baseline_)])


def _as_columns(fitted: Any, X: Any, classify: bool) -> np.ndarray:
    """Predictions as columns of a linear model; of classes, log-odds to the first one."""
    if not classify:
        return np.asarray(fitted.predict(X), dtype=float).reshape(len(X), -1)
    if hasattr(fitted, "predict_proba"):
        logs = np.log(np.clip(fitted.predict_proba(X), _MIN_PROBABILITY, None))
        return logs[:, 1:] - logs[:, :1]
    return np.asarray(fitted.decision_function(X), dtype=float).reshape(len(X), -1)


class DemographicBaseline(RecordingInputMixin, BaseEstimator):
    """A linear model of age, sex and BMI, to compare models of recordings with.

    Logistic regression, or ridge regression, on the recordings' metadata. Missing values are
    imputed by the median of the training subjects, with an indicator column.

    Parameters
    ----------
    kind : {"classifier", "regressor"}, default="classifier"
    fields : sequence of str, default=("age", "sex", "bmi")
        Keys of ``Recording.metadata``; those that no training recording has are left out.
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
        "kind": [StrOptions({"classifier", "regressor"})],
        "penalty": [NON_NEGATIVE],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self, kind: str = "classifier", *, fields: Sequence[str] = ("age", "sex", "bmi"),
        penalty: float = 1.0, class_weight: dict | str | None = None,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.fields = fields
        self.penalty = penalty
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.estimator_type = self.kind
        return tags

    def fit(self, X: Any, y: ArrayLike) -> DemographicBaseline:
        """Fit to the recordings' metadata; no signal is read.

        X is a list of Recording, a list of lists of them, or an EpochSequence; y has one outcome
        each. Raises InvalidRecordingError if no recording has any of the fields.
        """
        validate_params(self)
        self.fields_ = self._fields_with_values(X)
        head = Ridge(alpha=self.penalty)
        if self.kind == "classifier":
            strength = 1 / self.penalty if self.penalty else np.inf
            head = LogisticRegression(C=strength, class_weight=self.class_weight)
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

    def predict(self, X: Any) -> np.ndarray:
        """Predict the outcome of recordings as given to :meth:`fit`; shape (len(X),)."""
        check_is_fitted(self)
        return self.model_.predict(X)

    @available_if(lambda self: self.kind == "classifier")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class of ``classes_``, of a classifier; shape (len(X), n_classes)."""
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def score(self, X: Any, y: ArrayLike) -> float:
        """Accuracy of a classifier, R2 of a regressor."""
        check_is_fitted(self)
        return self.model_.score(X, y)

    def _fields_with_values(self, X: Any) -> tuple[str, ...]:
        recordings = read_input(X, "nan").recordings
        items = [item for recording in recordings for item in recording.metadata.items()]
        # a value that is NaN does not equal itself
        stated = {key for key, value in items if value is not None and value == value}
        fields = tuple(field for field in self.fields if field in stated)
        if not fields:
            raise InvalidRecordingError(
                f"no recording states {' or '.join(map(repr, self.fields))}; their metadata has "
                f"{', '.join(sorted(map(str, stated))) or 'nothing'}. Give it with "
                "Recording(..., metadata={...}), or name other fields."
            )
        return fields
