# SPDX-License-Identifier: BSD-3-Clause
"""Pictures; matplotlib is imported when one is drawn."""

from .events import EventsDisplay
from .hypnogram import HypnogramDisplay

__all__ = ["EventsDisplay", "HypnogramDisplay"]
