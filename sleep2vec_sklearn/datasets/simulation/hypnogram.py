# SPDX-License-Identifier: BSD-3-Clause
"""The stages of a night: cycles of NREM and REM sleep, broken by awakenings.

Cycle lengths and the shares of N3 and REM by cycle follow textbook descriptions of a young
adult's night (about 92 min a cycle, N3 early in bouts of ten minutes and more, REM late); the
effects of age follow the direction and rough size of Ohayon et al., Sleep 27:1255 (2004): less N3,
more N1 and wake after sleep onset. Awakenings come at random, and their lengths follow a power law
(Lo et al., PNAS 101:17545, 2004). Sleep is entered again through N1, and N3 through N2.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr

from ...signals import SleepStage
from .subjects import Subject

__all__ = ["score_stages", "simulate_hypnogram"]

_W, _N1, _N2, _N3, _R = (int(stage) for stage in list(SleepStage)[1:])
_N3_MINUTES = (36.0, 26.0, 13.0, 6.0, 2.0)
_REM_MINUTES = (10.0, 21.0, 29.0, 33.0, 35.0)
_WAKING = np.array([0.0, 0.060, 0.026, 0.008, 0.014])
_LIGHTENING = np.array([0.0, 0.0, 0.014, 0.005, 0.007])
# Lo et al. 2004: the density of wake durations falls with the power 2.2, their tail with 1.2.
_WAKE_TAIL = 1.2
_CONFUSION = np.array(
    [
        [0.980, 0.018, 0.002, 0.0, 0.0],
        [0.06, 0.84, 0.08, 0.0, 0.02],
        [0.004, 0.014, 0.965, 0.017, 0.0],
        [0.0, 0.0, 0.05, 0.95, 0.0],
        [0.003, 0.017, 0.007, 0.0, 0.973],
    ]
)
# Shares of borders that are set late and early, and how many epochs a doubt lasts.
_LATE, _EARLY = 0.28, 0.12
_CLEAR_EPOCHS = 4
_DOUBT_EPOCHS = 2


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
    unrest = subject.fragmentation * (0.35 + 0.020 * age) * (1 + subject.ahi / 45)
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
        bout = min(left, 3 + rng.geometric(1 / 40))
        bouts += [(_N3, bout), (_N2, 2 + rng.poisson(2.5))]
        left -= bout
    bouts.append((_N2, round(2 * (n2 - first))))
    left = round(2 * rem)
    while left > 0:
        bout = min(left, 3 + rng.geometric(1 / 60))
        bouts.append((_R, bout))
        left -= bout
        if left > 0:
            bouts.append((_N2 if rng.random() < 0.6 else _N1, 1 + rng.poisson(1.0)))
    if rng.random() < 0.5:
        bouts.append((_W, _wake_length(rng)))
    return np.repeat([stage for stage, _ in bouts], [size for _, size in bouts]).astype(np.int8)


def _interrupt(cycle: np.ndarray, unrest: float, rng) -> np.ndarray:
    """Insert awakenings and returns to lighter sleep after random epochs."""
    chance = rng.random(len(cycle))
    wakes = chance < _WAKING[cycle] * unrest
    lightens = ~wakes & (chance < (_WAKING + _LIGHTENING)[cycle] * unrest)
    pieces = []
    start = 0
    for stop in np.flatnonzero(wakes | lightens) + 1:
        pieces.append(cycle[start:stop])
        woken, deep = wakes[stop - 1], cycle[stop - 1] == _N3
        # N3 is reached through N2, wherever sleep was interrupted.
        n2 = 2 + rng.poisson(3.0) if _N3 in cycle[stop - 1 : stop + 1] else 0
        n1 = 0 if deep and not woken else rng.integers(1, 4)
        wake = _wake_length(rng) if woken else 0
        pieces.append(np.repeat([_W, _N1, _N2], [wake, n1, n2]).astype(np.int8))
        start = stop
    pieces.append(cycle[start:])
    return np.concatenate(pieces)


def _wake_length(rng) -> int:
    """Epochs of one awakening: a power law from half a minute to an hour."""
    return min(int((1 - rng.random()) ** (-1 / _WAKE_TAIL)), 120)


def score_stages(true_stages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Score a night as a person would: borders move, N1 is often taken for its neighbours.

    Scorers differ about borders, N1, and N3 versus N2 (Rosenberg and Van Hout, J Clin Sleep Med
    9:81, 2013). Their doubts last: an epoch is taken for another stage together with its
    neighbours, so that long bouts are not cut up. The rates give about the agreement of two
    experts (overall kappa near 0.8).
    """
    stages = np.asarray(true_stages)
    n = len(stages)
    scored = stages.copy()
    border = np.flatnonzero(stages[1:] != stages[:-1]) + 1
    # Short bouts are seen as what they are; it is long ones whose borders are blurred.
    length = np.diff(border, prepend=0, append=n)
    border = border[(length[:-1] >= _CLEAR_EPOCHS) & (length[1:] >= _CLEAR_EPOCHS)]
    luck = rng.random(len(border))
    shift = rng.geometric(0.6, len(border))
    for at, chance, size in zip(border, luck, shift, strict=True):
        if chance < _LATE:
            scored[at : at + size] = stages[at - 1]
        elif chance > 1 - _EARLY:
            scored[max(at - size, 0) : at] = stages[at]
    doubt = gaussian_filter1d(rng.standard_normal(n), _DOUBT_EPOCHS, mode="wrap")
    doubt = ndtr(doubt * np.sqrt(2 * np.sqrt(np.pi) * _DOUBT_EPOCHS))
    thresholds = np.cumsum(_CONFUSION, axis=1)[scored]
    drawn = (doubt[:, None] > thresholds).sum(axis=1)
    drawn = np.minimum(drawn, 4).astype(np.int8)
    # Nobody scores N3 next to REM sleep.
    beside = np.zeros(n, dtype=bool)
    beside[1:] |= drawn[:-1] == _R
    beside[:-1] |= drawn[1:] == _R
    drawn[beside & (drawn == _N3)] = _N2
    return drawn
