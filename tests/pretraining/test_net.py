# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sleep2vec_sklearn._torch import step_randomness
from sleep2vec_sklearn.errors import TrainingError
from sleep2vec_sklearn.pretraining._net import PretrainingNet


@pytest.fixture
def poison(monkeypatch):
    """Have windows of a night be NaN from the first step on which ``begin`` allows it."""
    from sleep2vec_sklearn.pretraining import _sampling as windows

    def spread(night, after):
        real, count = windows.cut_view, 0

        def cut(store, name, nights, starts, length):
            nonlocal count
            values = real(store, name, nights, starts, length)
            count += 1
            if count > after:
                values[store.table.index[nights] == night] = np.nan
            return values

        monkeypatch.setattr("sleep2vec_sklearn.pretraining._sampling.cut_view", cut)

    return spread


def test_a_loss_that_is_not_finite_stops_and_says_where(
    pretrainer, montage_store, poison, tmp_path
):
    poison("n0", after=8)
    training = pretrainer(state_dir=tmp_path, save_every=1, ema_decay=0.0)
    with pytest.raises(TrainingError, match=r"at step 5 of epoch 2: pair .*-.*, recordings .*n0"):
        training.fit(montage_store)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 4
    assert training.net_.step_ == 4
    for name, value in training.net_.averaged().state_dict().items():
        assert value.isfinite().all()
        assert torch.equal(value, state["average"][name])
    assert isinstance(training.checkpoint().sha256, str)


def test_a_stopped_run_goes_on_once_its_data_are_mended(
    pretrainer, montage_store, poison, tmp_path, monkeypatch
):
    whole = pretrainer().fit(montage_store)
    with monkeypatch.context():
        poison("n0", after=8)
        with pytest.raises(TrainingError):
            pretrainer(state_dir=tmp_path, save_every=1).fit(montage_store)
    monkeypatch.undo()
    mended = pretrainer(state_dir=tmp_path, save_every=1).fit(montage_store)
    assert mended.checkpoint().sha256 == whole.checkpoint().sha256


def test_gradients_of_accumulated_batches_make_one_step(pretrainer, montage_store):
    fitted = pretrainer(accumulate=3).fit(montage_store)
    steps = fitted.history_[:, "batches", :, ("train_batch_size", "pair")]
    assert {size for epoch in steps for size, _ in epoch} == {12}
    assert all(pair.count("+") == 2 for epoch in steps for _, pair in epoch)
    assert fitted.net_.step_ == 6


def test_the_gradient_is_clipped(pretrainer, montage_store):
    free = pretrainer(clip=None, weight_decay=0.0).fit(montage_store)
    assert max(free.history_[0, "batches", :, "grad_norm"]) > 1e-6
    pinned = pretrainer(clip=1e-12, weight_decay=0.0).fit(montage_store)
    start = pretrainer(clip=1e-12, weight_decay=0.0, max_epochs=1, steps_per_epoch=1)
    start = start.fit(montage_store)
    moved = [
        (a - b).abs().max()
        for a, b in zip(
            pinned.net_.module_.parameters(), start.net_.module_.parameters(), strict=True
        )
    ]
    assert max(moved) < 1e-5


def test_training_stops_when_validation_gets_no_better(pretrainer, montage_store):
    fitted = pretrainer(patience=2, max_epochs=30, lr=0.3, ema_decay=0.0).fit(montage_store)
    losses = fitted.history_[:, "valid_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 30
    kept, last = (n.state_dict() for n in (fitted.net_.averaged(), fitted.net_.average_.network))
    assert any(not torch.equal(kept[name], last[name]) for name in kept)
    shorter = pretrainer(patience=2, max_epochs=30, lr=0.3, ema_decay=0.0)
    shorter.set_params(callbacks=[StopAfter(best + 1)])
    with pytest.raises(KeyboardInterrupt):
        shorter.fit(montage_store)
    assert shorter.checkpoint().sha256 == fitted.checkpoint().sha256


def test_after_an_interrupted_step_training_goes_on(pretrainer, montage_store, monkeypatch):
    whole = pretrainer().fit(montage_store)
    training = pretrainer()
    interrupt_second_step(training, montage_store, monkeypatch)
    training.partial_fit(montage_store).partial_fit(montage_store)
    assert training.checkpoint().sha256 == whole.checkpoint().sha256


def test_after_an_interrupted_step_a_new_schedule_is_whole(pretrainer, montage_store, monkeypatch):
    training = pretrainer(warm_start=True)
    interrupt_second_step(training, montage_store, monkeypatch)
    training.fit(montage_store)
    assert training.net_.step_ == 1 + 6
    assert training.history_[:, "train_batch_count"] == [1, 3, 3]


def interrupt_second_step(training, store, monkeypatch):
    def interrupt(net, batch):
        if net.step_ == 1:
            raise KeyboardInterrupt
        return loss_of(net, batch)

    loss_of = PretrainingNet._loss
    with monkeypatch.context() as patch:
        patch.setattr(PretrainingNet, "_loss", interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.partial_fit(store)


class StopAfter(Callback):
    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.n_epochs:
            raise KeyboardInterrupt


def test_callbacks_of_skorch_see_every_step(pretrainer, montage_store):
    class Counter(Callback):
        def initialize(self):
            self.seen = []
            return self

        def on_epoch_begin(self, net, **kwargs):
            self.seen.append("epoch")

        def on_batch_end(self, net, batch, training, **kwargs):
            assert training
            self.seen.append(batch[0].pair)

    counter = Counter()
    pretrainer(callbacks=[counter]).fit(montage_store)
    assert len(counter.seen) == 8
    assert counter.seen[0] == counter.seen[4] == "epoch"


def test_a_net_that_showed_a_bar_can_be_pickled(pretrainer, montage_store):
    fitted = pretrainer(verbose=1).fit(montage_store)
    assert pickle.loads(pickle.dumps(fitted)).checkpoint().sha256 == fitted.checkpoint().sha256


def test_a_progress_bar_counts_steps(pretrainer, montage_store, capsys):
    pretrainer(verbose=1).fit(montage_store)
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "loss=" in shown
    pretrainer().fit(montage_store)
    assert capsys.readouterr().err == ""


def test_steps_per_epoch_draw_as_many_windows_as_there_are(pretrainer, montage_store):
    fitted = pretrainer(steps_per_epoch=None, max_epochs=1, batch_size=3).fit(montage_store)
    assert len(fitted.history_[0, "batches"]) == 24 // 3


def test_random_numbers_follow_from_the_step_and_are_put_back():
    before = torch.get_rng_state()
    draws = []
    for numbers in ([1, 2], [1, 2], [1, 3]):
        with step_randomness(numbers, "cpu"):
            draws.append(torch.randn(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(before, torch.get_rng_state())


def test_bfloat16_trains_to_nearly_the_same(pretrainer, montage_store):
    runs = [pretrainer(precision=p).fit(montage_store) for p in ("float32", "bfloat16")]
    full, half = (run.history_[0, "batches", 0, "train_loss"] for run in runs)
    assert full == pytest.approx(half, rel=0.05)
    assert full != half
    assert runs[1].precision_ == "bfloat16"


def test_nights_that_are_conditioned_are_counted_too(pretrainer, montages, capsys):
    pretrainer(verbose=1).fit(montages)
    shown = capsys.readouterr().err
    assert "preparing: 100%" in shown
    assert shown.index("8/8") < shown.index("6/6")
    pretrainer().fit(montages)
    assert capsys.readouterr().err == ""
