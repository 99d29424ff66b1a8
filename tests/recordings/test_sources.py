# SPDX-License-Identifier: BSD-3-Clause
"""What is taken as samples, what is refused, and in which words."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import InvalidRecordingError, InvalidSignalError
from sleep2vec_sklearn.recordings import MODALITIES, MemorySource, Signal, SignalLayout
from sleep2vec_sklearn.recordings.sources import longest_duration

N = 30 * 128


def values_of(value, **options):
    return MemorySource({"eeg": value}, **options).read(["eeg"])["eeg"].values


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i8", "u1", "?", ">f4", "<i4", "f2"])
def test_real_dtypes_are_kept(dtype):
    values = (np.arange(N) % 2).astype(dtype)
    # half precision becomes single
    assert values_of(values).dtype == ("f4" if dtype == "f2" else dtype)
    np.testing.assert_array_equal(values_of(values), values)


@pytest.mark.parametrize("kind", [list, pd.Series, np.ma.asarray, memoryview])
def test_any_container_becomes_array(kind):
    values = np.linspace(-30, 30, N)
    np.testing.assert_array_equal(values_of(kind(values)), values)


def test_masked_samples_are_gaps():
    masked = np.ma.masked_array(np.arange(N), mask=np.arange(N) % 5 == 0)
    assert np.flatnonzero(np.isnan(values_of(masked))).tolist() == list(range(0, N, 5))
    assert values_of(masked)[1] == 1
    masked = np.ma.masked_array(np.arange(float(N)), mask=np.arange(N) == 7)
    values_of(masked)
    assert masked.mask.sum() == 1
    assert masked.data[7] == 7


def test_epoch_rows_are_concatenated():
    rows = np.arange(4 * 3000.0).reshape(4, 3000)
    signal = MemorySource({"eeg": rows}).read(["eeg"])["eeg"]
    np.testing.assert_array_equal(signal.values, np.arange(12000))
    assert (signal.rate, signal.duration) == (100.0, 120.0)
    source = MemorySource({"eeg": (np.zeros(6000), 200)}, rates={"eeg": 100})
    assert source.layout["eeg"] == SignalLayout(200.0, "uV", 6000)


@pytest.mark.parametrize("rate", [100, 100.0, np.float32(100), np.int16(100)])
def test_agreeing_rate_is_accepted(rate):
    signal = MemorySource({"eeg": (np.zeros((2, 3000)), rate)}).read(["eeg"])["eeg"]
    assert (signal.rate, type(signal.rate)) == (100.0, float)


@pytest.mark.parametrize("name", MODALITIES)
def test_catalogue_gives_the_defaults(name):
    modality = MODALITIES[name]
    layout = MemorySource({name: np.ones(9600)}).layout[name]
    assert layout == SignalLayout(modality.conditioning.rate, modality.unit, 9600)
    assert layout.duration == 9600 / modality.conditioning.rate


@given(names=st.permutations(sorted(MODALITIES)))
def test_modalities_follow_the_catalogue(names):
    source = MemorySource({name: np.ones(9600) for name in names})
    assert list(source.layout) == list(MODALITIES)


@given(order=st.permutations(["eeg", "ecg", "spo2"]))
def test_only_requested_is_read(order):
    source = MemorySource({name: np.ones(N) for name in ("eeg", "ecg", "spo2")})
    assert list(source.read(order[:2])) == order[:2]


def test_signal_is_frozen():
    signal = Signal(np.zeros(90), 3.0, "uV")
    assert (signal.layout, signal.duration) == (SignalLayout(3.0, "uV", 90), 30.0)
    with pytest.raises(AttributeError):
        signal.rate = 4.0


@pytest.mark.parametrize(
    ("value", "problem", "hint"),
    [
        (np.array([1, None] * N), "dtype object", "np.asarray(eeg, dtype='float32')"),
        (np.array(["1", "2"] * N), "dtype <U1", "np.asarray(eeg, dtype='float32')"),
        (np.zeros(N, dtype=complex), "dtype complex128", "dtype='float32').real."),
        (np.zeros(N, dtype="M8[s]"), "dtype datetime64[s]", "accepted are real numbers"),
        (np.zeros((2, 3, N)), f"shape (2, 3, {N})", "Pick one channel or derivation"),
        (np.float64(3), "shape ()", "accepted are one channel of shape (n_samples,)"),
        ([[1.0], [1.0, 2.0]], "is a list that numpy makes no array of", "e.g. a float32 array"),
        ((np.zeros(N), 128, "uV"), "a tuple of 3 items", "accepted is (array, rate)"),
        ((), "a tuple of 0 items", "Pass a numpy array if these are the samples"),
        ((np.zeros(N), "128"), "rate '128'", "accepted is a number in Hz"),
        ((np.zeros(N), True), "rate True", "accepted is a number in Hz"),
        ((np.zeros(N), 0), "rate 0 Hz", "accepted is a positive, finite number"),
        ((np.zeros(N), -128.0), "rate -128.0 Hz", "accepted is a positive, finite number"),
        ((np.zeros(N), np.nan), "rate nan Hz", "accepted is a positive, finite number"),
        ((np.zeros(N), np.inf), "rate inf Hz", "accepted is a positive, finite number"),
        ((np.zeros((2, 3000)), 128), "3000 samples in each epoch of 30 s, which is 100 Hz, but "
         "rate 128", "Drop the rate"),
    ],
)  # fmt: skip
def test_invalid_samples_raise_error(value, problem, hint):
    with pytest.raises(InvalidSignalError) as caught:
        Recording({"spo2": np.linspace(90, 99, 120), "eeg": value}, id="n-7")
    message = str(caught.value)
    assert message.startswith("recording (n-7): 'eeg' ")
    assert problem in message
    assert hint in message


@pytest.mark.parametrize(
    ("name", "unit", "accepted"),
    [("ibi", "min", "s, ms, bpm"), ("spo2", "uV", "%, fraction"),
     ("actigraphy", "m/s2", "counts, g"),
     ("airflow", "K", "a.u., uV, mV, V, nV, L/min, L/s, mL/s, cmH2O, mmHg")],
)  # fmt: skip
def test_wrong_unit_lists_accepted(name, unit, accepted):
    with pytest.raises(InvalidSignalError) as caught:
        MemorySource({name: np.ones(N)}, units={name: unit})
    assert f"{name!r} has unit {unit!r}; accepted are {accepted}. Convert" in str(caught.value)
    assert f'units={{"{name}": ...}}' in str(caught.value)


@pytest.mark.parametrize("option", ["rates", "units"])
def test_options_of_missing_modality(option):
    given_options = {option: {"eeg": {"rates": 100, "units": "mV"}[option]}}
    night = Recording({"spo2": np.linspace(90, 99, 120), "eeg": None}, **given_options)
    assert night.modalities == ("spo2",)


@pytest.mark.parametrize("signals", [{}, {"eeg": None}, {"eeg": None, "ecg": None}])
def test_no_signal_raises_error(signals):
    with pytest.raises(InvalidRecordingError, match=r"no modality has a signal\. Pass at least"):
        Recording(signals)


@given(durations=st.lists(st.integers(1, 10_000), min_size=1, max_size=5))
def test_longest_signal_in_seconds(durations):
    rates = [1.0, 4.0, 50.0, 128.0, 0.5]
    layout = {
        i: SignalLayout(rate, "", round(seconds * rate * 2))
        for i, (seconds, rate) in enumerate(zip(durations, rates, strict=False))
    }
    assert longest_duration(layout) == 2 * max(durations)


@given(hnp.arrays(np.float32, st.integers(240, 300), elements=st.floats(0, 99, width=32)))
def test_source_can_be_pickled(values):
    source = MemorySource({"spo2": values})
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint() == source.fingerprint()
    np.testing.assert_array_equal(again.read(["spo2"])["spo2"].values, values)
