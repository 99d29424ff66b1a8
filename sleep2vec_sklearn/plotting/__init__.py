# SPDX-License-Identifier: BSD-3-Clause
"""Displays, whose ``plot`` imports matplotlib."""

from .night import EventsDisplay, HypnodensityDisplay, HypnogramDisplay, NightOverviewDisplay
from .reports import (
    BlandAltmanDisplay,
    KaplanMeierDisplay,
    ReliabilityDisplay,
    StageConfusionDisplay,
)
from .studies import (
    LabelEfficiencyDisplay,
    ModalityDropoutDisplay,
    ModalityImportanceDisplay,
    ModalitySubsetsDisplay,
    RetrievalDisplay,
    ScalingLawDisplay,
)

__all__ = [
    "BlandAltmanDisplay",
    "EventsDisplay",
    "HypnodensityDisplay",
    "HypnogramDisplay",
    "KaplanMeierDisplay",
    "LabelEfficiencyDisplay",
    "ModalityDropoutDisplay",
    "ModalityImportanceDisplay",
    "ModalitySubsetsDisplay",
    "NightOverviewDisplay",
    "ReliabilityDisplay",
    "RetrievalDisplay",
    "ScalingLawDisplay",
    "StageConfusionDisplay",
]
