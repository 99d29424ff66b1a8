# SPDX-License-Identifier: BSD-3-Clause
"""Intervals by resampling people: epochs and nights of one person are not independent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["SubjectBootstrap"]


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
    >>> from sleep2vec_sklearn.evaluation.bootstrap import SubjectBootstrap
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
