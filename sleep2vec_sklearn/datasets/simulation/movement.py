# SPDX-License-Identifier: BSD-3-Clause
"""Wrist activity counts: silent in most of sleep, bursts at movements."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .night import Night

__all__ = ["actigraphy"]

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
