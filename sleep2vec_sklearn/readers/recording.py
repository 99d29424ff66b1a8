# SPDX-License-Identifier: BSD-3-Clause
"""One recording from one file."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from .._warnings import warn
from ..errors import ReadError, RecordingWarning, Sleep2VecError
from ..recordings import EPOCH_SECONDS, Recording
from ._scoring import Scoring
from .formats import open_source
from .hypnograms import read_scoring

__all__ = [
    "find_hypnograms",
    "is_hypnogram_name",
    "read_recording",
    "subject_of",
]

_DAY = 86400.0

_logger = logging.getLogger("sleep2vec_sklearn")


def read_recording(
    path,
    *,
    hypnogram=None,
    modalities: Sequence[str] | None = None,
    channels: Mapping | None = None,
    subject=None,
    metadata: Mapping | None = None,
    id: str | None = None,
    derive: bool = True,
    on_error: str = "raise",
) -> Recording | None:
    """Read a night from a file; its samples are read when they are used.

    EDF, EDF+ and BDF files are read at native rates, NPZ files in the layout of the sleep2vec
    authors, everything else through MNE-Python (``pip install sleep2vec-sklearn[mne]``).

    Parameters
    ----------
    path : path-like
        The recording.
    hypnogram : path-like, False or None
        File with the sleep stages: EDF+ annotations, NSRR XML, CSV or text. By default one is
        looked for beside the recording, the next one being taken where the first cannot be read;
        the recording's own annotations are read only where there is none. False goes without
        labels and events.
    modalities : sequence of str, optional
        Only these; by default all that a channel is found for.
    channels : mapping, optional
        Modality to channel label, to (label, reference label), or to None to leave it out. The
        others are chosen by their labels; see :func:`describe_channels`.
    subject : hashable, optional
        Who it is; by default what the file name tells (Sleep-EDF, NSRR), else its stem.
    metadata : mapping, optional
        Added to the age and sex of the header, over which it has precedence.
    id : str, optional
        Name of the recording; the file's stem by default. Never the patient's name.
    derive : bool, default=True
        Where the file does not hold them, derive ``ibi`` from the ECG or PPG, and ``resp`` from a
        belt, the airflow or the ECG. Nothing is computed before the modality is used, and
        ``Recording.derived`` names them. They are not independent of their sources. A modality
        alone is left out with ``channels={"resp": None}``.
    on_error : {"raise", "warn"}, default="raise"
        Raise, or warn and return None.

    Returns
    -------
    Recording or None
        Lazy. ``notes`` says what was left out, cut or assumed.

    Raises
    ------
    ReadError
        If a file is missing, truncated, corrupt or of an unknown format.
    NoUsableChannelError
        If none of its channels maps to a wanted modality.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, read_recording
    >>> from sleep2vec_sklearn.datasets import write_edf_cohort
    >>> nights = make_sleep_cohort(1, hours=0.5, missing=0, random_state=0)
    >>> path = write_edf_cohort(nights, "study")[0]
    >>> night = read_recording(path, modalities=["eeg", "spo2"])
    >>> night.modalities, night.n_epochs
    (('eeg', 'spo2'), 60)
    >>> night.stages[20:25]  # of the hypnogram beside it
    array([1, 2, 2, 2, 2], dtype=int8)
    """
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error must be 'raise' or 'warn', got {on_error!r}.")
    path = Path(path)
    try:
        source = open_source(path, modalities, channels, derive)
        scoring, origin, notes = _find_scoring(path, hypnogram, source)
        return _assemble(path, source, scoring, origin, notes, subject, metadata, id)
    except (Sleep2VecError, OSError) as error:
        if on_error == "raise":
            raise
        warn(f"recording left out: {error}", RecordingWarning)
        return None


def _find_scoring(
    path: Path, hypnogram, source
) -> tuple[Scoring | None, str | None, tuple[str, ...]]:
    """The labels, the name of a file they are from, and notes."""
    if hypnogram is False:
        return None, None, ()
    files = find_hypnograms(path) if hypnogram is None else [Path(hypnogram)]
    errors: list[ReadError] = []
    for file in files:
        try:
            scoring = read_scoring(file, start=source.start)
        except ReadError as error:
            errors.append(error)
            continue
        passed = f"labels are from {file.name}, as {files[0].name} holds none that can be read"
        return scoring, file.name, (passed,) if errors else ()
    if errors:
        raise errors[0]
    return source.own_scoring(), None, ()


def _assemble(path, source, scoring, origin, notes, subject, metadata, id) -> Recording:
    stages = events = lights = None
    notes = (*source.notes, *notes)
    n_epochs = int(source.duration / EPOCH_SECONDS + 1e-6)
    if scoring is not None:
        shift, told = _clock_shift(scoring.start, source.start if origin else scoring.start)
        notes = (*notes, *told)
        if len(scoring.onsets):
            stages, counted = scoring.to_epochs(n_epochs, shift)
            notes = (*notes, *counted)
        events, lights = _shifted(scoring, shift)
    recording = Recording.from_source(
        source,
        subject=subject_of(path) if subject is None else subject,
        metadata={**source.metadata, **(metadata or {})},
        stages=stages,
        events=events,
        start=source.start,
        lights=lights,
        duration=source.duration,
        id=path.stem if id is None else id,
        notes=notes,
    )
    _logger.debug("%s: %s", recording.id, "; ".join(notes) or "nothing left out")
    return recording


def _clock_shift(labels: datetime | None, signals: datetime | None) -> tuple[float, tuple]:
    """Seconds from the signals' start to the labels' start, by their clocks."""
    if labels is None or signals is None:
        return 0.0, ()
    seconds = (labels - signals).total_seconds()
    notes = []
    if abs(seconds) > _DAY / 2:
        # Anonymised files often keep the time of day and change the date.
        seconds = (seconds + _DAY / 2) % _DAY - _DAY / 2
        notes.append("the dates of labels and signals differ; aligned by the time of day")
    if seconds:
        notes.append(f"labels start {seconds:+g} s from the signals by the clock; moved there")
    return seconds, tuple(notes)


def _shifted(scoring: Scoring, shift: float):
    events, lights = scoring.events, scoring.lights
    if shift and events is not None:
        events = events.assign(onset=events["onset"] + shift)
    if shift and lights is not None:
        lights = tuple(None if moment is None else moment + shift for moment in lights)
    return events, lights


_ENDINGS = (
    "-Hypnogram.edf",
    "_Hypnogram.edf",
    "-hypnogram.edf",
    "_hypnogram.edf",
    "-nsrr.xml",
    "-profusion.xml",
    ".xml",
    "_hypnogram.csv",
    "-hypnogram.csv",
    "_hypnogram.tsv",
    "_hypnogram.txt",
    ".eannot",
)
_STAGE_HEADER = re.compile(r"(^|[,;\t ])\"?(sleep[ _]?)?stages?\"?($|[,;\t ])", re.IGNORECASE)
_SLEEP_EDF = re.compile(r"(SC4|ST7)(\d\d)\d[A-Z]\d(-PSG)?")
_VISIT = re.compile(r"(?P<study>[a-z]+)-?(?:visit)?\d+-(?P<person>[A-Za-z]{0,3}\d{3,})(?:-.*)?")


def find_hypnograms(path: Path) -> list[Path]:
    """Find the hypnograms beside a recording, the one to prefer first.

    Sleep-EDF's ``SC4001E0-PSG.edf`` goes with ``SC4001EC-Hypnogram.edf`` (the last letter names the
    scorer); elsewhere the recording's stem with ``-Hypnogram.edf``, ``-nsrr.xml``,
    ``-profusion.xml``, ``_hypnogram.csv`` and the like, or ``.csv`` if its header has a stage.
    """
    stem, found = path.stem, []
    if stem.endswith("-PSG"):
        night = re.escape(stem[: -len("-PSG")][:-1])
        pattern = re.compile(night + r"[A-Z0-9]-Hypnogram\.edf", re.IGNORECASE)
        found += sorted(p for p in path.parent.glob("*.edf") if pattern.fullmatch(p.name))
    for base in dict.fromkeys((stem, re.sub(r"[-_]PSG$", "", stem))):
        found += [path.with_name(base + ending) for ending in _ENDINGS]
        table = path.with_name(base + ".csv")
        found += [table] if table.is_file() and _has_stage_column(table) else []
    return [candidate for candidate in dict.fromkeys(found) if candidate.is_file()]


def _has_stage_column(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return bool(_STAGE_HEADER.search(file.readline().strip()))


def is_hypnogram_name(path: Path) -> bool:
    """Whether a file's name says that it holds labels, not signals."""
    return bool(re.search(r"hypnogram|-nsrr$|-profusion$|annotation|scoring", path.stem, re.I))


def subject_of(path: Path) -> str:
    """Name the person a night belongs to, as far as its file name tells.

    The nights of Sleep-EDF share their subject digits (``SC4ssN``), the visits of NSRR cohorts
    their participant (``mros-visit1-aa0001``, ``shhs2-200001``); elsewhere each file is a person.
    """
    stem = path.stem
    cassette = _SLEEP_EDF.fullmatch(stem)
    if cassette:
        return cassette[1] + cassette[2]
    visit = _VISIT.fullmatch(stem)
    if visit:
        return f"{visit['study']}-{visit['person']}"
    return stem
