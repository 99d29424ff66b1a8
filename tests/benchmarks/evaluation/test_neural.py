# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from benchmarks.evaluation.hand_crafted import EEG_BANDS, hand_crafted_neural, spectral_table
from sleep2vec_sklearn import Recording

RATE, N_EPOCHS = 100, 12
SECONDS = np.arange(N_EPOCHS * 30 * RATE) / RATE


def night(values, **more):
    return Recording({"eeg": (values, RATE), **more})


@pytest.mark.parametrize(("band", "rate"), [("slow", 0.8), ("alpha", 10), ("beta", 20)])
def test_wave_is_in_its_band(band, rate):
    rng = np.random.default_rng(0)
    values = 20 * np.sin(2 * np.pi * rate * SECONDS) + rng.standard_normal(len(SECONDS))
    table = spectral_table(night(values), "eeg")
    shares = table[[f"share_{name}" for name in EEG_BANDS]].median()
    assert shares.idxmax() == f"share_{band}"
    assert abs(table["median_frequency"].median() - rate) < 0.5


def test_slow_waves_differ_from_noise():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(len(SECONDS))
    slow = spectral_table(night(noise + 20 * np.sin(5 * np.pi * SECONDS)), "eeg")
    fast = spectral_table(night(noise), "eeg")
    for name in ("edge", "mobility", "entropy"):
        assert slow[name].max() < fast[name].min()
    assert (slow["delta_to_beta"] > fast["delta_to_beta"]).all()


def test_gain_changes_nothing():
    values = 10 * np.random.default_rng(0).standard_normal(len(SECONDS))
    one, other = (spectral_table(night(g * values), "eeg") for g in (1, 7))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_epochs_without_signal_are_nan():
    values = 10 * np.random.default_rng(0).standard_normal(len(SECONDS))
    values[30 * RATE : 90 * RATE] = np.nan
    table = spectral_table(night(values), "eeg")
    np.testing.assert_array_equal(table.isna().all(axis=1), np.isin(np.arange(N_EPOCHS), [1, 2]))
    assert not table.drop(index=[1, 2]).isna().any().any()


def test_every_sensor_adds_its_columns():
    rng = np.random.default_rng(0)
    values = 10 * rng.standard_normal((2, len(SECONDS)))
    (one,) = hand_crafted_neural([night(values[0])])
    (two,) = hand_crafted_neural([night(values[0], eog=(values[1], RATE))])
    assert len(one) == len(two) == N_EPOCHS
    assert two.shape[1] > 1.8 * one.shape[1]
