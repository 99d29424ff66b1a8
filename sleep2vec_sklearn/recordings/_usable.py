# SPDX-License-Identifier: BSD-3-Clause
"""Which samples of a signal can be used: its unit, size and gaps, and where its sensor is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import InvalidSignalError
from ._resampling import blocks, bridge_gaps, find_quantile
from .modality import EPOCH_SECONDS, Conditioning, Modality, get_modality
from .sources import MICROVOLTS, Signal, to_canonical_unit

_MIN_SHARE_OF_EPOCH = 0.5
_FLAT_SHARE_OF_SPREAD = 1e-4
_COARSE_RATE = 32.0
_USUAL_MICROVOLTS = 30.0
_ROUNDING = 1e-9
SAMPLES_FOR_QUANTILES = 200_000


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
    lowest, highest = _epoch_extremes(values, signal.rate, n_epochs)
    if not np.isfinite([lowest, highest]).all() and np.isinf(values).any():
        raise InvalidSignalError(
            f"{modality.name!r} has {int(np.isinf(values).sum())} infinite values; accepted are "
            "finite numbers, and NaN for gaps. Replace them with np.nan."
        )
    found = values
    values, rate = to_canonical_unit(values, signal.rate, signal.unit, modality, acceleration)
    if values is not found:
        lowest, highest = _epoch_extremes(values, rate, n_epochs)
    present = _find_present(values, lowest, highest, modality, conditioning)
    if not present.any():
        return values, rate, np.zeros(n_epochs, dtype=bool)
    valid = _share_present(present, rate, n_epochs) >= _MIN_SHARE_OF_EPOCH
    found, values = values, bridge_gaps(values, present)
    if values is not found:
        lowest, highest = _epoch_extremes(values, rate, n_epochs)
    if conditioning.scaling == "robust":
        ranges = np.zeros(n_epochs, dtype=np.float32)
        ranges[: len(lowest)] = highest - lowest
        valid = _find_moving(values, ranges, present, rate, valid, modality, signal.unit)
    elif lowest.min() == highest.max():
        valid = np.zeros(n_epochs, dtype=bool)
    return values, rate, valid


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


def _epoch_extremes(
    values: np.ndarray, rate: float, n_epochs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each epoch that has samples; NaN if one is."""
    starts = np.round(np.arange(n_epochs) * EPOCH_SECONDS * rate).astype(np.int64)
    starts = starts[starts < len(values)]
    lowest, highest = np.empty((2, len(starts)), values.dtype)
    for block in blocks(len(starts), max(int(2000 / rate), 1)):
        first = starts[block.start]
        part = values[first : starts[block.stop] if block.stop < len(starts) else None]
        lowest[block] = np.minimum.reduceat(part, starts[block] - first)
        highest[block] = np.maximum.reduceat(part, starts[block] - first)
    return lowest, highest


def _find_present(
    values: np.ndarray, lowest: np.ndarray, highest: np.ndarray, modality: Modality,
    conditioning: Conditioning,
) -> np.ndarray:  # fmt: skip
    low, high = conditioning.limits
    low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
    if (np.isfinite([lowest, highest]) & (lowest >= low) & (highest <= high)).all():
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
    missing = np.zeros(0, np.int64) if present.all() else np.flatnonzero(~present)
    counts = whole - np.searchsorted(missing, whole)
    inside = np.minimum(whole, len(present) - 1)
    part = (edges - whole) * present[inside]
    share = np.diff(counts + part) / (EPOCH_SECONDS * rate)
    return share + _ROUNDING


def _find_moving(
    values: np.ndarray, ranges: np.ndarray, present: np.ndarray, rate: float, valid: np.ndarray,
    modality: Modality, unit: str,
) -> np.ndarray:  # fmt: skip
    """Which valid epochs hold a waveform that moves; a sensor that is off reads a constant."""
    moving = valid & (ranges > 0)
    if not moving.any():
        return moving
    step = max(1, len(values) // SAMPLES_FOR_QUANTILES)
    sampled = present[::step]
    if not moving.all():
        epoch = (np.arange(0, len(values), step) / (EPOCH_SECONDS * rate)).astype(np.int64)
        sampled = sampled & moving[np.minimum(epoch, len(valid) - 1)]
    sample = values[::step][sampled]
    iqr = find_quantile(sample, 0.75) - find_quantile(sample, 0.25)
    check_size(float(iqr), modality, unit)
    return moving & (ranges > _FLAT_SHARE_OF_SPREAD * iqr)


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
