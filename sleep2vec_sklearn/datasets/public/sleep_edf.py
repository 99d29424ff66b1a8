# SPDX-License-Identifier: BSD-3-Clause
"""Sleep-EDF Expanded (Kemp et al. 2000): 197 nights of 100 people, with cassette and telemetry."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

from ...errors import ReadError
from ...readers import read_recording
from ...signals import Cohort, Recording
from .assembly import as_cohort, find_files
from .sleep_edf_people import People, read_people

__all__ = ["load_sleep_edf"]

_DATASET = "Sleep-EDF Expanded 1.0.0 (PhysioNet)"
_STUDIES = {"SC4": "sleep-cassette", "ST7": "sleep-telemetry"}
_NAME = re.compile(r"(SC4|ST7)(\d\d)(\d)[A-Z]\d-PSG", re.IGNORECASE)
_DAY = 86_400.0


def load_sleep_edf(folder) -> Cohort:
    """Load the nights of both studies, or of the one whose folder is given.

    Cassettes ran for about 20 hours at home, so a recording is a day and a night; its EMG and
    airflow were kept at 1 Hz only, which is too slow to be used. Telemetry nights in hospital were
    spent with temazepam or placebo.

    Parameters
    ----------
    folder : path-like
        Holds ``sleep-cassette/SC4ssNE0-PSG.edf`` and ``sleep-telemetry/ST7ssNJ0-PSG.edf`` (either
        may be absent) with their ``*-Hypnogram.edf``, or the files themselves. Beside the folders
        or the files, the tables ``SC-subjects.xls`` and ``ST-subjects.xls`` are read where they
        are; that needs ``pip install sleep2vec-sklearn[fetch]``, or the tables saved as ``.csv``.

    Returns
    -------
    Cohort
        One recording per night: ``eeg`` (Fpz-Cz), ``eog``, with telemetry ``emg``; stages by
        Rechtschaffen and Kales (3 and 4 are N3, movement time unscored). The nights of one person
        share their subject, e.g. SC400. Metadata: age and sex, from the tables where they can be
        read, else from the headers; site (the study), night (1 or 2), treatment ("placebo" or
        "temazepam", telemetry only). ``lights`` has the time of lights off that the tables give.
        Samples are read when they are used.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    Warns
    -----
    RecordingWarning
        If a table of subjects is there and cannot be read.

    References
    ----------
    Kemp B, Zwinderman AH, Tuk B, Kamphuisen HAC, Oberye JJL (2000). Analysis of a sleep-dependent
    neuronal feedback loop: the slow-wave microcontinuity of the EEG. IEEE Trans Biomed Eng 47(9),
    1185-1194. Data: PhysioNet, ODC-BY 1.0.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sleep2vec_sklearn.datasets import load_sleep_edf
    >>> cohort = load_sleep_edf("folder/of/the/data/set")  # doctest: +SKIP
    >>> Path("empty").mkdir()
    >>> load_sleep_edf("empty")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: empty holds no *-PSG.edf; accepted is the ...
    """
    folder = Path(folder)
    inside = [study for study in _STUDIES.values() if (folder / study).is_dir()]
    pattern = "sleep-*/*-PSG.edf" if inside else "*-PSG.edf"
    paths = find_files(folder, pattern, _DATASET)
    people = read_people([folder, folder.parent])
    return as_cohort([_read_night(path, people) for path in paths])


def _read_night(path: Path, people: People) -> Recording:
    name = _NAME.fullmatch(path.stem)
    if name is None:
        raise ReadError(
            f"{path} is not named as in {_DATASET}; accepted are SC4ssNE0-PSG.edf and "
            "ST7ssNJ0-PSG.edf. Move it away, or read it with read_recording."
        )
    study, person, night = name[1].upper(), int(name[2]), int(name[3])
    told = dict(people.get((study, person, night), {}))
    clock = told.pop("lights_off", None)
    metadata = {"site": _STUDIES[study], "night": night, **told}
    recording = read_recording(path, metadata=metadata)
    off = _after(recording.start, clock)
    if off is not None and off < recording.duration:
        recording.lights = (off, None)
    return recording


def _after(start: datetime | None, clock: timedelta | None) -> float | None:
    """Seconds from the recording's start to a time of day."""
    if start is None or clock is None:
        return None
    began = timedelta(hours=start.hour, minutes=start.minute, seconds=start.second)
    return (clock - began).total_seconds() % _DAY
