# SPDX-License-Identifier: BSD-3-Clause
"""Simulated sites: which sensors they have, and what their devices do to a signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ...signals import MODALITIES
from .randomness import stream

__all__ = ["SITE_KINDS", "Site", "draw_site"]

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
