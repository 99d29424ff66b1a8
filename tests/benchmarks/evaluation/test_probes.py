# SPDX-License-Identifier: BSD-3-Clause
"""The probe itself: people held out, and nothing of them in any choice."""

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel

from benchmarks.evaluation import probes
from benchmarks.evaluation.probes import (
    C_GRID,
    as_rows,
    boosting,
    choose_strengths,
    evaluate_features,
    folds_by_subject,
    logistic_path,
    memory_in,
)
from benchmarks.evaluation.questions import THREE_STAGES


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(probes, "BOOSTING", {**probes.BOOSTING, "max_iter": 20, "max_bins": 16})


@pytest.mark.parametrize("head", ["logistic", "boosting"])
def test_informative_features_beat_noise(cohort, telling, noise_alone, head):
    good = evaluate_features(telling, cohort, n_splits=3, head=head)
    chance = evaluate_features(noise_alone, cohort, n_splits=3, head=head)
    assert good[["wake_auc", "kappa"]].min().min() > 0.7
    assert abs(chance["wake_auc"].mean() - 0.5) < 0.15
    assert abs(chance["kappa"].mean()) < 0.2


def test_trees_ignore_constant_columns():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 4)), np.arange(60) % 2
    X[:, 1], X[:, 2] = np.nan, 3.0
    found = boosting(X, y, X, 2)
    np.testing.assert_array_equal(found, boosting(X[:, [0, 3]], y, X[:, [0, 3]], 2))


def test_head_scores_other_features(cohort, telling, noise_alone):
    same = evaluate_features(telling, cohort, n_splits=3, test_features=telling)
    pd.testing.assert_frame_equal(same, evaluate_features(telling, cohort, n_splits=3))
    other = evaluate_features(telling, cohort, n_splits=3, test_features=noise_alone)
    assert other["wake_auc"].mean() < 0.7


def test_one_score_row_per_subject(cohort, telling):
    table = evaluate_features(telling, cohort, n_splits=3)
    assert table.index.name == "subject"
    assert set(table.index) == set(cohort.groups)
    assert (table["n_epochs"] == cohort[0].n_epochs - 1).all()
    assert set(table.attrs["pooled"]) == {"wake_auc", "kappa"}
    spoilt = [table.copy() for table in telling]
    for table in spoilt:
        table[0] = 1e6
    first, second = (evaluate_features(f, cohort, n_splits=3) for f in (telling, spoilt))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("C", [0.1, C_GRID])
def test_folds_share_no_subject(cohort, monkeypatch, C):
    seen = []

    def spy(X_train, y_train, X_test, strengths, n_classes):
        seen.append((set(X_train[:, 0]), set(X_test[:, 0])))
        return [np.full((len(X_test), n_classes), 1 / n_classes)] * len(strengths)

    monkeypatch.setattr(probes, "logistic_path", spy)
    marked = [np.full((r.n_epochs, 1), float(k)) for k, r in enumerate(cohort)]
    evaluate_features(marked, cohort, C=C)
    assert all(not train & test for train, test in seen)
    assert set().union(*(test for _, test in seen[-6:])) == set(range(6))
    assert all(len(test) == 1 for _, test in seen[-6:])


def test_penalty_chosen_on_other_subjects(monkeypatch):
    fold = np.repeat(np.arange(5), 30)
    y, X = np.tile([0, 1, 2], 50), fold[:, None].astype(float)

    def first_fold_says_otherwise(X_train, y_train, X_test, strengths, n_classes):
        assert not set(X_train[:, 0]) & set(X_test[:, 0])
        right = np.eye(3)[np.tile([0, 1, 2], len(X_test) // 3)]
        of_first = (X_test[:, 0] == 0)[:, None]
        return [np.where(of_first == (strength > 0.1), 1 - right, right) for strength in strengths]

    monkeypatch.setattr(probes, "logistic_path", first_fold_says_otherwise)
    found = choose_strengths(X, y, fold, THREE_STAGES, (0.01, 0.1), Parallel(1))
    # the others all score best with 0.1; only the first fold, which would take 0.01, has no say
    assert found[0] == 0.1
    assert set(found) == set(range(5))


def test_number_of_folds():
    few, many = (np.repeat(np.arange(n).astype(str), 3) for n in (25, 26))
    assert folds_by_subject(few, None).max() == 24
    assert folds_by_subject(many, None).max() == 9
    assert folds_by_subject(few, 4).max() == 3
    for groups in (few, many):
        fold = folds_by_subject(groups, None)
        assert all(len(np.unique(fold[groups == g])) == 1 for g in np.unique(groups))
    fold = np.repeat([0, 1], 5)
    found = choose_strengths(None, None, fold, THREE_STAGES, (1.0, 0.01, 0.1), Parallel(1))
    assert found == {0: 0.1, 1: 0.1}


@pytest.mark.parametrize("change", [lambda f: f[:-1], lambda f: [t[1:] for t in f]])
def test_wrong_feature_shape_is_refused(cohort, telling, change):
    with pytest.raises(ValueError, match="one array of n_epochs rows"):
        as_rows(change(telling), cohort, THREE_STAGES)


def test_missing_value_becomes_training_mean():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    X = rng.standard_normal((90, 3)) + y[:, None]
    X[:, 2] = np.nan
    missing, mean = (np.array([[value, 0.5, np.nan]]) for value in (np.nan, X[:, 0].mean()))
    found = [logistic_path(X, y, row, (0.1,), 3)[0] for row in (missing, mean)]
    np.testing.assert_allclose(*found, atol=1e-9)


def test_path_matches_fresh_fit():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 40)
    X = rng.standard_normal((120, 3)) + y[:, None]
    path = logistic_path(X, y, X, C_GRID, 3)
    for strength, found in zip(C_GRID, path, strict=True):
        np.testing.assert_allclose(found, logistic_path(X, y, X, (strength,), 3)[0], atol=0.01)
    (found,) = logistic_path(np.ones((5, 2)), np.full(5, 2), np.ones((3, 2)), (1.0,), 3)
    np.testing.assert_array_equal(found, np.eye(3)[[2, 2, 2]])


@pytest.mark.parametrize(
    "fit", [boosting, lambda X, y, *a: logistic_path(X, y, a[0], (1,), a[1])[0]]
)
def test_absent_class_has_no_probability(fit):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 2], 60)
    probability = fit(rng.standard_normal((120, 2)), y, np.zeros((4, 2)), 3)
    np.testing.assert_array_equal(probability[:, 1], 0)
    np.testing.assert_allclose(probability.sum(axis=1), 1)


def test_cached_predictions_are_reused(cohort, telling, tmp_path, monkeypatch):
    memory = memory_in(tmp_path)
    first = evaluate_features(telling, cohort, n_splits=3, memory=memory)
    monkeypatch.setattr(probes, "logistic_path", None)
    again = evaluate_features(telling, cohort, n_splits=3, memory=memory)
    pd.testing.assert_frame_equal(first, again)
