# SPDX-License-Identifier: BSD-3-Clause
"""Displays, whose ``plot`` imports matplotlib."""

from .night import EventsDisplay, HypnodensityDisplay, HypnogramDisplay, NightOverviewDisplay
from .reports import (
    BlandAltmanDisplay,
    ReliabilityDisplay,
    ReviewDisplay,
    StageConfusionDisplay,
)
from .studies import (
    LabelEfficiencyDisplay,
    ManhattanDisplay,
    ModalityDropoutDisplay,
    ModalityImportanceDisplay,
    ModalitySubsetsDisplay,
    RetrievalDisplay,
    ScalingLawDisplay,
)
from .survival import CumulativeIncidenceDisplay, KaplanMeierDisplay

__all__ = [
    "BlandAltmanDisplay",
    "CumulativeIncidenceDisplay",
    "EventsDisplay",
    "HypnodensityDisplay",
    "HypnogramDisplay",
    "KaplanMeierDisplay",
    "LabelEfficiencyDisplay",
    "ManhattanDisplay",
    "ModalityDropoutDisplay",
    "ModalityImportanceDisplay",
    "ModalitySubsetsDisplay",
    "NightOverviewDisplay",
    "ReliabilityDisplay",
    "RetrievalDisplay",
    "ReviewDisplay",
    "ScalingLawDisplay",
    "StageConfusionDisplay",
]
