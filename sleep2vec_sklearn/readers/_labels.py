# SPDX-License-Identifier: BSD-3-Clause
"""Finding the labels of a recording by its name, and laying them on its clock."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from os import PathLike
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from .._warnings import listed, warn
from ..errors import ReadError, RecordingWarning
from ..recordings._notes import Caution
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ._boundary import DAY, as_path
from ._delimited import TEXT_SUFFIXES, strip_quantity
from ._label_tables import has_stage_column, no_scorer
from ._scoring import DATES_DIFFER, CodeNote, LabelContext, Scoring, decide_coding, fit_days
from .hypnograms import only_label_errors, read_edf_annotations, read_labels, refuse_conflicts

_NAMES = ("hypnogram", "hypno", "sleepscoring", "scoring", "stages", "staging", "sleepstages",
          "sleep_stages")  # fmt: skip
_WORDS = [sep + word for word in _NAMES for sep in "-_ ."]
_TABLES = (".csv", ".tsv", ".txt", ".annot", ".eannot")
_ENDINGS = (
    *(f"{word}.edf" for word in _WORDS), " base.edf", "-nsrr.xml", "-profusion.xml", ".xml",
    ".edf.xml", *(word + suffix for word in _WORDS for suffix in _TABLES), ".eannot",
)  # fmt: skip
_BARE_ENDINGS = (".edf", ".xml", *_TABLES)
# those that may hold something else
_EVENT_ENDINGS = tuple(
    sep + word + suffix for word in ("events", "annotations") for sep in "_- ."
    for suffix in (".tsv", ".csv", ".txt")
)  # fmt: skip
_TABLE_ENDINGS = (*_TABLES, *_EVENT_ENDINGS)
_EDF_ENDINGS = tuple(f"{sep}annotations.edf" for sep in "_- ")
_LABEL_NAME = re.compile(
    r"hypnogram|[-_ .]hypno$|^hypno[-_ ]|annotation|scoring|[-_ .](sleep)?stages$|[-_ .]staging$",
    re.IGNORECASE,
)
_LABEL_PREFIX = re.compile(rf"({'|'.join(_NAMES)})[-_ ]")
# "stages_n.edf" may be the signals of a study of that name
_AROUND = [(word + sep, suffix) for word in _NAMES for sep in "_- " for suffix in _BARE_ENDINGS
           if suffix != ".edf" or word.startswith("hypno")]  # fmt: skip
_LABEL_FOLDER = re.compile(r"hypno|annotation|scoring|labels?$|stages|staging", re.IGNORECASE)
_SIGNAL_FOLDER = re.compile(
    r"(edf|bdf|psg|signal|recording|record|eeg|night|raw|data)s?", re.IGNORECASE
)
_RECORDING_WORD = re.compile(r"[-_ ](psg|eeg|ieeg|meg|nirs|nsrr)$")
_LEVELS = 3
_UNUSED = "no stages, though files of labels lie in the folder that belong to no other recording"


class LabelledSource(Protocol):
    """What labels need to know of the signals of a recording."""

    @property
    def start(self) -> datetime | None: ...

    @property
    def duration(self) -> float: ...

    def own_scoring(self) -> Scoring: ...


@dataclass(frozen=True)
class _Folder:
    """A folder's files by their lower case, its folders of labels, and its files of labels."""

    path: Path
    files: dict[str, list[str]]
    label_folders: tuple[str, ...] = ()
    # with the stem of the recording in the folder that each is named after, if there is one
    labels: tuple[tuple[str, str | None], ...] = ()

    def find(self, keys: Iterable[str]) -> list[Path]:
        """Files of these names in lower case, in their order."""
        return [self.path / name for key in keys for name in self.files.get(key, ())]


def find_hypnograms(path: Path) -> list[Path]:
    """Files of the labels of a recording, in order of preference, by its name in any case.

    Sleep-EDF's ``SC4001E0-PSG.edf`` goes with ``SC4001EC-Hypnogram.edf`` (the last letter names the
    scorer), BIDS' ``..._eeg.edf`` with ``..._hypnogram.tsv`` or ``..._events.tsv``, MASS's ``x
    PSG.edf`` with ``x Base.edf``; other names are the recording's stem with ``-Hypnogram.edf``,
    ``-nsrr.xml``, ``-profusion.xml``, ``_hypnogram.csv`` and the like, or a table that holds
    stages. After the recording's own folder come folders of labels: those within it, and trees
    parallel to its own, as ``annotations-events-nsrr/shhs1`` is to ``edfs/shhs1``, and those of
    BIDS' ``derivatives``.
    """
    stem = path.stem.lower()
    bases = list(dict.fromkeys((stem, _base_of(stem))))
    found: list[Path] = []
    if stem.endswith("-psg"):
        night = stem.removesuffix("-psg")[:-1]
        scorers = (f"{night}{letter}-hypnogram.edf" for letter in digits + ascii_lowercase)
        found += _list_folder(path.parent).find(scorers)
    derivatives = list(_derivatives(path))
    for place in (path.parent, *_parallel(path), *derivatives):
        folder = _list_folder(place)
        signals = place == path.parent or place in derivatives
        endings = _ENDINGS if signals else (*_ENDINGS, *_BARE_ENDINGS)
        for base in bases:
            found += folder.find(base + ending for ending in endings)
            found += folder.find(before + base + suffix for before, suffix in _AROUND)
            found += filter(has_stage_column, folder.find(base + e for e in _TABLE_ENDINGS))
            found += filter(_has_stages, folder.find(base + e for e in _EDF_ENDINGS))
    return [file for file in dict.fromkeys(found) if file != path]


def is_hypnogram_name(path: Path) -> bool:
    """Whether a file's name says that it holds labels, not signals."""
    return bool(_LABEL_NAME.search(path.stem))


def _has_stages(path: Path) -> bool:
    """Whether the annotations of a file, which may be spindles alone, hold stages."""
    try:
        with only_label_errors(path):
            return len(read_edf_annotations(path).onsets) > 0
    except ReadError:
        return False


def _base_of(stem: str) -> str:
    return _RECORDING_WORD.sub("", stem)


def _parallel(path: Path) -> Iterator[Path]:
    """Folders of labels in that of a recording, and those that mirror it beside its parents."""
    folder = path.absolute().parent
    for root in (folder, *list(folder.parents)[: _LEVELS - 1]):
        below = folder.relative_to(root).parts
        if below and not _SIGNAL_FOLDER.fullmatch(below[0]):
            continue
        for name in _list_folder(root).label_folders:
            yield root.joinpath(name, *below[1:])


def _derivatives(path: Path) -> Iterator[Path]:
    """Folders of BIDS derivatives that mirror that of a recording, up to three levels above it."""
    folder = path.absolute().parent
    for root in (folder, *list(folder.parents)[:_LEVELS]):
        listed = _list_folder(root / "derivatives")
        for name in (*listed.label_folders, *(n for names in listed.files.values() for n in names)):
            yield root.joinpath("derivatives", name, *folder.relative_to(root).parts)


def _list_folder(folder: Path) -> _Folder:
    """The files of a folder; those that changed just now are listed anew each time."""
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return _Folder(folder, {})
    if abs(time.time() - changed / 1e9) < 2.0:
        return _scan.__wrapped__(folder, changed)
    return _scan(folder, changed)


@lru_cache(256)
def _scan(folder: Path, changed: int) -> _Folder:
    files: dict[str, list[str]] = {}
    label_folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if _LABEL_FOLDER.search(entry.name) and entry.is_dir():
                    label_folders.append(entry.name)
                else:
                    files.setdefault(entry.name.lower(), []).append(entry.name)
    except OSError:
        return _Folder(folder, {})
    nights = set()
    labels = []
    for key, names in files.items():
        suffix = os.path.splitext(key)[1]
        stem = key.removesuffix(suffix)
        nsrr = key.endswith(("-nsrr.xml", "-profusion.xml"))
        if nsrr or (_LABEL_NAME.search(stem) and suffix in _BARE_ENDINGS):
            labels += [(_LABEL_PREFIX.sub("", stem, count=1), name) for name in names]
        elif suffix not in (".xml", ".json", ".md", *_TABLES):
            # the last letter of Sleep-EDF's names is that of the scorer in its labels
            nights |= {_base_of(stem), _base_of(stem)[:-1] if stem.endswith("-psg") else stem}
        elif suffix in TEXT_SUFFIXES:
            # the tables of a wearable's night, whose whole name is in that of its labels
            nights |= {name + sep for name in (stem, strip_quantity(stem)) for sep in "-_ ."}
    owners = ((name, (stem[:n] for n in range(len(stem), 0, -1))) for stem, name in labels)
    owned = tuple((name, next((s for s in starts if s in nights), None)) for name, starts in owners)
    return _Folder(folder, files, tuple(label_folders), owned)


def read_night_labels(
    path: Path, hypnogram: str | PathLike[str] | Literal[False] | None, source: LabelledSource,
    scorer: str | None = None, coding: tuple[str, bool] | None = None,
) -> tuple[dict[str, Any], tuple[str, ...]]:  # fmt: skip
    """Stages, events and lights of a recording, on its clock, and notes on them."""
    if hypnogram is False:
        return {}, ()
    known = LabelContext(source.start, source.duration, scorer, coding)
    files = find_hypnograms(path) if hypnogram is None else [as_path(hypnogram, "hypnogram")]
    errors: list[ReadError] = []
    for file in files:
        try:
            scoring = read_labels(file, known)
        except ReadError as error:
            errors.append(error)
            continue
        notes = _note_unread(file.name, files) if errors else []
        labels, notes_of_labels = align_labels(scoring, source, scoring.start, notes)
        return labels, (*notes_of_labels, *_note_events(path, labels, files))
    if errors and (hypnogram is not None or scorer is not None):
        raise errors[0]
    if scorer is not None:
        raise no_scorer(path, scorer)
    is_edf = path.suffix.lower() in (".edf", ".rec", ".bdf")
    with only_label_errors(path):
        own = read_edf_annotations(path, coding) if coding and is_edf else source.own_scoring()
    if errors and not len(own.onsets):
        raise errors[0]
    scoring = refuse_conflicts(path, own)
    notes = _note_unread("the recording itself", files) if errors else []
    labels, notes_of_labels = align_labels(scoring, source, None, notes)
    base = _base_of(path.stem.lower())
    owned = _list_folder(path.parent).labels
    unused = [name for name, owner in owned if owner is None or owner == base]
    if labels["stages"] is None and unused and hypnogram is None:
        hint = "name them like the recording, or pass hypnogram="
        text = f"{_UNUSED}: {len(unused)} such as {listed(unused, 3)}; {hint}"
        notes_of_labels = (*notes_of_labels, Caution(text, _UNUSED))
    return labels, (*notes_of_labels, *_note_events(path, labels, files))


def _note_unread(used: str, files: Sequence[Path]) -> list[str]:
    text = f"labels are from {used}, as {files[0].name} holds none that can be read"
    return [Caution(text, "labels are of another file than the first, which cannot be read")]


def _note_events(path: Path, labels: dict[str, Any], files: Sequence[Path]) -> list[str]:
    """Name tables of events that are not read, as they hold no stages, if there are no others."""
    stem = path.stem.lower()
    keys = (base + end for base in {stem, _base_of(stem)} for end in _EVENT_ENDINGS)
    unread = [f.name for f in _list_folder(path.parent).find(keys) if f not in files]
    if labels["events"] is not None or not unread:
        return []
    kind = "tables of events are not read, as they hold no stages"
    return [Caution(f"{kind}: {unread[0]}; add its rows to the table of stages", kind)]


def align_labels(
    scoring: Scoring, source: LabelledSource, clock: datetime | None, notes: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Stages, events and lights by the ``clock`` of the labels, and all notes."""
    shift, clock_notes = clock_shift(clock, source.start, scoring.span, source.duration)
    notes = (*notes, *clock_notes)
    n_epochs = int(source.duration / EPOCH_SECONDS + 1e-6)
    stages = None
    if len(scoring.onsets):
        stages, epoch_notes = scoring.to_epochs(n_epochs, shift)
        notes = (*notes, *epoch_notes)
    else:
        notes = (*notes, *scoring.notes)
    events, event_notes = cut_events(scoring.events, shift, source.duration)
    lights, light_notes = check_lights(scoring.lights, shift, source.duration, stages)
    labels = {"stages": stages, "events": events, "lights": lights}
    return labels, (*notes, *event_notes, *light_notes)


def clock_shift(
    labels: datetime | None, signals: datetime | None, span: tuple[float, float], duration: float
) -> tuple[float, tuple[str, ...]]:
    """Seconds from the signals' start to the labels' start by their clocks, and notes."""
    if labels is None or signals is None:
        return 0.0, ()
    seconds = (labels - signals).total_seconds()
    days = fit_days(seconds + span[0], seconds + span[1], duration)
    notes = []
    if days:
        # anonymised files often keep the time of day and change the date
        seconds += days * DAY
        notes.append(DATES_DIFFER)
    if seconds:
        notes.append(f"labels start {seconds:+g} s from the signals by the clock; moved there")
    return seconds, tuple(notes)


def cut_events(
    events: pd.DataFrame | None, shift: float, duration: float
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Events with ``shift`` seconds added, cut to the recording, and a note on those cut."""
    if events is None:
        return None, ()
    onsets = events["onset"].to_numpy(dtype=float) + shift
    ends = onsets + events["duration"].to_numpy(dtype=float)
    inside = (onsets <= duration) & (ends >= 0) & ((onsets >= 0) | (ends > 0))
    cut = inside & ((onsets < 0) | (ends > duration))
    if shift or not inside.all() or cut.any():
        starts = np.clip(onsets, 0.0, duration)
        lengths = np.clip(ends, 0.0, duration) - starts
        events = events.assign(onset=starts, duration=lengths)[inside].reset_index(drop=True)
    if inside.all() and not cut.any():
        return events, ()
    n_out = int((~inside).sum())
    lost = ~inside & (ends > onsets)
    text = f"{n_out:,} of {len(inside):,} events lie outside the signals and are left out, "
    text += f"{int(cut.sum()):,} are cut at their edges"
    kind = "events lie outside the signals and are left out"
    return events, (Caution(text, kind) if 10 * lost.sum() > len(inside) else text,)


def check_lights(
    lights: tuple[float | None, float | None] | None, shift: float, duration: float,
    stages: np.ndarray | None,
) -> tuple[tuple[float | None, float | None] | None, tuple[str, ...]]:  # fmt: skip
    """Lights cut to the recording, and without those that contradict each other or the stages."""
    if lights is None:
        return None, ()
    off, on = (None if time is None else time + shift for time in lights)
    first, last = off or 0.0, duration if on is None else on
    asleep = np.zeros(0) if stages is None else np.flatnonzero(stages > 0) * EPOCH_SECONDS + 15.0
    outside = (asleep < first) | (asleep > last)
    if last <= max(first, 0.0) or first >= duration or 4 * outside.sum() > max(len(asleep), 1):
        shown = " and ".join(
            f"lights {name} at {time:g} s"
            for name, time in (("off", off), ("on", on))
            if time is not None
        )
        text = f"{shown} contradict each other or the sleep that is scored, and are left out"
        return None, (Caution(text, "lights off and on contradict the night and are left out"),)
    off, on = (None if t is None else float(np.clip(t, 0.0, duration)) for t in (off, on))
    return (off, on), ()


def settle_codes(
    results: list[Any], read_again: Callable[[int, tuple[str, bool]], Any]
) -> list[Any]:
    """Nights whose integer stages are read by one coding, that which all of them together show."""
    noted = {
        i: note
        for i, result in enumerate(results)
        if isinstance(result, Recording)
        for note in result.notes
        if isinstance(note, CodeNote)
    }
    if len(noted) < 2:
        return results
    evidence = np.sum([note.evidence for note in noted.values()], axis=0).tolist()
    coding = decide_coding(evidence)
    # where nights differ beyond doubt, each keeps its own, and all are told of
    mixed = evidence[-1] > 0 and evidence[-2] > 0
    wanted = {i: (note.coding, False) if mixed else coding for i, note in noted.items()}
    return [
        read_again(i, wanted[i])
        if i in noted and wanted[i] != (noted[i].coding, noted[i].clear)
        else result
        for i, result in enumerate(results)
    ]


def warn_of_missing_stages(recordings: Iterable[Recording]) -> None:
    """Warn once if nights of several have no stages, and no note of labels left unused says so."""
    nights = list(recordings)
    missing = [
        night.id
        for night in nights
        if night.stages is None
        and _UNUSED not in (getattr(note, "kind", "") for note in night.notes)
    ]
    if len(nights) > 1 and missing:
        ids = listed([repr(id) for id in missing], 3)
        warn(
            f"{len(missing)} of {len(nights)} nights have no stages: {ids}. No file of labels was "
            "found by their names, and they hold no annotations of stages. Name the files in a "
            "column 'hypnogram' of the table of nights, or see read_recording for the names that "
            "are looked for; in that column, False says that a night has none.",
            RecordingWarning,
        )
