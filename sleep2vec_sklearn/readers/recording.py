# SPDX-License-Identifier: BSD-3-Clause
"""One recording from one file, with the hypnogram stored with it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from .._warnings import warn
from ..errors import ReadError, RecordingWarning, Sleep2VecError
from ..recordings._notes import warn_of_notes
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ._scoring import Scoring
from .edf import EdfSource
from .formats import DerivedSource, open_source
from .hypnograms import read_scoring
from .mne import MneSource
from .npz import NpzSource
from .wearables import WearableSource, is_wearable, joint_path

_Source = EdfSource | NpzSource | MneSource | WearableSource | DerivedSource
_Paths = str | PathLike[str] | Sequence[str | PathLike[str]]
_DAY = 86400.0
# fmt: off
_ENDINGS = (
    "-Hypnogram.edf", "_Hypnogram.edf", "-hypnogram.edf", "_hypnogram.edf", "-nsrr.xml",
    "-profusion.xml", ".xml", "_hypnogram.csv", "-hypnogram.csv", "_hypnogram.tsv",
    "_hypnogram.txt", ".eannot",
)
# fmt: on
_STAGE_HEADER = re.compile(r"(^|[,;\t ])\"?(sleep[ _]?)?stages?\"?($|[,;\t ])", re.IGNORECASE)
_SLEEP_EDF = re.compile(r"(SC4|ST7)(\d\d)\d[A-Z]\d(-PSG)?")
_NSRR = re.compile(r"(?P<study>[a-z]+)-?(?:visit)?\d+-(?P<subject>[A-Za-z]{0,3}\d{3,})(?:-.*)?")
_logger = logging.getLogger("sleep2vec_sklearn")


def read_recording(
    path: _Paths, *, hypnogram: str | PathLike[str] | Literal[False] | None = None,
    modalities: str | Sequence[str] | None = None, channels: Mapping[str, Any] | None = None,
    subject: Any = None, metadata: Mapping[str, Any] | None = None, id: str | None = None,
    derive: bool = True, columns: Mapping[str, Any] | None = None, timezone: str | None = None,
    on_error: str = "raise",
) -> Recording | None:  # fmt: skip
    """Read a night from a file; its samples are read on use.

    EDF, EDF+ and BDF files are read at native rates, NPZ files in the layout of the sleep2vec
    authors, wearables as :class:`~sleep2vec_sklearn.readers.WearableSource` says, everything else
    through MNE-Python (``pip install sleep2vec-sklearn[mne]``).

    Parameters
    ----------
    path : path-like or sequence of path-like
        The recording; several files of a wearable, such as heart rate and motion, are aligned by
        their clocks.
    hypnogram : path-like, False or None
        File with the sleep stages: EDF+ annotations, NSRR XML, CSV or text. By default it is
        searched in the recording's folder by its name; if the first cannot be read, the next one
        is taken. The recording's own annotations are read if there is no such file. False reads no
        labels and events.
    modalities : sequence of str, optional
        Only these; by default all that have a channel.
    channels : mapping, optional
        Modality to channel label, to (label, reference label), or to None to leave it out. The
        others are chosen by their labels; see :func:`describe_channels`.
    subject : hashable, optional
        Subject identifier; by default that of the file name (Sleep-EDF, NSRR), else its stem.
    metadata : mapping, optional
        Added to the age and sex of the header, over which it has precedence.
    id : str, optional
        Name of the recording; the file's stem by default. Never the patient's name.
    derive : bool, default=True
        Derive ``ibi`` from the ECG or PPG, and ``resp`` from a belt, the airflow or the ECG, if the
        file does not hold them. They are computed on use, named by ``Recording.derived``, and not
        independent of their sources. ``channels={"resp": None}`` leaves one of them out.
    columns, timezone : optional
        For wearables: what the columns of a table hold, e.g. ``{"time": "Time", "heart_rate":
        "Value"}``, and the place, e.g. "Europe/Berlin".
    on_error : {"raise", "warn"}, default="raise"
        Raise, or warn and return None.

    Returns
    -------
    Recording or None
        Lazy; its ``notes`` say what was left out, cut or assumed.

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
    >>> night.stages[20:25]  # from the hypnogram in the same folder
    array([1, 2, 2, 2, 2], dtype=int8)
    """
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error must be 'raise' or 'warn', got {on_error!r}.")
    if (columns is not None or timezone is not None) and not is_wearable(path):
        raise ReadError(
            f"{path}: columns and timezone are for files of wearables; accepted here are channels "
            "and modalities. Leave them out."
        )
    try:
        recording = read_night(
            path, hypnogram=hypnogram, modalities=modalities, channels=channels, subject=subject,
            metadata=metadata, id=id, derive=derive, columns=columns, timezone=timezone,
        )  # fmt: skip
    except (Sleep2VecError, OSError) as error:
        if on_error == "raise":
            raise
        warn(f"recording left out: {error}", RecordingWarning)
        return None
    warn_of_notes([recording])
    return recording


def read_night(
    path: _Paths, *, hypnogram: str | PathLike[str] | Literal[False] | None = None,
    modalities: str | Sequence[str] | None = None, channels: Mapping[str, Any] | None = None,
    subject: Any = None, metadata: Mapping[str, Any] | None = None, id: str | None = None,
    derive: bool = True, columns: Mapping[str, Any] | None = None, timezone: str | None = None,
) -> Recording:  # fmt: skip
    """:func:`read_recording` without warnings: what it would warn of is among the notes."""
    files = [Path(path)] if isinstance(path, str | PathLike) else [Path(file) for file in path]
    path = joint_path(files)
    source = open_source(
        path if len(files) == 1 else files, modalities, channels, derive, columns, timezone
    )
    scoring, separate, notes = _find_scoring(path, hypnogram, source)
    labels, notes = _align_scoring(scoring, separate, source, notes)
    recording = Recording.from_source(
        source, subject=subject_of(path) if subject is None else subject,
        metadata={**source.metadata, **(metadata or {})}, start=source.start,
        duration=source.duration, id=path.stem if id is None else id, notes=notes, **labels,
    )  # fmt: skip
    _logger.debug("%s: %s", recording.id, "; ".join(notes) or "nothing left out")
    return recording


def _find_scoring(
    path: Path, hypnogram: str | PathLike[str] | Literal[False] | None, source: _Source
) -> tuple[Scoring | None, bool, tuple[str, ...]]:
    """The labels, whether another file holds them, and notes."""
    if hypnogram is False:
        return None, False, ()
    files = find_hypnograms(path) if hypnogram is None else [Path(hypnogram)]
    errors: list[ReadError] = []
    for file in files:
        try:
            scoring = read_scoring(file, start=source.start)
        except ReadError as error:
            errors.append(error)
            continue
        note = f"labels are from {file.name}, as {files[0].name} holds none that can be read"
        return scoring, True, (note,) if errors else ()
    if errors:
        raise errors[0]
    return source.own_scoring(), False, ()


def _align_scoring(
    scoring: Scoring | None, separate: bool, source: _Source, notes: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Stages, events and lights on the recording's clock, and all notes."""
    notes = (*source.notes, *notes)
    if scoring is None:
        return {}, notes
    shift, clock_notes = _clock_shift(scoring.start, source.start if separate else scoring.start)
    notes = (*notes, *clock_notes)
    stages, (events, lights) = None, _shift_events(scoring, shift)
    if len(scoring.onsets):
        n_epochs = int(source.duration / EPOCH_SECONDS + 1e-6)
        stages, epoch_notes = scoring.to_epochs(n_epochs, shift)
        notes = (*notes, *epoch_notes)
    return {"stages": stages, "events": events, "lights": lights}, notes


def _clock_shift(
    labels: datetime | None, signals: datetime | None
) -> tuple[float, tuple[str, ...]]:
    """Seconds from the signals' start to the labels' start by their clocks, and notes."""
    if labels is None or signals is None:
        return 0.0, ()
    seconds = (labels - signals).total_seconds()
    notes = []
    if abs(seconds) > _DAY / 2:
        # anonymised files often keep the time of day and change the date
        seconds = (seconds + _DAY / 2) % _DAY - _DAY / 2
        notes.append("the dates of labels and signals differ; aligned by the time of day")
    if seconds:
        notes.append(f"labels start {seconds:+g} s from the signals by the clock; moved there")
    return seconds, tuple(notes)


def _shift_events(scoring: Scoring, shift: float) -> tuple[Any, Any]:
    """Events and lights with ``shift`` seconds added to their times."""
    events, lights = scoring.events, scoring.lights
    if shift and events is not None:
        events = events.assign(onset=events["onset"] + shift)
    if shift and lights is not None:
        return events, tuple(None if time is None else time + shift for time in lights)
    return events, lights


def find_hypnograms(path: Path) -> list[Path]:
    """Hypnograms in the folder of a recording, in order of preference.

    Sleep-EDF's ``SC4001E0-PSG.edf`` goes with ``SC4001EC-Hypnogram.edf`` (the last letter names the
    scorer); other names are the recording's stem with ``-Hypnogram.edf``, ``-nsrr.xml``,
    ``-profusion.xml``, ``_hypnogram.csv`` and the like, or ``.csv`` if its header has a stage.
    """
    stem = path.stem
    candidates: list[Path] = []
    if stem.endswith("-PSG"):
        night = re.escape(stem[: -len("-PSG")][:-1])
        pattern = re.compile(night + r"[A-Z0-9]-Hypnogram\.edf", re.IGNORECASE)
        candidates += sorted(p for p in path.parent.glob("*.edf") if pattern.fullmatch(p.name))
    for base in dict.fromkeys((stem, re.sub(r"[-_]PSG$", "", stem))):
        candidates += [path.with_name(base + ending) for ending in _ENDINGS]
        table = path.with_name(base + ".csv")
        if table.is_file():
            with table.open(encoding="utf-8", errors="replace") as file:
                candidates += [table] if _STAGE_HEADER.search(file.readline().strip()) else []
    return [file for file in dict.fromkeys(candidates) if file != path and file.is_file()]


def is_hypnogram_name(path: Path) -> bool:
    """Whether a file's name says that it holds labels, not signals."""
    return bool(re.search(r"hypnogram|-nsrr$|-profusion$|annotation|scoring", path.stem, re.I))


def subject_of(path: Path) -> str:
    """Subject of a night by its file name.

    The nights of Sleep-EDF share their subject digits (``SC4ssN``), the visits of NSRR cohorts
    their subject (``mros-visit1-aa0001``, ``shhs2-200001``); elsewhere each file is a subject.
    """
    sleep_edf, nsrr = _SLEEP_EDF.fullmatch(path.stem), _NSRR.fullmatch(path.stem)
    if sleep_edf:
        return sleep_edf[1] + sleep_edf[2]
    if nsrr:
        return f"{nsrr['study']}-{nsrr['subject']}"
    return path.stem
