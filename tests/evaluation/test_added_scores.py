# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, roc_auc_score

from sleep2vec_sklearn.evaluation import concordance_index, survival_outcome
from sleep2vec_sklearn.evaluation._added_scores import (
    FoldScorer,
    ScanTask,
    SubjectPermutation,
    cross_fit,
    cross_fit_within,
    fit_added_score,
    strata_of,
)

N = 60
RNG = np.random.default_rng(0)
COUNTS = RNG.multinomial(N, np.full(N, 1 / N), size=3).astype(float)


def task_of(kind, y, X=None, n_folds=1, codes=None, covariates=None):
    n = len(y)
    X = np.zeros((n, 1)) if X is None else X
    covariates = np.empty((n, 0)) if covariates is None else covariates
    codes = np.arange(n) if codes is None else codes
    return ScanTask(kind, X, y, covariates, codes, np.arange(n) % n_folds)


@pytest.mark.parametrize(("kind", "metric"), [("binary", roc_auc_score), ("numeric", r2_score)])
def test_scores_agree_with_sklearn(kind, metric):
    y = RNG.integers(0, 2, N) if kind == "binary" else RNG.normal(size=N)
    predicted = np.round(RNG.normal(size=N), 1)
    scores = FoldScorer(task_of(kind, y), COUNTS).score(predicted)
    expected = [metric(y, predicted, sample_weight=w) for w in (np.ones(N), *COUNTS)]
    np.testing.assert_allclose(scores, expected)


def test_concordance_takes_entries():
    time = RNG.integers(2, 9, N).astype(float)
    y = survival_outcome(RNG.integers(0, 2, N), time, RNG.uniform(0, 2, N))
    risk = np.round(RNG.normal(size=N), 1)
    scores = FoldScorer(task_of("survival", y), COUNTS).score(risk)
    assert scores[0] == pytest.approx(concordance_index(y, risk))
    drawn = np.repeat(np.arange(N), COUNTS[0].astype(int))
    assert scores[1] == pytest.approx(concordance_index(y[drawn], risk[drawn]))


def test_pairs_are_within_folds():
    y, fold = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    task = ScanTask("binary", np.zeros((4, 1)), y, np.empty((4, 0)), np.arange(4), fold)
    # right within each fold, and wrong between them
    assert FoldScorer(task, COUNTS[:0, :4]).score(np.array([5.0, 6.0, 1.0, 2.0])) == [1.0]


def test_nested_scores_skip_folds():
    X, y = RNG.normal(size=(N, 2)), RNG.normal(size=N)
    task = task_of("numeric", y, X, n_folds=3)
    within = cross_fit_within(task, LinearRegression())
    third = task.fold == 2
    expected = LinearRegression().fit(X[third], y[third]).predict(X[task.fold == 1])
    np.testing.assert_allclose(within[0, task.fold == 1], expected)
    assert np.isnan(within[0, task.fold == 0]).all()


class SmallRidge(BaseEstimator):
    def fit(self, X, y):
        self.coef_ = np.linalg.solve(X.T @ X + 10 * np.eye(X.shape[1]), X.T @ (y - y.mean()))
        return self

    def predict(self, X):
        return X @ self.coef_


def test_null_is_kept_by_correction():
    z = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        task = task_of("numeric", rng.normal(size=100), rng.normal(size=(100, 6)), n_folds=5)
        z.append(fit_added_score(task, cross_fit(task, SmallRidge())).statistic)
    # scores that are taken as given reject twice as often as they claim
    corrected, given = (np.mean(np.array(z) * factor > 1.645) for factor in (1, np.sqrt(2)))
    assert corrected < 0.07
    assert given > 0.08


def test_constant_score_adds_nothing():
    added = fit_added_score(task_of("numeric", RNG.normal(size=N)), np.ones(N))
    assert (added.estimate, added.p_value, added.statistic) == (0, 1, 0)


def test_permutation_moves_whole_subjects():
    n_rows = np.r_[np.ones(20, int), np.full(20, 2)]
    codes, sex = np.repeat(np.arange(40), n_rows), np.arange(40) % 2
    task = task_of("numeric", np.zeros(60), codes=codes, covariates=sex[codes][:, None])
    permutation = SubjectPermutation(task)
    rows = permutation.draw(np.random.default_rng(0))
    assert sorted(rows) == list(range(60))
    for subject in range(40):
        (giver,) = set(codes[rows[codes == subject]])
        assert (n_rows[giver], sex[giver]) == (n_rows[subject], sex[subject])
    assert (codes[rows] != codes).mean() > 0.5


def test_strata_take_fewer_quantiles():
    age, sex = np.arange(60.0), np.arange(60) % 2
    ones = np.ones(60, int)
    assert strata_of(age[:, None], ones)[1] == 5
    strata, n_groups = strata_of(np.column_stack([age, RNG.permutation(age), sex]), ones)
    assert n_groups < 5
    assert np.mean(np.bincount(strata)[strata] > 1) >= 0.9
    with pytest.raises(ValueError, match="60 of 60 subjects have covariates, or a number of rows"):
        strata_of(age[:, None], np.arange(60) + 1)
