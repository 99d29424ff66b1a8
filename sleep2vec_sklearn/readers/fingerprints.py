# SPDX-License-Identifier: BSD-3-Clause
"""Fingerprints of files and of the settings they are read with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..signals.file_hashes import hash_file

__all__ = ["fingerprint_of"]

READER_REVISION = 1


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
        digest.update(hash_file(Path(path)).encode())
    return digest.hexdigest()
