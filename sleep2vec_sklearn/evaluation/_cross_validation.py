# SPDX-License-Identifier: BSD-3-Clause
"""Predictions for held-out rows, and their scores with replicates over subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import (
    cohen_kappa_score,
    get_scorer,
    get_scorer_names,
    make_scorer,
    roc_auc_score,
)
from sklearn.utils import (
    _safe_indexing,
    check_consistent_length,
    column_or_1d,
    get_tags,
    indexable,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, has_fit_parameter

from .._arguments import as_array, check_option, shown
from .._validation import find_classes
from .._warnings import others_ignored
from ..recordings.epochs import as_epoch_sequence
from ._subjects import SubjectBootstrap, recorded_subjects, subjects_of

if TYPE_CHECKING:
    from sklearn.utils import Tags

_AVERAGES = ("auto", "subject", "pooled")
_MIN_ROWS_PER_SUBJECT = 20
_MIN_PROBABILITY = 1e-6


def named_scorers(scoring: Any, y: np.ndarray, estimator: Any) -> dict[str, Callable]:
    """Scorers by name, of a name ("kappa" is one), a callable, a list of names or a mapping."""
    if scoring is None:
        if kind_of(estimator) is None:
            raise ValueError(
                f"scoring is None, and {type(estimator).__name__} is neither a classifier nor a "
                "regressor. Pass a scorer's name, or a callable of (estimator, X, y)."
            )
        scoring = "neg_mean_absolute_error"
        if is_classifier(estimator):
            scoring = "roc_auc" if len(np.unique(y)) == 2 else "kappa"
    if isinstance(scoring, str):
        scoring = [scoring]
    if callable(scoring):
        scoring = {getattr(scoring, "__name__", "score"): scoring}
    if isinstance(scoring, list | tuple) and all(isinstance(name, str) for name in scoring):
        scoring = {name: name for name in scoring}
    known = {"kappa", *get_scorer_names()}
    if (
        not isinstance(scoring, Mapping)
        or not scoring
        or not all(callable(s) or (isinstance(s, str) and s in known) for s in scoring.values())
    ):
        raise ValueError(
            f"scoring is {shown(scoring)}; accepted are a scorer's name, of "
            "sklearn.metrics.get_scorer_names() or 'kappa', a callable of (estimator, X, y), a "
            "list of names, and a dict of these. Pass None for the usual one."
        )
    return {
        name: _OWN_SCORERS[s] if isinstance(s, str) and s in _OWN_SCORERS else get_scorer(s)
        for name, s in scoring.items()
    }


def _kappa(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    n_classes = len(np.union1d(y_true, y_pred))
    return cohen_kappa_score(y_true, y_pred) if n_classes > 1 else np.nan


def _roc_auc(y_true: np.ndarray, y_score: np.ndarray) -> float:
    return roc_auc_score(y_true, y_score) if len(np.unique(y_true)) > 1 else np.nan


# NaN of a single class, of which scikit-learn warns, that is at every such subject and resample
_OWN_SCORERS = {
    "kappa": make_scorer(_kappa),
    "roc_auc": make_scorer(_roc_auc, response_method=("decision_function", "predict_proba")),
}


@dataclass(frozen=True, eq=False)
class ResampledScores:
    """Scores of one set of predictions, and their estimates in each resample of subjects."""

    values: np.ndarray | None  # (n_subjects, n_metrics), None where rows were pooled
    estimates: np.ndarray  # (n_metrics,)
    replicates: np.ndarray  # (n_resamples, n_metrics)


class SubjectScorer:
    """Scores of held-out rows with the same resamples of subjects for all predictions.

    ``average="subject"`` is the mean of each subject's score, "pooled" the score of all rows;
    "auto" takes the former where the median subject has 20 rows or more, as with epochs.
    """

    def __init__(
        self, scorers: Mapping[str, Callable], y: np.ndarray, draws: SubjectBootstrap,
        average: str = "auto",
    ):  # fmt: skip
        check_option("average", average, _AVERAGES)
        self.scorers = dict(scorers)
        self.y, self.draws = y, draws
        if average == "auto":
            many = np.median(np.bincount(draws.codes)) >= _MIN_ROWS_PER_SUBJECT
            average = "subject" if many else "pooled"
        self.average = average

    def score(
        self, predictions: HeldOutPredictions, rows: np.ndarray, *, strict: bool = True
    ) -> ResampledScores:
        """Score predictions of some rows; where ``strict``, an undefined metric is a ValueError."""
        # some metrics warn of a class that a subject lacks, once per subject and resample
        with others_ignored(UserWarning):
            if self.average == "pooled":
                return self._score_pooled(predictions, rows, strict)
            return self._score_subjects(predictions, rows, strict)

    def average_of(self, repeats: Sequence[ResampledScores]) -> ResampledScores:
        """Mean over repeats, subject by subject where there are such scores."""
        if self.average == "subject":
            return self.from_subjects(_nanmean([scores.values for scores in repeats]))
        return ResampledScores(
            None,
            np.mean([scores.estimates for scores in repeats], axis=0),
            np.mean([scores.replicates for scores in repeats], axis=0),
        )

    @staticmethod
    def spread_of(repeats: Sequence[ResampledScores]) -> np.ndarray:
        """Standard deviation over repeats, NaN of a single one."""
        if len(repeats) < 2:
            return np.full(repeats[0].estimates.shape, np.nan)
        return np.std([scores.estimates for scores in repeats], axis=0, ddof=1)

    def from_subjects(self, values: np.ndarray) -> ResampledScores:
        """Means over subjects and resamples of values of shape (n_subjects, n_metrics)."""
        known = np.isfinite(values)
        counts = self.draws.counts
        with np.errstate(invalid="ignore", divide="ignore"):
            # a resample may hold no subject that has a score
            replicates = counts @ np.where(known, values, 0) / (counts @ known)
        return ResampledScores(values, _nanmean(values), replicates)

    def _score_subjects(
        self, predictions: HeldOutPredictions, rows: np.ndarray, strict: bool
    ) -> ResampledScores:
        values = np.full((len(self.draws.subjects), len(self.scorers)), np.nan)
        codes = self.draws.codes[rows]
        for code in np.unique(codes):
            values[code] = self._score_rows(predictions, rows[codes == code])
        columns = zip(self.scorers, values.T, strict=True)
        undefined = [name for name, column in columns if not np.isfinite(column).any()]
        if undefined and strict:
            raise ValueError(
                f"{', '.join(undefined)}: defined for none of the {len(values)} subjects alone. "
                "Pass average='pooled' to score all rows together."
            )
        return self.from_subjects(values)

    def _score_pooled(
        self, predictions: HeldOutPredictions, rows: np.ndarray, strict: bool
    ) -> ResampledScores:
        if strict:
            scorers = self.scorers.values()
            estimates = [float(scorer(predictions, rows, self.y[rows])) for scorer in scorers]
        else:
            estimates = self._score_rows(predictions, rows)
        held_out = np.zeros(len(self.y), dtype=bool)
        held_out[rows] = True
        replicates = np.full((len(self.draws.counts), len(self.scorers)), np.nan)
        looped = {}
        for column, (name, scorer) in enumerate(self.scorers.items()):
            if hasattr(scorer, "resample"):
                replicates[:, column] = scorer.resample(predictions, rows, self.draws.counts)
            else:
                looped[column] = name
        for i, drawn in enumerate(self.draws.rows() if looped else ()):
            drawn = drawn[held_out[drawn]]
            for column, name in looped.items() if len(drawn) else ():
                score = predictions.score_rows(self.scorers[name], self.y, drawn)
                replicates[i, column] = score
        return ResampledScores(None, np.array(estimates), replicates)

    def _score_rows(self, predictions: HeldOutPredictions, rows: np.ndarray) -> list[float]:
        return [predictions.score_rows(s, self.y, rows) for s in self.scorers.values()]


def _nanmean(values: Any) -> np.ndarray:
    values = np.asarray(values)
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)


class HeldOutPredictions(BaseEstimator):
    """Responses of one estimator for all rows, each by a clone that was not fitted to the row.

    Scorers of scikit-learn take it as a fitted estimator whose X are row numbers.
    """

    def __init__(self, responses: Any, kind: str | None, classes: np.ndarray | None = None) -> None:
        self.responses = responses
        self.kind = kind
        self.classes = classes
        if classes is not None:
            self.classes_ = classes

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.estimator_type = self.kind
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @available_if(lambda self: "predict" in self.responses)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.responses["predict"][rows]

    @available_if(lambda self: "predict_proba" in self.responses)
    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return self.responses["predict_proba"][rows]

    @available_if(lambda self: "decision_function" in self.responses)
    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        return self.responses["decision_function"][rows]

    def score_rows(self, scorer: Callable, y: np.ndarray, rows: np.ndarray) -> float:
        """A score of some rows; NaN where it is undefined, such as an AUC of one class."""
        with np.errstate(all="ignore"):
            try:
                return float(scorer(self, rows, y[rows]))
            except ValueError:
                return np.nan


def held_out_predictions(
    estimators: Mapping[str, Any], X: Any, y: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]], groups: np.ndarray,
    n_jobs: int | None = None,
) -> dict[str, HeldOutPredictions]:  # fmt: skip
    """Fit a clone of each estimator to each fold's training rows, and predict its test rows."""
    classes = {n: np.unique(y) if is_classifier(e) else None for n, e in estimators.items()}
    if any(labels is not None for labels in classes.values()):
        _check_training_classes(y, folds)
    jobs = [(name, fold) for name in estimators for fold in folds]
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_predict_fold)(estimators[name], X, y, groups, classes[name], *fold)
        for name, fold in jobs
    )
    # each row is in one test set
    order = np.argsort(np.concatenate([test for _, test in folds]))
    predictions = {}
    for i, (name, estimator) in enumerate(estimators.items()):
        own = parts[i * len(folds) : (i + 1) * len(folds)]
        responses = {m: np.concatenate([part[m] for part in own])[order] for m in own[0]}
        predictions[name] = HeldOutPredictions(responses, kind_of(estimator), classes[name])
    return predictions


def kind_of(estimator: Any) -> str | None:
    """ "classifier", "regressor" or None."""
    if is_classifier(estimator):
        return "classifier"
    return "regressor" if is_regressor(estimator) else None


def _check_training_classes(y: np.ndarray, folds: Sequence[tuple]) -> None:
    for i, (train, _) in enumerate(folds):
        classes = np.unique(y[train])
        if len(classes) < 2:
            raise ValueError(
                f"the training rows of fold {i} hold the class {classes.tolist()[0]!r} alone; "
                "accepted are at least two. Use fewer folds, or cv=StratifiedGroupKFold(...), "
                "which spreads the classes."
            )


def _predict_fold(
    estimator: Any, X: Any, y: np.ndarray, groups: np.ndarray, classes: np.ndarray | None,
    train: np.ndarray, test: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    classes = classes if y.ndim == 1 else None
    fitted = fit_aligning_classes(
        estimator, _safe_indexing(X, train), y[train], classes, groups[train]
    )
    # decision values of different fits have no common scale
    scores = "predict_proba" if hasattr(fitted, "predict_proba") else "decision_function"
    methods = [method for method in ("predict", scores) if hasattr(fitted, method)]
    X_test = _safe_indexing(X, test)
    return {method: np.asarray(getattr(fitted, method)(X_test)) for method in methods}


def fit_aligning_classes(
    estimator: Any, X: Any, y: np.ndarray, classes: np.ndarray | None,
    groups: np.ndarray | None = None,
) -> Any:  # fmt: skip
    """Fit a clone that predicts all ``classes``, with probability 0 of those that y lacks.

    With a single class in y nothing is fitted: it is always predicted. None is no classifier.
    Estimators that split their training rows, and so take ``groups``, get the subjects.
    """
    model = clone(estimator)
    splits = groups is not None and has_fit_parameter(model, "groups")
    more = {"groups": groups} if splits else {}
    if classes is None or len(known := np.unique(y)) == len(classes):
        return model.fit(X, y, **more)
    fitted = None if len(known) == 1 else model.fit(X, y, **more)
    return _ClassAligner(fitted, known, classes, estimator)


def refuse_frozen(estimator: Any) -> None:
    """Refuse steps, however deep, that were fitted to outcomes and would not be fitted anew."""
    parts = [estimator, *_parts_of(estimator)]
    for frozen in (part for part in parts if isinstance(part, FrozenEstimator)):
        fitted = [frozen.estimator, *_parts_of(frozen.estimator)]
        learned = [f for f in fitted if hasattr(f, "predict") or _reads_outcomes(f)]
        if learned:
            raise ValueError(
                f"estimator is frozen ({type(learned[0]).__name__}), and may have been fitted to "
                "these subjects, of whom it knows the chance; accepted is one to be fitted. Its "
                "predictions for subjects it never saw are a covariate of hazard_ratios: "
                "covariates=pd.DataFrame({'score': ...})."
            )


def _parts_of(estimator: Any) -> list:
    values = estimator.get_params().values() if hasattr(estimator, "get_params") else ()
    return [value for value in values if hasattr(value, "fit")]


def _reads_outcomes(estimator: Any) -> bool:
    return isinstance(estimator, BaseEstimator) and get_tags(estimator).target_tags.required


class _ClassAligner(BaseEstimator):
    """A classifier that was fitted without some of the classes; None predicts the known one."""

    def __init__(self, fitted: Any, known: np.ndarray, classes: np.ndarray, template: Any) -> None:
        self.fitted = fitted
        self.known = known
        self.classes_ = classes
        self.template = template

    def __sklearn_tags__(self) -> Tags:
        return get_tags(self.template)

    def predict(self, X: Any) -> np.ndarray:
        if self.fitted is None:
            return np.full(_num_samples(X), self.known[0])
        return self.fitted.predict(X)

    @available_if(lambda self: hasattr(self.template, "predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        known = 1.0 if self.fitted is None else self.fitted.predict_proba(X)
        return self._align(known, X, fill=0.0)

    @available_if(lambda self: hasattr(self.template, "decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        known = 0.0 if self.fitted is None else np.asarray(self.fitted.decision_function(X))
        if np.ndim(known) == 1:
            known = np.column_stack([-known, known])
        columns = self._align(known, X, fill=np.min(known) - 1)
        return columns[:, 1] - columns[:, 0] if len(self.classes_) == 2 else columns

    def _align(self, known: np.ndarray | float, X: Any, fill: float) -> np.ndarray:
        columns = np.full((_num_samples(X), len(self.classes_)), fill)
        columns[:, np.isin(self.classes_, self.known)] = known
        return columns


def as_columns(fitted: Any, X: Any, classify: bool) -> np.ndarray:
    """Predictions as columns of a linear model; of classes, log-odds to the first one."""
    if not classify:
        return np.asarray(fitted.predict(X), dtype=float).reshape(len(X), -1)
    if hasattr(fitted, "predict_proba"):
        logs = np.log(np.clip(fitted.predict_proba(X), _MIN_PROBABILITY, None))
        return logs[:, 1:] - logs[:, :1]
    return np.asarray(fitted.decision_function(X), dtype=float).reshape(len(X), -1)


def check_labels(y: Any, X: Any, *, classify: bool) -> np.ndarray:
    """Labels as an array, one per row; refuses missing ones, which for classes of epochs are -1."""
    y = as_array("y", y)
    if not hasattr(X, "__len__") or isinstance(X, str | type) or getattr(X, "ndim", 1) == 0:
        raise TypeError(
            f"X is {shown(X)}; accepted are rows: recordings, an EpochSequence, an array or a "
            "table. Pass a list of recordings, such as a cohort."
        )
    n_rows = _num_samples(X)
    if y.dtype.kind == "O" and y.ndim == 1:
        # numbers in a column of objects are numbers
        y = pd.Series(list(y), dtype=object).infer_objects().to_numpy()
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError(
            f"y is infinite in {np.isinf(y).sum()} of {n_rows} rows; accepted are finite numbers. "
            "Leave these rows out, or correct them."
        )
    if y.ndim == 0 or len(y) != n_rows:
        n_labels = "no" if y.ndim == 0 else len(y)
        raise ValueError(f"y has {n_labels} labels for {n_rows} rows of X; one of each is needed.")
    # several outcomes, and those with fields, have cells of their own that may be missing
    if y.ndim > 1 or y.dtype.names:
        return y
    missing = find_missing(y, X, classify=classify)
    if missing.any():
        unscored_is_missing = classify and as_epoch_sequence(X) is not None
        known = "y >= 0" if unscored_is_missing and _are_numbers(y).all() else "pandas.notna(y)"
        rows = "X[known], y[known]"
        if not hasattr(X, "shape"):
            known, rows = f"numpy.flatnonzero({known})", "[X[i] for i in known], y[known]"
        raise ValueError(
            f"y has no label (NaN, None{', or -1' if unscored_is_missing else ''}) in "
            f"{missing.sum()} of {n_rows} rows, which no score can judge. Leave them out: known = "
            f"{known}, then pass {rows}, and groups alike."
        )
    if classify:
        find_classes("y", y)
    return y


def read_labelled(
    X: Any, y: Any, groups: Any, *, classify: bool, fits: bool = True
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Rows that have a label, their labels, and their subjects.

    To fit to, there have to be two subjects and two classes or values at least.
    """
    labels, n_rows = np.asarray(y), _num_samples(X)
    if (labels.ndim == 2 and labels.shape[1] > 1) or labels.dtype.names:
        raise ValueError(
            f"y has shape {labels.shape} for {n_rows} rows of X; accepted is one label for each. "
            "Of several outcomes, take one at a time."
        )
    labels = column_or_1d(labels, warn=True)
    check_consistent_length(X, labels)
    (X,) = indexable(X)
    subjects = recorded_subjects(X) if groups is None else subjects_of(X, groups)
    known = np.flatnonzero(~find_missing(labels, X, classify=classify))
    if len(known) < n_rows:
        X, labels = _safe_indexing(X, known), labels[known]
        subjects = subjects[known]
    if labels.dtype == object:
        labels = np.array(labels.tolist())
    n_values, n_subjects = len(np.unique(labels)), len(np.unique(subjects))
    if fits and n_values < 2:
        kind = "class" if classify else "value"
        raise ValueError(
            f"y has {n_values} {kind} in n_samples={len(labels)} labelled rows; accepted are at "
            "least two. Nothing is learned from a constant outcome: look at the rows you pass."
        )
    if fits and n_subjects < 2:
        raise ValueError(
            f"the labelled rows are of {n_subjects} subject; accepted are at least two, to fit to "
            "some and calibrate on others. Pass groups if they are of several."
        )
    return X, labels, subjects


def find_missing(y: np.ndarray, X: Any, *, classify: bool) -> np.ndarray:
    """Rows of one outcome without a label: NaN, None or, for classes of epochs, -1."""
    missing = np.asarray(pd.isna(y), dtype=bool)
    if classify and as_epoch_sequence(X) is not None:
        numeric = _are_numbers(y)
        missing[numeric] |= y[numeric] == -1
    return missing


def _are_numbers(y: np.ndarray) -> np.ndarray:
    return np.array([isinstance(label, int | float | np.number) for label in y.tolist()])
