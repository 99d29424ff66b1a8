# SPDX-License-Identifier: BSD-3-Clause
"""The learning rate over a run, and which parameters decay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import nn

from .parts import scale_of

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


def decay_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    weight_decay: float,
    scales: Mapping[str, float] | None = None,
) -> list[dict]:
    """Optimizer groups: matrices decay; biases, norms, masks and the CLS token do not.

    With ``scales`` there are two groups for each, the fastest first, with ``lr_scale`` beside;
    what has a scale of 0 is in none.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        is_matrix = parameter.ndim >= 2 and "norm" not in name and "bias" not in name
        groups.setdefault((scale_of(name, scales or {}), is_matrix), []).append(parameter)
    return [
        {"params": group, "weight_decay": weight_decay if decays else 0.0, "lr_scale": scale}
        for (scale, decays), group in sorted(groups.items(), key=lambda item: item[0], reverse=True)
        if scale
    ]
