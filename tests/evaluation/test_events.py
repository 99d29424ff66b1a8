# SPDX-License-Identifier: BSD-3-Clause
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import (
    ScoredEvents,
    event_scores,
    find_events,
    fit_event_threshold,
    intervals_to_mask,
    mask_to_intervals,
    match_intervals,
)
from sleep2vec_sklearn.evaluation.events import (
    intersection_over_union,
    intervals_of,
    merge_intervals,
    touching,
)

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
MASKS = st.lists(st.sampled_from([-1, 0, 1]), max_size=60)


@pytest.fixture(scope="module")
def golden_nights():
    """The authors' six nights; ``above`` counts the thresholds 0.01 to 0.99 below a score."""
    with np.load(GOLDEN / "ahi.npz") as file:
        return [
            ScoredEvents(
                np.unpackbits(file[f"{i}/truth"])[: len(file[f"{i}/above"])].astype(int),
                (file[f"{i}/above"] + 0.5) / 100,
                file[f"{i}/stages"],
                index=float(file[f"{i}/index"]),
                sleep_hours=float(file[f"{i}/hours"]),
            )
            for i in range(6)
        ]


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDEN / "ahi.json").read_text())


def marked(n_seconds, *spans, value=1):
    mask = np.zeros(n_seconds)
    for begin, end in spans:
        mask[begin:end] = value
    return mask


def test_threshold_equals_the_authors(golden_nights, golden):
    assert fit_event_threshold(golden_nights) == golden["fitted_threshold"]


@pytest.mark.parametrize(("name", "threshold"), [("metrics", None), ("metrics_at_0p5", 0.5)])
def test_metrics_equal_the_authors(golden_nights, golden, name, threshold):
    scores = event_scores(golden_nights, threshold=threshold, undefined=0.0)
    assert {f"ahi_{name}" for name in scores.index} == set(golden[name])
    for key, value in golden[name].items():
        assert scores[key.removeprefix("ahi_")] == pytest.approx(value, abs=1e-6), key


def test_undefined_scores_are_nan(golden_nights):
    scores = event_scores(golden_nights, threshold=0.5)
    assert np.isnan(scores[["threshold_5_specificity", "threshold_5_auroc"]]).all()


def test_ties_take_highest_threshold():
    nights = [
        ScoredEvents(truth, 0.2 + 0.395 * truth)
        for truth in (marked(7200, (0, 20)), marked(7200, (0, 20), (50, 80)))
    ]
    assert fit_event_threshold(nights) == 0.59


def test_ties_take_lower_error():
    # above 0.6, each night has half of its events: the correlation is the same
    nights = []
    for n in (2, 4, 6):
        spans = [(100 * i, 100 * i + 20) for i in range(n)]
        truth = marked(7200, *spans)
        nights.append(ScoredEvents(truth, 0.6 * truth + 0.3 * marked(7200, *spans[: n // 2])))
    assert fit_event_threshold(nights) == 0.59


def test_one_night_has_a_threshold():
    truth = marked(7200, (0, 20), (90, 120))
    assert fit_event_threshold([ScoredEvents(truth, 0.3 * truth)]) == 0.29


def test_awake_nights_give_no_threshold():
    awake = ScoredEvents(np.zeros(60), np.zeros(60), stages=[0, 0])
    with pytest.raises(ValueError, match="second of sleep"):
        fit_event_threshold([awake])


@pytest.mark.parametrize(
    ("spans", "events"),
    [
        ([(0, 5), (7, 12), (50, 58)], [[0, 12]]),
        ([(0, 10), (13, 23), (25, 40)], [[0, 10], [13, 40]]),
    ],
    ids=["joined before measured", "three seconds separate"],
)
def test_close_runs_are_joined(spans, events):
    np.testing.assert_array_equal(find_events(marked(100, *spans)), events)


def test_events_have_to_touch_sleep():
    mask, asleep = marked(100, (0, 20), (40, 60)), np.arange(100) >= 59
    np.testing.assert_array_equal(find_events(mask, asleep), [[40, 60]])


def test_index_per_hour_of_sleep():
    truth = marked(7200, (10, 30), (3500, 3620), (4000, 4005))
    night = ScoredEvents(truth, truth, stages=[0] * 120 + [2] * 120)
    assert (night.sleep_hours, night.index) == (1, 2)


def test_unscored_seconds_have_no_event():
    truth = marked(7200, (0, 3600), value=-1)
    night = ScoredEvents(truth, np.ones(7200))
    assert night.sleep_hours == 1
    scores = event_scores([night], threshold=0.5)
    assert (scores["event_precision"], night.predicted_index(0.5)) == (0, 1)


@pytest.mark.parametrize(("n_probabilities", "n_stages"), [(59, 2), (60, 3)])
def test_wrong_lengths_name_the_night(n_probabilities, n_stages):
    with pytest.raises(InvalidRecordingError, match=r"recording \(n1\) has 60 scored"):
        ScoredEvents(np.zeros(60), np.zeros(n_probabilities), [2] * n_stages, id="n1")


@given(MASKS)
def test_mask_round_trip(mask):
    back = intervals_to_mask(mask_to_intervals(mask), len(mask))
    np.testing.assert_array_equal(back, np.array(mask, dtype=int) > 0)


@given(MASKS, st.integers(1, 6))
def test_merging_leaves_larger_gaps(mask, gap):
    merged = merge_intervals(mask_to_intervals(mask), gap)
    assert (merged[1:, 0] - (merged[:-1, 1] - 1) > gap).all()
    assert intervals_to_mask(merged, len(mask))[np.array(mask, dtype=int) > 0].all()


def test_overlapping_events_are_merged():
    merged = merge_intervals(np.array([[0, 50], [10, 20], [52, 60], [90, 95]]))
    np.testing.assert_array_equal(merged, [[0, 60], [90, 95]])


def test_mask_ends_with_night():
    np.testing.assert_array_equal(
        intervals_to_mask([[-5, 1], [3, 9]], 4), [True, False, False, True]
    )


@pytest.mark.parametrize(
    ("onset", "duration", "intervals"),
    [
        ([1.9, 10.0], [1.2, 2.0], [[1, 4], [10, 12]]),
        ([0.1 + 0.2, 3 - 1e-9], [0.7 + 1e-12, 4], [[0, 1], [3, 7]]),
    ],
    ids=["every second touched", "rounding errors"],
)
def test_seconds_of_events(onset, duration, intervals):
    events = pd.DataFrame({"onset": onset, "duration": duration})
    np.testing.assert_array_equal(intervals_of(events), intervals)


def test_touching_needs_common_second():
    mask = np.zeros(10, dtype=bool)
    mask[4] = True
    assert touching(np.array([[0, 4], [4, 5], [5, 9]]), mask).tolist() == [False, True, False]


def test_intersection_over_union():
    first, second = np.array([[0, 10]]), np.array([[5, 15], [0, 10], [20, 30]])
    np.testing.assert_allclose(intersection_over_union(first, second), [[5 / 15, 1, 0]])


def test_matching_is_maximal():
    true, predicted = np.array([[0, 30], [10, 40]]), np.array([[5, 35], [0, 20]])
    assert intersection_over_union(true, predicted)[0].argmax() == 0
    assert match_intervals(true, predicted).tolist() == [1, 0]


def test_detection_hits_one_event():
    matched = match_intervals(np.array([[0, 10], [1, 11]]), np.array([[0, 11]]))
    assert (matched >= 0).sum() == 1


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_matches_nothing(shape):
    spans = [np.arange(2 * n).reshape(n, 2) for n in shape]
    assert match_intervals(*spans).tolist() == [-1] * shape[0]
