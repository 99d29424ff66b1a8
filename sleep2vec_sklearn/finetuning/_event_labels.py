# SPDX-License-Identifier: BSD-3-Clause
"""Scored events of nights as one label per second and type."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .._warnings import warn
from ..encoding.inputs import EncoderInput
from ..errors import InvalidRecordingError, RecordingWarning
from ..evaluation.agreement import divide
from ..evaluation.events import (
    ScoredEvents,
    checked_events,
    count_hits,
    fit_event_threshold,
    intervals_of,
    intervals_to_mask,
    is_type,
)
from ..recordings import EPOCH_SECONDS, Recording
from ._labels import Targets

__all__ = [
    "THRESHOLDS",
    "check_event_parameters",
    "event_targets",
    "per_type",
    "pooled_f1",
    "read_event_types",
    "seconds_of_events",
    "tune_threshold",
]

_DEFAULT_TYPES = {"apnea_hypopnea": ("apnea", "hypopnea")}
_SHOWN = 5


def read_event_types(event_types) -> dict[str, tuple[str, ...]]:
    """Name of each type to detect, and the scored types that are one.

    Raises
    ------
    ValueError
        If they are neither None, names, nor a dict of name to names.

    Examples
    --------
    >>> from sleep2vec_sklearn.finetuning._event_labels import read_event_types
    >>> read_event_types(("apnea", "arousal"))
    {'apnea': ('apnea',), 'arousal': ('arousal',)}
    """
    if event_types is None:
        return dict(_DEFAULT_TYPES)
    if isinstance(event_types, str):
        event_types = (event_types,)
    if not isinstance(event_types, Mapping):
        event_types = {name: (name,) for name in event_types}
    groups = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in event_types.items()}
    named = [*groups, *(name for names in groups.values() for name in names)]
    if not groups or not all(groups.values()) or not all(isinstance(n, str) for n in named):
        raise ValueError(
            "event_types must be names such as ('apnea', 'arousal'), a dict of name to scored "
            f"types such as {{'respiratory': ('apnea', 'hypopnea')}}, or None; got {event_types!r}."
        )
    return groups


def per_type(value, names: Sequence[str], parameter: str, default) -> dict[str, object]:
    """A parameter's value for each type, given as one value or a dict of some.

    Raises
    ------
    ValueError
        If a dict has a type that is not detected.
    """
    if not isinstance(value, Mapping):
        return {name: default(name) if value is None else value for name in names}
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise ValueError(
            f"{parameter} has {', '.join(map(repr, unknown))}; the types to detect are "
            f"{', '.join(names)}."
        )
    return {name: value.get(name, default(name)) for name in names}


def event_targets(given: EncoderInput, y, groups: Mapping, check_found: bool = True) -> Targets:
    """Label of each second and type, of every epoch of X.

    Parameters
    ----------
    given : EncoderInput
        All epochs of nights.
    y : sequence of DataFrame or None, or None
        Events of each night; by default those of the recordings.
    groups : mapping of str to tuple of str
    check_found : bool, default=True
        Whether every type has to occur.

    Returns
    -------
    Targets
        Values int8 of shape (n_epochs, 30 * n_types), seconds before types: 1 within an event, 0
        outside, -1 in epochs without a stage where the others have one, and in nights without
        events.

    Warns
    -----
    RecordingWarning
        For nights without scored events, and for events beyond the night.

    Raises
    ------
    ValueError
        If y is not one table per night.
    InvalidRecordingError
        If a table is none, no night has one, or no night has an event of a type.
    """
    tables = _tables(given, y)
    values = np.full((given.n_rows, EPOCH_SECONDS * len(groups)), -1, dtype=np.int8)
    beyond = []
    for i, (recording, events) in enumerate(zip(given.recordings, tables, strict=True)):
        if events is None:
            continue
        place = given.locations[i]
        seconds, n_beyond = seconds_of_events(recording, events, groups, place)
        if n_beyond:
            beyond.append(f"{place}: {n_beyond}")
        values[given.rows[i]] = seconds.reshape(recording.n_epochs, -1)[given.epochs[i]]
    missing = [given.locations[i] for i, events in enumerate(tables) if events is None]
    _tell(missing, beyond, len(tables))
    strata = (values.reshape(len(values), EPOCH_SECONDS, -1) == 1).any(axis=1)
    if check_found:
        _check_found(strata, tables, groups)
    return Targets.of(values, strata)


def seconds_of_events(
    recording: Recording, events: pd.DataFrame, groups: Mapping, place: str = "recording"
) -> tuple[np.ndarray, int]:
    """Label of each second of a night.

    Returns
    -------
    seconds : int8 ndarray of shape (n_seconds, n_types)
    n_beyond : int
        Events that reach beyond the night's epochs, and were cut.
    """
    events = checked_events(events, place)
    n_seconds = recording.n_epochs * EPOCH_SECONDS
    wanted = is_type(events["type"], *(name for names in groups.values() for name in names))
    _check_durations(events[wanted], place)
    spans = intervals_of(events)
    seconds = np.zeros((n_seconds, len(groups)), dtype=np.int8)
    for column, names in enumerate(groups.values()):
        mine = spans[is_type(events["type"], *names)]
        seconds[:, column] = intervals_to_mask(mine, n_seconds)
    if recording.stages is not None and (recording.stages >= 0).any():
        seconds[np.repeat(recording.stages < 0, EPOCH_SECONDS)] = -1
    # what is left of a night after its last whole epoch is no mistake
    n_beyond = int((spans[wanted, 1] > max(n_seconds, np.ceil(recording.duration))).sum())
    return seconds, n_beyond


def _tables(given: EncoderInput, y) -> list[pd.DataFrame | None]:
    if y is None:
        return [recording.events for recording in given.recordings]
    if isinstance(y, pd.DataFrame) or len(y) != len(given.recordings):
        found = "one DataFrame" if isinstance(y, pd.DataFrame) else f"{len(y)} tables"
        raise ValueError(
            f"y must be {len(given.recordings)} tables of events (onset, duration, type), one for "
            f"each night, or None for those of the recordings; got {found}."
        )
    return [table if isinstance(table, pd.DataFrame) else _none_or_table(table) for table in y]


def _none_or_table(table):
    missing = table is None or (np.ndim(table) == 0 and pd.isna(table))
    return None if missing else table


def _tell(missing: list[str], beyond: list[str], n_nights: int) -> None:
    if len(missing) == n_nights:
        raise InvalidRecordingError(
            f"none of the {n_nights} nights has scored events; give them as Recording(events=...), "
            "or as y, a list of tables with the columns onset, duration and type. A night "
            "without any event has an empty table."
        )
    texts = []
    if missing:
        texts.append(
            f"{len(missing)} of {n_nights} nights have no scored events and are left out: "
            f"{_some(missing)}. A night in which none was found needs an empty table."
        )
    if beyond:
        texts.append(
            f"events that end after the night were cut at its end, by night: {_some(beyond)}. "
            "Check whether onsets count from the start of the signals."
        )
    for text in texts:
        warn(text, RecordingWarning)


def _some(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _check_durations(events: pd.DataFrame, place: str) -> None:
    instant = np.flatnonzero(events["duration"].to_numpy(dtype=float) == 0)
    if len(instant):
        raise InvalidRecordingError(
            f"{place}: event {events.index[instant[0]]} ({events['type'].iloc[instant[0]]}) lasts "
            "0 s, so that it has no second to learn from; accepted are durations above 0. Give "
            "its length, or leave it out."
        )


def _check_found(strata: np.ndarray, tables, groups: Mapping) -> None:
    absent = [name for name, found in zip(groups, strata.any(axis=0), strict=True) if not found]
    if not absent:
        return
    outside = [name for name in absent if _any_of_type(tables, groups[name])]
    if outside:
        raise InvalidRecordingError(
            f"all scored events of type {', '.join(map(repr, outside))} are after the night or in "
            "epochs without a stage, so that no second has one. Check whether onsets count from "
            "the start of the signals."
        )
    scored = sorted({str(t) for table in tables if table is not None for t in table["type"]})
    listed = ", ".join(map(repr, scored[:10])) or "no event at all"
    raise InvalidRecordingError(
        f"no night has a scored event of type {', '.join(map(repr, absent))}; the nights have "
        f"{listed}. Name the scored types, e.g. event_types={{'apnea': ('Obstructive',)}}."
    )


def _any_of_type(tables, names: Sequence[str]) -> bool:
    return any(table is not None and is_type(table["type"], *names).any() for table in tables)


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
