# SPDX-License-Identifier: BSD-3-Clause
"""The brain's field on the scalp: a background whose spectrum follows the stage, and its graphs.

The background is 1/f noise with bands (delta, theta, alpha, sigma, beta) that follow the stage;
its exponent grows with depth of sleep (Lendner et al., eLife 9:e55092, 2020). Spindles,
K-complexes, vertex waves and REM sawtooth waves are placed as waveforms.
"""

from __future__ import annotations

import numpy as np

from ._night import Night, wandering
from ._synthesis import HOP_SECONDS, frequencies, place, shaped_noise

__all__ = [
    "BRAIN_TOP",
    "brain_field",
    "eeg",
    "emg",
    "eog",
    "graph_elements",
]

BRAIN_TOP = 45.0
_FRAME_RATE = 1 / HOP_SECONDS

# uV^2/Hz at 1 Hz and spectral exponent, for W, N1, N2, N3, R
_LEVEL = (24.0, 27.0, 60.0, 170.0, 32.0)
_EXPONENT = (1.35, 1.5, 1.85, 2.15, 1.6)
# (centre Hz, width Hz, peak uV^2/Hz by stage)
_BANDS = (
    (1.0, 0.6, (0, 0, 30, 300, 0)),
    (5.5, 1.3, (0.5, 3.5, 1.5, 1.0, 2.5)),
    (8.6, 0.9, (0.2, 0.8, 0.3, 0.2, 0.9)),
    (13.3, 1.2, (0, 0.1, 1.2, 0.8, 0)),
    (20.0, 5.0, (0.5, 0.25, 0.08, 0.03, 0.2)),
)
_ALPHA = 14.0
# How a moment in one stage (row) looks partly like another (column).
_AMBIGUITY = np.array(
    [
        [0.72, 0.20, 0.02, 0.0, 0.06],
        [0.24, 0.44, 0.18, 0.0, 0.14],
        [0.03, 0.14, 0.67, 0.12, 0.04],
        [0.0, 0.01, 0.29, 0.70, 0.0],
        [0.10, 0.22, 0.03, 0.0, 0.65],
    ],
    dtype=np.float32,
)


def eeg(night: Night, rate: float) -> np.ndarray:
    """One central derivation in uV, of shape (duration * rate,), before the amplifier."""
    field = brain_field(night, rate, BRAIN_TOP)
    graph_elements(night, rate, field)
    return field


def brain_field(night: Night, rate: float, top: float) -> np.ndarray:
    """Background activity up to ``top`` Hz in uV; the same waves at every rate and ``top``."""
    grid = frequencies(rate, top)
    return shaped_noise(night.stream("brain field"), _density(night, grid), rate)


def _density(night: Night, grid: np.ndarray) -> np.ndarray:
    subject = night.subject
    rng = night.stream("brain state")
    n = round(night.duration * _FRAME_RATE) + 1
    weights = night.stage_weights(_FRAME_RATE, 8)
    weights = np.concatenate([weights, weights[-1:]]) @ _AMBIGUITY
    drift = [wandering(rng, n, 35 * _FRAME_RATE) for _ in range(5)]
    weights *= np.exp(0.75 * np.stack(drift, axis=1))
    weights /= weights.sum(axis=1, keepdims=True)
    loudness = np.exp(0.22 * wandering(rng, n, 600 * _FRAME_RATE) + 0.15 * wandering(rng, n, 10))
    eyes_closed = wandering(rng, n, 90 * _FRAME_RATE) + 0.3 * wandering(rng, n, 3)
    relaxed = weights[:, 0] / (1 + np.exp(-2.5 * eyes_closed))
    alpha = _ALPHA * night.site.alpha_share * subject.alpha * relaxed
    alpha_peak = np.exp(-0.5 * ((grid - subject.alpha_frequency) / 0.9) ** 2)
    density = weights @ _stage_spectra(subject, grid) + np.outer(alpha, alpha_peak)
    density *= (subject.eeg_gain**2 * loudness)[:, None]
    density *= ((grid + 0.5) / 5) ** np.float32(-night.site.eeg_tilt)
    density[:, grid < 0.25] = 0
    return density.astype(np.float32, copy=False)


def _stage_spectra(subject, grid: np.ndarray) -> np.ndarray:
    level = np.array(_LEVEL)[:, None]
    exponent = np.array(_EXPONENT)[:, None] + subject.eeg_slope
    spectra = level * (grid + 0.3) ** -exponent
    for centre, width, peaks in _BANDS:
        spectra += np.outer(peaks, np.exp(-0.5 * ((grid - centre) / width) ** 2))
    deep = np.array([1, 1, 0.8 + 0.2 * subject.deep_sleep, 0.5 + 0.5 * subject.deep_sleep, 1])
    spectra *= (np.array(subject.stage_gain) ** 2 * deep)[:, None]
    return spectra.astype(np.float32)


def graph_elements(night: Night, rate: float, field: np.ndarray, share: float = 1.0) -> None:
    """Add spindles, K-complexes, vertex and sawtooth waves to ``field``, in place.

    Parameters
    ----------
    share : float, default=1.0
        Amplitude relative to the central EEG; the eyes' electrodes see a part.
    """
    subject = night.subject
    rng = night.stream("graph elements")
    amplitude = share * subject.eeg_gain
    spindle_rate = subject.spindle_rate * np.array([0, 0.1, 1.0, 0.4, 0.0])
    times = _times(night, rng, spindle_rate)
    peak = amplitude * 17 * np.exp(rng.normal(0, 0.3, len(times)))
    pitch = rng.normal(subject.spindle_frequency, 0.35, len(times))
    length = np.clip(rng.normal(0.9, 0.25, len(times)), 0.5, 1.8)
    axis = np.arange(0, 2, 1 / rate, dtype=np.float32) - 1
    envelope = np.exp(-0.5 * (axis / (length[:, None] / 4)) ** 2)
    place(field, rate, times, peak[:, None] * envelope * np.sin(2 * np.pi * pitch[:, None] * axis))

    complexes = _times(night, rng, np.array([0, 0, 1.3, 0.6, 0]))
    answers = night.arousals.onset[rng.random(len(night.arousals)) < 0.4] - 1.5
    times = np.concatenate([complexes, answers])
    peak = amplitude * 55 * np.exp(rng.normal(0, 0.35, len(times)))
    axis = np.arange(0, 1.5, 1 / rate)
    shape = -np.exp(-0.5 * ((axis - 0.4) / 0.09) ** 2) + 0.75 * np.exp(
        -0.5 * ((axis - 0.75) / 0.17) ** 2
    )
    place(field, rate, times, np.outer(peak, shape))

    times = _times(night, rng, np.array([0, 1.0, 0.2, 0, 0]))
    peak = amplitude * 45 * np.exp(rng.normal(0, 0.3, len(times)))
    axis = np.arange(0, 0.5, 1 / rate)
    place(field, rate, times, np.outer(peak, -np.exp(-0.5 * ((axis - 0.25) / 0.04) ** 2)))

    times = _times(night, rng, np.array([0, 0, 0, 0, 0.9]))
    peak = amplitude * 14 * np.exp(rng.normal(0, 0.3, len(times)))
    axis = np.arange(0, 4, 1 / rate)
    teeth = (2 * ((axis * 3.0) % 1) - 1) * np.sin(np.pi * axis / 4) ** 2
    place(field, rate, times, np.outer(peak, teeth))


def _times(night: Night, rng, per_minute: np.ndarray) -> np.ndarray:
    """Random times in seconds, with a rate per minute for each stage."""
    counts = rng.poisson(per_minute[night.true_stages] / 2)
    epochs = np.repeat(np.arange(len(counts)), counts)
    return epochs * 30 + rng.uniform(0, 30, len(epochs))


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
