# SPDX-License-Identifier: BSD-3-Clause
"""Tokens in memory, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from .entry import EncodedModality

__all__ = ["MEMORY_CACHE", "TokenCache"]

_DEFAULT_BYTES = 512 * 2**20


class TokenCache:
    """Least-recently-used store of :class:`EncodedModality`, bounded by bytes; thread-safe.

    Parameters
    ----------
    max_bytes : int
        Oldest entries are dropped beyond it.
    """

    def __init__(self, max_bytes: int = _DEFAULT_BYTES):
        self.max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, EncodedModality] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def n_bytes(self) -> int:
        """Memory held."""
        return self._n_bytes

    def get(self, key: Hashable) -> EncodedModality | None:
        """The entry, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: Hashable, value: EncodedModality) -> None:
        """Keep an entry, dropping the least recently used ones where room is needed."""
        with self._lock:
            if key in self._entries or value.n_bytes > self.max_bytes:
                return
            self._entries[key] = value
            self._n_bytes += value.n_bytes
            self._drop_surplus()

    def resize(self, max_bytes: int) -> None:
        """Change the bound."""
        with self._lock:
            self.max_bytes = max_bytes
            self._drop_surplus()

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._n_bytes = 0

    def _drop_surplus(self) -> None:
        while self._n_bytes > self.max_bytes:
            self._n_bytes -= self._entries.popitem(last=False)[1].n_bytes


MEMORY_CACHE = TokenCache()
