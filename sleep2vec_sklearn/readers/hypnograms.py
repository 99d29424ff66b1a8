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

from .._arguments import check_number, check_text, shown
from .._warnings import warn
from ..errors import ReadError, RecordingWarning
from ..recordings._notes import Caution
from ..recordings.modality import EPOCH_SECONDS
from ._boundary import (
    LARGEST_TIME,
    LONGEST_SECONDS,
    MOST_LABEL_BYTES,
    MOST_LABELS,
    BadFileError,
    as_path,
    check_file,
    check_labels,
    only_read_errors,
    parse_xml,
)
from ._delimited import decode_text
from ._edf_header import EdfHeader, expand_year, make_datetime, read_header
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
# onset and duration of the annotations behind them, which bytes of 20 part
# the equipment that StagedNight.to_edf states
_PREDICTED_BY = b"sleep2vec_sklearn"
_PREDICTED = "stages were predicted by sleep2vec_sklearn, nobody scored them"
_TIMES = re.compile(
    rb"(?P<onset>[+-]\d{1,12}(?:[.,]\d{0,20})?)(?:\x15(?P<duration>\d{0,12}(?:[.,]\d{0,20})?))?\Z"
)
_MOST_ANNOTATION_BYTES = 64 << 20
_XML_PART = 1 << 16
_MOST_ELEMENTS = 10 * MOST_LABELS
_SCORED = ".//ScoredEvents/ScoredEvent"


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
    path = as_path(path)
    if start is not None and not isinstance(start, datetime):
        raise ReadError(
            f"start is {shown(start)}; accepted is a datetime, the clock time of the recording. "
            "Pass recording.start, or None."
        )
    if duration is not None:
        duration = check_number("duration", duration, 0, LONGEST_SECONDS)
    if scorer is not None:
        check_text("scorer", scorer)
    known = LabelContext(None if start is None else start.replace(tzinfo=None), duration, scorer)
    scoring = read_labels(path, known)
    for note in scoring.notes:
        # who asks for the file of predictions knows what it holds
        if isinstance(note, Caution) and note.kind != _PREDICTED:
            warn(f"{path}: {note}", RecordingWarning)
    return scoring


def read_labels(path: Path, known: LabelContext) -> Scoring:
    """:func:`read_scoring` of a recording that is known, without warnings."""
    if not path.exists():
        raise ReadError(f"{path}: no such hypnogram file. Check the path, or pass hypnogram=False.")
    check_file(path)
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
    with path.open("rb") as file:
        fixed = file.read(184)
    if _PREDICTED_BY in fixed[88:]:
        build.notes.append(Caution(f"{path.name}: its {_PREDICTED}", _PREDICTED))
    # X is an unknown date, and midnight then stands for an unknown time
    is_unknown = fixed[88:].startswith(b"Startdate X") and fixed[176:] == b"00.00.00"
    return build.build(None if is_unknown else header.start)


def _read_tals(path: Path, header: EdfHeader) -> tuple[float, list[Annotation]]:
    """Time stamp of the first record, and the annotations of all, in the order of the file."""
    channels = [c for c in header.channels if c.is_annotation and c.samples_per_record]
    size = sum(c.samples_per_record for c in channels) * header.sample_bytes * header.n_records
    if size > _MOST_ANNOTATION_BYTES:
        raise BadFileError(
            f"its annotations take {size:,} bytes; accepted are {_MOST_ANNOTATION_BYTES:,}."
        )
    first, annotations = None, []
    for raw in header.read_bytes(path, channels):
        # a byte of zero parts the records
        block, size = np.pad(raw, ((0, 0), (0, 1))).tobytes(), raw.shape[1]
        for match in re.finditer(rb"[^\0]+", block):
            if match[0].count(b"\x14") > MOST_LABELS:
                break
            head, *texts = match[0].split(b"\x14")
            times = _TIMES.search(head) if texts else None
            # without its last separator, the list of texts is cut
            if times is not None and not texts[-1]:
                onset = _to_float(times["onset"])
                if first is None and len(texts) > 1 and not texts[0]:
                    first = onset if match.start() < size else 0.0
                duration = _to_float(times["duration"]) if times["duration"] else None
                annotations += [(onset, duration, decode_text(text)) for text in texts if text]
            if len(annotations) > MOST_LABELS:
                break
    return first or 0.0, annotations


def _to_float(text: bytes) -> float:
    return float(text.replace(b",", b".").decode() or 0)


def _read_xml(path: Path, duration: float | None) -> Scoring:
    check_file(path, MOST_LABEL_BYTES)
    raw = path.read_bytes()
    try:
        root = _parse_xml(raw)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        if isinstance(error, BadFileError):
            raise
        # an odd byte, or an encoding other than the declared one
        text = re.sub(r"^\s*<\?xml[^>]*\?>", "", decode_text(raw))
        try:
            root = _parse_xml(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", " ", text).encode())
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
        f"{path}: XML with the root <{root.tag[:40]}>; accepted are NSRR annotations "
        "(<PSGAnnotation>) and Compumedics Profusion exports (<CMPStudyConfig>)."
    )


def _parse_xml(raw: bytes) -> ElementTree.Element:
    parts = (raw[i : i + _XML_PART] for i in range(0, len(raw), _XML_PART))
    found = parse_xml(parts)
    _, root = next(found)
    for n, _ in enumerate(found):
        if n > 2 * _MOST_ELEMENTS:
            raise BadFileError(f"it has more elements than the {_MOST_ELEMENTS:,} accepted.")
    return root


def _name_code(text: str) -> str:
    # a word of more than a digit, which no list of stages has
    return _NSRR_CODES.get(int(text), f"stage {text}") if _is_code(text) else text


def _is_code(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _seconds(element: ElementTree.Element, tag: str, path: Path) -> float:
    text = (element.findtext(tag) or "").strip()
    try:
        seconds = float(text.replace(",", ".")) if text else 0.0
        if not abs(seconds) <= LARGEST_TIME:
            raise ValueError
        return seconds
    except ValueError:
        raise ReadError(f"{path}: <{tag}> is {text!r}; accepted is a number of seconds.") from None


def _read_profusion(root: ElementTree.Element, path: Path, duration: float | None) -> Scoring:
    build = ScoringBuilder()
    stages = root.findall(".//SleepStages/SleepStage")
    check_labels([element.text or "" for element in stages])
    check_labels([event.findtext("Name") or "" for event in root.iterfind(_SCORED)])
    length = _seconds(root, "EpochLength", path)
    # a short list is more often cut than one of long epochs
    length = length or min(fit_length(len(stages), duration or 0.0) or np.inf, EPOCH_SECONDS)
    for i, element in enumerate(stages):
        text = (element.text or "").strip()
        build.add_label(i * length, length, _name_code(text))
    for event in root.iterfind(_SCORED):
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
    check_labels([event.findtext("EventConcept") or "" for event in root.iterfind(_SCORED)])
    for event in root.iterfind(_SCORED):
        concept = (event.findtext("EventConcept") or "").strip()
        name, _, code = concept.partition("|")
        onset, duration = _seconds(event, "Start", path), _seconds(event, "Duration", path)
        if name.lower().startswith("recording start"):
            start = _parse_clock(event.findtext("ClockTime") or "")
        elif (event.findtext("EventType") or "").lower().startswith("stage"):
            known = _is_code(code) and int(code) in _NSRR_CODES
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
