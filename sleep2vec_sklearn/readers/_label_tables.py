# SPDX-License-Identifier: BSD-3-Clause
"""Tables and lists of labels: their columns, units, clocks, scorers and lengths."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from ..errors import ReadError
from ..recordings._event_names import EventNames
from ..recordings._notes import Caution
from ..recordings.modality import EPOCH_SECONDS
from ._scoring import (
    DATES_DIFFER,
    DAY,
    INTEGER,
    LabelContext,
    Scoring,
    ScoringBuilder,
    decode,
    fill_lengths,
    fit_days,
    fit_length,
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
              "uhrzeit", "heure", "hora", "ora", "tijd", "debut", "inicio", "inizio", "samples",
              "sample"),
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
_KNOWN = {*_STAGE_NAMES, *_TEXT_NAMES, *(n for names in _COLUMNS.values() for n in names)} - {""}
_SEVERAL = re.compile(r"(stages?|sleepstage|hypno(gram)?|scorer|rater|expert|annotator|scoring).*")
_OF_STAGES = re.compile(r"stage|sleepstage|hypno")
_UNIT_SUFFIX = re.compile(
    rf"(.+?)(?:[\s_.\-]+(?:in[\s_.\-]+)?|(?:in)?(?=[a-z]{{3}}))({'|'.join(_UNITS)})"
)
_CLOCK = re.compile(
    r"(?:(?P<days>\d+) days?\s+|(?P<date>\d[\w./-]*\d)(?:T|\s+))?"
    r"(?P<h>\d{1,3}):(?P<m>[0-5]\d):(?P<s>\d\d(?:[.,:]\d+)?)"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d)?"
)
_STATED_LENGTH = re.compile(
    r"(?:epoch|rate)[\w\s]*[:=]\s*(\d+(?:\.\d+)?)\s*s(?:ec|econds)?\b", re.IGNORECASE
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


def has_stage_column(path: Path) -> bool:
    """Whether a table of any content names a column of stages, or holds unmistakable ones."""
    with path.open("rb") as file:
        text = decode_text(file.read(65536))
    lines = text.splitlines()[:200]
    rows = [_split(line) for line in lines]
    cells = [cell for row in rows for cell in row]
    if _lists_events(rows):
        return False
    if any(_name_of(cell) in _STAGE_NAMES for cell in cells) or _has_scorers_stages(rows):
        return True
    return sum(parse_stage(cell, bare=False) is not None for cell in cells) > 1


def _lists_events(rows: list[list[str]]) -> bool:
    """Whether most rows name a scored event, so that stages beside it are those it fell in."""
    for n, row in enumerate(rows):
        places = [i for i, cell in enumerate(row) if _name_of(cell) in _TEXT_NAMES]
        if places:
            texts = [" ".join(row[i] for i in places if i < len(row)) for row in rows[n + 1 :]]
            names = EventNames()
            scored = ~(names.unknown(texts) | names.marks(texts))
            # a row without an event is one of a stage
            stages = [not text or parse_stage(text, bare=False) is not None for text in texts]
            return 2 * int(scored.sum()) > len(texts) and not any(stages)
    return False


def _has_scorers_stages(rows: list[list[str]]) -> bool:
    """Whether a column beside times is one scorer's, such as 'stage_hum', and holds stages."""
    for n, row in enumerate(rows):
        names = [_name_of(cell) for cell in row]
        if not {*_COLUMNS["onset"], *_COLUMNS["epoch"]} - {""} & set(names):
            continue
        for i, name in enumerate(names):
            texts = [below[i] for below in rows[n + 1 :] if i < len(below) and below[i]]
            # a digit below 'expert' may be the number of one
            accepted = _is_label if _OF_STAGES.match(name) else _is_stage_word
            if _SEVERAL.fullmatch(name) and 2 * sum(map(accepted, texts)) > len(texts):
                return True
        return False
    return False


def read_table(path: Path, known: LabelContext) -> Scoring:
    """A hypnogram from delimited or plain text.

    A header is optional: without one, three columns are (onset, duration, stage), two are (onset,
    stage) or (epoch, stage), and one, or one line, is a label per epoch. Stages are names, or
    integers, whose coding :func:`decode` finds. Times are numbers in the unit that the header
    states, by default seconds; clock times, with or without dates; or HH:MM:SS from the start.
    """
    rows, stated = _read_rows(path)
    table = _find_columns(path, rows, known)
    texts = table.cells("stage")
    codes, notes = decode(texts, known.coding)
    table.notes.extend(notes)
    labels = [parse_stage(codes.get(text, text)) for text in texts]
    events = table.find_events()
    is_stage = np.array([b is not None and not e for b, e in zip(labels, events, strict=True)])
    named = _name_of(table.columns["stage"].title) not in _TEXT_NAMES
    start, timed = None, True
    if "onset" in table.columns:
        onsets, start, factor = table.read_onsets()
        durations = table.read_durations(onsets, factor)
        # a word that is no stage, but where one is due, ends the stage before it
        step = np.diff(np.unique(onsets[is_stage])).min(initial=EPOCH_SECONDS)
        on_grid = (onsets - onsets[is_stage].min(initial=onsets.max())) % step < 0.01
        due = is_stage | (np.array([named and not event for event in events]) & on_grid)
        lengths = np.zeros(len(onsets))
        lengths[due] = fill_lengths(onsets[due], [labels[i] for i in np.flatnonzero(due)])
        durations = np.where(durations > 0, durations, lengths)
    else:
        if not is_stage.all():
            i = int(is_stage.argmin())
            accepted = "is not a sleep stage; accepted are W, N1, N2, N3, R, REM, ?, movement, or 0"
            raise table.error(i, f"{texts[i][:40]!r} {accepted} to 5.")
        onsets, durations, timed = table.place_epochs(stated)
    build = ScoringBuilder(notes=table.notes)
    columns = (onsets.tolist(), durations.tolist(), labels, texts, events)
    for onset, duration, label, text, event in zip(*columns, strict=True):
        if label is not None and not event:
            build.add_stage(onset, duration, label)
            continue
        if named and not event and duration >= 10 and duration % 5 == 0:
            build.unknown[text] += 1
            build.events.append((onset, duration, text))
        else:
            build.add_event(onset, duration, event or text)
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
    names = {_name_of(cell) for cell in _split(line)} - {""}
    times = {name for kind in ("onset", "epoch", "duration") for name in _COLUMNS[kind]}
    return bool(names & {*_STAGE_NAMES, *_TEXT_NAMES}) and bool(names & times)


def _is_label(text: str) -> bool:
    if parse_stage(text) is not None:
        return True
    return INTEGER.fullmatch(text) is not None and abs(float(text)) < 10


def _is_stage_word(text: str) -> bool:
    return parse_stage(text) is not None and not INTEGER.fullmatch(text)


def _flatten(rows: list[_Row]) -> list[_Row]:
    """One label a row, where lines hold labels and nothing else."""
    cells = [cell for _, row in rows for cell in row]
    width = max(len(row) for _, row in rows)
    numeric = any(re.match(r"-?\d", cell) for cell in cells)
    if width == 1 or (numeric and width <= 3) or not all(_is_label(c) for c in cells if c):
        return rows
    return [(line, [cell]) for line, row in rows for cell in row if cell]


def _name_of(title: str) -> str:
    """Name of a column, without its unit, numbers and accents."""
    return re.sub(r"[^a-z]", "", _split_title(title)[0])


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


@dataclass(frozen=True)
class _Column:
    """Where a column is, what its header says, and seconds per unit; 0 for samples."""

    index: int
    title: str
    factor: float | None = 1.0


@dataclass(frozen=True)
class _Table:
    """Rows of a file by the meaning of their columns, the recording, and notes on the reading."""

    path: Path
    rows: list[_Row]
    columns: dict[str, _Column]
    known: LabelContext
    notes: list[str] = field(default_factory=list)

    def cells(self, meaning: str) -> list[str]:
        return [row[self.columns[meaning].index] for _, row in self.rows]

    def error(self, i: int, text: str) -> ReadError:
        return ReadError(f"{self.path}, line {self.rows[i][0]}: {text}")

    def numbers(self, meaning: str) -> np.ndarray:
        """Numbers of a column; an error names the first row without one."""
        return np.array([self._number(i, text) for i, text in enumerate(self.cells(meaning))])

    def _number(self, i: int, text: str) -> float:
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise self.error(i, f"{text[:40]!r} is not a time; accepted are seconds or HH:MM:SS.")
        return value

    def find_events(self) -> list[str]:
        """Text of rows that are events in spite of their stage, by a second column of labels."""
        texts = self.cells("event") if "event" in self.columns else []
        named = [parse_stage(text, bare=False) is not None for text in texts]
        if not any(named):
            return [""] * len(self.rows)
        return ["" if stage else text for text, stage in zip(texts, named, strict=True)]

    def place_epochs(self, length: float | None) -> tuple[np.ndarray, np.ndarray, bool]:
        """Onsets and lengths of epochs, by number or one after the other, and if that is sure."""
        numbered = "epoch" in self.columns
        places = self._number_epochs() if numbered else np.arange(len(self.rows))
        title = re.search(r"(\d+)\s*s", self.columns["epoch"].title) if numbered else None
        length, sure = float(title[1]) if title else length, numbered
        count, duration, usual = int(places.max()) + 1, self.known.duration, float(EPOCH_SECONDS)
        if length is None and duration and not (numbered and count * usual < duration + usual):
            self._refuse_unknown_first(places, duration)
            length = fit_length(count, duration) if places.min() == 0 else None
            sure = sure or length is not None
            if length is None and count * usual > 1.05 * duration + usual:
                raise ReadError(
                    f"{self.path}: {count:,} labels for {duration:g} s of signal are epochs of no "
                    "usual length (30, 20, 15, 10, 5, 4, 3, 2, 1 or 0.5 s). State the times of the "
                    "labels as a table with the columns onset, duration and stage, in seconds."
                )
            if length not in (None, usual):
                text = f"{count:,} labels fill {duration:g} s of signal: each lasts {length:g} s"
                longer = Caution(text, "labels are taken to last 60 s")
                self.notes.append(longer if length > usual else text)
        length = length or usual
        return places * length, np.full(len(places), length), sure

    def _refuse_unknown_first(self, places: np.ndarray, duration: float) -> None:
        """Raise if numbers from above 1 go on past the signals, which may be cut from a night."""
        first, last = int(places.min()) + 1, int(places.max()) + 1
        unclear = fit_length(len(places), duration) or last * EPOCH_SECONDS > 1.05 * duration + 30
        if first > 1 and unclear:
            raise ReadError(
                f"{self.path}: the labels are numbered {first:,} to {last:,}, the signals have "
                f"{int(duration / EPOCH_SECONDS):,} epochs of 30 s; which is the first? Number the "
                "epochs from 1 at the start of the signals, or give a column 'onset' in seconds."
            )

    def _number_epochs(self) -> np.ndarray:
        """Places of epochs by their numbers, which count from 0 or 1."""
        numbers = self.numbers("epoch")
        if (numbers % 1).any() or numbers.min() < 0 or len(np.unique(numbers)) < len(numbers):
            raise ReadError(
                f"{self.path}: the numbers of {self.columns['epoch'].title!r} repeat or are not "
                "whole; accepted is each epoch once, counted from 0 or 1. If two scorers share the "
                "table, give a column 'scorer' and pass scorer=."
            )
        if numbers.min() > 1:
            text = f"epochs are numbered from {numbers.min():g} on; 1 is taken as the first"
            self.notes.append(text)
        return (numbers - min(numbers.min(), 1)).astype(int)

    def read_onsets(self) -> tuple[np.ndarray, datetime | None, float]:
        """Onsets in seconds, the clock they count from if not the recording's, and the unit."""
        texts, start, duration = self.cells("onset"), self.known.start, self.known.duration
        if "date" in self.columns:
            texts = [f"{day} {text}".strip() if re.match(r"\d{1,3}:", text) else text
                     for day, text in zip(self.cells("date"), texts, strict=True)]  # fmt: skip
        found = [_CLOCK.fullmatch(text) for text in texts]
        if not any(found):
            values = self.numbers("onset")
            factor = self._factor_of(self.columns["onset"], values)
            return self._rebase(values * factor), None, factor
        matches = [match for match in found if match]
        if len(matches) < len(found):
            i = found.index(None)
            raise self.error(i, f"{texts[i][:40]!r} is not a time like those of the other rows.")
        seconds, days = _seconds_of(matches), self._read_dates([m["date"] for m in matches])
        if days is not None and len(set(days)) == 1:
            # some write the date of the evening past midnight as well
            seconds = _unroll(seconds)
        if days is None:
            onsets = self._place_clock(seconds)
        elif start is None:
            seconds = seconds + days * DAY
            first = float(seconds.min())
            start = datetime.fromordinal(int(first // DAY)) + timedelta(seconds=first % DAY)
            return seconds - first, start, 1.0
        else:
            onsets = seconds + (days - start.toordinal()) * DAY - _second_of_day(start)
            shift = fit_days(float(onsets.min()), float(onsets.max()), duration)
            onsets += shift * DAY
            if shift:
                self.notes.append(DATES_DIFFER)
        return self._undo_clock_change(onsets), None, 1.0

    def _read_dates(self, texts: Sequence[str | None]) -> np.ndarray | None:
        """Day numbers of dates, in the format that all have and that is nearest the recording."""
        dates = {text for text in texts if text}
        if not dates or None in texts:
            return None
        fitting: list[dict[str | None, int]] = []
        for form in _DATES:
            with suppress(ValueError):
                fitting.append({t: datetime.strptime(t, form).toordinal() for t in dates})
        if not fitting:
            raise ReadError(
                f"{self.path}: the date {min(dates)!r} is not understood; accepted are 2020-12-31, "
                "31.12.2020, 31/12/2020 and 12/31/2020. Write them in one of these ways."
            )
        day = self.known.start.toordinal() if self.known.start else None
        days = min(fitting, key=lambda f: abs(f[texts[0]] - day) if day else 0)
        return np.array([days[text] for text in texts], dtype=float)

    def _place_clock(self, seconds: np.ndarray) -> np.ndarray:
        """Onsets of HH:MM:SS, of the clock or since the start: whichever fits the recording."""
        elapsed, from_zero = _unroll(seconds), bool(seconds.min() < 60)
        if self.known.start is None and not from_zero:
            raise self.error(
                0, "onsets are clock times, but the recording states no start. Give onsets in "
                "seconds from its start."
            )  # fmt: skip
        if self.known.start is None:
            self.notes.append("times count from the start, as they begin at 00:00:00")
            return elapsed
        clock = (seconds - _second_of_day(self.known.start)) % DAY
        # labels of the hour before the start are not a day ahead
        clock = np.where(clock >= DAY - 3600.0, clock - DAY, clock)
        duration = self.known.duration
        if duration is not None and duration > DAY - 3600.0:
            clock = _unroll(clock)
        gain = _share_inside(elapsed, duration) - _share_inside(clock, duration)
        if gain < -0.02 or (gain <= 0.02 and (not from_zero or abs(clock.min()) < 60)):
            return clock
        text = "times from 00:00:00 on are taken to count from the start"
        if gain <= 0.02:
            text = Caution(f"{text}, though they fit as clock times as well", text)
        self.notes.append(text)
        return elapsed

    def _undo_clock_change(self, onsets: np.ndarray) -> np.ndarray:
        """Seconds that elapsed, where the clock is set by an hour and the labels then fit."""
        steps, end = np.diff(onsets), self.known.duration or 0.0
        back, ahead = steps < 0, (steps >= 3600) & (steps < 4200)
        if back.sum() == 1 and -3600 <= steps.min() <= -3000:
            moved = onsets + 3600.0 * (np.arange(len(onsets)) > back.argmax())
        elif ahead.sum() == 1 and onsets.max() >= end:
            moved = onsets - 3600.0 * (np.arange(len(onsets)) > ahead.argmax())
        else:
            return onsets
        if moved.max() >= end:
            return onsets
        self.notes.append("the clock of the labels is set by an hour within the night")
        return moved

    def _factor_of(self, column: _Column, values: np.ndarray) -> float:
        """Seconds per unit; for samples by the rate at which epochs fill the recording."""
        if column.factor:
            return column.factor
        if column.factor is None:
            raise ReadError(
                f"{self.path}: the unit of the column {column.title!r} is not known; accepted are "
                "s, ms, min, h and samples. Give seconds, or name the unit in the header."
            )
        step = np.diff(np.unique(values)).min(initial=np.inf)
        for length in (30.0, 20.0, 15.0, 10.0, 5.0):
            rate = step / length
            end = float(values.max()) / rate + length
            fits = abs(end - (self.known.duration or 0.0)) <= 60
            if fits and 1 <= rate < 1e5 and rate % 1 == 0:
                return float(1.0 / rate)
        raise ReadError(
            f"{self.path}: the column {column.title!r} counts samples, and no rate of them makes "
            "epochs that fill the recording. Give the onsets in seconds."
        )

    def _rebase(self, onsets: np.ndarray) -> np.ndarray:
        """Onsets from the start; if most lie outside, but not from midnight or 1970, from there."""
        start, duration = self.known.start, self.known.duration
        if start is None or duration is None or _share_inside(onsets, duration) >= 0.5:
            return onsets
        unix = (start - datetime(1970, 1, 1)).total_seconds()
        for zero, name in ((_second_of_day(start), "midnight"), (unix, "1970")):
            if _share_inside(onsets - zero, duration) >= 0.5:
                text = f"onsets are taken as seconds since {name}, as only then they fit"
                self.notes.append(Caution(text, text))
                return onsets - zero
        return onsets

    def read_durations(self, onsets: np.ndarray, factor: float) -> np.ndarray:
        """Seconds that rows last by their durations, else by their ends; 0 where none is stated."""
        meaning = "duration" if "duration" in self.columns else "end"
        seconds = np.zeros(len(self.rows))
        texts = self.cells(meaning) if meaning in self.columns else []
        if not any(texts):
            return seconds
        column = self.columns[meaning]
        samples = column.factor == self.columns["onset"].factor == 0.0
        unit = factor if samples else self._factor_of(column, onsets)
        for i, text in enumerate(texts):
            clock = _CLOCK.fullmatch(text)
            if text and not clock:
                from_onset = onsets[i] if meaning == "end" else 0.0
                seconds[i] = self._number(i, text) * unit - from_onset
            elif clock and meaning == "duration":
                seconds[i] = _seconds_of([clock])[0]
        if (seconds < 0).any():
            i = int(seconds.argmin())
            raise self.error(
                i, f"lasts {seconds[i]:g} s; accepted is a length of 0 s or more. Check the "
                "columns of onset, duration and end."
            )  # fmt: skip
        return seconds


def _second_of_day(time: datetime) -> float:
    return (time - datetime(time.year, time.month, time.day)).total_seconds()


def _share_inside(onsets: np.ndarray, duration: float | None) -> float:
    return float(((onsets > -60.0) & (onsets < duration)).mean()) if duration else 1.0


def _unroll(seconds: np.ndarray) -> np.ndarray:
    """Times of the day as times that go on, row by row, past midnight."""
    return seconds + DAY * np.cumsum(np.diff(seconds, prepend=seconds[0]) < -DAY / 2)


def _seconds_of(matches: Sequence[re.Match[str]]) -> np.ndarray:
    """Seconds of the day; where zones are stated, by the clock of the first."""
    seconds, zones = np.empty(len(matches)), np.zeros(len(matches))
    for i, match in enumerate(matches):
        hour = int(match["h"]) + 24 * int(match["days"] or 0)
        if match["half"]:
            hour = hour % 12 + 12 * (match["half"][0] in "pP")
        seconds[i] = hour * 3600 + int(match["m"]) * 60 + float(re.sub("[,:]", ".", match["s"]))
        zone = re.fullmatch(r"([+-])(\d\d):?(\d\d)", match["zone"] or "")
        if zone:
            zones[i] = float(f"{zone[1]}1") * (int(zone[2]) * 3600 + int(zone[3]) * 60)
    return seconds - (zones - zones[0])


def _find_columns(path: Path, rows: list[_Row], known: LabelContext) -> _Table:
    """Each column by its meaning, and the rows of one scorer without the header, of one width."""
    titles, scorer = rows[0][1], known.scorer
    names = [_name_of(title) for title in titles]
    is_known = any(name in _KNOWN or _SEVERAL.fullmatch(name) for name in names)
    has_header = is_known and not all(map(_is_label, titles))
    body = [(line, row + [""] * (len(titles) - len(row))) for line, row in rows[has_header:]]
    if not body:
        raise ReadError(f"{path}: a header without rows. Pass hypnogram=False for no labels.")
    if not has_header:
        if scorer is not None:
            raise no_scorer(path, scorer)
        return _Table(path, body, _bare_columns(body), known)
    stage = _pick_stage(path, titles, body, scorer)
    columns = {"stage": _Column(stage, titles[stage])}
    for meaning, accepted in (*_COLUMNS.items(), ("event", _TEXT_NAMES)):
        ranked = [
            (accepted.index(name), i)
            for i, name in enumerate(names)
            if name in accepted and i != stage and (name or i == 0)
            and not (meaning == "scorer" and titles[i][-1:].isdigit())
        ]  # fmt: skip
        if ranked:
            i = min(ranked)[1]
            columns[meaning] = _Column(i, titles[i], _split_title(titles[i])[1])
    if "scorer" in columns:
        body = _pick_scorer(path, body, columns["scorer"].index, scorer)
    elif scorer is not None and not titles[stage].lower().endswith(scorer.lower()):
        raise no_scorer(path, scorer)
    if not {"onset", "epoch"} & set(columns):
        _refuse_unnamed_times(path, titles, body, stage)
    return _Table(path, body, columns, known)


def _bare_columns(rows: list[_Row]) -> dict[str, _Column]:
    """Columns of rows without a header, by their number."""
    width = len(rows[0][1])
    meanings = {1: ["stage"], 2: ["onset", "stage"]}.get(width, ["onset", "duration", "stage"])
    first = [row[0] for _, row in rows]
    if width == 2 and len(first) > 2 and all(text.isdecimal() for text in first):
        # seconds that count one by one say the same
        meanings[0] = "epoch" if set(np.diff([int(t) for t in first]).tolist()) == {1} else "onset"
    return {meaning: _Column(i, "") for i, meaning in enumerate(meanings)}


def _pick_stage(path: Path, titles: list[str], rows: list[_Row], scorer: str | None) -> int:
    """Index of the column of stages; that of the scorer, if several scored."""
    names = [_name_of(title) for title in titles]
    cells = [[row[i] for _, row in rows if row[i]] for i in range(len(titles))]
    exact = next((name for name in _STAGE_NAMES if name in names), None)
    best = [i for i, name in enumerate(names) if name == exact]
    best = best or [
        i
        for i, name in enumerate(names)
        if _SEVERAL.fullmatch(name) and 2 * sum(map(_is_label, cells[i])) > len(cells[i])
    ]
    best = best or [names.index(name) for name in _TEXT_NAMES if name in names][:1]
    if not best:
        raise ReadError(
            f"{path}: no column holds the stage; accepted names are "
            f"{', '.join(_STAGE_NAMES[:5])}, in addition to onset and duration."
        )
    asked = (scorer or "").lower()
    chosen = [i for i in best if titles[i].lower() == asked] or best
    chosen = [i for i in chosen if len(best) == 1 or (asked and titles[i].lower().endswith(asked))]
    if len(chosen) != 1:
        raise ReadError(
            f"{path}: {len(best)} columns hold stages, {', '.join(repr(titles[i]) for i in best)}, "
            f"and scorer={scorer!r} names none of them. Pass scorer={titles[best[0]]!r}."
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


def _refuse_unnamed_times(path: Path, titles: list[str], rows: list[_Row], stage: int) -> None:
    """Raise if a column that rises row by row may hold the times, as its name is not known."""
    for i, title in enumerate(titles):
        texts = [re.sub("[:,]", "", row[i]) for _, row in rows]
        if i == stage or len(texts) < 3 or not all(re.fullmatch(r"\d+\.?\d*", t) for t in texts):
            continue
        if (np.diff([float(text) for text in texts]) > 0).all():
            raise ReadError(
                f"{path}: the column {title!r} may hold the times of the labels, but its name is "
                "not known. Call it 'onset' if it counts seconds, 'onset_ms', 'epoch', or drop it."
            )
