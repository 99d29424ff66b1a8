# SPDX-License-Identifier: BSD-3-Clause
"""Expert columns of a sensor: features of each epoch, and of the epochs around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import _cardiorespiratory_features as cardiorespiratory
from . import _spectral_features as spectral
from ._expert_catalogue import Feature, list_columns
from ._spectral_features import Samples, moving_sum

_COMPUTE: dict[str, Callable[[Samples], dict[str, np.ndarray]]] = {
    "eeg": spectral.eeg_features,
    "eog": spectral.eog_features,
    "emg": spectral.emg_features,
    "ecg": cardiorespiratory.ecg_features,
    "airflow": cardiorespiratory.breathing_features,
    "effort": cardiorespiratory.breathing_features,
    "spo2": cardiorespiratory.spo2_features,
    "ibi": cardiorespiratory.heart_features,
    "resp": cardiorespiratory.breathing_features,
    "ppg": cardiorespiratory.ppg_features,
    "actigraphy": cardiorespiratory.actigraphy_features,
}


def compute_columns(
    samples: Samples, modality: str, columns: Sequence[str], window: tuple[int, int] | None = None
) -> np.ndarray:
    """Columns of each epoch, float32 of shape (n_epochs, n_columns).

    ``window`` is the first epoch of the night, to whose median columns are relative, and the first
    after it; all epochs by default.
    """
    known, valid = list_columns(modality), samples.valid
    found = _COMPUTE[modality](samples)
    features = list(dict.fromkeys(known[column][0] for column in columns))
    table = np.stack([np.asarray(found[f.name], dtype=np.float64) for f in features], axis=1)
    inside = np.zeros(len(valid), dtype=bool)
    inside[slice(*(window or (0, len(valid))))] = True
    inside &= valid
    relative, median = _relative(table, valid, inside if inside.any() else valid, features)
    is_known = np.isfinite(table) & valid[:, None]
    out = np.empty((len(valid), len(columns)), dtype=np.float32)
    for context in {known[column][1] for column in columns}:
        places = [j for j, column in enumerate(columns) if known[column][1] == context]
        chosen = [features.index(known[columns[j]][0]) for j in places]
        part = _around(relative[:, chosen], is_known[:, chosen], context)
        out[:, places] = part if context else part + median[chosen]
    return out


def _relative(
    table: np.ndarray, valid: np.ndarray, inside: np.ndarray, features: Sequence[Feature]
) -> tuple[np.ndarray, np.ndarray]:
    """Features minus their median over the night, 0 where they are not known; the median."""
    known = np.isfinite(table) & valid[:, None]
    median = np.array([feature.typical for feature in features], dtype=np.float64)
    for j, usual in enumerate((known & inside[:, None]).T):
        if usual.any():
            median[j] = np.median(table[usual, j])
    return np.where(known, table - median, 0), median


def _around(relative: np.ndarray, known: np.ndarray, context: str) -> np.ndarray:
    """Mean, SD or neighbours of columns in which 0 stands for what is not known."""
    if context in ("", "rel"):
        return relative
    kind, n = context[0], int(context[1:])
    width = n if kind in "ms" else 3
    count = np.maximum(moving_sum(known.astype(float), width), 1)
    mean = moving_sum(relative, width) / count
    if kind == "s":
        return np.sqrt(np.maximum(moving_sum(relative**2, width) / count - mean**2, 0))
    if kind == "m":
        return mean
    place = np.arange(len(mean)) + (n if kind == "a" else -n)
    return mean[np.clip(place, 0, len(mean) - 1)]
