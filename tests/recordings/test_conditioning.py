# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings import MODALITIES, Conditioning, Signal
from sleep2vec_sklearn.recordings._conditioning import condition
from tests.strategies import NATIVE_RATES, signals

N_EPOCHS = 4


def conditioned(name, values, rate=None, unit=None, n_epochs=N_EPOCHS):
    modality = MODALITIES[name]
    rate = modality.conditioning.rate if rate is None else rate
    signal = Signal(np.asarray(values), rate, modality.unit if unit is None else unit)
    return condition(signal, modality, modality.conditioning, n_epochs)


@pytest.fixture
def eeg(noise):
    return noise("eeg")[0]


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(NATIVE_RATES)), n_epochs=st.integers(2, 6), data=st.data())
def test_epochs_are_finite_bounded_and_of_the_catalogues_width(name, n_epochs, data):
    values, rate = data.draw(signals(name, data.draw(st.integers(1, n_epochs))))
    night = conditioned(name, values, rate, n_epochs=n_epochs)
    assert night.epochs.shape == (n_epochs, MODALITIES[name].conditioning.width)
    assert night.epochs.dtype == np.float32
    assert np.isfinite(night.epochs).all()
    assert np.abs(night.epochs).max() <= 20


@pytest.mark.parametrize(("n_missing", "valid"), [(1919, True), (1920, True), (1921, False)])
def test_an_epoch_is_missing_if_less_than_half_of_it_is_there(eeg, n_missing, valid):
    eeg[3840 : 3840 + n_missing] = np.nan
    assert conditioned("eeg", eeg).valid.tolist() == [True, valid, True, True]


def test_short_gaps_are_bridged_by_lines():
    spo2 = np.tile([96.0, 94.0], 240)
    spo2[10:20] = np.nan
    bridge = conditioned("spo2", spo2).epochs[0, 10:20] * 5 + 95
    np.testing.assert_allclose(bridge, np.linspace(94, 96, 12)[1:-1], rtol=1e-5)


def test_a_signal_that_ends_early_leaves_missing_epochs(eeg):
    assert conditioned("eeg", eeg[: 2 * 3840 + 100]).valid.tolist() == [True, True, False, False]


def test_a_longer_signal_is_cut_to_the_night(eeg):
    assert conditioned("eeg", np.tile(eeg, 2)).epochs.shape == (4, 3840)


@pytest.mark.parametrize("rate", [99.9, 1000 / 7, 50.0, 512])
def test_odd_rates_fill_every_epoch(noise, rate):
    night = conditioned("eeg", noise("eeg", rate=rate)[0], rate)
    assert night.epochs.shape == (4, 3840)
    assert night.valid.all()


@pytest.mark.parametrize("rate", [1 / 30, 1 / 60])
def test_one_count_per_minute_covers_both_of_its_epochs(rate):
    counts = np.arange(1, 1 + 10 * 30 * rate)
    assert conditioned("actigraphy", counts, rate, n_epochs=10).valid.all()


@settings(max_examples=20)
@given(gain=st.floats(0.1, 10), offset=st.floats(-100, 100))
def test_gain_and_offset_of_an_amplifier_do_not_matter(gain, offset):
    eeg = 30 * np.random.default_rng(1).standard_normal(N_EPOCHS * 3840)
    plain, changed = conditioned("eeg", eeg), conditioned("eeg", gain * eeg + offset)
    np.testing.assert_allclose(changed.epochs, plain.epochs, atol=2e-3)


@pytest.mark.parametrize(("name", "level"), [("spo2", 93.0), ("ibi", 1.1)])
def test_levels_are_kept_where_they_are_the_information(noise, name, level):
    values, _ = noise(name)
    low, high = conditioned(name, values), conditioned(name, values + level / 50)
    scale = MODALITIES[name].conditioning.scale
    np.testing.assert_allclose(high.epochs - low.epochs, level / 50 / scale, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [
        ("eeg", "V", 1e-6),
        ("eeg", "mV", 1e-3),
        ("eeg", "nV", 1e3),
        ("ibi", "ms", 1e3),
        ("spo2", "fraction", 0.01),
    ],
)
def test_the_same_signal_in_another_unit_is_the_same(noise, name, unit, factor):
    values = noise(name)[0].astype(float)
    plain, other = conditioned(name, values), conditioned(name, values * factor, unit=unit)
    np.testing.assert_allclose(other.epochs, plain.epochs, atol=1e-3)


def test_beats_per_minute_become_intervals(noise):
    ibi, _ = noise("ibi")
    bpm = conditioned("ibi", 60 / ibi, unit="bpm")
    np.testing.assert_allclose(bpm.epochs, conditioned("ibi", ibi).epochs, atol=1e-4)


@pytest.mark.parametrize(("frequency", "loudest"), [(10, 10), (100, 1)])
def test_a_tone_above_the_band_vanishes(frequency, loudest):
    time = np.arange(N_EPOCHS * 30 * 512) / 512
    tones = 300 * np.sin(2 * np.pi * frequency * time) + 10 * np.sin(2 * np.pi * time)
    spectrum = np.abs(np.fft.rfft(conditioned("eeg", tones, 512).epochs[1]))
    assert np.argmax(spectrum) == 30 * loudest
    assert frequency == 10 or spectrum[30 * 28] < spectrum[30] / 20


@pytest.mark.parametrize("value", [0.0, 5.3, np.nan])
def test_a_flat_or_empty_sensor_is_missing(value):
    assert conditioned("eeg", np.full(N_EPOCHS * 3840, value)) is None


@pytest.mark.parametrize("rate", [100, 128])
@pytest.mark.parametrize("level", [0.0, 5.3])
def test_a_stretch_in_which_a_waveform_does_not_move_is_missing(noise, level, rate):
    eeg, _ = noise("eeg", n_epochs=8, rate=rate)
    eeg[2 * 30 * rate : 7 * 30 * rate] = level
    valid = conditioned("eeg", eeg, rate, n_epochs=8).valid
    assert valid.tolist() == [True, True, *[False] * 5, True]


@settings(max_examples=30)
@given(n_off=st.integers(1, 6 * 3840))
def test_a_sensor_that_was_off_for_a_while_has_no_wrong_unit(n_off):
    ecg = 200 * np.random.default_rng(2).standard_normal(8 * 3840)
    ecg[:n_off] = 0
    assert conditioned("ecg", ecg, n_epochs=8).valid.sum() >= 8 - np.ceil(n_off / 3840)


def test_a_constant_saturation_epoch_is_information():
    spo2 = np.repeat([96.0, 91.0], 240)
    assert conditioned("spo2", spo2).valid.all()


def test_a_probe_that_is_off_is_a_gap():
    spo2 = np.tile([96.0, 94.0], 240)
    spo2[120:240] = 0
    assert conditioned("spo2", spo2).valid.tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("spo2", [0.97, 0.93] * 240, r"no value between 40 and 101 %.*Accepted units: %, fraction"),
        ("ibi", [970, 930] * 240, r"no value between 0.25 and 3 s.*Accepted units: s, ms, bpm"),
        ("eeg", [3e-5, -3e-5] * 7680, r'interquartile .* like V: pass units=\{"eeg": "V"\}'),
        ("ecg", [0.5, -0.5] * 7680, r'like mV: pass units=\{"ecg": "mV"\}'),
    ],
)
def test_a_wrong_unit_is_noticed_by_its_size(name, values, message):
    with pytest.raises(InvalidSignalError, match=message):
        conditioned(name, values)


@pytest.mark.parametrize("unit", ["uV", "V"])
def test_infinite_values_are_refused_in_any_unit(eeg, unit):
    eeg[[3, 5]] = np.inf, -np.inf
    with pytest.raises(InvalidSignalError, match="'eeg' has 2 infinite values"):
        conditioned("eeg", eeg, unit=unit)


def test_a_rate_below_the_checkpoints_is_refused(eeg):
    needed = dataclasses.replace(MODALITIES["eeg"].conditioning, min_rate=64)
    with pytest.raises(
        InvalidSignalError, match=r"rate 50 Hz, .* at least 64 Hz.*without\('eeg'\)"
    ):
        condition(Signal(eeg, 50, "uV"), MODALITIES["eeg"], needed, 4)


def test_an_artefact_does_not_drown_the_night(eeg):
    plain = conditioned("eeg", eeg).epochs[3]
    eeg[100] = 1e6
    loud = conditioned("eeg", eeg).epochs
    assert np.abs(loud).max() == 20
    np.testing.assert_allclose(loud[3], plain, atol=0.2)


def test_counts_are_scaled_by_the_night(noise):
    counts, _ = noise("actigraphy")
    plain, other = conditioned("actigraphy", counts), conditioned("actigraphy", counts * 40)
    np.testing.assert_allclose(other.epochs, plain.epochs, rtol=1e-4)


def test_the_samples_given_are_left_alone(eeg):
    eeg[5:9] = np.nan
    before = eeg.copy()
    eeg.flags.writeable = False
    conditioned("eeg", eeg)
    np.testing.assert_array_equal(eeg, before)


@pytest.mark.parametrize("rate", [16, 32, 64])
def test_acceleration_stays_acceleration_where_the_encoder_takes_it(rate):
    taken = Conditioning(rate=32, min_rate=16, scaling="absolute")
    seconds = np.arange(N_EPOCHS * 30 * rate) / rate
    signal = Signal(1 + 0.5 * np.sin(seconds), rate, "g")
    found = condition(signal, MODALITIES["actigraphy"], taken, N_EPOCHS).epochs
    expected = 1 + 0.5 * np.sin(np.arange(found.size) / 32)
    np.testing.assert_allclose(found.reshape(-1)[99:-99], expected[99:-99], atol=2e-3)


def test_counts_are_not_taken_for_acceleration():
    taken = Conditioning(rate=32, min_rate=16)
    with pytest.raises(InvalidSignalError, match=r"'actigraphy' is in counts.*vector magnitude"):
        condition(Signal(np.arange(120.0), 1, "counts"), MODALITIES["actigraphy"], taken, N_EPOCHS)
