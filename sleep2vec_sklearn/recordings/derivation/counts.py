# SPDX-License-Identifier: BSD-3-Clause
"""Activity counts per second, from counts per epoch or acceleration."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InvalidSignalError
from .._resampling import bridge_gaps, check_times, check_values, count_samples

COUNT_BAND = (0.29, 1.63)
COUNT_SIZE = 2.13 / 128
COUNT_DEAD_BAND = 4
COUNT_LIMIT = 128


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
    bridged = bridge_gaps(acceleration.astype(np.float64), present)
    sections = butter(2, COUNT_BAND, "band", fs=rate, output="sos")
    movement = np.abs(sosfiltfilt(sections, bridged, padlen=min(len(bridged) - 1, int(5 * rate))))
    size = np.minimum(np.floor(movement / COUNT_SIZE), COUNT_LIMIT)
    size[(size < COUNT_DEAD_BAND) | ~present] = 0
    total = np.bincount(second, size, n_seconds)[:n_seconds]
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = 10 * total / (share * rate)
    return np.where(share >= 0.5, counts, np.nan).astype(np.float32), 1.0
