# SPDX-License-Identifier: BSD-3-Clause
"""Apneas and hypopneas of a night, and the desaturations that follow them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ...signals import EPOCH_SECONDS
from .subjects import Subject

__all__ = ["RespiratoryEvents", "draw_respiratory_events"]

_MIN_PAUSE = 8.0
_DESATURATION_CRITERION = 3.0


@dataclass(frozen=True, slots=True)
class RespiratoryEvents:
    """Events in time order.

    Attributes
    ----------
    onset, duration : ndarray of shape (n_events,)
        Seconds.
    apnea : ndarray of bool
        True for an obstructive apnea, False for a hypopnea.
    arousing : ndarray of bool
        Whether an arousal ends it.
    drop : ndarray
        Saturation lost, in percentage points.
    lag : ndarray
        Seconds from the event's end to the lowest saturation: circulation and averaging.
    """

    onset: np.ndarray
    duration: np.ndarray
    apnea: np.ndarray
    arousing: np.ndarray
    drop: np.ndarray
    lag: np.ndarray

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def end(self) -> np.ndarray:
        """Seconds at which breathing resumes."""
        return self.onset + self.duration

    @property
    def desaturating(self) -> np.ndarray:
        """Whether the drop meets the 3 % criterion."""
        return self.drop >= _DESATURATION_CRITERION


def draw_respiratory_events(
    subject: Subject, stages: np.ndarray, rng: np.random.Generator
) -> RespiratoryEvents:
    """Draw the events of one night.

    They cluster, are more frequent in REM sleep, rare in N3 and absent in wake. The night's
    severity varies about the subject's (night-to-night variability of the index).
    """
    by_stage = np.array([0.0, 1.2, 1.0, 0.25, subject.rem_apnea])
    clusters = gaussian_filter1d(rng.standard_normal(len(stages)), 12, mode="wrap")
    clusters -= clusters.mean()
    clusters = np.exp(1.2 * clusters / max(clusters.std(), 1e-9))
    relative = by_stage[stages] * clusters
    asleep = stages > 0
    relative /= max(relative[asleep].mean() if asleep.any() else 1.0, 1e-9)
    severity = subject.ahi * np.exp(rng.normal(0, 0.25))
    chance = 1 - np.exp(-relative * severity / 120 * 1.3)
    epochs = np.flatnonzero(rng.random(len(stages)) < chance)
    epochs = epochs[epochs < len(stages) - 2]
    onset = epochs * EPOCH_SECONDS + rng.uniform(0, 15, len(epochs))
    longer = np.where(stages[epochs] == 4, 1.35, 1.0)
    duration = np.clip((10 + rng.gamma(2, 4.5, len(epochs))) * longer, 10, 70)
    kept = _spaced(onset, duration)
    onset, duration = onset[kept], duration[kept]
    apnea = rng.random(len(onset)) < min(0.15 + subject.ahi / 100, 0.8)
    arousing = rng.random(len(onset)) < np.where(apnea, 0.6, 0.4)
    depth = np.where(apnea, 1.3, 0.7) * duration / 20 * subject.desaturation
    drop = 2.8 * depth * np.exp(rng.normal(0, 0.35, len(onset)))
    drop = np.clip(drop, 0.2, 35)
    lag = np.clip(rng.normal(14, 3, len(onset)), 6, 24)
    return RespiratoryEvents(onset, duration, apnea, arousing, drop, lag)


def _spaced(onset: np.ndarray, duration: np.ndarray) -> np.ndarray:
    """Leave out events that begin before the previous one is over and breathing recovered."""
    kept = np.zeros(len(onset), dtype=bool)
    free_from = -np.inf
    for k, (start, length) in enumerate(zip(onset, duration, strict=True)):
        if start >= free_from:
            kept[k] = True
            free_from = start + length + _MIN_PAUSE
    return kept
