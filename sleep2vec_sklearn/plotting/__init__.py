# SPDX-License-Identifier: BSD-3-Clause
"""Pictures; matplotlib is imported when one is drawn."""

from .hypnogram import HypnogramDisplay
from .label_efficiency import LabelEfficiencyDisplay
from .modality_dropout import ModalityDropoutDisplay
from .modality_importance import ModalityImportanceDisplay
from .modality_subsets import ModalitySubsetsDisplay
from .retrieval import RetrievalDisplay
from .scaling import ScalingLawDisplay

__all__ = [
    "HypnogramDisplay",
    "LabelEfficiencyDisplay",
    "ModalityDropoutDisplay",
    "ModalityImportanceDisplay",
    "ModalitySubsetsDisplay",
    "RetrievalDisplay",
    "ScalingLawDisplay",
]
