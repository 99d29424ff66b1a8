# SPDX-License-Identifier: BSD-3-Clause
"""Series derived from sensors: inter-beat intervals, respiration, activity counts.

All raise an :exc:`~sleep2vec_sklearn.errors.InvalidSignalError` for an array that is not
one-dimensional and for a rate that is too low.
"""

from .breathing import resp_from_breathing, resp_from_ecg
from .counts import counts_from_acceleration, counts_from_epochs
from .heartbeats import (
    find_pulses,
    find_r_peaks,
    ibi_from_beats,
    ibi_from_ecg,
    ibi_from_heart_rate,
    ibi_from_intervals,
    ibi_from_ppg,
)

__all__ = [
    "counts_from_acceleration",
    "counts_from_epochs",
    "find_pulses",
    "find_r_peaks",
    "ibi_from_beats",
    "ibi_from_ecg",
    "ibi_from_heart_rate",
    "ibi_from_intervals",
    "ibi_from_ppg",
    "resp_from_breathing",
    "resp_from_ecg",
]
