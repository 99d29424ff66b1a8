# SPDX-License-Identifier: BSD-3-Clause
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from sleep2vec_sklearn.evaluation import (
    bland_altman,
    index_scores,
    intraclass_correlation,
    severity_classes,
)
from sleep2vec_sklearn.evaluation.agreement import agreement, confusion_tables, per_class

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)
RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(400, 40, 60)
MEASURED = REFERENCE + RNG.normal(8, 12, 60)
DIFFERENCE = MEASURED - REFERENCE


def table_of(y_true, y_pred, n_classes=5):
    one = np.zeros(len(y_true), dtype=int)
    return confusion_tables(np.array(y_true), np.array(y_pred), one, 1, n_classes)[0]


@settings(max_examples=60)
@given(LABELS)
def test_scores_equal_scikit_learn(pairs):
    y_true, y_pred = np.array(pairs).T
    scores = agreement(table_of(y_true, y_pred))
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
        assert scores[name] == pytest.approx(value, nan_ok=True), name


@given(LABELS)
def test_class_scores_equal_scikit_learn(pairs):
    y_true, y_pred = np.array(pairs).T
    scores = per_class(table_of(y_true, y_pred))
    expected = metrics.precision_recall_fscore_support(
        y_true, y_pred, labels=range(5), zero_division=np.nan
    )
    np.testing.assert_allclose(scores["precision"], expected[0])
    np.testing.assert_allclose(scores["sensitivity"], expected[1])
    occurs = np.isin(range(5), [y_true, y_pred])
    np.testing.assert_allclose(scores["f1"][occurs], expected[2][occurs])
    assert np.isnan(scores["f1"][~occurs]).all()


def test_tables_are_by_subject():
    codes = np.array([0, 0, 1, 1, 1])
    tables = confusion_tables(np.array([0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 0]), codes, 2, 2)
    np.testing.assert_array_equal(tables, [[[1, 0], [1, 0]], [[1, 0], [0, 2]]])
    tables = np.random.default_rng(0).integers(0, 9, size=(7, 4, 4))
    alone = [agreement(table)["kappa"] for table in tables]
    np.testing.assert_allclose(agreement(tables)["kappa"], alone)


def test_limits_follow_from_differences():
    limits = bland_altman(REFERENCE, MEASURED, n_resamples=50)
    assert limits["bias"] == pytest.approx(DIFFERENCE.mean())
    upper = DIFFERENCE.mean() + 1.96 * DIFFERENCE.std(ddof=1)
    assert limits["upper"] == pytest.approx(upper, 1e-4)
    assert limits["mae"] == pytest.approx(np.abs(DIFFERENCE).mean())
    assert limits["nights"] == 60


def test_interval_width_matches_theory():
    limits = bland_altman(REFERENCE, MEASURED, n_resamples=4000)
    width = limits["bias_high"] - limits["bias_low"]
    assert width == pytest.approx(2 * 1.96 * limits["sd"] / np.sqrt(60), rel=0.1)
    # Bland and Altman: the standard error of a limit is about that of the bias times 1.71
    assert limits["upper_high"] - limits["upper_low"] == pytest.approx(1.71 * width, rel=0.25)


def test_unknown_nights_are_left_out():
    measured = np.where(np.arange(60) < 3, np.nan, MEASURED)
    limits = bland_altman(REFERENCE, measured, n_resamples=50)
    assert limits["nights"] == 57
    assert limits["bias"] == pytest.approx(DIFFERENCE[3:].mean())
    limits = bland_altman([np.nan], [1.0])
    assert limits["nights"] == 0
    assert limits.drop("nights").isna().all()
    assert set(limits.index) == set(bland_altman(REFERENCE, MEASURED, n_resamples=5).index)


def test_limits_resample_subjects():
    twice = [np.repeat(side, 2) for side in (REFERENCE, MEASURED)]
    both = bland_altman(*twice, groups=np.repeat(np.arange(60), 2)), bland_altman(*twice)
    wide, narrow = (limits["bias_high"] - limits["bias_low"] for limits in both)
    assert wide == pytest.approx(np.sqrt(2) * narrow, rel=0.15)
    with pytest.raises(ValueError, match="common shape"):
        bland_altman([1, 2], [1])


def test_icc_of_shrout_and_fleiss():
    # judges 1 and 4 of the table of that paper, by its formulas
    first, fourth = [9, 6, 8, 7, 10, 6], [8, 2, 6, 1, 5, 6]
    table = np.array([first, fourth], dtype=float).T
    n, k = table.shape
    bms = k * table.mean(1).var(ddof=1)
    jms = n * table.mean(0).var(ddof=1)
    ems = ((n - 1) * table.var(0, ddof=1).sum() - (n - 1) * bms) / ((n - 1) * (k - 1))
    expected = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
    assert intraclass_correlation(first, fourth) == pytest.approx(expected)


def test_offset_lowers_icc_alone():
    true = np.array([2.0, 10, 25, 60])
    scores = index_scores(true, true + 20)
    assert scores["pearson"] == pytest.approx(1)
    assert scores["icc"] < 0.9
    assert scores["mae"] == 20
    assert intraclass_correlation(true, true) == 1


@pytest.mark.parametrize("pair", [([], []), ([3], [4]), ([2, 2], [2, 2])])
def test_undefined_icc_is_nan(pair):
    assert np.isnan(intraclass_correlation(*pair))
    assert np.isnan(index_scores(*pair)["icc"])


def test_threshold_itself_is_positive():
    scores = index_scores([15, 14.9], [15, 16])
    assert scores["threshold_15_recall"] == 1
    assert scores["threshold_15_precision"] == 0.5
    assert scores["threshold_15_specificity"] == 0
    assert severity_classes([0, 15]).tolist() == [0, 2]
    scores = index_scores([1, 7, 20, 50], [2, 8, 21, 55])
    wanted = [name for name in scores.index if name.endswith(("f1", "acc", "auroc", "specificity"))]
    assert (scores[wanted] == 1).all()


@pytest.mark.parametrize("pair", [([1, 2], [1]), ([1, np.nan], [1, 2])])
def test_invalid_indices_are_refused(pair):
    with pytest.raises(ValueError, match="y_true and y_pred"):
        index_scores(*pair)
