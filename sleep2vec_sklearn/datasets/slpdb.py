# SPDX-License-Identifier: BSD-3-Clause
"""MIT-BIH Polysomnographic Database: beats and sleep stages of men with sleep apnea."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ..recordings.cohort import Cohort
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ._files import (
    Annotations,
    Header,
    StrPath,
    as_cohort,
    find_files,
    read_annotations,
    read_each,
    read_header,
    record_from_beats,
)

_DATASET = "the MIT-BIH Polysomnographic Database (PhysioNet slpdb)"
_STAGES = {"W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "R": 4}
_EVENTS = {
    "H": "hypopnea", "HA": "hypopnea_with_arousal", "OA": "obstructive_apnea",
    "X": "obstructive_apnea_with_arousal", "CA": "central_apnea",
    "CAA": "central_apnea_with_arousal", "L": "leg_movement", "LA": "leg_movement_with_arousal",
    "A": "arousal",
}  # fmt: skip


def load_slpdb(folder: StrPath) -> Cohort:
    """Load beats, stages and respiratory events of sixteen men with suspected apnea.

    Only annotations and headers are read; the signal files need not be there.

    Parameters
    ----------
    folder : path-like
        Holds ``slpNN.hea``, ``slpNN.ecg`` (beats) and ``slpNN.st`` (stage and events per 30 s).

    Returns
    -------
    Cohort
        One recording per record: ``ibi``, stages (3 and 4 are N3), ``events`` (scored per 30-s
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
    >>> from sleep2vec_sklearn.datasets import load_slpdb
    >>> cohort = load_slpdb("folder/of/the/data/set")  # doctest: +SKIP
    >>> load_slpdb(".")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: . holds no slp*.st; accepted is the unpacked ...
    """
    return as_cohort(read_each(find_files(folder, "slp*.st", _DATASET), _read_night))


def _read_night(path: Path) -> Recording:
    header = read_header(path.with_suffix(".hea"))
    stages, events = _read_scoring(read_annotations(path), header)
    return record_from_beats(
        path, ".ecg", header, subject=re.sub(r"(?<=\d)[a-z]$", "", path.stem),
        metadata={"site": "slpdb", **_read_demographics(header.comment)}, stages=stages,
        events=events, start=header.start,
    )  # fmt: skip


def _read_scoring(scoring: Annotations, header: Header) -> tuple[np.ndarray, pd.DataFrame]:
    epochs = np.round(scoring.samples / header.rate / EPOCH_SECONDS).astype(int)
    stages = np.full(int(header.duration / EPOCH_SECONDS + 1e-6), -1, dtype=np.int8)
    rows = []
    for epoch, text in zip(epochs, scoring.texts, strict=True):
        stage, *codes = text.split() or [""]
        if epoch < len(stages):
            stages[epoch] = _STAGES.get(stage, -1)
        onset = float(epoch * EPOCH_SECONDS)
        # an event that occurs twice in an epoch is scored twice; "LL" are two leg movements
        codes = [single for code in codes for single in (code if not code.strip("L") else [code])]
        rows += [(onset, float(EPOCH_SECONDS), _EVENTS[code]) for code in codes if code in _EVENTS]
    return stages, pd.DataFrame(rows, columns=["onset", "duration", "type"])


def _read_demographics(comment: str) -> dict:
    match = re.match(r"(\d+|x)\s+([MFx])\s+(\d+|x)\b", comment)
    age, sex, weight = match.groups() if match else ("x", "x", "x")
    age, weight = (np.nan if text == "x" else float(text) for text in (age, weight))
    return {"age": age, "sex": None if sex == "x" else sex, "weight": weight}
