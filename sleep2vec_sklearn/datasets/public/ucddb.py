# SPDX-License-Identifier: BSD-3-Clause
"""St. Vincent's / University College Dublin database: polysomnograms of 25 people."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import ReadError
from ...readers.fingerprints import fingerprint_of
from ...readers.formats import open_source
from ...signals import EPOCH_SECONDS, Cohort, Recording, Signal, SignalLayout
from .assembly import as_cohort, find_files
from .ucddb_tables import (
    as_stages_of_ucddb,
    read_people,
    read_respiratory_events,
    read_stage_codes,
)

__all__ = ["load_ucddb"]

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
