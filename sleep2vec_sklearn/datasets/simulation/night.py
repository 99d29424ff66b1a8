# SPDX-License-Identifier: BSD-3-Clause
"""One simulated night: its stages, events and movements, which every sensor sees.

A night is small (a few kB). Everything that several sensors share, but that is long, such as the
phase of breathing or the times of heart beats, is drawn again from its own random stream by whoever
needs it, so it is the same for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from ...signals import EPOCH_SECONDS
from .hypnogram import score_stages, simulate_hypnogram
from .randomness import stream
from .respiratory_events import RespiratoryEvents, draw_respiratory_events
from .sites import Site
from .subjects import Subject

__all__ = [
    "CONTROL_RATE",
    "Bursts",
    "Night",
    "draw_night",
    "impulse_response",
    "oscillating",
    "wandering",
]

CONTROL_RATE = 4
"""Samples per second of the latent signals that sensors share."""

_W, _N1, _N2, _N3, _R = range(5)
_AROUSALS_PER_HOUR = np.array([0.0, 18.0, 9.0, 2.5, 7.0])
_MOVE_ON_AROUSAL = np.array([0.0, 0.45, 0.40, 0.45, 0.35])
_MORE_MOVES = 1.0


@dataclass(frozen=True, slots=True)
class Bursts:
    """Short happenings: onset and duration in seconds, and size (1 is a turn in bed)."""

    onset: np.ndarray
    duration: np.ndarray
    size: np.ndarray

    def __len__(self) -> int:
        return len(self.onset)


@dataclass(frozen=True, eq=False)
class Night:
    """What happens in one night.

    Attributes
    ----------
    seed : tuple of int
        Parent of every random stream of the night.
    subject : Subject
        Whose night it is.
    site : Site
        Where it is recorded.
    true_stages, scored_stages : ndarray of shape (n_epochs,), int8
        What the body does, and what a scorer wrote down.
    respiratory : RespiratoryEvents
        Apneas, hypopneas and the desaturations they cause.
    arousals, movements : Bursts
        Of the brain, and of the body.
    """

    seed: tuple[int, ...]
    subject: Subject
    site: Site
    true_stages: np.ndarray
    scored_stages: np.ndarray
    respiratory: RespiratoryEvents
    arousals: Bursts
    movements: Bursts

    @property
    def duration(self) -> int:
        """Length in seconds."""
        return len(self.true_stages) * EPOCH_SECONDS

    @property
    def ahi(self) -> float:
        """Apneas and hypopneas that happened, per hour of sleep."""
        hours = (self.true_stages > 0).sum() * EPOCH_SECONDS / 3600
        return len(self.respiratory) / max(hours, 0.5)

    def stream(self, name: str) -> np.random.Generator:
        """The random stream of one part of the night."""
        return stream(self.seed, name)

    def stage_weights(self, rate: float, blur: float) -> np.ndarray:
        """Share of each stage over time, smooth at transitions.

        Parameters
        ----------
        rate : float
            Points per second; ``30 * rate`` must be whole.
        blur : float
            Standard deviation of a transition in seconds.

        Returns
        -------
        numpy.ndarray of shape (duration * rate, 5), float32
        """
        one_hot = np.eye(5, dtype=np.float32)[self.true_stages]
        weights = np.repeat(one_hot, round(EPOCH_SECONDS * rate), axis=0)
        return gaussian_filter1d(weights, blur * rate, axis=0, mode="nearest", truncate=3)

    def by_stage(self, values, blur: float = 15.0) -> np.ndarray:
        """One value per stage, as a smooth track at the control rate."""
        steps = np.repeat(np.asarray(values, dtype=np.float32)[self.true_stages], EPOCH_SECONDS)
        track = gaussian_filter1d(steps, blur, mode="nearest", truncate=3)
        control = np.arange(self.n_control) / CONTROL_RATE
        return np.interp(control, np.arange(self.duration) + 0.5, track).astype(np.float32)

    @property
    def n_control(self) -> int:
        """Number of points at the control rate."""
        return self.duration * CONTROL_RATE


def draw_night(seed: tuple[int, ...], subject: Subject, site: Site, n_epochs: int) -> Night:
    """Draw the stages and events of one night."""
    stages = simulate_hypnogram(subject, n_epochs, stream(seed, "hypnogram"))
    events = draw_respiratory_events(subject, stages, stream(seed, "respiratory events"))
    arousals = _draw_arousals(subject, stages, events, stream(seed, "arousals"))
    movements = _draw_movements(subject, stages, arousals, stream(seed, "movements"))
    scored = score_stages(stages, stream(seed, "scoring"))
    return Night(seed, subject, site, stages, scored, events, arousals, movements)


def _draw_arousals(subject, stages, events, rng) -> Bursts:
    older = 0.7 + 0.012 * (subject.age - 20)
    chance = _AROUSALS_PER_HOUR[stages] / 120 * older * subject.fragmentation
    epochs = np.flatnonzero(rng.random(len(stages)) < chance)
    spontaneous = epochs * EPOCH_SECONDS + rng.uniform(0, EPOCH_SECONDS, len(epochs))
    ends = (events.onset + events.duration)[events.arousing]
    onset = np.sort(np.concatenate([spontaneous, ends]))
    onset = onset[onset < len(stages) * EPOCH_SECONDS - 20]
    duration = np.clip(rng.gamma(3, 2.5, len(onset)), 3, 15)
    return Bursts(onset, duration, np.exp(rng.normal(-0.7, 0.5, len(onset))))


def _draw_movements(subject, stages, arousals, rng) -> Bursts:
    n = len(stages)
    awake = stages == _W
    asleep_from = int(np.argmax(~awake)) if not awake.all() else n
    lively = np.where(awake, 0.5, 0.0)
    # People who are about to fall asleep lie still.
    still = np.clip((asleep_from - np.arange(asleep_from)) / max(asleep_from, 1), 0.08, 1)
    lively[:asleep_from] *= still**1.5
    lively *= np.exp(0.8 * wandering(rng, n, 10))
    counts = rng.poisson(np.clip(lively * subject.restlessness, 0, 4))
    wake_epochs = np.repeat(np.arange(n), counts)
    in_wake = wake_epochs * EPOCH_SECONDS + rng.uniform(0, EPOCH_SECONDS, len(wake_epochs))
    changes = np.flatnonzero(stages[1:] != stages[:-1]) + 1
    turning = np.where(stages[changes] == _W, 0.75, 0.05)
    turning = np.where(np.isin(stages[changes - 1], (_N3, _R)), turning + 0.15, turning)
    turns = changes[rng.random(len(changes)) < turning] * EPOCH_SECONDS
    # Restless spells of some ten minutes.
    restless = np.exp(0.6 * wandering(rng, n, 20) - 0.18)
    chance = _at(_MOVE_ON_AROUSAL[stages] * restless, arousals.onset)
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


def _in_bouts(times: np.ndarray, n_epochs: int, rng) -> np.ndarray:
    """Movements seldom come alone: each is followed by some more within a minute or two."""
    more = np.repeat(times, rng.geometric(1 / (1 + _MORE_MOVES), len(times)) - 1)
    more = more + rng.exponential(40, len(more))
    return np.concatenate([times, more[more < (n_epochs - 1) * EPOCH_SECONDS]])


def _at(epochs: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return epochs[np.minimum((seconds // EPOCH_SECONDS).astype(int), len(epochs) - 1)]


def wandering(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """First-order autoregressive noise of unit variance that forgets in ``memory`` samples."""
    keep = np.exp(-1 / memory)
    noise = rng.standard_normal(n).astype(np.float32)
    start = np.array([keep * rng.standard_normal()], dtype=np.float32)
    innovation = np.float32(np.sqrt(1 - keep**2))
    return lfilter([innovation], np.array([1, -keep], np.float32), noise, zi=start)[0]


def oscillating(rng: np.random.Generator, n: int, frequency: float, memory: float) -> np.ndarray:
    """Noise of unit variance that swings with ``frequency`` (turns per sample)."""
    keep, angle = np.exp(-1 / memory), 2 * np.pi * frequency
    square = keep**2
    variance = (1 + square) / ((1 - square) * (1 + square**2 - 2 * square * np.cos(2 * angle)))
    noise = rng.standard_normal(n).astype(np.float32)
    return lfilter([1 / np.sqrt(variance)], [1, -2 * keep * np.cos(angle), square], noise)


def impulse_response(
    times: np.ndarray, sizes: np.ndarray, kernel: np.ndarray, n: int, rate: float = CONTROL_RATE
) -> np.ndarray:
    """Sum of ``kernel`` started at each of ``times`` (seconds) and scaled by ``sizes``."""
    impulses = np.zeros(n + len(kernel), dtype=np.float32)
    index = np.clip(np.round(np.asarray(times) * rate).astype(int), 0, n - 1)
    positions = index[:, None] + np.arange(len(kernel))
    np.add.at(impulses, positions, np.asarray(sizes, np.float32)[:, None] * kernel)
    return impulses[:n]
