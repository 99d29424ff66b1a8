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
from sleep2vec_sklearn.recordings.derivation import ibi_from_intervals
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


def intervals(n=8000, size=0.85):
    return np.random.default_rng(0).normal(size, 0.04, n)


@pytest.mark.parametrize(
    ("values", "unit"),
    [(intervals(), "s"), (1000 * intervals(), "ms"), (60 / intervals(), "bpm"),
     (np.full(480, 60.0), "bpm"), (np.cumsum(intervals()) % 0.3 + 0.7, "s")],
)  # fmt: skip
def test_single_beats_are_refused(values, unit):
    with pytest.raises(InvalidSignalError, match=r"one value a beat.*ibi_from_intervals"):
        MemorySource({"ibi": values}, units={"ibi": unit})
    assert MemorySource({"ibi": (values, 4)}).layout["ibi"].rate == 4


@pytest.mark.parametrize("rate", [45, 60, 95])
def test_series_of_beats_is_known(rate):
    beats = intervals(size=60 / rate)
    series, _ = ibi_from_intervals(np.cumsum(beats), beats)
    smooth = 60 / rate + 0.05 * np.sin(np.arange(2400) / 4 * 2 * np.pi * 0.2)
    held = np.repeat(beats, np.round(4 * beats).astype(int).clip(2))
    for values in (series, 1000 * series, smooth, held, np.full(480, 0.9), np.full(480, np.nan)):
        assert MemorySource({"ibi": values}).layout["ibi"].rate == 4


def test_other_signals_tell_rate():
    signals = {"spo2": (np.full(3600, 96.0), 1), "ibi": intervals(14400)}
    assert MemorySource(signals).layout["ibi"].rate == 4
    with pytest.raises(InvalidSignalError, match="4235 values"):
        MemorySource(signals | {"ibi": intervals(4235)})


@pytest.mark.parametrize(
    ("name", "values", "rate"),
    [("spo2", np.full(3600, 96.0), 1), ("actigraphy", np.ones(60), 1 / 60),
     ("ibi", np.full(3600, 0.9), 1), ("resp", np.zeros(36000), 10)],
)  # fmt: skip
def test_fitting_rate_is_asked(name, values, rate):
    eeg = (np.zeros(3600 * 100), 100)
    with pytest.raises(InvalidSignalError, match=rf"'{name}' is .* \(array, {rate:g}\)"):
        MemorySource({"eeg": eeg, name: values})
    assert MemorySource({"eeg": eeg, name: (values, rate)}).layout[name].duration == 3600
    assert MemorySource({"eeg": eeg, "spo2": np.full(1000, 96.0)}).layout["spo2"].rate == 4


@pytest.mark.parametrize(
    ("name", "shape"),
    [("eeg", (1, 128 * 900)), ("eeg", (4, 128 * 900)), ("eeg", (1, 7680)), ("eeg", (6, 128 * 75)),
     ("eeg", (9600, 1)), ("ibi", (8000, 1)), ("spo2", (2, 3700)), ("actigraphy", (3, 100 * 3600)),
     ("ecg", (2, 900))],
)  # fmt: skip
def test_rows_of_channels_are_refused(name, shape):
    message = r"as \(epochs, samples\).*one row with its rate.*from_mne"
    with pytest.raises(InvalidSignalError, match=message):
        MemorySource({name: np.ones(shape)})


@pytest.mark.parametrize(
    ("name", "shape", "rate"),
    [("eeg", (1, 3840), 128), ("eeg", (9, 15360), 512), ("ibi", (9, 120), 4), ("spo2", (9, 30), 1),
     ("actigraphy", (960, 1), 1 / 30)],
)  # fmt: skip
def test_rows_of_epochs_are_kept(name, shape, rate):
    assert MemorySource({name: np.ones(shape)}).layout[name].rate == rate
    odd = MemorySource({"eeg": (np.ones((4, 2997)), 99.9)})
    assert odd.layout["eeg"].rate == 99.9


def gravity(rate=50, level=1.0):
    rng = np.random.default_rng(0)
    return level * (1 + 0.02 * rng.standard_normal(60 * rate))


@pytest.mark.parametrize(
    ("values", "rate"),
    [(gravity(), 50), (gravity(1), 1), (gravity(1, 9.81), 1), (gravity(1, 1000), 1),
     (gravity(1, 1000).round(), 1), (gravity() - 1, 50), (np.abs(gravity() - 1), 50),
     (gravity(1) - 1.02, 1), (gravity(50, 4096).round(), 50)],
    ids=["g", "g at 1 Hz", "m/s2", "mg", "whole mg", "axis", "without gravity", "axis at 1 Hz",
         "whole numbers"],
)  # fmt: skip
def test_acceleration_needs_its_unit(values, rate):
    with pytest.raises(InvalidSignalError, match=r"units=\{'actigraphy': 'g'\}"):
        MemorySource({"actigraphy": (values, rate)})
    for unit in ("g", "counts"):
        source = MemorySource({"actigraphy": (values, rate)}, units={"actigraphy": unit})
        assert source.layout["actigraphy"].unit == unit


@pytest.mark.parametrize(
    "values", [[0, 3, 912, -1] * 30, [0.0, 0.5, 40.25, 0.0] * 30, [1] * 120, [0.5] * 120]
)
def test_counts_need_no_unit(values):
    assert MemorySource({"actigraphy": values}).layout["actigraphy"].unit == "counts"


NIGHT = pd.Timestamp("2024-03-30 23:00")


def at(times, values, zone=None):
    index = NIGHT.tz_localize(zone) + pd.to_timedelta(times, unit="s")
    return pd.Series(values, index=index)


def test_series_keep_their_times():
    seconds = np.arange(3600.0)
    night = Recording({"spo2": at(seconds, 96 + seconds % 2), "eeg": (np.zeros(N), 128)})
    assert (night.rates["spo2"], night.start) == (1.0, NIGHT)
    np.testing.assert_array_equal(night["spo2"], 96 + seconds % 2)
    later = Recording({"spo2": at(seconds, 96.0)}, start=NIGHT - pd.Timedelta("10s"))
    assert np.isnan(later["spo2"]).tolist() == [True] * 10 + [False] * 3600
    elapsed = pd.Series(96.0, index=pd.to_timedelta(np.arange(5, 125, 0.25), unit="s"))
    assert Recording({"spo2": elapsed}).rates == {"spo2": 4.0}
    assert Recording({"spo2": elapsed}).duration == 125


def test_series_share_a_start():
    signals = {"spo2": at(np.arange(60, 600), 96.0), "actigraphy": at(np.arange(0, 600, 30), 7)}
    night = Recording(signals)
    assert night.rates == {"spo2": 1.0, "actigraphy": 1 / 30}
    assert np.isfinite(night["spo2"]).sum() == 540
    assert len(night["spo2"]) == 600


def test_clock_change_is_no_jump():
    series = at(np.arange(0, 5 * 3600, 30), 7, "Europe/Berlin")
    night = Recording({"actigraphy": series})
    assert (night.duration, night.start) == (5 * 3600, NIGHT)
    placed = Recording({"actigraphy": series}, start=NIGHT.to_pydatetime())
    np.testing.assert_array_equal(placed["actigraphy"], night["actigraphy"])
    with pytest.raises(InvalidRecordingError, match="with a time zone and some without"):
        Recording({"actigraphy": series, "spo2": at(range(60), 96.0)})


def test_missing_rows_are_gaps():
    seconds = np.delete(np.arange(3600), np.s_[100:200])
    spo2 = Recording({"spo2": at(seconds, 96.0)})["spo2"]
    assert np.flatnonzero(np.isnan(spo2)).tolist() == list(range(100, 200))
    rounded = np.round(np.arange(30 * 128) / 128, 3)
    eeg = Recording({"eeg": at(np.delete(rounded, np.s_[500:700]), 1.0)}).signal("eeg")
    assert (eeg.rate, len(eeg.values), np.isnan(eeg.values).sum()) == (128, 3840, 200)


def test_uneven_levels_are_resampled():
    beats = intervals(1000)
    ibi = Recording({"ibi": at(np.cumsum(beats), 1000 * beats)}, units={"ibi": "ms"}).signal("ibi")
    expected, _ = ibi_from_intervals(np.cumsum(beats) - beats[0], beats)
    np.testing.assert_allclose(ibi.values, expected, atol=1e-6)
    assert (ibi.rate, ibi.unit) == (4.0, "s")
    times = np.cumsum(np.random.default_rng(0).uniform(1, 9, 400))
    watch = Recording({"ibi": at(times, 50.0), "spo2": at(times, 96.0)}, units={"ibi": "bpm"})
    assert watch.rates == {"spo2": 1.0, "ibi": 1.0}
    assert np.nanmedian(watch["ibi"]) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("name", "times", "words"),
    [("eeg", np.cumsum(np.random.default_rng(0).uniform(1, 9, 99)), "apart; accepted are even"),
     ("spo2", np.arange(99)[::-1], "do not all increase"), ("spo2", [0.0], "has 1 times"),
     ("spo2", np.repeat(np.arange(50), 2), r"series\.sort_index")],
)  # fmt: skip
def test_impossible_times_are_refused(name, times, words):
    with pytest.raises(InvalidSignalError, match=words):
        Recording({name: at(times, 1.0)})
    with pytest.raises(InvalidSignalError, match=r"not of numbers.*pd\.to_numeric"):
        Recording({name: at(times, "a")})
