# SPDX-License-Identifier: BSD-3-Clause
"""Montages: the derivations of each modality, chosen from a file's channels, and read from it.

A channel slower than the modality's minimum rate is not used. One whose unit is that of another
quantity comes after all others. If a file stores electrodes against a common reference (MrOS, CFS
and other Compumedics exports hold C3, LOC and A2 or M2 as separate channels), the derivation of the
AASM manual is formed by subtraction: EEG and EOG minus the contralateral mastoid, left minus right
ECG and chin electrodes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from .._arguments import check_option
from ..errors import InvalidSignalError, NoUsableChannelError, ReadError
from ..recordings._notes import Caution
from ..recordings._usable import find_good_epochs
from ..recordings.modality import EPOCH_SECONDS, MODALITIES, get_modality, list_modalities
from ..recordings.sources import Signal, SignalLayout, check_mapping
from ._boundary import only_read_errors
from ._channels import (
    MASTOIDS,
    SUM_OF_BELTS,
    VOLTAGES,
    Alias,
    classify_label,
    compact_label,
    find_unit,
    is_foreign_unit,
    parse_dimension,
)
from ._edf_header import FileSource

DERIVATIONS = ("one", "fill", "all")
_RATE_TOLERANCE = 1e-6
_PAIRS = (("ecgl", "ecgr"), ("lchin", "rchin"), ("chinl", "chinr"), ("emgl", "emgr"))
_NUMBERED_PAIRS = tuple((f"{name}1", f"{name}2") for name in ("ecg", "ekg", "emg", "chin"))


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a file as its header describes it; 0 Hz if that gives no rate or scale.

    ``unit`` is what the user says of it, in place of the dimension.
    """

    index: int
    label: str
    rate: float
    dimension: str = ""
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a modality is read: one channel, or one minus a reference, converted by a factor."""

    channel: Channel
    reference: Channel | None
    unit: str
    reference_factor: float = 1.0

    @property
    def label(self) -> str:
        """Label of the channel, and of the reference if one is subtracted."""
        if self.reference is None:
            return self.channel.label
        return f"{self.channel.label} - {self.reference.label}"

    def settings(self, name: str) -> tuple[Any, ...]:
        """What its samples depend on, for their fingerprint."""
        row = (name, self.channel.index, self.reference and self.reference.index, self.unit)
        return row if self.reference_factor == 1 else (*row, self.reference_factor)


@dataclass(frozen=True, slots=True)
class Montage:
    """What is read from a file, and why the rest is not.

    ``derivations`` are in the catalogue's order; ``reasons`` hold per channel the modality, whether
    it is used, and why; ``notes`` list slow channels, subtractions and assumed units. ``others``
    are further derivations, by ``mode``: those of the same region that may be read in place of the
    first ("one") or fill it ("fill"), or all of the modality ("all").
    """

    derivations: Mapping[str, Derivation]
    reasons: tuple[tuple[str | None, bool, str], ...]
    notes: tuple[str, ...]
    others: Mapping[str, tuple[Derivation, ...]] = field(default_factory=dict)
    mode: str = "one"

    @property
    def settings(self) -> list[tuple[Any, ...]]:
        """What the samples of each modality depend on, for its fingerprint."""
        rows = []
        for name, derivation in sorted(self.derivations.items()):
            row = derivation.settings(name)
            others = self.others.get(name, ()) if self.mode != "all" else ()
            rows.append((*row, self.mode, *(o.settings(name) for o in others)) if others else row)
        if self.mode == "all":
            rows += [o.settings(name) for name, kept in sorted(self.others.items()) for o in kept]
        return rows


def check_derivations(mode: str) -> None:
    """Refuse a value of ``derivations=`` that is not known."""
    check_option("derivations", mode, DERIVATIONS)


def pick_montage(
    channels: Sequence[Channel], *, modalities: str | Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None, units: Mapping[str, str] | None = None,
    mode: str = "one", where: str = "file", strict: bool = True,
) -> Montage:  # fmt: skip
    """Choose derivations for every modality that channels allow; none is an error if strict."""
    check_derivations(mode)
    overrides = check_mapping("channels", overrides)
    overrides = {get_modality(name).name: choice for name, choice in overrides.items()}
    wanted = list_modalities(modalities)
    notes: list[str] = []
    channels, units = _declare_units(channels, units, where, notes)
    aliases = [classify_label(channel.label) for channel in channels]
    reasons: list[list[Any]] = [[alias.modality, False, alias.why] for alias in aliases]
    derivations: dict[str, Derivation] = {}
    others: dict[str, tuple[Derivation, ...]] = {}
    for name in MODALITIES:
        chosen: list[tuple[Channel, Channel | None]] = []
        if name not in wanted:
            _explain(reasons, aliases, name, "not among the modalities asked for")
        elif name not in overrides:
            chosen = _choose(channels, aliases, name, mode, reasons, notes)
        else:
            _explain(reasons, aliases, name, f"channels= names another one for {name}")
            if overrides[name] is not None:
                chosen = [_find_override(channels, name, overrides[name], where)]
        if chosen:
            first = derivations[name] = _derive(name, *chosen[0], units, where, notes)
            # what is noted of a derivation holds only if it is read
            more = notes if mode != "one" else []
            found = tuple(_derive(name, *pair, units, where, more) for pair in chosen[1:])
            if mode == "one":
                # those that may be read in its place, as the layout is stated before
                rate = first.channel.rate
                alike = (d for d in found if abs(d.channel.rate - rate) < _RATE_TOLERANCE)
                found = tuple(d for d in alike if d.unit == first.unit)
            others |= {name: found} if found else {}
    _mark_used(reasons, derivations)
    _explain_others(reasons, derivations, others, mode, notes)
    if strict and not derivations:
        unused = [reason[2] for reason in reasons if reason[0] is not None]
        listed = ", ".join(repr(c.label) for c in channels) or "none: it holds annotations only"
        detail = f" Known but not used: {'; '.join(unused[:4])}." if unused else ""
        raise NoUsableChannelError(
            f"{where} has no usable channel; found {listed}.{detail} See describe_channels(path) "
            "for each, and name one by hand, e.g. channels={'eeg': 'label'}."
        )
    rows = tuple((modality, used, why) for modality, used, why in reasons)
    return Montage(derivations, rows, tuple(dict.fromkeys(notes)), others, mode)


def _declare_units(
    channels: Sequence[Channel], units: Mapping[str, str] | None, where: str, notes: list[str]
) -> tuple[list[Channel], dict[str, str]]:
    """The channels with the units that a user states by label, and the units stated by modality."""
    by_modality = {}
    channels = list(channels)
    for key, unit in check_mapping("units", units).items():
        if key in MODALITIES:
            by_modality[key] = check_unit(key, unit, f"{where}: units[{key!r}]")
            continue
        label = compact_label(str(key))
        named = [i for i, channel in enumerate(channels) if compact_label(channel.label) == label]
        for i in named:
            channels[i] = replace(channels[i], unit=unit)
        if not named:
            kind = f"units= names {key!r}, which is no modality and no channel of the file"
            notes.append(Caution(kind, kind))
    return channels, by_modality


def check_unit(name: str, unit: Any, where: str) -> str:
    """A unit that a user states for a modality, as the catalogue spells it."""
    known = get_modality(name).units
    found = find_unit(unit) if isinstance(unit, str) else None
    if found not in known:
        raise InvalidSignalError(
            f"{where} is {unit!r}; accepted for {name!r} are {', '.join(known)}. State one of "
            "these, or leave it out."
        )
    return found


def _explain_others(
    reasons: list[list[Any]], derivations: Mapping[str, Derivation],
    others: Mapping[str, tuple[Derivation, ...]], mode: str, notes: list[str],
) -> None:  # fmt: skip
    for name, kept in others.items():
        first = derivations[name].label
        listed = ", ".join(repr(derivation.label) for derivation in kept)
        if mode == "fill":
            notes.append(f"{name}: epochs where {first!r} is off are filled from {listed}")
        elif mode == "all":
            notes.append(f"{name}: {len(kept) + 1} derivations, {first!r}, {listed}")
        for derivation in kept:
            reason = reasons[derivation.channel.index]
            if mode == "one":
                reason[2] += " unless this one is good for longer"
                continue
            _mark_used(reasons, {name: derivation})
            reason[2] += f"; fills epochs where {first!r} is off" if mode == "fill" else ""


def _explain(reasons: list[list[Any]], aliases: Sequence[Alias], name: str, why: str) -> None:
    for reason, alias in zip(reasons, aliases, strict=True):
        if alias.modality == name:
            reason[2] = f"{alias.why}; {why}"


def _choose(
    channels: Sequence[Channel], aliases: Sequence[Alias], name: str, mode: str,
    reasons: list[list[Any]], notes: list[str],
) -> list[tuple[Channel, Channel | None]]:  # fmt: skip
    """The preferred channel and its reference, then those that may stand in for it or join it."""
    candidates = []
    for i, (channel, alias) in enumerate(zip(channels, aliases, strict=True)):
        if alias.modality != name:
            continue
        flaw = _find_flaw(channel, name)
        if flaw:
            reasons[i][2] = f"{alias.why}; {flaw}"
            notes.append(f"{name}: channel {channel.label!r} left out: {flaw}")
        else:
            foreign = channel.unit is None and is_foreign_unit(channel.dimension, name)
            candidates.append((foreign, alias.rank, i))
    if not candidates:
        return []
    (best_foreign, _, best), *rest = sorted(candidates)
    references = {i: _find_reference(channels, aliases, i) for _, _, i in candidates}
    subtracted = {reference.index for reference in references.values() if reference is not None}
    # an electrode without a reference is unlike one that has it, and a lead unlike a pair of them
    unlike = {
        i: not (aliases[i].reference or reference)
        if aliases[i].electrode
        else reference is not None
        for i, reference in references.items()
    }
    region, chosen = aliases[best].region, [best]
    for foreign, _, i in rest:
        reasons[i][2] = f"{aliases[i].why}; {channels[best].label!r} is preferred"
        alike = region is not None and (aliases[i].region, unlike[i]) == (region, unlike[best])
        joins = alike or (mode == "all" and (name, aliases[i].rank) != SUM_OF_BELTS)
        if joins and channels[i].index not in subtracted and foreign == best_foreign:
            chosen.append(i)
    return [(channels[i], references[i]) for i in chosen]


def _find_flaw(channel: Channel, name: str) -> str | None:
    """Why a channel cannot be used for a modality."""
    minimum = get_modality(name).conditioning.min_rate
    if channel.rate <= 0:
        return "its header gives no usable scale or rate, or it is marked as bad"
    if minimum is not None and channel.rate < minimum - _RATE_TOLERANCE:
        return f"{channel.rate:g} Hz, {name} needs at least {minimum:g} Hz"
    return None


def _find_reference(
    channels: Sequence[Channel], aliases: Sequence[Alias], index: int
) -> Channel | None:
    """The channel to subtract from an electrode stored against a common reference."""
    active, alias = channels[index], aliases[index]
    mastoids = {a.electrode for a in aliases if a.electrode in MASTOIDS}
    if alias.modality in ("eeg", "eog"):
        if alias.reference is not None or alias.electrode is None or not mastoids:
            return None
        odd = alias.electrode[-1].isdigit() and int(alias.electrode[-1]) % 2
        left, right = ("a1", "m1"), ("a2", "m2")
        candidates = [right, left] if odd else [left, right]
    else:
        pairs = _PAIRS + (_NUMBERED_PAIRS if mastoids else ())
        candidates = [(b, b) for a, b in pairs if a == compact_label(active.label)]
    for labels in candidates:
        for channel, other in zip(channels, aliases, strict=True):
            same_rate = abs(channel.rate - active.rate) < _RATE_TOLERANCE
            if same_rate and (compact_label(channel.label) in labels or other.electrode in labels):
                return channel
    return None


def _find_override(
    channels: Sequence[Channel], name: str, choice: Any, where: str
) -> tuple[Channel, Channel | None]:
    labels = tuple(choice) if isinstance(choice, Sequence) and not isinstance(choice, str) else ()
    labels = (choice,) if isinstance(choice, str) else labels
    if not 1 <= len(labels) <= 2:
        raise ReadError(
            f"{where}: channels[{name!r}] is {choice!r}; accepted are a label, a pair "
            "(label, reference label), or None."
        )
    chosen = [_find_label(channels, label, where) for label in labels]
    for channel in chosen:
        flaw = _find_flaw(channel, name)
        if flaw:
            raise InvalidSignalError(
                f"{where}: channels[{name!r}] names {channel.label!r}, which cannot serve: {flaw}. "
                f"Leave it out with channels={{{name!r}: None}}."
            )
    channel, reference = chosen[0], chosen[1] if len(chosen) == 2 else None
    if reference is not None and abs(channel.rate - reference.rate) > _RATE_TOLERANCE:
        raise InvalidSignalError(
            f"{where}: cannot subtract {reference.label!r} ({reference.rate:g} Hz) from "
            f"{channel.label!r} ({channel.rate:g} Hz); accepted are channels of one rate."
        )
    return channel, reference


def _find_label(channels: Sequence[Channel], label: str, where: str) -> Channel:
    for key in (str.strip, compact_label):
        for channel in channels:
            if key(channel.label) == key(str(label)):
                return channel
    labels = [channel.label for channel in channels]
    near = difflib.get_close_matches(str(label), labels, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, labels))
    raise ReadError(f"{where} has no channel {label!r}.{hint} It has {listed}.")


def _derive(
    name: str, channel: Channel, reference: Channel | None, units: Mapping[str, str], where: str,
    notes: list[str],
) -> Derivation:  # fmt: skip
    unit, note = _unit_of(channel, name, units, where)
    if note:
        notes.append(f"{name}: channel {channel.label!r} {note}")
    if reference is None:
        return Derivation(channel, None, unit)
    reference_unit, _ = _unit_of(reference, name, units, where)
    factor = VOLTAGES.get(reference_unit, 1.0) / VOLTAGES.get(unit, 1.0)
    derivation = Derivation(channel, reference, unit, factor)
    notes.append(f"{name}: formed as {derivation.label}, stored against a common reference")
    return derivation


def _unit_of(
    channel: Channel, name: str, units: Mapping[str, str], where: str
) -> tuple[str, str | None]:
    """Unit of a channel as stated by the user, else by the header, and a note if assumed."""
    if channel.unit is not None:
        return check_unit(name, channel.unit, f"{where}: units[{channel.label!r}]"), None
    return (units[name], None) if name in units else parse_dimension(channel.dimension, name)


def _mark_used(reasons: list[list[Any]], derivations: Mapping[str, Derivation]) -> None:
    for name, derivation in derivations.items():
        reason = reasons[derivation.channel.index]
        why = f"read as {derivation.label}" if derivation.reference else reason[2].split(";")[0]
        reason[:] = [name, True, why]
    for name, derivation in derivations.items():
        if derivation.reference is not None:
            reason = reasons[derivation.reference.index]
            role = f"subtracted from {derivation.channel.label} ({name})"
            shared = reason[1] and reason[2].startswith(("subtracted", "read as"))
            reason[1:] = [True, f"{reason[2]}, {role}" if shared else role]


def montage_of_columns(
    columns: Sequence[Any], rate: float | None, overrides: Mapping[str, Any] | None = None
) -> Montage:
    """Montage of a table whose columns are called as modalities or channels: ``C3-M2 (uV)``."""
    chosen: list[Any] = []
    for pair in check_mapping("channels", overrides).values():
        chosen += pair if isinstance(pair, list | tuple) else [pair]
    channels = []
    for i, column in enumerate(map(str, columns)):
        match = re.fullmatch(r"(.+?)\s*[\[(](.+)[\])]", column)
        is_unit = match is not None and column not in chosen and find_unit(match[2]) is not None
        label, dimension = match.groups() if match and is_unit else (column, "")
        channels.append(Channel(i, label, rate or 1e6, dimension))
    named = {c.label: c.label for c in channels if c.label in MODALITIES}
    return pick_montage(channels, overrides=named | dict(overrides or {}), where="the table")


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
        self._check_layout()

    def __getstate__(self) -> dict[str, Any]:
        # joblib.Memory knows X by a hash of its pickle, which must not change as X is read
        return {**self.__dict__, "_chosen": {}}

    def _open_header(self) -> list[Channel]:
        """Set what the header states, and list its channels."""
        raise NotImplementedError

    def _check_layout(self) -> None:
        """Refuse modalities that would take too much memory."""

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

    def _read(self, names: Sequence[str]) -> dict[str, Signal]:
        if not names:
            return {}
        read = self._open_samples([self.montage.derivations[name] for name in names])
        if self.montage.mode != "one":
            return {name: read(self.montage.derivations[name]) for name in names}
        return {name: self._read_best(name, read) for name in names}

    def read_derivation(self, name: str, index: int) -> Signal:
        """Read one derivation of a modality by its index in :attr:`derivations`."""
        derivation = self._derivations_of(name)[index]
        with only_read_errors(self.path, "the reader of samples"):
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
