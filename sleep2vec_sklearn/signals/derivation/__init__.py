# SPDX-License-Identifier: BSD-3-Clause
"""Series that sensors imply: beat-to-beat intervals, breathing, activity counts."""

from .counts import counts_from_acceleration, counts_from_epochs
from .intervals import ibi_from_beats, ibi_from_heart_rate, ibi_from_intervals

__all__ = [
    "counts_from_acceleration",
    "counts_from_epochs",
    "ibi_from_beats",
    "ibi_from_heart_rate",
    "ibi_from_intervals",
]
