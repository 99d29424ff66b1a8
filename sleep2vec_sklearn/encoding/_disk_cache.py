# SPDX-License-Identifier: BSD-3-Clause
"""Tokens in a folder that processes share.

An entry is written beside the others and moved to its place at once, so a reader sees all of it
or nothing, whoever else writes and whenever a process is killed. What a killed process leaves
behind is swept an hour later. Each format has a folder of its own, so that versions of the library
share one without deleting what the other wrote. A folder that cannot be used costs time, never a
row: complaints are kept for the caller to tell.

An entry on disk is a header (magic, format version, key, checksum) and a safetensors blob. The
checksum covers key and blob, so a half-written, damaged or misplaced entry is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

__all__ = [
    "DamagedEntryError",
    "DiskCache",
    "EncodedModality",
    "pack",
    "token_key",
    "unpack",
]

_SUFFIX = ".tokens"
_FORMAT = "tokens-v"
_UNFINISHED = "unfinished"
_SECONDS_UNTIL_SWEPT = 3600
_SECONDS_UNTIL_USED_AGAIN = 3600
_KEY_LENGTH = 64

_logger = logging.getLogger("sleep2vec_sklearn")


class DiskCache:
    """Entries by key below a folder, which is made at the first one.

    Parameters
    ----------
    folder : path-like
        Shared by as many processes and machines as one likes.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self._entries = self.folder / f"{_FORMAT}{FORMAT_VERSION}"
        self._complaint: str | None = None
        self._swept = False
        self._logged = False
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        with contextlib.suppress(OSError):
            return self._place_of(key).exists()
        return False

    def get(self, key: str) -> EncodedModality | None:
        """The entry, or None; one that is damaged or of another format is dropped."""
        path = self._place_of(key)
        try:
            found = unpack(key, path.read_bytes())
            _note_use(path)
            return found
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._complain("read", error)
            return None
        except DamagedEntryError as error:
            self._log_dropped(path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def put(self, key: str, value: EncodedModality) -> None:
        """Keep an entry; where that fails, the reason is among :meth:`take_complaint`."""
        place = self._place_of(key)
        temporary = self.folder / _UNFINISHED / f"{os.getpid()}-{uuid.uuid4().hex}"
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            self._sweep_once()
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, pack(key, value))
            os.replace(temporary, place)
        except OSError as error:
            # on Windows an entry that is being read cannot be replaced by its equal
            if not (isinstance(error, PermissionError) and key in self):
                self._complain("written", error)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def take_complaint(self) -> str | None:
        """Why the folder could not be used since the last call, if so."""
        with self._lock:
            complaint, self._complaint = self._complaint, None
        return complaint

    def size(self) -> tuple[int, int]:
        """Number of entries of any format, and their bytes."""
        sizes = []
        for path in self._files():
            with contextlib.suppress(OSError):
                sizes.append(path.stat().st_size)
        return len(sizes), sum(sizes)

    def clear(self) -> None:
        """Delete every entry of any format, and nothing else that is in the folder."""
        for path in self._files():
            with contextlib.suppress(OSError):
                path.unlink()

    def reduce(self, bytes_limit: int | None = None, oldest: float | None = None) -> None:
        """Delete the entries that were not used for longest, until the rest fits.

        Parameters
        ----------
        bytes_limit : int, optional
            Of all entries together.
        oldest : float, optional
            Entries last used before this time, in seconds since the epoch, are deleted.
        """
        entries = []
        for path in self._files():
            # another process may delete it first
            with contextlib.suppress(OSError):
                state = path.stat()
                entries.append((state.st_mtime, path, state.st_size))
        # by name too, so that two processes at once choose the same ones
        entries.sort()
        total = sum(size for *_, size in entries)
        for used, path, size in entries:
            surplus = bytes_limit is not None and total > bytes_limit
            if not surplus and (oldest is None or used >= oldest):
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size

    def _place_of(self, key: str) -> Path:
        return self._entries / key[:2] / (key + _SUFFIX)

    def _files(self) -> Iterator[Path]:
        for path in self.folder.glob(f"{_FORMAT}[0-9]*/??/*{_SUFFIX}"):
            if len(path.stem) == _KEY_LENGTH and path.stem.startswith(path.parent.name):
                yield path

    def _complain(self, what: str, error: OSError) -> None:
        with self._lock:
            self._complaint = self._complaint or (
                f"cache folder {self.folder} cannot be {what} ({error.strerror or error}); tokens "
                "are computed again where they are missing. Make room or check the permissions, "
                "or choose another folder with cache=... or set_config(cache_dir=...)."
            )

    def _log_dropped(self, path: Path, error: DamagedEntryError) -> None:
        # all entries of a study may be of an older format
        level = logging.DEBUG if self._logged else logging.WARNING
        self._logged = True
        _logger.log(level, "cache: %s is dropped and encoded again: %s.", path, error)

    def _sweep_once(self) -> None:
        if self._swept:
            return
        self._swept = True
        oldest = time.time() - _SECONDS_UNTIL_SWEPT
        for path in (self.folder / _UNFINISHED).iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _note_use(path: Path) -> None:
    """Make a file as new as its last use; its time of access is not kept on every system."""
    now = time.time()
    # not each time, as that is traffic on a shared file system
    with contextlib.suppress(OSError):
        if path.stat().st_mtime < now - _SECONDS_UNTIL_USED_AGAIN:
            os.utime(path, (now, now))


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)


FORMAT_VERSION = 1
_MAGIC = b"s2vtoken"
_HEADER = struct.Struct("<8sI32s16s")
_BYTES_PER_ENTRY = 512


class DamagedEntryError(Exception):
    """Bytes that are no entry of this key and format; says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class EncodedModality:
    """Tokens of one modality of one night.

    Attributes
    ----------
    tokens : float32 ndarray of shape (n_epochs, width)
        At missing epochs what the network makes of a gap; no row is made of it.
    valid : bool ndarray of shape (n_epochs,)
        False where the modality is missing.
    summary : float32 ndarray of shape (width,) or None
        The mean CLS vector over windows, where the checkpoint has one.
    """

    tokens: np.ndarray
    valid: np.ndarray
    summary: np.ndarray | None = None

    @classmethod
    def missing(cls) -> EncodedModality:
        """A sensor without any usable sample."""
        return cls(np.empty((0, 0), dtype=np.float32), np.zeros(0, dtype=bool))

    @property
    def n_bytes(self) -> int:
        """Memory held, with an allowance for the entry itself: a missing sensor has no tokens."""
        summary = 0 if self.summary is None else self.summary.nbytes
        return self.tokens.nbytes + self.valid.nbytes + summary + _BYTES_PER_ENTRY


def token_key(*parts) -> str:
    """Hex sha256 of everything tokens depend on.

    Parameters
    ----------
    *parts : str or int
        Fingerprint of the signal, modality, number of epochs, sha256 of the checkpoint, layer,
        precision, revision of the encoding.
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def pack(key: str, entry: EncodedModality) -> bytes:
    """The bytes of an entry."""
    arrays = {"tokens": entry.tokens, "valid": entry.valid}
    if entry.summary is not None:
        arrays["summary"] = entry.summary
    body = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    raw = bytes.fromhex(key)
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, raw, _checksum(raw, body)) + body


def unpack(key: str, data: bytes) -> EncodedModality:
    """The entry of these bytes.

    Raises
    ------
    DamagedEntryError
        If they are truncated, changed, of another key or of another format.
    """
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
    except (SafetensorError, KeyError) as error:
        raise DamagedEntryError(f"its arrays cannot be read ({error!r})") from error
    for array in arrays.values():
        array.flags.writeable = False
    return entry


def _checksum(raw: bytes, body: bytes) -> bytes:
    digest = hashlib.blake2b(raw, digest_size=16)
    digest.update(body)
    return digest.digest()
