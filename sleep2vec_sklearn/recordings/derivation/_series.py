# SPDX-License-Identifier: BSD-3-Clause
"""What the series share: checked times, and values placed evenly with gaps left open."""

from __future__ import annotations

import numpy as np

from ...errors import InvalidSignalError

__all__ = [
    "checked_samples",
    "checked_times",
    "checked_values",
    "count_samples",
    "decimate",
    "duration_or_last",
    "interpolate",
]


def interpolate(times, values, duration: float, rate: float, max_gap: float) -> np.ndarray:
    if not (np.isfinite(rate) and rate > 0):
        raise InvalidSignalError(f"rate is {rate!r} Hz; accepted is a positive number.")
    grid = np.arange(count_samples(duration, rate)) / rate
    if times.size == 0:
        return np.full(len(grid), np.nan, dtype=np.float32)
    after = np.searchsorted(times, grid)
    before_time = np.append(-np.inf, times)[after]
    after_time = np.append(times, np.inf)[after]
    # At the ends the nearest value is held, for as long as half of a gap inside may last.
    bounded = np.isfinite(before_time) & np.isfinite(after_time)
    nearest = np.minimum(grid - before_time, after_time - grid)
    too_far = np.where(bounded, after_time - before_time > max_gap, nearest > max_gap / 2)
    series = np.interp(grid, times, values).astype(np.float32)
    series[too_far & (nearest > 0)] = np.nan
    return series


def count_samples(duration: float, rate: float) -> int:
    if not (np.isfinite(duration) and duration >= 0):
        raise InvalidSignalError(f"duration is {duration!r} s; accepted is a number from 0.")
    return int(duration * rate + 1e-6)


def duration_or_last(duration: float | None, times: np.ndarray) -> float:
    if duration is None:
        return max(float(times[-1]), 0.0) if len(times) else 0.0
    return float(duration)


def checked_times(what: str, times, strictly: bool = True) -> np.ndarray:
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1:
        raise InvalidSignalError(f"{what} have shape {times.shape}; accepted is (n,).")
    if not np.isfinite(times).all():
        raise InvalidSignalError(f"{what} hold NaN or infinity; drop those entries.")
    steps = np.diff(times)
    wrong = steps <= 0 if strictly else steps < 0
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InvalidSignalError(
            f"{what} are not increasing: entry {i + 1} is {times[i + 1]:g} s after {times[i]:g} s. "
            "Sort them together with their values and drop duplicates."
        )
    return times


def checked_values(what: str, values, times: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != times.shape:
        raise InvalidSignalError(
            f"{what} have shape {values.shape} for {len(times)} times; accepted is one per time."
        )
    return values


def checked_samples(what: str, values, rate: float, least_rate: float) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1:
        raise InvalidSignalError(
            f"{what} has shape {values.shape}; accepted is (n_samples,). Pass one channel."
        )
    if not (rate >= least_rate and np.isfinite(rate)):
        raise InvalidSignalError(
            f"{what} has rate {rate!r} Hz; accepted are at least {least_rate:g} samples per "
            "second, as a slower one does not show what is looked for. Leave it out."
        )
    return values


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
