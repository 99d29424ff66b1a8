# SPDX-License-Identifier: BSD-3-Clause
"""Simulated cohorts: what a subject, a night and a sensor depend on, and on nothing else."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets import make_sleep_cohort
from sleep2vec_sklearn.datasets.simulation import SimulatedSource
from sleep2vec_sklearn.datasets.simulation._subjects import SITE_KINDS
from sleep2vec_sklearn.datasets.simulation.cohort import _DEFAULT_KINDS
from sleep2vec_sklearn.errors import UnknownModalityError
from sleep2vec_sklearn.recordings import MODALITIES, Cohort

few = settings(max_examples=12)
seeds = st.integers(0, 2**31)
SLOW = ("spo2", "ibi", "actigraphy", "resp")


def quick(n_subjects, seed, **options):
    return make_sleep_cohort(n_subjects, hours=0.25, random_state=seed, **options)


@pytest.fixture(scope="module")
def cohort():
    return make_sleep_cohort(
        4, hours=1.0, n_sites=2, site_kinds="full_laboratory", missing=0.0, random_state=1
    )


def test_metadata_has_row_per_recording(cohort):
    assert isinstance(cohort, Cohort)
    assert [recording.id for recording in cohort] == list(cohort.metadata.index)
    assert cohort[1].id == "sim-0002-n1"
    assert cohort[1].subject == cohort.metadata["subject"].iloc[1] == "sim-0002"
    assert dict(cohort[1].metadata) == cohort.metadata.iloc[1].to_dict()
    assert {"age", "sex", "bmi", "site", "ahi", "apnea", "hypertension"} <= set(cohort.metadata)
    assert {"survival_time", "event", "night"} <= set(cohort.metadata)


def test_signals_match_their_layout(cohort):
    recording = cohort[0]
    signals = recording.read()
    assert tuple(signals) == tuple(MODALITIES)
    for name, signal in signals.items():
        assert signal.values.dtype == np.float32
        assert len(signal.values) == round(3600 * signal.rate)
        assert np.isfinite(signal.values).all()
        assert signal.values.std() > 0
        assert (recording.rates[name], recording.units[name]) == (signal.rate, signal.unit)
        assert signal.unit in MODALITIES[name].units
        assert not signal.values.flags.writeable


def test_subsets_and_pickles_read_alike(cohort):
    together = cohort[0].read()
    for name in reversed(cohort[0].modalities):
        np.testing.assert_array_equal(cohort[0][name], together[name].values)
    recording = make_sleep_cohort(1, hours=8.0, missing=0.0, random_state=0)[0]
    packed = pickle.dumps(recording)
    assert len(packed) < 200_000
    again = pickle.loads(packed)
    assert again.fingerprint == recording.fingerprint
    np.testing.assert_array_equal(again["ibi"], recording["ibi"])


@pytest.mark.parametrize("make", [lambda: 7, lambda: np.random.default_rng(7)])
def test_random_state_decides_cohort(make):
    first, second = (quick(2, make()) for _ in range(2))
    assert first.metadata.equals(second.metadata)
    assert [r.fingerprint for r in first] == [r.fingerprint for r in second]
    name = first[0].modalities[0]
    np.testing.assert_array_equal(first[0][name], second[0][name])


def test_legacy_random_state_advances():
    state = np.random.RandomState(0)
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    first, second = quick(1, state)[0], quick(1, state)[0]
    assert first.fingerprint != second.fingerprint
    first.read()
    assert np.random.random() == expected, "the global state is unchanged"  # noqa: NPY002


def test_other_nights_have_other_fingerprints():
    nights = [
        *make_sleep_cohort(2, nights_per_subject=2, hours=0.5, random_state=0),
        *make_sleep_cohort(1, hours=0.5, random_state=1),
        *make_sleep_cohort(1, hours=1.0, random_state=0),
    ]
    assert len({recording.fingerprint for recording in nights}) == len(nights)


def test_signal_fingerprint_is_independent():
    whole = make_sleep_cohort(2, hours=0.5, random_state=4)[1]._source
    name = list(whole.layout)[-1]
    alone = SimulatedSource(whole.night, [name], whole.failures)
    assert alone.fingerprint() != whole.fingerprint()
    assert alone.signal_fingerprint(name) == whole.signal_fingerprint(name)
    np.testing.assert_array_equal(alone.read([name])[name].values, whole.read([name])[name].values)
    assert len({whole.signal_fingerprint(name) for name in whole.layout}) == len(whole.layout)


def test_missing_sets_share_of_sensors():
    cohort = make_sleep_cohort(200, hours=0.5, site_kinds="laboratory", missing=0.4, random_state=0)
    present = np.mean([len(recording) for recording in cohort]) / 9
    # one sensor of each night is spared
    assert present == pytest.approx(1 - 0.4 * 8 / 9, abs=0.04)
    assert min(len(recording) for recording in cohort) >= 1
    cohort = quick(30, 0, modalities=["spo2", "resp"], missing=0.6)
    gaps = [np.isnan(r[name]).mean() for r in cohort for name in r.modalities]
    assert 0.1 < max(gaps) < 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        *(({"n_subjects": n}, "n_subjects") for n in (0, True)),
        *(({"n_sites": n}, "n_sites") for n in (0, 2.0)),
        ({"nights_per_subject": 1.5}, "nights_per_subject"),
        *(({"hours": hours}, "hours") for hours in (0.24, 24.5, float("nan"))),
        *(({"missing": share}, "missing") for share in (1.0, -0.1)),
        ({"modalities": []}, "pass None"),
        ({"site_kinds": ["clinic"]}, "'clinic'; accepted are laboratory"),
        ({"site_kinds": []}, "no entry; accepted are laboratory"),
        ({"random_state": -1}, "negative"),
        (
            {"site_kinds": ["laboratory", "wearable"], "modalities": "eeg"},
            r"'wearable' site records ibi, actigraphy.*\(eeg\)\. Leave that kind out",
        ),
    ],
)
def test_invalid_arguments_are_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        make_sleep_cohort(**{"n_subjects": 1, **arguments})


def test_unknown_modality_and_seed():
    with pytest.raises(UnknownModalityError, match="eeg"):
        make_sleep_cohort(1, modalities=["egg"])
    with pytest.raises(TypeError, match="random_state"):
        make_sleep_cohort(1, random_state="zero")


@few
@given(seed=seeds, small=st.integers(1, 4), more=st.integers(1, 5), n_sites=st.integers(1, 3))
def test_subject_ignores_cohort_size(seed, small, more, n_sites):
    small_cohort = quick(small, seed, n_sites=n_sites)
    many = quick(small + more, seed, n_sites=n_sites)
    pd.testing.assert_frame_equal(small_cohort.metadata, many.metadata.iloc[:small])
    assert [r.fingerprint for r in small_cohort] == [r.fingerprint for r in many[:small]]
    for first, second in zip(small_cohort, many, strict=False):
        np.testing.assert_array_equal(first.stages, second.stages)
        pd.testing.assert_frame_equal(first.events, second.events)
        assert (first.start, first.lights) == (second.start, second.lights)


@few
@given(seed=seeds, names=st.sets(st.sampled_from(SLOW), min_size=1))
def test_modalities_change_no_subject(seed, names):
    whole = quick(2, seed, site_kinds="full_laboratory", missing=0)
    part = quick(2, seed, site_kinds="full_laboratory", missing=0, modalities=sorted(names))
    pd.testing.assert_frame_equal(whole.metadata, part.metadata)
    for a, b in zip(whole, part, strict=True):
        assert set(b.modalities) == names
        name = min(names)
        np.testing.assert_array_equal(a[name], b[name])


@few
@given(seed=seeds, nights=st.integers(1, 3), n=st.integers(1, 3))
def test_nights_share_their_subject(seed, nights, n):
    table = quick(n, seed, nights_per_subject=nights).metadata
    assert len(table) == n * nights
    lasting = ["age", "sex", "bmi", "site", "hypertension", "survival_time", "event"]
    assert (table.groupby("subject")[lasting].nunique() == 1).all(axis=None)
    numbers = table.groupby("subject")["night"].apply(list).tolist()
    assert numbers == [list(range(1, nights + 1))] * n


@few
@given(seed=seeds, nights=st.integers(2, 3))
def test_first_night_ignores_later_ones(seed, nights):
    (alone,) = quick(1, seed)
    first, second, *_ = quick(1, seed, nights_per_subject=nights)
    assert (alone.id, alone.fingerprint) == (first.id, first.fingerprint)
    assert second.fingerprint != first.fingerprint


@few
@given(seed=seeds, hours=st.floats(0.25, 2))
def test_hours_set_whole_epochs(seed, hours):
    (night,) = make_sleep_cohort(1, hours=hours, random_state=seed, missing=0)
    assert night.n_epochs == round(hours * 120)
    assert len(night.stages) == night.n_epochs
    assert night.duration == 30 * night.n_epochs
    assert {round(len(s.values) / s.rate) for s in night.read(["ibi"]).values()} == {night.duration}


@few
@given(seed=seeds)
def test_lights_lie_within_night(seed):
    for night in quick(3, seed):
        off, on = night.lights
        assert 0 <= off < on <= night.duration
        assert night.start.hour >= 20 or night.start.hour <= 3


def test_sites_take_turns():
    sites = quick(7, 0, n_sites=3).metadata["site"].tolist()
    assert sites == ["site-1", "site-2", "site-3"] * 2 + ["site-1"]
    cohort = quick(4, 0, n_sites=4, site_kinds=["home", "wearable"], missing=0)
    kinds = [set(night.modalities) for night in cohort]
    assert kinds == [set(SITE_KINDS["home"]), set(SITE_KINDS["wearable"])] * 2


def test_modalities_select_sites():
    cohort = quick(6, 0, n_sites=6, modalities=["eeg"], missing=0)
    assert all(night.modalities == ("eeg",) for night in cohort)
    assert any("eeg" not in SITE_KINDS[kind] for kind in _DEFAULT_KINDS)
    (night,) = quick(1, 0, modalities=["spo2", "eeg", "ecg"], missing=0)
    assert night.modalities == ("eeg", "ecg", "spo2")


def test_devices_belong_to_sites():
    cohort = quick(6, 0, n_sites=2, missing=0)
    devices = [(night.rates, night.units) for night in cohort]
    for site in (0, 1):
        assert all(device == devices[site] for device in devices[site::2])
    assert devices[0] != devices[1]
