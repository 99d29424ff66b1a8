# SPDX-License-Identifier: BSD-3-Clause
"""From physiology to what a file holds: amplifier, artefacts, sensors that fall off, units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from ._brain import eeg, emg, eog
from ._heart import actigraphy, ecg, ibi, ppg
from ._night import Night, wandering
from ._respiration import airflow, effort, oxygen_saturation, resp

__all__ = [
    "GENERATORS",
    "Failure",
    "draw_failures",
    "record",
]

GENERATORS: dict[str, Callable[[Night, float], np.ndarray]] = {
    "eeg": eeg,
    "eog": eog,
    "emg": emg,
    "ecg": ecg,
    "airflow": airflow,
    "effort": effort,
    "spo2": oxygen_saturation,
    "ibi": ibi,
    "resp": resp,
    "ppg": ppg,
    "actigraphy": actigraphy,
}
_PER_MICROVOLT = {"uV": 1.0, "mV": 1e-3, "V": 1e-6}
_ELECTRIC = ("eeg", "eog", "emg", "ecg")
_FLAT_WHEN_OFF = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "ppg", "actigraphy")


@dataclass(frozen=True, slots=True)
class Failure:
    """A sensor that is off from ``start`` to ``stop`` seconds, as a flat line or as NaN."""

    start: float
    stop: float
    flat: bool


def draw_failures(
    modalities: tuple[str, ...],
    asked: tuple[str, ...],
    duration: float,
    chance: float,
    rng: np.random.Generator,
) -> tuple[tuple[str, ...], dict[str, Failure]]:
    """Decide which sensors are missing for the night and which fall off in it.

    Parameters
    ----------
    modalities : tuple of str
        What the site records.
    asked : tuple of str
        Those of them that are wanted; the others' luck is drawn, but not used.
    duration : float
        Length of the night in seconds.
    chance : float
        Probability that a sensor is missing; half of it again that one falls off. At least one
        sensor works all night.

    Returns
    -------
    present : tuple of str
        Modalities with a signal.
    failures : dict of str to Failure
        Those that are off for a tenth to two thirds of the night.
    """
    draws = rng.random((2, len(modalities)))
    draws[:, modalities.index(asked[rng.integers(2**31) % len(asked)])] = 1.0
    present = tuple(
        name
        for name, draw in zip(modalities, draws[0], strict=True)
        if name in asked and draw >= chance
    )
    failures = {}
    for name, draw in zip(modalities, draws[1], strict=True):
        length = duration * rng.uniform(0.1, 0.65)
        start = rng.uniform(0, duration) if rng.random() < 0.5 else duration - length
        flat = name in _FLAT_WHEN_OFF and rng.random() < 0.6
        if name in present and draw < chance / 2:
            failures[name] = Failure(start, min(start + length, duration), flat)
    return present, failures


def record(night: Night, name: str, failure: Failure | None = None) -> np.ndarray:
    """What the site's device stores for one modality, in the site's unit and at its rate."""
    site = night.site
    rate = site.rate(name)
    signal = GENERATORS[name](night, rate)
    if name in _ELECTRIC:
        signal = _amplify(night, name, signal, rate)
        signal *= np.float32(_PER_MICROVOLT[site.unit(name)])
    if failure is not None:
        span = slice(round(failure.start * rate), round(failure.stop * rate))
        signal[span] = 0 if failure.flat else np.nan
    return signal


def _amplify(night: Night, name: str, signal: np.ndarray, rate: float) -> np.ndarray:
    site = night.site
    rng = night.stream(f"{name} amplifier")
    _pop_electrodes(night, rng, signal, rate)
    n = len(signal)
    signal += np.float32(site.noise) * rng.standard_normal(n, dtype=np.float32)
    if site.line_frequency < rate / 2:
        # One period pattern, repeated: a sine over the whole night costs ten times as much.
        second = np.sin(2 * np.pi * site.line_frequency * np.arange(round(rate)) / rate)
        contact = np.exp(0.6 * wandering(rng, night.duration, 900))
        contact *= site.line_amplitude * np.sqrt(2)
        signal += np.outer(contact, second).astype(np.float32).reshape(-1)
    low = min(site.low_pass if name != "emg" else 100.0, 0.45 * rate)
    sections = butter(1, [site.high_pass, low], "bandpass", fs=rate, output="sos")
    signal = sosfilt(sections.astype(np.float32), signal)
    signal *= np.float32(site.gain)
    return signal


def _pop_electrodes(night: Night, rng, signal: np.ndarray, rate: float) -> None:
    """Steps that decay within a second or two, mostly when the body moves."""
    big = night.movements.onset[night.movements.size > 0.5]
    times = np.concatenate(
        [big[rng.random(len(big)) < 0.3], rng.uniform(0, night.duration, rng.poisson(4))]
    )
    axis = np.arange(0, 3, 1 / rate)
    size = rng.choice([-1, 1], len(times)) * rng.gamma(2, 90, len(times))
    for start, height in zip((times * rate).astype(int), size, strict=True):
        span = signal[start : start + len(axis)]
        span += (height * np.exp(-axis[: len(span)] / 0.5)).astype(np.float32)
