# SPDX-License-Identifier: BSD-3-Clause
"""Tokens already computed, kept in memory up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

__all__ = ["MEMORY_CACHE", "EncodedModality", "TokenCache"]

_DEFAULT_BYTES = 512 * 2**20
_BYTES_PER_ENTRY = 512


@dataclass(frozen=True, slots=True)
class EncodedModality:
    """Tokens of one modality of one night.

    Attributes
    ----------
    tokens : float32 ndarray of shape (n_epochs, width)
        Also at missing epochs, where the network inferred them from the neighbours.
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


class TokenCache:
    """Least-recently-used store of :class:`EncodedModality`, bounded by bytes; thread-safe.

    Parameters
    ----------
    max_bytes : int
        Oldest entries are dropped beyond it.
    """

    def __init__(self, max_bytes: int = _DEFAULT_BYTES):
        self.max_bytes = max_bytes
        self._entries: OrderedDict[tuple, EncodedModality] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple) -> EncodedModality | None:
        """The entry, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: tuple, value: EncodedModality) -> None:
        """Keep an entry, dropping the least recently used ones where room is needed."""
        with self._lock:
            if key in self._entries or value.n_bytes > self.max_bytes:
                return
            self._entries[key] = value
            self._n_bytes += value.n_bytes
            while self._n_bytes > self.max_bytes:
                self._n_bytes -= self._entries.popitem(last=False)[1].n_bytes

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._n_bytes = 0


MEMORY_CACHE = TokenCache()
