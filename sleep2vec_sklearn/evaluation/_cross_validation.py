# SPDX-License-Identifier: BSD-3-Clause
"""Predictions for held-out rows, and their scores with replicates over subjects."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import cohen_kappa_score, get_scorer, make_scorer
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, has_fit_parameter

from ..recordings.epochs import as_epoch_sequence
from ._subjects import SubjectBootstrap

if TYPE_CHECKING:
    from sklearn.utils import Tags

_AVERAGES = ("auto", "subject", "pooled")
_MIN_ROWS_PER_SUBJECT = 20


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
    if not isinstance(scoring, Mapping):
        scoring = {name: name for name in scoring}
    if not scoring:
        raise ValueError("scoring is empty; pass a scorer's name, or None.")
    kappa = make_scorer(cohen_kappa_score)
    return {name: kappa if s == "kappa" else get_scorer(s) for name, s in scoring.items()}


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
        if average not in _AVERAGES:
            listed = ", ".join(map(repr, _AVERAGES))
            raise ValueError(f"average must be one of {listed}; got {average!r}.")
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
        with warnings.catch_warnings():
            # scikit-learn warns of a class that a subject lacks, once per subject and resample
            warnings.simplefilter("ignore", UserWarning)
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
        for i, drawn in enumerate(self.draws.rows()):
            drawn = drawn[held_out[drawn]]
            if len(drawn):
                replicates[i] = self._score_rows(predictions, drawn)
        return ResampledScores(None, np.array(estimates), replicates)

    def _score_rows(self, predictions: HeldOutPredictions, rows: np.ndarray) -> list[float]:
        return [predictions.score_rows(s, self.y, rows) for s in self.scorers.values()]


def _nanmean(values: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=0)


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
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


def check_labels(y: ArrayLike, X: Any, *, classify: bool) -> np.ndarray:
    """Labels as an array, one per row; refuses missing ones, which for classes of epochs are -1."""
    y = np.asarray(y)
    n_rows = _num_samples(X)
    if y.ndim == 0 or len(y) != n_rows:
        n_labels = "no" if y.ndim == 0 else len(y)
        raise ValueError(f"y has {n_labels} labels for {n_rows} rows of X; one of each is needed.")
    # several outcomes, and those with fields, have cells of their own that may be missing
    if y.ndim > 1 or y.dtype.names:
        return y
    missing = np.asarray(pd.isna(y), dtype=bool)
    unscored_is_missing = classify and as_epoch_sequence(X) is not None
    numeric = np.array([isinstance(label, int | float | np.number) for label in y.tolist()])
    if unscored_is_missing:
        missing[numeric] |= y[numeric] == -1
    if missing.any():
        known = "y >= 0" if unscored_is_missing and numeric.all() else "pandas.notna(y)"
        rows = "X[known], y[known]"
        if not hasattr(X, "shape"):
            known, rows = f"numpy.flatnonzero({known})", "[X[i] for i in known], y[known]"
        raise ValueError(
            f"y has no label (NaN, None{', or -1' if unscored_is_missing else ''}) in "
            f"{missing.sum()} of {n_rows} rows, which no score can judge. Leave them out: known = "
            f"{known}, then pass {rows}, and groups alike."
        )
    return y
