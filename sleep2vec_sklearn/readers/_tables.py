# SPDX-License-Identifier: BSD-3-Clause
"""Tables of metadata: CSV files as programs write them, and their rows matched to nights."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import SEEK_END, PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._warnings import warn
from ..errors import ReadError, RecordingWarning

# names are text, as the subjects 0001 and 1 differ
_OF_RECORDINGS = ("path", "file", "filename", "file_name", "id", "recording", "recording_id")
_OF_SUBJECTS = (
    "subject", "subject_id", "subjectid", "participant_id", "participant", "patient", "patient_id",
    "nsrrid", "mesaid", "sofid", "wsc_id", "pid", "pptid", "obf_pptid", "subject_code",
)  # fmt: skip
_OF_VISITS = (
    "visit", "visitnumber", "visit_id", "session", "session_id", "ses", "wsc_vst", "vnum", "visitn",
    "timepoint", "rectype",
)  # fmt: skip
_TEXT = {*_OF_RECORDINGS, *_OF_SUBJECTS, *_OF_VISITS, "hypnogram"}
_NUMBER = re.compile(r"\s*[-+]?\d*,\d+\s*|\s*[-+]?\d+\s*")
_NAMELESS = "unnamed:"  # as pandas calls columns without a name
_SHOWN = 3


def read_table(
    path: str | PathLike[str], columns: Callable[[str], bool] | None = None
) -> pd.DataFrame:
    """A table of a CSV file with commas, semicolons or tabs, and points or commas in numbers.

    ``columns`` says of a name in lower case whether it is read. The columns that name recordings,
    subjects, visits and files are text.
    """
    path = Path(path)
    for encoding in ("utf-16", "utf-8-sig", "cp1252", "latin-1"):
        try:
            frame = _read_csv(path, encoding, columns)
            break
        except UnicodeError:
            continue
        except ReadError:
            raise
        except FileNotFoundError as error:
            raise ReadError(f"{path}: no such file. Check the path.") from error
        except (OSError, ValueError) as error:
            # pandas' own errors of parsing are ValueErrors
            raise ReadError(
                f"{path}: not a table that can be read ({str(error).strip()}). Accepted are CSV "
                "files with one line of names and as many values in each line below it."
            ) from error
    nameless = [name for name in frame if name.lower().startswith(_NAMELESS)]
    frame = frame.drop(columns=[name for name in nameless if frame[name].isna().all()])
    for name in frame.columns:
        if name.lower() not in _TEXT and frame[name].dtype.kind not in "ifb":
            frame[name] = _with_points(frame[name])
    return frame


def _read_csv(path: Path, encoding: str, columns: Callable[[str], bool] | None) -> pd.DataFrame:
    with path.open("rb") as file:
        is_utf_16 = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    if is_utf_16 != (encoding == "utf-16"):
        raise UnicodeError
    with path.open(encoding=encoding, newline="") as file:
        header = file.readline()
    if "\0" in header:
        raise ValueError("it holds no text")
    separator = max(",;\t", key=header.count)
    _check_end(path, encoding, separator)
    names = pd.read_csv(path, sep=separator, nrows=0, encoding=encoding).columns
    as_text = {name: str for name in names if name.strip().lower() in {*_TEXT, _NAMELESS + " 0"}}
    used = None if columns is None else [n for n in names if columns(n.strip().lower())]
    frame = pd.read_csv(
        path, sep=separator, encoding=encoding, dtype=as_text, usecols=used, low_memory=False,
        skipinitialspace=True,
    )  # fmt: skip
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"its lines have more values than its {len(names)} names")
    frame.columns = frame.columns.str.strip()
    return frame


def _check_end(path: Path, encoding: str, separator: str) -> None:
    """Refuse a table whose last line lacks its end and values, as after a broken download."""
    with path.open("rb") as file:
        file.seek(0, SEEK_END)
        file.seek(max(file.tell() - (2 if encoding == "utf-16" else 1), 0))
        if re.search(rb"[\r\n]", file.read()):
            return
    with path.open(encoding=encoding, newline="") as file:
        rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
        try:
            lengths = [len(row) for row in rows if any(row)]
        except csv.Error as error:
            raise ValueError(str(error)) from error
    if len(lengths) > 1 and lengths[-1] < min(lengths[0], lengths[-2]):
        fix = ", or end the line if it is complete"
        if path.parent.name == "datasets":
            fix = ", or move it out of datasets"
        raise ReadError(
            f"{path}: cut short, its last line has {lengths[-1]} of {lengths[0]} values and no "
            f"end. Download it again{fix}."
        )


def _with_points(values: pd.Series) -> pd.Series:
    """Numbers with a decimal comma as numbers, if most values are such; others stay as they are."""
    texts = values.dropna()
    numbers = [isinstance(t, str) and _NUMBER.fullmatch(t) is not None for t in texts]
    if not any("," in t for t, number in zip(texts, numbers, strict=True) if number):
        return values
    if sum(numbers) <= len(texts) / 2:
        return values
    read = [float(t.replace(",", ".")) if n else t for t, n in zip(texts, numbers, strict=True)]
    changed = values.astype(object)
    changed.loc[texts.index] = read
    return changed.infer_objects()


def plain_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with ``path``, ``hypnogram`` and ``subject`` in lower case."""
    names = {name: str(name).lower() for name in table.columns}
    known = ("path", "hypnogram", "subject")
    renamed = {n: lower for n, lower in names.items() if lower in known and lower not in names}
    return table.rename(columns=renamed)


def with_subjects(table: pd.DataFrame, key: Any = None) -> pd.DataFrame:
    """The table with a column ``subject``, if one of another usual name is not the ``key``."""
    lower = {str(name).lower(): name for name in reversed(table.columns.tolist())}
    found = next((lower[name] for name in _OF_SUBJECTS if name in lower), None)
    if found is None or found == "subject" or found == key:
        return table
    return table.assign(subject=table[found])


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
    """The table of nights with the columns of ``extra``, whose columns have precedence."""
    extra = plain_names(extra)
    by_subject, column, rows = _match(nights, extra, on, what)
    if not by_subject:
        extra = with_subjects(extra, column)
    missing = [night.name for night, row in zip(nights, rows, strict=True) if row < 0]
    named = f"{column or 'index'}"
    if len(missing) == len(nights):
        keys = extra.index if column is None else extra[column]
        subjects = list(dict.fromkeys(night.subject[0] for night in nights))
        called = f"subjects are called {', '.join(map(repr, subjects[:_SHOWN]))}"
        if not by_subject and str(column).lower() not in _OF_SUBJECTS:
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
    if "subject" in extra.columns:
        if extra["subject"].dtype.kind == "f" and (extra["subject"].dropna() % 1 == 0).all():
            # whole numbers that are not stated for every night
            extra["subject"] = extra["subject"].astype("Int64").astype(object)
        extra["subject"] = extra["subject"].where(extra["subject"].notna(), table["subject"])
    kept = table.drop(columns=[name for name in extra.columns if name in table.columns])
    return pd.concat([kept.reset_index(drop=True), extra], axis=1)


@dataclass(frozen=True, slots=True)
class _Match:
    """The row of each night (-1 for none) by the keys of one column, or of the index."""

    column: Any
    by_subject: bool
    keys: list[str | None]
    rows: list[int]
    repeated: str | None  # a subject that more than one row fits

    @property
    def n_found(self) -> int:
        return sum(row >= 0 for row in self.rows)


def _match(
    nights: Sequence[NightKeys], extra: pd.DataFrame, on: str | None, what: str
) -> tuple[bool, Any, list[int]]:
    """Whether rows are of subjects, the column of the keys, and the row of each night or -1."""
    found: list[_Match] = []
    for column in _candidates(extra, on):
        stated: Any = extra.index if column is None else extra[column]
        keys = [None if pd.isna(key) else str(key) for key in stated]
        if on != "subject":
            found.append(_Match(column, False, keys, _match_recordings(nights, keys), None))
        if on != "recording":
            found.append(_Match(column, True, keys, *match_subjects(nights, keys, extra)))
    # the first of those that find most
    best = max(found, key=lambda match: match.n_found)
    if best.repeated is not None:
        raise ReadError(
            f"{what} has more than one row for the subject {best.repeated!r}; accepted is one row "
            "per subject, or one per subject and visit with a column such as 'visit'. Drop "
            "the others, or key the rows by recording."
        )
    if best.by_subject:
        _check_one_subject(nights, best, what)
    else:
        _check_unique(nights, best, what)
    return best.by_subject, best.column, best.rows


def _candidates(extra: pd.DataFrame, on: str | None) -> list[Any]:
    """The columns that may hold the keys, the usual ones first; None stands for the index."""
    if on not in (None, "subject", "recording"):
        if on in extra.columns:
            return [on]
        raise ReadError(
            f"on is {on!r}; accepted are 'subject', 'recording' and the columns of the metadata: "
            f"{', '.join(map(str, extra.columns))}."
        )
    lower = {str(name).lower(): name for name in reversed(extra.columns.tolist())}
    names = {"subject": _OF_SUBJECTS, "recording": _OF_RECORDINGS}.get(
        on or "", (*_OF_RECORDINGS, *_OF_SUBJECTS)
    )
    # an index that was saved has no name
    return [lower[name] for name in (*names, _NAMELESS + " 0") if name in lower] or [None]


def _unique(pairs: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    """Row of each key that only one row has; -1 for the others."""
    rows: dict[Any, int] = {}
    for key, row in pairs:
        rows[key] = row if rows.get(key, row) == row else -1
    return rows


def _match_recordings(nights: Sequence[NightKeys], keys: Sequence[str | None]) -> list[int]:
    stated = [(key.replace("\\", "/"), i) for i, key in enumerate(keys) if key is not None]
    exact = _unique(stated)
    names = [(_without_suffix(Path(key).name), i) for key, i in stated]
    shorter = _unique([*((Path(key).name, i) for key, i in stated), *names])
    loose = _unique((same_key(name), i) for name, i in names)
    rows = []
    for night in nights:
        found = [
            keys[form] for keys in (exact, shorter) for form in night.recording if form in keys
        ]
        found.append(loose.get(same_key(night.recording[-1]), -1))
        rows.append(next((row for row in found if row >= 0), -1))
    return rows


def _without_suffix(name: str) -> str:
    return re.sub(r"\.[a-z][a-z0-9]{1,4}$", "", Path(name).name, flags=re.IGNORECASE)


def _check_unique(nights: Sequence[NightKeys], match: _Match, what: str) -> None:
    counts = Counter(key for key in match.keys if key is not None)
    repeated = [key for key, count in counts.items() if count > 1]
    if repeated:
        raise ReadError(
            f"{what} has more than one row for {repeated[0]!r}; accepted is one row per recording. "
            "Drop the others."
        )
    by_row = defaultdict(list)
    for night, row in zip(nights, match.rows, strict=True):
        by_row[row].append(night.recording[0])
    twice = next((row for row, paths in by_row.items() if row >= 0 and len(paths) > 1), None)
    if twice is not None:
        raise ReadError(
            f"the row {match.keys[twice]!r} of {what} fits {len(by_row[twice])} nights, "
            f"{by_row[twice][0]} and {by_row[twice][1]}. Name each by its path, or pass "
            "on='subject' if the rows are of subjects."
        )


def _check_one_subject(nights: Sequence[NightKeys], match: _Match, what: str) -> None:
    """Refuse a row that reaches two subjects, as those of two studies with one number."""
    by_row: dict[int, str] = {}
    for night, row in zip(nights, match.rows, strict=True):
        subject = night.subject[0]
        if row >= 0 and by_row.setdefault(row, subject) != subject:
            raise ReadError(
                f"the row {match.keys[row]!r} of {what} fits two subjects, {by_row[row]} and "
                f"{subject}. Write them with the study, as here, or read the studies apart and "
                "add the cohorts."
            )


def match_subjects(
    nights: Sequence[NightKeys], keys: Sequence[str | None], extra: pd.DataFrame
) -> tuple[list[int], str | None]:
    """The row of each night by its subject and visit, and a key that fits several rows."""
    names = [name for name in extra.columns if str(name).lower() in _OF_VISITS]
    visits = [None] * len(keys) if not names else [visit_key(v) for v in extra[names[0]]]
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
    return same_key(re.sub(r"^\s*(visit|session|ses)[-_ ]*", "", str(visit).lower()))


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
