# SPDX-License-Identifier: BSD-3-Clause
"""Events told second by second: how many are found, and how well the night's index is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from ..errors import InvalidRecordingError
from ..recordings import EPOCH_SECONDS, as_stages
from ..recordings.recording import naming
from .agreement import divide, index_scores, pearson

__all__ = [
    "ScoredEvents",
    "checked_events",
    "event_scores",
    "find_events",
    "fit_event_threshold",
    "intervals_of",
    "intervals_to_mask",
    "is_type",
    "mask_to_intervals",
    "match_intervals",
    "merge_intervals",
    "normalised_type",
    "overlap_over_union",
    "touching",
    "with_arousal",
]

_CANDIDATES = np.arange(1, 100) / 100


@dataclass(frozen=True, eq=False)
class ScoredEvents:
    """One night: which seconds were scored as events, and how probable a detector finds it.

    Parameters
    ----------
    truth : array-like of shape (n_seconds,)
        1 within an event, 0 outside, -1 where nobody looked.
    probability : array-like of shape (n_seconds,)
        From 0 to 1.
    stages : array-like of shape (n_epochs,), optional
        An event has to touch sleep to count. Without them, the whole night is sleep.
    index : float, optional
        Scored events per hour of sleep. By default the runs of ``truth`` that touch sleep.
    sleep_hours : float, optional
        By default that of ``stages``.
    id : str, optional
        Name used in errors.

    Attributes
    ----------
    asleep : bool ndarray of shape (n_seconds,)

    Raises
    ------
    InvalidRecordingError
        If the lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import ScoredEvents
    >>> truth = np.zeros(3600)
    >>> truth[100:120] = 1
    >>> ScoredEvents(truth, truth * 0.7, stages=[2] * 120).index
    1.0
    """

    truth: np.ndarray
    probability: np.ndarray
    stages: np.ndarray | None = None
    index: float | None = None
    sleep_hours: float | None = None
    id: str | None = None
    asleep: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        n = len(self.truth)
        place = "a night" if self.id is None else f"recording ({self.id})"
        if len(self.probability) != n:
            raise InvalidRecordingError(
                f"{place} has {n} scored seconds and {len(self.probability)} probabilities; "
                "accepted is one of each per second."
            )
        asleep = np.ones(n, dtype=bool)
        if self.stages is not None:
            scored = as_stages(self.stages)
            # where nobody scored stages, the whole night is sleep
            asleep = np.repeat((scored > 0) | (scored < 0).all(), EPOCH_SECONDS)
            if len(asleep) != n:
                raise InvalidRecordingError(
                    f"{place} has {n} scored seconds and stages for {len(asleep)}; accepted are "
                    f"{EPOCH_SECONDS} seconds per stage."
                )
        probability = np.where(np.asarray(self.truth) < 0, 0.0, self.probability)
        put = object.__setattr__  # frozen, and these follow from what was given
        put(self, "truth", np.asarray(self.truth))
        put(self, "probability", probability)
        put(self, "asleep", asleep)
        if self.sleep_hours is None:
            put(self, "sleep_hours", float((asleep & (self.truth >= 0)).sum() / 3600))
        if self.index is None:
            put(self, "index", divide(self.count(self.truth), self.sleep_hours))

    def count(self, mask) -> int:
        """Runs of marked seconds that touch sleep."""
        return int(touching(mask_to_intervals(mask), self.asleep).sum())

    def predicted_index(self, threshold: float) -> float:
        """Runs above the threshold that touch sleep, per hour of sleep."""
        return divide(self.count(self.probability > threshold), self.sleep_hours)


def find_events(mask, asleep=None, *, gap: int = 3, min_duration: int = 10) -> np.ndarray:
    """Events of a night from marked seconds: joined where close, in sleep, long enough.

    Parameters
    ----------
    mask : array-like of shape (n_seconds,)
    asleep : bool ndarray of shape (n_seconds,), optional
        An event has to hold a second of it.
    gap : int, default=3
        See :func:`~sleep2vec_sklearn.evaluation.events.merge_intervals`.
    min_duration : int, default=10
        Seconds.

    Returns
    -------
    int ndarray of shape (n_events, 2)

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import find_events
    >>> mask = np.zeros(60, dtype=bool)
    >>> mask[5:12] = mask[14:20] = mask[40:45] = True
    >>> find_events(mask)
    array([[ 5, 20]])
    """
    found = merge_intervals(mask_to_intervals(mask), gap)
    if asleep is not None:
        found = found[touching(found, asleep)]
    return found[found[:, 1] - found[:, 0] >= min_duration]


def fit_event_threshold(
    nights: Sequence[ScoredEvents], *, min_hours: float = 2, candidates=_CANDIDATES
) -> float:
    """Threshold at which the told index correlates best with the scored one.

    Of equal ones that with the lower mean absolute error, and then the higher threshold. Where no
    correlation exists, as with one night, the error alone decides.

    Parameters
    ----------
    nights : sequence of ScoredEvents
        None of those that are to be judged with it.
    min_hours : float, default=2
        Nights with less sleep are left out; if that leaves none, all are taken.
    candidates : array-like, default=0.01, 0.02, ..., 0.99

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import ScoredEvents, fit_event_threshold
    >>> truth = np.tile(np.repeat([0, 1], 300), 12)
    >>> fit_event_threshold([ScoredEvents(truth, 0.1 + 0.4 * truth)])
    0.49
    """
    kept = _long_enough(nights, min_hours) or _long_enough(nights, 1e-9)
    if not kept:
        raise ValueError("no night has a second of sleep; a threshold needs at least one.")
    true = np.array([night.index for night in kept])
    ranked = []
    for threshold in np.asarray(candidates, dtype=float):
        told = np.array([night.predicted_index(threshold) for night in kept])
        correlation = pearson(true, told)
        correlation = -np.inf if np.isnan(correlation) else correlation
        # thresholds between which nothing changes differ by rounding alone
        ranked.append((round(correlation, 12), -round(np.abs(told - true).mean(), 12), threshold))
    return float(max(ranked)[2])


def event_scores(
    nights: Sequence[ScoredEvents],
    *,
    threshold: float | None = None,
    gap: int = 3,
    min_duration: int = 10,
    iou: float = 0.5,
    min_hours: float = 2,
    undefined: float = np.nan,
) -> pd.Series:
    """Score detected events, and the index of events per hour of sleep they give.

    Runs of seconds above the threshold are joined, have to touch sleep and to last long enough;
    scored ones are joined and have to last as long. A detected event counts as a hit if it is
    matched with a scored one, each with one at most. The index counts runs as they are, neither
    joined nor by length. Equal to the metrics that the authors of sleep2vec report.

    Parameters
    ----------
    nights : sequence of ScoredEvents
    threshold : float, optional
        By default fitted on these very nights, which flatters: fit it on others with
        :func:`fit_event_threshold`.
    gap, min_duration : int
        Seconds, see :func:`find_events`.
    iou : float, default=0.5
        Two events match if their overlap over union is above this.
    min_hours : float, default=2
        Nights with less sleep count for events, not for the index.
    undefined : float, default=nan
        What a score is that has nothing to be computed of.

    Returns
    -------
    Series
        ``event_precision``, ``event_recall``, ``event_f1`` over the events of all nights;
        ``opt_threshold``, the threshold used; and those of
        :func:`~sleep2vec_sklearn.evaluation.index_scores`.

    References
    ----------
    arXiv 2602.13857, section on apnea-hypopnea events.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import ScoredEvents, event_scores
    >>> truth = np.zeros(7200)
    >>> truth[100:120] = truth[300:330] = 1
    >>> found = np.zeros(7200)
    >>> found[102:121] = 0.9
    >>> scores = event_scores([ScoredEvents(truth, found)], threshold=0.5)
    >>> scores[["event_precision", "event_recall", "mae"]]
    event_precision    1.0
    event_recall       0.5
    mae                0.5
    dtype: float64
    """
    if threshold is None:
        threshold = fit_event_threshold(nights, min_hours=min_hours)
    hits, n_true, n_told = count_hits(nights, threshold, gap, min_duration, iou)
    row = {
        "event_precision": divide(hits, n_told),
        "event_recall": divide(hits, n_true),
        "event_f1": divide(2 * hits, n_true + n_told),
        "opt_threshold": threshold,
    }
    kept = _long_enough(nights, min_hours)
    true = [night.index for night in kept]
    told = [night.predicted_index(threshold) for night in kept]
    scores = pd.Series(row, dtype=float).fillna(undefined)
    return pd.concat([scores, index_scores(true, told, undefined=undefined)])


def count_hits(
    nights: Sequence[ScoredEvents],
    threshold: float,
    gap: int = 3,
    min_duration: float = 10,
    iou: float = 0.5,
) -> tuple[int, int, int]:
    """Detected events that are matched with a scored one, scored events, and detected events."""
    hits = n_true = n_told = 0
    for night in nights:
        told = find_events(
            night.probability > threshold, night.asleep, gap=gap, min_duration=min_duration
        )
        true = find_events(night.truth, gap=gap, min_duration=min_duration)
        hits += int((match_intervals(true, told, iou) >= 0).sum())
        n_true, n_told = n_true + len(true), n_told + len(told)
    return hits, n_true, n_told


def _long_enough(nights: Sequence[ScoredEvents], hours: float) -> list[ScoredEvents]:
    return [night for night in nights if night.sleep_hours >= hours]


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


_COLUMNS = ("onset", "duration", "type")
_WITH_AROUSAL = re.compile(r"_with_(an_)?arousals?(?=_|$)")


def normalised_type(text) -> str:
    """Lower case, words joined by ``_``, American spelling, ``_with_arousal`` left out.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation.events import normalised_type
    >>> normalised_type("Obstructive Apnoea"), normalised_type("hypopnea_with_arousal")
    ('obstructive_apnea', 'hypopnea')
    """
    return _WITH_AROUSAL.sub("", _words(text))


def with_arousal(types) -> np.ndarray:
    """Which types say that the event ends with an arousal, bool of shape (n_events,).

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation.events import with_arousal
    >>> with_arousal(["Hypopnea with arousal", "hypopnea"])
    array([ True, False])
    """
    return np.array([bool(_WITH_AROUSAL.search(_words(name))) for name in types], dtype=bool)


def _words(text) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_")
    return words.replace("pnoea", "pnea")


def is_type(types, *wanted: str) -> np.ndarray:
    """Which types are one of those wanted: all of its words are among the type's.

    So "apnea" is obstructive, central and mixed apnea, but no hypopnea; "arousal" is a
    respiratory arousal, but no apnea that ends with one.

    Parameters
    ----------
    types : iterable of str
        As scored.
    *wanted : str

    Returns
    -------
    bool ndarray of shape (n_events,)

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation.events import is_type
    >>> is_type(["Central Apnea|Central Apnea", "hypopnea", "central_apnea_with_arousal"], "apnea")
    array([ True, False,  True])
    """
    asked = [set(normalised_type(name).split("_")) for name in wanted]
    words = [set(normalised_type(name).split("_")) for name in types]
    return np.array([any(a <= w for a in asked) for w in words], dtype=bool)


def checked_events(events, place: str = "recording") -> pd.DataFrame:
    """The table of a night's events, if it is one.

    Raises
    ------
    InvalidRecordingError
        If a column is missing, or a time is missing, infinite or negative; names the row.
    """
    with naming(place):
        if not isinstance(events, pd.DataFrame):
            raise InvalidRecordingError(
                f"events are a {type(events).__name__}; accepted is a DataFrame with the columns "
                f"{', '.join(_COLUMNS)}, onset and duration in seconds from the start."
            )
        missing = [name for name in _COLUMNS if name not in events]
        if missing:
            raise InvalidRecordingError(
                f"events have no column {', '.join(map(repr, missing))}, but "
                f"{', '.join(map(str, events.columns))}; accepted are {', '.join(_COLUMNS)}."
            )
        for name in ("onset", "duration"):
            values = pd.to_numeric(events[name], errors="coerce").to_numpy(dtype=float)
            odd = np.flatnonzero(~np.isfinite(values) | (values < 0))
            if len(odd):
                raise InvalidRecordingError(
                    f"event {odd[0]} ({events['type'].iloc[odd[0]]}) has {name} "
                    f"{events[name].iloc[odd[0]]}; accepted are seconds from the start, 0 or "
                    "more. Leave it out, or shift the events to the start of the signals."
                )
    return events
