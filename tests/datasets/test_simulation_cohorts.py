# SPDX-License-Identifier: BSD-3-Clause
"""Laws of simulated cohorts: who a person is does not depend on who else is asked for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets import make_sleep_cohort
from sleep2vec_sklearn.datasets.simulation._subjects import SITE_KINDS
from sleep2vec_sklearn.datasets.simulation.cohort import _DEFAULT_KINDS
from sleep2vec_sklearn.recordings import MODALITIES

few = settings(max_examples=12)
seeds = st.integers(0, 2**31)
SLOW = ("spo2", "ibi", "actigraphy", "resp")


def quick(n_subjects, seed, **options):
    return make_sleep_cohort(n_subjects, hours=0.25, random_state=seed, **options)


@few
@given(seed=seeds, small=st.integers(1, 4), more=st.integers(1, 5), n_sites=st.integers(1, 3))
def test_person_k_is_the_same_whatever_the_number_of_people(seed, small, more, n_sites):
    few_people = quick(small, seed, n_sites=n_sites)
    many = quick(small + more, seed, n_sites=n_sites)
    pd.testing.assert_frame_equal(few_people.metadata, many.metadata.iloc[:small])
    assert [r.fingerprint for r in few_people] == [r.fingerprint for r in many[:small]]
    for first, second in zip(few_people, many, strict=False):
        np.testing.assert_array_equal(first.stages, second.stages)
        pd.testing.assert_frame_equal(first.events, second.events)
        assert (first.start, first.lights) == (second.start, second.lights)


@few
@given(seed=seeds, names=st.sets(st.sampled_from(SLOW), min_size=1))
def test_reading_a_subset_gives_the_samples_of_reading_all(seed, names):
    (night,) = quick(1, seed, site_kinds="full_laboratory", missing=0)
    together = night.read(SLOW)
    for name, signal in night.read(sorted(names)).items():
        np.testing.assert_array_equal(signal.values, together[name].values)


@few
@given(seed=seeds, names=st.sets(st.sampled_from(SLOW), min_size=1))
def test_asking_for_fewer_sensors_changes_nobody(seed, names):
    whole = quick(2, seed, site_kinds="full_laboratory", missing=0)
    part = quick(2, seed, site_kinds="full_laboratory", missing=0, modalities=sorted(names))
    pd.testing.assert_frame_equal(whole.metadata, part.metadata)
    for a, b in zip(whole, part, strict=True):
        assert set(b.modalities) == names
        name = min(names)
        np.testing.assert_array_equal(a[name], b[name])


@few
@given(seed=seeds, nights=st.integers(1, 3), people=st.integers(1, 3))
def test_all_nights_of_a_person_share_what_belongs_to_the_person(seed, nights, people):
    table = quick(people, seed, nights_per_subject=nights).metadata
    assert len(table) == people * nights
    lasting = ["age", "sex", "bmi", "site", "hypertension", "survival_time", "event"]
    assert (table.groupby("subject")[lasting].nunique() == 1).all(axis=None)
    assert (
        table.groupby("subject")["night"].apply(list).tolist()
        == [list(range(1, nights + 1))] * people
    )


@few
@given(seed=seeds, nights=st.integers(2, 3))
def test_the_first_night_does_not_depend_on_how_many_follow(seed, nights):
    (alone,) = quick(1, seed)
    first = quick(1, seed, nights_per_subject=nights)[0]
    assert (alone.id, alone.fingerprint) == (first.id, first.fingerprint)


@few
@given(seed=seeds, hours=st.floats(0.25, 2))
def test_a_night_is_as_long_as_asked_for_in_whole_epochs(seed, hours):
    (night,) = make_sleep_cohort(1, hours=hours, random_state=seed, missing=0)
    assert night.n_epochs == round(hours * 120)
    assert len(night.stages) == night.n_epochs
    assert night.duration == 30 * night.n_epochs
    assert {round(len(s.values) / s.rate) for s in night.read(["ibi"]).values()} == {night.duration}


@few
@given(seed=seeds, missing=st.floats(0, 0.9))
def test_every_night_has_a_sensor_that_works_all_night(seed, missing):
    for night in quick(3, seed, missing=missing, modalities=SLOW):
        complete = [name for name in night.modalities if np.isfinite(night[name]).all()]
        assert complete


@few
@given(seed=seeds)
def test_lights_go_off_in_the_evening_and_on_before_the_end(seed):
    for night in quick(3, seed):
        off, on = night.lights
        assert 0 <= off < on <= night.duration
        assert night.start.hour >= 20 or night.start.hour <= 3


def test_people_are_spread_evenly_over_sites_that_are_numbered():
    sites = quick(7, 0, n_sites=3).metadata["site"].tolist()
    assert sites == ["site-1", "site-2", "site-3"] * 2 + ["site-1"]


def test_sites_take_the_kinds_in_turn():
    cohort = quick(4, 0, n_sites=4, site_kinds=["home", "wearable"], missing=0)
    kinds = [set(night.modalities) for night in cohort]
    assert kinds == [set(SITE_KINDS["home"]), set(SITE_KINDS["wearable"])] * 2


def test_default_sites_that_record_none_of_the_modalities_are_passed_over():
    cohort = quick(6, 0, n_sites=6, modalities=["eeg"], missing=0)
    assert all(night.modalities == ("eeg",) for night in cohort)
    assert any("eeg" not in SITE_KINDS[kind] for kind in _DEFAULT_KINDS)


def test_the_same_site_has_the_same_devices_for_all_its_people():
    cohort = quick(6, 0, n_sites=2, missing=0)
    for site in (0, 1):
        here = [(night.rates, night.units) for night in cohort[site::2]]
        assert all(devices == here[0] for devices in here)


def test_modalities_come_in_the_catalogues_order_however_asked_for():
    (night,) = quick(1, 0, modalities=["spo2", "eeg", "ecg"], missing=0)
    assert night.modalities == tuple(n for n in MODALITIES if n in ("spo2", "eeg", "ecg"))


@pytest.mark.parametrize("hours", [0.24, 24.5, float("nan")])
def test_nights_of_no_sensible_length_are_refused(hours):
    with pytest.raises(ValueError, match="hours"):
        make_sleep_cohort(1, hours=hours)


@pytest.mark.parametrize("arguments", [{"n_subjects": True}, {"n_sites": 2.0}, {"missing": -0.1}])
def test_counts_and_chances_have_their_types(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        make_sleep_cohort(**{"n_subjects": 1, **arguments})


def test_a_barren_kind_is_named_with_what_it_records():
    with pytest.raises(ValueError, match=r"'wearable' site records ibi, actigraphy.*\(eeg\)"):
        make_sleep_cohort(1, site_kinds=["laboratory", "wearable"], modalities="eeg")
    with pytest.raises(ValueError, match="no entry; accepted are laboratory"):
        make_sleep_cohort(1, site_kinds=[])
