# SPDX-License-Identifier: BSD-3-Clause
"""Scoring of a night: stages and events as intervals, and one stage per epoch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..recordings._event_names import read_event_name, without_accents
from ..recordings._notes import Caution
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.stages import SleepStage
from ._boundary import DAY, LARGEST_TIME, LONGEST_LABEL, BadFileError, check_labels

if TYPE_CHECKING:
    import pandas as pd

MOVEMENT = "movement"
UNKNOWN_STAGES = "labels of stages are not understood"
DATES_DIFFER = "the dates of labels and signals differ; aligned by the time of day"

_WORD = r"(?:stages?|stg|stadium|stade|stadio|estadio|estagio|fase|schlafstadium|schlafphase)"
_LEAD = r"(?:(?:aasm|staging|sommeil)[\s:_-]+)"
_TEXT = re.compile(
    rf"{_LEAD}?(?:(?:sleep|s[ou]e?n?no)[\s_]*)?{_WORD}?"
    r"(?:[\s:_]|-(?!1\b)|(?<=[a-z])-)*"
    r"(?:(?:non|n)[\s_-]*rem[\s_-]*(?P<depth>[1-4])|(?P<name>slow[\s-]wave[\s-]sleep|.+?))"
    r"(?:[\s_-]*(?:sleep|schlaf|slaap))?"
    r"(?:[\s,_-]+\(?(?:auto(?:matic)?|epoch\W*\d+)\)?)?(?:\|.*|@@.*)?$",
    re.IGNORECASE,
)
_PREFIX = re.compile(rf"sleep-|{_LEAD}|(sleep[\s_]*)?{_WORD}", re.IGNORECASE)
_STAGE_LIKE = re.compile(rf"(?:sleep-|(?:sleep[\s_-]*)?{_WORD}[\s:_-]*)\S{{1,3}}$", re.IGNORECASE)
_LAMP = r"(?:lights?|licht(?:er|en)?|lamp(?:en)?|lumieres?|feux|luz|luces|luzes|luc[ei])"
_IS = (
    r"(?:switched|turned|is|are|sind|ist|zijn)?[\s_-]*(?P<state>off|out|on|aus|an|ein|aan|uit|"
    r"(?:aus|ein|an)geschaltet|(?:uit|aan)gedaan|eteinte?s?|allumee?s?|apagad[ao]s?|encendid[ao]s?|prendid[ao]s?|geloscht|"
    r"spent[aeio]|acces[aeio]|aces[ao]s?|desligad[ao]s?|ligad[ao]s?)"
)
_TURNED = (
    r"(?P<act>extinction|allumage|spegnimento|accensione|apagado|apagar|encendido|encender|acender|(?:des)?ligar|apagan?|"
    r"enciende[nr]?|prende[nr]?|"
    r"(?:turn(?:ed)?|switch(?:ed)?)[\s_-]*(?:on|off)|(?:on|off)(?=[\s_-]*lights))"
    r"[\s_-]*(?:(?:de[ls]?|la|les?|das?|dell[ae]|las|the|as?)[\s_-]+)*"
)
_LIGHTS = re.compile(
    rf"\b{_LAMP}[\s_:=-]*{_IS}(?:\b|(?=_))|\b{_TURNED}{_LAMP}\b|^\W*l[-_]?(?P<short>off|on)\b",
    re.IGNORECASE,
)
_LIGHTS_ON = re.compile(
    r"on|an|ein|aan|enc[ie]|prend|allum|acce|aces|acend|liga|(?:turn|switch).*on$", re.IGNORECASE
)
_LAMP_MARK = re.compile(rf"\W*{_LAMP}\b(?!.*(?:sleep|schlaf|snor|mov|apn|lux))", re.IGNORECASE)
_UNMISTAKABLE = ("movement time", "wake", "n1", "n2", "n3", "n4", "rem", "slow wave sleep",
                 "slow-wave sleep")  # fmt: skip
_LONGEST_NAME = 100  # of a stage, or of what is said of the lights
# runs of signs, over which the patterns above would go back and forth
_SIGNS = re.compile(r"([\s_:,.-]{3})[\s_:,.-]+")
# numbers of epochs, which are no words for stages though they fill a night
_COUNT = re.compile(r"(epoch)?\W*\d*", re.IGNORECASE)
# fmt: off
_NAMES: dict[str, SleepStage | str] = {
    **dict.fromkeys(("w", "wake", "awake", "wach", "wk", "eveil", "veille", "vigilia", "despierto",
                     "wakefulness", "veglia", "waak", "wakker", "acordado", "0", "s0", "n0", "st0"),
                    SleepStage.W),
    **dict.fromkeys(("1", "n1", "s1", "i", "n 1", "st1"), SleepStage.N1),
    **dict.fromkeys(("2", "n2", "s2", "ii", "n 2", "st2"), SleepStage.N2),
    **dict.fromkeys(("3", "n3", "s3", "iii", "n 3", "st3", "sws", "slow wave sleep",
                     "slow-wave sleep", "lent profond", "3/4", "s3/4",
                     "n3/4", "n3/n4", "s3/s4", "3+4", "s3+s4"), SleepStage.N3),
    **dict.fromkeys(("4", "n4", "s4", "iv", "n 4", "st4"), SleepStage.N3),
    **dict.fromkeys(("r", "rem", "mor", "sp", "paradoxal", "paradoxical", "5"), SleepStage.R),
    **dict.fromkeys(("?", "unscored", "unknown", "u", "un", "na", "nan", "none", "-1", "9",
                     "undefined", "", "artefact", "artifact", "not scored", "unsure", "no stage",
                     "nicht bewertet", "a", "l", "uns", "art", "artefakt", "8", "<na>"),
                    SleepStage.unscored),
    **dict.fromkeys(("movement time", "movement", "mt", "m", "body movement", "mvt", "6",
                     "bewegung"), MOVEMENT),
}
# fmt: on
# the AASM's codes leave 5 to what a stager could not tell; Rechtschaffen & Kales have a stage 4
_CODES = {
    "AASM": {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "R"},
    "R&K": {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "N3", 5: "R", 6: MOVEMENT},
}
# as numpy.savetxt writes it, too
INTEGER = re.compile(r"-?\d{1,3}(\.0*)?(e[+-]?0+)?", re.IGNORECASE)
_LENGTHS = (20.0, 15.0, 10.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 60.0)
_CODE_KIND = "stages are integers whose code 4 or 5 can mean two things"
Annotation = tuple[float, float | None, str]


@lru_cache(4096)
def parse_stage(text: str, *, bare: bool = True) -> SleepStage | str | None:
    """The stage that a label such as "Stage 4 sleep|4" or "N2" names, "movement", or None."""
    words = _plain(text)
    match = _TEXT.match(words)
    name = ""
    if match:
        name = f"n{match['depth']}" if match["depth"] else match["name"].strip().lower()
    # among other annotations, a lone "1" or "M" means something else
    if not bare and name not in _UNMISTAKABLE and not _PREFIX.match(words):
        return None
    return _NAMES.get(name)


def _plain(text: str) -> str:
    """A label without accents and repeated signs, cut to what labels are long."""
    return _SIGNS.sub(r"\1", " ".join(without_accents(text[:_LONGEST_NAME]).split()))


@lru_cache(4096)
def _find_lights(text: str) -> bool | None:
    """Whether a text says that lights are on, or off; None if it says neither."""
    lights = _LIGHTS.search(_plain(text))
    return None if lights is None else bool(_LIGHTS_ON.match(lights[lights.lastgroup or 0]))


def fit_length(n_labels: int, duration: float) -> float | None:
    """Seconds a label with which labels fill a recording: those of an epoch first; or None."""
    for seconds in (float(EPOCH_SECONDS), *_LENGTHS):
        slack = seconds if seconds == EPOCH_SECONDS else max(seconds, min(30.0, duration / 100))
        if abs(n_labels * seconds - duration) < slack:
            return seconds
    return None


def fit_days(first: float, last: float, duration: float | None) -> int:
    """Days to add to seconds so that they lie in a recording; 0 if some do as they are."""
    if duration is None:
        return -round(first / DAY)
    if first < duration and last > 0:
        return 0
    days = [-int(first // DAY) + n for n in (-1, 0, 1)]
    shared = [min(last + n * DAY, duration) - max(first + n * DAY, 0.0) for n in days]
    return days[int(np.argmax(shared))] if max(shared) > 0 else -round(first / DAY)


@dataclass(frozen=True)
class LabelContext:
    """What is known of the recording that labels belong to, and whose labels are wanted.

    ``coding`` is that of integers, if it was decided for a cohort, and whether it is clear.
    """

    start: datetime | None = None
    duration: float | None = None
    scorer: str | None = None
    coding: tuple[str, bool] | None = None


class CodeNote(str):
    """A note on integer codes: the coding taken, whether it is clear, and the counts for it."""

    coding: str
    clear: bool
    evidence: tuple[int, ...]

    def __new__(cls, text: str, coding: str, clear: bool, evidence: tuple[int, ...]) -> CodeNote:
        """Make the note with what :func:`decide_coding` needs."""
        note = super().__new__(cls, text)
        note.coding, note.clear, note.evidence = coding, clear, evidence
        return note

    def __getnewargs__(self) -> Any:
        return str(self), self.coding, self.clear, self.evidence


def decode(
    texts: Sequence[str], coding: tuple[str, bool] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Meaning of integer codes in a file that has no other labels, and notes.

    ``coding`` is what was decided for a cohort, and whether it is clear.
    """
    numbers: dict[str, int] = {}
    for text in set(texts):
        if INTEGER.fullmatch(text):
            numbers[text] = int(float(text))
        elif text not in ("", "?") and text.lower() not in ("nan", "na", "none", "<na>"):
            return {}, []
    evidence = _weigh_codes([numbers.get(text, -1) for text in texts])
    name, clear = coding or decide_coding(evidence)
    notes: list[str] = []
    if {4, 5} & set(numbers.values()):
        taken = [f"{code} is taken as {_CODES[name].get(code, 'unscored')}" for code in (4, 5)
                 if code in numbers.values()]  # fmt: skip
        text = f"stages are integers; {' and '.join(taken)}"
        notes.append(CodeNote(text + ", as in the cohort" * bool(coding), name, clear, evidence))
        if not clear:
            hint = "write them as W, N1, N2, N3, R if that is wrong"
            notes.append(Caution(f"{text}, which is ambiguous: {hint}", _CODE_KIND))
    if 0 not in numbers.values() and {1, 2, 3, 5} <= set(numbers.values()):
        kind = "stages are integers of 1 to 5 without 0: is 1 wake?"
        assumed = f"1 is taken as N1 and 5 as {_CODES[name].get(5, 'unscored')}"
        notes.append(Caution(f"{kind} {assumed}; write them as W, N1, N2, N3, R if not", kind))
    return {text: _CODES[name].get(number, "?") for text, number in numbers.items()}, notes


def is_unknown_code(text: str) -> bool:
    """Whether a label is an integer that no list of codes has, such as 7 or -2."""
    return INTEGER.fullmatch(text) is not None and int(float(text)) not in (*range(-1, 7), 8, 9)


def _weigh_codes(codes: Sequence[int]) -> tuple[int, ...]:
    """Borders of runs of 4, those with 3; any 5, one first, one inside; 4 surely REM, or not."""
    values = np.asarray(codes, dtype=int)
    runs = values[np.flatnonzero(np.diff(values, prepend=-99))]
    known = (runs[:-1] >= 0) & (runs[1:] >= 0) & (runs[:-1] <= 4) & (runs[1:] <= 4)
    pairs = np.sort(np.stack([runs[:-1], runs[1:]]), axis=0)[:, known]
    borders = pairs[1] == 4
    deep = int((borders & (pairs[0] == 3)).sum())
    first = len(runs) > 0 and runs[0] == 5
    n, five = int(borders.sum()), 5 in runs
    beyond_doubt = n >= 4 and not five and 5 * deep < n, n >= 4 and five and 2 * deep >= n
    counts = (five, first, 5 in runs[1:-1], *beyond_doubt)
    return n, deep, *(int(count) for count in counts)


def decide_coding(evidence: Sequence[int]) -> tuple[str, bool]:
    """The coding of integers, of one night or by the sums of many, and whether it is clear.

    Stage 4 of Rechtschaffen & Kales follows stage 3, REM sleep seldom does; and a night does not
    begin in REM sleep, which is their 5.
    """
    borders, deep, with_five, first, inside = evidence[:5]
    if not with_five:
        return "AASM", 2 * deep <= borders
    if 2 * deep >= borders or borders < 4:
        return "R&K", 2 * deep >= borders and first <= 0.05 * with_five
    return "AASM", 5 * deep < borders and not inside


@dataclass(frozen=True)
class Scoring:
    """Stages and events of a night, in seconds from its start, and what was assumed.

    Movement and unscored intervals have stage -1. ``events`` has columns onset, duration, type;
    ``lights`` are lights-off and lights-on; ``start`` is the clock time that onsets count from;
    ``timed`` says whether the file states when its labels are, or only lists them.
    """

    onsets: np.ndarray
    durations: np.ndarray
    stages: np.ndarray
    movement: np.ndarray
    events: pd.DataFrame | None = None
    lights: tuple[float | None, float | None] | None = None
    start: datetime | None = None
    notes: tuple[str, ...] = ()
    timed: bool = True

    @property
    def span(self) -> tuple[float, float]:
        """First onset and last end of the labels, or of the events if there are none."""
        onsets, ends = self.onsets, self.onsets + self.durations
        if len(onsets) == 0 and self.events is not None:
            onsets = self.events["onset"].to_numpy()
            ends = onsets + self.events["duration"].to_numpy()
        return (float(onsets.min()), float(ends.max())) if len(onsets) else (0.0, 0.0)

    def find_conflicts(self) -> tuple[float, float]:
        """Seconds that have two stages, by more than rounding, and the first onset of these."""
        scored = self.stages >= 0
        starts, stages = self.onsets[scored], self.stages[scored]
        stops = starts + self.durations[scored]
        reached = np.maximum.accumulate(stops)[:-1]
        shared = np.minimum(reached, stops[1:]) - starts[1:]
        shared[(shared < 1.0) | (stages[1:] == stages[:-1])] = 0.0
        if not shared.any():
            return 0.0, 0.0
        return float(shared.sum()), float(starts[1:][shared > 0][0])

    def to_epochs(self, n_epochs: int, shift: float = 0.0) -> tuple[np.ndarray, tuple[str, ...]]:
        """The int8 stage that covers most of each epoch, else -1, and notes on what was cut."""
        starts = (self.onsets + shift) / EPOCH_SECONDS
        stops = starts + self.durations / EPOCH_SECONDS
        cover = np.zeros((n_epochs, 6))
        for stage in np.unique(self.stages):
            rows = self.stages == stage
            cover[:, 5 if stage < 0 else stage] = _cover(starts[rows], stops[rows], n_epochs)
        movement = _cover(starts[self.movement], stops[self.movement], n_epochs)
        cover[:, 5] += np.clip(1.0 - cover.sum(axis=1), 0.0, None)
        best = cover.argmax(axis=1)
        second, first = np.sort(cover, axis=1)[:, -2:].T
        tied = first - second < 1e-4
        stages = np.where((best == 5) | tied, -1, best).astype(np.int8)
        return stages, self._describe(stages, movement > 0.5, int(tied.sum()), starts, stops)

    def _describe(
        self, stages: np.ndarray, movement: np.ndarray, n_ties: int, starts: np.ndarray,
        stops: np.ndarray,
    ) -> tuple[str, ...]:  # fmt: skip
        """Notes on how intervals, in epochs, became stages."""
        notes, n_epochs = list(self.notes), len(stages)
        n_labels = round(float((stops - starts).sum()))
        early = np.minimum(stops, 0) - np.minimum(starts, 0)
        late = np.maximum(stops, n_epochs) - np.maximum(starts, n_epochs)
        before, after = round(float(early.sum())), round(float(late.sum()))
        if n_labels != n_epochs or before or after:
            text = (
                f"{n_labels:,} labels for {n_epochs:,} epochs of signal: "
                f"{before:,} before and {after:,} after it were cut"
            )
            scored = self.stages >= 0
            outside = float((early + late)[scored].sum())
            if outside > 1.01 and outside > 0.1 * float((stops - starts)[scored].sum()):
                text += (
                    f"; the labels last from {starts[0] * EPOCH_SECONDS:g} s to "
                    f"{stops.max() * EPOCH_SECONDS:g} s of the signals"
                )
                text = Caution(text, "labels lie outside the signals and were cut")
            elif not self.timed and n_labels != n_epochs:
                kind = "labels without times are more or fewer than the epochs of signal"
                text = Caution(f"{text}; they are laid from the start, as nothing says when", kind)
            notes.append(text)
        unscored = stages < 0
        if unscored.any():
            text = (
                f"{int(unscored.sum()):,} of {n_epochs:,} epochs are unscored, "
                f"{int((unscored & movement).sum()):,} of them movement"
            )
            told = any(isinstance(note, Caution) for note in notes[len(self.notes) :])
            if 2 * int(unscored.sum()) > n_epochs and not told:
                text = Caution(text, "most epochs are unscored")
            notes.append(text)
        if n_ties:
            notes.append(f"{n_ties:,} epochs are unscored, as two labels cover them alike")
        off_grid = starts[0] % 1.0 if len(starts) else 0.0
        if min(off_grid, 1.0 - off_grid) > 1e-3:
            notes.append(
                f"labels lie {off_grid * EPOCH_SECONDS:.1f} s off the epochs of the signals: each "
                "epoch has the stage that covers most of it"
            )
        return tuple(notes)


def _cover(starts: np.ndarray, stops: np.ndarray, n_epochs: int) -> np.ndarray:
    """Share of each epoch that intervals cover; those that overlap count twice."""
    edges = np.arange(n_epochs + 1, dtype=float)

    def ramp(points: np.ndarray) -> np.ndarray:
        points = np.sort(points)
        passed = np.searchsorted(points, edges)
        return edges * passed - np.concatenate([[0.0], np.cumsum(points)])[passed]

    return np.round(np.diff(ramp(starts) - ramp(np.maximum(stops, starts))), 9)


@dataclass
class ScoringBuilder:
    """Collects intervals, events and lights while a file is parsed."""

    intervals: list[tuple[float, float, int, bool]] = field(default_factory=list)
    events: list[tuple[float, float, str]] = field(default_factory=list)
    lights: list[tuple[float, bool]] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    lamps: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add_stage(self, onset: float, duration: float, stage: int | str | None) -> None:
        """Add a scored interval; None is unscored."""
        stage = SleepStage.unscored if stage is None else stage
        movement = stage == MOVEMENT
        self._check_times(onset, duration)
        self.intervals.append((onset, duration, -1 if movement else int(stage), movement))

    def add_label(self, onset: float, duration: float, text: str) -> None:
        """Add an interval by its label; one that is not understood is counted, and unscored."""
        stage = parse_stage(text)
        if stage is None:
            self.unknown[text[:LONGEST_LABEL]] += 1
        self.add_stage(onset, duration, stage)

    def add_event(self, onset: float, duration: float, text: str) -> None:
        """Add any other annotation; its text may be lights-off or lights-on."""
        self._check_times(onset, duration)
        text = text[:LONGEST_LABEL]
        on = _find_lights(text)
        if on is not None:
            self.lights.append((onset, on))
        elif _STAGE_LIKE.match(text):
            self.unknown[text] += 1
        elif _LAMP_MARK.match(without_accents(text)):
            self.lamps[text] += 1
        self.events.append((onset, duration, text))

    def _check_times(self, onset: float, duration: float) -> None:
        """Refuse times that no label has."""
        if not (abs(onset) <= LARGEST_TIME and 0 <= duration <= LARGEST_TIME):
            raise BadFileError(
                f"a label begins at {onset:g} s and lasts {duration:g} s; accepted are onsets of "
                f"up to {LARGEST_TIME:g} s, and lengths from 0 s on."
            )

    def add_annotations(
        self, annotations: Sequence[Annotation], coding: tuple[str, bool] | None = None
    ) -> None:
        """Add the annotations of a recording: stages by their names, or in runs, and events.

        A letter or digit alone may be a mark as well. It is a stage if it lasts for whole epochs
        next to another stage; or, without a duration, if it is on the grid of named stages.
        """
        check_labels([text for _, _, text in annotations])
        cut = [(onset, length, text[:LONGEST_LABEL]) for onset, length, text in annotations]
        rows = sorted(cut, key=lambda row: row[0])
        labels = [parse_stage(text) for _, _, text in rows]
        named = [parse_stage(text, bare=False) is not None for _, _, text in rows]
        is_stage = [a or b for a, b in zip(named, _in_runs(rows, labels, named), strict=True)]
        chosen = [i for i, stage in enumerate(is_stage) if stage]
        codes, notes = decode([rows[i][2] for i in chosen], coding) if chosen else ({}, [])
        self.notes += notes
        # a stage that is not understood ends the one before it as well
        words = _words_in_place(rows, is_stage)
        self.unknown.update(row[2] for row in rows if row[2] in words)
        due = [i for i, (_, _, text) in enumerate(rows)
               if is_stage[i] or text in words or _STAGE_LIKE.match(text)]  # fmt: skip
        stages = [parse_stage(codes.get(rows[i][2], rows[i][2])) for i in due]
        lengths = fill_lengths(np.array([rows[i][0] for i in due]), stages)
        for i, length, stage in zip(due, lengths.tolist(), stages, strict=True):
            if is_stage[i]:
                self.add_stage(rows[i][0], rows[i][1] or length, stage)
        for (onset, duration, text), chosen_one in zip(rows, is_stage, strict=True):
            if not chosen_one:
                self.add_event(onset, duration or 0.0, text)
        n_marks = sum(
            label is not None and not s for label, s in zip(labels, is_stage, strict=True)
        )
        if n_marks:
            self.notes.append(
                f"{n_marks:,} annotations such as '1' or 'W' are taken as marks, as they do not "
                "come in runs of epochs"
            )

    def build(
        self, start: datetime | None = None, notes: Sequence[str] = (), *, timed: bool = True
    ) -> Scoring:
        """The scoring of what was collected."""
        import pandas as pd

        table = np.array(sorted(self.intervals), dtype=float).reshape(-1, 4)
        onsets, durations, stages, movement = table.T
        events = None
        if self.events:
            events = pd.DataFrame(sorted(self.events), columns=["onset", "duration", "type"])
        notes = [*notes, *self.notes]
        self._count_unscored(onsets, durations)
        if self.unknown:
            names = ", ".join(f"{text!r} ({n})" for text, n in self.unknown.most_common(5))
            text = f"{self.unknown.total():,} labels are no stage that is known: {names}"
            notes.append(Caution(text, UNKNOWN_STAGES))
        # the first lights-off and the last lights-on after it
        off = min((onset for onset, on in self.lights if not on), default=None)
        ons = [onset for onset, on in self.lights if on and (off is None or onset > off)]
        lights = (off, max(ons, default=None)) if self.lights else None
        if self.lamps and (lights is None or None in lights):
            kind = "marks of lights say neither off nor on that is understood"
            notes.append(Caution(f"{kind}: {', '.join(map(repr, self.lamps))}", kind))
        scored = onsets, durations, stages.astype(np.int8), movement.astype(bool)
        return Scoring(*scored, events, lights, start, tuple(notes), timed)

    def _count_unscored(self, onsets: np.ndarray, durations: np.ndarray) -> None:
        """Count events that fill gaps between stages and last as long: words for stages."""
        if not len(durations):
            self.unknown.update(_filling_words(self.events))
            return
        usual, ends = np.median(durations), np.sort(onsets + durations)
        filling: Counter[str] = Counter()
        next_to: set[str] = set()
        for onset, duration, text in self.events:
            passed = np.searchsorted(onsets, onset + 0.01) - np.searchsorted(ends, onset + 0.01)
            if usual < 10.0 or abs(duration - usual) > 0.01 or passed or text in self.unknown:
                continue
            filling[text] += 1
            if _is_near(ends, onset) or _is_near(onsets, onset + duration):
                next_to.add(text)
        self.unknown.update({text: n for text, n in filling.items() if text in next_to})


def _is_near(times: np.ndarray, time: float) -> bool:
    """Whether one of these sorted times is less than 10 ms away."""
    first, stop = np.searchsorted(times, (time - 0.01, time + 0.01))
    return bool(stop > first)


def _filling_words(events: Sequence[tuple[float, float, str]]) -> Counter[str]:
    """Events that fill most of a night epoch by epoch, which are words for stages, if any."""
    for step in (30.0, 20.0):
        rows = sorted(
            (onset, duration, text)
            for onset, duration, text in events
            if duration >= step and min(duration % step, -duration % step) < 0.01
            and not _COUNT.fullmatch(text) and parse_stage(text) is None
        )  # fmt: skip
        filled = sum(a[1] for a, b in pairwise(rows) if abs(a[0] + a[1] - b[0]) < 0.01)
        first = min((onset for onset, _, _ in events), default=0.0)
        last = max((onset + duration for onset, duration, _ in events), default=0.0)
        if 2 * filled > last - first:
            return Counter(text for _, _, text in rows)
    return Counter()


def _words_in_place(rows: Sequence[Annotation], is_stage: Sequence[bool]) -> set[str]:
    """Words without a length that come more than once, and only where a stage is due."""
    stages = np.array([row[0] for row, stage in zip(rows, is_stage, strict=True) if stage])
    step = np.diff(np.unique(stages)).min(initial=np.inf)
    if not 10 <= step < np.inf:
        return set()
    known = set(stages.tolist())
    found: dict[str, list[bool]] = {}
    for (onset, length, text), stage in zip(rows, is_stage, strict=True):
        if not stage:
            due = not length and (onset - stages[0]) % step < 0.01 and onset not in known
            found.setdefault(text, []).append(due)
    return {text for text, due in found.items()
            if len(due) > 1 and all(due) and read_event_name(text).kind is None
            and not _COUNT.fullmatch(text) and parse_stage(text) is None}  # fmt: skip


def _in_runs(
    rows: Sequence[Annotation], labels: Sequence[SleepStage | str | None], named: Sequence[bool]
) -> list[bool]:
    """Which annotations are labels of epochs by when they are and how long they last."""
    places = np.array([i for i, label in enumerate(labels) if label is not None], dtype=int)
    onsets = np.array([rows[i][0] for i in places])
    lengths = np.array([rows[i][1] or 0.0 for i in places])
    texts = [rows[i][2].strip().upper() for i in places]
    digit = np.array([text.isdecimal() for text in texts], dtype=bool)
    sure = np.array([named[i] for i in places], dtype=bool)
    whole = (lengths >= 10.0) & (np.abs(lengths / 5.0 - np.round(lengths / 5.0)) < 1e-3)
    # a digit that is always the same, or shorter than any epoch of a hypnogram, is a trigger
    whole &= ~digit | ((lengths >= 20.0) & (len(set(texts)) > 1))
    chain = np.flatnonzero(whole | sure)
    touches = np.abs((onsets + lengths)[chain[:-1]] - onsets[chain[1:]]) < 0.5
    in_run = np.zeros(len(places), dtype=bool)
    in_run[chain[:-1]] |= touches
    in_run[chain[1:]] |= touches
    in_run = whole & (in_run | (len(places) == len(rows)))
    # without durations, letters on one grid of epochs, if they name stages beyond doubt
    words = {text for text, is_digit in zip(texts, digit, strict=True) if not is_digit}
    for step in (30.0, 20.0) if sure.any() or len(words) > 2 else ():
        phases = np.round(onsets % step, 1)
        values, counts = np.unique(phases, return_counts=True)
        if counts.max() > 0.8 * len(places):
            in_run |= (phases == values[counts.argmax()]) & (lengths == 0.0) & ~digit
    found = np.zeros(len(rows), dtype=bool)
    found[places] = in_run
    return found.tolist()


def fill_lengths(onsets: np.ndarray, labels: Sequence[object]) -> np.ndarray:
    """Seconds from each label to the next; labels that repeat, one an epoch, last for an epoch."""
    times = np.unique(onsets)
    steps, counts = np.unique(np.round(np.diff(times), 1), return_counts=True)
    last = min(steps.min(initial=float(EPOCH_SECONDS)), float(EPOCH_SECONDS))
    later = np.append(times, onsets.max(initial=0.0) + last)
    lengths = later[np.searchsorted(later, onsets, side="right")] - onsets
    order = np.argsort(onsets, kind="stable")
    repeats = sum(labels[a] == labels[b] for a, b in pairwise(order))
    if len(steps) and repeats > 0.1 * len(times) and 2 * counts.max() > counts.sum():
        usual = steps[counts.argmax()]
        lengths[lengths > 1.5 * usual] = usual
    return lengths
