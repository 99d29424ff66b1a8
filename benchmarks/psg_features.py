# SPDX-License-Identifier: BSD-3-Clause
"""Hand-made features of one sensor of a polysomnogram, some numbers an epoch, NaN where it is off.

Spectra and amplitudes are logarithms, so a gain is a shift.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, find_peaks, sosfiltfilt

from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Signal, get_modality
from sleep2vec_sklearn.recordings._conditioning import to_canonical_unit

__all__ = ["WIDTHS", "epoch_features"]

BRAIN_BANDS = ((0.5, 2), (2, 4), (4, 8), (8, 12), (12, 15.5), (15.5, 30))
MUSCLE_BANDS = ((10, 20), (20, 35), (35, 48))
BREATH_BANDS = ((0.06, 0.14), (0.14, 0.24), (0.24, 0.34), (0.34, 0.6))
HEART_BANDS = ((0.03, 0.15), (0.15, 0.4))
PART_SECONDS = 4
_TINY = 1e-12


def epoch_features(signal: Signal, name: str, n_epochs: int) -> np.ndarray:
    """Features of one sensor, shape (n_epochs, WIDTHS[name]); NaN where it is off."""
    values, rate = to_canonical_unit(signal.values, signal.rate, signal.unit, get_modality(name))
    width = round(rate * EPOCH_SECONDS)
    epochs = np.full((n_epochs, width), np.nan, dtype=np.float32)
    used = min(epochs.size, len(values))
    epochs.reshape(-1)[:used] = values[:used]
    missing = np.isnan(epochs)
    off = missing.mean(axis=1) > 0.5
    if missing.any():
        level = np.nanmedian(epochs) if not missing.all() else 0.0
        epochs[missing] = level
    features = _OF_SENSOR[name](epochs, rate)
    features[off] = np.nan
    return features.astype(np.float32)


def _brain(epochs: np.ndarray, rate: float) -> np.ndarray:
    frequency, density = _spectrum(epochs, rate, PART_SECONDS)
    used = (frequency >= 0.5) & (frequency < 30)
    share = density[:, used] / (density[:, used].sum(axis=1, keepdims=True) + _TINY)
    edge = frequency[used][(np.cumsum(share, axis=1) < 0.95).sum(axis=1).clip(max=used.sum() - 1)]
    entropy = -(share * np.log(share + _TINY)).sum(axis=1)
    power = _band_powers(frequency, density, BRAIN_BANDS)
    relative = power - np.log(density[:, used].mean(axis=1, keepdims=True) + _TINY)
    return np.column_stack([power, relative, edge, entropy, _log_spread(epochs)])


def _muscle(epochs: np.ndarray, rate: float) -> np.ndarray:
    frequency, density = _spectrum(epochs, rate, 2)
    parts = _parts(epochs, rate, 1).std(axis=2)
    return np.column_stack(
        [
            _band_powers(frequency, density, MUSCLE_BANDS),
            np.log(parts.max(axis=1) + _TINY),
            np.log(parts.min(axis=1) + _TINY),
        ]
    )


def _breathing(epochs: np.ndarray, rate: float) -> np.ndarray:
    frequency, density = _spectrum(epochs, rate, EPOCH_SECONDS)
    used = (frequency >= 0.08) & (frequency < 0.6)
    share = density[:, used] / (density[:, used].sum(axis=1, keepdims=True) + _TINY)
    parts = np.log(_parts(epochs, rate, 5).std(axis=2) + _TINY)
    return np.column_stack(
        [
            _band_powers(frequency, density, BREATH_BANDS),
            share @ frequency[used],
            share.max(axis=1),
            parts.mean(axis=1),
            parts.std(axis=1),
            parts.min(axis=1),
        ]
    )


def _saturation(epochs: np.ndarray, rate: float) -> np.ndarray:
    low, high = epochs.min(axis=1), epochs.max(axis=1)
    change = epochs[:, -1] - epochs[:, 0]
    return np.column_stack([epochs.mean(axis=1), epochs.std(axis=1), low, high - low, change])


def _beats(epochs: np.ndarray, rate: float) -> np.ndarray:
    bpm = 60 / np.clip(epochs, 0.3, 2.5)
    frequency, density = _spectrum(bpm, rate, EPOCH_SECONDS)
    return np.column_stack(
        [
            bpm.mean(axis=1),
            np.log(bpm.std(axis=1) + 0.1),
            np.log(np.abs(np.diff(bpm, axis=1)).mean(axis=1) + 0.01),
            np.ptp(bpm, axis=1),
            _band_powers(frequency, density, HEART_BANDS),
        ]
    )


def _electrocardiogram(epochs: np.ndarray, rate: float) -> np.ndarray:
    """Of the R peaks: rate and variability; their heights, which follow breathing; the noise."""
    n_epochs, width = epochs.shape
    high = min(20.0, 0.45 * rate)
    sharp = np.abs(sosfiltfilt(butter(2, (6, high), "band", fs=rate, output="sos"), epochs.ravel()))
    height = np.quantile(sharp.reshape(n_epochs, width), 0.98, axis=1)
    peaks, _ = find_peaks(sharp, distance=max(round(0.33 * rate), 1))
    peaks = peaks[sharp[peaks] > 0.5 * height[peaks // width]]
    intervals = np.diff(peaks) / rate
    plausible = (intervals > 0.33) & (intervals < 2.0)
    epoch, heights = peaks[1:][plausible] // width, np.log(sharp[peaks[1:][plausible]] + _TINY)
    bpm = 60 / intervals[plausible]
    features = np.full((n_epochs, 6), np.nan)
    bounds = np.searchsorted(epoch, np.arange(n_epochs + 1))
    for k in np.flatnonzero(np.diff(bounds) >= 5):
        mine = slice(bounds[k], bounds[k + 1])
        features[k, 0] = np.median(bpm[mine])
        features[k, 1] = np.log(bpm[mine].std() + 0.1)
        features[k, 2] = np.log(np.abs(np.diff(bpm[mine])).mean() + 0.01)
        features[k, 3] = np.log(heights[mine].std() + 0.01)
    features[:, 4] = np.log(np.median(sharp.reshape(n_epochs, width), axis=1) + _TINY)
    features[:, 5] = np.log(height + _TINY)
    return features


_OF_SENSOR = {
    "eeg": _brain,
    "eog": _brain,
    "emg": _muscle,
    "ecg": _electrocardiogram,
    "airflow": _breathing,
    "effort": _breathing,
    "spo2": _saturation,
    "ibi": _beats,
    "resp": _breathing,
}
WIDTHS = {
    "eeg": 15,
    "eog": 15,
    "emg": 5,
    "ecg": 6,
    "airflow": 9,
    "effort": 9,
    "spo2": 5,
    "ibi": 6,
    "resp": 9,
}


def _parts(epochs: np.ndarray, rate: float, seconds: float) -> np.ndarray:
    """Shape (n_epochs, n_parts, samples); what is left over at the end is dropped."""
    width = min(max(round(rate * seconds), 1), epochs.shape[1])
    n_parts = epochs.shape[1] // width
    return epochs[:, : n_parts * width].reshape(len(epochs), n_parts, width)


def _spectrum(epochs: np.ndarray, rate: float, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, and the mean power density over parts of each epoch."""
    parts = _parts(epochs, rate, seconds)
    width = parts.shape[2]
    window = np.hanning(width).astype(np.float32)
    density = np.zeros((len(epochs), width // 2 + 1))
    for part in np.moveaxis(parts, 1, 0):
        centred = (part - part.mean(axis=1, keepdims=True)) * window
        density += np.abs(np.fft.rfft(centred, axis=1)) ** 2
    return np.fft.rfftfreq(width, 1 / rate), density / (parts.shape[1] * rate * (window**2).sum())


def _band_powers(frequency: np.ndarray, density: np.ndarray, bands) -> np.ndarray:
    inside = [(frequency >= low) & (frequency < high) for low, high in bands]
    return np.log(np.stack([density[:, band].mean(axis=1) for band in inside], axis=1) + _TINY)


def _log_spread(epochs: np.ndarray) -> np.ndarray:
    return np.log(epochs.std(axis=1) + _TINY)
