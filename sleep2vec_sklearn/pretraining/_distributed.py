# SPDX-License-Identifier: BSD-3-Clause
"""Training by several processes that together do what one process would do with the whole batch.

Rank r of W holds the rows ``r::W`` of every batch. It encodes them, gathers what all ranks made,
and computes the loss of the whole batch, of which only its own rows carry a gradient: the sum of
gradients over ranks is that of a single process, which the mean of ``DistributedDataParallel``
would not be. Nothing with parameters may come after :func:`gather_rows`, or the sum would count it
W times. Without a process group every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..errors import TrainingError

_BUCKET_BYTES = 32 * 2**20


@contextmanager
def process_group(backend: str | None = None, **options: Any) -> Iterator[int]:
    """Join the processes that ``torchrun`` started; without it, go on alone.

    Parameters
    ----------
    backend : str, optional
        "nccl" where CUDA is, else "gloo". With "nccl", ``cuda`` is this process's own device.
    **options
        Of :func:`torch.distributed.init_process_group`, such as ``timeout``, or ``init_method``,
        ``rank`` and ``world_size`` where something else than ``torchrun`` started the processes.

    Yields
    ------
    int
        The rank of this process, 0 if it is alone.

    Examples
    --------
    >>> from sleep2vec_sklearn.pretraining import process_group
    >>> with process_group() as rank:
    ...     print(rank)
    0
    """
    if not dist.is_available() or not ("world_size" in options or "WORLD_SIZE" in os.environ):
        yield 0
        return
    backend = backend or ("nccl" if torch.cuda.is_available() else "gloo")
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group(backend, **options)
    try:
        yield rank()
    finally:
        dist.destroy_process_group()


def is_distributed() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process among all, from 0; 0 alone."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes train together; 1 alone."""
    return dist.get_world_size() if is_distributed() else 1


def broadcast_value(value: Any) -> Any:
    """Rank 0's value of a small object, such as a decision to stop; ranks wait for each other."""
    if not is_distributed():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def from_rank_zero(work: Callable[[], Any]) -> Any:
    """The result of ``work()``, which rank 0 alone does; if it fails there, all ranks fail."""
    if not is_distributed():
        return work()
    if rank() != 0:
        # without its failure they would wait for ever
        value, failure = broadcast_value(None)
        if failure is not None:
            raise TrainingError(f"the process of rank 0 failed: {failure}")
        return value
    try:
        value = work()
    except Exception as error:
        broadcast_value((None, f"{type(error).__name__}: {error}"))
        raise
    return broadcast_value((value, None))[0]


def gather_rows(rows: Tensor) -> Tensor:
    """All ranks' rows [B, ...] in the order of the batch; a gradient goes to the own rows alone."""
    if not is_distributed():
        return rows
    n_rows = _rows_in_batch(rows)
    # where the batch does not divide by the number of ranks, the first have one row more
    n_most = -(-n_rows // world_size())
    missing = rows.new_zeros(n_most - len(rows), *rows.shape[1:])
    own = torch.cat([rows, missing]) if len(missing) else rows.contiguous()
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own.detach())
    parts[rank()] = own
    return torch.stack(parts, dim=1).flatten(0, 1)[:n_rows]


def _rows_in_batch(rows: Tensor) -> int:
    own = torch.tensor(rows.shape, device=rows.device)
    gathered = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(gathered, own)
    shapes = [tuple(shape.tolist()) for shape in gathered]
    n_rows = sum(int(shape[0]) for shape in shapes)
    expected = [len(range(r, n_rows, world_size())) for r in range(world_size())]
    if [s[0] for s in shapes] != expected or len({s[1:] for s in shapes}) > 1:
        raise ValueError(
            f"the ranks hold rows of shapes {shapes}, which are not the rows rank::{world_size()} "
            "of one batch. Draw the same batch on every rank: same random_state, same data."
        )
    return n_rows


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum over ranks of a tensor of one shape; a gradient goes to the own summand alone."""
    return _SumOverRanks.apply(values) if is_distributed() else values


class _SumOverRanks(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every rank the sum of all ranks' gradients, in place.

    One that this rank lacks counts as zero; one that no rank has stays ``None``, so that the
    optimizer leaves that parameter alone.
    """
    parameters = [p for p in parameters if p.requires_grad]
    if not (parameters and is_distributed()):
        return
    own = [p.grad is not None for p in parameters]
    present = torch.tensor(own, dtype=torch.int32, device=parameters[0].device)
    dist.all_reduce(present)
    gradients = []
    for parameter, n_ranks in zip(parameters, present.tolist(), strict=True):
        if n_ranks and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None:
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([g.reshape(-1) for g in bucket])
        dist.all_reduce(flat)
        totals = flat.split([g.numel() for g in bucket])
        for gradient, total in zip(bucket, totals, strict=True):
            gradient.copy_(total.view_as(gradient))


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of one type and device, of bounded size: few messages, little extra memory."""
    bucket: list[Tensor] = []
    size, kind = 0, None
    for tensor in tensors:
        fits = size + tensor.nbytes <= _BUCKET_BYTES and (tensor.dtype, tensor.device) == kind
        if bucket and not fits:
            yield bucket
            bucket, size = [], 0
        kind = tensor.dtype, tensor.device
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if is_distributed():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def convert_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every ``nn.BatchNorm1d`` by a :class:`SyncBatchNorm` of the same parameters."""
    if not is_distributed():
        return module
    if type(module) is nn.BatchNorm1d:
        return SyncBatchNorm.like(module)
    for name, child in module.named_children():
        setattr(module, name, convert_batchnorm(child))
    return module


class SyncBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the rows [N, C] of all ranks, on any device.

    ``torch.nn.SyncBatchNorm`` refuses CPU. Ranks may hold different numbers of rows: every row
    counts once. State dict, and behaviour in evaluation or alone, are those of ``nn.BatchNorm1d``.
    """

    @classmethod
    def like(cls, norm: nn.BatchNorm1d) -> SyncBatchNorm:
        """With the parameters, buffers and mode of another norm."""
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        new._parameters, new._buffers = norm._parameters, norm._buffers
        return new.train(norm.training)

    def forward(self, rows: Tensor) -> Tensor:
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
        buffers = dict(self.named_buffers())
        n_batches = buffers["num_batches_tracked"].add_(1)
        share = 1.0 / float(n_batches) if self.momentum is None else self.momentum
        for name, value in (("running_mean", mean), ("running_var", variance)):
            buffers[name].lerp_(value.to(buffers[name].dtype), share)


def _moments(rows: Tensor) -> tuple[float, Tensor, Tensor]:
    """Count, mean and variance of all ranks' rows, from each rank's own (Chan et al. 1979)."""
    # in float64, where the difference of squares loses nothing
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
    def forward(ctx: Any, rows: Tensor, mean: Tensor, scale: Tensor, count: float) -> Tensor:
        wide = _wide(rows)
        scale = scale.to(wide.dtype)
        normed = (wide - mean.to(wide.dtype)) * scale
        ctx.save_for_backward(normed, scale)
        ctx.count, ctx.dtype = count, rows.dtype
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        normed, scale = ctx.saved_tensors
        totals = torch.cat([gradient.sum(dim=0), (gradient * normed).sum(dim=0)])
        dist.all_reduce(totals)
        centre, slope = (totals / ctx.count).chunk(2)
        own = scale * (gradient - centre - normed * slope)
        return own.to(ctx.dtype), None, None, None


def _wide(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
