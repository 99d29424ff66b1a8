# SPDX-License-Identifier: BSD-3-Clause
"""What the ranks of test_distributed.py do; the same functions run alone give what to expect."""

from __future__ import annotations

import torch
from torch import nn

from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.training import distributed as ranks
from sleep2vec_sklearn.training import info_nce_loss


def batch_of(config, pair, n_rows, padded, length=7):
    """Samples of two modalities, their masked positions, and which positions are real."""
    generator = torch.Generator().manual_seed(n_rows)
    widths = {m.name: m.conditioning.width for m in config.modalities}
    samples = [torch.randn(n_rows, length, widths[n], generator=generator) for n in pair]
    masked = [torch.rand(n_rows, length, generator=generator) < 0.2 for _ in pair]
    shortest = 1 if padded else length
    lengths = torch.randint(shortest, length + 1, (n_rows, 1), generator=generator)
    valid = torch.arange(length) < lengths
    return samples, masked, valid


def network_step(config, pair, n_rows, padded):
    """Loss, gradients and buffers of one step of a network whose ranks began unlike."""
    network = Sleep2Vec.from_seed(config, ranks.rank()).train()
    ranks.broadcast_module(network)
    network = ranks.convert_batchnorm(network)
    samples, masked, valid = batch_of(config, pair, n_rows, padded)
    own = ranks.own_rows(valid)
    views = []
    for name, values, lost in zip(pair, samples, masked, strict=True):
        tokens = network.tokenize(name, ranks.own_rows(values), ranks.own_rows(lost) | ~own)
        projected = network.project(network.encode(tokens, own), network.with_cls(own))
        views.append(ranks.gather_rows(projected))
    loss, accuracy = info_nce_loss(*views, valid=network.with_cls(valid))
    loss.backward()
    ranks.sum_gradients(network.parameters())
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    buffers = {n: b for n, b in network.named_buffers() if n.startswith("projection")}
    return {"loss": loss.detach(), "accuracy": accuracy, **gradients, **buffers}
