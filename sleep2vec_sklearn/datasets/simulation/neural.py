# SPDX-License-Identifier: BSD-3-Clause
"""The brain's field on the scalp: a background whose spectrum follows the stage, and its graphs.

The background is 1/f noise with bands (delta, theta, alpha, sigma, beta) that follow the stage;
its exponent grows with depth of sleep (Lendner et al., eLife 9:e55092, 2020). Spindles,
K-complexes, vertex waves and REM sawtooth waves are placed as waveforms.
"""

from __future__ import annotations

import numpy as np

from .night import Night, wandering
from .synthesis import HOP_SECONDS, frequencies, place, shaped_noise

__all__ = ["BRAIN_TOP", "brain_field", "eeg", "graph_elements"]

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
