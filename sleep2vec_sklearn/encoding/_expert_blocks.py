# SPDX-License-Identifier: BSD-3-Clause
"""Blocks of expert columns: of a modality's epochs, of the time, and of a whole night."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from .._files import sha256
from ..model.encoder import EncodedModality, Part
from ..recordings._conditioning import ConditionedSignal, condition_derivation, read_conditioned
from ..recordings._expert_catalogue import Feature, find_relative, list_columns, typical_values
from ..recordings._night_window import find_window, needs_signals, window_modalities
from ..recordings.modality import EPOCH_SECONDS, Conditioning
from ..recordings.recording import Recording, keep_signals

TIME = "time"
TIME_FEATURES = (
    Feature("hours", "time since lights out", "h", 3.5),
    Feature("hours2", "its square", "h2", 16),
    Feature("settling", "exp(-hours)", "1", 0.15),
    Feature("share", "share of the time between lights out and on that is over", "1", 0.5),
)
TIME_COLUMNS = tuple(feature.name for feature in TIME_FEATURES)
_TIME_LIMITS = (np.array([-1.0, 0.0, 0.0, -0.2]), np.array([12.0, 144.0, 1.0, 1.2]))
_SHORTEST_NIGHT = 360  # epochs
_STATISTICS = ("mean", "sd", "p5", "p95")


def choose_columns(modality: str, levels: bool = True) -> tuple[str, ...]:
    """Columns of a modality, with or without those that are not relative to the night."""
    return tuple(c for c, (_, context) in list_columns(modality).items() if levels or context)


def list_parts(recording: Recording, groups: Sequence[str]) -> list[Part]:
    """Each modality of a night, or each of its derivations, and the time if it has any other."""
    kept = recording.derivations if recording.derivation_mode == "all" else {}
    names = [name for name in groups if name in recording.modalities]
    parts = [(name, index) for name in names for index in range(len(kept.get(name, ())) or 1)]
    return [*parts, (TIME, 0)] if parts and TIME in groups else parts


def list_tasks(
    recording: Recording, parts: Sequence[Part], settings: Mapping[str, Conditioning],
    encode: Callable[[str, Callable[[], ConditionedSignal | None]], EncodedModality],
) -> Iterator[tuple[Part, Callable[[], EncodedModality]]]:  # fmt: skip
    """The calls that encode parts of a night.

    First derivations are read together, others one by one, when their turn comes, so that memory
    does not grow with them.
    """
    window = None
    if needs_signals(recording) and any(_needs_window(name, settings) for name, _ in parts):
        # signals that are encoded too
        signals = recording.read(window_modalities(recording))
        recording, window = keep_signals(recording, signals), find_window(recording, signals)
    first = {name: settings[name] for name, index in parts if index == 0 and name != TIME}
    for name, conditioned in read_conditioned(recording, first, window):
        yield (name, 0), partial(encode, name, conditioned)
    for name, index in parts:
        if index:
            call = partial(condition_derivation, recording, name, index, settings[name], window)
            yield (name, index), partial(encode, name, call)
    if (TIME, 0) in parts:
        yield (TIME, 0), partial(encode_time, recording, window)


def _needs_window(name: str, settings: Mapping[str, Conditioning]) -> bool:
    return name == TIME or bool(settings[name].columns)


def neutral_values(group: str, columns: Sequence[str]) -> np.ndarray:
    """What stands for a group that a night lacks, float32 of shape (n_columns,)."""
    if group == TIME:
        return np.array([feature.typical for feature in TIME_FEATURES], np.float32)
    return typical_values(group, columns)


def time_fingerprint(recording: Recording) -> str:
    """Hash of what the time columns depend on."""
    names = window_modalities(recording) if needs_signals(recording) else []
    signals = [recording.signal_fingerprint(name) for name in names]
    return sha256(repr((recording.n_epochs, recording.lights, signals)))


def time_columns(recording: Recording, epochs: np.ndarray) -> np.ndarray:
    """The columns of :class:`~sleep2vec_sklearn.TimeOfNight` for some epochs of a recording."""
    lights_off, lights_on = recording.lights or (None, None)
    begin = 0.0 if lights_off is None else lights_off
    end = recording.n_epochs * EPOCH_SECONDS if lights_on is None else lights_on
    return _from_seconds((epochs + 0.5) * EPOCH_SECONDS - begin, end - begin)


def _from_seconds(seconds: np.ndarray, duration: float) -> np.ndarray:
    hours = seconds / 3600
    # before lights out nobody has settled
    settling = np.exp(-np.maximum(hours, 0))
    share = seconds / max(duration, EPOCH_SECONDS)
    return np.stack([hours, hours**2, settling, share], axis=1)


def encode_time(recording: Recording, window: tuple[int, int] | None) -> EncodedModality:
    """The time columns of a night.

    Of a day it is counted from the begin of ``window``. An excerpt without lights that is shorter
    than three hours has no time of the night, and gets typical values.
    """
    n_epochs, lights = recording.n_epochs, recording.lights or (None, None)
    valid = np.ones(n_epochs, dtype=bool)
    if lights == (None, None) and n_epochs < _SHORTEST_NIGHT:
        typical = neutral_values(TIME, TIME_COLUMNS)
        return EncodedModality(np.tile(typical, (n_epochs, 1)), valid)
    times = time_columns(recording, np.arange(n_epochs))
    if window is not None:
        start, stop = window
        seconds = (np.arange(n_epochs) - start + 0.5) * EPOCH_SECONDS
        times = _from_seconds(seconds, (stop - start) * EPOCH_SECONDS)
    # a day before the night is no time of it
    return EncodedModality(np.clip(times, *_TIME_LIMITS).astype(np.float32), valid)


def summary_names(group: str, columns: Sequence[str]) -> list[str]:
    """Names of the numbers of :func:`summarise`."""
    if group == TIME:
        return ["time_recorded"]
    names = [f"{group}_{column}" for column in _levels(columns)]
    t90 = [f"{group}_t90"] if "below90" in columns else []
    return [*(f"{name}_{s}" for s in _STATISTICS for name in names), f"{group}_on", *t90]


def summarise(
    group: str, columns: Sequence[str], first: int, encoded: EncodedModality | None
) -> np.ndarray:
    """Numbers of a night: of levels mean, SD, 5th and 95th percentile over epochs; and counts.

    Tokens have the columns from ``first`` on.
    """
    if group == TIME:
        n_epochs = 0 if encoded is None else len(encoded.valid)
        return np.array([n_epochs * EPOCH_SECONDS / 3600], np.float32)
    levels = _levels(columns)
    if encoded is None:
        typical = typical_values(group, levels).astype(np.float64)
        statistics, hours = [typical, 0 * typical, typical, typical], 0.0
    else:
        places = [first + i for i, column in enumerate(columns) if column in levels]
        values = encoded.tokens[encoded.valid][:, places].astype(np.float64)
        tails = np.percentile(values, [5, 95], axis=0)
        statistics = [values.mean(axis=0), values.std(axis=0), *tails]
        hours = len(values) * EPOCH_SECONDS / 3600
    row = [*np.concatenate(statistics), hours]
    if "below90" in levels:
        row.append(60 * hours * statistics[0][levels.index("below90")])
    return np.array(row, dtype=np.float32)


def _levels(columns: Sequence[str]) -> list[str]:
    relative = set(find_relative(columns))
    return [column for i, column in enumerate(columns) if i not in relative]
