# SPDX-License-Identifier: BSD-3-Clause
"""Training: the contrastive objective, and nights on disk that it reads windows of."""

from .content import Content, contents_of
from .objective import info_nce_loss
from .preparation import prepare_cohort
from .store import NightStore

__all__ = ["Content", "NightStore", "contents_of", "info_nce_loss", "prepare_cohort"]
