# SPDX-License-Identifier: BSD-3-Clause
"""A recording stays what it was made: no view, copy or reader changes it."""

import copy
import pickle
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import InvalidRecordingError, InvalidSignalError, UnknownModalityError
from sleep2vec_sklearn.recordings import Signal, as_recording
from sleep2vec_sklearn.recordings.recording import as_names, describe_recording
from tests.strategies import montages, recordings


@pytest.fixture
def whole(noise):
    signals = {"eeg": noise("eeg"), "ecg": noise("ecg"), "spo2": noise("spo2", rate=1)}
    return Recording(signals, subject="a", id="a-1", stages=[0, 1, 2, 3])


def test_nothing_can_be_written(whole):
    with pytest.raises(TypeError):
        whole["eeg"] = np.zeros(9)
    with pytest.raises(TypeError):
        del whole["eeg"]
    for array in (whole["eeg"], whole.stages, whole.signal("ecg").values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@settings(max_examples=25)
@given(whole=recordings(max_epochs=4), data=st.data())
def test_without_one_by_one(whole, data):
    names = data.draw(st.permutations(whole.modalities))[1:]
    step_by_step = whole
    for name in names:
        step_by_step = step_by_step.without(name)
    assert step_by_step.modalities == whole.without(*names).modalities
    assert step_by_step.rates == {n: whole.rates[n] for n in step_by_step}
    assert step_by_step.n_epochs == whole.n_epochs


@settings(max_examples=25)
@given(whole=recordings(max_epochs=4))
def test_behaves_as_a_mapping(whole):
    assert list(whole) == list(whole.keys()) == list(whole.modalities)
    assert len(whole) == len(whole.modalities)
    assert set(whole.read()) == set(whole)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, whole.read(name)[name].values)
    assert whole.get("emg") is None


@settings(max_examples=25)
@given(whole=recordings(max_epochs=4))
def test_coverage_within_signal_length(whole):
    for name, seconds in whole.coverage().items():
        values = whole[name]
        assert 0 <= seconds <= len(values) / whole.rates[name]
        present = np.isfinite(values)
        if np.ptp(values[present]) > 0:
            assert seconds == pytest.approx(present.sum() / whole.rates[name])


@pytest.mark.parametrize("duplicate", [copy.copy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_stay_immutable(whole, duplicate):
    again = duplicate(whole)
    assert (again.modalities, again.fingerprint) == (whole.modalities, whole.fingerprint)
    assert (again.id, again.subject, again.metadata) == ("a-1", "a", whole.metadata)
    np.testing.assert_array_equal(again.stages, whole.stages)
    with pytest.raises(TypeError):
        again.metadata["age"] = 3
    for array in (again.stages, again["eeg"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 4


def test_dropped_modality_is_gone(whole):
    rest = whole.without("ecg")
    assert "ecg" not in rest
    assert set(rest.rates) == set(rest.units) == set(rest.coverage()) == {"eeg", "spo2"}
    assert rest.read("ecg") == {}
    with pytest.raises(KeyError, match=r"'ecg'; recording \(a-1\) has eeg, spo2"):
        rest.signal("ecg")


def test_dropping_absent_modality_changes_nothing(whole):
    assert whole.without("emg").modalities == whole.modalities
    assert whole.without().modalities == whole.modalities
    with pytest.raises(UnknownModalityError, match="Did you mean 'ecg'"):
        whole.without("ekg")


def test_metadata_is_copied_once(noise):
    known = {"age": 60}
    whole = Recording({"eeg": noise("eeg")}, metadata=known)
    known["age"] = 61
    assert whole.metadata["age"] == 60


@pytest.mark.parametrize(
    ("seconds", "n_epochs"),
    [(30, 1), (59.99, 1), (59.99999999, 2), (60.5, 2), (3600, 120)],
)
def test_only_whole_epochs_count(noise, seconds, n_epochs):
    assert Recording({"eeg": noise("eeg")}, duration=seconds).n_epochs == n_epochs


def test_shortest_night_is_one_epoch():
    assert Recording({"spo2": (np.linspace(90, 99, 30), 1)}).n_epochs == 1
    with pytest.raises(InvalidRecordingError, match=r"lasts 29 s, shorter than one epoch of 30 s"):
        Recording({"spo2": (np.linspace(90, 99, 29), 1)})


@pytest.mark.parametrize("thing", [[1, 2], np.zeros(3), None, "a.edf", 7])
def test_wrong_element_is_named(thing):
    with pytest.raises(InvalidRecordingError) as caught:
        as_recording(thing, 17)
    assert str(caught.value).startswith(f"recording 17 is a {type(thing).__name__}; accepted are")


def test_dict_becomes_a_recording(whole, noise):
    assert as_recording(whole) is whole
    assert as_recording({"eeg": noise("eeg")}, 3).n_epochs == 4
    with pytest.raises(UnknownModalityError, match=r"^recording 3: unknown modality 'egg'"):
        as_recording({"egg": noise("eeg")}, 3)


@pytest.mark.parametrize(
    ("index", "id", "name"),
    [(None, None, "recording"), (0, None, "recording 0"), (None, "a", "recording (a)"),
     (17, "a", "recording 17 (a)")],
)  # fmt: skip
def test_description_has_index_and_id(noise, index, id, name):
    whole = Recording({"spo2": noise("spo2")}, id=id)
    assert describe_recording(whole, index) == name


@given(st.lists(st.none() | st.integers(0, 3) | st.sampled_from("ab"), max_size=6))
def test_names_never_merge_subjects(names):
    found = as_names(names).tolist()
    assert sorted(found) is not None
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            same = i == j or (a is not None and b is not None and a == b)
            assert (found[i] == found[j]) == same


@pytest.fixture
def night(noise):
    signals = {"spo2": noise("spo2", rate=1), "eeg": noise("eeg", 3)}
    return Recording(signals, subject="a", id="a-1", metadata={"age": 60}, stages=[0, 1, 2, 3])


def test_samples_are_not_copied(noise):
    values, _ = noise("eeg")
    assert np.shares_memory(Recording({"eeg": values})["eeg"], values)


@pytest.mark.parametrize("form", ["pair", "rates", "epochs", "signal"])
def test_value_forms_are_equivalent(form):
    values = np.arange(6000.0)
    night = {
        "pair": lambda: Recording({"eeg": (values, 100)}),
        "rates": lambda: Recording({"eeg": values}, rates={"eeg": 100}),
        "epochs": lambda: Recording({"eeg": values.reshape(2, 3000)}),
        "signal": lambda: Recording({"eeg": Signal(values, 100.0, "uV")}, rates={"eeg": 100}),
    }[form]()
    assert (night.n_epochs, night.rates, night.modalities) == (2, {"eeg": 100.0}, ("eeg",))
    np.testing.assert_array_equal(night["eeg"], values)
    assert night.fingerprint == Recording({"eeg": (values, 100.0)}).fingerprint


def test_read_signals_make_recording(night):
    again = Recording(night.read())
    assert (again.rates, again.units, again.n_epochs) == (night.rates, night.units, night.n_epochs)
    assert again.fingerprint == night.fingerprint


@pytest.mark.parametrize("options", [{"rates": {"eeg": 50}}, {"units": {"eeg": "mV"}}])
def test_contradicting_signal_raises_error(options):
    (what,) = options
    with pytest.raises(InvalidSignalError, match=rf"'eeg' is a Signal .* but {what} has .*Drop it"):
        Recording({"eeg": Signal(np.zeros(6000), 100.0, "uV")}, **options)


def test_none_is_a_missing_modality(noise):
    assert Recording({"eeg": noise("eeg"), "ecg": None}).modalities == ("eeg",)


@settings(max_examples=30)
@given(night=montages(), data=st.data())
def test_without_keeps_epochs(night, data):
    whole = Recording(night, stages=np.zeros(Recording(night).n_epochs))
    dropped = data.draw(st.sets(st.sampled_from(whole.modalities), max_size=len(whole) - 1))
    rest = whole.without(*dropped)
    assert set(rest) == set(whole) - dropped
    assert set(whole) >= dropped
    assert rest.n_epochs == whole.n_epochs == len(rest.stages)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [({"rates": {"egg": 1}}, UnknownModalityError, "'egg'"),
     ({"units": {"egg": 1}}, UnknownModalityError, "'egg'"),
     ({"rates": 128}, InvalidRecordingError, r"accepted is a mapping .*\{'eeg': "),
     ({"units": "uV"}, InvalidRecordingError, r"accepted is a mapping .*\{'eeg': "),
     ({"stages": [0] * 3}, InvalidRecordingError, "has 3 stages for 4 epochs.*'trim'"),
     ({"stages": [0] * 5}, InvalidRecordingError, "has 5 stages for 4 epochs.*'trim'"),
     ({"align": "stretch"}, InvalidRecordingError, "'raise' or 'trim'"),
     ({"duration": np.nan}, InvalidRecordingError, "the night has duration nan"),
     ({"duration": np.inf}, InvalidRecordingError, "the night has duration inf"),
     ({"duration": 29.9}, InvalidRecordingError, "the night lasts 29.9 s"),
     ({"duration": -30}, InvalidRecordingError, "the night lasts -30 s")],
)  # fmt: skip
def test_invalid_options_raise_error(noise, options, error, words):
    with pytest.raises(error, match=rf"^recording \(x\): .*{words}"):
        Recording({"eeg": noise("eeg")}, **options, id="x")


def test_without_everything_raises_error(night):
    with pytest.raises(InvalidRecordingError, match=r"recording \(a-1\) would have no modality"):
        night.without("eeg", "spo2")


def test_trim_aligns_the_stages(noise):
    cut = Recording({"eeg": noise("eeg")}, stages=[0, 1, 2, 3, 4], align="trim")
    filled = Recording({"eeg": noise("eeg")}, stages=[0, 1, 2], align="trim")
    assert cut.stages.tolist() == [0, 1, 2, 3]
    assert filled.stages.tolist() == [0, 1, 2, -1]


def test_non_mapping_raises_error(noise):
    with pytest.raises(InvalidRecordingError, match=r"Wrap a bare array, e.g. \{'eeg': samples\}"):
        Recording(noise("eeg")[0])


def test_recording_of_recording_raises(night):
    with pytest.raises(InvalidRecordingError, match="rates, units and labels would be lost"):
        Recording(night)


def test_signal_errors_name_recording():
    with pytest.raises(InvalidSignalError, match=r"^recording \(a-1\): 'eeg' has rate 0 Hz"):
        Recording({"eeg": (np.zeros(9000), 0)}, id="a-1")


def test_coverage_counts_present_samples(noise):
    eeg, _ = noise("eeg")
    eeg[: 30 * 128] = np.nan
    night = Recording({"eeg": eeg, "spo2": np.full(480, 97.0)})
    assert night.coverage() == {"eeg": 90.0, "spo2": 0.0}
    assert Recording({"eeg": eeg}, duration=60).coverage() == {"eeg": 30.0}


@pytest.mark.parametrize("change", ["sample", "rate", "unit", "dtype", "name"])
def test_fingerprint_changes_with_content(noise, change):
    values, rate = noise("eeg")
    other = values.copy()
    other[77] += 1e-3
    nights = {
        "sample": lambda: Recording({"eeg": other}),
        "rate": lambda: Recording({"eeg": (values, rate / 2)}),
        "unit": lambda: Recording({"eeg": values}, units={"eeg": "mV"}),
        "dtype": lambda: Recording({"eeg": values.astype(float)}),
        "name": lambda: Recording({"eog": values}),
    }
    assert nights[change]().fingerprint != Recording({"eeg": values}).fingerprint


def test_signal_fingerprint_covers_its_samples(noise):
    values, rate = noise("eeg")
    night = Recording({"eeg": values, "spo2": noise("spo2")})
    print_of_eeg = night.signal_fingerprint("eeg")
    same = {"eeg": (values.astype(">f8"), rate)}
    assert Recording(same).signal_fingerprint("eeg") == print_of_eeg
    assert night.signal_fingerprint("spo2") != print_of_eeg
    for other in (
        Recording({"eeg": values[:-1]}),
        Recording({"eeg": (values, rate / 2)}),
        Recording({"eeg": values}, units={"eeg": "mV"}),
        Recording({"eeg": np.nextafter(values, 1e3)}),
        Recording({"eeg": values.astype(float) + 1e-9}),
    ):
        assert other.signal_fingerprint("eeg") != print_of_eeg


def test_array_conversion_raises_error(night):
    with pytest.raises(TypeError, match="hand the tool the rows"):
        np.asarray(night)


def test_lazy_recording_waits(counting_source, noise):
    source = counting_source({"eeg": (*noise("eeg"), "uV"), "spo2": (*noise("spo2"), "%")})
    start = datetime(2020, 1, 1, 23)
    night = Recording.from_source(source, start=start, lights=[10, 90], notes=["cut"], id="b")
    assert (night.n_epochs, night.units, night.lights) == (4, {"eeg": "uV", "spo2": "%"}, (10, 90))
    assert (night.notes, night.start, repr(night)) == (
        ("cut",),
        start,
        "Recording(id='b', 4 epochs, eeg, spo2)",
    )
    assert "eeg" in night
    assert "ecg" not in night
    assert source.reads == []


def test_one_pass_reads_several(counting_source, noise):
    source = counting_source({"eeg": (*noise("eeg"), "uV"), "spo2": (*noise("spo2"), "%")})
    night = Recording.from_source(source)
    assert set(night.read(["spo2", "ecg", "eeg"])) == {"eeg", "spo2"}
    assert source.reads == [("spo2", "eeg")]


def test_dropped_modality_is_not_read(counting_source, noise):
    source = counting_source({"eeg": (*noise("eeg"), "uV"), "spo2": (*noise("spo2"), "%")})
    Recording.from_source(source).without("eeg").coverage()
    assert source.reads == [("spo2",)]


def test_equality_is_identity(night):
    assert night == night
    assert night != night.without("eeg")
    assert len({night, night}) == 1


def test_nan_lights_are_unknown():
    signal = {"spo2": np.full(480, 95.0)}
    assert Recording(signal, lights=(np.float32(30), np.nan)).lights == (30.0, None)


@pytest.mark.parametrize("lights", [("23:05", "06:30"), (30,), (1, 2, 3), 30, (0, np.inf)])
def test_lights_are_two_times(lights):
    with pytest.raises(InvalidRecordingError, match=r"lights are .* seconds"):
        Recording({"spo2": np.full(480, 95.0)}, lights=lights)
