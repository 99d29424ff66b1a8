# SPDX-License-Identifier: BSD-3-Clause
"""Training: the contrastive objective, who the sleepers are, nights on disk, the pretrainer."""

from .content import Content, contents_of
from .demography import Demography
from .objective import dash_info_nce_loss, info_nce_loss
from .preparation import prepare_cohort
from .pretrainer import Sleep2VecPretrainer
from .store import NightStore
from .weighting import dash_weights

__all__ = [
    "Content",
    "Demography",
    "NightStore",
    "Sleep2VecPretrainer",
    "contents_of",
    "dash_info_nce_loss",
    "dash_weights",
    "info_nce_loss",
    "prepare_cohort",
]
