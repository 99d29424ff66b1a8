# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from sleep2vec_sklearn import (
    EpochSequence,
    PrecomputedEmbeddings,
    Sleep2VecTransformer,
    modality_subset_scores,
)
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.probing._sensor_study import Nights, alter, check_target, draw_seed, held_out
from sleep2vec_sklearn.probing.modality_dropout import SensorOff
from sleep2vec_sklearn.probing.modality_importance import AdditiveNoise, SwappedSignal


def off(*epochs, n_epochs=24):
    return SensorOff(np.isin(np.arange(n_epochs), epochs))


def all_but(*left_out):
    return lambda night, index: None if index in left_out else night.without("ibi")


def predictions_of(model, X):
    return held_out([(model, X)], np.arange(len(X)), len(X), model.classes_)


def test_nights_are_replaced_in_place(nights):
    X, rows = Nights(nights).replace(all_but(2))
    assert rows.tolist() == [0, 1, 3, 4, 5]
    assert [n.id for n in X] == ["n0", "n1", "n3", "n4", "n5"]
    assert {n.modalities for n in X} == {("effort", "spo2")}
    seen = []
    Nights([nights[0], nights[0]]).replace(lambda night, _: seen.append(night) or night)
    assert len(seen) == 1


def test_epochs_keep_their_rows(nights):
    epochs = EpochSequence(nights)[::-7]
    X, rows = Nights(epochs).replace(all_but(0, 4))
    assert X.index.tolist() == epochs[rows].index.tolist()
    assert set(epochs.groups[np.setdiff1d(np.arange(len(epochs)), rows)]) == {"s0", "s4"}


def test_subject_keeps_nights_left(nights):
    X, rows = Nights([nights[:2], nights[2:3], nights[3:]]).replace(all_but(0, 2))
    assert rows.tolist() == [0, 2]
    assert [[n.id for n in row] for row in X] == [["n1"], ["n3", "n4", "n5"]]
    for X in (nights, EpochSequence(nights)):
        altered, rows = Nights(X).replace(lambda *_: None)
        assert len(altered) == len(rows) == 0


def test_dicts_and_columns_are_nights(nights):
    rows = [{"ibi": np.ones(240)}, {"spo2": np.ones(240)}]
    for X in (rows, pd.Series(rows)):
        assert Nights(X).modalities == ("spo2", "ibi")
    for step in (PrecomputedEmbeddings("x"), make_union(PrecomputedEmbeddings("x"))):
        with pytest.raises(TypeError, match="a lost sensor would change nothing"):
            modality_subset_scores(make_pipeline(step, DummyClassifier()), nights, [0, 1] * 3)


@pytest.mark.parametrize("X", [5, "nights", [[1.0, 2.0]]])
def test_other_inputs_are_refused(X):
    with pytest.raises(InvalidRecordingError, match="record"):
        Nights(X)


@pytest.mark.parametrize("searched", [False, True])
def test_modalities_default_to_supported(checkpoint_in_memory, nights, searched):
    y = np.array([0, 1] * 3)
    model = make_pipeline(
        Sleep2VecTransformer(checkpoint_in_memory, modalities=["ibi"]), DummyClassifier()
    )
    if searched:
        model = GridSearchCV(model, {"dummyclassifier__strategy": ["prior"]}, cv=2)
    model.fit(nights, y)
    assert modality_subset_scores(model, nights, y, n_resamples=5).modalities == ("ibi",)
    with pytest.raises(InvalidRecordingError, match="spo2: not read by this estimator"):
        modality_subset_scores(model, nights, y, modalities=["spo2"])


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc_ovr", "neg_log_loss"])
def test_scorers_take_predictions_as_estimator(rows, scoring):
    X, y, _ = rows()
    model = LogisticRegression().fit(X, y)
    order = np.random.default_rng(0).permutation(len(y))
    parts = [(model, X[order[:100]]), (model, X[order[100:]])]
    predictions = held_out(parts, order, len(y), model.classes_)
    scorer = get_scorer(scoring)
    assert scorer(predictions, np.arange(len(y)), y) == scorer(model, X, y)


def test_each_method_is_called_once(rows):
    X, y, _ = rows()

    class Counting(LogisticRegression):
        n_calls = 0

        def predict(self, X):
            Counting.n_calls += 1
            return super().predict(X)

    predictions = predictions_of(Counting().fit(X, y), X)
    for _ in range(3):
        get_scorer("accuracy")(predictions, np.arange(10), y[:10])
    assert Counting.n_calls == 1


def test_probabilities_replace_decision_function(rows):
    X, y, _ = rows()
    assert not hasattr(predictions_of(LogisticRegression().fit(X, y), X), "decision_function")
    assert hasattr(predictions_of(LinearSVC().fit(X, y), X), "decision_function")


def test_classes_come_from_all_labels():
    y, classes = check_target(["b", "a", "b"], [{}] * 3, LogisticRegression())
    assert y.tolist() == ["b", "a", "b"]
    assert classes.tolist() == ["a", "b"]
    assert check_target([1.0, 1.0], [{}] * 2, Ridge())[1] is None
    with pytest.raises(ValueError, match="y has 2 labels for 3 rows"):
        check_target([0, 1], [{}] * 3, LogisticRegression())
    with pytest.raises(ValueError, match=r"one class \(7\)"):
        check_target([7, 7], [{}] * 2, LogisticRegression())
    assert draw_seed(3) == draw_seed(3) == draw_seed(np.random.RandomState(3))


def test_sensor_off_changes_signal_alone(night):
    whole = night(0)
    altered = alter(whole, {"ibi": off(0, 5)})
    gaps = np.isnan(altered["ibi"]).reshape(24, -1)
    np.testing.assert_array_equal(gaps.all(axis=1), gaps.any(axis=1))
    assert gaps.all(axis=1).nonzero()[0].tolist() == [0, 5]
    np.testing.assert_array_equal(altered["spo2"], whole["spo2"])
    for name in ("id", "subject", "n_epochs", "modalities", "rates", "units", "duration"):
        assert getattr(altered, name) == getattr(whole, name)
    np.testing.assert_array_equal(altered.stages, whole.stages)
    without = night(0, ["spo2"])
    assert alter(without, {"ibi": off(1)}) is without
    assert alter(without, {}) is without


def test_noise_keeps_gaps_and_seed(night):
    gappy = alter(night(0), {"ibi": off(3)})
    first, again, other = (
        alter(gappy, {"ibi": AdditiveNoise(1.0, seed)})["ibi"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)
    np.testing.assert_array_equal(np.isnan(first), np.isnan(gappy["ibi"]))
    noise = first - gappy["ibi"]
    assert np.nanstd(noise) == pytest.approx(np.nanstd(gappy["ibi"]), rel=0.1)


def test_swapped_signal_has_donors_tokens(night, embed, checkpoint_in_memory):
    first, second = night(0), night(1)
    swapped = alter(first, {"ibi": SwappedSignal(second)})
    np.testing.assert_array_equal(swapped["ibi"], second["ibi"])
    assert swapped.signal_fingerprint("ibi") == second.signal_fingerprint("ibi")
    np.testing.assert_array_equal(
        embed([swapped], modalities=["ibi"]), embed([second], modalities=["ibi"])
    )


def test_altered_signals_bypass_cache(night, checkpoint_in_memory):
    whole = night(0)
    changes = (off(1), off(2), AdditiveNoise(1, 0), AdditiveNoise(1, 1))
    nights = [whole, *(alter(whole, {"ibi": change}) for change in changes)]
    assert len({n.signal_fingerprint("ibi") for n in nights}) == 5
    assert len({n.fingerprint for n in nights}) == 5
    model = Sleep2VecTransformer(checkpoint_in_memory)
    assert len(np.unique(model.fit_transform(nights), axis=0)) == 5
