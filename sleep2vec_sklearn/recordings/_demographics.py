# SPDX-License-Identifier: BSD-3-Clause
"""Age, sex and other facts about subjects, from recordings or a table of metadata."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._warnings import listed, warn
from ..errors import InvalidRecordingError, RecordingWarning
from .recording import Recording, as_recording, describe_recording

COLUMNS = ("subject", "age", "sex", "site")
OLDEST = 120
LARGEST_BMI = 150
_SEXES = {"f": 0.0, "female": 0.0, "woman": 0.0, "m": 1.0, "male": 1.0, "man": 1.0}
_UNKNOWN = (
    "", "?", "-", ".", "n/a", "na", "nan", "<na>", "nat", "none", "null", "unknown", "missing",
    "not reported", "not known",
)  # fmt: skip
MISSING = "missing"  # no category is called so
_GROUP = re.compile(r"[<>]=?\s*\d+|\d+\s*\+")  # of ages, such as 90+
_AGES = re.compile(r"(.*_)?age(_.*)?")
_BMIS = re.compile(r"(nsrr_)?bmi(_s\d)?")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(,\d+)*")
_NO_SEX = ("x", "u", "other")


class CategoryText(str):
    """A text from a column of pandas' categories; "9" among them is no number."""

    __slots__ = ()


class CategoryCode(int):
    """A whole number from a column of pandas' categories: a code, not an amount."""


class CategoryLevel(float):
    """Another number from a column of pandas' categories."""

    __slots__ = ()


_MARKS: dict[type, Callable[[Any], Any]] = {
    str: CategoryText, int: CategoryCode, float: CategoryLevel
}  # fmt: skip
_MARKED = (CategoryText, CategoryCode, CategoryLevel)


def mark_category(value: Any) -> Any:
    """A value of a column of categories, as one that says so itself, also without the column.

    Booleans stay, which are 0 and 1 with a column or without, and so does what is no number.
    """
    return _MARKS.get(type(value), lambda same: same)(value)


def describe_subjects(
    recordings: Sequence[Recording], metadata: pd.DataFrame | None
) -> pd.DataFrame:
    """The :func:`subject_table` of recordings, from ``metadata`` as far as it has the columns."""
    values = {name: [r.metadata.get(name) for r in recordings] for name in COLUMNS}
    values["subject"] = [r.subject for r in recordings]
    if metadata is not None:
        rows = match_rows(metadata, [recording.id for recording in recordings])
        values |= {name: rows[name].tolist() for name in COLUMNS if name in rows.columns}
    names = [describe_recording(recording, i) for i, recording in enumerate(recordings)]
    for column, read in (("age", read_age), ("sex", read_sex)):
        values[column] = [read(*pair) for pair in zip(values[column], names, strict=True)]
    for column in ("site", "subject"):
        values[column] = [read_text(value) for value in values[column]]
    return subject_table(name_recordings(recordings), values)


def subject_table(ids: Iterable[str], values: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """A table of subject and site (text or None), age and sex (float64 or NaN) by recording."""
    # dtypes are explicit, or they would depend on the values and on the version of pandas
    index = pd.Index(list(ids), name="recording", dtype=object)
    frame = pd.DataFrame(index=index)
    for name in COLUMNS:
        if name in ("age", "sex"):
            frame[name] = np.array(values[name], dtype=np.float64)
        else:
            frame[name] = pd.Series(list(values[name]), index, dtype=object)
    return frame


def match_rows(metadata: pd.DataFrame, ids: list[Any]) -> pd.DataFrame:
    """The rows of ``metadata`` in the order of ``ids``; by order only if no recording has an id."""
    if not set(COLUMNS).intersection(metadata.columns):
        columns = ", ".join(map(repr, metadata.columns[:8])) or "none"
        raise InvalidRecordingError(
            "metadata has none of the columns age, sex, site and subject, written so; its columns: "
            f"{columns}. Rename them, or leave metadata out."
        )
    repeated = metadata.columns[metadata.columns.duplicated()]
    if len(repeated):
        raise InvalidRecordingError(
            f"metadata has more than one column {repeated[0]!r}; accepted is one of each name."
        )
    if all(name is None for name in ids):
        if len(metadata) == len(ids) and isinstance(metadata.index, pd.RangeIndex):
            return metadata
        raise InvalidRecordingError(
            f"metadata has {len(metadata)} rows, with an index of {metadata.index.dtype}, for "
            f"{len(ids)} recordings without an id; accepted are as many rows in the same order. "
            "Give Recording(..., id=...), or match by order with metadata.reset_index(drop=True)."
        )
    if None in ids:
        raise InvalidRecordingError(
            f"recording {ids.index(None)} has no id, but others have; a table is matched by id or "
            "by order. Give each one an id with Recording(..., id=...), or none of them."
        )
    names, wanted = metadata.index.map(str), [str(name) for name in ids]
    repeated = names[names.duplicated()]
    if len(repeated):
        raise InvalidRecordingError(
            f"metadata has more than one row for recording {repeated[0]!r}; accepted is one row "
            "per recording, with its id in the index."
        )
    rows = names.get_indexer(wanted)
    if (rows < 0).any():
        missing = [name for name, row in zip(wanted, rows, strict=True) if row < 0]
        raise InvalidRecordingError(
            f"metadata has no row for {len(missing)} of {len(ids)} recordings, for example "
            f"{', '.join(map(repr, missing[:3]))}; its index holds "
            f"{', '.join(map(repr, names[:3])) or 'nothing'}. Put the recordings' ids there with "
            "metadata.set_index(...), and add an empty row for a recording nothing is known of."
        )
    return metadata.iloc[rows]


def list_recordings(recordings: Any) -> list[Recording]:
    """Recordings of any iterable as a list; neither one recording nor empty."""
    refused = isinstance(recordings, Mapping | str | bytes | os.PathLike)
    if refused or not isinstance(recordings, Iterable):
        raise InvalidRecordingError(
            f"recordings is of type {type(recordings).__name__}; accepted is a list of recordings, "
            "as read_cohort gives it for a folder of files, also where there is only one."
        )
    listed = [as_recording(r, i) for i, r in enumerate(recordings)]
    if not listed:
        raise InvalidRecordingError("recordings is empty; there is nothing to prepare.")
    return listed


def name_recordings(recordings: Sequence[Recording], required: bool = False) -> list[str]:
    """Unique ids that can be written to a file; "recording i" for one without, unless required."""
    ids = []
    for i, recording in enumerate(recordings):
        if recording.id is None and required:
            raise InvalidRecordingError(
                f"recording {i} has no id, by which a folder finds its night again. Give "
                "it one: Recording(..., id='...')."
            )
        ids.append(describe_recording(None, i) if recording.id is None else str(recording.id))
    for i, name in enumerate(ids):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InvalidRecordingError(
                f"recording {i} has the id {name!r}, which is not valid Unicode; as a rule it is a "
                "file name in another encoding. Give it an id of its own."
            ) from None
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise InvalidRecordingError(
            f"{len(repeated)} ids belong to several recordings, for example "
            f"{', '.join(map(repr, repeated[:3]))}. Make them unique, for example with the "
            "site in front."
        )
    return ids


def read_text(value: Any) -> str | None:
    """A value as text; None if it means unknown."""
    text = "" if value is None else str(value).strip()
    return None if text.lower() in _UNKNOWN else text


def read_sex(value: Any, name: str) -> float:
    """0 for female, 1 for male, NaN for unknown; errors begin with ``name``."""
    text = read_text(value)
    if text is None or text.lower() in _NO_SEX:
        return np.nan
    if isinstance(value, numbers.Real | np.bool_) and float(value) in (0.0, 1.0):
        return float(value)
    if text.lower() not in _SEXES:
        raise InvalidRecordingError(
            f"{name}: 'sex' is {value!r}; accepted are F or female, M or male, 0 (female), "
            "1 (male), and None where it is not known. Say what other codes mean, e.g. "
            "cohort.metadata['sex'] = cohort.metadata['sex'].map({1: 'M', 2: 'F'})."
        )
    return _SEXES[text.lower()]


def read_age(value: Any, name: str, field: str = "age") -> float:
    """Age in years, NaN for unknown; errors begin with ``name``."""
    is_group = isinstance(value, str) and _GROUP.fullmatch(value.strip()) is not None
    age = math.inf if is_group else read_number(value, field, name)
    if age < 0 or age > OLDEST:
        raise InvalidRecordingError(
            f"{name}: {field!r} is {value!r}; accepted are 0 to {OLDEST} years, and None where it "
            "is not known. Codes such as -1 and 999 mean None; for a group such as '90+' state an "
            "age of your choice."
        )
    return age


def read_bmi(value: Any, name: str, field: str = "bmi") -> float:
    """BMI in kg/m2, NaN for unknown; errors begin with ``name``."""
    bmi = read_number(value, field, name)
    if bmi <= 0 or bmi > LARGEST_BMI:
        raise InvalidRecordingError(
            f"{name}: {field!r} is {value!r}; accepted are above 0 to {LARGEST_BMI} kg/m2, and "
            "None where it is not known. Codes such as -9 and 999 mean None."
        )
    return bmi


def is_bmi(field: str) -> bool:
    """Whether a field is a BMI by its name, such as bmi, nsrr_bmi or bmi_s1."""
    return _BMIS.fullmatch(field.lower()) is not None


def is_age(field: str) -> bool:
    """Whether a field is an age by its name, such as age, nsrr_age or age_s1."""
    return _AGES.fullmatch(field.lower()) is not None


def read_category(value: Any, declared: bool = False) -> str | None:
    """A category as text, None for unknown; 1.0 is "1", as a gap makes floats of integer codes.

    "none" is a category, as of apnoea; of a column of pandas' categories ``declared`` as such, so
    is every word but "missing", which stands for what is unknown.
    """
    declared = declared or isinstance(value, _MARKED)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, str):
        text = value.strip()
        if text.lower() == "none" or (declared and text.lower() not in ("", MISSING)):
            return text
    return read_text(value)


def warn_of_alike(words: Mapping[str, Iterable[str]]) -> None:
    """Warn once of categories of fields that differ in case or spaces only."""
    found = []
    for field, stated in words.items():
        spellings: dict[str, list[str]] = {}
        for word in sorted(set(stated)):
            spellings.setdefault(" ".join(word.casefold().split()), []).append(word)
        several = [alike for alike in spellings.values() if len(alike) > 1]
        found += [f"{field} has {' and '.join(map(repr, alike))}" for alike in several]
    if found:
        warn(
            f"categories differ in case or spaces only and are taken as different: "
            f"{listed(found)}. Write each in one way, such as by str.strip().str.lower().",
            RecordingWarning,
        )


def states_categories(facts: Sequence[Mapping[str, Any]], field: str) -> bool:
    """Whether a field of recordings' metadata has categories: by pandas' dtype, or all words."""
    stated = [value for known in facts if read_category(value := known.get(field)) is not None]
    if any(isinstance(value, _MARKED) for value in stated):
        return True
    numeric = (reads_as_number(value) or isinstance(value, bool | np.bool_) for value in stated)
    return bool(stated) and not any(numeric)


def reads_as_number(value: Any) -> bool:
    """Whether a value is meant as a number: also a text of one, with whichever decimal mark."""
    if not isinstance(value, str):
        return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    try:
        float(value)
    except ValueError:
        return _DECIMAL_COMMA.fullmatch(value.strip()) is not None
    return True


def read_number(value: Any, field: str, name: str) -> float:
    """A finite number, NaN for unknown, from a number, its text or a boolean."""
    text = read_text(value)
    if text is None:
        return np.nan
    if _DECIMAL_COMMA.fullmatch(text):
        # 1,234 may be either, so nobody guesses
        raise InvalidRecordingError(
            f"{name}: {field!r} is {value!r}, with a comma; accepted is a decimal point. Read the "
            "table by pandas.read_csv(..., decimal=','), or give it to read_cohort as a file."
        )
    try:
        number = float(value if isinstance(value, bool | np.bool_) else text)
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise InvalidRecordingError(
            f"{name}: {field!r} is {value!r}; accepted is a finite number, or None where it is "
            "not known. Name the field in categorical if its values are categories, or leave it "
            "out."
        )
    return number
