# SPDX-License-Identifier: BSD-3-Clause
"""Who is held out, what is hidden, and when training stops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence, Sleep2VecClassifier
from sleep2vec_sklearn.finetuning._net import drop_modalities
from sleep2vec_sklearn.finetuning._run import hold_out
from tests.finetuning.simple_nights import QUICK, make_night, make_nights


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=24),
    st.floats(0, 0.9),
    st.integers(0, 5),
)
def test_people_are_held_out_whole_and_every_class_stays(subjects, share, seed):
    rng = np.random.default_rng(seed)
    examples = rng.random((len(subjects), 3)) < 0.3
    held = hold_out(subjects, examples, share, rng)
    names = np.array(subjects)
    assert not set(names[held]) & set(names[~held])
    assert len(set(names[held])) <= share * len(set(subjects))
    assert len(set(names[held])) != 1
    np.testing.assert_array_equal(examples[~held].any(axis=0), examples.any(axis=0))


@pytest.mark.parametrize(("by_night", "by_epoch"), [(0.5, 0.0), (0.0, 0.5), (0.9, 0.9)])
def test_no_epoch_loses_its_last_modality(by_night, by_epoch):
    draw = torch.Generator().manual_seed(0)
    present = torch.rand(50, 20, 4, generator=draw) < 0.6
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)
        left = drop_modalities(present, by_night, by_epoch)
    assert not (left & ~present).any()
    assert torch.equal(left.any(-1), present.any(-1))
    assert left.sum() < present.sum()


def test_a_night_loses_a_modality_as_a_whole():
    present = torch.ones(200, 20, 4, dtype=torch.bool)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)
        left = drop_modalities(present, 0.3, 0.0)
    assert torch.equal(left.all(dim=1), left.any(dim=1))
    assert 0.6 < left.float().mean() < 0.8


def test_without_dropout_nothing_is_hidden_or_drawn():
    before = torch.get_rng_state()
    present = torch.ones(2, 3, 2, dtype=torch.bool)
    assert drop_modalities(present, 0.0, 0.0) is present
    assert torch.equal(torch.get_rng_state(), before)


def test_covariates_alone_can_tell_nights_apart(checkpoint_path):
    nights = [make_night(0, metadata={"sex": sex}, id=f"n{k}") for k, sex in enumerate("FMFMFM")]
    outcome = np.array([0, 1] * 3)
    settings = QUICK | {"max_epochs": 80, "lr": 1e-2}
    model = Sleep2VecClassifier(checkpoint_path, covariates=("age", "sex"), **settings)
    with pytest.raises(ValueError, match="age, which no recording"):
        model.fit(nights, outcome)
    model = model.set_params(covariates=("sex",)).fit(nights, outcome)
    assert model.score(nights, outcome) == 1


def test_training_stops_when_the_held_out_get_no_better(checkpoint_path):
    X = EpochSequence(make_nights(8))
    rng = np.random.default_rng(0)
    # labels without a reason, which can be learned by heart only
    y = rng.integers(0, 2, len(X))
    settings = QUICK | {"max_epochs": 60, "lr": 3e-2, "patience": 3, "validation_fraction": 0.5}
    model = Sleep2VecClassifier(checkpoint_path, **settings).fit(X, y)
    losses = model.history_[:, "valid_loss"]
    assert len(losses) < 60
    assert len(losses) == np.argmin(losses) + 1 + 3


def test_the_weights_kept_are_those_of_the_best_epoch(checkpoint_path):
    X = EpochSequence(make_nights(8))
    y = np.random.default_rng(0).integers(0, 2, len(X))
    settings = QUICK | {"lr": 3e-2, "patience": 4, "validation_fraction": 0.5, "head": "mlp"}
    model = Sleep2VecClassifier(checkpoint_path, **(settings | {"max_epochs": 30})).fit(X, y)
    losses = np.array(model.history_[:, "valid_loss"])
    decisions = model.decision_function(X)
    proba = 1 / (1 + np.exp(-decisions))
    by_row = -np.log(np.where(y == 1, proba, 1 - proba))
    people = np.unique(X.groups)
    halves = [by_row[np.isin(X.groups, [a, b])].mean() for a in people for b in people if a < b]
    assert np.isclose(halves, losses.min(), atol=1e-4).any()


def test_few_subjects_are_all_trained_on(checkpoint_path):
    X = EpochSequence(make_nights(4))
    model = Sleep2VecClassifier(checkpoint_path, **(QUICK | {"patience": 2})).fit(X, X.stages)
    assert "valid_loss" not in model.history_[-1]


def test_a_bar_shows_the_losses(checkpoint_path, capsys):
    X = EpochSequence(make_nights(2))
    Sleep2VecClassifier(checkpoint_path, verbose=1, **QUICK).fit(X, X.stages)
    said = capsys.readouterr()
    assert "fine-tuning" in said.err
    assert "train_loss" in said.err
    assert said.out == ""
