# SPDX-License-Identifier: BSD-3-Clause
"""What the loaders share: finding a data set's files and making a cohort of its nights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...errors import ReadError
from ...signals import Cohort, Recording

__all__ = ["as_cohort", "find_files"]


def find_files(folder, pattern: str, dataset: str) -> list[Path]:
    """Files of a data set, in the natural order of their names.

    Raises
    ------
    ReadError
        If the folder does not exist or holds no such file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReadError(
            f"{folder} is not a folder; accepted is the unpacked folder of {dataset}. Check the "
            "path."
        )
    paths = sorted(folder.glob(pattern), key=_natural)
    if not paths:
        raise ReadError(
            f"{folder} holds no {pattern}; accepted is the unpacked folder of {dataset}, with the "
            "file names of its publication. Pass the folder that holds them, not one above."
        )
    return paths


def _natural(path: Path) -> list:
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdigit() else part for part in parts]


def as_cohort(recordings: Sequence[Recording]) -> Cohort:
    """A cohort whose metadata columns are the subject and the recordings' own metadata."""
    rows = [{"subject": r.subject, **r.metadata} for r in recordings]
    index = pd.Index([r.id for r in recordings], name="recording")
    return Cohort(recordings, pd.DataFrame(rows, index=index))
