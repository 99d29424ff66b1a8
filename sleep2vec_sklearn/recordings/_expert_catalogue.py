# SPDX-License-Identifier: BSD-3-Clause
"""Catalogue of expert columns: what sleep research computes of a sensor in an epoch and around it.

A column is a feature of 30 s as it is (``hr``), or a context of it: relative to the night's median
(``hr_rel``), or its mean, SD or neighbours over minutes, relative to the night too (``hr_m11``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

# another one makes every column anew
FEATURES_REVISION = 2
_CONTEXT = re.compile(r"_(rel|[msab]\d+)$")


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of an epoch, and the columns made of it over the epochs around.

    ``contexts`` holds, separated by spaces: ``rel``, the number minus its median over the night;
    ``m11`` and ``s11``, mean and SD of that over 11 epochs; ``b10`` and ``a10``, its mean over
    three epochs 10 epochs before and after.
    """

    name: str
    meaning: str
    unit: str
    typical: float  # round median over simulated and public nights, of counts the mean
    contexts: str = ""


# fmt: off
EEG_FEATURES = (
    Feature("so_db", "power 0.5 to 1 Hz", "dB re 1 uV2", 17, "rel"),
    Feature("delta_db", "power 1 to 4 Hz", "dB re 1 uV2", 21, "rel m3 m11 m41 s11"),
    Feature("theta_db", "power 4 to 8 Hz", "dB re 1 uV2", 14, "rel m3"),
    Feature("alpha_db", "power 8 to 12 Hz", "dB re 1 uV2", 10, "rel m3 m11"),
    Feature("sigma_db", "power 12 to 16 Hz", "dB re 1 uV2", 7.5, "rel m3 m11 m41"),
    Feature("beta_db", "power 16 to 30 Hz", "dB re 1 uV2", 5, "rel m3 m11 m41 s11"),
    Feature("gamma_db", "power 30 to 45 Hz", "dB re 1 uV2", 0, "rel"),
    Feature("so", "power 0.5 to 1 Hz over 0.5 to 30 Hz", "1", 0.22),
    Feature("delta", "power 1 to 4 Hz over 0.5 to 30 Hz", "1", 0.5),
    Feature("theta", "power 4 to 8 Hz over 0.5 to 30 Hz", "1", 0.12),
    Feature("alpha", "power 8 to 12 Hz over 0.5 to 30 Hz", "1", 0.05),
    Feature("sigma", "power 12 to 16 Hz over 0.5 to 30 Hz", "1", 0.03),
    Feature("beta", "power 16 to 30 Hz over 0.5 to 30 Hz", "1", 0.02),
    Feature("delta_beta", "power 0.5 to 4 Hz over 16 to 30 Hz", "dB", 16, "rel"),
    Feature("theta_alpha", "power 4 to 8 Hz over 8 to 12 Hz", "dB", 4.5, "rel m3"),
    Feature("slope", "exponent of the aperiodic spectrum", "1", 2.2, "rel m3 m11"),
    Feature("edge", "frequency below which 95 % of 0.5 to 30 Hz lie", "Hz", 12, "rel"),
    Feature("entropy", "spectral entropy of 0.5 to 30 Hz over its largest", "1", 0.65, "rel"),
    Feature("permutation", "permutation entropy of order 3 over its largest", "1", 0.9, "rel"),
    Feature("mobility", "Hjorth mobility of 0.5 to 30 Hz", "1/s", 30, "rel m11"),
    Feature("complexity", "Hjorth complexity of 0.5 to 30 Hz", "1", 2.6),
    Feature("spindles", "sleep spindles", "1/min", 0.6, "m3 m11"),
    Feature("slow_waves", "slow waves", "1/min", 2, "m3 m11 m41"),
)
EOG_FEATURES = (
    Feature("slow_db", "power 0.5 to 2 Hz", "dB re 1 uV2", 20, "rel m3 m11"),
    Feature("delta_db", "power 2 to 4 Hz", "dB re 1 uV2", 12, "rel m3 m11 m41 s11"),
    Feature("theta_db", "power 4 to 8 Hz", "dB re 1 uV2", 10, "rel m3"),
    Feature("alpha_db", "power 8 to 12 Hz", "dB re 1 uV2", 6, "rel m11"),
    Feature("sigma_db", "power 12 to 16 Hz", "dB re 1 uV2", 4, "rel m3 m11"),
    Feature("beta_db", "power 16 to 30 Hz", "dB re 1 uV2", 4, "rel m3 m11 m41 s11"),
    Feature("slow", "power 0.5 to 2 Hz over 0.5 to 30 Hz", "1", 0.7),
    Feature("entropy", "spectral entropy of 0.5 to 30 Hz over its largest", "1", 0.55, "rel"),
    Feature("mobility", "Hjorth mobility of 0.5 to 30 Hz", "1/s", 28, "rel"),
    Feature("rapid", "rapid eye movements", "1/min", 3, "rel m3 m11 m41"),
    Feature("rolling", "share of time in slow eye movements", "1", 0.1, "m3 m11"),
)
EMG_FEATURES = (
    Feature("rms_db", "RMS 10 to 60 Hz, median of seconds", "dB re 1 uV", 10, "rel m3 m11 m41 s11"),
    Feature("tonic_db", "RMS, 10th percentile over seconds", "dB re 1 uV", 8, "rel m3 m11 m41"),
    Feature("phasic_db", "RMS, 90th over 50th percentile", "dB", 2.5, "rel m11"),
    Feature("peak_db", "RMS of the largest second", "dB re 1 uV", 15, "rel m3 m11 m41 s11"),
    Feature("atonia", "share of seconds below twice the night's lowest tone", "1", 0.4, "rel m11"),
    Feature("low_db", "power 10 to 20 Hz over 10 to 60 Hz", "dB", -8, "rel"),
    Feature("high_db", "power 35 to 60 Hz over 10 to 60 Hz", "dB", -3, "rel"),
)
IBI_FEATURES = (
    Feature("hr", "heart rate", "1/min", 66, "rel m3 m11 m41 m81 s11 s41 b20 b10 a10 a20"),
    Feature("hr_sd", "SD of it in the epoch, log", "ln(1/min)", 1, "rel m3 m11 m41 m81 s11"),
    Feature("hr_change", "step of the heart rate from the epoch before", "1/min", 1.5, "m11"),
    Feature("rmssd30", "RMS of successive differences, log", "ln(ms)", 3.2, "m3 m11 m41 s11"),
    Feature("sdnn", "SD of intervals over 5.5 min, log", "ln(ms)", 4, "rel"),
    Feature("rmssd", "RMS of successive differences over 5.5 min, log", "ln(ms)", 3.4, "rel m11"),
    Feature("pnn50", "share of successive differences above 50 ms over 5.5 min", "1", 0.1),
    Feature("vlf", "power 0.003 to 0.04 Hz over 5 min, log", "ln(ms2)", 7.2, "rel"),
    Feature("lf", "power 0.04 to 0.15 Hz over 5 min, log", "ln(ms2)", 6.5, "rel"),
    Feature("hf", "power 0.15 to 0.4 Hz over 5 min, log", "ln(ms2)", 5.8, "rel m11"),
    Feature("lf_hf", "LF over HF, log", "1", 0.9, "rel m11"),
    Feature("cyclic", "power 0.01 to 0.04 Hz over 0.003 to 0.4 Hz", "1", 0.45, "rel m11"),
    Feature("cyclic_peak", "largest peak of that over 0.003 to 0.4 Hz", "1", 0.14),
)
_IN_EPOCH = ("hr", "hr_sd", "rmssd30")
# of a waveform in which beats are looked for, with fewer columns than of the intervals themselves
_BEATS = tuple(
    Feature(f.name, f.meaning, f.unit, f.typical, "rel m11 m41" if f.name in _IN_EPOCH else "rel")
    for f in IBI_FEATURES
    if f.name in ("hr", "hr_sd", "rmssd30", "sdnn", "rmssd", "lf", "hf", "cyclic")
)
ECG_FEATURES = (
    *_BEATS,
    Feature("r_sd", "SD of the log heights of R waves, as with breaths", "ln", 0.07, "rel m11"),
    Feature("noise_db", "slopes of the epoch over those of R waves", "dB", -28, "rel"),
)
PPG_FEATURES = (
    *_BEATS,
    Feature("size", "size of pulses relative to the night, log", "ln", 0, "m3 m11 s11"),
    Feature("size_sd", "SD of the log size over seconds", "ln", 0.2, "rel m11"),
)
BREATHING_FEATURES = (
    Feature("rate", "breaths over 2.5 min", "1/min", 16, "rel m11 m41 s11"),
    Feature("rate_cv", "SD of breaths' durations over mean, 2.5 min", "1", 0.15, "rel m11 m41"),
    Feature("regularity", "largest peak of 0.1 to 0.5 Hz over all of it", "1", 0.6, "rel m11 m41"),
    Feature("fast", "power 0.34 to 0.6 Hz over 0.1 to 0.6 Hz", "dB", -12, "rel m11"),
    Feature("depth", "size of breaths relative to the night, log", "ln", 0, "m3 m11 m41 s11"),
    Feature("depth_sd", "SD of the log size over 5 s in the epoch", "ln", 0.25, "rel m3 m11 m41"),
    Feature("depth_cv", "SD of breaths' sizes over mean, 2.5 min", "1", 0.35, "rel m11"),
    Feature("reduced", "share of time below half the level of 5 min", "1", 0.05, "m11"),
    Feature("cyclic", "variance of the level with 25 to 100 s, 5 min", "1", 0.7, "m11"),
)
SPO2_FEATURES = (
    Feature("mean", "mean saturation", "%", 95, "rel m11 m41"),
    Feature("low", "lowest saturation", "%", 95, "rel m11"),
    Feature("sd", "SD in the epoch", "%", 0.3, "m11 m41"),
    Feature("change", "change within the epoch", "%", 0),
    Feature("odi3", "desaturations by 3 % over 10.5 min", "1/h", 5, "m41"),
    Feature("odi4", "desaturations by 4 % over 10.5 min", "1/h", 3, "m41"),
    Feature("below90", "share of time below 90 % (T90)", "1", 0, "m11"),
    Feature("drop", "largest fall below the highest of the 2 min before", "%", 1, "m11"),
)
ACTIGRAPHY_FEATURES = (
    Feature("counts", "counts in the epoch, log(1 + x)", "ln", 1, "rel b20 b10 b4 a4 a10 a20"),
    Feature("scaled", "counts over a tenth of the night's mean, log(1 + x)", "ln", 1,
            "m3 m11 m21 m41 m81 s11 s41 s81"),
    Feature("index", "the same of counts with weights from 4 min before to 3 after", "ln", 1.3),
    Feature("active", "share of time above a tenth of the night's mean", "1", 0.4, "m11 m41 m81"),
    Feature("since", "time since the last movement, log(1 + x)", "ln(min)", 1.8),
    Feature("until", "time until the next movement, log(1 + x)", "ln(min)", 1.8),
)
# fmt: on
FEATURES: dict[str, tuple[Feature, ...]] = {
    "eeg": EEG_FEATURES,
    "eog": EOG_FEATURES,
    "emg": EMG_FEATURES,
    "ecg": ECG_FEATURES,
    "airflow": BREATHING_FEATURES,
    "effort": BREATHING_FEATURES,
    "spo2": SPO2_FEATURES,
    "ibi": IBI_FEATURES,
    "resp": BREATHING_FEATURES,
    "ppg": PPG_FEATURES,
    "actigraphy": ACTIGRAPHY_FEATURES,
}  # fmt: skip


@cache
def list_columns(modality: str) -> dict[str, tuple[Feature, str]]:
    """Columns of a modality by name: the features themselves, whose context is "", then others."""
    features = FEATURES[modality]
    columns = {f.name: (f, "") for f in features}
    return columns | {f"{f.name}_{c}": (f, c) for f in features for c in f.contexts.split()}


def find_relative(columns: Sequence[str]) -> list[int]:
    """Which of some columns are relative to the night, by the context in their names."""
    return [i for i, column in enumerate(columns) if _CONTEXT.search(column)]


def typical_values(modality: str, columns: Sequence[str]) -> np.ndarray:
    """What stands for a sensor that is off all night, float32; 0 for what is relative to it."""
    known = list_columns(modality)
    return np.array([0 if known[c][1] else known[c][0].typical for c in columns], np.float32)
