# SPDX-License-Identifier: BSD-3-Clause
"""Sleep-EDF Expanded (Kemp et al. 2000): 197 nights of 100 people, with cassette and telemetry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from .._warnings import warn
from ..errors import ReadError, RecordingWarning
from ..readers import read_recording
from ..recordings import Cohort, Recording
from ._files import as_cohort, find_files

__all__ = [
    "People",
    "load_sleep_edf",
    "read_people",
]

_DATASET = "Sleep-EDF Expanded 1.0.0 (PhysioNet)"
_STUDIES = {"SC4": "sleep-cassette", "ST7": "sleep-telemetry"}
_NAME = re.compile(r"(SC4|ST7)(\d\d)(\d)[A-Z]\d-PSG", re.IGNORECASE)
_DAY = 86_400.0


def load_sleep_edf(folder) -> Cohort:
    """Load the nights of both studies, or of the one whose folder is given.

    Cassettes ran for about 20 hours at home, so a recording is a day and a night; its EMG and
    airflow were kept at 1 Hz only, which is too slow to be used. Telemetry nights in hospital were
    spent with temazepam or placebo.

    Parameters
    ----------
    folder : path-like
        Holds ``sleep-cassette/SC4ssNE0-PSG.edf`` and ``sleep-telemetry/ST7ssNJ0-PSG.edf`` (either
        may be absent) with their ``*-Hypnogram.edf``, or the files themselves. Beside the folders
        or the files, the tables ``SC-subjects.xls`` and ``ST-subjects.xls`` are read where they
        are; that needs ``pip install sleep2vec-sklearn[fetch]``, or the tables saved as ``.csv``.

    Returns
    -------
    Cohort
        One recording per night: ``eeg`` (Fpz-Cz), ``eog``, with telemetry ``emg``; stages by
        Rechtschaffen and Kales (3 and 4 are N3, movement time unscored). The nights of one person
        share their subject, e.g. SC400. Metadata: age and sex, from the tables where they can be
        read, else from the headers; site (the study), night (1 or 2), treatment ("placebo" or
        "temazepam", telemetry only). ``lights`` has the time of lights off that the tables give.
        Samples are read when they are used.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    Warns
    -----
    RecordingWarning
        If a table of subjects is there and cannot be read.

    References
    ----------
    Kemp B, Zwinderman AH, Tuk B, Kamphuisen HAC, Oberye JJL (2000). Analysis of a sleep-dependent
    neuronal feedback loop: the slow-wave microcontinuity of the EEG. IEEE Trans Biomed Eng 47(9),
    1185-1194. Data: PhysioNet, ODC-BY 1.0.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sleep2vec_sklearn.datasets import load_sleep_edf
    >>> cohort = load_sleep_edf("folder/of/the/data/set")  # doctest: +SKIP
    >>> Path("empty").mkdir()
    >>> load_sleep_edf("empty")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: empty holds no *-PSG.edf; accepted is the ...
    """
    folder = Path(folder)
    inside = [study for study in _STUDIES.values() if (folder / study).is_dir()]
    pattern = "sleep-*/*-PSG.edf" if inside else "*-PSG.edf"
    paths = find_files(folder, pattern, _DATASET)
    people = read_people([folder, folder.parent])
    return as_cohort([_read_night(path, people) for path in paths])


def _read_night(path: Path, people: People) -> Recording:
    name = _NAME.fullmatch(path.stem)
    if name is None:
        raise ReadError(
            f"{path} is not named as in {_DATASET}; accepted are SC4ssNE0-PSG.edf and "
            "ST7ssNJ0-PSG.edf. Move it away, or read it with read_recording."
        )
    study, person, night = name[1].upper(), int(name[2]), int(name[3])
    told = dict(people.get((study, person, night), {}))
    clock = told.pop("lights_off", None)
    metadata = {"site": _STUDIES[study], "night": night, **told}
    recording = read_recording(path, metadata=metadata)
    off = _after(recording.start, clock)
    if off is not None and off < recording.duration:
        recording.lights = (off, None)
    return recording


def _after(start: datetime | None, clock: timedelta | None) -> float | None:
    """Seconds from the recording's start to a time of day."""
    if start is None or clock is None:
        return None
    began = timedelta(hours=start.hour, minutes=start.minute, seconds=start.second)
    return (clock - began).total_seconds() % _DAY


People: TypeAlias = dict[tuple[str, int, int], dict]

_SEXES = {"SC4": {1: "F", 2: "M"}, "ST7": {1: "M", 2: "F"}}
_TABLES = {"SC4": "SC-subjects", "ST7": "ST-subjects"}
# columns of the night and of lights off, and what was taken
_NIGHTS = {"SC4": ((1, 4, None),), "ST7": ((3, 4, "placebo"), (5, 6, "temazepam"))}
_AGE_AND_SEX = {"SC4": (2, 3), "ST7": (1, 2)}


def read_people(folders: Sequence[Path]) -> People:
    """Read what the tables say of each night.

    Parameters
    ----------
    folders : sequence of Path
        Where they may lie, as ``.xls`` or ``.csv``; the first is taken.

    Returns
    -------
    dict
        (study, subject, night) to age, sex, lights_off (time of day as a timedelta, if given) and
        treatment.

    Warns
    -----
    RecordingWarning
        If a table is there and cannot be read; its nights are left out.
    """
    people: People = {}
    for study, stem in _TABLES.items():
        names = [folder / f"{stem}{suffix}" for folder in folders for suffix in (".csv", ".xls")]
        path = next((name for name in names if name.is_file()), None)
        if path is None:
            continue
        try:
            people.update(_people_of(_read_rows(path), study))
        except (ImportError, OSError, ValueError, KeyError, IndexError) as error:
            warn(
                f"{path} cannot be read ({error}), so age and sex are those of the headers and "
                "lights off is unknown. pip install 'sleep2vec-sklearn[fetch]', or save the table "
                f"as {stem}.csv beside it.",
                RecordingWarning,
            )
    return people


def _read_rows(path: Path) -> list[list]:
    if path.suffix == ".csv":
        # without a header, as that of telemetry has two lines
        text = pd.read_csv(path, header=None, dtype=str, names=range(8), skip_blank_lines=True)
        return text.values.tolist()
    return pd.read_excel(path, engine="calamine", header=None).values.tolist()


def _people_of(rows: list[list], study: str) -> People:
    people: People = {}
    age_column, sex_column = _AGE_AND_SEX[study]
    for row in rows:
        number = _number(row[0])
        if number is None:
            continue
        age, sex = _number(row[age_column]), _SEXES[study].get(_number(row[sex_column]))
        for night_column, lights_column, treatment in _NIGHTS[study]:
            night = _number(row[night_column])
            told = {"age": age, "sex": sex, "treatment": treatment}
            told["lights_off"] = _time_of_day(row[lights_column])
            key = (study, number, -1 if night is None else night)
            people[key] = {name: value for name, value in told.items() if value is not None}
    if not people:
        raise ValueError("it has no row that starts with a subject's number")
    return people


def _number(cell) -> int | None:
    try:
        return int(float(cell))
    except (TypeError, ValueError):
        return None


def _time_of_day(cell) -> timedelta | None:
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
    return timedelta(seconds=round(fraction % 1 * 86_400)) if fraction == fraction else None
