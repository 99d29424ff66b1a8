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


def scores_of(result):
    return result.summary.set_index("subset")["score"]


def test_each_signal_is_encoded_once(pipeline, asleep, encoded):
    result = modality_subset_scores(pipeline, *asleep, cv=2, **FAST)
    assert list(result.summary["n_modalities"]) == [1, 1, 1, 2, 2, 2, 3]
    assert sorted(encoded) == sorted(["effort", "spo2", "ibi"] * 6)


def test_prefit_estimator_is_scored_unchanged(pipeline, asleep, nights):
    X, y, groups = asleep
    fitted = pipeline.fit(X, y)
    result = modality_subset_scores(fitted, X, y, groups, scoring="accuracy", **FAST)
    assert scores_of(result)["effort + spo2 + ibi"] == pytest.approx(fitted.score(X, y))
    alone = EpochSequence([night.without("effort", "spo2") for night in nights])
    assert scores_of(result)["ibi"] == pytest.approx(fitted.score(alone, y))


def test_refit_trains_on_the_subset(pipeline, asleep):
    X, y, groups = asleep
    few = {"subsets": [["ibi"], ["spo2"], ["effort", "ibi"]], "cv": 2, **FAST}
    tested = modality_subset_scores(pipeline, X, y, groups, **few)
    trained = modality_subset_scores(pipeline, X, y, groups, refit=True, **few)
    assert scores_of(trained)["ibi"] > scores_of(trained)["spo2"]
    assert not tested.summary["score"].equals(trained.summary["score"])
    with pytest.raises(ValueError, match="refit=True needs folds"):
        modality_subset_scores(pipeline.fit(X, y), X, y, groups, refit=True)


def test_results_are_compared_and_averaged(pipeline, asleep):
    result = modality_subset_scores(pipeline, *asleep, cv=2, **FAST)
    by_number = result.by_number()
    assert list(by_number["subsets"]) == [3, 3, 1]
    means = result.summary.groupby("n_modalities")["score"].mean()
    np.testing.assert_allclose(by_number["score"], means)
    difference = result.differences("ibi + effort").set_index("subset")
    assert tuple(difference.loc["effort + ibi", ["difference", "low", "high"]]) == (0, 0, 0)
    with pytest.raises(ValueError, match="not among the subsets"):
        result.differences(["eeg"])


def test_empty_nights_are_left_out(pipeline, nights, night):
    mixed = [*nights[:4], night(8, ["spo2"]), night(9, ["spo2"])]
    X = EpochSequence(mixed)
    with pytest.warns(RecordingWarning, match=r"ibi \(48\)"):
        result = modality_subset_scores(
            pipeline, X, X.stages > 0, X.groups, subsets=[["spo2"], ["ibi"]], cv=2, **FAST
        )
    table = result.summary.set_index("subset")
    assert table["subjects"].to_dict() == {"spo2": 6, "ibi": 4}
    assert table["rows"].to_dict() == {"spo2": 144, "ibi": 96}


def test_untrained_modality_warns(pipeline, nights, night):
    X = EpochSequence([*(night(k, ["spo2"]) for k in range(2)), *nights[2:4]])
    first, second = np.split(np.arange(96), 2)
    folds = [(first, second), (second, first)]
    with (
        pytest.warns(ModalityWarning, match=r"ibi \(1 of 2 folds\): in no training night"),
        pytest.warns(RecordingWarning, match="without any sensor"),
    ):
        modality_subset_scores(
            pipeline, X, X.stages > 0, X.groups, subsets=[["ibi"], ["spo2"]], cv=folds, **FAST
        )


def test_nights_as_rows(pipeline, nights):
    y = np.arange(6) % 2
    result = modality_subset_scores(pipeline.fit(nights, y), nights, y, **FAST)
    assert result.average == "pooled"
    assert len(result.summary) == 7


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [({"subsets": [["ekg"]]}, UnknownModalityError, "Did you mean 'ecg'"),
     ({"subsets": [["eeg"]]}, InvalidRecordingError, "in none of the 6 nights"),
     ({"subsets": [[]]}, InvalidRecordingError, "an empty one"),
     ({"modalities": ["ppg"]}, InvalidRecordingError, "in none of the 6 nights"),
     ({"level": 2}, ValueError, "level")],
)  # fmt: skip
def test_invalid_parameters_are_refused(pipeline, asleep, changed, error, message):
    with pytest.raises(error, match=message):
        modality_subset_scores(pipeline, *asleep, **{"cv": 2, **FAST, **changed})
