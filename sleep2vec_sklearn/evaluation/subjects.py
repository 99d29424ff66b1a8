# SPDX-License-Identifier: BSD-3-Clause
"""Whose rows the elements of X are."""

from __future__ import annotations

import warnings

import numpy as np

from ..errors import LeakageWarning
from ..signals.epochs import as_epoch_sequence
from ..signals.naming import as_names, name_subjects
from ..signals.recording import Recording

__all__ = ["folds_by_subject", "recorded_subjects", "subjects_of"]

_SHOWN = 3


def subjects_of(X, groups=None, *, stacklevel: int = 2) -> np.ndarray:
    """Subject of each element of X, from ``groups`` or from the recordings.

    Parameters
    ----------
    X : list of Recording or dict, list of lists of them, EpochSequence, or array of shape (n, ...)
    groups : array-like of shape (n,), optional

    Returns
    -------
    ndarray of shape (n,)
        Without groups and recordings, each row is of another one.

    Warns
    -----
    LeakageWarning
        If no groups are given and several nights are of one subject, or if the groups given tell
        rows of one subject apart.

    Raises
    ------
    ValueError
        If there is not one group per element.
    """
    import pandas as pd

    known = _known_subjects(X)
    if groups is None:
        if known is None:
            return recorded_subjects(X)
        repeated = len(set(known.tolist())) < len(known)
        if repeated and as_epoch_sequence(X) is None:
            warnings.warn(
                f"groups=None: X has {len(known)} nights of {len(set(known.tolist()))} subjects, "
                "which are taken as the groups. Pass groups=cohort.groups to say so.",
                LeakageWarning,
                stacklevel=stacklevel + 1,
            )
        return known
    nameless = sum(group is not None and pd.isna(group) for group in groups)
    groups = as_names(list(groups))
    if len(groups) != len(X):
        raise ValueError(f"groups has {len(groups)} elements for {len(X)} rows of X.")
    if nameless:
        raise ValueError(
            f"groups names nobody (NaN) in {nameless} of {len(groups)} rows, which may be "
            "of people in the other rows. Name a subject for each row, or leave these out."
        )
    if known is not None:
        _check_split(groups, known, stacklevel + 1)
    return groups


def recorded_subjects(X) -> np.ndarray:
    """Subject of each element of X as its recording states it, else each of another one."""
    known = _known_subjects(X)
    return np.arange(len(X)) if known is None else known


def _known_subjects(X) -> np.ndarray | None:
    epochs = as_epoch_sequence(X)
    if epochs is not None:
        return epochs.groups
    if not isinstance(X, list | tuple):
        return None
    firsts = [element[0] if isinstance(element, list | tuple) else element for element in X]
    if not any(isinstance(first, Recording) and first.subject is not None for first in firsts):
        return None
    if not all(isinstance(first, Recording) for first in firsts):
        return None
    return name_subjects(firsts)


def _check_split(groups: np.ndarray, known: np.ndarray, stacklevel: int) -> None:
    seen: dict = {}
    split = set()
    for subject, group in zip(known.tolist(), groups.tolist(), strict=True):
        if seen.setdefault(subject, group) != group:
            split.add(str(subject))
    if split:
        shown = ", ".join(sorted(split)[:_SHOWN])
        warnings.warn(
            f"groups tells rows of {len(split)} subjects apart ({shown}): a person may then be in "
            "training and test, and intervals come out too narrow. Pass the subjects as groups.",
            LeakageWarning,
            stacklevel=stacklevel + 1,
        )


def folds_by_subject(cv, y, groups, *, classify: bool, stacklevel: int = 2) -> list[tuple]:
    """Training and test rows of each fold, the same for every estimator.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        A number of folds, by subject and stratified for classes; or a splitter, which gets the
        groups.
    y : array-like of shape (n,)
    groups : ndarray of shape (n,)
    classify : bool
        Whether y holds classes.

    Returns
    -------
    list of (train, test)
        Int arrays; each row is in one test set.

    Warns
    -----
    LeakageWarning
        If a subject is on both sides of a fold.

    Raises
    ------
    ValueError
        If rows are held out never or twice, or there are fewer than two subjects.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    n_subjects = len(set(groups.tolist()))
    if n_subjects < 2:
        raise ValueError(
            "X is of one subject, and none can be held out; accepted are at least two. Pass groups "
            "if the rows are of several."
        )
    if isinstance(cv, int):
        n_splits = min(cv, n_subjects)
        cv = StratifiedGroupKFold(n_splits) if classify else GroupKFold(n_splits)
    rows = np.zeros(len(groups))
    folds = [*cv.split(rows, y, groups)] if hasattr(cv, "split") else [*cv]
    times = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(groups))
    if (times != 1).any():
        raise ValueError(
            f"cv holds {int((times != 1).sum())} of {len(groups)} rows out never or more than "
            "once; accepted is a splitter that holds each out once, such as GroupKFold(5)."
        )
    shared = sum(bool(np.isin(groups[test], groups[train]).any()) for train, test in folds)
    if shared:
        warnings.warn(
            f"in {shared} of {len(folds)} folds a subject is in training and test, and scores come "
            "out too high. Use a splitter by group, such as GroupKFold(5), or cv=5.",
            LeakageWarning,
            stacklevel=stacklevel + 1,
        )
    return folds
