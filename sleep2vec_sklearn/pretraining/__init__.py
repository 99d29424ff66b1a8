# SPDX-License-Identifier: BSD-3-Clause
"""Training: the contrastive objective, who the sleepers are, nights on disk, the pretrainer."""

from ..nightstore.content import Content, contents_of
from ..nightstore.store import NightStore, prepare_cohort
from .adaptation import Adaptation, PairSchedule, adapt_modality, add_modality
from .demography import Demography
from .losses import dash_info_nce_loss, dash_weights, info_nce_loss
from .pretrainer import Sleep2VecPretrainer

__all__ = [
    "Adaptation",
    "Content",
    "Demography",
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
]
