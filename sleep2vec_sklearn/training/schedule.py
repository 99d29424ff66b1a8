# SPDX-License-Identifier: BSD-3-Clause
"""The learning rate over a run, and which parameters decay."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn

__all__ = ["decay_groups", "rate_factor"]


def rate_factor(step: int, total: int, warmup: float, floor: float) -> float:
    """Share of the peak learning rate at a step.

    A linear warm-up over ``warmup`` of all steps, then half a cosine down to ``floor``, which
    holds beyond the last step.

    Parameters
    ----------
    step : int
        From 0.
    total : int
        Steps of the run.
    warmup, floor : float
        Shares, of the steps and of the peak.
    """
    n_warm = max(int(warmup * total), 1) if warmup else 0
    if step < n_warm:
        return (step + 1) / n_warm
    progress = min((step - n_warm) / max(total - n_warm, 1), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def decay_groups(parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict]:
    """Optimizer groups: matrices decay; biases, norms, masks and the CLS token do not."""
    decayed, kept = [], []
    for name, parameter in parameters:
        is_matrix = parameter.ndim >= 2 and "norm" not in name and "bias" not in name
        (decayed if is_matrix else kept).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
