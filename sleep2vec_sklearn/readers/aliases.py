# SPDX-License-Identifier: BSD-3-Clause
"""One table from channel labels to modalities.

A label is compared in a compact form (no case, accents, spaces or punctuation), so that
``"THOR RES"``, ``"Thor_Res"`` and ``"thor-res"`` are one entry. EEG and EOG labels that name
electrodes are taken apart instead of listed: ``"EEG C3-A2"``, ``"C3:M2"``, ``"C3/M2"``, ``"C3M2"``
and ``"EEG_C3-EEG_M2"`` are all electrode ``c3`` against ``m2``.

The rank orders the channels of a modality, lowest first:

- eeg: central (C4, C3, Cz), then frontal, then any numbered lead, parietal, occipital; among these
  a contralateral mastoid reference before any other.
- eog: left, then horizontal or bipolar, then right, then vertical.
- emg: chin; legs and arms never.
- ecg: lead II, then an unnamed or first lead, then others.
- airflow: nasal pressure (it follows the shape of a breath), then an unnamed flow, then a
  thermistor (it follows presence only), last the flow of a CPAP machine.
- effort: thorax, then abdomen, then their sum.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

__all__ = ["Alias", "classify_label", "compact_label"]

MASTOIDS = {"a1": "left", "m1": "left", "a2": "right", "m2": "right"}


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


_PULSE_RATE = "a pulse rate averaged by the device, not beat-to-beat intervals (ibi)"

_TABLE: tuple[tuple[str, str | None, int, str], ...] = (
    (r"(edf|bdf)annotations", None, 0, "annotations, not a signal"),
    (
        r"(event|marker|trigger|status|hypno|stage|stade|epoch|annot|mark|taste).*",
        None,
        0,
        "events",
    ),
    (r".*(off|impedance|imp|quality|qual)$(?<!respimp)", None, 0, "electrode or sensor check"),
    (r"(ox|sp?o2?|oximeter|oxi)*stat(us)?|oxst.*|dc\d+status", None, 0, "oximeter status"),
    (
        r"(body)?pos(ition)?(sensor|body)?|body|(korper)?lage(sensor)?|posicion|gravity[xyz]?|"
        r"gravit.*|elevation|angle",
        None,
        0,
        "body position",
    ),
    (r"light|licht|lumiere|luz|lux|ambient.*", None, 0, "ambient light"),
    (
        r"h?pr|hr(ate|m)?|(ox|d|spo2)hr|heartrate.*|pulserate.*|pulsfrequenz|puls|herzfrequenz|hf|fc|"
        r"frequencecardiaque|frecuenciacardiaca|bpm|spo2pr|prbpm|pouls",
        None,
        0,
        _PULSE_RATE,
    ),
    (
        r"pulse(bb)?|pulso",
        None,
        0,
        "a pulse rate or a pulse wave; if a wave, name it with channels={'ppg': ...}",
    ),
    (
        r".*(snor|schnarch|ronfl|ronqu|micro(?!v)|phono|sound|audio|trach).*|mic|geraeusch|son|"
        r"vibration",
        None,
        0,
        "snoring or sound",
    ),
    (
        r".*(leg|tib|bein|jambe|pierna|plm|ankle|anterior).*|(emg)?[lr]at\d*|(emg)?lat[lr]?\d*lat.*|"
        r"(emg)?jamb.*",
        None,
        0,
        "a leg muscle",
    ),
    (
        r".*(arm\d?$|arm[lr]$|forearm|fds|deltoid|flexor|masseter|intercost|brazo|extensor).*|"
        r"emgdiaph.*",
        None,
        0,
        "a muscle other than the chin",
    ),
    (r".*(co2|capno).*|cap", None, 0, "carbon dioxide"),
    (r".*(temp(?!or)|rectal).*|tbody|tskin", None, 0, "temperature"),
    (r"ptt|pat|pwa|pwv|bp.*|.*(systol|diastol|bloodpres).*", None, 0, "pulse transit or pressure"),
    (
        r"(cpap|pap|mask|airway|epap|ipap).*(pres|druck).*|pres|.*leak.*|tvol|tidalvol.*|rmi|phase|"
        r"xflow.*|difpres",
        None,
        0,
        "ventilator pressure or a derived quantity",
    ),
    (
        r"battery|bat|voltage|clock|time|seconds|dc\d*|aux\d*|ch\d+|x\d+|spare.*",
        None,
        0,
        "no sensor named",
    ),
    (
        r"(acc|accel|accelerometer|gyro)[xyz]?\d?",
        None,
        0,
        "one axis of raw acceleration; actigraphy takes activity counts",
    ),
    (r"(resprate|breathrate|rr|rrate|atemfrequenz|rimp?rate)", None, 0, "a rate, not a waveform"),
    (
        r"(eeg|eog)?(a|m)(1|2)|ref.*|gnd|ground|erde|masse|(eeg)?(a|m)1(eeg)?(a|m)2",
        None,
        0,
        "a reference electrode",
    ),
    (
        r"(sp|sa|s|a?so?)o2.*|sa02.*|sp02.*|aso2|osat.*|o2sat.*|oxsat.*|sat(uration)?|(o2)?sattigung|"
        r"saettigung|saturacion|saturationo2|oximetr.*|so2",
        "spo2",
        0,
        "oxygen saturation",
    ),
    (
        r"(nas(al)?|n)(pres|press|pressure|p|druck|dc)|nasaldruck|nasenfluss|nasendruck|pnasal|"
        r"(c(an|ann)u?l+a|cannlula|cannual|canula).*|ptaf|.*kanule|pressurenasale?|pressionnasale|"
        r"presionnasal|prongs?|nafpressure|nasalcannula|presspatient|flowpres.*|lunettes",
        "airflow",
        0,
        "nasal pressure",
    ),
    (r"newair(flow)?|newaf", "airflow", 10, "airflow (SHHS's newer thermistor channel)"),
    (
        r"(air|resp|nasal|nasaloral|oronasal|atem)?(flow|fluss)(patient|aux|dr|eg|th)?\d*|"
        r"airflow\d?|naf\d?|debit|flux|flujo(aereo|nasal)?|respnasal|resporonasal|resporonasale|"
        r"(air)?nasal(or)?|respflow|respairflow|atmung(nasal)?|aire?",
        "airflow",
        12,
        "airflow",
    ),
    (
        r".*therm(is|o|i)?.*|auxac|(oral|nasal|oro)(air)?flow|buccal|respor(al|o).*|thcp?|ftherm",
        "airflow",
        20,
        "airflow by temperature",
    ),
    (r"(c|cpap|pap|mask|device)flow|cflo", "airflow", 30, "flow of a CPAP machine"),
    (
        r"(resp|effort|rip|eff|mov|r|belt)?(thor?(ax?|ac(ic|ique|o|ica)?)?|chest|rib(cage)?|brust(korb)?|"
        r"torax|rc|vth)(res|effort|rip|resp|gnd|dc|belt|movement|gurt)?\d?|thorres|respeffortthor.*|"
        r"effthor?|thoraxbewegung",
        "effort",
        0,
        "thoracic belt",
    ),
    (
        r"(resp|effort|rip|eff|mov|r|belt)?(abd?(om(en|inal)?|o|m)?|bauch|vent(re|er)|vab)"
        r"(res|effort|rip|resp|gnd|dc|belt|movement|gurt)?\d?|abdores|abdomenal|effabd?",
        "effort",
        10,
        "abdominal belt",
    ),
    (r"(rip|resp|effort|ip|belt)?sum(me)?|xsum|ripsum", "effort", 20, "sum of both belts"),
    (
        r"pleth?.*|plth|ppg\d?|.*plethysmogra.*|pwf|pulsewave.*|fingerppg|pulswelle|onde.*pouls",
        "ppg",
        0,
        "pulse wave",
    ),
    (
        r"ibi|(rr|nn|ibi)i(nterval)?s?|interbeat.*|rrinterval|heartbeat",
        "ibi",
        0,
        "inter-beat intervals",
    ),
    (
        r"actigraph.*|actimet.*|aktigra.*|activity(counts?)?|counts|wristactivity",
        "actigraphy",
        0,
        "activity counts",
    ),
    (
        r"resp(iration|imp|ir)?(derived)?|edr|pdr|breath(ing)?|nlsnomresp",
        "resp",
        0,
        "respiration derived from another sensor",
    ),
    (r"(ecg|ekg)(ii|lead2|leadii)|(lead)ii", "ecg", 0, "ECG lead II"),
    (r"(ecg|ekg)(l|left|la|links|gauche)", "ecg", 4, "ECG, left"),
    (r"(ecg|ekg)(r|right|ra|rechts|droite?)", "ecg", 6, "ECG, right"),
    (
        r"(ecg|ekg)(1|1(ecg|ekg)?2|lr|lecgr|lekgr|avg|ekg|ecg|(ecg|ekg)l(ecg|ekg)r)?",
        "ecg",
        2,
        "ECG",
    ),
    (r"(ecg|ekg|lead)(i|mod.*)|cardio.*|ecgsignal", "ecg", 3, "ECG lead I"),
    (r"(ecg|ekg).*", "ecg", 8, "ECG, another lead"),
    (
        r"(emg)?(c|center)?chin(emg)?|emg|(emg)?subment.*|(emg)?mentalis|(emg)?(kinn|menton.*|menton)|"
        r"emgment.*|emgchin|cchinl|cchinr|rchinl|lchinr|rchinc|lchinc|(emg)?chin1(emg)?(chin)?2|"
        r"(emg)?barbilla|emgcb|lowerleftupp?.*|(emg)?mento.*",
        "emg",
        0,
        "chin EMG",
    ),
    (r"(emg)?chin\d(emg)?(chin)?\d", "emg", 1, "chin EMG"),
    (r"(emg)?(l|left)chin|(emg)?chin(l|left)|emgl", "emg", 3, "chin EMG, left"),
    (r"(emg)?(r|right)chin|(emg)?chin(r|right)|emgr", "emg", 4, "chin EMG, right"),
    (r"(emg|chin|emgchin|chinemg)1", "emg", 3, "chin EMG, first"),
    (r"(emg|chin|emgchin|chinemg)2", "emg", 4, "chin EMG, second"),
    (r"(emg|chin|emgchin|chinemg)3|emgaux.*", "emg", 5, "chin EMG, third"),
    (r"emg.*", "emg", 6, "EMG of an unnamed muscle"),
    (r"(cs)?eeg", "eeg", 40, "EEG, derivation not named"),
    (r"eeg3", "eeg", 41, "EEG, numbered (C4-M1 in MESA)"),
    (r"eeg(1|ch1)", "eeg", 42, "EEG, numbered"),
    (r"eeg(sec|2|ch2|secondary)", "eeg", 43, "EEG, second lead (C3-A2 in SHHS)"),
    (r"eeg(4|\d|ch\d)", "eeg", 44, "EEG, numbered"),
    (r"eeg.+", "eeg", 60, "EEG, derivation not understood"),
)
_COMPILED = tuple((re.compile(p), m, rank, why) for p, m, rank, why in _TABLE)

_BRAIN = re.compile(r"(fp|af|fc|cp|ft|tp|po|f|c|p|o|t)(z|\d{1,2})")
_REGIONS = {"c": 0, "fc": 10, "cp": 14, "f": 20, "af": 22, "fp": 24, "p": 50, "po": 52, "o": 54}
_EYES = (
    (
        r"(eog|eeg)?(loc|e1)|eog(l|left|1|g|gauche|links|li|izq(uierd[ao])?|sx)|(l|left|linkes)"
        r"(eog|eye)|cs(eogl|loc)",
        0,
        "e1",
        "left EOG",
    ),
    (
        r"(h|hor|horiz)?eog(h|horiz|horizontal|hor)?|eogaux|yeux",
        6,
        None,
        "EOG, horizontal or unnamed",
    ),
    (
        r"(eog|eeg)?(roc|e2)|eog(r|right|2|d|droite?|rechts|re|der(ech[ao])?|dx)|(r|right|rechtes)"
        r"(eog|eye)|cs(eogr|roc)",
        10,
        "e2",
        "right EOG",
    ),
    (r"veog|eog(v|vert|vertical)", 20, None, "EOG, vertical"),
    (r"eog.*", 24, None, "EOG, derivation not understood"),
)
_EYES_COMPILED = tuple((re.compile(p), *rest) for p, *rest in _EYES)
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
    for pattern, modality, rank, why in _COMPILED:
        if pattern.fullmatch(compact):
            electrode = compact if compact in MASTOIDS else None
            return Alias(modality, rank, why, electrode)
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
