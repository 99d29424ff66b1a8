# SPDX-License-Identifier: BSD-3-Clause
"""The stages of a night: cycles of NREM and REM sleep, broken by awakenings.

Cycle lengths and the shares of N3 and REM by cycle follow textbook descriptions of a young
adult's night (about 92 min a cycle, N3 early, REM late); the effects of age follow the direction
and rough size of Ohayon et al., Sleep 27:1255 (2004): less N3, more N1 and wake after sleep onset.
"""

from __future__ import annotations

import numpy as np

from ...signals import SleepStage
from .subjects import Subject

__all__ = ["score_stages", "simulate_hypnogram"]

_W, _N1, _N2, _N3, _R = (int(stage) for stage in list(SleepStage)[1:])
_N3_MINUTES = (36.0, 26.0, 13.0, 6.0, 2.0)
_REM_MINUTES = (9.0, 18.0, 25.0, 28.0, 30.0)
_WAKING = np.array([0.0, 0.030, 0.010, 0.003, 0.009])
_LIGHTENING = np.array([0.0, 0.0, 0.016, 0.004, 0.014])
_CONFUSION = np.array(
    [
        [0.970, 0.025, 0.005, 0.0, 0.0],
        [0.06, 0.84, 0.08, 0.0, 0.02],
        [0.005, 0.020, 0.945, 0.025, 0.005],
        [0.0, 0.0, 0.07, 0.93, 0.0],
        [0.005, 0.025, 0.010, 0.0, 0.960],
    ]
)


def simulate_hypnogram(subject: Subject, n_epochs: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the true stages of one night.

    Parameters
    ----------
    subject : Subject
        Age, fragmentation, deep sleep and apnea severity shape the night.
    n_epochs : int
        Number of 30-s epochs.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray of shape (n_epochs,), int8
        :class:`~sleep2vec_sklearn.SleepStage` values; every epoch is scored.
    """
    age = subject.age - 20
    unrest = subject.fragmentation * (0.5 + 0.013 * age) * (1 + subject.ahi / 45)
    deep = subject.deep_sleep * np.clip(1.15 - 0.011 * age, 0.15, None) / (1 + subject.ahi / 80)
    latency = round(
        2 * float(np.clip(rng.lognormal(np.log(13) + 0.3 * np.log(unrest), 0.7), 1, 90))
    )
    waking = round(2 * float(np.clip(rng.lognormal(np.log(5.0), 0.9), 0.5, 60)))
    latency = min(latency, n_epochs // 3)
    waking = min(waking, n_epochs // 8)
    asleep = n_epochs - latency - waking
    pieces: list[np.ndarray] = []
    length = 0
    cycle = 0
    while length < asleep:
        piece = _interrupt(_cycle(min(cycle, 4), deep, unrest, rng), unrest, rng)
        pieces.append(piece)
        length += len(piece)
        cycle += 1
    sleep = np.concatenate(pieces)[:asleep] if pieces else np.empty(0, dtype=np.int8)
    return np.concatenate([np.full(latency, _W), sleep, np.full(waking, _W)]).astype(np.int8)


def _cycle(number: int, deep: float, unrest: float, rng) -> np.ndarray:
    """One NREM-REM cycle without awakenings."""
    minutes = max(rng.normal(92, 14), 55)
    n3 = rng.gamma(5, _N3_MINUTES[number] * deep / 5)
    rem = rng.gamma(6, _REM_MINUTES[number] / 6)
    if number == 0 and rng.random() < 0.15:
        rem = 0.0
    n2 = max(minutes - n3 - rem, 12.0)
    first = n2 * rng.uniform(0.25, 0.5)
    bouts = [(_N1, 1 + rng.poisson(3 * np.sqrt(unrest))), (_N2, round(2 * first))]
    left = round(2 * n3)
    while left > 0:
        bout = min(left, 2 + rng.poisson(14))
        bouts += [(_N3, bout), (_N2, 1 + rng.poisson(1.5))]
        left -= bout
    bouts.append((_N2, round(2 * (n2 - first))))
    left = round(2 * rem)
    while left > 0:
        bout = min(left, 4 + rng.poisson(16))
        bouts += [(_R, bout), (_N2 if rng.random() < 0.6 else _N1, 1 + rng.poisson(1.0))]
        left -= bout
    if rng.random() < 0.5:
        bouts.append((_W, 1 + rng.poisson(1.5 * unrest)))
    return np.repeat([stage for stage, _ in bouts], [size for _, size in bouts]).astype(np.int8)


def _interrupt(cycle: np.ndarray, unrest: float, rng) -> np.ndarray:
    """Insert awakenings and returns to N1 after random epochs."""
    chance = rng.random(len(cycle))
    wakes = chance < _WAKING[cycle] * unrest
    lightens = ~wakes & (chance < (_WAKING + _LIGHTENING)[cycle] * unrest)
    pieces = []
    start = 0
    for stop in np.flatnonzero(wakes | lightens) + 1:
        pieces.append(cycle[start:stop])
        if wakes[stop - 1]:
            size = int(np.clip(rng.lognormal(np.log(2.0), 1.0), 1, 60))
            pieces.append(np.full(size, _W, dtype=np.int8))
        pieces.append(np.full(rng.integers(1, 4), _N1, dtype=np.int8))
        start = stop
    pieces.append(cycle[start:])
    return np.concatenate(pieces)


def score_stages(true_stages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Score a night as a person would: borders move, N1 is often taken for its neighbours.

    The rates give about the agreement of two experts (overall kappa near 0.8).
    """
    stages = np.asarray(true_stages)
    scored = stages.copy()
    border = np.flatnonzero(stages[1:] != stages[:-1])
    moved = rng.random(len(border)) < 0.25
    scored[border[moved] + 1] = stages[border[moved]]
    thresholds = np.cumsum(_CONFUSION, axis=1)[scored]
    drawn = (rng.random(len(scored))[:, None] > thresholds).sum(axis=1)
    return np.minimum(drawn, 4).astype(np.int8)
