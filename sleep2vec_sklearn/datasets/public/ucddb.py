# SPDX-License-Identifier: BSD-3-Clause
"""St. Vincent's / University College Dublin database: one EEG channel of 23 nights, in part."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import ReadError, RecordingWarning
from ...readers.fingerprints import fingerprint_of
from ...signals import EPOCH_SECONDS, Cohort, Recording, Signal, SignalLayout
from .assembly import as_cohort, find_files

__all__ = ["load_ucddb"]

_DATASET = "the partial UCD database (one npz per night)"
_RATE = 128.0
_DAY = 86_400
_WIDTH = int(_RATE) * EPOCH_SECONDS
_STAGES = np.array([0, 4, 1, 2, 3, 3])
_COLUMNS = {
    "Age": "age",
    "Gender": "sex",
    "BMI": "bmi",
    "PSG AHI": "ahi",
    "Epworth Sleepiness Score": "epworth",
}
_START = "PSG Start Time"
_EVENTS = {
    "HYP-O": "obstructive_hypopnea",
    "HYP-C": "central_hypopnea",
    "HYP-M": "mixed_hypopnea",
    "APNEA-O": "obstructive_apnea",
    "APNEA-C": "central_apnea",
    "APNEA-M": "mixed_apnea",
    "PB": "periodic_breathing",
}


def load_ucddb(folder) -> Cohort:
    """Load nights of which only wake and N3 epochs have signal; the other epochs are NaN.

    Signals are read when they are asked for.

    Parameters
    ----------
    folder : path-like
        Holds ``ucddbNNN.npz`` (``eeg_int16``, ``scale``, ``epoch_index``, ``stage_all``, ``fs``)
        and, as published, ``annotations/ucddbNNN_respevt.txt`` and
        ``annotations/SubjectDetails.xls``. The latter needs ``pip install python-calamine``, or
        the same table saved as ``SubjectDetails.csv``; without it there is no metadata and no
        event, as their clock times cannot be placed.

    Returns
    -------
    Cohort
        One night per subject: ``eeg`` at 128 Hz; its unit is not documented and only given as mV
        because that fits its size. Stages of the whole night (4 and 5 are N3; artefact and
        indeterminate unscored). Metadata: age, sex, bmi, ahi, epworth. ``start`` has the clock
        time on 1 January 1970.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    Warns
    -----
    RecordingWarning
        If the table of subjects cannot be read.

    References
    ----------
    Heneghan C. St. Vincent's University Hospital / University College Dublin Sleep Apnea
    Database. PhysioNet, doi:10.13026/C26C7D, ODC-BY 1.0.
    """
    paths = find_files(folder, "ucddb*.npz", _DATASET)
    people = _read_people(Path(folder) / "annotations")
    return as_cohort([_read_night(path, people.get(path.stem.upper())) for path in paths])


class _NpzSource:
    """The EEG of one night, expanded from the epochs that are stored."""

    def __init__(self, path: Path, n_epochs: int):
        self.path = path
        self.files = (path,)
        self.layout = {"eeg": SignalLayout(_RATE, "mV", n_epochs * _WIDTH)}

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        if "eeg" not in names:
            return {}
        layout = self.layout["eeg"]
        epochs = np.full((layout.n_samples // _WIDTH, _WIDTH), np.nan, dtype=np.float32)
        stored, scale, places = _load(self.path, "eeg_int16", "scale", "epoch_index")
        epochs[places] = stored * np.float32(scale)
        values = epochs.reshape(-1)
        values.flags.writeable = False
        return {"eeg": Signal(values, layout.rate, layout.unit)}

    def fingerprint(self) -> str:
        return fingerprint_of(self.files, "ucddb")


def _load(path: Path, *names: str) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (OSError, ValueError, KeyError) as error:
        raise ReadError(
            f"{path} cannot be read: {error}. Accepted is a file of {_DATASET}; get it again."
        ) from error


def _read_night(path: Path, person: dict | None) -> Recording:
    codes, rate = _load(path, "stage_all", "fs")
    if rate != _RATE:
        raise ReadError(f"{path} has a rate of {float(rate):g} Hz; accepted is {_RATE:g} Hz.")
    known = (codes >= 0) & (codes < len(_STAGES))
    stages = np.where(known, _STAGES[np.where(known, codes, 0)], -1)
    person = dict(person or {})
    start = person.pop("start", None)
    events_path = path.parent / "annotations" / f"{path.stem}_respevt.txt"
    events = _read_events(events_path, start) if start and events_path.exists() else None
    return Recording.from_source(
        _NpzSource(path, len(codes)),
        subject=path.stem,
        metadata=person,
        stages=stages,
        events=events,
        start=start,
        id=path.stem,
    )


def _read_people(folder: Path) -> dict[str, dict]:
    try:
        if (folder / "SubjectDetails.csv").exists():
            table = pd.read_csv(folder / "SubjectDetails.csv")
        else:
            table = pd.read_excel(folder / "SubjectDetails.xls", engine="calamine")
        table.columns = table.columns.str.strip()
        people = table.rename(columns=_COLUMNS).set_index("Study Number")
        starts = people[_START].astype(str).map(_clock_time)
        people = people[list(_COLUMNS.values())].assign(start=starts)
    except (ImportError, OSError, ValueError, KeyError) as error:
        warnings.warn(
            f"{folder / 'SubjectDetails.xls'} cannot be read ({error}), so there is no metadata "
            "and no event. pip install python-calamine, or save the table as SubjectDetails.csv "
            "beside it.",
            RecordingWarning,
            stacklevel=3,
        )
        return {}
    return people.to_dict(orient="index")


def _clock_time(text: str) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=_seconds_of(text))


def _seconds_of(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def _read_events(path: Path, start: datetime) -> pd.DataFrame:
    rows = []
    began = _seconds_of(start.strftime("%H:%M:%S"))
    for line in path.read_text(encoding="latin-1").splitlines():
        clock, kind, length = line[:8], line[10:20].split(" ")[0], line[24:34].strip()
        if kind in _EVENTS and length.isdigit():
            # Events carry clock times; those after midnight belong to the same night.
            onset = float((_seconds_of(clock) - began) % _DAY)
            rows.append((onset, float(length), _EVENTS[kind]))
    return pd.DataFrame(rows, columns=["onset", "duration", "type"])
