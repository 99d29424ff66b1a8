# SPDX-License-Identifier: BSD-3-Clause
"""Montages: one derivation per modality, chosen from the channels of a file.

A channel slower than the modality's minimum rate is not used. If a file stores electrodes against
a common reference (MrOS, CFS and other Compumedics exports hold C3, LOC and A2 or M2 as separate
channels), the derivation of the AASM manual is formed by subtraction: EEG and EOG minus the
contralateral mastoid, left minus right ECG and chin electrodes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import InvalidSignalError, NoUsableChannelError, ReadError
from ..recordings.modality import MODALITIES, get_modality, list_modalities
from ._channels import MASTOIDS, VOLTAGES, Alias, classify_label, compact_label, parse_dimension

_RATE_TOLERANCE = 1e-6
_PAIRS = (("ecgl", "ecgr"), ("lchin", "rchin"), ("chinl", "chinr"), ("emgl", "emgr"))
_NUMBERED_PAIRS = tuple((f"{name}1", f"{name}2") for name in ("ecg", "ekg", "emg", "chin"))


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a file as its header describes it; 0 Hz if that gives no rate or scale."""

    index: int
    label: str
    rate: float
    dimension: str = ""


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


@dataclass(frozen=True, slots=True)
class Montage:
    """What is read from a file, and why the rest is not.

    ``derivations`` are in the catalogue's order; ``reasons`` hold per channel the modality, whether
    it is used, and why; ``notes`` list slow channels, subtractions and assumed units.
    """

    derivations: Mapping[str, Derivation]
    reasons: tuple[tuple[str | None, bool, str], ...]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "derivations", MappingProxyType(dict(self.derivations)))

    def __reduce__(self) -> tuple[Any, ...]:
        # a mappingproxy cannot be pickled
        return Montage, (dict(self.derivations), self.reasons, self.notes)

    @property
    def settings(self) -> list[tuple[Any, ...]]:
        """What the samples read from a file depend on, for its fingerprint."""
        return [
            (name, d.channel.index, d.reference and d.reference.index, d.unit)
            for name, d in sorted(self.derivations.items())
        ]


def pick_montage(
    channels: Sequence[Channel], *, modalities: str | Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None, where: str = "file", strict: bool = True,
) -> Montage:  # fmt: skip
    """Choose a derivation for every modality that channels allow; none is an error if strict."""
    overrides = {get_modality(name).name: choice for name, choice in (overrides or {}).items()}
    wanted = list_modalities(modalities)
    aliases = [classify_label(channel.label) for channel in channels]
    reasons: list[list[Any]] = [[alias.modality, False, alias.why] for alias in aliases]
    derivations: dict[str, Derivation] = {}
    notes: list[str] = []
    for name in MODALITIES:
        chosen = None
        if name not in wanted:
            _explain(reasons, aliases, name, "not among the modalities asked for")
        elif name not in overrides:
            chosen = _choose(channels, aliases, name, reasons, notes)
        else:
            _explain(reasons, aliases, name, f"channels= names another one for {name}")
            if overrides[name] is not None:
                chosen = _find_override(channels, name, overrides[name], where)
        if chosen is not None:
            derivations[name] = _derive(name, *chosen, notes)
    _mark_used(reasons, derivations)
    if strict and not derivations:
        unused = [reason[2] for reason in reasons if reason[0] is not None]
        listed = ", ".join(repr(c.label) for c in channels) or "none: it holds annotations only"
        detail = f" Known but not used: {'; '.join(unused[:4])}." if unused else ""
        raise NoUsableChannelError(
            f"{where} has no usable channel; found {listed}.{detail} See describe_channels(path) "
            "for each, and name one by hand, e.g. channels={'eeg': 'label'}."
        )
    rows = tuple((modality, used, why) for modality, used, why in reasons)
    return Montage(derivations, rows, tuple(notes))


def _explain(reasons: list[list[Any]], aliases: Sequence[Alias], name: str, why: str) -> None:
    for reason, alias in zip(reasons, aliases, strict=True):
        if alias.modality == name:
            reason[2] = f"{alias.why}; {why}"


def _choose(
    channels: Sequence[Channel], aliases: Sequence[Alias], name: str, reasons: list[list[Any]],
    notes: list[str],
) -> tuple[Channel, Channel | None] | None:  # fmt: skip
    candidates = []
    for i, (channel, alias) in enumerate(zip(channels, aliases, strict=True)):
        if alias.modality != name:
            continue
        flaw = _find_flaw(channel, name)
        if flaw:
            reasons[i][2] = f"{alias.why}; {flaw}"
            notes.append(f"{name}: channel {channel.label!r} left out: {flaw}")
        else:
            candidates.append((alias.rank, i))
    if not candidates:
        return None
    best = min(candidates)[1]
    for _, i in candidates:
        if i != best:
            reasons[i][2] = f"{aliases[i].why}; {channels[best].label!r} is preferred"
    return channels[best], _find_reference(channels, aliases, best)


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
        for channel in channels:
            same_rate = abs(channel.rate - active.rate) < _RATE_TOLERANCE
            if same_rate and compact_label(channel.label) in labels:
                return channel
    return None


def _find_override(
    channels: Sequence[Channel], name: str, choice: Any, where: str
) -> tuple[Channel, Channel | None]:
    labels = (choice,) if isinstance(choice, str) else tuple(choice)
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


def _derive(name: str, channel: Channel, reference: Channel | None, notes: list[str]) -> Derivation:
    unit, note = parse_dimension(channel.dimension, name)
    if note:
        notes.append(f"{name}: channel {channel.label!r} {note}")
    if reference is None:
        return Derivation(channel, None, unit)
    reference_unit, _ = parse_dimension(reference.dimension, name)
    factor = VOLTAGES.get(reference_unit, 1.0) / VOLTAGES.get(unit, 1.0)
    derivation = Derivation(channel, reference, unit, factor)
    notes.append(f"{name}: formed as {derivation.label}, stored against a common reference")
    return derivation


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
    """Montage of a table whose columns are called as modalities or channels."""
    channels = [Channel(i, str(column), rate or 1e6) for i, column in enumerate(columns)]
    named = {c.label: c.label for c in channels if c.label in MODALITIES}
    return pick_montage(channels, overrides=named | dict(overrides or {}), where="the table")
