# SPDX-License-Identifier: BSD-3-Clause
"""Conditioning: from a signal as recorded to the epochs that a network takes.

The steps: cut to the night, convert the unit, find gaps, bridge them, resample, filter, scale,
clip, split into epochs. Settings and their reasons are in
:mod:`~sleep2vec_sklearn.recordings.modality`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidSignalError
from ._resampling import band_filter, bridge_gaps, resample
from .modality import EPOCH_SECONDS, Conditioning, Modality, get_modality
from .sources import MICROVOLTS, Signal, to_canonical_unit

if TYPE_CHECKING:
    from .recording import Recording

_MIN_SHARE_OF_EPOCH = 0.5
_FLAT_SHARE_OF_SPREAD = 1e-4
_SAMPLES_FOR_QUANTILES = 200_000
_COARSE_RATE = 32.0
_COUNTS_AT_NIGHT_MEAN = 10.0
_IQR_OF_STANDARD_NORMAL = 1.349
_USUAL_MICROVOLTS = 30.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ConditionedSignal:
    """One modality of one night, ready for its tokenizer."""

    # float32 of shape (n_epochs, width), finite; False where the modality is missing
    epochs: np.ndarray
    valid: np.ndarray


def read_conditioned(
    recording: Recording, conditionings: Mapping[str, Conditioning]
) -> Iterator[tuple[str, Callable[[], ConditionedSignal | None]]]:
    """Read signals of a night together; yield the name of each and the call that conditions it."""
    signals = recording.read(list(conditionings))
    for name, conditioning in conditionings.items():
        # freed with its call, so that conditioning one after the other needs room for one
        signal = signals.pop(name)
        first = partial(condition, signal, get_modality(name), conditioning, recording.n_epochs)
        del signal
        if recording.derivation_mode == "fill" and len(recording.derivations.get(name, ())) > 1:
            yield name, partial(_fill, first, recording, conditioning, name)
        else:
            yield name, first
        del first


def condition(
    signal: Signal, modality: Modality, conditioning: Conditioning, n_epochs: int
) -> ConditionedSignal | None:
    """Condition one modality of a night; None if the sensor is flat or all missing.

    An epoch with less than half of its samples is missing; shorter gaps are bridged by straight
    lines. An epoch in which a waveform does not move at all is missing too: the sensor is off.
    """
    values, rate, valid = find_usable(signal, modality, conditioning, n_epochs)
    if not valid.any():
        return None
    resampled = resample(values, rate, conditioning.rate, conditioning.resampling)
    values = _fit_length(resampled, n_epochs * conditioning.width, signal.values)
    band_filter(values, conditioning.band, conditioning.rate)
    epochs = _scale(values.reshape(n_epochs, -1), valid, conditioning)
    return ConditionedSignal(epochs, valid)


def condition_derivation(
    recording: Recording, name: str, index: int, conditioning: Conditioning
) -> ConditionedSignal | None:
    """Read and condition one of the derivations of a modality."""
    signal = recording.signal(name, index)
    return condition(signal, get_modality(name), conditioning, recording.n_epochs)


def find_good_epochs(
    signal: Signal, name: str, n_epochs: int, *, coarse: bool = False
) -> np.ndarray:
    """In which epochs of a night a sensor is on; in none if its size is that of no such sensor.

    Coarsely, by some 32 samples a second: 10 ms in place of 29 for eight hours of 256 Hz.
    """
    modality = get_modality(name)
    conditioning = replace(modality.conditioning, min_rate=None)
    step = max(1, int(signal.rate / _COARSE_RATE)) if coarse else 1
    values = np.ascontiguousarray(signal.values[::step])
    signal = Signal(values, signal.rate / step, signal.unit)
    try:
        return find_usable(signal, modality, conditioning, n_epochs)[2]
    except InvalidSignalError:
        return np.zeros(n_epochs, dtype=bool)


def find_usable(
    signal: Signal, modality: Modality, conditioning: Conditioning, n_epochs: int
) -> tuple[np.ndarray, float, np.ndarray]:
    """Samples in the catalogue's unit with gaps bridged, their rate, and which epochs are on."""
    acceleration = modality.name == "actigraphy" and conditioning.scaling != "counts"
    _check_signal(signal, modality, conditioning, acceleration)
    values = signal.values[: int(np.ceil(n_epochs * EPOCH_SECONDS * signal.rate))]
    if not np.isfinite(_extremes(values)).all() and np.isinf(values).any():
        raise InvalidSignalError(
            f"{modality.name!r} has {int(np.isinf(values).sum())} infinite values; accepted are "
            "finite numbers, and NaN for gaps. Replace them with np.nan."
        )
    values, rate = to_canonical_unit(values, signal.rate, signal.unit, modality, acceleration)
    present = _find_present(values, modality, conditioning)
    if not present.any():
        return values, rate, np.zeros(n_epochs, dtype=bool)
    valid = _share_present(present, rate, n_epochs) >= _MIN_SHARE_OF_EPOCH
    values = bridge_gaps(values, present)
    if conditioning.scaling == "robust":
        valid = _find_moving(values, present, rate, valid, modality, signal.unit)
    elif values.min() == values.max():
        valid = np.zeros(n_epochs, dtype=bool)
    return values, rate, valid


def _fill(
    condition_first: Callable[[], ConditionedSignal | None], recording: Recording,
    conditioning: Conditioning, name: str,
) -> ConditionedSignal | None:  # fmt: skip
    """A modality with its missing epochs from further derivations, each scaled by its own night."""
    found: ConditionedSignal | None = None
    problem = None
    for index in range(len(recording.derivations[name])):
        try:
            other = (
                condition_derivation(recording, name, index, conditioning)
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


def _check_signal(
    signal: Signal, modality: Modality, conditioning: Conditioning, acceleration: bool
) -> None:
    if acceleration and signal.unit != "g":
        raise InvalidSignalError(
            f"'actigraphy' is in {signal.unit}, this checkpoint takes the vector magnitude of "
            "acceleration, which cannot be made from that. Give it with "
            "units={'actigraphy': 'g'}, or drop it with recording.without('actigraphy')."
        )
    if conditioning.min_rate is not None and signal.rate < conditioning.min_rate:
        raise InvalidSignalError(
            f"{modality.name!r} has rate {signal.rate:g} Hz, this checkpoint needs at least "
            f"{conditioning.min_rate:g} Hz. Drop it with recording.without({modality.name!r})."
        )


def _extremes(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value; NaN if one is, or if there are none."""
    return (values.min(), values.max()) if len(values) else (np.nan, np.nan)


def _find_present(values: np.ndarray, modality: Modality, conditioning: Conditioning) -> np.ndarray:
    low, high = conditioning.limits
    low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
    smallest, largest = _extremes(values)
    if np.isfinite([smallest, largest]).all() and low <= smallest and largest <= high:
        return np.ones(len(values), dtype=bool)
    present = np.isfinite(values)
    if (low, high) == (-np.inf, np.inf) or not present.any():
        return present
    with np.errstate(invalid="ignore"):
        within = (values >= low) & (values <= high)
    if not within.any() and np.ptp(values[present]) > 0:
        middle = float(np.median(values[present]))
        raise InvalidSignalError(
            f"{modality.name!r} has a median of {middle:g} and no value between {low:g} and "
            f"{high:g} {modality.unit}; the unit must be another. Accepted units: "
            f"{', '.join(modality.units)}; pass units={{{modality.name!r}: ...}}."
        )
    return within


def _share_present(present: np.ndarray, rate: float, n_epochs: int) -> np.ndarray:
    """Share of each epoch's time that has samples; one sample may span several epochs."""
    edges = np.minimum(np.arange(n_epochs + 1) * (EPOCH_SECONDS * rate), len(present))
    whole = edges.astype(np.int64)
    # gaps are few as a rule, so their indices cost less than a running sum over the night
    counts = whole - np.searchsorted(np.flatnonzero(~present), whole)
    inside = np.minimum(whole, len(present) - 1)
    part = (edges - whole) * present[inside]
    share = np.diff(counts + part) / (EPOCH_SECONDS * rate)
    return share + _ROUNDING


def _find_moving(
    values: np.ndarray, present: np.ndarray, rate: float, valid: np.ndarray, modality: Modality,
    unit: str,
) -> np.ndarray:  # fmt: skip
    """Which valid epochs hold a waveform that moves; a sensor that is off reads a constant."""
    starts = np.round(np.arange(len(valid)) * EPOCH_SECONDS * rate).astype(np.int64)
    starts = starts[starts < len(values)]
    ranges = np.zeros(len(valid), dtype=np.float32)
    largest, smallest = (f.reduceat(values, starts) for f in (np.maximum, np.minimum))
    ranges[: len(starts)] = largest - smallest
    moving = valid & (ranges > 0)
    if not moving.any():
        return moving
    step = max(1, len(values) // _SAMPLES_FOR_QUANTILES)
    epoch = (np.arange(0, len(values), step) / (EPOCH_SECONDS * rate)).astype(np.int64)
    sampled = present[::step] & moving[np.minimum(epoch, len(valid) - 1)]
    iqr = np.subtract(*np.percentile(values[::step][sampled], [75, 25]))
    check_size(float(iqr), modality, unit)
    return moving & (ranges > _FLAT_SHARE_OF_SPREAD * iqr)


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
            step = max(1, int(valid.sum()) * epochs.shape[1] // _SAMPLES_FOR_QUANTILES)
            sample = (epochs if valid.all() else epochs[valid]).reshape(-1)[::step]
            low, center, high = np.percentile(sample, [25, 50, 75])
            scale = max((high - low) / _IQR_OF_STANDARD_NORMAL, np.finfo(np.float32).tiny * 1e6)
        scaled = np.subtract(epochs, np.float32(center), out=epochs)
        scaled *= np.float32(1 / scale)
    np.clip(scaled, -conditioning.clip, conditioning.clip, out=scaled)
    return scaled.astype(np.float32, copy=False)


def check_size(iqr: float, modality: Modality, stated: str = "uV") -> None:
    """Refuse a voltage whose interquartile range over the night no electrode gives.

    The error names the likeliest unit of samples that were taken to be in the ``stated`` one.
    """
    if modality.plausible is None:
        return
    low, high = modality.plausible
    if 0 < iqr < low or iqr > high:
        as_unit = {unit: iqr * f / MICROVOLTS[stated] for unit, f in MICROVOLTS.items()}
        units = [unit for unit, size in as_unit.items() if low <= size <= high]
        # an ECG of 0.04 is in mV, though one of 40 mV would be accepted as well
        units.sort(key=lambda unit: abs(np.log(as_unit[unit] / _USUAL_MICROVOLTS)))
        hint = (
            f'It looks like {units[0]}: pass units={{"{modality.name}": "{units[0]}"}}.'
            if units
            else f'Check the gain, or pass units={{"{modality.name}": ...}}, one of '
            f"{', '.join(modality.units)}."
        )
        raise InvalidSignalError(
            f"{modality.name!r} has an interquartile range of {iqr:.3g} {modality.unit}; accepted "
            f"is {low:g} to {high:g} {modality.unit}. {hint}"
        )
