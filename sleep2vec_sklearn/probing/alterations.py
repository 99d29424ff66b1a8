# SPDX-License-Identifier: BSD-3-Clause
"""Nights with a sensor that is off, noisy, or somebody else's, made when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..signals.modality import EPOCH_SECONDS
from ..signals.recording import Recording
from ..signals.sources import Signal, SignalLayout

__all__ = ["AddedNoise", "Alteration", "EpochsOff", "OfAnotherNight", "alter"]


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
