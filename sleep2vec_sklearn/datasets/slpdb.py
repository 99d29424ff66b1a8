# SPDX-License-Identifier: BSD-3-Clause
"""MIT-BIH Polysomnographic Database: men with sleep apnea, beats and stages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ..recordings import EPOCH_SECONDS, Cohort, Recording
from ..recordings.derivation import ibi_from_beats
from ._files import (
    BEAT_TYPES,
    Annotations,
    Header,
    as_cohort,
    find_files,
    read_annotations,
    read_header,
)

__all__ = [
    "load_slpdb",
]

_DATASET = "the MIT-BIH Polysomnographic Database (PhysioNet slpdb)"
_SITE = "slpdb"
_STAGES = {"W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "R": 4}
_EVENTS = {
    "H": "hypopnea",
    "HA": "hypopnea_with_arousal",
    "OA": "obstructive_apnea",
    "X": "obstructive_apnea_with_arousal",
    "CA": "central_apnea",
    "CAA": "central_apnea_with_arousal",
    "L": "leg_movement",
    "LA": "leg_movement_with_arousal",
    "A": "arousal",
}


def load_slpdb(folder) -> Cohort:
    """Load beats, stages and respiratory events of sixteen men with suspected apnea.

    Only annotations and headers are read, so the signal files need not be there.

    Parameters
    ----------
    folder : path-like
        Holds ``slpNN.hea``, ``slpNN.ecg`` (beats) and ``slpNN.st`` (stage and events per 30 s).

    Returns
    -------
    Cohort
        One recording per record: ``ibi``, stages (3 and 4 are N3), ``events`` (marked per 30-s
        epoch, so onset and duration are the epoch's), ``start``. slp01a and slp01b are one man,
        as are slp02a and slp02b: they share a subject. Metadata: site, age, sex, weight in kg.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    References
    ----------
    Ichimaru Y, Moody GB (1999). Development of the polysomnographic database on CD-ROM.
    Psychiatry Clin Neurosci 53, 175-177. Data: PhysioNet, ODC-BY 1.0.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sleep2vec_sklearn.datasets import load_slpdb
    >>> cohort = load_slpdb("folder/of/the/data/set")  # doctest: +SKIP
    >>> Path("empty").mkdir()
    >>> load_slpdb("empty")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: empty holds no slp*.st; accepted is the unpacked ...
    """
    return as_cohort([_read_record(path) for path in find_files(folder, "slp*.st", _DATASET)])


def _read_record(path: Path) -> Recording:
    header = read_header(path.with_suffix(".hea"))
    marks = read_annotations(path)
    beats = read_annotations(path.with_suffix(".ecg"))
    times = np.unique(beats.samples[np.isin(beats.types, BEAT_TYPES)]) / header.rate
    stages, events = _scored(marks, header)
    return Recording(
        {"ibi": ibi_from_beats(times, duration=header.duration)},
        subject=re.sub(r"(?<=\d)[a-z]$", "", path.stem),
        metadata={"site": _SITE, **_person(header.comment)},
        stages=stages,
        events=events,
        start=header.start,
        duration=header.duration,
        id=path.stem,
    )


def _scored(marks: Annotations, header: Header) -> tuple[np.ndarray, pd.DataFrame]:
    epochs = np.round(marks.samples / header.rate / EPOCH_SECONDS).astype(int)
    stages = np.full(int(header.duration / EPOCH_SECONDS + 1e-6), -1, dtype=np.int8)
    rows = []
    for epoch, text in zip(epochs, marks.texts, strict=True):
        stage, *codes = text.split() or [""]
        if epoch < len(stages):
            stages[epoch] = _STAGES.get(stage, -1)
        onset = float(epoch * EPOCH_SECONDS)
        # An event that occurs twice in an epoch is marked twice; "LL" are two leg movements.
        codes = [single for code in codes for single in (code if not code.strip("L") else [code])]
        rows += [(onset, float(EPOCH_SECONDS), _EVENTS[code]) for code in codes if code in _EVENTS]
    return stages, pd.DataFrame(rows, columns=["onset", "duration", "type"])


def _person(comment: str) -> dict:
    found = re.match(r"(\d+|x)\s+([MFx])\s+(\d+|x)\b", comment)
    age, sex, weight = found.groups() if found else ("x", "x", "x")
    return {
        "age": np.nan if age == "x" else float(age),
        "sex": None if sex == "x" else sex,
        "weight": np.nan if weight == "x" else float(weight),
    }
