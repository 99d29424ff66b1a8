# SPDX-License-Identifier: BSD-3-Clause
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from sleep2vec_sklearn.evaluation.agreement import agreement, confusion_tables, per_class

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


def table_of(y_true, y_pred, n_classes=5):
    one = np.zeros(len(y_true), dtype=int)
    return confusion_tables(np.array(y_true), np.array(y_pred), one, 1, n_classes)[0]


@settings(max_examples=60)
@given(LABELS)
def test_scores_are_those_of_scikit_learn(pairs):
    y_true, y_pred = np.array(pairs).T
    found = agreement(table_of(y_true, y_pred))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": metrics.accuracy_score(y_true, y_pred),
            "macro_f1": metrics.f1_score(y_true, y_pred, average="macro"),
            "weighted_f1": metrics.f1_score(y_true, y_pred, average="weighted"),
            "sensitivity": metrics.balanced_accuracy_score(y_true, y_pred),
            "kappa": metrics.cohen_kappa_score(y_true, y_pred),
        }
    for name, value in expected.items():
        if name == "kappa" and len(np.union1d(y_true, y_pred)) == 1:
            value = np.nan
        assert found[name] == pytest.approx(value, nan_ok=True), name


@given(LABELS)
def test_classes_are_scored_as_scikit_learn_does(pairs):
    y_true, y_pred = np.array(pairs).T
    found = per_class(table_of(y_true, y_pred))
    expected = metrics.precision_recall_fscore_support(
        y_true, y_pred, labels=range(5), zero_division=np.nan
    )
    np.testing.assert_allclose(found["precision"], expected[0])
    np.testing.assert_allclose(found["sensitivity"], expected[1])
    occurs = np.isin(range(5), [y_true, y_pred])
    np.testing.assert_allclose(found["f1"][occurs], expected[2][occurs])
    assert np.isnan(found["f1"][~occurs]).all()


def test_many_tables_are_scored_as_one_by_one():
    tables = np.random.default_rng(0).integers(0, 9, size=(7, 4, 4))
    together = agreement(tables)
    for place, table in enumerate(tables):
        assert together["kappa"][place] == pytest.approx(agreement(table)["kappa"])


def test_tables_are_by_subject():
    codes = np.array([0, 0, 1, 1, 1])
    tables = confusion_tables(np.array([0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 0]), codes, 2, 2)
    np.testing.assert_array_equal(tables, [[[1, 0], [1, 0]], [[1, 0], [0, 2]]])
