# SPDX-License-Identifier: BSD-3-Clause
"""Three ways to change a signal's rate, each for one kind of signal."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

__all__ = ["resample"]

_LARGEST_FACTOR = 1000


def resample(values: np.ndarray, from_rate: float, to_rate: float, method: str) -> np.ndarray:
    """Resample gap-free samples.

    Parameters
    ----------
    values : float32 ndarray of shape (n_samples,)
        Finite samples.
    from_rate, to_rate : float
        Samples per second.
    method : {"polyphase", "linear", "mean"}
        ``"polyphase"`` for waveforms: :func:`scipy.signal.resample_poly` on a rational ratio.
        ``"linear"`` for levels such as saturation or inter-beat intervals, whose steps a filter
        would make ring: interpolation upwards, polyphase downwards. ``"mean"`` for counts: the
        mean over each new interval, which keeps their sum per second.

    Returns
    -------
    float32 ndarray of shape (about n_samples * to_rate / from_rate,)
    """
    if from_rate == to_rate:
        return values
    if method == "mean":
        return _interval_means(values, from_rate / to_rate)
    if method == "linear" and to_rate > from_rate:
        places = np.arange(round(len(values) * to_rate / from_rate)) * (from_rate / to_rate)
        return np.interp(places, np.arange(len(values)), values).astype(np.float32)
    from scipy.signal import resample_poly

    up, down = _as_whole_numbers(to_rate, from_rate)
    return resample_poly(values, up, down, padtype="line")


def _as_whole_numbers(to_rate: float, from_rate: float) -> tuple[int, int]:
    # the smaller rate is bounded, not the larger: 4 of 5000 Hz is 1 of 1250
    if to_rate < from_rate:
        return _as_whole_numbers(from_rate, to_rate)[::-1]
    ratio = Fraction(to_rate / from_rate).limit_denominator(_LARGEST_FACTOR)
    return ratio.numerator, ratio.denominator


def _interval_means(values: np.ndarray, step: float) -> np.ndarray:
    integral = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    n_intervals = int(np.ceil(len(values) / step - 1e-9))
    edges = np.minimum(np.arange(n_intervals + 1) * step, len(values))
    area = np.diff(np.interp(edges, np.arange(len(integral)), integral))
    return (area / np.diff(edges)).astype(np.float32)
