# SPDX-License-Identifier: BSD-3-Clause
"""Tables of wearables: what their columns mean, and series from their rows."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..recordings._notes import Caution
from ..recordings.derivation import refine_beat_times
from ._delimited import UNITS, as_number, find_encoding, parse_title, read_text, split_line
from ._wearable_series import (
    Clock,
    FileSeries,
    MotionCounter,
    median_step,
)

_HEAD_BYTES = 1 << 16
_HEADER_LINES = 150
_ROWS_PER_CHUNK = 200_000
_MOST_WRONG = 0.05
_LONGEST_ELAPSED_STEP = 600.0
_MISSING = ["--", "-", "None", "none"]
# fmt: off
# of each unit: factor to the one that is used, and the medians that are plausible in it
_SCALES: dict[str, dict[str, tuple[float, float, float]]] = {
    "heart_rate": {"bpm": (1.0, 25.0, 250.0)},
    "rr": {"s": (1.0, 0.25, 3.0), "ms": (1e-3, 250.0, 3000.0)},
    "acceleration": {"g": (1.0, 0.7, 1.4), "1/64 g": (1 / 64, 45.0, 90.0),
                     "m/s^2": (1 / 9.80665, 7.0, 14.0),
                     "mg": (1e-3, 700.0, 1400.0)},
    "counts": {"counts": (1.0, 0.0, np.inf)},
    "spo2": {"%": (1.0, 50.0, 101.0), "fraction": (100.0, 0.5, 1.01)},
}
# names of columns without units and signs; of several, the first is taken
_NAMES = {
    "time": ("unix", "unixtimestamp", "timestampunix", "unixtime", "timestamp", "datetime",
             "dateandtime", "phonetimestamp", "time", "localtime", "isodate", "timestampiso",
             "activitysecond", "activityminute", "utc", "timestamputc", "timeutc", "utctime",
             "seconds", "elapsed", "elapsedtime", "t", "zeit", "zeitstempel", "uhrzeit", "heure",
             "hora", "tiempo", "temps"),
    "date": ("date", "datum", "fecha"),
    "heart_rate": ("heartrate", "hr", "beatsperminute", "bpm", "pulserate", "pulse", "puls",
                   "herzfrequenz", "frequencecardiaque", "frecuenciacardiaca"),
    "rr": ("rr", "rri", "rrinterval", "rrintervals", "ibi", "interbeatinterval", "nn", "nni",
           "nninterval"),
    "counts": ("counts", "activitycounts", "activitycount", "vectormagnitude", "vm", "activity",
               "axis1"),
    "spo2": ("spo2", "sao2", "oxygensaturation", "bloodoxygen", "o2sat", "oxygenlevel",
             "o2saturation", "sauerstoffsattigung"),
    "acceleration": ("accelerationmagnitude", "accmagnitude", "magnitude", "acc", "accel"),
    "participant": ("id", "userid", "participant", "participantid", "participantfullid", "subject",
               "subjectid", "patientid"),
    "device": ("device", "deviceid", "devicename", "deviceserial", "sourcename", "sensor",
               "sensorid", "serial", "serialnumber", "wrist", "bodyside"),
    "label": ("stage", "sleepstage", "stages", "event", "annotation", "label", "duration", "path"),
}
_VALUE_FILES = {"heart_rate": r"heart|(^|[^a-z])hr([^a-z]|$)", "spo2": r"spo2|oxygen"}
# fmt: on
SIGNALS = tuple(_SCALES)
_WORDS = {name for names in _NAMES.values() for name in names}
_DATA = r"[-+]?\.?\d"
_AXIS = re.compile(r"(?:acc|accel|acceleration|accelerometer|a)?([xyz])(?:axis|acc)?")
_Columns = dict[str, tuple[tuple[int, ...], str | None]]


@dataclass(frozen=True)
class TableLayout:
    """Where a table's data begin, and the columns and unit of each meaning.

    Times are ``start`` plus the rows over ``rate`` if there is a rate, else plus the time column.
    """

    columns: _Columns
    n_columns: int
    skipped: int
    delimiter: str
    names: tuple[str, ...] = ()  # none without a header
    start: float = 0.0
    rate: float | None = None
    is_utc: bool = False


def freeze_columns(
    columns: Mapping[str, Any] | None, path: Path
) -> tuple[tuple[str, tuple[tuple[Any, ...], str | None]], ...]:
    """What a user says of columns, hashable: meaning to (names or positions, unit)."""
    frozen = []
    for key, stated in (columns or {}).items():
        word = parse_title(str(key), _WORDS)[0]
        meanings = (name for name in ("time", *SIGNALS) if key == name or word in _NAMES[name])
        meaning = next(meanings, None)
        if meaning is None:
            raise ReadError(
                f"{path}: columns name {key!r}; accepted are time, {', '.join(SIGNALS)}. For "
                "example columns={'time': 'Time', 'heart_rate': 'Value'}."
            )
        pair = isinstance(stated, tuple) and len(stated) == 2
        names, unit = stated if pair else (stated, None)
        names = tuple(names) if isinstance(names, list | tuple) else (names,)
        frozen.append((meaning, (names, unit and UNITS.get(str(unit).lower(), str(unit)))))
    return tuple(frozen)


def _read_head(path: Path) -> list[str]:
    text = read_text(path, _HEAD_BYTES)
    lines = text.splitlines()
    return lines[:-1] if path.stat().st_size > _HEAD_BYTES else lines


def find_header(path: Path, stated: Mapping[str, Any]) -> TableLayout | None:
    """Layout by the first line that names a time and a signal, or by positions."""
    lines = _read_head(path)
    for i, line in enumerate(lines[:_HEADER_LINES]):
        cells, delimiter = split_line(line)
        columns = _match_columns(cells, stated, path.stem)
        signals = [kind for kind in columns if kind in SIGNALS]
        if signals and ("time" in columns or (signals == ["rr"] and len(cells) == 1)):
            name = cells[columns["time"][0][0]] if "time" in columns else ""
            is_utc = re.search(r"utc|gmt", name, re.IGNORECASE) is not None
            return TableLayout(columns, len(cells), i + 1, delimiter, tuple(cells), is_utc=is_utc)
        if _is_row(cells) and len(cells) > 1:
            break
    return _find_positions(path, lines, stated)


def _find_positions(
    path: Path, lines: Sequence[str], stated: Mapping[str, Any]
) -> TableLayout | None:
    """Layout of a table without a header: Empatica E4, columns by position, or RR intervals."""
    skipped = next((i for i, line in enumerate(lines) if _is_row(split_line(line)[0])), None)
    if skipped is None:
        return None
    rows = [split_line(line)[0] for line in lines[skipped : skipped + 1000]]
    rows = [row for row in rows if _is_row(row)]
    cells, delimiter = split_line(lines[skipped])
    shared: dict[str, Any] = {"n_columns": len(cells), "delimiter": delimiter}
    positions = {
        meaning: (at, unit)
        for meaning, (at, unit) in stated.items()
        if all(isinstance(i, int) and i < len(cells) for i in at)
    }
    if positions and ("time" in positions or set(positions) == {"rr"}):
        return TableLayout(positions, skipped=skipped, **shared)
    first, name = as_number(rows[0][0]), path.stem.upper()
    if name in ("HR", "ACC") and first > 1e9 and len(set(rows[1])) == 1:
        kind, unit = {"HR": ("heart_rate", "bpm"), "ACC": ("acceleration", "1/64 g")}[name]
        columns: _Columns = {kind: (tuple(range(len(cells))), unit)}
        rate = as_number(rows[1][0])
        return TableLayout(columns, skipped=skipped + 2, start=first, rate=rate, **shared)
    if skipped == 0 and first > 1e9 and len(cells) == 2 and cells[1].upper() == "IBI":
        columns = {"time": ((0,), "s"), "rr": ((1,), "s")}
        return TableLayout(columns, skipped=1, start=first, **shared)
    numbers = np.array([[as_number(cell) for cell in row] for row in rows
                        if len(row) == len(cells)])  # fmt: skip
    if stated or numbers.shape[1] > 2:
        return None
    in_ms = np.median(numbers[:, -1]) > 10
    intervals = numbers[:, -1] / (1000.0 if in_ms else 1.0)
    # whole numbers from 0 to 5 are sleep stages
    if not 0.25 < np.median(intervals) < 3.0 or not (in_ms or (intervals % 1 != 0).any()):
        return None
    if numbers.shape[1] == 1:
        return TableLayout({"rr": ((0,), None)}, skipped=skipped, **shared)
    # intervals fill the time between their beats, a heart rate does not
    if abs(np.median(np.diff(numbers[:, 0]) - intervals[1:])) < 0.05 * np.median(intervals):
        columns = {"time": ((0,), None), "rr": ((1,), None)}
        return TableLayout(columns, skipped=skipped, **shared)
    return None


def _is_row(cells: Sequence[str]) -> bool:
    """Whether a line holds data: it begins with a number, a date or a time."""
    return bool(cells) and re.match(_DATA, cells[0]) is not None


def _match_columns(cells: Sequence[str], stated: Mapping[str, Any], stem: str) -> _Columns:
    """Columns and unit of each meaning that a line's cells name."""
    lower = [cell.casefold() for cell in cells]
    named = [parse_title(cell, _WORDS) for cell in cells]
    words, units = [name for name, _ in named], [unit or None for _, unit in named]
    columns: _Columns = {}
    for meaning, (names, unit) in stated.items():
        texts = [str(name).casefold() for name in names]
        if all(text in lower for text in texts):
            at = tuple(lower.index(text) for text in texts)
            columns[meaning] = (at, unit or units[at[0]])
    chosen = any(kind in columns for kind in SIGNALS)
    for meaning, known in _NAMES.items():
        found = next((words.index(name) for name in known if name in words), None)
        is_free = meaning not in columns and not (
            meaning in SIGNALS and (chosen or meaning in stated)
        )
        if found is not None and is_free:
            columns[meaning] = ((found,), units[found])
    if chosen:
        return columns
    axes = {m[1]: i for i, word in enumerate(words) if (m := _AXIS.fullmatch(word))}
    if len(axes) == 3:
        columns["acceleration"] = (tuple(axes[axis] for axis in "xyz"), units[axes["x"]])
    counted = [words.index(f"axis{i}") for i in (1, 2, 3) if f"axis{i}" in words]
    if len(counted) == 3 and "vectormagnitude" not in words:
        columns["counts"] = (tuple(counted), None)
    if "value" in words and not any(kind in columns for kind in SIGNALS):
        for kind, pattern in _VALUE_FILES.items():
            if re.search(pattern, stem.lower()):
                columns[kind] = ((words.index("value"),), None)
    return columns


def read_table(path: Path, clock: Clock, stated: Mapping[str, Any]) -> FileSeries:
    """The series of a table, in the columns that its header or the user names."""
    layout = find_header(path, stated)
    if layout is None:
        shown = next((line for line in _read_head(path) if line.strip()), "")[:80]
        asked = ", ".join(repr(name) for names, _ in stated.values() for name in names)
        named = f"the columns {asked}" if stated else "a time and a signal"
        raise ReadError(
            f"{path}: no line names {named}; it begins with {shown!r}. Name the "
            "columns, e.g. columns={'time': 'Time', 'heart_rate': 'Value'}, by position if there "
            "is no header; a hypnogram goes to hypnogram=."
        )
    reader = _TableReader(path, layout, clock)
    for chunk in _chunks(path, layout):
        reader.add(chunk)
    return reader.finish()


def _chunks(path: Path, layout: TableLayout) -> Iterable[pd.DataFrame]:
    used = sorted({i for at, _ in layout.columns.values() for i in at})
    with path.open("rb") as file:
        encoding = find_encoding(file.read(_HEAD_BYTES))
    quoting = _find_quoting(path, layout)
    try:
        with pd.read_csv(
            path, sep=layout.delimiter or r"\s+", header=None, names=range(layout.n_columns),
            usecols=used, skiprows=layout.skipped, chunksize=_ROWS_PER_CHUNK, encoding=encoding,
            encoding_errors="replace", quoting=quoting,
            na_values=_MISSING, skipinitialspace=True, skip_blank_lines=False, low_memory=False,
        ) as frames:  # fmt: skip
            yield from frames
    except pd.errors.EmptyDataError:
        return
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path}: cannot be read as a table ({error}). Export it again.") from error


def _find_quoting(path: Path, layout: TableLayout) -> int:
    """Whether quotes hold delimiters, as in "60,5"; an error if rows have more cells than names."""
    mark, n = layout.delimiter, layout.n_columns
    rows = [line.rstrip(mark) for line in _read_head(path)[layout.skipped :][:1000] if line.strip()]
    if not (mark and layout.names) or 2 * sum(row.count(mark) >= n for row in rows) <= len(rows):
        # a stray quote would swallow the rows that follow, so quotes are stripped later
        return csv.QUOTE_NONE
    cells = [split_line(row, mark)[0] for row in rows]
    if 2 * sum(len(row) > n for row in cells) > len(rows):
        raise ReadError(
            f"{path}: has {n} names of columns and {len(cells[0])} values in a row, "
            f"such as {rows[0][:60]!r}; accepted are as many. If numbers have decimal commas, "
            "separate them by semicolons."
        )
    return csv.QUOTE_MINIMAL


class _TableReader:
    """Collects the series of a table, chunk by chunk."""

    def __init__(self, path: Path, layout: TableLayout, clock: Clock):
        self.path, self.layout, self.clock = path, layout, clock
        clock.is_utc = layout.is_utc
        self.kinds = {kind: at for kind, (at, _) in layout.columns.items() if kind in SIGNALS}
        self.parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
            kind: [] for kind in self.kinds if kind != "acceleration"
        }
        self.counter, self.scale = MotionCounter(path), 0.0
        self.names: dict[str, set[str]] = {"participant": set(), "device": set()}
        self.n_rows = self.n_wrong = self.n_timed = 0
        self.first_wrong = ""
        self.first_time, self.last_time = np.inf, -np.inf
        with path.open("rb") as file:
            file.seek(-min(2, path.stat().st_size), os.SEEK_END)
            self.is_whole = file.read().strip(b"\0")[-1:] in (b"\n", b"\r")

    def add(self, chunk: pd.DataFrame) -> None:
        chunk = chunk.dropna(how="all")
        if chunk.empty:
            return
        wrong = np.zeros(len(chunk), dtype=bool)
        values = {kind: self._numbers(chunk, at, wrong) for kind, at in self.kinds.items()}
        sizes = {kind: _magnitude(numbers) for kind, numbers in values.items()}
        used = np.isfinite(np.stack(list(sizes.values()))).any(axis=0)
        times = self._times(chunk, used)
        wrong |= used & np.isnan(times)
        for kind, parts in self.parts.items():
            present = np.isfinite(times) & np.isfinite(sizes[kind])
            parts.append((times[present], sizes[kind][present]))
        if "acceleration" in values:
            present = np.isfinite(sizes["acceleration"])
            if not self.scale and present.any():
                size = float(np.median(sizes["acceleration"][present]))
                self.scale = self._scale_of("acceleration", size)
            self.counter.add(times, values["acceleration"] * self.scale)
        for kind, names in self.names.items():
            if kind in self.layout.columns:
                column = chunk[used][self.layout.columns[kind][0][0]].dropna()
                names |= set(_strip(column.astype(str)).unique())
        self.n_rows += len(chunk)
        self.n_wrong += int(wrong.sum())
        if wrong.any() and not self.first_wrong:
            row = chunk[wrong].iloc[0]
            line = int(row.name) + self.layout.skipped + 1
            self.first_wrong = f"line {line}: {','.join(row.astype(str))[:60]!r}"

    def _times(self, chunk: pd.DataFrame, used: np.ndarray) -> np.ndarray:
        """Times of rows with a reading or a time; labels count from the first of them."""
        if "time" in self.layout.columns:
            column = _strip(chunk[self.layout.columns["time"][0][0]])
            timed = used | column.astype(str).str.match(_DATA).to_numpy(bool)
        else:
            timed = used | (self.layout.rate is not None)
        # of a last line that is cut short, the time may be as well
        timed[-1] &= used[-1] or self.is_whole
        times = np.full(len(chunk), np.nan)
        if timed.any():
            times[timed] = self._parse_times(chunk[timed])
        if np.isfinite(times).any():
            self.n_timed += int(np.isfinite(times).sum())
            self.first_time = min(self.first_time, float(np.nanmin(times)))
            self.last_time = max(self.last_time, float(np.nanmax(times)))
        return times

    def _parse_times(self, chunk: pd.DataFrame) -> np.ndarray:
        layout = self.layout
        if not layout.start and "time" not in layout.columns:
            self.clock.kind = "elapsed"
            return np.arange(len(chunk), dtype=float)
        (at, *_), unit = layout.columns.get("time", ((0,), None))
        values = _strip(chunk[at])
        if layout.start:
            self.clock.kind = "utc"
            elapsed = pd.to_numeric(values, errors="coerce").to_numpy(float)
            if layout.rate is not None:
                elapsed = chunk.index.to_numpy(float) / layout.rate
            return self.clock.check(layout.start + elapsed)
        if "date" in layout.columns and at != layout.columns["date"][0][0]:
            day = _strip(chunk[layout.columns["date"][0][0]]).astype(str)
            if values.astype(str).str.match(r"\d{1,2}:").mean() > 0.5:
                values = day + " " + values.astype(str)
        return self.clock.parse(values, unit)

    def _numbers(self, chunk: pd.DataFrame, at: Sequence[int], wrong: np.ndarray) -> np.ndarray:
        """Values of shape (n_rows, n_columns); rows with a cell that is no number are marked."""
        columns = []
        for i in at:
            column = _strip(chunk[i])
            if column.dtype.kind not in "fiu":
                if self.layout.delimiter != ",":
                    column = column.astype(str).where(column.notna()).str.replace(",", ".")
                stated = column.notna() & (column != "") & ~column.isin(_MISSING)
                column = pd.to_numeric(column, errors="coerce")
                wrong |= (column.isna() & stated).to_numpy(bool)
            columns.append(column.to_numpy(float))
        return np.stack(columns, axis=1)

    def finish(self) -> FileSeries:
        """The series in their units, increasing; an error if too many rows are wrong."""
        self._check_rows()
        found = FileSeries(self.clock.basis, self.clock.offset)
        if self.n_wrong:
            kind = "rows that cannot be read were left out"
            count = f"{self.n_wrong:,} of {self.n_rows:,} {kind}"
            text = f"{self.path.name}: {count}; the first is {self.first_wrong}"
            found.notes.append(Caution(text, kind))
        self.counter.finish(found)
        empty = list({"acceleration"} & set(self.kinds) - set(found.series))
        for kind, parts in self.parts.items():
            pairs = parts or [(np.zeros(0), np.zeros(0))]
            times, values = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
            valid = values >= 0 if kind == "counts" else values > 0
            if kind == "spo2":
                valid &= values <= _SCALES["spo2"]["%"][2]
            if not valid.any():
                empty.append(kind)
                continue
            values = values * self._scale_of(kind, float(np.median(values[valid])))
            if kind == "rr":
                times, values = self._order_beats(times[valid], values[valid])
            else:
                self._check_step(times[valid])
            found.add(self.path.name, kind, times, values)
        for kind in empty:
            text = f"the column of {kind} is empty and was left out"
            found.notes.append(Caution(f"{self.path.name}: {text}", text))
        # a list of intervals has no times but their sum
        if self.n_timed > 1 and (self.layout.rate or "time" in self.layout.columns):
            step = (self.last_time - self.first_time) / (self.n_timed - 1)
            counted = median_step(found.series["counts"][0]) if "counts" in found.series else 0.0
            found.rows = (self.first_time, self.last_time + min(counted, step))
        return found

    def _scale_of(self, kind: str, size: float) -> float:
        """Factor to the unit that is used; a unit that is not stated must follow from the size."""
        scales, unit = _SCALES[kind], self.layout.columns[kind][1]
        fitting = [name for name, (_, low, high) in scales.items() if low <= abs(size) <= high]
        if unit is None and len(fitting) == 1 and fitting[0] in UNITS.values():
            return scales[fitting[0]][0]
        # gravity may have been removed from acceleration, but nobody moves at 3 g all night
        small = kind == "acceleration" and unit in scales and abs(size) < 3 * scales[unit][2]
        if unit in fitting or (unit is not None and small):
            return scales[unit][0]
        stated = "no unit is stated" if unit is None else f"the stated unit is {unit!r}"
        accepted = (f"{name} ({low:g} to {high:g})" for name, (_, low, high) in scales.items())
        raise ReadError(
            f"{self.path}: the median of {kind} is {size:g} and {stated}; accepted are "
            f"{', '.join(accepted)}. "
            f"Name the column and its unit: columns={{{kind!r}: (name, {next(iter(scales))!r})}}."
        )

    def _check_rows(self) -> None:
        if self.n_rows == 0:
            raise ReadError(f"{self.path}: has a header and no rows. Export it again.")
        if self.n_wrong > max(_MOST_WRONG * self.n_rows, 1):
            raise ReadError(
                f"{self.path}: {self.n_wrong:,} of {self.n_rows:,} rows cannot be read, the first "
                f"in {self.first_wrong}. Check the columns and the decimal sign, or name other "
                "columns with columns={'time': ..., 'heart_rate': ...}."
            )
        for kind, names in self.names.items():
            if len(names) > 1:
                shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
                raise ReadError(
                    f"{self.path}: holds {len(names):,} {kind}s ({shown}); accepted is one. Write "
                    "a file for each."
                )

    def _check_step(self, times: np.ndarray) -> None:
        unit = self.layout.columns.get("time", ((), None))[1]
        step = median_step(np.sort(times))
        if self.clock.kind == "elapsed" and unit is None and step > _LONGEST_ELAPSED_STEP:
            raise ReadError(
                f"{self.path}: elapsed times are {step:g} apart, which are no seconds; "
                "accepted is a column with its unit, such as time_ms. State it: "
                "columns={'time': (name, 'ms')}."
            )

    def _order_beats(
        self, times: np.ndarray, intervals: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if "time" not in self.layout.columns:
            return np.cumsum(intervals), intervals
        order = np.argsort(times, kind="stable")
        times, intervals = times[order], intervals[order]
        whole = bool((times == np.floor(times)).all())
        if len(times) > 1 and (whole or np.mean(np.diff(times) == 0) > 0.1):
            first = times[0]
            times = first + refine_beat_times(times - first, intervals) + (0.5 if whole else 0.0)
        return times, intervals


def _magnitude(values: np.ndarray) -> np.ndarray:
    return values[:, 0] if values.shape[1] == 1 else np.linalg.norm(values, axis=1)


def _strip(column: pd.Series) -> pd.Series:
    return column if column.dtype.kind in "fiu" else column.str.strip(' "')
