# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, modality_importance, modality_subset_scores
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning

FAST = {"n_resamples": 50, "cv": 2}


def test_dropping_is_the_score_of_the_others(pipeline, asleep):
    found = modality_importance(pipeline, *asleep, **FAST)
    subsets = modality_subset_scores(pipeline, *asleep, **FAST)
    score = subsets.summary.set_index("subset")["score"]
    assert found.modalities == ("effort", "spo2", "ibi")
    assert found.baseline == pytest.approx(score["effort + spo2 + ibi"])
    expected = found.baseline - score[["spo2 + ibi", "effort + ibi", "effort + spo2"]]
    np.testing.assert_allclose(found.importances_mean, expected, atol=1e-12)
    assert found.importances.shape == (3, 1)


@pytest.mark.parametrize("method", ["swap", "noise"])
def test_the_sensor_that_tells_matters_most(pipeline, asleep, method):
    found = modality_importance(pipeline, *asleep, method=method, n_repeats=2, noise=5.0, **FAST)
    assert found.importances.shape == (3, 2)
    assert found.modalities[int(found.importances_mean.argmax())] == "ibi"
    np.testing.assert_allclose(found.importances_mean, found.importances.mean(axis=1))
    np.testing.assert_allclose(found.importances_std, found.importances.std(axis=1))
    assert (found.low <= found.importances_mean).all()
    assert (found.importances_mean <= found.high).all()


def test_swapped_signals_are_encoded_once(pipeline, asleep, encoded):
    modality_importance(pipeline, *asleep, method="swap", n_repeats=3, **FAST)
    assert sorted(encoded) == sorted(["effort", "spo2", "ibi"] * 6)


def test_several_metrics_give_a_bunch_each(pipeline, asleep):
    found = modality_importance(
        pipeline, *asleep, scoring=["accuracy", "f1_macro"], modalities=["ibi"], **FAST
    )
    assert list(found) == ["accuracy", "f1_macro"]
    assert found["f1_macro"].metric == "f1_macro"


def test_a_study_can_be_repeated(pipeline, asleep):
    once, again = (
        modality_importance(pipeline, *asleep, method="noise", n_repeats=2, **FAST)
        for _ in range(2)
    )
    np.testing.assert_array_equal(once.importances, again.importances)


def test_nights_of_one_sensor_are_told_and_compared_with_themselves(pipeline, nights, night):
    X = EpochSequence([*nights[:4], night(8, ["ibi"])])
    with pytest.warns(RecordingWarning, match=r"ibi \(24\)"):
        found = modality_importance(pipeline, X, X.stages > 0, X.groups, **FAST)
    assert np.isfinite(found.importances).all()


def test_what_cannot_be_done_is_refused(pipeline, nights, night):
    alone = EpochSequence([night(k, ["ibi"]) for k in range(4)])
    with pytest.raises(InvalidRecordingError, match="only modality of every night"):
        modality_importance(pipeline, alone, alone.stages > 0, alone.groups, **FAST)
    X = EpochSequence([nights[0], *(night(k, ["spo2", "effort"]) for k in (7, 8, 9))])
    with pytest.raises(InvalidRecordingError, match="one subject alone"):
        modality_importance(pipeline, X, X.stages > 0, X.groups, method="swap", **FAST)
    for changed in ({"method": "shuffle"}, {"n_repeats": 0}, {"noise": 0}):
        with pytest.raises(ValueError, match="must be"):
            modality_importance(pipeline, X, X.stages > 0, X.groups, **FAST, **changed)
