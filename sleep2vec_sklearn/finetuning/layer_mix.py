# SPDX-License-Identifier: BSD-3-Clause
"""A learned mean over layers of the encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LayerMix"]


class LayerMix(nn.Module):
    """``sum_k softmax(weight)_k h_k``; the plain mean before training.

    Parameters
    ----------
    n_layers : int
        K.
    n_modalities : int
        M for weights of each modality's own, 1 for weights they share.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.finetuning.layer_mix import LayerMix
    >>> mix = LayerMix(n_layers=2, n_modalities=3)
    >>> states = torch.stack([torch.zeros(3, 5), torch.ones(3, 5)], dim=1)
    >>> mix(states)[0].tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5]
    """

    def __init__(self, n_layers: int, n_modalities: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_modalities, n_layers))

    def forward(self, states: Tensor) -> Tensor:
        """[..., M, K, H] to [..., M, H]."""
        return (self.weight.softmax(dim=-1)[..., None] * states).sum(dim=-2)
