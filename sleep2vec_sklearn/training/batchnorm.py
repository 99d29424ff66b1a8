# SPDX-License-Identifier: BSD-3-Clause
"""BatchNorm whose batch is spread over processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .processes import is_distributed

__all__ = ["SyncBatchNorm", "convert_batchnorm"]


class SyncBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the rows of all ranks, on any device.

    ``torch.nn.SyncBatchNorm`` refuses CPU. Ranks may hold different numbers of rows, none too:
    every row counts once, so that rows left out of the batch (as the projection head does with
    padding) are out of the statistics. The state dict is that of ``nn.BatchNorm1d``, and so is
    what it does in evaluation or alone.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """[N, C] to [N, C].

        Raises
        ------
        ValueError
            If all ranks together have fewer than two rows in training.
        """
        if not (self.training and is_distributed()):
            return super().forward(rows)
        if rows.ndim != 2:
            raise ValueError(f"SyncBatchNorm takes rows [N, C], got {tuple(rows.shape)}.")
        count, mean, variance = _moments(rows.detach())
        if count < 2:
            raise ValueError(f"BatchNorm needs two rows in training, all ranks have {count:g}.")
        if self.track_running_stats:
            self._follow(mean, variance * (count / (count - 1)))
        scale = (variance + self.eps).rsqrt()
        out = _Normalise.apply(rows, mean, scale, count)
        if self.affine:
            out = torch.addcmul(self.bias, out, self.weight)
        return out.to(rows.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def _moments(rows: Tensor) -> tuple[float, Tensor, Tensor]:
    """Count, mean and variance of all ranks' rows.

    From each rank's own (Chan et al. 1979), in one message; in float64, where the difference of
    squares loses nothing.
    """
    n_rows, width = rows.shape
    totals = torch.zeros(2 * width + 1, dtype=torch.float64, device=rows.device)
    if n_rows:
        variance, mean = torch.var_mean(_wide(rows), dim=0, correction=0)
        mean = mean.double()
        totals = n_rows * torch.cat([mean, variance + mean.square(), mean.new_ones(1)])
    dist.all_reduce(totals)
    count = totals[-1].item()
    mean, square = (totals[:-1] / max(count, 1.0)).split(width)
    return count, mean, (square - mean.square()).clamp_min(0.0)


class _Normalise(Function):
    """``(rows - mean) * scale``, with the gradient through the moments of all ranks' rows."""

    @staticmethod
    def forward(ctx, rows: Tensor, mean: Tensor, scale: Tensor, count: float) -> Tensor:
        wide = _wide(rows)
        scale = scale.to(wide.dtype)
        normed = (wide - mean.to(wide.dtype)) * scale
        ctx.save_for_backward(normed, scale)
        ctx.count, ctx.dtype = count, rows.dtype
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        normed, scale = ctx.saved_tensors
        totals = torch.cat([gradient.sum(dim=0), (gradient * normed).sum(dim=0)])
        dist.all_reduce(totals)
        centre, slope = (totals / ctx.count).chunk(2)
        own = scale * (gradient - centre - normed * slope)
        return own.to(ctx.dtype), None, None, None


def _wide(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def convert_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every ``nn.BatchNorm1d`` inside by a :class:`SyncBatchNorm`, in place.

    Parameters and buffers stay the same objects, so an optimiser that was made before holds them.
    Alone, the module is left as it is.

    Returns
    -------
    nn.Module
        The module; another object only if it is itself a BatchNorm.
    """
    if not is_distributed():
        return module
    if type(module) is nn.BatchNorm1d:
        return _synchronised(module)
    for name, child in module.named_children():
        setattr(module, name, convert_batchnorm(child))
    return module


def _synchronised(norm: nn.BatchNorm1d) -> SyncBatchNorm:
    new = SyncBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    new._parameters, new._buffers = norm._parameters, norm._buffers
    return new.train(norm.training)
