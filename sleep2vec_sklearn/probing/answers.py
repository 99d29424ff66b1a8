# SPDX-License-Identifier: BSD-3-Clause
"""Fitted estimators asked once for the rows they did not see, however often these are scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing, get_tags

__all__ = ["HeldOutAnswers", "fit_known_classes", "take_rows"]

_RESPONSES = ("predict", "predict_proba", "decision_function")


def take_rows(X, rows):
    """Rows of X, whatever kind of container it is."""
    return _safe_indexing(X, np.asarray(rows))


class HeldOutAnswers:
    """Stands for estimators that were fitted on one fold each, as a scorer sees it.

    Its X are numbers of held-out rows, counted through all parts. Every part is asked for a
    response when a scorer wants it, and once only. Where all of them give probabilities, no
    decision function is offered: values of different fits have no common scale.

    Parameters
    ----------
    parts : sequence of (fitted estimator, X of its test rows)
    """

    def __init__(self, parts: Sequence[tuple]):
        self._parts = list(parts)
        self._found: dict[str, np.ndarray] = {}
        first = self._parts[0][0]
        if hasattr(first, "classes_"):
            self.classes_ = first.classes_

    def __sklearn_tags__(self):
        return get_tags(self._parts[0][0])

    def __getattr__(self, name: str):
        offered = name in _RESPONSES and all(hasattr(fitted, name) for fitted, _ in self._parts)
        if not offered or (name == "decision_function" and hasattr(self, "predict_proba")):
            raise AttributeError(f"held-out answers have no {name!r}")

        def respond(rows) -> np.ndarray:
            return self._all(name)[rows]

        # scorers tell what they were answered by the method's name
        respond.__name__ = name
        return respond

    def _all(self, name: str) -> np.ndarray:
        if name not in self._found:
            found = [np.asarray(getattr(fitted, name)(X)) for fitted, X in self._parts]
            self._found[name] = np.concatenate(found)
        return self._found[name]


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
