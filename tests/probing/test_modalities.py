# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, modality_subset_scores
from sleep2vec_sklearn.errors import (
    InvalidRecordingError,
    ModalityWarning,
    RecordingWarning,
    UnknownModalityError,
)

FAST = {"n_resamples": 50}


def scores_of(found):
    return found.summary.set_index("subset")["score"]


def test_all_subsets_cost_one_encode_per_signal(pipeline, asleep, encoded):
    X, y, groups = asleep
    found = modality_subset_scores(pipeline, X, y, groups, cv=2, **FAST)
    assert list(found.summary["n_modalities"]) == [1, 1, 1, 2, 2, 2, 3]
    assert sorted(encoded) == sorted(["effort", "spo2", "ibi"] * 6)


def test_the_clear_sensor_is_worth_more_than_the_noisy_one(pipeline, asleep):
    X, y, groups = asleep
    score = scores_of(modality_subset_scores(pipeline, X, y, groups, cv=3, refit=True, **FAST))
    assert score["ibi"] > score["spo2"]


def test_a_fitted_estimator_is_scored_as_it_is(pipeline, asleep, nights):
    X, y, groups = asleep
    fitted = pipeline.fit(X, y)
    found = modality_subset_scores(fitted, X, y, groups, scoring="accuracy", **FAST)
    assert scores_of(found)["effort + spo2 + ibi"] == pytest.approx(fitted.score(X, y))
    alone = EpochSequence([night.without("effort", "spo2") for night in nights])
    assert scores_of(found)["ibi"] == pytest.approx(fitted.score(alone, y))


def test_refitted_heads_saw_the_subset_in_training(pipeline, asleep):
    X, y, groups = asleep
    few = {"subsets": [["ibi"], ["effort", "ibi"]], "cv": 2, **FAST}
    tested = modality_subset_scores(pipeline, X, y, groups, **few)
    trained = modality_subset_scores(pipeline, X, y, groups, refit=True, **few)
    assert not tested.summary["score"].equals(trained.summary["score"])
    with pytest.raises(ValueError, match="refit=True needs folds"):
        modality_subset_scores(pipeline.fit(X, y), X, y, groups, refit=True)


def test_results_can_be_compared_and_averaged_by_number(pipeline, asleep):
    X, y, groups = asleep
    found = modality_subset_scores(pipeline, X, y, groups, cv=2, **FAST)
    by_number = found.by_number()
    assert list(by_number["subsets"]) == [3, 3, 1]
    means = found.summary.groupby("n_modalities")["score"].mean()
    np.testing.assert_allclose(by_number["score"], means)
    difference = found.differences("ibi + effort").set_index("subset")
    assert tuple(difference.loc["effort + ibi", ["difference", "low", "high"]]) == (0, 0, 0)
    with pytest.raises(ValueError, match="not among the subsets"):
        found.differences(["eeg"])


def test_nights_left_empty_are_told_and_left_out(pipeline, nights, night):
    mixed = [*nights[:4], night(8, ["spo2"]), night(9, ["spo2"])]
    X = EpochSequence(mixed)
    with pytest.warns(RecordingWarning, match=r"ibi \(48\)"):
        found = modality_subset_scores(
            pipeline, X, X.stages > 0, X.groups, subsets=[["spo2"], ["ibi"]], cv=2, **FAST
        )
    table = found.summary.set_index("subset")
    assert table["subjects"].to_dict() == {"spo2": 6, "ibi": 4}
    assert table["rows"].to_dict() == {"spo2": 144, "ibi": 96}


def test_a_modality_that_never_trained_is_told(pipeline, nights, night):
    X = EpochSequence([*(night(k, ["spo2"]) for k in range(2)), *nights[2:4]])
    people = np.arange(4).repeat(24)
    folds = [(np.flatnonzero(people < 2), np.flatnonzero(people >= 2))]
    folds += [folds[0][::-1]]
    with (
        pytest.warns(ModalityWarning, match=r"ibi \(1 of 2 folds\): in no night that trains"),
        pytest.warns(RecordingWarning, match="without any sensor"),
    ):
        modality_subset_scores(
            pipeline, X, X.stages > 0, X.groups, subsets=[["ibi"], ["spo2"]], cv=folds, **FAST
        )


def test_nights_may_be_rows_themselves(pipeline, nights):
    y = np.arange(6) % 2
    found = modality_subset_scores(pipeline.fit(nights, y), nights, y, **FAST)
    assert found.average == "pooled"
    assert len(found.summary) == 7


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"subsets": [["ekg"]]}, UnknownModalityError, "Did you mean 'ecg'"),
        ({"subsets": [["eeg"]]}, InvalidRecordingError, "in none of the 6 nights"),
        ({"subsets": [[]]}, InvalidRecordingError, "an empty one"),
        ({"modalities": ["ppg"]}, InvalidRecordingError, "in none of the 6 nights"),
        ({"level": 2}, ValueError, "level"),
    ],
)
def test_choices_that_make_no_sense_are_refused(pipeline, asleep, changed, error, message):
    X, y, groups = asleep
    with pytest.raises(error, match=message):
        modality_subset_scores(pipeline, X, y, groups, **{"cv": 2, **FAST, **changed})
