# SPDX-License-Identifier: BSD-3-Clause
"""X with its nights exchanged for others, row by row the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import InvalidRecordingError
from ..recordings.epochs import EpochSequence, as_epoch_sequence
from ..recordings.modality import EPOCH_SECONDS, MODALITIES, list_modalities
from ..recordings.recording import Recording, as_recording
from ..recordings.sources import Signal, SignalLayout

__all__ = [
    "AddedNoise",
    "Alteration",
    "EpochsOff",
    "Nights",
    "OfAnotherNight",
    "alter",
    "check_reads_signals",
    "choose_modalities",
    "supported_modalities",
]


class Nights:
    """The recordings behind X, each once.

    Parameters
    ----------
    X : list of Recording or dict, list of lists of them, or EpochSequence

    Attributes
    ----------
    recordings : tuple of Recording
    X : list or EpochSequence
        As given, dicts made recordings.

    Raises
    ------
    InvalidRecordingError
        If X is something else.
    """

    def __init__(self, X):
        epochs = as_epoch_sequence(X)
        if epochs is not None:
            self.X = epochs
            self.recordings = epochs.recordings
            return
        rows = X.tolist() if hasattr(X, "iloc") and X.ndim == 1 else X
        if not isinstance(rows, Sequence | np.ndarray) or isinstance(rows, str):
            raise InvalidRecordingError(
                f"X is a {type(X).__module__}.{type(X).__name__}; a study of sensors needs the "
                "recordings themselves: a list of them, or an EpochSequence."
            )
        self.X = [_read_row(row, place) for place, row in enumerate(rows)]
        self.recordings = tuple({id(night): night for night in self._flat()}.values())

    def __len__(self) -> int:
        return len(self.X)

    def _flat(self) -> Iterator[Recording]:
        for row in self.X:
            yield from row if isinstance(row, list) else [row]

    @property
    def modalities(self) -> tuple[str, ...]:
        """All that any of the nights has, in the catalogue's order."""
        found = {name for night in self.recordings for name in night.modalities}
        return tuple(name for name in MODALITIES if name in found)

    def change(self, changed: Callable[[Recording, int], Recording | None]):
        """Exchange each night for another, or for none.

        Parameters
        ----------
        changed : callable
            Function of a night and its place in ``recordings``; None leaves it out.

        Returns
        -------
        X : list or EpochSequence
            Without the rows that have no night left.
        kept : int ndarray
            Their places in the X given.
        """
        new = [changed(night, place) for place, night in enumerate(self.recordings)]
        if isinstance(self.X, EpochSequence):
            return self._change_epochs(new)
        by_identity = {id(old): n for old, n in zip(self.recordings, new, strict=True)}
        rows, kept = [], []
        for place, row in enumerate(self.X):
            several = isinstance(row, list)
            nights = [by_identity[id(night)] for night in (row if several else [row])]
            nights = [night for night in nights if night is not None]
            if nights:
                rows.append(nights if several else nights[0])
                kept.append(place)
        return rows, np.array(kept, dtype=int)

    def _change_epochs(self, new: Sequence[Recording | None]):
        exists = np.array([night is not None for night in new])
        kept = np.flatnonzero(exists[self.X.recording_index])
        if not len(kept):
            return [], kept
        place = np.cumsum(exists) - 1
        nights = [night for night in new if night is not None]
        starts = np.cumsum([0, *(night.n_epochs for night in nights)])
        rows = starts[place[self.X.recording_index[kept]]] + self.X.epoch_index[kept]
        return EpochSequence(nights)[rows], kept


def _read_row(row, place: int):
    if isinstance(row, list | tuple):
        return [as_recording(night, f"{place}, night {k}") for k, night in enumerate(row)]
    return as_recording(row, place)


def _parts_of(estimator) -> Iterator:
    """An estimator, and what it is made of."""
    yield estimator
    best = getattr(estimator, "best_estimator_", None) or getattr(estimator, "estimator", None)
    if best is not None and not isinstance(best, str):
        yield from _parts_of(best)
    for kind in ("steps", "transformer_list"):
        for step in getattr(estimator, kind, ()):
            yield from _parts_of(step[1])


def supported_modalities(estimator) -> tuple[str, ...] | None:
    """What a fitted estimator reads, if one of its parts tells."""
    for part in _parts_of(estimator):
        names = getattr(part, "modalities_", None)
        if names is not None:
            return tuple(names)
    return None


def check_reads_signals(estimator) -> None:
    """Refuse an estimator that looks its rows up by name, whatever the sensors.

    Raises
    ------
    TypeError
        If a part of it is a PrecomputedEmbeddings.
    """
    if any(type(part).__name__ == "PrecomputedEmbeddings" for part in _parts_of(estimator)):
        raise TypeError(
            "PrecomputedEmbeddings looks rows up by recording, so a lost sensor would change "
            "nothing. Use a Sleep2VecTransformer; its cache encodes each signal once."
        )


def choose_modalities(names, nights: Nights, supported: Sequence[str] | None) -> tuple[str, ...]:
    """The modalities to study: those named, else all that the nights have and estimators read.

    Raises
    ------
    UnknownModalityError
        If a name is not in the catalogue.
    InvalidRecordingError
        If no night has one, or the estimator does not read it.
    """
    there = nights.modalities
    if names is None:
        chosen = tuple(name for name in there if supported is None or name in supported)
    else:
        chosen = tuple(list_modalities(names))
    absent = [name for name in chosen if name not in there]
    if absent or not chosen:
        raise InvalidRecordingError(
            f"{', '.join(absent) or 'no modality'}: in none of the {len(nights.recordings)} "
            f"nights that the estimator reads; they have {', '.join(there)}. Leave it out."
        )
    unread = [name for name in chosen if supported is not None and name not in supported]
    if unread:
        raise InvalidRecordingError(
            f"{', '.join(unread)}: not read by this estimator, which was fitted for "
            f"{', '.join(supported)}. Leave it out, or fit one that reads it."
        )
    return chosen


class Alteration(Protocol):
    """What happens to one modality of a night."""

    def apply(self, night: Recording, name: str) -> Signal:
        """Read the signal, altered."""

    def fingerprint(self, night: Recording, name: str) -> str:
        """Hex sha256 of what the altered samples depend on."""

    def layout(self, night: Recording, name: str) -> SignalLayout:
        """Rate, unit and length of the altered signal."""


def _layout_of(night: Recording, name: str) -> SignalLayout:
    rate = night.rates[name]
    return SignalLayout(rate, night.units[name], round(night.duration * rate))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class EpochsOff:
    """No samples in some epochs.

    Attributes
    ----------
    lost : bool ndarray of shape (n_epochs,)
    """

    lost: np.ndarray

    def apply(self, night: Recording, name: str) -> Signal:
        """Read the signal, NaN where the sensor is off."""
        signal = night.signal(name)
        values = signal.values.astype(np.result_type(signal.values, np.float32))
        edges = np.arange(len(self.lost) + 1) * EPOCH_SECONDS * signal.rate
        edges = np.round(edges).astype(int)
        for epoch in np.flatnonzero(self.lost):
            values[edges[epoch] : edges[epoch + 1]] = np.nan
        return Signal(values, signal.rate, signal.unit)

    def fingerprint(self, night: Recording, name: str) -> str:
        """Of the samples and the epochs."""
        off = np.flatnonzero(self.lost).tolist()
        return _digest("off", night.signal_fingerprint(name), off)

    def layout(self, night: Recording, name: str) -> SignalLayout:
        """That of the signal."""
        return _layout_of(night, name)


@dataclass(frozen=True, eq=False)
class AddedNoise:
    """White Gaussian noise on top of the signal.

    Attributes
    ----------
    scale : float
        In standard deviations of the night's signal.
    seed : int
    """

    scale: float
    seed: int

    def apply(self, night: Recording, name: str) -> Signal:
        """Read the signal with noise; gaps stay gaps."""
        signal = night.signal(name)
        finite = signal.values[np.isfinite(signal.values)]
        spread = self.scale * float(finite.std(dtype=float)) if len(finite) else 0.0
        noise = np.random.default_rng(self.seed).standard_normal(len(signal.values), np.float32)
        values = signal.values + np.float32(spread) * noise
        return Signal(values, signal.rate, signal.unit)

    def fingerprint(self, night: Recording, name: str) -> str:
        """Of the samples and the seed."""
        return _digest("noise", night.signal_fingerprint(name), self.scale, self.seed)

    def layout(self, night: Recording, name: str) -> SignalLayout:
        """That of the signal."""
        return _layout_of(night, name)


@dataclass(frozen=True, eq=False)
class OfAnotherNight:
    """The same sensor in another night, which ends where that one ends.

    Attributes
    ----------
    donor : Recording
    """

    donor: Recording

    def apply(self, night: Recording, name: str) -> Signal:
        """Read the donor's signal."""
        return self.donor.signal(name)

    def fingerprint(self, night: Recording, name: str) -> str:
        """The donor's, so that its tokens are found where both nights are as long."""
        return self.donor.signal_fingerprint(name)

    def layout(self, night: Recording, name: str) -> SignalLayout:
        """That of the donor's signal."""
        return _layout_of(self.donor, name)


class _AlteredSource:
    """Signals of a night, some of them altered."""

    def __init__(self, night: Recording, changes: Mapping[str, Alteration]):
        self._night = night
        self._changes = dict(changes)

    @property
    def layout(self) -> dict[str, SignalLayout]:
        night = self._night
        return {
            name: self._changes[name].layout(night, name)
            if name in self._changes
            else _layout_of(night, name)
            for name in night.modalities
        }

    @property
    def derived(self) -> tuple[str, ...]:
        return self._night.derived

    @property
    def files(self) -> tuple:
        return self._night.files

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        whole = self._night.read([name for name in names if name not in self._changes])
        return {
            name: self._changes[name].apply(self._night, name)
            if name in self._changes
            else whole[name]
            for name in names
        }

    def fingerprint(self) -> str:
        return _digest(*(self.signal_fingerprint(name) for name in self._night.modalities))

    def signal_fingerprint(self, name: str) -> str:
        if name in self._changes:
            return self._changes[name].fingerprint(self._night, name)
        return self._night.signal_fingerprint(name)


def alter(night: Recording, changes: Mapping[str, Alteration]) -> Recording:
    """The same night with some sensors altered; labels, subject and name stay.

    Parameters
    ----------
    night : Recording
    changes : mapping of str to Alteration
        By modality; those the night lacks are passed over.
    """
    changes = {name: change for name, change in changes.items() if name in night.modalities}
    if not changes:
        return night
    return Recording.from_source(
        _AlteredSource(night, changes),
        subject=night.subject,
        metadata=night.metadata,
        stages=night.stages,
        events=night.events,
        start=night.start,
        lights=night.lights,
        duration=night.duration,
        id=night.id,
        notes=night.notes,
    )
