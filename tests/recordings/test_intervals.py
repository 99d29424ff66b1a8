# SPDX-License-Identifier: BSD-3-Clause
"""Laws of inter-beat-interval series: where a value stands, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings.derivation import (
    ibi_from_beats,
    ibi_from_heart_rate,
    ibi_from_intervals,
)

SECONDS = np.arange(1.0, 61.0)


def seconds_of(series, rate=4.0):
    return np.arange(len(series)) / rate


@given(shift=st.integers(1, 80), interval=st.sampled_from([0.5, 0.75, 1.0, 1.5]))
def test_a_later_start_of_the_beats_shifts_the_series(shift, interval):
    intervals = interval * (1 + 0.1 * np.sin(np.arange(40)))
    beats = np.cumsum(intervals)
    plain, _ = ibi_from_beats(beats, duration=100)
    later, _ = ibi_from_beats(beats + shift / 4, duration=100)
    np.testing.assert_allclose(later[shift:], plain[:-shift], atol=1e-5)


def test_an_interval_stands_at_the_beat_that_ends_it():
    intervals = np.where(np.arange(60) % 2, 1.0, 1.25)
    beats = np.concatenate([[0], np.cumsum(intervals)])
    series, rate = ibi_from_beats(beats)
    places = np.round(beats[1:-1] * rate).astype(int)
    np.testing.assert_allclose(series[places], intervals[:-1], atol=1e-6)


def test_between_two_beats_the_interval_changes_linearly():
    series, _ = ibi_from_intervals([1, 2, 3], [1.0, 1.2, 1.0], duration=3)
    np.testing.assert_allclose(series[4:12], [1, 1.05, 1.1, 1.15, 1.2, 1.15, 1.1, 1.05], rtol=1e-6)


@given(rate=st.sampled_from([1.0, 2.0, 4.0, 7.5, 10.0]), duration=st.integers(30, 90))
def test_the_length_is_the_whole_samples_of_the_duration(rate, duration):
    series, told = ibi_from_beats(np.arange(20.0), duration=duration, rate=rate)
    assert (len(series), told) == (int(duration * rate), rate)


@pytest.mark.parametrize("rate", [3.0, 4.0, 10.0])
def test_rounding_of_a_duration_costs_no_sample(rate):
    series, _ = ibi_from_beats(SECONDS, duration=29.999999999, rate=rate)
    assert len(series) == 30 * rate


@pytest.mark.parametrize(("gap", "is_gap"), [(5.0, False), (5.25, True)])
def test_a_gap_begins_above_its_longest_bridge(gap, is_gap):
    times = np.concatenate([np.arange(1.0, 21.0), 20.0 + gap + np.arange(20.0)])
    series, _ = ibi_from_intervals(times, np.ones(40))
    seconds = seconds_of(series)
    inside = (seconds > 20) & (seconds < 20 + gap)
    assert np.isnan(series[inside]).all() == is_gap
    assert np.isfinite(series[~inside][4:]).all()


@pytest.mark.parametrize("max_gap", [2.0, 5.0, 8.0])
def test_the_ends_are_held_for_half_a_bridge(max_gap):
    series, _ = ibi_from_intervals(10 + np.arange(20.0), np.ones(20), duration=60, max_gap=max_gap)
    seconds = seconds_of(series)
    held = (seconds >= 10 - max_gap / 2) & (seconds <= 29 + max_gap / 2)
    np.testing.assert_array_equal(np.isfinite(series), held)


def test_the_beats_on_both_sides_of_a_gap_keep_their_own_sample():
    times = np.array([*np.arange(1.0, 11.0), *np.arange(30.0, 40.0)])
    series, _ = ibi_from_intervals(times, np.full(20, 0.8))
    assert np.isfinite(series[[40, 120]]).all()
    assert np.isnan(series[[41, 119]]).all()


@pytest.mark.parametrize(
    ("interval", "kept"), [(0.3, True), (0.29, False), (2.0, True), (2.01, False)]
)
def test_possible_intervals_are_300_ms_to_2_s(interval, kept):
    series, _ = ibi_from_intervals(SECONDS, np.full(60, interval))
    assert np.isfinite(series).any() == kept


@pytest.mark.parametrize(
    ("odd", "kept"), [(1.24, True), (1.26, False), (0.76, True), (0.74, False)]
)
def test_a_beat_a_quarter_off_the_median_around_it_is_dropped(odd, kept):
    intervals = np.ones(60)
    intervals[30] = odd
    series, _ = ibi_from_intervals(SECONDS, intervals)
    assert series[4 * 31] == pytest.approx(odd if kept else 1.0)


@pytest.mark.parametrize(("n_odd", "kept"), [(5, False), (6, True)])
def test_a_run_of_beats_is_real_once_it_is_most_of_eleven(n_odd, kept):
    intervals = np.ones(60)
    intervals[30 : 30 + n_odd] = 0.6
    series, _ = ibi_from_intervals(SECONDS, intervals)
    assert bool((series < 0.7).any()) == kept


def test_a_missing_interval_is_dropped():
    intervals = np.full(60, 0.9)
    intervals[20:22] = np.nan
    series, _ = ibi_from_intervals(SECONDS, intervals)
    np.testing.assert_allclose(series, np.float32(0.9))


def test_equal_times_are_welcome_for_intervals_but_not_for_beats():
    series, _ = ibi_from_intervals([1, 1, 2], [0.9, 0.9, 0.9])
    np.testing.assert_allclose(series, np.float32(0.9))
    with pytest.raises(InvalidSignalError, match=r"entry 1 is 1 s after 1 s\. Sort them together"):
        ibi_from_beats([1, 1, 2])


def test_no_interval_at_all_is_an_empty_series_or_a_gap():
    assert ibi_from_intervals([], [])[0].shape == (0,)
    series, _ = ibi_from_intervals([], [], duration=30)
    assert series.shape == (120,)
    assert np.isnan(series).all()


def test_a_series_that_ends_before_the_start_is_empty():
    assert ibi_from_heart_rate([-20, -10], [60, 60])[0].shape == (0,)


@given(bpm=st.floats(30, 200))
def test_a_heart_rate_becomes_sixty_over_itself(bpm):
    series, rate = ibi_from_heart_rate([0, 30, 60], [bpm] * 3)
    assert (len(series), rate) == (60, 1.0)
    np.testing.assert_allclose(series, 60 / bpm, rtol=1e-6)


@pytest.mark.parametrize(("bpm", "kept"), [(30, True), (29.9, False), (200, True), (201, False)])
def test_possible_heart_rates_are_30_to_200(bpm, kept):
    series, _ = ibi_from_heart_rate([0, 30], [bpm, bpm])
    assert np.isfinite(series).any() == kept


def test_a_watch_may_be_silent_for_a_minute():
    for silent, is_gap in ((60, False), (61, True)):
        series, _ = ibi_from_heart_rate([0, 10, 10 + silent, 100], [60] * 4)
        assert np.isnan(series[11 : 10 + silent]).all() == is_gap


@pytest.mark.parametrize("make", [ibi_from_intervals, ibi_from_heart_rate])
def test_one_value_per_time_is_wanted(make):
    with pytest.raises(InvalidSignalError, match=r"shape \(3,\) for 2 times; accepted is one per"):
        make([1, 2], [60, 60, 60])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -4}, "rate is -4 Hz; accepted is a positive number"),
        ({"rate": np.nan}, "rate is nan Hz"),
        ({"rate": np.inf}, "rate is inf Hz"),
        ({"duration": np.nan}, "duration is nan s; accepted is a number from 0"),
        ({"duration": np.inf}, "duration is inf s"),
        ({"duration": -0.1}, "duration is -0.1 s"),
    ],
)
def test_a_length_or_rate_that_cannot_be_is_refused(options, message):
    with pytest.raises(InvalidSignalError, match=message):
        ibi_from_beats([1, 2, 3], **options)
