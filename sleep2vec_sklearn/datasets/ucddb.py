# SPDX-License-Identifier: BSD-3-Clause
"""St. Vincent's / University College Dublin database: polysomnograms of 25 people."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from .._warnings import warn
from ..errors import ReadError, RecordingWarning
from ..readers._edf_header import fingerprint_of
from ..readers.formats import open_source
from ..recordings import EPOCH_SECONDS, Cohort, Recording, Signal, SignalLayout
from ._files import as_cohort, find_files

__all__ = [
    "as_stages_of_ucddb",
    "load_ucddb",
    "read_people",
    "read_respiratory_events",
    "read_stage_codes",
]

_DATASET = "the UCD database (PhysioNet ucddb 1.0.0, or a partial copy with one npz per night)"
_SITE = "ucddb"
_RATE = 128.0
_WIDTH = int(_RATE) * EPOCH_SECONDS


def load_ucddb(folder) -> Cohort:
    """Load nights with stages and respiratory events.

    Signals are read when they are asked for.

    Parameters
    ----------
    folder : path-like
        As published: ``ucddbNNN.rec``, ``ucddbNNN_stage.txt``, ``ucddbNNN_respevt.txt`` and
        ``SubjectDetails.xls``. The last needs ``pip install python-calamine``, or the same table
        saved as ``SubjectDetails.csv``; without it there are neither ages nor sexes. Or a partial
        copy of ``ucddbNNN.npz`` (``eeg_int16``, ``scale``, ``epoch_index``, ``stage_all``,
        ``fs``) with these tables in ``annotations/``.

    Returns
    -------
    Cohort
        One night per subject. As published: the modalities of the montage (EEG, EOG, EMG, ECG,
        airflow, belts, SpO2) and those derived from them. A partial copy: ``eeg`` at 128 Hz of
        wake and N3 epochs, NaN elsewhere; its unit is not documented and only given as mV because
        that fits its size, and ``start`` has the clock time on 1 January 1970. Stages of the
        whole night (4 and 5 are N3; artefact and indeterminate unscored), ``events``, metadata:
        site, age, sex, bmi, ahi, epworth.

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

    Examples
    --------
    >>> from pathlib import Path
    >>> from sleep2vec_sklearn.datasets import load_ucddb
    >>> cohort = load_ucddb("folder/of/the/data/set")  # doctest: +SKIP
    >>> Path("empty").mkdir()
    >>> load_ucddb("empty")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: empty holds no ucddb*.rec; accepted is the ...
    """
    partial = not any(Path(folder).glob("ucddb*.rec")) and any(Path(folder).glob("ucddb*.npz"))
    paths = find_files(folder, "ucddb*.npz" if partial else "ucddb*.rec", _DATASET)
    people = read_people(Path(folder) / "annotations" if partial else Path(folder))
    read_night = _read_partial if partial else _read_published
    return as_cohort([read_night(path, people.get(path.stem.upper(), {})) for path in paths])


def _read_published(path: Path, told: dict) -> Recording:
    codes = read_stage_codes(path.with_name(f"{path.stem}_stage.txt"))
    source = open_source(path)
    person = dict(told)
    start = source.start or person.get("start")
    person.pop("start", None)
    return Recording.from_source(
        source,
        subject=path.stem,
        metadata={**source.metadata, "site": _SITE, **person},
        stages=as_stages_of_ucddb(codes),
        events=read_respiratory_events(path.with_name(f"{path.stem}_respevt.txt"), start),
        start=start,
        duration=source.duration,
        id=path.stem,
        notes=source.notes,
        align="trim",
    )


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
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ReadError(
            f"{path} cannot be read: {error}. Accepted is a file of {_DATASET}; get it again."
        ) from error


def _read_partial(path: Path, told: dict) -> Recording:
    codes, rate = _load(path, "stage_all", "fs")
    if rate != _RATE:
        raise ReadError(f"{path} has a rate of {float(rate):g} Hz; accepted is {_RATE:g} Hz.")
    person = dict(told)
    start = person.pop("start", None)
    events_path = path.parent / "annotations" / f"{path.stem}_respevt.txt"
    return Recording.from_source(
        _NpzSource(path, len(codes)),
        subject=path.stem,
        metadata={"site": _SITE, **person},
        stages=as_stages_of_ucddb(codes),
        events=read_respiratory_events(events_path, start),
        start=start,
        id=path.stem,
    )


_DAY = 86_400
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


def as_stages_of_ucddb(codes: np.ndarray) -> np.ndarray:
    """Stages from the published codes: 0 W, 1 REM, 2 N1, 3 N2, 4 and 5 N3, others unscored."""
    known = (codes >= 0) & (codes < len(_STAGES))
    return np.where(known, _STAGES[np.where(known, codes, 0)], -1)


def read_stage_codes(path: Path) -> np.ndarray:
    """The published code of each 30-s epoch, one per line.

    Raises
    ------
    ReadError
        If the file is missing or holds anything else.
    """
    try:
        return np.loadtxt(path, dtype=int, ndmin=1)
    except (OSError, ValueError) as error:
        raise ReadError(
            f"{path} cannot be read: {error}. Accepted is a stage code per line, as published; "
            "download it again."
        ) from error


def read_people(folder: Path) -> dict[str, dict]:
    """What ``SubjectDetails`` says of each study, by its number in capitals.

    Returns
    -------
    dict
        Study to age, sex, bmi, ahi, epworth and start; empty where the table cannot be read.

    Warns
    -----
    RecordingWarning
        If it cannot be read.
    """
    try:
        if (folder / "SubjectDetails.csv").exists():
            table = pd.read_csv(folder / "SubjectDetails.csv")
        else:
            table = pd.read_excel(folder / "SubjectDetails.xls", engine="calamine")
        table.columns = table.columns.str.strip()
        people = table.rename(columns=_COLUMNS).set_index("Study Number")
        starts = people[_START].astype(str).map(_clock_time)
        people = people[list(_COLUMNS.values())].assign(start=starts).to_dict(orient="index")
    except (ImportError, OSError, ValueError, KeyError) as error:
        warn(
            f"{folder / 'SubjectDetails.xls'} cannot be read ({error}), so age, sex and the like "
            "are unknown, as are events where only this table has the start. pip install "
            "python-calamine, or save the table as SubjectDetails.csv beside it.",
            RecordingWarning,
        )
        return {}
    return people


def read_respiratory_events(path: Path, start: datetime | None) -> pd.DataFrame | None:
    """Events of a night, in s after its start; None without a file or a start.

    Raises
    ------
    ReadError
        If an event has no clock time.
    """
    if start is None or not path.exists():
        return None
    rows = []
    began = _seconds_of(start.strftime("%H:%M:%S"))
    for line in path.read_text(encoding="latin-1").splitlines():
        clock, kind, length = line[:8], line[10:20].split(" ")[0], line[24:34].strip()
        if kind in _EVENTS and length.isdigit():
            # Events carry clock times; those after midnight belong to the same night.
            onset = float((_clock_of_event(clock, path) - began) % _DAY)
            rows.append((onset, float(length), _EVENTS[kind]))
    return pd.DataFrame(rows, columns=["onset", "duration", "type"])


def _clock_time(text: str) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=_seconds_of(text))


def _clock_of_event(text: str, path: Path) -> int:
    try:
        return _seconds_of(text)
    except ValueError as error:
        raise ReadError(
            f"{path} has an event at {text!r}; accepted are clock times such as 01:23:45 in the "
            "first eight columns, as published. Download it again."
        ) from error


def _seconds_of(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return 3600 * hours + 60 * minutes + seconds
