# SPDX-License-Identifier: BSD-3-Clause
"""Cheap thinning of fast signals, exact enough for finding beats and breaths."""

from __future__ import annotations

import numpy as np

__all__ = ["decimate"]


def decimate(values: np.ndarray, rate: float, least_rate: float) -> tuple[np.ndarray, float, float]:
    """Means of neighbouring samples, as many as leave at least a given rate.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        NaN is a gap, and so is every mean with one in it.
    rate, least_rate : float
        Samples per second before, and at least so many after.

    Returns
    -------
    values : ndarray of shape (n_samples // n,)
        Means of n samples.
    rate : float
        Samples per second now.
    offset : float
        Place of the first mean, in its own samples from the first sample.
    """
    n = max(1, int(rate / least_rate))
    if n == 1:
        return values, rate, 0.0
    length = len(values) // n
    # strided sums are several times faster than a mean over a short axis
    total = values[0 : n * length : n].astype(np.float32)
    for first in range(1, n):
        total += values[first : n * length : n]
    total /= n
    return total, rate / n, (n - 1) / 2 / n
