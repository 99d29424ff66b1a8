# SPDX-License-Identifier: BSD-3-Clause
"""Hand-made rows of polysomnograms: what an encoder has to beat.

For staging, the features of each sensor are taken relative to the night's median, as gains and
people differ more than stages do, with their means and spreads over the minutes around and the
time of night. A night is summarised by mean, spread and tails of the features themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from benchmarks.baselines import time_of_night
from benchmarks.psg_features import WIDTHS, epoch_features
from sleep2vec_sklearn.recordings import Recording

__all__ = ["HandMade"]

CONTEXTS = (5, 21)


class HandMade:
    """The feature set; a sensor of a night is worked on once.

    Parameters
    ----------
    tables : dict, optional
        Epoch features by fingerprint of the signal and sensor, made elsewhere.
    """

    name = "hand-made"

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
