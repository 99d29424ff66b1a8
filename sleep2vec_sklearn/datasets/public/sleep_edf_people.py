# SPDX-License-Identifier: BSD-3-Clause
"""The two tables of subjects of Sleep-EDF Expanded, which code sex the opposite way."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from datetime import time, timedelta
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from ...errors import RecordingWarning

__all__ = ["People", "read_people"]

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
            warnings.warn(
                f"{path} cannot be read ({error}), so age and sex are those of the headers and "
                "lights off is unknown. pip install 'sleep2vec-sklearn[fetch]', or save the table "
                f"as {stem}.csv beside it.",
                RecordingWarning,
                stacklevel=3,
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
