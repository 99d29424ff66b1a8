# SPDX-License-Identifier: BSD-3-Clause
"""Pretraining of encoders on nights without labels."""

from ..nightstore.content import Content
from ..nightstore.store import NightStore, contents_of, prepare_cohort
from ._distributed import process_group
from .adaptation import Adaptation, PairSchedule, adapt_modality, add_modality
from .config import AdamW, Augmentation, DashObjective, EncoderSpec, InfoNCEObjective
from .demography import Demography, dash_weights
from .losses import dash_info_nce_loss, info_nce_loss
from .pretrainer import Sleep2VecPretrainer

__all__ = [
    "AdamW",
    "Adaptation",
    "Augmentation",
    "Content",
    "DashObjective",
    "Demography",
    "EncoderSpec",
    "InfoNCEObjective",
    "NightStore",
    "PairSchedule",
    "Sleep2VecPretrainer",
    "adapt_modality",
    "add_modality",
    "contents_of",
    "dash_info_nce_loss",
    "dash_weights",
    "info_nce_loss",
    "prepare_cohort",
    "process_group",
]
