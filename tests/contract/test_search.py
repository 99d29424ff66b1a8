# SPDX-License-Identifier: BSD-3-Clause
"""Searches over heads and over the transformer."""

import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
)

SCORING = ["accuracy", "neg_log_loss"]
GRID = {"head__classify__C": [0.01, 1, 10]}


def search_rows(task, search, **options):
    """The same search on rows that are embedded already."""
    grid = {key.removeprefix("head__"): values for key, values in GRID.items()}
    return search(task.head(), grid, cv=GroupKFold(2), error_score="raise", **options).fit(
        task.rows, task.y, groups=task.groups
    )


def search_recordings(task, search, **options):
    return search(task.pipeline(), GRID, cv=GroupKFold(2), error_score="raise", **options).fit(
        task.X, task.y, groups=task.groups
    )


def assert_same_scores(found, expected):
    for key in [key for key in expected.cv_results_ if "test_" in key]:
        if not key.startswith("split"):
            assert np.isfinite(expected.cv_results_[key]).all()
        np.testing.assert_array_equal(found.cv_results_[key], expected.cv_results_[key])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_refits_by_metric(task, n_jobs):
    options = {"scoring": SCORING, "refit": "neg_log_loss"}
    found = search_recordings(task, GridSearchCV, n_jobs=n_jobs, **options)
    expected = search_rows(task, GridSearchCV, **options)
    assert_same_scores(found, expected)
    assert "head__" + next(iter(expected.best_params_)) in found.best_params_
    np.testing.assert_array_equal(found.predict_proba(task.X), expected.predict_proba(task.rows))


@pytest.mark.parametrize("kind", ["randomized", "halving"])
def test_searches_with_fewer_fits(task, kind):
    halving = {"random_state": 1, "min_resources": len(task.X) // 2, "factor": 2}
    search, options = {
        "randomized": (RandomizedSearchCV, {"n_iter": 2, "random_state": 0}),
        "halving": (HalvingGridSearchCV, halving),
    }[kind]
    found, expected = (f(task, search, **options) for f in (search_recordings, search_rows))
    assert_same_scores(found, expected)
    assert getattr(found, "n_iterations_", 2) == 2


def test_grid_search_over_the_transformer(task):
    grid = {"embed__fusion": ["mean", "concat"], "embed__layer": np.arange(2)}
    search = GridSearchCV(task.pipeline(), grid, cv=GroupKFold(2), error_score="raise")
    search.fit(task.X, task.y, groups=task.groups)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
