# SPDX-License-Identifier: BSD-3-Clause
"""Simulated sleep: nights whose signals follow stages, breathing, heart beats and movements."""

from .cohort import SimulatedSource, make_sleep_cohort
from .edf_export import write_edf_cohort

__all__ = [
    "SimulatedSource",
    "make_sleep_cohort",
    "write_edf_cohort",
]
