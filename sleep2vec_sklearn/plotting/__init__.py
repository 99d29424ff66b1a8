# SPDX-License-Identifier: BSD-3-Clause
"""Pictures; matplotlib is imported when one is drawn."""

from .bland_altman import BlandAltmanDisplay
from .calibration import ReliabilityDisplay
from .confusion import StageConfusionDisplay
from .events import EventsDisplay
from .hypnodensity import HypnodensityDisplay
from .hypnogram import HypnogramDisplay
from .label_efficiency import LabelEfficiencyDisplay
from .modality_dropout import ModalityDropoutDisplay
from .modality_importance import ModalityImportanceDisplay
from .modality_subsets import ModalitySubsetsDisplay
from .night_overview import NightOverviewDisplay
from .retrieval import RetrievalDisplay
from .scaling import ScalingLawDisplay

__all__ = [
    "BlandAltmanDisplay",
    "EventsDisplay",
    "HypnodensityDisplay",
    "HypnogramDisplay",
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
