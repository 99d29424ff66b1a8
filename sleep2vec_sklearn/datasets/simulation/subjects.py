# SPDX-License-Identifier: BSD-3-Clause
"""Simulated people: demographics and the traits that shape their nights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .randomness import stream

__all__ = ["Subject", "draw_subject"]


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
