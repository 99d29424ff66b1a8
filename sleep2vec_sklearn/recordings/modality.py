# SPDX-License-Identifier: BSD-3-Clause
"""Catalogue of modalities: rate, units and conditioning of each, with the reasons.

================  =======================  ======================================================
modality          conditioning             why
================  =======================  ======================================================
eeg, eog          0.3-35 Hz, robust        AASM display filters; gain differs between amplifiers
emg               10-60 Hz, robust         muscle tone is above 10 Hz, movement below it
ecg               0.5-45 Hz, robust        keeps the QRS complex, drops baseline wander
airflow, effort   0.05-1 Hz, robust        3 to 60 breaths a minute; units are arbitrary
resp              0.05-1 Hz, robust        the same, derived from another sensor
ppg               0.4-12 Hz, robust        the pulse wave and its notch
spo2              (x - 95) / 5, absolute   the level is the information: 88 % must look low
ibi               (x - 0.9) / 0.2, abs.    heart rate is the information
actigraphy        log1p, night-scaled      counts span four decades and devices differ in gain
================  =======================  ======================================================

"Robust" is (x - median) / (IQR / 1.349) over the night's valid samples; every modality is
clipped at 20 of its own units afterwards (a sensor coming off must not drown the night).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import UnknownModalityError

EPOCH_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Settings that turn a signal into network input; stored in every checkpoint.

    Attributes
    ----------
    rate : float
        Samples per second after resampling; ``rate * 30`` samples make an epoch.
    min_rate : float or None
        Slowest native rate accepted, in Hz; None for series judged by the length of their gaps.
    band : (float or None, float or None)
        High-pass and low-pass corner in Hz; None leaves that side open.
    limits : (float or None, float or None)
        Values outside, in the modality's unit, are gaps: a detached finger probe reads 0.
    resampling : {"polyphase", "linear", "mean"}
        A filter, for waveforms; straight lines, for levels; or means over intervals, for counts.
    scaling : {"robust", "absolute", "counts"}
        (x - median) / IQR of the night; (x - center) / scale; or log1p(10 x / mean of the night).
        Actigraphy of any scaling but ``"counts"`` is the vector magnitude of acceleration in g.
    center, scale : float
        Used by ``scaling="absolute"``.
    clip : float
        Largest magnitude after scaling.
    columns : tuple of str
        Expert features (``feature_table``, without the modality in front) to take of each epoch
        in place of its samples, such as ``("hr", "hr_m11")``. They are computed from the signal
        as it was recorded: nothing is resampled, filtered, scaled or clipped.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import Conditioning
    >>> spo2 = Conditioning(rate=4, min_rate=0.5, scaling="absolute", center=95.0, scale=5.0)
    >>> spo2.width
    120
    """

    rate: float
    min_rate: float | None
    band: tuple[float | None, float | None] = (None, None)
    limits: tuple[float | None, float | None] = (None, None)
    resampling: str = "polyphase"
    scaling: str = "robust"
    center: float = 0.0
    scale: float = 1.0
    clip: float = 20.0
    columns: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers of one 30-s epoch."""
        return len(self.columns) or round(self.rate * EPOCH_SECONDS)


@dataclass(frozen=True, slots=True)
class Modality:
    """One kind of nocturnal signal.

    Attributes
    ----------
    name : str
        Catalogue name, e.g. ``"eeg"``.
    description : str
        What the sensor is.
    unit : str
        Canonical unit, assumed if a recording states none.
    units : tuple of str
        Accepted units.
    plausible : (float, float) or None
        Range of plausible interquartile ranges, in the canonical unit.
    upstream_key : str
        Channel name in the checkpoints of the paper's authors.
    conditioning : Conditioning
        Default conditioning.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import get_modality
    >>> ecg = get_modality("ecg")
    >>> ecg.unit, ecg.units, ecg.conditioning.min_rate
    ('uV', ('uV', 'mV', 'V', 'nV'), 64)
    """

    name: str
    description: str
    unit: str
    units: tuple[str, ...]
    plausible: tuple[float, float] | None
    upstream_key: str
    conditioning: Conditioning


_VOLTS = ("uV", "mV", "V", "nV")
_ARBITRARY = ("a.u.", *_VOLTS, "L/min", "L/s", "mL/s", "cmH2O", "mmHg")


def _breathing(name: str, description: str, key: str, min_rate: float | None) -> Modality:
    conditioning = Conditioning(rate=4, min_rate=min_rate, band=(0.05, 1.0))
    return Modality(name, description, "a.u.", _ARBITRARY, None, key, conditioning)


def _voltage(
    name: str, description: str, plausible: tuple[float, float], min_rate: float,
    band: tuple[float, float],
) -> Modality:  # fmt: skip
    conditioning = Conditioning(rate=128, min_rate=min_rate, band=band)
    key = f"{name}_original"
    return Modality(name, description, "uV", _VOLTS, plausible, key, conditioning)


def _level(
    name: str, description: str, units: tuple[str, ...], key: str, **settings: Any
) -> Modality:
    conditioning = Conditioning(rate=4, resampling="linear", scaling="absolute", **settings)
    return Modality(name, description, units[0], units, None, key, conditioning)


# fmt: off
_CATALOGUE = (
    _voltage("eeg", "electroencephalogram, one derivation", (0.5, 2e3), 50, (0.3, 35.0)),
    _voltage("eog", "electrooculogram, one derivation", (0.5, 5e3), 50, (0.3, 35.0)),
    _voltage("emg", "chin electromyogram", (0.02, 5e3), 50, (10.0, 60.0)),
    _voltage("ecg", "electrocardiogram, one lead", (3.0, 5e4), 64, (0.5, 45.0)),
    _breathing("airflow", "nasal or oro-nasal airflow", "resp_nasal_original", 4),
    _breathing("effort", "thoracic or abdominal belt", "resp_original", 4),
    _level("spo2", "pulse-oximeter saturation", ("%", "fraction"), "spo2",
           min_rate=0.5, limits=(40.0, 101.0), center=95.0, scale=5.0),
    _level("ibi", "inter-beat-interval series", ("s", "ms", "bpm"), "heartbeat",
           min_rate=None, limits=(0.25, 3.0), center=0.9, scale=0.2),
    _breathing("resp", "respiration derived from another sensor", "breath", None),
    Modality("ppg", "photoplethysmogram", "a.u.", _ARBITRARY, None, "ppg",
             Conditioning(rate=100, min_rate=25, band=(0.4, 12.0))),
    Modality("actigraphy", "wrist activity counts, per sample", "counts", ("counts", "g"), None,
             "actigraphy", Conditioning(rate=1, min_rate=None, limits=(0.0, None),
                                        resampling="mean", scaling="counts")),
)
_SYNONYMS = {
    "ekg": "ecg", "flow": "airflow", "abdomen": "effort", "thorax": "effort", "sao2": "spo2",
    "hr": "ibi", "rr": "ibi", "pleth": "ppg", "acc": "actigraphy",
}
# fmt: on
MODALITIES: Mapping[str, Modality] = MappingProxyType({m.name: m for m in _CATALOGUE})


def get_modality(name: str) -> Modality:
    """Look up a modality by its name.

    Raises
    ------
    UnknownModalityError
        If the name is not in the catalogue; the message suggests a similar one.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import get_modality
    >>> get_modality("spo2").description
    'pulse-oximeter saturation'
    """
    if isinstance(name, str) and name in MODALITIES:
        return MODALITIES[name]
    lower = str(name).lower()
    by_upstream_key = [m.name for m in _CATALOGUE if m.upstream_key == str(name)]
    near = difflib.get_close_matches(lower, MODALITIES, n=1, cutoff=0.5)
    suggestions = [_SYNONYMS[lower]] if lower in _SYNONYMS else [*by_upstream_key, *near]
    hint = f" Did you mean {suggestions[0]!r}?" if suggestions else ""
    raise UnknownModalityError(
        f"unknown modality {name!r}.{hint} Accepted: {', '.join(MODALITIES)}."
    )


def list_modalities(names: str | Iterable[str] | None) -> list[str]:
    """Validate a choice of modalities: one name, several, or None for the whole catalogue.

    Raises
    ------
    UnknownModalityError
        If a name is not in the catalogue.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import list_modalities
    >>> list_modalities("eeg"), list_modalities(["spo2", "eeg"]), len(list_modalities(None))
    (['eeg'], ['spo2', 'eeg'], 11)
    """
    if names is None:
        return list(MODALITIES)
    is_list = isinstance(names, Iterable) and not isinstance(names, str)
    is_list = is_list and getattr(names, "ndim", 1) > 0
    listed: Iterable[Any] = names if is_list else [names]
    return list(dict.fromkeys(get_modality(name).name for name in listed))
