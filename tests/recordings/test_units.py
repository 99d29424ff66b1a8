# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings import MODALITIES
from sleep2vec_sklearn.recordings._conditioning import check_size, to_canonical_unit

_VOLTS = MODALITIES["eeg"].units


@pytest.mark.parametrize(
    ("name", "unit", "given", "expected"),
    [
        ("eeg", "uV", 30, 30),
        ("eeg", "mV", 0.03, 30),
        ("eeg", "V", 3e-5, 30),
        ("ecg", "nV", 3e4, 30),
        ("spo2", "fraction", 0.97, 97),
        ("ibi", "ms", 900, 0.9),
        ("ibi", "bpm", 60, 1),
        ("airflow", "cmH2O", 2, 2),
    ],
)
def test_units_become_the_catalogues(name, unit, given, expected):
    values, rate = to_canonical_unit(np.array([given]), 8.0, unit, MODALITIES[name])
    assert values.dtype == np.float32
    assert (values[0], rate) == (pytest.approx(expected), 8.0)


def test_counts_per_sample_become_counts_per_second():
    values, _ = to_canonical_unit(np.array([60, 0]), 1 / 30, "counts", MODALITIES["actigraphy"])
    np.testing.assert_allclose(values, [2, 0])


def test_a_heart_rate_of_zero_is_a_gap():
    values, _ = to_canonical_unit(np.array([0.0, 60.0]), 1.0, "bpm", MODALITIES["ibi"])
    np.testing.assert_array_equal(values, [np.nan, 1])


def test_acceleration_becomes_counts_that_rise_with_movement():
    seconds = np.arange(60 * 32) / 32
    waving = np.where(seconds >= 30, 0.2 * np.sin(2 * np.pi * seconds), 0)
    counts, rate = to_canonical_unit(1 + waving, 32.0, "g", MODALITIES["actigraphy"])
    assert (len(counts), rate) == (60, 1.0)
    assert counts[5:25].max() < 0.01
    assert counts[35:55].min() > 5


def test_gaps_of_acceleration_stay_gaps():
    magnitude = 1 + 0.1 * np.random.default_rng(0).standard_normal(60 * 32)
    magnitude[10 * 32 : 20 * 32] = np.nan
    counts, _ = to_canonical_unit(magnitude, 32.0, "g", MODALITIES["actigraphy"])
    assert np.flatnonzero(np.isnan(counts)).tolist() == list(range(10, 20))


def test_acceleration_must_be_sampled_fast_enough():
    with pytest.raises(InvalidSignalError, match=r"rate 1 Hz; accepted is at least 5 Hz"):
        to_canonical_unit(np.ones(60), 1.0, "g", MODALITIES["actigraphy"])


@pytest.mark.parametrize(
    ("iqr", "way_out"),
    [
        (3e-5, 'It looks like V: pass units={"eeg": "V"}'),
        (1e5, 'It looks like nV: pass units={"eeg": "nV"}'),
        (1e12, 'Check the gain, or pass units={"eeg": ...}, one of uV, mV, V, nV'),
    ],
)
def test_a_size_no_electrode_gives_is_refused(iqr, way_out):
    with pytest.raises(InvalidSignalError, match=r"accepted is 0.5 to 2000 uV") as caught:
        check_size(iqr, MODALITIES["eeg"])
    assert way_out in str(caught.value)


@pytest.mark.parametrize(("name", "iqr"), [("eeg", 30), ("ecg", 400), ("airflow", 1e9)])
def test_a_size_that_can_be_passes(name, iqr):
    assert check_size(iqr, MODALITIES[name]) is None


@pytest.mark.parametrize("name", [n for n, m in MODALITIES.items() if m.unit == "uV"])
def test_every_voltage_knows_every_unit(name):
    found = {u: to_canonical_unit(np.ones(2), 128, u, MODALITIES[name])[0][0] for u in _VOLTS}
    assert found == pytest.approx({"uV": 1, "mV": 1e3, "V": 1e6, "nV": 1e-3})


@pytest.mark.parametrize("name", ["airflow", "effort", "resp", "ppg"])
def test_arbitrary_units_are_all_the_same(name):
    for unit in MODALITIES[name].units:
        values, rate = to_canonical_unit(np.array([2.5]), 32.0, unit, MODALITIES[name])
        assert (values[0], rate) == (2.5, 32.0)


@given(rate=st.floats(0.01, 10), counts=st.floats(0, 1e4))
def test_counts_are_multiplied_by_their_rate(rate, counts):
    values, same = to_canonical_unit(np.array([counts]), rate, "counts", MODALITIES["actigraphy"])
    assert same == rate
    assert values[0] == pytest.approx(counts * rate, rel=1e-5)


@pytest.mark.parametrize(("bpm", "interval"), [(30, 2), (75, 0.8), (200, 0.3), (-5, np.nan)])
def test_a_rate_of_beats_is_turned_over(bpm, interval):
    values, _ = to_canonical_unit(np.array([bpm]), 1.0, "bpm", MODALITIES["ibi"])
    assert values[0] == pytest.approx(interval, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "unit"), [("eeg", "mV"), ("ibi", "bpm"), ("spo2", "fraction"), ("airflow", "L/s")]
)
def test_gaps_stay_gaps_in_any_unit(name, unit):
    values, _ = to_canonical_unit(np.array([np.nan, 0.9, np.nan]), 4.0, unit, MODALITIES[name])
    assert np.isnan(values).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float64, bool])
def test_samples_of_any_type_become_single_precision(dtype):
    values, _ = to_canonical_unit(np.ones(3, dtype=dtype), 128.0, "mV", MODALITIES["eeg"])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, 1000)


def test_samples_in_the_catalogues_unit_are_not_copied():
    values = np.ones(3, dtype=np.float32)
    assert to_canonical_unit(values, 128.0, "uV", MODALITIES["eeg"])[0] is values


@pytest.mark.parametrize("name", [n for n, m in MODALITIES.items() if m.plausible])
def test_the_limits_of_a_size_are_part_of_it(name):
    low, high = MODALITIES[name].plausible
    for iqr in (low, high, 0.0):
        assert check_size(iqr, MODALITIES[name]) is None
    for iqr in (low * 0.999, high * 1.001):
        with pytest.raises(InvalidSignalError, match=f"accepted is {low:g} to {high:g} uV"):
            check_size(iqr, MODALITIES[name])


@pytest.mark.parametrize("unit", ["V", "mV"])
@pytest.mark.parametrize("name", ["eeg", "eog", "ecg"])
def test_a_typical_size_in_another_unit_is_recognised(name, unit):
    typical = {"eeg": 25, "eog": 40, "ecg": 90}[name]
    given_as_microvolts = typical / {"V": 1e6, "mV": 1e3}[unit]
    with pytest.raises(InvalidSignalError, match=f"It looks like {unit}: pass units="):
        check_size(given_as_microvolts, MODALITIES[name])
