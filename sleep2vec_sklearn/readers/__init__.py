# SPDX-License-Identifier: BSD-3-Clause
"""Recordings, cohorts and hypnograms from files."""

from .cohort import read_cohort
from .edf import EdfSource
from .formats import describe_channels
from .hypnograms import read_scoring
from .mne import MneSource
from .nights import split_nights
from .npz import NpzSource
from .recording import read_recording
from .wearables import WearableSource

__all__ = [
    "EdfSource",
    "MneSource",
    "NpzSource",
    "WearableSource",
    "describe_channels",
    "read_cohort",
    "read_recording",
    "read_scoring",
    "split_nights",
]
