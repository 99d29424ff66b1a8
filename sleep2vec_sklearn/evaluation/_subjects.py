# SPDX-License-Identifier: BSD-3-Clause
"""Subjects of rows, folds by subject, and the bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.utils.validation import _num_samples

from .._arguments import as_labels, check_number, is_missing, shown
from .._validation import as_random_state
from .._warnings import warn
from ..errors import InvalidRecordingError, LeakageWarning
from ..recordings.epochs import as_epoch_sequence
from ..recordings.recording import Recording, as_names, name_subjects

_N_SHOWN = 3
_MOST_RESAMPLES = 1_000_000


def subjects_of(X: Any, groups: Iterable | None = None) -> np.ndarray:
    """Subject of each element of X, from ``groups`` or from the recordings; else each its own."""
    recorded = _subjects_of_recordings(X)
    if groups is None:
        if recorded is None:
            return np.arange(len(X))
        n_subjects = len(set(recorded.tolist()))
        if n_subjects < len(recorded) and as_epoch_sequence(X) is None:
            warn(
                f"groups=None: X has {len(recorded)} nights of {n_subjects} subjects, which are "
                "taken as the groups. Pass groups=cohort.groups to say so.",
                LeakageWarning,
            )
        return recorded
    labels = as_labels("groups", groups).tolist()
    n_nameless = sum(label is not None and is_missing(label) for label in labels)
    names = as_names(labels)
    if len(names) != len(X):
        raise ValueError(f"groups has {len(names)} elements for {len(X)} rows of X.")
    if n_nameless:
        raise ValueError(
            f"groups names nobody (NaN) in {n_nameless} of {len(names)} rows, which may be of "
            "subjects in the other rows. Name a subject for each row, or leave these out."
        )
    if recorded is not None:
        _warn_of_separated(names, recorded)
    return names


def recorded_subjects(X: Any) -> np.ndarray:
    """Subject of each element of X as its recording states it; else each its own."""
    subjects = _subjects_of_recordings(X)
    return np.arange(_num_samples(X)) if subjects is None else subjects


def _subjects_of_recordings(X: Any) -> np.ndarray | None:
    epochs = as_epoch_sequence(X)
    if epochs is not None:
        return epochs.groups
    if not isinstance(X, list | tuple):
        return None
    first = [element[0] if isinstance(element, list | tuple) else element for element in X]
    are_recordings = all(isinstance(night, Recording) for night in first)
    if not are_recordings or all(night.subject is None for night in first):
        return None
    return name_subjects(first)


def _warn_of_separated(groups: np.ndarray, subjects: np.ndarray) -> None:
    group_of: dict = {}
    separated = {
        str(subject)
        for subject, group in zip(subjects.tolist(), groups.tolist(), strict=True)
        if group_of.setdefault(subject, group) != group
    }
    if separated:
        warn(
            f"groups separates rows of {len(separated)} subjects "
            f"({', '.join(sorted(separated)[:_N_SHOWN])}): they may then be in both training and "
            "test, and intervals come out too narrow. Pass the subjects as groups.",
            LeakageWarning,
        )


def folds_by_subject(
    cv: Any, y: np.ndarray, groups: np.ndarray, *, classify: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test rows of each fold, every row in one test set.

    An integer ``cv`` is a number of folds by subject, stratified for classes.
    """
    n_subjects = len(set(groups.tolist()))
    if n_subjects < 2:
        raise ValueError(
            "X is of one subject, who cannot be both in training and test; accepted are at least "
            "two. Pass groups if the rows are of several."
        )
    is_splitter = hasattr(cv, "split") and hasattr(cv, "get_n_splits")
    if not is_splitter and not isinstance(cv, list | tuple):
        n_splits = min(check_number("cv", cv, 2, whole=True), n_subjects)
        cv = StratifiedGroupKFold(n_splits) if classify else GroupKFold(n_splits)
        is_splitter = True
    folds = _split(cv, y, groups) if is_splitter else _read_folds(cv)
    n_tests = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(groups))
    if (n_tests != 1).any():
        raise ValueError(
            f"cv tests {int((n_tests != 1).sum())} of {len(groups)} rows never or more than once; "
            "accepted is a splitter that tests each row once, such as GroupKFold(5)."
        )
    n_leaking = sum(bool(np.isin(groups[test], groups[train]).any()) for train, test in folds)
    if n_leaking:
        warn(
            f"in {n_leaking} of {len(folds)} folds a subject is in training and test, and scores "
            "come out too high. Use a splitter by group, such as GroupKFold(5), or cv=5.",
            LeakageWarning,
        )
    return folds


def folds_by_event(
    cv: Any, event: np.ndarray, groups: np.ndarray, random_state: Any = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """:func:`folds_by_subject` for survival: an integer is folds balanced for events, shuffled."""
    n_with_event = len(set(groups[event].tolist()))
    if n_with_event < 2:
        raise ValueError(
            f"y has an event in {n_with_event} subjects; accepted are at least two, as some are "
            "learned from and others predicted. Follow up for longer, or look at how events are "
            "coded."
        )
    if isinstance(cv, int):
        n_splits = max(2, min(cv, n_with_event))
        cv = StratifiedGroupKFold(n_splits, shuffle=True, random_state=random_state)
    return folds_by_subject(cv, event, groups, classify=True)


def number_folds(folds: Iterable[tuple[Any, np.ndarray]], groups: np.ndarray) -> np.ndarray:
    """The fold in which each row is tested; refuses a subject of several, whom a test would count
    as new where other rows of the same subject were trained on.
    """
    fold = np.full(len(groups), -1)
    # of folds that are given, some may hold no row with the outcome at hand
    for number, test in enumerate(test for _, test in folds if len(test)):
        fold[test] = number
    names, codes = np.unique(groups, return_inverse=True)
    lowest, highest = np.full(len(names), len(groups)), np.full(len(names), -1)
    np.minimum.at(lowest, codes, fold)
    np.maximum.at(highest, codes, fold)
    several = names[lowest != highest]
    if len(several):
        raise ValueError(
            f"cv tests rows of {len(several)} of {len(names)} subjects "
            f"({', '.join(map(str, several[:_N_SHOWN]))}) in several folds, so that predictions "
            "are of subjects who were trained on and no p value holds; accepted are folds by "
            "subject. Pass cv=5, GroupKFold(5), or one row per subject."
        )
    return fold


def refuse_epochs(X: Any) -> None:
    """Survival is of subjects: X of epochs is an InvalidRecordingError."""
    if as_epoch_sequence(X) is not None:
        raise InvalidRecordingError(
            "X holds epochs, but survival is of subjects; accepted is a list of nights, or of "
            "lists of nights. Pass the recordings: EpochSequence(X).recordings."
        )


def _split(cv: Any, y: np.ndarray, groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        return list(cv.split(np.zeros(len(groups)), y, groups))
    except ValueError as error:
        raise ValueError(
            f"{cv} has no folds of these {len(groups)} rows ({error}). Pass a smaller cv, or "
            "another splitter."
        ) from error


def _read_folds(cv: Iterable) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        folds = [(np.asarray(train, np.intp), np.asarray(test, np.intp)) for train, test in cv]
        if folds and all(rows.ndim == 1 for fold in folds for rows in fold):
            return folds
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(
        f"cv is {shown(cv)}; accepted are a number of folds, a splitter such as GroupKFold(5), and "
        "a list of pairs of training and test rows. Pass cv=5."
    )


class SubjectBootstrap:
    """Resamples of subjects, the same for every score, so that differences are paired.

    ``scipy.stats.bootstrap`` draws rows, not clusters, and calls the score once per resample. Here
    ``counts`` says how often each resample holds each subject, so a score that is a function of
    sums takes one matrix product for all of them; ``codes`` are each row's index in ``subjects``.
    """

    def __init__(
        self, groups: ArrayLike, n_resamples: int = 2000, level: float = 0.95,
        random_state: int | np.random.RandomState | None = 0,
    ):  # fmt: skip
        level = check_number("level", level, 0, 1, above=True, below=True)
        n_resamples = check_number("n_resamples", n_resamples, 1, _MOST_RESAMPLES, whole=True)
        names = as_labels("groups", groups)
        if names.dtype.kind == "O":
            # text and numbers side by side have no order
            names = as_names(names.tolist())
        self.subjects, self.codes = np.unique(names, return_inverse=True)
        self.level = level
        n = len(self.subjects)
        rng = as_random_state(random_state)
        self.counts = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(float)

    def by_subject(self, values: ArrayLike) -> np.ndarray:
        """Sum of rows of values over each subject, of shape (n_subjects, ...)."""
        values = np.asarray(values, dtype=float)
        sums = np.zeros((len(self.subjects), *values.shape[1:]))
        np.add.at(sums, self.codes, values)
        return sums

    def sums(self, values: ArrayLike) -> np.ndarray:
        """Sum of rows of values in each resample, of shape (n_resamples, ...)."""
        return np.tensordot(self.counts, self.by_subject(values), axes=1)

    def rows(self) -> Iterator[np.ndarray]:
        """Yield the rows of each resample, for scores that are no function of sums."""
        order = np.argsort(self.codes, kind="stable")
        blocks = np.split(order, np.cumsum(np.bincount(self.codes))[:-1])
        for counts in self.counts.astype(int):
            drawn = np.repeat(np.arange(len(blocks)), counts)
            yield np.concatenate([blocks[code] for code in drawn])

    def interval(self, replicates: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Percentile interval along the first axis; NaN where half of the resamples are."""
        replicates = np.asarray(replicates, dtype=float)
        if len(self.subjects) < 2:
            undefined = np.full(replicates.shape[1:], np.nan)
            return undefined, undefined
        tail = 100 * (1 - self.level) / 2
        defined = np.isfinite(replicates).mean(axis=0) >= 0.5
        # zeros keep numpy from warning of columns that are all NaN
        filled = np.where(defined, replicates, 0.0)
        low, high = np.nanpercentile(filled, [tail, 100 - tail], axis=0)
        return np.where(defined, low, np.nan), np.where(defined, high, np.nan)

    def mean_interval(self, values: ArrayLike) -> tuple[float, float]:
        """Interval of the mean over subjects of one value each; NaN takes no part."""
        values = np.asarray(values, dtype=float)
        known = np.isfinite(values)
        if known.sum() < 2:
            return np.nan, np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self.counts[:, known] @ values[known] / self.counts[:, known].sum(axis=1)
        low, high = self.interval(means)
        return float(low), float(high)
