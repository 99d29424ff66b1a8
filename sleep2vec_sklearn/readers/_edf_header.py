# SPDX-License-Identifier: BSD-3-Clause
"""Header and samples of an EDF, EDF+ or BDF file, by one parser, and hashes of files.

edfio was weighed: it takes where data begin from a field of the header, other lengths from other
fields, and a damaged file then gives other samples without a word; a BDF file it reads whole. Here
one layout, checked against the file's size, says where everything lies. No sample is read early,
and only sex and age remain of the patient's identification.

Layout: Kemp et al. 1992, https://doi.org/10.1016/0013-4694(92)90009-7, and
https://www.edfplus.info/specs/edfplus.html.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .._files import hash_file, sha256
from ..errors import ReadError
from ..recordings.sources import HIGHEST_RATE, LOWEST_RATE, Signal
from ._boundary import LONGEST_DAYS, LONGEST_SECONDS, check_file, only_read_errors

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_HINT = "Copy or download it again, or leave it out"
_READER_REVISION = 1
_MOST_SIGNALS = 4096
_BLOCK_BYTES = 1 << 22
_INTEGER = re.compile(rb"[+-]?\d+")
_DECIMAL = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
# two separators in a row: with a text between them, it is the onset of an annotation
_STAMP = re.compile(rb"\x00*([+-]\d{1,12}(?:\.\d{0,20})?)\x14\x14")
_STAMP_BYTES = 64
_OLDEST = 120
_ANONYMOUS_START = date(1985, 1, 1)
# zeros of calendars, which software writes for a date that is not known
_STAND_INS = ((30, 12, 1899), (31, 12, 1899), (1, 1, 1900), (1, 1, 1901), (1, 1, 1904))
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class EdfChannel:
    """Number in the header, label, scale, samples per record, and the bytes before them in it."""

    index: int
    offset: int
    label: str
    dimension: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    samples_per_record: int

    @property
    def is_annotation(self) -> bool:
        """Whether it holds annotations instead of samples."""
        return self.label in ("EDF Annotations", "BDF Annotations")

    @property
    def has_scale(self) -> bool:
        """Whether digital values have physical ones, in single precision as well."""
        (low, high), (least, most) = self.physical, self.digital
        if low == high or least >= most:
            return False
        with np.errstate(all="ignore"):
            scale = np.array([(high - low) / (most - least), low, high], np.float32)
        return bool(np.isfinite(scale).all() and abs(scale[0]) >= np.finfo(np.float32).tiny)

    def to_physical(self, digital: np.ndarray) -> np.ndarray:
        """Digital values in the channel's dimension, as float32."""
        (low, high), (least, most) = self.physical, self.digital
        gain = (high - low) / (most - least)
        values = digital.astype(np.float32)
        values *= np.float32(gain)
        values += np.float32(low - least * gain)
        return values


@dataclass(frozen=True, slots=True)
class EdfHeader:
    """Header of a file, without what identifies the patient.

    ``sample_bytes`` is 2 for EDF and 3 for BDF; records of a ``discontinuous`` file (EDF+D) need
    not follow each other in time; ``n_records`` are whole records; ``channels`` include
    annotations; ``data_offset`` counts the bytes before the first record; ``start`` is the clock
    time of the first sample, the header's plus the time stamp of the first record, and anonymised
    dates are kept; ``patient`` has ``sex`` ("F" or "M") and ``age`` if an EDF+ header states them;
    ``notes`` are repairs.
    """

    sample_bytes: int
    discontinuous: bool
    n_records: int
    record_seconds: float
    channels: tuple[EdfChannel, ...]
    data_offset: int
    start: datetime | None
    patient: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def signals(self) -> tuple[EdfChannel, ...]:
        """Channels that hold samples."""
        return tuple(channel for channel in self.channels if not channel.is_annotation)

    @property
    def has_stamps(self) -> bool:
        """Whether the records have room for time stamps."""
        return any(channel.is_annotation for channel in self.channels)

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        return self.sample_bytes * sum(channel.samples_per_record for channel in self.channels)

    @property
    def duration(self) -> float:
        """Seconds of all records."""
        return self.n_records * self.record_seconds

    def rate_of(self, channel: EdfChannel) -> float:
        """Samples per second; 0 if the header gives no usable rate or scale."""
        if self.record_seconds <= 0 or not channel.has_scale:
            return 0.0
        rate = channel.samples_per_record / self.record_seconds
        return rate if LOWEST_RATE <= rate <= HIGHEST_RATE else 0.0

    def read_bytes(self, path: Path, channels: Sequence[EdfChannel]) -> list[np.ndarray]:
        """Bytes of channels in one pass, each of shape (n_records, bytes per record)."""
        sizes = [channel.samples_per_record * self.sample_bytes for channel in channels]
        found = [np.empty((self.n_records, size), np.uint8) for size in sizes]
        n_at_once = max(1, _BLOCK_BYTES // self.record_bytes)
        buffer = np.empty((min(n_at_once, self.n_records), self.record_bytes), np.uint8)
        check_file(path)
        with only_read_errors(path, "the reader of samples"), path.open("rb", buffering=0) as file:
            file.seek(self.data_offset)
            for first in range(0, self.n_records, n_at_once):
                block = buffer[: self.n_records - first]
                n_read = _read_into(file, block)
                if n_read < block.size:
                    raise ReadError(
                        f"{path}: has {first + n_read // self.record_bytes} records, its header "
                        f"announced {self.n_records} when the recording was opened. The file has "
                        "changed; read it again with read_recording."
                    )
                for values, channel, size in zip(found, channels, sizes, strict=True):
                    begin = channel.offset * self.sample_bytes
                    values[first : first + len(block)] = block[:, begin : begin + size]
        return found

    def read_digital(self, path: Path, channels: Sequence[EdfChannel]) -> list[np.ndarray]:
        """Digital values of channels, each of shape (n_records * samples_per_record,)."""
        found = self.read_bytes(path, channels)
        if self.sample_bytes == 2:
            return [raw.reshape(-1).view("<i2") for raw in found]
        parts = (raw.reshape(-1, 3) for raw in found)
        # the last of three bytes has the sign
        return [
            low | (middle.astype(np.int32) << 8) | (high.view(np.int8).astype(np.int32) << 16)
            for low, middle, high in (np.ascontiguousarray(part.T) for part in parts)
        ]

    def read_stamps(self, path: Path, records: Iterable[int]) -> list[bytes | None]:
        """Time stamps of these records as written, in seconds; None where there is none."""
        first = next(channel for channel in self.channels if channel.is_annotation)
        size = min(first.samples_per_record * self.sample_bytes, _STAMP_BYTES)
        begin = self.data_offset + first.offset * self.sample_bytes
        stamps = []
        check_file(path)
        with (
            only_read_errors(path, "the reader of time stamps"),
            path.open("rb", buffering=0) as file,
        ):
            for i in records:
                file.seek(begin + i * self.record_bytes)
                found = _STAMP.match(file.read(size))
                stamps.append(found and found[1])
        return stamps


def _read_into(file: Any, block: np.ndarray) -> int:
    """Bytes that were read into an array; fewer than it holds at the end of the file."""
    view, n_read = memoryview(block.data).cast("B"), 0
    while n_read < len(view) and (n := file.readinto(view[n_read:])):
        n_read += n
    return n_read


def read_header(path: Path) -> EdfHeader:
    """Parse a header; a wrong count or a last record cut short is noted, other damage an error."""
    size = check_file(path).st_size
    try:
        with path.open("rb") as file:
            fixed = file.read(256)
            sample_bytes = _sample_bytes(path, fixed, size)
            n_channels = _number(path, fixed[252:256], "the number of signals", int)
            if not 1 <= n_channels <= _MOST_SIGNALS:
                raise _damaged(
                    path,
                    f"the header announces {n_channels} signals; accepted are 1 to {_MOST_SIGNALS}",
                )
            table = file.read(256 * n_channels)
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(f"{path}: cannot be opened ({error.strerror}).") from error
    offset = 256 * (n_channels + 1)
    _check_whole(path, fixed + table, offset, size)
    stated = _number(path, fixed[184:192], "the number of its bytes", int)
    if stated != offset:
        raise _damaged(
            path, f"the header states that it has {stated} bytes; with {n_channels} signals it "
            f"has {offset}"
        )  # fmt: skip
    channels = _parse_channels(path, table, n_channels)
    seconds = _number(path, fixed[244:252], "the length of a record", float)
    declared = _number(path, fixed[236:244], "the number of records", int)
    record_bytes = sample_bytes * sum(channel.samples_per_record for channel in channels)
    n_records, notes = _count_records(path, declared, record_bytes, size - offset, offset)
    if not all(channel.is_annotation for channel in channels):
        _check_length(path, n_records, seconds)
    discontinuous = fixed[192:236].startswith((b"EDF+D", b"BDF+D"))
    start = _parse_start(fixed)
    patient, age_notes = _parse_patient(fixed[8:88].decode("latin-1"), start)
    notes += age_notes
    if start is None:
        notes.append("the header states no valid start time")
    layout = sample_bytes, discontinuous, n_records, seconds, channels, offset
    header = EdfHeader(*layout, start, patient, tuple(notes))
    return _add_first_stamp(header, path) if header.has_stamps else header


def _check_length(path: Path, n_records: int, seconds: float) -> None:
    if seconds <= 0:
        raise _damaged(
            path, f"the header gives a record {seconds:g} s; accepted is a positive length"
        )
    if n_records * seconds > LONGEST_SECONDS:
        raise _damaged(
            path, f"its {n_records} records of {seconds:g} s are {n_records * seconds / 86400:g} "
            f"days; accepted are up to {LONGEST_DAYS}"
        )  # fmt: skip


def _add_first_stamp(header: EdfHeader, path: Path) -> EdfHeader:
    """The header with the time stamp of the first record added to its start."""
    stamp = header.read_stamps(path, [0])[0]
    note, start = None, header.start
    if stamp is None:
        note = "the first record has no time stamp; the signals start at the header's clock time"
    elif abs(float(stamp)) > LONGEST_SECONDS:
        note = f"the first record's time stamp, {float(stamp):g} s, is no time of day: not used"
    elif start is not None and float(stamp):
        with suppress(OverflowError):  # at the end of the year 9999
            start += timedelta(seconds=float(stamp))
        if abs(float(stamp)) >= 1:
            note = f"the signals start {float(stamp):g} s after the header's clock time"
    notes = (*header.notes, note) if note and header.signals else header.notes
    return replace(header, start=start, notes=notes)


def _damaged(path: Path, what: str) -> ReadError:
    return ReadError(f"{path}: {what}. The file is corrupt. {_HINT}.")


def _sample_bytes(path: Path, fixed: bytes, size: int) -> int:
    if size == 0:
        raise ReadError(f"{path}: the file is empty (0 bytes). {_HINT}.")
    is_bdf = fixed[:8] == b"\xffBIOSEMI"
    if not is_bdf and fixed[:8].strip() != b"0":
        raise ReadError(
            f"{path}: not an EDF or BDF file (it does not begin with the version 0 or BIOSEMI). "
            "Check the suffix, or convert the file to EDF."
        )
    _check_whole(path, fixed, 256, size)
    return 3 if is_bdf else 2


def _check_whole(path: Path, read: bytes, length: int, size: int) -> None:
    if len(read) < length:
        raise ReadError(
            f"{path}: truncated within its header: expected {length} bytes or more, found {size}. "
            f"{_HINT}."
        )


def _number(path: Path, raw: bytes, name: str, kind: Callable[[bytes], _Number]) -> _Number:
    # Python takes digits of other scripts and underscores as well, other readers do not
    text = raw.strip(b" \t\r\n").replace(b",", b".")
    pattern = _INTEGER if kind is int else _DECIMAL
    if pattern.fullmatch(text) and math.isfinite(value := kind(text)):
        return value
    raise _damaged(path, f"{name} in the header is not a number")


def _parse_channels(path: Path, table: bytes, n: int) -> tuple[EdfChannel, ...]:
    columns, start = [], 0
    for width in _FIELDS:
        columns.append([table[start + i * width : start + (i + 1) * width] for i in range(n)])
        start += n * width
    labels, _, dimensions, low, high, least, most, _, samples, _ = columns
    channels, offset = [], 0
    for i in range(n):
        count = _number(path, samples[i], f"the sample count of signal {i + 1}", int)
        if count < 0:
            raise _damaged(path, f"signal {i + 1} has {count} samples per record")
        name = f"the scale of signal {i + 1}"
        scale = [_number(path, field[i], name, float) for field in (low, high, least, most)]
        if scale[2] % 1 or scale[3] % 1:
            raise _damaged(path, f"the digital range of signal {i + 1} is none of whole numbers")
        label, dimension = (c[i].decode("latin-1").strip("\x00 ") for c in (labels, dimensions))
        digital = (int(scale[2]), int(scale[3]))
        physical = (scale[0], scale[1])
        channels.append(EdfChannel(i, offset, label, dimension, physical, digital, count))
        offset += count
    return tuple(channels)


def _count_records(
    path: Path, declared: int, record_bytes: int, data_bytes: int, offset: int
) -> tuple[int, list[str]]:
    """Whole records in the file, and notes if the header declares another number."""
    whole, rest = divmod(max(data_bytes, 0), record_bytes) if record_bytes else (0, 0)
    if whole == 0:
        raise ReadError(
            f"{path}: holds no whole record: a record has {record_bytes} bytes, {data_bytes} were "
            f"found after the header. {_HINT}."
        )
    if declared == -1:
        return whole, [f"the recording was never closed; its {whole} whole records are read"]
    if whole < declared - 1 or (whole == declared - 1 and rest == 0 and declared > 1):
        raise ReadError(
            f"{path}: truncated: expected {offset + declared * record_bytes} bytes ({declared} "
            f"records), found {offset + data_bytes} ({whole} whole records). {_HINT}; to use what "
            "is there, repair its header with edfio.read_edf(path).write(new_path)."
        )
    if whole == declared - 1:
        return whole, [f"the last of {declared} records is cut short and was dropped"]
    if whole > declared:
        note = f"the header counts {declared} records, the file holds {whole}: all are read"
        return whole, [note]
    if rest:
        return whole, [f"{rest} bytes after the last record are no record and are not read"]
    return whole, []


def _parse_start(fixed: bytes) -> datetime | None:
    long = re.search(rb"Startdate (\d{1,2})-([A-Z]{3})-(\d{4})", fixed[88:168])
    short = re.fullmatch(rb"(\d\d)[.:/-](\d\d)[.:/-](\d\d)", fixed[168:176].strip())
    clock = re.fullmatch(rb"(\d\d)[.:](\d\d)[.:](\d\d)", fixed[176:184].strip())
    if clock is None:
        return None
    if long and long[2].decode() in _MONTHS:
        year, month, day = int(long[3]), _MONTHS.index(long[2].decode()) + 1, int(long[1])
    elif short:
        day, month, year = map(int, short.groups())
        year = expand_year(year)
    else:
        return None
    return make_datetime(year, month, day, *map(int, clock.groups()))


def expand_year(year: int) -> int:
    """The year from 1985 to 2084 that EDF writes in two digits."""
    return year + (1900 if year >= 85 else 2000)


def make_datetime(year: int, month: int, day: int, *clock: int) -> datetime | None:
    """The time, or None if there is no such date."""
    try:
        hour, minute, second = clock
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None


def _parse_patient(field: str, start: datetime | None) -> tuple[dict[str, Any], list[str]]:
    """Sex and age, and a note if an age cannot be; never the birthday itself."""
    parts = field.split()
    known: dict[str, Any] = {}
    if len(parts) < 2 or parts[1] not in ("F", "M", "X"):
        return known, []
    if parts[1] != "X":
        known["sex"] = parts[1]
    born = re.fullmatch(r"(\d{1,2})-([A-Z]{3})-(\d{4})", parts[2]) if len(parts) > 2 else None
    stated = re.search(r"(?<!\d)(\d{1,3}) ?(?:yr|yrs|years|y)(?![a-z])", " ".join(parts[3:]))
    if stated:
        age, problem = int(stated[1]), ""
    elif born and start and born[2] in _MONTHS:
        day, month, year = int(born[1]), _MONTHS.index(born[2]) + 1, int(born[3])
        age = start.year - year - ((start.month, start.day) < (month, day))
        if make_datetime(year, month, day, 0, 0, 0) is None:
            return known, ["age: not known from the header, as there is no such birthday"]
        anonymous = start.date() == _ANONYMOUS_START
        problem = "the start was moved to 1985 when the file was anonymised" if anonymous else ""
        if (day, month, year) in _STAND_INS:
            problem = "the birthday is a stand-in"
    else:
        return known, []
    if not 0 <= age <= _OLDEST:
        problem = f"it would be {age} years"
    if problem:
        return known, [f"age: not known from the header, as {problem}"]
    return {**known, "age": age}, []


def fingerprint_of(paths: Sequence[Path], settings: Any) -> str:
    """Hex sha256 of files, each read once, and of the ``repr`` of the settings to read them."""
    hashes = []
    for path in paths:
        with only_read_errors(path, "the hash of files", f"{_HINT}."):
            hashes.append(hash_file(path))
    return sha256(repr((_READER_REVISION, settings)), *hashes)


class FileSource:
    """A source of files: what is read from them, and fingerprints of that."""

    files: tuple[Path, ...]
    _format: str

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read these modalities; a ReadError if the file has changed, or proves to be damaged."""
        path = self.files[0] if self.files else Path(type(self).__name__)
        with only_read_errors(path, "the reader of samples"):
            return self._read(names)

    def _read(self, names: Sequence[str]) -> dict[str, Signal]:
        raise NotImplementedError

    def _settings(self) -> list[tuple[Any, ...]]:
        """What the samples of each modality depend on, its name first."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """sha256 of the files and of what is read from them."""
        return fingerprint_of(self.files, (self._format, self._settings()))

    def signal_fingerprint(self, name: str, derivation: int = 0) -> str:
        """sha256 of the files and of what is read as one modality, or as one derivation of it."""
        return fingerprint_of(self.files, (self._format, self._settings_of(name, derivation)))

    def _settings_of(self, name: str, derivation: int) -> tuple[Any, ...]:
        return next(row for row in self._settings() if row[0] == name)
