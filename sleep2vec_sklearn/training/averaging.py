# SPDX-License-Identifier: BSD-3-Clause
"""The moving average of a network: what is evaluated and saved."""

from __future__ import annotations

import torch

from ..model.sleep2vec import Sleep2Vec

__all__ = ["MovingAverage"]


class MovingAverage:
    """An average of a network's parameters and buffers over the steps.

    BatchNorm's running statistics are averaged as the parameters are: without them the averaged
    projection would be normalised by numbers of no training data at all.

    Parameters
    ----------
    network : Sleep2Vec
        As it is now; the average starts there.
    decay : float
        What is kept of the average in a step; less in the first ones, ``(1 + t) / (10 + t)``, so
        that the random start is soon forgotten. 0 follows the network.

    Attributes
    ----------
    network : Sleep2Vec
        The average, in eval mode.
    """

    def __init__(self, network: Sleep2Vec, decay: float):
        self.network = type(network).from_state(network.config, network.state_dict())
        self.network.to(network.input_projection.weight.device)
        self.network.requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Sleep2Vec, step: int) -> None:
        """Move towards the network after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        for kept, new in pairs:
            if kept.is_floating_point() and decay:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)
