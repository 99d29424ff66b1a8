# SPDX-License-Identifier: BSD-3-Clause
"""From a file's channels to one derivation per modality.

A channel slower than the modality's minimum rate is passed over. Where a file stores electrodes
against a common reference (MrOS, CFS and other Compumedics exports hold C3, LOC and A2 or M2 as
channels of their own), the derivation of the scoring manual is formed by subtraction: EEG and EOG
minus the mastoid of the other side, left minus right ECG and chin electrodes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import InvalidSignalError, NoUsableChannelError, ReadError
from ..recordings import MODALITIES, get_modality, list_modalities
from ._channels import MASTOIDS, VOLTAGES, Alias, classify_label, compact_label, parse_dimension

__all__ = [
    "Channel",
    "Derivation",
    "Montage",
    "pick_montage",
]

_RATE_TOLERANCE = 1e-6
_PAIRS = (("ecgl", "ecgr"), ("lchin", "rchin"), ("chinl", "chinr"), ("emgl", "emgr"))
_PAIRS_OF_COMMON_REFERENCE = (
    ("ecg1", "ecg2"),
    ("ekg1", "ekg2"),
    ("emg1", "emg2"),
    ("chin1", "chin2"),
)


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a file, as its header describes it.

    Attributes
    ----------
    index : int
        Place among the channels of the file that hold samples.
    label : str
        As the file has it.
    rate : float
        Samples per second; 0 where the header gives none, or no scale.
    dimension : str
        Physical dimension as the file has it.
    """

    index: int
    label: str
    rate: float
    dimension: str = ""


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a modality is read: one channel, or one minus another.

    Attributes
    ----------
    channel : Channel
        The active electrode or sensor.
    reference : Channel or None
        Subtracted where given.
    unit : str
        Unit of the result, one the modality accepts.
    reference_factor : float
        Brings the reference to the unit of the channel.
    """

    channel: Channel
    reference: Channel | None
    unit: str
    reference_factor: float = 1.0

    @property
    def label(self) -> str:
        """The channel's label, with its reference where one is subtracted."""
        if self.reference is None:
            return self.channel.label
        return f"{self.channel.label} - {self.reference.label}"


@dataclass(frozen=True, slots=True)
class Montage:
    """What is read of a file, and why the rest is not.

    Attributes
    ----------
    derivations : mapping of str to Derivation
        One per modality, in the catalogue's order.
    reasons : tuple of (str or None, bool, str)
        Per channel: modality, whether it is used, and why.
    notes : tuple of str
        What a user should know: slow channels left out, subtractions, assumed units.
    """

    derivations: Mapping[str, Derivation]
    reasons: tuple[tuple[str | None, bool, str], ...]
    notes: tuple[str, ...]

    @property
    def settings(self) -> list[tuple]:
        """What decides the samples read from a file, for its fingerprint."""
        return [
            (name, d.channel.index, d.reference and d.reference.index, d.unit)
            for name, d in sorted(self.derivations.items())
        ]

    def settings_of(self, name: str) -> tuple:
        """What decides the samples of one modality, for its fingerprint."""
        return next(row for row in self.settings if row[0] == name)

    def __reduce__(self):
        return (_montage, (dict(self.derivations), self.reasons, self.notes))


def _montage(derivations, reasons, notes) -> Montage:
    return Montage(MappingProxyType(derivations), reasons, notes)


def pick_montage(
    channels: Sequence[Channel],
    *,
    modalities: Sequence[str] | None = None,
    overrides: Mapping | None = None,
    where: str = "file",
    strict: bool = True,
) -> Montage:
    """Choose a derivation for every modality the channels allow.

    Parameters
    ----------
    channels : sequence of Channel
        All signals of the file.
    modalities : sequence of str, optional
        Only these.
    overrides : mapping, optional
        Modality to label, to (label, reference label), or to None to leave it out.
    where : str
        How errors name the file.
    strict : bool, default=True
        Raise where nothing is left.

    Raises
    ------
    NoUsableChannelError
        If no channel maps to a wanted modality.
    ReadError
        If an override names a label the file does not have.
    InvalidSignalError
        If an override names a channel that is too slow.
    """
    overrides = {get_modality(name).name: choice for name, choice in (overrides or {}).items()}
    wanted = list_modalities(modalities)
    aliases = [classify_label(channel.label) for channel in channels]
    reasons = [[alias.modality, False, alias.why] for alias in aliases]
    derivations: dict[str, Derivation] = {}
    notes: list[str] = []
    for name in MODALITIES:
        if name not in wanted:
            _explain(reasons, aliases, name, "not among the modalities asked for")
        elif name in overrides:
            _explain(reasons, aliases, name, f"channels= names another one for {name}")
            if overrides[name] is not None:
                pair = _override(channels, name, overrides[name], where)
                derivations[name] = _derive(name, *pair, notes)
        else:
            pair = _choose(channels, aliases, name, reasons, notes)
            if pair is not None:
                derivations[name] = _derive(name, *pair, notes)
    _mark_used(reasons, derivations)
    if strict and not derivations:
        _raise_no_channel(channels, reasons, where)
    return _montage(derivations, tuple(map(tuple, reasons)), tuple(notes))


def _explain(reasons, aliases: Sequence[Alias], name: str, why: str) -> None:
    for reason, alias in zip(reasons, aliases, strict=True):
        if alias.modality == name:
            reason[2] = f"{alias.why}; {why}"


def _choose(channels, aliases, name, reasons, notes):
    candidates = []
    for place, (channel, alias) in enumerate(zip(channels, aliases, strict=True)):
        if alias.modality != name:
            continue
        flaw = _flaw(channel, name)
        if flaw:
            reasons[place][2] = f"{alias.why}; {flaw}"
            notes.append(f"{name}: channel {channel.label!r} left out: {flaw}")
        else:
            candidates.append((alias.rank, place))
    if not candidates:
        return None
    best = min(candidates)[1]
    reference = _reference_of(channels, aliases, best)
    chosen = channels[best].label
    for _, place in candidates:
        if place != best:
            reasons[place][2] = f"{aliases[place].why}; {chosen!r} is preferred"
    return channels[best], reference


def _flaw(channel: Channel, name: str) -> str | None:
    """Say why a channel cannot serve a modality."""
    minimum = get_modality(name).conditioning.min_rate
    if channel.rate <= 0:
        return "its header gives no usable scale or rate"
    if minimum is not None and channel.rate < minimum - _RATE_TOLERANCE:
        return f"{channel.rate:g} Hz, {name} needs at least {minimum:g} Hz"
    return None


def _reference_of(channels, aliases, place: int) -> Channel | None:
    """Find what to subtract from an electrode stored against a common reference."""
    active, alias = channels[place], aliases[place]

    def match(wanted: set[str]) -> Channel | None:
        for channel in channels:
            if (
                compact_label(channel.label) in wanted
                and abs(channel.rate - active.rate) < _RATE_TOLERANCE
            ):
                return channel
        return None

    mastoids = {a.electrode for a in aliases if a.electrode in MASTOIDS}
    if alias.modality in ("eeg", "eog"):
        if alias.reference is not None or alias.electrode is None or not mastoids:
            return None
        odd = alias.electrode[-1].isdigit() and int(alias.electrode[-1]) % 2
        opposite, same = ({"a2", "m2"}, {"a1", "m1"}) if odd else ({"a1", "m1"}, {"a2", "m2"})
        return match(opposite) or match(same)
    pairs = _PAIRS + (_PAIRS_OF_COMMON_REFERENCE if mastoids else ())
    partner = dict(pairs).get(compact_label(active.label))
    return None if partner is None else match({partner})


def _override(channels, name: str, choice, where: str) -> tuple[Channel, Channel | None]:
    labels = (choice,) if isinstance(choice, str) else tuple(choice)
    if not 1 <= len(labels) <= 2:
        raise ReadError(
            f"{where}: channels[{name!r}] is {choice!r}; accepted are a label, a pair "
            "(label, reference label), or None."
        )
    found = [_by_label(channels, label, where) for label in labels]
    for channel in found:
        flaw = _flaw(channel, name)
        if flaw:
            raise InvalidSignalError(
                f"{where}: channels[{name!r}] names {channel.label!r}, which cannot serve: {flaw}. "
                f"Leave it out with channels={{{name!r}: None}}."
            )
    if len(found) == 2 and abs(found[0].rate - found[1].rate) > _RATE_TOLERANCE:
        raise InvalidSignalError(
            f"{where}: cannot subtract {found[1].label!r} ({found[1].rate:g} Hz) from "
            f"{found[0].label!r} ({found[0].rate:g} Hz); accepted are channels of one rate."
        )
    return found[0], (found[1] if len(found) == 2 else None)


def _by_label(channels, label: str, where: str) -> Channel:
    for key in (str.strip, compact_label):
        for channel in channels:
            if key(channel.label) == key(str(label)):
                return channel
    labels = [channel.label for channel in channels]
    near = difflib.get_close_matches(str(label), labels, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ReadError(
        f"{where} has no channel {label!r}.{hint} It has {', '.join(map(repr, labels))}."
    )


def _derive(name: str, channel: Channel, reference: Channel | None, notes) -> Derivation:
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


def _mark_used(reasons, derivations: Mapping[str, Derivation]) -> None:
    for name, derivation in derivations.items():
        place = derivation.channel.index
        formed = f"read as {derivation.label}" if derivation.reference else reasons[place][2]
        reasons[place][:] = [name, True, formed.split(";")[0]]
    for name, derivation in derivations.items():
        if derivation.reference is not None:
            reason = reasons[derivation.reference.index]
            role = f"subtracted from {derivation.channel.label} ({name})"
            shared = reason[1] and reason[2].startswith(("subtracted", "read as"))
            reason[1:] = [True, f"{reason[2]}, {role}" if shared else role]


def _raise_no_channel(channels, reasons, where: str) -> None:
    slow = [reason[2] for reason in reasons if reason[0] is not None]
    listed = ", ".join(repr(c.label) for c in channels) or "none: it holds annotations only"
    detail = f" Known but not used: {'; '.join(slow[:4])}." if slow else ""
    raise NoUsableChannelError(
        f"{where} has no usable channel; found {listed}.{detail} See describe_channels(path) for "
        "each, and name one by hand, e.g. channels={'eeg': 'label'}."
    )
