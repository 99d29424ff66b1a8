# SPDX-License-Identifier: BSD-3-Clause
"""Changes of rate, band filters, and even series from values at irregular times.

Polyphase resampling is scipy's. The band filters are scipy's too, but in blocks: ``sosfiltfilt``
takes 147 MB for a night of 256 Hz, this 1 MB in equal time (``benchmarks.speed.filtering``).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from .._arguments import as_numbers, as_real_array, check_number
from ..errors import InvalidSignalError

# filters grow with the factor, so the first that is close enough is taken; of the larger rate it is
# bounded as well, as a filter of 20 times 1,000,000 taps takes seconds and 800 MB
# in Hz, and in s: as of recordings
_HIGHEST_RATE, _LONGEST_SECONDS = 200_000.0, 5000 * 86_400.0
_LARGEST_FACTORS = (1000, 10_000, 100_000)
_LARGEST_OF_BOTH = 100_000
# 0.03 s in eight hours
_LARGEST_DRIFT = 1e-6
_SAMPLES_PER_BLOCK = 1 << 16
_N_PADDED = 15


def resample(values: np.ndarray, from_rate: float, to_rate: float, method: str) -> np.ndarray:
    """Resample float32 samples without gaps by "polyphase", "linear" or "mean"."""
    if from_rate == to_rate:
        return values
    if method == "mean":
        # of counts, whose sum per second is preserved
        return _interval_means(values, from_rate / to_rate)
    # levels such as saturation or inter-beat intervals have steps, which would ring in a filter
    if method == "linear" and to_rate > from_rate:
        positions = np.arange(round(len(values) * to_rate / from_rate)) * (from_rate / to_rate)
        return np.interp(positions, np.arange(len(values)), values).astype(np.float32)
    from scipy.signal import resample_poly

    up, down = _as_whole_numbers(to_rate, from_rate)
    # a header may say 128.0001 Hz, but a filter that passes everything cannot be designed
    if up == down:
        return values
    # sums in single precision change an epoch's row in the fourth decimal
    return resample_poly(values.astype(np.float64), up, down, padtype="line").astype(np.float32)


def _as_whole_numbers(to_rate: float, from_rate: float) -> tuple[int, int]:
    # the smaller rate is bounded, not the larger: 4 of 5000 Hz is 1 of 1250
    if to_rate < from_rate:
        return _as_whole_numbers(from_rate, to_rate)[::-1]
    exact = Fraction(to_rate / from_rate)
    for largest in _LARGEST_FACTORS:
        ratio = exact.limit_denominator(max(1, min(largest, int(_LARGEST_OF_BOTH / exact))))
        if abs(ratio - exact) <= _LARGEST_DRIFT * exact:
            break
    return ratio.numerator, ratio.denominator


def _interval_means(values: np.ndarray, step: float) -> np.ndarray:
    integral = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    n_intervals = int(np.ceil(len(values) / step - 1e-9))
    edges = np.minimum(np.arange(n_intervals + 1) * step, len(values))
    area = np.diff(np.interp(edges, np.arange(len(integral)), integral))
    return (area / np.diff(edges)).astype(np.float32)


def band_filter(
    values: np.ndarray, band: tuple[float | None, float | None], rate: float, order: int = 2
) -> None:
    """``scipy.signal.sosfiltfilt`` with a Butterworth filter, in place on float32."""
    from scipy.signal import butter

    kinds = {(True, True): "band", (True, False): "high", (False, True): "low"}
    kind = kinds.get((band[0] is not None, band[1] is not None))
    if kind is not None:
        corners = [corner for corner in band if corner is not None]
        corner = corners if kind == "band" else corners[0]
        sections = butter(order, corner, kind, fs=rate, output="sos")
        _filter_both_ways(sections, values)


def _filter_both_ways(sections: np.ndarray, values: np.ndarray) -> None:
    from scipy.signal import sosfilt, sosfilt_zi

    # sections are in double precision: in single a high-pass filter leaves rounding noise
    n_padded = min(_N_PADDED, len(values) - 1)
    before = 2 * np.float64(values[0]) - values[n_padded:0:-1]
    after = 2 * np.float64(values[-1]) - values[-2 : -n_padded - 2 : -1]
    blocks = np.array_split(values, -(-len(values) // _SAMPLES_PER_BLOCK))
    pieces = [piece for piece in (before, *blocks, after) if len(piece)]
    steady_state = sosfilt_zi(sections)
    for ordered in (pieces, [piece[::-1] for piece in reversed(pieces)]):
        state = steady_state * ordered[0][0]
        for piece in ordered:
            piece[:], state = sosfilt(sections, piece, zi=state)


def decimate(values: np.ndarray, rate: float, min_rate: float) -> tuple[np.ndarray, float, float]:
    """Means of as many neighbours as ``min_rate`` allows, their rate, and position of the first."""
    n = max(1, int(rate / min_rate))
    if n == 1:
        return values, rate, 0.0
    length = len(values) // n
    # strided sums are several times faster than a mean over a short axis
    total = values[0 : n * length : n].astype(np.float32)
    for first in range(1, n):
        total += values[first : n * length : n]
    total /= n
    return total, rate / n, (n - 1) / 2 / n


def blocks(n: int, size: int) -> Iterator[slice]:
    """Parts of an array that fit into a processor's cache together with what is made of them."""
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Means of ``width`` neighbours, as many as fit, by sums of 1, 2, 4 and so on."""
    total = np.zeros(len(values) - width + 1, values.dtype)
    at, size = 0, 1
    while True:
        if width & size:
            total += values[at : at + len(total)]
            at += size
        if at == width:
            total *= values.dtype.type(1 / width)
            return total
        values = values[:-size] + values[size:]
        size *= 2


def find_quantile(values: np.ndarray, share: float) -> np.floating:
    """The nearest value to a quantile: 0.2 ms of 200,000 values, where ``np.quantile`` takes 4."""
    rank = round(share * (len(values) - 1))
    return np.partition(values, rank)[rank]


def interpolate(
    times: np.ndarray, values: np.ndarray, duration: float, rate: float, max_gap: float
) -> np.ndarray:
    """Even series through values at increasing times; NaN in gaps longer than ``max_gap``."""
    rate = check_number("rate", rate, 0, _HIGHEST_RATE, above=True, error=InvalidSignalError)
    max_gap = check_number("max_gap", max_gap, 0, error=InvalidSignalError)
    grid = np.arange(count_samples(duration, rate)) / rate
    if times.size == 0:
        return np.full(len(grid), np.nan, dtype=np.float32)
    after = np.searchsorted(times, grid)
    time_before = np.append(-np.inf, times)[after]
    time_after = np.append(times, np.inf)[after]
    # at the ends, the nearest value is held for half the length of a gap
    bounded = np.isfinite(time_before) & np.isfinite(time_after)
    nearest = np.minimum(grid - time_before, time_after - grid)
    too_far = np.where(bounded, time_after - time_before > max_gap, nearest > max_gap / 2)
    series = np.interp(grid, times, values).astype(np.float32)
    series[too_far & (nearest > 0)] = np.nan
    return series


def bridge_gaps(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Samples with straight lines in place of missing ones; the same array if none is missing."""
    if present.all():
        return values
    missing = ~present
    beside = np.zeros_like(present)
    beside[1:] |= missing[:-1]
    beside[:-1] |= missing[1:]
    gaps, known = np.flatnonzero(missing), np.flatnonzero(beside & present)
    bridged = values.astype(np.result_type(values, np.float32))
    bridged[gaps] = np.interp(gaps, known, values[known])
    return bridged


def count_samples(duration: float, rate: float) -> int:
    """Whole samples of a duration in seconds."""
    duration = check_number("duration", duration, 0, _LONGEST_SECONDS, error=InvalidSignalError)
    return int(duration * rate + 1e-6)


def check_samples(name: str, values: Any, rate: float, min_rate: float) -> np.ndarray:
    """One channel at ``min_rate`` or faster, as an array."""
    values = as_real_array(name, values, InvalidSignalError)
    if values.ndim != 1:
        raise InvalidSignalError(
            f"{name} has shape {values.shape}; accepted is (n_samples,). Pass one channel."
        )
    rate = check_number("rate", rate, error=InvalidSignalError)
    if not (rate >= min_rate and np.isfinite(rate)):
        raise InvalidSignalError(
            f"{name} has rate {rate:g} Hz; accepted are at least {min_rate:g} samples per "
            "second, as a slower one does not show what is looked for. Leave it out."
        )
    return values


def check_times(name: str, times: Any, strictly: bool = True) -> np.ndarray:
    """Finite, increasing times as float64."""
    times = as_numbers(name, times, ndim=range(9), error=InvalidSignalError)
    if times.ndim != 1:
        raise InvalidSignalError(f"{name} have shape {times.shape}; accepted is (n,).")
    if not np.isfinite(times).all():
        raise InvalidSignalError(f"{name} hold NaN or infinity; drop those entries.")
    steps = np.diff(times)
    wrong = steps <= 0 if strictly else steps < 0
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InvalidSignalError(
            f"{name} are not increasing: entry {i + 1} is {times[i + 1]:g} s after {times[i]:g} s. "
            "Sort them together with their values and drop duplicates."
        )
    return times


def check_values(name: str, values: Any, times: np.ndarray) -> np.ndarray:
    """One value per time, as float64."""
    values = as_numbers(name, values, ndim=range(9), error=InvalidSignalError)
    if values.shape != times.shape:
        raise InvalidSignalError(
            f"{name} have shape {values.shape} for {len(times)} times; accepted is one per time."
        )
    return values
