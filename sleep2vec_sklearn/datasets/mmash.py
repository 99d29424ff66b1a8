# SPDX-License-Identifier: BSD-3-Clause
"""MMASH (Rossi et al. 2020): RR intervals and activity counts of healthy men over 24 hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ..readers._boundary import MOST_TABLE_BYTES, check_file
from ..recordings.cohort import Cohort
from ..recordings.derivation import counts_from_epochs, ibi_from_intervals, refine_beat_times
from ..recordings.recording import Recording
from ._files import StrPath, as_cohort, find_files, read_arrays, read_each, unreadable

_DATASET = "MMASH 1.0.0 (PhysioNet)"
_FILE = f"a file of {_DATASET}"
_DAY_SECONDS = 86_400.0
# dates are not published; clock times are those of this day
_FIRST_DAY = datetime(1970, 1, 1)


def load_mmash(folder: StrPath) -> Cohort:
    r"""Load 24 hours of RR intervals and activity counts per man.

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
        exists age, height in cm and weight in kg.

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
    >>> seconds = 22 * 3600.0 + np.arange(1800)  # half an hour from 10 p.m. on
    >>> beats = {"rr_seconds": seconds, "rr_ibi_s": np.full(1800, 1.0)}
    >>> counts = {"act_seconds": seconds, "act_vector_magnitude": np.arange(1800) % 7}
    >>> np.savez("user_1.npz", **beats, **counts)
    >>> columns = "In Bed Date,In Bed Time,Out Bed Date,Out Bed Time,Total Sleep Time (TST)"
    >>> n_written = Path("user_1_sleep.csv").write_text(f",{columns}\n0,1,22:10,1,22:25,12\n")
    >>> night = load_mmash(".")[0]
    >>> night, night.lights
    (Recording(id='user_1', 60 epochs, ibi, actigraphy), (600.0, 1500.0))
    """
    packed = any(Path(folder).glob("user_*.npz"))
    paths = find_files(folder, "user_*.npz" if packed else "user_*/RR.csv", _DATASET)
    return as_cohort(read_each(paths, _read_packed if packed else _read_published))


def _read_packed(path: Path) -> Recording:
    names = ("rr_seconds", "rr_ibi_s", "act_seconds", "act_vector_magnitude")
    beat_seconds, intervals, count_seconds, counts = read_arrays(path, names, _FILE)
    diary_path = path.with_name(f"{path.stem}_sleep.csv")
    return _make_recording(path, beat_seconds, intervals, count_seconds, counts, diary_path, {})


def _read_published(path: Path) -> Recording:
    folder = path.parent
    beats = _read_series(folder / "RR.csv", "ibi_s")
    activity = _read_series(folder / "Actigraph.csv", "Vector Magnitude")
    demographics = _read_demographics(folder / "user_info.csv")
    return _make_recording(folder, *beats, *activity, folder / "sleep.csv", demographics)


def _read_series(path: Path, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and values."""
    check_file(path, MOST_TABLE_BYTES)
    try:
        table = pd.read_csv(path, usecols=[column, "day", "time"])
        clock = pd.to_timedelta(table["time"]).dt.total_seconds()
        seconds = clock + (table["day"] - 1) * _DAY_SECONDS
        return seconds.to_numpy(float), table[column].to_numpy(float)
    except Exception as error:
        raise unreadable(path, error, _FILE) from error


def _read_demographics(path: Path) -> dict:
    """Age, height and weight; 0 stands for an answer that is missing."""
    if not path.exists():
        return {}
    check_file(path, MOST_TABLE_BYTES)
    try:
        row = pd.read_csv(path).rename(columns=str.strip).iloc[0]
        values = {name: float(row[name.capitalize()]) for name in ("age", "height", "weight")}
    except Exception as error:
        raise unreadable(path, error, _FILE) from error
    return {name: value if value > 0 else np.nan for name, value in values.items()}


def _make_recording(
    path: Path, beat_seconds: np.ndarray, intervals: np.ndarray, count_seconds: np.ndarray,
    counts: np.ndarray, diary_path: Path, demographics: dict,
) -> Recording:  # fmt: skip
    if not len(beat_seconds) or not len(count_seconds):
        raise unreadable(path, "beats or activity have no row", _FILE)
    beat_seconds, count_seconds = _unwrap_clock(beat_seconds), _unwrap_clock(count_seconds)
    start = float(min(beat_seconds[0], count_seconds[0]))
    duration = float(max(beat_seconds[-1], count_seconds[-1])) + 1 - start
    # published in whole seconds
    times = refine_beat_times(beat_seconds - start + 0.5, np.asarray(intervals, dtype=float))
    count_seconds, first = np.unique(count_seconds - start, return_index=True)
    in_bed = _read_diary(diary_path, start)
    ends = in_bed["onset"] + in_bed["duration"]
    has_diary = len(in_bed) > 0
    return Recording(
        {
            "ibi": ibi_from_intervals(times, intervals, duration=duration),
            "actigraphy": counts_from_epochs(count_seconds, counts[first], 1.0, duration),
        },
        subject=path.stem,
        metadata={
            "site": "mmash",
            "sex": "M",
            **demographics,
            "in_bed_min": in_bed["duration"].sum() / 60 if has_diary else np.nan,
            "sleep_min": in_bed["sleep_min"].sum() if has_diary else np.nan,
        },
        events=in_bed[["onset", "duration", "type"]],
        start=_FIRST_DAY + timedelta(seconds=start),
        lights=(float(in_bed["onset"].min()), float(ends.max())) if has_diary else None,
        duration=duration,
        id=path.stem,
    )


def _unwrap_clock(seconds: np.ndarray) -> np.ndarray:
    # the second day of two men is published as day -29, so days are counted from the clock itself
    clock = np.asarray(seconds, dtype=float) % _DAY_SECONDS
    midnights = np.cumsum(np.diff(clock) < -_DAY_SECONDS / 2)
    return clock + _DAY_SECONDS * np.concatenate([[0], midnights])


def _read_diary(path: Path, start: float) -> pd.DataFrame:
    """Intervals in bed, in s after the recording's start."""
    check_file(path, MOST_TABLE_BYTES)
    try:
        table = pd.read_csv(path)
        begin, end = (
            (table[f"{edge} Bed Date"] - 1) * _DAY_SECONDS
            + pd.to_timedelta(table[f"{edge} Bed Time"].astype(str) + ":00").dt.total_seconds()
            for edge in ("In", "Out")
        )
        sleep_min = table["Total Sleep Time (TST)"].astype(float)
    except Exception as error:
        raise unreadable(path, error, _FILE) from error
    return pd.DataFrame(
        {
            "onset": (begin - start).astype(float),
            # some diaries give the evening's date to the morning
            "duration": ((end - begin) % _DAY_SECONDS).astype(float),
            "type": "in_bed",
            "sleep_min": sleep_min,
        }
    )
