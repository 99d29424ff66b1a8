# SPDX-License-Identifier: BSD-3-Clause
"""Training by several processes that together do what one process would do with the whole batch.

Rank r of W holds the rows ``r::W`` of every batch. It encodes them, gathers what all ranks made,
and computes the loss of the whole batch, of which only its own rows carry a gradient. Summed over
ranks, the gradients of the parameters are then those of a single process; an average, which
``DistributedDataParallel`` would take, or a loss that each rank computes from its own rows, would
be another objective. Nothing that has parameters may come after :func:`gather_rows`: each rank
would compute the whole of its gradient, and the sum would count it W times.

Without a process group, or with a single process in it, every function here does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function

from .batchnorm import SyncBatchNorm, convert_batchnorm
from .processes import broadcast_value, is_distributed, process_group, rank, world_size

__all__ = [
    "SyncBatchNorm",
    "broadcast_module",
    "broadcast_value",
    "convert_batchnorm",
    "gather_rows",
    "is_distributed",
    "own_rows",
    "process_group",
    "rank",
    "sum_gradients",
    "sum_over_ranks",
    "world_size",
]

_BUCKET_BYTES = 32 * 2**20


def own_rows(batch: Any) -> Any:
    """The rows ``rank::world`` of a batch that every rank has drawn alike.

    Parameters
    ----------
    batch : sequence, array or Tensor

    Raises
    ------
    ValueError
        On every rank, if there are fewer rows than ranks: an encoder cannot encode nothing.
    """
    if len(batch) < world_size():
        raise ValueError(
            f"a batch of {len(batch)} row(s) for {world_size()} processes leaves some without any. "
            "Raise the batch size or start fewer processes."
        )
    return batch[rank() :: world_size()]


def gather_rows(rows: Tensor) -> Tensor:
    """All ranks' rows, in the order of the batch; a gradient goes to the own rows alone.

    Parameters
    ----------
    rows : Tensor of shape [B_rank, ...]
        Rows ``rank::world`` of the batch. Where the batch does not divide by the number of
        ranks, the first ranks have one row more.

    Returns
    -------
    Tensor of shape [B, ...]
        Every rank gets the same values.

    Raises
    ------
    ValueError
        On every rank, if the ranks' rows are not the shares of one batch or differ in shape.
    """
    if not is_distributed():
        return rows
    n_rows = _rows_in_batch(rows)
    n_most = -(-n_rows // world_size())
    missing = rows.new_zeros(n_most - len(rows), *rows.shape[1:])
    own = torch.cat([rows, missing]) if len(missing) else rows.contiguous()
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own.detach())
    parts[rank()] = own
    return torch.stack(parts, dim=1).flatten(0, 1)[:n_rows]


def _rows_in_batch(rows: Tensor) -> int:
    own = torch.tensor(rows.shape, device=rows.device)
    shapes = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(shapes, own)
    shapes = [tuple(shape.tolist()) for shape in shapes]
    n_rows = sum(shape[0] for shape in shapes)
    expected = [len(range(r, n_rows, world_size())) for r in range(world_size())]
    if [s[0] for s in shapes] != expected or len({s[1:] for s in shapes}) > 1:
        raise ValueError(
            f"the ranks hold rows of shapes {shapes}, which are not the rows rank::{world_size()} "
            "of one batch. Draw the same batch on every rank (same random_state, same data, same "
            "padding), then take own_rows(batch)."
        )
    return n_rows


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum over ranks of a tensor of one shape; a gradient goes to the own summand alone.

    For losses that are sums over rows: ``sum_over_ranks(own sum) / sum_over_ranks(own count)``.
    """
    return _SumOverRanks.apply(values) if is_distributed() else values


class _SumOverRanks(Function):
    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every rank the sum of all ranks' gradients, in place.

    After ``backward`` and before clipping, once per step of the optimiser. A gradient that this
    rank lacks counts as zero; one that no rank has stays ``None``, so that the optimiser leaves
    that parameter alone, as in a single process.

    Parameters
    ----------
    parameters : iterable of Parameter
        The same, in the same order, on every rank.
    """
    if not is_distributed():
        return
    parameters = [p for p in parameters if p.requires_grad]
    if not parameters:
        return
    present = [p.grad is not None for p in parameters]
    present = torch.tensor(present, dtype=torch.int32, device=parameters[0].device)
    dist.all_reduce(present)
    used = [p for p, n in zip(parameters, present.tolist(), strict=True) if n]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for gradients in _buckets([p.grad for p in used]):
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        totals = flat.split([g.numel() for g in gradients])
        for gradient, total in zip(gradients, totals, strict=True):
            gradient.copy_(total.view_as(gradient))


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of one type and device, of bounded size: few messages, little extra memory."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        fits = size + tensor.nbytes <= _BUCKET_BYTES
        if bucket and not (fits and _kind(tensor) == _kind(bucket[0])):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


def _kind(tensor: Tensor) -> tuple:
    return tensor.dtype, tensor.device


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if is_distributed():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), src=0)
