# SPDX-License-Identifier: BSD-3-Clause
"""What a detector reads and gives, night by night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from ..encoding.inputs import EncoderInput, read_input
from ..errors import InvalidRecordingError
from ..evaluation.events import ScoredEvents, find_events
from ..evaluation.nights import seconds_asleep
from ..signals import EPOCH_SECONDS, EpochSequence
from .targets import Targets

__all__ = ["events_table", "found_in", "probabilities_of", "read_nights", "scored_in"]

# events of a night by type, as intervals of seconds
NightEvents = dict[str, np.ndarray]


def read_nights(X, read) -> EncoderInput:
    """All epochs of nights.

    Parameters
    ----------
    X : list of Recording or dict, or EpochSequence of all their epochs
    read : callable
        Brings a list of recordings to one form.

    Raises
    ------
    InvalidRecordingError
        If X holds some epochs of a night only, or several nights as one element.
    """
    given = read(X.recordings if isinstance(X, EpochSequence) else X)
    if len(given.recordings) != given.n_rows:
        raise InvalidRecordingError(
            "X has a list of several nights as one element; events belong to one night. Pass one "
            "flat list of recordings."
        )
    if not isinstance(X, EpochSequence):
        return read_input(EpochSequence(given.recordings))
    if len(X) != sum(recording.n_epochs for recording in given.recordings):
        raise InvalidRecordingError(
            "X is some of the epochs of its nights, but events are detected in whole ones. Pass "
            "the recordings: X.recordings."
        )
    return read_input(X)


def probabilities_of(given: EncoderInput, outputs: np.ndarray, log_odds: np.ndarray) -> list:
    """Outputs of the head as probabilities, [n_seconds, n_types] of each night."""
    shape = (-1, len(log_odds))
    return [expit(outputs[rows].reshape(shape) + log_odds) for rows in given.rows]


def scored_in(
    given: EncoderInput, targets: Targets, nights: Mapping[int, np.ndarray], names: Sequence[str]
) -> dict[str, list[ScoredEvents]]:
    """Labels and probabilities of some nights, by type.

    Parameters
    ----------
    given : EncoderInput
    targets : Targets
    nights : mapping of int to ndarray of shape (n_seconds, n_types)
        Probabilities by the recording's place in X.
    names : sequence of str
        Of the types.
    """
    by_type: dict[str, list[ScoredEvents]] = {name: [] for name in names}
    for i, probabilities in nights.items():
        truth = targets.values[given.rows[i]].reshape(probabilities.shape)
        recording = given.recordings[i]
        for column, name in enumerate(names):
            night = ScoredEvents(
                truth[:, column], probabilities[:, column], recording.stages, id=recording.id
            )
            by_type[name].append(night)
    return by_type


def found_in(
    given: EncoderInput,
    nights: Sequence[np.ndarray],
    stages,
    thresholds: Mapping[str, float],
    gap: int,
    min_durations: Mapping[str, float],
) -> tuple[list[NightEvents], np.ndarray]:
    """Events of each night, and its hours of sleep.

    Raises
    ------
    ValueError
        If there are stages for another number of nights.
    """
    if stages is not None and len(stages) != len(nights):
        raise ValueError(f"stages must be {len(nights)} arrays, one a night; got {len(stages)}.")
    found, hours = [], np.empty(len(nights))
    for i, (recording, probabilities) in enumerate(zip(given.recordings, nights, strict=True)):
        own = None if stages is None else stages[i]
        asleep = seconds_asleep(recording, own, recording.n_epochs * EPOCH_SECONDS)
        hours[i] = asleep.sum() / 3600
        events = {}
        for column, (name, threshold) in enumerate(thresholds.items()):
            above = probabilities[:, column] > threshold
            events[name] = find_events(above, asleep, gap=gap, min_duration=min_durations[name])
        found.append(events)
    return found, hours


def events_table(
    names: Sequence, nights: Sequence[np.ndarray], found: Sequence[NightEvents]
) -> pd.DataFrame:
    """One row per event, with its mean probability, in the order of nights and of time."""
    tables = []
    for name, probabilities, events in zip(names, nights, found, strict=True):
        for column, (kind, spans) in enumerate(events.items()):
            means = [float(probabilities[a:b, column].mean()) for a, b in spans]
            table = pd.DataFrame(
                {
                    "recording": name,
                    "onset": spans[:, 0].astype(float),
                    "duration": (spans[:, 1] - spans[:, 0]).astype(float),
                    "type": kind,
                    "probability": np.array(means, dtype=float),
                }
            )
            tables.append(table)
    # an empty table among full ones would change the kinds of columns
    full = [table for table in tables if len(table)] or tables[:1]
    order = {name: i for i, name in enumerate(names)}
    return pd.concat(full, ignore_index=True).sort_values(
        ["recording", "onset"],
        key=lambda column: column.map(order) if column.name == "recording" else column,
        kind="stable",
        ignore_index=True,
    )
