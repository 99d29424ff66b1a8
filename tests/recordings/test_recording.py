# SPDX-License-Identifier: BSD-3-Clause
import pickle
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import InvalidRecordingError, InvalidSignalError, UnknownModalityError
from sleep2vec_sklearn.recordings import Signal
from tests.strategies import montages


@pytest.fixture
def night(noise):
    signals = {"spo2": noise("spo2", rate=1), "eeg": noise("eeg", 3)}
    return Recording(signals, subject="a", id="a-1", metadata={"age": 60}, stages=[0, 1, 2, 3])


def test_a_recording_is_a_read_only_mapping(night, noise):
    assert list(night) == ["eeg", "spo2"]
    np.testing.assert_array_equal(night["eeg"], noise("eeg", 3)[0])
    with pytest.raises(ValueError, match="read-only"):
        night["eeg"][0] = 1
    with pytest.raises(TypeError):
        night.metadata["age"] = 61


def test_no_samples_are_copied(noise):
    values, _ = noise("eeg")
    assert np.shares_memory(Recording({"eeg": values})["eeg"], values)


@pytest.mark.parametrize("form", ["pair", "rates", "epochs", "signal"])
def test_the_forms_of_a_value_mean_the_same(form):
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


def test_what_is_read_from_a_recording_makes_one(night):
    again = Recording(night.read())
    assert (again.rates, again.units, again.n_epochs) == (night.rates, night.units, night.n_epochs)
    assert again.fingerprint == night.fingerprint


@pytest.mark.parametrize("options", [{"rates": {"eeg": 50}}, {"units": {"eeg": "mV"}}])
def test_a_signal_that_contradicts_what_is_said_of_it_is_refused(options):
    (what,) = options
    with pytest.raises(InvalidSignalError, match=rf"'eeg' is a Signal .* but {what} has .*Drop it"):
        Recording({"eeg": Signal(np.zeros(6000), 100.0, "uV")}, **options)


def test_a_rate_that_contradicts_the_epochs_is_refused():
    with pytest.raises(InvalidSignalError, match=r"96000 Hz, but rate 100 was given. Drop the"):
        Recording({"eeg": (np.zeros((1, 2_880_000)), 100)})


def test_a_modality_that_is_none_is_missing(noise):
    assert Recording({"eeg": noise("eeg"), "ecg": None}).modalities == ("eeg",)


def test_the_longest_modality_sets_the_epochs(night):
    assert (night.n_epochs, night.duration) == (4, 120.0)


def test_a_given_duration_sets_the_epochs(noise):
    assert Recording({"eeg": noise("eeg", 4)}, duration=95).n_epochs == 3
    assert Recording({"eeg": noise("eeg", 4)}, duration=3600).n_epochs == 120


@pytest.mark.parametrize("duration", [np.nan, np.inf, 29.9, -30])
def test_a_duration_without_an_epoch_is_refused(noise, duration):
    with pytest.raises(InvalidRecordingError, match=r"^recording \(x\): the night (has|lasts) "):
        Recording({"eeg": noise("eeg")}, duration=duration, id="x")


@settings(max_examples=30)
@given(night=montages(), data=st.data())
def test_without_keeps_epochs_and_labels(night, data):
    whole = Recording(night, stages=np.zeros(Recording(night).n_epochs))
    dropped = data.draw(st.sets(st.sampled_from(whole.modalities), max_size=len(whole) - 1))
    rest = whole.without(*dropped)
    assert set(rest) == set(whole) - dropped
    assert rest.n_epochs == whole.n_epochs == len(rest.stages)


def test_without_everything_is_refused(night):
    with pytest.raises(InvalidRecordingError, match=r"recording \(a-1\) would have no modality"):
        night.without("eeg", "spo2")


def test_without_leaves_the_recording_itself_alone(night):
    night.without("eeg")
    assert "eeg" in night


def test_a_modality_that_is_not_there_is_a_key_error(night):
    with pytest.raises(KeyError, match=r"recording \(a-1\) has eeg, spo2"):
        night["ecg"]


@pytest.mark.parametrize("option", ["rates", "units"])
def test_a_misspelt_option_is_refused(noise, option):
    with pytest.raises(UnknownModalityError):
        Recording({"eeg": noise("eeg")}, **{option: {"egg": 1}})


def test_an_unknown_unit_lists_the_accepted_ones(noise):
    with pytest.raises(InvalidSignalError, match="'eeg' has unit 'volt'; accepted are uV, mV, V"):
        Recording({"eeg": noise("eeg")}, units={"eeg": "volt"})


@pytest.mark.parametrize("option", [{"rates": 128}, {"units": "uV"}])
def test_options_for_all_modalities_at_once_are_refused(noise, option):
    with pytest.raises(InvalidRecordingError, match=r"accepted is a mapping .*\{'eeg': "):
        Recording({"eeg": noise("eeg")}, **option)


def test_one_modality_can_be_read_by_its_name(night):
    assert set(night.read("eeg")) == {"eeg"}


@pytest.mark.parametrize("n_labels", [3, 5])
def test_labels_that_do_not_fit_are_refused(noise, n_labels):
    with pytest.raises(InvalidRecordingError, match=f"has {n_labels} stages for 4 epochs.*'trim'"):
        Recording({"eeg": noise("eeg")}, stages=[0] * n_labels, id="x")


def test_trim_cuts_the_surplus_and_marks_the_missing_as_unscored(noise):
    cut = Recording({"eeg": noise("eeg")}, stages=[0, 1, 2, 3, 4], align="trim")
    filled = Recording({"eeg": noise("eeg")}, stages=[0, 1, 2], align="trim")
    assert cut.stages.tolist() == [0, 1, 2, 3]
    assert filled.stages.tolist() == [0, 1, 2, -1]


def test_an_unknown_way_to_align_is_refused(noise):
    with pytest.raises(InvalidRecordingError, match="'raise' or 'trim'"):
        Recording({"eeg": noise("eeg")}, align="stretch")


def test_signals_must_be_a_mapping(noise):
    with pytest.raises(InvalidRecordingError, match=r"Wrap a bare array, e.g. \{'eeg': samples\}"):
        Recording(noise("eeg")[0])


def test_a_recording_is_not_made_of_another(night):
    with pytest.raises(InvalidRecordingError, match="rates, units and labels would be lost"):
        Recording(night)


def test_errors_about_a_signal_name_the_recording():
    with pytest.raises(InvalidSignalError, match=r"^recording \(a-1\): 'eeg' has rate 0 Hz"):
        Recording({"eeg": (np.zeros(9000), 0)}, id="a-1")


def test_coverage_counts_samples_that_are_there(noise):
    eeg, _ = noise("eeg")
    eeg[: 30 * 128] = np.nan
    night = Recording({"eeg": eeg, "spo2": np.full(480, 97.0)})
    assert night.coverage() == {"eeg": 90.0, "spo2": 0.0}


def test_the_fingerprint_does_not_depend_on_the_order_of_keys(noise):
    signals = {"eeg": noise("eeg"), "spo2": noise("spo2")}
    backwards = dict(reversed(signals.items()))
    assert Recording(signals).fingerprint == Recording(backwards).fingerprint


@pytest.mark.parametrize("change", ["sample", "rate", "unit", "dtype", "name"])
def test_the_fingerprint_changes_with_the_content(noise, change):
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


def test_a_signals_fingerprint_is_that_of_its_samples_alone(noise):
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


def test_a_recording_survives_a_pickle(night):
    again = pickle.loads(pickle.dumps(night))
    assert (again.id, again.subject, dict(again.metadata)) == ("a-1", "a", {"age": 60})
    assert again.fingerprint == night.fingerprint
    np.testing.assert_array_equal(again.stages, night.stages)


def test_numpy_is_told_what_to_do_instead(night):
    with pytest.raises(TypeError, match="hand the tool the rows"):
        np.asarray(night)


def test_a_lazy_recording_reads_nothing_before_it_is_asked(counting_source, noise):
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


def test_several_modalities_are_read_in_one_pass(counting_source, noise):
    source = counting_source({"eeg": (*noise("eeg"), "uV"), "spo2": (*noise("spo2"), "%")})
    night = Recording.from_source(source)
    assert set(night.read(["spo2", "ecg", "eeg"])) == {"eeg", "spo2"}
    assert source.reads == [("spo2", "eeg")]


def test_a_dropped_modality_is_not_read(counting_source, noise):
    source = counting_source({"eeg": (*noise("eeg"), "uV"), "spo2": (*noise("spo2"), "%")})
    Recording.from_source(source).without("eeg").coverage()
    assert source.reads == [("spo2",)]


def test_recordings_are_equal_only_to_themselves(night):
    assert night == night
    assert night != night.without("eeg")
    assert len({night, night}) == 1
