# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights as EDF+ files and hypnograms, as heterogeneous as those of real sites."""

from __future__ import annotations

import csv
import logging
import math
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from ...recordings.modality import EPOCH_SECONDS
from ...recordings.recording import Recording
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
        The signal files, in the cohort's order. ``metadata.csv`` has a row for each: path and
        hypnogram, relative to the folder, and the recording's metadata.

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
    from tqdm.auto import tqdm

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    seed = seed_from(random_state)
    paths, rows = [], []
    for recording in tqdm(list(cohort), desc="writing EDF+", unit="night", disable=not verbose):
        site = zlib.crc32(str(recording.metadata.get("site", "")).encode())
        name = zlib.crc32(str(recording.id).encode())
        site_rng = random_stream((seed, site), "habits of the site")
        night_rng = random_stream((seed, site, name), "luck of the night")
        path = folder / f"{recording.id}.edf"
        _write_signals(recording, path, site_rng, night_rng)
        row = {"path": path.name, "hypnogram": ""}
        if recording.stages is not None:
            writer = HYPNOGRAM_WRITERS[_site_number(recording) % len(HYPNOGRAM_WRITERS)]
            row["hypnogram"] = writer(recording, path.with_suffix(""), night_rng).name
        paths.append(path)
        rows.append({**row, "subject": recording.subject, **recording.metadata})
        _logger.info("wrote %s: %s", path.name, ", ".join(recording.modalities))
    _write_table(folder / "metadata.csv", rows)
    return paths


def _site_number(recording: Recording) -> int:
    name = str(recording.metadata.get("site", ""))
    digits = "".join(filter(str.isdigit, name))
    return int(digits) - 1 if digits else zlib.crc32(name.encode())


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
    edfio.Edf(
        signals,
        patient=edfio.Patient(code=str(recording.subject), sex=recording.metadata.get("sex", "X")),
        recording=edfio.Recording(startdate=None if start is None else start.date()),
        starttime=None if start is None else start.time(),
        data_record_duration=1 if whole else 30,
        annotations=(),
    ).write(path)


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
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


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
    return [(float(a), float(b), str(kind)) for a, b, kind in columns.itertuples(index=False)]


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
    edf.write(path)
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
        add(*_NSRR_EVENTS[kind], onset, duration)
    for onset, duration, stage in _bouts(recording):
        add("Stages|Stages", "Unscored|9" if stage < 0 else _NSRR[stage], onset, duration)
    path = stem.with_name(f"{stem.name}-nsrr.xml")
    indent(root)
    ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def _write_csv(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    path = stem.with_name(f"{stem.name}-hypnogram.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("onset", "duration", "stage"))
        for onset, duration, stage in _bouts(recording):
            writer.writerow((onset, duration, "?" if stage < 0 else _AASM[stage]))
    return path


HYPNOGRAM_WRITERS = (_write_aasm_edf, _write_nsrr_xml, _write_rk_edf, _write_csv)
