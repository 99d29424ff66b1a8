# SPDX-License-Identifier: BSD-3-Clause
"""Data sets: simulated cohorts, and public ones."""

from .apnea_ecg import load_apnea_ecg
from .bidsleep import load_bidsleep
from .dreams import load_dreams
from .mmash import load_mmash
from .physionet import (
    fetch_apnea_ecg,
    fetch_bidsleep,
    fetch_mmash,
    fetch_sleep_accel,
    fetch_sleep_edf,
    fetch_slpdb,
    fetch_ucddb,
)
from .simulation import make_sleep_cohort, write_edf_cohort
from .sleep_accel import load_sleep_accel
from .sleep_edf import load_sleep_edf
from .slpdb import load_slpdb
from .ucddb import load_ucddb

__all__ = [
    "fetch_apnea_ecg",
    "fetch_bidsleep",
    "fetch_mmash",
    "fetch_sleep_accel",
    "fetch_sleep_edf",
    "fetch_slpdb",
    "fetch_ucddb",
    "load_apnea_ecg",
    "load_bidsleep",
    "load_dreams",
    "load_mmash",
    "load_sleep_accel",
    "load_sleep_edf",
    "load_slpdb",
    "load_ucddb",
    "make_sleep_cohort",
    "write_edf_cohort",
]
