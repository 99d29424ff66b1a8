# SPDX-License-Identifier: BSD-3-Clause
"""Timestamped series in one file of a wearable, by its format.

The binary formats of ActiGraph (.gt3x), Axivity (.cwa) and GENEActiv (.bin) are read by actfast
(MIT), an optional dependency: pygt3x is GPL, actipy for academic use only. An .agd file is an
SQLite database, the export of Apple Health XML, everything else a table.
"""

from __future__ import annotations

import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..recordings._notes import Caution
from ._boundary import BadFileError, check_archive, check_file, only_read_errors, parse_xml
from ._delimited import as_seconds
from ._wearable_series import (
    Clock,
    FileSeries,
    MotionCounter,
)
from ._wearable_tables import read_table

DEVICE_SUFFIXES = (".gt3x", ".agd", ".cwa", ".bin", ".xml")
_SAMPLES_PER_CHUNK = 200_000
_MAX_HEALTH_DAYS = 5000
# of an .agd file: epochs of a second for two months, and bytes of a value
_MOST_EPOCHS, _LARGEST_VALUE = 6_000_000, 1_000_000
_TICKS_PER_SECOND, _TICKS_OF_1970 = 10_000_000, 621_355_968_000_000_000
_HEALTH_TYPES = {
    "HKQuantityTypeIdentifierHeartRate": "heart_rate",
    "HKQuantityTypeIdentifierOxygenSaturation": "spo2",
    "HKCategoryTypeIdentifierSleepAnalysis": "sleep",
}


@lru_cache(maxsize=8)
def read_file(
    path: Path, state: tuple[Any, ...], columns: tuple[tuple[str, Any], ...], timezone: str | None
) -> FileSeries:
    """Read one file by its suffix; remembered while its ``state`` is the same."""
    if check_file(path).st_size == 0:
        raise ReadError(f"{path}: the file is empty (0 bytes). Export or copy it again.")
    suffix = path.suffix.lower()
    readers: dict[str, Callable[[Path, Clock], FileSeries]] = {
        ".agd": _read_agd, ".xml": _read_health, ".gt3x": _read_accelerometer,
        ".cwa": _read_accelerometer, ".bin": _read_accelerometer,
    }  # fmt: skip
    clock = Clock(path, timezone)
    with only_read_errors(path, "the reader of wearables", "Export or copy it again."):
        if suffix in readers:
            found = readers[suffix](path, clock)
        else:
            found = read_table(path, clock, dict(columns))
    found.series = {kind: pair for kind, pair in found.series.items() if len(pair[0])}
    if not found.series:
        raise ReadError(
            f"{path}: holds no reading of heart rate, RR intervals, acceleration, counts or "
            "saturation. Check that it is the right file and was exported whole."
        )
    found.notes += [*clock.notes]
    if clock.n_back:
        found.notes.append(f"{path.name}: {clock.n_back:,} rows were out of order and were sorted")
    return found


def _read_agd(path: Path, clock: Clock) -> FileSeries:
    """Counts of an ActiGraph: the magnitude of its axes per epoch, sex and age."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            _check_database(database)
            settings = dict(database.execute("SELECT settingName, settingValue FROM settings"))
            table = pd.read_sql_query("SELECT * FROM data ORDER BY rowid", database)
        axes = [name for name in ("axis1", "axis2", "axis3") if name in table]
        ticks = table["dataTimestamp"].to_numpy(np.int64)
        counts = np.linalg.norm(table[axes].to_numpy(float), axis=1)
    except BadFileError:
        raise
    except (sqlite3.Error, pd.errors.DatabaseError, KeyError, ValueError, TypeError) as error:
        raise ReadError(
            f"{path}: not a readable .agd file ({error}); accepted is an SQLite database with the "
            "tables data and settings. Export it from ActiLife again."
        ) from error
    if not len(ticks):
        raise ReadError(f"{path}: its table of counts is empty. Export it from ActiLife again.")
    clock.kind, clock.keeps_time = "local", True
    times = clock.check((ticks - _TICKS_OF_1970) / _TICKS_PER_SECOND)
    found = FileSeries(clock.basis, clock.offset)
    found.add(path.name, "counts", times, counts)
    sex = str(settings.get("sex", ""))[:1].upper()
    age = pd.to_numeric(settings.get("age"), errors="coerce")
    found.metadata = {"sex": sex} if sex in ("F", "M") else {}
    if age is not None and age > 0:
        found.metadata["age"] = float(age)
    return found


def _check_database(database: sqlite3.Connection) -> None:
    """Refuse views and computed columns, which may go on for ever, and values of megabytes."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
    database.execute("PRAGMA trusted_schema=OFF")
    query = "SELECT name, type, sql FROM sqlite_master WHERE lower(name) IN ('data', 'settings')"
    for name, kind, sql in database.execute(query):
        plain = re.match(r"CREATE\s+TABLE\b", sql or "", re.IGNORECASE)
        if kind != "table" or not plain or re.search(r"\bAS\b", sql, re.IGNORECASE):
            raise BadFileError(f"its {name!r} is no plain table, as ActiLife writes it.")
    for name, most in (("data", _MOST_EPOCHS), ("settings", 1000)):
        (n,) = database.execute(f"SELECT count(*) FROM {name}").fetchone()
        if n > most:
            raise BadFileError(f"its table {name!r} has {n:,} rows; accepted are {most:,}.")


def _read_accelerometer(path: Path, clock: Clock) -> FileSeries:
    """Counts of the acceleration in a .gt3x, .cwa or .bin file, by actfast."""
    try:
        import actfast
    except ImportError as error:
        raise ImportError(
            f"{path}: files of ActiGraph, Axivity and GENEActiv are read by actfast, which is not "
            "installed. Install it with: pip install 'sleep2vec-sklearn[wearables]', or export the "
            "acceleration as CSV."
        ) from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_archive(path, archive.infolist())
    try:
        content = actfast.read(path, lenient=True)
    except (ValueError, OSError) as error:
        raise ReadError(
            f"{path}: not a readable {path.suffix} file ({error}). Copy it from the device again."
        ) from error
    tables = [table for table in content["timeseries"].values() if "acceleration" in table]
    if not tables or not len(tables[0]["datetime"]):
        raise ReadError(f"{path}: holds no acceleration. Copy it from the device again.")
    stamps, axes = tables[0]["datetime"], tables[0]["acceleration"]
    clock.kind, clock.keeps_time = "local", True
    counter = MotionCounter(path)
    for first in range(0, len(stamps), _SAMPLES_PER_CHUNK):
        rows = slice(first, first + _SAMPLES_PER_CHUNK)
        counter.add(clock.check(stamps[rows] / 1e9), axes[rows].astype(float))
    found = FileSeries(clock.basis, clock.offset)
    counter.finish(found)
    damage = [*content["warnings"], *_find_cut(path, content["metadata"], len(stamps))]
    if damage:
        found.notes.append(
            Caution(
                f"{path.name}: damaged or cut short, what could be read is used; the first of "
                f"{len(damage):,} faults: {damage[0]}",
                "files of acceleration are damaged or cut short; what could be read is used",
            )
        )
    return found


def _find_cut(path: Path, metadata: Mapping[str, Mapping[str, str]], n_samples: int) -> list[str]:
    """What actfast does not report: a last sector cut short, and pages that are missing."""
    rest = path.stat().st_size % 512
    if path.suffix.lower() == ".cwa" and rest:
        return [f"the last sector has {rest} of 512 bytes"]
    pages = metadata.get("Memory Status", {}).get("Number of Pages", "")
    if pages.strip().isdigit() and n_samples < 300 * int(pages):
        return [f"{n_samples:,} samples where {int(pages):,} pages of 300 were announced"]
    return []


def _read_health(path: Path, clock: Clock) -> FileSeries:
    """Heart rate, saturation and times of sleep in the export of Apple Health."""
    table = pd.DataFrame(_health_records(path), columns=["kind", "start", "end", "value"])
    form = "%Y-%m-%d %H:%M:%S %z"
    begin, end = (
        as_seconds(pd.to_datetime(table[name].astype(object), format=form, utc=True,
                                  errors="coerce"))
        for name in ("start", "end")
    )  # fmt: skip
    numbers = pd.to_numeric(table["value"], errors="coerce").to_numpy(float)
    clock.kind = "utc"
    found = FileSeries("utc")
    for kind, factor in (("heart_rate", 1.0), ("spo2", 100.0)):
        used = (table["kind"] == kind).to_numpy() & np.isfinite(begin) & np.isfinite(numbers)
        found.add(path.name, kind, begin[used], factor * numbers[used])
    for i in np.flatnonzero(table["kind"] == "sleep"):
        state = table["value"][i].removeprefix("HKCategoryValueSleepAnalysis")
        name = {"InBed": "in_bed", "Awake": "awake"}.get(state, "asleep")
        if end[i] >= begin[i]:
            found.events.append((float(begin[i]), float(end[i]), f"{name} (Apple Health)"))
    if np.isfinite(begin).any():
        clock.check_span(float(np.nanmin(begin)), float(np.nanmax(begin)), _MAX_HEALTH_DAYS)
        earliest = int(np.nanargmin(begin))
        local = pd.Timestamp(table["start"][earliest])
        local = local.tz_convert(clock.timezone) if clock.timezone else local
        found.offset = float(local.utcoffset().total_seconds())
    return found


def _parts_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(1 << 16):
            yield part


def _health_records(path: Path) -> Iterable[tuple[str, str, str, str]]:
    """Kind, start, end and value of the records that are used, one at a time."""
    try:
        parser = parse_xml(_parts_of(path))
        _, root = next(parser)
        if root.tag != "HealthData":
            raise ReadError(
                f"{path}: XML with the root <{root.tag[:40]}>; accepted is export.xml of Apple "
                "Health. An XML hypnogram goes to hypnogram=."
            )
        depth = 1
        for event, element in parser:
            depth += 1 if event == "start" else -1
            if event == "start" or element.tag != "Record":
                if depth == 1:
                    root.clear()
                continue
            kind, start = _HEALTH_TYPES.get(element.get("type", "")), element.get("startDate", "")
            if kind is not None:
                yield kind, start, element.get("endDate", start), element.get("value", "")
            root.clear()
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ReadError(
            f"{path}: not well-formed XML (line {line}, column {column}), so it may be cut short. "
            "Export it again."
        ) from error
