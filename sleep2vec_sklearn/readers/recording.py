# SPDX-License-Identifier: BSD-3-Clause
"""One recording from one file, with the hypnogram stored with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, overload

from .._arguments import check_option, shown
from .._warnings import warn
from ..errors import InvalidRecordingError, ReadError, RecordingWarning, Sleep2VecError
from ..recordings._notes import warn_of_notes
from ..recordings.modality import MODALITIES
from ..recordings.recording import Recording
from ._boundary import as_path
from ._labels import align_labels, read_night_labels
from ._nsrr import identify
from .formats import ReadSettings, add_derived, open_source
from .mne import RawSource
from .wearables import is_wearable, joint_path

_Paths = str | PathLike[str] | Sequence[str | PathLike[str]]
_logger = logging.getLogger("sleep2vec_sklearn")


# on_error="raise", the default, gives no None
@overload
def read_recording(
    path: _Paths, *, hypnogram: str | PathLike[str] | Literal[False] | None = ...,
    modalities: str | Sequence[str] | None = ..., channels: Mapping[str, Any] | None = ...,
    units: Mapping[str, str] | None = ..., derivations: str = ..., subject: Any = ...,
    metadata: Mapping[str, Any] | None = ..., id: str | None = ..., derive: bool = ...,
    scorer: str | None = ..., columns: Mapping[str, Any] | None = ...,
    timezone: str | None = ..., on_error: Literal["raise"] = ...,
) -> Recording: ...  # fmt: skip


@overload
def read_recording(
    path: _Paths, *, hypnogram: str | PathLike[str] | Literal[False] | None = ...,
    modalities: str | Sequence[str] | None = ..., channels: Mapping[str, Any] | None = ...,
    units: Mapping[str, str] | None = ..., derivations: str = ..., subject: Any = ...,
    metadata: Mapping[str, Any] | None = ..., id: str | None = ..., derive: bool = ...,
    scorer: str | None = ..., columns: Mapping[str, Any] | None = ...,
    timezone: str | None = ..., on_error: str,
) -> Recording | None: ...  # fmt: skip


def read_recording(
    path: _Paths, *, hypnogram: str | PathLike[str] | Literal[False] | None = None,
    modalities: str | Sequence[str] | None = None, channels: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None, derivations: str = "one", subject: Any = None,
    metadata: Mapping[str, Any] | None = None, id: str | None = None, derive: bool = True,
    scorer: str | None = None, columns: Mapping[str, Any] | None = None,
    timezone: str | None = None, on_error: str = "raise",
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
        searched by the recording's name in its folder, in folders of labels there, and in trees
        of labels parallel to its own; if the first cannot be read, the next one is taken, with a
        warning. The recording's own annotations are read if there is no such file, or none that
        can be read. False reads no labels and events.
    modalities : sequence of str, optional
        Only these; by default all that have a channel.
    channels : mapping, optional
        Modality to channel label, to (label, reference label), or to None to leave it out. The
        others are chosen by their labels; see :func:`describe_channels`.
    units : mapping, optional
        Modality or channel label to the unit of its samples, where the file states none or a wrong
        one, e.g. ``{"ecg": "mV"}``.
    derivations : {"one", "fill", "all"}, default="one"
        Where channels of one region fit a modality, such as C4-M1 and C3-M2: "one" reads a single
        one, which is the preferred one, or that which is on for more of the night. "fill" fills
        the epochs in which it is off from the others, each conditioned over its own night. "all"
        keeps every derivation, of any region; a transformer encodes each, and takes the mean over
        those that are on, epoch by epoch. What else reads signals takes the preferred one.
    subject : hashable, optional
        Subject identifier; by default that of the file name (Sleep-EDF, NSRR, BIDS), else its stem.
    metadata : mapping, optional
        Added to the age and sex of the header, over which it has precedence.
    id : str, optional
        Name of the recording; the file's stem by default. Never the patient's name.
    derive : bool, default=True
        Derive ``ibi`` from the ECG or PPG, and ``resp`` from a belt, the airflow or the ECG, if the
        file does not hold them. They are computed on use, named by ``Recording.derived``, and not
        independent of their sources. ``channels={"resp": None}`` leaves one of them out.
    scorer : str, optional
        Whose stages to read if a table has several; see :func:`read_scoring`.
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
    check_option("on_error", on_error, ("raise", "warn"))
    if (columns is not None or timezone is not None) and not is_wearable(path):
        raise ReadError(
            f"{path}: columns and timezone are for files of wearables; accepted here are channels "
            "and modalities. Leave them out."
        )
    settings = ReadSettings(
        modalities, channels, units, derivations, derive, scorer, columns, timezone
    )
    try:
        recording = read_night(
            path, settings, hypnogram=hypnogram, subject=subject, metadata=metadata, id=id
        )
    except (Sleep2VecError, OSError) as error:
        if on_error == "raise":
            raise
        warn(f"recording left out: {error}", RecordingWarning)
        return None
    warn_of_notes([recording])
    return recording


def read_night(
    path: _Paths, settings: ReadSettings, *,
    hypnogram: str | PathLike[str] | Literal[False] | None = None, subject: Any = None,
    metadata: Mapping[str, Any] | None = None, id: str | None = None,
) -> Recording:  # fmt: skip
    """:func:`read_recording` without warnings: what it would warn of is among the notes."""
    several = isinstance(path, Sequence) and not isinstance(path, str) and len(path) > 0
    listed: Any = path if several else [path]
    files = [as_path(file) for file in listed]
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ReadError(
            f"metadata is {shown(metadata)}; accepted is a dict of facts of the night. Of a row of "
            "a table pass row.to_dict()."
        )
    path = joint_path(files)
    source = open_source(path if len(files) == 1 else files, settings)
    labels, notes = read_night_labels(path, hypnogram, source, settings.scorer, settings.coding)
    notes = (*source.notes, *notes)
    recording = Recording.from_source(
        source, subject=identify(path).subject if subject is None else subject,
        metadata={**source.metadata, **(metadata or {})}, start=source.start,
        duration=source.duration, id=path.stem if id is None else id, notes=notes, **labels,
    )  # fmt: skip
    _logger.debug("%s: %s", recording.id, "; ".join(notes) or "nothing left out")
    return recording


def recording_from_raw(
    cls: type[Recording], raw: Any, *, modalities: str | Sequence[str] | None,
    channels: Mapping[str, Any] | None, derive: bool, **described: Any,
) -> Recording:  # fmt: skip
    """See :meth:`Recording.from_mne`."""
    if not (hasattr(raw, "get_data") and hasattr(raw, "first_time")):
        raise InvalidRecordingError(
            f"raw is a {type(raw).__name__}; accepted is a Raw object of MNE-Python. Read files by "
            "read_recording."
        )
    source: Any = RawSource(raw, modalities=modalities, channels=channels)
    if derive and modalities is None:
        source = add_derived(source, tuple(MODALITIES), channels)
    labels, notes = align_labels(source.own_scoring(), source, None, source.notes)
    described = labels | {"start": source.start} | described
    metadata = {**source.metadata, **(described.pop("metadata", None) or {})}
    recording = cls.from_source(
        source, duration=source.duration, metadata=metadata, notes=notes, **described
    )
    warn_of_notes([recording])
    return recording
