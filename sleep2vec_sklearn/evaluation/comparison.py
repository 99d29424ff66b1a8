# SPDX-License-Identifier: BSD-3-Clause
"""Paired comparisons of estimators and encoders on held-out subjects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._arguments import as_array, shown
from .._html import as_html
from ..encoding.transformer import Sleep2VecTransformer
from ..encoding.union import EncoderUnion
from ._cross_validation import (
    ResampledScores,
    SubjectScorer,
    check_labels,
    held_out_predictions,
    named_scorers,
)
from ._subjects import SubjectBootstrap, folds_by_event, folds_by_subject, subjects_of
from .survival import is_outcome, outcome_of_subjects
from .survival_scores import FoldConcordance
from .tables import TableExportMixin

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
    y : array-like of shape (n, ...), structured array or DataFrame
        Classes, numbers, or one survival outcome as :func:`survival_outcome` makes it, for
        estimators whose ``predict`` gives log hazard ratios; those of several nights of a subject
        are averaged.
    groups : array-like of shape (n,), optional
        Subjects; by default those of the recordings.
    cv : int, splitter or iterable, default=5
        Folds by subject, stratified for classes and balanced for events; or a splitter that tests
        each row once.
    scoring : str, callable, list or dict, optional
        Names of scikit-learn's scorers, "kappa", or scorers. By default "roc_auc" for two classes,
        "kappa" for more, "neg_mean_absolute_error" for numbers; for survival Harrell's concordance
        of the pairs of subjects within each fold, as risks of different fits have no common scale.
        Scorers of survival are called fold by fold, and averaged with the events as weights.
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
        For fewer than two estimators or subjects, folds that do not test each row once, a fold
        whose training subjects are of one class, fewer than two subjects with an event, or
        different survival outcomes of a subject's nights.

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
    if not isinstance(estimators, Mapping):
        raise ValueError(
            f"estimators is {shown(estimators)}; accepted is a dict of at least two. Pass "
            "{'linear': LogisticRegression(), 'chance': DummyClassifier()}."
        )
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
    head = clone(default_head(as_array("y", y)) if head is None else head)
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


def default_head(y: np.ndarray) -> Any:
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
        if is_outcome(y):
            if any(map(is_classifier, estimators.values())) or average == "subject":
                raise ValueError(
                    "y is a survival outcome, with classifiers or average='subject'; accepted are "
                    "estimators whose predict gives log hazard ratios, such as CoxRegression(), "
                    "and average='auto', which compares the subjects of a fold."
                )
            reference = _check_estimators(estimators, reference)
            return cls._of_survival(reference, X, y, groups, cv, scoring, draws)
        reference = _check_estimators(estimators, reference)
        classify = is_classifier(estimators[reference])
        y = check_labels(y, X, classify=classify)
        subjects = subjects_of(X, groups)
        folds = folds_by_subject(cv, y, subjects, classify=classify)
        scorers = named_scorers(scoring, y, estimators[reference])
        scorer = SubjectScorer(scorers, y, SubjectBootstrap(subjects, **draws), average)
        return cls(reference, y, subjects, folds, scorer)

    @classmethod
    def _of_survival(
        cls, reference: str, X: Any, y: Any, groups: Iterable | None, cv: Any, scoring: Any,
        draws: Mapping[str, Any],
    ) -> _Plan:  # fmt: skip
        subjects = subjects_of(X, groups)
        y = outcome_of_subjects(y, X, subjects)
        folds = folds_by_event(cv, y["event"], subjects, draws["random_state"])
        resamples = SubjectBootstrap(subjects, **draws)
        fold = _number(folds)
        scorers: dict[str, Any] = {"concordance": FoldConcordance(y, resamples.codes, fold)}
        if scoring is not None:
            named = named_scorers(scoring, y, None)
            scorers = {name: _WithinFolds(scorer, fold) for name, scorer in named.items()}
        return cls(reference, y, subjects, folds, SubjectScorer(scorers, y, resamples, "pooled"))

    def carry_out(self, estimators: dict, X: Any, n_jobs: int | None) -> EstimatorComparison:
        scorer, rows = self.scorer, np.arange(len(self.y))
        predictions = held_out_predictions(estimators, X, self.y, self.folds, self.subjects, n_jobs)
        scores = {name: scorer.score(p, rows, strict=False) for name, p in predictions.items()}
        others = [name for name in scores if name != self.reference]
        differences = {
            name: _subtract(scores[name], scores[self.reference], scorer) for name in others
        }
        return EstimatorComparison(
            reference=self.reference,
            average="fold" if is_outcome(self.y) else scorer.average,
            scores=_tabulate(scores, scorer).drop(columns="fraction_above"),
            differences=_tabulate(differences, scorer).rename(columns={"value": "difference"}),
            predictions={name: p.responses for name, p in predictions.items()},
            fold=_number(self.folds),
            groups=self.subjects,
            y=self.y,
        )


def _number(folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The fold in which each row is tested."""
    fold = np.empty(sum(len(test) for _, test in folds), dtype=int)
    for i, (_, test) in enumerate(folds):
        fold[test] = i
    return fold


@dataclass(frozen=True)
class _WithinFolds:
    """A survival score of the rows of each fold, and its mean over them, weighted by events."""

    scorer: Callable
    fold: np.ndarray

    def __call__(self, predictions: Any, rows: np.ndarray, y: np.ndarray) -> float:
        scores, n_events = [], []
        for fold in np.unique(self.fold[rows]):
            inside = self.fold[rows] == fold
            if y["event"][inside].any():
                scores.append(self.scorer(predictions, rows[inside], y[inside]))
                n_events.append(y["event"][inside].sum())
        return float(np.average(scores, weights=n_events)) if scores else np.nan


@dataclass(frozen=True, repr=False)
class EstimatorComparison(TableExportMixin):
    """Result of :func:`compare_estimators`, :func:`compare_encoders` and
    :func:`compare_with_baseline`.

    ``to_markdown()`` and ``to_latex()`` write :meth:`to_frame` as :func:`to_latex` does.

    Attributes
    ----------
    reference : str
    average : {"subject", "pooled", "fold"}
        "fold" is of survival: pairs within a fold are compared.
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
    y : ndarray of shape (n,)
        The outcomes.

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
    y: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """Scores and differences in one table: columns estimator, metric, value, ..., high."""
        names = {"low": "difference_low", "high": "difference_high"}
        differences = self.differences.drop(columns="subjects").rename(columns=names)
        return self.scores.join(differences).reset_index()

    def __repr__(self) -> str:
        lines = self._shown().to_string(index=False).splitlines()
        return "\n".join([self._title(), *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        return as_html(self._title(), self._shown(), rest=".to_frame()", index=False)

    def _title(self) -> str:
        n_subjects = len(set(self.groups.tolist()))
        how = {"pooled": "all rows together", "fold": "pairs within folds"}.get(
            self.average, "mean over subjects"
        )
        return (
            f"EstimatorComparison({n_subjects} subjects, {self.fold.max() + 1} folds, {how}; "
            f"differences to {self.reference!r})"
        )

    def _shown(self) -> pd.DataFrame:
        """Scores and differences with their intervals as text."""
        rows = []
        for key, row in self.scores.iterrows():
            cells = [f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]", ""]
            if key in self.differences.index:
                d = self.differences.loc[key]
                cells[1] = f"{d['difference']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
            rows.append([*key, *cells])
        return pd.DataFrame(rows, columns=["", "metric", "score", "difference"])


def _check_estimators(estimators: dict, reference: str | None) -> str:
    if len(estimators) < 2:
        raise ValueError(
            f"estimators has {len(estimators)} element(s); accepted is a dict of at least two."
        )
    odd = [name for name, estimator in estimators.items() if not hasattr(estimator, "fit")]
    if odd:
        raise TypeError(
            f"estimators[{odd[0]!r}] is {shown(estimators[odd[0]])}; accepted are estimators with "
            "fit. Pass an instance, such as LogisticRegression()."
        )
    kinds = {name: is_classifier(estimator) for name, estimator in estimators.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(f"estimators mixes classifiers with others (classifier: {kinds}).")
    reference = next(iter(estimators)) if reference is None else reference
    if not isinstance(reference, str | int) or reference not in estimators:
        raise ValueError(
            f"reference={shown(reference)} is none of "
            f"{', '.join(map(str, estimators))}. Name one of these."
        )
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
