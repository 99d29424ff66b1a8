# SPDX-License-Identifier: BSD-3-Clause
"""Apnea-ECG Database (Penzel et al. 2000): beats, and apnea by the minute."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ..errors import ReadError
from ..readers._boundary import MOST_LABEL_BYTES, BadFileError, check_file, only_read_errors
from ..recordings.cohort import Cohort
from ..recordings.recording import Recording
from ._files import (
    StrPath,
    as_cohort,
    find_files,
    read_annotations,
    read_each,
    read_header,
    record_from_beats,
)

_DATASET = "the Apnea-ECG Database 1.0.0 (PhysioNet)"
# a01r.apn and a01er.apn, published with a01.apn, are of the same night
_RECORDS = "[abcx][0-9][0-9].apn"
_TABLE = "additional-information.txt"
_COLUMNS = ("apnea_index", "hypopnea_index", "ahi", "age", "sex", "height", "weight")
_APNEA_TYPE = 8


def load_apnea_ecg(folder: StrPath) -> Cohort:
    """Load beats and minutes with apnea.

    There are fewer subjects than records: records with equal age, sex, height and weight share a
    subject. Beats were detected by a program and not corrected.

    Parameters
    ----------
    folder : path-like
        Holds ``*.hea``, ``*.qrs``, ``*.apn`` and ``additional-information.txt``.

    Returns
    -------
    Cohort
        One recording per record that has ``.apn``: ``ibi``, ``events`` of type ``apnea_minute``
        (60 s each). Metadata: site, ahi, apnea_index, hypopnea_index (per hour), age, sex, height
        in cm, weight in kg.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    References
    ----------
    Penzel T, Moody GB, Mark RG, Goldberger AL, Peter JH (2000). The Apnea-ECG Database. Computers
    in Cardiology 27, 255-258. Data: PhysioNet, ODC-BY 1.0.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import load_apnea_ecg
    >>> cohort = load_apnea_ecg("folder/of/the/data/set")  # doctest: +SKIP
    >>> load_apnea_ecg(".")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: . holds no [abcx][0-9][0-9].apn; accepted is ...
    """
    paths = find_files(folder, _RECORDS, _DATASET)
    subjects = _read_subjects(Path(folder) / _TABLE)
    return as_cohort(read_each(paths, lambda path: _read_night(path, subjects)))


def _read_subjects(path: Path) -> dict[str, dict]:
    """Table of records, by their names, which lists those that share a subject."""
    fix = f"It lists which records share a subject; download it with {_DATASET}."
    subjects = {}
    with only_read_errors(path, "the reader of tables", fix, quotes=True):
        if not path.exists():
            raise BadFileError("there is no such file.")
        check_file(path, MOST_LABEL_BYTES)
        for line in path.read_text(encoding="latin-1").splitlines():
            fields = line.split()
            if len(fields) == 12 and re.fullmatch(r"[abcx]\d\d", fields[0]):
                values = [text if text in ("M", "F") else float(text) for text in fields[5:]]
                subjects[fields[0]] = dict(zip(_COLUMNS, values, strict=True))
    return subjects


def _read_night(path: Path, subjects: dict[str, dict]) -> Recording:
    subject = subjects.get(path.stem)
    if subject is None:
        raise ReadError(
            f"{path.parent / _TABLE} has no row for {path.stem}, so its subject is unknown. Take "
            f"the table of {_DATASET}, or move that record away."
        )
    header = read_header(path.with_suffix(".hea"))
    minutes = read_annotations(path)
    onsets = minutes.samples[minutes.types == _APNEA_TYPE] / header.rate
    return record_from_beats(
        path,
        ".qrs",
        header,
        subject="{sex}{age:g}-{height:g}cm-{weight:g}kg".format(**subject),
        metadata={"site": "apnea-ecg", **subject},
        events=pd.DataFrame({"onset": onsets, "duration": 60.0, "type": "apnea_minute"}),
    )
