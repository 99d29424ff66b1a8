# SPDX-License-Identifier: BSD-3-Clause
"""MMASH (Rossi et al. 2020): a day and a night of beats and wrist counts of healthy men."""

from __future__ import annotations

import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..recordings import Cohort, Recording
from ..recordings.derivation import counts_from_epochs, ibi_from_intervals
from ._files import as_cohort, find_files

__all__ = [
    "load_mmash",
]

_DATASET = "MMASH 1.0.0 (PhysioNet)"
_SITE = "mmash"
_BODY = ("age", "height", "weight")
_DAY = 86_400.0
# The dates are not published; clock times are kept on a day that is nobody's.
_DAY_ONE = datetime(1970, 1, 1)


def load_mmash(folder) -> Cohort:
    r"""Load 24 hours of beat-to-beat intervals and wrist activity per man.

    A recording covers the whole day, from the first sample of either sensor. There is no
    polysomnography: ``lights`` spans the intervals in bed of the sleep diary, and ``events`` lists
    each of them. Both sensors lose about 8 s of every 33 s (so published) and longer stretches;
    these gaps are NaN.

    ``actigraphy`` is the vector magnitude of the three axes, because it does not depend on how
    the watch sits on the wrist; 1 Hz, in the device's counts per second.

    Parameters
    ----------
    folder : path-like
        Holds the published ``user_N/`` folders (``RR.csv``, ``Actigraph.csv``, ``sleep.csv``,
        ``user_info.csv``), or the same as ``user_N.npz`` and ``user_N_sleep.csv``.

    Returns
    -------
    Cohort
        One recording per man: ``ibi`` (4 Hz), ``actigraphy`` (1 Hz), ``lights``, ``events`` of
        type ``in_bed``; ``start`` holds the clock time on 1 January 1970. Metadata: site, sex (all
        are men), ``in_bed_min`` and ``sleep_min``, NaN without a diary, and where ``user_info.csv``
        is beside the rest age, height in cm and weight in kg.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    References
    ----------
    Rossi A, Da Pozzo E, Menicagli D, et al. (2020). A public dataset of 24-h multi-levels
    psycho-physiological responses in young healthy adults. Data 5(4), 91. Data: PhysioNet.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sleep2vec_sklearn.datasets import load_mmash
    >>> seconds = 22 * 3600.0 + np.arange(1800)  # half an hour from ten o'clock on, made up
    >>> beats = {"rr_seconds": seconds, "rr_ibi_s": np.full(1800, 1.0)}
    >>> counts = {"act_seconds": seconds, "act_vector_magnitude": np.arange(1800) % 7}
    >>> np.savez("user_1.npz", **beats, **counts)
    >>> columns = "In Bed Date,In Bed Time,Out Bed Date,Out Bed Time,Total Sleep Time (TST)"
    >>> n_written = Path("user_1_sleep.csv").write_text(f",{columns}\n0,1,22:10,1,22:25,12\n")
    >>> night = load_mmash(".")[0]
    >>> night, night.lights
    (Recording(id='user_1', 60 epochs, ibi, actigraphy), (600.0, 1500.0))
    """
    packed = Path(folder).is_dir() and any(Path(folder).glob("user_*.npz"))
    paths = find_files(folder, "user_*.npz" if packed else "user_*/RR.csv", _DATASET)
    return as_cohort([_read_packed(path) if packed else _read_csv(path.parent) for path in paths])


def _read_packed(path: Path) -> Recording:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            beats = arrays["rr_seconds"], arrays["rr_ibi_s"]
            activity = arrays["act_seconds"], arrays["act_vector_magnitude"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    return _make(path, beats, activity, path.with_name(f"{path.stem}_sleep.csv"))


def _read_csv(folder: Path) -> Recording:
    tables = {}
    for name, column in {"RR.csv": "ibi_s", "Actigraph.csv": "Vector Magnitude"}.items():
        try:
            table = pd.read_csv(folder / name, usecols=[column, "day", "time"])
            clock = pd.to_timedelta(table["time"]).dt.total_seconds()
        except (OSError, ValueError) as error:
            raise _damaged(folder / name, error) from error
        seconds = clock + (table["day"] - 1) * _DAY
        tables[name] = seconds.to_numpy(float), table[column].to_numpy(float)
    return _make(
        folder,
        tables["RR.csv"],
        tables["Actigraph.csv"],
        folder / "sleep.csv",
        _read_body(folder / "user_info.csv"),
    )


def _read_body(path: Path) -> dict:
    """Age, height and weight; 0 stands for what was not asked."""
    if not path.exists():
        return {}
    try:
        row = pd.read_csv(path).rename(columns=str.strip).iloc[0]
        known = {name: float(row[name.capitalize()]) for name in _BODY}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise _damaged(path, error) from error
    return {name: value if value > 0 else np.nan for name, value in known.items()}


def _damaged(path: Path, error: Exception) -> ReadError:
    return ReadError(
        f"{path} cannot be read: {error}. Accepted is a file of {_DATASET}; download it again."
    )


def _make(path: Path, beats, activity, sleep_path: Path, body: dict | None = None) -> Recording:
    (beat_seconds, intervals), (seconds, magnitude) = beats, activity
    if not len(beat_seconds) or not len(seconds):
        raise _damaged(path, ValueError("beats or activity have no row"))
    name = path.stem
    beat_seconds, seconds = _unroll(beat_seconds), _unroll(seconds)
    start = float(min(beat_seconds[0], seconds[0]))
    duration = float(max(beat_seconds[-1], seconds[-1])) + 1 - start
    times = _beat_times(beat_seconds - start, np.asarray(intervals, dtype=float))
    seconds, first = np.unique(seconds - start, return_index=True)
    bed = _intervals_in_bed(sleep_path, start)
    ends = bed["onset"] + bed["duration"]
    lights = (float(bed["onset"].min()), float(ends.max())) if len(bed) else None
    return Recording(
        {
            "ibi": ibi_from_intervals(times, intervals, duration=duration),
            "actigraphy": counts_from_epochs(seconds, magnitude[first], 1.0, duration),
        },
        subject=name,
        metadata={
            "site": _SITE,
            "sex": "M",
            **(body or {}),
            "in_bed_min": bed["duration"].sum() / 60 if len(bed) else np.nan,
            "sleep_min": bed["sleep_min"].sum() if len(bed) else np.nan,
        },
        events=bed[["onset", "duration", "type"]],
        start=_DAY_ONE + timedelta(seconds=start),
        lights=lights,
        duration=duration,
        id=name,
    )


def _unroll(seconds: np.ndarray) -> np.ndarray:
    # Two men's second day is published as day -29, so days are counted from the clock itself.
    clock = np.asarray(seconds, dtype=float) % _DAY
    return clock + _DAY * np.concatenate([[0], np.cumsum(np.diff(clock) < -_DAY / 2)])


def _beat_times(seconds: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Beat times finer than the published whole seconds.

    The sum of intervals is exact between losses, the clock is right on the whole: their
    difference, smoothed by a running median that keeps the jumps of lost packets, joins the two.
    """
    from scipy.ndimage import median_filter

    elapsed = np.cumsum(intervals)
    offset = median_filter(seconds - elapsed, size=15, mode="nearest") + 0.5
    return np.maximum.accumulate(elapsed + offset)


def _intervals_in_bed(path: Path, start: float) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
        edges = [
            (table[f"{edge} Bed Date"] - 1) * _DAY
            + pd.to_timedelta(table[f"{edge} Bed Time"].astype(str) + ":00").dt.total_seconds()
            for edge in ("In", "Out")
        ]
        sleep_min = table["Total Sleep Time (TST)"].astype(float)
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    # Some diaries give the evening's date to the morning.
    length = (edges[1] - edges[0]) % _DAY
    return pd.DataFrame(
        {
            "onset": (edges[0] - start).astype(float),
            "duration": length.astype(float),
            "type": "in_bed",
            "sleep_min": sleep_min,
        }
    )
