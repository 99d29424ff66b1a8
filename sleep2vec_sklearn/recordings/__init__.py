# SPDX-License-Identifier: BSD-3-Clause
"""Recordings, their epochs and sleep stages, and the catalogue of modalities."""

from . import derivation as derivation
from .cohort import Cohort
from .epochs import EpochSequence, EpochView
from .modality import (
    EPOCH_SECONDS,
    MODALITIES,
    Conditioning,
    Modality,
    get_modality,
    list_modalities,
)
from .recording import Recording, as_recording
from .sources import MemorySource, Signal, SignalLayout, SignalSource
from .stages import SleepStage, as_stages

__all__ = [
    "EPOCH_SECONDS",
    "MODALITIES",
    "Cohort",
    "Conditioning",
    "EpochSequence",
    "EpochView",
    "MemorySource",
    "Modality",
    "Recording",
    "Signal",
    "SignalLayout",
    "SignalSource",
    "SleepStage",
    "as_recording",
    "as_stages",
    "get_modality",
    "list_modalities",
]
