# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms and events from EDF+ annotations, NSRR XML, tables and plain lists."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from ..errors import ReadError
from ..signals import EPOCH_SECONDS
from .header import quiet_edfio, read_header
from .scoring import Scoring, ScoringBuilder, parse_stage
from .tables import read_table

__all__ = ["read_scoring"]

_NSRR_CODES = {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "N3", 5: "R", 6: "movement"}


def read_scoring(path, *, start: datetime | None = None) -> Scoring:
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

    Raises
    ------
    ReadError
        If the file is missing, of another format, or holds no sleep stage.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sleep2vec_sklearn.readers import read_scoring
    >>> n_written = Path("stages.txt").write_text("W\nW\nN1\nN2\nN2\n")
    >>> scoring = read_scoring("stages.txt")
    >>> scoring.onsets, scoring.stages
    (array([  0.,  30.,  60.,  90., 120.]), array([0, 0, 1, 2, 2], dtype=int8))
    """
    path = Path(path)
    if not path.is_file():
        raise ReadError(f"{path}: no such hypnogram file. Check the path, or pass hypnogram=False.")
    suffix = path.suffix.lower()
    if suffix in (".edf", ".rec", ".bdf"):
        scoring = read_edf_annotations(path)
    elif suffix == ".xml":
        scoring = _read_xml(path)
    else:
        scoring = read_table(path, start)
    if len(scoring.onsets) == 0:
        raise ReadError(
            f"{path}: holds no sleep stage. Accepted are EDF+ annotations such as 'Sleep stage "
            "N2', NSRR XML, tables of (onset, duration, stage), or one label per 30-s epoch; pass "
            "hypnogram=False to read the signals alone."
        )
    return scoring


def read_edf_annotations(path: Path) -> Scoring:
    """Read stages and events from the annotations of an EDF+ or BDF+ file; none is no error."""
    import edfio

    header = read_header(path)
    build = ScoringBuilder()
    if not any(channel.is_annotation for channel in header.channels):
        return build.build(header.start)
    reader = edfio.read_bdf if header.sample_bytes == 3 else edfio.read_edf
    try:
        with quiet_edfio():
            annotations = reader(path, header_encoding="latin-1").annotations
    except (OSError, ValueError) as error:
        raise ReadError(
            f"{path}: its annotations cannot be read ({type(error).__name__}). Export the "
            "hypnogram again, e.g. as CSV, or pass hypnogram=False."
        ) from None
    only_stages = all(parse_stage(a.text) is not None for a in annotations)
    for i, annotation in enumerate(annotations):
        stage = parse_stage(annotation.text, bare=only_stages)
        if stage is None:
            build.add_event(annotation.onset, annotation.duration or 0.0, annotation.text)
            continue
        duration = annotation.duration
        if not duration:
            duration = _until_next(annotations, i, only_stages)
        build.add_stage(annotation.onset, duration, stage)
    return build.build(header.start)


def _until_next(annotations, i: int, bare: bool) -> float:
    for later in annotations[i + 1 :]:
        if later.onset > annotations[i].onset and parse_stage(later.text, bare=bare) is not None:
            return later.onset - annotations[i].onset
    return float(EPOCH_SECONDS)


def _read_xml(path: Path) -> Scoring:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ReadError(
            f"{path}: not well-formed XML (line {line}, column {column}). Download it again."
        ) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.find(".//SleepStages") is not None:
        return _read_profusion(root, path)
    if root.find(".//ScoredEvent/EventConcept") is not None:
        return _read_nsrr(root, path)
    raise ReadError(
        f"{path}: XML with the root <{root.tag}>; accepted are NSRR annotations (<PSGAnnotation>) "
        "and Compumedics Profusion exports (<CMPStudyConfig>)."
    )


def _seconds(element, tag: str, path: Path) -> float:
    text = (element.findtext(tag) or "").strip()
    try:
        return float(text.replace(",", ".")) if text else 0.0
    except ValueError:
        raise ReadError(f"{path}: <{tag}> is {text!r}; accepted is a number of seconds.") from None


def _read_profusion(root, path: Path) -> Scoring:
    build = ScoringBuilder()
    length = _seconds(root, "EpochLength", path) or EPOCH_SECONDS
    for i, element in enumerate(root.iterfind(".//SleepStages/SleepStage")):
        text = (element.text or "").strip()
        code = _NSRR_CODES.get(int(text), "?") if text.isdigit() else text
        stage = parse_stage(code)
        build.add_stage(i * length, length, -1 if stage is None else stage)
    for event in root.iterfind(".//ScoredEvents/ScoredEvent"):
        name = (event.findtext("Name") or "").strip()
        if name:
            build.add_event(_seconds(event, "Start", path), _seconds(event, "Duration", path), name)
    return build.build()


def _read_nsrr(root, path: Path) -> Scoring:
    build = ScoringBuilder()
    start = None
    for event in root.iterfind(".//ScoredEvents/ScoredEvent"):
        concept = (event.findtext("EventConcept") or "").strip()
        name, _, code = concept.partition("|")
        onset, duration = _seconds(event, "Start", path), _seconds(event, "Duration", path)
        if name.lower().startswith("recording start"):
            start = _nsrr_clock(event.findtext("ClockTime") or "")
        elif (event.findtext("EventType") or "").lower().startswith("stage"):
            stage = parse_stage(_NSRR_CODES.get(int(code), "?") if code.isdigit() else name)
            build.add_stage(onset, duration, -1 if stage is None else stage)
        else:
            build.add_event(onset, duration, name)
    return build.build(start)


def _nsrr_clock(text: str) -> datetime | None:
    match = re.search(r"(\d\d)[./](\d\d)[./](\d\d(?:\d\d)?)\s+(\d\d)[.:](\d\d)[.:](\d\d)", text)
    if match is None:
        return None
    day, month, year, hour, minute, second = (int(part) for part in match.groups())
    year += 0 if year > 99 else (1900 if year >= 85 else 2000)
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
