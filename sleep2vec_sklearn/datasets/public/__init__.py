# SPDX-License-Identifier: BSD-3-Clause
"""Loaders for public data sets, in the layouts they are published in."""

from .mmash import load_mmash
from .sleep_accel import load_sleep_accel

__all__ = ["load_mmash", "load_sleep_accel"]
