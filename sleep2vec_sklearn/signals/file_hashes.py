# SPDX-License-Identifier: BSD-3-Clause
"""Hashes of files, each read once per process, or not at all if another process has read it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["adopt_hashes", "hash_file", "known_hashes"]

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
