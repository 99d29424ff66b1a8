# SPDX-License-Identifier: BSD-3-Clause
"""What all fine-tuning estimators share: parameters, checks, scikit-learn's tools, warnings."""

import inspect
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecClassifier,
    Sleep2VecCoxRegressor,
    Sleep2VecEventDetector,
    Sleep2VecRegressor,
    Sleep2VecTransformer,
    cache_info,
    clear_cache,
)
from sleep2vec_sklearn import config_context as settings
from sleep2vec_sklearn.checks import sleep2vec_checks_generator
from sleep2vec_sklearn.errors import (
    CheckpointError,
    InvalidRecordingError,
    LeakageWarning,
    ModalityWarning,
    TrainingError,
)
from sleep2vec_sklearn.evaluation import survival_outcome
from sleep2vec_sklearn.finetuning import EventRules, FullFineTuning, LoRA
from sleep2vec_sklearn.finetuning._base import FineTuningEstimator, SharedParameters
from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.model.checkpoint import Checkpoint
from tests.finetuning.simple_nights import N_EPOCHS, QUICK, make_night, make_nights

NIGHTS = make_nights(6)
X = EpochSequence(NIGHTS)
Y = X.stages.astype(int)
OUTCOME = np.array([0, 1] * 3)
FOLDS = {"cv": GroupKFold(3), "groups": X.groups}


@pytest.mark.parametrize(
    "estimator",
    [Sleep2VecClassifier, Sleep2VecRegressor, Sleep2VecCoxRegressor, Sleep2VecEventDetector],
)
def test_signature_and_documentation_are_whole(estimator):
    parameters = inspect.signature(estimator).parameters
    assert {"checkpoint", *SharedParameters.__annotations__} <= set(parameters)
    assert len(parameters) <= 25
    assert list(estimator().get_params(deep=False)) == sorted(parameters)
    for name, parameter in parameters.items():
        text = repr(parameter.default).replace("'", '"')
        assert f"\n{name} : " in estimator.__doc__
        assert ", optional" in estimator.__doc__ or f", default={text}" in estimator.__doc__


def test_shared_parameters_are_the_base():
    base = inspect.signature(FineTuningEstimator).parameters
    assert set(base) == {"checkpoint", *SharedParameters.__annotations__}
    with pytest.raises(TypeError, match="time_of_night"):
        Sleep2VecCoxRegressor(time_of_night=True)


@pytest.mark.parametrize(
    ("kind", "parameter", "value", "changed", "nested"),
    [(Sleep2VecClassifier, "finetune", "lora", {"rank": 2, "lr": 0.5}, LoRA),
     (Sleep2VecRegressor, "finetune", "full", {"lr": 0.5}, FullFineTuning),
     (Sleep2VecEventDetector, "rules", None, {"gap": 5, "min_duration": 3}, EventRules)],
)  # fmt: skip
def test_nested_parameters_are_reached(kind, parameter, value, changed, nested):
    one, other = kind(**{parameter: value}), kind(**{parameter: value})
    assert one.get_params()[parameter] == value
    one.set_params(**{f"{parameter}__{key}": v for key, v in changed.items()})
    assert isinstance(getattr(one, parameter), nested)
    assert getattr(other, parameter) == value
    again = clone(one)
    assert {k: again.get_params()[f"{parameter}__{k}"] for k in changed} == changed


def test_a_search_over_ranks(classify):
    search = GridSearchCV(
        classify(finetune="lora", max_epochs=1), {"finetune__rank": [1, 3]}, cv=GroupKFold(2)
    )
    search.fit(X[:80], Y[:80], groups=X.groups[:80])
    assert set(search.best_params_) == {"finetune__rank"}
    assert search.best_estimator_.finetune.rank == search.best_params_["finetune__rank"]


@pytest.mark.parametrize(
    ("y", "message"),
    [(np.zeros(len(X)), "one class only, 0.0, .*two at least"),
     (["wake"] * len(X), "one class only, 'wake'"),
     (np.full(len(X), np.nan), "no label for any of the 120 epochs"),
     (np.full(len(X), -1), "no label for any"),
     (Y[:-1], r"y has shape \(119,\) and X 120 elements.*these are epochs"),
     ([[0], [0, 1]] * 60, "rows of different lengths"),
     (["wake", 1] * 60, "y holds what are no classes"),
     (np.random.default_rng(0).random(len(X)), "continuous"),
     (np.zeros(len(X), "f4,i4"), r"no classes \(fields f0, f1\)"),
     (np.column_stack([Y, 2 * Y]), "holds 2; accepted are 0, 1 and NaN"),
     (np.column_stack([Y, 0 * Y]), "column 1 of y is 0 in all 120 rows.*both 0 and 1")],
)  # fmt: skip
def test_impossible_labels_are_refused(classify, y, message):
    with pytest.raises(ValueError, match=message):
        classify().fit(X, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [(["old", "young"] * 3, "y holds text.*Sleep2VecClassifier"),
     ([1.0, np.inf, 2, 3, 4, 5], "y holds inf"), ([0, 1e300] * 3, "y holds 1e\\+300"),
     (np.arange(6).astype("datetime64[D]"), "y holds dates; accepted are real"),
     (np.full((6, 2), np.nan), "NaN in every row of column 0"),
     ([1.0, 2.0], r"shape \(2,\) and X 6 elements")],
)  # fmt: skip
def test_impossible_numbers_are_refused(regress, y, message):
    with pytest.raises(ValueError, match=message):
        regress().fit(NIGHTS, y)


@pytest.mark.parametrize(
    "weights", [[1, 1, 1], [1, -1, 1, 1, 1, 1], [0] * 6, [1, np.nan, 1, 1, 1, 1]]
)
def test_impossible_weights_are_refused(classify, regress, weights):
    with pytest.raises(ValueError, match="sample_weight"):
        classify().fit(NIGHTS, OUTCOME, sample_weight=weights)
    for model in (classify().fit(NIGHTS, OUTCOME), regress().fit(NIGHTS, OUTCOME)):
        with pytest.raises(ValueError, match="sample_weight"):
            model.score(NIGHTS, OUTCOME, sample_weight=weights)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"finetune": "all"}, "'finetune' parameter.*'lora'"),
     ({"finetune": LoRA(rank=0)}, "'rank' parameter of LoRA"),
     ({"finetune": LoRA(alpha=0)}, "'alpha' parameter of LoRA"),
     ({"finetune": FullFineTuning(lr=-1)}, "'lr' parameter of FullFineTuning"),
     ({"head": "lstm"}, "'head' parameter.*'auto'"),
     ({"head": "temporal_conv"}, "accepted for nights"), ({"lr": 0}, "'lr' parameter"),
     ({"dropout": 1}, "'dropout' parameter"), ({"max_epochs": 0}, "'max_epochs' parameter"),
     ({"patience": 2.5}, "'patience' parameter"),
     ({"modality_dropout": (0.1, 0.2, 0.3)}, "a pair of such numbers"),
     ({"covariates": "age"}, "'covariates' parameter"),
     ({"covariates": [3]}, "covariates must be a list of keys"),
     ({"random_state": -1}, "'random_state' parameter"),
     ({"layer_mix": "all"}, "'layer_mix' parameter"), ({"pooling": "max"}, "'pooling' parameter"),
     ({"time_of_night": True}, "time_of_night=True describes epochs"),
     ({"class_weight": {7: 1.0}}, "not in class_weight"),
     ({"class_weight": {0: 0.0}}, "accepted are numbers above 0")],
)  # fmt: skip
def test_impossible_parameters_are_refused(classify, parameters, message):
    with pytest.raises(ValueError, match=message):
        classify(**parameters).fit(NIGHTS, OUTCOME)


def test_cls_pooling_needs_a_token(small_config):
    config = replace(small_config, cls=False)
    plain = Checkpoint(config, Sleep2Vec.from_seed(config, 0).state_dict(), {}, "0" * 64, "plain")
    with pytest.raises(CheckpointError, match="no CLS token"):
        Sleep2VecClassifier(plain, pooling="cls", **QUICK).fit(NIGHTS, OUTCOME)


def test_unfit_inputs_are_refused(classify, checkpoint_path):
    rows = Sleep2VecTransformer(checkpoint_path).fit_transform(NIGHTS)
    with pytest.raises(InvalidRecordingError, match="Leave Sleep2VecTransformer out"):
        classify().fit(rows, OUTCOME)
    with pytest.raises(NotFittedError):
        classify().predict(X)
    with pytest.raises(InvalidRecordingError, match=r"X holds nights.*fitted on epochs"):
        classify().fit(X, Y).predict(NIGHTS)


@pytest.mark.parametrize("finetune", ["head", "full"])
def test_empty_nights_are_named(classify, finetune):
    empty = Recording({"ibi": np.full(N_EPOCHS * 120, np.nan)}, id="empty")
    no_signal = r"recording {} \(empty\): no usable signal"
    with pytest.raises(InvalidRecordingError, match=no_signal.format(6)) as error:
        classify(finetune=finetune).fit([*NIGHTS, empty], [*OUTCOME, 1])
    assert "on_error" not in str(error.value)
    model = classify(finetune=finetune).fit(NIGHTS, OUTCOME)
    with pytest.raises(InvalidRecordingError, match=no_signal.format(0)):
        model.predict([empty])


def test_gaps_have_finite_predictions(classify):
    night = make_night(0)
    signals = {name: signal.values.copy() for name, signal in night.read().items()}
    for values in signals.values():
        values[600:1200] = np.nan
    holey = EpochSequence([Recording(signals, stages=night.stages, id="holey")])
    assert np.isfinite(classify().fit(X, Y).predict_proba(holey)).all()


@pytest.mark.parametrize("finetune", ["head", "lora"])
def test_unlearned_modalities_are_ignored(classify, finetune, noise):
    model = classify(finetune=finetune).fit(NIGHTS, OUTCOME)
    effort = noise("effort", N_EPOCHS)
    more = [Recording({**night.read(), "effort": effort}, id=night.id) for night in NIGHTS]
    with pytest.warns(ModalityWarning, match="effort: no night had it in training.*spo2, ibi"):
        proba = model.predict_proba(more)
    np.testing.assert_array_equal(proba, model.predict_proba(NIGHTS))
    with (
        pytest.warns(ModalityWarning),
        pytest.raises(InvalidRecordingError, match="none of which"),
    ):
        model.predict([{"effort": effort}])


def test_absent_modalities_are_left_out(classify):
    with pytest.warns(ModalityWarning, match="ecg: no recording with a label has it"):
        model = classify(modalities=["ecg", "spo2"]).fit(NIGHTS, OUTCOME)
    assert model.modalities_ == ("spo2",)


def test_other_rows_leak(classify):
    with pytest.warns(LeakageWarning, match="other rows of 1 of the subjects this est") as told:
        classify().fit(X[:20], Y[:20]).predict(X[10:30])
    assert told[0].filename == __file__
    classify().fit(X[:40], Y[:40]).predict(X[40:])


EVENTS = [pd.DataFrame({"onset": [60.0], "duration": [30.0], "type": ["apnea"]})] * 4
SURVIVAL = survival_outcome([1, 1, 1, 1], [1, 1, 2, 2])
CASES = {
    Sleep2VecClassifier: ([0, 1, 0, 1], ["predict", "predict_proba", "decision_function"]),
    Sleep2VecRegressor: ([1.0, 2, 3, 4], ["predict"]),
    Sleep2VecCoxRegressor: (SURVIVAL, ["predict", "predict_survival_function"]),
    Sleep2VecEventDetector: (EVENTS, ["predict", "predict_proba", "predict_events"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_warnings_name_the_callers_file(kind, checkpoint_path, noise):
    y, methods = CASES[kind]
    parameters = {"event_types": "apnea"} if kind is Sleep2VecEventDetector else {}
    model, nights = kind(checkpoint_path, **QUICK, **parameters), NIGHTS[:4]
    effort = noise("effort", N_EPOCHS)
    more = [Recording({**night.read(), "effort": effort}, id=night.id) for night in nights]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(nights, y)
        for name in methods:
            getattr(model, name)(more)
        model.score(more, y)
        model.set_params(modalities=["ecg", "spo2"]).fit(nights, y)
    assert len(told) == len(methods) + 2
    assert {warning.filename for warning in told} == {__file__}


def test_impossible_scores_and_losses(classify, regress):
    with pytest.raises(ValueError, match="no label for any of the 6 nights"):
        classify().fit(NIGHTS, OUTCOME).score(NIGHTS, [None] * 6)
    with pytest.raises(ValueError, match="NaN in every row of column 0"):
        regress().fit(NIGHTS, np.arange(6.0)).score(NIGHTS, [np.nan] * 6)
    with pytest.raises(TrainingError, match="not finite at step 1"):
        regress().fit(NIGHTS[:4], [0.0, 0, 0, 1], sample_weight=[1e-38, 1e38, 1e38, 1e38])


WEIGHTS = [1, 1, 1, 1, 0, 0]


def test_weightless_values_do_not_scale(regress):
    ages = [30.0, 40.0, 50.0, 60.0, 9e9, np.nan]
    model = regress().fit(NIGHTS, ages, sample_weight=WEIGHTS)
    assert model.target_mean_.tolist() == [45.0]
    alone = regress().fit(NIGHTS[:4], ages[:4])
    np.testing.assert_array_equal(model.predict(NIGHTS), alone.predict(NIGHTS))
    with pytest.raises(ValueError, match=r"y has shape \(4,\) and X 6 elements"):
        regress().fit(NIGHTS, [1, 2, 3, 4], WEIGHTS)


def test_weightless_classes_are_not_learned(classify):
    y = pd.Series(["a", "b", "b", "b", "c", "c"], index=list("uvwxyz"))
    model = classify(class_weight="balanced").fit(NIGHTS, y, sample_weight=WEIGHTS)
    assert model.classes_.tolist() == ["a", "b"]
    np.testing.assert_allclose(model.class_weight_, [2, 2 / 3], rtol=1e-6)


def test_weightless_epochs_are_left_out(classify):
    y, weights = Y.copy(), np.ones(len(X))
    weights[::3], y[::3] = 0, 2
    model = classify().fit(X, y, sample_weight=weights)
    alone = classify().fit(X[weights > 0], y[weights > 0])
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))


def test_weightless_events_do_not_count(checkpoint_path):
    tables = [EVENTS[0].assign(duration=length) for length in (30, 30, 400, 400)]
    model = Sleep2VecEventDetector(checkpoint_path, event_types="apnea", **QUICK)
    model.fit(NIGHTS[:4], tables, sample_weight=[1, 1, 0, 0])
    assert model.log_odds_ == pytest.approx(np.log(60 / 1140), rel=1e-5)
    y = survival_outcome([0, 0, 0, 0, 1, 1], [1, 1, 2, 2, 3, 3])
    with pytest.raises(ValueError, match="no event in 4 rows"):
        Sleep2VecCoxRegressor(checkpoint_path, **QUICK).fit(NIGHTS, y, sample_weight=WEIGHTS)


def test_a_search_encodes_once(classify, counting_source):
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
    search = GridSearchCV(classify(), grid, cv=GroupKFold(3), error_score="raise")
    search.fit(EpochSequence(nights), Y, groups=X.groups)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert [sum(map(len, source.reads)) for source in sources] == [2] * 6


def test_cross_validation_by_subject(classify):
    result = cross_validate(
        classify(), X, Y, scoring=["balanced_accuracy", "neg_log_loss"], **FOLDS
    )
    assert np.isfinite(result["test_neg_log_loss"]).all()
    proba = cross_val_predict(classify(), X, Y, method="predict_proba", **FOLDS)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    folds = list(GroupKFold(2).split(X, Y, X.groups))
    calibrated = CalibratedClassifierCV(classify(), cv=folds).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


def test_sample_weight_is_routed(classify):
    weights = (np.arange(len(Y)) % 2).astype(float)
    with config_context(enable_metadata_routing=True):
        asked = classify().set_fit_request(sample_weight=True)
        asked = asked.set_score_request(sample_weight=True)
        params = {"sample_weight": weights, "groups": X.groups}
        result = cross_validate(asked, X, Y, cv=GroupKFold(3), params=params)
    train, test = next(GroupKFold(3).split(X, Y, X.groups))
    alone = classify().fit(X[train], Y[train], sample_weight=weights[train])
    expected = alone.score(X[test], Y[test], sample_weight=weights[test])
    assert result["test_score"][0] == pytest.approx(expected)


def test_settings_and_tags(classify):
    with settings(leakage="raise"):
        assert classify().__getstate__()["_settings"]["leakage"] == "raise"
        assert "_settings" not in classify().fit(X, Y).__getstate__()
    tags = classify().__sklearn_tags__()
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_label
    assert tags.target_tags.required
    assert not tags.input_tags.two_d_array


@pytest.mark.parametrize("patience", [None, 2])
def test_pickles_know_nobody(classify, patience):
    fitted = classify(patience=patience, validation_fraction=0.7).fit(X, Y)
    assert ("valid_loss" in fitted.history_[0]) == (patience is not None)
    assert not [name for name in vars(clone(fitted)) if name.endswith("_")]
    data = pickle.dumps(fitted)
    assert b"night-3" not in data
    assert len(data) < 100_000
    np.testing.assert_array_equal(pickle.loads(data).predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("finetune", ["lora", "full"])
def test_prepared_nights_are_reused(classify, finetune, tmp_path):
    model = classify(finetune=finetune, cache=tmp_path, max_epochs=1)
    first = clone(model).fit(X, Y)
    stored = sorted(tmp_path.glob("prepared/*/nights/*/*.safetensors"))
    times = [path.stat().st_mtime_ns for path in stored]
    assert len(stored) == 6
    second = clone(model).fit(X, Y)
    assert [path.stat().st_mtime_ns for path in stored] == times
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_adapted_tokens_are_not_cached(classify):
    fitted = classify(finetune="lora", max_epochs=1).fit(X, Y)
    clear_cache()
    fitted.predict(X)
    assert cache_info().misses == 0


# tested of the transformer already, on the reader and the cache that are used here too
APART = ("check_n_jobs_equality", "check_readonly_memmap_input", "check_modality_key_order")


@pytest.mark.parametrize(
    ("estimator", "kind"), [(Sleep2VecClassifier, "epoch"), (Sleep2VecRegressor, "subject")]
)
def test_contract_of_recording_estimators(estimator, kind, checkpoint_path):
    model = estimator(checkpoint_path, max_epochs=2, head_size=8, modality_dropout=0.3)
    for instance, check in sleep2vec_checks_generator(model, kinds=[kind]):
        if check.func.__name__ not in APART:
            check(instance)
