# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.utils import estimator_checks as checks

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecEventDetector
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.evaluation import event_scores

N_EPOCHS = 24


def make_night(seed, subject=None):
    """Ten minutes and more of saturation that falls to 82 % for a minute in each apnea."""
    rng = np.random.default_rng(seed)
    spo2 = 96 + 0.3 * rng.standard_normal(N_EPOCHS * 30)
    onsets = 60.0 * (1 + 3 * np.arange(3)) + 60.0 * rng.integers(0, 2, 3)
    for onset in onsets.astype(int):
        spo2[onset : onset + 60] -= 14
    rows = [(onset, 60.0, "obstructive_apnea") for onset in onsets]
    rows += [(float(onset) + 50, 8.0, "arousal") for onset in onsets[:2]]
    events = pd.DataFrame(rows, columns=["onset", "duration", "type"])
    return Recording(
        {"spo2": (spo2, 1)},
        stages=[0] + [2] * (N_EPOCHS - 1),
        events=events,
        subject=f"s{seed}" if subject is None else subject,
        id=f"night-{seed}",
    )


def without_events(night):
    return Recording(night.read(), stages=night.stages, subject=night.subject, id=night.id)


@pytest.fixture(scope="module")
def nights():
    return [make_night(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def make_detector(checkpoint_in_memory):
    def make(**parameters):
        parameters = {"max_epochs": 1, "lr": 1e-2, "random_state": 0, **parameters}
        return Sleep2VecEventDetector(checkpoint_in_memory, **parameters)

    return make


@pytest.fixture(scope="module")
def detector(make_detector, nights):
    return make_detector(max_epochs=40).fit(nights)


def test_what_is_plain_to_see_is_found_in_new_nights(detector):
    new = [make_night(seed) for seed in (20, 21, 22)]
    assert detector.score(new) > 0.8
    np.testing.assert_allclose(detector.predict(new), [3 / (11.5 / 60)] * 3, rtol=0.35)


def test_every_second_has_a_probability(detector, nights):
    found = detector.predict_proba(nights[:2])
    assert [p.shape for p in found] == [(N_EPOCHS * 30, 1)] * 2
    assert all(p.dtype == np.float32 and ((p > 0) & (p < 1)).all() for p in found)


def test_a_night_does_not_depend_on_its_neighbours(detector, nights):
    alone = detector.predict_proba(nights[3:4])[0]
    np.testing.assert_array_equal(alone, detector.predict_proba(nights[::-1])[2])


def test_the_rate_is_the_number_of_events_per_hour_of_sleep(detector, nights):
    events = detector.predict_events(nights)
    counts = [(events["recording"] == night.id).sum() for night in nights]
    np.testing.assert_allclose(detector.predict(nights), np.array(counts) / (11.5 / 60))


def test_events_are_rows_in_order_with_their_mean_probability(detector, nights):
    events = detector.predict_events(nights[:2])
    assert events.columns.tolist() == ["recording", "onset", "duration", "type", "probability"]
    assert (events["duration"] >= 10).all()
    assert events.groupby("recording")["onset"].is_monotonic_increasing.all()
    first = events.iloc[0]
    seconds = slice(int(first["onset"]), int(first["onset"] + first["duration"]))
    expected = detector.predict_proba(nights[:1])[0][seconds].mean()
    assert first["probability"] == pytest.approx(expected)


def test_stages_that_are_given_say_where_sleep_is(detector, nights):
    awake = [[0] * N_EPOCHS]
    assert len(detector.predict_events(nights[:1], stages=awake)) == 0
    assert np.isnan(detector.predict(nights[:1], stages=awake)).all()
    half = [[2] * 12 + [0] * 12]
    onsets = detector.predict_events(nights[:1], stages=half)["onset"]
    assert (onsets < 360).all()


class WatchedDetector(Sleep2VecEventDetector):
    """Notes which nights were held out."""

    def _tune(self, given, targets, held_out):
        super()._tune(given, targets, held_out)
        self.held_out = held_out


def test_the_threshold_is_tuned_on_held_out_subjects(checkpoint_in_memory, nights):
    detector = WatchedDetector(
        checkpoint_in_memory, max_epochs=1, random_state=0, validation_fraction=0.4
    )
    detector.fit(nights)
    assert (detector.tuned_on_, detector.n_tuned_on_) == ("held_out", 2)
    held_out = detector.held_out
    tables = [n.events.iloc[:0] if i in held_out else n.events for i, n in enumerate(nights)]
    other = clone(detector).fit(nights, tables)
    assert other.held_out == held_out
    # nothing was scored in the nights held out, and nothing of the others counts
    assert other.thresholds_ == {"apnea_hypopnea": 0.5}


def test_a_threshold_that_is_given_is_not_tuned(make_detector, nights):
    detector = make_detector(threshold=0.25, event_types=("apnea", "arousal")).fit(nights[:2])
    assert detector.thresholds_ == {"apnea": 0.25, "arousal": 0.25}
    assert detector.tuned_on_ is None


def test_few_subjects_are_all_learned_from_and_tuned_on(make_detector, nights):
    detector = make_detector(threshold="index").fit(nights[:2])
    assert (detector.tuned_on_, detector.n_tuned_on_) == ("training", 2)
    assert 0 < detector.thresholds_["apnea_hypopnea"] < 1


def test_several_types_have_a_column_each(make_detector, nights):
    groups = {"breathing": ("apnea", "hypopnea"), "arousal": "arousal"}
    detector = make_detector(event_types=groups, threshold={"arousal": 0.01}).fit(nights)
    assert detector.predict(nights[:3]).shape == (3, 2)
    assert detector.predict_proba(nights[:1])[0].shape == (N_EPOCHS * 30, 2)
    assert set(detector.predict_events(nights)["type"]) <= {"breathing", "arousal"}
    assert detector.thresholds_["arousal"] == 0.01


def test_an_arousal_may_be_shorter_than_an_apnea(make_detector):
    assert make_detector(event_types=("arousal",)).event_types == ("arousal",)
    detector = make_detector()
    detector.event_types_ = {"apnea": ("apnea",), "arousal": ("arousal",)}
    assert detector._min_durations() == {"apnea": 10, "arousal": 3}
    detector.min_duration = {"arousal": 5}
    assert detector._min_durations() == {"apnea": 10, "arousal": 5}


def test_before_it_has_learned_it_knows_how_frequent_events_are(make_detector, nights):
    detector = make_detector(lr=1e-9, weight_decay=0, dropout=0, patience=None).fit(nights)
    mean = np.mean([p.mean() for p in detector.predict_proba(nights)])
    assert 0.1 < mean < 0.5  # a quarter of the seconds
    balanced = clone(detector).set_params(positive_weight="balanced").fit(nights)
    assert balanced.positive_weights_ == pytest.approx(3)
    assert balanced.log_odds_ == pytest.approx(0, abs=1e-6)


def test_events_may_be_given_as_y(make_detector, nights):
    bare = [without_events(night) for night in nights]
    detector = make_detector().fit(bare, [night.events for night in nights])
    same = make_detector().fit(nights)
    np.testing.assert_array_equal(
        detector.predict_proba(nights[:1])[0], same.predict_proba(nights[:1])[0]
    )
    assert detector.score(bare, [night.events for night in nights]) == same.score(nights)


def test_nights_that_nobody_scored_are_left_out_by_name(make_detector, nights):
    some = [*nights[:2], without_events(nights[2])]
    with pytest.warns(RecordingWarning, match=r"1 of 3 nights.*recording 2 \(night-2\)"):
        detector = make_detector().fit(some)
    same = make_detector().fit(nights[:2])
    np.testing.assert_array_equal(
        detector.predict_proba(nights[2:3])[0], same.predict_proba(nights[2:3])[0]
    )
    with pytest.warns(RecordingWarning, match="night-2"):
        detector.score(some)


def test_a_night_with_weight_0_is_left_out(make_detector, nights):
    weighted = make_detector().fit(nights[:3], sample_weight=[1, 1, 0])
    same = make_detector().fit(nights[:2])
    np.testing.assert_array_equal(
        weighted.predict_proba(nights[:1])[0], same.predict_proba(nights[:1])[0]
    )


def test_scored_events_go_into_the_scores_of_evaluation(detector, nights):
    by_type = detector.scored_events(nights)
    threshold = detector.thresholds_["apnea_hypopnea"]
    scores = event_scores(by_type["apnea_hypopnea"], threshold=threshold)
    assert scores["event_f1"] == pytest.approx(detector.score(nights))


def test_cross_validation_by_subject_needs_no_y(make_detector, nights):
    groups = [night.subject for night in nights]
    scores = cross_val_score(make_detector(), nights, groups=groups, cv=GroupKFold(2))
    assert ((scores >= 0) & (scores <= 1)).all()


def test_it_comes_back_from_a_pickle_and_from_a_file(detector, nights, tmp_path):
    detector.save(tmp_path / "detector.safetensors")
    for back in (
        pickle.loads(pickle.dumps(detector)),
        Sleep2VecEventDetector.load(tmp_path / "detector.safetensors"),
    ):
        np.testing.assert_array_equal(back.predict(nights), detector.predict(nights))
        pd.testing.assert_frame_equal(back.predict_events(nights), detector.predict_events(nights))
        assert not any(night.id.encode() in pickle.dumps(back) for night in nights)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_estimator_cloneable,
        checks.check_no_attributes_set_in_init,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learns_own_checks_pass(check):
    check("Sleep2VecEventDetector", Sleep2VecEventDetector())


def test_it_is_not_used_before_it_is_fitted(make_detector, nights):
    for method in ("predict", "predict_proba", "predict_events", "score"):
        with pytest.raises(NotFittedError):
            getattr(make_detector(), method)(nights)


def test_an_epoch_sequence_of_whole_nights_is_the_nights(detector, nights):
    whole = EpochSequence(nights[:2])
    np.testing.assert_array_equal(detector.predict(whole), detector.predict(nights[:2]))
    with pytest.raises(InvalidRecordingError, match="some of the epochs"):
        detector.predict(whole[:10])


def test_several_nights_as_one_element_are_refused(detector, nights):
    with pytest.raises(InvalidRecordingError, match="flat list"):
        detector.predict([nights[:2]])


@pytest.mark.parametrize(
    "parameters",
    [
        {"gap": 0},
        {"threshold": "best"},
        {"threshold": 1.0},
        {"threshold": {"arousal": 0.5}},
        {"min_duration": 0},
        {"positive_weight": "much"},
        {"event_types": ()},
        {"event_types": {"apnea": ()}},
    ],
)
def test_parameters_without_sense_are_refused_by_name(make_detector, nights, parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        make_detector(**parameters).fit(nights)


def test_stages_for_another_number_of_nights_are_refused(detector, nights):
    with pytest.raises(ValueError, match="one a night; got 1"):
        detector.predict(nights, stages=[[2] * N_EPOCHS])


def test_stages_have_to_be_one_per_epoch(detector, nights):
    with pytest.raises(InvalidRecordingError, match="stages for 2 epochs of a night of"):
        detector.predict(nights[:1], stages=[[0, 1]])


def test_a_night_whose_stages_nobody_scored_is_all_sleep(detector, nights):
    night = nights[0]
    unscored = [np.full(night.n_epochs, -1)]
    plain = Recording(night.read(), id=night.id)
    np.testing.assert_array_equal(
        detector.predict([night], stages=unscored), detector.predict([plain])
    )
