# SPDX-License-Identifier: BSD-3-Clause
"""Data sets: simulated cohorts, and public ones."""

from .public import (
    fetch_apnea_ecg,
    fetch_mmash,
    fetch_sleep_accel,
    fetch_sleep_edf,
    fetch_slpdb,
    fetch_ucddb,
    load_apnea_ecg,
    load_dreams,
    load_mmash,
    load_sleep_accel,
    load_sleep_edf,
    load_slpdb,
    load_ucddb,
)
from .simulation import make_sleep_cohort, write_edf_cohort

__all__ = [
    "fetch_apnea_ecg",
    "fetch_mmash",
    "fetch_sleep_accel",
    "fetch_sleep_edf",
    "fetch_slpdb",
    "fetch_ucddb",
    "load_apnea_ecg",
    "load_dreams",
    "load_mmash",
    "load_sleep_accel",
    "load_sleep_edf",
    "load_slpdb",
    "load_ucddb",
    "make_sleep_cohort",
    "write_edf_cohort",
]
