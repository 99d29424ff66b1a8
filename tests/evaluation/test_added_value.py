# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.linear_model import LinearRegression, LogisticRegression

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import LeakageWarning
from sleep2vec_sklearn.evaluation import (
    BaselineComparison,
    DemographicBaseline,
    compare_with_baseline,
)

RNG = np.random.default_rng(3)
N = 90
AGE, LEVEL = RNG.normal(55, 8, N), RNG.normal(93, 2, N)
NIGHTS = [
    Recording({"spo2": (np.full(30, level), 1)}, metadata={"age": age}, subject=number)
    for number, (age, level) in enumerate(zip(AGE, LEVEL, strict=True))
]
RISK = 0.25 * (AGE - 55) - 1.2 * (LEVEL - 93)
ILL = (RISK + RNG.logistic(size=N) > 0).astype(int)


def levels(X):
    return np.array([[night["spo2"].mean()] for night in X])


class LevelClassifier(ClassifierMixin, BaseEstimator):
    """Sees the recording and nothing else."""

    def fit(self, X, y):
        self.head_ = LogisticRegression().fit(levels(X), y)
        self.classes_ = self.head_.classes_
        return self

    def predict(self, X):
        return self.head_.predict(levels(X))

    def predict_proba(self, X):
        return self.head_.predict_proba(levels(X))


class LevelRegressor(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.head_ = LinearRegression().fit(levels(X), y)
        return self

    def predict(self, X):
        return self.head_.predict(levels(X))


@pytest.fixture(scope="module")
def compared():
    return compare_with_baseline(LevelClassifier(), NIGHTS, ILL, n_resamples=300)


def test_both_together_are_better_than_either(compared):
    value = compared.scores["value"].droplevel("metric")
    assert value["both"] > max(value["estimator"], value["baseline"])
    assert compared.differences.loc[("both", "roc_auc"), "low"] > 0
    assert compared.reference == "baseline"


def test_a_recording_that_says_nothing_adds_nothing():
    by_age = (AGE + RNG.normal(0, 4, N) > 55).astype(int)
    found = compare_with_baseline(LevelClassifier(), NIGHTS, by_age, n_resamples=300)
    row = found.differences.loc[("both", "roc_auc")]
    assert row["low"] < 0.02
    assert abs(row["difference"]) < 0.1


def test_numbers_are_compared_too():
    target = RISK + RNG.normal(size=N)
    found = compare_with_baseline(LevelRegressor(), NIGHTS, target, n_resamples=300)
    assert found.differences.loc[("both", "neg_mean_absolute_error"), "low"] > 0


def test_weights_are_learned_from_people_held_out():
    class Parrot(LevelClassifier):
        """Knows every person it was fitted on by heart."""

        def fit(self, X, y):
            self.seen_ = dict(zip((night.subject for night in X), y, strict=True))
            return super().fit(X, y)

        def predict_proba(self, X):
            p = np.array([self.seen_.get(night.subject, 0.5) for night in X])
            return np.stack([1 - p, p], axis=1)

    both = BaselineComparison(Parrot(), DemographicBaseline(), random_state=0).fit(NIGHTS, ILL)
    of_parrot, of_baseline = both.weights_.coef_[0]
    assert abs(of_parrot) < 0.1 * of_baseline


def test_two_classifiers_are_a_classifier_and_two_regressors_are_none():
    both = BaselineComparison(LevelClassifier(), DemographicBaseline())
    assert clone(both).get_params().keys() == both.get_params().keys()
    fitted = both.fit(NIGHTS, np.where(ILL, "ill", "well"))
    assert fitted.classes_.tolist() == ["ill", "well"]
    assert fitted.predict_proba(NIGHTS[:4]).shape == (4, 2)
    numbers = BaselineComparison(LevelRegressor(), DemographicBaseline("regressor"))
    assert numbers.fit(NIGHTS, RISK).predict(NIGHTS).shape == (N,)
    assert not hasattr(numbers, "predict_proba")


def test_nights_of_one_person_warn_once_and_stay_together():
    nights = [Recording({"spo2": (n["spo2"], 1)}, metadata=n.metadata, subject=i // 2)
              for i, n in enumerate(NIGHTS)]  # fmt: skip
    with pytest.warns(LeakageWarning, match="90 nights of 45 subjects") as caught:
        found = compare_with_baseline(LevelClassifier(), nights, ILL, n_resamples=20)
    assert len(caught) == 1
    assert (found.fold[::2] == found.fold[1::2]).all()
