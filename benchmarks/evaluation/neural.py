# SPDX-License-Identifier: BSD-3-Clause
"""Hand-made features of EEG, EOG and EMG: what a scorer's eye and a textbook would measure.

Per epoch and sensor: log power and relative power in bands, spectral edge, median frequency and
entropy, Hjorth's parameters (1970), amplitude and kurtosis; each also against its night's median,
with rolling context and shifted copies, and the time of night.

Where a set has no signal in epochs of some stages, the gaps tell of the labels, and an encoder can
see where they are. :func:`gaps_alone` shows what that is worth, and :func:`hand_made_beside_gaps`
what it is worth beside the signal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.signal import welch

from benchmarks.baselines import samples_by_epoch, time_of_night
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Recording

__all__ = ["gaps_alone", "hand_made_beside_gaps", "hand_made_neural", "spectral_table"]

BANDS = {
    "slow": (0.3, 1.5),
    "delta": (1.5, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 12.0),
    "sigma": (12.0, 16.0),
    "beta": (16.0, 30.0),
    "gamma": (30.0, 45.0),
}
WINDOW_SECONDS = 4
CONTEXT = (3, 7, 15, 31)
SHIFTS = (-4, -2, -1, 1, 2, 4)
SHIFTED = ("log_slow", "log_delta", "log_sigma", "log_beta", "edge", "mobility")
GAP_CONTEXT = (3, 5, 11, 21, 41, 81)
GAP_SHIFTS = (-20, -10, -5, -3, -2, -1, 1, 2, 3, 5, 10, 20)


def hand_made_neural(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Spectral features of every fast sensor of a recording, with context and time of night."""
    blocks = []
    for recording in recordings:
        tables = [_with_context(spectral_table(recording, name)) for name in recording.modalities]
        hours = pd.DataFrame(time_of_night(recording.n_epochs))
        blocks.append(np.column_stack([*tables, hours.to_numpy()]))
    return blocks


def hand_made_beside_gaps(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """:func:`hand_made_neural`, and where the signal is missing around each epoch."""
    pairs = zip(hand_made_neural(recordings), map(_gaps, recordings), strict=True)
    return [np.column_stack(pair) for pair in pairs]


def gaps_alone(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Where the signal is missing around each epoch, and the time of night; no signal at all."""
    hours = [pd.DataFrame(time_of_night(recording.n_epochs)) for recording in recordings]
    return [np.column_stack(pair) for pair in zip(map(_gaps, recordings), hours, strict=True)]


def _gaps(recording: Recording) -> np.ndarray:
    """Share of epochs with signal around each, those some minutes off, and how long its run is."""
    known = [np.isfinite(samples_by_epoch(recording, name)) for name in recording.modalities]
    there = pd.Series(np.any([part.mean(axis=1) > 0.5 for part in known], axis=0), dtype=float)
    run = there.diff().ne(0).cumsum()
    columns = [there.rolling(w, center=True, min_periods=1).mean() for w in GAP_CONTEXT]
    columns += [there.shift(shift, fill_value=0.0) for shift in GAP_SHIFTS]
    return np.column_stack([*columns, np.log(run.map(run.value_counts()))])


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
    for band, (low, high) in BANDS.items():
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


def _with_context(table: pd.DataFrame) -> np.ndarray:
    level = table - table.median()
    parts = [table, level]
    parts += [level.rolling(w, center=True, min_periods=1).mean() for w in CONTEXT]
    parts.append(level.rolling(CONTEXT[1], center=True, min_periods=2).std().fillna(0.0))
    chosen = level[[name for name in SHIFTED if name in level]]
    parts += [chosen.shift(shift).bfill().ffill() for shift in SHIFTS]
    return np.column_stack([part.to_numpy(dtype=np.float64) for part in parts])
