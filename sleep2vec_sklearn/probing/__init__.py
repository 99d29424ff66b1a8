# SPDX-License-Identifier: BSD-3-Clause
"""Studies of a representation: label efficiency, sensors, retrieval and scaling."""

from .label_efficiency import LabelEfficiency, label_efficiency_curve, nested_subsets
from .modality_dropout import ModalityDropout, draw_loss, modality_dropout_curve
from .modality_importance import ModalityImportance, modality_importance
from .modality_subsets import ModalitySubsets, modality_subset_scores, non_empty_subsets
from .retrieval import CrossModalRetrieval, cross_modal_retrieval
from .scaling import ScalingLaw, fit_scaling_law, run_scaling_sweep

__all__ = [
    "CrossModalRetrieval",
    "LabelEfficiency",
    "ModalityDropout",
    "ModalityImportance",
    "ModalitySubsets",
    "ScalingLaw",
    "cross_modal_retrieval",
    "draw_loss",
    "fit_scaling_law",
    "label_efficiency_curve",
    "modality_dropout_curve",
    "modality_importance",
    "modality_subset_scores",
    "nested_subsets",
    "non_empty_subsets",
    "run_scaling_sweep",
]
