# SPDX-License-Identifier: BSD-3-Clause
"""Nested parameters of the pretrainer: listed and set while they are None, and never shared."""

import inspect

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import estimator_checks

from sleep2vec_sklearn import Sleep2VecPretrainer
from sleep2vec_sklearn.pretraining import (
    AdamW,
    Augmentation,
    DashObjective,
    EncoderSpec,
    InfoNCEObjective,
)

KINDS = {"encoder": EncoderSpec, "objective": DashObjective}
KINDS |= {"augmentation": Augmentation, "optimizer": AdamW}


def test_constructor_is_short():
    assert len(inspect.signature(Sleep2VecPretrainer).parameters) <= 25


@pytest.mark.parametrize("name", KINDS)
def test_defaults_stay_none(name):
    pretrainer = Sleep2VecPretrainer()
    assert pretrainer.get_params()[name] is None
    assert clone(pretrainer).get_params()[name] is None
    assert clone(pretrainer).get_params() == pretrainer.get_params()


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_nested_defaults_are_listed(name, kind):
    deep = Sleep2VecPretrainer().get_params(deep=True)
    for key, value in kind().get_params().items():
        assert deep[f"{name}__{key}"] == value
    assert not any("__" in key for key in Sleep2VecPretrainer().get_params(deep=False))


def test_setting_makes_a_fresh_object():
    first, second = Sleep2VecPretrainer(), Sleep2VecPretrainer()
    for pretrainer, temperature in ((first, 0.2), (second, 0.3)):
        pretrainer.set_params(objective__temperature=temperature)
    assert (first.objective.temperature, second.objective.temperature) == (0.2, 0.3)
    third = clone(first).set_params(objective__temperature=0.4)
    assert first.objective.temperature == 0.2
    assert third.objective is not first.objective
    assert Sleep2VecPretrainer().objective is None


def test_words_stand_for_objects():
    pretrainer = Sleep2VecPretrainer(objective="info_nce")
    assert pretrainer.get_params()["objective__temperature"] == 0.1
    assert "objective__age_bandwidth" not in pretrainer.get_params()
    assert isinstance(pretrainer.set_params(objective__temperature=1).objective, InfoNCEObjective)
    pretrainer.set_params(objective="dash", objective__temperature=0.5)
    assert str(pretrainer.objective) == "DashObjective(temperature=0.5)"


def test_nested_parameters_need_an_object():
    with pytest.raises(ValueError, match="encoder is 'sleep2vec-mini'"):
        Sleep2VecPretrainer(encoder="sleep2vec-mini").set_params(encoder__hidden_size=8)
    with pytest.raises(ValueError, match="Invalid parameter 'colour'"):
        Sleep2VecPretrainer().set_params(objective__colour=8)


def test_grid_search_reaches_nested(montages, montage_store):
    grid = {"objective__temperature": [0.1, 0.5], "encoder__hidden_size": np.array([8, 16])}
    same = {"context_epochs": 6, "batch_size": 2, "max_epochs": 1, "steps_per_epoch": 3}
    same |= {"validation": 0, "encoder__n_layers": 1, "random_state": 0}
    grid |= {k: [v] for k, v in same.items()}
    search = GridSearchCV(Sleep2VecPretrainer(), grid, cv=2, error_score="raise")
    scores = clone(search).fit(montages).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores, search.fit(montage_store).cv_results_["mean_test_score"])
    assert np.isfinite(scores).all()
    best = search.best_estimator_
    assert best.encoder_config_.hidden_size == search.best_params_["encoder__hidden_size"]
    assert best.net_.criterion_.objective.temperature == best.objective.temperature
    assert search.estimator.objective is None


@pytest.mark.parametrize(
    "pretrainer",
    [Sleep2VecPretrainer(), Sleep2VecPretrainer(objective=DashObjective(0.2), optimizer=AdamW())],
)
def test_html_repr(pretrainer):
    page = pretrainer._repr_html_()
    assert "Sleep2VecPretrainer" in page
    assert "context_epochs" in page
    assert ("DashObjective" in page) == (pretrainer.objective is not None)


CHECKS = [
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types",
    "check_estimator_repr", "check_no_attributes_set_in_init", "check_mixin_order",
    "check_do_not_raise_errors_in_init_or_set_params", "check_parameters_default_constructible",
    "check_get_params_invariance", "check_set_params", "check_estimator_sparse_tag",
]  # fmt: skip


@pytest.mark.parametrize("kind", [Sleep2VecPretrainer, *KINDS.values(), InfoNCEObjective])
@pytest.mark.parametrize("check", [c for c in CHECKS if hasattr(estimator_checks, c)])
def test_scikit_learn_checks(kind, check):
    if check == "check_estimator_sparse_tag" and kind is not Sleep2VecPretrainer:
        pytest.skip("has no fit")
    getattr(estimator_checks, check)(kind.__name__, kind())


@pytest.mark.parametrize("kind", [*KINDS.values(), InfoNCEObjective])
def test_every_parameter_is_constrained(kind):
    assert kind._parameter_constraints.keys() == kind().get_params().keys()


def test_prepared_nights_train_alike(pretrainer, montages):
    training = pretrainer()
    store = training.prepare(montages)
    assert training.prepare(store) is store
    stored = training.fit(store).checkpoint()
    assert stored.sha256 == pretrainer().fit(montages).checkpoint().sha256
