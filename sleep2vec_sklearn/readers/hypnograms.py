# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms and events from EDF+ annotations, NSRR XML, tables and plain lists."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .._warnings import warn
from ..errors import ReadError, RecordingWarning
from ..recordings._notes import Caution
from ..recordings.modality import EPOCH_SECONDS
from ._delimited import decode_text
from ._edf_header import EdfHeader, expand_year, make_datetime, only_read_errors, read_header
from ._label_tables import no_scorer, read_table
from ._scoring import (
    MOVEMENT,
    UNKNOWN_STAGES,
    Annotation,
    LabelContext,
    Scoring,
    ScoringBuilder,
    fit_length,
)

# Rechtschaffen & Kales, as in files of the National Sleep Research Resource
_NSRR_CODES = {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "N3", 5: "R", 6: MOVEMENT, 9: "?"}
_TAL = re.compile(
    rb"(?P<onset>[+-]\d+(?:[.,]\d*)?)(?:\x15(?P<duration>\d*(?:[.,]\d*)?))?\x14"
    rb"(?P<texts>(?:[^\x14\x00]*\x14)*)\x00"
)


def read_scoring(
    path: str | PathLike[str], *, start: datetime | None = None, duration: float | None = None,
    scorer: str | None = None,
) -> Scoring:  # fmt: skip
    r"""Read the stages and events of a night.

    Accepted are EDF+ annotations (.edf), XML of the National Sleep Research Resource (its own
    ``-nsrr.xml`` and Compumedics' ``-profusion.xml``), tables with a header (.csv, .tsv, .txt) and
    text files with one label per epoch (.txt, .eannot, .csv).

    Parameters
    ----------
    path : path-like
        The file.
    start : datetime, optional
        Clock time of the recording, for tables that state clock times.
    duration : float, optional
        Length of the recording in seconds, for lists of epochs of 20 s, 15 s or 1 s, and for
        HH:MM:SS that may count from the start: they are read as they fit.
    scorer : str, optional
        Whose stages to read from a table of several: a value of its column ``scorer``, or the name
        (or its end) of one of the columns of stages.

    Raises
    ------
    ReadError
        If the file is missing, of another format, or holds no sleep stage; if it holds two stages
        for one time, those of several scorers, or labels of no length that fits.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sleep2vec_sklearn.readers import read_scoring
    >>> n_written = Path("stages.txt").write_text("W\nW\nN1\nN2\nN2\n")
    >>> scoring = read_scoring("stages.txt")
    >>> scoring.onsets, scoring.stages
    (array([  0.,  30.,  60.,  90., 120.]), array([0, 0, 1, 2, 2], dtype=int8))
    """
    known = LabelContext(start and start.replace(tzinfo=None), duration, scorer)
    scoring = read_labels(Path(path), known)
    for note in scoring.notes:
        if isinstance(note, Caution):
            warn(f"{path}: {note}", RecordingWarning)
    return scoring


def read_labels(path: Path, known: LabelContext) -> Scoring:
    """:func:`read_scoring` of a recording that is known, without warnings."""
    if not path.is_file():
        raise ReadError(f"{path}: no such hypnogram file. Check the path, or pass hypnogram=False.")
    suffix = path.suffix.lower()
    is_table = suffix not in (".edf", ".rec", ".bdf", ".xml")
    if known.scorer is not None and not is_table:
        raise no_scorer(path, known.scorer)
    with only_label_errors(path):
        if is_table:
            scoring = read_table(path, known)
        elif suffix == ".xml":
            scoring = _read_xml(path, known.duration)
        else:
            scoring = read_edf_annotations(path, known.coding)
    if len(scoring.onsets) == 0:
        unknown = [n for n in scoring.notes if getattr(n, "kind", "") == UNKNOWN_STAGES]
        told = f": {unknown[0]}" if unknown else ""
        raise ReadError(
            f"{path}: holds no sleep stage{told}. Accepted are EDF+ annotations such as "
            "'Sleep stage N2', NSRR XML, tables of (onset, duration, stage), or one label per "
            "30-s epoch; pass hypnogram=False to read the signals alone."
        )
    return refuse_conflicts(path, scoring)


def only_label_errors(path: Path) -> AbstractContextManager[None]:
    """Turn whatever parsing labels raises into a ReadError that names the file."""
    fix = (
        "Export them again, e.g. as a table of onset, duration and stage, or pass hypnogram=False."
    )
    return only_read_errors(path, "the reader of labels", fix)


def refuse_conflicts(path: Path, scoring: Scoring) -> Scoring:
    """The scoring, noted if a little of it has two stages at one time; an error if much has."""
    seconds, first = scoring.find_conflicts()
    if not seconds:
        return scoring
    scored = float(scoring.durations[scoring.stages >= 0].sum())
    text = f"{seconds:g} of {scored:g} scored seconds have two stages, the first at {first:g} s"
    if seconds > 0.01 * scored:
        raise ReadError(
            f"{path}: {text}. Check the durations; if two scorers share the table, give a column "
            "'scorer' and pass scorer=."
        )
    return replace(scoring, notes=(*scoring.notes, Caution(text, "labels overlap a little")))


def read_edf_annotations(path: Path, coding: tuple[str, bool] | None = None) -> Scoring:
    """Stages and events among the annotations of an EDF+ or BDF+ file; there may be none.

    Onsets count from the first record, whose time stamp is part of the header's start.
    """
    header = read_header(path)
    build = ScoringBuilder()
    first, annotations = _read_tals(path, header)
    build.add_annotations(
        [(onset - first, length, text) for onset, length, text in annotations], coding
    )
    return build.build(header.start)


def _read_tals(path: Path, header: EdfHeader) -> tuple[float, list[Annotation]]:
    """Time stamp of the first record, and the annotations of all, in the order of the file."""
    sizes = [channel.samples_per_record * header.sample_bytes for channel in header.channels]
    ends = np.cumsum(sizes)
    records = np.memmap(path, np.uint8, "r", header.data_offset, (header.n_records, sum(sizes)))
    first, annotations = None, []
    for channel, end, size in zip(header.channels, ends.tolist(), sizes, strict=True):
        if not channel.is_annotation or not size:
            continue
        block = np.zeros((header.n_records, size + 1), dtype=np.uint8)
        # a byte of zero parts the records
        block[:, :-1] = records[:, end - size : end]
        for tal in _TAL.finditer(block.tobytes()):
            onset = _to_float(tal["onset"])
            texts = tal["texts"].split(b"\x14")[:-1]
            if first is None and tal["texts"].startswith(b"\x14"):
                first = onset if tal.start() < size else 0.0
            duration = _to_float(tal["duration"]) if tal["duration"] else None
            annotations += [(onset, duration, decode_text(text)) for text in texts if text]
    return first or 0.0, annotations


def _to_float(text: bytes) -> float:
    return float(text.replace(b",", b".").decode() or 0)


def _read_xml(path: Path, duration: float | None) -> Scoring:
    raw = path.read_bytes()
    try:
        root = ElementTree.fromstring(raw)
    except (ElementTree.ParseError, LookupError, ValueError):
        # an odd byte, or an encoding other than the declared one
        text = re.sub(r"^\s*<\?xml.*?\?>", "", decode_text(raw))
        try:
            root = ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", " ", text))
        except ElementTree.ParseError as error:
            line, column = error.position
            raise ReadError(
                f"{path}: not well-formed XML (line {line}, column {column}). Download it again."
            ) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.find(".//SleepStages") is not None or root.tag == "CMPStudyConfig":
        return _read_profusion(root, path, duration)
    if root.find(".//ScoredEvent/EventConcept") is not None or root.tag == "PSGAnnotation":
        return _read_nsrr(root, path)
    raise ReadError(
        f"{path}: XML with the root <{root.tag}>; accepted are NSRR annotations (<PSGAnnotation>) "
        "and Compumedics Profusion exports (<CMPStudyConfig>)."
    )


def _name_code(text: str) -> str:
    # a word of more than a digit, which no list of stages has
    return _NSRR_CODES.get(int(text), f"stage {text}") if text.isdecimal() else text


def _seconds(element: ElementTree.Element, tag: str, path: Path) -> float:
    text = (element.findtext(tag) or "").strip()
    try:
        seconds = float(text.replace(",", ".")) if text else 0.0
        if not np.isfinite(seconds):
            raise ValueError
        return seconds
    except ValueError:
        raise ReadError(f"{path}: <{tag}> is {text!r}; accepted is a number of seconds.") from None


def _read_profusion(root: ElementTree.Element, path: Path, duration: float | None) -> Scoring:
    build = ScoringBuilder()
    stages = root.findall(".//SleepStages/SleepStage")
    length = _seconds(root, "EpochLength", path)
    # a short list is more often cut than one of long epochs
    length = length or min(fit_length(len(stages), duration or 0.0) or np.inf, EPOCH_SECONDS)
    for i, element in enumerate(stages):
        text = (element.text or "").strip()
        build.add_label(i * length, length, _name_code(text))
    for event in root.iterfind(".//ScoredEvents/ScoredEvent"):
        name = (event.findtext("Name") or "").strip()
        if name:
            build.add_event(_seconds(event, "Start", path), _seconds(event, "Duration", path), name)
    # a list from the start, which the last minute may be missing from
    scored = length * len(build.intervals)
    fits = duration is None or abs(scored - duration) < max(60.0, 0.01 * duration)
    return build.build(timed=fits)


def _read_nsrr(root: ElementTree.Element, path: Path) -> Scoring:
    build = ScoringBuilder()
    start = None
    for event in root.iterfind(".//ScoredEvents/ScoredEvent"):
        concept = (event.findtext("EventConcept") or "").strip()
        name, _, code = concept.partition("|")
        onset, duration = _seconds(event, "Start", path), _seconds(event, "Duration", path)
        if name.lower().startswith("recording start"):
            start = _parse_clock(event.findtext("ClockTime") or "")
        elif (event.findtext("EventType") or "").lower().startswith("stage"):
            known = code.isdecimal() and int(code) in _NSRR_CODES
            build.add_label(onset, duration, _name_code(code) if known else name)
        else:
            build.add_event(onset, duration, name)
    return build.build(start)


def _parse_clock(text: str) -> datetime | None:
    match = re.search(r"(\d\d)[./](\d\d)[./](\d\d(?:\d\d)?)\s+(\d\d)[.:](\d\d)[.:](\d\d)", text)
    if match is None:
        return None
    day, month, year, *clock = (int(part) for part in match.groups())
    return make_datetime(year if year > 99 else expand_year(year), month, day, *clock)
