# SPDX-License-Identifier: BSD-3-Clause
"""Respiration from a belt, an airflow sensor, or the effect of breathing on an ECG."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._resampling import (
    band_filter,
    bridge_gaps,
    check_samples,
    count_samples,
    decimate,
    interpolate,
    resample,
)
from .heartbeats import ECG_RATE, MIN_ECG_RATE, find_r_peaks

RESP_RATE = 4.0
BREATHING_BAND = (0.05, 1.0)
EDR_BAND = (0.1, 0.6)
MAX_GAP = 5.0
QRS_SECONDS = 0.06
_DECIMATED_RATE = 16.0


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
