# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import DemographicBaseline

RNG = np.random.default_rng(0)
SIGNAL = {"spo2": ([95.0] * 60, 1)}


def people(n=80, **fixed):
    nights = []
    for number in range(n):
        known = {"age": 40 + 20 * RNG.random(), "sex": "FM"[number % 2], "bmi": 25 + RNG.normal()}
        nights.append(Recording(SIGNAL, metadata=known | fixed, subject=number))
    return nights


@pytest.fixture(scope="module")
def nights():
    return people()


@pytest.fixture(scope="module")
def ill(nights):
    """The old are ill."""
    return np.array([night.metadata["age"] + 2 * RNG.normal() > 50 for night in nights])


def test_what_is_known_of_people_is_used(nights, ill):
    assert cross_val_score(DemographicBaseline(), nights, ill, scoring="roc_auc").mean() > 0.9


def test_a_number_is_predicted_by_a_regressor(nights):
    age = [night.metadata["age"] for night in nights]
    model = DemographicBaseline("regressor", penalty=1e-6).fit(nights, age)
    np.testing.assert_allclose(model.predict(nights), age, rtol=1e-3)
    assert model.score(nights, age) == pytest.approx(1)
    assert is_regressor(model)
    assert not hasattr(model, "classes_")


def test_it_is_a_classifier_by_default(nights, ill):
    assert is_classifier(DemographicBaseline())
    model = DemographicBaseline().fit(nights, np.where(ill, "ill", "well"))
    assert model.classes_.tolist() == ["ill", "well"]
    assert model.predict_proba(nights).shape == (80, 2)
    assert set(model.predict(nights)) <= {"ill", "well"}


def test_what_is_missing_is_imputed(nights, ill):
    holes = [
        Recording(SIGNAL, metadata={**n.metadata, "bmi": None} if i % 3 else {"sex": "F"})
        for i, n in enumerate(nights)
    ]
    model = DemographicBaseline().fit(holes, ill)
    assert model.fields_ == ("age", "sex")
    assert np.isfinite(model.predict_proba([*holes, SIGNAL])).all()
    assert roc_auc_score(ill, model.predict_proba(holes)[:, 1]) > 0.7


def test_epochs_have_their_sleepers_values(nights, ill):
    X = EpochSequence(nights)
    model = DemographicBaseline().fit(X, np.repeat(ill, 2))
    found = model.predict_proba(X)
    np.testing.assert_array_equal(found[::2], found[1::2])


def test_nothing_known_is_refused():
    with pytest.raises(InvalidRecordingError, match=r"'age' or 'sex' or 'bmi'.*has site"):
        DemographicBaseline().fit([Recording(SIGNAL, metadata={"site": "a"})] * 2, [0, 1])


def test_another_kind_is_refused(nights, ill):
    with pytest.raises(ValueError, match="among .*classifier.*regressor"):
        DemographicBaseline("survival").fit(nights, ill)


def test_it_keeps_scikit_learns_conventions(nights, ill):
    model = DemographicBaseline(penalty=2.0, fields=("age",))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        model.predict(nights)
    again = pickle.loads(pickle.dumps(model.fit(nights, ill)))
    np.testing.assert_array_equal(again.predict_proba(nights), model.predict_proba(nights))
