# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights as real EDF+ files, as untidy as those of real sites."""

from __future__ import annotations

import csv
import logging
import math
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ...recordings import EPOCH_SECONDS, Recording, Signal
from ._synthesis import seed_from, stream

__all__ = [
    "HYPNOGRAM_WRITERS",
    "write_edf_cohort",
]

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
_OTHER_SPELLING = 0.2
_RECORD_SECONDS = 1
_LONG_RECORD_SECONDS = 30

_logger = logging.getLogger("sleep2vec_sklearn")


def write_edf_cohort(
    cohort: Iterable[Recording], folder, *, random_state=0, verbose: bool = False
) -> list[Path]:
    """Write each night as an EDF+ file with a hypnogram beside it, and one ``metadata.csv``.

    Channel labels depend on the site, and on some nights a technician spelled them otherwise;
    rates and physical dimensions are those of the recording. Hypnograms are EDF+ annotations
    (AASM or Rechtschaffen & Kales names), NSRR XML or CSV, by site. Gaps (NaN), which EDF cannot
    hold, become flat lines at zero. One night is in memory at a time.

    Parameters
    ----------
    cohort : iterable of Recording
        As made by :func:`make_sleep_cohort`.
    folder : path-like
        Made if it does not exist; files of the same names are replaced.
    random_state : int, Generator, RandomState or None, default=0
        Seed of the labels.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    list of pathlib.Path
        The signal files, in the cohort's order. ``metadata.csv`` has a row for each: path and
        hypnogram relative to the folder, and the recording's metadata.

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
        habits = stream((seed, site), "habits of the site")
        luck = stream((seed, site, name), "luck of the night")
        path = folder / f"{recording.id}.edf"
        _write_signals(recording, path, habits, luck)
        row = {"path": path.name, "hypnogram": ""}
        if recording.stages is not None:
            writer = HYPNOGRAM_WRITERS[_site_number(recording) % len(HYPNOGRAM_WRITERS)]
            row["hypnogram"] = writer(recording, path.with_suffix(""), luck).name
        paths.append(path)
        rows.append({**row, "subject": recording.subject, **recording.metadata})
        _logger.info("wrote %s: %s", path.name, ", ".join(recording.modalities))
    _write_table(folder / "metadata.csv", rows)
    return paths


def _site_number(recording: Recording) -> int:
    name = str(recording.metadata.get("site", ""))
    digits = "".join(filter(str.isdigit, name))
    return int(digits) - 1 if digits else zlib.crc32(name.encode())


def _write_signals(recording: Recording, path: Path, habits, luck) -> None:
    from edfio import Edf, Patient
    from edfio import Recording as EdfRecording

    usual = {name: habits.integers(len(labels)) for name, labels in _LABELS.items()}
    signals = []
    for name, signal in recording.read().items():
        labels = _LABELS[name]
        choice = luck.integers(len(labels)) if luck.random() < _OTHER_SPELLING else usual[name]
        signals.append(_edf_signal(labels[choice], signal))
    whole = all(float(rate).is_integer() for rate in recording.rates.values())
    start = recording.start
    edf = Edf(
        signals,
        patient=Patient(code=str(recording.subject), sex=recording.metadata.get("sex", "X")),
        recording=EdfRecording(startdate=None if start is None else start.date()),
        starttime=None if start is None else start.time(),
        data_record_duration=_RECORD_SECONDS if whole else _LONG_RECORD_SECONDS,
        annotations=(),
    )
    edf.write(path)


def _edf_signal(label: str, signal: Signal):
    from edfio import EdfSignal

    values = np.nan_to_num(signal.values, nan=0.0).astype(np.float64)
    reach = _two_digits_up(float(np.abs(values).max()))
    low = 0.0 if values.min() >= 0 else -reach
    return EdfSignal(
        values,
        signal.rate,
        label=label,
        physical_dimension="" if signal.unit == "a.u." else signal.unit,
        physical_range=(low, reach),
    )


def _two_digits_up(value: float) -> float:
    """The next number with two digits: a header has eight characters, with sign and point."""
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


_AASM = ("W", "N1", "N2", "N3", "R")
_NSRR = ("Wake|0", "Stage 1 sleep|1", "Stage 2 sleep|2", "Stage 3 sleep|3", "REM sleep|5")
_NSRR_EVENTS = {
    "obstructive_apnea": ("Respiratory|Respiratory", "Obstructive apnea|Obstructive Apnea"),
    "hypopnea": ("Respiratory|Respiratory", "Hypopnea|Hypopnea"),
    "desaturation": ("Respiratory|Respiratory", "SpO2 desaturation|SpO2 desaturation"),
    "arousal": ("Arousals|Arousals", "Arousal|Arousal ()"),
}


def _bouts(stages: np.ndarray) -> list[tuple[float, float, int]]:
    """Onset and duration in seconds, and stage, of each run of equal epochs."""
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
    from edfio import Edf, EdfAnnotation

    path = stem.with_name(f"{stem.name}-Hypnogram.edf")
    notes = [
        EdfAnnotation(onset, duration, f"Sleep stage {names(stage)}")
        for onset, duration, stage in _bouts(recording.stages)
    ]
    notes += [
        EdfAnnotation(onset, duration, kind.replace("_", " ").capitalize())
        for onset, duration, kind in _events(recording)
    ]
    if recording.lights is not None:
        texts = ("Lights off", "Lights on")
        notes += [
            EdfAnnotation(seconds, None, text)
            for seconds, text in zip(recording.lights, texts, strict=True)
            if seconds is not None
        ]
    start = None if recording.start is None else recording.start.time()
    edf = Edf([], annotations=notes, starttime=start)
    if recording.start is not None:
        edf.startdate = recording.start.date()
    edf.write(path)
    return path


def _write_aasm_edf(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    return _write_edf(recording, stem, lambda stage: "?" if stage < 0 else _AASM[stage])


def _write_rk_edf(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    """Rechtschaffen & Kales: N3 is called stage 3 or stage 4."""

    def name(stage: int) -> str:
        return ("W", "1", "2", str(rng.integers(3, 5)), "R", "?")[stage]

    return _write_edf(recording, stem, name)


def _write_nsrr_xml(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    root = ElementTree.Element("PSGAnnotation")
    ElementTree.SubElement(root, "SoftwareVersion").text = "sleep2vec_sklearn simulation"
    ElementTree.SubElement(root, "EpochLength").text = str(EPOCH_SECONDS)
    scored = ElementTree.SubElement(root, "ScoredEvents")

    def add(kind: str | None, concept: str, onset: float, duration: float) -> None:
        event = ElementTree.SubElement(scored, "ScoredEvent")
        ElementTree.SubElement(event, "EventType").text = kind
        ElementTree.SubElement(event, "EventConcept").text = concept
        ElementTree.SubElement(event, "Start").text = f"{onset:.2f}"
        ElementTree.SubElement(event, "Duration").text = f"{duration:.2f}"
        if concept.startswith("Recording"):
            clock = "00.00.00" if recording.start is None else f"{recording.start:%H.%M.%S}"
            ElementTree.SubElement(event, "ClockTime").text = f"00.00.00 {clock}"

    add(None, "Recording Start Time", 0.0, recording.duration)
    for onset, duration, kind in _events(recording):
        add(*_NSRR_EVENTS[kind], onset, duration)
    for onset, duration, stage in _bouts(recording.stages):
        add("Stages|Stages", "Unscored|9" if stage < 0 else _NSRR[stage], onset, duration)
    path = stem.with_name(f"{stem.name}-nsrr.xml")
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def _write_csv(recording: Recording, stem: Path, rng: np.random.Generator) -> Path:
    path = stem.with_name(f"{stem.name}-hypnogram.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("onset", "duration", "stage"))
        for onset, duration, stage in _bouts(recording.stages):
            writer.writerow((onset, duration, "?" if stage < 0 else _AASM[stage]))
    return path


HYPNOGRAM_WRITERS = (_write_aasm_edf, _write_nsrr_xml, _write_rk_edf, _write_csv)
"""Functions of (recording, stem, rng) that write the hypnogram beside the signals."""
