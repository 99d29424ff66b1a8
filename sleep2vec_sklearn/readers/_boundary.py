# SPDX-License-Identifier: BSD-3-Clause
"""Boundary between files and the package: what is read at most, and how other code's errors end.

A file may be damaged, or made to harm. What is read of it is bounded before memory is taken for it;
whatever a parser raises becomes one :class:`ReadError` with the file's name.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .._arguments import shown
from .._untrusted import check_mode
from ..errors import ReadError, Sleep2VecError

DAY = 86_400.0
# of a night, or of the nights of a file; a watch's weeks are cut by split_nights
LONGEST_DAYS = 31
LONGEST_SECONDS = LONGEST_DAYS * DAY
# that a file does not hold, such as those of its gaps (100 MB), or between readings of a watch,
# whose interpolation takes 12 times as much memory
MOST_ADDED_SAMPLES, MOST_INTERPOLATED = 25_000_000, 12_000_000
# stages and events of one file, those that differ, and letters in each
MOST_LABELS, MOST_NAMES = 100_000, 5000
LONGEST_LABEL = 256
# a file of labels is read whole; as XML it takes 20 times its size
MOST_LABEL_BYTES = 16 << 20
DEEPEST_XML = 64
# a table of metadata is read whole
MOST_TABLE_BYTES = 256 << 20
# an archive may grow to this size, or to so many times its own
_LONGEST_QUOTE = 200
ARCHIVE_BYTES, ARCHIVE_RATIO, MOST_MEMBERS = 64 << 20, 100, 10_000
# seconds, before and after 1970, that have a date
LARGEST_TIME = 6e10
# entities and default attributes of a document's own may grow without end
_GROWING_XML = re.compile(rb"<!ENTITY|<!ATTLIST[^>]*[\"']")


def as_path(path: Any, name: str = "path") -> Path:
    """A path; other things are refused with the name of the argument."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise ReadError(
            f"{name} is {shown(path)}; accepted is a path as text or a pathlib.Path. Pass the "
            "file's name."
        )
    return Path(path)


class BadFileError(ValueError):
    """What is wrong with a file, raised where its name is not known; quotes no header."""


@contextmanager
def only_read_errors(
    path: Path, reader: str,
    fix: str = "Check the suffix, copy the file again, or convert it to EDF.", quotes: bool = False,
) -> Iterator[None]:  # fmt: skip
    """Name a file that a parser fails on, and the type of its error.

    The text of that error is left out unless it ``quotes`` what is public: it may quote the header,
    and with it the patient's name.
    """
    try:
        yield
    except (Sleep2VecError, ImportError):
        raise
    except BadFileError as error:
        raise ReadError(f"{path}: {error} {fix}") from None
    except BaseException as error:
        # a panic of Rust code is no Exception
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        text = f": {str(error)[:_LONGEST_QUOTE]}" if quotes else ""
        raise ReadError(
            f"{path}: {reader} cannot read it ({type(error).__name__}{text}). {fix}"
        ) from None


def check_file(path: Path, most_bytes: float = float("inf")) -> os.stat_result:
    """State of a regular file of limited size; others, such as pipes, may never end."""
    try:
        state = path.stat()
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file. Check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is none of a file"
        raise ReadError(f"{path}: cannot be opened ({reason}).") from error
    if stat.S_ISDIR(state.st_mode):
        raise ReadError(f"{path}: is a folder; accepted is a file. Name one of those in it.")
    try:
        check_mode(state.st_mode)
    except ValueError as error:
        raise ReadError(f"{path}: {error}. Write what it holds to a file.") from None
    if state.st_size > most_bytes:
        raise ReadError(
            f"{path}: has {state.st_size:,} bytes; files of its kind are read up to "
            f"{most_bytes:,}. Check that it is the right file, or split it."
        )
    return state


def parse_xml(parts: Iterable[bytes]) -> Iterator[tuple[str, ElementTree.Element]]:
    """Start and end of each element of a document that cannot grow and is not nested deeply."""
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    depth, head = 0, b""
    is_head = True
    for part in parts:
        if is_head:
            # also in UTF-16
            head += part.replace(b"\0", b"")
            if _GROWING_XML.search(head):
                raise BadFileError("it defines entities or attributes, as no such export does.")
        parser.feed(part)
        for event, element in parser.read_events():
            is_head = False  # what comes before the first element is all that defines anything
            depth += 1 if event == "start" else -1
            if depth > DEEPEST_XML:
                raise BadFileError(f"its elements are nested in more than {DEEPEST_XML} levels.")
            yield event, element
    parser.close()


def check_labels(texts: Collection[str]) -> None:
    """Refuse more labels, or more different ones, than a file is read for."""
    if len(texts) > MOST_LABELS or len(set(texts)) > MOST_NAMES:
        raise BadFileError(
            f"it holds {len(texts):,} labels, {len(set(texts)):,} of them different; accepted are "
            f"{MOST_LABELS:,} and {MOST_NAMES:,}."
        )


def check_archive(path: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would grow to a size which no recording needs."""
    members = list(members)
    size = sum(member.file_size for member in members)
    most = max(ARCHIVE_BYTES, ARCHIVE_RATIO * path.stat().st_size)
    if size > most or len(members) > MOST_MEMBERS:
        raise ReadError(
            f"{path}: an archive of {len(members):,} files that grow to {size:,} bytes; accepted "
            f"are {MOST_MEMBERS:,} files, and {most:,} bytes or {ARCHIVE_RATIO} times its size. "
            "Unpack it by hand if it is to be trusted, and save it uncompressed."
        )


def check_added_samples(
    path: Path, seconds: float, rate: float, what: str, most: int = MOST_ADDED_SAMPLES
) -> None:
    """Refuse gaps for which more memory would be taken than for the samples of a night."""
    if not seconds * rate <= most:
        raise ReadError(
            f"{path}: {what} for {seconds:,.0f} s at {rate:g} Hz would be "
            f"{seconds * rate:,.0f} samples that the file does not hold; accepted are {most:,}. "
            "Split it by night: split_nights, or an export of each."
        )
