# SPDX-License-Identifier: BSD-3-Clause
"""One recording from one file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ..errors import ReadError, RecordingWarning, Sleep2VecError
from ..signals import EPOCH_SECONDS, Recording
from .annotations import read_scoring
from .formats import open_source
from .scoring import Scoring
from .siblings import find_hypnograms, subject_of

__all__ = ["read_recording"]

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
        warnings.warn(f"recording left out: {error}", RecordingWarning, stacklevel=2)
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
