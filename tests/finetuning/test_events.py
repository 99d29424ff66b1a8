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
from sleep2vec_sklearn.evaluation import ScoredEvents, event_scores
from sleep2vec_sklearn.finetuning import EventRules
from sleep2vec_sklearn.finetuning.events import pooled_f1, tune_threshold

N_EPOCHS = 24
RULES = EventRules(min_duration=10)


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


def test_plain_events_are_detected(detector):
    new = [make_night(seed) for seed in (20, 21, 22)]
    assert detector.score(new) > 0.8
    np.testing.assert_allclose(detector.predict(new), [3 / (11.5 / 60)] * 3, rtol=0.35)


def test_every_second_has_probability(detector, nights):
    found = detector.predict_proba(nights[:2])
    assert [p.shape for p in found] == [(N_EPOCHS * 30, 1)] * 2
    assert all(p.dtype == np.float32 and ((p > 0) & (p < 1)).all() for p in found)
    alone = detector.predict_proba(nights[3:4])[0]
    np.testing.assert_array_equal(alone, detector.predict_proba(nights[::-1])[2])


def test_table_of_events(detector, nights):
    events = detector.predict_events(nights[:2])
    assert events.columns.tolist() == ["recording", "onset", "duration", "type", "probability"]
    assert (events["duration"] >= 10).all()
    assert events.groupby("recording")["onset"].is_monotonic_increasing.all()
    first = events.iloc[0]
    seconds = slice(int(first["onset"]), int(first["onset"] + first["duration"]))
    expected = detector.predict_proba(nights[:1])[0][seconds].mean()
    assert first["probability"] == pytest.approx(expected)


def test_stages_restrict_events(detector, nights):
    awake = [[0] * N_EPOCHS]
    assert len(detector.predict_events(nights[:1], stages=awake)) == 0
    assert np.isnan(detector.predict(nights[:1], stages=awake)).all()
    half = [[2] * 12 + [0] * 12]
    onsets = detector.predict_events(nights[:1], stages=half)["onset"]
    assert (onsets < 360).all()


def test_threshold_uses_held_out_subjects(checkpoint_in_memory, nights):
    class Watched(Sleep2VecEventDetector):
        def _finish_fit(self, inputs, targets, held_out):
            super()._finish_fit(inputs, targets, held_out)
            self.held_out = held_out

    watched = Watched(checkpoint_in_memory, max_epochs=1, random_state=0, validation_fraction=0.4)
    watched.fit(nights)
    assert (watched.tuned_on_, watched.n_tuned_on_) == ("held_out", 2)
    held_out = watched.held_out
    tables = [n.events.iloc[:0] if i in held_out else n.events for i, n in enumerate(nights)]
    other = clone(watched).fit(nights, tables)
    assert other.held_out == held_out
    # nothing was scored in the nights held out, and nothing of the others counts
    assert other.thresholds_ == {"apnea_hypopnea": 0.5}


def test_threshold_is_chosen_or_tuned(make_detector, nights):
    detector = make_detector(threshold=0.25, event_types=("apnea", "arousal")).fit(nights[:2])
    assert detector.thresholds_ == {"apnea": 0.25, "arousal": 0.25}
    assert detector.tuned_on_ is None
    detector = make_detector(threshold="index").fit(nights[:2])
    assert (detector.tuned_on_, detector.n_tuned_on_) == ("training", 2)
    assert 0 < detector.thresholds_["apnea_hypopnea"] < 1


def test_types_are_columns(make_detector, nights):
    groups = {"breathing": ("apnea", "hypopnea"), "arousal": "arousal"}
    detector = make_detector(event_types=groups, threshold={"arousal": 0.01}).fit(nights)
    assert detector.predict(nights[:3]).shape == (3, 2)
    assert detector.predict_proba(nights[:1])[0].shape == (N_EPOCHS * 30, 2)
    assert set(detector.predict_events(nights)["type"]) <= {"breathing", "arousal"}
    assert detector.thresholds_["arousal"] == 0.01


def test_arousals_may_be_shorter(make_detector):
    detector = make_detector()
    detector.event_types_ = {"apnea": ("apnea",), "arousal": ("arousal",)}
    shortest = {name: rules.min_duration for name, rules in detector._rules_by_type().items()}
    assert shortest == {"apnea": 10, "arousal": 3}
    detector.set_params(rules__min_duration={"arousal": 5}, rules__gap=7)
    rules = detector._rules_by_type()
    found = {name: (r.gap, r.min_duration) for name, r in rules.items()}
    assert found == {"apnea": (7, 10), "arousal": (7, 5)}


def test_outputs_start_at_the_rate(make_detector, nights):
    detector = make_detector(lr=1e-9, weight_decay=0, dropout=0, patience=None).fit(nights)
    mean = np.mean([p.mean() for p in detector.predict_proba(nights)])
    assert 0.1 < mean < 0.5  # a quarter of the seconds
    balanced = clone(detector).set_params(positive_weight="balanced").fit(nights)
    assert balanced.positive_weights_ == pytest.approx(3)
    assert balanced.log_odds_ == pytest.approx(0, abs=1e-6)


def test_events_as_y(make_detector, nights):
    bare = [without_events(night) for night in nights]
    detector = make_detector().fit(bare, [night.events for night in nights])
    same = make_detector().fit(nights)
    np.testing.assert_array_equal(
        detector.predict_proba(nights[:1])[0], same.predict_proba(nights[:1])[0]
    )
    assert detector.score(bare, [night.events for night in nights]) == same.score(nights)


def test_unscored_nights_are_left_out(make_detector, nights):
    some = [*nights[:2], without_events(nights[2])]
    with pytest.warns(RecordingWarning, match=r"1 of 3 nights.*recording 2 \(night-2\)"):
        detector = make_detector().fit(some)
    same = make_detector().fit(nights[:2])
    np.testing.assert_array_equal(
        detector.predict_proba(nights[2:3])[0], same.predict_proba(nights[2:3])[0]
    )
    with pytest.warns(RecordingWarning, match="night-2"):
        detector.score(some)


def test_names_are_told_by_rules(make_detector, nights):
    renamed = [without_events(night) for night in nights]
    for night, other in zip(nights, renamed, strict=True):
        other.events = night.events.replace("obstructive_apnea", "Zeta")
    with pytest.raises(InvalidRecordingError, match=r"'Zeta' \(18\)"):
        make_detector().fit(renamed)
    rules = EventRules(event_names={"Zeta": "apnea"})
    detector = make_detector(rules=rules).fit(renamed)
    same = make_detector().fit(nights)
    np.testing.assert_array_equal(
        detector.predict_proba(nights[:1])[0], same.predict_proba(nights[:1])[0]
    )
    assert detector.score(renamed) == same.score(nights)


def test_scored_events_fit_evaluation(detector, nights):
    by_type = detector.scored_events(nights)
    threshold = detector.thresholds_["apnea_hypopnea"]
    scores = event_scores(by_type["apnea_hypopnea"], threshold=threshold)
    assert scores["event_f1"] == pytest.approx(detector.score(nights))
    events = detector.predict_events(nights)
    counts = [(events["recording"] == night.id).sum() for night in nights]
    np.testing.assert_allclose(detector.predict(nights), np.array(counts) / (11.5 / 60))


def test_cross_validation_without_y(make_detector, nights):
    groups = [night.subject for night in nights]
    scores = cross_val_score(make_detector(), nights, groups=groups, cv=GroupKFold(2))
    assert ((scores >= 0) & (scores <= 1)).all()


def test_pickle_and_file(detector, nights, tmp_path):
    detector.save(tmp_path / "detector.safetensors")
    for back in (
        pickle.loads(pickle.dumps(detector)),
        Sleep2VecEventDetector.load(tmp_path / "detector.safetensors"),
    ):
        np.testing.assert_array_equal(back.predict(nights), detector.predict(nights))
        pd.testing.assert_frame_equal(back.predict_events(nights), detector.predict_events(nights))
        assert not any(night.id.encode() in pickle.dumps(back) for night in nights)


@pytest.mark.parametrize(
    "name", ["estimator_cloneable", "no_attributes_set_in_init", "get_params_invariance",
             "parameters_default_constructible", "set_params", "valid_tag_types"],
)  # fmt: skip
def test_checks_of_scikit_learn(name):
    getattr(checks, f"check_{name}")("Sleep2VecEventDetector", Sleep2VecEventDetector())


def test_unfitted_is_refused(make_detector, nights):
    for method in ("predict", "predict_proba", "predict_events", "score"):
        with pytest.raises(NotFittedError):
            getattr(make_detector(), method)(nights)


def test_whole_nights_as_epochs(detector, nights):
    whole = EpochSequence(nights[:2])
    np.testing.assert_array_equal(detector.predict(whole), detector.predict(nights[:2]))
    with pytest.raises(InvalidRecordingError, match="some of the epochs"):
        detector.predict(whole[:10])
    with pytest.raises(InvalidRecordingError, match="accepted are nights of one"):
        detector.predict([nights[:2]])


@pytest.mark.parametrize(
    "parameters",
    [{"gap": 0}, {"threshold": "best"}, {"threshold": 1.0}, {"threshold": {"arousal": 0.5}},
     {"threshold": {"apnea_hypopnea": 2}}, {"min_duration": 0},
     {"min_duration": {"apnea_hypopnea": -1}}, {"positive_weight": "much"}, {"event_types": ()},
     {"event_types": {"apnea": ()}}],
)  # fmt: skip
def test_impossible_parameters_are_refused(make_detector, nights, parameters):
    name, value = next(iter(parameters.items()))
    if name in ("gap", "min_duration"):
        parameters = {"rules": EventRules(**{name: value})}
    with pytest.raises(ValueError, match=name):
        make_detector(**parameters).fit(nights)


def test_wrong_stages_are_refused(detector, nights):
    with pytest.raises(ValueError, match="one a night; got 1"):
        detector.predict(nights, stages=[[2] * N_EPOCHS])
    with pytest.raises(InvalidRecordingError, match="stages for 2 epochs of a night of"):
        detector.predict(nights[:1], stages=[[0, 1]])


def test_unscored_stages_are_sleep(detector, nights):
    unscored = [np.full(nights[0].n_epochs, -1)]
    plain = Recording(nights[0].read(), id=nights[0].id)
    found = detector.predict(nights[:1], stages=unscored)
    np.testing.assert_array_equal(found, detector.predict([plain]))


def scored_night(heights, scored):
    """Events of 20 s each, as probable as these heights, of which some were scored."""
    truth, probability = np.zeros(7200), np.full(7200, 0.1)
    for i, (height, real) in enumerate(zip(heights, scored, strict=True)):
        span = slice(100 * i + 50, 100 * i + 70)
        probability[span], truth[span] = height, real
    return ScoredEvents(truth, probability)


def test_best_threshold_by_score():
    nights = [scored_night([0.8, 0.8, 0.3], [1, 1, 0])]
    threshold = tune_threshold(nights, "f1", RULES)
    assert 0.5 < threshold < 0.6
    assert pooled_f1(nights, threshold, RULES) == 1
    assert pooled_f1(nights, 0.2, RULES) == pytest.approx(0.8)
    nights = [scored_night([0.8, 0.3], [1, 0]), scored_night([0.8, 0.8, 0.8], [1, 1, 1])]
    assert tune_threshold(nights, "index", RULES) == 0.79


def test_uncounted_events_leave_half():
    assert tune_threshold([scored_night([0.8], [0])], "f1", RULES) == 0.5
    assert np.isnan(pooled_f1([scored_night([0.8], [0])], 0.9, RULES))
    assert pooled_f1([scored_night([0.8], [1])], 0.5, RULES) == 1
    assert np.isnan(pooled_f1([scored_night([0.8], [1])], 0.5, EventRules(min_duration=21)))
