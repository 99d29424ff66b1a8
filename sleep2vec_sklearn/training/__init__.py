# SPDX-License-Identifier: BSD-3-Clause
"""Training: the contrastive objective."""

from .objective import info_nce_loss

__all__ = ["info_nce_loss"]
