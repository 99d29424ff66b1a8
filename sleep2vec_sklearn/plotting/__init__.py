# SPDX-License-Identifier: BSD-3-Clause
"""Pictures; matplotlib is imported when one is drawn."""

from .bland_altman import BlandAltmanDisplay
from .calibration import ReliabilityDisplay
from .confusion import StageConfusionDisplay
from .events import EventsDisplay
from .hypnodensity import HypnodensityDisplay
from .hypnogram import HypnogramDisplay
from .night_overview import NightOverviewDisplay

__all__ = [
    "BlandAltmanDisplay",
    "EventsDisplay",
    "HypnodensityDisplay",
    "HypnogramDisplay",
    "NightOverviewDisplay",
    "ReliabilityDisplay",
    "StageConfusionDisplay",
]
