# SPDX-License-Identifier: BSD-3-Clause
"""The token cache: the memory of this process, a folder behind it, and their state."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from .._files import free_at_fork
from ..config import get_config
from ..model.encoder import EncodedModality
from ._disk_cache import DiskCache

_DROPPED_NOTED = 100_000  # entries; some 10 MB
_NOT_FOLDERS = ("", "none", "memory", "disk", "auto")


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """State of the caches of this process.

    Attributes
    ----------
    hits, misses : int
        Modalities of nights that were in a cache or not, since the start or :func:`clear_cache`.
    n_entries, n_bytes, max_bytes : int
        Of the memory; entries are tokens, bytes also those of rows made of them.
    directory, n_files, n_file_bytes : str or None, int, int
        Path and contents of the folder.
    """

    hits: int
    misses: int
    n_entries: int
    n_bytes: int
    max_bytes: int
    directory: str | None = None
    n_files: int = 0
    n_file_bytes: int = 0


def cache_info(directory: str | os.PathLike | None = None) -> CacheInfo:
    """State of the caches, and how often they were hit.

    Parameters
    ----------
    directory : path-like, optional
        Folder of a disk cache; that of ``set_config(cache_dir=...)`` by default.

    Returns
    -------
    CacheInfo
        Of this process; workers have memories and counts of their own.

    Examples
    --------
    >>> from sleep2vec_sklearn import cache_info
    >>> cache_info().max_bytes // 2**20
    512
    """
    disk = _disk(directory or get_config()["cache_dir"])
    files = () if disk is None else (str(disk.folder), *disk.size())
    n_bytes = MEMORY_CACHE.n_bytes + MEMORY_CACHE.n_row_bytes
    memory = (len(MEMORY_CACHE), n_bytes, get_config()["cache_bytes"])
    return CacheInfo(_counts[True], _counts[False], *memory, *files)


def clear_cache(
    directory: str | os.PathLike | None = None, *, bytes_limit: int | str | None = None,
    age_limit: timedelta | None = None,
) -> None:  # fmt: skip
    """Forget all tokens in memory and delete those of a folder, or bring the folder to a size.

    Only the cache's own files are deleted. Other processes may use the folder meanwhile: what is
    gone is encoded again when it is needed.

    Parameters
    ----------
    directory : path-like, optional
        Folder of a disk cache; that of ``set_config(cache_dir=...)`` by default.
    bytes_limit : int or str, optional
        Leave that much of the folder, such as ``"20G"``; what was not used for longest goes first.
    age_limit : timedelta, optional
        Delete what was not used for so long. As ``bytes_limit``, which may be passed too, it is
        that of ``joblib.Memory.reduce_size`` and leaves the memory alone.

    Raises
    ------
    ValueError
        If a limit is passed without a folder, or is none.

    Examples
    --------
    >>> from sleep2vec_sklearn import cache_info, clear_cache
    >>> clear_cache()
    >>> cache_info().n_entries
    0
    """
    disk = _disk(directory or get_config()["cache_dir"])
    if bytes_limit is None and age_limit is None:
        MEMORY_CACHE.clear()
        _counts.clear()
        if disk is not None:
            disk.clear()
        return
    n_bytes, oldest = _as_bytes(bytes_limit), _as_time(age_limit)
    if disk is None:
        raise ValueError(
            "limits are those of a folder, and none is set. Pass clear_cache(directory, ...), or "
            "set_config(cache_bytes=...) to bound the memory."
        )
    disk.reduce(n_bytes, oldest)


def _as_bytes(limit: int | str | None) -> int | None:
    if limit is None:
        return None
    n_bytes: Any = limit
    if isinstance(limit, str):
        from joblib.disk import memstr_to_bytes

        with contextlib.suppress(ValueError, IndexError, OverflowError):
            n_bytes = memstr_to_bytes(limit)
    if isinstance(n_bytes, bool) or not isinstance(n_bytes, Integral) or n_bytes < 0:
        raise ValueError(
            f"bytes_limit must be a number of bytes, or text such as '20G' or '500M'; got "
            f"{limit!r}."
        )
    return int(n_bytes)


def _as_time(age: timedelta | None) -> float | None:
    if age is None:
        return None
    if not isinstance(age, timedelta) or age < timedelta(0):
        raise ValueError(
            f"age_limit must be a timedelta, such as datetime.timedelta(days=30); got {age!r}."
        )
    return time.time() - age.total_seconds()


def check_cache(cache: object) -> None:
    """Raise a ValueError unless ``cache`` is "memory", None, or a path that is no file."""
    if cache is None or (isinstance(cache, str) and cache == "memory"):
        return
    if not isinstance(cache, str | os.PathLike) or str(cache).lower() in _NOT_FOLDERS:
        raise ValueError(
            f"cache must be one of 'memory', None or the path of a folder; got {cache!r}."
        )
    is_file = False
    # a folder above it may be closed to us, which is reported when entries cannot be written
    with contextlib.suppress(PermissionError):
        is_file = Path(cache).expanduser().is_file()
    if is_file:
        raise ValueError(f"cache={str(cache)!r} is a file; accepted is the path of a folder.")


def open_store(cache: str | os.PathLike | None) -> TokenStore | None:
    """The store of a ``cache`` parameter under the settings in force."""
    if cache is None:
        return None
    settings = get_config()
    MEMORY_CACHE.resize(settings["cache_bytes"])
    folder = settings["cache_dir"] if isinstance(cache, str) and cache == "memory" else cache
    return TokenStore(MEMORY_CACHE, _disk(folder))


def _disk(folder: str | os.PathLike | None) -> DiskCache | None:
    return None if folder is None else DiskCache(Path(folder).expanduser())


class TokenStore:
    """A memory, and a folder behind it that holds whatever the memory holds."""

    def __init__(self, memory: TokenCache, disk: DiskCache | None = None):
        self.memory = memory
        self.disk = disk

    def get(self, key: str) -> EncodedModality | None:
        """The entry, or None; counted."""
        entry = self.memory.get(key)
        if self.disk is not None:
            if entry is None:
                entry = self.disk.get(key)
                if entry is not None:
                    self.memory.put(key, entry)
            elif key not in self.disk:
                self.disk.put(key, entry)
        elif entry is None:
            self.memory.note_miss(key)
        with _counting:
            _counts[entry is not None] += 1
        return entry

    def peek(self, key: str) -> EncodedModality | None:
        """An entry that came to the memory since :meth:`get`, or None; not counted."""
        return self.memory.peek(key)

    def put(self, key: str, value: EncodedModality) -> None:
        self.memory.put(key, value)
        if self.disk is not None:
            self.disk.put(key, value)

    def take_complaint(self) -> str | None:
        """What is wrong with the folder, or with the size of the memory, since the last call."""
        of_disk = None if self.disk is None else self.disk.take_complaint()
        return of_disk or self.memory.take_complaint()


class TokenCache:
    """Least-recently-used store of :class:`EncodedModality`, bounded by bytes; thread-safe.

    What room is left holds rows made of them: a search over heads asks for the same again and
    again, and making them of cached tokens took a fifth of its time.
    """

    def __init__(self, max_bytes: int = 512 * 2**20):
        self.max_bytes = max_bytes
        self.n_bytes = self.n_row_bytes = 0
        self._rows: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._entries: OrderedDict[Hashable, EncodedModality] = OrderedDict()
        self._dropped: dict[int, int] = {}  # bytes of entries there was no room for, by hash
        self._complaint: str | None = None
        self._has_complained = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> EncodedModality | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def peek(self, key: Hashable) -> EncodedModality | None:
        """The entry, or None; does not count as a use."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: Hashable, value: EncodedModality) -> None:
        """Store an entry, dropping the least recently used ones where room is needed."""
        with self._lock:
            if key in self._entries:
                return
            self._dropped.pop(hash(key), None)
            if value.n_bytes > self.max_bytes:
                self._note_dropped(key, value)
                return
            self._entries[key] = value
            self.n_bytes += value.n_bytes
            self._drop_surplus()

    def get_rows(self, key: Hashable) -> np.ndarray | None:
        """Rows that were made of the tokens of a night, or None."""
        with self._lock:
            return self._rows.get(key)

    def put_rows(self, key: Hashable, rows: np.ndarray) -> None:
        """Store rows, if they need no other's room; the first to go when tokens need it."""
        with self._lock:
            n_bytes = self.n_bytes + self.n_row_bytes + rows.nbytes
            if key not in self._rows and n_bytes <= self.max_bytes:
                self._rows[key] = rows
                self.n_row_bytes += rows.nbytes

    def note_miss(self, key: Hashable) -> None:
        """Of an entry that was dropped, the memory complains once: a study does not fit in it."""
        with self._lock:
            if self._has_complained or hash(key) not in self._dropped:
                return
            self._has_complained = True
            n_bytes = self.n_bytes + sum(self._dropped.values())
            self._complaint = (
                f"the cache in memory holds {self.max_bytes / 2**20:.4g} MiB and the study's "
                f"tokens take {n_bytes / 2**20:.4g} MiB or more, so that nights are encoded again. "
                "Keep them in a folder with set_config(cache_dir=...), or allow more memory with "
                f"set_config(cache_bytes={2 * n_bytes})."
            )

    def take_complaint(self) -> str | None:
        with self._lock:
            complaint, self._complaint = self._complaint, None
        return complaint

    def resize(self, max_bytes: int) -> None:
        with self._lock:
            if max_bytes != self.max_bytes:
                # what had no room then may have it now
                self._dropped.clear()
                self._complaint, self._has_complained = None, False
            self.max_bytes = max_bytes
            self._drop_surplus()

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._rows.clear()
            self._dropped.clear()
            self._complaint, self._has_complained = None, False
            self.n_bytes = self.n_row_bytes = 0

    def _drop_surplus(self) -> None:
        while self._rows and self.n_bytes + self.n_row_bytes > self.max_bytes:
            self.n_row_bytes -= self._rows.popitem(last=False)[1].nbytes
        while self.n_bytes > self.max_bytes:
            key, value = self._entries.popitem(last=False)
            self.n_bytes -= value.n_bytes
            self._note_dropped(key, value)

    def _note_dropped(self, key: Hashable, value: EncodedModality) -> None:
        # a memory of 0 bytes is one that was switched off
        if self.max_bytes and len(self._dropped) < _DROPPED_NOTED:
            self._dropped[hash(key)] = value.n_bytes


MEMORY_CACHE = TokenCache()
_counts: Counter[bool] = Counter()  # by whether the entry was there
_counting = threading.Lock()
for _shared in (_counting, MEMORY_CACHE._lock):
    free_at_fork(_shared)
