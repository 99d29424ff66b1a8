# SPDX-License-Identifier: BSD-3-Clause
"""Detected events of a night: matched with scored ones, and counted per hour of sleep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from .._arguments import as_numbers, check_number, is_nan, shown
from .._html import ShownAsTable
from .._warnings import listed, warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..recordings._event_names import EventNames
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording, prefix_errors
from ..recordings.stages import as_stages
from .agreement import divide, index_scores, pearson

_CANDIDATES = np.arange(1, 100) / 100
_COLUMNS = ("onset", "duration", "type")
_MOST_SECONDS = 5000 * 86_400


@dataclass(frozen=True, eq=False, repr=False)
class ScoredEvents(ShownAsTable):
    """Scored events of one night, and a detector's probability of each second.

    Parameters
    ----------
    truth : array-like of shape (n_seconds,)
        1 within an event, 0 outside, -1 where nobody scored.
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
    >>> truth = np.repeat([0, 1, 0], 1200)
    >>> ScoredEvents(truth, truth * 0.7, stages=[2] * 120).index
    1.0
    """

    truth: np.ndarray
    probability: np.ndarray
    stages: np.ndarray | None = None
    index: float = None  # type: ignore[assignment]  # computed where it is not given
    sleep_hours: float = None  # type: ignore[assignment]
    id: str | None = None
    asleep: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        truth = _check_mask("truth", self.truth)
        probability = as_numbers("probability", self.probability)
        asleep = np.ones(len(truth), dtype=bool)
        if self.stages is not None:
            stages = as_stages(self.stages)
            # where nobody scored stages, the whole night is sleep
            asleep = np.repeat((stages > 0) | (stages < 0).all(), EPOCH_SECONDS)
        if not len(truth) == len(probability) == len(asleep):
            raise InvalidRecordingError(
                f"{'a night' if self.id is None else f'recording ({self.id})'} has {len(truth)} "
                f"scored seconds, {len(probability)} probabilities and stages for "
                f"{len(asleep)} seconds; accepted is one of each per second, {EPOCH_SECONDS} "
                "seconds per stage."
            )
        set_field = object.__setattr__  # the class is frozen
        set_field(self, "truth", truth)
        set_field(self, "probability", np.where(truth < 0, 0.0, probability))
        set_field(self, "asleep", asleep)
        for name in ("sleep_hours", "index"):
            if (stated := getattr(self, name)) is not None and not is_nan(stated):
                set_field(self, name, check_number(name, stated, 0))
        if self.sleep_hours is None:
            set_field(self, "sleep_hours", float((asleep & (truth >= 0)).sum() / 3600))
        if self.index is None:
            set_field(self, "index", divide(self.count(truth), self.sleep_hours))

    def count(self, mask: ArrayLike) -> int:
        """Runs of marked seconds that touch sleep."""
        return int(touching(mask_to_intervals(mask), self.asleep).sum())

    def to_frame(self) -> pd.DataFrame:
        """A row per scored event.

        Columns onset and duration (seconds), in_sleep (it touches sleep and counts), and
        probability (the largest within it).
        """
        intervals = mask_to_intervals(self.truth)
        columns = {
            "onset": intervals[:, 0],
            "duration": intervals[:, 1] - intervals[:, 0],
            "in_sleep": touching(intervals, self.asleep),
            "probability": [self.probability[a:b].max() for a, b in intervals],
        }
        return pd.DataFrame(columns)

    def _headline(self) -> str:
        name = "" if self.id is None else f"{self.id}: "
        return f"ScoredEvents({name}{self.index:.1f} per hour in {self.sleep_hours:.1f} h of sleep)"

    def predicted_index(self, threshold: float) -> float:
        """Runs above the threshold that touch sleep, per hour of sleep."""
        return divide(self.count(self.probability > threshold), self.sleep_hours)


def find_events(
    mask: ArrayLike, asleep: np.ndarray | None = None, *, gap: int = 3, min_duration: float = 10
) -> np.ndarray:
    """Events of a night from marked seconds: joined where close, in sleep, long enough.

    Parameters
    ----------
    mask : array-like of shape (n_seconds,)
    asleep : bool ndarray of shape (n_seconds,), optional
        An event has to include a second of sleep.
    gap : int, default=3
        Largest distance, in seconds, from the last second of a run to the first of the next that
        is joined to it: with 3, two unmarked seconds are bridged and three are not.
    min_duration : float, default=10
        Seconds.

    Returns
    -------
    int ndarray of shape (n_events, 2)

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import find_events
    >>> find_events(np.repeat([0, 1, 0, 1, 0, 1], [5, 7, 2, 6, 20, 5]))
    array([[ 5, 20]])
    """
    gap = check_number("gap", gap, 0)
    min_duration = check_number("min_duration", min_duration)
    mask = _check_mask("mask", mask)
    events = merge_intervals(mask_to_intervals(mask), gap)
    if asleep is not None:
        events = events[touching(events, _check_mask("asleep", asleep, len(mask)) > 0)]
    return events[events[:, 1] - events[:, 0] >= min_duration]


def fit_event_threshold(
    nights: Sequence[ScoredEvents], *, min_hours: float = 2, candidates: ArrayLike = _CANDIDATES
) -> float:
    """Threshold at which the predicted index correlates best with the scored one.

    Ties, or one night alone, are decided by the mean absolute error, then by the higher threshold.

    Parameters
    ----------
    nights : sequence of ScoredEvents
        None of those that are to be scored with it.
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
    min_hours = check_number("min_hours", min_hours)
    long = _long_enough(nights, min_hours) or _long_enough(nights, 1e-9)
    if not long:
        raise ValueError("no night has a second of sleep; a threshold needs at least one.")
    true = np.array([night.index for night in long])
    ranking = []
    thresholds = as_numbers("candidates", candidates)
    if not len(thresholds) or np.isnan(thresholds).any():
        raise ValueError(
            f"candidates are {shown(candidates)}; accepted are one threshold or more. Leave it out "
            "for 0.01 to 0.99."
        )
    for threshold in thresholds:
        predicted = np.array([night.predicted_index(threshold) for night in long])
        correlation = pearson(true, predicted)
        correlation = -np.inf if np.isnan(correlation) else correlation
        # rounded, as thresholds between which no run changes differ by rounding errors
        error = round(np.abs(predicted - true).mean(), 12)
        ranking.append((round(correlation, 12), -error, threshold))
    return float(max(ranking)[2])


def event_scores(
    nights: Sequence[ScoredEvents], *, threshold: float | None = None, gap: int = 3,
    min_duration: float = 10, iou: float = 0.5, min_hours: float = 2, undefined: float = np.nan,
) -> pd.Series:  # fmt: skip
    """Score detected events, and the index of events per hour of sleep that they give.

    Runs of seconds above the threshold are joined, have to touch sleep and to last long enough;
    scored ones are joined and have to last as long. A detected event is a hit if it is matched
    with a scored one, each with one at most. The index counts runs as they are, neither joined nor
    by length. Equal to the metrics that the authors of sleep2vec report.

    Parameters
    ----------
    nights : sequence of ScoredEvents
    threshold : float, optional
        By default fitted on these very nights, which is optimistic: fit it on others with
        :func:`fit_event_threshold`.
    gap, min_duration, iou : float
        See :func:`find_events` and :func:`match_intervals`.
    min_hours : float, default=2
        Nights with less sleep count for events, not for the index.
    undefined : float, default=nan
        Value of scores that are undefined.

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
    >>> from sleep2vec_sklearn.evaluation import ScoredEvents, event_scores, intervals_to_mask
    >>> truth = intervals_to_mask([[100, 120], [300, 330]], 7200)
    >>> probability = 0.9 * intervals_to_mask([[102, 121]], 7200)
    >>> scores = event_scores([ScoredEvents(truth, probability)], threshold=0.5)
    >>> scores[["event_precision", "event_recall", "mae"]].tolist()
    [1.0, 0.5, 0.5]
    """
    min_hours = check_number("min_hours", min_hours)
    long = _long_enough(nights, min_hours)
    if threshold is None:
        threshold = fit_event_threshold(nights, min_hours=min_hours)
    threshold = check_number("threshold", threshold)
    undefined = np.nan if is_nan(undefined) else check_number("undefined", undefined)
    n_hits, n_true, n_detected = count_hits(nights, threshold, gap, min_duration, iou)
    scores = {
        "event_precision": divide(n_hits, n_detected),
        "event_recall": divide(n_hits, n_true),
        "event_f1": divide(2 * n_hits, n_true + n_detected),
        "opt_threshold": threshold,
    }
    true = [night.index for night in long]
    predicted = [night.predicted_index(threshold) for night in long]
    index = index_scores(true, predicted, undefined=undefined)
    return pd.concat([pd.Series(scores, dtype=float).fillna(undefined), index])


def count_hits(
    nights: Sequence[ScoredEvents], threshold: float, gap: int = 3, min_duration: float = 10,
    iou: float = 0.5,
) -> tuple[int, int, int]:  # fmt: skip
    """Detected events that match a scored one, scored events, and detected events."""
    n_hits = n_true = n_detected = 0
    for night in nights:
        above = night.probability > threshold
        detected = find_events(above, night.asleep, gap=gap, min_duration=min_duration)
        true = find_events(night.truth, gap=gap, min_duration=min_duration)
        n_hits += int((match_intervals(true, detected, iou) >= 0).sum())
        n_true, n_detected = n_true + len(true), n_detected + len(detected)
    return n_hits, n_true, n_detected


def _long_enough(nights: Sequence[ScoredEvents], min_hours: float) -> list[ScoredEvents]:
    is_list = isinstance(nights, Sequence) and not isinstance(nights, str)
    if not is_list or not all(isinstance(night, ScoredEvents) for night in nights):
        raise TypeError(
            f"nights is {shown(nights)}; accepted is a list of ScoredEvents. Make one of each "
            "night: ScoredEvents(truth, probability, stages=stages)."
        )
    return [night for night in nights if night.sleep_hours >= min_hours]


def mask_to_intervals(mask: ArrayLike) -> np.ndarray:
    """Runs of marked seconds.

    Parameters
    ----------
    mask : array-like of shape (n_seconds,)
        Marked seconds are true, or above 0: a second scored -1 belongs to no event.

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
    marked = np.concatenate([[False], _check_mask("mask", mask) > 0, [False]])
    return np.flatnonzero(marked[1:] != marked[:-1]).reshape(-1, 2)


def _check_mask(name: str, mask: ArrayLike, length: int | None = None) -> np.ndarray:
    """A mask of seconds as numbers; those of masks are passed on as they are."""
    if isinstance(mask, np.ndarray) and mask.ndim == 1 and mask.dtype.kind in "biuf":
        return mask if length is None else as_numbers(name, mask, length=length)
    return as_numbers(name, mask, length=length)


def _check_intervals(name: str, intervals: ArrayLike) -> np.ndarray:
    """First seconds of intervals and the ones after the last, as whole numbers."""
    values = as_numbers(name, intervals, ndim=(1, 2))
    fits = values.size == 0 or (values.ndim == 2 and values.shape[1] == 2)
    if not fits or not (np.abs(values) < 2**53).all():
        raise ValueError(
            f"{name} has shape {values.shape}; accepted are finite seconds of shape (n, 2), begin "
            "and end of each. Pass for example [[1, 3], [5, 6]]."
        )
    return values.reshape(-1, 2).astype(int)


def intervals_to_mask(intervals: ArrayLike, n_seconds: int) -> np.ndarray:
    """Mark the seconds of intervals, cut to the night.

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
    n_seconds = check_number("n_seconds", n_seconds, 0, _MOST_SECONDS, whole=True)
    bounds = np.clip(_check_intervals("intervals", intervals), 0, n_seconds)
    steps = np.zeros(n_seconds + 1, dtype=int)
    np.add.at(steps, bounds[:, 0], 1)
    np.add.at(steps, bounds[:, 1], -1)
    return steps[:-1].cumsum() > 0


def intervals_of(events: pd.DataFrame) -> np.ndarray:
    """Seconds that events of a table touch, of shape (n_events, 2)."""
    onset = events["onset"].to_numpy(dtype=float)
    end = onset + events["duration"].to_numpy(dtype=float)
    # an end of 12.000000001 s is a rounding error, not another second
    return np.stack([np.floor(onset + 1e-6), np.ceil(end - 1e-6)], axis=1).astype(int)


def merge_intervals(intervals: np.ndarray, gap: int = 3) -> np.ndarray:
    """Join intervals in time order whose distance, see :func:`find_events`, is at most ``gap``."""
    if len(intervals) == 0:
        return intervals
    ends = np.maximum.accumulate(intervals[:, 1])
    is_apart = intervals[1:, 0] - (ends[:-1] - 1) > gap
    first, last = np.append(True, is_apart), np.append(is_apart, True)
    return np.stack([intervals[first, 0], ends[last]], axis=1)


def touching(intervals: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether intervals within the night include a marked second."""
    marked = np.concatenate([[0], np.cumsum(mask)])
    return marked[intervals[:, 1]] > marked[intervals[:, 0]]


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of every pair of n and m intervals, of shape (n, m)."""
    begins = np.maximum(first[:, None, 0], second[None, :, 0])
    intersection = np.maximum(np.minimum(first[:, None, 1], second[None, :, 1]) - begins, 0)
    lengths = np.diff(first, axis=1) + np.diff(second, axis=1).T
    return intersection / (lengths - intersection)


def match_intervals(true: np.ndarray, predicted: np.ndarray, iou: float = 0.5) -> np.ndarray:
    """Match each true interval with at most one predicted one, as many of them as possible.

    Parameters
    ----------
    true, predicted : int ndarray of shape (n, 2), (m, 2)
    iou : float, default=0.5
        Two may be matched if their intersection over union is above this.

    Returns
    -------
    int ndarray of shape (n,)
        Index of the predicted interval, -1 where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import match_intervals
    >>> match_intervals(np.array([[0, 10], [50, 60]]), np.array([[48, 60], [90, 99]]))
    array([-1,  0])
    """
    iou = check_number("iou", iou)
    true, predicted = _check_intervals("true", true), _check_intervals("predicted", predicted)
    if len(true) == 0 or len(predicted) == 0:
        return np.full(len(true), -1)
    possible = csr_array(intersection_over_union(true, predicted) > iou)
    return maximum_bipartite_matching(possible, perm_type="column").astype(int)


def checked_events(events: object, name: str = "recording") -> pd.DataFrame:
    """The table of a night's events with times as numbers; the error names the column or row."""
    with prefix_errors(name):
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
        times = {}
        for column, least in (("onset", -np.inf), ("duration", 0)):
            values = pd.to_numeric(events[column], errors="coerce").to_numpy(dtype=float)
            invalid = np.flatnonzero(~np.isfinite(values) | (values < least))
            if len(invalid):
                row = events.iloc[invalid[0]]
                raise InvalidRecordingError(
                    f"event {invalid[0]} ({row['type']}) has {column} {row[column]}; accepted are "
                    "seconds, durations from 0 on. Leave the event out, or give its length."
                )
            times[column] = values
    return events.assign(**times)


class LeftOut:
    """What of the events of several nights could not be used; one warning for each reason."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.nights: dict[str, dict[str, int]] = {}

    def add(self, reason: str, night: str, count: int) -> None:
        """Count events of a night; ``reason`` is a key of :data:`_REASONS`."""
        if count:
            self.nights.setdefault(reason, {})[night] = int(count)

    def add_unknown(self, types: Iterable, night: str) -> None:
        """Count names that are not understood."""
        names = [str(name) for name in types]
        self.names.update(names)
        self.add("unknown", night, len(names))

    def describe(self, reason: str) -> str:
        """The warning of one reason."""
        nights, names = self.nights[reason], [f"{n!r} ({k})" for n, k in self.names.most_common()]
        first = next(iter(self.names), "")
        text = _REASONS[reason].format(
            count=sum(nights.values()), names=listed(names, 20), first=first, n_nights=len(nights)
        )
        return f"{text} By night: {listed([f'{night}: {k}' for night, k in nights.items()])}."

    def warn(self) -> None:
        for reason in self.nights:
            warn(self.describe(reason), RecordingWarning)


_REASONS = {
    "unknown": "names of events are not understood, so that what needs them is NaN or left out: "
    "{names}. Say what each is by event_names={{{first!r}: ...}}, one of apnea, hypopnea, rera, "
    "arousal, desaturation, limb_movement and snore, or None for what is none of them.",
    "outside": "events that lie outside of their night do not count: {count}. Check whether onsets "
    "count from the start of the signals.",
    "marks": "{n_nights} nights hold marks, such as lights and positions, but no scored event, so "
    "that nobody may have scored them, and their indices are NaN. Give scored nights without "
    "events an empty table.",
    "instant": "apneas and hypopneas that last 0 s do not count: {count}. Where they are more than "
    "a tenth, what needs apneas and hypopneas is NaN; give their lengths in seconds.",
    "twice": "apneas and hypopneas of which most lies within another one count twice: {count}. If "
    "they are those of two scorers, or listed twice, keep one.",
    "unjudged": "hypopneas that hypopnea_rule cannot judge, as no saturation is known around them, "
    "do not count: {count}. Where they are more than a tenth of apneas and hypopneas, indices are "
    "NaN; hypopnea_rule='scored' counts all of them.",
}


def events_within(
    recording: Recording, names: EventNames, left_out: LeftOut, location: str
) -> tuple[pd.DataFrame, bool]:
    """Events within a night in time order, and whether they say what was scored in it.

    They do not where there are some, but none that is understood, no mark, and within the night.
    """
    events = checked_events(recording.events, location).sort_values("onset", kind="stable")
    onset, duration, types = (events[name].to_numpy() for name in _COLUMNS)
    outside = ((onset < 0) & (onset + duration <= 0)) | (onset >= recording.duration)
    marks, unknown = names.marks(types), names.unknown(types)
    left_out.add("outside", location, (outside & ~marks).sum())
    left_out.add_unknown(types[unknown & ~outside], location)
    if marks.all():
        left_out.add("marks", location, len(events))
    return events[~outside], not len(events) or bool((~outside & ~marks & ~unknown).any())
