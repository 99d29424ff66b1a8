# SPDX-License-Identifier: BSD-3-Clause
"""Hand-made features of inter-beat intervals alone: for stages, and for apnea.

Beside the levels and spreads of :mod:`benchmarks.baselines`: measures of heart-rate variability in
time (SDNN, RMSSD, pNN50-like; Task Force 1996) and in bands of frequency over five minutes, and
the cyclic variation of heart rate with apneas (Guilleminault et al. 1984), power between 0.01 and
0.04 Hz and how peaked it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d
from scipy.signal import spectrogram

from benchmarks.baselines import hand_made_long, samples_by_epoch
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Recording

__all__ = ["hand_made_heart", "variability"]

BANDS = {
    "very_low": (0.003, 0.01),
    "cyclic": (0.01, 0.04),
    "low": (0.04, 0.15),
    "high": (0.15, 0.4),
}
SPECTRUM_SECONDS = (120, 300)
CONTEXT = (5, 11, 21, 41, 81)
NEIGHBOURS = (-4, -2, -1, 1, 2, 4)


def hand_made_heart(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Levels over 1.5 to 40 minutes, variability in time and frequency, cyclic variation."""
    long = hand_made_long(recordings)
    tables = [_with_context(variability(recording)) for recording in recordings]
    return [np.column_stack(pair) for pair in zip(long, tables, strict=True)]


def variability(recording: Recording) -> pd.DataFrame:
    """Per epoch: logs of SDNN and RMSSD, share of large steps, log powers, and their shares."""
    epochs = samples_by_epoch(recording, "ibi")
    rate = epochs.shape[1] / EPOCH_SECONDS
    beats = pd.DataFrame(epochs).T
    second = max(round(rate), 1)
    steps = beats.iloc[::second].diff()
    columns = {
        "sdnn": np.log(beats.std() + 1e-3),
        "rmssd": np.log(np.sqrt((steps**2).mean()) + 1e-3),
        "large_steps": (steps.abs() > 0.05).mean(),
        "range": np.log(beats.max() - beats.min() + 1e-3),
        "skewness": beats.skew(),
    }
    series = epochs.reshape(-1)
    for seconds in SPECTRUM_SECONDS:
        columns.update(_powers(series, rate, seconds, len(epochs)))
    return pd.DataFrame(columns)


def _powers(series: np.ndarray, rate: float, seconds: int, n_epochs: int) -> dict:
    """Log power and share of each band in the window around each epoch, and the cyclic peak."""
    there = np.isfinite(series)
    if not there.any():
        names = [f"{kind}_{band}_{seconds}" for kind in ("log", "share") for band in BANDS]
        return dict.fromkeys([*names, f"peak_{seconds}"], np.full(n_epochs, np.nan))
    filled = np.interp(np.arange(len(series)), np.flatnonzero(there), series[there])
    centred = filled - uniform_filter1d(filled, round(2 * SPECTRUM_SECONDS[-1] * rate))
    width, hop = round(seconds * rate), round(EPOCH_SECONDS * rate)
    padded = np.pad(centred, (width - hop) // 2 + hop, mode="reflect")[hop:]
    frequency, _, power = spectrogram(padded, rate, "hann", width, width - hop, mode="psd")
    power = power[:, :n_epochs]
    total = power[(frequency > 0.003) & (frequency <= 0.4)].sum(axis=0) + 1e-9
    columns = {}
    for band, (low, high) in BANDS.items():
        inside = power[(frequency > low) & (frequency <= high)]
        if len(inside):
            columns[f"log_{band}_{seconds}"] = np.log(inside.sum(axis=0) + 1e-7)
            columns[f"share_{band}_{seconds}"] = inside.sum(axis=0) / total
    cyclic = power[(frequency > BANDS["cyclic"][0]) & (frequency <= BANDS["cyclic"][1])]
    columns[f"peak_{seconds}"] = cyclic.max(axis=0) / total
    return columns


def _with_context(table: pd.DataFrame) -> np.ndarray:
    """The table, against its night's median, with rolling means, spreads and shifted copies."""
    level = table - table.median()
    parts = [table, level]
    for width in CONTEXT:
        parts.append(level.rolling(width, center=True, min_periods=1).mean())
    parts.append(level.rolling(CONTEXT[1], center=True, min_periods=1).std().fillna(0.0))
    cyclic = level[[name for name in level if "cyclic" in name or "peak" in name]]
    parts += [cyclic.shift(shift).bfill().ffill() for shift in NEIGHBOURS]
    return np.column_stack([part.to_numpy(dtype=np.float64) for part in parts])
