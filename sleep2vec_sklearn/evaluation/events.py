# SPDX-License-Identifier: BSD-3-Clause
"""Events told second by second: how many are found, and how well the night's index is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..signals import EPOCH_SECONDS, as_stages
from .indices import divide, index_scores, pearson
from .intervals import mask_to_intervals, match_intervals, merge_intervals, touching

__all__ = ["ScoredEvents", "event_scores", "find_events", "fit_event_threshold"]

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

    def told_index(self, threshold: float) -> float:
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
        See :func:`~sleep2vec_sklearn.evaluation.intervals.merge_intervals`.
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
        told = np.array([night.told_index(threshold) for night in kept])
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
    told = [night.told_index(threshold) for night in kept]
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
