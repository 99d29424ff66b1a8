# SPDX-License-Identifier: BSD-3-Clause
"""From one vector per modality to one: what is missing is left out and weights are shared anew.

M is the number of modalities and H the length of a vector; the axes before them are free.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import HeadConfig

__all__ = ["build_aggregation", "fill_gaps", "shares"]

_FADE_EPOCHS = 20


def shares(scores: Tensor, counted: Tensor, dim: int) -> Tensor:
    """Softmax over what counts; zero elsewhere, and all zero where nothing counts."""
    # the least finite number rather than -inf, of which a softmax makes NaN
    masked = scores.masked_fill(~counted, torch.finfo(scores.dtype).min)
    return masked.softmax(dim=dim) * counted


class MeanAggregation(nn.Module):
    """Mean over the modalities present."""

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """[..., M, H], zero where not ``present`` [..., M], to [..., H]."""
        return values.sum(dim=-2) / present.sum(dim=-1, keepdim=True).clamp(min=1)


class ConcatAggregation(nn.Module):
    """One block per modality; a missing one is filled with the mean of the others."""

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """[..., M, H], zero where not ``present`` [..., M], to [..., M * H]."""
        mean = values.sum(dim=-2) / present.sum(dim=-1, keepdim=True).clamp(min=1)
        return torch.where(present[..., None], values, mean[..., None, :]).flatten(-2)


class GatedAggregation(nn.Module):
    """Weighted sum with a learned weight per modality, the same for every input.

    Notes
    -----
    The weights are the softmax of ``gates`` over the modalities present, so they add up to one
    for any subset.
    """

    def __init__(self, n_modalities: int):
        super().__init__()
        self.gates = nn.Parameter(torch.zeros(n_modalities))

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """[..., M, H], zero where not ``present`` [..., M], to [..., H]."""
        weights = shares(self.gates.expand(present.shape), present, dim=-1)
        return (weights[..., None] * values).sum(dim=-2)


def build_aggregation(config: HeadConfig) -> nn.Module:
    """The aggregation that a head's configuration names."""
    if config.aggregation == "gated":
        return GatedAggregation(len(config.modalities))
    return {"mean": MeanAggregation, "concat": ConcatAggregation}[config.aggregation]()


def fill_gaps(rows: Tensor, measured: Tensor) -> Tensor:
    """Give epochs without any signal a row like those around them, as ``encoding.fusion`` does.

    Parameters
    ----------
    rows : Tensor of shape [B, L, W]
    measured : bool Tensor of shape [B, L]

    Returns
    -------
    Tensor of shape [B, L, W]
        Where not measured, a mean of the nearest rows before and after, which fade over ten
        minutes, and of the sequence's mean row; zeros in a sequence without any signal.
    """
    length = rows.shape[1]
    places = torch.arange(length, device=rows.device)
    before = torch.where(measured, places, -1).cummax(dim=1).values
    after = torch.where(measured, places, length).flip(1).cummin(dim=1).values.flip(1)
    counts = measured.sum(dim=1).clamp(min=1)[:, None, None]
    mean = rows.masked_fill(~measured[..., None], 0.0).sum(dim=1, keepdim=True) / counts
    filled, total = torch.zeros_like(rows), rows.new_zeros(*measured.shape, 1)
    for neighbour, exists in ((before, before >= 0), (after, after < length)):
        weight = exists * torch.exp((neighbour - places).abs() / -_FADE_EPOCHS)
        weight = weight.to(rows.dtype)[..., None]
        place = neighbour.clamp(0, length - 1)[..., None].expand_as(rows)
        filled = filled + weight * rows.gather(1, place)
        total = total + weight
    rest = (1 - total).clamp(min=0)
    return torch.where(measured[..., None], rows, (filled + rest * mean) / (total + rest))
