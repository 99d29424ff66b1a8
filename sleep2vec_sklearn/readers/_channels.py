# SPDX-License-Identifier: BSD-3-Clause
"""Table from channel labels to modalities, and from physical dimensions to units.

A label is compared in a compact form (no case, accents, spaces or punctuation), so that
``"THOR RES"``, ``"Thor_Res"`` and ``"thor-res"`` are one entry. EEG and EOG labels that name
electrodes are taken apart instead of listed: ``"EEG C3-A2"``, ``"C3:M2"``, ``"C3/M2"``, ``"C3M2"``
and ``"EEG_C3-EEG_M2"`` are all electrode ``c3`` against ``m2``. After ``EEG``, the electrode
decides whatever its reference is called.

A label begins with a sensor but may name something else: ``"SpO2 Pleth"`` is a pulse wave, ``"ECG
HR"`` a rate, ``"EMG Tib"`` a leg. So each of its words is looked at.

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
from dataclasses import dataclass

from ..recordings._event_names import without_accents
from ..recordings.modality import get_modality

SUM_OF_BELTS = ("effort", 20)
MASTOIDS = {"a1": "left", "m1": "left", "a2": "right", "m2": "right"}

# Reasons before modalities: "EMG tibialis" is a leg before it is an EMG.
UNUSED: dict[str, tuple[str, ...]] = {
    "annotations, not a signal": (r"(edf|bdf)annotations",),
    "events": (r"(event|marker|trigger|status|hypno|stage|stade|epoch|annot|mark).*",),
    "electrode or sensor check": (r".*(off|impedance|imp|quality|qual)$(?<!respimp)",),
    "oximeter status": (r"(ox|sp?o2?|oximeter|oxi)*stat(us)?|oxst.*|dc\d+status",),
    "body position": (
        r"(body)?pos(ition)?(sensor|body)?|body|(korper)?lage(sensor)?|posicion",
        r"gravity[xyz]?|gravit.*|elevation|angle",
    ),
    "ambient light": (r"light|licht|lumiere|luz|lux|ambient.*",),
    "a pulse rate averaged by the device, not beat-to-beat RR intervals (ibi)": (
        r"h?pr|hr(ate|m)?|(ox|d|spo2)hr|heartrate.*|pulserate.*|pulsfrequenz|puls",
        r"herzfrequenz|hf|fc|frequencecardiaque|frecuenciacardiaca|bpm|spo2pr|prbpm",
        r"pouls",
    ),
    "a pulse rate or a pulse wave; if a wave, name it with channels={'ppg': ...}": (
        r"pulse(bb)?|pulso",
    ),
    "snoring or sound": (
        r".*(snor|schnarch|ronfl|ronqu|micro(?!v)|phono|sound|audio|trach).*|mic",
        r"geraeusch|son|vibration",
    ),
    "a leg muscle": (
        r".*(leg|tib|bein|jambe|pierna|plm|ankle|anterior|calf|gastroc|wade|mollet|gamba).*",
        r".*(perna|foot|fuss|pied).*|(emg)?[lr]?(at|ta)[lr]?\d*|(emg)?(been|ben)[lrhv]?\d*",
        r"(emg)?lat[lr]?\d*lat.*|(emg)?jamb.*|emgj[dg]|emgb[lr]",
    ),
    "a muscle other than the chin": (
        r".*((?<!al)arm\d?$|arm[lr]$|forearm|fds|deltoid|flexor|masseter|intercost|brazo|extensor).*",
        r"emg(di|(diaph|temporal|trapez|neck|nacken|abd|thor).*)",
    ),
    "carbon dioxide": (r".*(co2|capno).*|cap",),
    "temperature": (r".*(temp(?!or)|rectal).*|tbody|tskin",),
    "pulse transit or pressure": (r"ptt|pat|pwa|pwv|bp.*|.*(systol|diastol|bloodpres).*",),
    "ventilator pressure or a derived quantity": (
        r"(cpap|pap|mask|airway|epap|ipap).*(pres|druck).*|pres|.*leak.*|tvol|tidalvol.*",
        r"rmi|phase|xflow.*|difpres",
    ),
    "no sensor named": (r"battery|bat|voltage|clock|time|seconds|dc\d*|aux\d*|ch\d+|x\d+|spare.*",),
    "one axis of raw acceleration; actigraphy takes activity counts": (
        r"(acc|accel|accelerometer|gyro)[xyz]?\d?",
    ),
    "a rate, not a waveform": (r"(resprate|breathrate|rr|rrate|atemfrequenz|rimp?rate)",),
    "a reference electrode": (
        r"(eeg|eog)?(a|m)(1|2)|ref.*|gnd|ground|erde|masse|(eeg)?(a|m)1(eeg)?(a|m)2",
    ),
}

_BEFORE = r"(resp|effort|rip|eff|mov|r|belt|inductance)?(belt|effort)?"
_AFTER = r"(res|effort|eff|rip|resp|belt|movement|gurt|sum)?(gnd|dc)?\d?"

# fmt: off
USED = (
    ("spo2", 0, "oxygen saturation",
     r"(sp|sa|s|a?so?)o2\d?|s[ap]02|a?so2|osat|o2sat(uration)?|oxsat|sat(uration)?|"
     r"(o2|sauerstoff)?sa(e?)ttigung|(oxygen)?satura(c|t|z)(ion|ione|ao|ie)|sat(uration)?o2|"
     r"(pulse)?ox[iy]met(ry|rie|ria)"),
    ("spo2", 1, "oxygen saturation, as its other words may say",
     r"(sp|sa|s|a?so?)o2.*|s[ap]02.*|osat.*|o2sat.*|oxsat.*|oximetr.*"),
    ("airflow", 0, "nasal pressure",
     r"(nas(al)?|n)(pres|press|pressure|p|druck|dc)|nasaldruck|p(ressure)?flow|flow(np|nasalpres(sure)?)|druckfl(ow|uss)|nasenfluss|nasendruck|pnasal|"
     r"(c(an|ann)u?l+a|cannlula|cannual|canula).*|ptaf|.*kanule|pressurenasale?|pressionnasale|"
     r"presionnasal|prongs?|nafpressure|nasalcannula|presspatient|flowpres.*|lunettes"),
    ("airflow", 10, "airflow (the newer thermistor of SHHS)", r"newair(flow)?|newaf"),
    ("airflow", 12, "airflow",
     r"(air|resp|nasal|nasaloral|oronasal|atem)?(flow|fluss)(patient|aux|dr|eg|th|nasal)?\d*|"
     r"airflow\d?|naf\d?|debit|flux|flujo(aereo|nasal)?|flux(nasal|o)|flusso|luchtstroom|pneumo(flow)?|respnasal|resporonasal|resporonasale|"
     r"(air)?nasal(or)?|respflow|respairflow|atmung(nasal)?|aire?"),
    ("airflow", 20, "airflow by temperature",
     r".*therm(?!omet).*|auxac|(oral|nasal|oro)(air)?flow|buccal|respor(al|o).*|thcp?|ftherm|tflow"),
    ("airflow", 30, "flow of a CPAP machine", r"(c|cpap|pap|mask|device)flow|cflo"),
    ("effort", 0, "thoracic belt",
     _BEFORE + r"(thor?(ax?|ac(ic|ique|o|ic[oa])?)?|chest|rib(cage)?|brust(korb)?|"
     r"torax|toracico|thx|rc|vth)" + _AFTER + r"|thoraxbewegung"),
    ("effort", 10, "abdominal belt",
     _BEFORE + r"(abd?(om(en?|inal)?|o|m)?|addom(e|inale)|bauch|vent(re|er)|vab)" + _AFTER
     + r"|abdomenal"),
    ("effort", 25, "belt, place not named", r"(resp(iratory)?)?effort(belt)?|resp(iratory)?belt"),
    (*SUM_OF_BELTS, "sum of both belts", r"(rip|resp|effort|ip|belt)?sum(me)?|xsum|ripsum"),
    ("ppg", 0, "pulse wave",
     r"pleth?.*|plth|ppg\d?|.*plethysmogra.*|pwf|pulsewave.*|fingerppg|pulswelle|onde.*pouls"),
    ("ibi", 0, "inter-beat intervals",
     r"ibi|(rr|nn|ibi)i(nterval)?s?|interbeat.*|rrinterval|heartbeat"),
    ("actigraphy", 0, "activity counts",
     r"actigraph.*|actimet.*|aktigra.*|activity(counts?)?|counts|wristactivity"),
    ("resp", 0, "respiration derived from another sensor",
     r"resp(iration|imp|ir)?(derived)?|edr|pdr|breath(ing)?|nlsnomresp"),
    ("ecg", 0, "ECG lead II", r"(ecg|ekg)(ii|lead2|leadii)|lead(ii|2)"),
    ("ecg", 4, "ECG, left", r"(ecg|ekg)(l|left|la|links|gauche)"),
    ("ecg", 6, "ECG, right", r"(ecg|ekg)(r|right|ra|rechts|droite?)"),
    ("ecg", 2, "ECG",
     r"(ecg|ekg)(1|1(ecg|ekg)?2|lr|lecgr|lekgr|avg|ekg|ecg|(ecg|ekg)l(ecg|ekg)r)?"),
    ("ecg", 3, "ECG lead I", r"(ecg|ekg|lead)(i|mod.*)|cardio.*|ecgsignal"),
    ("ecg", 8, "ECG, another lead", r"(ecg|ekg).*"),
    ("emg", 0, "chin EMG",
     r"(emg)?(c|center)?chin(emg)?|emg|(emg)?subment.*|(emg)?mentalis|"
     r"(emg)?(kinn?|menton.*|chinchin)(emg)?|emgment.*|emgchin|cchinl|cchinr|rchinl|lchinr|rchinc|lchinc|"
     r"(emg)?chin1(emg)?(chin)?2|(emg)?barbilla|emgcb|lowerleftupp?.*|(emg)?mento.*|"
     r"emg(ref|gnd|bip(olar)?|raw|signal|x|sm|subm?|ment|kin|queixo|mylohyo.*|geniogl.*|c|"
     r"cent(er|re))"),
    ("emg", 1, "chin EMG", r"(emg)?chin\d(emg)?(chin)?\d"),
    ("emg", 3, "chin EMG, left", r"(emg)?(l|left)chin|(emg)?chin(l|left)|emg(l|left|links)"),
    ("emg", 4, "chin EMG, right", r"(emg)?(r|right)chin|(emg)?chin(r|right)|emg(r|right|rechts)"),
    ("emg", 3, "chin EMG, first", r"(emg|chin|emgchin|chinemg)1"),
    ("emg", 4, "chin EMG, second", r"(emg|chin|emgchin|chinemg)2"),
    ("emg", 5, "chin EMG, third", r"(emg|chin|emgchin|chinemg)3|emgaux.*"),
    ("emg", 6, "EMG of an unnamed muscle",
     r"emg\d*(emg\d*)?|emg(ch)?\d+|emg(c[lr]|[lr]c)\d?|emg.*(chin|kinn|kin\d|ment).*"),
    (None, 0, "an EMG of a muscle not known; if it is the chin, name it with channels={'emg': ...}",
     r"emg.*"),
    ("eeg", 40, "EEG, derivation not named", r"(cs)?eeg"),
    ("eeg", 41, "EEG, numbered (C4-M1 in MESA)", r"eeg3"),
    ("eeg", 42, "EEG, numbered", r"eeg(1|ch1)"),
    ("eeg", 43, "EEG, second lead (C3-A2 in SHHS)", r"eeg(sec|2|ch2|secondary)"),
    ("eeg", 44, "EEG, numbered", r"eeg(4|\d|ch\d)"),
    ("eeg", 60, "EEG, derivation not understood", r"eeg.+"),  # see _PREFIXED_RANK
)

EYES: tuple[tuple[int, str | None, str, str], ...] = (
    (0, "e1", "left EOG",
     r"(eog|eeg)?(loc|e1)|eog(l|lt|left|1|g|gauche|links|li|izq(uierd[ao])?|sx)|"
     r"(l|left|linkes)(eog|eye)|cs(eogl|loc)"),
    (6, None, "EOG, horizontal or unnamed",
     r"(h|hor|horiz)?eog(h|horiz|horizontal|hor)?|eogaux|yeux"),
    (10, "e2", "right EOG",
     r"(eog|eeg)?(roc|e2)|eog(r|rt|right|2|d|droite?|rechts|re|der(ech[ao])?|dx)|"
     r"(r|right|rechtes)(eog|eye)|cs(eogr|roc)"),
    (20, None, "EOG, vertical", r"veog|eog(upper|lower|sup|inf)?(v|vert|vertic|vertical)"),
    (24, None, "EOG, derivation not understood", r"eog.*"),
)
# fmt: on

VOLTAGES = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}

_SPELLINGS = {
    **dict.fromkeys(("uv", "µv", "μv", "âµv", "microv", "microvolt", "microvolts", "uvolt"), "uV"),
    **dict.fromkeys(("mv", "millivolt", "millivolts"), "mV"),
    **dict.fromkeys(("v", "volt", "volts"), "V"),
    **dict.fromkeys(("nv", "nanovolt"), "nV"),
    **dict.fromkeys(("%", "percent", "prozent", "pct", "%sao2", "%spo2"), "%"),
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("bpm", "1/min", "beats/min"), "bpm"),
    **dict.fromkeys(("counts", "count", "cnt", "cnts"), "counts"),
    **dict.fromkeys(("l/min", "lpm"), "L/min"),
    **dict.fromkeys(("l/s", "l/sec"), "L/s"),
    **dict.fromkeys(("ml/s", "ml/sec"), "mL/s"),
    **dict.fromkeys(("cmh2o", "cmh20"), "cmH2O"),
    "mmhg": "mmHg",
    "g": "g",
    "fraction": "fraction",
    "a.u.": "a.u.",
}


@dataclass(frozen=True, slots=True)
class Alias:
    """Meaning of a channel label.

    ``modality`` is None if the library has no use for the channel; the lowest ``rank`` is
    preferred; ``why`` says what the channel is. ``electrode`` and ``reference`` are those of an
    EEG, EOG or mastoid channel, as far as the label names them.
    """

    modality: str | None
    rank: int
    why: str
    electrode: str | None = None
    reference: str | None = None

    @property
    def region(self) -> tuple[str, str | int] | None:
        """What channels share that can stand for each other; None for a channel without its like.

        EEG of one region of the scalp, both eyes, leads of the chin, leads of the heart, one kind
        of airflow sensor, one belt.
        """
        if self.modality == "eeg":
            brain = _BRAIN.fullmatch(self.electrode or "")
            if brain is not None:
                return self.modality, brain.group(1)
            # EEG and EEG(sec) of SHHS are C4-A1 and C3-A2
            return (self.modality, "unnamed") if self.rank in (40, 43) else None
        if self.modality in ("airflow", "effort"):
            return self.modality, self.rank // 10
        unclear = (self.modality == "emg" and self.rank >= 6) or (
            self.modality == "eog" and self.rank >= 20
        )
        return None if unclear or self.modality is None else (self.modality, "")


_UNKNOWN = Alias(None, 0, "unknown label; if it is of use, name it with channels={modality: label}")
_PREFIXED_RANK = 60
# words after a label that do not say what it is
_FILLERS = {"ref", "uv", "mv", "dc", "raw", "filt", "f", "gnd", "emg", "signal"}
_UNUSED = tuple((why, re.compile("|".join(patterns))) for why, patterns in UNUSED.items())
_USED = tuple((name, rank, why, re.compile(pattern)) for name, rank, why, pattern in USED)
_BRAIN = re.compile(r"(fp|af|fc|cp|ft|tp|po|f|c|p|o|t)(z|\d{1,2})")
_REGIONS = {"c": 0, "fc": 10, "cp": 14, "f": 20, "af": 22, "fp": 24, "p": 50, "po": 52, "o": 54}
_EYES = tuple((rank, name, why, re.compile(pattern)) for rank, name, why, pattern in EYES)
# linked ears are written LE, CLE (MASS), LER, LM, AR, M1M2 or in words
_EARS = re.compile(
    r"([am][12]){1,2}|c?le|ler|lm|ar|(linked)?(ears?|earlobes?|mastoids?|lobes)|linked|[cv]?ref|nz"
)
_REFERENCE = re.compile(rf"{_EARS.pattern}|avg?|ave?rage|car|common|fpz|pg1|x|gnd|ll|0")
_SEPARATOR = re.compile(r"[-:/|_\s.,()\[\]+]+")
_KINDS = ("eeg", "eog", "emg", "ecg", "ekg")
_OXIMETER = r"(?:sp|sa|s|a?so?)[o0]2|o(?:2|x)?sat|sat(?:uration)?|oxim(?:eter|etry)?|ox|o2"
_SENSOR = re.compile(rf"(?P<oximeter>{_OXIMETER})|ppg|pleth|ecg|ekg|eeg|eog|emg|acti(?:graph|met)")
_WAVE = re.compile(r"pleth.*|plth|ppg\d?|p?wave?(form)?|pulsewave.*|wv")
_NO_WAVEFORM = tuple(
    (why, re.compile(pattern))
    for why, pattern in {
        "a rate or interval of beats, not the signal they were found in": (
            r"[hp]r\d?|.*rates?|pulse?|pulso|polso|pouls|bpm|f[cq]|hf|.*freque?n[cz].*|rr\d?|nn|ibi|"
            r"rri.*|tacho.*|beats?|hrv|qrs|rpeaks?"
        ),
        "a quantity computed from the signal, or marks, not the signal": (
            r"pi|perf.*|i?nde?x|desat.*|odi|alarm|art([ei]fact)?|min|max|events?|mark(er)?s?|trig(ger)?|"
            r"stat(us)?|power|delta|theta|alpha|beta|sigma|gamma|spindles?|rms|env(elope)?|"
            r"amp(l.*)?|st\d?|qtc?|resp.*|edr|light|lux|batter.*"
        ),
        "electrode or sensor check": r"off|imp(edance)?|qual(ity)?|check",
    }.items()
)


def compact_label(label: str) -> str:
    """Letters and digits of a label, in lower case and without accents."""
    return "".join(_split_words(label))


def classify_label(label: str) -> Alias:
    """What a channel is, by its label."""
    return _classify(_split_words(label))


def _classify(words: list[str]) -> Alias:
    alias = _electrode_alias(words)
    if alias is not None:
        return alias
    compact = "".join(words)
    for why, pattern in _UNUSED:
        if pattern.fullmatch(compact):
            return Alias(None, 0, why)
    alias = _other_quantity(words)
    if alias is not None:
        return alias
    for modality, rank, why, pattern in _USED:
        if pattern.fullmatch(compact):
            alias = Alias(modality, rank, why)
            break
    # software that writes EEG before every channel: "EEG Chin1-Chin2"
    prefixed = alias is not None and alias.rank == _PREFIXED_RANK and words[0] == "eeg"
    other = _classify(words[1:]) if prefixed and words[1:] else _UNKNOWN
    if other is _UNKNOWN and alias is None and len(words) > 1 and words[-1] in _FILLERS:
        return _classify(words[:-1])
    return other if other is not _UNKNOWN else alias or _UNKNOWN


def _split_words(label: str) -> list[str]:
    plain = without_accents(label.casefold().replace("µ", "u"))
    words = [re.sub(r"[^a-z0-9]", "", word) for word in _SEPARATOR.split(plain)]
    return [word for word in words if word and not re.fullmatch(r"\d+hz", word)]


def _other_quantity(words: list[str]) -> Alias | None:
    """What a label such as "SpO2 Pulse" or "ECG HR" names in place of its sensor's own signal."""
    sensor = _SENSOR.match(words[0]) if words else None
    if sensor is None:
        return None
    others = [words[0][sensor.end() :], *words[1:]]
    if sensor["oximeter"] and any(map(_WAVE.fullmatch, others)):
        return Alias("ppg", 1, "pulse wave of an oximeter")
    for why, pattern in _NO_WAVEFORM:
        if any(map(pattern.fullmatch, others)):
            return Alias(None, 0, why)
    return None


def _electrode_alias(words: list[str]) -> Alias | None:
    kind = next((word for word in words if word in _KINDS), None)
    named = [re.sub(r"^eeg(?=[a-z])", "", word) for word in words if word not in _KINDS]
    if len(named) > 2 and named[-1].isdigit():
        named.pop()
    if kind in ("emg", "ecg", "ekg") or not words or len(named) > 3:
        return None
    if any(pattern.fullmatch(word) for _, pattern in _NO_WAVEFORM for word in words):
        return None
    if len(named) == 1:
        named = _split_glued(named[0])
    first, rest = (named[0], named[1:]) if named else ("", [])
    reference = "".join(rest) or None
    if first in MASTOIDS or (kind == "eeg" and _EARS.fullmatch(first)):
        known = reference is None or kind == "eeg" or _is_electrode(reference)
        electrode = first if first in MASTOIDS and reference is None else None
        return Alias(None, 0, "a reference electrode", electrode) if known else None
    eye = _eye_alias(first, reference, kind)
    if eye is not None:
        return eye
    brain = _BRAIN.fullmatch(first)
    if brain is None or (reference and kind != "eeg" and not _is_electrode(reference)):
        return None
    return _brain_alias(first, brain.group(1), reference)


def _split_glued(word: str) -> list[str]:
    pair = re.fullmatch(r"(.+?)(a1|a2|m1|m2|cz|oz|pz|c?le|ler)", word)
    if pair and (_BRAIN.fullmatch(pair.group(1)) or pair.group(1) in ("loc", "roc", "e1", "e2")):
        return [pair.group(1), pair.group(2)]
    return [word]


def _is_electrode(word: str) -> bool:
    return bool(_REFERENCE.fullmatch(word) or _BRAIN.fullmatch(word))


def _brain_alias(electrode: str, region: str, reference: str | None) -> Alias:
    side = "z" if electrode.endswith("z") else ("left" if int(electrode[-1]) % 2 else "right")
    quality = 2 if reference else 3
    if reference in MASTOIDS:
        quality = int(MASTOIDS[reference] == side)
    rank = _REGIONS.get(region, 56) + 3 * quality * (region == "c")
    rank += ("right", "left", "z").index(side)
    against = ""
    if reference:
        spelled = reference.capitalize() if _BRAIN.fullmatch(reference) else reference.upper()
        against = f" against {spelled}"
    return Alias("eeg", rank, f"EEG at {electrode.capitalize()}{against}", electrode, reference)


def _eye_alias(first: str, reference: str | None, kind: str | None) -> Alias | None:
    eyes = ["e1", "e2", "loc", "roc", *(("l", "r", "left", "right") if kind == "eog" else ())]
    if first in eyes and reference in eyes:
        return Alias("eog", 6, "EOG, both eyes", None, reference)
    choices = [(first, reference)]
    if reference is not None and not _is_electrode(reference):
        # a second word that is part of the name, as in "EOG Left Horiz", or an unknown reference
        choices = [(first + reference, None)] + choices * (kind == "eog")
    texts = [
        (text, against)
        for name, against in choices
        for text in ([name] if kind is None else [kind + name, name])
    ]
    for rank, electrode, why, pattern in _EYES:
        for text, against in texts:
            if pattern.fullmatch(text):
                return Alias("eog", rank + (against is None), why, electrode, against)
    return None


def find_unit(dimension: str) -> str | None:
    """The unit that a physical dimension spells, of any modality; None if it is not known."""
    return _SPELLINGS.get(dimension.strip().lower().replace(" ", ""))


def is_foreign_unit(dimension: str, modality: str) -> bool:
    """Whether a dimension is a known unit of another quantity, e.g. bpm for a saturation."""
    known, unit = get_modality(modality), find_unit(dimension)
    return known.unit != "a.u." and unit is not None and unit not in known.units


def parse_dimension(dimension: str, modality: str) -> tuple[str, str | None]:
    """Unit of a modality for a header's physical dimension, and a note if it was assumed."""
    known = get_modality(modality)
    text = dimension.strip()
    unit = find_unit(text)
    if unit in known.units:
        return unit, None
    if known.unit == "a.u.":
        # of airflow, effort and ppg, of which nothing is assumed
        return known.unit, None
    stated = f"states the unit {text!r}" if text else "states no unit"
    return known.unit, f"{stated}; taken as {known.unit}"
