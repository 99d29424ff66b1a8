# SPDX-License-Identifier: BSD-3-Clause
"""Tokens in a folder that processes share.

An entry is written beside the others and moved to its place at once, so a reader sees all of it
or nothing, whoever else writes and whenever a process is killed. What a killed process leaves
behind is swept an hour later. Each format has a folder of its own, so that versions of the library
share one without deleting what the other wrote. A folder that cannot be used costs time, never a
row: complaints are kept for the caller to tell.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from .entry import FORMAT_VERSION, DamagedEntryError, EncodedModality, pack, unpack

__all__ = ["DiskCache"]

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
