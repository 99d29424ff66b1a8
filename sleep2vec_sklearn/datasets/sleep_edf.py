# SPDX-License-Identifier: BSD-3-Clause
"""Sleep-EDF Expanded (Kemp et al. 2000): 197 nights of 100 subjects, on cassette and telemetry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from .._warnings import warn
from ..errors import ReadError, RecordingWarning
from ..readers._boundary import MOST_TABLE_BYTES, check_file, only_read_errors
from ..readers.recording import read_recording
from ..recordings.cohort import Cohort
from ..recordings.recording import Recording
from ._files import DOWNLOAD_AGAIN, StrPath, as_cohort, find_files, read_each, seconds_after

_DATASET = "Sleep-EDF Expanded 1.0.0 (PhysioNet)"
_NAME = re.compile(r"(SC4|ST7)(\d\d)(\d)[A-Z]\d-PSG", re.IGNORECASE)
_DAY_SECONDS = 86_400.0

# (study, subject, night) to what is known of age, sex, treatment and lights_off
_Subjects: TypeAlias = dict[tuple[str, int, int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Study:
    """A study, and the columns of its table of subjects."""

    folder: str
    table: str
    age: int
    sex: int
    sexes: dict[int, str]
    nights: tuple[tuple[int, int, str | None], ...]  # night, lights off, treatment


_STUDIES = {
    "SC4": _Study("sleep-cassette", "SC-subjects", 2, 3, {1: "F", 2: "M"}, ((1, 4, None),)),
    "ST7": _Study(
        "sleep-telemetry",
        "ST-subjects",
        1,
        2,
        {1: "M", 2: "F"},
        ((3, 4, "placebo"), (5, 6, "temazepam")),
    ),
}


def load_sleep_edf(folder: StrPath) -> Cohort:
    """Load the nights of both studies, or those of one study's folder.

    Cassettes ran for about 20 hours at home, so a recording is a day and a night; its EMG and
    airflow were stored at 1 Hz only, which is too slow to be used. Telemetry nights in hospital
    were spent with temazepam or placebo.

    Parameters
    ----------
    folder : path-like
        Holds ``sleep-cassette/SC4ssNE0-PSG.edf`` and ``sleep-telemetry/ST7ssNJ0-PSG.edf`` (either
        may be absent) with their ``*-Hypnogram.edf``, or the files themselves. The tables
        ``SC-subjects.xls`` and ``ST-subjects.xls`` are optional, in this folder or its parent;
        they need ``pip install sleep2vec-sklearn[fetch]``, or the tables saved as ``.csv``.

    Returns
    -------
    Cohort
        One recording per night: ``eeg`` (Fpz-Cz), ``eog``, with telemetry ``emg``; stages by
        Rechtschaffen and Kales (3 and 4 are N3, movement time unscored). Both nights of a person
        have one subject, e.g. SC400. Metadata: age and sex, from the tables if they can be read,
        else from the headers; site (the study), night (1 or 2), treatment ("placebo" or
        "temazepam", telemetry only). ``lights`` has the time of lights off in the tables.
        Samples are read when they are used.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    Warns
    -----
    RecordingWarning
        If a table of subjects cannot be read.

    References
    ----------
    Kemp B, Zwinderman AH, Tuk B, Kamphuisen HAC, Oberye JJL (2000). Analysis of a sleep-dependent
    neuronal feedback loop: the slow-wave microcontinuity of the EEG. IEEE Trans Biomed Eng 47(9),
    1185-1194. Data: PhysioNet, ODC-BY 1.0.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import load_sleep_edf
    >>> cohort = load_sleep_edf("folder/of/the/data/set")  # doctest: +SKIP
    >>> load_sleep_edf(".")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: . holds no *-PSG.edf; accepted is the ...
    """
    folder = Path(folder)
    whole = any((folder / study.folder).is_dir() for study in _STUDIES.values())
    paths = find_files(folder, "sleep-*/*-PSG.edf" if whole else "*-PSG.edf", _DATASET)
    subjects = _read_subjects([folder, folder.parent])
    return as_cohort(read_each(paths, lambda path: _read_night(path, subjects)))


def _read_night(path: Path, subjects: _Subjects) -> Recording:
    name = _NAME.fullmatch(path.stem)
    if name is None:
        raise ReadError(
            f"{path} is not named as in {_DATASET}; accepted are SC4ssNE0-PSG.edf and "
            "ST7ssNJ0-PSG.edf. Move it away, or read it with read_recording."
        )
    study, subject, night = name[1].upper(), int(name[2]), int(name[3])
    row = dict(subjects.get((study, subject, night), {}))
    clock = row.pop("lights_off", None)
    metadata = {"site": _STUDIES[study].folder, "night": night, **row}
    recording = read_recording(path, metadata=metadata)
    if recording.start is not None and clock is not None:
        lights_off = seconds_after(recording.start, clock)
        if lights_off < recording.duration:
            recording.lights = (lights_off, None)
    return recording


def _read_subjects(folders: Sequence[Path]) -> _Subjects:
    """The tables of subjects, each from the first of these folders that holds it."""
    subjects: _Subjects = {}
    for code, study in _STUDIES.items():
        paths = [folder / f"{study.table}{ext}" for folder in folders for ext in (".csv", ".xls")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            continue
        try:
            with only_read_errors(path, "the reader of tables", DOWNLOAD_AGAIN, quotes=True):
                check_file(path, MOST_TABLE_BYTES)
                subjects.update(_parse_subjects(_read_rows(path), code, study))
        except (ImportError, ReadError) as error:
            warn(
                f"{path} cannot be read ({error}), so age and sex are those of the headers and "
                "lights off is unknown. pip install 'sleep2vec-sklearn[fetch]', or save the table "
                f"as {study.table}.csv in the same folder.",
                RecordingWarning,
            )
    return subjects


def _read_rows(path: Path) -> list[list]:
    if path.suffix == ".csv":
        # the table of telemetry has a header of two lines
        table = pd.read_csv(path, header=None, dtype=str, names=range(8), skip_blank_lines=True)
        return table.values.tolist()
    return pd.read_excel(path, engine="calamine", header=None).values.tolist()


def _parse_subjects(rows: list[list], code: str, study: _Study) -> _Subjects:
    subjects: _Subjects = {}
    for row in rows:
        number = _as_number(row[0])
        if number is None:
            continue
        for night_column, lights_column, treatment in study.nights:
            night = _as_number(row[night_column])
            values = {
                "age": _as_number(row[study.age]),
                "sex": study.sexes.get(_as_number(row[study.sex]) or 0),
                "treatment": treatment,
                "lights_off": _as_time_of_day(row[lights_column]),
            }
            key = (code, number, -1 if night is None else night)
            subjects[key] = {name: value for name, value in values.items() if value is not None}
    if not subjects:
        raise ValueError("it has no row that starts with a subject's number")
    return subjects


def _as_number(cell: Any) -> int | None:
    try:
        return int(float(cell))
    except (TypeError, ValueError):
        return None


def _as_time_of_day(cell: Any) -> timedelta | None:
    """A time, a text such as 00:38 or 00:38:00, or a spreadsheet's fraction of a day."""
    if isinstance(cell, time):
        return timedelta(hours=cell.hour, minutes=cell.minute, seconds=cell.second)
    clock = re.search(r"(\d{1,2}):(\d\d)(?::(\d\d))?", str(cell))
    if clock:
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return timedelta(hours=hours, minutes=minutes, seconds=seconds)
    try:
        fraction = float(cell)
    except (TypeError, ValueError):
        return None
    # a missing cell is NaN
    return timedelta(seconds=round(fraction % 1 * _DAY_SECONDS)) if fraction == fraction else None
