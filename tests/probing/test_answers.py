# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import get_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sleep2vec_sklearn.probing.answers import fit_known_classes, held_out

CLASSES = np.array(["a", "b", "c"])


def alone(model, X):
    return held_out([(model, X)], np.arange(len(X)), len(X), model.classes_)


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc_ovr", "neg_log_loss"])
def test_scorers_take_answers_for_an_estimator(rows, scoring):
    X, y, _ = rows()
    model = LogisticRegression().fit(X, y)
    rows = np.random.default_rng(0).permutation(len(y))
    parts = [(model, X[rows[:100]]), (model, X[rows[100:]])]
    answers = held_out(parts, rows, len(y), model.classes_)
    scorer = get_scorer(scoring)
    assert scorer(answers, np.arange(len(y)), y) == scorer(model, X, y)


def test_each_response_is_asked_for_once(rows):
    X, y, _ = rows()

    class Counting(LogisticRegression):
        asked = 0

        def predict(self, X):
            Counting.asked += 1
            return super().predict(X)

    answers = alone(Counting().fit(X, y), X)
    for _ in range(3):
        get_scorer("accuracy")(answers, np.arange(10), y[:10])
    assert Counting.asked == 1


def test_probabilities_are_preferred_to_decisions_of_different_fits(rows):
    X, y, _ = rows()
    assert not hasattr(alone(LogisticRegression().fit(X, y), X), "decision_function")
    assert hasattr(alone(LinearSVC().fit(X, y), X), "decision_function")


@pytest.mark.parametrize("known", [["a", "c"], ["b"]])
def test_a_class_that_did_not_train_has_no_probability(rows, known):
    X, y, _ = rows()
    y = np.array(known)[y % len(known)]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    fitted = fit_known_classes(model, X, y, CLASSES)
    found = fitted.predict_proba(X)
    assert found.shape == (len(X), 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found[:, ~np.isin(CLASSES, known)] == 0).all()
    assert set(fitted.predict(X)) <= set(known)


@pytest.mark.parametrize("known", [["a", "c"], ["b"]])
def test_a_class_that_did_not_train_is_never_decided_for(rows, known):
    X, y, _ = rows()
    y = np.array(known)[y % len(known)]
    fitted = fit_known_classes(RidgeClassifier(), X, y, CLASSES)
    assert not hasattr(fitted, "predict_proba")
    assert set(CLASSES[fitted.decision_function(X).argmax(axis=1)]) <= set(known)


def test_one_class_of_two_decides_for_itself(rows):
    X, _, _ = rows()
    fitted = fit_known_classes(RidgeClassifier(), X, np.full(len(X), "a"), CLASSES[:2])
    assert (fitted.decision_function(X) < 0).all()
    assert fitted.decision_function(X).shape == (len(X),)


def test_the_estimator_given_is_not_fitted(rows):
    X, y, _ = rows()
    model = LogisticRegression()
    fit_known_classes(model, X, y, np.unique(y))
    assert not hasattr(model, "coef_")
