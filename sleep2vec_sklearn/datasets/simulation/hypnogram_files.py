# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms in the forms that sites keep them: EDF+ annotations, NSRR XML, CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ...signals import EPOCH_SECONDS, Recording

__all__ = ["HYPNOGRAM_WRITERS"]

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
        for a, b in zip(starts[:-1], starts[1:], strict=True)
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
