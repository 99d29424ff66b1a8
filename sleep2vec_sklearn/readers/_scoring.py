# SPDX-License-Identifier: BSD-3-Clause
"""Scoring of a night: stages and events as intervals, and one stage per epoch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from ..recordings.modality import EPOCH_SECONDS
from ..recordings.stages import SleepStage

if TYPE_CHECKING:
    import pandas as pd

MOVEMENT = "movement"

_TEXT = re.compile(
    r"(?:sleep\s*)?(?:stages?|stadium|stade|fase|schlafstadium|schlafphase)?"
    r"(?:[\s:_]|-(?!1\b)|(?<=[a-z])-)*"
    r"(?P<name>.+?)(?:[\s_]*(?:sleep|schlaf))?(?:\|.*)?$",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"(sleep[\s_]*)?(stage|stad|fase|schlaf)", re.IGNORECASE)
_LIGHTS = re.compile(
    r"\b(?:lights?|licht|lumi[eè]res?|luz|luces)[\s_\-]*(?P<state>off|out|on|aus|an|ein|[eé]teinte?s?|"
    r"allum[eé]es?|apagad[ao]s?|encendid[ao]s?)\b",
    re.IGNORECASE,
)
_LIGHTS_ON = ("on", "an", "ein", "encend", "allum")
_UNMISTAKABLE = ("movement time", "wake", "n1", "n2", "n3", "rem")
# fmt: off
_NAMES: dict[str, SleepStage | str] = {
    **dict.fromkeys(("w", "wake", "awake", "wach", "wk", "eveil", "veille", "vigilia", "despierto",
                     "wakefulness"), SleepStage.W),
    **dict.fromkeys(("1", "n1", "s1", "i", "nrem1", "nrem 1", "n 1", "st1"), SleepStage.N1),
    **dict.fromkeys(("2", "n2", "s2", "ii", "nrem2", "nrem 2", "n 2", "st2"), SleepStage.N2),
    **dict.fromkeys(("3", "n3", "s3", "iii", "nrem3", "nrem 3", "n 3", "st3", "sws"),
                    SleepStage.N3),
    **dict.fromkeys(("4", "n4", "s4", "iv", "nrem4", "nrem 4", "n 4", "st4"), SleepStage.N3),
    **dict.fromkeys(("r", "rem", "mor", "sp", "paradoxal", "paradoxical"), SleepStage.R),
    **dict.fromkeys(("?", "unscored", "unknown", "u", "un", "na", "nan", "none", "-1", "9",
                     "undefined", "", "artefact", "artifact", "not scored", "unsure", "no stage",
                     "nicht bewertet", "a", "l"), SleepStage.unscored),
    **dict.fromkeys(("movement time", "movement", "mt", "m", "body movement", "mvt", "6"),
                    MOVEMENT),
}
# fmt: on


def parse_stage(text: str, *, bare: bool = True) -> SleepStage | str | None:
    """The stage that a label such as "Stage 4 sleep|4" or "N2" names, "movement", or None."""
    words = " ".join(str(text).split())
    match = _TEXT.match(words)
    name = match["name"].strip().lower() if match else ""
    # among other annotations, a lone "1" or "M" means something else
    if not bare and name not in _UNMISTAKABLE and not _PREFIX.match(words):
        return None
    return _NAMES.get(name)


@dataclass(frozen=True)
class Scoring:
    """Stages and events of a night, in seconds from its start, and what was assumed.

    Movement and unscored intervals have stage -1. ``events`` has columns onset, duration, type;
    ``lights`` are lights-off and lights-on; ``start`` is the clock time that onsets count from.
    """

    onsets: np.ndarray
    durations: np.ndarray
    stages: np.ndarray
    movement: np.ndarray
    events: pd.DataFrame | None = None
    lights: tuple[float | None, float | None] | None = None
    start: datetime | None = None
    notes: tuple[str, ...] = ()

    def to_epochs(self, n_epochs: int, shift: float = 0.0) -> tuple[np.ndarray, tuple[str, ...]]:
        """The int8 stage that covers most of each epoch, else -1, and notes on what was cut."""
        cover = np.zeros((n_epochs, 6))
        movement = np.zeros(n_epochs)
        starts = (self.onsets + shift) / EPOCH_SECONDS
        stops = starts + self.durations / EPOCH_SECONDS
        intervals = zip(starts, stops, self.stages, self.movement, strict=True)
        for start, stop, stage, is_movement in intervals:
            first, last = max(int(np.floor(start)), 0), min(int(np.ceil(stop)), n_epochs)
            if first >= last:
                continue
            edges = np.clip(np.arange(first, last + 1, dtype=float), start, stop)
            share = edges[1:] - edges[:-1]
            cover[first:last, 5 if stage < 0 else int(stage)] += share
            if is_movement:
                movement[first:last] += share
        cover[:, 5] += np.clip(1.0 - cover.sum(axis=1), 0.0, None)
        best = cover.argmax(axis=1)
        stages = np.where(best == 5, -1, best).astype(np.int8)
        return stages, self._describe(stages, movement > 0.5, starts, stops)

    def _describe(
        self, stages: np.ndarray, movement: np.ndarray, starts: np.ndarray, stops: np.ndarray
    ) -> tuple[str, ...]:
        """Notes on how intervals, in epochs, became stages."""
        notes, n_epochs = list(self.notes), len(stages)
        n_labels = round(float((stops - starts).sum()))
        before = float((np.minimum(stops, 0) - np.minimum(starts, 0)).sum())
        after = float((np.maximum(stops, n_epochs) - np.maximum(starts, n_epochs)).sum())
        if n_labels != n_epochs or round(before) or round(after):
            notes.append(
                f"{n_labels:,} labels for {n_epochs:,} epochs of signal: "
                f"{round(before):,} before and {round(after):,} after it were cut"
            )
        unscored = stages < 0
        if unscored.any():
            notes.append(
                f"{int(unscored.sum()):,} of {n_epochs:,} epochs are unscored, "
                f"{int((unscored & movement).sum()):,} of them movement"
            )
        off_grid = starts[len(starts) // 2] % 1.0 if len(starts) else 0.0
        if min(off_grid, 1.0 - off_grid) > 1e-3:
            notes.append(
                f"labels lie {off_grid * EPOCH_SECONDS:.1f} s off the epochs of the signals: each "
                "epoch has the stage that covers most of it"
            )
        return tuple(notes)


@dataclass
class ScoringBuilder:
    """Collects intervals, events and lights while a file is parsed."""

    intervals: list[tuple[float, float, int, bool]] = field(default_factory=list)
    events: list[tuple[float, float, str]] = field(default_factory=list)
    lights_off: float | None = None
    lights_on: float | None = None

    def add_stage(self, onset: float, duration: float, stage: int | str | None) -> None:
        """Add a scored interval; None is unscored."""
        stage = SleepStage.unscored if stage is None else stage
        movement = stage == MOVEMENT
        self.intervals.append((onset, duration, -1 if movement else int(stage), movement))

    def add_event(self, onset: float, duration: float, text: str) -> None:
        """Add any other annotation; its text may be lights-off or lights-on."""
        lights = _LIGHTS.search(text)
        if lights:
            if lights["state"].lower().startswith(_LIGHTS_ON):
                self.lights_on = onset
            elif self.lights_off is None:
                self.lights_off = onset
        self.events.append((onset, duration, text))

    def build(self, start: datetime | None = None, notes: Sequence[str] = ()) -> Scoring:
        """The scoring of what was collected."""
        import pandas as pd

        table = np.array(sorted(self.intervals), dtype=float).reshape(-1, 4)
        onsets, durations, stages, movement = table.T
        events = None
        if self.events:
            events = pd.DataFrame(sorted(self.events), columns=["onset", "duration", "type"])
        lights = (self.lights_off, self.lights_on)
        known = None if lights == (None, None) else lights
        scored = onsets, durations, stages.astype(np.int8), movement.astype(bool)
        return Scoring(*scored, events, known, start, tuple(notes))
