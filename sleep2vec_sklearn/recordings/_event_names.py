# SPDX-License-Identifier: BSD-3-Clause
"""Names of scored events, as laboratories and their software write them, and what they mean.

A name is read word by word, without case, accents and punctuation: "Apnée obstructive",
"ObstructiveApnea", "Obst. Apnea" and "OA" are all obstructive apneas. Words are those of English,
German, French, Italian, Spanish, Dutch and Portuguese, and the usual abbreviations. What follows
"with" says what comes along with an event ("Hypopnea with arousal"), not what it is. A name that
says two things, such as "apnea arousal", is not understood, as is one without a word of the table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# what is scored; "other" are marks: lights, positions, artefacts, notes of a technician
OTHER = "other"
KINDS = ("apnea", "hypopnea", "rera", "arousal", "desaturation", "limb_movement", "snore", OTHER)

# fmt: off
_WORDS = (
    ("hypopnea", r"h[yi]po?a?pn|ipopn|^hy(p|ps|po|pop|pops)?$"),
    # "capnography" is no apnea
    ("apnea", r"(?<!c)apn"),
    ("rera", r"^reras?$"),
    ("arousal", r"arous|weckreakt|wekreact|alertami|micro(de|re|ri)?s?(veil|eveil|pert|vegl)"),
    ("desaturation", r"d[ei]s+at(ur|s?$)|(ent|unter)s(a|ae)t+ig|"
                     r"(s(a|ae)t+igungs|sauerstoff|o2)abfall"),
    ("limb_movement", r"^p?lm[sdlr]?$|be[ie]nbew"),
    ("snore", r"snor|snurk|schnarch|ronfl|russa(re|men|t)|ronqu|^ronc(o|os|ar|hi)$"),
    ("obstructive", r"^obs$|obst|ostrut"),
    ("central", r"^cent?$|centr|zentr"),
    ("mixed", r"^mix|gemisch|^misch|^mist[aeio]$|gemeng"),
)
# kinds that take several words
_LIMB = r"^(leg|limb|jambe|gamb[ae]|pierna|perna|been|bein|membr|arti$|extrem|ledema)"
_PHRASES = (
    ("limb_movement", (_LIMB, r"mov|mvm?t|beweg|mouv")),
    ("arousal", (r"^(micro|bref|breve|rea[cz]\w+)$", r"eveil|despert|risvegl")),
    ("desaturation", (r"^(sp?a?o2|o2|oxyg|oxig|sauerstoff|ossigeno|zuurstof|sat$|sat(ur|tig))",
                      r"^(drop|dip|fall|decrease|abfall|chute|baisse|calo|caida|queda|daling)")),
    ("rera", (r"^effort$", r"^rel", r"arous")),
)
# words that say so whatever else a name says; then those of marks; then those of marks that are not
# about breathing
_NO_EVENT = re.compile(r"art[ei]fa|hypo?vent|capn|impedan|calib|kalib")
_MARK = re.compile(
    r"signal|sensor|ele[ck]tro|channel|montage|filter|video|audio|camera|pressure|druck|pression|"
    r"[cb]i?pap|^[ei]pap$|titra|mask|leak|^cm_?h2o$|humidif|periodic|cheyne|stokes|limitation|"
    r"paradox|(dys|tachy|brady|hyper|eu)pn|^(hold|deep|unsure)$|uncert|(tachy|brady)[ck]|asystol|"
    r"fibrill|arr?h?ythm|heart|herz|cardia|puls|^[ei][ck]g$|^pvc|extrasyst|bigemin|complex|brux|"
    r"grind|teeth|tooth|zahn|cough|hust|toux|swallow|yawn|spind|fuseau|spike|seiz|epilep"
)
_MARK_UNLESS_BREATHING = re.compile(
    r"light|licht|lumier|^l(uz|uzes|uces|uci|uce|amp|ampen|off|on)$|posi[tcz]|supin|prone|upright|record|aufnahme|enregistr|"
    r"^(left|right|back|body|lage|rucken|bauch|seite|start|stop|begin|end|ende|on|off|system)$|"
    r"gain|wave|^(alpha|delta|theta|beta|gamma|eeg|eog|emg|eye|auge|n?rem|wc|bed|bett|lit|letto)$|"
    r"^(eyes|stage|stadium|stade|epoch|sleep|schlaf|sommeil|sonno|sueno|sono|slaap)|hypno|"
    r"^(wake|awake|wach|eveil|veille|vigil)|awaken|mov|beweg|mouv|comment|^notes?$|remark|techn|"
    r"talk|speech|sprech|bath|toilet|^(cama|patient|pt|nurse|door|phone|ph|t?c?co2)$|temperatur|"
    r"blood|window|invalid"
)
_BREATHING_WORD = re.compile(r"^resp|atem|atmung|breath|adem|flow|fluss|flux|flujo")
# whole names
_ABBREVIATIONS = {
    **dict.fromkeys(("oa", "osa", "ao"), "obstructive apnea"),
    **dict.fromkeys(("ca", "csa", "ac", "za"), "central apnea"),
    **dict.fromkeys(("ma", "msa", "am", "ga"), "mixed apnea"),
    "ap": "apnea",
    **dict.fromkeys(("h", "ipo", "hip"), "hypopnea"),
    **dict.fromkeys(("oh", "ho"), "obstructive hypopnea"),
    **dict.fromkeys(("ch", "hc"), "central hypopnea"),
    **dict.fromkeys(("mh", "hm"), "mixed hypopnea"),
    **dict.fromkeys(("ar", "aro", "arsl"), "arousal"),
    **dict.fromkeys(("ds", "dsat", "o2d", "od"), "desaturation"),
    **dict.fromkeys(("mpj", "pbb"), "plm"),
    **dict.fromkeys(("sn", "snr"), "snore"),
    **dict.fromkeys(("fl", "pb", "cs", "csr", "csb"), "cheyne stokes"),
}
# fmt: on
_LONGEST_NAME, _MOST_WORDS = 120, 24
_LETTERS = {"a": "apnea", "ap": "apnea", "h": "hypopnea"}
_SUBTYPE_LETTERS = {"o": "obstructive", "c": "central", "z": "central", "m": "mixed"}
_WITH = {"with", "w", "mit", "avec", "con", "com", "met"}
_WITHOUT = {"no", "without", "kein", "keine", "ohne", "sans", "senza", "sin", "sem", "zonder"}
_PHRASE_PATTERNS = tuple((kind, tuple(map(re.compile, parts))) for kind, parts in _PHRASES)
_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in _WORDS)


@dataclass(frozen=True, slots=True)
class EventName:
    """What the name of a scored event says."""

    kind: str | None  # one of KINDS; None if it is not understood
    words: frozenset[str] = frozenset()  # kinds and subtypes
    extra: frozenset[str] = frozenset()  # its other words
    companions: frozenset[str] = frozenset()  # what comes with the event

    def includes(self, wanted: EventName) -> bool:
        """Whether it says all of another name, as "central apnea" does of "apnea"."""
        said = self.words | self.extra
        return (
            bool(wanted.words or wanted.extra)
            and wanted.words <= self.words
            and wanted.extra <= said
            and wanted.companions <= self.companions
        )


def without_accents(text: str) -> str:
    """Letters without their accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def split_words(name: object) -> list[str]:
    """Words of a name without case and accents, in American spelling; the first of a comment."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", str(name)[:_LONGEST_NAME])
    text = without_accents(re.sub(r"[+&]", " with ", text).casefold())
    words = [w.replace("pnoea", "pnea") for w in re.split(r"[\W_]+", text) if w]
    return words[:_MOST_WORDS]


@lru_cache(maxsize=8192)
def read_event_name(name: str) -> EventName:
    """What one name means."""
    words = split_words(name)
    link = next((i for i, word in enumerate(words) if word in _WITH | _WITHOUT), len(words))
    head, tail = words[:link], words[link:]
    short = "".join(word for word in head if not word.isdigit())
    head = _ABBREVIATIONS.get(short, " ".join(head)).split()
    tail = " ".join(_ABBREVIATIONS.get(word, word) for word in tail).split()
    companions = _read_words(tail)[0] if tail and tail[0] in _WITH else frozenset()
    found, extra = _read_words(head)
    kind = _kind_of(head, [kind for kind in KINDS if kind in found])
    if kind in (None, OTHER):
        return EventName(kind, extra=frozenset(head or words))
    return EventName(kind, found, extra, companions)


def _kind_of(head: list[str], kinds: list[str]) -> str | None:
    """The kind of a name whose words, before any "with", name these."""
    if not head or any(_NO_EVENT.search(word) for word in head):
        return OTHER
    if kinds:
        one = len(kinds) == 1 or set(kinds) == {"apnea", "hypopnea"}
        # an arousal is named after what caused it
        arousal = "arousal" in kinds and set(kinds) <= {"arousal", "rera", "limb_movement", "snore"}
        return kinds[0] if one else "arousal" if arousal else None
    breathing = any(_BREATHING_WORD.search(word) for word in head)
    marks = (_MARK,) if breathing else (_MARK, _MARK_UNLESS_BREATHING)
    return OTHER if any(mark.search(word) for mark in marks for word in head) else None


def _read_words(words: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Kinds and subtypes that words name, and the other words."""
    found, used = set(), set()
    for word in words:
        # a compound such as "Zentralapnoe" names several
        names = [name for name, pattern in _PATTERNS if pattern.search(word)]
        found.update(names[:1] if "hypopnea" in names and "apnea" in names else names)
        used.update([word] if names else [])
    for kind, patterns in _PHRASE_PATTERNS:
        hits = [{word for word in words if pattern.search(word)} for pattern in patterns]
        if all(hits):
            found.add(kind)
            found.difference_update({"arousal"} if kind == "rera" else ())
            used.update(*hits)
    if len(words) == 2:
        # "A. obstr.", "HYP-C"
        letters = _LETTERS if found & {*_SUBTYPE_LETTERS.values()} else {}
        letters = _SUBTYPE_LETTERS if found & {*_LETTERS.values()} else letters
        found.update(letters[word] for word in words if word in letters)
        used.update(word for word in words if word in letters)
    return frozenset(found), frozenset(words) - used


class EventNames:
    """The table of names, extended by a user's own.

    ``event_names`` maps names, as they were scored, to names of the table, or to None for what is
    none of them; ``also`` are other types that names may stand for.
    """

    def __init__(self, event_names: Mapping[str, str | None] | None = None, also: Iterable = ()):
        self._also = [read_event_name(str(name)) for name in also]
        if event_names is not None and not isinstance(event_names, Mapping):
            raise ValueError(
                f"event_names is {event_names!r}; accepted is a mapping of scored names to types, "
                "e.g. {'HY': 'hypopnea', 'Bad': None}."
            )
        self._own: dict[tuple[str, ...], EventName] = {}
        for scored, meaning in (event_names or {}).items():
            name = EventName(OTHER) if meaning is None else read_event_name(str(meaning))
            if not self._is_understood(name):
                raise ValueError(
                    f"event_names[{scored!r}] is {meaning!r}; accepted are {', '.join(KINDS[:-1])},"
                    " apneas and hypopneas also as obstructive_, central_ or mixed_, and None for "
                    "what is none of them."
                )
            self._own[tuple(split_words(scored))] = name

    def read(self, types: Iterable) -> list[EventName]:
        """What each name means."""
        names = [str(name) for name in types]
        if not self._own:
            return [read_event_name(name) for name in names]
        return [self._own.get(tuple(split_words(n))) or read_event_name(n) for n in names]

    def are(self, types: Iterable, *wanted: str) -> np.ndarray:
        """Whether names are of one of the types wanted: all that these say, they say too."""
        # "apnea" is any apnea but no hypopnea, "arousal" no apnea that ends with one
        asked = [read_event_name(name) for name in wanted]
        scored = self.read(types)
        return np.array([any(name.includes(a) for a in asked) for name in scored], dtype=bool)

    def come_with(self, types: Iterable, companion: str) -> np.ndarray:
        """Whether names say that the event comes with an arousal or a desaturation."""
        return np.array([companion in name.companions for name in self.read(types)], dtype=bool)

    def unknown(self, types: Iterable) -> np.ndarray:
        """Which names are not understood."""
        return np.array([not self._is_understood(name) for name in self.read(types)], dtype=bool)

    def marks(self, types: Iterable) -> np.ndarray:
        """Which names are those of marks, such as lights or positions, not of scored events."""
        asked = self._also
        return np.array(
            [n.kind == OTHER and not any(n.includes(a) for a in asked) for n in self.read(types)],
            dtype=bool,
        )

    def _is_understood(self, name: EventName) -> bool:
        return name.kind is not None or any(name.includes(wanted) for wanted in self._also)
