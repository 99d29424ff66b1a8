# SPDX-License-Identifier: BSD-3-Clause
"""One night of one subject: an immutable mapping from modality to samples."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import InvalidRecordingError
from .modality import EPOCH_SECONDS, MODALITIES, get_modality, list_modalities
from .sources import MemorySource, Signal, SignalSource, longest_duration
from .stages import as_stages

__all__ = [
    "Recording",
    "as_names",
    "as_recording",
    "describe_recording",
    "name_subjects",
    "prefix_errors",
]

NOT_AN_ARRAY = (
    "recordings and their epochs are no array, and this tool makes one of X: put the step that "
    "needs numbers after a Sleep2VecTransformer, as in make_pipeline(Sleep2VecTransformer(), "
    "BaggingClassifier()), or hand the tool the rows, Sleep2VecTransformer().fit_transform(X)."
)
_EPOCH_TOLERANCE = 1e-6
_MISSING_IN_TABLES = ("nan", "<NA>", "NaT")


class Recording(Mapping):
    """One night of one subject on one montage.

    A read-only mapping from modality name to a one-dimensional array. Plain dicts are accepted
    wherever a recording is; this class adds rates, units, labels and metadata.

    Parameters
    ----------
    signals : mapping of str to array-like, (array-like, float), Signal or None
        Samples of each modality, of shape (n_samples,) or (n_epochs, samples_per_epoch); a pair
        (samples, rate in Hz); a :class:`Signal` with its rate and unit, as :meth:`read` gives it;
        or None for a modality that is known to be missing. NaN is a gap.
        Nothing is copied: do not change an array afterwards, its tokens may be cached.
    rates : mapping of str to float, optional
        Samples per second. Where none is given, samples are at the catalogue's rate.
    units : mapping of str to str, optional
        Unit of the samples, e.g. ``{"eeg": "V", "ibi": "ms"}``; the catalogue's where none is
        given.
    subject : hashable, optional
        Who it is; the group in cross-validation. NaN and the like count as None.
    metadata : mapping, optional
        Age, sex, site and whatever else is known.
    stages : array-like of shape (n_epochs,), optional
        Sleep stage per 30-s epoch; see :class:`SleepStage`.
    events : DataFrame, optional
        Columns ``onset`` and ``duration`` in seconds from the start, and ``type``.
    start : datetime, optional
        Clock time of the first sample.
    lights : (float or None, float or None), optional
        Lights-off and lights-on, in seconds from the start.
    duration : float, optional
        Length in seconds. By default that of the longest modality; a shorter modality leaves
        missing epochs at its end.
    id : str, optional
        Name used in errors, indices and caches.
    align : {"raise", "trim"}, default="raise"
        What to do with stages that do not fit: raise, or cut the surplus and mark the missing
        ones as unscored.

    Attributes
    ----------
    n_epochs : int
        Whole 30-s epochs; fixed here and kept by :meth:`without`.
    modalities : tuple of str
        Modalities that have a signal, in the catalogue's order.

    Raises
    ------
    InvalidRecordingError
        If there is no signal, less than one epoch of it, or labels that do not fit.
    UnknownModalityError
        If a name is not in the catalogue.
    InvalidSignalError
        If a signal has the wrong rank, type, rate or unit.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Recording
    >>> night = Recording({"ecg": (np.zeros(60 * 200), 200), "spo2": None}, subject="a")
    >>> night.n_epochs, night.modalities
    (2, ('ecg',))
    """

    def __init__(
        self,
        signals: Mapping[str, Any],
        *,
        rates: Mapping[str, float] | None = None,
        units: Mapping[str, str] | None = None,
        subject=None,
        metadata: Mapping | None = None,
        stages=None,
        events=None,
        start=None,
        lights=None,
        duration: float | None = None,
        id: str | None = None,
        align: str = "raise",
    ):
        self.id = id
        with self._named_in_errors():
            self._source: SignalSource = MemorySource(_checked_mapping(signals), rates, units)
            self._describe(subject, metadata, events, start, lights, duration)
            self._label(stages, align)

    @classmethod
    def from_source(
        cls,
        source: SignalSource,
        *,
        subject=None,
        metadata: Mapping | None = None,
        stages=None,
        events=None,
        start=None,
        lights=None,
        duration: float | None = None,
        id: str | None = None,
        notes: Sequence[str] = (),
        align: str = "raise",
    ) -> Recording:
        """Make a lazy recording, whose samples are read when they are asked for.

        Parameters
        ----------
        source : SignalSource
            Gives the layout at once and the samples later.
        notes : sequence of str
            What a reader left out or changed, and why.

        The other parameters are those of the class.
        """
        recording = cls.__new__(cls)
        recording.id = id
        with recording._named_in_errors():
            recording._source = source
            recording._describe(subject, metadata, events, start, lights, duration, notes)
            recording._label(stages, align)
        return recording

    def _named_in_errors(self):
        return prefix_errors(None if self.id is None else describe_recording(self))

    def _describe(
        self, subject, metadata, events, start, lights, duration, notes: Sequence[str] = ()
    ) -> None:
        layout = self._source.layout
        self.modalities = tuple(name for name in MODALITIES if name in layout)
        self.duration = float(longest_duration(layout) if duration is None else duration)
        if not np.isfinite(self.duration):
            raise InvalidRecordingError(
                f"the night has duration {duration!r}; accepted is a number of seconds, or None "
                "for that of the longest modality."
            )
        self.n_epochs = int(self.duration / EPOCH_SECONDS + _EPOCH_TOLERANCE)
        if self.n_epochs < 1:
            raise InvalidRecordingError(
                f"the night lasts {self.duration:g} s, shorter than one epoch of "
                f"{EPOCH_SECONDS} s. Check the rates: they are samples per second."
            )
        # what a table has for a missing subject equals nothing, or cannot be compared at all
        self.subject = None if str(subject) in _MISSING_IN_TABLES else subject
        self.metadata = MappingProxyType(dict(metadata or {}))
        self.events = events
        self.start = start
        self.lights = None if lights is None else tuple(lights)
        self.notes = tuple(notes)

    def _label(self, stages, align: str) -> None:
        if align not in ("raise", "trim"):
            raise InvalidRecordingError(f"align must be 'raise' or 'trim', got {align!r}.")
        self.stages = None if stages is None else as_stages(stages)
        surplus = 0 if self.stages is None else len(self.stages) - self.n_epochs
        if surplus == 0:
            return
        if align == "raise":
            raise InvalidRecordingError(
                f"the night has {len(self.stages)} stages for {self.n_epochs} epochs of "
                f"{EPOCH_SECONDS} s ({self.duration:g} s of signal). Check where the labels "
                "start, or pass align='trim' to cut the surplus and leave missing ones unscored."
            )
        missing = np.full(max(-surplus, 0), -1, dtype=np.int8)
        self.stages = as_stages(np.concatenate([self.stages[: self.n_epochs], missing]))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.signal(name).values

    def __contains__(self, name: object) -> bool:
        # that of Mapping would read the signal
        return name in self.modalities

    def __iter__(self) -> Iterator[str]:
        return iter(self.modalities)

    def __len__(self) -> int:
        return len(self.modalities)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __array__(self, *args, **kwargs):
        raise TypeError(NOT_AN_ARRAY)

    def __repr__(self) -> str:
        name = f"id={self.id!r}, " if self.id is not None else ""
        return f"Recording({name}{self.n_epochs} epochs, {', '.join(self.modalities)})"

    def __getstate__(self) -> dict:
        return {**self.__dict__, "metadata": dict(self.metadata)}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.metadata = MappingProxyType(self.metadata)
        if self.stages is not None:
            self.stages.flags.writeable = False

    @property
    def rates(self) -> dict[str, float]:
        """Native samples per second of each modality."""
        return {name: self._source.layout[name].rate for name in self.modalities}

    @property
    def units(self) -> dict[str, str]:
        """Unit of each modality's samples."""
        return {name: self._source.layout[name].unit for name in self.modalities}

    @property
    def derived(self) -> tuple[str, ...]:
        """Modalities that the reader made from others, such as ``ibi`` from an ECG."""
        made = getattr(self._source, "derived", ())
        return tuple(name for name in self.modalities if name in made)

    @property
    def fingerprint(self) -> str:
        """Hex sha256 of the samples, or of the file and settings they are read with."""
        return self._source.fingerprint()

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that a fingerprint is made from; none for signals in memory."""
        return tuple(getattr(self._source, "files", ()))

    def signal_fingerprint(self, name: str) -> str:
        """Hex sha256 of what one modality's samples depend on, whatever else is read.

        Parameters
        ----------
        name : str
            One of ``modalities``.
        """
        of_one = getattr(self._source, "signal_fingerprint", None)
        return self._source.fingerprint() if of_one is None else of_one(name)

    def read(self, names: Sequence[str] | None = None) -> dict[str, Signal]:
        """Read several modalities in one pass over the source.

        Parameters
        ----------
        names : sequence of str, optional
            All modalities by default; those the recording lacks are left out.
        """
        present = [name for name in list_modalities(names) if name in self.modalities]
        return self._source.read(present) if present else {}

    def signal(self, name: str) -> Signal:
        """Read one modality with its rate and unit.

        Raises
        ------
        KeyError
            If the recording does not have it.
        """
        if get_modality(name).name not in self.modalities:
            raise KeyError(f"{name!r}; {describe_recording(self)} has {', '.join(self.modalities)}")
        return self._source.read([name])[name]

    def without(self, *names: str) -> Recording:
        """The same night with modalities left out; its epochs and labels stay.

        Raises
        ------
        InvalidRecordingError
            If nothing would be left.
        """
        dropped = {get_modality(name).name for name in names}
        kept = tuple(name for name in self.modalities if name not in dropped)
        if not kept:
            raise InvalidRecordingError(
                f"{describe_recording(self)} would have no modality left without "
                f"{', '.join(self.modalities)}. Leave the recording out instead."
            )
        smaller = copy.copy(self)
        smaller.modalities = kept
        return smaller

    def coverage(self) -> dict[str, float]:
        """Seconds of usable signal per modality: samples that are neither NaN nor a flat sensor."""
        return {name: _usable_seconds(signal) for name, signal in self.read().items()}


def _usable_seconds(signal: Signal) -> float:
    finite = np.isfinite(signal.values)
    usable = signal.values[finite]
    if usable.size == 0 or usable.min() == usable.max():
        return 0.0
    return float(finite.sum() / signal.rate)


def as_recording(element: Any, position: int | str | None = None) -> Recording:
    """Take a Recording as it is and make one of a plain dict.

    Raises
    ------
    InvalidRecordingError
        If the element is neither, or a dict that cannot be a recording; names its position.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import as_recording
    >>> as_recording({"spo2": [96.0] * 480})
    Recording(4 epochs, spo2)
    """
    if isinstance(element, Recording):
        return element
    place = describe_recording(None, position)
    if not isinstance(element, Mapping):
        raise InvalidRecordingError(
            f"{place} is a {type(element).__name__}; accepted are a Recording or a dict of "
            "modality to samples, e.g. {'eeg': samples, 'spo2': None}."
        )
    with prefix_errors(place):
        return Recording(element)


def _checked_mapping(signals) -> Mapping:
    if isinstance(signals, Recording):
        raise InvalidRecordingError(
            "signals is a Recording already, whose rates, units and labels would be lost. Use it "
            "as it is, or pass recording.read(), which has its rates and units."
        )
    if not isinstance(signals, Mapping):
        raise InvalidRecordingError(
            f"signals must be a mapping of modality to samples, got {type(signals).__name__}. "
            "Wrap a bare array, e.g. {'eeg': samples}."
        )
    return signals


def describe_recording(recording: Recording | None, position: int | str | None = None) -> str:
    """How errors name a recording: its position in X, its id, both, or neither."""
    where = "recording" if position is None else f"recording {position}"
    name = getattr(recording, "id", None)
    return where if name is None else f"{where} ({name})"


def name_subjects(recordings: Sequence[Recording]) -> np.ndarray:
    """Name the subject of each recording, else its id or position; see :func:`as_names`."""
    return as_names([r.id if r.subject is None else r.subject for r in recordings])


def as_names(names: Sequence) -> np.ndarray:
    """Make names an object array that can be sorted, None standing for a position.

    Names of kinds that cannot be compared become text, as grouping needs an order.
    """
    if all(name is None for name in names):
        names = range(len(names))
    else:
        # a bare number could be the name of another
        names = [describe_recording(None, i) if n is None else n for i, n in enumerate(names)]
        try:
            sorted(set(names))
        except TypeError:
            names = [str(name) for name in names]
    return np.fromiter(names, dtype=object, count=len(names))


@contextmanager
def prefix_errors(place: str | None) -> Iterator[None]:
    """Begin the errors about a recording with its place."""
    try:
        yield
    except InvalidRecordingError as error:
        if place is not None:
            error.args = (f"{place}: {error}",)
        raise
