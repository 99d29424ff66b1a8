# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from sleep2vec_sklearn.probing.folds import (
    check_target,
    choose_sizes,
    draw_seed,
    nested_subsets,
)


def test_sizes_double_up_to_everybody():
    assert choose_sizes(None, 1) == [1]
    assert choose_sizes(None, 8) == [1, 2, 4, 8]
    assert choose_sizes(None, 11) == [1, 2, 4, 8, 11]


def test_sizes_are_numbers_or_shares_and_come_once():
    assert choose_sizes([1.0, 4, 0.5, 0.01, 8], 8) == [1, 4, 8]
    assert choose_sizes(np.array([3, 2]), 8) == [2, 3]


@pytest.mark.parametrize("size", [True, "2", 0.0, -1, None, float("nan")])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match="sizes has"):
        choose_sizes([size], 8)


def test_subsets_do_not_depend_on_the_order_of_people():
    first, second = nested_subsets("abcdef", [3], 0), nested_subsets("fedcba", [3], 0)
    assert first[3].tolist() == second[3].tolist()


def test_people_may_be_numbers_or_names():
    assert set(nested_subsets([3, "a", 3], [2], 0)[2]) == {3, "a"}


def test_classes_are_those_of_all_labels():
    y, classes = check_target(["b", "a", "b"], [{}] * 3, LogisticRegression())
    assert y.tolist() == ["b", "a", "b"]
    assert classes.tolist() == ["a", "b"]
    assert check_target([1.0, 1.0], [{}] * 2, LinearRegression())[1] is None


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="y has 2 labels for 3 rows"):
        check_target([0, 1], [{}] * 3, LogisticRegression())
    with pytest.raises(ValueError, match="one class"):
        check_target(["a", "a"], [{}] * 2, LogisticRegression())


def test_a_seed_follows_from_whatever_is_given():
    assert draw_seed(3) == draw_seed(3) == draw_seed(np.random.RandomState(3))
