# SPDX-License-Identifier: BSD-3-Clause
"""Whose rows the elements of X are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.utils import check_random_state

from .._warnings import warn
from ..errors import LeakageWarning
from ..recordings.epochs import as_epoch_sequence
from ..recordings.recording import Recording, as_names, name_subjects

__all__ = [
    "SubjectBootstrap",
    "folds_by_subject",
    "recorded_subjects",
    "subjects_of",
]

_SHOWN = 3


def subjects_of(X, groups=None) -> np.ndarray:
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
            warn(
                f"groups=None: X has {len(known)} nights of {len(set(known.tolist()))} subjects, "
                "which are taken as the groups. Pass groups=cohort.groups to say so.",
                LeakageWarning,
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
        _check_split(groups, known)
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


def _check_split(groups: np.ndarray, known: np.ndarray) -> None:
    seen: dict = {}
    split = set()
    for subject, group in zip(known.tolist(), groups.tolist(), strict=True):
        if seen.setdefault(subject, group) != group:
            split.add(str(subject))
    if split:
        shown = ", ".join(sorted(split)[:_SHOWN])
        warn(
            f"groups tells rows of {len(split)} subjects apart ({shown}): a person may then be in "
            "training and test, and intervals come out too narrow. Pass the subjects as groups.",
            LeakageWarning,
        )


def folds_by_subject(cv, y, groups, *, classify: bool) -> list[tuple]:
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
        warn(
            f"in {shared} of {len(folds)} folds a subject is in training and test, and scores come "
            "out too high. Use a splitter by group, such as GroupKFold(5), or cv=5.",
            LeakageWarning,
        )
    return folds


class SubjectBootstrap:
    """The same draws of subjects for every score, so that scores can be compared draw by draw.

    Parameters
    ----------
    groups : array-like of shape (n,)
        Subject of each row.
    n_resamples : int, default=2000
    level : float, default=0.95
        Of the intervals.
    random_state : int, RandomState or None, default=0

    Attributes
    ----------
    subjects : ndarray of shape (n_subjects,)
    codes : int ndarray of shape (n,)
        Place of each row's subject in ``subjects``.
    counts : float ndarray of shape (n_resamples, n_subjects)
        How often a resample holds each subject.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation._subjects import SubjectBootstrap
    >>> draws = SubjectBootstrap(["a", "a", "b", "c"], n_resamples=500)
    >>> draws.counts.shape, draws.counts.sum(axis=1)[:3]
    ((500, 3), array([3., 3., 3.]))
    """

    def __init__(self, groups, n_resamples: int = 2000, level: float = 0.95, random_state=0):
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level!r}.")
        if n_resamples < 1:
            raise ValueError(f"n_resamples must be at least 1, got {n_resamples!r}.")
        self.subjects, self.codes = np.unique(np.asarray(groups), return_inverse=True)
        self.level = level
        n = len(self.subjects)
        rng = check_random_state(random_state)
        self.counts = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(float)

    def by_subject(self, values: np.ndarray) -> np.ndarray:
        """Sum of rows of values over each subject, of shape (n_subjects, ...)."""
        values = np.asarray(values, dtype=float)
        sums = np.zeros((len(self.subjects), *values.shape[1:]))
        np.add.at(sums, self.codes, values)
        return sums

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of rows of values in each resample, of shape (n_resamples, ...)."""
        return np.tensordot(self.counts, self.by_subject(values), axes=1)

    def rows(self) -> Iterator[np.ndarray]:
        """Yield the rows of each resample, for scores that are no function of sums."""
        order = np.argsort(self.codes, kind="stable")
        blocks = np.split(order, np.cumsum(np.bincount(self.codes))[:-1])
        for counts in self.counts.astype(int):
            drawn = np.repeat(np.arange(len(blocks)), counts)
            yield np.concatenate([blocks[place] for place in drawn])

    def interval(self, resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Percentile interval of resampled scores along the first axis.

        NaN with fewer than two subjects, and where a score has no value in half of the resamples.
        """
        resampled = np.asarray(resampled, dtype=float)
        nothing = np.full(resampled.shape[1:], np.nan)
        if len(self.subjects) < 2:
            return nothing, nothing
        tail = 100 * (1 - self.level) / 2
        defined = np.isfinite(resampled).mean(axis=0) >= 0.5
        kept = np.where(defined, resampled, 0.0)
        low, high = np.nanpercentile(kept, [tail, 100 - tail], axis=0)
        return np.where(defined, low, np.nan), np.where(defined, high, np.nan)

    def mean_interval(self, values: np.ndarray) -> tuple[float, float]:
        """Interval of the mean over subjects of one value each, in the order of ``subjects``.

        Subjects without a value are left out of every resample.
        """
        values = np.asarray(values, dtype=float)
        known = np.isfinite(values)
        if known.sum() < 2:
            return np.nan, np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self.counts[:, known] @ values[known] / self.counts[:, known].sum(axis=1)
        low, high = self.interval(means)
        return float(low), float(high)
