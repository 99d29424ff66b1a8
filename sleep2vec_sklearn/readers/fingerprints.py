# SPDX-License-Identifier: BSD-3-Clause
"""Fingerprints of files and of the settings they are read with."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

__all__ = ["fingerprint_of"]

READER_REVISION = 1

_known: dict[tuple[str, int, int], str] = {}
_lock = threading.Lock()


def fingerprint_of(paths: Sequence[Path], settings) -> str:
    """Hash files and the settings that decide what is read from them.

    Parameters
    ----------
    paths : sequence of Path
        Every file the samples come from. Hashes are memoised by path, size and time of the last
        change, so a file is read once per process.
    settings : object
        Anything with a stable ``repr``.

    Returns
    -------
    str
        Hex sha256.
    """
    digest = hashlib.sha256(repr((READER_REVISION, settings)).encode())
    for path in paths:
        digest.update(_hash_file(Path(path)).encode())
    return digest.hexdigest()


def _hash_file(path: Path) -> str:
    state = path.stat()
    key = (str(path.resolve()), state.st_size, state.st_mtime_ns)
    with _lock:
        if key in _known:
            return _known[key]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with _lock:
        _known[key] = digest
    return digest
