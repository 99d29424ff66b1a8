# SPDX-License-Identifier: BSD-3-Clause
"""Tables and lists of labels: their columns, scorers, onsets and lengths."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..recordings._event_names import EventNames
from ..recordings._notes import Caution
from ..recordings.modality import EPOCH_SECONDS
from ._boundary import (
    DAY,
    LONGEST_LABEL,
    LONGEST_SECONDS,
    MOST_LABEL_BYTES,
    MOST_LABELS,
    BadFileError,
    check_file,
    check_labels,
    only_read_errors,
)
from ._delimited import (
    SECONDS,
    SINCE_1970,
    UNITS,
    TimeFormat,
    as_number,
    guess_unit,
    parse_title,
    read_text,
    seconds_of,
    split_line,
    unroll,
)
from ._scoring import (
    DATES_DIFFER,
    INTEGER,
    LabelContext,
    Scoring,
    ScoringBuilder,
    decode,
    fill_lengths,
    fit_days,
    fit_length,
    is_unknown_code,
    parse_stage,
)

# fmt: off
_STAGE_NAMES = ("stage", "sleepstage", "stages", "sleepstages", "hypnogram", "stade", "stadium",
                "stadio", "estadio", "fase", "schlafstadium", "schlafphase", "staging")
_TEXT_NAMES = ("label", "labels", "description", "state", "annotation", "event", "type", "value",
               "score", "trialtype", "class")
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
    "event": _TEXT_NAMES,
}
# fmt: on
_TIMES = {*_COLUMNS["onset"], *_COLUMNS["epoch"]} - {""}
_KNOWN = {*_STAGE_NAMES, *(name for names in _COLUMNS.values() for name in names)} - {""}
_SEVERAL = re.compile(r"(stages?|sleepstage|hypno(gram)?|scorer|rater|expert|annotator|scoring).*")
_OF_STAGES = re.compile(r"stage|sleepstage|hypno")
_CLOCK = re.compile(r"\d:[0-5]\d:\d\d")
_CLOCK_FORMAT = TimeFormat("clock", "ISO8601")
_STATED_LENGTH = re.compile(
    r"(?:epoch|rate)[\w\s]*[:=]\s*(\d+(?:\.\d+)?)\s*s(?:ec|econds)?\b", re.IGNORECASE
)
_DATE_AND_TIME = re.compile(r"\d[./-]\d")
# a time in seconds, or in nanoseconds since 1970
_LARGEST_NUMBER = 1e20
_MOST_COLUMNS, _LONGEST_LINE = 1000, 1_000_000
_Row = tuple[int, list[str]]


def has_stage_column(path: Path) -> bool:
    """Whether a table of any content names a column of stages, or holds unmistakable ones."""
    try:
        with only_read_errors(path, "the reader of labels"):
            return _has_stage_column(path)
    except ReadError:
        return False


def _has_stage_column(path: Path) -> bool:
    rows, _ = _read_rows(path, 16384)
    names = [_name_of(title) for title in rows[0][1]]
    body = [row + [""] * (len(names) - len(row)) for _, row in rows[1:200]]
    texts = [" ".join(cell for cell, name in zip(row, names, strict=False) if name in _TEXT_NAMES)
             for row in body]  # fmt: skip
    known = EventNames()
    scored = ~(known.unknown(texts) | known.marks(texts))
    # stages beside most events are those they fell in; a row without an event is one of a stage
    stages = [not text or parse_stage(text, bare=False) is not None for text in texts]
    if 2 * int(scored.sum()) > len(texts) and not any(stages):
        return False
    for i, name in enumerate(names):
        # a digit below 'expert' may be the number of one
        column, words = [row[i] for row in body], not _OF_STAGES.match(name)
        is_scored = _TIMES & {*names} and _holds_scores(name, column, words=words)
        if name in _STAGE_NAMES or is_scored:
            return True
    cells = [cell for _, row in rows[:200] for cell in row]
    return sum(parse_stage(cell, bare=False) is not None for cell in cells) > 1


def _holds_scores(name: str, texts: list[str], *, words: bool = False) -> bool:
    """Whether a column is one scorer's, such as 'stage_hum': most of its cells are stages."""
    labels = [_is_label(text) and not (words and INTEGER.fullmatch(text)) for text in texts if text]
    return _SEVERAL.fullmatch(name) is not None and 2 * sum(labels) > len(labels)


def read_table(path: Path, known: LabelContext) -> Scoring:
    """A hypnogram from delimited or plain text.

    A header is optional: without one, three columns are (onset, duration, stage), two are (onset,
    stage) or (epoch, stage), and one, or one line, is a label per epoch. Stages are names, or
    integers, whose coding :func:`decode` finds. Times are numbers in the unit that the header
    states, by default seconds; clock times, with or without dates; or HH:MM:SS from the start.
    """
    rows, stated = _read_rows(path)
    table = _find_columns(path, rows, known)
    texts = table.cells["stage"]
    check_labels(texts)
    check_labels(table.cells.get("event", ()))
    codes, notes = decode(texts, known.coding)
    table.notes.extend(notes)
    labels = [parse_stage(codes.get(text, text)) for text in texts]
    events = table.find_events()
    is_stage = np.array([b is not None and not e for b, e in zip(labels, events, strict=True)])
    timed, words = True, is_stage
    if "onset" in table.cells:
        onsets = table.read_onsets()
        durations = table.read_durations(onsets + table.zero)
        words, due = table.find_words(onsets, durations, is_stage, events)
        # a word that is no stage, but where one is due, ends the stage before it
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
    build.unknown.update(text for text in texts if text in codes and is_unknown_code(text))
    for i, (onset, duration) in enumerate(zip(onsets.tolist(), durations.tolist(), strict=True)):
        if is_stage[i]:
            build.add_stage(onset, duration, labels[i])
        elif words[i] and duration >= 10 and duration % 5 == 0:
            build.unknown[texts[i]] += 1
            build.events.append((onset, duration, texts[i]))
        else:
            build.add_event(onset, duration, events[i] or texts[i])
    return build.build(table.start, timed=timed)


def _read_rows(path: Path, size: int = -1) -> tuple[list[_Row], float | None]:
    """Line number and cells of each row, and the length of an epoch if the file states one."""
    check_file(path, MOST_LABEL_BYTES if size < 0 else float("inf"))
    text = read_text(path, size)
    stated = _STATED_LENGTH.search(text[:4096])
    n_lines = text.count("\n") + text.count("\r")
    if n_lines > 4 * MOST_LABELS:
        raise BadFileError(f"it has {n_lines:,} lines; accepted are {MOST_LABELS:,} labels.")
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1)]
    longest = max((len(line) for _, line in lines), default=0)
    if longest > _LONGEST_LINE:
        raise BadFileError(f"a line has {longest:,} letters; accepted are {_LONGEST_LINE:,}.")
    lines = [(i, line) for i, line in lines if line and not line.startswith(("#", "%"))]
    header = next((n for n, (_, line) in enumerate(lines[:200]) if _is_header(line)), 0)

    def is_above(line: str) -> bool:
        # what stagers write above their list, such as "Signal Type: Discret"
        return re.match(r"[^\W\d][\w \-]*:(\s|$)", line) is not None and not _is_label(line)

    above = range(header, len(lines))
    lines = lines[next((n for n in above if not is_above(lines[n][1])), len(lines)) :]
    if len(lines) > MOST_LABELS + 1:
        raise BadFileError(f"it has {len(lines):,} rows; accepted are {MOST_LABELS:,}.")
    if not lines:
        raise ReadError(f"{path}: the file is empty. Pass hypnogram=False to go without labels.")
    lines = [
        (i, line[1:-1] if line[0] == "[" and line[-1] == "]" and "," in line else line)
        for i, line in lines
    ]
    delimiter = split_line(lines[0][1])[1]
    rows = [(i, _split(line, delimiter)) for i, line in lines]
    cells = [cell for _, row in rows for cell in row]
    numeric = any(re.match(r"-?\d", cell) for cell in cells)
    width = max(len(row) for _, row in rows)
    if width > (3 if numeric else 1) and all(_is_label(cell) for cell in cells if cell):
        # lines that hold labels and nothing else
        rows = [(line, [cell]) for line, row in rows for cell in row if cell]
    if len(rows) > MOST_LABELS + 1:
        raise BadFileError(f"it has {len(rows):,} labels; accepted are {MOST_LABELS:,}.")
    return rows, float(stated[1]) if stated else None


def _split(line: str, delimiter: str | None = None) -> list[str]:
    """Cells of a line; without a delimiter, spaces part a line that begins with a time."""
    return [cell[:LONGEST_LABEL] for cell in _split_whole(line, delimiter)]


def _split_whole(line: str, delimiter: str | None) -> list[str]:
    cells, found = split_line(line, delimiter)
    if found or delimiter:
        return cells if found else [line]
    words = line.split()
    if words[1:] and _DATE_AND_TIME.search(words[0]) and re.match(r"\d{1,2}:", words[1]):
        words[:2] = [f"{words[0]}T{words[1]}"]
    if len(words) > 3 and all(map(_is_label, words)):
        return words
    timed = words[1:] and re.fullmatch(r"[\dT.:,/-]+", words[0])
    if timed or line.lower().startswith("onset"):
        return " ".join(words).split(maxsplit=2)
    return [line.strip()]


def _is_header(line: str) -> bool:
    names = {_name_of(cell) for cell in _split(line)[:_MOST_COLUMNS]} - {""}
    times = _TIMES | {*_COLUMNS["duration"]}
    return bool(names & {*_STAGE_NAMES, *_TEXT_NAMES}) and bool(names & times)


def _is_label(text: str) -> bool:
    if parse_stage(text) is not None:
        return True
    return INTEGER.fullmatch(text) is not None and abs(float(text)) < 10


def _name_of(title: str) -> str:
    """Name of a column, without its unit, numbers and accents."""
    return re.sub(r"\d", "", parse_title(title, _KNOWN)[0])


@dataclass
class _Table:
    """Cells and titles of columns by their meaning, the recording, and what was found on reading.

    Onsets are numbers of ``factor`` seconds, from ``zero`` on; ``start`` is the clock that they
    count from, if it is not the recording's.
    """

    path: Path
    lines: list[int]
    cells: dict[str, list[str]]
    titles: dict[str, str]
    known: LabelContext
    notes: list[str] = field(default_factory=list)
    start: datetime | None = None
    factor: float = 1.0
    zero: float = 0.0

    def error(self, i: int, text: str) -> ReadError:
        return ReadError(f"{self.path}, line {self.lines[i]}: {text}")

    def numbers(self, meaning: str) -> np.ndarray:
        """Numbers of a column; an error names the first row without one."""
        return np.array([self._number(i, text) for i, text in enumerate(self.cells[meaning])])

    def _number(self, i: int, text: str) -> float:
        value = as_number(text)
        if not abs(value) <= _LARGEST_NUMBER:
            raise self.error(i, f"{text[:40]!r} is not a time; accepted are seconds or HH:MM:SS.")
        return value

    def find_events(self) -> list[str]:
        """Text of rows that are events in spite of their stage, by a second column of labels."""
        texts = self.cells.get("event", [])
        named = [parse_stage(text, bare=False) is not None for text in texts]
        if not any(named):
            names = EventNames()
            scored = ~(names.unknown(texts) | names.marks(texts))
            if scored.any():
                kind = f"events in the column {self.titles['event']!r} beside stages are not read"
                text = f"{scored.sum():,} {kind}, such as {texts[scored.argmax()]!r}"
                self.notes.append(Caution(f"{text}; give each a row, and its own times", kind))
            return [""] * len(self.lines)
        return ["" if stage else text for text, stage in zip(texts, named, strict=True)]

    def find_words(
        self, onsets: np.ndarray, durations: np.ndarray, is_stage: np.ndarray, events: list[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows whose label is a word for no known stage, and all rows where a stage is due.

        In a column of stages it is any word that lasts or is no event; in one of labels of any
        kind, such as 'description', one that is no event and has an epoch of its own.
        """
        texts, names = self.cells["stage"], EventNames()
        step = np.diff(np.unique(onsets[is_stage])).min(initial=EPOCH_SECONDS)
        on_grid = (onsets - onsets[is_stage].min(initial=onsets.max())) % step < 0.01
        words = names.unknown(texts) & ~names.marks(texts)
        words |= [_OF_STAGES.match(text.lower()) is not None for text in texts]
        if _name_of(self.titles["stage"]) in _TEXT_NAMES:
            words &= on_grid & (step >= 10) & (durations == 0) & ~np.isin(onsets, onsets[is_stage])
        else:
            words |= durations > 0
        words &= ~is_stage & [not event for event in events]
        return words, is_stage | (words & on_grid)

    def place_epochs(self, length: float | None) -> tuple[np.ndarray, np.ndarray, bool]:
        """Onsets and lengths of epochs, by number or one after the other, and if that is sure."""
        sure = "epoch" in self.cells
        places = self._number_epochs() if sure else np.arange(len(self.lines))
        title = re.search(r"(\d+)\s*s", self.titles.get("epoch", ""))
        length = float(title[1]) if title else length
        count, duration, usual = int(places.max()) + 1, self.known.duration, float(EPOCH_SECONDS)
        if length is None and duration and not (sure and count * usual < duration + usual):
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
        if numbers.max() > LONGEST_SECONDS:
            raise BadFileError(f"it numbers an epoch {numbers.max():g}, as no night has so many.")
        if (numbers % 1).any() or numbers.min() < 0 or len(np.unique(numbers)) < len(numbers):
            raise ReadError(
                f"{self.path}: the numbers of {self.titles['epoch']!r} repeat or are not "
                "whole; accepted is each epoch once, counted from 0 or 1. If two scorers share the "
                "table, give a column 'scorer' and pass scorer=."
            )
        if numbers.min() > 1:
            text = f"epochs are numbered from {numbers.min():g} on; 1 is taken as the first"
            self.notes.append(text)
        return (numbers - min(numbers.min(), 1)).astype(int)

    def read_onsets(self) -> np.ndarray:
        """Onsets in seconds."""
        texts, start = self.cells["onset"], self.known.start
        if "date" in self.cells:
            texts = [f"{day} {text}".strip() if re.match(r"\d{1,3}:", text) else text
                     for day, text in zip(self.cells["date"], texts, strict=True)]  # fmt: skip
        clocks = [text for text in texts if _CLOCK.search(text)]
        if not clocks:
            return self._read_numbers()
        form = TimeFormat.of(clocks, start)
        seconds = form.read(pd.Series(texts))
        wrong = np.isnan(seconds)
        if wrong.all():
            day = re.split(r"[T ]", texts[0])[0]
            raise ReadError(
                f"{self.path}: the date {day!r} is not understood; accepted are 2020-12-31, "
                "31.12.2020, 31/12/2020 and 12/31/2020. Write them in one of these ways."
            )
        if wrong.any():
            i = int(wrong.argmax())
            raise self.error(i, f"{texts[i][:40]!r} is not a time like those of the other rows.")
        if form.kind == "clock":
            return self._undo_clock_change(self._place_clock(seconds))
        # zones are undone, the clock is that of the first
        seconds += form.offset or 0.0
        if len(np.unique(seconds // DAY)) == 1:
            # some write the date of the evening past midnight as well
            seconds = unroll(seconds)
        if start is None:
            return self._count_from_first(seconds)
        onsets = seconds - seconds_of(start)
        shift = fit_days(float(onsets.min()), float(onsets.max()), self.known.duration)
        if shift:
            self.notes.append(DATES_DIFFER)
        return self._undo_clock_change(onsets + shift * DAY)

    def _count_from_first(self, seconds: np.ndarray) -> np.ndarray:
        self.zero = float(seconds.min())
        self.start = datetime(1970, 1, 1) + timedelta(seconds=self.zero)
        return seconds - self.zero

    def _read_numbers(self) -> np.ndarray:
        """Onsets that are numbers; if most lie outside, but not from midnight or 1970, from there.

        Those since 1970 may be milliseconds, where no unit is stated.
        """
        values, start, duration = self.numbers("onset"), self.known.start, self.known.duration
        factor = self._factor_of("onset", values)
        size = float(np.abs(values).min()) * factor
        if self._unit_of("onset") is None:
            factor = SECONDS[guess_unit(size)]
            size *= factor
        self.factor, onsets = factor, values * factor
        if start is None and size > SINCE_1970:
            return self._count_from_first(onsets)
        if start is None or duration is None or _share_inside(onsets, duration) >= 0.5:
            return onsets
        unit, unix = {1.0: "seconds", 1e-3: "milliseconds"}.get(factor, "times"), seconds_of(start)
        for zero, name in ((unix % DAY, "midnight"), (unix, "1970")):
            if _share_inside(onsets - zero, duration) >= 0.5:
                text = f"onsets are taken as {unit} since {name}, as only then they fit"
                self.notes.append(Caution(text, text))
                self.zero = zero
                return onsets - zero
        if size > SINCE_1970:
            raise ReadError(
                f"{self.path}: onsets such as {values[0]:.0f} are {unit} since 1970, which is "
                f"{pd.Timestamp(onsets[0], unit='s'):%Y-%m-%d %H:%M:%S}, and lie outside the "
                f"recording from {start:%Y-%m-%d %H:%M:%S} on. Give seconds from its start, or "
                "local dates and times."
            )
        return onsets

    def _place_clock(self, seconds: np.ndarray) -> np.ndarray:
        """Onsets of HH:MM:SS, of the clock or since the start: whichever fits the recording."""
        elapsed, from_zero = unroll(seconds), bool(seconds.min() < 60)
        if self.known.start is None and not from_zero:
            raise self.error(
                0, "onsets are clock times, but the recording states no start. Give onsets in "
                "seconds from its start."
            )  # fmt: skip
        if self.known.start is None:
            self.notes.append("times count from the start, as they begin at 00:00:00")
            return elapsed
        clock = (seconds - seconds_of(self.known.start)) % DAY
        # labels of the hour before the start are not a day ahead
        clock = np.where(clock >= DAY - 3600.0, clock - DAY, clock)
        duration = self.known.duration
        if duration is not None and duration > DAY - 3600.0:
            clock = unroll(clock)
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

    def _unit_of(self, meaning: str) -> str | None:
        """Unit that a title states, as its whole name or with it; None if it states none."""
        name, unit = parse_title(self.titles[meaning], _KNOWN)
        return UNITS.get(name) if unit is None else unit or "unknown"

    def _factor_of(self, meaning: str, values: np.ndarray) -> float:
        """Seconds per unit; for samples by the rate at which epochs fill the recording."""
        title, unit = self.titles[meaning], self._unit_of(meaning) or "s"
        if unit in SECONDS:
            return SECONDS[unit]
        if unit != "samples":
            raise ReadError(
                f"{self.path}: the unit of the column {title!r} is not known; accepted are "
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
            f"{self.path}: the column {title!r} counts samples, and no rate of them makes "
            "epochs that fill the recording. Give the onsets in seconds."
        )

    def read_durations(self, onsets: np.ndarray) -> np.ndarray:
        """Seconds that rows last by their durations, else by their ends; 0 where none is stated."""
        meaning = "duration" if "duration" in self.cells else "end"
        texts = self.cells.get(meaning, [])
        seconds = np.zeros(len(self.lines))
        if not any(texts):
            return seconds
        is_clock = np.array([_CLOCK.search(text) is not None for text in texts])
        values = np.array([self._number(i, text) if text and not is_clock[i] else np.nan
                           for i, text in enumerate(texts)])  # fmt: skip
        unit = self._unit_of(meaning)
        as_onset = unit == self._unit_of("onset")
        if unit is None:
            # an end counts as its onset does, and few stages last a thousand seconds
            as_onset = meaning == "end" or (self.factor == 1e-3 and bool((values >= 1000).any()))
        scale = self.factor if as_onset else self._factor_of(meaning, onsets)
        if meaning == "end":
            seconds = np.nan_to_num(values * scale - onsets)
        else:
            clocks = _CLOCK_FORMAT.read(pd.Series(texts))
            seconds = np.nan_to_num(np.where(is_clock, clocks, values * scale))
        if (seconds < 0).any():
            i = int(seconds.argmin())
            raise self.error(
                i, f"lasts {seconds[i]:g} s; accepted is a length of 0 s or more. Check the "
                "columns of onset, duration and end."
            )  # fmt: skip
        return seconds


def _share_inside(onsets: np.ndarray, duration: float | None) -> float:
    return float(((onsets > -60.0) & (onsets < duration)).mean()) if duration else 1.0


def _find_columns(path: Path, rows: list[_Row], known: LabelContext) -> _Table:
    """Each column by its meaning, and the rows of one scorer without the header, of one width."""
    titles, scorer = rows[0][1], known.scorer
    if len(titles) > _MOST_COLUMNS:
        raise BadFileError(f"it has {len(titles):,} columns; accepted are {_MOST_COLUMNS:,}.")
    names = [_name_of(title) for title in titles]
    is_known = any(name in _KNOWN or _SEVERAL.fullmatch(name) for name in names)
    if not is_known or all(map(_is_label, titles)):
        names = titles = _usual_titles(rows)
        rows = [(0, titles), *rows]
    body = [(line, row + [""] * (len(titles) - len(row))) for line, row in rows[1:]]
    if not body:
        raise ReadError(f"{path}: a header without rows. Pass hypnogram=False for no labels.")
    stage = _pick_stage(path, titles, body, scorer)
    columns = {"stage": stage}
    for meaning, accepted in _COLUMNS.items():
        ranked = [
            (accepted.index(name), i)
            for i, name in enumerate(names)
            if name in accepted and i != stage and (name or i == 0)
            and not (meaning == "scorer" and titles[i][-1:].isdigit())
        ]  # fmt: skip
        if ranked:
            columns[meaning] = min(ranked)[1]
    if "scorer" in columns:
        body = _pick_scorer(path, body, columns["scorer"], scorer)
    elif scorer is not None and not titles[stage].lower().endswith(scorer.lower()):
        raise no_scorer(path, scorer)
    if not {"onset", "epoch"} & set(columns):
        _refuse_unnamed_times(path, titles, body, stage)
    cells = {meaning: [row[i] for _, row in body] for meaning, i in columns.items()}
    named = {meaning: titles[i] for meaning, i in columns.items()}
    return _Table(path, [line for line, _ in body], cells, named, known)


def _usual_titles(rows: list[_Row]) -> list[str]:
    """Titles of rows without a header, by their number."""
    width = len(rows[0][1])
    titles = {1: ["stage"], 2: ["onset", "stage"]}.get(width, ["onset", "duration", "stage"])
    first = [row[0] for _, row in rows]
    if width == 2 and len(first) > 2 and all(text.isdecimal() for text in first):
        # seconds that count one by one say the same
        titles[0] = "epoch" if set(np.diff([int(t) for t in first]).tolist()) == {1} else "onset"
    return titles + [f"further {i}" for i in range(3, width)]


def _pick_stage(path: Path, titles: list[str], rows: list[_Row], scorer: str | None) -> int:
    """Index of the column of stages; that of the scorer, if several scored."""
    names = [_name_of(title) for title in titles]
    cells = [[row[i] for _, row in rows if row[i]] for i in range(len(titles))]
    exact = next((name for name in _STAGE_NAMES if name in names), None)
    best = [i for i, name in enumerate(names) if name == exact]
    best = best or [i for i, name in enumerate(names) if _holds_scores(name, cells[i])]
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
