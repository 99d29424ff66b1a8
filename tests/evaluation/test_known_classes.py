# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn.evaluation._cross_validation import fit_aligning_classes

CLASSES = np.array(["a", "b", "c"])


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(60, 4))


@pytest.mark.parametrize("known", [["a", "c"], ["b"]])
def test_a_class_that_did_not_train_has_no_probability(X, known):
    y = np.resize(known, len(X))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    fitted = fit_aligning_classes(model, X, y, CLASSES)
    found = fitted.predict_proba(X)
    assert found.shape == (len(X), 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found[:, ~np.isin(CLASSES, known)] == 0).all()
    assert set(fitted.predict(X)) <= set(known)


@pytest.mark.parametrize("known", [["a", "c"], ["b"]])
def test_a_class_that_did_not_train_is_never_decided_for(X, known):
    y = np.resize(known, len(X))
    fitted = fit_aligning_classes(RidgeClassifier(), X, y, CLASSES)
    assert not hasattr(fitted, "predict_proba")
    assert set(CLASSES[fitted.decision_function(X).argmax(axis=1)]) <= set(known)


def test_one_class_of_two_decides_for_itself(X):
    fitted = fit_aligning_classes(RidgeClassifier(), X, np.full(len(X), "a"), CLASSES[:2])
    assert (fitted.decision_function(X) < 0).all()
    assert fitted.decision_function(X).shape == (len(X),)


def test_the_estimator_given_is_not_fitted(X):
    model = LogisticRegression()
    fit_aligning_classes(model, X, np.resize(CLASSES, len(X)), CLASSES)
    assert not hasattr(model, "coef_")
