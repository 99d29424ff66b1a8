# SPDX-License-Identifier: BSD-3-Clause
"""Above which probability a second belongs to an event."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np

from ..evaluation.events import ScoredEvents, count_hits, fit_event_threshold
from ..evaluation.indices import divide

__all__ = ["THRESHOLDS", "check_event_parameters", "pooled_f1", "tune_threshold"]

THRESHOLDS = ("f1", "index")
_CANDIDATES = np.arange(1, 50) / 50


def tune_threshold(
    nights: Sequence[ScoredEvents], threshold: str, gap: int, min_duration: float
) -> float:
    """The best threshold for some nights; 0.5 where none finds an event.

    Parameters
    ----------
    nights : sequence of ScoredEvents
    threshold : {"f1", "index"}
        What is best: F1 of events, the middle of equal ones; or the correlation of rates, see
        :func:`~sleep2vec_sklearn.evaluation.fit_event_threshold`.
    gap, min_duration
        Of events.

    Returns
    -------
    float
    """
    if threshold == "index" and any(night.sleep_hours for night in nights):
        return fit_event_threshold(nights)
    scores = [pooled_f1(nights, t, gap, min_duration) for t in _CANDIDATES]
    scores = np.nan_to_num(scores)
    best = np.flatnonzero(scores == scores.max())
    return float(_CANDIDATES[best[len(best) // 2]]) if scores.max() else 0.5


def pooled_f1(
    nights: Sequence[ScoredEvents], threshold: float, gap: int, min_duration: float
) -> float:
    """F1 of the events of all nights; NaN where there is none, scored or found."""
    hits, n_true, n_told = count_hits(nights, threshold, gap, min_duration)
    return divide(2 * hits, n_true + n_told)


def check_event_parameters(detector, names: Sequence[str]) -> None:
    """Refuse values of a detector's own parameters that make no sense.

    Raises
    ------
    ValueError
        If one is not accepted; names it.
    """
    gap = detector.gap
    if not isinstance(gap, numbers.Integral) or isinstance(gap, bool) or gap < 1:
        raise ValueError(f"gap must be a whole number of seconds from 1 on, got {gap!r}.")
    weight = detector.positive_weight
    if weight != "balanced" and not (_is_number(weight) and 0 < weight < np.inf):
        raise ValueError(f"positive_weight must be a number above 0 or 'balanced', got {weight!r}.")
    for value in _values(detector.threshold):
        share = _is_number(value) and 0 < value < 1
        if not share and not (isinstance(value, str) and value in THRESHOLDS):
            raise ValueError(
                f"threshold must be 'f1', 'index' or between 0 and 1, got {value!r}; or a dict of "
                f"{', '.join(names)} to one of these."
            )
    for value in _values(detector.min_duration):
        if value is not None and not (_is_number(value) and 0 < value < np.inf):
            raise ValueError(
                f"min_duration must be seconds above 0, or None, got {value!r}; or a dict of "
                f"{', '.join(names)} to one of these."
            )


def _values(parameter) -> list:
    return list(parameter.values()) if isinstance(parameter, dict) else [parameter]


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
