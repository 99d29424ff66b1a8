# SPDX-License-Identifier: BSD-3-Clause
import json
from pathlib import Path

import numpy as np
import pytest

from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import (
    ScoredEvents,
    event_scores,
    find_events,
    fit_event_threshold,
)

GOLDEN = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="module")
def golden_nights():
    """The authors' six nights; ``above`` counts the thresholds 0.01 to 0.99 below a score."""
    with np.load(GOLDEN / "ahi.npz") as kept:
        return [
            ScoredEvents(
                np.unpackbits(kept[f"{i}/truth"])[: len(kept[f"{i}/above"])].astype(int),
                (kept[f"{i}/above"] + 0.5) / 100,
                kept[f"{i}/stages"],
                index=float(kept[f"{i}/index"]),
                sleep_hours=float(kept[f"{i}/hours"]),
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


def test_the_threshold_is_the_authors(golden_nights, golden):
    assert fit_event_threshold(golden_nights) == golden["fitted_threshold"]


@pytest.mark.parametrize(("name", "threshold"), [("metrics", None), ("metrics_at_0p5", 0.5)])
def test_all_metrics_are_the_authors(golden_nights, golden, name, threshold):
    scores = event_scores(golden_nights, threshold=threshold, undefined=0.0)
    assert {f"ahi_{name}" for name in scores.index} == set(golden[name])
    for key, value in golden[name].items():
        assert scores[key.removeprefix("ahi_")] == pytest.approx(value, abs=1e-6), key


def test_a_score_of_nothing_is_nan_unless_asked_otherwise(golden_nights):
    scores = event_scores(golden_nights, threshold=0.5)
    assert np.isnan(scores[["threshold_5_specificity", "threshold_5_auroc"]]).all()


def test_of_equal_thresholds_the_highest_is_taken():
    nights = [
        ScoredEvents(truth, 0.2 + 0.395 * truth)
        for truth in (marked(7200, (0, 20)), marked(7200, (0, 20), (50, 80)))
    ]
    assert fit_event_threshold(nights) == 0.59


def test_of_equally_correlated_thresholds_the_one_with_the_lower_error_is_taken():
    # above 0.6, each night has half of its events: the correlation is the same
    nights = []
    for n in (2, 4, 6):
        spans = [(100 * i, 100 * i + 20) for i in range(n)]
        truth = marked(7200, *spans)
        nights.append(ScoredEvents(truth, 0.6 * truth + 0.3 * marked(7200, *spans[: n // 2])))
    assert fit_event_threshold(nights) == 0.59


def test_one_night_has_a_threshold_too():
    truth = marked(7200, (0, 20), (90, 120))
    assert fit_event_threshold([ScoredEvents(truth, 0.3 * truth)]) == 0.29


def test_nights_without_sleep_cannot_give_a_threshold():
    awake = ScoredEvents(np.zeros(60), np.zeros(60), stages=[0, 0])
    with pytest.raises(ValueError, match="second of sleep"):
        fit_event_threshold([awake])


def test_runs_are_joined_before_they_are_measured():
    mask = marked(100, (0, 5), (7, 12), (50, 58))
    np.testing.assert_array_equal(find_events(mask), [[0, 12]])


def test_three_seconds_between_two_runs_keep_them_apart():
    mask = marked(100, (0, 10), (13, 23), (25, 40))
    np.testing.assert_array_equal(find_events(mask), [[0, 10], [13, 40]])


def test_an_event_has_to_touch_sleep():
    mask, asleep = marked(100, (0, 20), (40, 60)), np.arange(100) >= 59
    np.testing.assert_array_equal(find_events(mask, asleep), [[40, 60]])


def test_the_index_counts_runs_that_touch_sleep_per_hour_of_sleep():
    truth = marked(7200, (10, 30), (3500, 3620), (4000, 4005))
    night = ScoredEvents(truth, truth, stages=[0] * 120 + [2] * 120)
    assert (night.sleep_hours, night.index) == (1, 2)


def test_where_nobody_looked_nothing_is_detected():
    truth = marked(7200, (0, 3600), value=-1)
    night = ScoredEvents(truth, np.ones(7200))
    assert night.sleep_hours == 1
    scores = event_scores([night], threshold=0.5)
    assert (scores["event_precision"], night.predicted_index(0.5)) == (0, 1)


@pytest.mark.parametrize(("n_probabilities", "n_stages"), [(59, 2), (60, 3)])
def test_seconds_that_do_not_fit_are_refused_with_the_night(n_probabilities, n_stages):
    with pytest.raises(InvalidRecordingError, match=r"recording \(n1\) has 60 scored"):
        ScoredEvents(np.zeros(60), np.zeros(n_probabilities), [2] * n_stages, id="n1")
