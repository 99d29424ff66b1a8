# SPDX-License-Identifier: BSD-3-Clause
"""Tokens brought to mean 0 and standard deviation 1 before a head sees them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .data import Night

__all__ = ["Standardised", "TokenStatistics"]

_SMALLEST_STD = 1e-6


class TokenStatistics:
    """Mean and standard deviation of the tokens of each modality and layer, night by night.

    Parameters
    ----------
    nights : iterable of Night
        Of tokens; each is looked at once.
    modalities : sequence of str
    summaries : bool
        Whether the CLS vectors are meant and not the epochs'.
    """

    def __init__(self, nights: Iterable[Night], modalities: Sequence[str], summaries: bool):
        sums: dict[str, np.ndarray] = {}
        for night in nights:
            for name, layers in (night.summaries if summaries else night.values).items():
                valid = [True] if summaries else night.valid[name]
                rows = np.stack([np.atleast_2d(layer)[valid] for layer in layers], axis=1)
                rows = rows.astype(np.float64)
                added = np.stack([np.ones_like(rows).sum(0), rows.sum(0), (rows**2).sum(0)])
                sums[name] = sums.get(name, 0) + added
        shape = next(iter(sums.values())).shape[1:]
        self.mean = np.zeros((len(modalities), *shape), dtype=np.float32)
        self.std = np.ones_like(self.mean)
        for place, name in enumerate(modalities):
            if name in sums:
                count, total, squares = sums[name]
                mean = total / count
                std = np.sqrt(np.maximum(squares / count - mean**2, 0))
                self.mean[place] = mean
                self.std[place] = np.where(std > _SMALLEST_STD, std, 1)


class Standardised(nn.Module):
    """A head on standardised tokens.

    Parameters
    ----------
    head : Head
    """

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head
        config = head.config
        shape = (len(config.modalities), config.n_layers, config.hidden_size)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    @property
    def config(self):
        """Of the head."""
        return self.head.config

    def set_statistics(self, statistics: TokenStatistics) -> None:
        """Set what is subtracted and divided by."""
        self.mean.copy_(torch.from_numpy(statistics.mean))
        self.std.copy_(torch.from_numpy(statistics.std))

    def forward(
        self,
        tokens: Tensor | None,
        present: Tensor,
        valid: Tensor,
        covariates: Tensor | None = None,
        cls: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`Head.forward`."""
        mean, std = self.mean, self.std
        if self.config.n_layers == 1:
            mean, std = mean[:, 0], std[:, 0]
        if self.config.pooling == "cls" and self.config.unit == "night":
            return self.head(None, present, valid, covariates, (cls - mean) / std)
        return self.head((tokens - mean) / std, present, valid, covariates)
