# SPDX-License-Identifier: BSD-3-Clause
"""Wrist activity counts: silent in most of sleep, bursts at movements."""

from __future__ import annotations

import numpy as np

from .night import Night

__all__ = ["actigraphy"]

_THRESHOLD = 0.08


def actigraphy(night: Night, rate: float) -> np.ndarray:
    """Counts per sample period, of shape (duration * rate,).

    A site's device counts each second, or adds the counts of half a minute. The wrist does not
    take part in every movement.
    """
    rng = night.stream("actigraphy")
    seconds = np.zeros(night.duration + 64)
    moves = night.movements
    strength = moves.size * np.exp(rng.normal(0, 0.6, len(moves)))
    strength[rng.random(len(moves)) < 0.15] = 0
    length = np.maximum(np.ceil(moves.duration).astype(int), 1)
    index = np.repeat(moves.onset.astype(int), length)
    first = np.repeat(np.cumsum(length) - length, length)
    index = index + np.arange(len(index)) - first
    vigour = np.repeat(strength, length) * rng.gamma(1.5, 1 / 1.5, len(index))
    np.add.at(seconds, np.minimum(index, len(seconds) - 1), vigour)
    seconds = seconds[: night.duration]
    seconds = np.where(seconds > _THRESHOLD, seconds, 0)
    site = night.site
    period = round(1 / rate)
    if period > 1:
        counts = seconds.reshape(-1, period).sum(axis=1)
    else:
        counts = np.repeat(seconds, round(rate)) / round(rate)
    counts = site.counts_scale * counts
    return np.round(counts, 0 if site.counts_scale * period > 3 else 1).astype(np.float32)
