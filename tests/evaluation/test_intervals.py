# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.evaluation import intervals_to_mask, mask_to_intervals, match_intervals
from sleep2vec_sklearn.evaluation.events import (
    intersection_over_union,
    intervals_of,
    merge_intervals,
    touching,
)

MASKS = st.lists(st.sampled_from([-1, 0, 1]), max_size=60)


@given(MASKS)
def test_a_mask_comes_back_from_its_intervals(mask):
    back = intervals_to_mask(mask_to_intervals(mask), len(mask))
    np.testing.assert_array_equal(back, np.array(mask, dtype=int) > 0)


@given(MASKS, st.integers(1, 6))
def test_merged_intervals_are_further_apart_than_the_gap(mask, gap):
    merged = merge_intervals(mask_to_intervals(mask), gap)
    assert (merged[1:, 0] - (merged[:-1, 1] - 1) > gap).all()
    assert intervals_to_mask(merged, len(mask))[np.array(mask, dtype=int) > 0].all()


def test_overlapping_events_become_one():
    merged = merge_intervals(np.array([[0, 50], [10, 20], [52, 60], [90, 95]]))
    np.testing.assert_array_equal(merged, [[0, 60], [90, 95]])


def test_a_mask_ends_with_the_night():
    np.testing.assert_array_equal(
        intervals_to_mask([[-5, 1], [3, 9]], 4), [True, False, False, True]
    )


def test_an_event_marks_every_second_it_touches():
    events = pd.DataFrame({"onset": [1.9, 10.0], "duration": [1.2, 2.0]})
    np.testing.assert_array_equal(intervals_of(events), [[1, 4], [10, 12]])


def test_rounding_adds_no_second():
    events = pd.DataFrame({"onset": [0.1 + 0.2, 3 - 1e-9], "duration": [0.7 + 1e-12, 4]})
    np.testing.assert_array_equal(intervals_of(events), [[0, 1], [3, 7]])


def test_touching_needs_a_second_in_common():
    mask = np.zeros(10, dtype=bool)
    mask[4] = True
    assert touching(np.array([[0, 4], [4, 5], [5, 9]]), mask).tolist() == [False, True, False]


def test_intersection_over_union_of_known_pairs():
    first, second = np.array([[0, 10]]), np.array([[5, 15], [0, 10], [20, 30]])
    np.testing.assert_allclose(intersection_over_union(first, second), [[5 / 15, 1, 0]])


def test_as_many_as_possible_are_matched_where_the_first_choice_would_block_another():
    true, predicted = np.array([[0, 30], [10, 40]]), np.array([[5, 35], [0, 20]])
    assert intersection_over_union(true, predicted)[0].argmax() == 0
    assert match_intervals(true, predicted).tolist() == [1, 0]


def test_two_scored_events_are_not_both_hit_by_one_detection():
    matched = match_intervals(np.array([[0, 10], [1, 11]]), np.array([[0, 11]]))
    assert (matched >= 0).sum() == 1


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_matches_nothing(shape):
    spans = [np.arange(2 * n).reshape(n, 2) for n in shape]
    assert match_intervals(*spans).tolist() == [-1] * shape[0]
