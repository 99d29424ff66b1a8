# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score

from sleep2vec_sklearn import EpochSequence
from sleep2vec_sklearn.encoding._sleep2vec import network_for
from sleep2vec_sklearn.finetuning import FullFineTuning
from tests.finetuning.simple_nights import N_EPOCHS, make_nights

NIGHTS = make_nights(6)
X = EpochSequence(NIGHTS)
Y = X.stages.astype(int)
OUTCOME = np.array([0, 1] * 3)


@pytest.mark.parametrize("finetune", ["head", "lora", "full"])
def test_epochs_are_learned(classify, finetune):
    model = classify(finetune=finetune, max_epochs=12, lr=1e-2, head="mlp").fit(X, Y)
    assert model.score(X, Y) > 0.9
    assert model.history_[-1, "train_loss"] < model.history_[0, "train_loss"]


def test_nights_are_learned(classify):
    model = classify(max_epochs=40, lr=1e-2).fit(NIGHTS, OUTCOME)
    assert model.score(NIGHTS, OUTCOME) == 1
    assert model.predict_proba(NIGHTS).sum(axis=1) == pytest.approx(np.ones(6))


def test_seeds_repeat_the_model(classify):
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (classify(modality_dropout=0.3).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(first.decision_function(X), second.decision_function(X))
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    other = classify(random_state=1).fit(X, Y)
    assert not np.allclose(other.decision_function(X), first.decision_function(X))


NAMES = np.array(["wake", "sleep"])[Y]


@pytest.mark.parametrize(
    "y",
    [NAMES, NAMES.astype(object), NAMES.tolist(), pd.Series(NAMES, dtype="category"),
     Y.astype(bool), Y.astype(float) + 0.0, Y[:, None]],
    ids=["text", "objects", "list", "category", "bool", "float", "column"],
)  # fmt: skip
def test_classes_of_any_type(classify, y):
    model = classify().fit(X, y)
    plain = np.asarray(y).ravel()
    np.testing.assert_array_equal(model.classes_, np.unique(plain))
    assert set(model.predict(X)) <= set(plain.tolist())
    assert model.score(X, y) == accuracy_score(plain, model.predict(X))


@pytest.mark.parametrize(
    ("unknown", "kind"), [(-1, int), (np.nan, float), (None, object), (pd.NA, object)]
)
def test_unlabelled_epochs_are_left_out(classify, unknown, kind):
    known = np.arange(len(Y)) % 3 > 0
    y = Y.astype(kind)
    y[~known] = unknown
    model = classify().fit(X, y)
    alone = classify().fit(X[known], Y[known])
    np.testing.assert_array_equal(model.decision_function(X), alone.decision_function(X))
    assert model.score(X, y) == alone.score(X[known], Y[known])


def test_unlabelled_nights_are_not_read(classify):
    unusable = {"ibi": np.full(N_EPOCHS * 120, np.nan)}
    model = classify().fit([*NIGHTS, unusable], [*OUTCOME, np.nan])
    alone = classify().fit(NIGHTS, OUTCOME)
    np.testing.assert_array_equal(model.predict_proba(NIGHTS), alone.predict_proba(NIGHTS))
    model = classify().fit(NIGHTS, 2 * OUTCOME - 1)
    np.testing.assert_array_equal(model.classes_, [-1, 1])


def test_outcomes_with_unknown_cells(classify):
    y = np.array([[0, 1], [1, np.nan], [np.nan, np.nan], [1, 0], [0, np.nan], [1, 1]])
    model = classify(max_epochs=40, lr=1e-2).fit(NIGHTS, y)
    proba, predicted = model.predict_proba(NIGHTS), model.predict(NIGHTS)
    assert proba.shape == predicted.shape == (6, 2)
    np.testing.assert_array_equal(predicted, proba > 0.5)
    known = ~np.isnan(y)
    assert model.score(NIGHTS, y) == (predicted == y)[known].mean() > 0.8


def test_subjects_average_their_nights(classify):
    subjects = [NIGHTS[:2], NIGHTS[2:4], NIGHTS[4:]]
    model = classify().fit(subjects, [0, 1, 0])
    each = model.decision_function(NIGHTS)
    expected = each.reshape(3, 2).mean(axis=1)
    np.testing.assert_allclose(model.decision_function(subjects), expected, rtol=1e-4, atol=1e-6)


def test_two_classes_one_decision(classify):
    model = classify().fit(X, Y)
    decisions = model.decision_function(X)
    assert decisions.shape == (len(X),)
    np.testing.assert_array_equal(model.predict(X), (decisions > 0).astype(int))
    proba = model.predict_proba(X)[:, 1]
    np.testing.assert_allclose(proba, 1 / (1 + np.exp(-decisions)), rtol=1e-5)


@pytest.mark.parametrize("weights", ["balanced", {0: 1.0, 1: 40.0}])
def test_class_weight_helps_rare_classes(classify, weights):
    rare = np.where(np.arange(len(Y)) % 5 == 0, Y, 0)
    plain, weighted = (
        classify(class_weight=w, max_epochs=10, lr=1e-2).fit(X, rare) for w in (None, weights)
    )
    assert weighted.predict_proba(X)[:, 1].mean() > 1.5 * plain.predict_proba(X)[:, 1].mean()


@pytest.mark.parametrize(
    ("head", "layer_mix"),
    [("mlp", True), ("temporal_conv", False), ("temporal_transformer", False)],
)
def test_heads_see_the_same_tokens(classify, head, layer_mix):
    still = {"head": head, "layer_mix": layer_mix, "lr": 1e-12}
    inside, alone = (
        classify(finetune=f, **still).fit(X, Y) for f in (FullFineTuning(lr=1e-12), "head")
    )
    np.testing.assert_allclose(
        alone.decision_function(X), inside.decision_function(X), rtol=1e-3, atol=1e-4
    )


def test_shared_encoder_stays(classify, checkpoint_in_memory):
    before = {
        k: v.clone() for k, v in network_for(checkpoint_in_memory, "cpu").state_dict().items()
    }
    model = classify(finetune=FullFineTuning(lr=1e-2)).fit(X, Y)
    after = network_for(checkpoint_in_memory, "cpu").state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    tuned = model.net_.module_.network.encoder.state_dict()
    assert not all(torch.equal(tuned[key], value) for key, value in before.items())


def test_whole_nights_are_context(classify):
    model = classify(head="temporal_conv").fit(X[::2], Y[::2])
    np.testing.assert_array_equal(model.predict_proba(X)[4:8:2], model.predict_proba(X[4:8:2]))


@pytest.mark.parametrize("pooling", ["mean", "attention", "cls"])
@pytest.mark.parametrize("aggregation", ["mean", "concat", "gated"])
def test_any_modality_is_enough(classify, pooling, aggregation):
    model = classify(pooling=pooling, aggregation=aggregation).fit(NIGHTS, OUTCOME)
    for name in ("spo2", "ibi"):
        alone = [night.without(name) for night in NIGHTS]
        assert np.isfinite(model.predict_proba(alone)).all()
