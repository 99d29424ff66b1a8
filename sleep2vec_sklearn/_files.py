# SPDX-License-Identifier: BSD-3-Clause
"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["create_whole", "import_pyarrow", "sweep_unfinished", "write_whole"]

_SECONDS_UNTIL_SWEPT = 3600


def write_whole(path: Path, data, beside: Path | None = None) -> None:
    """Put bytes in place of a file in one step; until then the old one stays.

    Parameters
    ----------
    path : Path
    data : bytes-like
    beside : Path, optional
        Folder on the same disk where the file is written before it is moved to its place, which
        is swept some day; that of ``path`` by default.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    with _written_beside(path, data, beside) as temporary:
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
def _written_beside(path: Path, data, beside: Path | None) -> Iterator[Path]:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: not saved, there is no folder {path.parent}; create it.")
    temporary = (beside or path.parent) / f".{path.name}.{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
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
