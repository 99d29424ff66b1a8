# SPDX-License-Identifier: BSD-3-Clause
"""Zero-phase filters that work where the samples are, a block at a time."""

from __future__ import annotations

import numpy as np

__all__ = ["band_filter"]

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
