# SPDX-License-Identifier: BSD-3-Clause
"""Training: the contrastive objective, and who the sleepers are."""

from .demography import Demography
from .objective import dash_info_nce_loss, info_nce_loss
from .weighting import dash_weights

__all__ = ["Demography", "dash_info_nce_loss", "dash_weights", "info_nce_loss"]
