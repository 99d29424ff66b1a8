# SPDX-License-Identifier: BSD-3-Clause
"""Tables and lists of labels: their columns, units, clocks, scorers and lengths."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from ..errors import ReadError
from ..recordings._notes import Caution
from ..recordings.modality import EPOCH_SECONDS
from ._scoring import (
    DAY,
    LabelContext,
    Scoring,
    ScoringBuilder,
    decode,
    fit_days,
    fit_length,
    next_onsets,
    parse_stage,
)

# fmt: off
_STAGE_NAMES = ("stage", "sleepstage", "stages", "sleepstages", "hypnogram", "stade", "stadium",
                "stadio", "estadio", "fase", "schlafstadium", "schlafphase", "staging")
_TEXT_NAMES = ("label", "labels", "description", "state", "annotation", "event", "type", "value",
               "score", "trialtype")
_COLUMNS = {
    "onset": ("onset", "start", "starttime", "begin", "time", "seconds", "starts", "onsets", "t",
              "timestamp", "datetime", "clocktime", "clock", "begintime", "beginn", "von", "zeit",
              "uhrzeit", "heure", "hora", "ora", "tijd", "debut", "inicio", "inizio", "minutes",
              "hours", "samples", "sample", "ms", "sec", "min"),
    "end": ("end", "stop", "offset", "endtime", "ende", "bis", "fin", "fine"),
    "duration": ("duration", "dur", "length", "durations", "lengths", "dauer", "duree", "durata",
                 "duracion", "duracao", "duur"),
    "epoch": ("epoch", "epochs", "epochnumber", "epochno", "epochid", "epochindex", "epochidx",
              "index", "unnamed", "idx", "nr", "no", "number", "epoche", "epoca", ""),
    "date": ("date", "datum", "fecha", "data"),
    "scorer": ("scorer", "rater", "annotator", "expert", "reader", "technician", "scoredby"),
}
# seconds; samples have no length of their own
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sek", "sekunden", "secondes",
                     "segundos"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "minuten", "minutos"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "stunden", "heures", "horas"), 3600.0),
    **dict.fromkeys(("sample", "samples", "smp", "pts"), 0.0),
}
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%d/%m/%Y",
          "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%Y", "%Y%m%d")
# fmt: on
_SEVERAL = re.compile(r"(stages?|sleepstage|hypno(gram)?|scorer|rater|expert|annotator|scoring).*")
_UNIT_SUFFIX = re.compile(
    rf"(.+?)(?:[\s_.\-]+(?:in[\s_.\-]+)?|(?:in)?(?=[a-z]{{3}}))({'|'.join(_UNITS)})"
)
_CLOCK = re.compile(
    r"(?:(?P<date>\d[\w./-]*\d)(?:T|\s+))?(?P<h>\d{1,3}):(?P<m>[0-5]\d):(?P<s>\d\d(?:[.,:]\d+)?)"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d)?"
)
_STATED_LENGTH = re.compile(
    r"(?:epoch|rate)[\w\s]*[:=]\s*(\d+(?:\.\d+)?)\s*s(?:ec|econds)?\b", re.I
)
_Row = tuple[int, list[str]]


def decode_text(raw: bytes) -> str:
    """Text in UTF-8 or UTF-16, with or without a byte-order mark, else in Windows' Latin-1."""
    head = raw[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace")
    if len(head) > 8 and 8 * max(even, odd) > 3 * len(head) and min(even, odd) < len(head) / 50:
        return raw.decode("utf-16-le" if odd > even else "utf-16-be", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


@dataclass(frozen=True)
class _Column:
    """Where a column is, what its header says, and seconds per unit; 0 for samples."""

    index: int
    title: str
    factor: float | None


def has_stage_column(path: Path) -> bool:
    """Whether a table of any content names a column of stages, or holds unmistakable ones."""
    with path.open("rb") as file:
        text = decode_text(file.read(65536))
    lines = text.splitlines()[:200]
    if any(set(_names_of(_split(line))) & set(_STAGE_NAMES) for line in lines):
        return True
    cells = [cell for line in lines for cell in _split(line)]
    return sum(parse_stage(cell, bare=False) is not None for cell in cells) > 1


def read_table(path: Path, known: LabelContext) -> Scoring:
    """A hypnogram from delimited or plain text.

    A header is optional: without one, three columns are (onset, duration, stage), two are (onset,
    stage) or (epoch, stage), and one, or one line, is a label per epoch. Stages are names, or
    integers, whose coding :func:`decode` finds. Times are numbers in the unit that the header
    states, by default seconds; clock times, with or without dates; or HH:MM:SS from the start.
    """
    rows, stated = _read_rows(path)
    columns, rows = _find_columns(path, rows, known.scorer)
    stage = columns["stage"].index
    texts = [row[stage] for _, row in rows]
    codes, notes = decode(texts, known.coding)
    labels = [parse_stage(codes.get(text, text)) for text in texts]
    others = _find_events(rows, columns)
    build = ScoringBuilder(notes=list(notes))
    start, timed = None, True
    if "onset" in columns:
        onsets, start, factor = _read_onsets(path, rows, columns, known, build.notes)
        is_stage = [
            label is not None and not other for label, other in zip(labels, others, strict=True)
        ]
        durations = _read_durations(path, rows, columns, onsets, factor, np.array(is_stage))
    else:
        unknown = next((i for i, label in enumerate(labels) if label is None), None)
        if unknown is not None:
            raise ReadError(
                f"{path}, line {rows[unknown][0]}: {texts[unknown][:40]!r} is not a sleep stage; "
                "accepted are W, N1, N2, N3, R, REM, ?, movement, or 0 to 5."
            )
        places, timed = np.arange(len(rows)), False
        if "epoch" in columns:
            places, timed = _read_numbers(path, rows, columns["epoch"], build.notes), True
        count = int(places.max()) + 1
        title = re.search(r"(\d+)\s*s", columns["epoch"].title) if "epoch" in columns else None
        length = float(title[1]) if title else stated
        if length is None:
            length, fits = _find_length(path, count, known.duration, timed, build.notes)
            timed = timed or fits
        onsets, durations = places * length, np.full(len(rows), length)
    named = _names_of([columns["stage"].title])[0] not in _TEXT_NAMES
    for onset, duration, label, text, other in zip(
        onsets.tolist(), durations.tolist(), labels, texts, others, strict=True
    ):
        if label is None or other:
            build.add_event(onset, duration, other or text)
            build.unknown.update([text] if named and not other else [])
        else:
            build.add_stage(onset, duration, label)
    return build.build(start, timed=timed)


def _read_rows(path: Path) -> tuple[list[_Row], float | None]:
    """Line number and cells of each row, and the length of an epoch if the file states one."""
    text = decode_text(path.read_bytes())
    if "\x00" in text:
        raise ReadError(f"{path}: not a text file. Accepted are CSV, TSV and plain text.")
    stated = _STATED_LENGTH.search(text[:4096])
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1)]
    lines = [(i, line) for i, line in lines if line and not line.startswith(("#", "%"))]
    header = next((n for n, (_, line) in enumerate(lines[:200]) if _is_header(line)), 0)
    lines = lines[header:]
    while lines and re.match(r"[^\W\d][\w \-]*:(\s|$)", lines[0][1]) and not _is_label(lines[0][1]):
        # what stagers write above their list, such as "Signal Type: Discret"
        lines = lines[1:]
    if not lines:
        raise ReadError(f"{path}: the file is empty. Pass hypnogram=False to go without labels.")
    lines = [(i, re.sub(r"^\[(.*,.*)\]$", r"\1", line)) for i, line in lines]
    delimiter = _delimiter_of(lines[0][1])
    rows = [(i, _split(line, delimiter)) for i, line in lines]
    return _flatten(rows), float(stated[1]) if stated else None


def _delimiter_of(line: str) -> str:
    delimiter = max("\t;,", key=line.count)
    return delimiter if delimiter in line else ""


def _split(line: str, delimiter: str | None = None) -> list[str]:
    """Cells of a line; without a delimiter, spaces part a line that begins with a time."""
    delimiter = _delimiter_of(line) if delimiter is None else delimiter
    if delimiter:
        try:
            # line by line, as a stray quote would swallow the lines that follow
            cells = next(csv.reader([line], delimiter=delimiter))
        except csv.Error:
            cells = line.split(delimiter)
        return [cell.strip().strip("\"'").strip() for cell in cells]
    words = re.sub(r"^(\S*\d[./-]\d\S*)\s+(?=\d{1,2}:)", r"\1T", line).split()
    if len(words) > 3 and all(map(_is_label, words)):
        return words
    if re.match(r"[\dT.:,/-]+\s+\S", " ".join(words)) or line.lower().startswith("onset"):
        return " ".join(words).split(maxsplit=2)
    return [line]


def _is_header(line: str) -> bool:
    names = _names_of(_split(line))
    stage = set(names) & {*_STAGE_NAMES, *_TEXT_NAMES}
    times = {name for kind in ("onset", "epoch", "duration") for name in _COLUMNS[kind]} - {""}
    return len(names) > 1 and bool(stage) and bool(set(names) & times)


def _is_label(text: str) -> bool:
    return parse_stage(text) is not None or re.fullmatch(r"-?\d(\.0+)?", text) is not None


def _flatten(rows: list[_Row]) -> list[_Row]:
    """One label a row, where lines hold labels and nothing else."""
    cells = [cell for _, row in rows for cell in row]
    width = max(len(row) for _, row in rows)
    numeric = any(re.match(r"-?\d", cell) for cell in cells)
    if width == 1 or (numeric and width <= 3) or not all(_is_label(c) for c in cells if c):
        return rows
    return [(line, [cell]) for line, row in rows for cell in row if cell]


def _names_of(cells: Sequence[str]) -> list[str]:
    """Names of columns, without their units, numbers and accents."""
    return [re.sub(r"[^a-z]", "", _split_title(cell)[0]) for cell in cells]


def _split_title(title: str) -> tuple[str, float | None]:
    """Name of a column and the unit of its numbers, in seconds; None if it is not understood."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", title.strip())
    plain = "".join(c for c in unicodedata.normalize("NFD", spaced) if not unicodedata.combining(c))
    lower = plain.lower()
    bracket = re.search(r"[\[(](.*?)[\])]", lower)
    if bracket:
        name = lower[: bracket.start()] + lower[bracket.end() :]
        words = re.findall(r"[a-z]+", bracket[1])
        return name, next((_UNITS[word] for word in words if word in _UNITS), None)
    suffix = None if lower in _UNITS else _UNIT_SUFFIX.fullmatch(lower)
    return (suffix[1], _UNITS[suffix[2]]) if suffix else (lower, _UNITS.get(lower, 1.0))


def _find_columns(
    path: Path, rows: list[_Row], scorer: str | None
) -> tuple[dict[str, _Column], list[_Row]]:
    """Each column by its meaning, and the rows of one scorer without the header, of one width."""
    cells = rows[0][1]
    names = _names_of(cells)
    known = {*_STAGE_NAMES, *_TEXT_NAMES, *(n for names in _COLUMNS.values() for n in names if n)}
    several = any(_SEVERAL.fullmatch(name) for name in names)
    has_header = (bool(set(names) & known) or several) and not all(map(_is_label, cells))
    body = [(line, row + [""] * (len(cells) - len(row))) for line, row in rows[has_header:]]
    if not has_header:
        if scorer is not None:
            raise no_scorer(path, scorer)
        return _bare_columns(body), body
    if not body:
        raise ReadError(
            f"{path}: a header without rows. Pass hypnogram=False to go without labels."
        )
    stage = _pick_stage(path, cells, names, body, scorer)
    columns = {"stage": _Column(stage, cells[stage], None)}
    for meaning, accepted in (*_COLUMNS.items(), ("event", _TEXT_NAMES)):
        ranked = [
            (accepted.index(name), i)
            for i, name in enumerate(names)
            if name in accepted and i != stage and (name or i == 0)
            and not (meaning == "scorer" and cells[i][-1:].isdigit())
        ]  # fmt: skip
        if ranked:
            i = min(ranked)[1]
            columns[meaning] = _Column(i, cells[i], _split_title(cells[i])[1])
    if "scorer" in columns:
        body = _pick_scorer(path, body, columns["scorer"].index, scorer)
    elif scorer is not None and not cells[stage].lower().endswith(scorer.lower()):
        raise no_scorer(path, scorer)
    if not {"onset", "epoch"} & set(columns):
        _refuse_unnamed_times(path, cells, body, stage)
    return columns, body


def _bare_columns(rows: list[_Row]) -> dict[str, _Column]:
    """Columns of rows without a header, by their number."""
    width = len(rows[0][1])
    meanings = {1: ["stage"], 2: ["onset", "stage"]}.get(width, ["onset", "duration", "stage"])
    first = [row[0] for _, row in rows]
    if width == 2 and len(first) > 2 and all(text.isdecimal() for text in first):
        # seconds that count one by one say the same
        meanings[0] = "epoch" if set(np.diff([int(t) for t in first]).tolist()) == {1} else "onset"
    return {meaning: _Column(i, "", 1.0) for i, meaning in enumerate(meanings)}


def _pick_stage(
    path: Path, cells: list[str], names: list[str], rows: list[_Row], scorer: str | None
) -> int:
    """Index of the column of stages; that of the scorer, if several scored."""

    def holds_labels(i: int) -> bool:
        filled = [row[i] for _, row in rows if row[i]]
        return sum(map(_is_label, filled)) > len(filled) / 2

    exact = min(
        (name for name in names if name in _STAGE_NAMES), key=_STAGE_NAMES.index, default=""
    )
    best = [i for i, name in enumerate(names) if exact and name == exact]
    wide = [i for i, name in enumerate(names) if _SEVERAL.fullmatch(name) and holds_labels(i)]
    weak = [i for name in _TEXT_NAMES for i, other in enumerate(names) if other == name]
    best = best or wide or weak[:1]
    if not best:
        raise ReadError(
            f"{path}: no column holds the stage; accepted names are "
            f"{', '.join(_STAGE_NAMES[:5])}, in addition to onset and duration."
        )
    if len(best) == 1:
        return best[0]
    asked = (scorer or "").lower()
    chosen = [i for i in best if asked and cells[i].lower() == asked]
    chosen = chosen or [i for i in best if asked and cells[i].lower().endswith(asked)]
    if len(chosen) != 1:
        raise ReadError(
            f"{path}: {len(best)} columns hold stages, {', '.join(repr(cells[i]) for i in best)}, "
            f"and scorer={scorer!r} names none of them. Pass scorer={cells[best[0]]!r}."
        )
    return chosen[0]


def _pick_scorer(path: Path, rows: list[_Row], index: int, scorer: str | None) -> list[_Row]:
    found = list(dict.fromkeys(row[index] for _, row in rows if row[index]))
    if scorer is None and len(found) < 2:
        return rows
    if scorer not in found:
        raise ReadError(
            f"{path}: scored by {', '.join(map(repr, found[:6]))}, and scorer={scorer!r} names "
            f"none of them. Pass scorer={found[0] if found else ''!r}."
        )
    return [(line, row) for line, row in rows if row[index] == scorer]


def no_scorer(path: Path, scorer: str) -> ReadError:
    return ReadError(f"{path}: names no scorers, got scorer={scorer!r}. Leave scorer out.")


def _refuse_unnamed_times(path: Path, cells: list[str], rows: list[_Row], stage: int) -> None:
    """Raise if a column that rises row by row may hold the times, as its name is not known."""
    for i, title in enumerate(cells):
        texts = [row[i] for _, row in rows]
        if i == stage or len(texts) < 3 or not all(re.fullmatch(r"[\d.:,]+", t) for t in texts):
            continue
        values = [float(re.sub(r"[:,]", "", text) or 0) for text in texts if text.count(".") < 2]
        if len(values) == len(texts) and (np.diff(values) > 0).all():
            raise ReadError(
                f"{path}: the column {title!r} may hold the times of the labels, but its name is "
                "not known. Call it 'onset' if it counts seconds, 'onset_ms', 'epoch', or drop it."
            )


def _find_events(rows: list[_Row], columns: dict[str, _Column]) -> list[str]:
    """Text of the rows that are events in spite of their stage, by a second column of labels."""
    if "event" not in columns:
        return [""] * len(rows)
    texts = [row[columns["event"].index] for _, row in rows]
    named = [parse_stage(text, bare=False) is not None for text in texts]
    return [
        text if any(named) and not stage else "" for text, stage in zip(texts, named, strict=True)
    ]


def _read_numbers(path: Path, rows: list[_Row], column: _Column, notes: list[str]) -> np.ndarray:
    """Places of epochs by their numbers, which count from 0 or 1."""
    numbers = np.array([_to_number(path, line, row[column.index]) for line, row in rows])
    _, counts = np.unique(numbers, return_counts=True)
    if (numbers % 1).any() or numbers.min() < 0 or counts.max() > 1:
        raise ReadError(
            f"{path}: {column.title!r} has {'repeated' if counts.max() > 1 else 'other'} numbers; "
            "accepted is each epoch once, counted from 0 or 1. If two scorers share the table, "
            "give a column 'scorer' and pass scorer=."
        )
    base = min(int(numbers.min()), 1)
    if numbers.min() > 1:
        notes.append(f"epochs are numbered from {numbers.min():g} on; 1 is taken as the first")
    return (numbers - base).astype(int)


def _find_length(
    path: Path, count: int, duration: float | None, numbered: bool, notes: list[str]
) -> tuple[float, bool]:
    """Seconds of each label of a list, and whether the list then fills the recording."""
    usual = float(EPOCH_SECONDS)
    if duration is None or (numbered and count * usual < duration + usual):
        return usual, False
    length = fit_length(count, duration)
    if length is None and count * usual > 1.05 * duration + usual:
        raise ReadError(
            f"{path}: {count:,} labels for {duration:g} s of signal are epochs of no usual length "
            "(30, 20, 15, 10, 5, 4, 3, 2, 1 or 0.5 s). State the times of the labels as a table "
            "with the columns onset, duration and stage, in seconds."
        )
    if length is None or length == usual:
        return usual, length is not None
    text = f"{count:,} labels fill {duration:g} s of signal: each is taken to last {length:g} s"
    notes.append(Caution(text, "labels are taken to last 60 s") if length > usual else text)
    return length, True


def _to_number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ReadError(
            f"{path}, line {line}: {text[:40]!r} is not a time; accepted are seconds or HH:MM:SS."
        )
    return value


def _read_onsets(
    path: Path, rows: list[_Row], columns: dict[str, _Column], known: LabelContext,
    notes: list[str],
) -> tuple[np.ndarray, datetime | None, float]:  # fmt: skip
    """Onsets in seconds, the clock time they count from if not the recording's, and the unit."""
    column = columns["onset"]
    texts = [row[column.index] for _, row in rows]
    if "date" in columns:
        day = columns["date"].index
        texts = [f"{row[day]} {text}".strip() if re.match(r"\d{1,3}:", text) else text
                 for text, (_, row) in zip(texts, rows, strict=True)]  # fmt: skip
    matches = [match for text in texts if (match := _CLOCK.fullmatch(text))]
    if not matches:
        values = np.array([_to_number(path, line, row[column.index]) for line, row in rows])
        factor = _factor_of(path, column, values, known)
        return _rebase(values * factor, known, notes), None, factor
    odd = next((i for i, text in enumerate(texts) if not _CLOCK.fullmatch(text)), None)
    if odd is not None:
        _to_number(path, rows[odd][0], "?" + texts[odd])
    seconds = _seconds_of(matches)
    days = _read_dates(path, [match["date"] for match in matches], known.start)
    if days is None:
        onsets = _place_clock(path, rows[0][0], seconds, known, notes)
        return _undo_clock_change(onsets, known.duration, notes), None, 1.0
    seconds += days * DAY
    first = float(seconds.min())
    if known.start is None:
        start = datetime.fromordinal(int(first // DAY)) + timedelta(seconds=first % DAY)
        return _undo_clock_change(seconds - first, None, notes), start, 1.0
    onsets = seconds - known.start.toordinal() * DAY - _second_of_day(known.start)
    shift = fit_days(float(onsets.min()), float(onsets.max()), known.duration)
    if shift:
        notes.append("the dates of labels and signals differ; aligned by the time of day")
    return _undo_clock_change(onsets + shift * DAY, known.duration, notes), None, 1.0


def _second_of_day(time: datetime) -> float:
    return time.hour * 3600 + time.minute * 60 + time.second + time.microsecond / 1e6


def _seconds_of(matches: Sequence[re.Match[str]]) -> np.ndarray:
    """Seconds of the day; where zones are stated, by the clock of the first."""
    seconds = np.empty(len(matches))
    zones = np.zeros(len(matches))
    for i, match in enumerate(matches):
        hour = int(match["h"])
        if match["half"]:
            hour = hour % 12 + 12 * (match["half"][0] in "pP")
        seconds[i] = hour * 3600 + int(match["m"]) * 60 + float(re.sub("[,:]", ".", match["s"]))
        zone = re.fullmatch(r"([+-])(\d\d):?(\d\d)", match["zone"] or "")
        if zone:
            zones[i] = float(f"{zone[1]}1") * (int(zone[2]) * 3600 + int(zone[3]) * 60)
    return seconds - (zones - zones[0])


def _read_dates(
    path: Path, texts: Sequence[str | None], start: datetime | None
) -> np.ndarray | None:
    """Day numbers of dates, in the format that all have and that is nearest to the recording."""
    unique = {text for text in texts if text is not None}
    if not unique or None in texts:
        return None
    fitting: list[dict[str | None, date]] = []
    for form in _DATES:
        try:
            fitting.append({text: datetime.strptime(text, form).date() for text in unique})
        except ValueError:
            continue
    if not fitting:
        raise ReadError(
            f"{path}: the date {min(unique)!r} is not understood; accepted are 2020-12-31, "
            "31.12.2020, 31/12/2020 and 12/31/2020."
        )

    def distance(days: dict[str | None, date]) -> int:
        return 0 if start is None else abs(days[texts[0]] - start.date()).days

    days = min(fitting, key=distance)
    return np.array([days[text].toordinal() for text in texts], dtype=float)


def _place_clock(
    path: Path, line: int, seconds: np.ndarray, known: LabelContext, notes: list[str]
) -> np.ndarray:
    """Onsets of HH:MM:SS, of the clock or since the start: whichever fits the recording."""
    elapsed, from_zero = _unroll(seconds), seconds.min() < 60
    if known.start is None:
        if from_zero:
            notes.append("times count from the start, as they begin at 00:00:00")
            return elapsed
        raise ReadError(
            f"{path}, line {line}: onsets are clock times, but the recording states no start. Give "
            "onsets in seconds from its start."
        )
    clock = (seconds - _second_of_day(known.start)) % DAY
    # labels of the hour before the start are not a day ahead
    clock = np.where(clock >= DAY - 3600.0, clock - DAY, clock)
    inside = [1.0, 1.0]
    if known.duration is not None:
        clock = _unroll(clock) if known.duration > DAY - 3600.0 else clock
        inside = [_share_inside(times, known.duration) for times in (clock, elapsed)]
    if abs(inside[0] - inside[1]) > 0.02:
        as_clock = inside[0] > inside[1]
    else:
        as_clock = not from_zero or bool(abs(clock.min()) < 60)
        if not as_clock and inside[1] > 0:
            text = "times from 00:00:00 on are taken to count from the start"
            kind = f"{text}, though they may be clock times"
            notes.append(Caution(f"{text}, though they fit as clock times as well", kind))
            return elapsed
    if not as_clock:
        notes.append("times count from the start, as only then they lie in the recording")
    return clock if as_clock else elapsed


def _share_inside(onsets: np.ndarray, duration: float) -> float:
    return float(((onsets > -60.0) & (onsets < duration)).mean())


def _unroll(seconds: np.ndarray) -> np.ndarray:
    """Times of the day as times that go on, row by row, past midnight."""
    return seconds + DAY * np.cumsum(np.diff(seconds, prepend=seconds[0]) < -DAY / 2)


def _undo_clock_change(onsets: np.ndarray, duration: float | None, notes: list[str]) -> np.ndarray:
    """Seconds that elapsed, where the clock is set by an hour and the labels then fit."""
    steps = np.diff(onsets)
    for places, hour in ((steps < 0, 3600.0), ((steps >= 3600) & (steps < 4200), -3600.0)):
        if (
            duration is None
            or places.sum() != 1
            or (hour > 0 and not -hour <= steps.min() <= -3000)
        ):
            continue
        moved = onsets + hour * (np.arange(len(onsets)) > int(places.argmax()))
        if moved.max() < duration and (hour > 0 or onsets.max() >= duration):
            notes.append(f"the clock of the labels is set by {-hour:+g} s within the night")
            return moved
    return onsets


def _factor_of(path: Path, column: _Column, values: np.ndarray, known: LabelContext) -> float:
    """Seconds per unit of a column; for samples by the rate at which epochs fill the recording."""
    if column.factor is None:
        raise ReadError(
            f"{path}: the unit of the column {column.title!r} is not known; accepted are s, ms, "
            "min, h and samples. Give seconds, or name the unit in the header."
        )
    if column.factor:
        return column.factor
    steps = np.diff(np.unique(values))
    for length in (30.0, 20.0, 15.0, 10.0, 5.0):
        rate = steps.min(initial=np.inf) / length
        end = float(values.max()) / rate + length
        if known.duration and 1 <= rate < 1e5 and rate % 1 == 0 and abs(end - known.duration) <= 60:
            return float(1.0 / rate)
    raise ReadError(
        f"{path}: the column {column.title!r} counts samples, and no rate of them makes epochs "
        "that fill the recording. Give the onsets in seconds."
    )


def _rebase(onsets: np.ndarray, known: LabelContext, notes: list[str]) -> np.ndarray:
    """Onsets that lie outside the signals, but not if they count from midnight or from 1970."""
    if known.start is None or known.duration is None:
        return onsets
    epoch = (known.start - datetime(1970, 1, 1)).total_seconds()
    for zero, name in ((0.0, ""), (_second_of_day(known.start), "midnight"), (epoch, "1970")):
        moved = onsets - zero
        if _share_inside(moved, known.duration) >= 0.5:
            if zero:
                text = f"onsets are taken as seconds since {name}, as only then they fit"
                notes.append(Caution(text, text))
            return moved
    return onsets


def _read_durations(
    path: Path, rows: list[_Row], columns: dict[str, _Column], onsets: np.ndarray,
    factor: float, is_stage: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Seconds that each row lasts; a stage without a length lasts until the next."""
    durations = np.zeros(len(rows))
    for meaning in ("duration", "end"):
        column = columns.get(meaning)
        if column is None or durations.any():
            continue
        if column.factor == 0.0 and columns["onset"].factor == 0.0:
            unit = factor
        else:
            unit = column.factor or _factor_of(path, column, onsets, LabelContext())
        for i, (line, row) in enumerate(rows):
            text = row[column.index]
            clock = _CLOCK.fullmatch(text)
            if meaning == "duration" and text:
                plain = _seconds_of([clock])[0] if clock else _to_number(path, line, text) * unit
                durations[i] = plain
            elif text and not clock:
                durations[i] = _to_number(path, line, text) * unit - onsets[i]
            if durations[i] < 0:
                raise ReadError(
                    f"{path}, line {line}: lasts {durations[i]:g} s; accepted is a length of 0 s "
                    "or more. Check the columns of onset, duration and end."
                )
    empty = is_stage & (durations == 0)
    durations[empty] = (next_onsets(onsets[is_stage]) - onsets[is_stage])[empty[is_stage]]
    return durations
