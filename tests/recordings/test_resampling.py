# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, resample_poly, sosfiltfilt

from sleep2vec_sklearn.recordings._resampling import _as_whole_numbers, band_filter, resample

BANDS = {"band": (0.3, 35.0), "high": (0.5, None), "low": (None, 20.0)}


def noise(n_samples, level=3):
    return np.random.default_rng(n_samples).normal(level, 2, n_samples).astype(np.float32)


@settings(max_examples=40)
@given(n_samples=st.integers(1, 200_000), kind=st.sampled_from(sorted(BANDS)))
def test_blocked_filter_matches_scipy(n_samples, kind):
    values = noise(n_samples)
    corners = [corner for corner in BANDS[kind] if corner]
    sections = butter(2, corners if len(corners) > 1 else corners[0], kind, fs=128, output="sos")
    expected = sosfiltfilt(sections, values.astype(np.float64), padlen=min(n_samples - 1, 15))
    band_filter(values, BANDS[kind], 128.0)
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_filter_removes_drift_and_offset():
    time = np.arange(1 << 17) / 128
    drift = (1000 * np.sin(2 * np.pi * 0.001 * time)).astype(np.float32)
    band_filter(drift, (0.3, 35.0), 128.0)
    assert np.abs(drift[2000:-2000]).max() < 1e-4
    values = noise(20_000, level=1e6)
    band_filter(values, (0.3, 35.0), 128.0)
    assert abs(values.mean()) < 1e-2


@pytest.mark.parametrize("rate", [4.0, 128.0])
def test_open_band_changes_nothing(rate):
    values = noise(100)
    band_filter(values, (None, None), rate)
    np.testing.assert_array_equal(values, noise(100))


def sine(frequency, rate, seconds=60):
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("from_rate", [128.05, 127.97, 128.002, 99.97])
def test_clock_error_does_not_drift(from_rate):
    beat = sine(3, from_rate, seconds=3600).astype(np.float32)
    found = resample(beat, from_rate, 128, "polyphase")
    expected = sine(3, 128, seconds=3600)
    assert abs(len(found) - len(expected)) <= 1
    last = slice(len(expected) - 128 * 60, len(expected) - 128 * 2)
    np.testing.assert_allclose(found[last], expected[last], atol=0.02)


@given(rate=st.floats(1, 1000))
def test_no_rate_drifts_overnight(rate):
    up, down = _as_whole_numbers(128, rate)
    assert abs(up / down * rate / 128 - 1) * 8 * 3600 < 0.3


@pytest.mark.parametrize("from_rate", [1250, 5000, 20000])
def test_high_rates_keep_length(from_rate):
    values = resample(sine(0.25, from_rate).astype(np.float32), from_rate, 4, "polyphase")
    assert len(values) == 240
    np.testing.assert_allclose(values[20:-20], sine(0.25, 4)[20:-20], atol=0.01)


def test_fast_changes_are_smoothed():
    values = resample(sine(100, 512).astype(np.float32), 512, 128, "polyphase")
    assert np.abs(values[128:-128]).max() < 0.01
    flicker = np.tile(np.float32([90, 100]), 600)
    found = resample(flicker, 40, 4, "linear")
    np.testing.assert_allclose(found[5:-5], 95, atol=0.1)


@pytest.mark.parametrize("from_rate", [128, 127.9999, 128.0001])
def test_same_rate_is_untouched(from_rate):
    values = np.arange(9, dtype=np.float32)
    np.testing.assert_array_equal(resample(values, from_rate, 128, "polyphase"), values)


def test_counts_are_averaged():
    values = resample(np.float32([0, 60, 5]), 1 / 60, 1, "mean")
    np.testing.assert_allclose(values, np.repeat([0, 60, 5], 60), rtol=1e-6)
    found = resample(np.float32([2, 4, 6]), 1, 2 / 3, "mean")
    np.testing.assert_allclose(found, [(2 + 4 / 2) / 1.5, (4 / 2 + 6) / 1.5], rtol=1e-6)
    found = resample(np.float32([1, 3, 8]), 2, 1, "mean")
    np.testing.assert_allclose(found, [2, 8])


@settings(max_examples=30)
@given(
    from_rate=st.sampled_from([0.5, 1, 3, 10, 99.9, 1000 / 3]),
    to_rate=st.sampled_from([1, 4, 100, 128]),
    n_seconds=st.integers(30, 90),
    method=st.sampled_from(["polyphase", "linear", "mean"]),
)
def test_length_in_seconds_is_kept(from_rate, to_rate, n_seconds, method):
    values = np.ones(round(n_seconds * from_rate), dtype=np.float32)
    found = resample(values, from_rate, to_rate, method)
    assert abs(len(found) / to_rate - len(values) / from_rate) <= 1 / to_rate
    assert found.dtype == np.float32


@pytest.mark.parametrize("method", ["polyphase", "linear", "mean"])
@pytest.mark.parametrize(("from_rate", "to_rate"), [(1, 4), (10, 4), (512, 128), (1 / 30, 1)])
def test_constant_stays_constant(method, from_rate, to_rate):
    values = np.full(600, 93.0, dtype=np.float32)
    np.testing.assert_allclose(resample(values, from_rate, to_rate, method), 93.0, rtol=2e-3)


@given(from_rate=st.sampled_from([0.5, 1, 2, 3, 2.5]))
def test_levels_are_interpolated_linearly(from_rate):
    values = np.random.default_rng(0).uniform(80, 99, 60).astype(np.float32)
    found = resample(values, from_rate, 4, "linear")
    assert len(found) == round(60 * 4 / from_rate)
    times = np.arange(len(found)) / 4
    expected = np.interp(times, np.arange(60) / from_rate, values)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(step=st.sampled_from([0.5, 2, 3, 2.5, 30, 1 / 30]))
def test_count_sum_is_kept(step):
    counts = np.random.default_rng(0).poisson(5, 60).astype(np.float32)
    found = resample(counts, step, 1, "mean")
    lengths = np.ones(len(found))
    lengths[-1] = 60 / step - (len(found) - 1)
    assert (found * lengths).sum() == pytest.approx(counts.sum() / step, rel=1e-4)


@pytest.mark.parametrize(
    ("to_rate", "from_rate", "ratio"),
    [(128, 512, (1, 4)), (128, 99.9, (1280, 999)), (4, 5000, (1, 1250)), (4, 1000 / 3, (3, 250))],
)
def test_rates_become_whole_ratios(to_rate, from_rate, ratio):
    assert _as_whole_numbers(to_rate, from_rate) == ratio
    assert _as_whole_numbers(from_rate, to_rate) == ratio[::-1]


@settings(max_examples=60)
@given(
    rates=st.sampled_from(
        [(256, 128), (125, 128), (200, 128), (500, 128), (32, 4), (1000, 4), (100, 200), (127, 128)]
    ),
    n_samples=st.integers(1000, 30_000),
)
def test_resampling_matches_scipy(rates, n_samples):
    from_rate, to_rate = rates
    noise = np.random.default_rng(n_samples).normal(np.linspace(-5, 9, n_samples))
    values = noise.astype(np.float32)
    up, down = _as_whole_numbers(to_rate, from_rate)
    expected = resample_poly(values.astype(np.float64), up, down, padtype="line")
    found = resample(values, from_rate, to_rate, "polyphase")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_input_is_not_modified():
    values = np.arange(5000, dtype=np.float32)
    values.flags.writeable = False
    resample(values, 256, 128, "polyphase")
    assert values[-1] == 4999
