# SPDX-License-Identifier: BSD-3-Clause
"""Hand-made features of nights with ``ibi`` and ``actigraphy``: what an encoder has to beat.

Each function takes recordings and gives one array of shape (n_epochs, n_features) per recording;
NaN where the sensors give nothing. Heart rates are relative to the night's median, as people
differ more than stages do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sleep2vec_sklearn.recordings import (
    EPOCH_SECONDS,
    Recording,
    Signal,
    get_modality,
)
from sleep2vec_sklearn.recordings._conditioning import to_canonical_unit

__all__ = [
    "hand_made_long",
    "hand_made_short",
    "samples_by_epoch",
    "short_table",
    "time_of_night",
]

SHORT_WINDOWS = (5, 11)
LONG_WINDOWS = (3, 5, 11, 21, 41, 81)
LONG_SHIFTS = (-20, -10, -5, -2, -1, 1, 2, 5, 10, 20)


def hand_made_short(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Activity, heart rate, their means over 2.5 and 5.5 minutes, and the time of night."""
    return [short_table(recording).to_numpy() for recording in recordings]


def hand_made_long(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Levels and variability over 1.5 to 40 minutes, shifted copies, and the time of night."""
    return [_long(recording).to_numpy() for recording in recordings]


def short_table(recording: Recording) -> pd.DataFrame:
    """One row per epoch of :func:`hand_made_short`, columns by name."""
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
        "hours": hours,
        "hours_squared": hours**2,
        "first_hour": np.exp(-hours),
        "share_of_night": np.arange(n_epochs) / n_epochs,
    }
