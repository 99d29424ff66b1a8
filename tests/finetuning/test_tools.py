# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's tools around a fine-tuning estimator."""

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecClassifier,
    cache_info,
    clear_cache,
)
from sleep2vec_sklearn import config_context as settings
from tests.finetuning.simple_nights import QUICK, make_nights

NIGHTS = make_nights(6)
X = EpochSequence(NIGHTS)
Y = X.stages.astype(int)
FOLDS = {"cv": GroupKFold(3), "groups": X.groups}


@pytest.fixture
def model(checkpoint_path):
    return Sleep2VecClassifier(checkpoint_path, **QUICK)


def test_a_search_encodes_each_night_once(model, counting_source):
    sources = [
        counting_source({n: (s.values, s.rate, s.unit) for n, s in night.read().items()})
        for night in NIGHTS
    ]
    for number, source in enumerate(sources):
        source.fingerprint = lambda number=number: f"night {number}"
    nights = [
        Recording.from_source(s, subject=night.subject, stages=night.stages, id=night.id)
        for s, night in zip(sources, NIGHTS, strict=True)
    ]
    grid = {"lr": [1e-3, 1e-2], "head": ["mlp", "temporal_conv"]}
    search = GridSearchCV(model, grid, cv=GroupKFold(3), error_score="raise")
    search.fit(EpochSequence(nights), Y, groups=X.groups)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert [sum(map(len, source.reads)) for source in sources] == [2] * 6


def test_cross_validation_by_subject(model):
    result = cross_validate(model, X, Y, scoring=["balanced_accuracy", "neg_log_loss"], **FOLDS)
    assert np.isfinite(result["test_neg_log_loss"]).all()
    proba = cross_val_predict(model, X, Y, method="predict_proba", **FOLDS)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


def test_behind_a_step_that_edits_recordings(model):
    drop = FunctionTransformer(lambda nights: [night.without("spo2") for night in nights])
    outcome = np.array([0, 1] * 3)
    pipeline = make_pipeline(drop, model).fit(NIGHTS, outcome)
    assert pipeline[-1].modalities_ == ("ibi",)
    alone = clone(model).fit(drop.fit_transform(NIGHTS), outcome)
    np.testing.assert_array_equal(
        pipeline.predict_proba(NIGHTS),
        alone.predict_proba(X=[night.without("spo2") for night in NIGHTS]),
    )


def test_calibrated(model):
    with_groups = list(GroupKFold(2).split(X, Y, X.groups))
    calibrated = CalibratedClassifierCV(model, cv=with_groups).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


def test_sample_weight_is_routed(model):
    weights = (np.arange(len(Y)) % 2).astype(float)
    with config_context(enable_metadata_routing=True):
        asked = model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        params = {"sample_weight": weights, "groups": X.groups}
        result = cross_validate(asked, X, Y, cv=GroupKFold(3), params=params, return_estimator=True)
    train, test = next(GroupKFold(3).split(X, Y, X.groups))
    alone = clone(model).fit(X[train], Y[train], sample_weight=weights[train])
    expected = alone.score(X[test], Y[test], sample_weight=weights[test])
    assert result["test_score"][0] == pytest.approx(expected)


def test_settings_reach_workers(model):
    with settings(leakage="raise"):
        assert model.__getstate__()["_settings"]["leakage"] == "raise"
        assert "_settings" not in clone(model).fit(X, Y).__getstate__()


def test_tags_say_what_it_takes(model):
    tags = model.__sklearn_tags__()
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_label
    assert tags.target_tags.required
    assert not tags.input_tags.two_d_array


def test_a_clone_is_not_fitted_and_a_pickle_knows_nobody(model):
    fitted = clone(model).fit(X, Y)
    assert not [name for name in vars(clone(fitted)) if name.endswith("_")]
    data = pickle.dumps(fitted)
    assert b"night-3" not in data
    np.testing.assert_array_equal(pickle.loads(data).predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("finetune", ["lora", "full"])
def test_prepared_nights_are_kept_where_the_cache_is_a_folder(model, finetune, tmp_path):
    model.set_params(finetune=finetune, cache=tmp_path, max_epochs=1)
    first = clone(model).fit(X, Y)
    kept = sorted(tmp_path.glob("prepared/*/nights/*/*.safetensors"))
    times = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 6
    second = clone(model).fit(X, Y)
    assert [path.stat().st_mtime_ns for path in kept] == times
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_the_encoder_of_lora_is_not_read_from_the_cache_of_tokens(model):
    model.set_params(finetune="lora", max_epochs=1)
    fitted = model.fit(X, Y)
    clear_cache()
    fitted.predict(X)
    assert cache_info().misses == 0
