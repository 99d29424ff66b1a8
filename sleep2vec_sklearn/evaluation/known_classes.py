# SPDX-License-Identifier: BSD-3-Clause
"""Classifiers whose training people lack some of the classes, as few people do."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags

__all__ = ["fit_known_classes"]


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
