# SPDX-License-Identifier: BSD-3-Clause
"""The heart: one series of beats, seen by the ECG, the pulse wave and the interval series.

Heart rate is a sum of the subject's level, the night's slow decline, stage effects, fluctuations of
several time scales whose size depends on the stage, surges with movements and arousals, and the
cyclical variation of apneas. Half of a stage's effect comes some two minutes before the stage
does (Bonnet and Arand, Electroencephalogr Clin Neurophysiol 102:390, 1997; Long et al., Appl Phys
Lett 106:143702, 2015). Fluctuations with a long memory belong to wake and REM sleep; in NREM sleep
little outlasts a breath (Bunde et al., Phys Rev Lett 85:3736, 2000).

Beats are the points where its integral, with respiratory sinus arrhythmia, crosses whole numbers
(integral pulse frequency modulation). Sizes of surges, waves and drifts, pooled over the night, are
those of men in bed in MMASH (Rossi et al. 2020), a data set that encoders may be trained on.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ...recordings import EPOCH_SECONDS
from ._night import CONTROL_RATE, Night, impulse_response, oscillating, wandering
from ._respiration import breathe
from ._synthesis import place

__all__ = [
    "actigraphy",
    "beat_times",
    "ecg",
    "ibi",
    "ppg",
]

# Standard deviations in beats per minute by stage (W, N1, N2, N3, R) and memory in seconds.
_FLUCTUATIONS = (
    (25, (2.0, 1.5, 0.75, 0.45, 1.6)),
    (90, (1.8, 1.0, 0.35, 0.15, 1.6)),
    (400, (1.8, 0.8, 0.25, 0.1, 1.7)),
)
_BLOOD_PRESSURE_WAVES = (2.3, 2.0, 1.6, 1.1, 1.7)
_LEAD_SECONDS, _LEAD_BLUR_SECONDS = 120, 120
_SINUS_ARRHYTHMIA = (0.018, 0.025, 0.033, 0.040, 0.018)


@lru_cache(maxsize=2)
def beat_times(night: Night) -> np.ndarray:
    """Times of the heart beats in seconds; every call gives the same."""
    breathing = breathe(night)
    rng = night.stream("heart")
    rate = heart_rate(night, rng)
    strength = night.by_stage(_SINUS_ARRHYTHMIA) * night.subject.heart_variability
    swing = strength * np.clip(breathing.effort, 0.2, 2) * np.sin(breathing.phase - 0.3)
    phase = np.cumsum(rate * (1 + swing) / 60 / CONTROL_RATE, dtype=np.float64)
    control = np.arange(1, night.n_control + 1) / CONTROL_RATE
    beats = np.interp(np.arange(1, int(phase[-1]) + 1), phase, control)
    beats += rng.normal(0, 0.003, len(beats))
    return _with_ectopy(beats, night, rng)


def heart_rate(night: Night, rng: np.random.Generator) -> np.ndarray:
    """Heart rate in beats per minute at the control rate, without sinus arrhythmia."""
    subject = night.subject
    n = night.n_control
    hours = np.arange(n) / CONTROL_RATE / 3600
    decline = 5.0 * np.exp(-hours / 1.2) - 1.2 * np.exp(-0.5 * ((hours - 4.7) / 1.6) ** 2)
    decline *= np.exp(0.4 * rng.standard_normal())
    rate = subject.heart_rate + decline + 0.5 * night.by_stage(subject.stage_heart_rate, blur=25)
    rate += 0.5 * _ahead_of_stage(night, subject.stage_heart_rate)
    rate += _drift(night, rng)
    wild = subject.heart_variability**0.5
    for memory, spread in _FLUCTUATIONS:
        rate += wild * night.by_stage(spread, blur=20) * wandering(rng, n, memory * CONTROL_RATE)
    waves = oscillating(rng, n, 0.095 / CONTROL_RATE, 15 * CONTROL_RATE)
    rate += wild * night.by_stage(_BLOOD_PRESSURE_WAVES, blur=20) * waves
    rate += wild * _surges(night, rng)
    return np.clip(rate, 34, 170)


def _drift(night: Night, rng) -> np.ndarray:
    """Slow changes of level, more up than down: there is a floor to a resting heart."""
    n_epochs = len(night.true_stages)
    drift = gaussian_filter1d(wandering(rng, n_epochs, 60), 6, mode="nearest")
    middle = (np.arange(n_epochs) + 0.5) * EPOCH_SECONDS
    return np.interp(
        np.arange(night.n_control) / CONTROL_RATE, middle, 7.5 * (np.exp(0.37 * drift) - 1.06)
    )


def _ahead_of_stage(night: Night, values) -> np.ndarray:
    """One value per stage, smooth over minutes and early by as much."""
    epochs = np.asarray(values, dtype=np.float64)[night.true_stages]
    track = gaussian_filter1d(epochs, _LEAD_BLUR_SECONDS / EPOCH_SECONDS, mode="nearest")
    middle = (np.arange(len(epochs)) + 0.5) * EPOCH_SECONDS - _LEAD_SECONDS
    return np.interp(np.arange(night.n_control) / CONTROL_RATE, middle, track)


def _surges(night: Night, rng) -> np.ndarray:
    n = night.n_control
    moves, arousals, events = night.movements, night.arousals, night.respiratory
    size = np.clip(18 * moves.size**0.6 * np.exp(rng.normal(0, 0.5, len(moves))), 0, 50)
    surge = impulse_response(moves.onset - 2, size, _surge(9, 5.0), n)
    # Restless minutes do not add up without bound: the reflex saturates.
    surge = 45 * np.tanh(surge / 45)
    size = 7 * np.exp(rng.normal(0, 0.4, len(arousals)))
    # The heart is some ten beats ahead of the cortex (Bonnet and Arand 1997).
    surge += impulse_response(arousals.onset - 8, size, _surge(11, 4.0), n)
    slowing = 3.5 * np.exp(rng.normal(0, 0.3, len(events)))
    lengths = np.clip(events.duration, 10, 40)
    surge += impulse_response(events.onset + lengths * 0.3, -slowing, _surge(12, 3.0), n)
    recovery = 5.5 * np.exp(rng.normal(0, 0.3, len(events))) * np.where(events.apnea, 1.2, 0.7)
    return surge + impulse_response(events.end, recovery, _surge(7, 4.0), n)


def _surge(peak: float, shape: float) -> np.ndarray:
    """Rise to 1 at ``peak`` seconds, fall, then a shallow rebound below zero."""
    time = np.arange(1, 90 * CONTROL_RATE) / CONTROL_RATE
    rise = (time / peak * np.exp(1 - time / peak)) ** shape
    late = np.clip(time - 2 * peak, 0, None) / (2 * peak)
    return (rise - 0.12 * late * np.exp(1 - late)).astype(np.float32)


def _with_ectopy(beats: np.ndarray, night: Night, rng) -> np.ndarray:
    """A few premature beats, followed by a pause; commoner with age."""
    per_hour = rng.gamma(0.4, 4 + 0.2 * max(night.subject.age - 40, 0))
    early = rng.random(len(beats)) < per_hour / 3600 * 0.95
    early[[0, -1]] = False
    beats = beats.copy()
    gap = np.diff(beats, prepend=beats[0])
    beats[early] -= 0.3 * gap[early]
    return beats[np.concatenate([[True], np.diff(beats) > 0.25])]


def ecg(night: Night, rate: float) -> np.ndarray:
    """One lead in uV, of shape (duration * rate,), before the amplifier."""
    rng = night.stream("ecg")
    breathing = breathe(night)
    beats = beat_times(night)
    n = round(night.duration * rate)
    times = np.arange(n, dtype=np.float32) / np.float32(rate)
    control = np.arange(night.n_control) / CONTROL_RATE
    wave = breathing.effort * np.sin(breathing.phase)
    wander = wave * rng.uniform(10, 50) + 40 * wandering(rng, night.n_control, 10 * CONTROL_RATE)
    signal = np.interp(times, control, wander).astype(np.float32)
    signal += rng.uniform(4, 12) * rng.standard_normal(n, dtype=np.float32)
    gain = np.exp(rng.normal(0, 0.3)) * (1 + 0.08 * np.interp(beats, control, wave))
    p, r, t = rng.normal([110, 1000, 260], [30, 150, 80])
    interval = np.diff(beats, append=beats[-1] + 1)
    sharp = ((-0.17, 0.022, p), (-0.03, 0.009, -0.1 * r), (0, 0.011, r), (0.03, 0.010, -0.22 * r))
    _place_bumps(signal, rate, beats - 0.26, 0.26, 0.36, sharp, gain)
    # The T wave follows the QRS by a time that grows with the square root of the interval.
    repolarised = beats + 0.28 * np.sqrt(np.clip(interval, 0.4, 1.6))
    _place_bumps(signal, rate, repolarised - 0.16, 0.16, 0.32, ((0, 0.05, t),), gain)
    return signal


def _place_bumps(signal, rate, starts, centre, length, bumps, gain) -> None:
    """Sum of Gaussian bumps around ``centre``, placed with the offset between samples kept."""
    offset = np.round(starts * rate) / rate - starts
    steps = 8
    phase = np.clip(((offset * rate + 0.5) * steps).astype(int), 0, steps - 1)
    shift = ((np.arange(steps) + 0.5) / steps - 0.5) / rate
    axis = np.arange(0, length, 1 / rate) - centre + shift[:, None]
    table = sum(size * np.exp(-0.5 * ((axis - at) / width) ** 2) for at, width, size in bumps)
    waves = table.astype(np.float32)[phase]
    waves *= np.asarray(gain, dtype=np.float32)[:, None]
    place(signal, rate, starts, waves)


def ibi(night: Night, rate: float) -> np.ndarray:
    """Inter-beat intervals in s, or a watch's heart rate in bpm, as an evenly spaced series."""
    beats = beat_times(night)
    intervals = np.diff(beats)
    times = np.arange(round(night.duration * rate)) / rate
    if not night.site.has_watch:
        return np.interp(times, beats[1:], intervals).astype(np.float32)
    rng = night.stream("watch")
    seconds = np.arange(night.duration)
    pulse = np.interp(seconds, beats[1:], 60 / intervals)
    window = max(round(night.site.watch_seconds), 1)
    pulse = np.convolve(np.pad(pulse, (window, 0), mode="edge"), np.ones(window) / window, "valid")
    shown = np.cumsum(rng.integers(2, 9, night.duration // 2))
    shown = shown[shown < night.duration]
    shown = shown[~_unread(night, rng)[shown]]
    noise = rng.normal(0, 0.4, len(shown)) * (
        1 + 0.5 * night.by_stage((3, 1, 0, 0, 0.5))[shown * 4]
    )
    return np.interp(times, shown, np.round(pulse[shown] + noise)).astype(np.float32)


def _unread(night: Night, rng) -> np.ndarray:
    """Seconds at which the watch finds no pulse, because the wrist moves."""
    large = night.movements.onset[night.movements.size > 0.6]
    lost = large[rng.random(len(large)) < 0.3].astype(int)
    edges = np.zeros(night.duration + 1)
    np.add.at(edges, lost, 1)
    ends = lost + 5 + rng.exponential(30, len(lost)).astype(int)
    np.add.at(edges, np.minimum(ends, night.duration), -1)
    unread = np.cumsum(edges[:-1]) > 0
    unread[:10] = False
    return unread


def ppg(night: Night, rate: float) -> np.ndarray:
    """Finger pulse wave in arbitrary units; arousals and movements narrow the vessels."""
    rng = night.stream("ppg")
    breathing = breathe(night)
    beats = beat_times(night)
    narrowing = impulse_response(
        night.arousals.onset, np.full(len(night.arousals), 0.5), _surge(6, 1.5), night.n_control
    )
    narrowing += 0.4 * impulse_response(
        night.movements.onset, night.movements.size, _surge(8, 1.5), night.n_control
    )
    tone = 0.25 * wandering(rng, night.n_control, 600 * CONTROL_RATE)
    amplitude = np.exp(tone + night.by_stage((-0.25, -0.05, 0, 0.05, -0.15)))
    amplitude *= np.exp(-np.clip(narrowing, 0, 1.5))
    control = np.arange(night.n_control) / CONTROL_RATE
    n = round(night.duration * rate)
    baseline = 0.15 * np.sin(breathing.phase) * breathing.effort
    baseline += 0.3 * wandering(rng, night.n_control, 20 * CONTROL_RATE)
    signal = np.interp(np.arange(n) / rate, control, baseline).astype(np.float32)
    signal += 0.02 * rng.standard_normal(n, dtype=np.float32)
    notch = rng.uniform(0.2, 0.5)
    delay = 0.22 + 0.02 * rng.standard_normal()
    wave = ((0, 0.085, 1.0), (0.27, 0.10, notch))
    _place_bumps(
        signal, rate, beats + delay - 0.25, 0.25, 0.9, wave, np.interp(beats, control, amplitude)
    )
    return signal


_THRESHOLD = 0.08
_SATURATION = 4.0


def actigraphy(night: Night, rate: float) -> np.ndarray:
    """Counts per sample period, of shape (duration * rate,).

    A site's device counts each second, or adds the counts of half a minute; some pipelines smooth
    counts with a Gaussian of 50 s (Walch et al. 2019, doi:10.1093/sleep/zsz180). The wrist does
    not take part in every movement.
    """
    rng = night.stream("actigraphy")
    seconds = np.zeros(night.duration + 64)
    moves = night.movements
    strength = moves.size * np.exp(rng.normal(0, 0.4, len(moves)))
    strength[rng.random(len(moves)) < 0.15] = 0
    length = np.maximum(np.ceil(moves.duration).astype(int), 1)
    index = np.repeat(moves.onset.astype(int), length)
    first = np.repeat(np.cumsum(length) - length, length)
    index = index + np.arange(len(index)) - first
    vigour = np.repeat(strength, length) * rng.gamma(1.5, 1 / 1.5, len(index))
    np.add.at(seconds, np.minimum(index, len(seconds) - 1), vigour)
    seconds = seconds[: night.duration]
    seconds = np.where(seconds > _THRESHOLD, seconds / (1 + seconds / _SATURATION), 0)
    site = night.site
    period = round(1 / rate)
    if period > 1:
        counts = seconds.reshape(-1, period).sum(axis=1)
    else:
        counts = np.repeat(seconds, round(rate)) / round(rate)
    counts = site.counts_scale * counts
    if site.counts_smoothing > 0:
        return gaussian_filter1d(counts, site.counts_smoothing * rate).astype(np.float32)
    return np.round(counts, 0 if site.counts_scale * period > 3 else 1).astype(np.float32)
