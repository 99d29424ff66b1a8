# SPDX-License-Identifier: BSD-3-Clause
"""Targets of the rows of X: classes, outcomes, and the seconds of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn.utils import compute_class_weight

from .._arguments import as_array
from .._validation import find_classes
from .._warnings import listed, warn
from ..encoding.inputs import EncoderInput
from ..errors import InvalidRecordingError, RecordingWarning
from ..evaluation.events import LeftOut, checked_events, intervals_of, intervals_to_mask
from ..recordings._event_names import EventNames
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording

_UNSCORED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The labels of X as numbers, one entry per row."""

    values: np.ndarray  # integers, below 0 for no label, or floats, NaN for none
    weights: np.ndarray  # float32 (n_rows,)
    # bool (n_rows, n_strata): subjects whose absence would leave a stratum empty are not held out
    strata: np.ndarray | None = None

    @classmethod
    def of(cls, values: np.ndarray, strata: np.ndarray | None = None) -> Targets:
        """Targets with weights of 1."""
        return cls(values, np.ones(len(values), dtype=np.float32), strata)

    @property
    def labelled(self) -> np.ndarray:
        """Which rows have a label and a weight, bool of shape (n_rows,)."""
        flat = self.values.reshape(len(self.values), -1)
        known = ~np.isnan(flat) if flat.dtype.kind == "f" else flat >= 0
        return known.any(axis=1) & (self.weights > 0)

    def take(self, rows: np.ndarray) -> Targets:
        strata = None if self.strata is None else self.strata[rows]
        return Targets(self.values[rows], self.weights[rows], strata)


def check_length(values: np.ndarray, n_rows: int, ndims: tuple[int, ...]) -> None:
    """Refuse a y that is not one entry for each row of X."""
    if values.ndim not in ndims or len(values) != n_rows:
        accepted = " or ".join(f"({n_rows},)" if n == 1 else f"({n_rows}, k)" for n in ndims)
        raise ValueError(
            f"y has shape {values.shape} and X {n_rows} elements; accepted is y of shape "
            f"{accepted}, one entry for each element of X. With an EpochSequence these are epochs."
        )


def check_sample_weight(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Weights as float32; ones for None."""
    if sample_weight is None:
        return np.ones(n_rows, dtype=np.float32)
    weights = np.asarray(sample_weight, dtype=np.float32)
    accepted, fits = np.isfinite(weights) & (weights >= 0), weights.shape == (n_rows,)
    if not fits or not accepted.all():
        got = f"{weights[~accepted][0]:g} among them" if fits else f"shape {weights.shape}"
        raise ValueError(
            f"sample_weight must be {n_rows} finite numbers, none below 0, one for each element "
            f"of X; got {got}."
        )
    if not weights.any():
        raise ValueError("sample_weight is 0 for every element of X; raise some.")
    return weights


def require_labels(known: np.ndarray, unit: str, rest: str) -> None:
    """Refuse a y without any label; ``rest`` of the message says why and what to do."""
    if not known.any():
        raise ValueError(f"y has no label for any of the {len(known)} {unit}s{rest}")


def is_missing(values: np.ndarray) -> np.ndarray:
    """Where an array holds NaN, None, NaT or pandas' NA."""
    return np.asarray(pd.isna(values), dtype=bool)


def read_labels(y: Any, n_rows: int, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels as an array, and which of them are known; both of shape (n_rows,)."""
    # numpy would make text of a NaN among words
    values = as_array("y", y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    check_length(values, n_rows, (1,))
    known = ~is_missing(values)
    if values.dtype == object:
        inferred = pd.Series(list(values[known])).infer_objects().to_numpy()
        if inferred.dtype.kind in "biuf":
            values = np.full(n_rows, 0, dtype=inferred.dtype)
            values[known] = inferred
    if unit == "epoch" and values.dtype.kind in "if":
        known &= values != _UNSCORED
    return values, known


def read_multilabels(y: Any, n_rows: int, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes as float32 of shape (n_rows, k), NaN where not known, and which are known."""
    values = np.asarray(y, dtype=object)
    check_length(values, n_rows, (2,))
    known = ~is_missing(values)
    cells = np.full(values.shape, np.nan, dtype=np.float32)
    strange = [v for v in values[known].tolist() if v not in (0, 1)]
    if strange:
        raise ValueError(
            f"y has several columns, so each is an outcome that is true or not, and holds "
            f"{strange[0]!r}; accepted are 0, 1 and NaN. Give classes that exclude each other as "
            "one column."
        )
    cells[known] = values[known].astype(np.float32)
    return cells, known


def encode_classes(
    y: Any, inputs: EncoderInput, class_weight: Any
) -> tuple[np.ndarray, np.ndarray, Targets]:
    """Classes that exclude each other, float32 weights, and the number of each row's class."""
    values, known = read_labels(y, inputs.n_rows, inputs.unit)
    require_labels(known, inputs.unit, ": all are NaN, None or -1. Give at least two classes.")
    classes, codes = find_classes("y", values[known])
    if len(classes) < 2:
        (only,) = classes.tolist()
        raise ValueError(
            f"y has one class only, {only!r}, among {len(codes)} labelled {inputs.unit}s; "
            "two at least are needed. Look at the split that these rows come from."
        )
    weights = compute_class_weight(class_weight, classes=classes, y=values[known])
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError(
            f"class_weight gives {classes.tolist()} the weights {weights.tolist()}; accepted "
            "are numbers above 0. Leave out a class by NaN or None in y."
        )
    encoded = np.full(inputs.n_rows, -1, dtype=np.int64)
    encoded[known] = codes
    strata = encoded[:, None] == np.arange(len(classes))
    return classes, weights.astype(np.float32), Targets.of(encoded, strata)


def encode_outcomes(
    y: Any, inputs: EncoderInput, class_weight: Any
) -> tuple[np.ndarray, np.ndarray, Targets]:
    """Numbers of outcomes that are true or not, float32 weights (k, 2) of 0 and 1, and targets."""
    cells, known = read_multilabels(y, inputs.n_rows, inputs.unit)
    weights = np.ones((cells.shape[1], 2), dtype=np.float32)
    for column in range(cells.shape[1]):
        labels = cells[known[:, column], column].astype(int)
        if len(np.unique(labels)) < 2:
            raise ValueError(
                f"column {column} of y is {', '.join(map(str, np.unique(labels))) or 'unknown'}"
                f" in all {len(labels)} rows where it is known; both 0 and 1 are needed. Leave "
                "the outcome out, or look at the split that these rows come from."
            )
        weights[column] = compute_class_weight(class_weight, classes=np.arange(2), y=labels)
    strata = np.concatenate([cells == 0, cells == 1], axis=1)
    return np.arange(cells.shape[1]), weights, Targets.of(cells, strata)


EventTypes = Mapping[str, tuple[str, ...]]


def event_targets(
    inputs: EncoderInput, y: Any, event_types: EventTypes, require_all: bool = True,
    event_names: Mapping[str, str | None] | None = None,
) -> Targets:  # fmt: skip
    """Labels int8 (n_epochs, 30 * n_types), seconds before types: 1 in an event, 0 or -1 (unknown).

    Nights whose events are not understood are unknown. ``require_all`` refuses nights in which a
    type does not occur.
    """
    names = EventNames(event_names, also=[n for group in event_types.values() for n in group])
    left_out = LeftOut()
    tables = [
        None if table is None else _understood(table, names, left_out, inputs.locations[i])
        for i, table in enumerate(_event_tables(inputs, y))
    ]
    values = np.full((inputs.n_rows, EPOCH_SECONDS * len(event_types)), -1, dtype=np.int8)
    # of events, X always holds epochs
    epochs, outside = cast("tuple[np.ndarray, ...]", inputs.epochs), []
    for i, (recording, events) in enumerate(zip(inputs.recordings, tables, strict=True)):
        if events is None:
            continue
        location = inputs.locations[i]
        seconds, n_outside = seconds_of_events(recording, events, event_types, location, names)
        if n_outside:
            outside.append(f"{location}: {n_outside}")
        values[inputs.rows[i]] = seconds.reshape(recording.n_epochs, -1)[epochs[i]]
    missing = [inputs.locations[i] for i, events in enumerate(tables) if events is None]
    _report_events(missing, outside, len(tables), left_out)
    strata = (values.reshape(len(values), EPOCH_SECONDS, -1) == 1).any(axis=1)
    if require_all:
        _require_all_types(strata.any(axis=0).tolist(), tables, event_types, names)
    return Targets.of(values, strata)


def _understood(
    events: pd.DataFrame, names: EventNames, left_out: LeftOut, location: str
) -> pd.DataFrame | None:
    """The table of a night; None if it holds names that are not understood, or marks only."""
    events = checked_events(events, location)
    unknown, marks = names.unknown(events["type"]), names.marks(events["type"])
    left_out.add_unknown(events["type"][unknown], location)
    none_known = len(events) > 0 and (unknown | marks).all()
    # a note of no length is no event
    return None if none_known or (unknown & (events["duration"] > 0)).any() else events


def seconds_of_events(
    recording: Recording, events: pd.DataFrame, event_types: EventTypes,
    location: str = "recording", names: EventNames | None = None,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Labels int8 (n_seconds, n_types), and the number of events that reach out of the night."""
    events, names = checked_events(events, location), names or EventNames()
    n_seconds = recording.n_epochs * EPOCH_SECONDS
    every = [name for group in event_types.values() for name in group]
    wanted = names.are(events["type"], *every)
    _check_durations(events[wanted], location)
    intervals = intervals_of(events)
    seconds = np.zeros((n_seconds, len(event_types)), dtype=np.int8)
    for column, group in enumerate(event_types.values()):
        of_type = intervals[names.are(events["type"], *group)]
        seconds[:, column] = intervals_to_mask(of_type, n_seconds)
    if recording.stages is not None and (recording.stages >= 0).any():
        seconds[np.repeat(recording.stages < 0, EPOCH_SECONDS)] = -1
    # an event in the incomplete epoch at the end of a night is no mistake
    late = intervals[:, 1] > max(n_seconds, np.ceil(recording.duration))
    return seconds, int((wanted & (late | (intervals[:, 0] < 0))).sum())


def _event_tables(inputs: EncoderInput, y: Any) -> list[pd.DataFrame | None]:
    if y is None:
        return [recording.events for recording in inputs.recordings]
    if isinstance(y, pd.DataFrame) or len(y) != len(inputs.recordings):
        got = "one DataFrame" if isinstance(y, pd.DataFrame) else f"{len(y)} tables"
        raise ValueError(
            f"y must be {len(inputs.recordings)} tables of events (onset, duration, type), one for "
            f"each night, or None for those of the recordings; got {got}."
        )
    return [None if np.ndim(table) == 0 and pd.isna(table) else table for table in y]


def _report_events(
    missing: list[str], outside: list[str], n_nights: int, left_out: LeftOut
) -> None:
    if len(missing) == n_nights:
        unknown = f" {left_out.describe('unknown')}" if left_out.nights else ""
        raise InvalidRecordingError(
            f"none of the {n_nights} nights has scored events that are understood; give them as "
            "Recording(events=...), or as y, a list of tables with the columns onset, duration and "
            f"type. A night without any event has an empty table.{unknown}"
        )
    left_out.warn()
    missing = [night for night in missing if night not in left_out.nights.get("unknown", ())]
    if missing:
        warn(
            f"{len(missing)} of {n_nights} nights have no scored events and are left out: "
            f"{listed(missing)}. A scored night without any event needs an empty table.",
            RecordingWarning,
        )
    if outside:
        warn(
            f"events that begin before or end after the night were cut, by night: "
            f"{listed(outside)}. Check whether onsets count from the start of the signals.",
            RecordingWarning,
        )


def _check_durations(events: pd.DataFrame, location: str) -> None:
    instant = np.flatnonzero(events["duration"].to_numpy(dtype=float) == 0)
    if len(instant):
        first = instant[0]
        raise InvalidRecordingError(
            f"{location}: event {events.index[first]} ({events['type'].iloc[first]}) lasts 0 s, so "
            "that it has no second to learn from; accepted are durations above 0. Give its length, "
            "or leave it out."
        )


def _require_all_types(
    occurs: list[bool], tables: Sequence[pd.DataFrame | None], event_types: EventTypes,
    event_names: EventNames,
) -> None:  # fmt: skip
    absent = [name for name, does in zip(event_types, occurs, strict=True) if not does]
    if not absent:
        return
    types = [str(name) for table in tables if table is not None for name in table["type"]]
    outside = [n for n in absent if event_names.are(types, *event_types[n]).any()]
    if outside:
        raise InvalidRecordingError(
            f"all scored events of type {', '.join(map(repr, outside))} are outside the night or "
            "in epochs without a stage, so that no second has one. Check whether onsets count from "
            "the start of the signals."
        )
    names = sorted(set(types))
    raise InvalidRecordingError(
        f"no night has a scored event of type {', '.join(map(repr, absent))}; the nights have "
        f"{', '.join(map(repr, names[:10])) or 'no event at all'}. Name the scored types, e.g. "
        "event_types={'apnea': ('Obstructive',)}, or rules=EventRules(event_names=...)."
    )
