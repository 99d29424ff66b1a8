# SPDX-License-Identifier: BSD-3-Clause
"""Simulated people: demographics and the traits that shape their nights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ...recordings import MODALITIES
from ._synthesis import stream

__all__ = [
    "SITE_KINDS",
    "Outcomes",
    "Site",
    "Subject",
    "draw_outcomes",
    "draw_site",
    "draw_subject",
]


@dataclass(frozen=True, slots=True)
class Subject:
    """One simulated person; every night of theirs is drawn from these traits.

    Attributes
    ----------
    id : str
        ``"sim-0001"``.
    age : float
        Years, 20 to 85.
    sex : {"F", "M"}
        Sex.
    bmi : float
        Body-mass index in kg/m2.
    ahi : float
        Expected apneas and hypopneas per hour of sleep.
    rem_apnea : float
        How much more frequent these are in REM sleep.
    desaturation : float
        Scale of the saturation lost per event.
    saturation : float
        Awake saturation in %.
    fragmentation : float
        Multiplies the hazard of waking up; 1 is the population's median.
    deep_sleep : float
        Multiplies the time in N3; 1 is the population's median for the age.
    heart_rate : float
        Mean asleep, in beats per minute.
    stage_heart_rate : tuple of float
        Change of heart rate by stage (W, N1, N2, N3, R), beats per minute.
    heart_variability : float
        Multiplies every component of heart-rate variability.
    breathing_rate : float
        Breaths per minute in N2.
    eeg_gain, eeg_slope : float
        Amplitude factor of the EEG, and change of its spectral exponent.
    stage_gain : tuple of float
        Amplitude factor of the EEG by stage.
    alpha, alpha_frequency : float
        Alpha power of quiet wakefulness (some people have hardly any) and its peak in Hz.
    spindle_rate, spindle_frequency : float
        Spindles per minute of N2 and their frequency in Hz.
    muscle_tone : float
        Chin EMG in N2, in uV.
    restlessness : float
        Multiplies the number of movements.
    """

    id: str
    age: float
    sex: str
    bmi: float
    ahi: float
    rem_apnea: float
    desaturation: float
    saturation: float
    fragmentation: float
    deep_sleep: float
    heart_rate: float
    stage_heart_rate: tuple[float, ...]
    heart_variability: float
    breathing_rate: float
    eeg_gain: float
    eeg_slope: float
    stage_gain: tuple[float, ...]
    alpha: float
    alpha_frequency: float
    spindle_rate: float
    spindle_frequency: float
    muscle_tone: float
    restlessness: float


def draw_subject(seed: int, index: int) -> Subject:
    """Draw person number ``index`` (from 1) of the population called ``seed``."""
    rng = stream((seed, index), "subject")
    age = float(rng.uniform(20, 85))
    sex = "M" if rng.random() < 0.5 else "F"
    elderly = (age - 50) / 20
    bmi = float(np.clip(26.5 + 0.6 * elderly + 4.2 * rng.standard_normal(), 17, 48))
    obesity = (bmi - 27) / 5
    spread = rng.standard_normal(16)
    log_ahi = np.log(11.0) + 0.3 * elderly + 0.4 * obesity + (0.2 if sex == "M" else -0.3)
    ahi = float(np.clip(np.exp(log_ahi + 0.85 * spread[0]), 0.3, 90))
    heart_variability = float(np.exp(-0.22 * elderly - 0.06 * obesity + 0.3 * spread[1]))
    heart_rate = 62.0 + (2.5 if sex == "F" else 0.0) + 1.2 * obesity + 7.0 * spread[2]
    weak_alpha = rng.random() < 0.25
    stage_heart_rate = np.array([5.0, 1.5, -0.8, -0.6, 2.4]) + rng.normal(
        0, [3.0, 1.0, 0.6, 1.3, 1.3]
    )
    return Subject(
        id=f"sim-{index:04d}",
        age=round(age, 1),
        sex=sex,
        bmi=round(bmi, 1),
        ahi=ahi,
        rem_apnea=float(np.exp(0.4 + 0.4 * spread[3])),
        desaturation=float(np.exp(0.25 * obesity + 0.6 * spread[4])),
        saturation=float(np.clip(96.8 - 0.5 * elderly - 0.4 * obesity + 0.8 * spread[5], 91, 99)),
        fragmentation=float(np.exp(0.35 * spread[6])),
        deep_sleep=float(np.exp(0.3 * spread[7] + (0.1 if sex == "F" else -0.1))),
        heart_rate=float(np.clip(heart_rate, 42, 92)),
        stage_heart_rate=tuple(stage_heart_rate.tolist()),
        heart_variability=heart_variability,
        breathing_rate=float(np.clip(14.5 + 0.5 * obesity + 2.0 * spread[8], 9, 22)),
        eeg_gain=float(np.exp(-0.12 * elderly + 0.22 * spread[9])),
        eeg_slope=float(-0.08 * elderly + 0.14 * spread[10]),
        stage_gain=tuple(np.exp(rng.normal(0, 0.16, 5)).tolist()),
        alpha=float((0.12 if weak_alpha else 1.0) * np.exp(0.6 * spread[11])),
        alpha_frequency=float(np.clip(10.0 - 0.3 * elderly + 0.7 * spread[12], 8.2, 12.0)),
        spindle_rate=float(np.exp(np.log(3.0) - 0.25 * elderly + 0.4 * spread[13])),
        spindle_frequency=float(np.clip(13.4 + 0.5 * spread[14], 12.0, 15.0)),
        muscle_tone=float(np.exp(np.log(6.0) + 0.5 * spread[15])),
        restlessness=float(np.exp(0.35 * rng.standard_normal())),
    )


_GOLDEN_RATIO = (5**0.5 - 1) / 2
_POLYSOMNOGRAPHY = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp")
SITE_KINDS: dict[str, tuple[str, ...]] = {
    "laboratory": _POLYSOMNOGRAPHY,
    "full_laboratory": tuple(MODALITIES),
    "watch_laboratory": (*_POLYSOMNOGRAPHY, "actigraphy"),
    "home": ("ecg", "airflow", "effort", "spo2", "ibi", "resp", "ppg"),
    "wearable": ("ibi", "actigraphy"),
}
"""Kinds of site and what each records.

A ``watch_laboratory`` puts a smart watch on people during polysomnography; in it and in a
``wearable`` site, ``ibi`` is the watch's smoothed heart rate, without beat-to-beat variability.
"""


@dataclass(frozen=True, slots=True)
class Site:
    """One simulated site.

    Attributes
    ----------
    name : str
        ``"site-1"``.
    kind : str
        One of ``SITE_KINDS``.
    modalities : tuple of str
        What it records, in the catalogue's order.
    rates : tuple of float
        Samples per second, one for each of ``modalities``.
    units : tuple of str
        Unit, one for each of ``modalities``.
    gain : float
        Calibration error of the amplifiers: the factor on every voltage.
    high_pass, low_pass : float
        Corners of the amplifiers' filters, in Hz.
    line_frequency, line_amplitude : float
        Mains hum, in Hz and uV.
    noise : float
        Amplifier and electrode noise in uV.
    airflow_scale : float
        Size of a breath in the units of the flow sensor.
    spo2_step : float
        Resolution of the oximeter in %.
    watch_seconds : float
        Window the watch averages heart rate over.
    counts_scale : float
        Counts per second of a vigorous movement.
    counts_smoothing : float
        Standard deviation, in seconds, of the Gaussian that counts are smoothed with; 0 for none.
    eeg_tilt, alpha_share : float
        What the derivation does to the EEG: change of its spectral exponent, and its share of
        alpha, which is large at the back of the head.
    """

    name: str
    kind: str
    modalities: tuple[str, ...]
    rates: tuple[float, ...]
    units: tuple[str, ...]
    gain: float
    high_pass: float
    low_pass: float
    line_frequency: float
    line_amplitude: float
    noise: float
    airflow_scale: float
    spo2_step: float
    watch_seconds: float
    counts_scale: float
    counts_smoothing: float
    eeg_tilt: float
    alpha_share: float

    @property
    def has_watch(self) -> bool:
        """Whether ``ibi`` is a watch's heart rate."""
        return self.kind in ("wearable", "watch_laboratory")

    def rate(self, modality: str) -> float:
        """Samples per second of a modality."""
        return self.rates[self.modalities.index(modality)]

    def unit(self, modality: str) -> str:
        """Unit of a modality."""
        return self.units[self.modalities.index(modality)]


def draw_site(seed: int, index: int, kind: str) -> Site:
    """Draw site number ``index`` (from 1) of the cohort called ``seed``."""
    rng = stream((seed, index), "site")
    modalities = tuple(name for name in MODALITIES if name in SITE_KINDS[kind])
    rates, units = _rates(kind, rng), _units(kind, rng)
    europe = rng.random() < 0.5
    return Site(
        name=f"site-{index}",
        kind=kind,
        modalities=modalities,
        rates=tuple(float(rates[name]) for name in modalities),
        units=tuple(units[name] for name in modalities),
        gain=float(np.exp(rng.normal(0, 0.3))),
        high_pass=float(rng.choice([0.1, 0.3, 0.5])),
        low_pass=float(rng.choice([35.0, 45.0, 70.0])),
        line_frequency=50.0 if europe else 60.0,
        line_amplitude=float(rng.gamma(2.0, 0.8)),
        noise=float(rng.uniform(0.5, 2.5)),
        airflow_scale=float(np.exp(rng.normal(4.0, 0.8))),
        spo2_step=float(rng.choice([1.0, 1.0, 0.1])),
        watch_seconds=float(rng.uniform(5, 12)),
        counts_scale=float(np.exp(rng.normal(1.6, 0.5))),
        counts_smoothing=float(rng.choice([0.0, 50.0])),
        eeg_tilt=0.3 * _spread(seed, index, "eeg tilt"),
        alpha_share=float(np.exp(-0.1 + 0.5 * _spread(seed, index, "alpha share"))),
    )


def _spread(seed: int, index: int, name: str) -> float:
    """A standard normal value, of which no two neighbouring sites get similar ones.

    Steps of the golden ratio cover the quantiles evenly however many sites there are. Drawn
    independently, the two sites of a small cohort could be alike, and nothing would be lost
    between them.
    """
    first = stream((seed,), f"sites' {name}").random()
    return float(ndtri((first + index * _GOLDEN_RATIO) % 1 * 0.98 + 0.01))


def _rates(kind: str, rng) -> dict[str, float]:
    fast = rng.choice([100, 125, 128, 200, 256, 512], p=[0.2, 0.1, 0.22, 0.25, 0.2, 0.03])
    belt = rng.choice([8, 10, 16, 25, 32])
    return {
        "eeg": fast,
        "eog": fast if fast < 256 else rng.choice([fast // 2, 128]),
        "emg": fast if fast < 512 else 256,
        "ecg": rng.choice([100, 125, 128, 200, 256]),
        "airflow": rng.choice([4, 8, 10, 16, 32]),
        "effort": belt,
        "spo2": rng.choice([1, 1, 3]),
        "ibi": 1 if kind in ("wearable", "watch_laboratory") else 4,
        "resp": 4,
        "ppg": rng.choice([32, 64, 100, 128]),
        "actigraphy": rng.choice([1 / 30, 1]) if kind == "wearable" else 1,
    }


def _units(kind: str, rng) -> dict[str, str]:
    voltage = str(rng.choice(["uV", "mV", "V"], p=[0.7, 0.15, 0.15]))
    return {
        "eeg": voltage,
        "eog": voltage,
        "emg": voltage,
        "ecg": "mV" if rng.random() < 0.5 else voltage,
        "airflow": str(rng.choice(["a.u.", "uV", "L/min"])),
        "effort": str(rng.choice(["a.u.", "uV", "mV"])),
        "spo2": "%",
        "ibi": "bpm" if kind in ("wearable", "watch_laboratory") else "s",
        "resp": "a.u.",
        "ppg": "a.u.",
        "actigraphy": "counts",
    }


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of one person.

    Attributes
    ----------
    hypertension : int
        1 if present.
    survival_time : float
        Years until death or the end of follow-up.
    event : bool
        Whether the person died within follow-up.
    """

    hypertension: int
    survival_time: float
    event: bool


def draw_outcomes(seed: int, index: int, subject: Subject) -> Outcomes:
    """Draw the outcomes of person number ``index``.

    The risks depend on age, on the apnea index and on traits that shape the signals (heart-rate
    variability, deep sleep, fragmentation), and for the rest on chance: a perfect reader of the
    signals still errs.
    """
    rng = stream((seed, index), "outcomes")
    elderly = (subject.age - 52) / 18
    apnea = np.log1p(subject.ahi) - 2.3
    stiffness = -np.log(subject.heart_variability)
    unrest = np.log(subject.fragmentation)
    shallow = -np.log(subject.deep_sleep)
    pressure = (
        -0.6
        + 1.0 * elderly
        + 0.45 * (subject.bmi - 27) / 5
        + 0.9 * apnea
        + 1.0 * stiffness
        + 0.8 * shallow
    )
    hypertension = rng.random() < 1 / (1 + np.exp(-pressure))
    hazard = 0.035 * np.exp(
        0.95 * elderly + 0.5 * apnea + 0.9 * unrest + 0.4 * stiffness + 0.3 * hypertension
    )
    death = (rng.exponential() / hazard) ** (1 / 1.3) * 1.6
    censored = rng.uniform(3, 12)
    return Outcomes(
        hypertension=int(hypertension),
        survival_time=round(float(max(min(death, censored), 0.01)), 2),
        event=bool(death <= censored),
    )
