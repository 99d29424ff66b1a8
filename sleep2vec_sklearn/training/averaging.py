# SPDX-License-Identifier: BSD-3-Clause
"""The moving average of a network: what is evaluated and saved."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["update_average"]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move an average of parameters and buffers towards the network after a step.

    BatchNorm's running statistics are averaged as the parameters are: without them the averaged
    projection would be normalised by numbers of no training data at all. Counters are copied.

    Parameters
    ----------
    average, network : Module
        Of one architecture.
    decay : float
        What is kept of the average; less in the first steps, ``(1 + step) / (10 + step)``, so that
        the random start is soon forgotten.
    step : int
        From 0.
    """
    decay = min(decay, (1 + step) / (10 + step))
    pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
    for kept, new in pairs:
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)
