# SPDX-License-Identifier: BSD-3-Clause
"""How age, sex and other facts about a sleeper are read from whatever a table holds."""

from __future__ import annotations

import math
import numbers
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from .recording import Recording, as_recording, describe_recording

__all__ = [
    "COLUMNS",
    "OLDEST",
    "describe_subjects",
    "list_recordings",
    "match_rows",
    "name_recordings",
    "read_age",
    "read_number",
    "read_sex",
    "read_text",
    "subject_table",
]

OLDEST = 120
_SEXES = {"f": 0.0, "female": 0.0, "woman": 0.0, "m": 1.0, "male": 1.0, "man": 1.0}
_UNKNOWN = ("", "?", "-", "n/a", "na", "nan", "<na>", "nat", "none", "null", "unknown")
_NO_SEX = ("x", "u", "other")


def read_text(value) -> str | None:
    """A value as text, None where it says that nothing is known."""
    text = "" if value is None else str(value).strip()
    return None if text.lower() in _UNKNOWN else text


def read_sex(value, place: str) -> float:
    """0 for female, 1 for male, NaN where it is not known.

    Parameters
    ----------
    value : object
        A word in a common spelling, 0 or 1, or one of many ways to say nothing.
    place : str
        Whose it is, for the error.

    Returns
    -------
    float

    Raises
    ------
    InvalidRecordingError
        If the word or the number is no such code.
    """
    text = read_text(value)
    if text is None or text.lower() in _NO_SEX:
        return np.nan
    if isinstance(value, numbers.Real | np.bool_) and float(value) in (0.0, 1.0):
        return float(value)
    if text.lower() not in _SEXES:
        raise InvalidRecordingError(
            f"{place}: 'sex' is {value!r}; accepted are F or female, M or male, 0 (female), "
            "1 (male), and None where it is not known."
        )
    return _SEXES[text.lower()]


def read_number(value, field: str, place: str) -> float:
    """A finite number, NaN where it is not known.

    Parameters
    ----------
    value : object
        A number, its text, True or False, or one of many ways to say nothing.
    field, place : str
        What it is, and whose, for the error.

    Returns
    -------
    float

    Raises
    ------
    InvalidRecordingError
        If it is no number, or infinite.
    """
    text = read_text(value)
    if text is None:
        return np.nan
    try:
        number = float(value if isinstance(value, bool | np.bool_) else text)
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise InvalidRecordingError(
            f"{place}: {field!r} is {value!r}; accepted is a finite number, or None where it is "
            "not known. Code categories as numbers, or leave the field out."
        )
    return number


def read_age(value, place: str) -> float:
    """Years, NaN where they are not known.

    Parameters
    ----------
    value : object
        As for :func:`read_number`.
    place : str
        Whose it is, for the error.

    Returns
    -------
    float

    Raises
    ------
    InvalidRecordingError
        If it is no number, below 0 or above 120.
    """
    age = read_number(value, "age", place)
    if age < 0 or age > OLDEST:
        raise InvalidRecordingError(
            f"{place}: 'age' is {value!r}; accepted are 0 to {OLDEST} years, and None where it is "
            "not known."
        )
    return age


COLUMNS = ("subject", "age", "sex", "site")
_SHOWN = 3


def list_recordings(recordings) -> list[Recording]:
    """A list of recordings, of anything that gives some one after the other.

    Raises
    ------
    InvalidRecordingError
        If it is one recording, a path, or something else; or empty.
    """
    wrong = isinstance(recordings, Mapping | str | bytes | os.PathLike)
    if wrong or not isinstance(recordings, Iterable):
        raise InvalidRecordingError(
            f"recordings is of type {type(recordings).__name__}; accepted is a list of recordings, "
            "as read_cohort gives it for a folder of files, also where there is only one."
        )
    listed = [as_recording(r, place) for place, r in enumerate(recordings)]
    if not listed:
        raise InvalidRecordingError("recordings is empty; there is nothing to prepare.")
    return listed


def name_recordings(recordings: Sequence[Recording], required: bool = False) -> list[str]:
    """Ids, or places in the list where there are none.

    Raises
    ------
    InvalidRecordingError
        If two are equal, one is missing that is ``required``, or one cannot be written.
    """
    nameless = [place for place, r in enumerate(recordings) if r.id is None]
    if required and nameless:
        raise InvalidRecordingError(
            f"recording {nameless[0]} has no id, by which a folder finds its night again. Give "
            "it one: Recording(..., id='...')."
        )
    ids = [
        describe_recording(None, place) if r.id is None else str(r.id)
        for place, r in enumerate(recordings)
    ]
    for place, name in enumerate(ids):
        if not _is_writable(name):
            raise InvalidRecordingError(
                f"recording {place} has the id {name!r}, of which something is no Unicode; as a "
                "rule it is a file name in another encoding. Give it an id of its own."
            )
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise InvalidRecordingError(
            f"{len(repeated)} ids belong to several recordings, for example "
            f"{', '.join(map(repr, repeated[:_SHOWN]))}. Make them unique, for example with the "
            "site in front."
        )
    return ids


def _is_writable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def describe_subjects(
    recordings: Sequence[Recording], metadata: pd.DataFrame | None
) -> pd.DataFrame:
    """Subject, age, sex and site of each recording, from a table or the recordings themselves.

    Parameters
    ----------
    recordings : sequence of Recording
    metadata : DataFrame or None
        The index holds the recordings' ids; rows are taken in order only where no recording has
        one. What it has no column for is taken from the recordings.

    Returns
    -------
    DataFrame
        As :func:`subject_table` makes it.

    Raises
    ------
    InvalidRecordingError
        If rows and recordings cannot be matched, an age is below 0 or above 120, or a sex has an
        unknown code.
    """
    ids = [recording.id for recording in recordings]
    stated = {name: [r.metadata.get(name) for r in recordings] for name in COLUMNS}
    stated["subject"] = [r.subject for r in recordings]
    if metadata is not None:
        rows = match_rows(metadata, ids)
        stated |= {name: rows[name].tolist() for name in COLUMNS if name in rows.columns}
    places = [describe_recording(recording, place) for place, recording in enumerate(recordings)]
    stated["age"] = [read_age(*age) for age in zip(stated["age"], places, strict=True)]
    stated["sex"] = [read_sex(*sex) for sex in zip(stated["sex"], places, strict=True)]
    stated["site"] = [read_text(site) for site in stated["site"]]
    stated["subject"] = [read_text(subject) for subject in stated["subject"]]
    return subject_table(name_recordings(recordings), stated)


def subject_table(ids: Sequence[str], values: Mapping[str, Sequence]) -> pd.DataFrame:
    """A table of subject, age, sex and site by recording.

    Age and sex (0 female, 1 male) are float64, NaN where they are not known; subject and site are
    text or None.
    """
    # types are named, or they would depend on what a column holds and on the version of pandas
    index = pd.Index(list(ids), name="recording", dtype=object)
    frame = pd.DataFrame(index=index)
    for name in COLUMNS:
        if name in ("age", "sex"):
            frame[name] = np.array(values[name], dtype=np.float64)
        else:
            frame[name] = pd.Series(list(values[name]), index, dtype=object)
    return frame


def match_rows(metadata: pd.DataFrame, ids: list) -> pd.DataFrame:
    """The rows of ``metadata`` in the order of ``ids``; by order only where there are no ids.

    Raises
    ------
    InvalidRecordingError
        If a recording has no row, or rows and recordings cannot be matched.
    """
    if not {"age", "sex", "site", "subject"}.intersection(metadata.columns):
        has = ", ".join(map(repr, metadata.columns[:8])) or "none"
        raise InvalidRecordingError(
            "metadata has none of the columns age, sex, site and subject, written so; its columns: "
            f"{has}. Rename them, or leave metadata out."
        )
    twice = metadata.columns[metadata.columns.duplicated()]
    if len(twice):
        raise InvalidRecordingError(
            f"metadata has more than one column {twice[0]!r}; accepted is one of each name."
        )
    if not ids or all(name is None for name in ids):
        _check_order(metadata, len(ids))
        return metadata
    if None in ids:
        raise InvalidRecordingError(
            f"recording {ids.index(None)} has no id, but others have; a table is matched by id or "
            "by order. Give each one an id with Recording(..., id=...), or none of them."
        )
    names, wanted = metadata.index.map(str), [str(name) for name in ids]
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise InvalidRecordingError(
            f"metadata has more than one row for recording {twice!r}; accepted is one row per "
            "recording, with its id in the index."
        )
    places = names.get_indexer(wanted)
    if (places < 0).any():
        lost = [name for name, place in zip(wanted, places, strict=True) if place < 0]
        raise InvalidRecordingError(
            f"metadata has no row for {len(lost)} of {len(ids)} recordings, for example "
            f"{', '.join(map(repr, lost[:3]))}; its index holds "
            f"{', '.join(map(repr, names[:3])) or 'nothing'}. Put the recordings' ids there with "
            "metadata.set_index(...), and add an empty row for a recording nothing is known of."
        )
    return metadata.iloc[places]


def _check_order(metadata: pd.DataFrame, n_recordings: int) -> None:
    if len(metadata) != n_recordings:
        raise InvalidRecordingError(
            f"metadata has {len(metadata)} rows for {n_recordings} recordings without an id. Give "
            "the recordings ids, and put them into the table's index."
        )
    if not isinstance(metadata.index, pd.RangeIndex):
        raise InvalidRecordingError(
            f"the rows of metadata have ids ({metadata.index[0]!r}, ...), but the recordings have "
            "none, so they cannot be matched. Give Recording(..., id=...), or match by order with "
            "metadata.reset_index(drop=True)."
        )
