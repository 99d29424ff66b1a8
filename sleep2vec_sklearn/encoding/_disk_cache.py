# SPDX-License-Identifier: BSD-3-Clause
"""Tokens in a folder that processes share.

An entry is a header (magic, format version, key, checksum of key and rest) and a safetensors blob,
written whole or not at all. Each format has a folder of its own, so that versions of the library
share one without deleting what the other wrote. A folder that cannot be used costs time, never a
row. diskcache keeps an SQLite index, which is unsafe on network file systems, and joblib.Memory
reads pickles.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .._files import sha256, sweep_temporary, write_atomic
from .._untrusted import read_bytes
from ..model.encoder import EncodedModality

FORMAT_VERSION = 1
_MAGIC = b"s2vtoken"
_HEADER = struct.Struct("<8sI32s16s")
_SUFFIX = ".tokens"
_FORMAT_FOLDER = "tokens-v"
_SECONDS_UNTIL_USED_AGAIN = 3600
_KEY_LENGTH = 64
# a night of a week in 1024 numbers an epoch takes 80 MB
LARGEST_ENTRY = 2**28

_logger = logging.getLogger("sleep2vec_sklearn")


class DamagedEntryError(Exception):
    """Bytes that are no entry of this key and format; says what is wrong with them."""


def token_key(*parts: str | int) -> str:
    """Hex sha256 of everything tokens depend on: the signal's fingerprint, its modality, etc."""
    return sha256(repr(parts))


class DiskCache:
    """Entries by key below a folder, which is made at the first one."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._complaint: str | None = None
        self._swept = self._logged = False
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        with contextlib.suppress(OSError):
            return self._path(key).exists()
        return False

    def get(self, key: str) -> EncodedModality | None:
        """The entry, or None; one that is damaged or of another format is dropped."""
        path = self._path(key)
        try:
            entry = unpack(key, read_bytes(path, LARGEST_ENTRY))
            _note_use(path)
            return entry
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._complain("read", error)
            return None
        except (DamagedEntryError, ValueError) as error:
            # all entries of a study may be of an older format
            level = logging.DEBUG if self._logged else logging.WARNING
            self._logged = True
            _logger.log(level, "cache: %s is dropped and encoded again: %s.", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def put(self, key: str, value: EncodedModality) -> None:
        """Store an entry; where that fails, :meth:`take_complaint` gives the reason."""
        path, unfinished = self._path(key), self.folder / "unfinished"
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                self._swept = True
                sweep_temporary(unfinished)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, pack(key, value), unfinished, sync=False)
        except OSError as error:
            # on Windows an entry that is being read cannot be replaced by its equal
            if not (isinstance(error, PermissionError) and key in self):
                self._complain("written", error)

    def take_complaint(self) -> str | None:
        """Why the folder could not be used since the last call, if so."""
        with self._lock:
            complaint, self._complaint = self._complaint, None
        return complaint

    def size(self) -> tuple[int, int]:
        """Number of entries of any format, and their bytes."""
        sizes = [size for *_, size in self._files()]
        return len(sizes), sum(sizes)

    def clear(self) -> None:
        """Delete every entry of any format, and nothing else that is in the folder."""
        self.reduce(oldest=math.inf)

    def reduce(self, bytes_limit: int | None = None, oldest: float | None = None) -> None:
        """Delete what was last used before ``oldest``, then what was not used for longest."""
        # by name too, so that two processes at once choose the same ones
        files = sorted(self._files())
        total = sum(size for *_, size in files)
        for last_use, path, size in files:
            is_surplus = bytes_limit is not None and total > bytes_limit
            if not is_surplus and (oldest is None or last_use >= oldest):
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size

    def _path(self, key: str) -> Path:
        entries = self.folder / f"{_FORMAT_FOLDER}{FORMAT_VERSION}"
        return entries / key[:2] / (key + _SUFFIX)

    def _files(self) -> Iterator[tuple[float, Path, int]]:
        """Time of last use, path and size of every entry of any format."""
        for path in self.folder.glob(f"{_FORMAT_FOLDER}[0-9]*/??/*{_SUFFIX}"):
            if len(path.stem) == _KEY_LENGTH and path.stem.startswith(path.parent.name):
                # another process may delete it first
                with contextlib.suppress(OSError):
                    state = path.stat()
                    yield state.st_mtime, path, state.st_size

    def _complain(self, what: str, error: OSError) -> None:
        with self._lock:
            self._complaint = self._complaint or (
                f"cache folder {self.folder} cannot be {what} ({error.strerror or error}); tokens "
                "are computed again where they are missing. Make room or check the permissions, "
                "or choose another folder with cache=... or set_config(cache_dir=...)."
            )


def pack(key: str, entry: EncodedModality) -> bytes:
    """The bytes of an entry."""
    arrays = {"tokens": entry.tokens, "valid": entry.valid}
    if entry.summary is not None:
        arrays["summary"] = entry.summary
    body = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    raw = bytes.fromhex(key)
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, raw, _checksum(raw, body)) + body


def unpack(key: str, data: bytes) -> EncodedModality:
    """The entry of these bytes, or a DamagedEntryError."""
    if len(data) < _HEADER.size:
        raise DamagedEntryError(f"it has {len(data)} bytes, less than a header")
    magic, version, raw, checksum = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise DamagedEntryError("it is not an entry of this cache")
    if version != FORMAT_VERSION:
        raise DamagedEntryError(f"it has format {version}, this version reads {FORMAT_VERSION}")
    body = data[_HEADER.size :]
    if raw.hex() != key or checksum != _checksum(raw, body):
        raise DamagedEntryError("its checksum is wrong")
    try:
        arrays = load(body)
        entry = EncodedModality(arrays["tokens"], arrays["valid"], arrays.get("summary"))
        _check_arrays(entry)
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise DamagedEntryError(f"its arrays cannot be read ({error!r})") from error
    for array in arrays.values():
        array.flags.writeable = False
    return entry


def _check_arrays(entry: EncodedModality) -> None:
    """Refuse arrays of other types, or of which one does not fit the other."""
    tokens, valid, summary = entry.tokens, entry.valid, entry.summary
    fits = tokens.dtype == np.float32 and tokens.ndim == 2 and valid.dtype == bool
    if not fits or valid.shape != tokens.shape[:1] or not np.isfinite(tokens).all():
        raise ValueError(f"tokens of shape {tokens.shape}, valid of {valid.shape}")
    if summary is not None and (
        summary.dtype != np.float32 or summary.ndim != 1 or not np.isfinite(summary).all()
    ):
        raise ValueError(f"a summary of shape {summary.shape}")


def _checksum(raw: bytes, body: bytes) -> bytes:
    # not sha256 as for keys: every entry written so far has this one
    digest = hashlib.blake2b(raw, digest_size=16)
    digest.update(body)
    return digest.digest()


def _note_use(path: Path) -> None:
    """Make a file as new as its last use; its time of access is not kept on every system."""
    now = time.time()
    # not each time, as that is traffic on a shared file system
    with contextlib.suppress(OSError):
        if path.stat().st_mtime < now - _SECONDS_UNTIL_USED_AGAIN:
            os.utime(path, (now, now))
