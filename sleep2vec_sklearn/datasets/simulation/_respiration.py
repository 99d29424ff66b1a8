# SPDX-License-Identifier: BSD-3-Clause
"""Breathing: its phase and size, nasal flow, the belt, a derived series, oxygen saturation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ._night import CONTROL_RATE, Night, wandering

__all__ = [
    "Breathing",
    "airflow",
    "breathe",
    "effort",
    "oxygen_saturation",
    "resp",
]

_RATE_CHANGE = (1.0, 0.3, 0.0, -0.2, 0.9)
_RATE_SPREAD = (0.16, 0.09, 0.05, 0.03, 0.12)
_SIZE_SPREAD = (0.40, 0.25, 0.13, 0.07, 0.30)
_SIZE = (1.05, 0.95, 0.92, 0.95, 0.85)


@dataclass(frozen=True, slots=True)
class Breathing:
    """Breathing at the control rate.

    Attributes
    ----------
    phase : ndarray
        Radians, growing; inspiration is the first half of a turn.
    flow, effort : ndarray
        Relative size of breaths at the nose, and of the movement of the chest.
    """

    phase: np.ndarray
    flow: np.ndarray
    effort: np.ndarray


# The sensors of a night are read one after another: the last nights' breathing is worth keeping.
@lru_cache(maxsize=2)
def breathe(night: Night) -> Breathing:
    """The night's breathing; every call gives the same."""
    rng = night.stream("breathing")
    n = night.n_control
    spread = night.by_stage(_RATE_SPREAD)
    slow = 0.7 * wandering(rng, n, 8 * CONTROL_RATE) + 0.7 * wandering(rng, n, 60 * CONTROL_RATE)
    rate = (night.subject.breathing_rate + night.by_stage(_RATE_CHANGE)) * np.exp(spread * slow)
    phase = 2 * np.pi * np.cumsum(rate / 60 / CONTROL_RATE, dtype=np.float64)
    # Some people breathe unevenly without having events.
    uneven = np.exp(0.4 * rng.standard_normal())
    spread = np.minimum(uneven * night.by_stage(_SIZE_SPREAD), 0.6)
    size = night.by_stage(_SIZE) * np.exp(spread * wandering(rng, n, 6 * CONTROL_RATE))
    sighs = rng.uniform(0, night.duration, rng.poisson(night.duration / 3600 * 8))
    _scale_spans(size, sighs, sighs + 4, np.full(len(sighs), 2.2))
    flow, chest = size.copy(), size.copy()
    events = night.respiratory
    flow_left = np.where(events.apnea, 0.04, np.clip(rng.normal(0.5, 0.1, len(events)), 0.3, 0.7))
    chest_left = np.where(events.apnea, 0.55, 0.65)
    _scale_spans(flow, events.onset, events.end, flow_left)
    _scale_spans(chest, events.onset, events.end, chest_left)
    for track in (flow, chest):
        _scale_spans(track, events.end, events.end + 9, np.full(len(events), 1.6))
    return Breathing(phase, flow.astype(np.float32), chest.astype(np.float32))


def _scale_spans(track: np.ndarray, start, stop, factor) -> None:
    for first, last, scale in zip(start, stop, factor, strict=True):
        track[int(first * CONTROL_RATE) : int(last * CONTROL_RATE)] *= scale


def _at_rate(night: Night, rate: float, *tracks: np.ndarray) -> list[np.ndarray]:
    if rate == CONTROL_RATE:
        return list(tracks)
    control = np.arange(night.n_control) / CONTROL_RATE
    times = np.arange(round(night.duration * rate)) / rate
    return [np.interp(times, control, track) for track in tracks]


def airflow(night: Night, rate: float) -> np.ndarray:
    """Nasal flow in the site's units, of shape (duration * rate,)."""
    breathing = breathe(night)
    rng = night.stream("airflow")
    phase, size = _at_rate(night, rate, breathing.phase, breathing.flow)
    flattening = rng.uniform(0.0, 0.35)
    wave = np.sin(phase) + 0.25 * np.sin(2 * phase) + flattening * np.sin(3 * phase)
    noise = rng.uniform(0.02, 0.08) * rng.standard_normal(len(wave), dtype=np.float32)
    leak = np.exp(0.25 * _slow(rng, night, rate, 1200))
    # Air that leaves through the mouth is not seen by a nasal sensor.
    leak *= np.exp(-rng.uniform(0.1, 0.8) * np.abs(_slow(rng, night, rate, 90)))
    return (night.site.airflow_scale * leak * (size * wave + noise)).astype(np.float32)


def effort(night: Night, rate: float) -> np.ndarray:
    """Movement of a chest belt in arbitrary units, with steps where the body turns."""
    breathing = breathe(night)
    rng = night.stream("effort")
    phase, size = _at_rate(night, rate, breathing.phase, breathing.effort)
    wave = 0.8 * size * np.sin(phase - 0.5) + 0.03 * rng.standard_normal(len(phase))
    turns = night.movements.onset[night.movements.size > 0.7]
    steps = np.zeros(len(phase))
    index = np.minimum((turns * rate).astype(int), len(phase) - 1)
    np.add.at(steps, index, rng.normal(0, 0.6, len(turns)))
    tension = np.exp(np.clip(0.3 * np.cumsum(steps), -1.2, 1.2))
    return (night.site.gain * 50 * (tension * wave + 0.4 * steps)).astype(np.float32)


def resp(night: Night, rate: float) -> np.ndarray:
    """Respiration as derived from the ECG or a bed sensor: the belt's rhythm, less exact."""
    breathing = breathe(night)
    rng = night.stream("resp")
    phase, size = _at_rate(night, rate, breathing.phase, breathing.effort)
    noise = rng.uniform(0.2, 0.5) * wandering(rng, len(phase), 0.5 * rate)
    moving = movement_track(night, rate)
    noise *= 1 + 3 * moving
    return (size**0.7 * np.sin(phase - 0.9) + noise).astype(np.float32)


def movement_track(night: Night, rate: float) -> np.ndarray:
    """Size of body movement over time, of shape (duration * rate,)."""
    track = np.zeros(round(night.duration * rate), dtype=np.float32)
    moves = night.movements
    for start, stop, size in zip(
        moves.onset, moves.onset + moves.duration, moves.size, strict=True
    ):
        span = slice(int(start * rate), max(int(stop * rate), int(start * rate) + 1))
        track[span] = np.maximum(track[span], size)
    return track


def _slow(rng, night: Night, rate: float, memory: float) -> np.ndarray:
    """Noise of unit variance that forgets in ``memory`` seconds, at any rate."""
    points = wandering(rng, night.duration // 30 + 2, memory / 30)
    times = np.arange(round(night.duration * rate)) / rate
    return np.interp(times, np.arange(len(points)) * 30.0, points)


def oxygen_saturation(night: Night, rate: float) -> np.ndarray:
    """Saturation in %, in steps of the site's oximeter."""
    rng = night.stream("spo2")
    n = round(night.duration * rate)
    (asleep,) = _at_rate(night, rate, night.by_stage((0, 1, 1, 1, 1), blur=60))
    level = night.subject.saturation - 0.6 * asleep
    level += 0.35 * wandering(rng, n, 240 * rate) + 0.15 * wandering(rng, n, 5 * rate)
    events = night.respiratory
    begin, nadir = events.onset + 0.8 * events.lag, events.end + events.lag
    _subtract_dips(level, rate, begin, nadir, events.drop)
    # A loose clip and shallow breathing dip too, without an event.
    count = rng.poisson(night.duration / 3600 * rng.gamma(0.8, 6.0))
    begin = rng.uniform(0, night.duration, count)
    _subtract_dips(level, rate, begin, begin + rng.gamma(4, 5, count), rng.gamma(2, 1.2, count))
    level = np.clip(level, 50, 100)
    step = night.site.spo2_step
    return (np.round(level / step) * step).astype(np.float32)


def _subtract_dips(level: np.ndarray, rate: float, begin, nadir, drop) -> None:
    """Fall from ``begin`` to ``nadir`` seconds, then recover within 22 s."""
    for start, lowest, depth in zip(begin, nadir, drop, strict=True):
        stop = lowest + 22
        span = np.arange(int(start * rate), min(int(stop * rate), len(level)))
        shape = np.interp(span / rate, [start, lowest, lowest + 10, stop], [0, 1, 0.35, 0])
        level[span] -= depth * shape
