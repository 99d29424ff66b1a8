# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.evaluation._cross_validation import check_labels

NIGHTS = [Recording({"spo2": np.full(240, 95.0)}, id=name) for name in "ab"]
EPOCHS = EpochSequence(NIGHTS)


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, -1, 0],
        [0, np.nan, 1, 1],
        ["W", None, "R", "W"],
        np.array([0, 1, -1], np.int8)[[0, 2, 1, 1]],
    ],
)
def test_an_epoch_without_a_label_is_no_class(y):
    with pytest.raises(ValueError, match=r"no label .* in 1 of 4 rows.*X\[known\], y\[known\]"):
        check_labels(y, EPOCHS, classify=True)


def test_of_nights_and_of_numbers_minus_one_is_a_value():
    assert check_labels([-1, 1], NIGHTS, classify=True).tolist() == [-1, 1]
    assert check_labels([-1, 1, 0, 2], EPOCHS, classify=False).tolist() == [-1, 1, 0, 2]


def test_a_night_without_an_outcome_is_to_be_left_out():
    with pytest.raises(
        ValueError, match=r"flatnonzero\(pandas.notna\(y\)\).*X\[i\] for i in known"
    ):
        check_labels([1.5, np.nan], NIGHTS, classify=False)


def test_cells_of_several_outcomes_may_be_missing():
    y = np.array([[0, np.nan], [1, 1]])
    assert check_labels(y, NIGHTS, classify=True) is y
