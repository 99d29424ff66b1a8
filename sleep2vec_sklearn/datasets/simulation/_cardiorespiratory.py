# SPDX-License-Identifier: BSD-3-Clause
"""Simulated ECG, PPG, RR intervals, airflow, effort, respiration and oxygen saturation.

One series of beats and one of breaths are seen by all of them. Heart rate is a sum of the subject's
level, the night's slow decline, stage effects, fluctuations of several time scales whose size
depends on the stage, surges with movements and arousals, and the cyclical variation of apneas. Half
of a stage's effect comes some two minutes before the stage does (Bonnet and Arand,
Electroencephalogr Clin Neurophysiol 102:390, 1997; Long et al., Appl Phys Lett 106:143702, 2015).
Fluctuations with a long memory belong to wake and REM sleep; in NREM sleep little outlasts a breath
(Bunde et al., Phys Rev Lett 85:3736, 2000).

Beats are the points where its integral, with respiratory sinus arrhythmia, crosses whole numbers
(integral pulse frequency modulation). Sizes of surges, waves and drifts, pooled over the night, are
those of men in bed in MMASH (Rossi et al. 2020), a data set that encoders may be trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ...recordings.modality import EPOCH_SECONDS
from ._night import CONTROL_RATE, Night, add_waveforms, ar1_noise, ar2_noise, impulse_response

# memory in seconds, and SD in beats per minute by stage (W, N1, N2, N3, R)
_FLUCTUATIONS = (
    (25, (2.0, 1.5, 0.75, 0.45, 1.6)),
    (90, (1.8, 1.0, 0.35, 0.15, 1.6)),
    (400, (1.8, 0.8, 0.25, 0.1, 1.7)),
)
_BLOOD_PRESSURE_WAVES = (2.3, 2.0, 1.6, 1.1, 1.7)
_LEAD_SECONDS, _LEAD_BLUR_SECONDS = 120, 120
_SINUS_ARRHYTHMIA = (0.018, 0.025, 0.033, 0.040, 0.018)
_BREATHING_RATE_CHANGE = (1.0, 0.3, 0.0, -0.2, 0.9)
_BREATHING_RATE_SD = (0.16, 0.09, 0.05, 0.03, 0.12)
_BREATH_SIZE_SD = (0.40, 0.25, 0.13, 0.07, 0.30)
_BREATH_SIZE = (1.05, 0.95, 0.92, 0.95, 0.85)


def ecg(night: Night, rate: float) -> np.ndarray:
    """One lead in uV, of shape (duration * rate,), before the amplifier."""
    rng = night.random_stream("ecg")
    breathing = breathe(night)
    beats = beat_times(night)
    n = round(night.duration * rate)
    times = np.arange(n, dtype=np.float32) / np.float32(rate)
    control = night.control_times
    wave = breathing.effort * np.sin(breathing.phase)
    wander = wave * rng.uniform(10, 50) + 40 * ar1_noise(rng, night.n_control, 10 * CONTROL_RATE)
    signal = np.interp(times, control, wander).astype(np.float32)
    signal += rng.uniform(4, 12) * rng.standard_normal(n, dtype=np.float32)
    gain = np.exp(rng.normal(0, 0.3)) * (1 + 0.08 * np.interp(beats, control, wave))
    p, r, t = rng.normal([110, 1000, 260], [30, 150, 80])
    interval = np.diff(beats, append=beats[-1] + 1)
    sharp = ((-0.17, 0.022, p), (-0.03, 0.009, -0.1 * r), (0, 0.011, r), (0.03, 0.010, -0.22 * r))
    _add_bumps(signal, rate, beats - 0.26, 0.26, 0.36, sharp, gain)
    # the QT interval grows with the square root of the RR interval
    repolarised = beats + 0.28 * np.sqrt(np.clip(interval, 0.4, 1.6))
    _add_bumps(signal, rate, repolarised - 0.16, 0.16, 0.32, ((0, 0.05, t),), gain)
    return signal


def ppg(night: Night, rate: float) -> np.ndarray:
    """Finger pulse wave in arbitrary units; arousals and movements narrow the vessels."""
    rng = night.random_stream("ppg")
    breathing = breathe(night)
    beats = beat_times(night)
    arousals, moves = night.arousals, night.movements
    sizes = np.full(len(arousals), 0.5)
    narrowing = impulse_response(arousals.onset, sizes, _surge(6, 1.5), night.n_control)
    narrowing += 0.4 * impulse_response(moves.onset, moves.size, _surge(8, 1.5), night.n_control)
    tone = 0.25 * ar1_noise(rng, night.n_control, 600 * CONTROL_RATE)
    amplitude = np.exp(tone + night.by_stage((-0.25, -0.05, 0, 0.05, -0.15)))
    amplitude *= np.exp(-np.clip(narrowing, 0, 1.5))
    control = night.control_times
    n = round(night.duration * rate)
    baseline = 0.15 * np.sin(breathing.phase) * breathing.effort
    baseline += 0.3 * ar1_noise(rng, night.n_control, 20 * CONTROL_RATE)
    signal = np.interp(np.arange(n) / rate, control, baseline).astype(np.float32)
    signal += 0.02 * rng.standard_normal(n, dtype=np.float32)
    wave = ((0, 0.085, 1.0), (0.27, 0.10, rng.uniform(0.2, 0.5)))
    delay = 0.22 + 0.02 * rng.standard_normal()
    gain = np.interp(beats, control, amplitude)
    _add_bumps(signal, rate, beats + delay - 0.25, 0.25, 0.9, wave, gain)
    return signal


def ibi(night: Night, rate: float) -> np.ndarray:
    """RR intervals in s, or a watch's heart rate in bpm, as an evenly spaced series."""
    beats = beat_times(night)
    intervals = np.diff(beats)
    times = np.arange(round(night.duration * rate)) / rate
    if not night.site.has_watch:
        return np.interp(times, beats[1:], intervals).astype(np.float32)
    rng = night.random_stream("watch")
    seconds = np.arange(night.duration)
    pulse = np.interp(seconds, beats[1:], 60 / intervals)
    window = max(round(night.site.watch_seconds), 1)
    pulse = np.convolve(np.pad(pulse, (window, 0), mode="edge"), np.ones(window) / window, "valid")
    shown = np.cumsum(rng.integers(2, 9, night.duration // 2))
    shown = shown[shown < night.duration]
    shown = shown[~_undetected(night, rng)[shown]]
    noise = rng.normal(0, 0.4, len(shown))
    noise = noise * (1 + 0.5 * night.by_stage((3, 1, 0, 0, 0.5))[shown * CONTROL_RATE])
    return np.interp(times, shown, np.round(pulse[shown] + noise)).astype(np.float32)


def _undetected(night: Night, rng: np.random.Generator) -> np.ndarray:
    """Seconds in which the watch detects no pulse, because the wrist moves."""
    large = night.movements.onset[night.movements.size > 0.6]
    lost = large[rng.random(len(large)) < 0.3].astype(int)
    edges = np.zeros(night.duration + 1)
    np.add.at(edges, lost, 1)
    ends = lost + 5 + rng.exponential(30, len(lost)).astype(int)
    np.add.at(edges, np.minimum(ends, night.duration), -1)
    undetected = np.cumsum(edges[:-1]) > 0
    undetected[:10] = False
    return undetected


def airflow(night: Night, rate: float) -> np.ndarray:
    """Nasal flow in the site's units, of shape (duration * rate,)."""
    breathing = breathe(night)
    rng = night.random_stream("airflow")
    phase, size = _resample(night, rate, breathing.phase, breathing.flow)
    flattening = rng.uniform(0.0, 0.35)
    wave = np.sin(phase) + 0.25 * np.sin(2 * phase) + flattening * np.sin(3 * phase)
    noise = rng.uniform(0.02, 0.08) * rng.standard_normal(len(wave), dtype=np.float32)
    leak = np.exp(0.25 * _slow_noise(rng, night, rate, 1200))
    # a nasal sensor does not see air that leaves through the mouth
    leak *= np.exp(-rng.uniform(0.1, 0.8) * np.abs(_slow_noise(rng, night, rate, 90)))
    return (night.site.airflow_scale * leak * (size * wave + noise)).astype(np.float32)


def effort(night: Night, rate: float) -> np.ndarray:
    """Chest belt in arbitrary units, with steps where the body turns."""
    breathing = breathe(night)
    rng = night.random_stream("effort")
    phase, size = _resample(night, rate, breathing.phase, breathing.effort)
    wave = 0.8 * size * np.sin(phase - 0.5) + 0.03 * rng.standard_normal(len(phase))
    turns = night.movements.onset[night.movements.size > 0.7]
    steps = np.zeros(len(phase))
    index = np.minimum((turns * rate).astype(int), len(phase) - 1)
    np.add.at(steps, index, rng.normal(0, 0.6, len(turns)))
    tension = np.exp(np.clip(0.3 * np.cumsum(steps), -1.2, 1.2))
    return (night.site.gain * 50 * (tension * wave + 0.4 * steps)).astype(np.float32)


def resp(night: Night, rate: float) -> np.ndarray:
    """Respiration as derived from the ECG or a bed sensor: the belt's rhythm with more noise."""
    breathing = breathe(night)
    rng = night.random_stream("resp")
    phase, size = _resample(night, rate, breathing.phase, breathing.effort)
    noise = rng.uniform(0.2, 0.5) * ar1_noise(rng, len(phase), 0.5 * rate)
    noise *= 1 + 3 * movement_size(night, rate)
    return (size**0.7 * np.sin(phase - 0.9) + noise).astype(np.float32)


def spo2(night: Night, rate: float) -> np.ndarray:
    """Saturation in %, in steps of the site's oximeter."""
    rng = night.random_stream("spo2")
    n = round(night.duration * rate)
    (asleep,) = _resample(night, rate, night.by_stage((0, 1, 1, 1, 1), blur=60))
    level = night.subject.saturation - 0.6 * asleep
    level += 0.35 * ar1_noise(rng, n, 240 * rate) + 0.15 * ar1_noise(rng, n, 5 * rate)
    events = night.respiratory
    begin, nadir = events.onset + 0.8 * events.lag, events.end + events.lag
    _subtract_dips(level, rate, begin, nadir, events.drop)
    # a loose clip and shallow breathing cause dips without an event
    count = rng.poisson(night.duration / 3600 * rng.gamma(0.8, 6.0))
    begin = rng.uniform(0, night.duration, count)
    _subtract_dips(level, rate, begin, begin + rng.gamma(4, 5, count), rng.gamma(2, 1.2, count))
    level = np.clip(level, 50, 100)
    step = night.site.spo2_step
    return (np.round(level / step) * step).astype(np.float32)


@lru_cache(maxsize=2)
def beat_times(night: Night) -> np.ndarray:
    """Times of the R peaks in seconds; every call gives the same."""
    breathing = breathe(night)
    rng = night.random_stream("heart")
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
    variability = subject.heart_variability**0.5
    for memory, sd in _FLUCTUATIONS:
        rate += variability * night.by_stage(sd, blur=20) * ar1_noise(rng, n, memory * CONTROL_RATE)
    waves = ar2_noise(rng, n, 0.095 / CONTROL_RATE, 15 * CONTROL_RATE)
    rate += variability * night.by_stage(_BLOOD_PRESSURE_WAVES, blur=20) * waves
    rate += variability * _surges(night, rng)
    return np.clip(rate, 34, 170)


def _drift(night: Night, rng: np.random.Generator) -> np.ndarray:
    """Slow changes of level, more up than down: a resting heart rate has a floor."""
    n_epochs = len(night.true_stages)
    drift = gaussian_filter1d(ar1_noise(rng, n_epochs, 60), 6, mode="nearest")
    middle = (np.arange(n_epochs) + 0.5) * EPOCH_SECONDS
    return np.interp(night.control_times, middle, 7.5 * (np.exp(0.37 * drift) - 1.06))


def _ahead_of_stage(night: Night, values: Sequence[float]) -> np.ndarray:
    """One value per stage, as a series that is smooth over minutes and as much ahead."""
    epochs = np.asarray(values, dtype=np.float64)[night.true_stages]
    track = gaussian_filter1d(epochs, _LEAD_BLUR_SECONDS / EPOCH_SECONDS, mode="nearest")
    middle = (np.arange(len(epochs)) + 0.5) * EPOCH_SECONDS - _LEAD_SECONDS
    return np.interp(night.control_times, middle, track)


def _surges(night: Night, rng: np.random.Generator) -> np.ndarray:
    n = night.n_control
    moves, arousals, events = night.movements, night.arousals, night.respiratory
    size = np.clip(18 * moves.size**0.6 * np.exp(rng.normal(0, 0.5, len(moves))), 0, 50)
    surge = impulse_response(moves.onset - 2, size, _surge(9, 5.0), n)
    # the reflex saturates in restless minutes
    surge = 45 * np.tanh(surge / 45)
    size = 7 * np.exp(rng.normal(0, 0.4, len(arousals)))
    # the heart is some ten beats ahead of the cortex (Bonnet and Arand 1997)
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


def _with_ectopy(beats: np.ndarray, night: Night, rng: np.random.Generator) -> np.ndarray:
    """A few premature beats, followed by a pause; commoner with age."""
    per_hour = rng.gamma(0.4, 4 + 0.2 * max(night.subject.age - 40, 0))
    early = rng.random(len(beats)) < per_hour / 3600 * 0.95
    early[[0, -1]] = False
    beats = beats.copy()
    gap = np.diff(beats, prepend=beats[0])
    beats[early] -= 0.3 * gap[early]
    return beats[np.concatenate([[True], np.diff(beats) > 0.25])]


def _add_bumps(
    signal: np.ndarray, rate: float, starts: np.ndarray, centre: float, length: float,
    bumps: Sequence[tuple[float, float, float]], gain: np.ndarray,
) -> None:  # fmt: skip
    """Add a sum of Gaussians (offset, width, size) around ``centre`` at each start."""
    # eight shifts of the waveform keep the offset of a start from the samples
    offset = np.round(starts * rate) / rate - starts
    steps = 8
    phase = np.clip(((offset * rate + 0.5) * steps).astype(int), 0, steps - 1)
    shift = ((np.arange(steps) + 0.5) / steps - 0.5) / rate
    axis = np.arange(0, length, 1 / rate) - centre + shift[:, None]
    table: Any = sum(size * np.exp(-0.5 * ((axis - at) / width) ** 2) for at, width, size in bumps)
    waves = table.astype(np.float32)[phase]
    waves *= np.asarray(gain, dtype=np.float32)[:, None]
    add_waveforms(signal, rate, starts, waves)


@dataclass(frozen=True, slots=True)
class Breathing:
    """Breathing at the control rate."""

    phase: np.ndarray  # radians, growing; inspiration is the first half of a turn
    flow: np.ndarray  # relative size of breaths at the nose
    effort: np.ndarray  # relative size of the movement of the chest


# sensors of a night are read one after another, so the breathing of the last nights is cached
@lru_cache(maxsize=2)
def breathe(night: Night) -> Breathing:
    """Breathing of a night; every call gives the same."""
    rng = night.random_stream("breathing")
    n = night.n_control
    sd = night.by_stage(_BREATHING_RATE_SD)
    slow = 0.7 * ar1_noise(rng, n, 8 * CONTROL_RATE) + 0.7 * ar1_noise(rng, n, 60 * CONTROL_RATE)
    rate = night.subject.breathing_rate + night.by_stage(_BREATHING_RATE_CHANGE)
    rate = rate * np.exp(sd * slow)
    phase = 2 * np.pi * np.cumsum(rate / 60 / CONTROL_RATE, dtype=np.float64)
    # some subjects breathe unevenly without having events
    uneven = np.exp(0.4 * rng.standard_normal())
    sd = np.minimum(uneven * night.by_stage(_BREATH_SIZE_SD), 0.6)
    size = night.by_stage(_BREATH_SIZE) * np.exp(sd * ar1_noise(rng, n, 6 * CONTROL_RATE))
    sighs = rng.uniform(0, night.duration, rng.poisson(night.duration / 3600 * 8))
    _scale_spans(size, sighs, sighs + 4, np.full(len(sighs), 2.2))
    flow, chest = size.copy(), size.copy()
    events = night.respiratory
    flow_left = np.where(events.apnea, 0.04, np.clip(rng.normal(0.5, 0.1, len(events)), 0.3, 0.7))
    chest_left = np.where(events.apnea, 0.55, 0.65)
    _scale_spans(flow, events.onset, events.end, flow_left)
    _scale_spans(chest, events.onset, events.end, chest_left)
    for size in (flow, chest):
        _scale_spans(size, events.end, events.end + 9, np.full(len(events), 1.6))
    return Breathing(phase, flow.astype(np.float32), chest.astype(np.float32))


def _scale_spans(
    series: np.ndarray, start: np.ndarray, stop: np.ndarray, factor: np.ndarray
) -> None:
    for first, last, scale in zip(start, stop, factor, strict=True):
        series[int(first * CONTROL_RATE) : int(last * CONTROL_RATE)] *= scale


def _resample(night: Night, rate: float, *series: np.ndarray) -> list[np.ndarray]:
    if rate == CONTROL_RATE:
        return list(series)
    control = night.control_times
    times = np.arange(round(night.duration * rate)) / rate
    return [np.interp(times, control, values) for values in series]


def _slow_noise(rng: np.random.Generator, night: Night, rate: float, memory: float) -> np.ndarray:
    """Noise of unit variance that forgets in ``memory`` seconds, the same at any rate."""
    points = ar1_noise(rng, night.duration // 30 + 2, memory / 30)
    times = np.arange(round(night.duration * rate)) / rate
    return np.interp(times, np.arange(len(points)) * 30.0, points)


def movement_size(night: Night, rate: float) -> np.ndarray:
    """Size of body movement over time, of shape (duration * rate,)."""
    sizes = np.zeros(round(night.duration * rate), dtype=np.float32)
    moves = night.movements
    stops = moves.onset + moves.duration
    for start, stop, size in zip(moves.onset, stops, moves.size, strict=True):
        span = slice(int(start * rate), max(int(stop * rate), int(start * rate) + 1))
        sizes[span] = np.maximum(sizes[span], size)
    return sizes


def _subtract_dips(
    level: np.ndarray, rate: float, begin: np.ndarray, nadir: np.ndarray, drop: np.ndarray
) -> None:
    """Fall from ``begin`` to ``nadir`` seconds, then recover within 22 s."""
    for start, lowest, depth in zip(begin, nadir, drop, strict=True):
        stop = lowest + 22
        span = np.arange(int(start * rate), min(int(stop * rate), len(level)))
        shape = np.interp(span / rate, [start, lowest, lowest + 10, stop], [0, 1, 0.35, 0])
        level[span] -= depth * shape
