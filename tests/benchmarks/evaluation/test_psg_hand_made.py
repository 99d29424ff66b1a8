# SPDX-License-Identifier: BSD-3-Clause
"""Rows for a linear head: free of gain, with context, and gaps stay gaps."""

import numpy as np
import pytest

from benchmarks.evaluation.psg_nights import WIDTHS, HandCrafted
from sleep2vec_sklearn import Recording

N_EPOCHS = 6


def test_units_and_gain_cancel(noise):
    values, rate = noise("eeg", N_EPOCHS)
    rows = [
        HandCrafted().epochs([Recording({"eeg": (scaled, rate)}, units={"eeg": unit})], ["eeg"])
        for scaled, unit in ((values, "uV"), (values * 3, "uV"), (values / 1000, "mV"))
    ]
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-3)
    np.testing.assert_allclose(rows[2], rows[0], atol=1e-3)


def test_missing_sensor_is_nan(noise):
    night = Recording({name: noise(name, N_EPOCHS) for name in ("eeg", "spo2")})
    both = HandCrafted().epochs([night], ["eeg", "spo2"])
    without = HandCrafted().epochs([night.without("spo2")], ["eeg", "spo2"])
    lost = np.isnan(without).all(axis=0)
    np.testing.assert_allclose(without[:, ~lost], both[:, ~lost], atol=1e-5)
    assert lost.sum() == 5 * WIDTHS["spo2"]


def test_minutes_around_skip_gaps():
    values = np.full(4 * 30 * N_EPOCHS, 95.0)
    values[120:240] = np.nan
    values[240:360] = 90.0
    rows = HandCrafted().epochs([Recording({"spo2": (values, 4)})], ["spo2"])
    mean_of_five = rows[:, WIDTHS["spo2"]]
    np.testing.assert_allclose(mean_of_five[0], -2.5, atol=1e-5)
    np.testing.assert_allclose(mean_of_five[3], -1.25, atol=1e-5)


def test_night_summary_is_absolute(noise):
    values, rate = noise("spo2", N_EPOCHS)
    rows = HandCrafted().nights([Recording({"spo2": (values, rate)})], ["spo2"])
    assert rows.shape == (1, 4 * WIDTHS["spo2"])
    assert rows[0, 0] == pytest.approx(values.mean(), abs=0.01)


def test_sensor_is_read_once(noise, counting_source):
    source = counting_source({"spo2": (*noise("spo2", N_EPOCHS), "%")})
    features = HandCrafted()
    for _ in range(2):
        features.epochs([Recording.from_source(source)], ["spo2"])
    assert source.reads == [("spo2",)]
