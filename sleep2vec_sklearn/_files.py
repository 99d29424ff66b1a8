# SPDX-License-Identifier: BSD-3-Clause
"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "adopt_hashes",
    "create_whole",
    "hash_file",
    "import_pyarrow",
    "known_hashes",
    "sweep_unfinished",
    "write_whole",
]

_SECONDS_UNTIL_SWEPT = 3600


def write_whole(path: Path, data, beside: Path | None = None, sync: bool = True) -> None:
    """Put bytes in place of a file in one step; until then the old one stays.

    Parameters
    ----------
    path : Path
    data : bytes-like
    beside : Path, optional
        Folder on the same disk where the file is written before it is moved to its place, which
        is swept some day; that of ``path`` by default.
    sync : bool
        Whether the file survives a loss of power; False where a damaged one is noticed.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    with _written_beside(path, data, beside, sync) as temporary:
        os.replace(temporary, path)


def create_whole(path: Path, data, beside: Path | None = None) -> bool:
    """Write a file in one step unless there is one, as :func:`write_whole`; tell whether it was.

    Of several processes that do so at the same time, one succeeds.
    """
    with _written_beside(path, data, beside) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            # a file system without links
            if path.exists():
                return False
            os.replace(temporary, path)
    return True


@contextmanager
def _written_beside(path: Path, data, beside: Path | None, sync: bool = True) -> Iterator[Path]:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: not saved, there is no folder {path.parent}; create it.")
    temporary = (beside or path.parent) / f".{path.name}.{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def sweep_unfinished(folder: Path) -> None:
    """Delete what killed processes left in a folder of unfinished files an hour ago or earlier."""
    oldest = time.time() - _SECONDS_UNTIL_SWEPT
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def import_pyarrow(way_out: str):
    """Import pyarrow and its module for Parquet files.

    Parameters
    ----------
    way_out : str
        What to do without, as a sentence.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"Parquet files need pyarrow: pip install 'sleep2vec-sklearn[parquet]'. {way_out}"
        ) from error
    return pyarrow, parquet


_known: dict[tuple[str, int, int], str] = {}
_lock = threading.Lock()


def hash_file(path: Path) -> str:
    """Hex sha256 of a file; remembered by path, size and time of the last change."""
    key = _key_of(path)
    with _lock:
        if key in _known:
            return _known[key]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with _lock:
        _known[key] = digest
    return digest


def known_hashes(paths: Iterable[Path]) -> dict[tuple[str, int, int], str] | None:
    """What is remembered of these files as they are now; None where one would have to be read.

    A process hands it to another, which takes it with :func:`adopt_hashes`.
    """
    try:
        keys = [_key_of(path) for path in paths]
    except OSError:
        return None
    with _lock:
        return {key: _known[key] for key in keys} if all(k in _known for k in keys) else None


def adopt_hashes(hashes: Mapping[tuple[str, int, int], str]) -> None:
    """Remember what another process has read."""
    with _lock:
        _known.update(hashes)


def _key_of(path: Path) -> tuple[str, int, int]:
    state = path.stat()
    return str(path.resolve()), state.st_size, state.st_mtime_ns
