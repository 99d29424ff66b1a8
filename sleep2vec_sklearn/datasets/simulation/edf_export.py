# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights as EDF+ files and hypnograms, as heterogeneous as those of real sites."""

from __future__ import annotations

import csv
import logging
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from ..._files import atomic_file, file_name, write_atomic
from ..._progress import progress_bar
from ...errors import InvalidRecordingError, Sleep2VecError
from ...recordings.modality import EPOCH_SECONDS
from ...recordings.recording import Recording, describe_recording
from ...recordings.sources import Signal
from .._files import StrPath
from ._subjects import random_stream, seed_from

if TYPE_CHECKING:
    import edfio

_LABELS = {
    "eeg": ("EEG C3-A2", "C3-M2", "EEG(sec)", "EEG Fpz-Cz", "C4-M1", "EEG C4-A1"),
    "eog": ("EOG(L)", "LOC-A2", "E1-M2", "EOG horizontal"),
    "emg": ("EMG Chin", "EMG submental", "Chin1-Chin2", "EMG"),
    "ecg": ("ECG I", "EKG", "ECG", "ECG II"),
    "airflow": ("Flow Patient", "NasalPressure", "AIRFLOW", "Resp oro-nasal"),
    "effort": ("THOR RES", "Thorax", "ABDO RES", "Abdomen"),
    "spo2": ("SaO2", "SpO2", "SAO2"),
    "ppg": ("Pleth", "PPG"),
    "ibi": ("IBI",),
    "resp": ("RESP",),
    "actigraphy": ("Actigraphy",),
}
_LONGEST_CODE = 60
_OTHER_LABEL = 0.2  # probability of a label that is not the site's
_AASM = ("W", "N1", "N2", "N3", "R")
_NSRR = ("Wake|0", "Stage 1 sleep|1", "Stage 2 sleep|2", "Stage 3 sleep|3", "REM sleep|5")
_NSRR_EVENTS = {
    "obstructive_apnea": ("Respiratory|Respiratory", "Obstructive apnea|Obstructive Apnea"),
    "hypopnea": ("Respiratory|Respiratory", "Hypopnea|Hypopnea"),
    "desaturation": ("Respiratory|Respiratory", "SpO2 desaturation|SpO2 desaturation"),
    "arousal": ("Arousals|Arousals", "Arousal|Arousal ()"),
}

_logger = logging.getLogger("sleep2vec_sklearn")


def write_edf_cohort(
    cohort: Iterable[Recording], folder: StrPath, *,
    random_state: int | np.random.Generator | np.random.RandomState | None = 0,
    verbose: bool = False,
) -> list[Path]:  # fmt: skip
    """Write each night as an EDF+ file and a hypnogram, and one ``metadata.csv`` for all.

    Channel labels depend on the site, and some nights have other spellings; rates and physical
    dimensions are those of the recording. Hypnograms are EDF+ annotations (AASM or Rechtschaffen &
    Kales names), NSRR XML or CSV, by site. Gaps (NaN), which EDF cannot hold, become flat lines at
    zero. One night is in memory at a time.

    Parameters
    ----------
    cohort : iterable of Recording
        As made by :func:`make_sleep_cohort`.
    folder : path-like
        Created if it does not exist; files of the same names are replaced.
    random_state : int, Generator, RandomState or None, default=0
        Seed of the labels.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    list of pathlib.Path
        The signal files, in the cohort's order, called as the recordings; what may not stand in a
        file's name is replaced, and a hash of the id follows. ``metadata.csv`` has a row for each:
        path and hypnogram, relative to the folder, and the recording's metadata.

    Raises
    ------
    InvalidRecordingError
        If two recordings have one id, or EDF cannot hold a recording.
    OSError
        If a file cannot be written; what was there before stays.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, read_cohort
    >>> from sleep2vec_sklearn.datasets import write_edf_cohort
    >>> paths = write_edf_cohort(make_sleep_cohort(2, hours=0.5, random_state=0), "study")
    >>> [path.name for path in paths]
    ['sim-0001-n1.edf', 'sim-0002-n1.edf']
    >>> read_cohort("study", verbose=0)
    Cohort(2 recordings of 2 subjects)
    """
    folder, recordings = Path(folder), list(cohort)
    folder.mkdir(parents=True, exist_ok=True)
    seed = seed_from(random_state)
    paths = [folder / f"{stem}.edf" for stem in _file_stems(recordings)]
    rows = []
    bar = progress_bar(int(verbose), desc="writing EDF+", unit="night", total=len(paths))
    with bar:
        for i, (recording, path) in enumerate(zip(recordings, paths, strict=True)):
            try:
                rows.append(_write_night(recording, path, seed))
            except (ValueError, LookupError, ArithmeticError) as error:
                if isinstance(error, Sleep2VecError):
                    raise
                raise InvalidRecordingError(
                    f"{describe_recording(recording, i)}: EDF cannot hold it ({error})."
                ) from error
            bar.update()
            _logger.info("wrote %s: %s", path.name, ", ".join(recording.modalities))
    _write_table(folder / "metadata.csv", rows)
    return paths


def _file_stems(recordings: Sequence[Recording]) -> list[str]:
    """A file's name for each recording: its id where that can be one."""
    stems = [
        file_name(f"recording-{i}" if r.id is None else r.id) for i, r in enumerate(recordings)
    ]
    # not all systems tell capital letters apart
    written = Counter(name.lower() for stem in stems for name in (stem, f"{stem}-Hypnogram"))
    if repeated := [stem for stem in stems if written[stem.lower()] > 1]:
        raise InvalidRecordingError(
            f"several recordings would be written to {repeated[0]}.edf. Give each an id of its own."
        )
    return stems


def _write_night(recording: Recording, path: Path, seed: int) -> dict[str, Any]:
    """Write the files of a night, and return its row of the table."""
    site = zlib.crc32(_encoded(recording.metadata.get("site", "")))
    name = zlib.crc32(_encoded(recording.id))
    site_rng = random_stream((seed, site), "habits of the site")
    night_rng = random_stream((seed, site, name), "luck of the night")
    _write_signals(recording, path, site_rng, night_rng)
    row = {"path": path.name, "hypnogram": "", "subject": recording.subject}
    if recording.stages is not None:
        writer = HYPNOGRAM_WRITERS[_site_number(recording) % len(HYPNOGRAM_WRITERS)]
        row["hypnogram"] = writer(recording, path.with_name(path.stem), night_rng).name
    # what the files are called is no matter of metadata
    return {**row, **{k: v for k, v in recording.metadata.items() if k not in row}}


def _site_number(recording: Recording) -> int:
    name = str(recording.metadata.get("site", ""))
    digits = "".join(filter(str.isdigit, name))
    return int(digits[:9]) - 1 if digits.isascii() and digits else zlib.crc32(_encoded(name))


def _encoded(value: object) -> bytes:
    return str(value).encode("utf-8", "backslashreplace")


def _write_signals(
    recording: Recording, path: Path, site_rng: np.random.Generator, night_rng: np.random.Generator
) -> None:
    import edfio

    usual = {name: site_rng.integers(len(labels)) for name, labels in _LABELS.items()}
    signals = []
    for name, signal in recording.read().items():
        labels = _LABELS[name]
        other = night_rng.random() < _OTHER_LABEL
        label = labels[night_rng.integers(len(labels)) if other else usual[name]]
        signals.append(_edf_signal(label, signal))
    whole = all(float(rate).is_integer() for rate in recording.rates.values())
    start = recording.start
    sex = recording.metadata.get("sex", "X")
    # printable ASCII without spaces, of which the field holds 80
    code = re.sub("[^!-~]", "_", str(recording.subject))[:_LONGEST_CODE] or "X"
    edf = edfio.Edf(
        signals,
        patient=edfio.Patient(code=code, sex=sex if sex in ("F", "M") else "X"),
        recording=edfio.Recording(startdate=None if start is None else start.date()),
        starttime=None if start is None else start.time(),
        data_record_duration=1 if whole else 30,
        annotations=(),
    )
    with atomic_file(path) as file:
        edf.write(file)  # type: ignore[arg-type]


def _edf_signal(label: str, signal: Signal) -> edfio.EdfSignal:
    import edfio

    values = np.nan_to_num(signal.values, nan=0.0).astype(np.float64)
    high = _round_up(float(np.abs(values).max()))
    low = 0.0 if values.min() >= 0 else -high
    return edfio.EdfSignal(
        values,
        signal.rate,
        label=label,
        physical_dimension="" if signal.unit == "a.u." else signal.unit,
        physical_range=(low, high),
    )


def _round_up(value: float) -> float:
    """The next number with two significant digits; a header has room for eight characters."""
    if value == 0:
        return 1.0
    digits = 1 - math.floor(math.log10(value))
    return round(math.ceil(value * 10**digits * (1 + 1e-6)) / 10**digits, digits + 1)


def _write_table(path: Path, rows: list[dict]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=columns)
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, _encoded(text.getvalue()))


def _bouts(recording: Recording) -> list[tuple[float, float, int]]:
    """Onset and duration in seconds, and stage, of each run of equal epochs."""
    stages = np.asarray(recording.stages)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(stages)) + 1, [len(stages)]])
    return [
        (float(a * EPOCH_SECONDS), float((b - a) * EPOCH_SECONDS), int(stages[a]))
        for a, b in pairwise(starts)
    ]


def _events(recording: Recording) -> list[tuple[float, float, str]]:
    if recording.events is None:
        return []
    columns = recording.events[["onset", "duration", "type"]]
    # control characters separate annotations in EDF+, and are none of XML's
    return [
        (float(a), float(b), re.sub(r"[\x00-\x1f]", " ", str(kind)))
        for a, b, kind in columns.itertuples(index=False)
    ]


def _write_edf(recording: Recording, stem: Path, names: Callable[[int], str]) -> Path:
    import edfio

    path = stem.with_name(f"{stem.name}-Hypnogram.edf")
    annotations = [
        edfio.EdfAnnotation(onset, duration, f"Sleep stage {names(stage)}")
        for onset, duration, stage in _bouts(recording)
    ]
    annotations += [
        edfio.EdfAnnotation(onset, duration, kind.replace("_", " ").capitalize())
        for onset, duration, kind in _events(recording)
    ]
    if recording.lights is not None:
        for seconds, text in zip(recording.lights, ("Lights off", "Lights on"), strict=True):
            if seconds is not None:
                annotations.append(edfio.EdfAnnotation(seconds, None, text))
    start = None if recording.start is None else recording.start.time()
    edf = edfio.Edf([], annotations=annotations, starttime=start)
    if recording.start is not None:
        edf.startdate = recording.start.date()
    with atomic_file(path) as file:
        edf.write(file)  # type: ignore[arg-type]
    return path


def _write_aasm_edf(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    return _write_edf(recording, stem, lambda stage: "?" if stage < 0 else _AASM[stage])


def _write_rk_edf(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    """Rechtschaffen & Kales: N3 is scored as stage 3 or stage 4."""

    def name(stage: int) -> str:
        return ("W", "1", "2", str(rng.integers(3, 5)), "R", "?")[stage]

    return _write_edf(recording, stem, name)


def _write_nsrr_xml(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    root = Element("PSGAnnotation")
    SubElement(root, "SoftwareVersion").text = "sleep2vec_sklearn simulation"
    SubElement(root, "EpochLength").text = str(EPOCH_SECONDS)
    scored = SubElement(root, "ScoredEvents")

    def add(kind: str | None, concept: str, onset: float, duration: float) -> Element:
        event = SubElement(scored, "ScoredEvent")
        SubElement(event, "EventType").text = kind
        SubElement(event, "EventConcept").text = concept
        SubElement(event, "Start").text = f"{onset:.2f}"
        SubElement(event, "Duration").text = f"{duration:.2f}"
        return event

    clock = "00.00.00" if recording.start is None else f"{recording.start:%H.%M.%S}"
    beginning = add(None, "Recording Start Time", 0.0, recording.duration)
    SubElement(beginning, "ClockTime").text = f"00.00.00 {clock}"
    for onset, duration, kind in _events(recording):
        add(*_NSRR_EVENTS.get(kind, (kind, kind)), onset, duration)
    for onset, duration, stage in _bouts(recording):
        add("Stages|Stages", "Unscored|9" if stage < 0 else _NSRR[stage], onset, duration)
    path = stem.with_name(f"{stem.name}-nsrr.xml")
    indent(root)
    with atomic_file(path) as file:
        ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    return path


def _write_csv(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    path = stem.with_name(f"{stem.name}-hypnogram.csv")
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("onset", "duration", "stage"))
    for onset, duration, stage in _bouts(recording):
        writer.writerow((onset, duration, "?" if stage < 0 else _AASM[stage]))
    write_atomic(path, text.getvalue().encode())
    return path


HYPNOGRAM_WRITERS = (_write_aasm_edf, _write_nsrr_xml, _write_rk_edf, _write_csv)
