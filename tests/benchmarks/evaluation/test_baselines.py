# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from benchmarks.evaluation.hand_crafted import (
    LONG_SHIFTS,
    _long,
    _rolling,
    epoch_series,
    hand_crafted_long,
    hand_crafted_short,
    samples_by_epoch,
    short_table,
    time_of_night,
)
from sleep2vec_sklearn import Recording


def night(beats_per_minute=60.0, counts=0.0, n_epochs=10, **options):
    """One value of either sensor for each epoch."""
    beats = np.broadcast_to(60 / np.asarray(beats_per_minute, float), (n_epochs,))
    counts = np.broadcast_to(np.asarray(counts, float), (n_epochs,))
    signals = {"ibi": (np.repeat(beats, 120), 4), "actigraphy": (np.repeat(counts, 30), 1)}
    return Recording(signals, **options)


def test_heart_rate_against_median():
    series = epoch_series(night([50, 60, 60, 60, 60, 60, 60, 60, 60, 80]))
    np.testing.assert_allclose(series["heart_rate"], [-10, *[0] * 8, 20], atol=1e-4)
    np.testing.assert_allclose(series["heart_rate_change"][1:], [10, *[0] * 7, 20], atol=1e-4)


def test_activity_is_log_count():
    series = epoch_series(night(counts=[0, 2, *[0] * 8]))
    np.testing.assert_allclose(series["activity"], [0, np.log(61), *[0] * 8])


def test_spread_follows_heart_variability():
    steady = night()
    values = np.tile([0.9, 1.1], 600)
    wild = Recording({"ibi": (values, 4), "actigraphy": (np.zeros(300), 1)})
    low, high = (epoch_series(r)["heart_rate_sd"] for r in (steady, wild))
    np.testing.assert_allclose(low, np.log(0.3), atol=1e-3)
    assert (high > low + 1).all()


def test_watch_units_are_equivalent():
    intervals = night([50, 70] * 5)
    watch = Recording(
        {"ibi": (np.repeat([50.0, 70.0] * 5, 120), 4), "actigraphy": (np.zeros(300), 1)},
        units={"ibi": "bpm"},
    )
    for make in (hand_crafted_short, hand_crafted_long):
        np.testing.assert_allclose(*(make([r])[0] for r in (intervals, watch)), atol=1e-3)


@pytest.mark.parametrize("missing", ["ibi", "actigraphy"])
def test_missing_sensor_is_nan(missing):
    series = epoch_series(night([50, 70] * 5, 3).without(missing))
    pulse = series[["heart_rate", "heart_rate_sd", "heart_rate_change"]]
    absent, there = (pulse, series["activity"])[:: 1 if missing == "ibi" else -1]
    assert np.isnan(absent.to_numpy()).all()
    assert np.isfinite(there.to_numpy()).any()


def test_early_end_leaves_nan():
    short = Recording({"ibi": (np.ones(600), 4), "actigraphy": (np.ones(300), 1)}, duration=300)
    pulse = epoch_series(short)["heart_rate"]
    np.testing.assert_array_equal(np.isnan(pulse), np.arange(10) >= 5)


@pytest.mark.parametrize("n_epochs", [25, 41])
def test_one_row_per_epoch(n_epochs):
    rng = np.random.default_rng(0)
    recording = night(rng.uniform(50, 80, n_epochs), rng.gamma(1, 2, n_epochs), n_epochs)
    for make in (hand_crafted_short, hand_crafted_long):
        (rows,) = make([recording])
        assert rows.shape[0] == n_epochs
        assert np.isfinite(rows[1:]).all()


def test_recordings_do_not_mix():
    first, second = night([50, 70] * 5), night([80, 60] * 5, 4)
    for make in (hand_crafted_short, hand_crafted_long):
        together = make([first, second])
        for rows, recording in zip(together, (first, second), strict=True):
            np.testing.assert_array_equal(rows, make([recording])[0])


def test_long_context_has_more_columns():
    assert set(time_of_night(4)) <= set(short_table(night())) & set(_long(night()))
    assert _long(night()).shape[1] > 4 * short_table(night()).shape[1]
    assert hand_crafted_short([night()])[0].shape[1] == short_table(night()).shape[1]
    assert hand_crafted_long([night()])[0].shape[1] == _long(night()).shape[1]


def test_short_context_stays_near():
    plain, moved = (short_table(night(counts=c, n_epochs=40)) for c in (0, [*[0] * 39, 50]))
    far = plain.index < 30
    np.testing.assert_array_equal(plain[far], moved[far])
    assert not plain[~far].equals(moved[~far])


@pytest.mark.parametrize("shift", LONG_SHIFTS)
def test_shifted_copies_have_right_sign(shift):
    counts = np.zeros(60)
    counts[30] = 100
    table = _long(night(counts=counts, n_epochs=60))
    assert table[f"activity_shift{shift}"].argmax() in range(30 + shift - 1, 30 + shift + 2)


def test_rolling_windows_are_centred():
    table = epoch_series(night(counts=[0] * 7 + [9] + [0] * 7, n_epochs=15))
    mean = _rolling(table[["activity"]], 5, ("mean",))["activity_mean5"]
    assert np.flatnonzero(mean).tolist() == [5, 6, 7, 8, 9]


def test_time_of_night_columns():
    time = time_of_night(240)
    assert time["hours"][[0, 120]].tolist() == [0, 1]
    assert (time["share_of_night"][0], time["share_of_night"][120]) == (0, 0.5)
    assert time["first_hour"][120] == pytest.approx(np.exp(-1))
    np.testing.assert_array_equal(time["hours_squared"], time["hours"] ** 2)


def test_samples_in_canonical_unit():
    short = Recording({"ibi": (np.full(600, 900.0), 4)}, units={"ibi": "ms"}, duration=300)
    samples = samples_by_epoch(short, "ibi")
    assert samples.shape == (10, 120)
    np.testing.assert_allclose(samples[:5], 0.9, rtol=1e-6)
    assert np.isnan(samples[5:]).all()
