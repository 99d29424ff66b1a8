# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.signals.resampling import resample


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
