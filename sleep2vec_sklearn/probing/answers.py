# SPDX-License-Identifier: BSD-3-Clause
"""Fitted estimators asked once for the rows they did not see, however often these are scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import _safe_indexing

from ..evaluation.held_out import HeldOut

__all__ = ["held_out", "take_rows"]

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
