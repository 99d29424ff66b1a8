# SPDX-License-Identifier: BSD-3-Clause
"""Simulated subjects, sites and outcomes, each drawn from a named random stream."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from ..._arguments import is_whole
from ...recordings.modality import MODALITIES

_GOLDEN_RATIO = (5**0.5 - 1) / 2
_POLYSOMNOGRAPHY = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp")
# modalities that each kind of site records; in a wearable site and a laboratory with a watch, ibi
# is the watch's smoothed heart rate, without beat-to-beat variability
SITE_KINDS: dict[str, tuple[str, ...]] = {
    "laboratory": _POLYSOMNOGRAPHY,
    "full_laboratory": tuple(MODALITIES),
    "watch_laboratory": (*_POLYSOMNOGRAPHY, "actigraphy"),
    "home": ("ecg", "airflow", "effort", "spo2", "ibi", "resp", "ppg"),
    "wearable": ("ibi", "actigraphy"),
}
_WATCH_KINDS = ("wearable", "watch_laboratory")


@dataclass(frozen=True, slots=True)
class Subject:
    """Demographics and traits from which every night of a subject is drawn."""

    id: str
    age: float  # years, 20 to 85
    sex: str
    bmi: float  # kg/m2
    ahi: float  # expected apneas and hypopneas per hour of sleep
    rem_apnea: float  # factor on their rate in REM sleep
    desaturation: float  # scale of the saturation lost per event
    saturation: float  # awake, in %
    fragmentation: float  # factor on the hazard of waking up; median 1
    deep_sleep: float  # factor on the time in N3; median 1 at any age
    heart_rate: float  # mean asleep, beats per minute
    stage_heart_rate: tuple[float, ...]  # change by stage (W, N1, N2, N3, R), beats per minute
    heart_variability: float  # factor on every component of heart-rate variability
    breathing_rate: float  # breaths per minute in N2
    eeg_gain: float
    eeg_slope: float  # change of the spectral exponent
    stage_gain: tuple[float, ...]  # amplitude factor of the EEG by stage
    alpha: float  # power in quiet wakefulness; some subjects have hardly any
    alpha_frequency: float  # peak, Hz
    spindle_rate: float  # spindles per minute of N2
    spindle_frequency: float  # Hz
    muscle_tone: float  # chin EMG in N2, uV
    restlessness: float  # factor on the number of movements


@dataclass(frozen=True, slots=True)
class Site:
    """Modalities and devices of a site."""

    name: str
    kind: str  # one of SITE_KINDS
    modalities: tuple[str, ...]  # in the catalogue's order
    rates: tuple[float, ...]  # samples per second, one for each modality
    units: tuple[str, ...]
    gain: float  # calibration error: factor on every voltage
    high_pass: float  # corners of the amplifiers' filters, Hz
    low_pass: float
    line_frequency: float  # mains hum, Hz
    line_amplitude: float  # uV
    noise: float  # of amplifier and electrodes, uV
    airflow_scale: float  # size of a breath in the units of the flow sensor
    spo2_step: float  # resolution of the oximeter, %
    watch_seconds: float  # window over which the watch averages heart rate
    counts_scale: float  # counts per second of a vigorous movement
    counts_smoothing: float  # SD in s of the Gaussian that smooths counts; 0 for none
    eeg_tilt: float  # change of the spectral exponent by the derivation
    alpha_share: float  # of the derivation; large at the back of the head

    @property
    def has_watch(self) -> bool:
        """Whether ``ibi`` is a watch's heart rate."""
        return self.kind in _WATCH_KINDS

    def rate(self, modality: str) -> float:
        return self.rates[self.modalities.index(modality)]

    def unit(self, modality: str) -> str:
        return self.units[self.modalities.index(modality)]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of a subject."""

    hypertension: int
    survival_time: float  # years until death or the end of follow-up
    event: bool  # death within follow-up


def draw_subject(seed: int, index: int) -> Subject:
    """Subject number ``index`` (from 1) of the population of this seed."""
    rng = random_stream((seed, index), "subject")
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
    weak_alpha = rng.random() < 0.2
    stage_heart_rate = np.array([5.0, 1.5, -0.8, -0.6, 2.4])
    stage_heart_rate += rng.normal(0, [3.0, 1.0, 0.6, 1.3, 1.3])
    return Subject(
        id=f"sim-{index:04d}", age=round(age, 1), sex=sex, bmi=round(bmi, 1), ahi=ahi,
        rem_apnea=float(np.exp(0.4 + 0.4 * spread[3])),
        desaturation=float(np.exp(0.25 * obesity + 0.6 * spread[4])),
        saturation=float(np.clip(96.8 - 0.5 * elderly - 0.4 * obesity + 0.8 * spread[5], 91, 99)),
        fragmentation=float(np.exp(0.35 * spread[6])),
        deep_sleep=float(np.exp(0.3 * spread[7] + (0.1 if sex == "F" else -0.1))),
        heart_rate=float(np.clip(heart_rate, 42, 92)),
        stage_heart_rate=tuple(stage_heart_rate.tolist()), heart_variability=heart_variability,
        breathing_rate=float(np.clip(14.5 + 0.5 * obesity + 2.0 * spread[8], 9, 22)),
        eeg_gain=float(np.exp(-0.12 * elderly + 0.22 * spread[9])),
        eeg_slope=float(-0.08 * elderly + 0.14 * spread[10]),
        stage_gain=tuple(np.exp(rng.normal(0, 0.1, 5)).tolist()),
        alpha=float((0.12 if weak_alpha else 1.0) * np.exp(0.6 * spread[11])),
        alpha_frequency=float(np.clip(10.0 - 0.3 * elderly + 0.7 * spread[12], 8.2, 12.0)),
        spindle_rate=float(np.exp(np.log(6.0) - 0.25 * elderly + 0.4 * spread[13])),
        spindle_frequency=float(np.clip(13.4 + 0.5 * spread[14], 12.0, 15.0)),
        muscle_tone=float(np.exp(np.log(6.0) + 0.5 * spread[15])),
        restlessness=float(np.exp(0.35 * rng.standard_normal())),
    )  # fmt: skip


def draw_site(seed: int, index: int, kind: str) -> Site:
    """Site number ``index`` (from 1) of the cohort of this seed."""
    rng = random_stream((seed, index), "site")
    modalities = tuple(name for name in MODALITIES if name in SITE_KINDS[kind])
    rates, units = _rates(kind, rng), _units(kind, rng)
    europe = rng.random() < 0.5
    return Site(
        name=f"site-{index}", kind=kind, modalities=modalities,
        rates=tuple(float(rates[name]) for name in modalities),
        units=tuple(units[name] for name in modalities), gain=float(np.exp(rng.normal(0, 0.3))),
        high_pass=float(rng.choice([0.1, 0.3, 0.5])),
        low_pass=float(rng.choice([35.0, 45.0, 70.0])), line_frequency=50.0 if europe else 60.0,
        line_amplitude=float(rng.gamma(2.0, 0.8)), noise=float(rng.uniform(0.5, 2.5)),
        airflow_scale=float(np.exp(rng.normal(4.0, 0.8))),
        spo2_step=float(rng.choice([1.0, 1.0, 0.1])), watch_seconds=float(rng.uniform(5, 12)),
        counts_scale=float(np.exp(rng.normal(1.6, 0.5))),
        counts_smoothing=float(rng.choice([0.0, 50.0])),
        eeg_tilt=0.3 * _spread(seed, index, "eeg tilt"),
        alpha_share=float(np.exp(-0.1 + 0.5 * _spread(seed, index, "alpha share"))),
    )  # fmt: skip


def _spread(seed: int, index: int, name: str) -> float:
    """A standard normal value that differs clearly between consecutive sites."""
    # steps of the golden ratio cover the quantiles evenly for any number of sites, where
    # independent draws could make the two sites of a small cohort alike
    first = random_stream((seed,), f"sites' {name}").random()
    return float(ndtri((first + index * _GOLDEN_RATIO) % 1 * 0.98 + 0.01))


def _rates(kind: str, rng: np.random.Generator) -> dict[str, float]:
    fast = rng.choice([100, 125, 128, 200, 256, 512], p=[0.2, 0.1, 0.22, 0.25, 0.2, 0.03])
    belt = rng.choice([8, 10, 16, 25, 32])
    return {
        "eeg": fast, "eog": fast if fast < 256 else rng.choice([fast // 2, 128]),
        "emg": fast if fast < 512 else 256, "ecg": rng.choice([100, 125, 128, 200, 256]),
        "airflow": rng.choice([4, 8, 10, 16, 32]), "effort": belt, "spo2": rng.choice([1, 1, 3]),
        "ibi": 1 if kind in _WATCH_KINDS else 4, "resp": 4, "ppg": rng.choice([32, 64, 100, 128]),
        "actigraphy": rng.choice([1 / 30, 1]) if kind == "wearable" else 1,
    }  # fmt: skip


def _units(kind: str, rng: np.random.Generator) -> dict[str, str]:
    voltage = str(rng.choice(["uV", "mV", "V"], p=[0.7, 0.15, 0.15]))
    return {
        "eeg": voltage, "eog": voltage, "emg": voltage,
        "ecg": "mV" if rng.random() < 0.5 else voltage,
        "airflow": str(rng.choice(["a.u.", "uV", "L/min"])),
        "effort": str(rng.choice(["a.u.", "uV", "mV"])), "spo2": "%",
        "ibi": "bpm" if kind in _WATCH_KINDS else "s", "resp": "a.u.", "ppg": "a.u.",
        "actigraphy": "counts",
    }  # fmt: skip


def draw_outcomes(seed: int, index: int, subject: Subject) -> Outcomes:
    """Outcomes of subject number ``index``."""
    # risks depend on age, apnea and traits that shape the signals, and otherwise on chance: the
    # signals alone cannot predict them without error
    rng = random_stream((seed, index), "outcomes")
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


def random_stream(seed: tuple[int, ...], name: str) -> np.random.Generator:
    """The random stream of this name below ``seed``; always the same."""
    key = zlib.crc32(name.encode())
    sequence = np.random.SeedSequence(entropy=list(seed), spawn_key=(key,))
    return np.random.Generator(np.random.SFC64(sequence))


def seed_from(random_state: Any) -> int:
    """One integer seed; a generator is advanced by one draw, None takes fresh entropy."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**62))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**62))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if is_whole(random_state):
        if random_state < 0:
            raise ValueError(f"random_state must not be negative, got {random_state}.")
        return int(random_state)
    raise TypeError(
        "random_state must be an int, a numpy Generator or RandomState, or None, "
        f"got {type(random_state).__name__}."
    )
