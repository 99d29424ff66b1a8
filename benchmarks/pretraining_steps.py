# SPDX-License-Identifier: BSD-3-Clause
"""One step of pretraining, ours and the same written with ``transformers.RoFormerModel``.

Both take the same batch from the same weights: tokens of two modalities, the encoder, the
projection head, DASH-InfoNCE, AdamW with decay groups, clipping, and the moving average. Dropout is
0 and the masked epochs are the batch's, so that the losses can be compared.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from benchmarks.encoder import roformer_twin
from sleep2vec_sklearn._torch import decay_groups
from sleep2vec_sklearn.model.config import EncoderConfig, ProjectionConfig
from sleep2vec_sklearn.model.network import Sleep2Vec
from sleep2vec_sklearn.pretraining import Content, DashObjective, Demography
from sleep2vec_sklearn.pretraining._module import PretrainingLoss, PretrainingModule
from sleep2vec_sklearn.pretraining._net import PretrainingNet, StepBatch
from sleep2vec_sklearn.pretraining._sampling import PairBatch, as_view, draw_masks

__all__ = ["demography", "make_batch", "our_step", "transformers_step", "without_dropout"]

LR, WEIGHT_DECAY, BETAS, CLIP, EMA_DECAY = 5e-5, 1e-2, (0.9, 0.95), 1.0, 0.996
TEMPERATURE, MASK_SHARE, PROJECTION = 0.2, 0.15, 128


def without_dropout(config: EncoderConfig) -> EncoderConfig:
    """The same sizes, nothing dropped, and the authors' projection head."""
    modalities = tuple(
        replace(m, tokenizer=replace(m.tokenizer, options={"dropout": 0.0}))
        for m in config.modalities
    )
    head = ProjectionConfig(config.hidden_size, PROJECTION)
    return replace(config, modalities=modalities, dropout=0.0, projection=head)


def demography(n_samples: int, seed: int = 0) -> Demography:
    """Sleepers of ages 20 to 90 from four sites, one night each."""
    random = np.random.default_rng(seed)
    codes = np.arange(n_samples)
    return Demography(
        age=random.uniform(20, 90, n_samples),
        sex=random.integers(0, 2, n_samples).astype(float),
        site=random.integers(0, 4, n_samples),
        subject=codes,
        recording=codes,
    )


def make_batch(config: EncoderConfig, pair: Sequence[str], n_windows: int, context: int):
    """Windows of conditioned noise without gaps; what the samples are does not change the time."""
    random = np.random.default_rng(0)
    widths = {m.name: m.conditioning.width for m in config.modalities}
    views = []
    for name in pair:
        values = random.standard_normal((n_windows, context, widths[name]), np.float32)
        valid = np.ones((n_windows, context), dtype=bool)
        views.append(as_view(name, values, valid, masked=draw_masks(random, valid, MASK_SHARE)))
    places = np.arange(n_windows)
    weights = tuple(torch.as_tensor(w).float() for w in demography(n_windows).weights())
    return PairBatch(0, tuple(views), 0, places, 0 * places, slice(None), weights)


def our_step(config: EncoderConfig, precision: str, device: str = "cpu", seed: int = 0) -> Callable:
    """Function of a batch: the loss, after a step of the pretrainer's own net."""
    contents = {m.name: Content.samples(m.conditioning) for m in config.modalities}
    columns = {name: (torch.zeros(c.width), torch.ones(c.width)) for name, c in contents.items()}
    module = PretrainingModule(Sleep2Vec.from_seed(config, seed), contents, columns)
    net = PretrainingNet(
        module,
        PretrainingLoss(DashObjective(TEMPERATURE)),
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=CLIP,
        ema_decay=EMA_DECAY,
        precision=precision,
        device=device,
        # the rate stays, and nothing is averaged over an epoch
        callbacks="disable",
    )
    net.initialize()
    net.notify("on_epoch_begin")

    def step(batch: PairBatch) -> float:
        steps = (StepBatch([batch], time.perf_counter(), 0.0) for _ in range(1))
        net.run_single_epoch(steps, training=True, prefix="train", step_fn=net.train_step)
        return net.history[-1, "batches", -1, "train_loss"]

    return step


class _Upstream(nn.Module):
    """Our network with its encoder replaced, one modality after the other."""

    def __init__(self, network: Sleep2Vec):
        super().__init__()
        self.roformer = roformer_twin(network)
        self.network = network
        del network.encoder

    def forward(self, view) -> torch.Tensor:
        tokens = self.network.tokenize(view.name, view.values, missing=view.replaced)
        embeddings = self.network.input_projection(tokens)
        outputs = self.roformer(inputs_embeds=embeddings, attention_mask=view.seen)
        return self.network.project(outputs.last_hidden_state)


def transformers_step(config: EncoderConfig, device: str = "cpu", seed: int = 0) -> Callable:
    """Function of a batch: the loss, after a step written out with transformers and torch."""
    model = _Upstream(Sleep2Vec.from_seed(config, seed)).to(device).train()
    average = copy.deepcopy(model).requires_grad_(False)
    groups = decay_groups(model.named_parameters(), WEIGHT_DECAY)
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS)
    objective = DashObjective(TEMPERATURE)

    def step(batch: PairBatch) -> float:
        batch = batch.to(device)
        optimizer.zero_grad()
        first, second = (model(view) for view in batch.views)
        counted = batch.views[0].seen & batch.views[1].seen
        loss, _ = objective.contrast(first, second, counted, batch.weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters(), strict=True):
                kept.mul_(EMA_DECAY).add_(new, alpha=1 - EMA_DECAY)
        return loss.item()

    return step
