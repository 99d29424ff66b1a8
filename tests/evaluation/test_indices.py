# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.evaluation import index_scores, intraclass_correlation, severity_classes


def test_the_correlation_is_that_of_shrout_and_fleiss():
    # judges 1 and 4 of the table of that paper, by its formulas
    first, fourth = [9, 6, 8, 7, 10, 6], [8, 2, 6, 1, 5, 6]
    table = np.array([first, fourth], dtype=float).T
    n, k = table.shape
    bms = k * table.mean(1).var(ddof=1)
    jms = n * table.mean(0).var(ddof=1)
    ems = ((n - 1) * table.var(0, ddof=1).sum() - (n - 1) * bms) / ((n - 1) * (k - 1))
    expected = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
    assert intraclass_correlation(first, fourth) == pytest.approx(expected)


def test_an_offset_lowers_agreement_but_not_correlation():
    true = np.array([2.0, 10, 25, 60])
    scores = index_scores(true, true + 20)
    assert scores["pearson"] == pytest.approx(1)
    assert scores["icc"] < 0.9
    assert scores["mae"] == 20


def test_agreement_of_a_copy_is_one():
    assert intraclass_correlation([1, 5, 9], [1, 5, 9]) == 1


@pytest.mark.parametrize("pair", [([], []), ([3], [4]), ([2, 2], [2, 2])])
def test_what_has_no_agreement_is_nan(pair):
    assert np.isnan(intraclass_correlation(*pair))
    assert np.isnan(index_scores(*pair)["icc"])


def test_a_night_at_the_threshold_is_positive():
    scores = index_scores([15, 14.9], [15, 16])
    assert scores["threshold_15_recall"] == 1
    assert scores["threshold_15_precision"] == 0.5
    assert scores["threshold_15_specificity"] == 0
    assert severity_classes([0, 15]).tolist() == [0, 2]


def test_perfect_nights_have_perfect_scores():
    scores = index_scores([1, 7, 20, 50], [2, 8, 21, 55])
    wanted = [name for name in scores.index if name.endswith(("f1", "acc", "auroc", "specificity"))]
    assert (scores[wanted] == 1).all()


@pytest.mark.parametrize("pair", [([1, 2], [1]), ([1, np.nan], [1, 2])])
def test_indices_that_cannot_be_compared_are_refused(pair):
    with pytest.raises(ValueError, match="y_true and y_pred"):
        index_scores(*pair)
