# SPDX-License-Identifier: BSD-3-Clause
"""Hand-crafted features of nights: what an encoder has to beat.

Each function takes recordings and gives one array of shape (n_epochs, n_features) per recording;
NaN where the sensors give nothing. Heart rates are relative to the night's median, as subjects
differ more than stages do.

Inter-beat intervals: heart-rate variability in time (SDNN, RMSSD; Task Force 1996) and in bands of
frequency over five minutes, and the cyclic variation of heart rate with apneas (Guilleminault et
al. 1984). EEG, EOG and EMG: log power and relative power in bands, spectral edge, entropy, Hjorth's
parameters (1970), amplitude and kurtosis. Each also against its night's median, with rolling
context and shifted copies, and the time of night.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d
from scipy.signal import spectrogram, welch

from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Recording, Signal, get_modality
from sleep2vec_sklearn.recordings.sources import to_canonical_unit

SHORT_WINDOWS = (5, 11)
LONG_WINDOWS = (3, 5, 11, 21, 41, 81)
LONG_SHIFTS = (-20, -10, -5, -2, -1, 1, 2, 5, 10, 20)


def hand_crafted_short(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Activity, heart rate, their means over 2.5 and 5.5 minutes, and the time of night."""
    return [short_table(recording).to_numpy() for recording in recordings]


def hand_crafted_long(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Levels and variability over 1.5 to 40 minutes, shifted copies, and the time of night."""
    return [_long(recording).to_numpy() for recording in recordings]


def short_table(recording: Recording) -> pd.DataFrame:
    """One row per epoch of :func:`hand_crafted_short`, columns by name."""
    epochs = epoch_series(recording)
    columns = {name: epochs[name] for name in ("activity", "heart_rate", "heart_rate_sd")}
    for width in SHORT_WINDOWS:
        columns.update(_rolling(epochs[["activity", "heart_rate"]], width, ("mean",)))
    return pd.DataFrame({**columns, **time_of_night(len(epochs))})


def _long(recording: Recording) -> pd.DataFrame:
    epochs = epoch_series(recording)
    columns = {name: epochs[name] for name in epochs}
    smooth = epochs.rolling(3, center=True, min_periods=1).mean()
    for shift in LONG_SHIFTS:
        shifted = smooth[["activity", "heart_rate"]].shift(shift).bfill().ffill()
        columns.update({f"{name}_shift{shift}": shifted[name] for name in shifted})
    for width in LONG_WINDOWS:
        columns.update(_rolling(epochs, width, ("mean", "std")))
    return pd.DataFrame({**columns, **time_of_night(len(epochs))})


def epoch_series(recording: Recording) -> pd.DataFrame:
    """Per epoch: log activity, heart rate against the night's median, log of its SD and range."""
    signals = recording.read(["ibi", "actigraphy"])
    n = recording.n_epochs
    beats = _as_epochs(signals.get("ibi"), "ibi", n)
    heart_rate = pd.DataFrame(60.0 / beats).T
    level = heart_rate.mean()
    counts = pd.DataFrame(_as_epochs(signals.get("actigraphy"), "actigraphy", n)).T
    return pd.DataFrame(
        {
            "activity": np.log1p(counts.mean() * EPOCH_SECONDS),
            "heart_rate": level - level.median(),
            "heart_rate_sd": np.log(heart_rate.std() + 0.3),
            "heart_rate_change": level.diff().abs(),
        }
    )


def samples_by_epoch(recording: Recording, modality: str) -> np.ndarray:
    """Samples of one sensor in its canonical unit, (n_epochs, samples per epoch); NaN is a gap."""
    signal = recording.read([modality])[modality]
    return _as_epochs(signal, modality, recording.n_epochs)


def _as_epochs(signal: Signal | None, name: str, n_epochs: int) -> np.ndarray:
    if signal is None:
        return np.full((n_epochs, 1), np.nan)
    samples, rate = to_canonical_unit(signal.values, signal.rate, signal.unit, get_modality(name))
    width = round(rate * EPOCH_SECONDS)
    values = np.full(n_epochs * width, np.nan)
    used = min(len(values), len(samples))
    values[:used] = samples[:used]
    return values.reshape(n_epochs, width)


def _rolling(epochs: pd.DataFrame, width: int, statistics: Sequence[str]) -> dict[str, pd.Series]:
    window = epochs.rolling(width, center=True, min_periods=1)
    tables = {statistic: window.agg(statistic) for statistic in statistics}
    return {
        f"{name}_{statistic}{width}": table[name].fillna(0.0 if statistic == "std" else np.nan)
        for statistic, table in tables.items()
        for name in table
    }


def time_of_night(n_epochs: int) -> dict[str, np.ndarray]:
    """Hours since the start in several shapes, by name."""
    hours = np.arange(n_epochs) * EPOCH_SECONDS / 3600
    return {
        "hours": hours, "hours_squared": hours**2, "first_hour": np.exp(-hours),
        "share_of_night": np.arange(n_epochs) / n_epochs,
    }  # fmt: skip


HRV_BANDS = {
    "very_low": (0.003, 0.01), "cyclic": (0.01, 0.04), "low": (0.04, 0.15), "high": (0.15, 0.4),
}  # fmt: skip
SPECTRUM_SECONDS = (120, 300)
HRV_CONTEXT = (5, 11, 21, 41, 81)
NEIGHBOURS = (-4, -2, -1, 1, 2, 4)


def hand_crafted_heart(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Levels over 1.5 to 40 minutes, variability in time and frequency, cyclic variation."""
    long = hand_crafted_long(recordings)
    tables = [_with_hrv_context(variability(recording)) for recording in recordings]
    return [np.column_stack(pair) for pair in zip(long, tables, strict=True)]


def variability(recording: Recording) -> pd.DataFrame:
    """Per epoch: logs of SDNN and RMSSD, share of large steps, log powers, and their shares."""
    epochs = samples_by_epoch(recording, "ibi")
    rate = epochs.shape[1] / EPOCH_SECONDS
    beats = pd.DataFrame(epochs).T
    second = max(round(rate), 1)
    steps = beats.iloc[::second].diff()
    columns = {
        "sdnn": np.log(beats.std() + 1e-3), "rmssd": np.log(np.sqrt((steps**2).mean()) + 1e-3),
        "large_steps": (steps.abs() > 0.05).mean(),
        "range": np.log(beats.max() - beats.min() + 1e-3), "skewness": beats.skew(),
    }  # fmt: skip
    series = epochs.reshape(-1)
    for seconds in SPECTRUM_SECONDS:
        columns.update(_powers(series, rate, seconds, len(epochs)))
    return pd.DataFrame(columns)


def _powers(series: np.ndarray, rate: float, seconds: int, n_epochs: int) -> dict:
    """Log power and share of each band in the window around each epoch, and the cyclic peak."""
    there = np.isfinite(series)
    if not there.any():
        names = [f"{kind}_{band}_{seconds}" for kind in ("log", "share") for band in HRV_BANDS]
        return dict.fromkeys([*names, f"peak_{seconds}"], np.full(n_epochs, np.nan))
    filled = np.interp(np.arange(len(series)), np.flatnonzero(there), series[there])
    centred = filled - uniform_filter1d(filled, round(2 * SPECTRUM_SECONDS[-1] * rate))
    width, hop = round(seconds * rate), round(EPOCH_SECONDS * rate)
    padded = np.pad(centred, (width - hop) // 2 + hop, mode="reflect")[hop:]
    frequency, _, power = spectrogram(padded, rate, "hann", width, width - hop, mode="psd")
    power = power[:, :n_epochs]
    total = power[(frequency > 0.003) & (frequency <= 0.4)].sum(axis=0) + 1e-9
    columns = {}
    for band, (low, high) in HRV_BANDS.items():
        inside = power[(frequency > low) & (frequency <= high)]
        if len(inside):
            columns[f"log_{band}_{seconds}"] = np.log(inside.sum(axis=0) + 1e-7)
            columns[f"share_{band}_{seconds}"] = inside.sum(axis=0) / total
    cyclic = power[(frequency > HRV_BANDS["cyclic"][0]) & (frequency <= HRV_BANDS["cyclic"][1])]
    columns[f"peak_{seconds}"] = cyclic.max(axis=0) / total
    return columns


def _with_hrv_context(table: pd.DataFrame) -> np.ndarray:
    """The table, against its night's median, with rolling means, spreads and shifted copies."""
    level = table - table.median()
    parts = [table, level]
    for width in HRV_CONTEXT:
        parts.append(level.rolling(width, center=True, min_periods=1).mean())
    parts.append(level.rolling(HRV_CONTEXT[1], center=True, min_periods=1).std().fillna(0.0))
    cyclic = level[[name for name in level if "cyclic" in name or "peak" in name]]
    parts += [cyclic.shift(shift).bfill().ffill() for shift in NEIGHBOURS]
    return np.column_stack([part.to_numpy(dtype=np.float64) for part in parts])


EEG_BANDS = {
    "slow": (0.3, 1.5), "delta": (1.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0),
    "sigma": (12.0, 16.0), "beta": (16.0, 30.0), "gamma": (30.0, 45.0),
}  # fmt: skip
WINDOW_SECONDS = 4
EEG_CONTEXT = (3, 7, 15, 31)
SHIFTS = (-4, -2, -1, 1, 2, 4)
SHIFTED = ("log_slow", "log_delta", "log_sigma", "log_beta", "edge", "mobility")


def hand_crafted_neural(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Spectral features of every fast sensor of a recording, with context and time of night."""
    blocks = []
    for recording in recordings:
        tables = [
            _with_eeg_context(spectral_table(recording, name)) for name in recording.modalities
        ]
        hours = pd.DataFrame(time_of_night(recording.n_epochs))
        blocks.append(np.column_stack([*tables, hours.to_numpy()]))
    return blocks


def spectral_table(recording: Recording, modality: str) -> pd.DataFrame:
    """One row per epoch; NaN where half of the epoch is missing or nothing moves."""
    epochs = samples_by_epoch(recording, modality)
    rate = epochs.shape[1] / EPOCH_SECONDS
    usable = np.isfinite(epochs).mean(axis=1) > 0.5
    usable[usable] = np.nanstd(epochs[usable], axis=1) > 0
    rows = epochs[usable].astype(np.float64)
    level = np.nanmean(rows, axis=1, keepdims=True)
    rows = np.where(np.isfinite(rows), rows - level, 0.0)
    unit = np.median(np.abs(rows)) or 1.0
    table = pd.DataFrame(
        {**_spectrum(rows / unit, rate), **_hjorth(rows / unit)}, index=np.flatnonzero(usable)
    )
    return table.reindex(range(len(epochs)))


def _spectrum(rows: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    frequency, power = welch(rows, rate, nperseg=round(WINDOW_SECONDS * rate))
    inside = (frequency >= 0.3) & (frequency <= min(45.0, 0.45 * rate))
    frequency, power = frequency[inside], power[:, inside] + 1e-12
    total = power.sum(axis=1)
    columns = {}
    for band, (low, high) in EEG_BANDS.items():
        mine = (frequency >= low) & (frequency < high)
        if mine.any():
            columns[f"log_{band}"] = np.log(power[:, mine].sum(axis=1))
            columns[f"share_{band}"] = power[:, mine].sum(axis=1) / total
    share = power / total[:, None]
    cumulative = share.cumsum(axis=1)
    columns["edge"] = frequency[(cumulative < 0.95).sum(axis=1).clip(max=len(frequency) - 1)]
    columns["median_frequency"] = frequency[(cumulative < 0.5).sum(axis=1)]
    columns["entropy"] = -(share * np.log(share)).sum(axis=1) / np.log(len(frequency))
    columns["delta_to_beta"] = columns["log_delta"] - columns["log_beta"]
    return columns


def _hjorth(rows: np.ndarray) -> dict[str, np.ndarray]:
    first = np.diff(rows, axis=1)
    second = np.diff(first, axis=1)
    spread, of_first, of_second = (part.std(axis=1) + 1e-12 for part in (rows, first, second))
    mobility = of_first / spread
    return {
        "activity": np.log(spread),
        "mobility": mobility,
        "complexity": of_second / of_first / mobility,
        "kurtosis": np.log((rows**4).mean(axis=1) / spread**4 + 1e-12),
        "largest": np.log(np.abs(rows).max(axis=1) + 1e-12),
    }


def _with_eeg_context(table: pd.DataFrame) -> np.ndarray:
    level = table - table.median()
    parts = [table, level]
    parts += [level.rolling(w, center=True, min_periods=1).mean() for w in EEG_CONTEXT]
    parts.append(level.rolling(EEG_CONTEXT[1], center=True, min_periods=2).std().fillna(0.0))
    chosen = level[[name for name in SHIFTED if name in level]]
    parts += [chosen.shift(shift).bfill().ffill() for shift in SHIFTS]
    return np.column_stack([part.to_numpy(dtype=np.float64) for part in parts])
