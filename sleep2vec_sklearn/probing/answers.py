# SPDX-License-Identifier: BSD-3-Clause
"""Fitted estimators asked once for the rows they did not see, however often these are scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.utils import _safe_indexing, get_tags

from ..evaluation.held_out import HeldOut

__all__ = ["fit_known_classes", "held_out", "take_rows"]

_RESPONSES = ("predict", "predict_proba", "decision_function")


def take_rows(X, rows):
    """Rows of X, whatever kind of container it is."""
    return _safe_indexing(X, np.asarray(rows))


class _Answers(Mapping):
    """Responses of one estimator per fold for the rows it did not see, each asked for once.

    Where all of them give probabilities there is no decision function: values of different fits
    have no common scale.
    """

    def __init__(self, parts: Sequence[tuple], rows: np.ndarray, n_rows: int):
        self._parts, self._rows, self._n_rows = list(parts), rows, n_rows
        self._found: dict[str, np.ndarray] = {}

    def __contains__(self, method: object) -> bool:
        offered = all(hasattr(fitted, method) for fitted, _ in self._parts)
        return offered and not (method == "decision_function" and "predict_proba" in self)

    def __iter__(self) -> Iterator[str]:
        return (method for method in _RESPONSES if method in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, method: str) -> np.ndarray:
        if method not in self._found:
            found = [np.asarray(getattr(fitted, method)(X)) for fitted, X in self._parts]
            found = np.concatenate(found)
            # of rows that are not held out nothing is asked
            whole = np.zeros((self._n_rows, *found.shape[1:]), dtype=found.dtype)
            whole[self._rows] = found
            self._found[method] = whole
        return self._found[method]


def held_out(parts: Sequence[tuple], rows: np.ndarray, n_rows: int, classes) -> HeldOut:
    """What estimators fitted on one fold each answer, asked when a scorer wants it.

    Parameters
    ----------
    parts : sequence of (fitted estimator, X of its test rows)
    rows : int ndarray
        Number of each of these rows in the whole X.
    n_rows : int
        Of the whole X.
    classes : ndarray or None
        All classes there are.
    """
    first = parts[0][0]
    kind = "classifier" if is_classifier(first) else None
    kind = "regressor" if is_regressor(first) else kind
    return HeldOut(_Answers(parts, rows, n_rows), kind, classes)


def fit_known_classes(estimator, X, y: np.ndarray, classes: np.ndarray | None):
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
