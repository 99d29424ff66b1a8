# SPDX-License-Identifier: BSD-3-Clause
"""What is measured on held-out subjects after every epoch: the loss and retrieval of each pair."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from .demography import Demography
from .objective import count_examples
from .retrieval import HeldOutWindows, project_windows, retrieve_pairs

__all__ = ["Validation"]


@dataclass(frozen=True, eq=False)
class Validation:
    """Look at held-out windows with the averaged network, nothing masked.

    Attributes
    ----------
    windows : HeldOutWindows
    names : tuple of str
        Modalities.
    demography : Demography
        Of the nights held out.
    constants : dict
        Of :func:`dash_weights`.
    batch_size : int
        Windows that are each other's negatives.
    """

    windows: HeldOutWindows
    names: tuple[str, ...]
    demography: Demography
    constants: dict
    batch_size: int

    def __call__(self, net) -> dict[str, float]:
        """Columns of the history: means over the pairs, then each pair's own."""
        with torch.no_grad():
            projected = project_windows(
                net.average_.network, self.windows, self.names, self.batch_size
            )
            losses = {
                pair: self._loss(net.criterion_, *(projected[name] for name in pair))
                for pair in itertools.combinations(self.names, 2)
            }
            found = retrieve_pairs(projected)
        columns = {"valid_loss": _mean(losses.values())}
        columns["valid_recall"] = _mean(r.recall for r in found.values())
        columns["valid_median_rank"] = _mean(r.median_rank for r in found.values())
        columns["valid_chance"] = _mean(r.chance for r in found.values())
        for pair, result in found.items():
            name = "-".join(pair)
            columns[f"valid_loss_{name}"] = losses[pair]
            columns[f"valid_recall_{name}"] = result.recall
            columns[f"valid_median_rank_{name}"] = result.median_rank
        return columns

    def _loss(self, criterion, first, second) -> float:
        """Mean contrastive loss over blocks of windows, weighted by the epochs that count.

        A block in which no epoch has a negative says nothing, and is left out.
        """
        (first, seen), (second, also_seen) = first, second
        counted = seen & also_seen
        rows = counted.any(dim=1).nonzero()[:, 0].numpy()
        if len(rows) < 2:
            return float("nan")
        total = weight = 0.0
        for block in np.array_split(rows, max(-(-len(rows) // self.batch_size), 1)):
            n_counted = count_examples(counted[block], criterion.negatives)
            if not n_counted or len(block) < 2:
                continue
            weights = None
            if criterion.kind == "dash":
                nights = self.demography.take(self.windows.nights[block])
                weights = tuple(map(torch.as_tensor, nights.weights(**self.constants)))
            loss, _ = criterion.contrast(first[block], second[block], counted[block], weights)
            total += loss.item() * n_counted
            weight += n_counted
        return total / weight if weight else float("nan")


def _mean(values) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
