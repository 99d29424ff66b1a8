# SPDX-License-Identifier: BSD-3-Clause
"""Tables of metadata: CSV files as programs write them, and their rows matched to nights."""

from __future__ import annotations

import csv
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._warnings import warn
from ..errors import ReadError, RecordingWarning
from ._boundary import MOST_TABLE_BYTES, check_archive, check_file
from ._delimited import read_text, split_line

# names of columns, without signs: a "File Name" is a file_name
_OF_RECORDINGS = ("path", "file", "filename", "id", "recording", "recordingid", "recordid")
_OF_SUBJECTS = (
    "subject", "subjectid", "participantid", "participant", "patient", "patientid", "nsrrid",
    "mesaid", "sofid", "wscid", "pid", "pptid", "obfpptid", "subjectcode",
)  # fmt: skip
_OF_VISITS = (
    "visit", "visitnumber", "visitid", "session", "sessionid", "ses", "wscvst", "vnum", "visitn",
    "timepoint", "rectype", "night",
)  # fmt: skip
_INDEX = "unnamed0"  # of a saved DataFrame, as pandas calls columns without a name
# keys are text, as the subjects 0001 and 1 differ
_TEXT = {*_OF_RECORDINGS, *_OF_SUBJECTS, *_OF_VISITS, "hypnogram", _INDEX}
_SHOWN = 3
_MOST_COLUMNS = 10_000


def read_table(
    path: str | PathLike[str], columns: Callable[[str], bool] | None = None
) -> pd.DataFrame:
    """A table of a CSV file with commas, semicolons or tabs, and points or commas in numbers.

    ``columns`` says of a name in lower case whether it is read. The columns that name recordings,
    subjects, visits and files are text. Sheets of Excel need openpyxl.
    """
    if not isinstance(path, str | PathLike):
        raise ReadError(
            f"the table is of type {type(path).__name__}; accepted are a DataFrame and a path. Use "
            "pd.DataFrame(table), or to_frame() of a Series."
        )
    path = Path(path)
    check_file(path, MOST_TABLE_BYTES)
    try:
        frame = _read_sheet(path) if path.suffix.lower() == ".xlsx" else _read_csv(path, columns)
    except (ReadError, ImportError):
        raise
    # pandas' own errors of parsing are ValueErrors, openpyxl's are those of zip and XML
    except Exception as error:
        raise ReadError(
            f"{path}: not a table that can be read ({str(error).strip()}). Accepted are CSV "
            "files with one line of names and as many values in each line below it."
        ) from error
    nameless = [name for name in frame if name.lower().startswith("unnamed:")]
    return frame.drop(columns=[name for name in nameless if frame[name].isna().all()])


def _read_csv(path: Path, columns: Callable[[str], bool] | None) -> pd.DataFrame:
    text = read_text(path)
    separator = split_line(re.split("[\r\n]", text, maxsplit=1)[0])[1] or ","
    _check_end(path, text, separator)
    data = text.encode()
    names = pd.read_csv(BytesIO(data), sep=separator, nrows=0).columns
    if len(names) > _MOST_COLUMNS:
        raise ReadError(
            f"{path}: has {len(names):,} columns; accepted are {_MOST_COLUMNS:,}. Keep those that "
            "are needed."
        )
    as_text = {name: str for name in names if _squash(name) in _TEXT}
    used = None if columns is None else [n for n in names if columns(n.strip().lower())]
    frame = pd.read_csv(
        BytesIO(data), sep=separator, dtype=as_text, usecols=used, low_memory=False,
        skipinitialspace=True,
    )  # fmt: skip
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"its lines have more values than its {len(names)} names")
    frame.columns = frame.columns.str.strip()
    return _read_numbers(frame, separator)


def _read_sheet(path: Path) -> pd.DataFrame:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_archive(path, archive.infolist())
    try:
        names = pd.read_excel(path, nrows=0).columns
    except ImportError as error:
        raise ImportError(
            f"{path}: sheets of Excel are read by openpyxl, which is not installed. Install it "
            "with: pip install openpyxl, or save the sheet as CSV."
        ) from error
    frame = pd.read_excel(path, dtype={name: str for name in names if _squash(name) in _TEXT})
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis=1)
    return _read_numbers(frame, "")


def _check_end(path: Path, text: str, separator: str) -> None:
    """Refuse a table whose last line lacks its end and values, as after a broken download."""
    if text.endswith(("\r", "\n")):
        return
    rows = csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    lengths = [len(row) for row in rows if any(row)]
    if len(lengths) > 1 and lengths[-1] < min(lengths[0], lengths[-2]):
        raise ReadError(
            f"{path}: cut short, its last line has {lengths[-1]} of {lengths[0]} values and no "
            "end. Download it again, or end the line if it is complete."
        )


def _read_numbers(frame: pd.DataFrame, separator: str) -> pd.DataFrame:
    """The table with numbers for text in its columns, those of keys apart."""
    for name in frame.columns:
        if _squash(name) not in _TEXT and frame[name].dtype.kind not in "ifb":
            frame[name] = _as_numbers(frame[name], separator)
    return frame


def _as_numbers(values: pd.Series, separator: str) -> pd.Series:
    """Numbers with commas as numbers, if most values are such; others stay as they are."""
    texts = values.dropna().astype(str)
    commas = texts[texts.str.contains(",")]
    # where commas part the cells, "1,234" is more than a thousand
    in_groups = separator == "," and commas.str.fullmatch(r"-?[1-9]\d{0,2}(,\d{3})+(\.\d+)?").all()
    plain = texts.str.replace(",", "" if in_groups else ".")
    numbers = pd.to_numeric(plain, errors="coerce")
    if commas.empty or numbers.notna().mean() <= 0.5:
        return values
    changed = values.astype(object)
    changed[numbers.dropna().index] = numbers.dropna()
    return changed.infer_objects()


def _squash(name: Any) -> str:
    """A name in lower case, without spaces and signs."""
    return re.sub(r"[\W_]", "", str(name).lower())


def plain_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the names that are looked for in lower case."""
    names = {name: str(name).lower() for name in table.columns}
    known = ("path", "hypnogram", "subject", "age", "sex", "bmi", "race", "site")
    renamed = {n: lower for n, lower in names.items() if lower in known and lower not in names}
    return table.rename(columns=renamed)


def with_subjects(table: pd.DataFrame, key: Any = None) -> pd.DataFrame:
    """The table with a column ``subject``, if one of another usual name is not the ``key``."""
    found = _find_columns(table, _OF_SUBJECTS)[:1]
    if not found or found[0] == key:
        return table
    subjects = table[found[0]]
    if subjects.dtype.kind == "f" and (subjects.dropna() % 1 == 0).all():
        # whole numbers that are not stated for every night
        subjects = subjects.astype("Int64").astype(object)
    return table.assign(subject=subjects)


def _find_columns(table: pd.DataFrame, names: Sequence[str]) -> list[Any]:
    """Columns of these names, in the order of the names."""
    by_name = {_squash(name): name for name in reversed(table.columns.tolist())}
    return [by_name[name] for name in names if name in by_name]


def same_key(key: Any) -> str:
    """A key as it is compared: in lower case, numbers without zeros in front and ``.0`` behind."""
    text = re.sub(r"\.0+$", "", str(key).strip().lower())
    return (text.lstrip("0") or "0") if text.isdigit() else text


@dataclass(frozen=True, slots=True)
class NightKeys:
    """By which keys a table may name a night, the surest first."""

    name: str  # in messages
    recording: tuple[str, ...]  # path, id, end of the path, file name, stem
    subject: tuple[str, ...]  # as stated, and without the study
    visit: str | None = None


def join(
    table: pd.DataFrame, nights: Sequence[NightKeys], extra: pd.DataFrame, on: str | None, what: str
) -> pd.DataFrame:
    """The table of nights with the columns of ``extra``, whose values have precedence."""
    extra = plain_names(extra)
    match = _match(nights, extra, on, what)
    column, by_subject, rows = match.column, match.by_subject, match.rows
    if not by_subject:
        extra = with_subjects(extra, column)
    missing = [night.name for night, row in zip(nights, rows, strict=True) if row < 0]
    named = f"{column or 'index'}"
    if len(missing) == len(nights):
        keys = extra.index if column is None else extra[column]
        subjects = list(dict.fromkeys(night.subject[0] for night in nights))
        called = f"subjects are called {', '.join(map(repr, subjects[:_SHOWN]))}"
        if not by_subject and _squash(column) not in _OF_SUBJECTS:
            called = f"nights are called {', '.join(map(repr, missing[:_SHOWN]))}"
        raise ReadError(
            f"no row of {what} belongs to a night: its {named} holds "
            f"{', '.join(map(repr, keys[:_SHOWN]))}, the {called}. Name them alike, or name the "
            "column that does with on=."
        )
    if missing:
        kind = "subjects" if by_subject else "recordings"
        unused = len(set(range(len(extra))) - set(rows))
        warn(
            f"{len(nights) - len(missing)} of {len(nights)} nights have a row in {what}, by its "
            f"{named} as {kind}; {unused} of its {len(extra)} rows belong to no night. "
            f"Without a row: {', '.join(map(repr, missing[:_SHOWN]))}"
            f"{', ...' if len(missing) > _SHOWN else ''}.",
            RecordingWarning,
        )
    dropped = {"path", "id", "Unnamed: 0", "subject" if by_subject else column}
    extra = extra[[name for name in extra.columns if name not in dropped]].reset_index(drop=True)
    extra = extra.reindex([row if row >= 0 else len(extra) for row in rows]).reset_index(drop=True)
    both = [name for name in extra.columns if name in table.columns]
    # an empty cell does not undo what is known
    extra = fill(extra, table[both], np.arange(len(table)))
    return pd.concat([table.drop(columns=both).reset_index(drop=True), extra], axis=1)


@dataclass(frozen=True, slots=True)
class _Match:
    """The row of each night (-1 for none) by the keys of one column, or of the index."""

    column: Any
    by_subject: bool
    keys: list[str | None]
    rows: list[int]
    repeated: str | None = None  # a subject that more than one row fits


def _match(nights: Sequence[NightKeys], extra: pd.DataFrame, on: str | None, what: str) -> _Match:
    """The match that finds most nights, the first of several; an error if it is not one to one."""
    found: list[_Match] = []
    for column in _candidates(extra, on):
        stated: Any = extra.index if column is None else extra[column]
        if column is None and stated.name is None and stated.equals(pd.RangeIndex(len(extra))):
            stated = [None] * len(extra)  # numbers of rows are no keys
        keys = [None if pd.isna(key) else str(key) for key in stated]
        if on != "subject":
            found.append(_Match(column, False, keys, _match_recordings(nights, keys)))
        if on != "recording":
            found.append(_Match(column, True, keys, *match_subjects(nights, keys, extra)))
    counts = [sum(row >= 0 for row in match.rows) for match in found]
    best = found[counts.index(max(counts))]
    for match, n in zip(found, counts, strict=True):
        # the index of a saved table numbers its rows
        if n < max(counts) or match.rows == best.rows or not n or _squash(match.column) == _INDEX:
            continue
        raise ReadError(
            f"{what} names each night by its column {best.column!r}, and another one by "
            f"{match.column!r}; accepted are columns that agree. Drop one, or pass the table as "
            "metadata= with on='recording' or on='subject'."
        )
    repeated, per = best.repeated, "subject, or one per subject and visit with a column such as"
    if best.by_subject:
        whose, fix = "the subject ", "Drop the others, or key the rows by recording."
        per = f"{per} 'visit'"
    else:
        of_key = Counter(key for key in best.keys if key is not None)
        repeated = next((key for key, count in of_key.items() if count > 1), None)
        whose, per, fix = "", "recording", "Drop the others."
    if repeated is not None:
        raise ReadError(
            f"{what} has more than one row for {whose}{repeated!r}; accepted is one row per {per}. "
            f"{fix}"
        )
    _refuse_shared_rows(nights, best, what)
    return best


def _refuse_shared_rows(nights: Sequence[NightKeys], match: _Match, what: str) -> None:
    """Raise if a row reaches two nights, or two subjects, as those of two studies do."""
    reached: dict[int, dict[str, None]] = defaultdict(dict)
    for night, row in zip(nights, match.rows, strict=True):
        reached[row][night.subject[0] if match.by_subject else night.recording[0]] = None
    shared = next((row for row, names in reached.items() if row >= 0 and len(names) > 1), None)
    if shared is None:
        return
    kind, fix = f"{len(reached[shared])} nights", "Name each by its path, or pass on='subject'."
    if match.by_subject:
        kind = "two subjects"
        fix = "Write them with the study, as here, or read the studies apart and add the cohorts."
    names = " and ".join(list(reached[shared])[:2])
    raise ReadError(f"the row {match.keys[shared]!r} of {what} fits {kind}, {names}. {fix}")


def _candidates(extra: pd.DataFrame, on: str | None) -> list[Any]:
    """The columns that may hold the keys, the usual ones first; None stands for the index."""
    if on not in (None, "subject", "recording"):
        if on in extra.columns:
            return [on]
        raise ReadError(
            f"on is {on!r}; accepted are 'subject', 'recording' and the columns of the metadata: "
            f"{', '.join(map(str, extra.columns))}."
        )
    names = {"subject": _OF_SUBJECTS, "recording": _OF_RECORDINGS}.get(
        on or "", (*_OF_RECORDINGS, *_OF_SUBJECTS)
    )
    return _find_columns(extra, (*names, _INDEX)) or [None]


def _match_recordings(nights: Sequence[NightKeys], keys: Sequence[str | None]) -> list[int]:
    """The row of each night by its path, name or stem, that no other row has; -1 for none."""
    suffix = re.compile(r"\.[a-z][a-z0-9]{1,4}$", re.IGNORECASE)
    exact: dict[str, set[int]] = defaultdict(set)
    shorter: dict[str, set[int]] = defaultdict(set)
    loose: dict[str, set[int]] = defaultdict(set)
    for row, key in enumerate(keys):
        if key is not None:
            name = Path(key.replace("\\", "/")).name
            exact[key.replace("\\", "/")].add(row)
            shorter[name].add(row)
            shorter[suffix.sub("", name)].add(row)
            loose[same_key(suffix.sub("", name))].add(row)
    rows = []
    for night in nights:
        found = [forms.get(form, set()) for forms in (exact, shorter) for form in night.recording]
        found.append(loose.get(same_key(night.recording[-1]), set()))
        rows.append(next((next(iter(places)) for places in found if len(places) == 1), -1))
    return rows


def match_subjects(
    nights: Sequence[NightKeys], keys: Sequence[str | None], extra: pd.DataFrame
) -> tuple[list[int], str | None]:
    """The row of each night by its subject and visit, and a key that fits several rows."""
    names = _find_columns(extra, _OF_VISITS)[:1]
    if names and _squash(names[0]) == "night" and len(set(keys)) == len(keys):
        names = []  # the number of nights of each subject, for example
    visits = [visit_key(v) for v in extra[names[0]]] if names else [None] * len(keys)
    exact: dict[str, list[int]] = defaultdict(list)
    loose: dict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        if key is not None:
            exact[key].append(i)
            loose[same_key(key)].append(i)
    rows, repeated = [], None
    for night in nights:
        found = next((exact[name] for name in night.subject if name in exact), [])
        found = found or next((loose[k] for k in map(same_key, night.subject) if k in loose), [])
        if night.visit is not None:
            found = [i for i in found if visits[i] in (None, night.visit)]
            # a row of this visit is surer than one that states none
            found = [i for i in found if visits[i] is not None] or found
        if len(found) > 1:
            repeated = repeated or keys[found[0]]
        rows.append(found[0] if len(found) == 1 else -1)
    return rows, repeated


def visit_key(visit: Any) -> str | None:
    """A visit as it is compared: ``visit-2``, ``ses-02`` and 2.0 are one; None if it is missing."""
    if visit is None or pd.isna(visit):
        return None
    return same_key(re.sub(r"^\s*(visit|session|ses|night)[-_ ]*", "", str(visit).lower()))


def fill(table: pd.DataFrame, extra: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """The table with what it lacks from the rows (-1 for none) of another one."""
    extra = extra.reset_index(drop=True)
    extra = extra.reindex([row if row >= 0 else len(extra) for row in rows]).set_axis(table.index)
    table = table.copy()
    for name in extra.columns:
        if name not in table.columns or table[name].isna().all():
            table[name] = extra[name]
        elif table[name].isna().any():
            both = table[name].astype(object).where(table[name].notna(), extra[name].astype(object))
            is_category = isinstance(extra[name].dtype, pd.CategoricalDtype)
            table[name] = both.astype("category") if is_category else both.infer_objects()
    return table
