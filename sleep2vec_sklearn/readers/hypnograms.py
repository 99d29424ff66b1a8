# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms and events from EDF+ annotations, NSRR XML, tables and plain lists."""

from __future__ import annotations

import csv
import re
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

from ..errors import ReadError
from ..recordings import EPOCH_SECONDS
from ._edf_header import quiet_edfio, read_header
from ._scoring import MOVEMENT, Scoring, ScoringBuilder, parse_stage

__all__ = [
    "read_scoring",
    "read_table",
]

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


_COLUMNS = {
    "onset": ("onset", "start", "starttime", "begin", "time", "seconds", "starts", "onsets", "t"),
    "end": ("end", "stop", "offset", "endtime"),
    "duration": ("duration", "dur", "length", "durations", "lengths"),
    "stage": (
        "stage",
        "sleepstage",
        "stages",
        "label",
        "hypnogram",
        "description",
        "state",
        "annotation",
        "event",
        "type",
        "value",
        "score",
        "stade",
        "schlafstadium",
    ),
    "epoch": ("epoch", "epochs", "epochnumber", "epochno"),
}
_CODED = {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "R"}
_CODED_NSRR = {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "N3", 5: "R", 6: MOVEMENT}


def read_table(path: Path, start: datetime | None = None) -> Scoring:
    """Read a hypnogram from delimited or plain text.

    A header is optional: without one, three columns are (onset, duration, stage), two are (onset,
    stage), and one is a label per 30-s epoch. Stages are names, or integers: 0 W, 1 N1, 2 N2, 3
    N3 and 4 R, unless a 5 occurs; then 4 is stage 4 (N3) and 5 is R, as in NSRR files.

    Parameters
    ----------
    path : Path
        The file.
    start : datetime, optional
        Clock time of the recording, for onsets such as ``23:14:30``.

    Raises
    ------
    ReadError
        If a row is not understood; names the line.
    """
    rows = _read_rows(path)
    columns, rows = _columns(rows)
    if "stage" not in columns:
        raise ReadError(
            f"{path}: no column holds the stage; accepted names are "
            f"{', '.join(_COLUMNS['stage'][:6])}, beside onset and duration."
        )
    texts = [row[columns["stage"]] for _, row in rows]
    codes, notes = _codes(texts)
    build = ScoringBuilder()
    timed = "onset" in columns
    for i, (line, row) in enumerate(rows):
        text = texts[i]
        stage = parse_stage(codes.get(text, text))
        onset = _onset(path, line, row, columns, start) if timed else i * float(EPOCH_SECONDS)
        duration = _duration(path, line, row, columns, onset)
        if duration is None:
            later = next((r for r in rows[i + 1 : i + 2]), None) if timed else None
            duration = float(EPOCH_SECONDS)
            if later is not None:
                duration = max(_onset(path, *later, columns, start) - onset, 0.0)
        if stage is not None:
            build.add_stage(onset, duration, stage)
        elif timed:
            build.add_event(onset, duration, text)
        else:
            raise ReadError(
                f"{path}, line {line}: {text[:40]!r} is not a sleep stage; accepted are W, N1, N2, "
                "N3, R, REM, ?, movement, or 0 to 5."
            )
    return build.build(notes=notes)


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    raw = path.read_bytes()
    if b"\x00" in raw[:4096]:
        raise ReadError(
            f"{path}: not a text file. Accepted are CSV, TSV and plain text hypnograms."
        )
    text = raw.decode("utf-8-sig", errors="replace")
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1)]
    lines = [(i, line) for i, line in lines if line and not line.startswith(("#", "%"))]
    if not lines:
        raise ReadError(f"{path}: the file is empty. Pass hypnogram=False to go without labels.")
    delimiter = max("\t;,", key=lines[0][1].count)
    if delimiter not in lines[0][1]:
        timed = re.match(r"[\d.]+\s+\S", lines[0][1]) or lines[0][1].lower().startswith("onset")
        split = (lambda line: line.split(maxsplit=2)) if timed else (lambda line: [line])
        return [(i, split(line)) for i, line in lines]
    return [(i, _cells(line, delimiter)) for i, line in lines]


def _cells(line: str, delimiter: str) -> list[str]:
    # line by line, as a stray quote would swallow the lines that follow
    (row,) = csv.reader([line], delimiter=delimiter)
    return [cell.strip() for cell in row]


def _columns(rows) -> tuple[dict[str, int], list]:
    header = [re.sub(r"\[.*?\]|\(.*?\)|[^a-z]", "", cell.lower()) for cell in rows[0][1]]
    header = [re.sub(r"(?<=.)(insec|seconds?|secs?)$", "", cell) for cell in header]
    columns: dict[str, int] = {}
    for key, names in _COLUMNS.items():
        places = [(names.index(cell), i) for i, cell in enumerate(header) if cell in names]
        if places:
            columns[key] = min(places)[1]
    if columns and (len(header) > 1 or parse_stage(rows[0][1][0]) is None):
        width = len(header)
        return columns, [(line, row + [""] * (width - len(row))) for line, row in rows[1:]]
    width = len(rows[0][1])
    if width == 1:
        return {"stage": 0}, rows
    rows = [(line, row + [""] * (width - len(row))) for line, row in rows]
    return {"onset": 0, "stage": 1} if width == 2 else {"onset": 0, "duration": 1, "stage": 2}, rows


def _codes(texts: list[str]) -> tuple[dict[str, str], list[str]]:
    """Decide what bare integers mean; only a file made of them alone uses this coding."""
    numbers = {}
    for text in set(texts):
        if re.fullmatch(r"-?\d+(\.0+)?", text):
            numbers[text] = int(float(text))
        elif text not in ("", "?", "nan", "NaN", "NA"):
            return {}, []
    if not numbers:
        return {}, []
    table = _CODED_NSRR if 5 in numbers.values() else _CODED
    notes = []
    if 4 in numbers.values():
        meaning = "N3, as 5 occurs" if table is _CODED_NSRR else "R, as no 5 occurs"
        notes.append(f"stages are integers; 4 is taken as {meaning}")
    return {text: table.get(number, "?") for text, number in numbers.items()}, notes


def _number(path: Path, line: int, text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise ReadError(
            f"{path}, line {line}: {text[:40]!r} is not a time; accepted are seconds or HH:MM:SS."
        ) from None


def _onset(path: Path, line: int, row, columns, start: datetime | None) -> float:
    text = row[columns["onset"]]
    clock = re.search(r"(\d{1,2}):(\d\d):(\d\d(?:\.\d+)?)\s*$", text)
    if clock is None:
        return _number(path, line, text)
    seconds = timedelta(
        hours=int(clock[1]), minutes=int(clock[2]), seconds=float(clock[3])
    ).total_seconds()
    if start is None:
        raise ReadError(
            f"{path}, line {line}: onsets are clock times, but the recording states no start. Give "
            "onsets in seconds from its start."
        )
    begin = start.hour * 3600 + start.minute * 60 + start.second + start.microsecond / 1e6
    ahead = (seconds - begin) % 86400.0
    return ahead if ahead < 86400.0 - 3600.0 else ahead - 86400.0


def _duration(path: Path, line: int, row, columns, onset: float) -> float | None:
    if "duration" in columns and row[columns["duration"]]:
        return _number(path, line, row[columns["duration"]])
    if "end" in columns and "onset" in columns and ":" not in row[columns["end"]]:
        return _number(path, line, row[columns["end"]]) - onset
    return None
