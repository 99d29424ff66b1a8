# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings import MODALITIES, Recording
from sleep2vec_sklearn.recordings._conditioning import condition
from sleep2vec_sklearn.recordings.derivation import (
    counts_from_acceleration,
    counts_from_epochs,
    ibi_from_beats,
    ibi_from_heart_rate,
    ibi_from_intervals,
)


def beats_every(interval, duration):
    return np.arange(0, duration + interval / 2, interval)


def test_regular_beats_give_a_constant_series():
    series, rate = ibi_from_beats(beats_every(0.8, 60), duration=60)
    assert rate == 4.0
    assert series.shape == (240,)
    assert series.dtype == np.float32
    np.testing.assert_allclose(series, 0.8, atol=1e-6)


def test_slow_changes_of_the_interval_are_followed():
    times = np.cumsum(0.9 + 0.1 * np.sin(np.arange(400) / 20))
    series, rate = ibi_from_beats(times)
    at_beats = np.interp(times[50:60], np.arange(len(series)) / rate, series)
    np.testing.assert_allclose(at_beats, np.diff(times)[49:59], atol=0.005)


@pytest.mark.parametrize("change", ["missed", "doubled", "ectopic"])
def test_one_wrong_beat_leaves_no_trace(change):
    times = beats_every(1.0, 60)
    if change == "missed":
        times = np.delete(times, 30)
    elif change == "doubled":
        times = np.insert(times, 31, times[30] + 0.4)
    else:
        times[30] -= 0.35
    series, _ = ibi_from_beats(times, duration=60)
    np.testing.assert_allclose(series, 1.0, atol=1e-6)


def test_seconds_without_beats_are_a_gap():
    times = beats_every(1.0, 60)
    series, _ = ibi_from_beats(times[(times <= 20) | (times >= 40)], duration=60)
    seconds = np.arange(240) / 4
    assert np.isnan(series[(seconds > 20.5) & (seconds < 39.5)]).all()
    assert np.isfinite(series[(seconds <= 20) | (seconds >= 41)]).all()


def test_the_series_covers_the_duration_asked_for():
    series, _ = ibi_from_beats(beats_every(1.0, 30), duration=90)
    assert series.shape == (360,)
    assert np.isfinite(series[:120]).all()
    assert np.isnan(series[135:]).all()


def test_impossible_intervals_leave_only_gaps():
    series, _ = ibi_from_intervals(np.arange(1.0, 61), np.full(60, 0.1))
    assert np.isnan(series).all()


@settings(max_examples=30)
@given(st.lists(st.floats(0.01, 30), min_size=2, max_size=200))
def test_values_are_always_possible_intervals(intervals):
    series, _ = ibi_from_beats(np.cumsum(intervals))
    finite = series[np.isfinite(series)]
    assert ((finite >= np.float32(0.3)) & (finite <= 2.0)).all()


def test_the_pair_goes_into_a_recording():
    night = Recording({"ibi": ibi_from_beats(beats_every(0.75, 90), duration=90)})
    assert night.n_epochs == 3
    assert night.rates == {"ibi": 4.0}


def test_a_watch_s_heart_rate_is_told_apart_by_its_rate():
    times = np.arange(2.0, 90, 5)
    night = Recording({"ibi": ibi_from_heart_rate(times, np.full(18, 50.0), duration=90)})
    assert night.rates == {"ibi": 1.0}
    np.testing.assert_allclose(night["ibi"], 1.2, atol=1e-6)


def test_readings_far_apart_are_a_gap():
    series, _ = ibi_from_heart_rate([0, 50, 150, 200], [60, 60, 60, 60], duration=200)
    assert np.isfinite(series[:51]).all()
    assert np.isnan(series[51:150]).all()
    assert np.isfinite(series[150:]).all()


def test_no_reading_is_a_gap_and_heart_rates_out_of_range_are_dropped():
    series, _ = ibi_from_heart_rate([0, 10, 20, 30], [60, np.nan, 250, 60])
    np.testing.assert_allclose(series, 1.0)


def test_readings_before_the_start_count_for_what_follows():
    series, _ = ibi_from_heart_rate([-10, 10], [60, 30], duration=10)
    assert series[0] == pytest.approx(1.5)


def test_counts_keep_their_sum_and_their_gaps():
    counts = [30.0, 0.0, 60.0]
    series, rate = counts_from_epochs([0, 30, 90], counts, duration=150)
    assert (len(series), rate) == (150, 1.0)
    np.testing.assert_allclose(np.nansum(series), np.sum(counts))
    assert series[0] == 1.0
    assert series[95] == 2.0
    assert np.isnan(series[60:90]).all()
    assert np.isnan(series[120:]).all()


def test_counts_end_with_their_last_epoch_by_default():
    series, _ = counts_from_epochs([0, 15], [15.0, 30.0], epoch_seconds=15)
    np.testing.assert_allclose(series, np.repeat([1.0, 2.0], 15))


def swing(amplitude, seconds=60, rate=50):
    return 1 + amplitude * np.sin(2 * np.pi * np.arange(seconds * rate) / rate)


def test_a_wrist_at_rest_gives_no_counts_whatever_gravity():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 3000)
    for gravity in (0, 1):
        series, rate = counts_from_acceleration(gravity + noise, 50)
        assert (len(series), rate) == (60, 1.0)
        assert not series.any()


def test_larger_swings_give_more_counts_at_any_rate():
    small, large = (counts_from_acceleration(swing(a), 50)[0] for a in (0.3, 0.6))
    assert (large > 1.5 * small).all()
    slower, _ = counts_from_acceleration(swing(0.6, rate=25), 25)
    np.testing.assert_allclose(slower[5:-5], large[5:-5], rtol=0.1)


def test_gaps_in_acceleration_are_gaps_in_counts():
    values = swing(0.5)
    values[1000:1500] = np.nan
    series, _ = counts_from_acceleration(values, 50)
    assert np.isnan(series).tolist() == [20 <= second < 30 for second in range(60)]


def test_acceleration_in_g_is_conditioned_as_counts():
    night = Recording({"actigraphy": (swing(0.5), 50)}, units={"actigraphy": "g"})
    modality = MODALITIES["actigraphy"]
    conditioned = condition(night.signal("actigraphy"), modality, modality.conditioning, 2)
    assert conditioned.epochs.shape == (2, 30)
    assert (conditioned.epochs > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ibi_from_beats([1, 3, 2]), "entry 2 is 2 s after 3 s"),
        (lambda: ibi_from_beats([1, 1]), "not increasing"),
        (lambda: ibi_from_beats([1.0]), "at least two"),
        (lambda: ibi_from_beats([1.0, np.nan]), "NaN or infinity"),
        (lambda: ibi_from_beats(np.ones((2, 2))), r"shape \(2, 2\)"),
        (lambda: ibi_from_beats([1, 2], rate=0), "rate is 0"),
        (lambda: ibi_from_beats([1, 2], duration=-1), "duration is -1"),
        (lambda: ibi_from_intervals([1, 2], [1, -1]), "hold -1 s"),
        (lambda: ibi_from_heart_rate([1, 2], [60, -5]), "bpm holds -5"),
        (lambda: ibi_from_heart_rate([1, 2], [60, 0]), "bpm holds 0"),
        (lambda: ibi_from_heart_rate([1, 2], [60]), r"shape \(1,\) for 2 times"),
        (lambda: counts_from_acceleration(np.ones((9, 3)), 50), "magnitude of the axes"),
        (lambda: counts_from_acceleration(np.ones(90), 1), "at least 5 Hz"),
        (lambda: counts_from_epochs([0, 30], [1, -1]), "counts hold -1"),
        (lambda: counts_from_epochs([0, 20], [1, 1]), "overlap"),
        (lambda: counts_from_epochs([0], [1], epoch_seconds=0), "more than 0"),
    ],
)
def test_errors_say_what_was_found(call, message):
    with pytest.raises(InvalidSignalError, match=message):
        call()
