# SPDX-License-Identifier: BSD-3-Clause
"""Devices, precision, randomness, statistics and optimizer groups of everything that trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

# torch is imported where it is used, so that estimators can be imported without it
if TYPE_CHECKING:
    import torch
    from torch import nn


def resolve_device(device: str) -> str:
    """Name a torch device, "auto" being a GPU if there is one.

    Raises
    ------
    ValueError
        If the device is unknown or not available.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if device is None:
            raise TypeError("None names none.")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device {device!r} is not available here: {str(error).rstrip('.')}. Use 'auto' or "
            "'cpu'."
        ) from error
    return str(device)


def resolve_precision(precision: str, device: str) -> str:
    """Name a precision, "auto" being bfloat16 where the hardware multiplies it fast."""
    if precision != "auto":
        return precision
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    return "bfloat16" if capability.startswith("AVX512") and _has_bf16_products() else "float32"


def _has_bf16_products() -> bool:
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


@contextmanager
def step_randomness(numbers: Sequence[int], device: str | torch.device) -> Iterator[None]:
    """Seed torch's generators by ``numbers`` for a while; the global state is put back."""
    import torch

    device = torch.device(device)
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    module = getattr(torch, device.type)
    index = module.current_device() if device.index is None else device.index
    with torch.random.fork_rng(devices=[index], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        module.manual_seed(seed)
        yield


class RunningStatistics:
    """Mean and standard deviation of rows that come in parts, summed in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.total: np.ndarray | float = 0.0
        self.squares: np.ndarray | float = 0.0

    def update(self, rows: np.ndarray) -> None:
        """Add rows of shape (n, ...)."""
        rows = rows.astype(np.float64)
        self.count += len(rows)
        self.total = self.total + rows.sum(axis=0)
        self.squares = self.squares + (rows**2).sum(axis=0)

    def mean_and_std(self, smallest_std: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation; the deviation of what does not vary, up to ``smallest_std``, is 1."""
        mean = np.asarray(self.total / self.count)
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        return mean, np.where(std > smallest_std, std, 1.0)


def rate_factor(step: int, total: int, warmup: float, floor: float) -> float:
    """Share of the peak learning rate at a step, counted from 0.

    Linear warm-up over a share of the steps, then half a cosine down to a share of the peak, which
    holds beyond the last step.
    """
    n_warm = max(int(warmup * total), 1) if warmup else 0
    if step < n_warm:
        return (step + 1) / n_warm
    progress = min((step - n_warm) / max(total - n_warm, 1), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def decay_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    weight_decay: float,
    scale: Callable[[str], float] = lambda name: 1.0,
) -> list[dict]:
    """Optimizer groups: matrices decay; biases, norms, masks and the CLS token do not.

    ``scale`` gives the ``lr_scale`` of a parameter by its name: the fastest group comes first, and
    what has 0 is in none.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        is_matrix = parameter.ndim >= 2 and "norm" not in name and "bias" not in name
        groups.setdefault((scale(name), is_matrix), []).append(parameter)
    return [
        {"params": group, "weight_decay": weight_decay if decays else 0.0, "lr_scale": lr_scale}
        for (lr_scale, decays), group in sorted(groups.items(), key=lambda g: g[0], reverse=True)
        if lr_scale
    ]
