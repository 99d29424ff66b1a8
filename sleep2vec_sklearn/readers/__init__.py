# SPDX-License-Identifier: BSD-3-Clause
"""Recordings, cohorts and hypnograms from files."""

from .annotations import read_scoring
from .cohort import read_cohort
from .edf import EdfSource
from .formats import describe_channels
from .mne import MneSource
from .night import read_recording
from .npz import NpzSource

__all__ = [
    "EdfSource",
    "MneSource",
    "NpzSource",
    "describe_channels",
    "read_cohort",
    "read_recording",
    "read_scoring",
]
