# SPDX-License-Identifier: BSD-3-Clause
"""What file names tell: which hypnogram belongs to a night, and whose night it is."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["find_hypnograms", "is_hypnogram_name", "subject_of"]

_ENDINGS = (
    "-Hypnogram.edf",
    "_Hypnogram.edf",
    "-hypnogram.edf",
    "_hypnogram.edf",
    "-nsrr.xml",
    "-profusion.xml",
    ".xml",
    "_hypnogram.csv",
    "-hypnogram.csv",
    "_hypnogram.tsv",
    "_hypnogram.txt",
    ".eannot",
)
_STAGE_HEADER = re.compile(r"(^|[,;\t ])\"?(sleep[ _]?)?stages?\"?($|[,;\t ])", re.IGNORECASE)
_SLEEP_EDF = re.compile(r"(SC4|ST7)(\d\d)\d[A-Z]\d(-PSG)?")
_VISIT = re.compile(r"(?P<study>[a-z]+)-?(?:visit)?\d+-(?P<person>[A-Za-z]{0,3}\d{3,})(?:-.*)?")


def find_hypnograms(path: Path) -> list[Path]:
    """Find the hypnograms beside a recording, the one to prefer first.

    Sleep-EDF's ``SC4001E0-PSG.edf`` goes with ``SC4001EC-Hypnogram.edf`` (the last letter names the
    scorer); elsewhere the recording's stem with ``-Hypnogram.edf``, ``-nsrr.xml``,
    ``-profusion.xml``, ``_hypnogram.csv`` and the like, or ``.csv`` if its header has a stage.
    """
    stem, found = path.stem, []
    if stem.endswith("-PSG"):
        night = re.escape(stem[: -len("-PSG")][:-1])
        pattern = re.compile(night + r"[A-Z0-9]-Hypnogram\.edf", re.IGNORECASE)
        found += sorted(p for p in path.parent.glob("*.edf") if pattern.fullmatch(p.name))
    for base in dict.fromkeys((stem, re.sub(r"[-_]PSG$", "", stem))):
        found += [path.with_name(base + ending) for ending in _ENDINGS]
        table = path.with_name(base + ".csv")
        found += [table] if table.is_file() and _has_stage_column(table) else []
    return [candidate for candidate in dict.fromkeys(found) if candidate.is_file()]


def _has_stage_column(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return bool(_STAGE_HEADER.search(file.readline().strip()))


def is_hypnogram_name(path: Path) -> bool:
    """Whether a file's name says that it holds labels, not signals."""
    return bool(re.search(r"hypnogram|-nsrr$|-profusion$|annotation|scoring", path.stem, re.I))


def subject_of(path: Path) -> str:
    """Name the person a night belongs to, as far as its file name tells.

    The nights of Sleep-EDF share their subject digits (``SC4ssN``), the visits of NSRR cohorts
    their participant (``mros-visit1-aa0001``, ``shhs2-200001``); elsewhere each file is a person.
    """
    stem = path.stem
    cassette = _SLEEP_EDF.fullmatch(stem)
    if cassette:
        return cassette[1] + cassette[2]
    visit = _VISIT.fullmatch(stem)
    if visit:
        return f"{visit['study']}-{visit['person']}"
    return stem
