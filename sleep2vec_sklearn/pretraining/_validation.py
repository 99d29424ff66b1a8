# SPDX-License-Identifier: BSD-3-Clause
"""What is measured on held-out subjects after every epoch: the loss and retrieval of each pair."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidRecordingError
from ..model.network import Sleep2Vec
from ._sampling import cut_valid, cut_view
from .demography import Demography
from .losses import count_examples

__all__ = [
    "HeldOutWindows",
    "Retrieval",
    "Validation",
    "measure_retrieval",
    "project_windows",
    "rank_counterparts",
    "retrieve",
    "retrieve_pairs",
]


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


_MOST_CANDIDATES = 512
_MOST_WINDOWS = 256


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Result of one pair of modalities, both directions together.

    Attributes
    ----------
    recall : float
        Share of the epochs that find themselves first.
    median_rank : float
        Of the epoch itself, from 1.
    chance : float
        The recall of guessing, one over the number of candidates.
    n_candidates : int
        Epochs to choose from, of other nights and of the same one.
    """

    recall: float
    median_rank: float
    chance: float
    n_candidates: int


def rank_counterparts(similarity: Tensor) -> Tensor:
    """Rank of the diagonal in each row of [N, N], from 1; ties get the mean of their ranks."""
    own = similarity.diagonal()[:, None]
    closer = (similarity > own).sum(dim=1)
    tied = (similarity == own).sum(dim=1) - 1
    return 1 + closer + tied / 2


def retrieve(first: Tensor, second: Tensor) -> Retrieval:
    """Rank each epoch's own counterpart among all epochs.

    Parameters
    ----------
    first, second : Tensor of shape [N, D]
        Unit vectors of the same N epochs.

    Returns
    -------
    Retrieval
        A counterpart that ties with others gets the mean of their ranks, so that a network which
        maps everything to one point is at chance.
    """
    similarity = first.float() @ second.float().T
    ranks = torch.cat([rank_counterparts(similarity), rank_counterparts(similarity.T)])
    n = len(first)
    recall = (ranks == 1).double().mean().item()
    return Retrieval(recall, ranks.double().median().item(), 1 / n, n)


@dataclass(frozen=True, eq=False)
class HeldOutWindows:
    """Windows of nights that do not train, the same ones at every look.

    Attributes
    ----------
    nights, starts : int ndarray of shape [W]
        Neighbours are of different nights where there are several.
    """

    store: object
    nights: np.ndarray
    starts: np.ndarray
    context: int

    @classmethod
    def spread(cls, store, context: int, most: int = _MOST_WINDOWS) -> HeldOutWindows:
        """Non-overlapping windows: one of every night, then a second one, up to ``most``.

        Which come first is drawn once and for all.
        """
        random = np.random.default_rng(0)
        places = []
        for night, n_epochs in enumerate(store.table["n_epochs"]):
            starts = np.arange(0, max(int(n_epochs) - context // 2, 1), context)
            places += [(turn, night, s) for turn, s in enumerate(random.permutation(starts))]
        _, nights, starts = np.array(sorted(places)).T
        if len(store) > most:
            kept = np.linspace(0, len(store) - 1, most).astype(int)
        else:
            kept = slice(0, most)
        return cls(store, nights[kept], starts[kept], context)

    def __len__(self) -> int:
        return len(self.nights)


def project_windows(
    network: Sleep2Vec, windows: HeldOutWindows, names, batch_size: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Projections [W, L, D] and validity [W, L] of every modality, on the CPU.

    ``network`` is in eval mode; nothing is masked. A window without the modality has zeros.
    """
    store, device = windows.store, network.input_projection.weight.device
    found = {}
    for name in names:
        reads = store.contents[name].kind == "features"
        source = network.embed_features if reads else network.tokenize
        coverage = store.table[f"coverage_{name}"].to_numpy()
        rows = np.flatnonzero(coverage[windows.nights] > 0)
        size = network.config.projection.out_size
        projected = torch.zeros(len(windows), windows.context, size)
        valid = torch.zeros(len(windows), windows.context, dtype=torch.bool)
        for part in np.array_split(rows, -(-len(rows) // batch_size) or 1):
            if not len(part):
                continue
            at = store, name, windows.nights[part], windows.starts[part], windows.context
            seen = torch.from_numpy(cut_valid(*at)).to(device)
            values = torch.from_numpy(cut_view(*at)).to(device)
            hidden = network.encode(source(name, values, missing=~seen), seen)
            hidden = hidden if network.cls_token is None else hidden[:, 1:]
            projected[part] = network.project(hidden).float().cpu()
            valid[part] = seen.cpu()
        found[name] = projected, valid
    return found


def retrieve_pairs(projected, most: int = _MOST_CANDIDATES) -> dict[tuple[str, str], Retrieval]:
    """Retrieval of every pair of modalities that share at least two epochs.

    Candidates are at most ``most`` of the epochs that both have, evenly spread over the windows.
    """
    results = {}
    for pair in itertools.combinations(projected, 2):
        (first, seen), (second, also_seen) = (projected[name] for name in pair)
        places = (seen & also_seen).flatten().nonzero()[:, 0]
        if len(places) < 2:
            continue
        spread = torch.linspace(0, len(places) - 1, min(most, len(places))).long()
        kept = places[spread]
        results[pair] = retrieve(first.flatten(0, 1)[kept], second.flatten(0, 1)[kept])
    return results


@torch.no_grad()
def measure_retrieval(
    network: Sleep2Vec, store, batch_size: int
) -> dict[tuple[str, str], Retrieval]:
    """Retrieval of every pair of modalities of a network in eval mode on nights of a store."""
    windows = HeldOutWindows.spread(store, network.config.context_epochs)
    names = [name for name in network.config.names if name in store.contents]
    found = retrieve_pairs(project_windows(network, windows, names, batch_size))
    if not found:
        raise InvalidRecordingError(
            f"no night has two of {', '.join(names)} at the same time, so nothing can be found "
            "again. Give nights with two sensors."
        )
    return found
