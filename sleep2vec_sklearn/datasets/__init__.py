# SPDX-License-Identifier: BSD-3-Clause
"""Data sets: simulated cohorts."""

from .simulation import make_sleep_cohort, write_edf_cohort

__all__ = ["make_sleep_cohort", "write_edf_cohort"]
