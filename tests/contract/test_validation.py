# SPDX-License-Identifier: BSD-3-Clause
"""Cross-validation: what a tool makes of recordings is what it makes of rows embedded before."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
    validation_curve,
)

from sleep2vec_sklearn import EpochSequence
from sleep2vec_sklearn.recordings import Cohort

BY_SUBJECT = GroupKFold(3)


def both(task, tool, *args, head=None, **options):
    """The tool's answer for recordings, and for rows."""
    head = task.head() if head is None else head
    with_recordings = tool(task.pipeline(head), task.X, task.y, *args, **options)
    return with_recordings, tool(head, task.rows, task.y, *args, **options)


def assert_same(found, expected):
    """Equal, and not because the tool gave up on both."""
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "cv", [GroupKFold(3), StratifiedGroupKFold(2), LeaveOneGroupOut()], ids=lambda cv: repr(cv)[:9]
)
def test_cross_val_score_by_groups(task, cv):
    found, expected = both(task, cross_val_score, groups=task.groups, cv=cv)
    assert_same(found, expected)


def test_cross_validate_returns_estimators(task):
    options = {"return_estimator": True, "return_indices": True, "return_train_score": True}
    found, expected = both(task, cross_validate, groups=task.groups, cv=BY_SUBJECT, **options)
    assert_same(found["train_score"], expected["train_score"])
    for fitted, test in zip(found["estimator"], found["indices"]["test"], strict=True):
        held_out = [task.X[i] for i in test]
        assert fitted.predict(held_out).shape == test.shape
    assert_same(found["indices"]["test"][0], expected["indices"]["test"][0])


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_cross_val_predict(task, method):
    found, expected = both(
        task, cross_val_predict, groups=task.groups, cv=BY_SUBJECT, method=method
    )
    assert_same(found, expected)


def test_predictions_differ_between_elements(task):
    """So the equalities above are not those of constants."""
    found = cross_val_predict(
        task.pipeline(), task.X, task.y, groups=task.groups, cv=BY_SUBJECT, method="predict_proba"
    )
    assert len(np.unique(found)) > len(task.X) / 2


def test_learning_curve(task):
    options = {"groups": task.groups, "cv": BY_SUBJECT, "train_sizes": [0.5, 1.0]}
    for found, expected in zip(*both(task, learning_curve, **options), strict=True):
        assert_same(found, expected)


def test_validation_curve_over_the_head(task):
    options = {"groups": task.groups, "cv": BY_SUBJECT, "param_range": [0.01, 1]}
    head = LogisticRegression()
    found = validation_curve(task.pipeline(head), task.X, task.y, param_name="head__C", **options)
    expected = validation_curve(head, task.rows, task.y, param_name="C", **options)
    assert_same(found, expected)


def test_validation_curve_over_the_transformer(task):
    # few rows of many columns can all be told apart, by either
    options = {"groups": task.groups, "cv": BY_SUBJECT, "scoring": "neg_log_loss"}
    options |= {"param_name": "embed__fusion", "param_range": ["mean", "concat"]}
    train, test = validation_curve(task.pipeline(), task.X, task.y, **options)
    assert train.shape == test.shape == (2, 3)
    assert (train[0] != train[1]).any()


def test_permutation_test_score(task):
    options = {"groups": task.groups, "cv": BY_SUBJECT, "n_permutations": 4, "random_state": 0}
    (score, permuted, p), expected = both(task, permutation_test_score, **options)
    assert_same(permuted, expected[1])
    assert (score, p) == (expected[0], expected[2])


def test_splits_keep_their_container(task, nights):
    parts = train_test_split(task.X, task.y, random_state=0, stratify=task.y)
    assert [type(part) for part in parts[:2]] == [type(task.X)] * 2
    assert task.pipeline().fit(parts[0], parts[2]).predict(parts[0]).shape == parts[2].shape
    metadata = pd.DataFrame(index=[night.id for night in nights])
    train, test = train_test_split(Cohort(nights, metadata), random_state=0)
    assert {night.id for night in [*train, *test]} == set(metadata.index)
    X = EpochSequence(nights)
    train, _ = train_test_split(X, random_state=0)
    assert train.recordings is X.recordings


def test_nested_cross_validation_routes_groups(task):
    options = {"params": {"groups": task.groups}, "cv": BY_SUBJECT}
    inner = {"cv": GroupKFold(2), "error_score": "raise"}
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(task.pipeline(), {"head__classify__C": [0.01, 1]}, **inner)
        found = cross_val_score(search, task.X, task.y, **options)
        flat = GridSearchCV(task.head(), {"classify__C": [0.01, 1]}, **inner)
        expected = cross_val_score(flat, task.rows, task.y, **options)
    assert_same(found, expected)


def test_sample_weight_reaches_head(task):
    weight = np.where(task.y == 1, 20.0, 1.0)
    head = LogisticRegression()
    found = task.pipeline(head).fit(task.X, task.y, head__sample_weight=weight)
    expected = head.fit(task.rows, task.y, sample_weight=weight).predict_proba(task.rows)
    assert_same(found.predict_proba(task.X), expected)
    assert np.abs(expected - head.fit(task.rows, task.y).predict_proba(task.rows)).max() > 0.1


def test_routed_sample_weight_reaches_head(task):
    weight = np.where(task.y == 1, 20.0, 1.0)
    with config_context(enable_metadata_routing=True):
        head = LogisticRegression().set_fit_request(sample_weight=True)
        scoring = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        params = {"groups": task.groups, "sample_weight": weight}
        options = {"params": params, "cv": BY_SUBJECT, "scoring": scoring}
        found, expected = both(task, cross_val_score, head=head, **options)
    assert_same(found, expected)
