# SPDX-License-Identifier: BSD-3-Clause
"""The published acceleration of sleep-accel, counted when it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import ReadError
from ...readers.fingerprints import fingerprint_of
from ...signals import Signal, SignalLayout
from ...signals.derivation import counts_from_acceleration
from ...signals.sources import MemorySource

__all__ = ["MotionSource"]

_RATE = 50.0
_MAX_GAP = 1.0
_COUNTING_REVISION = 1


class MotionSource:
    """Series in memory, and beside them activity counts from a file of acceleration.

    Parameters
    ----------
    series : mapping of str to (ndarray, float)
        Samples and rate of the other modalities, in the catalogue's units.
    path : Path
        Seconds from the start of polysomnography and three axes in g per line, about 50 a second,
        not evenly spaced.
    duration : float
        Length of the night in s; lines before and after it are not used.
    """

    def __init__(self, series: Mapping[str, tuple[np.ndarray, float]], path: Path, duration: float):
        self.path = path
        self.duration = float(duration)
        self.files = (path,)
        self._series = MemorySource(series)
        counts = SignalLayout(1.0, "counts", int(self.duration))
        self.layout = {**self._series.layout, "actigraphy": counts}

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read these modalities; the file only where counts are among them."""
        found = self._series.read([name for name in names if name in self._series.layout])
        return {name: found[name] if name in found else self._count() for name in names}

    def fingerprint(self) -> str:
        """sha256 of the series and the file."""
        parts = "".join(self.signal_fingerprint(name) for name in sorted(self.layout))
        return hashlib.sha256(parts.encode()).hexdigest()

    def signal_fingerprint(self, name: str) -> str:
        """sha256 of what one modality's samples depend on."""
        if name in self._series.layout:
            return self._series.signal_fingerprint(name)
        return fingerprint_of(self.files, ("counts", _COUNTING_REVISION, self.duration))

    def _count(self) -> Signal:
        times, magnitude = self._magnitude()
        grid = np.arange(int(self.duration * _RATE)) / _RATE
        if len(times) < 2:
            even = np.full(len(grid), np.nan)
        else:
            after = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
            even = np.interp(grid, times, magnitude, left=np.nan, right=np.nan)
            even[times[after] - times[after - 1] > _MAX_GAP] = np.nan
        counts, rate = counts_from_acceleration(even, _RATE)
        counts.flags.writeable = False
        return Signal(counts, rate, "counts")

    def _magnitude(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            table = pd.read_csv(self.path, sep=r"\s+", header=None, dtype=float)
        except (OSError, ValueError) as error:
            raise ReadError(
                f"{self.path} cannot be read: {error}. Accepted are lines of seconds and three "
                "axes, as published; download the file again."
            ) from error
        if table.shape[1] != 4:
            raise ReadError(
                f"{self.path} has {table.shape[1]} columns; accepted are four, seconds and three "
                "axes. Download the file again."
            )
        rows = table.to_numpy()
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 0] <= self.duration)]
        times, first = np.unique(rows[:, 0], return_index=True)
        return times, np.linalg.norm(rows[first, 1:], axis=1)
