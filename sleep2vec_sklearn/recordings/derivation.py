# SPDX-License-Identifier: BSD-3-Clause
"""Series derived from sensors: inter-beat intervals, respiration, activity counts.

All raise an :exc:`~sleep2vec_sklearn.errors.InvalidSignalError` for an array that is not
one-dimensional and for a rate that is too low.
"""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from .._arguments import as_numbers, check_number, shown
from ..errors import InvalidSignalError
from ._resampling import (
    band_filter,
    blocks,
    bridge_gaps,
    check_samples,
    check_times,
    check_values,
    count_samples,
    decimate,
    find_quantile,
    interpolate,
    moving_mean,
    resample,
)

IBI_RATE = 4.0
MAX_GAP = 5.0
ECG_RATE = 120.0
MIN_DETECTOR_RATE = 100.0
MIN_ECG_RATE = 32.0
PPG_RATE = 50.0
MIN_PPG_RATE = 25.0
PULSE_BAND = (0.5, 8.0)
PULSE_SECONDS, BEAT_SECONDS = 0.111, 0.667
PULSE_OFFSET = 0.02
RISE_SECONDS = 0.35
TRUST_SECONDS = 60.0
TRUST_SHARE = 0.5
IBI_LIMITS = (0.3, 2.0)
MAX_DEVIATION = 0.25
MEDIAN_BEATS = 11
RESP_RATE = 4.0
BREATHING_BAND = (0.05, 1.0)
EDR_BAND = (0.1, 0.6)
QRS_SECONDS = 0.06
_DECIMATED_RATE = 16.0
COUNT_BAND = (0.29, 1.63)
COUNT_SIZE = 2.13 / 128
COUNT_DEAD_BAND = 4
COUNT_LIMIT = 128


def ibi_from_ecg(
    ecg: ArrayLike, rate: float, *, peaks: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Inter-beat-interval series from one lead of an ECG.

    R peaks are those of :func:`find_r_peaks`. Artefacts are removed as in
    :func:`ibi_from_intervals`, as are intervals across a gap. Where more than half of a minute had
    to be removed, the rest is dropped too: there the lead shows noise, of which some intervals
    pass by chance.

    Parameters
    ----------
    ecg : array-like of shape (n_samples,)
        In any unit and of either polarity; NaN is a gap.
    rate : float
        Samples per second, at least 32; 100 or more for exact single intervals.
    peaks : ndarray of shape (n_beats,), optional
        The result of :func:`find_r_peaks`, if known.

    Returns
    -------
    series : ndarray of shape (n,), float32
        Inter-beat intervals in s at 4 Hz, as long as the ECG; NaN is a gap.
    rate : float
        4.0

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.recordings.derivation import ibi_from_ecg
    >>> ecg = np.zeros(60 * 128)
    >>> ecg[64::128] = 1.0
    >>> series, rate = ibi_from_ecg(ecg, 128)
    >>> len(series), round(float(np.nanmedian(series)), 2)
    (240, 1.0)
    """
    ecg = check_samples("ecg", ecg, rate, MIN_ECG_RATE)
    return _interval_series(find_r_peaks(ecg, rate) if peaks is None else peaks, ecg, rate)


def ibi_from_ppg(ppg: ArrayLike, rate: float) -> tuple[np.ndarray, float]:
    """Inter-beat-interval series from a photoplethysmogram.

    As :func:`ibi_from_ecg`, with the pulse onsets of :func:`find_pulses`. The pulse takes longer
    to reach the finger when blood pressure falls, so single intervals differ from the ECG's by
    milliseconds.

    Parameters
    ----------
    ppg : array-like of shape (n_samples,)
        Of either polarity; NaN is a gap.
    rate : float
        Samples per second, at least 25.

    Returns
    -------
    series, rate
        As of :func:`ibi_from_ecg`.
    """
    ppg = check_samples("ppg", ppg, rate, MIN_PPG_RATE)
    return _interval_series(find_pulses(ppg, rate), ppg, rate)


def ibi_from_beats(
    times: ArrayLike, *, duration: float | None = None, rate: float = 4.0, max_gap: float = 5.0
) -> tuple[np.ndarray, float]:
    """Inter-beat-interval series from the times of heart beats.

    Each interval is placed at the beat that ends it. Artefacts are removed as in
    :func:`ibi_from_intervals`.

    Parameters
    ----------
    times : array-like of shape (n_beats,)
        Beat times in s after the recording's start, increasing.
    duration : float, optional
        Length of the series in s; to the last beat by default.
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
    >>> from sleep2vec_sklearn.recordings.derivation import ibi_from_beats
    >>> series, rate = ibi_from_beats([0.5, 1.5, 2.5, 3.5])
    >>> len(series), rate, float(series[8])
    (14, 4.0, 1.0)
    """
    times = check_times("beat times", times)
    if len(times) < 2:
        raise InvalidSignalError(
            f"beat times hold {len(times)} beat(s); accepted are at least two, as an interval lies "
            "between two beats. Leave 'ibi' out of this recording."
        )
    return ibi_from_intervals(
        times[1:], np.diff(times), duration=duration, rate=rate, max_gap=max_gap
    )


def ibi_from_intervals(
    times: ArrayLike, intervals: ArrayLike, *, duration: float | None = None, rate: float = 4.0,
    max_gap: float = 5.0,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Inter-beat-interval series from the intervals that a device has measured.

    Intervals outside 0.3 to 2.0 s are dropped, then those that differ by more than 25 % from the
    median of the 11 around them: ectopic, missed and doubled beats (the task force of 1996 advises
    20 %; arousals from sleep shorten intervals faster than that). The rest is interpolated
    linearly.

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
    series, rate
        As of :func:`ibi_from_beats`.

    Raises
    ------
    InvalidSignalError
        Also if times decrease, or an interval is negative.
    """
    times = check_times("times", times, strictly=False)
    intervals = check_values("intervals", intervals, times)
    if (intervals < 0).any():
        raise InvalidSignalError(
            f"intervals hold {intervals[intervals < 0][0]:g} s; accepted are positive seconds. "
            "Sort the beats before taking differences."
        )
    return _interpolate_valid(times, intervals, _find_steady(intervals), duration, rate, max_gap)


def ibi_from_heart_rate(
    times: ArrayLike, bpm: ArrayLike, *, duration: float | None = None, rate: float = 1.0,
    max_gap: float = 60.0,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Inter-beat-interval series from a watch's heart rate.

    A heart rate averaged by a device has no beat-to-beat variability: the series holds the level
    and its changes over minutes, but no heart-rate variability. It is therefore sampled at 1 Hz,
    too slowly for single beats, where series of beats have 4 Hz: ``recording.rates["ibi"]``
    distinguishes the two.

    Parameters
    ----------
    times : array-like of shape (n,)
        Seconds after the recording's start, increasing; they may be before it.
    bpm : array-like of shape (n,)
        Beats per minute; NaN where there was no reading. Values outside 30 to 200 are dropped.
    duration, rate, max_gap
        As in :func:`ibi_from_beats`, but 1 Hz and 60 s by default.

    Returns
    -------
    series, rate
        As of :func:`ibi_from_beats`: 60 / bpm.

    Raises
    ------
    InvalidSignalError
        Also if times do not increase, or a heart rate is zero or negative.
    """
    times = check_times("heart-rate times", times)
    bpm = check_values("bpm", bpm, times)
    if (bpm <= 0).any():
        raise InvalidSignalError(
            f"bpm holds {bpm[bpm <= 0][0]:g}; accepted are positive beats per minute. Set readings "
            "that mean 'no contact' to NaN."
        )
    intervals = 60.0 / bpm
    valid = (intervals >= IBI_LIMITS[0]) & (intervals <= IBI_LIMITS[1])
    return _interpolate_valid(times, intervals, valid, duration, rate, max_gap)


def refine_beat_times(times: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Times of beats in s, finer than the clock of a device, from the intervals between them."""
    from scipy.ndimage import median_filter

    # the sum of intervals is exact between losses, and the clock is right on average; a running
    # median of their difference keeps the jumps of lost packets
    elapsed = np.cumsum(intervals)
    offset = median_filter(times - elapsed, size=15, mode="nearest")
    return np.maximum.accumulate(elapsed + offset)


def find_r_peaks(ecg: ArrayLike, rate: float) -> np.ndarray:
    """Times of the R peaks of an ECG, by SleepECG's detector.

    Parameters
    ----------
    ecg, rate
        As of :func:`ibi_from_ecg`. Leads faster than 120 Hz are decimated to that or more first;
        peaks are interpolated between samples by a parabola.

    Returns
    -------
    ndarray of shape (n_beats,), float64
        Seconds after the first sample; empty if the lead is flat.

    References
    ----------
    Pan J, Tompkins WJ (1985). A real-time QRS detection algorithm. IEEE Trans Biomed Eng 32(3),
    230-236; as in Brunner C, Hofer F (2023). SleepECG. J Open Source Softw 8(86), 5411.
    """
    from sleepecg import detect_heartbeats

    ecg = check_samples("ecg", ecg, rate, MIN_ECG_RATE)
    values, rate, offset = decimate(ecg, rate, ECG_RATE)
    values, present = _bridge(values)
    if len(values) < 4 * rate or np.ptp(values) == 0:
        return np.zeros(0)
    if rate < MIN_DETECTOR_RATE:
        # the detector's band reaches 30 Hz
        values, present = resample(values, rate, 2 * rate, "polyphase"), np.repeat(present, 2)
        rate, offset = 2 * rate, 2 * offset
    peaks = detect_heartbeats(values, rate)
    peaks = peaks[(peaks > 0) & (peaks < len(values) - 1)]
    peaks = peaks[present[peaks]]
    return (peaks + _vertex_offset(values, peaks) + offset) / rate


def find_pulses(ppg: ArrayLike, rate: float) -> np.ndarray:
    """Times of the steepest rise of each pulse wave of a PPG.

    Systolic peaks lie where a short running mean of the squared wave exceeds a long one (Elgendi
    et al. 2013). The rise before the peak is taken, because it is the sharpest part of the wave. A
    wave that falls faster than it rises is upside down and is inverted.

    Parameters
    ----------
    ppg, rate
        As of :func:`ibi_from_ppg`.

    Returns
    -------
    ndarray of shape (n_pulses,), float64
        Seconds after the first sample; empty if the sensor is flat.

    References
    ----------
    Elgendi M, Norton I, Brearley M, Abbott D, Schuurmans D (2013). Systolic peak detection in
    acceleration photoplethysmograms measured from emergency responders in tropical conditions.
    PLoS ONE 8(10), e76585.
    """
    ppg = check_samples("ppg", ppg, rate, MIN_PPG_RATE)
    values, rate, offset = decimate(ppg, rate, PPG_RATE)
    values, present = _bridge(values)
    if len(values) < 4 * rate or np.ptp(values) == 0:
        return np.zeros(0)
    band_filter(values, PULSE_BAND, rate)
    slopes = np.diff(values)
    if np.sum(slopes * slopes * slopes, dtype=np.float64) < 0:
        values, slopes = -values, -slopes
    width = int(RISE_SECONDS * rate)
    peaks = _systolic_peaks(values, rate)
    peaks = peaks[(peaks > width) & present[peaks]]
    if not peaks.size:
        return np.zeros(0)
    before = peaks[:, None] + np.arange(-width, 0)
    steepest = peaks - width + slopes[before].argmax(axis=1)
    steepest = steepest[(steepest > 0) & (steepest < len(slopes) - 1)]
    # of waves that overlap, the rise may be the same; none is before that of the wave before
    steepest = steepest[np.diff(steepest, prepend=0) > 0]
    # a slope lies between two samples
    return (steepest + _vertex_offset(slopes, steepest) + 0.5 + offset) / rate


def _interpolate_valid(
    times: np.ndarray, intervals: np.ndarray, valid: np.ndarray, duration: float | None,
    rate: float, max_gap: float,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Series through the valid intervals, by default up to the last time."""
    last = max(float(times[-1]), 0.0) if len(times) else 0.0
    duration = last if duration is None else duration
    return interpolate(times[valid], intervals[valid], duration, rate, max_gap), float(rate)


def _systolic_peaks(values: np.ndarray, rate: float) -> np.ndarray:
    widths = [max(1, round(seconds * rate)) for seconds in (PULSE_SECONDS, BEAT_SECONDS, 10)]
    reach = widths[-1]
    energy = np.pad(np.maximum(values, 0), reach, mode="symmetric")
    # one heavy movement would lift the threshold of the whole night
    largest = 5 * find_quantile(energy[reach:-reach:7], 0.95)
    np.minimum(energy, largest, out=energy)
    energy *= energy
    # a filter rings on below rounding where the sensor is off
    least = 1e-8 * largest**2
    high = np.zeros(len(values) + 2, dtype=bool)
    for block in blocks(len(values), 1 << 15):
        part = energy[block.start : block.stop + 2 * reach]
        pulse, beat, level = (
            moving_mean(part[reach - width // 2 : len(part) - reach + (width - 1) // 2], width)
            for width in widths
        )
        high[1:-1][block] = pulse > beat + np.float32(PULSE_OFFSET) * level + least
    edges = np.flatnonzero(high[1:] != high[:-1])
    starts, stops = edges[::2], edges[1::2]
    # where a sensor was off for hours, next to nothing lies above next to nothing
    likely = (stops - starts >= round(PULSE_SECONDS * rate)) & (stops - starts <= 2 * rate)
    starts, stops = starts[likely], stops[likely]
    if not starts.size:
        return starts
    width = int((stops - starts).max())
    samples = starts[:, None] + np.arange(width)
    inside = samples < stops[:, None]
    waves = np.where(inside, values[np.minimum(samples, len(values) - 1)], -np.inf)
    return starts + waves.argmax(axis=1)


def _bridge(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A float32 copy of the samples with gaps bridged, and where samples were."""
    present = np.isfinite(values)
    if not present.any():
        return np.zeros(len(values), np.float32), present
    return bridge_gaps(values, present).astype(np.float32), present


def _vertex_offset(values: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Distance of each extremum from its sample, in samples, by a parabola through three."""
    left, middle, right = (values[peaks + step].astype(np.float64) for step in (-1, 0, 1))
    curvature = left - 2 * middle + right
    extreme = (middle - left) * (middle - right) > 0
    return np.where(extreme, (left - right) / np.where(extreme, 2 * curvature, 1.0), 0.0)


def _interval_series(
    times: np.ndarray, signal: np.ndarray, rate: float
) -> tuple[np.ndarray, float]:
    duration = len(signal) / rate
    if len(times) < 2:
        return np.full(count_samples(duration, IBI_RATE), np.nan, dtype=np.float32), IBI_RATE
    intervals, ends = np.diff(times), times[1:]
    missing = np.flatnonzero(~np.isfinite(signal))
    without_gap = np.diff(np.searchsorted(missing, times * rate)) == 0
    steady = _find_steady(intervals) & without_gap
    steady &= _find_trusted(ends, intervals, steady)
    return interpolate(ends[steady], intervals[steady], duration, IBI_RATE, MAX_GAP), IBI_RATE


def _find_steady(intervals: np.ndarray) -> np.ndarray:
    """Which intervals (s) are within a heart's limits and near the median of those around."""
    from scipy.ndimage import median_filter

    steady = (intervals >= IBI_LIMITS[0]) & (intervals <= IBI_LIMITS[1])
    if steady.any():
        possible = intervals[steady]
        median = median_filter(possible, size=MEDIAN_BEATS, mode="nearest")
        steady[steady] = np.abs(possible - median) <= MAX_DEVIATION * median
    return steady


def _find_trusted(ends: np.ndarray, intervals: np.ndarray, steady: np.ndarray) -> np.ndarray:
    """Which intervals lie in a minute at least half of which is steady intervals."""
    total = np.append(0.0, np.cumsum(np.where(steady, intervals, 0.0)))
    # a night that begins or ends within the minute has less time to fill
    start = np.maximum(ends - TRUST_SECONDS / 2, ends[0] - intervals[0])
    stop = np.minimum(ends + TRUST_SECONDS / 2, ends[-1])
    first, last = np.searchsorted(ends, start, "right"), np.searchsorted(ends, stop, "right")
    return total[last] - total[first] >= TRUST_SHARE * (stop - start)


def resp_from_breathing(values: ArrayLike, rate: float) -> tuple[np.ndarray, float]:
    """Respiration from a belt or an airflow sensor: the breaths without drift and noise.

    Parameters
    ----------
    values : array-like of shape (n_samples,)
        In any unit; NaN is a gap.
    rate : float
        Samples per second, at least 4.

    Returns
    -------
    series : ndarray of shape (n,), float32
        0.05 to 1 Hz of it at 4 Hz, in units of its standard deviation; NaN is a gap.
    rate : float
        4.0
    """
    values = check_samples("the breathing sensor", values, rate, RESP_RATE)
    n = count_samples(len(values) / rate, RESP_RATE)
    values, rate, _ = decimate(values, rate, _DECIMATED_RATE)
    present = np.isfinite(values)
    if not present.any():
        return np.full(n, np.nan, dtype=np.float32), RESP_RATE
    bridged = bridge_gaps(values, present).astype(np.float32)
    series = resample(bridged, rate, RESP_RATE, "polyphase")[:n]
    series = np.pad(series, (0, n - len(series)), mode="edge")
    band_filter(series, BREATHING_BAND, RESP_RATE)
    nearest = np.minimum((np.arange(n) * (rate / RESP_RATE)).astype(int), len(values) - 1)
    return _standardise(series, present[nearest]), RESP_RATE


def resp_from_ecg(
    ecg: ArrayLike, rate: float, *, peaks: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Respiration from the size of the R waves.

    The heart's axis turns against the electrodes as the chest moves, so QRS complexes grow and
    shrink with each breath (Moody et al. 1985). The size of each is taken from its lowest to its
    highest sample, which the drift of the baseline does not change, and the sizes are interpolated
    and limited to 0.1 to 0.6 Hz: faster breathing needs more beats than there are.

    Parameters
    ----------
    ecg, rate, peaks
        As of :func:`ibi_from_ecg`.

    Returns
    -------
    series, rate
        As of :func:`resp_from_breathing`; NaN where beats are more than 5 s apart.

    References
    ----------
    Moody GB, Mark RG, Zoccola A, Mantero S (1985). Derivation of respiratory signals from
    multi-lead ECGs. Computers in Cardiology 12, 113-116.
    """
    ecg = check_samples("ecg", ecg, rate, MIN_ECG_RATE)
    times = find_r_peaks(ecg, rate) if peaks is None else peaks
    n = count_samples(len(ecg) / rate, RESP_RATE)
    if len(times) < 4:
        return np.full(n, np.nan, dtype=np.float32), RESP_RATE
    times, sizes = _qrs_sizes(times, *decimate(ecg, rate, ECG_RATE))
    series = interpolate(times, sizes, n / RESP_RATE, RESP_RATE, MAX_GAP)
    present = np.isfinite(series)
    if not present.any():
        return series, RESP_RATE
    series = bridge_gaps(series, present)
    band_filter(series, EDR_BAND, RESP_RATE)
    return _standardise(series, present), RESP_RATE


def _qrs_sizes(
    times: np.ndarray, values: np.ndarray, rate: float, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Times of the beats, and the size of each QRS complex relative to those around it."""
    from scipy.ndimage import median_filter

    reach = max(1, round(QRS_SECONDS * rate))
    peaks = np.round(times * rate - offset).astype(int)
    inside = (peaks >= reach) & (peaks < len(values) - reach)
    around = values[peaks[inside, None] + np.arange(-reach, reach + 1)]
    sizes = np.ptp(around.astype(np.float64), axis=1)
    known = np.isfinite(sizes)
    times, sizes = times[inside][known], sizes[known]
    level = median_filter(sizes, size=31, mode="nearest")
    # posture changes the level, ectopic beats and artefacts single sizes
    change = sizes / np.maximum(level, np.finfo(float).tiny) - 1
    return times, np.clip(change, -0.5, 0.5)


def _standardise(series: np.ndarray, present: np.ndarray) -> np.ndarray:
    deviation = series[present].std(dtype=np.float64)
    series = series / np.float32(deviation if deviation > 0 else 1.0)
    series[~present] = np.nan
    return series


def counts_from_epochs(
    seconds: ArrayLike, counts: ArrayLike, epoch_seconds: float = 30.0,
    duration: float | None = None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Activity counts per epoch, spread evenly as counts per second.

    Parameters
    ----------
    seconds : array-like of shape (n_epochs,)
        Start of each epoch in s after the recording's start, increasing; gaps are allowed.
    counts : array-like of shape (n_epochs,)
        Counts of each epoch; NaN where the device was off.
    epoch_seconds : float, default=30.0
        Length of an epoch.
    duration : float, optional
        Length of the series in s; to the end of the last epoch by default. Needed if there is none.

    Returns
    -------
    series : ndarray of shape (n_seconds,), float32
        Counts per second; NaN outside the epochs.
    rate : float
        1.0

    Raises
    ------
    InvalidSignalError
        Also if epochs overlap, a count is negative, or the length is unknown.
    """
    seconds = check_times("epoch starts", seconds)
    counts = check_values("counts", counts, seconds)
    if (counts < 0).any():
        raise InvalidSignalError(
            f"counts hold {counts[counts < 0][0]:g}; accepted are numbers from 0. Set codes for a "
            "device that was off to NaN."
        )
    epoch_seconds = check_number(
        "epoch_seconds", epoch_seconds, 0, above=True, error=InvalidSignalError
    )
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
        duration = max(float(seconds[-1]), 0.0) + epoch_seconds
    middle = np.arange(count_samples(duration, 1.0)) + 0.5
    series = np.full(len(middle), np.nan, dtype=np.float32)
    if len(seconds):
        epoch = np.searchsorted(seconds, middle, side="right") - 1
        inside = (epoch >= 0) & (middle < seconds[epoch] + epoch_seconds)
        series[inside] = counts[epoch[inside]] / epoch_seconds
    return series, 1.0


def counts_from_acceleration(acceleration: ArrayLike, rate: float) -> tuple[np.ndarray, float]:
    """Activity counts per second from the magnitude of acceleration.

    The steps are those of ActiGraph's counts (Neishabouri et al. 2022, Sci Rep 12, 11958), on the
    magnitude instead of each axis: a band-pass filter of 0.29 to 1.63 Hz, the rectified signal
    clipped at 2.13 g and quantised in 128 steps, values below 0.068 g set to 0, ten readings a
    second summed. Gravity is below the band, so it does not matter whether 1 g was subtracted.

    Parameters
    ----------
    acceleration : array-like of shape (n_samples,)
        Vector magnitude in g; NaN is a gap.
    rate : float
        Samples per second, at least 5.

    Returns
    -------
    series, rate
        As of :func:`counts_from_epochs`; NaN where less than half of a second has samples.
    """
    from scipy.signal import butter, sosfiltfilt

    acceleration = as_numbers("acceleration", acceleration, (0, 1, 2, 3), error=InvalidSignalError)
    with np.errstate(over="ignore"):  # infinity is a gap
        acceleration = acceleration.astype(np.float32)
    if acceleration.ndim != 1:
        raise InvalidSignalError(
            f"acceleration has shape {acceleration.shape}; accepted is the magnitude of the axes, "
            "np.linalg.norm(xyz, axis=1)."
        )
    if not (isinstance(rate, Real) and not isinstance(rate, np.timedelta64) and rate >= 5):
        raise InvalidSignalError(
            f"acceleration has rate {shown(rate)} Hz; accepted is at least 5 Hz, as movements of "
            "the wrist reach 2 Hz. Pass counts instead, with unit 'counts'."
        )
    present = np.isfinite(acceleration)
    n_seconds = int(len(acceleration) / rate + 1e-6)
    second = (np.arange(len(acceleration)) / rate + 1e-9).astype(np.int64)
    share = np.bincount(second, present, n_seconds)[:n_seconds] / rate
    if not present.any() or len(acceleration) < 2:
        return np.full(n_seconds, np.nan, dtype=np.float32), 1.0
    bridged = bridge_gaps(acceleration.astype(np.float64), present)
    sections = butter(2, COUNT_BAND, "band", fs=rate, output="sos")
    movement = np.abs(sosfiltfilt(sections, bridged, padlen=min(len(bridged) - 1, int(5 * rate))))
    size = np.minimum(np.floor(movement / COUNT_SIZE), COUNT_LIMIT)
    size[(size < COUNT_DEAD_BAND) | ~present] = 0
    total = np.bincount(second, size, n_seconds)[:n_seconds]
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = 10 * total / (share * rate)
    return np.where(share >= 0.5, counts, np.nan).astype(np.float32), 1.0
