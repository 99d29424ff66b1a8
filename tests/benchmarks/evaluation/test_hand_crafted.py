# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

from benchmarks.evaluation.hand_crafted import (
    EEG_BANDS,
    LONG_SHIFTS,
    _long,
    _rolling,
    epoch_series,
    hand_crafted_heart,
    hand_crafted_long,
    hand_crafted_neural,
    hand_crafted_short,
    samples_by_epoch,
    short_table,
    spectral_table,
    time_of_night,
    variability,
)
from sleep2vec_sklearn import Recording


def night(beats_per_minute=60.0, counts=0.0, n_epochs=10, **options):
    """One value of either sensor for each epoch."""
    beats = np.broadcast_to(60 / np.asarray(beats_per_minute, float), (n_epochs,))
    counts = np.broadcast_to(np.asarray(counts, float), (n_epochs,))
    signals = {"ibi": (np.repeat(beats, 120), 4), "actigraphy": (np.repeat(counts, 30), 1)}
    return Recording(signals, **options)


def test_heart_rate_and_activity():
    series = epoch_series(night([50, 60, 60, 60, 60, 60, 60, 60, 60, 80]))
    np.testing.assert_allclose(series["heart_rate"], [-10, *[0] * 8, 20], atol=1e-4)
    np.testing.assert_allclose(series["heart_rate_change"][1:], [10, *[0] * 7, 20], atol=1e-4)
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


def test_context_is_near_or_long():
    assert set(time_of_night(4)) <= set(short_table(night())) & set(_long(night()))
    assert _long(night()).shape[1] > 4 * short_table(night()).shape[1]
    assert hand_crafted_short([night()])[0].shape[1] == short_table(night()).shape[1]
    assert hand_crafted_long([night()])[0].shape[1] == _long(night()).shape[1]
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
    short = Recording({"ibi": (np.ones(600), 4), "actigraphy": (np.ones(300), 1)}, duration=300)
    pulse = epoch_series(short)["heart_rate"]
    np.testing.assert_array_equal(np.isnan(pulse), np.arange(10) >= 5)


HEART_EPOCHS = 60
BEAT_SECONDS = np.arange(HEART_EPOCHS * 120) / 4


def intervals_of(values):
    return Recording({"ibi": (values, 4)})


def test_oscillations_show_in_their_band():
    waves = {"cyclic": 0.025, "low": 0.1, "high": 0.25}
    shares = {
        band: variability(intervals_of(0.9 + 0.05 * np.sin(2 * np.pi * rate * BEAT_SECONDS)))[
            [f"share_{b}_300" for b in waves]
        ].median()
        for band, rate in waves.items()
    }
    assert all(share.idxmax() == f"share_{band}_300" for band, share in shares.items())
    assert min(share.max() for share in shares.values()) > 0.8


def test_cyclic_power_is_local():
    values = np.full(len(BEAT_SECONDS), 0.9)
    later = BEAT_SECONDS[-1] / 2 <= BEAT_SECONDS
    values[later] += 0.05 * np.sin(2 * np.pi * 0.025 * BEAT_SECONDS[later])
    power = variability(intervals_of(values))["log_cyclic_120"].to_numpy()
    assert power[:25].max() < power[35:].min() - 2
    table = variability(intervals_of(np.full(len(BEAT_SECONDS), np.nan)))
    assert len(table) == HEART_EPOCHS
    assert table[["log_cyclic_120", "peak_300", "rmssd"]].isna().all().all()


def test_variability_follows_interval_spread():
    rng = np.random.default_rng(0)
    calm, wild = (
        variability(intervals_of(0.9 + s * rng.standard_normal(len(BEAT_SECONDS))))
        for s in (0.01, 0.1)
    )
    np.testing.assert_allclose(wild["sdnn"], np.log(0.1), atol=0.3)
    assert (wild["rmssd"] > calm["rmssd"] + 1).all()
    assert calm["large_steps"].max() < wild["large_steps"].min()


def test_heart_features_survive_gaps():
    rng = np.random.default_rng(0)
    values = 0.9 + 0.05 * rng.standard_normal(len(BEAT_SECONDS))
    values[3000:4500] = np.nan
    watch = Recording({"ibi": (values[::4], 1)})
    blocks = hand_crafted_heart([intervals_of(values), intervals_of(values[: 31 * 120])])
    assert [len(block) for block in blocks] == [HEART_EPOCHS, 31]
    assert blocks[0].shape[1] == blocks[1].shape[1]
    assert len(hand_crafted_heart([watch])[0]) == HEART_EPOCHS
    assert np.isfinite(blocks[0]).mean() > 0.8


EEG_RATE, EEG_EPOCHS = 100, 12
EEG_SECONDS = np.arange(EEG_EPOCHS * 30 * EEG_RATE) / EEG_RATE


def eeg_of(values, **more):
    return Recording({"eeg": (values, EEG_RATE), **more})


@pytest.mark.parametrize(("band", "rate"), [("slow", 0.8), ("alpha", 10), ("beta", 20)])
def test_wave_is_in_its_band(band, rate):
    rng = np.random.default_rng(0)
    values = 20 * np.sin(2 * np.pi * rate * EEG_SECONDS) + rng.standard_normal(len(EEG_SECONDS))
    table = spectral_table(eeg_of(values), "eeg")
    shares = table[[f"share_{name}" for name in EEG_BANDS]].median()
    assert shares.idxmax() == f"share_{band}"
    assert abs(table["median_frequency"].median() - rate) < 0.5


def test_slow_waves_differ_from_noise():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(len(EEG_SECONDS))
    slow = spectral_table(eeg_of(noise + 20 * np.sin(5 * np.pi * EEG_SECONDS)), "eeg")
    fast = spectral_table(eeg_of(noise), "eeg")
    for name in ("edge", "mobility", "entropy"):
        assert slow[name].max() < fast[name].min()
    assert (slow["delta_to_beta"] > fast["delta_to_beta"]).all()


def test_gain_and_gaps_of_eeg():
    values = 10 * np.random.default_rng(0).standard_normal(len(EEG_SECONDS))
    one, other = (spectral_table(eeg_of(g * values), "eeg") for g in (1, 7))
    np.testing.assert_allclose(one, other, atol=1e-4)
    values[30 * EEG_RATE : 90 * EEG_RATE] = np.nan
    table = spectral_table(eeg_of(values), "eeg")
    np.testing.assert_array_equal(table.isna().all(axis=1), np.isin(np.arange(EEG_EPOCHS), [1, 2]))
    assert not table.drop(index=[1, 2]).isna().any().any()


def test_every_sensor_adds_its_columns():
    rng = np.random.default_rng(0)
    values = 10 * rng.standard_normal((2, len(EEG_SECONDS)))
    (one,) = hand_crafted_neural([eeg_of(values[0])])
    (two,) = hand_crafted_neural([eeg_of(values[0], eog=(values[1], EEG_RATE))])
    assert len(one) == len(two) == EEG_EPOCHS
    assert two.shape[1] > 1.8 * one.shape[1]
