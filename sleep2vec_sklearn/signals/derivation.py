# SPDX-License-Identifier: BSD-3-Clause
"""Evenly spaced series from beats, a watch's heart rate, or counts per epoch."""

from __future__ import annotations

import numpy as np

from ..errors import InvalidSignalError

__all__ = [
    "counts_from_acceleration",
    "counts_from_epochs",
    "ibi_from_beats",
    "ibi_from_heart_rate",
    "ibi_from_intervals",
]

IBI_LIMITS = (0.3, 2.0)
MAX_DEVIATION = 0.25
MEDIAN_BEATS = 11
HEART_RATE_RATE = 1.0
COUNT_BAND = (0.29, 1.63)
COUNT_SIZE = 2.13 / 128
COUNT_DEAD_BAND = 4
COUNT_LIMIT = 128


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
    times = _checked_times("beat times", times)
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
    times = _checked_times("times", times, strictly=False)
    intervals = _checked_values("intervals", intervals, times)
    if (intervals < 0).any():
        raise InvalidSignalError(
            f"intervals hold {intervals[intervals < 0][0]:g} s; accepted are positive seconds. "
            "Sort the beats before taking differences."
        )
    duration = _duration_or_last(duration, times)
    valid = (intervals >= IBI_LIMITS[0]) & (intervals <= IBI_LIMITS[1])
    times, intervals = times[valid], intervals[valid]
    steady = _near_running_median(intervals)
    return _interpolate(times[steady], intervals[steady], duration, rate, max_gap), float(rate)


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
    times = _checked_times("heart-rate times", times)
    bpm = _checked_values("bpm", bpm, times)
    if (bpm <= 0).any():
        raise InvalidSignalError(
            f"bpm holds {bpm[bpm <= 0][0]:g}; accepted are positive beats per minute. Set readings "
            "that mean 'no contact' to NaN."
        )
    duration = _duration_or_last(duration, times)
    intervals = 60.0 / bpm
    valid = (intervals >= IBI_LIMITS[0]) & (intervals <= IBI_LIMITS[1])
    return _interpolate(times[valid], intervals[valid], duration, rate, max_gap), float(rate)


def counts_from_epochs(
    seconds, counts, epoch_seconds: float = 30.0, duration: float | None = None
) -> tuple[np.ndarray, float]:
    """Activity counts per epoch, spread evenly as counts per second.

    Parameters
    ----------
    seconds : array-like of shape (n_epochs,)
        Start of each epoch in s after the recording's start, increasing; epochs may be missing.
    counts : array-like of shape (n_epochs,)
        Counts of each epoch; NaN where the device was off.
    epoch_seconds : float, default=30.0
        Length of an epoch.
    duration : float, optional
        Length of the series in s; up to the end of the last epoch by default. Needed where there
        is no epoch.

    Returns
    -------
    series : ndarray of shape (n_seconds,), float32
        Counts per second; NaN where no epoch lies.
    rate : float
        1.0

    Raises
    ------
    InvalidSignalError
        If the arrays are not one-dimensional and of equal length, epochs overlap, a count is
        negative, or nothing tells the length.
    """
    seconds = _checked_times("epoch starts", seconds)
    counts = _checked_values("counts", counts, seconds)
    if (counts < 0).any():
        raise InvalidSignalError(
            f"counts hold {counts[counts < 0][0]:g}; accepted are numbers from 0. Set codes for a "
            "device that was off to NaN."
        )
    if not epoch_seconds > 0:
        raise InvalidSignalError(f"epoch_seconds is {epoch_seconds!r}; accepted is more than 0.")
    if len(seconds) > 1 and np.diff(seconds).min() < epoch_seconds:
        raise InvalidSignalError(
            f"epochs of {epoch_seconds:g} s start {np.diff(seconds).min():g} s apart, so they "
            "overlap. Check epoch_seconds."
        )
    if duration is None:
        if not len(seconds):
            raise InvalidSignalError(
                "counts are of 0 epochs, which leaves the length of the series open; accepted is "
                "at least 1. Leave the modality out, or pass duration= for a night of gaps."
            )
        duration = _duration_or_last(None, seconds) + epoch_seconds
    middle = np.arange(_n_samples(duration, 1.0)) + 0.5
    series = np.full(len(middle), np.nan, dtype=np.float32)
    if len(seconds):
        epoch = np.searchsorted(seconds, middle, side="right") - 1
        inside = (epoch >= 0) & (middle < seconds[epoch] + epoch_seconds)
        series[inside] = counts[epoch[inside]] / epoch_seconds
    return series, 1.0


def counts_from_acceleration(acceleration, rate: float) -> tuple[np.ndarray, float]:
    """Activity counts per second from the magnitude of acceleration.

    The steps are those of ActiGraph's counts (Neishabouri et al. 2022, Sci Rep 12, 11958), on the
    magnitude instead of each axis: 0.29 to 1.63 Hz, the size of what is left cut at 2.13 g and
    counted in 128 steps, sizes below 0.068 g left out, ten readings a second summed. Gravity is
    below the band, so it does not matter whether 1 g was subtracted.

    Parameters
    ----------
    acceleration : array-like of shape (n_samples,)
        Vector magnitude in g; NaN is a gap.
    rate : float
        Samples per second, at least 5.

    Returns
    -------
    series : ndarray of shape (n_seconds,), float32
        Counts per second; NaN where less than half of a second has samples.
    rate : float
        1.0

    Raises
    ------
    InvalidSignalError
        If the array is not one-dimensional, or the rate is below 5 Hz.
    """
    from scipy.signal import butter, sosfiltfilt

    acceleration = np.asarray(acceleration, dtype=np.float32)
    if acceleration.ndim != 1:
        raise InvalidSignalError(
            f"acceleration has shape {acceleration.shape}; accepted is the magnitude of the axes, "
            "np.linalg.norm(xyz, axis=1)."
        )
    if not rate >= 5:
        raise InvalidSignalError(
            f"acceleration has rate {rate:g} Hz; accepted is at least 5 Hz, as movements of the "
            "wrist reach 2 Hz. Pass counts instead, with unit 'counts'."
        )
    present = np.isfinite(acceleration)
    n_seconds = int(len(acceleration) / rate + 1e-6)
    second = (np.arange(len(acceleration)) / rate + 1e-9).astype(np.int64)
    share = np.bincount(second, present, n_seconds)[:n_seconds] / rate
    if not present.any() or len(acceleration) < 2:
        return np.full(n_seconds, np.nan, dtype=np.float32), 1.0
    places = np.arange(len(acceleration))
    bridged = np.interp(places, places[present], acceleration[present])
    band = butter(2, COUNT_BAND, "band", fs=rate, output="sos")
    moved = np.abs(sosfiltfilt(band, bridged, padlen=min(len(bridged) - 1, int(5 * rate))))
    size = np.minimum(np.floor(moved / COUNT_SIZE), COUNT_LIMIT)
    size[(size < COUNT_DEAD_BAND) | ~present] = 0
    total = np.bincount(second, size, n_seconds)[:n_seconds]
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = 10 * total / (share * rate)
    return np.where(share >= 0.5, counts, np.nan).astype(np.float32), 1.0


def _near_running_median(intervals: np.ndarray) -> np.ndarray:
    from scipy.ndimage import median_filter

    if intervals.size == 0:
        return np.zeros(0, dtype=bool)
    median = median_filter(intervals, size=MEDIAN_BEATS, mode="nearest")
    return np.abs(intervals - median) <= MAX_DEVIATION * median


def _interpolate(times, values, duration: float, rate: float, max_gap: float) -> np.ndarray:
    if not (np.isfinite(rate) and rate > 0):
        raise InvalidSignalError(f"rate is {rate!r} Hz; accepted is a positive number.")
    grid = np.arange(_n_samples(duration, rate)) / rate
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


def _n_samples(duration: float, rate: float) -> int:
    if not (np.isfinite(duration) and duration >= 0):
        raise InvalidSignalError(f"duration is {duration!r} s; accepted is a number from 0.")
    return int(duration * rate + 1e-6)


def _duration_or_last(duration: float | None, times: np.ndarray) -> float:
    if duration is None:
        return max(float(times[-1]), 0.0) if len(times) else 0.0
    return float(duration)


def _checked_times(what: str, times, strictly: bool = True) -> np.ndarray:
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


def _checked_values(what: str, values, times: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != times.shape:
        raise InvalidSignalError(
            f"{what} have shape {values.shape} for {len(times)} times; accepted is one per time."
        )
    return values
