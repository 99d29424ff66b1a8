# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt

from sleep2vec_sklearn.recordings._resampling import band_filter

BANDS = {"band": (0.3, 35.0), "high": (0.5, None), "low": (None, 20.0)}


def noise(n_samples, level=3):
    return np.random.default_rng(n_samples).normal(level, 2, n_samples).astype(np.float32)


@settings(max_examples=40)
@given(n_samples=st.integers(1, 200_000), kind=st.sampled_from(sorted(BANDS)))
def test_a_night_in_blocks_is_filtered_as_scipy_does_in_one_go(n_samples, kind):
    values = noise(n_samples)
    corners = [corner for corner in BANDS[kind] if corner]
    sections = butter(2, corners if len(corners) > 1 else corners[0], kind, fs=128, output="sos")
    expected = sosfiltfilt(sections, values.astype(np.float64), padlen=min(n_samples - 1, 15))
    band_filter(values, BANDS[kind], 128.0)
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_below_its_band_a_filter_leaves_nothing():
    time = np.arange(1 << 17) / 128
    drift = (1000 * np.sin(2 * np.pi * 0.001 * time)).astype(np.float32)
    band_filter(drift, (0.3, 35.0), 128.0)
    assert np.abs(drift[2000:-2000]).max() < 1e-4


def test_a_large_offset_is_removed():
    values = noise(20_000, level=1e6)
    band_filter(values, (0.3, 35.0), 128.0)
    assert abs(values.mean()) < 1e-2


@pytest.mark.parametrize("rate", [4.0, 128.0])
def test_without_corners_nothing_happens(rate):
    values = noise(100)
    band_filter(values, (None, None), rate)
    np.testing.assert_array_equal(values, noise(100))
