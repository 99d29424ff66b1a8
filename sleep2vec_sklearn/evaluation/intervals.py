# SPDX-License-Identifier: BSD-3-Clause
"""Events of a night as intervals of whole seconds, and as one mark per second."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

__all__ = [
    "intervals_of",
    "intervals_to_mask",
    "mask_to_intervals",
    "match_intervals",
    "merge_intervals",
    "overlap_over_union",
    "touching",
]


def mask_to_intervals(mask) -> np.ndarray:
    """Runs of marked seconds.

    Parameters
    ----------
    mask : array-like of shape (n_seconds,)
        What is marked is true, or above 0: a second scored -1 belongs to no event.

    Returns
    -------
    int ndarray of shape (n_events, 2)
        First second of each run, and the one after its last.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import mask_to_intervals
    >>> mask_to_intervals([0, 1, 1, 0, -1, 1])
    array([[1, 3],
           [5, 6]])
    """
    marked = np.concatenate([[False], np.asarray(mask) > 0, [False]])
    return np.flatnonzero(marked[1:] != marked[:-1]).reshape(-1, 2)


def intervals_to_mask(intervals, n_seconds: int) -> np.ndarray:
    """Mark the seconds of intervals; what lies beyond the night is cut.

    Parameters
    ----------
    intervals : int array-like of shape (n_events, 2)
    n_seconds : int

    Returns
    -------
    bool ndarray of shape (n_seconds,)

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import intervals_to_mask
    >>> intervals_to_mask([[1, 3]], 5)
    array([False,  True,  True, False, False])
    """
    bounds = np.clip(np.asarray(intervals, dtype=int).reshape(-1, 2), 0, n_seconds)
    steps = np.zeros(n_seconds + 1, dtype=int)
    np.add.at(steps, bounds[:, 0], 1)
    np.add.at(steps, bounds[:, 1], -1)
    return steps[:-1].cumsum() > 0


def intervals_of(events) -> np.ndarray:
    """Seconds that events of a table touch: begins are rounded down, ends up.

    Parameters
    ----------
    events : DataFrame
        Columns onset and duration, in seconds.

    Returns
    -------
    int ndarray of shape (n_events, 2)
    """
    onset = events["onset"].to_numpy(dtype=float)
    end = onset + events["duration"].to_numpy(dtype=float)
    # an end of 12.000000001 s is rounding, not another second
    return np.stack([np.floor(onset + 1e-6), np.ceil(end - 1e-6)], axis=1).astype(int)


def merge_intervals(intervals: np.ndarray, gap: int = 3) -> np.ndarray:
    """Join intervals that are close.

    Parameters
    ----------
    intervals : int ndarray of shape (n_events, 2)
        In time order.
    gap : int, default=3
        Largest distance, in seconds, from the last second of one to the first of the next. With
        3, two seconds without a mark are bridged and three are not.

    Returns
    -------
    int ndarray of shape (n_merged, 2)
    """
    if len(intervals) == 0:
        return intervals
    furthest = np.maximum.accumulate(intervals[:, 1])
    begins = np.concatenate([[True], intervals[1:, 0] - (furthest[:-1] - 1) > gap])
    last = np.concatenate([np.flatnonzero(begins)[1:] - 1, [len(intervals) - 1]])
    return np.stack([intervals[begins, 0], furthest[last]], axis=1)


def touching(intervals: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which intervals hold at least one marked second.

    Parameters
    ----------
    intervals : int ndarray of shape (n_events, 2)
        Within the night.
    mask : bool ndarray of shape (n_seconds,)

    Returns
    -------
    bool ndarray of shape (n_events,)
    """
    marked = np.concatenate([[0], np.cumsum(mask)])
    return marked[intervals[:, 1]] > marked[intervals[:, 0]]


def overlap_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Seconds two intervals share over the seconds either has, of every pair.

    Parameters
    ----------
    first : int ndarray of shape (n, 2)
    second : int ndarray of shape (m, 2)

    Returns
    -------
    ndarray of shape (n, m)
    """
    shared = np.minimum(first[:, None, 1], second[None, :, 1])
    shared = np.maximum(shared - np.maximum(first[:, None, 0], second[None, :, 0]), 0)
    lengths = np.diff(first, axis=1) + np.diff(second, axis=1).T
    return shared / (lengths - shared)


def match_intervals(true: np.ndarray, predicted: np.ndarray, iou: float = 0.5) -> np.ndarray:
    """Give each true interval at most one predicted one, as many of them as possible.

    Parameters
    ----------
    true : int ndarray of shape (n, 2)
    predicted : int ndarray of shape (m, 2)
    iou : float, default=0.5
        Two may be matched if their overlap over union is above this.

    Returns
    -------
    int ndarray of shape (n,)
        Place of the predicted interval, -1 where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import match_intervals
    >>> match_intervals(np.array([[0, 10], [50, 60]]), np.array([[48, 60], [90, 99]]))
    array([-1,  0])
    """
    if len(true) == 0 or len(predicted) == 0:
        return np.full(len(true), -1)
    possible = csr_array(overlap_over_union(true, predicted) > iou)
    return maximum_bipartite_matching(possible, perm_type="column").astype(int)
