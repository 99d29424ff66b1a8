# SPDX-License-Identifier: BSD-3-Clause
"""Sources that read the derivations of a montage, and choose among those of one region."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from ..recordings._conditioning import find_good_epochs
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.sources import Signal, SignalLayout
from ._edf_header import FileSource
from ._montage import Channel, Derivation, pick_montage


class MontageSource(FileSource):
    """Signals of the derivations in ``montage``, read from a file that is opened once a read.

    With ``derivations="one"``, a modality is read from its preferred derivation. Only if epochs of
    that are off, the others of its region are read too, and the one with most good epochs is kept,
    whole: what a lead that fell off costs is one more channel, and nothing where all is well.
    """

    start: datetime | None
    metadata: dict[str, Any]
    notes: tuple[str, ...]
    duration: float

    def __init__(
        self, path: str | PathLike[str], *, modalities: str | Sequence[str] | None = None,
        channels: Mapping[str, Any] | None = None, units: Mapping[str, str] | None = None,
        derivations: str = "one",
    ):  # fmt: skip
        self.path = Path(path)
        self.files: tuple[Path, ...] = (self.path,)
        self._chosen: dict[str, tuple[str, ...]] = {}
        self.montage = pick_montage(
            self._open_header(), modalities=modalities, overrides=channels, units=units,
            mode=derivations, where=str(self.path),
        )  # fmt: skip
        self.notes += self.montage.notes

    def _open_header(self) -> list[Channel]:
        """Set what the header states, and list its channels."""
        raise NotImplementedError

    def _open_samples(self, derivations: Sequence[Derivation]) -> Callable[[Derivation], Signal]:
        """Open the file; the call reads a derivation, one of these or, more slowly, another."""
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
            name: SignalLayout(d.channel.rate, d.unit, round(self.duration * d.channel.rate))
            for name, d in self.montage.derivations.items()
        }

    @property
    def derivation_mode(self) -> str:
        """What further derivations are for: "one" keeps none, "fill" and "all" do."""
        return self.montage.mode

    @property
    def derivations(self) -> dict[str, tuple[str, ...]]:
        """Labels of the derivations of each modality; of "one", of all until the first is read."""
        names = self.montage.derivations
        return {n: tuple(d.label for d in self._derivations_of(n)) for n in names} | self._chosen

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read these modalities, opening the file once; a ReadError if it has changed."""
        if not names:
            return {}
        read = self._open_samples([self.montage.derivations[name] for name in names])
        if self.montage.mode != "one":
            return {name: read(self.montage.derivations[name]) for name in names}
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
        candidates = self._derivations_of(name)
        best, label, most = read(candidates[0]), candidates[0].label, -1
        if candidates[1:]:
            n_epochs = int(self.duration / EPOCH_SECONDS + 1e-6)
            for i, candidate in enumerate(candidates):
                signal = read(candidate) if i else best
                n_good = int(find_good_epochs(signal, name, n_epochs, coarse=True).sum())
                if n_good > most:
                    best, label, most = signal, candidate.label, n_good
                if most == n_epochs:
                    break
        self._chosen[name] = (label,)
        return best
