# SPDX-License-Identifier: BSD-3-Clause
"""Conditioning: from a signal as recorded to the epochs that a network takes.

The steps: cut to the night, convert the unit, find gaps, bridge them, resample, filter, scale,
clip, split into epochs; or, in place of the last five, compute expert columns. Settings and their
reasons are in :mod:`~sleep2vec_sklearn.recordings.modality`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .._files import sha256
from ..errors import InvalidSignalError
from ._expert_catalogue import FEATURES_REVISION
from ._expert_columns import compute_columns
from ._night_window import find_window, needs_signals, window_modalities
from ._resampling import band_filter, resample
from ._spectral_features import Samples
from ._usable import SAMPLES_FOR_QUANTILES, find_usable
from .modality import Conditioning, Modality, get_modality
from .sources import Signal

if TYPE_CHECKING:
    from .recording import Recording

_COUNTS_AT_NIGHT_MEAN = 10.0
_IQR_OF_STANDARD_NORMAL = 1.349


@dataclass(frozen=True, slots=True)
class ConditionedSignal:
    """One modality of one night, ready for its tokenizer."""

    # float32 of shape (n_epochs, width), finite; False where the modality is missing
    epochs: np.ndarray
    valid: np.ndarray


def read_conditioned(
    recording: Recording, conditionings: Mapping[str, Conditioning],
    window: tuple[int, int] | None = None,
) -> Iterator[tuple[str, Callable[[], ConditionedSignal | None]]]:  # fmt: skip
    """Read signals of a night together; yield the name of each and the call that conditions it.

    ``window`` are the epochs of the night, which are found in its signals unless they are known.
    """
    for_window = _window_signals(recording, conditionings.values()) if window is None else []
    signals = recording.read(list(dict.fromkeys([*conditionings, *for_window])))
    if window is None:
        window = find_window(recording, {name: signals[name] for name in for_window})
    for name, conditioning in conditionings.items():
        # freed with its call, so that conditioning one after the other needs room for one
        signal, n_epochs = signals.pop(name), recording.n_epochs
        first = partial(condition, signal, get_modality(name), conditioning, n_epochs, window)
        del signal
        if recording.derivation_mode == "fill" and len(recording.derivations.get(name, ())) > 1:
            yield name, partial(_fill, first, recording, conditioning, name, window)
        else:
            yield name, first
        del first


def condition(
    signal: Signal, modality: Modality, conditioning: Conditioning, n_epochs: int,
    window: tuple[int, int] | None = None,
) -> ConditionedSignal | None:  # fmt: skip
    """Condition one modality of a night; None if the sensor is flat or all missing.

    An epoch with less than half of its samples is missing; shorter gaps are bridged by straight
    lines. An epoch in which a waveform does not move at all is missing too: the sensor is off.
    Expert columns are relative to the epochs of ``window``, all by default.
    """
    values, rate, valid = find_usable(signal, modality, conditioning, n_epochs)
    if not valid.any():
        return None
    if conditioning.columns:
        samples = Samples(values, rate, valid)
        columns = compute_columns(samples, modality.name, conditioning.columns, window)
        return ConditionedSignal(columns, valid)
    resampled = resample(values, rate, conditioning.rate, conditioning.resampling)
    values = _fit_length(resampled, n_epochs * conditioning.width, signal.values)
    band_filter(values, conditioning.band, conditioning.rate)
    epochs = _scale(values.reshape(n_epochs, -1), valid, conditioning)
    return ConditionedSignal(epochs, valid)


def condition_derivation(
    recording: Recording, name: str, index: int, conditioning: Conditioning,
    window: tuple[int, int] | None = None,
) -> ConditionedSignal | None:  # fmt: skip
    """Read and condition one of the derivations of a modality."""
    if window is None:
        for_window = _window_signals(recording, [conditioning])
        window = find_window(recording, recording.read(for_window) if for_window else {})
    signal = recording.signal(name, index)
    return condition(signal, get_modality(name), conditioning, recording.n_epochs, window)


def fingerprint(recording: Recording, name: str, index: int, conditioning: Conditioning) -> str:
    """Hash of the samples that a conditioned derivation depends on."""
    if not conditioning.columns:
        return recording.signal_fingerprint(name, index)
    read = {(other, 0) for other in _window_signals(recording, [conditioning])} | {(name, index)}
    signals = [recording.signal_fingerprint(*item) for item in sorted(read)]
    return sha256(repr((name, index, recording.lights, signals, FEATURES_REVISION)))


def _window_signals(recording: Recording, conditionings: Iterable[Conditioning]) -> list[str]:
    """Modalities whose signals tell which part of a long recording is the night, if that counts."""
    is_relative = any(conditioning.columns for conditioning in conditionings)
    return window_modalities(recording) if is_relative and needs_signals(recording) else []


def _fill(
    condition_first: Callable[[], ConditionedSignal | None], recording: Recording,
    conditioning: Conditioning, name: str, window: tuple[int, int],
) -> ConditionedSignal | None:  # fmt: skip
    """A modality with its missing epochs from further derivations, each scaled by its own night."""
    found: ConditionedSignal | None = None
    problem = None
    for index in range(len(recording.derivations[name])):
        try:
            other = (
                condition_derivation(recording, name, index, conditioning, window)
                if index
                else condition_first()
            )
        except InvalidSignalError as error:
            problem = problem or error
            continue
        if found is None or other is None:
            found = found or other
        else:
            taken = other.valid & ~found.valid
            epochs = np.where(taken[:, None], other.epochs, found.epochs)
            found = ConditionedSignal(epochs, found.valid | taken)
        if found is not None and found.valid.all():
            break
    if found is None and problem is not None:
        raise problem
    return found


def _fit_length(values: np.ndarray, n_samples: int, original: np.ndarray) -> np.ndarray:
    """``n_samples`` values that may be overwritten, unlike the recording's."""
    if len(values) < n_samples:
        return np.pad(values, (0, n_samples - len(values)), mode="edge")
    shared = np.may_share_memory(values, original)
    return np.array(values[:n_samples], copy=True if shared else None)


def _scale(epochs: np.ndarray, valid: np.ndarray, conditioning: Conditioning) -> np.ndarray:
    """Scaled epochs; in place, except for counts."""
    if conditioning.scaling == "counts":
        mean = float(epochs[valid].mean(dtype=np.float64))
        scaled = np.log1p(epochs * np.float32(_COUNTS_AT_NIGHT_MEAN / mean) if mean else epochs)
    else:
        center, scale = conditioning.center, conditioning.scale
        if conditioning.scaling == "robust":
            step = max(1, int(valid.sum()) * epochs.shape[1] // SAMPLES_FOR_QUANTILES)
            sample = (epochs if valid.all() else epochs[valid]).reshape(-1)[::step]
            low, center, high = np.percentile(sample, [25, 50, 75])
            scale = max((high - low) / _IQR_OF_STANDARD_NORMAL, np.finfo(np.float32).tiny * 1e6)
        scaled = np.subtract(epochs, np.float32(center), out=epochs)
        scaled *= np.float32(1 / scale)
    np.clip(scaled, -conditioning.clip, conditioning.clip, out=scaled)
    return scaled.astype(np.float32, copy=False)
