# SPDX-License-Identifier: BSD-3-Clause
"""Loss and cross-modal retrieval of each pair of modalities on nights that do not train."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidRecordingError
from ..model.network import Sleep2Vec
from ._sampling import cut_valid, cut_view
from .config import Objective
from .demography import Demography
from .losses import count_examples

if TYPE_CHECKING:
    from ..model.config import ProjectionConfig
    from ..nightstore.store import NightStore

_MAX_CANDIDATES = 512
_MAX_WINDOWS = 256

# projections [W, L, D], and which epochs are valid [W, L]
Projected = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Result of one pair of modalities, both directions together."""

    recall: float  # share of the epochs whose counterpart is the most similar candidate
    median_rank: float  # of the counterpart, from 1
    chance: float  # the recall of guessing, one over the number of candidates
    n_candidates: int  # epochs to choose from, of other nights and of the same one


@dataclass(frozen=True, eq=False)
class HeldOutBatches:
    """Windows of held-out nights and their subjects; ``batch_size`` are each other's negatives."""

    windows: HeldOutWindows
    names: Sequence[str]
    demography: Demography
    batch_size: int

    def measure(self, network: Sleep2Vec, objective: Objective) -> dict[str, float]:
        """Columns of the history: means over the pairs, then each pair's own."""
        with torch.no_grad():
            projected = project_windows(network, self.windows, self.names, self.batch_size)
            losses = {
                pair: self.loss(objective, *(projected[name] for name in pair))
                for pair in itertools.combinations(self.names, 2)
            }
            results = retrieve_pairs(projected)
        columns = {
            "valid_loss": _mean(losses.values()),
            "valid_recall": _mean(r.recall for r in results.values()),
            "valid_median_rank": _mean(r.median_rank for r in results.values()),
            "valid_chance": _mean(r.chance for r in results.values()),
        }
        for pair, result in results.items():
            name = "-".join(pair)
            columns[f"valid_loss_{name}"] = losses[pair]
            columns[f"valid_recall_{name}"] = result.recall
            columns[f"valid_median_rank_{name}"] = result.median_rank
        return columns

    def loss(self, objective: Objective, first: Projected, second: Projected) -> float:
        """Mean contrastive loss over blocks of windows, weighted by the epochs that count."""
        counted = first[1] & second[1]
        rows = counted.any(dim=1).nonzero()[:, 0].numpy()
        if len(rows) < 2:
            return float("nan")
        total = weight = 0.0
        for block in np.array_split(rows, max(-(-len(rows) // self.batch_size), 1)):
            n_counted = count_examples(counted[block], objective.negatives)
            # without a negative it says nothing
            if not n_counted or len(block) < 2:
                continue
            weights = objective.weigh(self.demography.take(self.windows.nights[block]))
            loss, _ = objective.contrast(first[0][block], second[0][block], counted[block], weights)
            total += loss.item() * n_counted
            weight += n_counted
        return total / weight if weight else float("nan")


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True, eq=False)
class HeldOutWindows:
    """Windows of nights that do not train, the same ones every time; neighbours differ in night."""

    store: NightStore
    nights: np.ndarray
    starts: np.ndarray
    context: int

    @classmethod
    def spread(cls, store: NightStore, context: int, limit: int = _MAX_WINDOWS) -> HeldOutWindows:
        """Non-overlapping windows: one of every night, then a second one, up to ``limit``."""
        # drawn once and for all, so that losses can be compared
        random = np.random.default_rng(0)
        windows = []
        for night, n_epochs in enumerate(store.table["n_epochs"]):
            starts = np.arange(0, max(int(n_epochs) - context // 2, 1), context)
            windows += [(turn, night, s) for turn, s in enumerate(random.permutation(starts))]
        _, nights, starts = np.array(sorted(windows)).T
        if len(store) > limit:
            chosen = np.linspace(0, len(store) - 1, limit).astype(int)
        else:
            chosen = np.arange(min(limit, len(nights)))
        return cls(store, nights[chosen], starts[chosen], context)

    def __len__(self) -> int:
        return len(self.nights)


def project_windows(
    network: Sleep2Vec, windows: HeldOutWindows, names: Iterable[str], batch_size: int
) -> dict[str, Projected]:
    """Projections and validity of every modality, on the CPU; zeros where a window lacks it."""
    store, device = windows.store, network.input_projection.weight.device
    results = {}
    for name in names:
        reads_features = store.contents[name].kind == "features"
        embed = network.embed_features if reads_features else network.tokenize
        coverage = store.table[f"coverage_{name}"].to_numpy()
        rows = np.flatnonzero(coverage[windows.nights] > 0)
        size = cast("ProjectionConfig", network.config.projection).out_size
        projected = torch.zeros(len(windows), windows.context, size)
        valid = torch.zeros(len(windows), windows.context, dtype=torch.bool)
        for part in np.array_split(rows, -(-len(rows) // batch_size) or 1):
            if not len(part):
                continue
            where = store, name, windows.nights[part], windows.starts[part], windows.context
            seen = torch.from_numpy(cut_valid(*where)).to(device)
            values = torch.from_numpy(cut_view(*where)).to(device)
            hidden = network.encode(embed(name, values, missing=~seen), seen)
            hidden = hidden if network.cls_token is None else hidden[:, 1:]
            projected[part] = network.project(hidden).float().cpu()
            valid[part] = seen.cpu()
        results[name] = projected, valid
    return results


def retrieve_pairs(
    projected: Mapping[str, Projected], limit: int = _MAX_CANDIDATES
) -> dict[tuple[str, str], Retrieval]:
    """Retrieval of pairs that share two epochs, from at most ``limit``, evenly spread."""
    results = {}
    for pair in itertools.combinations(projected, 2):
        (first, seen), (second, also_seen) = (projected[name] for name in pair)
        epochs = (seen & also_seen).flatten().nonzero()[:, 0]
        if len(epochs) < 2:
            continue
        spread = torch.linspace(0, len(epochs) - 1, min(limit, len(epochs))).long()
        chosen = epochs[spread]
        results[pair] = retrieve(first.flatten(0, 1)[chosen], second.flatten(0, 1)[chosen])
    return results


def retrieve(first: Tensor, second: Tensor) -> Retrieval:
    """Rank each epoch's own counterpart among all; unit vectors [N, D] of the same N epochs."""
    similarity = first.float() @ second.float().T
    ranks = torch.cat([rank_counterparts(similarity), rank_counterparts(similarity.T)])
    n = len(first)
    recall = (ranks == 1).double().mean().item()
    return Retrieval(recall, ranks.double().median().item(), 1 / n, n)


def rank_counterparts(similarity: Tensor) -> Tensor:
    """Rank of the diagonal in each row of [N, N], from 1; ties get the mean of their ranks."""
    # so a network that maps everything to one point is at chance
    own = similarity.diagonal()[:, None]
    closer = (similarity > own).sum(dim=1)
    tied = (similarity == own).sum(dim=1) - 1
    return 1 + closer + tied / 2


@torch.no_grad()
def measure_retrieval(
    network: Sleep2Vec, store: NightStore, batch_size: int
) -> dict[tuple[str, str], Retrieval]:
    """Retrieval of every pair of modalities of a network in eval mode on nights of a store."""
    windows = HeldOutWindows.spread(store, network.config.context_epochs)
    names = [name for name in network.config.names if name in store.contents]
    results = retrieve_pairs(project_windows(network, windows, names, batch_size))
    if not results:
        raise InvalidRecordingError(
            f"no night has two of {', '.join(names)} at the same time, so nothing can be "
            "retrieved. Pass nights with two sensors."
        )
    return results
