# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest

from sleep2vec_sklearn.datasets import make_sleep_cohort
from sleep2vec_sklearn.datasets.simulation.cohort import SimulatedSource
from sleep2vec_sklearn.errors import UnknownModalityError
from sleep2vec_sklearn.recordings import MODALITIES, Cohort


@pytest.fixture(scope="module")
def cohort():
    return make_sleep_cohort(
        4, hours=1.0, n_sites=2, site_kinds="full_laboratory", missing=0.0, random_state=1
    )


def test_a_cohort_is_a_list_of_recordings_with_one_row_of_metadata_each(cohort):
    assert isinstance(cohort, Cohort)
    assert [recording.id for recording in cohort] == list(cohort.metadata.index)
    assert cohort[1].id == "sim-0002-n1"
    assert cohort[1].subject == cohort.metadata["subject"].iloc[1] == "sim-0002"
    assert dict(cohort[1].metadata) == cohort.metadata.iloc[1].to_dict()
    assert {"age", "sex", "bmi", "site", "ahi", "apnea", "hypertension"} <= set(cohort.metadata)
    assert {"survival_time", "event", "night"} <= set(cohort.metadata)


def test_every_modality_is_float32_finite_and_as_long_as_the_night(cohort):
    signals = cohort[0].read()
    assert tuple(signals) == tuple(MODALITIES)
    for name, signal in signals.items():
        assert signal.values.dtype == np.float32
        assert len(signal.values) == round(3600 * signal.rate)
        assert np.isfinite(signal.values).all()
        assert signal.values.std() > 0
        assert signal.unit in MODALITIES[name].units
        assert not signal.values.flags.writeable


def test_the_layout_tells_rate_unit_and_length_without_reading(cohort):
    for recording in cohort:
        for name, signal in recording.read(["eog", "ibi", "spo2"]).items():
            assert recording.rates[name] == signal.rate
            assert recording.units[name] == signal.unit


def test_reading_one_modality_gives_the_samples_of_reading_all(cohort):
    together = cohort[0].read()
    for name in reversed(cohort[0].modalities):
        np.testing.assert_array_equal(cohort[0][name], together[name].values)


@pytest.mark.parametrize("make", [lambda: 7, lambda: np.random.default_rng(7)])
def test_the_same_random_state_gives_the_same_cohort(make):
    first, second = (make_sleep_cohort(2, hours=0.5, random_state=make()) for _ in range(2))
    assert first.metadata.equals(second.metadata)
    assert [r.fingerprint for r in first] == [r.fingerprint for r in second]
    name = first[0].modalities[0]
    np.testing.assert_array_equal(first[0][name], second[0][name])


def test_a_legacy_random_state_is_accepted_and_advanced():
    state = np.random.RandomState(0)
    first = make_sleep_cohort(1, hours=0.5, random_state=state)
    second = make_sleep_cohort(1, hours=0.5, random_state=state)
    assert first[0].fingerprint != second[0].fingerprint


def test_the_global_random_numbers_are_left_alone():
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    make_sleep_cohort(1, hours=0.5, random_state=0)[0].read()
    assert np.random.random() == expected  # noqa: NPY002


def test_a_person_does_not_depend_on_the_size_of_the_cohort():
    few = make_sleep_cohort(2, hours=0.5, random_state=5)
    many = make_sleep_cohort(6, hours=0.5, random_state=5)
    assert [r.fingerprint for r in few] == [r.fingerprint for r in many[:2]]
    assert few.metadata.equals(many.metadata.iloc[:2])


def test_other_seeds_and_other_nights_have_other_fingerprints():
    nights = [
        *make_sleep_cohort(2, nights_per_subject=2, hours=0.5, random_state=0),
        *make_sleep_cohort(1, hours=0.5, random_state=1),
        *make_sleep_cohort(1, hours=1.0, random_state=0),
    ]
    assert len({recording.fingerprint for recording in nights}) == len(nights)


def test_a_signals_fingerprint_does_not_depend_on_what_else_is_simulated():
    whole = make_sleep_cohort(2, hours=0.5, random_state=4)[1]._source
    name = list(whole.layout)[-1]
    alone = SimulatedSource(whole.night, [name], whole.failures)
    assert alone.fingerprint() != whole.fingerprint()
    assert alone.signal_fingerprint(name) == whole.signal_fingerprint(name)
    np.testing.assert_array_equal(alone.read([name])[name].values, whole.read([name])[name].values)
    assert len({whole.signal_fingerprint(name) for name in whole.layout}) == len(whole.layout)


def test_nights_of_a_subject_share_the_person_but_not_the_stages():
    first, second = make_sleep_cohort(1, nights_per_subject=2, hours=8, random_state=2)
    assert first.subject == second.subject
    assert first.metadata["age"] == second.metadata["age"]
    assert first.metadata["hypertension"] == second.metadata["hypertension"]
    assert (first.stages != second.stages).any()


def test_a_recording_is_small_to_keep_and_to_pickle():
    recording = make_sleep_cohort(1, hours=8.0, missing=0.0, random_state=0)[0]
    packed = pickle.dumps(recording)
    assert len(packed) < 200_000
    again = pickle.loads(packed)
    assert again.fingerprint == recording.fingerprint
    np.testing.assert_array_equal(again["ibi"], recording["ibi"])


def test_sites_differ_in_rates_units_or_gain(cohort):
    first, second = cohort[0], cohort[1]
    assert first.metadata["site"] != second.metadata["site"]
    assert (first.rates, first.units) != (second.rates, second.units)


def test_a_wearable_site_records_a_watch_and_nothing_else():
    recording = make_sleep_cohort(1, hours=2, site_kinds="wearable", missing=0.0, random_state=0)[0]
    assert recording.modalities == ("ibi", "actigraphy")
    assert recording.units["ibi"] == "bpm"
    assert 35 < np.median(recording["ibi"]) < 110


def test_missing_sensors_are_as_frequent_as_asked():
    cohort = make_sleep_cohort(200, hours=0.5, site_kinds="laboratory", missing=0.4, random_state=0)
    present = np.mean([len(recording) for recording in cohort]) / 9
    # One sensor of each night is spared.
    assert present == pytest.approx(1 - 0.4 * 8 / 9, abs=0.04)
    assert min(len(recording) for recording in cohort) >= 1


def test_some_sensors_fall_off_for_a_part_of_the_night():
    cohort = make_sleep_cohort(30, hours=0.5, modalities="spo2", missing=0.6, random_state=0)
    assert all(np.isfinite(recording["spo2"]).any() for recording in cohort)
    cohort = make_sleep_cohort(
        30, hours=0.5, modalities=["spo2", "resp"], missing=0.6, random_state=0
    )
    gaps = [np.isnan(r[name]).mean() for r in cohort for name in r.modalities]
    assert max(gaps) > 0.1
    assert max(gaps) < 1


def test_without_missing_all_that_a_site_records_is_there(cohort):
    assert all(recording.modalities == tuple(MODALITIES) for recording in cohort)


def test_modalities_restrict_what_is_recorded():
    cohort = make_sleep_cohort(4, hours=0.5, modalities=["ecg", "eeg"], missing=0.0, random_state=0)
    assert {recording.modalities for recording in cohort} == {("eeg", "ecg")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_subjects": 0}, "n_subjects"),
        ({"nights_per_subject": 1.5}, "nights_per_subject"),
        ({"n_sites": 0}, "n_sites"),
        ({"hours": 0}, "hours"),
        ({"missing": 1.0}, "missing"),
        ({"modalities": []}, "pass None"),
        ({"site_kinds": ["clinic"]}, "'clinic'; accepted are laboratory"),
        ({"site_kinds": "wearable", "modalities": "eeg"}, "Leave that kind out"),
        ({"random_state": -1}, "negative"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        make_sleep_cohort(**{"n_subjects": 1, **arguments})


def test_a_misspelled_modality_and_a_strange_seed_are_refused():
    with pytest.raises(UnknownModalityError, match="eeg"):
        make_sleep_cohort(1, modalities=["egg"])
    with pytest.raises(TypeError, match="random_state"):
        make_sleep_cohort(1, random_state="zero")
