# SPDX-License-Identifier: BSD-3-Clause
"""Files of public data sets: finding and reading them, WFDB annotations and headers.

The wfdb package brings aiohttp and matplotlib, so the annotation reader is our own; its tests hold
values that wfdb read. Format (https://physionet.org/physiotools/wag/annot-5.htm): an annotation is
a 16-bit little-endian word, six bits of type over ten bits of time since the previous one; types
from 59 on carry a longer time, a field, or text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..readers._boundary import (
    LONGEST_DAYS,
    LONGEST_SECONDS,
    MOST_TABLE_BYTES,
    check_file,
    only_read_errors,
)
from ..readers.npz import load_arrays
from ..recordings.cohort import Cohort
from ..recordings.derivation import ibi_from_beats
from ..recordings.recording import Recording
from ..recordings.sources import HIGHEST_RATE, LOWEST_RATE

StrPath: TypeAlias = str | PathLike[str]

BEAT_TYPES = (*range(1, 14), 25, 30, 31, 34, 35, 38, 41)
DOWNLOAD_AGAIN = "Download it again."
# of beats: more than those of a month
_MOST_ANNOTATION_BYTES = 8 << 20
_SKIP, _NUM, _SUB, _CHAN, _AUX = 59, 60, 61, 62, 63


def find_files(folder: StrPath, pattern: str, dataset: str) -> list[Path]:
    """Files of a data set, in the natural order of their names; at least one."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ReadError(
            f"{folder} is not a folder; accepted is the unpacked folder of {dataset}. Check the "
            "path."
        )
    paths = sorted(folder.glob(pattern), key=_natural_order)
    if not paths:
        raise ReadError(
            f"{folder} holds no {pattern}; accepted is the unpacked folder of {dataset}, with the "
            "published file names. Pass the folder that holds them, not its parent."
        )
    return paths


def _natural_order(path: Path) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def as_cohort(recordings: Sequence[Recording], failures: Sequence[tuple[str, str]] = ()) -> Cohort:
    """A cohort whose metadata columns are the subject and the recordings' own metadata."""
    rows = [{"subject": r.subject, **r.metadata} for r in recordings]
    index = pd.Index([r.id for r in recordings], name="recording")
    return Cohort(recordings, pd.DataFrame(rows, index=index), failures)


def unreadable(path: Path, error: Exception | str, accepted: str) -> ReadError:
    """The error for a file that is missing, damaged or of another layout."""
    return ReadError(f"{path} cannot be read: {error}. Accepted is {accepted}; download it again.")


def read_each(paths: Sequence[Path], read: Callable[[Path], Recording]) -> list[Recording]:
    """A recording of each file; whatever reading one raises is an error that names it."""
    recordings = []
    for path in paths:
        with only_read_errors(path, "the reader of this data set", DOWNLOAD_AGAIN, quotes=True):
            recordings.append(read(path))
    return recordings


def read_numbers(path: Path, accepted: str, **options: Any) -> np.ndarray:
    """Numbers of a text file by :func:`numpy.loadtxt`."""
    check_file(path, MOST_TABLE_BYTES)
    try:
        # numpy warns of a file without rows, which each loader treats in its own way
        if not _has_rows(path, options.get("skiprows", 0)):
            return np.empty((0, 1) if options.get("ndmin") == 2 else 0)
        return np.loadtxt(path, **options)
    except (OSError, ValueError) as error:
        raise unreadable(path, error, accepted) from error


def _has_rows(path: Path, n_skipped: int) -> bool:
    with path.open("rb") as file:
        return any(line.partition(b"#")[0].strip() for line in islice(file, n_skipped, None))


def read_arrays(path: Path, names: Sequence[str], accepted: str) -> list[np.ndarray]:
    """Arrays of an ``.npz`` file."""
    try:
        return list(load_arrays(path, names).values())
    except ReadError as error:
        raise unreadable(path, error, accepted) from error


def seconds_after(start: datetime, clock: timedelta) -> float:
    """Seconds from the start of a recording to a time of day, which may be of the next day."""
    start_clock = timedelta(hours=start.hour, minutes=start.minute, seconds=start.second)
    return (clock - start_clock).total_seconds() % 86_400


@dataclass(frozen=True, slots=True)
class Annotations:
    """Annotations of a WFDB record."""

    samples: np.ndarray  # sample index of each
    types: np.ndarray  # its type; those of beats are BEAT_TYPES
    texts: tuple[str, ...]  # its auxiliary text, mostly empty


@dataclass(frozen=True, slots=True)
class Header:
    """The record line of a WFDB header, and its first comment."""

    rate: float  # samples per second, also of the annotations
    n_samples: int
    start: datetime | None
    comment: str

    @property
    def duration(self) -> float:
        return self.n_samples / self.rate


def read_annotations(path: StrPath) -> Annotations:
    """Annotations of one annotator's file."""
    check_file(Path(path), _MOST_ANNOTATION_BYTES)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error}. Download it from PhysioNet.") from error
    # a complete file ends with a zero word
    if len(data) < 2 or len(data) % 2 or data[-2:] != b"\0\0":
        raise ReadError(
            f"{path} is not an annotation file in MIT format, or is truncated ({len(data)} bytes, "
            "no end mark). Download it again."
        )
    return _parse_annotations(data, path)


def _parse_annotations(data: bytes, path: StrPath) -> Annotations:
    words = np.frombuffer(data, dtype="<u2").tolist()
    samples: list[int] = []
    types: list[int] = []
    texts: list[str] = []
    time = position = 0
    while position < len(words) and words[position]:
        kind, value = words[position] >> 10, words[position] & 0x3FF
        position += 1
        if kind == _SKIP:
            if position + 2 > len(words):
                raise ReadError(f"{path} ends inside an annotation. Download it again.")
            # a long interval keeps the PDP-11's order: high word first
            interval = (words[position] << 16) | words[position + 1]
            time += interval - (1 << 32) if interval >= 1 << 31 else interval
            position += 2
        elif kind == _AUX:
            raw = data[2 * position : 2 * position + value]
            position += (value + 1) // 2
            if not texts or position > len(words):
                raise ReadError(f"{path} holds text without an annotation. Download it again.")
            texts[-1] = raw.rstrip(b"\0").decode("latin-1")
        elif kind not in (_NUM, _SUB, _CHAN):
            time += value
            samples.append(time)
            types.append(kind)
            texts.append("")
    return Annotations(np.array(samples, dtype=np.int64), np.array(types, dtype=int), tuple(texts))


def record_from_beats(path: Path, suffix: str, header: Header, **fields: Any) -> Recording:
    """A record with the RR intervals of the beats in its annotation file of this suffix."""
    beats = read_annotations(path.with_suffix(suffix))
    times = np.unique(beats.samples[np.isin(beats.types, BEAT_TYPES)]) / header.rate
    signals = {"ibi": ibi_from_beats(times, duration=header.duration)}
    return Recording(signals, duration=header.duration, id=path.stem, **fields)


def read_header(path: StrPath) -> Header:
    """Rate, length, start and first comment of a record."""
    check_file(Path(path), _MOST_ANNOTATION_BYTES)
    try:
        lines = Path(path).read_text(encoding="latin-1").splitlines()
        fields = next(line for line in lines if line.strip() and line[0] != "#").split()
        rate, n_samples = float(fields[2].split("/")[0].split("(")[0]), int(fields[3])
    except (OSError, StopIteration, IndexError, ValueError) as error:
        raise ReadError(
            f"{path} is not a record's header ({error}); accepted is PhysioNet's .hea file."
        ) from error
    if not (LOWEST_RATE <= rate <= HIGHEST_RATE and 0 <= n_samples <= rate * LONGEST_SECONDS):
        raise ReadError(
            f"{path} announces {n_samples:,} samples at {rate:g} Hz; accepted are up to "
            f"{LONGEST_DAYS} days. Download it again."
        )
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    return Header(rate, n_samples, _parse_start(fields[4:6]), comments[0] if comments else "")


def _parse_start(fields: list[str]) -> datetime | None:
    if len(fields) < 2:
        return None
    for date_format in ("%d/%m/%Y", "%d/%m/%y"):
        try:
            return datetime.strptime(" ".join(fields), f"%H:%M:%S {date_format}")
        except ValueError:
            continue
    return None
