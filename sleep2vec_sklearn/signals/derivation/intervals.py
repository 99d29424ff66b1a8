# SPDX-License-Identifier: BSD-3-Clause
"""Inter-beat-interval series from beats, intervals, or a watch's heart rate."""

from __future__ import annotations

import numpy as np

from ...errors import InvalidSignalError
from .series import checked_times, checked_values, duration_or_last, interpolate

__all__ = ["ibi_from_beats", "ibi_from_heart_rate", "ibi_from_intervals", "steady_intervals"]

IBI_LIMITS = (0.3, 2.0)
MAX_DEVIATION = 0.25
MEDIAN_BEATS = 11
HEART_RATE_RATE = 1.0


def ibi_from_beats(
    times, *, duration: float | None = None, rate: float = 4.0, max_gap: float = 5.0
) -> tuple[np.ndarray, float]:
    """Inter-beat-interval series from the times of heart beats.

    Each interval stands at the beat that ends it. Artefacts are removed as in
    :func:`ibi_from_intervals`.

    Parameters
    ----------
    times : array-like of shape (n_beats,)
        Beat times in s after the recording's start, increasing.
    duration : float, optional
        Length of the series in s; up to the last beat by default.
    rate : float, default=4.0
        Samples per second of the series.
    max_gap : float, default=5.0
        Samples between two valid beats further apart than this (s) are NaN.

    Returns
    -------
    series : ndarray of shape (n_samples,), float32
        Inter-beat intervals in s; NaN is a gap.
    rate : float
        Samples per second; the pair is what a :class:`~sleep2vec_sklearn.Recording` takes.

    Raises
    ------
    InvalidSignalError
        If times are not one-dimensional, finite and increasing, or fewer than two.

    Examples
    --------
    >>> from sleep2vec_sklearn.signals.derivation import ibi_from_beats
    >>> series, rate = ibi_from_beats([0.5, 1.5, 2.5, 3.5])
    >>> len(series), rate, float(series[8])
    (14, 4.0, 1.0)
    """
    times = checked_times("beat times", times)
    if len(times) < 2:
        raise InvalidSignalError(
            f"beat times hold {len(times)} beat(s); accepted are at least two, as an interval lies "
            "between two beats. Leave 'ibi' out of this recording."
        )
    return ibi_from_intervals(
        times[1:], np.diff(times), duration=duration, rate=rate, max_gap=max_gap
    )


def ibi_from_intervals(
    times, intervals, *, duration: float | None = None, rate: float = 4.0, max_gap: float = 5.0
) -> tuple[np.ndarray, float]:
    """Inter-beat-interval series from intervals a device has measured itself.

    Intervals outside 0.3 to 2.0 s are dropped, then those that differ by more than 25 % from the
    median of 11 beats around them: ectopic, missed and doubled beats (the task force of 1996
    advises 20 %; more is left here because arousals in sleep shorten beats quickly). The rest is
    interpolated linearly.

    Parameters
    ----------
    times : array-like of shape (n_beats,)
        End of each interval in s after the recording's start; must not decrease.
    intervals : array-like of shape (n_beats,)
        Inter-beat intervals in s.
    duration, rate, max_gap
        As in :func:`ibi_from_beats`.

    Returns
    -------
    series : ndarray of shape (n_samples,), float32
        Inter-beat intervals in s; NaN is a gap.
    rate : float
        Samples per second.

    Raises
    ------
    InvalidSignalError
        If the arrays are not one-dimensional and of equal length, times decrease, or an interval
        is negative.
    """
    times = checked_times("times", times, strictly=False)
    intervals = checked_values("intervals", intervals, times)
    if (intervals < 0).any():
        raise InvalidSignalError(
            f"intervals hold {intervals[intervals < 0][0]:g} s; accepted are positive seconds. "
            "Sort the beats before taking differences."
        )
    duration = duration_or_last(duration, times)
    steady = steady_intervals(intervals)
    return interpolate(times[steady], intervals[steady], duration, rate, max_gap), float(rate)


def ibi_from_heart_rate(
    times,
    bpm,
    *,
    duration: float | None = None,
    rate: float = HEART_RATE_RATE,
    max_gap: float = 60.0,
) -> tuple[np.ndarray, float]:
    """Inter-beat-interval series from a watch's heart rate.

    A heart rate that a device has averaged has no beat-to-beat variability: the series holds the
    level and its changes over minutes, and nothing of heart-rate variability. So that this stays
    visible, it is sampled at 1 Hz, too slowly to show single beats, where series of beats have
    4 Hz: ``recording.rates["ibi"]`` tells the two apart.

    Parameters
    ----------
    times : array-like of shape (n,)
        Seconds after the recording's start, increasing; they may be before it.
    bpm : array-like of shape (n,)
        Beats per minute; NaN where there was no reading. Values outside 30 to 200 are dropped.
    duration : float, optional
        Length of the series in s; up to the last time by default.
    rate : float, default=1.0
        Samples per second of the series.
    max_gap : float, default=60.0
        Samples between two readings further apart than this (s) are NaN.

    Returns
    -------
    series : ndarray of shape (n_samples,), float32
        60 / bpm in s; NaN is a gap.
    rate : float
        Samples per second.

    Raises
    ------
    InvalidSignalError
        If the arrays are not one-dimensional and of equal length, times do not increase, or a
        heart rate is zero or negative.
    """
    times = checked_times("heart-rate times", times)
    bpm = checked_values("bpm", bpm, times)
    if (bpm <= 0).any():
        raise InvalidSignalError(
            f"bpm holds {bpm[bpm <= 0][0]:g}; accepted are positive beats per minute. Set readings "
            "that mean 'no contact' to NaN."
        )
    duration = duration_or_last(duration, times)
    intervals = 60.0 / bpm
    valid = (intervals >= IBI_LIMITS[0]) & (intervals <= IBI_LIMITS[1])
    return interpolate(times[valid], intervals[valid], duration, rate, max_gap), float(rate)


def steady_intervals(intervals: np.ndarray) -> np.ndarray:
    """Which intervals are a heart's: within its limits, and near the median of those around.

    Parameters
    ----------
    intervals : ndarray of shape (n,)
        In s.

    Returns
    -------
    bool ndarray of shape (n,)
    """
    from scipy.ndimage import median_filter

    steady = (intervals >= IBI_LIMITS[0]) & (intervals <= IBI_LIMITS[1])
    if steady.any():
        possible = intervals[steady]
        median = median_filter(possible, size=MEDIAN_BEATS, mode="nearest")
        steady[steady] = np.abs(possible - median) <= MAX_DEVIATION * median
    return steady
