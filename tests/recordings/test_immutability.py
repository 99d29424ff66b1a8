# SPDX-License-Identifier: BSD-3-Clause
"""A recording stays what it was made: no view, copy or reader changes it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import InvalidRecordingError, UnknownModalityError
from sleep2vec_sklearn.recordings import as_recording
from sleep2vec_sklearn.recordings.recording import as_names, describe_recording
from tests.strategies import recordings


@pytest.fixture
def night(noise):
    signals = {"eeg": noise("eeg"), "ecg": noise("ecg"), "spo2": noise("spo2", rate=1)}
    return Recording(signals, subject="a", id="a-1", stages=[0, 1, 2, 3])


def test_nothing_of_a_recording_can_be_written(night):
    with pytest.raises(TypeError):
        night["eeg"] = np.zeros(9)
    with pytest.raises(TypeError):
        del night["eeg"]
    for array in (night["eeg"], night.stages, night.signal("ecg").values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@settings(max_examples=25)
@given(night=recordings(max_epochs=4), data=st.data())
def test_dropping_one_by_one_or_at_once_is_the_same(night, data):
    names = data.draw(st.permutations(night.modalities))[1:]
    step_by_step = night
    for name in names:
        step_by_step = step_by_step.without(name)
    assert step_by_step.modalities == night.without(*names).modalities
    assert step_by_step.rates == {n: night.rates[n] for n in step_by_step}
    assert step_by_step.n_epochs == night.n_epochs


@settings(max_examples=25)
@given(night=recordings(max_epochs=4))
def test_it_behaves_as_a_mapping(night):
    assert list(night) == list(night.keys()) == list(night.modalities)
    assert len(night) == len(night.modalities)
    assert set(night.read()) == set(night)
    for name, values in night.items():
        np.testing.assert_array_equal(values, night.read(name)[name].values)
    assert night.get("emg") is None


@settings(max_examples=25)
@given(night=recordings(max_epochs=4))
def test_coverage_is_within_the_length_of_each_signal(night):
    for name, seconds in night.coverage().items():
        values = night[name]
        assert 0 <= seconds <= len(values) / night.rates[name]
        present = np.isfinite(values)
        if np.ptp(values[present]) > 0:
            assert seconds == pytest.approx(present.sum() / night.rates[name])


@pytest.mark.parametrize("duplicate", [copy.copy, lambda n: pickle.loads(pickle.dumps(n))])
def test_a_copy_is_as_immutable_as_the_original(night, duplicate):
    again = duplicate(night)
    assert again.modalities == night.modalities
    with pytest.raises(TypeError):
        again.metadata["age"] = 3
    for array in (again.stages, again["eeg"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 4


def test_a_dropped_modality_is_gone_from_every_view(night):
    rest = night.without("ecg")
    assert "ecg" not in rest
    assert set(rest.rates) == set(rest.units) == set(rest.coverage()) == {"eeg", "spo2"}
    assert rest.read("ecg") == {}
    with pytest.raises(KeyError, match=r"'ecg'; recording \(a-1\) has eeg, spo2"):
        rest.signal("ecg")


def test_dropping_what_is_not_there_changes_nothing(night):
    assert night.without("emg").modalities == night.modalities
    assert night.without().modalities == night.modalities
    with pytest.raises(UnknownModalityError, match="Did you mean 'ecg'"):
        night.without("ekg")


def test_metadata_is_a_copy_of_what_was_given(noise):
    known = {"age": 60}
    night = Recording({"eeg": noise("eeg")}, metadata=known)
    known["age"] = 61
    assert night.metadata["age"] == 60


@pytest.mark.parametrize(
    ("seconds", "n_epochs"), [(30, 1), (59.99, 1), (60, 2), (59.99999999, 2), (60.5, 2)]
)
def test_only_whole_epochs_count_up_to_rounding(noise, seconds, n_epochs):
    assert Recording({"eeg": noise("eeg")}, duration=seconds).n_epochs == n_epochs


def test_the_shortest_night_is_one_epoch():
    assert Recording({"spo2": (np.linspace(90, 99, 30), 1)}).n_epochs == 1
    with pytest.raises(InvalidRecordingError, match=r"lasts 29 s, shorter than one epoch of 30 s"):
        Recording({"spo2": (np.linspace(90, 99, 29), 1)})


@pytest.mark.parametrize("thing", [[1, 2], np.zeros(3), None, "a.edf", 7])
def test_what_is_neither_a_recording_nor_a_dict_is_named_by_its_place(thing):
    with pytest.raises(InvalidRecordingError) as caught:
        as_recording(thing, 17)
    assert str(caught.value).startswith(f"recording 17 is a {type(thing).__name__}; accepted are")


def test_a_recording_is_taken_as_it_is_and_a_dict_made_one(night, noise):
    assert as_recording(night) is night
    assert as_recording({"eeg": noise("eeg")}, 3).n_epochs == 4
    with pytest.raises(UnknownModalityError, match=r"^recording 3: unknown modality 'egg'"):
        as_recording({"egg": noise("eeg")}, 3)


@pytest.mark.parametrize(
    ("position", "id", "place"),
    [
        (None, None, "recording"),
        (0, None, "recording 0"),
        (None, "a", "recording (a)"),
        (17, "a", "recording 17 (a)"),
    ],
)
def test_errors_name_a_recording_by_all_that_is_known(noise, position, id, place):
    night = Recording({"spo2": noise("spo2")}, id=id)
    assert describe_recording(night, position) == place


@given(st.lists(st.none() | st.integers(0, 3) | st.sampled_from("ab"), max_size=6))
def test_names_never_merge_two_people(names):
    found = as_names(names).tolist()
    assert sorted(found) is not None
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            same = i == j or (a is not None and b is not None and a == b)
            assert (found[i] == found[j]) == same
