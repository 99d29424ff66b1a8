# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecClassifier,
    TimeOfNight,
)
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.finetuning._data import Covariates


def night(minutes, **metadata):
    return Recording({"ibi": (np.full(minutes * 240, 0.9), 4)}, metadata=metadata)


def test_a_missing_value_is_trainings_mean_and_says_so():
    nights = [night(2, age=40), night(2, age=60), night(2)]
    found = np.stack(Covariates.fit(["age"], False, nights).of(nights))
    np.testing.assert_allclose(found, [[-1, 0], [1, 0], [0, 1]], atol=1e-6)


def test_every_epoch_has_its_own_time_beside_what_the_night_states():
    nights = [night(6, age=40), night(2, age=60)]
    covariates = Covariates.fit(["age"], True, nights)
    first, second = covariates.of(nights)
    assert (first.shape, second.shape) == ((12, 6), (4, 6))
    times = TimeOfNight().fit_transform(EpochSequence(nights))
    expected = (times - times.mean(axis=0)) / times.std(axis=0)
    np.testing.assert_allclose(np.concatenate([first, second])[:, 2:], expected, atol=1e-4)
    assert set(first[:, 0]) == {-1.0}
    assert covariates.n_columns == 6


def test_a_field_that_nobody_states_is_refused():
    with pytest.raises(InvalidRecordingError, match=r"bmi.*no recording"):
        Covariates.fit(["bmi"], False, [night(2, age=40)])


@pytest.fixture
def timed(checkpoint_in_memory):
    rng = np.random.default_rng(0)
    X = EpochSequence(
        [Recording({"ibi": 0.9 + 0.05 * rng.standard_normal(4800)}, id=f"n{i}") for i in range(4)]
    )
    model = Sleep2VecClassifier(
        checkpoint_in_memory, modalities=["ibi"], head="linear", time_of_night=True, lr=0.05,
        max_epochs=20, patience=None, random_state=0,
    )  # fmt: skip
    late = X.index.get_level_values("epoch") >= 20
    return model.fit(X, late), X, late


def test_a_head_that_is_told_the_time_learns_it(timed):
    model, X, late = timed
    assert model.score(X, late) > 0.95
    part = np.arange(len(X))[::3]
    np.testing.assert_allclose(
        model.predict_proba(X[part]), model.predict_proba(X)[part], atol=1e-6
    )


def test_the_time_is_kept_in_a_saved_estimator(timed, tmp_path):
    model, X, _ = timed
    model.save(tmp_path / "model.safetensors")
    again = Sleep2VecClassifier.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)


def test_nights_have_no_one_time(checkpoint_in_memory, cohort):
    model = Sleep2VecClassifier(checkpoint_in_memory, time_of_night=True)
    with pytest.raises(ValueError, match="time_of_night=True tells epochs"):
        model.fit(cohort, np.arange(len(cohort)) % 2)
