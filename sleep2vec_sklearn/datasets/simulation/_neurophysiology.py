# SPDX-License-Identifier: BSD-3-Clause
"""Simulated EEG, EOG and chin EMG.

The background of the EEG is 1/f noise with bands (delta, theta, alpha, sigma, beta) that follow the
stage; between 30 and 45 Hz it steepens from wake over NREM to REM sleep (Lendner et al., eLife
9:e55092, 2020; Kozhemiako et al., eNeuro 9(5), 2022). Above 20 Hz the scalp records muscle as well
(Whitham et al., Clin Neurophysiol 118:1877, 2007), which follows the tone of the chin: it is lost
in REM sleep. Spindles, K-complexes, vertex waves and REM sawtooth waves are waveforms; eyes blink,
jump and roll by stage as the manual of the AASM describes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import irfft

from ...recordings.modality import EPOCH_SECONDS
from ._night import Night, add_waveforms, ar1_noise
from ._subjects import Subject

_FRAME_SECONDS = 4
_FRAME_RATE = 2 / _FRAME_SECONDS  # frames overlap by half
_EEG_TOP, _EOG_TOP, _EMG_TOP = 45.0, 30.0, 100.0  # highest frequencies, Hz

# uV^2/Hz at 1 Hz and spectral exponent, for W, N1, N2, N3, R
_LEVEL = (24.0, 28.0, 60.0, 170.0, 34.0)
_EXPONENT = (1.4, 1.75, 2.0, 2.3, 2.1)
# (centre Hz, width Hz, peak uV^2/Hz by stage)
_BANDS = (
    (1.0, 0.6, (0, 0, 30, 300, 0)),
    (5.5, 1.3, (0.5, 5.0, 1.5, 1.0, 2.5)),
    (8.6, 0.9, (0.2, 0.8, 0.3, 0.2, 0.6)),
    (13.3, 1.2, (0, 0.1, 0.9, 0.6, 0)),
    (19.0, 4.0, (0.25, 0.09, 0.06, 0.02, 0.08)),
)
_ALPHA = 14.0
# share of another stage's spectrum (column) in a moment of a stage (row)
_AMBIGUITY = np.array(
    [
        [0.88, 0.12, 0.0, 0.0, 0.0],
        [0.08, 0.74, 0.08, 0.0, 0.10],
        [0.0, 0.06, 0.90, 0.04, 0.0],
        [0.0, 0.0, 0.20, 0.80, 0.0],
        [0.0, 0.10, 0.0, 0.0, 0.90],
    ],
    dtype=np.float32,
)
_DRIFT = 0.4  # SD of the logarithms of these shares
_EOG_SHARE = 0.35  # of the brain's field at the electrodes of the eyes
# chin EMG by stage relative to N2, and SD of its logarithm
_TONE = (2.6, 1.2, 1.0, 0.85, 0.42)
_TONE_SD = (0.55, 0.35, 0.25, 0.2, 0.25)
_SCALP_MUSCLE = 0.0035  # uV^2/Hz at the scalp in N2, for a tone of the chin of 1 uV
# of a blink, in a central EEG; negative, as the electrode of the left eye lies below the eye
_BLINK_SHARE = -0.1


def eeg(night: Night, rate: float) -> np.ndarray:
    """One central derivation in uV, of shape (duration * rate,), before the amplifier."""
    field = brain_field(night, rate, _EEG_TOP)
    _add_graphoelements(night, rate, field)
    _add_blinks(night, rate, field, _BLINK_SHARE)
    return field


def eog(night: Night, rate: float) -> np.ndarray:
    """One eye's channel in uV, of shape (duration * rate,), before the amplifier."""
    rng = night.random_stream("eog")
    signal = brain_field(night, rate, _EOG_TOP)
    _add_graphoelements(night, rate, signal)
    signal *= np.float32(_EOG_SHARE)
    _add_blinks(night, rate, signal, 1.0)
    strength = np.exp(rng.normal(0, 0.3))
    _add_rapid_movements(night, rng, rate, signal, strength)
    _add_rolling_movements(night, rng, rate, signal, strength)
    return signal


def emg(night: Night, rate: float) -> np.ndarray:
    """Chin EMG in uV, of shape (duration * rate,), before the amplifier."""
    rng = night.random_stream("emg")
    grid = frequencies(rate, _EMG_TOP)
    shape = _muscle_shape(grid)
    shape /= shape.sum() * (grid[1] - grid[0])
    signal = shaped_noise(rng, np.outer(_muscle_tone(night) ** 2, shape), rate)
    _add_twitches(night, rng, rate, signal)
    return signal


def _muscle_shape(grid: np.ndarray) -> np.ndarray:
    return grid**2 / (grid**2 + 20.0**2) / (1 + (grid / 60.0) ** 2)


def _muscle_tone(night: Night) -> np.ndarray:
    """Amplitude of the chin EMG in uV, of shape (n_frames,)."""
    rng = night.random_stream("muscle tone")
    n = round(night.duration * _FRAME_RATE) + 1
    weights = night.stage_weights(_FRAME_RATE, 4)
    weights = np.concatenate([weights, weights[-1:]])
    individual = np.exp(rng.normal(0, 0.18, 5))
    tone = weights @ (np.array(_TONE) * individual)
    tone *= np.exp((weights @ np.array(_TONE_SD)) * ar1_noise(rng, n, 45 * _FRAME_RATE))
    tone *= np.exp(0.3 * ar1_noise(rng, n, 1800 * _FRAME_RATE)) * night.subject.muscle_tone
    for bursts, gain in ((night.movements, 10.0), (night.arousals, 2.5)):
        frame = np.minimum(np.round(bursts.onset * _FRAME_RATE).astype(int), n - 1)
        np.maximum.at(tone, frame, gain * night.subject.muscle_tone * bursts.size)
        long = bursts.duration > 5
        frame, size = np.minimum(frame[long] + 1, n - 1), bursts.size[long]
        np.maximum.at(tone, frame, 0.6 * gain * night.subject.muscle_tone * size)
    return tone.astype(np.float32)


def brain_field(night: Night, rate: float, top: float) -> np.ndarray:
    """Background activity up to ``top`` Hz in uV; the same waves at every rate and ``top``."""
    grid = frequencies(rate, top)
    return shaped_noise(night.random_stream("brain field"), _density(night, grid), rate)


def _density(night: Night, grid: np.ndarray) -> np.ndarray:
    subject = night.subject
    rng = night.random_stream("brain state")
    n = round(night.duration * _FRAME_RATE) + 1
    weights = night.stage_weights(_FRAME_RATE, 8)
    weights = np.concatenate([weights, weights[-1:]]) @ _AMBIGUITY
    drift = [ar1_noise(rng, n, 35 * _FRAME_RATE) for _ in range(5)]
    weights *= np.exp(_DRIFT * np.stack(drift, axis=1))
    weights /= weights.sum(axis=1, keepdims=True)
    loudness = np.exp(0.22 * ar1_noise(rng, n, 600 * _FRAME_RATE) + 0.15 * ar1_noise(rng, n, 10))
    relaxed = weights[:, 0] * _eyes_closed(night)
    alpha = _ALPHA * night.site.alpha_share * subject.alpha * relaxed
    alpha_peak = _bump(grid, subject.alpha_frequency, 0.9)
    density = weights @ _stage_spectra(subject, grid) + np.outer(alpha, alpha_peak)
    density *= (subject.eeg_gain**2 * loudness)[:, None]
    density *= ((grid + 0.5) / 5) ** np.float32(-night.site.eeg_tilt)
    muscle = _SCALP_MUSCLE / subject.muscle_tone * _muscle_tone(night) ** 2
    density += np.outer(muscle, _muscle_shape(grid))
    density[:, grid < 0.25] = 0
    return density.astype(np.float32, copy=False)


def _eyes_closed(night: Night) -> np.ndarray:
    """Between 0 and 1, of shape (n_frames,); of meaning in wake."""
    rng = night.random_stream("eyes")
    n = round(night.duration * _FRAME_RATE) + 1
    closed = ar1_noise(rng, n, 90 * _FRAME_RATE) + 0.3 * ar1_noise(rng, n, 3)
    return 1 / (1 + np.exp(-2.5 * closed))


def _stage_spectra(subject: Subject, grid: np.ndarray) -> np.ndarray:
    exponent = np.array(_EXPONENT)[:, None] + subject.eeg_slope
    spectra = np.array(_LEVEL)[:, None] * (grid + 0.3) ** -exponent
    for centre, width, peaks in _BANDS:
        spectra += np.outer(peaks, _bump(grid, centre, width))
    deep = np.array([1, 1, 0.8 + 0.2 * subject.deep_sleep, 0.5 + 0.5 * subject.deep_sleep, 1])
    spectra *= (np.array(subject.stage_gain) ** 2 * deep)[:, None]
    return spectra.astype(np.float32)


def _add_graphoelements(night: Night, rate: float, field: np.ndarray) -> None:
    """Add spindles, K-complexes, vertex and sawtooth waves to ``field``, in place."""
    rng = night.random_stream("graph elements")
    gain = night.subject.eeg_gain
    _add_spindles(night, rng, rate, field)

    # 1.2 K-complexes per minute of N2 (Johnson and Karpan, Psychophysiology 4:444, 1968)
    spontaneous = _draw_times(night, rng, (0, 0, 1.2, 0.6, 0))
    evoked = night.arousals.onset[rng.random(len(night.arousals)) < 0.4] - 1.5
    times = np.concatenate([spontaneous, evoked])
    peaks = gain * 65 * np.exp(rng.normal(0, 0.35, len(times)))
    axis = np.arange(0, 1.5, 1 / rate)
    k_complex = 0.75 * _bump(axis, 0.75, 0.17) - _bump(axis, 0.4, 0.09)
    add_waveforms(field, rate, times, np.outer(peaks, k_complex))

    times = _draw_times(night, rng, (0, 1.0, 0.2, 0, 0))
    peaks = gain * 45 * np.exp(rng.normal(0, 0.3, len(times)))
    vertex_wave = -_bump(np.arange(0, 0.5, 1 / rate), 0.25, 0.04)
    add_waveforms(field, rate, times, np.outer(peaks, vertex_wave))

    times = _draw_times(night, rng, (0, 0, 0, 0, 0.9))
    peaks = gain * 14 * np.exp(rng.normal(0, 0.3, len(times)))
    axis = np.arange(0, 4, 1 / rate)
    sawtooth = (2 * ((axis * 3.0) % 1) - 1) * np.sin(np.pi * axis / 4) ** 2
    add_waveforms(field, rate, times, np.outer(peaks, sawtooth))


def _add_spindles(night: Night, rng: np.random.Generator, rate: float, field: np.ndarray) -> None:
    """As dense in N3 as in N2 (Gaillard and Blois, Sleep 4:385, 1981)."""
    subject = night.subject
    times = _draw_times(night, rng, subject.spindle_rate * np.array([0, 0, 1, 0.9, 0]))
    peaks = subject.eeg_gain * 21 * np.exp(rng.normal(0, 0.3, len(times)))
    frequency = rng.normal(subject.spindle_frequency, 0.35, len(times))
    length = np.clip(rng.normal(0.9, 0.25, len(times)), 0.5, 1.8)
    axis = np.arange(0, 2, 1 / rate, dtype=np.float32) - 1
    envelope = peaks[:, None] * np.exp(-0.5 * (axis / (length[:, None] / 4)) ** 2)
    waves = envelope * np.sin(2 * np.pi * frequency[:, None] * axis)
    add_waveforms(field, rate, times, waves)


def _bump(axis: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((axis - centre) / width) ** 2)


def _draw_times(night: Night, rng: np.random.Generator, per_minute: ArrayLike) -> np.ndarray:
    """Random times in seconds, with a rate per minute for each stage."""
    return _times_in_epochs(rng, rng.poisson(np.asarray(per_minute)[night.true_stages] / 2))


def _times_in_epochs(
    rng: np.random.Generator, counts: np.ndarray, low: float = 0, high: float = EPOCH_SECONDS
) -> np.ndarray:
    epochs = np.repeat(np.arange(len(counts)), counts)
    return epochs * EPOCH_SECONDS + rng.uniform(low, high, len(epochs))


def _add_blinks(night: Night, rate: float, signal: np.ndarray, share: float) -> None:
    """Blinks of some 0.3 s, 17 a minute (Bentivoglio et al., Mov Disord 12:1028, 1997).

    The cornea, which is positive, turns up: away from the electrode below the left eye.
    """
    rng = night.random_stream("blinks")
    awake = night.stage_weights(_FRAME_RATE, 4)[:, 0]
    chance = 17 / 60 / _FRAME_RATE * awake * (1 - _eyes_closed(night)[:-1])
    frames = np.flatnonzero(rng.random(len(awake)) < chance)
    times = (frames + rng.random(len(frames))) / _FRAME_RATE
    size = -share * rng.gamma(6, 20, len(times))
    blink = _bump(np.arange(0, 0.6, 1 / rate), 0.3, 0.08)
    add_waveforms(signal, rate, times, np.outer(size, blink))


def _add_rapid_movements(
    night: Night, rng: np.random.Generator, rate: float, signal: np.ndarray, strength: float
) -> None:
    phasic = np.exp(1.1 * ar1_noise(rng, len(night.true_stages), 4) - 0.6)
    per_epoch = np.array([9.0, 0.4, 0.05, 0.0, 7.0])[night.true_stages] * phasic
    times = _times_in_epochs(rng, rng.poisson(np.clip(per_epoch, 0, 30)))
    size = rng.choice([-1, 1], len(times)) * strength * rng.gamma(3, 22, len(times))
    axis = np.arange(0, 2.5, 1 / rate)
    decay = np.exp(-axis / 0.6) - np.exp(-axis / 0.04)
    add_waveforms(signal, rate, times, np.outer(size, decay))


def _add_rolling_movements(
    night: Night, rng: np.random.Generator, rate: float, signal: np.ndarray, strength: float
) -> None:
    """Slow movements of 0.25-0.5 Hz: N1, and drowsy wake before it."""
    stages = night.true_stages
    drowsy = np.zeros(len(stages))
    drowsy[:-1] = (stages[:-1] == 0) & (stages[1:] == 1)
    counts = rng.poisson(np.where(stages == 1, 3.0, 0.0) + 3.0 * drowsy)
    times = _times_in_epochs(rng, counts, -6, 26)
    size = strength * rng.gamma(4, 14, len(times))
    frequency = rng.uniform(0.22, 0.5, len(times))[:, None]
    axis = np.arange(0, 6, 1 / rate)
    rolls = np.sin(2 * np.pi * frequency * axis) * np.sin(np.pi * axis / 6) ** 2
    add_waveforms(signal, rate, times, size[:, None] * rolls)


def _add_twitches(night: Night, rng: np.random.Generator, rate: float, signal: np.ndarray) -> None:
    times = _times_in_epochs(rng, rng.poisson(np.where(night.true_stages == 4, 0.8, 0.02)))
    axis = np.arange(0, 0.3, 1 / rate)
    bursts = rng.standard_normal((len(times), len(axis))) * np.sin(np.pi * axis / 0.3)
    size = night.subject.muscle_tone * rng.gamma(2, 1.5, len(times))
    add_waveforms(signal, rate, times, size[:, None] * bursts)


def frequencies(rate: float, top: float) -> np.ndarray:
    """Frequencies of the synthesis grid up to ``top`` Hz and below Nyquist."""
    highest = min(top, rate / 2 - 1 / _FRAME_SECONDS)
    return np.arange(0, int(highest * _FRAME_SECONDS) + 1, dtype=np.float32) / _FRAME_SECONDS


def shaped_noise(rng: np.random.Generator, density: np.ndarray, rate: float) -> np.ndarray:
    """Gaussian noise of shape ((n_frames - 1) * 2 * rate,) with a changing spectral density.

    ``density``, of shape (n_frames, n_frequencies), is one-sided (units squared per Hz) on the grid
    of :func:`frequencies`; frame k is centred on 2 k seconds.
    """
    n_frames, n_bins = density.shape
    size = round(_FRAME_SECONDS * rate)
    hop = size // 2
    # in ascending order, so the same stream gives the same slow waves at another rate
    draws = rng.standard_normal((n_bins, 2, n_frames), dtype=np.float32)
    scale = np.sqrt(density, dtype=np.float32)
    scale *= np.float32(size / 2 / np.sqrt(_FRAME_SECONDS))
    spectrum = np.empty((n_frames, n_bins), dtype=np.complex64)
    np.multiply(draws[:, 0].T, scale, out=spectrum.real)
    np.multiply(draws[:, 1].T, scale, out=spectrum.imag)
    frames = irfft(spectrum, n=size, axis=1, overwrite_x=True)
    # sine windows that overlap by half leave the variance that of the neighbouring frames
    frames *= np.sin(np.pi * (np.arange(size, dtype=np.float32) + 0.5) / size)
    return (frames[1:, :hop] + frames[:-1, hop:]).reshape(-1)
