# SPDX-License-Identifier: BSD-3-Clause
"""The analysis window: the epochs of a recording that are its night.

It is the time between lights off and lights on, where they are known; else, of a recording past
twelve hours, its longest sleep-like stretch and half an hour on either side, twelve hours at most,
which is found without labels. (All twelve hours around it hold so much of the day that the kappa of
a stager on a day and a night of Sleep-EDF was .55 in place of .81.)

Sleep-like is what is calm by all sensors that tell: few activity counts, a slow heart, muscles and
eyes at rest, more slow than fast EEG. Each is brought to its own night's median and interquartile
range, their mean is smoothed over half an hour and cut halfway between its calm and its busy tenth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter1d

from .modality import EPOCH_SECONDS, get_modality
from .sources import Signal, to_canonical_unit

if TYPE_CHECKING:
    from .recording import Recording

FEWEST_EPOCHS = 20
LONGEST_EPOCHS = 12 * 3600 // EPOCH_SECONDS
_MARGIN_EPOCHS = 60
_SMOOTHED_EPOCHS = 60
_LONGEST_INTERRUPTION = 120
_SLOW, _FAST = (0.5, 4.0), (16.0, 30.0)  # Hz
_SMALLEST = 1e-12


def needs_signals(recording: Recording) -> bool:
    """Whether the analysis window has to be looked for in the signals."""
    return recording.n_epochs > LONGEST_EPOCHS and _lights_window(recording) is None


def find_window(recording: Recording, signals: Mapping[str, Signal]) -> tuple[int, int]:
    """First epoch of the analysis window, and the first one after it."""
    by_lights = _lights_window(recording)
    if by_lights is not None:
        return by_lights
    n = recording.n_epochs
    if n <= LONGEST_EPOCHS:
        return 0, n
    series = [_series(signal, name, n) for name, signal in signals.items() if name in _AROUSAL]
    known = [values for values in series if np.isfinite(values).sum() >= FEWEST_EPOCHS]
    if not known:
        return 0, n
    begin, end = _longest_calm(_combine(known))
    middle = (begin + end) // 2
    begin = max(begin - _MARGIN_EPOCHS, middle - LONGEST_EPOCHS // 2, 0)
    return begin, min(end + _MARGIN_EPOCHS, begin + LONGEST_EPOCHS, n)


def window_modalities(recording: Recording) -> list[str]:
    """Modalities that tell sleep from a day, of those that a recording has."""
    return [name for name in _AROUSAL if name in recording.modalities]


def _lights_window(recording: Recording) -> tuple[int, int] | None:
    off, on = recording.lights or (None, None)
    if off is None and on is None:
        return None
    n = recording.n_epochs
    first = 0 if off is None else int(np.clip(off // EPOCH_SECONDS, 0, n))
    last = n if on is None else int(np.clip(-(-on // EPOCH_SECONDS), 0, n))
    return (first, last) if last - first >= FEWEST_EPOCHS else None


def _series(signal: Signal, name: str, n_epochs: int) -> np.ndarray:
    """How awake a sensor looks in each epoch, float64 (n_epochs,); NaN where it is off."""
    modality = get_modality(name)
    values, rate = to_canonical_unit(signal.values, signal.rate, signal.unit, modality)
    width = round(rate * EPOCH_SECONDS)
    if width < 1:
        return np.full(n_epochs, np.nan)
    n_whole = min(len(values) // width, n_epochs)
    epochs = values[: n_whole * width].reshape(n_whole, width)
    measured = np.isfinite(epochs).mean(axis=1) > 0.5
    if modality.conditioning.scaling == "robust":
        # a waveform that does not move is of a sensor that is off, not calm
        measured &= np.fmax.reduce(epochs, axis=1) > np.fmin.reduce(epochs, axis=1)
    series = np.full(n_epochs, np.nan)
    if measured.any():
        used = epochs[measured]
        if not np.isfinite(used).all():
            used = np.where(np.isfinite(used), used, np.nanmean(used, axis=1, keepdims=True))
        series[np.flatnonzero(measured)] = _AROUSAL[name](used, rate)
    return series


def _log_mean(epochs: np.ndarray, rate: float) -> np.ndarray:
    return np.log1p(np.maximum(epochs.mean(axis=1), 0))


def _heart_rate(epochs: np.ndarray, rate: float) -> np.ndarray:
    return 60 / np.clip(epochs.mean(axis=1), 0.25, 3)


def _log_deviation(epochs: np.ndarray, rate: float) -> np.ndarray:
    return np.log(epochs.std(axis=1) + _SMALLEST)


def _fast_to_slow(epochs: np.ndarray, rate: float) -> np.ndarray:
    # a third of each epoch tells as much
    part = epochs[:, : max(epochs.shape[1] // 3, 1)]
    power = np.abs(np.fft.rfft(part - part.mean(axis=1, keepdims=True), axis=1)) ** 2
    frequency = np.fft.rfftfreq(part.shape[1], 1 / rate)
    fast, slow = (
        np.log(power[:, (frequency >= low) & (frequency < high)].sum(axis=1) + _SMALLEST)
        for low, high in (_FAST, _SLOW)
    )
    return fast - slow


_AROUSAL: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "actigraphy": _log_mean, "ibi": _heart_rate, "eeg": _fast_to_slow, "emg": _log_deviation,
    "eog": _log_deviation,
}  # fmt: skip


def _combine(series: list[np.ndarray]) -> np.ndarray:
    """Mean of the sensors, each in units of its own night, smoothed; (n_epochs,)."""
    total, count = np.zeros_like(series[0]), np.zeros_like(series[0])
    for values in series:
        low, middle, high = np.nanpercentile(values, [25, 50, 75])
        scaled = np.clip((values - middle) / max(high - low, _SMALLEST), -3, 3)
        total += np.nan_to_num(scaled)
        count += np.isfinite(values)
    mean = total / np.maximum(count, 1)
    # epochs without any sensor are no calm ones
    mean[count == 0] = mean.max()
    return uniform_filter1d(mean, _SMOOTHED_EPOCHS, mode="nearest")


def _longest_calm(arousal: np.ndarray) -> tuple[int, int]:
    """Begin and end of the longest calm stretch, over interruptions of up to an hour."""
    calm = arousal <= np.mean(np.percentile(arousal, [10, 90]))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], calm, [False]]).astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    breaks = np.flatnonzero(begins[1:] - ends[:-1] > _LONGEST_INTERRUPTION)
    begins = begins[np.concatenate([[0], breaks + 1])]
    ends = ends[np.concatenate([breaks, [len(ends) - 1]])]
    longest = int((ends - begins).argmax())
    return int(begins[longest]), int(ends[longest])
