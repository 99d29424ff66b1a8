# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights of a polysomnogram, sensors that they lose, and an encoder's rows of them.

A night is simulated once: every sensor's tokens go to a folder, from which the rows of any subset
of sensors are made without reading a signal again.

For staging, the features of each sensor are taken relative to the night's median, as gains and
people differ more than stages do, with their means and spreads over the minutes around and the
time of night. A night is summarised by mean, spread and tails of the features themselves.

Spectra and amplitudes are logarithms, so a gain is a shift.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy.signal import butter, find_peaks, sosfiltfilt

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
from sleep2vec_sklearn.model.checkpoint import Checkpoint
from sleep2vec_sklearn.recordings import (
    EPOCH_SECONDS,
    Cohort,
    Recording,
    Signal,
    SignalLayout,
    get_modality,
)
from sleep2vec_sklearn.recordings.sources import to_canonical_unit

from .hand_crafted import time_of_night

WIDTHS = {
    "eeg": 15, "eog": 15, "emg": 5, "ecg": 6, "airflow": 9, "effort": 9, "spo2": 5, "ibi": 6,
    "resp": 9,
}  # fmt: skip
MODALITIES = tuple(WIDTHS)
SITES = 6
SEED = 20261123
_NIGHTS_PER_JOB = 4


def simulated_psg(
    n_nights: int, modalities: Sequence[str] = MODALITIES, *, hours: float = 8.0
) -> Cohort:
    """One night each of people, and from laboratories, that no encoder was pretrained on."""
    return make_sleep_cohort(
        n_nights, hours=hours, n_sites=SITES, site_kinds="laboratory", modalities=modalities,
        missing=0.0, random_state=SEED,
    )  # fmt: skip


class _OtherSamples:
    """A source that gives the samples of a recording in another way."""

    def __init__(self, recording: Recording):
        self.recording = recording

    @property
    def layout(self) -> dict[str, SignalLayout]:
        night = self.recording
        return {
            name: SignalLayout(rate, night.units[name], round(night.duration * rate))
            for name, rate in night.rates.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        return self.recording.read(names)

    def signal_fingerprint(self, name: str) -> str:
        return self.recording.signal_fingerprint(name)

    def fingerprint(self) -> str:
        parts = [self.signal_fingerprint(name) for name in self.recording.modalities]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def as_recording(self) -> Recording:
        """The night with these samples."""
        night = self.recording
        return Recording.from_source(
            self, subject=night.subject, metadata=night.metadata, stages=night.stages,
            duration=night.duration, id=night.id,
        )  # fmt: skip


class _Kept(_OtherSamples):
    """The samples themselves, each sensor read once."""

    def __init__(self, recording: Recording):
        super().__init__(recording)
        self._signals = recording.read()

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        return {name: self._signals[name] for name in names}


class _Interrupted(_OtherSamples):
    """The samples with gaps: first and last epoch by sensor."""

    def __init__(self, recording: Recording, gaps: Mapping[str, tuple[int, int]]):
        super().__init__(recording)
        self.gaps = dict(gaps)

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        signals = self.recording.read(names)
        for name in set(names) & set(self.gaps):
            signal = signals[name]
            values = signal.values.astype(np.float32)
            first, last = (round(edge * EPOCH_SECONDS * signal.rate) for edge in self.gaps[name])
            values[first:last] = np.nan
            signals[name] = Signal(values, signal.rate, signal.unit)
        return signals

    def signal_fingerprint(self, name: str) -> str:
        fingerprint = self.recording.signal_fingerprint(name)
        if name not in self.gaps:
            return fingerprint
        return hashlib.sha256(f"{fingerprint} without {self.gaps[name]}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Loss:
    """How sensors are lost at random, the same way at every call."""

    probability: float
    share: float = 1.0

    def __str__(self) -> str:
        part = "the night" if self.share == 1 else f"{self.share:.0%} of the night"
        return f"each sensor lost for {part} with p = {self.probability:g}"

    def apply(self, recording: Recording) -> Recording:
        """The night with its losses."""
        names = recording.modalities
        seed = int(recording.signal_fingerprint(names[0])[:12], 16)
        rng = np.random.default_rng([seed, round(1000 * self.probability)])
        hit = rng.random(len(names)) < self.probability
        hit[rng.integers(len(names))] = False
        lost = [name for name, is_hit in zip(names, hit, strict=True) if is_hit]
        if self.share == 1:
            return recording.without(*lost) if lost else recording
        length = round(recording.n_epochs * self.share)
        firsts = rng.integers(0, recording.n_epochs - length + 1, size=len(lost))
        gaps = {n: (int(k), int(k) + length) for n, k in zip(lost, firsts, strict=True)}
        return _Interrupted(recording, gaps).as_recording()


@dataclass(frozen=True, slots=True)
class EncoderRows:
    """Rows of a frozen encoder, as :class:`HandCrafted` gives those of hand-crafted features."""

    name: str
    checkpoint: Checkpoint
    fusion: str
    cache: str

    def prepare(self, recordings: Sequence[Recording]) -> dict:
        """Bring the tokens of every sensor of these nights into the cache."""
        self.epochs(recordings, recordings[0].modalities)
        return {}

    def epochs(self, recordings: Sequence[Recording], modalities: Sequence[str]) -> np.ndarray:
        """Rows of all epochs, float32."""
        return self._transformer(modalities).fit_transform(EpochSequence(recordings))

    def nights(self, recordings: Sequence[Recording], modalities: Sequence[str]) -> np.ndarray:
        """A row per night: mean and spread over its epochs."""
        return self._transformer(modalities, pooling="mean_std").fit_transform(list(recordings))

    def _transformer(self, modalities: Sequence[str], **parameters) -> Sleep2VecTransformer:
        return Sleep2VecTransformer(
            self.checkpoint, modalities=list(modalities), fusion=self.fusion, cache=self.cache,
            **parameters,
        )  # fmt: skip


def prepare(
    cohort: Cohort, encoders: Sequence[EncoderRows], losses: Sequence[Loss], n_jobs: int
) -> HandCrafted:
    """Simulate every night once, encode it, and make its hand-crafted features."""
    starts = range(0, len(cohort), _NIGHTS_PER_JOB)
    jobs = (cohort[start : start + _NIGHTS_PER_JOB] for start in starts)
    tables = Parallel(n_jobs=n_jobs)(
        delayed(_prepare_nights)(list(nights), encoders, losses) for nights in jobs
    )
    return HandCrafted({key: value for part in tables for key, value in part.items()})


def _prepare_nights(nights, encoders, losses) -> dict:
    features = HandCrafted()
    for night in nights:
        kept = _Kept(night).as_recording()
        variants = [kept, *(loss.apply(kept) for loss in losses if loss.share < 1)]
        for rows in (*encoders, features):
            for variant in variants:
                rows.prepare([variant])
    return features.tables


CONTEXTS = (5, 21)


class HandCrafted:
    """The feature set; a sensor of a night is worked on once."""

    name = "hand-crafted"

    def __init__(self, tables: dict | None = None):
        self.tables = {} if tables is None else tables

    def prepare(self, recordings: Sequence[Recording]) -> dict:
        """Work on every sensor of these nights; returns the tables."""
        for recording in recordings:
            for name in recording.modalities:
                self._table(recording, name)
        return self.tables

    def epochs(self, recordings: Sequence[Recording], modalities: Sequence[str]) -> np.ndarray:
        """Rows of all epochs, float32; a sensor that a night lacks is NaN."""
        return np.concatenate([self._of_night(night, modalities) for night in recordings])

    def nights(self, recordings: Sequence[Recording], modalities: Sequence[str]) -> np.ndarray:
        """A row per night: mean, spread, 5 % and 95 % quantile of each feature."""
        return np.stack([_summary(self._raw(night, modalities)) for night in recordings])

    def _of_night(self, recording: Recording, modalities: Sequence[str]) -> np.ndarray:
        values = self._raw(recording, modalities)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a sensor that is off all night
            values = values - np.nanmedian(values, axis=0)
        blocks = [values]
        for width in CONTEXTS:
            blocks += _rolling(values, width)
        times = np.stack([*time_of_night(len(values)).values()], axis=1)
        return np.hstack([*blocks, times]).astype(np.float32)

    def _raw(self, recording: Recording, modalities: Sequence[str]) -> np.ndarray:
        blocks = [
            self._table(recording, name)
            if name in recording.modalities
            else np.full((recording.n_epochs, WIDTHS[name]), np.nan)
            for name in modalities
        ]
        return np.hstack(blocks)

    def _table(self, recording: Recording, name: str) -> np.ndarray:
        key = (recording.signal_fingerprint(name), name)
        if key not in self.tables:
            signal = recording.read([name])[name]
            self.tables[key] = epoch_features(signal, name, recording.n_epochs)
        return self.tables[key]


def _rolling(values: np.ndarray, width: int) -> list[np.ndarray]:
    """Mean and spread over ``width`` epochs around each; gaps do not count."""
    present = np.isfinite(values)
    filled = np.where(present, values, 0)
    count = _windowed_sum(present.astype(float), width)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _windowed_sum(filled, width) / count
        spread = np.sqrt(np.maximum(_windowed_sum(filled**2, width) / count - mean**2, 0))
    return [mean, spread]


def _windowed_sum(values: np.ndarray, width: int) -> np.ndarray:
    total = np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    places = np.arange(len(values))
    last = np.minimum(places + width // 2 + 1, len(values))
    return total[last] - total[np.maximum(places - width // 2, 0)]


def _summary(values: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a sensor that is off all night
        tails = np.nanquantile(values, [0.05, 0.95], axis=0)
        return np.concatenate([np.nanmean(values, axis=0), np.nanstd(values, axis=0), *tails])


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
    "eeg": _brain, "eog": _brain, "emg": _muscle, "ecg": _electrocardiogram, "airflow": _breathing,
    "effort": _breathing, "spo2": _saturation, "ibi": _beats, "resp": _breathing,
}  # fmt: skip


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
