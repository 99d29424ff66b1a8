# SPDX-License-Identifier: BSD-3-Clause
"""Loaders for public data sets, in the layouts they are published in."""

from .apnea_ecg import load_apnea_ecg
from .mmash import load_mmash
from .sleep_accel import load_sleep_accel
from .slpdb import load_slpdb

__all__ = ["load_apnea_ecg", "load_mmash", "load_sleep_accel", "load_slpdb"]
