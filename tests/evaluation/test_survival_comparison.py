# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import (
    CoxRegression,
    DemographicBaseline,
    HarrellConcordance,
    compare_estimators,
    compare_with_baseline,
    concordance_index,
    survival_outcome,
)
from sleep2vec_sklearn.evaluation.survival_scores import FoldConcordance
from sleep2vec_sklearn.reports import model_report

RNG = np.random.default_rng(0)
N = 120
AGE, LEVEL = RNG.normal(60, 8, N), RNG.normal(93, 2, N)
TIME = RNG.exponential(np.exp((LEVEL - 93) / 2 - (AGE - 60) / 12))
Y = survival_outcome(TIME < 1.5, np.minimum(TIME, 1.5))
NIGHTS = [
    Recording({"spo2": (np.full(30, level), 1)}, metadata={"age": age, "years": t}, subject=i)
    for i, (age, level, t) in enumerate(zip(AGE, LEVEL, Y["time"], strict=True))
]


def mean_spo2(X):
    return np.array([[night["spo2"].mean()] for night in X])


def reader():
    steps = FunctionTransformer(mean_spo2), StandardScaler(), CoxRegression()
    return make_pipeline(*steps)


class Column(BaseEstimator):
    """Predicts a column of X, at a level and on a scale that differ between fits."""

    def __init__(self, column=0, shifted=False):
        self.column = column
        self.shifted = shifted

    def fit(self, X, y):
        self.scale_ = 1 + X[0, 0] ** 2 if self.shifted else 1
        return self

    def predict(self, X):
        return X[:, self.column] * self.scale_ + 100 * (self.scale_ - 1)


COLUMNS = np.column_stack([AGE / 8, RNG.standard_normal(N)])


@pytest.mark.parametrize("entry", [None, np.where(np.arange(N) % 2, 0.5, 0) * Y["time"]])
def test_pairs_are_within_folds(entry):
    y = survival_outcome(Y["event"], Y["time"], entry)
    models = {"age": Column(), "noise": Column(1), "moved": Column(shifted=True)}
    result = compare_estimators(models, COLUMNS, y, n_resamples=20)
    values = result.scores["value"].to_dict()
    pairs, concordant = 0, 0
    start = np.zeros(N) if entry is None else entry
    for i in np.flatnonzero(Y["event"]):
        later = (Y["time"] > Y["time"][i]) & (result.fold == result.fold[i])
        later &= start < Y["time"][i]
        pairs += later.sum()
        concordant += (AGE[i] > AGE[later]).sum()
    assert values["age", "concordance"] == pytest.approx(concordant / pairs)
    assert values["moved", "concordance"] == values["age", "concordance"]
    assert np.bincount(result.fold, Y["event"]).std() < 1
    assert "pairs within folds" in repr(result)
    assert "pairs of subjects within folds" in model_report(result)


class Rows:
    """Held-out risks, whose X are row numbers."""

    def __init__(self, risk):
        self.predict = risk.__getitem__


def test_resamples_repeat_subjects():
    fold = np.arange(N) % 3
    risk = np.round(AGE)
    counts = np.random.default_rng(0).multinomial(N, np.full(N, 1 / N), size=3)
    found = FoldConcordance(Y, np.arange(N), fold).resample(Rows(risk), np.arange(N), counts)
    for times, value in zip(counts, found, strict=True):
        again = np.repeat(np.arange(N), times)
        repeated = FoldConcordance(Y[again], np.arange(N), fold[again])
        assert repeated(Rows(risk[again]), np.arange(N), Y[again]) == pytest.approx(value)
    one = FoldConcordance(Y, np.arange(N), np.zeros(N))
    assert one(Rows(risk), np.arange(N), Y) == pytest.approx(concordance_index(Y, risk))


def test_night_adds_to_age():
    table = pd.DataFrame({"event": Y["event"], "time": Y["time"]})
    result = compare_with_baseline(reader(), NIGHTS, Y, covariates=["age"], n_resamples=200)
    low = result.differences["low"]["both", "concordance"]
    assert low > 0
    assert result.scores["value"]["both", "concordance"] > 0.7
    again = compare_with_baseline(reader(), NIGHTS, table, covariates=["age"], n_resamples=200)
    pd.testing.assert_frame_equal(again.scores, result.scores)
    joint = compare_with_baseline(
        reader(), NIGHTS, Y, covariates=["age"], combine="joint", n_resamples=200
    )
    assert joint.differences["low"]["both", "concordance"] > 0


def test_nights_weigh_as_one():
    rows = np.concatenate([np.arange(N), np.arange(40)])
    once = DemographicBaseline("survival", fields=["age"]).fit(NIGHTS, Y)
    twice = DemographicBaseline("survival", fields=["age"])
    twice.fit([NIGHTS[i] for i in rows], Y[rows])
    baselines = once.predict(NIGHTS), twice.predict(NIGHTS)
    assert np.corrcoef(*baselines)[0, 1] == pytest.approx(1)
    assert once.score(NIGHTS, Y) > 0.55
    models = {"age": Column(), "noise": Column(1)}
    moved = COLUMNS[rows].copy()
    moved[N:, 0] += 1e3
    moved[:40, 0] -= 1e3  # the mean of two nights is as before
    result = compare_estimators(models, moved, Y[rows], rows, cv=3, n_resamples=20)
    plain = compare_estimators(models, COLUMNS[rows], Y[rows], rows, cv=3, n_resamples=20)
    pd.testing.assert_frame_equal(result.scores, plain.scores)


def test_other_scores_are_by_fold():
    models = {"age": Column(), "noise": Column(1)}
    scoring = {"harrell": HarrellConcordance()}
    result = compare_estimators(models, COLUMNS, Y, scoring=scoring, n_resamples=5)
    scores, n_events = [], []
    for fold in range(5):
        rows = result.fold == fold
        scores.append(concordance_index(Y[rows], AGE[rows]))
        n_events.append(Y["event"][rows].sum())
    wanted = np.average(scores, weights=n_events)
    assert result.scores["value"]["age", "harrell"] == pytest.approx(wanted)


BAD = [
    ({"estimator": LogisticRegression()}, ValueError, "log hazard ratios"),
    ({"X": EpochSequence(NIGHTS)}, InvalidRecordingError, "X holds epochs"),
    ({"y": np.stack([Y, Y], axis=1)}, ValueError, "2 outcomes of 120 rows"),
    ({"y": survival_outcome(np.arange(N) < 1, TIME)}, ValueError, "an event in 1 subjects"),
    ({"covariates": ["years"]}, InvalidRecordingError, "'years', which is y"),
    ({"y": Y[:9]}, ValueError, "9 rows for 120"),
]


@pytest.mark.parametrize(("change", "error", "phrase"), BAD)
def test_unfit_survival_is_refused(change, error, phrase):
    request = {"estimator": reader(), "X": NIGHTS, "y": Y, "covariates": ["age"]}
    with pytest.raises(error, match=phrase):
        compare_with_baseline(**(request | change), n_resamples=5)
