# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecTransformer,
    modality_importance,
    modality_subset_scores,
)
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.model import Encoder

FAST = {"n_resamples": 50, "cv": 2}


def test_drop_equals_subset_scores(pipeline, asleep):
    result = modality_importance(pipeline, *asleep, **FAST)
    subsets = modality_subset_scores(pipeline, *asleep, **FAST)
    score = subsets.summary.set_index("subset")["score"]
    assert result.modalities == ("effort", "spo2", "ibi")
    assert result.baseline == pytest.approx(score["effort + spo2 + ibi"])
    expected = result.baseline - score[["spo2 + ibi", "effort + ibi", "effort + spo2"]]
    np.testing.assert_allclose(result.importances_mean, expected, atol=1e-12)
    assert result.importances.shape == (3, 1)


@pytest.mark.parametrize("method", ["swap", "noise"])
def test_informative_sensor_matters_most(pipeline, asleep, method):
    result = modality_importance(pipeline, *asleep, method=method, n_repeats=2, noise=5.0, **FAST)
    assert result.importances.shape == (3, 2)
    assert result.modalities[int(result.importances_mean.argmax())] == "ibi"
    np.testing.assert_allclose(result.importances_mean, result.importances.mean(axis=1))
    np.testing.assert_allclose(result.importances_std, result.importances.std(axis=1))
    assert (result.low <= result.importances_mean).all()
    assert (result.importances_mean <= result.high).all()


def test_swapped_signals_are_encoded_once(pipeline, asleep, encoded):
    modality_importance(pipeline, *asleep, method="swap", n_repeats=3, **FAST)
    assert sorted(encoded) == sorted(["effort", "spo2", "ibi"] * 6)


class Level(Encoder):
    """The mean of the interval between beats, or of SpO2 in a night without it."""

    def encode(self, recording, group):
        name = "ibi" if "ibi" in recording else "spo2"
        return recording[name].reshape(recording.n_epochs, -1).mean(axis=1)[:, None]


def test_signals_of_groups_are_tested(asleep):
    X, y, _ = asleep
    encoder = Level("level", "2" * 64, {"heart": ("spo2", "ibi")}, {"heart": 1})
    X = EpochSequence([night.without("effort") for night in X.recordings])
    model = make_pipeline(Sleep2VecTransformer(encoder), LogisticRegression()).fit(X, y)
    result = modality_importance(model, X, y, cv="prefit", n_resamples=50)
    assert result.modalities == ("spo2", "ibi")
    assert result.importances_mean[0] == 0 < result.importances_mean[1]


def test_one_bunch_per_metric(pipeline, asleep):
    result = modality_importance(
        pipeline, *asleep, scoring=["accuracy", "f1_macro"], modalities=["ibi"], **FAST
    )
    assert list(result) == ["accuracy", "f1_macro"]
    assert result["f1_macro"].metric == "f1_macro"


def test_study_is_reproducible(pipeline, asleep):
    once, again = (
        modality_importance(pipeline, *asleep, method="noise", n_repeats=2, **FAST)
        for _ in range(2)
    )
    np.testing.assert_array_equal(once.importances, again.importances)


def test_nights_of_one_sensor_warn(pipeline, nights, night):
    X = EpochSequence([*nights[:4], night(8, ["ibi"])])
    with pytest.warns(RecordingWarning, match=r"ibi \(24\)"):
        result = modality_importance(pipeline, X, X.stages > 0, X.groups, **FAST)
    assert np.isfinite(result.importances).all()


def test_impossible_alterations_are_refused(pipeline, nights, night):
    alone = EpochSequence([night(k, ["ibi"]) for k in range(4)])
    with pytest.raises(InvalidRecordingError, match="only modality of every night"):
        modality_importance(pipeline, alone, alone.stages > 0, alone.groups, **FAST)
    X = EpochSequence([nights[0], *(night(k, ["spo2", "effort"]) for k in (7, 8, 9))])
    with pytest.raises(InvalidRecordingError, match="one subject alone"):
        modality_importance(pipeline, X, X.stages > 0, X.groups, method="swap", **FAST)


@pytest.mark.parametrize("changed", [{"method": "shuffle"}, {"n_repeats": 0}, {"noise": 0}])
def test_invalid_parameters_are_refused(pipeline, asleep, changed):
    with pytest.raises(ValueError, match=next(iter(changed))):
        modality_importance(pipeline, *asleep, **FAST, **changed)
