# SPDX-License-Identifier: BSD-3-Clause
"""Files that are written whole or not at all, hashes, and versions of file formats."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_SECONDS_UNTIL_SWEPT = 3600
_UNFINISHED = ".unfinished"


@contextmanager
def atomic_file(
    path: Path, temporary_folder: Path | None = None, sync: bool = True
) -> Iterator[IO[bytes]]:
    """A file to write, which replaces ``path`` in one step unless the block raises.

    It is written in ``temporary_folder``, on the same disk; by default in the folder of ``path``.
    Without ``sync`` a power cut may leave it empty.
    """
    if temporary_folder is None:
        _sweep_once(path.parent)
    with _temporary_file(path, temporary_folder) as (file, temporary):
        yield file
        _close(file, sync)
        os.replace(temporary, path)


def write_atomic(
    path: Path, data: bytes | memoryview, temporary_folder: Path | None = None, sync: bool = True
) -> None:
    """Replace a file by these bytes in one step; until then the old one stays."""
    with atomic_file(path, temporary_folder, sync) as file:
        file.write(data)


def create_exclusive(path: Path, data: bytes, temporary_folder: Path | None = None) -> bool:
    """Write a file in one step unless it exists; return whether it was written.

    Of several processes that do so at the same time, one succeeds.
    """
    with _temporary_file(path, temporary_folder) as (file, temporary):
        file.write(data)
        _close(file)
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


def check_writable(path: Path) -> None:
    """Make the folder of a file, and raise an OSError where the file could not be written.

    It is called before hours of work for the file; ``write_atomic`` makes no folder.
    """
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise _no_permission(path, folder) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"{path}: not saved, {folder} is no folder, or lies in a file. Choose another path."
        ) from error
    except OSError as error:
        raise OSError(
            f"{path}: not saved, the folder {folder} cannot be made ({error.strerror}). Choose "
            "another path."
        ) from error
    with _temporary_file(path, None):
        pass


@contextmanager
def _temporary_file(path: Path, folder: Path | None) -> Iterator[tuple[IO[bytes], Path]]:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: not saved, there is no folder {path.parent}; create it.")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: not saved, it is a folder; name a file in it.")
    # a name may be as long as the system permits
    temporary = (folder or path.parent) / f".{path.name[:40]}.{uuid.uuid4().hex}{_UNFINISHED}"
    try:
        with _open_new(temporary, path) as file:
            yield file, temporary
    except OSError as error:
        if error.errno is None or error.filename not in (None, os.fspath(temporary)):
            raise
        # a full disk names no file, or one that the user does not know
        reason = f"{error.strerror}; not saved, what was there before stays"
        raise OSError(error.errno, reason, os.fspath(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _open_new(temporary: Path, path: Path) -> IO[bytes]:
    try:
        return temporary.open("xb")
    except PermissionError as error:
        raise _no_permission(path, temporary.parent) from error


def _no_permission(path: Path, folder: Path) -> PermissionError:
    return PermissionError(
        f"{path}: not saved, no permission to write in {folder}. Choose another folder, or change "
        "its permissions."
    )


def _close(file: IO[bytes], sync: bool = True) -> None:
    # before it is moved: Windows moves no file that is open
    file.flush()
    if sync:
        os.fsync(file.fileno())
    file.close()


_swept: set[Path] = set()


def _sweep_once(folder: Path) -> None:
    """Delete what killed processes have left in a folder, at this one's first file in it."""
    if folder not in _swept and folder.is_dir():
        _swept.add(folder)
        sweep_temporary(folder, f".*{_UNFINISHED}")


_RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))}
_LONGEST_NAME = 100


def file_name(name: object) -> str:
    """A file's name, without suffix, of an id: the id where it is one on every system.

    Else what may not stand in a name is replaced, and a hash of the id follows. So no id chooses
    another folder, and different ids have different names.
    """
    text = str(name)
    plain = re.sub(r"[^\w.=+@ -]", "_", text)[:_LONGEST_NAME].strip(". ")
    if plain == text != "" and plain.split(".")[0].lower() not in _RESERVED:
        return text
    return f"{plain or 'id'}-{sha256(text.encode('utf-8', 'backslashreplace'))[:8]}"


def sweep_temporary(folder: Path, pattern: str = "*") -> None:
    """Delete temporary files that killed processes left an hour ago or earlier."""
    oldest = time.time() - _SECONDS_UNTIL_SWEPT
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def list_differences(before: Mapping, now: Mapping) -> list[str]:
    """What differs between two nested descriptions, one line each; empty if nothing does."""
    lines = []
    for key in sorted(set(before) | set(now)):
        old, new = (described.get(key, "(absent)") for described in (before, now))
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [f"{key}.{line}" for line in list_differences(old, new)]
        elif json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True):
            lines.append(f"{key}: {old!r} before, {new!r} now")
    return lines


def sha256(*parts: Any) -> str:
    """Hex sha256 over texts (as UTF-8) and bytes-like objects, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def tensor_parts(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    """Names, types, shapes and bytes of tensors, sorted by name; for :func:`sha256`."""
    import torch

    for name in sorted(tensors):
        tensor = tensors[name]
        yield canonical_json([name, str(tensor.dtype), list(tensor.shape)])
        yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


_known: dict[tuple[str, int, int], str] = {}
_lock = threading.Lock()


def free_at_fork(lock: Any) -> None:
    """Fork no process while another thread holds a lock, which nobody would release in it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


free_at_fork(_lock)


def hash_file(path: Path) -> str:
    """Hex sha256 of a file; remembered by path, size and time of the last change."""
    key = _state_of(path)
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
        keys = [_state_of(path) for path in paths]
    except OSError:
        return None
    with _lock:
        return {key: _known[key] for key in keys} if all(k in _known for k in keys) else None


def adopt_hashes(hashes: Mapping[tuple[str, int, int], str]) -> None:
    """Remember what another process has read."""
    with _lock:
        _known.update(hashes)


def _state_of(path: Path) -> tuple[str, int, int]:
    state = path.stat()
    return os.path.realpath(path), state.st_size, state.st_mtime_ns


def check_format_version(path: object, version: int, newest: int, error: type[Exception]) -> None:
    """Raise ``error`` where a newer version of the library wrote a file."""
    if int(version) > newest:
        raise error(
            f"{path}: written in format {version} by a newer version, this one reads up to "
            f"{newest}. Upgrade with: pip install -U sleep2vec-sklearn"
        )


def import_pyarrow(hint: str) -> tuple[Any, Any]:
    """Import pyarrow and its module for Parquet files; ``hint`` says how to go without."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"Parquet files need pyarrow: pip install 'sleep2vec-sklearn[parquet]'. {hint}"
        ) from error
    return pyarrow, parquet
