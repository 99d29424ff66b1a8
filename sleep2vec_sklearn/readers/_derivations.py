# SPDX-License-Identifier: BSD-3-Clause
"""Sources that read the derivations of a montage, and choose among those of one region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..recordings._conditioning import find_good_epochs
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.sources import Signal, SignalLayout
from ._edf_header import FileSource
from ._montage import Derivation, Montage


class MontageSource(FileSource):
    """Signals of the derivations in ``montage``, read from a file that is opened once a read.

    With ``derivations="one"``, a modality is read from its preferred derivation. Only if epochs of
    that are off, the others of its region are read too, and the one with most good epochs is kept,
    whole: what a lead that fell off costs is one more channel, and nothing where all is well.
    """

    montage: Montage
    duration: float

    def __init__(self) -> None:
        self._chosen: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        # joblib.Memory knows X by a hash of its pickle, which must not change as X is read
        return {**self.__dict__, "_chosen": {}}

    def _open_samples(self, derivations: Sequence[Derivation]) -> Callable[[Derivation], Signal]:
        """Open the file; the call reads a derivation, one of these or, more slowly, another."""
        raise NotImplementedError

    def _count_samples(self, derivation: Derivation) -> int:
        raise NotImplementedError

    def _mark(self, settings: tuple[Any, ...]) -> tuple[Any, ...]:
        """Settings of a derivation, with what else its samples depend on."""
        return settings

    def _settings(self) -> list[tuple[Any, ...]]:
        return [self._mark(row) for row in self.montage.settings]

    @property
    def layout(self) -> dict[str, SignalLayout]:
        """Layout of each modality, from the header alone."""
        return {
            name: SignalLayout(d.channel.rate, d.unit, self._count_samples(d))
            for name, d in self.montage.derivations.items()
        }

    @property
    def derivation_mode(self) -> str:
        """What further derivations are for: "one" keeps none, "fill" and "all" do."""
        return self.montage.mode

    @property
    def derivations(self) -> dict[str, tuple[str, ...]]:
        """Labels of the derivations of each modality; of "one", that which was read last."""
        keeps = self.montage.mode != "one"
        return {
            name: tuple(d.label for d in self._derivations_of(name))
            if keeps
            else (self._chosen.get(name, first.label),)
            for name, first in self.montage.derivations.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read these modalities, opening the file once; a ReadError if it has changed."""
        if not names:
            return {}
        read = self._open_samples([self.montage.derivations[name] for name in names])
        return {name: self._read_best(name, read) for name in names}

    def read_derivation(self, name: str, index: int) -> Signal:
        """Read one derivation of a modality by its index in :attr:`derivations`."""
        derivation = self._derivations_of(name)[index]
        return self._open_samples([derivation])(derivation)

    def _settings_of(self, name: str, derivation: int) -> tuple[Any, ...]:
        if derivation == 0:
            return super()._settings_of(name, 0)
        return self._mark(self._derivations_of(name)[derivation].settings(name))

    def _derivations_of(self, name: str) -> tuple[Derivation, ...]:
        return (self.montage.derivations[name], *self.montage.others.get(name, ()))

    def _read_best(self, name: str, read: Callable[[Derivation], Signal]) -> Signal:
        first, *others = self._derivations_of(name)
        best, label = read(first), first.label
        if self.montage.mode == "one" and others:
            n_epochs = int(self.duration / EPOCH_SECONDS + 1e-6)
            most = find_good_epochs(best, name, n_epochs, coarse=True).sum()
            for other in others:
                if most == n_epochs:
                    break
                signal = read(other)
                n_good = find_good_epochs(signal, name, n_epochs, coarse=True).sum()
                if n_good > most:
                    best, label, most = signal, other.label, n_good
        self._chosen[name] = label
        return best
