# SPDX-License-Identifier: BSD-3-Clause
"""From the epochs of a night to one vector per modality; only epochs that count enter it.

B is the number of sequences, L of epochs, M of modalities, K of layers, H the length of a token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .aggregation import shares

__all__ = ["AttentionPooling", "MeanPooling", "build_pooling"]


class MeanPooling(nn.Module):
    """Mean over the epochs that count."""

    def forward(self, tokens: Tensor, counted: Tensor) -> Tensor:
        """[B, L, M, K, H], zero where not ``counted`` [B, L, M], to [B, M, K, H]."""
        return tokens.sum(dim=1) / counted.sum(dim=1).clamp(min=1)[..., None, None]


class AttentionPooling(nn.Module):
    """Weighted mean with ``softmax(q · tanh(W h + b))`` over the epochs that count.

    One query for all modalities and layers.
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.key = nn.Linear(hidden_size, hidden_size)
        self.query = nn.Parameter(0.02 * torch.randn(hidden_size))

    def forward(self, tokens: Tensor, counted: Tensor) -> Tensor:
        """[B, L, M, K, H], zero where not ``counted`` [B, L, M], to [B, M, K, H]."""
        scores = self.key(tokens).tanh() @ self.query
        weights = shares(scores, counted[..., None].expand_as(scores), dim=1)
        return (weights[..., None] * tokens).sum(dim=1)


def build_pooling(pooling: str, hidden_size: int) -> nn.Module | None:
    """The pooling of this name; None for "cls", which pools nothing."""
    if pooling == "cls":
        return None
    return AttentionPooling(hidden_size) if pooling == "attention" else MeanPooling()
