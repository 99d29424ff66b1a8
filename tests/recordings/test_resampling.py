# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from sleep2vec_sklearn.recordings._resampling import _as_whole_numbers, resample


def sine(frequency, rate, seconds=60):
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("from_rate", [50, 99.9, 100, 200, 256, 500, 512, 1000 / 3])
def test_a_waveform_keeps_its_shape_at_another_rate(from_rate):
    values = resample(sine(3, from_rate).astype(np.float32), from_rate, 128, "polyphase")
    expected = sine(3, 128)
    assert values.dtype == np.float32
    assert abs(len(values) - len(expected)) <= 1
    n = min(len(values), len(expected)) - 256
    np.testing.assert_allclose(values[256:n], expected[256:n], atol=0.01)


@pytest.mark.parametrize("from_rate", [128.05, 127.97, 128.002, 99.97])
def test_a_clock_that_is_a_little_off_does_not_drift_over_a_night(from_rate):
    beat = sine(3, from_rate, seconds=3600).astype(np.float32)
    found = resample(beat, from_rate, 128, "polyphase")
    expected = sine(3, 128, seconds=3600)
    assert abs(len(found) - len(expected)) <= 1
    last = slice(len(expected) - 128 * 60, len(expected) - 128 * 2)
    np.testing.assert_allclose(found[last], expected[last], atol=0.02)


@given(rate=st.floats(1, 1000))
def test_no_rate_drifts_by_more_than_the_hundredth_of_an_epoch_in_a_night(rate):
    up, down = _as_whole_numbers(128, rate)
    assert abs(up / down * rate / 128 - 1) * 8 * 3600 < 0.3


@pytest.mark.parametrize("from_rate", [1250, 5000, 20000])
def test_a_breath_recorded_at_a_very_high_rate_keeps_its_length(from_rate):
    values = resample(sine(0.25, from_rate).astype(np.float32), from_rate, 4, "polyphase")
    assert len(values) == 240
    np.testing.assert_allclose(values[20:-20], sine(0.25, 4)[20:-20], atol=0.01)


def test_what_the_new_rate_cannot_hold_is_removed():
    values = resample(sine(100, 512).astype(np.float32), 512, 128, "polyphase")
    assert np.abs(values[128:-128]).max() < 0.01


def test_the_same_rate_is_left_alone():
    values = np.arange(9.0)
    assert resample(values, 4, 4, "polyphase") is values


@pytest.mark.parametrize("from_rate", [127.9999, 128.0001])
def test_almost_the_same_rate_is_left_alone(from_rate):
    values = np.arange(9, dtype=np.float32)
    np.testing.assert_array_equal(resample(values, from_rate, 128, "polyphase"), values)


def test_a_step_of_a_level_does_not_ring():
    steps = np.repeat(np.float32([97, 88, 95]), 20)
    values = resample(steps, 1, 4, "linear")
    assert len(values) == 240
    assert (values.min(), values.max()) == (88, 97)


@pytest.mark.parametrize("rate", [0.5, 1 / 30, 1 / 60, 10, 32])
def test_counts_keep_their_mean(rate):
    counts = np.random.default_rng(0).poisson(3, round(600 * rate)).astype(np.float32)
    values = resample(counts, rate, 1, "mean")
    assert len(values) == 600
    assert values.mean() == pytest.approx(counts.mean(), rel=1e-5)


def test_counts_of_a_minute_are_held_for_a_minute():
    values = resample(np.float32([0, 60, 5]), 1 / 60, 1, "mean")
    np.testing.assert_allclose(values, np.repeat([0, 60, 5], 60), rtol=1e-6)


@settings(max_examples=40)
@given(
    from_rate=st.sampled_from([50, 64, 99.9, 100, 200, 250, 256, 512]),
    to_rate=st.sampled_from([100, 128]),
    frequency=st.floats(0.5, 15),
    amplitude=st.floats(1, 500),
    phase=st.floats(-3, 3),
)
def test_any_sine_keeps_its_amplitude_and_phase(from_rate, to_rate, frequency, amplitude, phase):
    seconds = 20
    values = wave(frequency, from_rate, seconds, amplitude, phase)
    found = resample(values, from_rate, to_rate, "polyphase")
    expected = wave(frequency, to_rate, seconds, amplitude, phase)
    n = min(len(found), len(expected)) - 2 * to_rate
    error = np.abs(found[2 * to_rate : n] - expected[2 * to_rate : n])
    assert error.max() < 0.02 * amplitude


def wave(frequency, rate, seconds, amplitude, phase):
    time = np.arange(round(rate * seconds)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time + phase)).astype(np.float32)


@settings(max_examples=30)
@given(
    from_rate=st.sampled_from([0.5, 1, 3, 10, 99.9, 1000 / 3]),
    to_rate=st.sampled_from([1, 4, 100, 128]),
    n_seconds=st.integers(30, 90),
    method=st.sampled_from(["polyphase", "linear", "mean"]),
)
def test_a_night_keeps_its_length_in_seconds(from_rate, to_rate, n_seconds, method):
    values = np.ones(round(n_seconds * from_rate), dtype=np.float32)
    found = resample(values, from_rate, to_rate, method)
    assert abs(len(found) / to_rate - len(values) / from_rate) <= 1 / to_rate
    assert found.dtype == np.float32


@pytest.mark.parametrize("method", ["polyphase", "linear", "mean"])
@pytest.mark.parametrize(("from_rate", "to_rate"), [(1, 4), (10, 4), (512, 128), (1 / 30, 1)])
def test_a_constant_stays_what_it_is(method, from_rate, to_rate):
    values = np.full(600, 93.0, dtype=np.float32)
    np.testing.assert_allclose(resample(values, from_rate, to_rate, method), 93.0, rtol=2e-3)


@given(from_rate=st.sampled_from([0.5, 1, 2, 3, 2.5]))
def test_levels_lie_on_the_line_between_their_samples(from_rate):
    values = np.random.default_rng(0).uniform(80, 99, 60).astype(np.float32)
    found = resample(values, from_rate, 4, "linear")
    assert len(found) == round(60 * 4 / from_rate)
    times = np.arange(len(found)) / 4
    expected = np.interp(times, np.arange(60) / from_rate, values)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_levels_that_come_too_fast_are_smoothed_not_picked():
    flicker = np.tile(np.float32([90, 100]), 600)
    found = resample(flicker, 40, 4, "linear")
    np.testing.assert_allclose(found[5:-5], 95, atol=0.1)


@given(step=st.sampled_from([0.5, 2, 3, 2.5, 30, 1 / 30]))
def test_the_sum_of_counts_per_second_is_kept(step):
    counts = np.random.default_rng(0).poisson(5, 60).astype(np.float32)
    found = resample(counts, step, 1, "mean")
    lengths = np.ones(len(found))
    lengths[-1] = 60 / step - (len(found) - 1)
    assert (found * lengths).sum() == pytest.approx(counts.sum() / step, rel=1e-4)


def test_the_mean_over_a_new_interval_splits_a_sample_it_cuts():
    found = resample(np.float32([2, 4, 6]), 1, 2 / 3, "mean")
    np.testing.assert_allclose(found, [(2 + 4 / 2) / 1.5, (4 / 2 + 6) / 1.5], rtol=1e-6)


def test_an_unfinished_interval_is_the_mean_of_what_there_is():
    found = resample(np.float32([1, 3, 8]), 2, 1, "mean")
    np.testing.assert_allclose(found, [2, 8])


@pytest.mark.parametrize(
    ("to_rate", "from_rate", "ratio"),
    [(128, 512, (1, 4)), (128, 99.9, (1280, 999)), (4, 5000, (1, 1250)), (4, 1000 / 3, (3, 250))],
)
def test_rates_become_a_ratio_of_whole_numbers(to_rate, from_rate, ratio):
    assert _as_whole_numbers(to_rate, from_rate) == ratio
    assert _as_whole_numbers(from_rate, to_rate) == ratio[::-1]


def test_a_ramp_does_not_ring_at_its_ends():
    ramp = np.linspace(0, 100, 5120).astype(np.float32)
    found = resample(ramp, 512, 128, "polyphase")
    np.testing.assert_allclose(found, ramp[::4], atol=0.2)


@settings(max_examples=60)
@given(
    rates=st.sampled_from(
        [(256, 128), (125, 128), (200, 128), (500, 128), (32, 4), (1000, 4), (100, 200), (127, 128)]
    ),
    n_samples=st.integers(1000, 30_000),
)
def test_a_waveform_is_resampled_as_scipy_does(rates, n_samples):
    from_rate, to_rate = rates
    noise = np.random.default_rng(n_samples).normal(np.linspace(-5, 9, n_samples))
    values = noise.astype(np.float32)
    up, down = _as_whole_numbers(to_rate, from_rate)
    expected = resample_poly(values.astype(np.float64), up, down, padtype="line")
    found = resample(values, from_rate, to_rate, "polyphase")
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_samples_given_to_be_resampled_are_left_alone():
    values = np.arange(5000, dtype=np.float32)
    values.flags.writeable = False
    resample(values, 256, 128, "polyphase")
    assert values[-1] == 4999
