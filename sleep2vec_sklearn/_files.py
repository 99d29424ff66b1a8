# SPDX-License-Identifier: BSD-3-Clause
"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, data) -> None:
    """Put bytes in place of a file in one step; until then the old one stays.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: not saved, there is no folder {path.parent}; create it.")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
