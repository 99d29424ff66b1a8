# SPDX-License-Identifier: BSD-3-Clause
"""Held-out subjects, hidden modalities, and skorch's loop and callbacks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split

from sleep2vec_sklearn import EpochSequence, Sleep2VecClassifier
from sleep2vec_sklearn.finetuning import _net
from sleep2vec_sklearn.finetuning._net import Batches, hold_out
from sleep2vec_sklearn.finetuning._network import drop_modalities
from tests.finetuning.simple_nights import QUICK, make_nights


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=24),
    st.floats(0, 0.9),
    st.integers(0, 5),
)
def test_subjects_are_held_out_whole(subjects, share, seed):
    rng = np.random.default_rng(seed)
    examples = rng.random((len(subjects), 3)) < 0.3
    held = hold_out(subjects, examples, share, rng)
    names = np.array(subjects)
    assert not set(names[held]) & set(names[~held])
    assert len(set(names[held])) <= share * len(set(subjects))
    assert len(set(names[held])) != 1
    np.testing.assert_array_equal(examples[~held].any(axis=0), examples.any(axis=0))


def dropped(present, by_night, by_epoch):
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)
        return drop_modalities(present, by_night, by_epoch)


@pytest.mark.parametrize(("by_night", "by_epoch"), [(0.5, 0.0), (0.0, 0.5), (0.9, 0.9)])
def test_last_modality_is_never_dropped(by_night, by_epoch):
    present = torch.rand(50, 20, 4, generator=torch.Generator().manual_seed(0)) < 0.6
    left = dropped(present, by_night, by_epoch)
    assert not (left & ~present).any()
    assert torch.equal(left.any(-1), present.any(-1))
    assert left.sum() < present.sum()


def test_nights_lose_modalities_wholly():
    left = dropped(torch.ones(200, 20, 4, dtype=torch.bool), 0.3, 0.0)
    assert torch.equal(left.all(dim=1), left.any(dim=1))
    assert 0.6 < left.float().mean() < 0.8
    before = torch.get_rng_state()
    present = torch.ones(2, 3, 2, dtype=torch.bool)
    assert drop_modalities(present, 0.0, 0.0) is present
    assert torch.equal(torch.get_rng_state(), before)


def without_reason(n_nights=8):
    """Epochs with labels that can only be learned by heart."""
    X = EpochSequence(make_nights(n_nights))
    return X, np.random.default_rng(0).integers(0, 2, len(X))


def test_training_stops_early(classify):
    X, y = without_reason()
    model = classify(max_epochs=60, lr=3e-2, patience=3, validation_fraction=0.5).fit(X, y)
    losses = model.history_[:, "valid_loss"]
    assert len(losses) < 60
    assert len(losses) == np.argmin(losses) + 1 + 3


def test_best_weights_are_restored(classify):
    X, y = without_reason()
    model = classify(max_epochs=30, lr=3e-2, patience=4, validation_fraction=0.5, head="mlp")
    losses = np.array(model.fit(X, y).history_[:, "valid_loss"])
    proba = 1 / (1 + np.exp(-model.decision_function(X)))
    by_row = -np.log(np.where(y == 1, proba, 1 - proba))
    subjects = np.unique(X.groups)
    halves = [by_row[np.isin(X.groups, [a, b])].mean() for a in subjects for b in subjects if a < b]
    assert np.isclose(halves, losses.min(), atol=1e-4).any()


def test_few_subjects_train_visibly(classify, capsys):
    X = EpochSequence(make_nights(2))
    classify(verbose=1).fit(X, X.stages)
    printed = capsys.readouterr()
    assert "fine-tuning" in printed.err
    assert "train_loss" in printed.err
    assert printed.out == ""
    X = EpochSequence(make_nights(4))
    assert "valid_loss" not in classify(patience=2).fit(X, X.stages).history_[-1]


@pytest.fixture
def trained(classify, monkeypatch):
    """Function of callbacks: a fitted classifier whose net had them instead of its own."""

    def train(*callbacks, held_out=False, **parameters):
        def with_callbacks(net, settings, batches, validation, _):
            net.set_params(callbacks=list(callbacks))
            if held_out:
                net.set_params(train_split=predefined_split(validation))
            net.initialize().partial_fit(batches)

        monkeypatch.setattr(_net, "_train", with_callbacks)
        X, y = without_reason()
        return classify(lr=3e-2, **parameters).fit(X, y)

    return train


class Recorder(Callback):
    """Notes the events of a training, and ends it after an epoch."""

    def __init__(self, last_epoch=None, error=KeyboardInterrupt):
        self.last_epoch, self.error, self.seen = last_epoch, error, []

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        self.seen.append(("batch", training, kwargs["loss"].item()))

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.seen.append(("gradient", len(list(named_parameters))))

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(("epoch", len(net.history)))
        if len(net.history) == self.last_epoch:
            raise self.error


def test_callbacks_of_users_are_called(checkpoint_path):
    recorder = Recorder(last_epoch=2)

    class Recorded(Sleep2VecClassifier):
        def _callbacks(self):
            return [recorder]

    X, y = without_reason()
    model = Recorded(checkpoint_path, **(QUICK | {"max_epochs": 5})).fit(X, y)
    assert len(model.history_) == 2
    batches = [event for event in recorder.seen if event[0] == "batch"]
    assert [loss for _, _, loss in batches] == [
        batch["train_loss"] for row in model.history_ for batch in row["batches"]
    ]
    assert ("gradient", len([*model.net_.module_.parameters()])) in recorder.seen


def test_interrupts_are_no_end(trained):
    class Interrupted(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(Interrupted())


def test_skorch_callbacks_replace_ours(trained):
    pinned = trained(GradientNormClipping(1e-12), max_epochs=1, random_state=0)
    moved = trained(LRScheduler("StepLR", step_size=1, gamma=0.1), max_epochs=3)
    rates = [row["event_lr"] for row in moved.history_]
    np.testing.assert_allclose(rates, [3e-2, 3e-3, 3e-4])
    stopping = EarlyStopping(patience=1, threshold=10.0, threshold_mode="abs")
    stopped = trained(stopping, held_out=True, max_epochs=9, patience=3, validation_fraction=0.5)
    assert len(stopped.history_) == 2
    assert len(pinned.history_) == 1


def test_schedule_follows_each_epoch():
    class Uneven:
        def draw(self, rng, batch_size):
            return [[]] * self.counts.pop(0)

        def load(self, pieces):
            return pieces, None

    training = Uneven()
    training.counts = [3, 5, 4]
    batches = Batches(training, 1, 3, seed=0)
    rates = [batches.rate(0)]
    for _ in range(3):
        for _ in batches:
            # as LRScheduler does at the end of a batch
            rates.append(batches.rate(len(rates)))
    totals = [9] * 3 + [15] * 5 + [12] * 5
    assert rates == [_net.rate_factor(k, n, 0.05, 0.05) for k, n in enumerate(totals)]
    assert not training.counts
