# SPDX-License-Identifier: BSD-3-Clause
"""Sleep-accel (Walch et al. 2019): heart rate and motion of a watch during polysomnography."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._files import sha256
from ..errors import ReadError
from ..readers._boundary import (
    LONGEST_SECONDS,
    BadFileError,
    check_file,
    only_read_errors,
)
from ..readers._edf_header import fingerprint_of
from ..recordings.cohort import Cohort
from ..recordings.derivation import (
    counts_from_acceleration,
    counts_from_epochs,
    ibi_from_heart_rate,
)
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ..recordings.sources import MemorySource, Signal, SignalLayout
from ._files import (
    DOWNLOAD_AGAIN,
    StrPath,
    as_cohort,
    find_files,
    read_each,
    read_numbers,
    unreadable,
)

_DATASET = "sleep-accel 1.0.0 (PhysioNet)"
_STAGES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 3, 5: 4}
_MOTION_RATE = 50.0
_MAX_GAP_SECONDS = 1.0
_COUNTING_REVISION = 1


def load_sleep_accel(folder: StrPath) -> Cohort:
    r"""Load nights of an Apple Watch with stages of polysomnography.

    Time zero is the start of polysomnography and a night is as long as its labels. Heart rate
    before that is not used. ``ibi`` is 60 / heart rate, so without beat-to-beat variability (at
    1 Hz, see :func:`~sleep2vec_sklearn.recordings.derivation.ibi_from_heart_rate`).

    The 30-s counts that circulate with this data set are smoothed: a single movement is a bell of
    about 50 s SD over the epochs around it, so counts are small and seldom zero near movements.

    Parameters
    ----------
    folder : path-like
        Holds ``labels/<id>_labeled_sleep.txt``, ``heart_rate/<id>_heartrate.txt`` and one of
        ``activity_counts/<id>_counts_30s.csv`` and the published acceleration,
        ``motion/<id>_acceleration.txt``, which is read and counted when it is used. A subject
        without both has no ``actigraphy``.

    Returns
    -------
    Cohort
        One night per subject: ``ibi``, ``actigraphy`` (counts per second, NaN where the watch
        recorded none), stages (4 is N3, 5 is REM), metadata: site. Ages and sexes are not
        published.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    References
    ----------
    Walch O, Huang Y, Forger D, Goldstein C (2019). Sleep stage prediction with raw acceleration
    and photoplethysmography heart rate data derived from a consumer wearable device. Sleep
    42(12), zsz180. Data: PhysioNet, ODC-BY 1.0.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sleep2vec_sklearn.datasets import load_sleep_accel
    >>> Path("labels").mkdir(), Path("heart_rate").mkdir()
    (None, None)
    >>> n_written = Path("labels/46343_labeled_sleep.txt").write_text("0 0\n30 2\n60 3\n")
    >>> n_written = Path("heart_rate/46343_heartrate.txt").write_text("0,62\n45,61\n89,60\n")
    >>> load_sleep_accel(".")[0].stages
    array([0, 2, 3], dtype=int8)
    """
    paths = find_files(folder, "labels/*_labeled_sleep.txt", _DATASET)
    return as_cohort(read_each(paths, lambda path: _read_night(Path(folder), path)))


def _read_night(folder: Path, labels_path: Path) -> Recording:
    name = labels_path.name.removesuffix("_labeled_sleep.txt")
    stages = _as_epochs(_read_table(labels_path))
    duration = len(stages) * EPOCH_SECONDS
    heart_path = folder / "heart_rate" / f"{name}_heartrate.txt"
    signals = {"ibi": _read_heart_rate(heart_path, duration)}
    counts_path = folder / "activity_counts" / f"{name}_counts_30s.csv"
    motion_path = folder / "motion" / f"{name}_acceleration.txt"
    if counts_path.exists():
        onsets, counts = _read_table(counts_path, delimiter=",", skiprows=1).T
        signals["actigraphy"] = counts_from_epochs(onsets, counts, EPOCH_SECONDS, duration)
    lazy = "actigraphy" not in signals and motion_path.exists()
    return Recording.from_source(
        _MotionSource(signals, motion_path, duration) if lazy else MemorySource(signals),
        subject=name, metadata={"site": "sleep-accel"}, stages=stages, duration=duration, id=name,
    )  # fmt: skip


def _as_epochs(labels: np.ndarray) -> np.ndarray:
    # a negative index would put a label from before the start at the end
    labels = labels[labels[:, 0] >= 0]
    if not labels[:, 0].max(initial=0) <= LONGEST_SECONDS:
        raise BadFileError(f"a label is {labels[:, 0].max():g} s after the start.")
    epoch = np.round(labels[:, 0] / EPOCH_SECONDS).astype(int)
    stages = np.full(epoch.max(initial=-1) + 1, -1, dtype=np.int8)
    stages[epoch] = [_STAGES.get(code, -1) for code in labels[:, 1]]
    return stages


def _read_heart_rate(path: Path, duration: float) -> tuple[np.ndarray, float]:
    heart = _read_table(path, delimiter=",")
    heart = heart[(heart[:, 0] >= 0) & (heart[:, 0] < duration) & (heart[:, 1] > 0)]
    times, first = np.unique(heart[:, 0], return_index=True)
    return ibi_from_heart_rate(times, heart[first, 1], duration=duration)


def _read_table(path: Path, **options: Any) -> np.ndarray:
    accepted = f"rows of seconds and values, as in {_DATASET}"
    table = read_numbers(path, accepted, ndmin=2, **options)
    if table.shape[0] == 0 or table.shape[1] != 2:
        raise ReadError(f"{path} holds a table of shape {table.shape}; accepted are {accepted}.")
    return table


class _MotionSource:
    """Series in memory, and activity counts from a file of acceleration."""

    def __init__(self, series: Mapping[str, tuple[np.ndarray, float]], path: Path, duration: float):
        self.path = path
        self.duration = float(duration)
        self.files = (path,)
        self._series = MemorySource(series)
        counts = SignalLayout(1.0, "counts", int(self.duration))
        self.layout = {**self._series.layout, "actigraphy": counts}

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        signals = self._series.read([name for name in names if name in self._series.layout])
        return {name: signals[name] if name in signals else self._count() for name in names}

    def fingerprint(self) -> str:
        return sha256("".join(self.signal_fingerprint(name) for name in sorted(self.layout)))

    def signal_fingerprint(self, name: str) -> str:
        if name in self._series.layout:
            return self._series.signal_fingerprint(name)
        return fingerprint_of(self.files, ("counts", _COUNTING_REVISION, self.duration))

    def _count(self) -> Signal:
        times, magnitude = self._read_magnitude()
        grid = np.arange(int(self.duration * _MOTION_RATE)) / _MOTION_RATE
        if len(times) < 2:
            even = np.full(len(grid), np.nan)
        else:
            after = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
            even = np.interp(grid, times, magnitude, left=np.nan, right=np.nan)
            even[times[after] - times[after - 1] > _MAX_GAP_SECONDS] = np.nan
        counts, rate = counts_from_acceleration(even, _MOTION_RATE)
        counts.flags.writeable = False
        return Signal(counts, rate, "counts")

    def _read_magnitude(self) -> tuple[np.ndarray, np.ndarray]:
        # in g, about 50 times a second but not evenly spaced
        accepted = "a file of lines with seconds and three axes, as published"
        check_file(self.path)
        with only_read_errors(
            self.path, "the reader of this data set", DOWNLOAD_AGAIN, quotes=True
        ):
            table = pd.read_csv(self.path, sep=r"\s+", header=None, dtype=float)
        if table.shape[1] != 4:
            raise unreadable(self.path, f"it has {table.shape[1]} columns", accepted)
        rows = table.to_numpy()
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 0] <= self.duration)]
        times, first = np.unique(rows[:, 0], return_index=True)
        return times, np.linalg.norm(rows[first, 1:], axis=1)
