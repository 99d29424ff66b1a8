# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.evaluation import ScoredEvents
from sleep2vec_sklearn.finetuning._event_labels import pooled_f1, tune_threshold


def night(heights, scored):
    """Events of 20 s each, as probable as these heights, of which some were scored."""
    truth, probability = np.zeros(7200), np.full(7200, 0.1)
    for i, (height, real) in enumerate(zip(heights, scored, strict=True)):
        span = slice(100 * i + 50, 100 * i + 70)
        probability[span], truth[span] = height, real
    return ScoredEvents(truth, probability)


def test_the_threshold_with_the_best_f1_is_the_middle_of_equal_ones():
    nights = [night([0.8, 0.8, 0.3], [1, 1, 0])]
    threshold = tune_threshold(nights, "f1", 3, 10)
    assert 0.5 < threshold < 0.6
    assert pooled_f1(nights, threshold, 3, 10) == 1
    assert pooled_f1(nights, 0.2, 3, 10) == pytest.approx(0.8)


def test_the_index_is_tuned_as_the_authors_do():
    nights = [night([0.8, 0.3], [1, 0]), night([0.8, 0.8, 0.8], [1, 1, 1])]
    assert tune_threshold(nights, "index", 3, 10) == 0.79


def test_where_nothing_was_scored_the_threshold_is_a_half():
    assert tune_threshold([night([0.8], [0])], "f1", 3, 10) == 0.5
    assert np.isnan(pooled_f1([night([0.8], [0])], 0.9, 3, 10))


def test_events_that_are_too_short_do_not_count():
    assert pooled_f1([night([0.8], [1])], 0.5, 3, 10) == 1
    assert np.isnan(pooled_f1([night([0.8], [1])], 0.5, 3, 21))
