# SPDX-License-Identifier: BSD-3-Clause
"""The projection head of SimCLR (Chen et al. 2020, arXiv 2002.05709), used in pretraining."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

__all__ = ["Projection"]


class Projection(nn.Module):
    """Linear, BatchNorm, ReLU, Linear, BatchNorm, then unit length."""

    def __init__(self, in_size: int, hidden_size: int, out_size: int):
        super().__init__()
        self.hidden = nn.Linear(in_size, hidden_size, bias=False)
        self.hidden_norm = nn.BatchNorm1d(hidden_size)
        self.output = nn.Linear(hidden_size, out_size, bias=False)
        self.output_norm = nn.BatchNorm1d(out_size)

    def forward(self, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
        """[..., in_size] to [..., out_size], of unit length.

        Parameters
        ----------
        hidden : Tensor of shape [..., in_size]
        valid : bool Tensor of shape [...], optional
            Positions that count: BatchNorm's statistics are over these alone, the others come
            out as zero vectors. All positions count by default.
        """
        width = self.output.out_features
        rows = hidden.reshape(-1, hidden.shape[-1])
        if valid is None:
            inner = relu(self.hidden_norm(self.hidden(rows)))
            projected = normalize(self.output_norm(self.output(inner)), dim=-1)
            return projected.view(*hidden.shape[:-1], width)
        # The products are over all positions, padding too: their kernels are made anew, and kept,
        # for every number of rows, which would differ from batch to batch.
        counted = valid.reshape(-1)
        inner = self.hidden(rows.masked_fill(~counted[:, None], 0.0))[counted]
        inner = _spread(relu(self.hidden_norm(inner)), counted)
        projected = normalize(self.output_norm(self.output(inner)[counted]), dim=-1)
        return _spread(projected, counted).view(*hidden.shape[:-1], width)


def _spread(rows: Tensor, counted: Tensor) -> Tensor:
    """Rows at the positions that count, zeros elsewhere."""
    out = rows.new_zeros(len(counted), rows.shape[-1])
    return torch.index_put(out, (counted,), rows)
