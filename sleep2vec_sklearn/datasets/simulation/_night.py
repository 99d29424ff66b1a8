# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights: stages, respiratory events, arousals and movements.

A night is small (a few kB). Longer series that several sensors share, such as the phase of
breathing or the times of heart beats, are drawn again from their own random streams wherever they
are used, so they are the same for all sensors.

Cycle lengths and the shares of N3 and REM by cycle follow textbook descriptions of a young
adult's night (about 92 min a cycle, N3 early in bouts of ten minutes and more, REM late); the
effects of age follow the direction and rough size of Ohayon et al., Sleep 27:1255 (2004): less N3,
more N1 and wake after sleep onset. Awakenings come at random, and their lengths follow a power law
(Lo et al., PNAS 101:17545, 2004). Sleep is entered again through N1, and N3 through N2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter
from scipy.special import ndtr

from ...recordings.modality import EPOCH_SECONDS
from ._subjects import Site, Subject, random_stream

# samples per second of the latent signals that sensors share
CONTROL_RATE = 4

_W, _N1, _N2, _N3, _R = range(5)
_N3_MINUTES = (36.0, 26.0, 13.0, 6.0, 2.0)
_REM_MINUTES = (10.0, 21.0, 29.0, 33.0, 35.0)
_WAKING = np.array([0.0, 0.060, 0.026, 0.008, 0.014])
_LIGHTENING = np.array([0.0, 0.0, 0.014, 0.005, 0.007])
# Lo et al. (2004): the density of wake durations falls with the power 2.2, their tail with 1.2
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
# shares of borders that are set late and early, and how many epochs a confusion lasts
_LATE, _EARLY = 0.28, 0.12
_LONG_EPOCHS = 4
_CONFUSED_EPOCHS = 2
_AROUSALS_PER_HOUR = np.array([0.0, 18.0, 9.0, 2.5, 7.0])
_MOVE_ON_AROUSAL = np.array([0.0, 0.45, 0.40, 0.45, 0.35])
_MORE_MOVES = 1.0
_MIN_PAUSE_SECONDS = 8.0
_DESATURATION_CRITERION = 3.0


@dataclass(frozen=True, slots=True)
class Bursts:
    """Arousals or movements, in time order."""

    onset: np.ndarray  # s
    duration: np.ndarray  # s
    size: np.ndarray  # 1 is a turn in bed

    def __len__(self) -> int:
        return len(self.onset)


@dataclass(frozen=True, slots=True)
class RespiratoryEvents:
    """Obstructive apneas and hypopneas, in time order."""

    onset: np.ndarray  # s
    duration: np.ndarray  # s
    apnea: np.ndarray  # False for a hypopnea
    arousing: np.ndarray  # whether an arousal ends it
    drop: np.ndarray  # saturation lost, in percentage points
    lag: np.ndarray  # s from its end to the lowest saturation (circulation and averaging)

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def end(self) -> np.ndarray:
        return self.onset + self.duration

    @property
    def desaturating(self) -> np.ndarray:
        """Whether the drop meets the 3 % criterion."""
        return self.drop >= _DESATURATION_CRITERION


@dataclass(frozen=True, eq=False)
class Night:
    """One night of a subject at a site."""

    seed: tuple[int, ...]  # parent of every random stream of the night
    subject: Subject
    site: Site
    true_stages: np.ndarray  # of shape (n_epochs,), int8
    scored_stages: np.ndarray  # the same as a scorer sees them
    respiratory: RespiratoryEvents
    arousals: Bursts
    movements: Bursts

    @property
    def duration(self) -> int:
        return len(self.true_stages) * EPOCH_SECONDS

    @property
    def ahi(self) -> float:
        """Apneas and hypopneas of this night per hour of sleep."""
        hours = (self.true_stages > 0).sum() * EPOCH_SECONDS / 3600
        return len(self.respiratory) / max(hours, 0.5)

    @property
    def n_control(self) -> int:
        return self.duration * CONTROL_RATE

    @property
    def control_times(self) -> np.ndarray:
        """Seconds of the points at the control rate."""
        return np.arange(self.n_control) / CONTROL_RATE

    def random_stream(self, name: str) -> np.random.Generator:
        return random_stream(self.seed, name)

    def stage_weights(self, rate: float, blur: float) -> np.ndarray:
        """Share of each stage over time, of shape (duration * rate, 5), smooth at transitions.

        ``30 * rate`` must be whole; ``blur`` is the SD of a transition in seconds.
        """
        one_hot = np.eye(5, dtype=np.float32)[self.true_stages]
        weights = np.repeat(one_hot, round(EPOCH_SECONDS * rate), axis=0)
        return gaussian_filter1d(weights, blur * rate, axis=0, mode="nearest", truncate=3)

    def by_stage(self, values: Sequence[float], blur: float = 15.0) -> np.ndarray:
        """One value per stage, as a smooth series at the control rate."""
        steps = np.repeat(np.asarray(values, dtype=np.float32)[self.true_stages], EPOCH_SECONDS)
        smooth = gaussian_filter1d(steps, blur, mode="nearest", truncate=3)
        seconds = np.arange(self.duration) + 0.5
        return np.interp(self.control_times, seconds, smooth).astype(np.float32)


def draw_night(seed: tuple[int, ...], subject: Subject, site: Site, n_epochs: int) -> Night:
    """Stages and events of one night."""
    stages = simulate_hypnogram(subject, n_epochs, random_stream(seed, "hypnogram"))
    events = draw_respiratory_events(subject, stages, random_stream(seed, "respiratory events"))
    arousals = _draw_arousals(subject, stages, events, random_stream(seed, "arousals"))
    movements = _draw_movements(subject, stages, arousals, random_stream(seed, "movements"))
    scored = score_stages(stages, random_stream(seed, "scoring"))
    return Night(seed, subject, site, stages, scored, events, arousals, movements)


def simulate_hypnogram(subject: Subject, n_epochs: int, rng: np.random.Generator) -> np.ndarray:
    """True stages of one night, int8; every epoch is scored."""
    age = subject.age - 20
    unrest = subject.fragmentation * (0.35 + 0.020 * age) * (1 + subject.ahi / 45)
    deep = subject.deep_sleep * np.clip(1.15 - 0.011 * age, 0.15, None) / (1 + subject.ahi / 80)
    minutes = np.clip(rng.lognormal(np.log(13) + 0.3 * np.log(unrest), 0.7), 1, 90)
    latency = min(round(2 * float(minutes)), n_epochs // 3)
    minutes = np.clip(rng.lognormal(np.log(5.0), 0.9), 0.5, 60)
    waking = min(round(2 * float(minutes)), n_epochs // 8)
    asleep = n_epochs - latency - waking
    cycles: list[np.ndarray] = []
    while sum(map(len, cycles)) < asleep:
        cycle = _cycle(min(len(cycles), 4), deep, unrest, rng)
        cycles.append(_interrupt(cycle, unrest, rng))
    sleep = np.concatenate([np.full(latency, _W), *cycles])[: latency + asleep]
    return np.concatenate([sleep, np.full(waking, _W)]).astype(np.int8)


def _cycle(number: int, deep: float, unrest: float, rng: np.random.Generator) -> np.ndarray:
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


def _interrupt(cycle: np.ndarray, unrest: float, rng: np.random.Generator) -> np.ndarray:
    """Insert awakenings and returns to lighter sleep after random epochs."""
    chance = rng.random(len(cycle))
    wakes = chance < _WAKING[cycle] * unrest
    lightens = ~wakes & (chance < (_WAKING + _LIGHTENING)[cycle] * unrest)
    pieces, start = [], 0
    for stop in (np.flatnonzero(wakes | lightens) + 1).tolist():
        pieces.append(cycle[start:stop])
        woken, deep = wakes[stop - 1], cycle[stop - 1] == _N3
        # N3 is entered through N2 after every interruption
        n2 = 2 + int(rng.poisson(3.0)) if _N3 in cycle[stop - 1 : stop + 1] else 0
        n1 = 0 if deep and not woken else int(rng.integers(1, 4))
        wake = _wake_length(rng) if woken else 0
        pieces.append(np.repeat([_W, _N1, _N2], [wake, n1, n2]).astype(np.int8))
        start = stop
    pieces.append(cycle[start:])
    return np.concatenate(pieces)


def _wake_length(rng: np.random.Generator) -> int:
    """Epochs of one awakening: a power law from half a minute to an hour."""
    return min(int((1 - rng.random()) ** (-1 / _WAKE_TAIL)), 120)


def score_stages(true_stages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stages by a human scorer, who moves borders and confuses N1 with others, and N3 with N2.

    The rates give about the agreement of two experts, an overall kappa near 0.8 (Rosenberg and Van
    Hout, J Clin Sleep Med 9:81, 2013).
    """
    stages = np.asarray(true_stages)
    n = len(stages)
    scored = stages.copy()
    border = np.flatnonzero(stages[1:] != stages[:-1]) + 1
    # only the borders between long bouts are blurred
    length = np.diff(border, prepend=0, append=n)
    border = border[(length[:-1] >= _LONG_EPOCHS) & (length[1:] >= _LONG_EPOCHS)]
    draws = rng.random(len(border))
    shift = rng.geometric(0.6, len(border))
    for first, draw, size in zip(border, draws, shift, strict=True):
        if draw < _LATE:
            scored[first : first + size] = stages[first - 1]
        elif draw > 1 - _EARLY:
            scored[max(first - size, 0) : first] = stages[first]
    # neighbours are confused together, so that long bouts are not cut up
    confusion = gaussian_filter1d(rng.standard_normal(n), _CONFUSED_EPOCHS, mode="wrap")
    confusion = ndtr(confusion * np.sqrt(2 * np.sqrt(np.pi) * _CONFUSED_EPOCHS))
    thresholds = np.cumsum(_CONFUSION, axis=1)[scored]
    drawn = (confusion[:, None] > thresholds).sum(axis=1)
    drawn = np.minimum(drawn, 4).astype(np.int8)
    # N3 is not scored next to REM sleep
    next_to_rem = np.zeros(n, dtype=bool)
    next_to_rem[1:] |= drawn[:-1] == _R
    next_to_rem[:-1] |= drawn[1:] == _R
    drawn[next_to_rem & (drawn == _N3)] = _N2
    return drawn


def draw_respiratory_events(
    subject: Subject, stages: np.ndarray, rng: np.random.Generator
) -> RespiratoryEvents:
    """Respiratory events of one night, in clusters."""
    by_stage = np.array([0.0, 1.2, 1.0, 0.25, subject.rem_apnea])
    clusters = gaussian_filter1d(rng.standard_normal(len(stages)), 12, mode="wrap")
    clusters -= clusters.mean()
    clusters = np.exp(1.2 * clusters / max(clusters.std(), 1e-9))
    relative = by_stage[stages] * clusters
    asleep = stages > 0
    relative /= max(relative[asleep].mean() if asleep.any() else 1.0, 1e-9)
    # the index varies from night to night
    severity = subject.ahi * np.exp(rng.normal(0, 0.25))
    chance = 1 - np.exp(-relative * severity / 120 * 1.3)
    epochs = np.flatnonzero(rng.random(len(stages)) < chance)
    epochs = epochs[epochs < len(stages) - 2]
    onset = epochs * EPOCH_SECONDS + rng.uniform(0, 15, len(epochs))
    longer = np.where(stages[epochs] == _R, 1.35, 1.0)
    duration = np.clip((10 + rng.gamma(2, 4.5, len(epochs))) * longer, 10, 70)
    spaced = _are_spaced(onset, duration)
    onset, duration = onset[spaced], duration[spaced]
    apnea = rng.random(len(onset)) < min(0.15 + subject.ahi / 100, 0.8)
    arousing = rng.random(len(onset)) < np.where(apnea, 0.6, 0.4)
    depth = np.where(apnea, 1.3, 0.7) * duration / 20 * subject.desaturation
    drop = 2.8 * depth * np.exp(rng.normal(0, 0.35, len(onset)))
    drop = np.clip(drop, 0.2, 35)
    lag = np.clip(rng.normal(14, 3, len(onset)), 6, 24)
    return RespiratoryEvents(onset, duration, apnea, arousing, drop, lag)


def _are_spaced(onset: np.ndarray, duration: np.ndarray) -> np.ndarray:
    """Whether each event begins after the previous one has ended and breathing recovered."""
    spaced = np.zeros(len(onset), dtype=bool)
    recovered = -np.inf
    for k, (start, length) in enumerate(zip(onset, duration, strict=True)):
        if start >= recovered:
            spaced[k] = True
            recovered = start + length + _MIN_PAUSE_SECONDS
    return spaced


def _draw_arousals(
    subject: Subject, stages: np.ndarray, events: RespiratoryEvents, rng: np.random.Generator
) -> Bursts:
    older = 0.7 + 0.012 * (subject.age - 20)
    chance = _AROUSALS_PER_HOUR[stages] / 120 * older * subject.fragmentation
    epochs = np.flatnonzero(rng.random(len(stages)) < chance)
    spontaneous = epochs * EPOCH_SECONDS + rng.uniform(0, EPOCH_SECONDS, len(epochs))
    ends = (events.onset + events.duration)[events.arousing]
    onset = np.sort(np.concatenate([spontaneous, ends]))
    onset = onset[onset < len(stages) * EPOCH_SECONDS - 20]
    duration = np.clip(rng.gamma(3, 2.5, len(onset)), 3, 15)
    return Bursts(onset, duration, np.exp(rng.normal(-0.7, 0.5, len(onset))))


def _draw_movements(
    subject: Subject, stages: np.ndarray, arousals: Bursts, rng: np.random.Generator
) -> Bursts:
    n = len(stages)
    awake = stages == _W
    asleep_from = int(np.argmax(~awake)) if not awake.all() else n
    lively = np.where(awake, 0.5, 0.0)
    # subjects who are about to fall asleep lie still
    still = np.clip((asleep_from - np.arange(asleep_from)) / max(asleep_from, 1), 0.08, 1)
    lively[:asleep_from] *= still**1.5
    lively *= np.exp(0.8 * ar1_noise(rng, n, 10))
    counts = rng.poisson(np.clip(lively * subject.restlessness, 0, 4))
    wake_epochs = np.repeat(np.arange(n), counts)
    in_wake = wake_epochs * EPOCH_SECONDS + rng.uniform(0, EPOCH_SECONDS, len(wake_epochs))
    changes = np.flatnonzero(stages[1:] != stages[:-1]) + 1
    turning = np.where(stages[changes] == _W, 0.75, 0.05)
    turning = np.where(np.isin(stages[changes - 1], (_N3, _R)), turning + 0.15, turning)
    turns = changes[rng.random(len(changes)) < turning] * EPOCH_SECONDS
    # restless spells of some ten minutes
    restless = np.exp(0.6 * ar1_noise(rng, n, 20) - 0.18)
    chance = _value_at(_MOVE_ON_AROUSAL[stages] * restless, arousals.onset)
    aroused = arousals.onset[rng.random(len(arousals)) < chance]
    turns, aroused = (_in_bouts(times, n, rng) for times in (turns, aroused))
    twitches = np.flatnonzero((stages == _R) & (rng.random(n) < 0.10)) * EPOCH_SECONDS
    groups = [(in_wake, 0.0, 0.7, 8.0), (turns, 0.3, 0.6, 9.0), (aroused, -0.5, 0.7, 5.0)]
    groups.append((twitches + rng.uniform(0, EPOCH_SECONDS, len(twitches)), -2.5, 0.6, 1.5))
    onset = np.concatenate([group[0] for group in groups])
    size = np.concatenate([np.exp(rng.normal(mu, sd, len(t))) for t, mu, sd, _ in groups])
    duration = np.concatenate([rng.gamma(2, mean / 2, len(t)) for t, _, _, mean in groups])
    order = np.argsort(onset, kind="stable")
    size = np.clip(size, 0.02, 4)
    return Bursts(onset[order], np.clip(duration[order], 0.5, 40), size[order])


def _in_bouts(times: np.ndarray, n_epochs: int, rng: np.random.Generator) -> np.ndarray:
    """Movements in bouts: some more follow each within a minute or two."""
    more = np.repeat(times, rng.geometric(1 / (1 + _MORE_MOVES), len(times)) - 1)
    more = more + rng.exponential(40, len(more))
    return np.concatenate([times, more[more < (n_epochs - 1) * EPOCH_SECONDS]])


def _value_at(epochs: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return epochs[np.minimum((seconds // EPOCH_SECONDS).astype(int), len(epochs) - 1)]


def ar1_noise(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """First-order autoregressive noise of unit variance that forgets in ``memory`` samples."""
    decay = np.exp(-1 / memory)
    noise = rng.standard_normal(n).astype(np.float32)
    start = np.array([decay * rng.standard_normal()], dtype=np.float32)
    innovation = np.float32(np.sqrt(1 - decay**2))
    return lfilter([innovation], np.array([1, -decay], np.float32), noise, zi=start)[0]


def ar2_noise(rng: np.random.Generator, n: int, frequency: float, memory: float) -> np.ndarray:
    """Second-order autoregressive noise of unit variance at ``frequency`` (cycles per sample)."""
    decay, angle = np.exp(-1 / memory), 2 * np.pi * frequency
    square = decay**2
    variance = (1 + square) / ((1 - square) * (1 + square**2 - 2 * square * np.cos(2 * angle)))
    noise = rng.standard_normal(n).astype(np.float32)
    return lfilter([1 / np.sqrt(variance)], [1, -2 * decay * np.cos(angle), square], noise)


def impulse_response(
    times: np.ndarray, sizes: np.ndarray, kernel: np.ndarray, n: int, rate: float = CONTROL_RATE
) -> np.ndarray:
    """Sum of ``kernel`` started at each of ``times`` (seconds) and scaled by ``sizes``."""
    impulses = np.zeros(n + len(kernel), dtype=np.float32)
    index = np.clip(np.round(np.asarray(times) * rate).astype(int), 0, n - 1)
    positions = index[:, None] + np.arange(len(kernel))
    np.add.at(impulses, positions, np.asarray(sizes, np.float32)[:, None] * kernel)
    return impulses[:n]


def add_waveforms(signal: np.ndarray, rate: float, times: np.ndarray, waves: np.ndarray) -> None:
    """Add ``waves``, of shape (n_waves, length), at ``times`` (seconds) to a signal, in place."""
    if len(times) == 0:
        return
    start = np.round(np.asarray(times) * rate).astype(np.int64)
    # waveforms that would leave the signal are dropped
    inside = (start >= 0) & (start + waves.shape[1] <= len(signal))
    positions = start[inside, None] + np.arange(waves.shape[1])
    # flat indices take the fast path of numpy
    np.add.at(signal, positions.ravel(), waves[inside].astype(signal.dtype, copy=False).ravel())
