# SPDX-License-Identifier: BSD-3-Clause
"""What the ranks of test_distributed.py do; the same functions run alone give what to expect."""

from __future__ import annotations

import torch
from skorch.callbacks import Callback
from torch import nn

from sleep2vec_sklearn.errors import TrainingError
from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.pretraining import _distributed as ranks
from sleep2vec_sklearn.pretraining import info_nce_loss
from sleep2vec_sklearn.pretraining._validation import HeldOutBatches
from tests.pretraining.nights import tiny_pretrainer


def own_rows(batch):
    return batch[ranks.rank() :: ranks.world_size()]


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
    own = own_rows(valid)
    views = []
    for name, values, lost in zip(pair, samples, masked, strict=True):
        tokens = network.tokenize(name, own_rows(values), own_rows(lost) | ~own)
        projected = network.project(network.encode(tokens, own), network.with_cls(own))
        views.append(ranks.gather_rows(projected))
    loss, accuracy = info_nce_loss(*views, valid=network.with_cls(valid))
    loss.backward()
    ranks.sum_gradients(network.parameters())
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    buffers = {n: b for n, b in network.named_buffers() if n.startswith("projection")}
    return {"loss": loss.detach(), "accuracy": accuracy, **gradients, **buffers}


def gathered(batch):
    return ranks.gather_rows(own_rows(batch))


def gathered_gradient(batch):
    """Gradient of the own rows, of a sum over the batch that weighs row i by i."""
    own = own_rows(batch).clone().requires_grad_()
    weights = torch.arange(len(batch), dtype=batch.dtype)[:, None]
    (ranks.gather_rows(own) * weights).sum().backward()
    return own.grad


def message_of(error, task, *arguments):
    """Text of the error that a call raises, or None."""
    try:
        task(*arguments)
    except error as raised:
        return str(raised)


def wrong_share(shapes):
    return message_of(ValueError, ranks.gather_rows, torch.zeros(shapes[ranks.rank()]))


def mean_over_rows(batch):
    """A mean over the batch and its gradient, summed over ranks."""
    factor = nn.Parameter(torch.tensor(2.0))
    own = own_rows(batch) * factor
    count = ranks.sum_over_ranks(torch.tensor(float(len(own))))
    mean = ranks.sum_over_ranks(own.sum()) / count
    mean.backward()
    ranks.sum_gradients([factor])
    return mean.detach(), factor.grad


def summed(gradients_of_ranks, bucket_bytes):
    """What sum_gradients leaves of each rank's gradients, None among them."""
    own = gradients_of_ranks[ranks.rank()]
    parameters = []
    for gradients in zip(*gradients_of_ranks, strict=True):
        known = next(g for g in gradients if g is not None)
        parameters.append(nn.Parameter(torch.zeros_like(known)))
    for parameter, gradient in zip(parameters, own, strict=True):
        parameter.grad = gradient
    parameters.append(nn.Parameter(torch.zeros(2)))
    ordinary, ranks._BUCKET_BYTES = ranks._BUCKET_BYTES, bucket_bytes
    try:
        ranks.sum_gradients(parameters)
    finally:
        ranks._BUCKET_BYTES = ordinary
    return [p.grad for p in parameters]


def normalised(rows, owners, train=True, **options):
    """Own rows, their gradient, and the norm's gradients and buffers, after two batches."""
    norm = nn.Sequential(nn.BatchNorm1d(rows.shape[1], **options)).train(train)
    for parameter in norm.parameters():
        parameter.data = torch.linspace(0.5, 2.0, rows.shape[1])
    norm = ranks.convert_batchnorm(norm.to(torch.promote_types(rows.dtype, torch.float32)))
    mine = owners == ranks.rank() if ranks.is_distributed() else owners >= 0
    own = rows[mine].clone().requires_grad_()
    norm(own.detach() + 1)
    out = norm(own)
    weights = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    (out * weights[mine]).sum().backward()
    ranks.sum_gradients(norm.parameters())
    state = {**norm.state_dict(), **{f"d {n}": p.grad for n, p in norm.named_parameters()}}
    return mine, out.detach(), own.grad, state


def too_few_rows():
    norm = ranks.convert_batchnorm(nn.BatchNorm1d(3))
    return message_of(ValueError, norm, torch.zeros(1 - ranks.rank(), 3))


def converted():
    """Whether conversion keeps a network's state, its order, mode and parameters."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4)), nn.BatchNorm1d(4))
    network[2].eval()
    before, parameters = list(network.state_dict()), list(network.parameters())
    network = ranks.convert_batchnorm(network)
    kept = all(p is q for p, q in zip(parameters, network.parameters(), strict=True))
    modes = [m.training for m in network.modules() if isinstance(m, ranks.SyncBatchNorm)]
    return kept and list(network.state_dict()) == before, modes


def broadcast():
    module = nn.BatchNorm1d(2)
    for tensor in module.state_dict().values():
        tensor.fill_(1 + ranks.rank())
    ranks.broadcast_module(module)
    same = [bool((t == 1).all()) for t in module.state_dict().values()]
    return all(same), ranks.broadcast_value({"stop": ranks.rank() == 0})


class StopAfter(Callback):
    """Ends a run by an error after a step, as a machine that goes away does."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, net, **kwargs):
        if net.step_ == self.step:
            raise ConnectionAbortedError


def pretrained(store, folders, parameters, stop_after=None):
    """Losses and gradient norms of a pretrainer's steps, and its projection head.

    Each rank keeps its state in its own of the folders. None comes back from a run that stopped.
    """
    callbacks = [StopAfter(stop_after)] if stop_after else None
    settings = {"state_dir": folders[ranks.rank()], "save_every": 1, "callbacks": callbacks}
    try:
        pretrainer = tiny_pretrainer(**parameters, **settings).fit(store)
    except ConnectionAbortedError:
        return None
    epochs = pretrainer.history_[:, "batches", :, ("train_loss", "grad_norm")]
    projection = pretrainer.net_.averaged().projection.state_dict()
    # a shift that BatchNorm takes out has no gradient but rounding, which AdamW makes steps of
    del projection["hidden_norm.running_mean"]
    return [step for epoch in epochs for step in epoch], projection


def failure(store, parameters):
    """What a fit says when it cannot, or None."""
    return message_of(TrainingError, tiny_pretrainer(**parameters).fit, store)


def lost(*arguments):
    raise OSError("lost")


def failing_validation(store):
    """What a fit says whose validation fails, which rank 0 alone does."""
    ordinary, HeldOutBatches.measure = HeldOutBatches.measure, lost
    try:
        return message_of((TrainingError, OSError), tiny_pretrainer().fit, store)
    finally:
        HeldOutBatches.measure = ordinary
