# SPDX-License-Identifier: BSD-3-Clause
"""The tables of the UCD database: who slept, in which stage, and what happened when."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import ReadError, RecordingWarning

__all__ = ["as_stages_of_ucddb", "read_people", "read_respiratory_events", "read_stage_codes"]

_DAY = 86_400
_STAGES = np.array([0, 4, 1, 2, 3, 3])
_COLUMNS = {
    "Age": "age",
    "Gender": "sex",
    "BMI": "bmi",
    "PSG AHI": "ahi",
    "Epworth Sleepiness Score": "epworth",
}
_START = "PSG Start Time"
_EVENTS = {
    "HYP-O": "obstructive_hypopnea",
    "HYP-C": "central_hypopnea",
    "HYP-M": "mixed_hypopnea",
    "APNEA-O": "obstructive_apnea",
    "APNEA-C": "central_apnea",
    "APNEA-M": "mixed_apnea",
    "PB": "periodic_breathing",
}


def as_stages_of_ucddb(codes: np.ndarray) -> np.ndarray:
    """Stages from the published codes: 0 W, 1 REM, 2 N1, 3 N2, 4 and 5 N3, others unscored."""
    known = (codes >= 0) & (codes < len(_STAGES))
    return np.where(known, _STAGES[np.where(known, codes, 0)], -1)


def read_stage_codes(path: Path) -> np.ndarray:
    """The published code of each 30-s epoch, one per line.

    Raises
    ------
    ReadError
        If the file is missing or holds anything else.
    """
    try:
        return np.loadtxt(path, dtype=int, ndmin=1)
    except (OSError, ValueError) as error:
        raise ReadError(
            f"{path} cannot be read: {error}. Accepted is a stage code per line, as published; "
            "download it again."
        ) from error


def read_people(folder: Path) -> dict[str, dict]:
    """What ``SubjectDetails`` says of each study, by its number in capitals.

    Returns
    -------
    dict
        Study to age, sex, bmi, ahi, epworth and start; empty where the table cannot be read.

    Warns
    -----
    RecordingWarning
        If it cannot be read.
    """
    try:
        if (folder / "SubjectDetails.csv").exists():
            table = pd.read_csv(folder / "SubjectDetails.csv")
        else:
            table = pd.read_excel(folder / "SubjectDetails.xls", engine="calamine")
        table.columns = table.columns.str.strip()
        people = table.rename(columns=_COLUMNS).set_index("Study Number")
        starts = people[_START].astype(str).map(_clock_time)
        people = people[list(_COLUMNS.values())].assign(start=starts).to_dict(orient="index")
    except (ImportError, OSError, ValueError, KeyError) as error:
        warnings.warn(
            f"{folder / 'SubjectDetails.xls'} cannot be read ({error}), so age, sex and the like "
            "are unknown, as are events where only this table has the start. pip install "
            "python-calamine, or save the table as SubjectDetails.csv beside it.",
            RecordingWarning,
            stacklevel=3,
        )
        return {}
    return people


def read_respiratory_events(path: Path, start: datetime | None) -> pd.DataFrame | None:
    """Events of a night, in s after its start; None without a file or a start.

    Raises
    ------
    ReadError
        If an event has no clock time.
    """
    if start is None or not path.exists():
        return None
    rows = []
    began = _seconds_of(start.strftime("%H:%M:%S"))
    for line in path.read_text(encoding="latin-1").splitlines():
        clock, kind, length = line[:8], line[10:20].split(" ")[0], line[24:34].strip()
        if kind in _EVENTS and length.isdigit():
            # Events carry clock times; those after midnight belong to the same night.
            onset = float((_clock_of_event(clock, path) - began) % _DAY)
            rows.append((onset, float(length), _EVENTS[kind]))
    return pd.DataFrame(rows, columns=["onset", "duration", "type"])


def _clock_time(text: str) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=_seconds_of(text))


def _clock_of_event(text: str, path: Path) -> int:
    try:
        return _seconds_of(text)
    except ValueError as error:
        raise ReadError(
            f"{path} has an event at {text!r}; accepted are clock times such as 01:23:45 in the "
            "first eight columns, as published. Download it again."
        ) from error


def _seconds_of(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return 3600 * hours + 60 * minutes + seconds
