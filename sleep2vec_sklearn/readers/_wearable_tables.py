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
from ._wearable_series import (
    Clock,
    FileSeries,
    MotionCounter,
    find_plausible,
    find_zeros,
    median_step,
)

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_HEAD_BYTES = 1 << 16
_HEADER_LINES = 150
_ROWS_PER_CHUNK = 200_000
_MOST_WRONG = 0.05
_LONGEST_ELAPSED_STEP = 600.0
_MISSING = ["--", "-", "None", "none"]
# fmt: off
UNITS = {
    "bpm": "bpm", "beats/min": "bpm", "1/min": "bpm",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "ms": "ms", "msec": "ms", "millis": "ms", "milliseconds": "ms", "us": "us", "ns": "ns",
    "min": "min", "minutes": "min", "h": "h", "hours": "h",
    "g": "g", "mg": "mg", "m/s^2": "m/s^2", "m/s2": "m/s^2", "m/s²": "m/s^2", "m/s/s": "m/s^2",
    "%": "%", "percent": "%", "fraction": "fraction", "counts": "counts",
}
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
    "spo2": ("spo2", "sao2", "oxygensaturation", "bloodoxygen", "o2sat"),
    "acceleration": ("accelerationmagnitude", "accmagnitude", "magnitude", "acc", "accel"),
    "participant": ("id", "userid", "participant", "participantid", "participantfullid", "subject",
               "subjectid", "patientid"),
    "label": ("stage", "sleepstage", "stages", "event", "annotation", "label", "duration", "path"),
}
_VALUE_FILES = {"heart_rate": r"heart|(^|[^a-z])hr([^a-z]|$)", "spo2": r"spo2|oxygen"}
# fmt: on
SIGNALS = tuple(_SCALES)
_DATA = r"[-+]?\.?\d"
_AXIS = re.compile(r"(?:acc|accel|acceleration|accelerometer|a)?([xyz])(?:axis|acc)?")


@dataclass(frozen=True)
class TableLayout:
    """Where a table's data begin, and the columns and unit of each meaning.

    Times are ``start`` plus the rows over ``rate`` if there is a rate, else plus the time column.
    """

    columns: Mapping[str, tuple[tuple[int, ...], str | None]]
    n_columns: int
    skipped: int
    delimiter: str | None
    names: tuple[str, ...] = ()  # none without a header
    start: float = 0.0
    rate: float | None = None
    is_utc: bool = False


def read_head(path: Path) -> list[str]:
    """Lines of the beginning of a text file."""
    try:
        with path.open("rb") as file:
            raw = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ReadError(f"{path}: cannot be opened ({error.strerror}).") from error
    encoding = _encoding(raw)
    if encoding == "utf-8-sig" and b"\0" in raw:
        raise ReadError(
            f"{path}: not a text file; accepted are CSV, TSV and plain text. Check the suffix, or "
            "save the sheet as CSV."
        )
    lines = raw.decode(encoding, errors="replace").splitlines()
    return lines[:-1] if len(raw) == _HEAD_BYTES else lines


def _encoding(raw: bytes) -> str:
    return "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _split(line: str) -> tuple[list[str], str | None]:
    """Cells without quotes, and the delimiter; None for white space."""
    delimiter = max("\t;,", key=line.count)
    if delimiter not in line:
        return line.split(), None
    return [cell.strip(' "') for cell in line.split(delimiter)], delimiter


def find_header(path: Path, lines: Sequence[str], stated: Mapping[str, Any]) -> TableLayout | None:
    """Layout by the first line that names a time and a signal, or by positions."""
    for i, line in enumerate(lines[:_HEADER_LINES]):
        cells, delimiter = _split(line)
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
    skipped = next((i for i, line in enumerate(lines) if _is_row(_split(line)[0])), None)
    if skipped is None:
        return None
    rows = [_split(line)[0] for line in lines[skipped : skipped + 1000]]
    rows = [row for row in rows if _is_row(row)]
    cells, delimiter = _split(lines[skipped])
    shared: dict[str, Any] = {"n_columns": len(cells), "delimiter": delimiter}
    columns: dict[str, tuple[tuple[int, ...], str | None]]
    first = _as_number(rows[0][0])
    if path.stem.upper() in ("HR", "ACC") and first > 1e9 and len(set(rows[1])) == 1:
        kind = {"HR": "heart_rate", "ACC": "acceleration"}[path.stem.upper()]
        columns = {kind: (tuple(range(len(cells))), "bpm" if kind == "heart_rate" else "1/64 g")}
        rate = _as_number(rows[1][0])
        return TableLayout(columns, skipped=skipped + 2, start=first, rate=rate, **shared)
    if skipped == 0 and first > 1e9 and len(cells) == 2 and cells[1].upper() == "IBI":
        columns = {"time": ((0,), "s"), "rr": ((1,), "s")}
        return TableLayout(columns, skipped=1, start=first, **shared)
    positions = {
        meaning: (at, unit)
        for meaning, (at, unit) in stated.items()
        if all(isinstance(i, int) and i < len(cells) for i in at)
    }
    if positions and ("time" in positions or set(positions) == {"rr"}):
        return TableLayout(positions, skipped=skipped, **shared)
    whole_rows = [row for row in rows if len(row) == len(cells)]
    numbers = np.array([[_as_number(cell) for cell in row] for row in whole_rows])
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


def _as_number(cell: str) -> float:
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return float("nan")


def _is_row(cells: Sequence[str]) -> bool:
    """Whether a line holds data: it begins with a number, a date or a time."""
    return bool(cells) and re.match(_DATA, cells[0]) is not None


def _match_columns(
    cells: Sequence[str], stated: Mapping[str, Any], stem: str
) -> dict[str, tuple[tuple[int, ...], str | None]]:
    """Columns and unit of each meaning that a line's cells name."""
    lower = [cell.casefold() for cell in cells]
    named = [_normalise(cell) for cell in cells]
    words, units = [name for name, _ in named], [unit for _, unit in named]
    columns: dict[str, tuple[tuple[int, ...], str | None]] = {}
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
    axes = {m[1]: i for i, word in enumerate(words) if (m := _AXIS.fullmatch(word))}
    if len(axes) == 3 and not chosen:
        columns["acceleration"] = (tuple(axes[axis] for axis in "xyz"), units[axes["x"]])
    counted = [words.index(f"axis{i}") for i in (1, 2, 3) if f"axis{i}" in words]
    if len(counted) == 3 and not chosen and "vectormagnitude" not in words:
        columns["counts"] = (tuple(counted), None)
    if "value" in words and not any(kind in columns for kind in SIGNALS):
        for kind, pattern in _VALUE_FILES.items():
            if re.search(pattern, stem.lower()):
                columns[kind] = ((words.index("value"),), None)
    return columns


def meaning_of(key: str) -> str | None:
    """The meaning that a key of ``columns`` names, by itself or by a usual name of its column."""
    word, _ = _normalise(key)
    known = (meaning for meaning in ("time", *SIGNALS) if word in _NAMES[meaning])
    return key if key in ("time", *SIGNALS) else next(known, None)


def _normalise(name: str) -> tuple[str, str | None]:
    """A column's name in small letters without signs and unit, and its unit: "HR (bpm)"."""
    bracket = re.search(r"[\[(](.*?)[\])]", name)
    unit = UNITS.get(bracket[1].strip().lower()) if bracket else None
    name = re.sub(r"[\[(].*?[\])]", "", name)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").split()
    words = [word for part in words for word in re.split(r"[-.]", part) if word]
    if len(words) > 1 and unit is None and words[-1].lower() in UNITS:
        unit = UNITS[words.pop().lower()]
        words = words[:-1] if words[-1].lower() == "in" else words
    return re.sub(r"[^a-z0-9]", "", "".join(words).lower()), unit


def read_table(path: Path, clock: Clock, stated: Mapping[str, Any]) -> FileSeries:
    lines = read_head(path)
    layout = find_header(path, lines, stated)
    if layout is None:
        shown = next((line for line in lines if line.strip()), "")[:80]
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
    try:
        with path.open("rb") as file:
            encoding = _encoding(file.read(2))
        # a stray quote would swallow the rows that follow, so quotes are stripped later
        with pd.read_csv(
            path, sep=layout.delimiter or r"\s+", header=None, names=range(layout.n_columns),
            usecols=used, skiprows=layout.skipped, chunksize=_ROWS_PER_CHUNK, encoding=encoding,
            encoding_errors="replace", quoting=csv.QUOTE_NONE,
            na_values=_MISSING, skipinitialspace=True, skip_blank_lines=False, low_memory=False,
        ) as frames:  # fmt: skip
            yield from frames
    except pd.errors.EmptyDataError:
        return
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path}: cannot be read as a table ({error}). Export it again.") from error


class _TableReader:
    """Collects the series of a table, chunk by chunk."""

    def __init__(self, path: Path, layout: TableLayout, clock: Clock):
        self.path, self.layout, self.clock = path, layout, clock
        clock.is_utc = layout.is_utc
        self.counter, self.scale = MotionCounter(path), 0.0
        kinds = [kind for kind in layout.columns if kind in SIGNALS]
        self.has_motion = "acceleration" in kinds
        self.parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
            kind: [(np.zeros(0), np.zeros(0))] for kind in kinds if kind != "acceleration"
        }
        self.participants: set[str] = set()
        self.n_rows = self.n_wrong = self.n_timed = 0
        self.first_time, self.last_time = np.inf, -np.inf
        with path.open("rb") as file:
            file.seek(-min(2, path.stat().st_size), os.SEEK_END)
            self.is_whole = file.read().strip(b"\0")[-1:] in (b"\n", b"\r")
        self.first_wrong = ""

    def add(self, chunk: pd.DataFrame) -> None:
        chunk = chunk.dropna(how="all")
        if chunk.empty:
            return
        self.n_rows += len(chunk)
        kinds = [*self.parts, *(["acceleration"] if self.has_motion else [])]
        numbers = {kind: self._numbers(chunk, kind) for kind in kinds}
        wrong = np.any([failed for _, failed in numbers.values()], axis=0)
        sizes = {kind: _magnitude(values) for kind, (values, _) in numbers.items()}
        used = np.any([np.isfinite(size) for size in sizes.values()], axis=0)
        # labels count from the first row, whether or not it holds a reading
        timed = used | self._have_times(chunk)
        # of a last line that is cut short, the time may be as well
        timed[-1] &= used[-1] or self.is_whole
        times = np.full(len(chunk), np.nan)
        if timed.any():
            times[timed] = self._times(chunk[timed])
            self._extend(times[np.isfinite(times)])
        wrong |= used & np.isnan(times)
        for kind, parts in self.parts.items():
            present = np.isfinite(times) & np.isfinite(sizes[kind])
            parts.append((times[present], sizes[kind][present]))
        if self.has_motion:
            self._count(times, numbers["acceleration"][0], sizes["acceleration"])
        if "participant" in self.layout.columns:
            column = chunk[self.layout.columns["participant"][0][0]].dropna()
            self.participants |= set(column.astype(str).unique())
        if wrong.any():
            i = int(np.argmax(wrong))
            line = int(chunk.index[i]) + self.layout.skipped + 1
            cells = ",".join(chunk.iloc[i].astype(str))
            self.first_wrong = self.first_wrong or f"line {line}: {cells[:60]!r}"
            self.n_wrong += int(wrong.sum())

    def _count(self, times: np.ndarray, axes: np.ndarray, sizes: np.ndarray) -> None:
        present = np.isfinite(sizes)
        if not self.scale and present.any():
            unit = self.layout.columns["acceleration"][1]
            self.scale = _scale_of(
                self.path, "acceleration", float(np.median(sizes[present])), unit
            )
        self.counter.add(times, axes * self.scale)

    def _have_times(self, chunk: pd.DataFrame) -> np.ndarray:
        """Rows whose cell of the time begins as a number, a date or a time does."""
        if "time" not in self.layout.columns:
            return np.full(len(chunk), self.layout.rate is not None)
        column = _strip(chunk[self.layout.columns["time"][0][0]])
        return column.astype(str).str.match(_DATA).to_numpy(bool)

    def _extend(self, times: np.ndarray) -> None:
        if len(times):
            self.n_timed += len(times)
            self.first_time = min(self.first_time, float(times.min()))
            self.last_time = max(self.last_time, float(times.max()))

    def _times(self, chunk: pd.DataFrame) -> np.ndarray:
        layout = self.layout
        if layout.rate is not None:
            self.clock.kind = "utc"
            return self.clock.check(layout.start + chunk.index.to_numpy(float) / layout.rate)
        if "time" not in layout.columns:
            self.clock.kind = "elapsed"
            return np.arange(len(chunk), dtype=float)
        (at, *_), unit = layout.columns["time"]
        values = _strip(chunk[at])
        if layout.start:
            self.clock.kind = "utc"
            seconds = pd.to_numeric(values, errors="coerce").to_numpy(float)
            return self.clock.check(layout.start + seconds)
        if "date" in layout.columns and at != layout.columns["date"][0][0]:
            day = _strip(chunk[layout.columns["date"][0][0]]).astype(str)
            if values.astype(str).str.match(r"\d{1,2}:").mean() > 0.5:
                values = day + " " + values.astype(str)
        return self.clock.parse(values, unit)

    def _numbers(self, chunk: pd.DataFrame, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Values of shape (n_rows, n_columns), and the rows with a cell that is no number."""
        columns = [self._column(chunk[i]) for i in self.layout.columns[kind][0]]
        values = np.stack([values for values, _ in columns], axis=1)
        return values, np.any([wrong for _, wrong in columns], axis=0)

    def _column(self, column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        if column.dtype.kind in "fiu":
            return column.to_numpy(float), np.zeros(len(column), dtype=bool)
        texts = _strip(column)
        if self.layout.delimiter != ",":
            texts = texts.astype(str).where(texts.notna()).str.replace(",", ".")
        values = pd.to_numeric(texts, errors="coerce")
        wrong = values.isna() & texts.notna() & (texts != "") & ~texts.isin(_MISSING)
        return values.to_numpy(float), wrong.to_numpy(bool)

    def finish(self) -> FileSeries:
        """The series in their units, increasing; an error if too many rows are wrong."""
        self._check_rows()
        found = FileSeries(self.clock.basis, self.clock.offset)
        if self.n_wrong:
            kind = "rows that cannot be read were left out"
            count = f"{self.n_wrong:,} of {self.n_rows:,} {kind}"
            text = f"{self.path.name}: {count}; the first is {self.first_wrong}"
            found.notes.append(Caution(text, kind))
        found.set_motion(self.counter)
        empty = ["acceleration"] if self.has_motion and found.motion is None else []
        for kind, parts in self.parts.items():
            times, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            valid = values >= 0 if kind == "counts" else values > 0
            if kind == "spo2":
                valid &= values <= _SCALES["spo2"]["%"][2]
            if not valid.any():
                empty.append(kind)
                continue
            unit, size = self.layout.columns[kind][1], float(np.median(values[valid]))
            values = values * _scale_of(self.path, kind, size, unit)
            plausible = find_plausible(self.path.name, kind, values, found.notes)
            # intervals that are too long or short still fill the time between beats
            used = valid if kind == "rr" else valid & plausible
            found.series[kind] = self._tidy(kind, times[used], values[used], found.notes)
        for kind in empty:
            text = f"the column of {kind} is empty and was left out"
            found.notes.append(Caution(f"{self.path.name}: {text}", text))
        last_epoch = 0.0
        if "counts" in found.series:
            times, counts = found.series["counts"]
            last_epoch = median_step(times)
            found.still = find_zeros(times, counts, last_epoch)
        # a list of intervals has no times but their sum
        if self.n_timed > 1 and (self.layout.rate or "time" in self.layout.columns):
            step = (self.last_time - self.first_time) / (self.n_timed - 1)
            found.rows = (self.first_time, self.last_time + min(last_epoch, step))
        return found

    def _check_rows(self) -> None:
        if self.n_rows == 0:
            raise ReadError(f"{self.path}: has a header and no rows. Export it again.")
        if self.n_wrong > max(_MOST_WRONG * self.n_rows, 1):
            raise ReadError(
                f"{self.path}: {self.n_wrong:,} of {self.n_rows:,} rows cannot be read, the first "
                f"in {self.first_wrong}. Check the columns and the decimal sign, or name other "
                "columns with columns={'time': ..., 'heart_rate': ...}."
            )
        if len(self.participants) > 1:
            shown = ", ".join(sorted(self.participants)[:3])
            more = ", ..." if len(self.participants) > 3 else ""
            raise ReadError(
                f"{self.path}: holds {len(self.participants):,} participants ({shown}{more}); "
                "accepted is one. Write a file for each."
            )

    def _tidy(
        self, kind: str, times: np.ndarray, values: np.ndarray, notes: list[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Readings in order of time, one for each time."""
        if kind == "rr":
            return self._order_beats(times, values)
        unit = self.layout.columns.get("time", ((), None))[1]
        if self.clock.kind == "elapsed" and unit is None:
            step = median_step(np.sort(times))
            if step > _LONGEST_ELAPSED_STEP:
                raise ReadError(
                    f"{self.path}: elapsed times are {step:g} apart, which are no seconds; "
                    "accepted is a column with its unit, such as time_ms. State it: "
                    "columns={'time': (name, 'ms')}."
                )
        unique, first = np.unique(times, return_index=True)
        if len(unique) < len(times):
            notes.append(
                f"{self.path.name}: {len(times) - len(unique):,} rows repeat a time; the first of "
                "each is used"
            )
        return unique, values[first]

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


def _scale_of(path: Path, kind: str, size: float, unit: str | None) -> float:
    """Factor to the unit that is used; a unit that is not stated must follow from the size."""
    scales = _SCALES[kind]
    fitting = [name for name, (_, low, high) in scales.items() if low <= abs(size) <= high]
    if unit is None and len(fitting) == 1 and fitting[0] in UNITS.values():
        return scales[fitting[0]][0]
    # gravity may have been removed from acceleration, but nobody moves at 3 g all night
    small = kind == "acceleration" and unit in scales and abs(size) < 3 * scales[unit][2]
    if unit in fitting or (unit is not None and small):
        return scales[unit][0]
    stated = "no unit is stated" if unit is None else f"the stated unit is {unit!r}"
    raise ReadError(
        f"{path}: the median of {kind} is {size:g} and {stated}; accepted are "
        f"{', '.join(f'{name} ({low:g} to {high:g})' for name, (_, low, high) in scales.items())}. "
        f"Name the column and its unit: columns={{{kind!r}: (name, {next(iter(scales))!r})}}."
    )
