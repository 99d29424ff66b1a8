# SPDX-License-Identifier: BSD-3-Clause
"""What an estimator answers for people it was not fitted on, kept to be scored many times."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if

from .known_classes import fit_known_classes

__all__ = ["HeldOut", "held_out_answers"]

_METHODS = ("predict", "predict_proba", "decision_function")


def _answers(method: str) -> Callable:
    return lambda held_out: method in held_out.answers


class HeldOut(BaseEstimator):
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


def held_out_answers(
    estimators: Mapping[str, BaseEstimator], X, y, folds: Sequence[tuple], n_jobs: int | None = None
) -> dict[str, HeldOut]:
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
    fitted = fit_known_classes(estimator, _safe_indexing(X, train), y[train], one_label)
    rows = _safe_indexing(X, test)
    methods = [name for name in _METHODS if hasattr(fitted, name)]
    if "predict_proba" in methods:
        methods = [name for name in methods if name != "decision_function"]
    return {name: np.asarray(getattr(fitted, name)(rows)) for name in methods}


def _gather(estimator, classes, n_rows: int, folds, parts) -> HeldOut:
    kind = "classifier" if is_classifier(estimator) else None
    kind = "regressor" if is_regressor(estimator) else kind
    answers = {}
    for method in parts[0]:
        blocks = np.concatenate([found[method] for found in parts])
        whole = np.empty((n_rows, *blocks.shape[1:]), dtype=blocks.dtype)
        whole[np.concatenate([test for _, test in folds])] = blocks
        answers[method] = whole
    return HeldOut(answers, kind, classes)
