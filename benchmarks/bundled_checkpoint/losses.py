# SPDX-License-Identifier: BSD-3-Clause
"""What a training step minimises: InfoNCE between two views, and features to be foretold."""

from __future__ import annotations

import numpy as np
import torch
from batches import View
from store import StoredNight
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from sleep2vec_sklearn.model.sleep2vec import Sleep2Vec
from sleep2vec_sklearn.training.objective import info_nce_loss

_TARGET_CLIP = 4.0


class Foretelling(nn.Module):
    """From hidden states to standardised features of a modality; used in training only.

    Parameters
    ----------
    hidden_size : int
    statistics : dict of str to (mean, std)
        Of each modality's features, Tensors of shape [n_features].
    """

    def __init__(self, hidden_size: int, statistics: dict[str, tuple[Tensor, Tensor]]):
        super().__init__()
        self.readers = nn.ModuleDict(
            {name: nn.Linear(hidden_size, len(mean)) for name, (mean, _) in statistics.items()}
        )
        self.statistics = statistics

    def forward(self, hidden: Tensor, name: str, features: Tensor, counted: Tensor) -> Tensor:
        """Mean Huber loss over the counted epochs: [B, L, H], [B, L, F], [B, L] to []."""
        mean, std = self.statistics[name]
        target = ((features - mean) / std).clamp(-_TARGET_CLIP, _TARGET_CLIP)
        loss = smooth_l1_loss(self.readers[name](hidden).float(), target, reduction="none")
        return (loss.mean(dim=-1) * counted).sum() / counted.sum().clamp_min(1)


def feature_statistics(nights: list[StoredNight], names) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of every modality's features over valid epochs."""
    statistics = {}
    for name in names:
        rows = [n.features[name][n.valid[name]][::4] for n in nights if name in n.features]
        rows = np.concatenate(rows).astype(np.float64)
        mean, std = (torch.from_numpy(v).float() for v in (rows.mean(0), rows.std(0)))
        statistics[name] = mean, torch.where(std < 1e-4, 1.0, std)
    return statistics


def disturb(features: Tensor, std: Tensor, options) -> Tensor:
    """Another amplifier and another moment: noise on every feature, an offset for the window.

    Both views get their own, so that they agree on states of sleep and not on single epochs.
    In units of a feature's standard deviation over the training nights.
    """
    if features.shape[-1] == 1:
        return features
    noise = options.noise * torch.randn_like(features)
    offset = options.offset * torch.randn(len(features), 1, features.shape[2])
    return features + std * (noise + offset)


def step_loss(
    network: Sleep2Vec, foretelling: Foretelling, shift: int, views: tuple[View, View], options
):
    """Loss, its parts and the accuracy of one batch.

    The contrast counts the epochs that both windows hold. Foretold are the features of each
    view's own modality and, where the windows overlap, of the other's: lost and masked epochs
    too, so that a gap is filled by what its neighbours let expect.
    """
    hidden = [_hidden(network, foretelling, view, options) for view in views]
    length = views[0].valid.shape[1] - abs(shift)
    spans = [slice(start, start + length) for start in (max(shift, 0), max(-shift, 0))]
    seen = [view.valid & ~view.lost for view in views]
    projected = [
        network.project(h, s)[:, span] for h, s, span in zip(hidden, seen, spans, strict=True)
    ]
    contrast, accuracy = info_nce_loss(
        *projected,
        temperature=options.temperature,
        valid=seen[0][:, spans[0]] & seen[1][:, spans[1]],
        negatives=options.negatives,
    )
    own = sum(
        foretelling(h, view.name, view.features, view.valid)
        for h, view in zip(hidden, views, strict=True)
    )
    other = sum(
        foretelling(
            hidden[a][:, spans[a]],
            views[b].name,
            views[b].features[:, spans[b]],
            views[b].valid[:, spans[b]],
        )
        for a, b in ((0, 1), (1, 0))
    )
    loss = contrast + options.own * own + options.other * other
    return loss, torch.stack([contrast, own, other, accuracy]).detach()


def _hidden(network: Sleep2Vec, foretelling: Foretelling, view: View, options) -> Tensor:
    unseen = view.masked | view.lost | ~view.valid
    embed = getattr(network.tokenizers[view.name], "embed", None)
    source = network.tokenize if embed is None else network.embed_features
    _, std = foretelling.statistics[view.name]
    tokens = source(view.name, disturb(view.features, std, options), missing=unseen)
    return network.encode(tokens, view.valid & ~view.lost)
