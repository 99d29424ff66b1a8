# SPDX-License-Identifier: BSD-3-Clause
"""What a channel label says: electrodes are taken apart, everything else is looked up."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .aliases import EYES, MASTOIDS, UNUSED, USED

__all__ = ["Alias", "classify_label", "compact_label"]


@dataclass(frozen=True, slots=True)
class Alias:
    """What a channel label says.

    Attributes
    ----------
    modality : str or None
        None where the library has no use for it.
    rank : int
        Preference within the modality, lowest first.
    why : str
        What the channel is, or why it is not used.
    electrode, reference : str or None
        Of EEG, EOG and mastoid channels and of paired leads: the electrode, and what it was
        measured against if the label says so.
    """

    modality: str | None
    rank: int
    why: str
    electrode: str | None = None
    reference: str | None = None


_UNUSED = tuple((why, re.compile("|".join(patterns))) for why, patterns in UNUSED.items())
_USED = tuple(
    (modality, rank, why, re.compile(pattern))
    for modality, rows in USED.items()
    for rank, why, pattern in rows
)
_BRAIN = re.compile(r"(fp|af|fc|cp|ft|tp|po|f|c|p|o|t)(z|\d{1,2})")
_REGIONS = {"c": 0, "fc": 10, "cp": 14, "f": 20, "af": 22, "fp": 24, "p": 50, "po": 52, "o": 54}
_EYES_COMPILED = tuple((re.compile(p), *rest) for p, *rest in EYES)
_REFERENCE = re.compile(r"(a1|a2|m1|m2|[am]1[am]2|ref|le|avg?|ave?rage|car|fpz|pg1|nz|x|gnd|ll|0)")
_SEPARATOR = re.compile(r"[-:/|_\s.,()\[\]+]+")
_KINDS = ("eeg", "eog", "emg", "ecg", "ekg")


def compact_label(label: str) -> str:
    """Letters and digits of a label only, in lower case and without accents."""
    return "".join(_words(label))


def classify_label(label: str) -> Alias:
    """Say what a channel is by its label.

    Parameters
    ----------
    label : str
        As the file has it.

    Returns
    -------
    Alias
        ``modality`` is None for channels without a use and for unknown labels.
    """
    words = _words(label)
    electrodes = _electrode_alias(words)
    if electrodes is not None:
        return electrodes
    compact = "".join(words)
    for why, pattern in _UNUSED:
        if pattern.fullmatch(compact):
            electrode = compact.removeprefix("eeg").removeprefix("eog")
            return Alias(None, 0, why, electrode if electrode in MASTOIDS else None)
    for modality, rank, why, pattern in _USED:
        if pattern.fullmatch(compact):
            return Alias(modality, rank, why)
    return Alias(None, 0, "unknown label; if it is of use, name it with channels={modality: label}")


def _words(label: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", label.casefold().replace("µ", "u"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    words = [re.sub(r"[^a-z0-9]", "", word) for word in _SEPARATOR.split(plain)]
    return [word for word in words if word and not re.fullmatch(r"\d+hz", word)]


def _electrode_alias(words: list[str]) -> Alias | None:
    kind = next((word for word in words if word in _KINDS), None)
    named = [re.sub(r"^eeg(?=[a-z])", "", word) for word in words if word not in _KINDS]
    if len(named) > 2 and named[-1].isdigit():
        named.pop()
    if kind in ("emg", "ecg", "ekg") or not words or len(named) > 3 or words[-1] == "off":
        return None
    if len(named) == 1:
        named = _split_glued(named[0])
    first, rest = (named[0], named[1:]) if named else ("", [])
    reference = "".join(rest) or None
    eye = _eye_alias(first, reference, kind)
    if eye is not None:
        return eye
    brain = _BRAIN.fullmatch(first)
    if brain is None or (reference and not _is_electrode(reference)):
        return None
    return _brain_alias(first, brain.group(1), reference)


def _split_glued(word: str) -> list[str]:
    pair = re.fullmatch(r"(.+?)(a1|a2|m1|m2|cz|oz|pz)", word)
    if pair and (_BRAIN.fullmatch(pair.group(1)) or pair.group(1) in ("loc", "roc", "e1", "e2")):
        return [pair.group(1), pair.group(2)]
    return [word]


def _is_electrode(word: str) -> bool:
    return bool(_REFERENCE.fullmatch(word) or _BRAIN.fullmatch(word))


def _brain_alias(electrode: str, region: str, reference: str | None) -> Alias:
    side = "z" if electrode.endswith("z") else ("left" if int(electrode[-1]) % 2 else "right")
    if reference in MASTOIDS:
        quality = 0 if MASTOIDS[reference] != side else 1
    else:
        quality = 2 if reference else 3
    place = {"right": 0, "left": 1, "z": 2}[side]
    rank = _REGIONS.get(region, 56) + 3 * quality * (region == "c") + place
    against = f" against {reference.capitalize()}" if reference else ""
    return Alias("eeg", rank, f"EEG at {electrode.capitalize()}{against}", electrode, reference)


def _eye_alias(first: str, reference: str | None, kind: str | None) -> Alias | None:
    if first in MASTOIDS:
        return None
    if reference in ("e2", "roc", "e1", "loc") and first in ("e2", "roc", "e1", "loc"):
        return Alias("eog", 6, "EOG, both eyes", None, reference)
    if reference is not None and not _is_electrode(reference):
        first, reference = first + reference, None
    candidates = [first] if kind is None else [kind + first, first]
    for text in candidates:
        for pattern, rank, electrode, why in _EYES_COMPILED:
            if pattern.fullmatch(text):
                return Alias("eog", rank + (reference is None), why, electrode, reference)
    return None
