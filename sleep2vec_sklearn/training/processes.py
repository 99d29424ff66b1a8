# SPDX-License-Identifier: BSD-3-Clause
"""The processes that train together: who they are, and what they agree on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from ..errors import TrainingError

__all__ = [
    "broadcast_value",
    "from_rank_zero",
    "is_distributed",
    "process_group",
    "rank",
    "world_size",
]


@contextmanager
def process_group(backend: str | None = None, **options: Any) -> Iterator[None]:
    """Join the processes that ``torchrun`` started; without it, go on alone.

    Parameters
    ----------
    backend : str, optional
        "nccl" where CUDA is, else "gloo". With "nccl", ``cuda`` is this process's own device.
    **options
        Of :func:`torch.distributed.init_process_group`, such as ``timeout``, or ``init_method``,
        ``rank`` and ``world_size`` where something else than ``torchrun`` started the processes.

    Examples
    --------
    >>> with process_group():
    ...     print(rank(), world_size())
    0 1
    """
    if not dist.is_available() or not ("world_size" in options or "WORLD_SIZE" in os.environ):
        yield
        return
    backend = backend or ("nccl" if torch.cuda.is_available() else "gloo")
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group(backend, **options)
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_distributed() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's place among all, from 0; 0 alone."""
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
    """What ``work()`` gives on rank 0, where alone it is called; ranks wait for each other.

    Raises
    ------
    TrainingError
        On the other ranks, if rank 0 fails; they would else wait for it for ever.
    """
    if not is_distributed():
        return work()
    if rank() != 0:
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
