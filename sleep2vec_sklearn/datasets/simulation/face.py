# SPDX-License-Identifier: BSD-3-Clause
"""Eyes and chin: rapid and slow eye movements, muscle tone, twitches."""

from __future__ import annotations

import numpy as np

from .neural import brain_field, graph_elements
from .night import Night, wandering
from .synthesis import HOP_SECONDS, frequencies, place, shaped_noise

__all__ = ["emg", "eog"]

_BRAIN_SHARE = 0.35
_TONE = (2.6, 1.4, 1.0, 0.85, 0.42)
_TONE_SPREAD = (0.55, 0.35, 0.25, 0.2, 0.25)


def eog(night: Night, rate: float) -> np.ndarray:
    """One eye's channel in uV, of shape (duration * rate,), before the amplifier.

    Rapid movements in wake and in bursts of REM sleep, slow rolling in N1, and the frontal share
    of the same brain field that the EEG records.
    """
    rng = night.stream("eog")
    signal = brain_field(night, rate, 20.0)
    graph_elements(night, rate, signal)
    signal *= np.float32(_BRAIN_SHARE)
    strength = np.exp(rng.normal(0, 0.3))
    _add_rapid(night, rng, rate, signal, strength)
    _add_rolling(night, rng, rate, signal, strength)
    return signal


def _add_rapid(night: Night, rng, rate: float, signal: np.ndarray, strength: float) -> None:
    n = len(night.true_stages)
    phasic = np.exp(1.1 * wandering(rng, n, 4) - 0.6)
    per_epoch = np.array([9.0, 0.4, 0.05, 0.0, 7.0])[night.true_stages] * phasic
    counts = rng.poisson(np.clip(per_epoch, 0, 30))
    times = np.repeat(np.arange(n), counts) * 30 + rng.uniform(0, 30, counts.sum())
    size = rng.choice([-1, 1], len(times)) * strength * rng.gamma(3, 22, len(times))
    axis = np.arange(0, 2.5, 1 / rate)
    decay = np.exp(-axis / 0.6) - np.exp(-axis / 0.04)
    place(signal, rate, times, np.outer(size, decay))


def _add_rolling(night: Night, rng, rate: float, signal: np.ndarray, strength: float) -> None:
    """Slow movements of 0.25-0.5 Hz: N1, and drowsy wake before it."""
    stages = night.true_stages
    drowsy = np.zeros(len(stages))
    drowsy[:-1] = (stages[:-1] == 0) & (stages[1:] == 1)
    per_epoch = np.where(stages == 1, 3.0, 0.0) + 3.0 * drowsy
    counts = rng.poisson(per_epoch)
    times = np.repeat(np.arange(len(stages)), counts) * 30 + rng.uniform(-6, 26, counts.sum())
    size = strength * rng.gamma(4, 14, len(times))
    pitch = rng.uniform(0.22, 0.5, len(times))[:, None]
    axis = np.arange(0, 6, 1 / rate)
    rolls = np.sin(2 * np.pi * pitch * axis) * np.sin(np.pi * axis / 6) ** 2
    place(signal, rate, times, size[:, None] * rolls)


def emg(night: Night, rate: float) -> np.ndarray:
    """The chin's muscle in uV, of shape (duration * rate,), before the amplifier."""
    rng = night.stream("emg")
    frame_rate = 1 / HOP_SECONDS
    n = round(night.duration * frame_rate) + 1
    weights = night.stage_weights(frame_rate, 4)
    weights = np.concatenate([weights, weights[-1:]])
    person = np.exp(rng.normal(0, 0.18, 5))
    tone = weights @ (np.array(_TONE) * person)
    tone *= np.exp((weights @ np.array(_TONE_SPREAD)) * wandering(rng, n, 45 * frame_rate))
    tone *= np.exp(0.3 * wandering(rng, n, 1800 * frame_rate)) * night.subject.muscle_tone
    for bursts, gain in ((night.movements, 10.0), (night.arousals, 2.5)):
        frame = np.minimum(np.round(bursts.onset * frame_rate).astype(int), n - 1)
        np.maximum.at(tone, frame, gain * night.subject.muscle_tone * bursts.size)
        long = bursts.duration > 5
        np.maximum.at(
            tone,
            np.minimum(frame[long] + 1, n - 1),
            0.6 * gain * night.subject.muscle_tone * bursts.size[long],
        )
    grid = frequencies(rate, 100.0)
    shape = grid**2 / (grid**2 + 20.0**2) / (1 + (grid / 60.0) ** 2)
    shape /= shape.sum() * (grid[1] - grid[0])
    signal = shaped_noise(rng, np.outer(tone.astype(np.float32) ** 2, shape), rate)
    _add_twitches(night, rng, rate, signal)
    return signal


def _add_twitches(night: Night, rng, rate: float, signal: np.ndarray) -> None:
    n = len(night.true_stages)
    counts = rng.poisson(np.where(night.true_stages == 4, 0.8, 0.02))
    times = np.repeat(np.arange(n), counts) * 30 + rng.uniform(0, 30, counts.sum())
    axis = np.arange(0, 0.3, 1 / rate)
    bursts = rng.standard_normal((len(times), len(axis))) * np.sin(np.pi * axis / 0.3)
    size = night.subject.muscle_tone * rng.gamma(2, 1.5, len(times))
    place(signal, rate, times, size[:, None] * bursts)
