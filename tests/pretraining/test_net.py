# SPDX-License-Identifier: BSD-3-Clause
"""Steps, schedule, prefetch and average of the skorch net."""

import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn._torch import rate_factor, step_randomness
from sleep2vec_sklearn.errors import TrainingError
from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.pretraining._net import MovingAverage, PretrainingNet, draw_ahead


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


def test_infinite_losses_stop_training(pretrainer, montage_store, poison, tmp_path):
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


def test_mended_data_resume_training(pretrainer, montage_store, poison, tmp_path, monkeypatch):
    whole = pretrainer().fit(montage_store)
    with monkeypatch.context():
        poison("n0", after=8)
        with pytest.raises(TrainingError):
            pretrainer(state_dir=tmp_path, save_every=1).fit(montage_store)
    monkeypatch.undo()
    mended = pretrainer(state_dir=tmp_path, save_every=1).fit(montage_store)
    assert mended.checkpoint().sha256 == whole.checkpoint().sha256


def test_batches_accumulate_to_steps(pretrainer, montage_store):
    fitted = pretrainer(accumulate=3).fit(montage_store)
    steps = fitted.history_[:, "batches", :, ("train_batch_size", "pair")]
    assert {size for epoch in steps for size, _ in epoch} == {12}
    assert all(pair.count("+") == 2 for epoch in steps for _, pair in epoch)
    assert fitted.net_.step_ == 6


def test_patience_keeps_the_best(pretrainer, montage_store):
    fitted = pretrainer(patience=2, max_epochs=30, lr=0.3, ema_decay=0.0).fit(montage_store)
    losses = fitted.history_[:, "valid_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 30
    kept, last = (n.state_dict() for n in (fitted.net_.averaged(), fitted.net_.average_.network))
    assert any(not torch.equal(kept[name], last[name]) for name in kept)
    shorter = pretrainer(patience=2, max_epochs=30, lr=0.3, ema_decay=0.0)
    for _ in range(best + 1):
        shorter.partial_fit(montage_store)
    assert shorter.checkpoint().sha256 == fitted.checkpoint().sha256


def test_interrupted_steps_are_repeated(pretrainer, montage_store, monkeypatch):
    whole = pretrainer().fit(montage_store)
    training = pretrainer()
    interrupt_second_step(training, montage_store, monkeypatch)
    training.partial_fit(montage_store).partial_fit(montage_store)
    assert training.checkpoint().sha256 == whole.checkpoint().sha256


def test_interrupted_schedules_begin_anew(pretrainer, montage_store, monkeypatch):
    training = pretrainer(warm_start=True)
    interrupt_second_step(training, montage_store, monkeypatch)
    training.fit(montage_store)
    assert training.net_.step_ == 1 + 6
    assert training.history_[:, "train_batch_count"] == [1, 3, 3]


def interrupt_second_step(training, store, monkeypatch):
    def interrupt(net, batch):
        if net.step_ == 1:
            raise KeyboardInterrupt
        return infer(net, batch)

    infer = PretrainingNet.infer
    with monkeypatch.context() as patch:
        patch.setattr(PretrainingNet, "infer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.partial_fit(store)


def test_steps_cover_all_windows(pretrainer, montage_store):
    fitted = pretrainer(steps_per_epoch=None, max_epochs=1, batch_size=3).fit(montage_store)
    assert len(fitted.history_[0, "batches"]) == 24 // 3


def test_step_randomness_is_local():
    before = torch.get_rng_state()
    draws = []
    for numbers in ([1, 2], [1, 2], [1, 3]):
        with step_randomness(numbers, "cpu"):
            draws.append(torch.randn(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(before, torch.get_rng_state())


def test_bfloat16_trains_alike(pretrainer, montage_store):
    runs = [pretrainer(precision=p).fit(montage_store) for p in ("float32", "bfloat16")]
    full, half = (run.history_[0, "batches", 0, "train_loss"] for run in runs)
    assert full == pytest.approx(half, rel=0.05)
    assert full != half
    assert runs[1].precision_ == "bfloat16"


def test_progress_counts_nights_and_steps(pretrainer, montages, capsys):
    fitted = pretrainer(verbose=1).fit(montages)
    assert pickle.loads(pickle.dumps(fitted)).checkpoint().sha256 == fitted.checkpoint().sha256
    shown = capsys.readouterr().err
    assert "preparing: 100%" in shown
    assert shown.index("8/8") < shown.index("6/6") < shown.rindex("loss=")
    pretrainer().fit(montages)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_batches_come_in_order(n_workers):
    drawn = draw_ahead(lambda number: -number, range(4, 40), n_workers)
    assert list(drawn) == list(range(-4, -40, -1))


def test_workers_draw_ahead():
    second = threading.Event()

    def draw(number):
        if number == 1:
            second.set()
        return number

    batches = draw_ahead(draw, range(9), 1)
    next(batches)
    assert second.wait(10)
    batches.close()


@pytest.mark.parametrize("n_workers", [0, 2])
def test_draw_errors_keep_their_turn(n_workers):
    batches = draw_ahead(lambda number: 1 // (3 - number), range(9), n_workers)
    assert [next(batches) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def moved(network, by):
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor += by
    return network


def test_parameters_and_buffers_are_averaged(small_config):
    network = Sleep2Vec.from_seed(small_config, 0)
    average = MovingAverage(network, 0.75)
    start = {k: v.clone() for k, v in network.state_dict().items()}
    average.update(moved(network, 1), step=1000)
    for name, value in average.network.state_dict().items():
        by = 0.25 if value.is_floating_point() else 1
        torch.testing.assert_close(value, start[name] + by, rtol=0, atol=1e-6)
    assert "projection.hidden_norm.running_var" in start


def test_decays_at_their_ends(small_config):
    network = Sleep2Vec.from_seed(small_config, 0)
    average = MovingAverage(network, 0.996)
    before = network.encoder.token_type.detach().clone()
    average.update(moved(network, 1), step=0)
    torch.testing.assert_close(average.network.encoder.token_type.data, before + 0.9)
    average = MovingAverage(network, 0)
    average.update(moved(network, 1), step=0)
    for name, value in average.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])
    assert not average.network.training


def test_rates_rise_and_fall():
    factors = [rate_factor(step, 100, 0.1, 0.2) for step in range(100)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    assert factors[10] == 1
    assert (np.diff(factors[10:]) < 0).all()
    assert rate_factor(55, 100, 0.1, 0.2) == pytest.approx(0.6)
    assert rate_factor(100, 100, 0.1, 0.2) == rate_factor(500, 100, 0.1, 0.2) == pytest.approx(0.2)


@given(
    step=st.integers(0, 50), total=st.integers(1, 40), warmup=st.floats(0, 1), floor=st.floats(0, 1)
)
def test_rates_stay_below_their_peak(step, total, warmup, floor):
    assert 0 <= rate_factor(step, total, warmup, floor) <= 1 + 1e-12
    assert rate_factor(0, total, warmup, floor) > 0
