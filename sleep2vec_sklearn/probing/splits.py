# SPDX-License-Identifier: BSD-3-Clause
"""Who trains and who is tested: people are drawn and held out, never single rows."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from ..errors import LeakageWarning
from ..signals.epochs import as_epoch_sequence
from ..signals.naming import as_names
from ..signals.recording import Recording

__all__ = [
    "check_target",
    "choose_sizes",
    "draw_seed",
    "name_rows",
    "nested_subsets",
    "split_people",
]

_SHOWN = 3


def name_rows(X, groups=None, *, stacklevel: int = 2) -> np.ndarray:
    """Subject of each row of X.

    Parameters
    ----------
    X : sequence
        Recordings, lists of them, epochs, or rows of numbers.
    groups : array-like of shape (len(X),), optional
        Subjects. Without them, those that the recordings name, and a row of nobody stands alone.
    stacklevel : int
        Of the warning.

    Returns
    -------
    object ndarray of shape (len(X),)

    Raises
    ------
    ValueError
        If groups are not one for each row, or all rows are of one subject.

    Warns
    -----
    LeakageWarning
        If groups are missing where a subject has several rows, which are then kept together.

    Examples
    --------
    >>> from sleep2vec_sklearn.probing import name_rows
    >>> name_rows([[0.5], [0.7], [0.1]], ["anna", "anna", "ben"])
    array(['anna', 'anna', 'ben'], dtype=object)
    """
    n_rows = _count_rows(X)
    if groups is not None:
        names = as_names(list(groups))
        if len(names) != n_rows:
            raise ValueError(
                f"groups has {len(names)} entries for {n_rows} rows of X; accepted is the subject "
                "of each row, e.g. X.groups of an EpochSequence."
            )
    else:
        names = _subjects_of(X)
        n_people = len(set(names))
        if n_people < n_rows:
            warnings.warn(
                f"groups is missing and {n_rows} rows are of {n_people} subjects: rows are kept "
                "together by the subject that the recordings name. Pass groups to say so, "
                "e.g. groups=X.groups.",
                LeakageWarning,
                stacklevel=stacklevel + 1,
            )
    if len(set(names)) < 2:
        raise ValueError(
            f"all {n_rows} rows are of one subject ({names[0]}); two at least are needed to hold "
            "one out. Add people, or check groups."
        )
    return names


def draw_seed(random_state) -> int:
    """A number to seed generators with, from whatever scikit-learn takes for one."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def _count_rows(X) -> int:
    return X.shape[0] if hasattr(X, "shape") else len(X)


def _subjects_of(X) -> np.ndarray:
    epochs = as_epoch_sequence(X)
    if epochs is not None:
        return epochs.groups
    if isinstance(X, np.ndarray) and X.ndim > 1:
        return np.arange(len(X)).astype(object)
    rows = X.tolist() if hasattr(X, "iloc") and X.ndim == 1 else X
    if hasattr(rows, "iloc"):
        return np.arange(len(rows)).astype(object)
    return as_names([_subject_of(row, place) for place, row in enumerate(rows)])


def _subject_of(row, place: int):
    nights = row if isinstance(row, list | tuple) else [row]
    known = [night.subject for night in nights if isinstance(night, Recording)]
    return next((name for name in known if name is not None), f"row {place}")


def check_target(y, n_rows: int, estimator) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels as an array, and the classes they are of where the estimator is a classifier.

    Raises
    ------
    ValueError
        If their number is not that of the rows, or there is one class alone.
    """
    y = np.asarray(y)
    if len(y) != n_rows:
        raise ValueError(f"y has {len(y)} labels for {n_rows} rows of X; one of each is needed.")
    if not is_classifier(estimator) or y.ndim > 1:
        return y, None
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class ({classes[0]}); a classifier needs two. Check the labels, or "
            "which rows were chosen."
        )
    return y, classes


def split_people(cv, y: np.ndarray, groups: np.ndarray, classifier: bool) -> list[tuple]:
    """Rows that train and rows that are tested, fold by fold.

    Parameters
    ----------
    cv : int, splitter, or iterable of (train, test)
        A number gives folds of subjects, alike in their classes as far as that can be.
    y, groups : ndarray of shape (n_rows,)
    classifier : bool

    Returns
    -------
    list of (int ndarray, int ndarray)

    Raises
    ------
    ValueError
        If a fold has a subject on both sides, or there are fewer subjects than folds.
    """
    n_people = len(set(groups))
    if isinstance(cv, numbers.Integral):
        if not 2 <= cv <= n_people:
            raise ValueError(
                f"cv={cv!r} folds of {n_people} subjects; accepted are 2 to {n_people}, a "
                "splitter, or pairs of train and test rows."
            )
        stratified = classifier and type_of_target(y) in ("binary", "multiclass")
        cv = (StratifiedGroupKFold if stratified else GroupKFold)(int(cv))
    codes = np.unique(groups, return_inverse=True)[1]
    with warnings.catch_warnings():
        # of a class that fewer rows than folds have: it is then absent from some tests
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = list(check_cv(cv).split(np.zeros(len(y)), y, codes))
    for number, (train, test) in enumerate(folds):
        shared = sorted({*groups[train]} & {*groups[test]}, key=str)
        if shared:
            shown = ", ".join(map(str, shared[:_SHOWN]))
            raise ValueError(
                f"fold {number} has {len(shared)} subjects both in training and in test ({shown}). "
                "Pass a splitter by groups, such as GroupKFold, or a number of folds."
            )
    return folds


def choose_sizes(sizes: Sequence | None, n_people: int) -> list[int]:
    """Numbers of training subjects in rising order, of numbers and shares.

    Parameters
    ----------
    sizes : sequence of int or float, or None
        Numbers, or shares from above 0 to 1.0 of ``n_people``; by default 1, 2, 4, ... and all.
    n_people : int
        Subjects that the smallest training fold has.

    Raises
    ------
    ValueError
        If one is neither, or larger than ``n_people``.
    """
    if sizes is None:
        sizes = [2**k for k in range(math.ceil(math.log2(n_people)))] + [n_people]
    found = set()
    for size in np.atleast_1d(np.asarray(sizes, dtype=object)):
        if isinstance(size, numbers.Integral) and not isinstance(size, bool):
            count = int(size)
        elif isinstance(size, numbers.Real) and 0 < size <= 1:
            count = max(round(size * n_people), 1)
        else:
            raise ValueError(
                f"sizes has {size!r}; accepted are numbers of subjects, or shares of them above 0 "
                "and up to 1.0."
            )
        if not 1 <= count <= n_people:
            raise ValueError(
                f"sizes has {count} subjects, and the smallest training fold has {n_people}; "
                f"accepted are 1 to {n_people}. Leave it out, or take more folds."
            )
        found.add(count)
    if not found:
        raise ValueError("sizes is empty; at least one number of subjects is needed.")
    return sorted(found)


def nested_subsets(people: Sequence, sizes: Sequence[int], random_state) -> dict[int, np.ndarray]:
    """Draw subsets of people by size, each within the next.

    Parameters
    ----------
    people : sequence
        Names, each counted once.
    sizes : sequence of int
    random_state : int, sequence of int, or Generator

    Examples
    --------
    >>> from sleep2vec_sklearn.probing import nested_subsets
    >>> subsets = nested_subsets([*"abcd"], [1, 2, 4], 0)
    >>> set(subsets[1]) < set(subsets[2]) < set(subsets[4])
    True
    """
    unique = as_names(sorted(set(people), key=str))
    order = np.random.default_rng(random_state).permutation(len(unique))
    return {size: unique[order[:size]] for size in sizes}
