# SPDX-License-Identifier: BSD-3-Clause
"""Three ways to change a signal's rate, each for one kind of signal."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np

__all__ = [
    "band_filter",
    "resample",
]

# the first that is near enough: filters grow with the factor
_LARGEST_FACTORS = (1000, 10_000, 100_000)
# 0.03 s in eight hours
_LARGEST_DRIFT = 1e-6
_OUTPUTS_PER_BLOCK = 16
# OpenBLAS starts threads for larger products; channels are resampled side by side instead
_PRODUCTS_AT_ONCE = 1 << 18


def resample(values: np.ndarray, from_rate: float, to_rate: float, method: str) -> np.ndarray:
    """Resample gap-free samples.

    Parameters
    ----------
    values : float32 ndarray of shape (n_samples,)
        Finite samples.
    from_rate, to_rate : float
        Samples per second.
    method : {"polyphase", "linear", "mean"}
        ``"polyphase"`` for waveforms: as :func:`scipy.signal.resample_poly` on a rational ratio.
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
    up, down = _as_whole_numbers(to_rate, from_rate)
    # 128.0001 Hz of a header; a filter that passes everything cannot be designed
    return values if up == down else _polyphase(values, up, down)


def _polyphase(values: np.ndarray, up: int, down: int) -> np.ndarray:
    """``scipy.signal.resample_poly(values, up, down, padtype="line")``, up to six times as fast.

    A block of new samples is a product of the samples around it with one matrix, the same for
    every block, which the processor's vector units do well.
    """
    length, per_block = _block_shape(up, down)
    if length * per_block > _PRODUCTS_AT_ONCE or len(values) < length:
        from scipy.signal import resample_poly

        return resample_poly(values, up, down, padtype="line")
    filters, n_before = _block_filters(up, down)
    n_new = -(-len(values) * up // down)
    step = per_block // up * down
    resampled = np.empty((-(-n_new // per_block), per_block), dtype=np.float32)
    at_once = max(1, _PRODUCTS_AT_ONCE // filters.size)
    for first in range(0, len(resampled), at_once):
        blocks = resampled[first : first + at_once]
        start = first * step - n_before
        around = _extended(values, start, start + (len(blocks) - 1) * step + length)
        windows = np.lib.stride_tricks.sliding_window_view(around, length)[::step]
        np.matmul(np.ascontiguousarray(windows), filters, out=blocks)
    return resampled.reshape(-1)[:n_new]


def _block_shape(up: int, down: int) -> tuple[int, int]:
    """Samples around a block, and new samples of a block."""
    per_block = up * max(1, _OUTPUTS_PER_BLOCK // up)
    return (per_block - 1) * down // up + 2 * (10 * max(up, down) // up) + 2, per_block


@lru_cache(maxsize=32)
def _block_filters(up: int, down: int) -> tuple[np.ndarray, int]:
    """Matrix [samples around a block, new samples of a block], and how many lie before it."""
    from scipy.signal import firwin

    half = 10 * max(up, down)
    taps = up * firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", 5.0))
    n_before = half // up
    length, per_block = _block_shape(up, down)
    new = np.arange(per_block)
    old = np.arange(length) - n_before
    place = half + new * down - up * old[:, None]
    inside = (place >= 0) & (place < len(taps))
    filters = np.where(inside, taps[np.where(inside, place, 0)], 0).astype(np.float32)
    return filters, n_before


def _extended(values: np.ndarray, start: int, stop: int) -> np.ndarray:
    """``values[start:stop]``, beyond the ends on the line through the first and last sample."""
    n_before, n_after = max(-start, 0), max(stop - len(values), 0)
    inside = values[max(start, 0) : stop]
    if not n_before and not n_after:
        return inside
    slope = (values[-1] - values[0]) / np.float32(len(values) - 1)
    before = values[0] - slope * np.arange(n_before, 0, -1, dtype=np.float32)
    after = values[-1] + slope * np.arange(1, n_after + 1, dtype=np.float32)
    return np.concatenate([before, inside, after], dtype=np.float32)


def _as_whole_numbers(to_rate: float, from_rate: float) -> tuple[int, int]:
    # the smaller rate is bounded, not the larger: 4 of 5000 Hz is 1 of 1250
    if to_rate < from_rate:
        return _as_whole_numbers(from_rate, to_rate)[::-1]
    exact = Fraction(to_rate / from_rate)
    for largest in _LARGEST_FACTORS:
        ratio = exact.limit_denominator(largest)
        if abs(ratio - exact) <= _LARGEST_DRIFT * exact:
            break
    return ratio.numerator, ratio.denominator


def _interval_means(values: np.ndarray, step: float) -> np.ndarray:
    integral = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    n_intervals = int(np.ceil(len(values) / step - 1e-9))
    edges = np.minimum(np.arange(n_intervals + 1) * step, len(values))
    area = np.diff(np.interp(edges, np.arange(len(integral)), integral))
    return (area / np.diff(edges)).astype(np.float32)


_SAMPLES_PER_BLOCK = 1 << 16
_N_PADDED = 15


def band_filter(values: np.ndarray, band: tuple[float | None, float | None], rate: float) -> None:
    """Second-order Butterworth, forwards and backwards, in place.

    As :func:`scipy.signal.sosfiltfilt` in double precision, without its copies of a night: in
    single precision a high-pass filter leaves rounding noise where it should leave nothing.

    Parameters
    ----------
    values : float32 ndarray of shape (n_samples,)
        Finite samples; overwritten.
    band : (low, high)
        Corners in Hz; None leaves that side open.
    rate : float
        Samples per second.
    """
    low, high = band
    if (low, high) == (None, None):
        return
    from scipy.signal import butter

    kind, corners = ("band", (low, high))
    if low is None or high is None:
        kind, corners = ("high", low) if high is None else ("low", high)
    _filter_both_ways(butter(2, corners, kind, fs=rate, output="sos"), values)


def _filter_both_ways(sections: np.ndarray, values: np.ndarray) -> None:
    from scipy.signal import sosfilt, sosfilt_zi

    n_padded = min(_N_PADDED, len(values) - 1)
    before = 2 * np.float64(values[0]) - values[n_padded:0:-1]
    after = 2 * np.float64(values[-1]) - values[-2 : -n_padded - 2 : -1]
    blocks = np.array_split(values, -(-len(values) // _SAMPLES_PER_BLOCK))
    pieces = [piece for piece in (before, *blocks, after) if len(piece)]
    at_rest = sosfilt_zi(sections)
    for ordered in (pieces, [piece[::-1] for piece in reversed(pieces)]):
        state = at_rest * ordered[0][0]
        for piece in ordered:
            piece[:], state = sosfilt(sections, piece, zi=state)
