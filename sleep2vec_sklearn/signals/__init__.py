# SPDX-License-Identifier: BSD-3-Clause
"""Signals of a night: modalities, recordings, epochs and their conditioning."""

from .modality import EPOCH_SECONDS, MODALITIES, Conditioning, Modality, get_modality
from .stages import SleepStage, as_stages

__all__ = [
    "EPOCH_SECONDS",
    "MODALITIES",
    "Conditioning",
    "Modality",
    "SleepStage",
    "as_stages",
    "get_modality",
]
