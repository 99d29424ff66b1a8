# SPDX-License-Identifier: BSD-3-Clause
"""What cannot be learned from is refused with a word that helps, or left out."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecClassifier,
    Sleep2VecRegressor,
    Sleep2VecTransformer,
)
from sleep2vec_sklearn.errors import (
    CheckpointError,
    InvalidRecordingError,
    LeakageWarning,
    ModalityWarning,
    TrainingError,
)
from tests.finetuning.simple_nights import N_EPOCHS, QUICK, make_night, make_nights

NIGHTS = make_nights(4)
X = EpochSequence(NIGHTS)
Y = X.stages.astype(int)
OUTCOME = np.array([0, 1, 0, 1])


@pytest.fixture
def classify(checkpoint_path):
    return lambda **parameters: Sleep2VecClassifier(checkpoint_path, **(QUICK | parameters))


@pytest.fixture
def regress(checkpoint_path):
    return lambda **parameters: Sleep2VecRegressor(checkpoint_path, **(QUICK | parameters))


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.zeros(len(X)), "one class only, 0.0, .*two at least"),
        (["wake"] * len(X), "one class only, 'wake'"),
        (np.full(len(X), np.nan), "no label for any of the 80 epochs"),
        (np.full(len(X), -1), "no label for any"),
        (Y[:-1], r"y has shape \(79,\) and X 80 elements.*these are epochs"),
        ([[0], [0, 1]] * 40, "rows of different lengths"),
        (["wake", 1] * 40, "mixes labels that cannot be sorted"),
        (np.random.default_rng(0).random(len(X)), "continuous"),
        (np.column_stack([Y, 2 * Y]), "holds 2; accepted are 0, 1 and NaN"),
        (np.column_stack([Y, 0 * Y]), "column 1 of y is 0 in all 80 rows.*both 0 and 1"),
    ],
)
def test_labels_that_are_none(classify, y, said):
    with pytest.raises(ValueError, match=said):
        classify().fit(X, y)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (["old", "young"] * 2, "y must hold numbers.*Sleep2VecClassifier"),
        ([1.0, np.inf, 2, 3], "y holds inf"),
        (np.arange(4).astype("datetime64[D]"), "y must hold numbers.*datetime64"),
        (np.full((4, 2), np.nan), "NaN in every row of column 0"),
        ([1.0, 2.0], r"shape \(2,\) and X 4 elements"),
    ],
)
def test_numbers_that_are_none(regress, y, said):
    with pytest.raises(ValueError, match=said):
        regress().fit(NIGHTS, y)


@pytest.mark.parametrize("weights", [[1, 1, 1], [1, -1, 1, 1], [0, 0, 0, 0], [1, np.nan, 1, 1]])
def test_weights_that_are_none(classify, regress, weights):
    with pytest.raises(ValueError, match="sample_weight"):
        classify().fit(NIGHTS, OUTCOME, sample_weight=weights)
    for model in (classify().fit(NIGHTS, OUTCOME), regress().fit(NIGHTS, OUTCOME)):
        with pytest.raises(ValueError, match="sample_weight"):
            model.score(NIGHTS, OUTCOME, sample_weight=weights)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"finetune": "all"}, "finetune must be one of 'head', 'lora', 'full'"),
        ({"head": "lstm"}, "head must be one of 'auto', 'linear'"),
        ({"head": "temporal_conv"}, "accepted for nights"),
        ({"lr": 0}, "lr must be a number above 0"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1"),
        ({"max_epochs": 0}, "max_epochs must be a whole number from 1 on"),
        ({"patience": 2.5}, "patience must be a whole number from 1 on or None"),
        ({"modality_dropout": (0.1, 0.2, 0.3)}, "a pair of such numbers"),
        ({"covariates": "age"}, "covariates must be a list of keys"),
        ({"random_state": -1}, "random_state must be a whole number"),
        ({"layer_mix": "all"}, "layer_mix must be True or False"),
        ({"class_weight": {7: 1.0}}, "not in class_weight"),
        ({"class_weight": {0: 0.0}}, "accepted are numbers above 0"),
    ],
)
def test_parameters_that_are_none(classify, parameters, said):
    with pytest.raises(ValueError, match=said):
        classify(**parameters).fit(NIGHTS, OUTCOME)


def test_a_pooling_that_the_encoder_cannot_do(small_config):
    from dataclasses import replace

    from sleep2vec_sklearn.model import Sleep2Vec
    from sleep2vec_sklearn.model.checkpoint import Checkpoint

    config = replace(small_config, cls=False)
    plain = Checkpoint(config, Sleep2Vec.from_seed(config, 0).state_dict(), {}, "0" * 64, "plain")
    with pytest.raises(CheckpointError, match="no CLS token"):
        Sleep2VecClassifier(plain, pooling="cls", **QUICK).fit(NIGHTS, OUTCOME)


def test_embeddings_in_place_of_recordings(classify, checkpoint_path):
    rows = Sleep2VecTransformer(checkpoint_path).fit_transform(NIGHTS)
    with pytest.raises(InvalidRecordingError, match="Leave Sleep2VecTransformer out"):
        classify().fit(rows, OUTCOME)


def test_nights_where_epochs_were_learned(classify):
    model = classify().fit(X, Y)
    with pytest.raises(InvalidRecordingError, match=r"X holds nights.*fitted on epochs"):
        model.predict(NIGHTS)


def test_no_prediction_before_fit(classify):
    with pytest.raises(NotFittedError):
        classify().predict(X)


@pytest.mark.parametrize("finetune", ["head", "full"])
def test_a_night_without_any_signal_is_named(classify, finetune):
    empty = Recording({"ibi": np.full(N_EPOCHS * 120, np.nan)}, id="empty")
    with pytest.raises(
        InvalidRecordingError, match=r"recording 4 \(empty\): no usable signal"
    ) as e:
        classify(finetune=finetune).fit([*NIGHTS, empty], [*OUTCOME, 1])
    assert "on_error" not in str(e.value)
    model = classify(finetune=finetune).fit(NIGHTS, OUTCOME)
    with pytest.raises(InvalidRecordingError, match=r"recording 0 \(empty\): no usable signal"):
        model.predict([empty])


def test_epochs_without_any_signal_get_finite_predictions(classify):
    night = make_night(0)
    signals = {name: signal.values.copy() for name, signal in night.read().items()}
    for values in signals.values():
        values[600:1200] = np.nan
    holey = EpochSequence([Recording(signals, stages=night.stages, id="holey")])
    model = classify().fit(X, Y)
    assert np.isfinite(model.predict_proba(holey)).all()


@pytest.mark.parametrize("finetune", ["head", "lora"])
def test_a_modality_never_seen_in_training_is_ignored_with_a_word(classify, finetune, noise):
    model = classify(finetune=finetune).fit(NIGHTS, OUTCOME)
    more = [
        Recording({**night.read(), "effort": noise("effort", N_EPOCHS)}, id=night.id)
        for night in NIGHTS
    ]
    with pytest.warns(
        ModalityWarning, match="effort: no night had it in training.*spo2, ibi"
    ) as told:
        proba = model.predict_proba(more)
    assert told[0].filename == __file__
    np.testing.assert_array_equal(proba, model.predict_proba(NIGHTS))
    alone = [{"effort": noise("effort", N_EPOCHS)}]
    with (
        pytest.warns(ModalityWarning),
        pytest.raises(InvalidRecordingError, match="none of which"),
    ):
        model.predict(alone)


def test_a_modality_asked_for_that_no_night_has(classify):
    with pytest.warns(ModalityWarning, match="ecg: no recording with a label has it") as told:
        model = classify(modalities=["ecg", "spo2"]).fit(NIGHTS, OUTCOME)
    assert told[0].filename == __file__
    assert model.modalities_ == ("spo2",)


def test_other_rows_of_a_known_subject_leak(classify):
    model = classify().fit(X[:40], Y[:40])
    with pytest.warns(LeakageWarning, match="other rows of 1 of the subjects this est") as told:
        classify().fit(X[:20], Y[:20]).predict(X[10:30])
    assert told[0].filename == __file__
    model.predict(X[40:])


def test_a_loss_that_is_not_finite_stops_training(regress):
    with pytest.raises(TrainingError, match="not finite at step 1"):
        regress(lr=1e-3).fit(NIGHTS, [0.0, 0.0, 0.0, 1.0], sample_weight=[1e-38, 1e38, 1e38, 1e38])


def test_covariates_that_nobody_states(classify):
    nights = [make_night(number, metadata={"sex": "F"}) for number in range(4)]
    with pytest.raises(InvalidRecordingError, match="covariates has age, which no recording"):
        classify(covariates=("age", "sex")).fit(nights, OUTCOME)
