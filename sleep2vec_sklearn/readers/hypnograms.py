# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms and events from EDF+ annotations, NSRR XML, tables and plain lists."""

from __future__ import annotations

import csv
import re
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

from ..errors import ReadError
from ..recordings.modality import EPOCH_SECONDS
from ._edf_header import expand_year, make_datetime, quiet_edfio, read_header
from ._scoring import MOVEMENT, Scoring, ScoringBuilder, parse_stage

# Rechtschaffen & Kales, as in files of the National Sleep Research Resource
_NSRR_CODES = {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "N3", 5: "R", 6: MOVEMENT}
_AASM_CODES = {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "R"}
# fmt: off
_COLUMNS = {
    "onset": ("onset", "start", "starttime", "begin", "time", "seconds", "starts", "onsets", "t"),
    "end": ("end", "stop", "offset", "endtime"),
    "duration": ("duration", "dur", "length", "durations", "lengths"),
    "stage": ("stage", "sleepstage", "stages", "label", "hypnogram", "description", "state",
              "annotation", "event", "type", "value", "score", "stade", "schlafstadium"),
    "epoch": ("epoch", "epochs", "epochnumber", "epochno"),
}
# fmt: on
_Row = tuple[int, list[str]]


def read_scoring(path: str | PathLike[str], *, start: datetime | None = None) -> Scoring:
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
    else:
        scoring = _read_xml(path) if suffix == ".xml" else _read_table(path, start)
    if len(scoring.onsets) == 0:
        raise ReadError(
            f"{path}: holds no sleep stage. Accepted are EDF+ annotations such as 'Sleep stage "
            "N2', NSRR XML, tables of (onset, duration, stage), or one label per 30-s epoch; pass "
            "hypnogram=False to read the signals alone."
        )
    return scoring


def read_edf_annotations(path: Path) -> Scoring:
    """Stages and events among the annotations of an EDF+ or BDF+ file; there may be none."""
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
    stages = [parse_stage(a.text, bare=only_stages) for a in annotations]
    for i, (annotation, stage) in enumerate(zip(annotations, stages, strict=True)):
        if stage is None:
            build.add_event(annotation.onset, annotation.duration or 0.0, annotation.text)
            continue
        duration = annotation.duration
        if not duration:
            following = (
                later.onset - annotation.onset
                for later, label in zip(annotations[i + 1 :], stages[i + 1 :], strict=True)
                if label is not None and later.onset > annotation.onset
            )
            duration = next(following, float(EPOCH_SECONDS))
        build.add_stage(annotation.onset, duration, stage)
    return build.build(header.start)


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


def _seconds(element: ElementTree.Element, tag: str, path: Path) -> float:
    text = (element.findtext(tag) or "").strip()
    try:
        return float(text.replace(",", ".")) if text else 0.0
    except ValueError:
        raise ReadError(f"{path}: <{tag}> is {text!r}; accepted is a number of seconds.") from None


def _read_profusion(root: ElementTree.Element, path: Path) -> Scoring:
    build = ScoringBuilder()
    length = _seconds(root, "EpochLength", path) or EPOCH_SECONDS
    for i, element in enumerate(root.iterfind(".//SleepStages/SleepStage")):
        text = (element.text or "").strip()
        code = _NSRR_CODES.get(int(text), "?") if text.isdigit() else text
        build.add_stage(i * length, length, parse_stage(code))
    for event in root.iterfind(".//ScoredEvents/ScoredEvent"):
        name = (event.findtext("Name") or "").strip()
        if name:
            build.add_event(_seconds(event, "Start", path), _seconds(event, "Duration", path), name)
    return build.build()


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
            label = _NSRR_CODES.get(int(code), "?") if code.isdigit() else name
            build.add_stage(onset, duration, parse_stage(label))
        else:
            build.add_event(onset, duration, name)
    return build.build(start)


def _parse_clock(text: str) -> datetime | None:
    match = re.search(r"(\d\d)[./](\d\d)[./](\d\d(?:\d\d)?)\s+(\d\d)[.:](\d\d)[.:](\d\d)", text)
    if match is None:
        return None
    day, month, year, *clock = (int(part) for part in match.groups())
    return make_datetime(year if year > 99 else expand_year(year), month, day, *clock)


def _read_table(path: Path, start: datetime | None) -> Scoring:
    """A hypnogram from delimited or plain text.

    A header is optional: without one, three columns are (onset, duration, stage), two are (onset,
    stage), and one is a label per 30-s epoch. Stages are names, or integers: 0 W, 1 N1, 2 N2, 3
    N3 and 4 R, unless a 5 occurs; then 4 is stage 4 (N3) and 5 is R, as in NSRR files. Onsets such
    as ``23:14:30`` need the recording's ``start``.
    """
    rows = _read_rows(path)
    columns, rows = _find_columns(rows)
    if "stage" not in columns:
        raise ReadError(
            f"{path}: no column holds the stage; accepted names are "
            f"{', '.join(_COLUMNS['stage'][:6])}, in addition to onset and duration."
        )
    texts = [row[columns["stage"]] for _, row in rows]
    codes, notes = _decode(texts)
    build = ScoringBuilder()
    timed = "onset" in columns
    for i, (line, row) in enumerate(rows):
        stage = parse_stage(codes.get(texts[i], texts[i]))
        onset = i * float(EPOCH_SECONDS)
        if timed:
            onset = _parse_onset(path, line, row[columns["onset"]], start)
        duration = _parse_duration(path, line, row, columns, onset)
        if duration is None and timed and i + 1 < len(rows):
            later, following = rows[i + 1]
            end = _parse_onset(path, later, following[columns["onset"]], start)
            duration = max(end - onset, 0.0)
        if duration is None:
            duration = float(EPOCH_SECONDS)
        if stage is not None:
            build.add_stage(onset, duration, stage)
        elif timed:
            build.add_event(onset, duration, texts[i])
        else:
            raise ReadError(
                f"{path}, line {line}: {texts[i][:40]!r} is not a sleep stage; accepted are W, N1, "
                "N2, N3, R, REM, ?, movement, or 0 to 5."
            )
    return build.build(notes=notes)


def _read_rows(path: Path) -> list[_Row]:
    """Line number and cells of each row."""
    raw = path.read_bytes()
    if b"\x00" in raw[:4096]:
        raise ReadError(f"{path}: not a text file. Accepted are CSV, TSV and plain text.")
    text = raw.decode("utf-8-sig", errors="replace")
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1)]
    lines = [(i, line) for i, line in lines if line and not line.startswith(("#", "%"))]
    if not lines:
        raise ReadError(f"{path}: the file is empty. Pass hypnogram=False to go without labels.")
    first = lines[0][1]
    delimiter = max("\t;,", key=first.count)
    if delimiter in first:
        # line by line, as a stray quote would swallow the lines that follow
        cells = [(i, next(csv.reader([line], delimiter=delimiter))) for i, line in lines]
        return [(i, [cell.strip() for cell in row]) for i, row in cells]
    timed = re.match(r"[\d.]+\s+\S", first) or first.lower().startswith("onset")
    return [(i, line.split(maxsplit=2) if timed else [line]) for i, line in lines]


def _find_columns(rows: list[_Row]) -> tuple[dict[str, int], list[_Row]]:
    """Index of each column by its meaning, and the rows without the header, all of one width."""
    cells = rows[0][1]
    names = [re.sub(r"\[.*?\]|\(.*?\)|[^a-z]", "", cell.lower()) for cell in cells]
    names = [re.sub(r"(?<=.)(insec|seconds?|secs?)$", "", name) for name in names]
    columns: dict[str, int] = {}
    for meaning, known in _COLUMNS.items():
        ranked = [(known.index(name), i) for i, name in enumerate(names) if name in known]
        if ranked:
            columns[meaning] = min(ranked)[1]
    if columns and (len(cells) > 1 or parse_stage(cells[0]) is None):
        rows = rows[1:]
    elif len(cells) == 1:
        return {"stage": 0}, rows
    else:
        bare = ("onset", "stage") if len(cells) == 2 else ("onset", "duration", "stage")
        columns = {meaning: i for i, meaning in enumerate(bare)}
    return columns, [(line, row + [""] * (len(cells) - len(row))) for line, row in rows]


def _decode(texts: list[str]) -> tuple[dict[str, str], list[str]]:
    """Meaning of integer codes, in a file that has no other labels."""
    numbers = {}
    for text in set(texts):
        if re.fullmatch(r"-?\d+(\.0+)?", text):
            numbers[text] = int(float(text))
        elif text not in ("", "?", "nan", "NaN", "NA"):
            return {}, []
    nsrr = 5 in numbers.values()
    notes = []
    if 4 in numbers.values():
        meaning = "N3, as 5 occurs" if nsrr else "R, as no 5 occurs"
        notes.append(f"stages are integers; 4 is taken as {meaning}")
    table = _NSRR_CODES if nsrr else _AASM_CODES
    return {text: table.get(number, "?") for text, number in numbers.items()}, notes


def _parse_onset(path: Path, line: int, text: str, start: datetime | None) -> float:
    clock = re.search(r"(\d{1,2}):(\d\d):(\d\d(?:\.\d+)?)\s*$", text)
    if clock is None:
        return _parse_seconds(path, line, text)
    if start is None:
        raise ReadError(
            f"{path}, line {line}: onsets are clock times, but the recording states no start. Give "
            "onsets in seconds from its start."
        )
    hour, minute, second = int(clock[1]), int(clock[2]), float(clock[3])
    onset = timedelta(hours=hour, minutes=minute, seconds=second).total_seconds()
    begin = start.hour * 3600 + start.minute * 60 + start.second + start.microsecond / 1e6
    ahead = (onset - begin) % 86400.0
    # labels of the hour before the start are not a day ahead
    return ahead if ahead < 86400.0 - 3600.0 else ahead - 86400.0


def _parse_duration(
    path: Path, line: int, row: list[str], columns: dict[str, int], onset: float
) -> float | None:
    if "duration" in columns and row[columns["duration"]]:
        return _parse_seconds(path, line, row[columns["duration"]])
    if "end" in columns and "onset" in columns and ":" not in row[columns["end"]]:
        return _parse_seconds(path, line, row[columns["end"]]) - onset
    return None


def _parse_seconds(path: Path, line: int, text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise ReadError(
            f"{path}, line {line}: {text[:40]!r} is not a time; accepted are seconds or HH:MM:SS."
        ) from None
