# SPDX-License-Identifier: BSD-3-Clause
"""PhysioNet's annotation files (16-bit MIT format) and the first lines of their headers.

Format: https://physionet.org/physiotools/wag/annot-5.htm. An annotation is a 16-bit
little-endian word, six bits of type over ten bits of time since the last one; types from 59 on
carry a longer time, a field, or text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..recordings import Cohort, Recording

__all__ = [
    "BEAT_TYPES",
    "Annotations",
    "Header",
    "as_cohort",
    "find_files",
    "read_annotations",
    "read_header",
]

BEAT_TYPES = (*range(1, 14), 25, 30, 31, 34, 35, 38, 41)
_SKIP, _NUM, _SUB, _CHAN, _AUX = 59, 60, 61, 62, 63


@dataclass(frozen=True, slots=True)
class Annotations:
    """What one annotator says of a record.

    Attributes
    ----------
    samples : ndarray of shape (n,)
        Place of each annotation, in samples.
    types : ndarray of shape (n,)
        Its code; see ``BEAT_TYPES``.
    texts : tuple of str
        Its free text, mostly empty.
    """

    samples: np.ndarray
    types: np.ndarray
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a record's ``.hea`` says of the whole record.

    Attributes
    ----------
    rate : float
        Samples per second, also of the annotations.
    n_samples : int
        Length.
    start : datetime or None
        Clock time of the first sample.
    comment : str
        First line after the signals that starts with ``#``.
    """

    rate: float
    n_samples: int
    start: datetime | None
    comment: str

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.rate


def read_annotations(path) -> Annotations:
    """Read one annotation file.

    Raises
    ------
    ReadError
        If it is missing or not of this format.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error}. Download it from PhysioNet.") from error
    # A well-formed file ends with a zero word.
    if len(data) < 2 or len(data) % 2 or data[-2:] != b"\0\0":
        raise ReadError(
            f"{path} is not an annotation file in MIT format, or is truncated ({len(data)} bytes, "
            "no end mark). Download it again."
        )
    return _parse(data, path)


def _parse(data: bytes, path) -> Annotations:
    words = np.frombuffer(data, dtype="<u2").tolist()
    samples, types, texts = [], [], []
    time = place = 0
    while place < len(words) and words[place]:
        kind, value = words[place] >> 10, words[place] & 0x3FF
        place += 1
        if kind == _SKIP:
            if place + 2 > len(words):
                raise ReadError(f"{path} ends inside an annotation. Download it again.")
            # The long interval keeps the PDP-11's order: high word first.
            interval = (words[place] << 16) | words[place + 1]
            time += interval - (1 << 32) if interval >= 1 << 31 else interval
            place += 2
        elif kind == _AUX:
            raw = data[2 * place : 2 * place + value]
            place += (value + 1) // 2
            if not texts or place > len(words):
                raise ReadError(f"{path} holds text without an annotation. Download it again.")
            texts[-1] = raw.rstrip(b"\0").decode("latin-1")
        elif kind not in (_NUM, _SUB, _CHAN):
            time += value
            samples.append(time)
            types.append(kind)
            texts.append("")
    return Annotations(np.array(samples, dtype=np.int64), np.array(types, dtype=int), tuple(texts))


def read_header(path) -> Header:
    """Read rate, length, start and comment of a record.

    Raises
    ------
    ReadError
        If the file is missing or not a header.
    """
    try:
        lines = Path(path).read_text(encoding="latin-1").splitlines()
        fields = next(line for line in lines if line.strip() and line[0] != "#").split()
        rate, n_samples = float(fields[2].split("/")[0].split("(")[0]), int(fields[3])
    except (OSError, StopIteration, IndexError, ValueError) as error:
        raise ReadError(
            f"{path} is not a record's header ({error}); accepted is PhysioNet's .hea file."
        ) from error
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    return Header(rate, n_samples, _start_of(fields[4:6]), comments[0] if comments else "")


def _start_of(fields: list[str]) -> datetime | None:
    if len(fields) < 2:
        return None
    for date_format in ("%d/%m/%Y", "%d/%m/%y"):
        try:
            return datetime.strptime(" ".join(fields), f"%H:%M:%S {date_format}")
        except ValueError:
            continue
    return None


def find_files(folder, pattern: str, dataset: str) -> list[Path]:
    """Files of a data set, in the natural order of their names.

    Raises
    ------
    ReadError
        If the folder does not exist or holds no such file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReadError(
            f"{folder} is not a folder; accepted is the unpacked folder of {dataset}. Check the "
            "path."
        )
    paths = sorted(folder.glob(pattern), key=_natural)
    if not paths:
        raise ReadError(
            f"{folder} holds no {pattern}; accepted is the unpacked folder of {dataset}, with the "
            "file names of its publication. Pass the folder that holds them, not one above."
        )
    return paths


def _natural(path: Path) -> list:
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdigit() else part for part in parts]


def as_cohort(recordings: Sequence[Recording]) -> Cohort:
    """A cohort whose metadata columns are the subject and the recordings' own metadata."""
    rows = [{"subject": r.subject, **r.metadata} for r in recordings]
    index = pd.Index([r.id for r in recordings], name="recording")
    return Cohort(recordings, pd.DataFrame(rows, index=index))
