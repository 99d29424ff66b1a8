# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.svm import LinearSVC

from sleep2vec_sklearn.probing.folds import held_out


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
