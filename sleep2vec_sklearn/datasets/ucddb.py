# SPDX-License-Identifier: BSD-3-Clause
"""St. Vincent's / University College Dublin database: polysomnograms of 25 subjects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._warnings import warn
from ..errors import ReadError, RecordingWarning
from ..readers._boundary import (
    MOST_LABEL_BYTES,
    MOST_TABLE_BYTES,
    check_added_samples,
    check_file,
    only_read_errors,
)
from ..readers._edf_header import fingerprint_of
from ..readers.formats import open_source
from ..recordings.cohort import Cohort
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ..recordings.sources import Signal, SignalLayout, SignalSource
from ._files import (
    DOWNLOAD_AGAIN,
    StrPath,
    as_cohort,
    find_files,
    read_arrays,
    read_each,
    read_numbers,
    seconds_after,
)

_DATASET = "the UCD database (PhysioNet ucddb 1.0.0, or a partial copy with one npz per night)"
_SITE = "ucddb"
_FILE = f"a file of {_DATASET}"
_RATE = 128.0
_EPOCH_SAMPLES = int(_RATE) * EPOCH_SECONDS
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
    "HYP-O": "obstructive_hypopnea", "HYP-C": "central_hypopnea", "HYP-M": "mixed_hypopnea",
    "APNEA-O": "obstructive_apnea", "APNEA-C": "central_apnea", "APNEA-M": "mixed_apnea",
    "PB": "periodic_breathing",
}  # fmt: skip


def load_ucddb(folder: StrPath) -> Cohort:
    """Load nights with stages and respiratory events.

    Signals are read when they are used.

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
        wake and N3 epochs, NaN elsewhere; its unit is not documented (mV fits its size), and
        ``start`` has the clock time on 1 January 1970. Stages of the
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
    >>> from sleep2vec_sklearn.datasets import load_ucddb
    >>> cohort = load_ucddb("folder/of/the/data/set")  # doctest: +SKIP
    >>> load_ucddb(".")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: . holds no ucddb*.rec; accepted is the ...
    """
    partial = not any(Path(folder).glob("ucddb*.rec")) and any(Path(folder).glob("ucddb*.npz"))
    paths = find_files(folder, "ucddb*.npz" if partial else "ucddb*.rec", _DATASET)
    tables = Path(folder) / "annotations" if partial else Path(folder)
    subjects = read_subjects(tables)
    return as_cohort(read_each(paths, lambda path: _read_night(path, tables, subjects)))


def _read_night(path: Path, tables: Path, subjects: dict[str, dict]) -> Recording:
    demographics = dict(subjects.get(path.stem.upper(), {}))
    start = demographics.pop("start", None)
    metadata = {"site": _SITE, **demographics}
    options: dict[str, Any] = {}
    source: SignalSource
    if path.suffix == ".npz":
        codes, rate = read_arrays(path, ["stage_all", "fs"], _FILE)
        if rate != _RATE:
            raise ReadError(f"{path} has a rate of {float(rate):g} Hz; accepted is {_RATE:g} Hz.")
        check_added_samples(path, len(codes) * EPOCH_SECONDS, _RATE, "a partial copy")
        source = _PartialSource(path, len(codes))
    else:
        accepted = "a stage code per line, as published"
        codes = read_numbers(tables / f"{path.stem}_stage.txt", accepted, dtype=int, ndmin=1)
        source = psg = open_source(path)
        start, metadata = psg.start or start, {**psg.metadata, **metadata}
        options = {"duration": psg.duration, "notes": psg.notes, "align": "trim"}
    return Recording.from_source(
        source, subject=path.stem, metadata=metadata, stages=_as_stages(codes),
        events=read_respiratory_events(tables / f"{path.stem}_respevt.txt", start), start=start,
        id=path.stem, **options,
    )  # fmt: skip


class _PartialSource:
    """The EEG of one night, expanded from the epochs that are stored."""

    def __init__(self, path: Path, n_epochs: int):
        self.path = path
        self.files = (path,)
        self.layout = {"eeg": SignalLayout(_RATE, "mV", n_epochs * _EPOCH_SAMPLES)}

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        if "eeg" not in names:
            return {}
        layout = self.layout["eeg"]
        epochs = np.full((layout.n_samples // _EPOCH_SAMPLES, _EPOCH_SAMPLES), np.nan, np.float32)
        names_stored = ["eeg_int16", "scale", "epoch_index"]
        stored, scale, index = read_arrays(self.path, names_stored, _FILE)
        with only_read_errors(
            self.path, "the reader of this data set", DOWNLOAD_AGAIN, quotes=True
        ):
            epochs[index] = stored * np.float32(scale)
        values = epochs.reshape(-1)
        values.flags.writeable = False
        return {"eeg": Signal(values, layout.rate, layout.unit)}

    def fingerprint(self) -> str:
        return fingerprint_of(self.files, "ucddb")


def _as_stages(codes: np.ndarray) -> np.ndarray:
    """Stages from the published codes: 0 W, 1 REM, 2 N1, 3 N2, 4 and 5 N3, others unscored."""
    known = (codes >= 0) & (codes < len(_STAGES))
    return np.where(known, _STAGES[np.where(known, codes, 0)], -1)


def read_subjects(folder: Path) -> dict[str, dict]:
    """Demographics, outcomes and start by study number in capitals; none if unreadable."""
    path = folder / "SubjectDetails.csv"
    path = path if path.exists() else path.with_suffix(".xls")
    try:
        with only_read_errors(path, "the reader of tables", DOWNLOAD_AGAIN, quotes=True):
            check_file(path, MOST_TABLE_BYTES)
            is_text = path.suffix == ".csv"
            table = pd.read_csv(path) if is_text else pd.read_excel(path, engine="calamine")
            table.columns = table.columns.str.strip()
            subjects = table.rename(columns=_COLUMNS).set_index("Study Number")
            times = [_as_time_of_day(str(text)) for text in subjects[_START]]
            starts = [datetime(1970, 1, 1) + time for time in times]
            return subjects[list(_COLUMNS.values())].assign(start=starts).to_dict(orient="index")
    except (ImportError, ReadError) as error:
        warn(
            f"{folder / 'SubjectDetails.xls'} cannot be read ({error}), so age, sex and the like "
            "are unknown, as are events where only this table has the start. pip install "
            "python-calamine, or save the table as SubjectDetails.csv in the same folder.",
            RecordingWarning,
        )
        return {}


def read_respiratory_events(path: Path, start: datetime | None) -> pd.DataFrame | None:
    """Events of a night, in s after its start; None without a file or a start."""
    if start is None or not path.exists():
        return None
    check_file(path, MOST_LABEL_BYTES)
    rows = []
    for line in path.read_text(encoding="latin-1").splitlines():
        clock, kind, length = line[:8], line[10:20].split(" ")[0], line[24:34].strip()
        if kind not in _EVENTS or not length.isdigit():
            continue
        try:
            onset = seconds_after(start, _as_time_of_day(clock))
        except ValueError as error:
            raise ReadError(
                f"{path} has an event at {clock!r}; accepted are clock times such as 01:23:45 in "
                "the first eight columns, as published. Download it again."
            ) from error
        rows.append((onset, float(length), _EVENTS[kind]))
    return pd.DataFrame(rows, columns=["onset", "duration", "type"])


def _as_time_of_day(text: str) -> timedelta:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
