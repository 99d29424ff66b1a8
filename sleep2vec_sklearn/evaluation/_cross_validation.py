# SPDX-License-Identifier: BSD-3-Clause
"""Scores of held-out rows, and what they would have been with other people."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import cohen_kappa_score, get_scorer, make_scorer
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.metaestimators import available_if

from ..recordings.epochs import as_epoch_sequence
from ._subjects import SubjectBootstrap

__all__ = [
    "HeldOutPredictions",
    "ResampledScores",
    "SubjectScorer",
    "check_labels",
    "fit_aligning_classes",
    "held_out_predictions",
    "named_scorers",
]

_AVERAGES = ("auto", "subject", "pooled")
_ROWS_OF_A_SUBJECT = 20


def named_scorers(scoring, y: np.ndarray, estimator) -> dict[str, Callable]:
    """Scorers by name.

    Parameters
    ----------
    scoring : str, callable, list of str, dict of str to either, or None
        Names of scikit-learn, and "kappa". None is "roc_auc" for two classes, "kappa" for more,
        and "neg_mean_absolute_error" for numbers.
    y : ndarray of shape (n, ...)
    estimator : estimator
        Whose kind tells what y holds.

    Raises
    ------
    ValueError
        If there is nothing to score with.
    """
    if scoring is None:
        if is_classifier(estimator):
            scoring = "roc_auc" if len(np.unique(y)) == 2 else "kappa"
        elif is_regressor(estimator):
            scoring = "neg_mean_absolute_error"
        else:
            raise ValueError(
                f"scoring is None, and {type(estimator).__name__} is neither a classifier nor a "
                "regressor. Pass a scorer's name, or a callable of (estimator, X, y)."
            )
    if isinstance(scoring, str):
        scoring = [scoring]
    if callable(scoring):
        scoring = {getattr(scoring, "__name__", "score"): scoring}
    if not isinstance(scoring, Mapping):
        scoring = {name: name for name in scoring}
    if not scoring:
        raise ValueError("scoring is empty; pass a scorer's name, or None.")
    return {name: _scorer(of) for name, of in scoring.items()}


def _scorer(of) -> Callable:
    if of == "kappa":
        return make_scorer(cohen_kappa_score)
    return get_scorer(of) if isinstance(of, str) else of


@dataclass(frozen=True, eq=False)
class ResampledScores:
    """Scores of one set of answers.

    Attributes
    ----------
    values : ndarray of shape (n_subjects, n_metrics), or None
        Of each subject alone, NaN where it is not defined; None where rows were pooled.
    estimates : ndarray of shape (n_metrics,)
    replicates : ndarray of shape (n_resamples, n_metrics)
        The estimate for other people, drawn with replacement.
    """

    values: np.ndarray | None
    estimates: np.ndarray
    replicates: np.ndarray


class SubjectScorer:
    """Score held-out rows by subject, or all together, and resample the subjects.

    The people drawn are the same for all answers, so differences are paired.

    Parameters
    ----------
    scorers : mapping of str to callable
    y : ndarray of shape (n_rows, ...)
        Of all rows of X.
    draws : SubjectBootstrap
        Of the same rows.
    average : {"auto", "subject", "pooled"}
        The mean of each subject's score, or the score of all rows; "auto" takes the former where
        subjects have 20 rows or more in the median, as they have where rows are epochs.
    """

    def __init__(
        self,
        scorers: Mapping[str, Callable],
        y: np.ndarray,
        draws: SubjectBootstrap,
        average: str = "auto",
    ):
        if average not in _AVERAGES:
            listed = ", ".join(map(repr, _AVERAGES))
            raise ValueError(f"average must be one of {listed}; got {average!r}.")
        self.scorers = dict(scorers)
        self.y, self.draws = y, draws
        if average == "auto":
            many = np.median(np.bincount(draws.codes)) >= _ROWS_OF_A_SUBJECT
            average = "subject" if many else "pooled"
        self.average = average

    def score(
        self, answers: HeldOutPredictions, rows: np.ndarray, *, strict: bool = True
    ) -> ResampledScores:
        """Score answers.

        Parameters
        ----------
        answers : HeldOutPredictions
        rows : int ndarray
            Rows of X that are held out.
        strict : bool
            Whether a metric that has no value is an error, or NaN.

        Raises
        ------
        ValueError
            If a metric is defined for no subject, or not for all of them together.
        """
        with warnings.catch_warnings():
            # a class that some people lack would be told about a thousand times
            warnings.simplefilter("ignore", UserWarning)
            if self.average == "pooled":
                return self._score_pool(answers, rows, strict)
            return self._score_each(answers, rows, strict)

    def average_of(self, repeats: Sequence[ResampledScores]) -> ResampledScores:
        """Mean over repeats, subject by subject where there are such scores."""
        if self.average == "subject":
            return self.of_values(_mean([scored.values for scored in repeats]))
        return ResampledScores(
            None,
            np.mean([scored.estimates for scored in repeats], axis=0),
            np.mean([scored.replicates for scored in repeats], axis=0),
        )

    @staticmethod
    def spread_of(repeats: Sequence[ResampledScores]) -> np.ndarray:
        """Standard deviation over repeats, NaN of one alone."""
        if len(repeats) < 2:
            return np.full(repeats[0].estimates.shape, np.nan)
        return np.std([scored.estimates for scored in repeats], axis=0, ddof=1)

    def of_values(self, values: np.ndarray) -> ResampledScores:
        """Means over subjects and over those drawn, of shape (n_subjects, n_metrics)."""
        known = np.isfinite(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            # nobody of those drawn may have a score
            replicates = (
                self.draws.counts @ np.where(known, values, 0) / (self.draws.counts @ known)
            )
        return ResampledScores(values, _mean(values), replicates)

    def _score_each(
        self, answers: HeldOutPredictions, rows: np.ndarray, strict: bool
    ) -> ResampledScores:
        values = np.full((len(self.draws.subjects), len(self.scorers)), np.nan)
        person = self.draws.codes[rows]
        for place in np.unique(person):
            mine = rows[person == place]
            values[place] = [answers.score_rows(s, self.y, mine) for s in self.scorers.values()]
        missing = [n for n, column in zip(self.scorers, values.T, strict=True) if _is_void(column)]
        if missing and strict:
            raise ValueError(
                f"{', '.join(missing)}: defined for none of the {len(values)} subjects alone. Pass "
                "average='pooled' to score all rows together."
            )
        return self.of_values(values)

    def _score_pool(
        self, answers: HeldOutPredictions, rows: np.ndarray, strict: bool
    ) -> ResampledScores:
        scorers = list(self.scorers.values())
        if strict:
            estimates = [float(scorer(answers, rows, self.y[rows])) for scorer in scorers]
        else:
            estimates = [answers.score_rows(scorer, self.y, rows) for scorer in scorers]
        held_out = np.zeros(len(self.y), dtype=bool)
        held_out[rows] = True
        replicates = np.full((len(self.draws.counts), len(scorers)), np.nan)
        for number, drawn in enumerate(self.draws.rows()):
            mine = drawn[held_out[drawn]]
            if len(mine):
                replicates[number] = [answers.score_rows(s, self.y, mine) for s in scorers]
        return ResampledScores(None, np.array(estimates), replicates)


def _is_void(values: np.ndarray) -> bool:
    return not np.isfinite(values).any()


def _mean(values) -> np.ndarray:
    """Mean over the first axis of what is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=0)


_METHODS = ("predict", "predict_proba", "decision_function")


def _answers(method: str) -> Callable:
    return lambda held_out: method in held_out.answers


class HeldOutPredictions(BaseEstimator):
    """Answers of one estimator for all rows, each by a clone that did not see its fold.

    Scorers of scikit-learn take it as a fitted estimator whose X are row numbers.

    Parameters
    ----------
    answers : dict of str to ndarray
        By method.
    kind : {"classifier", "regressor", None}
    classes : ndarray or None

    Attributes
    ----------
    classes_ : ndarray
        Of a classifier.
    """

    def __init__(self, answers, kind, classes=None):
        self.answers = answers
        self.kind = kind
        self.classes = classes
        if classes is not None:
            self.classes_ = classes

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = self.kind
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @available_if(_answers("predict"))
    def predict(self, rows):
        """Answers for these rows."""
        return self.answers["predict"][rows]

    @available_if(_answers("predict_proba"))
    def predict_proba(self, rows):
        """Probabilities of the classes for these rows."""
        return self.answers["predict_proba"][rows]

    @available_if(_answers("decision_function"))
    def decision_function(self, rows):
        """Decision values for these rows."""
        return self.answers["decision_function"][rows]

    def score_rows(self, scorer: Callable, y: np.ndarray, rows: np.ndarray) -> float:
        """A score on some rows; NaN where it is not defined, as an AUC of one class."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                return float(scorer(self, rows, y[rows]))
            except ValueError:
                return np.nan


def held_out_predictions(
    estimators: Mapping[str, BaseEstimator], X, y, folds: Sequence[tuple], n_jobs: int | None = None
) -> dict[str, HeldOutPredictions]:
    """Fit a clone of each estimator on each fold's training rows, and keep what it answers.

    Parameters
    ----------
    estimators : mapping of str to estimator
    X : list of recordings, EpochSequence or array
    y : ndarray of shape (n, ...)
    folds : sequence of (train, test)
    n_jobs : int, optional
        Processes.

    Raises
    ------
    ValueError
        If the training rows of a fold hold one class.
    """
    for number, (train, _) in enumerate(folds):
        _check_classes(y[train], number, estimators)
    classes = {
        name: np.unique(y) if is_classifier(estimator) else None
        for name, estimator in estimators.items()
    }
    tasks = [(name, fold) for name in estimators for fold in folds]
    found = Parallel(n_jobs=n_jobs)(
        delayed(_answer)(estimators[name], X, y, classes[name], *fold) for name, fold in tasks
    )
    answers = {}
    for place, (name, estimator) in enumerate(estimators.items()):
        parts = found[place * len(folds) : (place + 1) * len(folds)]
        answers[name] = _gather(estimator, classes[name], len(y), folds, parts)
    return answers


def _check_classes(y: np.ndarray, number: int, estimators: Mapping) -> None:
    if not any(is_classifier(estimator) for estimator in estimators.values()):
        return
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"the training rows of fold {number} hold the class {classes.tolist()[0]!r} alone; "
            "accepted are at least two. Use fewer folds, or cv=StratifiedGroupKFold(...), which "
            "spreads the classes."
        )


def _answer(estimator, X, y, classes, train, test) -> dict[str, np.ndarray]:
    one_label = classes if y.ndim == 1 else None
    fitted = fit_aligning_classes(estimator, _safe_indexing(X, train), y[train], one_label)
    rows = _safe_indexing(X, test)
    methods = [name for name in _METHODS if hasattr(fitted, name)]
    if "predict_proba" in methods:
        methods = [name for name in methods if name != "decision_function"]
    return {name: np.asarray(getattr(fitted, name)(rows)) for name in methods}


def _gather(estimator, classes, n_rows: int, folds, parts) -> HeldOutPredictions:
    kind = "classifier" if is_classifier(estimator) else None
    kind = "regressor" if is_regressor(estimator) else kind
    answers = {}
    for method in parts[0]:
        blocks = np.concatenate([found[method] for found in parts])
        whole = np.empty((n_rows, *blocks.shape[1:]), dtype=blocks.dtype)
        whole[np.concatenate([test for _, test in folds])] = blocks
        answers[method] = whole
    return HeldOutPredictions(answers, kind, classes)


def fit_aligning_classes(estimator, X, y: np.ndarray, classes: np.ndarray | None):
    """Fit a clone; where its rows lack classes, say so by a probability of 0 for these.

    Parameters
    ----------
    estimator : estimator
    X, y
        Rows that train.
    classes : ndarray or None
        All classes there are; None where the estimator is no classifier.

    Returns
    -------
    fitted estimator
        One whose rows have a single class answers with it; nothing is fitted.
    """
    model = clone(estimator)
    if classes is None:
        return model.fit(X, y)
    known = np.unique(y)
    if len(known) == len(classes):
        return model.fit(X, y)
    fitted = None if len(known) == 1 else model.fit(X, y)
    return _WithAllClasses(fitted, known, classes, estimator)


class _WithAllClasses(BaseEstimator):
    """A classifier fitted without some of the classes."""

    def __init__(self, fitted, known, classes, like):
        self.fitted = fitted
        self.known = known
        self.classes_ = classes
        self.like = like

    def __sklearn_tags__(self):
        return get_tags(self.like)

    def predict(self, X) -> np.ndarray:
        if self.fitted is None:
            return np.full(_count(X), self.known[0])
        return self.fitted.predict(X)

    def __getattr__(self, name: str):
        like = self.__dict__.get("like")
        if name == "predict_proba" and hasattr(like, name):
            return self._probabilities
        # of a classifier that is not fitted, as both of them depend on its parameters alone
        if name == "decision_function" and hasattr(like, name):
            return self._decisions
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def _probabilities(self, X) -> np.ndarray:
        found = 1.0 if self.fitted is None else self.fitted.predict_proba(X)
        return self._spread(found, _count(X), lowest=0.0)

    def _decisions(self, X) -> np.ndarray:
        found = 0.0 if self.fitted is None else np.asarray(self.fitted.decision_function(X))
        if np.ndim(found) == 1:
            found = np.column_stack([-found, found])
        columns = self._spread(found, _count(X), lowest=np.min(found) - 1)
        return columns[:, 1] - columns[:, 0] if len(self.classes_) == 2 else columns

    def _spread(self, found, n_rows: int, lowest: float) -> np.ndarray:
        columns = np.full((n_rows, len(self.classes_)), lowest)
        columns[:, np.isin(self.classes_, self.known)] = found
        return columns


def _count(X) -> int:
    return X.shape[0] if hasattr(X, "shape") else len(X)


def check_labels(y, X, *, classify: bool) -> np.ndarray:
    """Labels as an array.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or (n_rows, ...)
    X : list of Recording, list of lists of them, EpochSequence, or array
    classify : bool
        Whether they are classes; of epochs -1 is none, as in :class:`SleepStage`.

    Raises
    ------
    ValueError
        If their number is not that of the rows, or a row of one label has none.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation._cross_validation import check_labels
    >>> check_labels(["a", "b"], [{}, {}], classify=True)
    array(['a', 'b'], dtype='<U1')
    """
    import pandas as pd

    y = np.asarray(y)
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if y.ndim == 0 or len(y) != n_rows:
        found = "no" if y.ndim == 0 else len(y)
        raise ValueError(f"y has {found} labels for {n_rows} rows of X; one of each is needed.")
    # several outcomes, and those with fields, have cells of their own that may be missing
    if y.ndim > 1 or y.dtype.names:
        return y
    missing = np.asarray(pd.isna(y), dtype=bool)
    epochs = as_epoch_sequence(X) is not None
    numbers = np.array([isinstance(v, int | float | np.number) for v in y.tolist()])
    if classify and epochs:
        missing[numbers] |= y[numbers] == -1
    if missing.any():
        also = ", or -1" if classify and epochs else ""
        rest = "X[known], y[known]" if hasattr(X, "shape") else "[X[i] for i in known], y[known]"
        which = "y >= 0" if also and numbers.all() else "pandas.notna(y)"
        if not hasattr(X, "shape"):
            which = f"numpy.flatnonzero({which})"
        raise ValueError(
            f"y has no label (NaN, None{also}) in {missing.sum()} of {n_rows} rows, of which no "
            f"score can tell whether an answer is right. Leave them out: known = {which}, then "
            f"pass {rest}, and groups alike."
        )
    return y
