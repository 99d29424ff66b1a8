# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks of skorch and of users do in the pretrainer what skorch means them to do."""

import json

import numpy as np
import pytest
import torch
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from sleep2vec_sklearn.pretraining._module import PretrainingLoss


class Events(Callback):
    def initialize(self):
        self.seen = []
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.seen.append("epoch")

    def on_batch_end(self, net, batch, training, **kwargs):
        self.seen.append(batch.pair)

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.seen.append(sum(p.grad is not None for _, p in named_parameters))


def rates_of(fitted):
    return [rate for epoch in fitted.history_[:, "batches", :, "lr"] for rate in epoch]


def test_callbacks_see_every_step(pretrainer, montage_store):
    events = Events()
    fitted = pretrainer(callbacks=[events]).fit(montage_store)
    pairs = [pair for epoch in fitted.history_[:, "batches", :, "pair"] for pair in epoch]
    assert [e for e in events.seen if e in pairs] == pairs
    assert events.seen.count("epoch") == 2
    assert min(e for e in events.seen if isinstance(e, int)) > 10


def test_early_stopping_ends_training(pretrainer, montage_store, tmp_path):
    stopping = EarlyStopping(patience=2, threshold=0)
    parameters = {"max_epochs": 30, "lr": 0.3, "ema_decay": 0.0, "state_dir": tmp_path}
    fitted = pretrainer(callbacks=[stopping], **parameters).fit(montage_store)
    losses = fitted.history_[:, "valid_loss"]
    assert len(losses) == int(np.argmin(losses)) + 3 < 30
    # the end is kept with the state, so nothing is trained again
    again = pretrainer(**parameters).fit(montage_store)
    assert again.net_.step_ == fitted.net_.step_


def test_best_epoch_is_checkpointed(pretrainer, montage_store, tmp_path):
    saving = Checkpoint(dirname=tmp_path)
    parameters = {"max_epochs": 6, "lr": 0.3, "ema_decay": 0.0}
    fitted = pretrainer(callbacks=[saving], **parameters).fit(montage_store)
    best = int(np.argmin(fitted.history_[:, "valid_loss"]))
    assert fitted.history_[best, "valid_loss_best"]
    assert len(json.loads((tmp_path / "history.json").read_text())) == best + 1
    weights = torch.load(tmp_path / "params.pt", weights_only=True)
    fitted.net_.load_params(checkpoint=saving)
    assert weights.keys() == fitted.net_.module_.state_dict().keys()


@pytest.mark.parametrize(
    "parameters", [{"max_grad_norm": 0.01}, {"callbacks": [GradientNormClipping(0.01)]}]
)
def test_gradients_are_clipped(pretrainer, montage_store, parameters):
    norms = []

    class Norm(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            squares = [p.grad.square().sum() for _, p in named_parameters if p.grad is not None]
            norms.append(float(torch.stack(squares).sum().sqrt()))

    callbacks = [*parameters.get("callbacks", []), Norm()]
    fitted = pretrainer(**{**parameters, "callbacks": callbacks}).fit(montage_store)
    assert max(norms) == pytest.approx(0.01, rel=1e-3)
    assert max(fitted.history_[0, "batches", :, "grad_norm"]) > 1


def test_schedulers_replace_the_schedule(pretrainer, montage_store):
    scheduler = LRScheduler(StepLR, step_size=1, gamma=0.1)
    scales = {"encoder": 0.5}
    training = pretrainer(callbacks=[scheduler], lr=1e-2, lr_scales=scales).fit(montage_store)
    assert rates_of(training) == pytest.approx([1e-2] * 3 + [1e-3] * 3)
    groups = training.net_.optimizer_.param_groups
    assert {round(g["lr"], 9) for g in groups} == {1e-4, 5e-5}


def test_schedulers_go_on(pretrainer, montage_store):
    scheduler = LRScheduler(StepLR, step_size=1, gamma=0.1)
    training = pretrainer(callbacks=[scheduler], lr=1e-2)
    for _ in range(2):
        training.partial_fit(montage_store)
    assert rates_of(training)[3:] == pytest.approx([1e-3] * 3)
    assert "lr_schedule" not in dict(training.net_.callbacks_)


def test_plateaus_are_monitored(pretrainer, montage_store):
    plateau = LRScheduler(ReduceLROnPlateau, monitor="valid_loss", patience=0, threshold=0.5)
    fitted = pretrainer(callbacks=[plateau], lr=1e-2, max_epochs=3).fit(montage_store)
    assert rates_of(fitted)[::3] == pytest.approx([1e-2, 1e-2, 1e-3])


def test_scores_of_training_batches(pretrainer, montage_store):
    def score(net, X, y=None):
        return net.history[-1, "accuracy"]

    scoring = EpochScoring(score, name="copied", on_train=True, use_caching=False)
    fitted = pretrainer(callbacks=[scoring]).fit(montage_store)
    assert fitted.history_[:, "copied"] == fitted.history_[:, "accuracy"]


def test_loss_comes_from_the_criterion(pretrainer, montage_store, monkeypatch):
    forward = PretrainingLoss.forward
    monkeypatch.setattr(
        PretrainingLoss, "forward", lambda *inputs: (0 * forward(*inputs)[0], forward(*inputs)[1])
    )
    fitted = pretrainer(max_grad_norm=None).fit(montage_store)
    assert max(fitted.history_[0, "batches", :, "grad_norm"]) == 0
