# SPDX-License-Identifier: BSD-3-Clause
"""Heartbeats in ECG and PPG, and series of inter-beat intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings import Recording
from sleep2vec_sklearn.recordings.derivation import (
    find_pulses,
    find_r_peaks,
    ibi_from_beats,
    ibi_from_ecg,
    ibi_from_heart_rate,
    ibi_from_intervals,
    ibi_from_ppg,
)


def beats_every(interval, duration):
    return np.arange(0, duration + interval / 2, interval)


def test_regular_beats_give_constant():
    series, rate = ibi_from_beats(beats_every(0.8, 60), duration=60)
    assert rate == 4.0
    assert series.shape == (240,)
    assert series.dtype == np.float32
    np.testing.assert_allclose(series, 0.8, atol=1e-6)


@pytest.mark.parametrize("change", ["missed", "doubled", "ectopic"])
def test_wrong_beat_is_removed(change):
    times = beats_every(1.0, 60)
    if change == "missed":
        times = np.delete(times, 30)
    elif change == "doubled":
        times = np.insert(times, 31, times[30] + 0.4)
    else:
        times[30] -= 0.35
    series, _ = ibi_from_beats(times, duration=60)
    np.testing.assert_allclose(series, 1.0, atol=1e-6)


@settings(max_examples=30)
@given(st.lists(st.floats(0.01, 30), min_size=2, max_size=200))
def test_values_are_possible_intervals(intervals):
    series, _ = ibi_from_beats(np.cumsum(intervals))
    finite = series[np.isfinite(series)]
    assert ((finite >= np.float32(0.3)) & (finite <= 2.0)).all()


def test_series_fit_a_recording():
    night = Recording({"ibi": ibi_from_beats(beats_every(0.75, 90), duration=90)})
    assert night.n_epochs == 3
    assert night.rates == {"ibi": 4.0}
    times = np.arange(2.0, 90, 5)
    night = Recording({"ibi": ibi_from_heart_rate(times, np.full(18, 50.0), duration=90)})
    assert night.rates == {"ibi": 1.0}
    np.testing.assert_allclose(night["ibi"], 1.2, atol=1e-6)


def test_heart_rates_are_chosen():
    series, _ = ibi_from_heart_rate([0, 10, 20, 30], [60, np.nan, 250, 60])
    np.testing.assert_allclose(series, 1.0)
    series, _ = ibi_from_heart_rate([-10, 10], [60, 30], duration=10)
    assert series[0] == pytest.approx(1.5)
    assert ibi_from_heart_rate([-20, -10], [60, 60])[0].shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: ibi_from_beats([1, 3, 2]), "entry 2 is 2 s after 3 s"),
     (lambda: ibi_from_beats([1, 1]), "not increasing"),
     (lambda: ibi_from_beats([1.0]), "at least two"),
     (lambda: ibi_from_beats([1.0, np.nan]), "NaN or infinity"),
     (lambda: ibi_from_beats(np.ones((2, 2))), r"shape \(2, 2\)"),
     (lambda: ibi_from_intervals([1, 2], [1, -1]), "hold -1 s"),
     (lambda: ibi_from_heart_rate([1, 2], [60, -5]), "bpm holds -5"),
     (lambda: ibi_from_heart_rate([1, 2], [60, 0]), "bpm holds 0"),
     (lambda: ibi_from_heart_rate([1, 2], [60]), r"shape \(1,\) for 2 times; accepted is one per"),
     (lambda: ibi_from_intervals([1, 2], [1] * 3), r"shape \(3,\) for 2 times; accepted"),
     (lambda: ibi_from_beats([1, 2], rate=-4), "rate is -4; accepted is a number above 0"),
     (lambda: ibi_from_beats([1, 2], rate=np.nan), "rate is nan"),
     (lambda: ibi_from_beats([1, 2], rate=np.inf), "rate is inf"),
     (lambda: ibi_from_beats([1, 2], duration=np.nan), "nan; accepted is a number from 0"),
     (lambda: ibi_from_beats([1, 2], duration=np.inf), "duration is inf"),
     (lambda: ibi_from_beats([1, 2], duration=-0.1), "duration is -0.1")],
)  # fmt: skip
def test_errors_name_the_value(call, message):
    with pytest.raises(InvalidSignalError, match=message):
        call()


SECONDS = 180


def beats_of(seconds=SECONDS, seed=0):
    """Simulated beat times: breathing, slow changes and some noise."""
    rng = np.random.default_rng(seed)
    times, now = [], 0.4
    while now < seconds - 0.5:
        times.append(now)
        now += 0.9 + 0.05 * np.sin(2 * np.pi * 0.25 * now) + 0.01 * rng.standard_normal()
    return np.array(times)


def wave(beats, rate, shape, reach, seconds=SECONDS):
    """A signal with a copy of ``shape(seconds after the beat)`` at each beat."""
    values = np.zeros(round(rate * seconds))
    for beat in beats:
        first, last = max(0, int((beat - reach) * rate)), int((beat + reach) * rate)
        samples = np.arange(first, min(last, len(values)))
        values[samples] += shape(samples / rate - beat)
    return values


def qrs(t):
    return np.exp(-0.5 * (t / 0.011) ** 2) - 0.2 * np.exp(-0.5 * ((t - 0.03) / 0.012) ** 2)


def pulse(t):
    rise = np.exp(-0.5 * ((t - 0.15) / 0.06) ** 2)
    return rise + 0.45 * np.exp(-0.5 * ((t - 0.38) / 0.1) ** 2)


def noisy(values, share=0.03, seed=1):
    return values + share * np.random.default_rng(seed).standard_normal(len(values))


def matched(found, beats):
    """Distance of each true beat to the nearest one found, after the constant delay."""
    nearest = found[np.abs(found[:, None] - beats).argmin(axis=0)] - beats
    return nearest - np.median(nearest)


@pytest.mark.parametrize("rate", [50, 64, 100, 128, 200, 256, 512, 1000])
def test_r_peaks_at_usual_rates(rate):
    beats = beats_of()
    found = find_r_peaks(noisy(wave(beats, rate, qrs, 0.2)), rate)
    assert abs(len(found) - len(beats)) <= 1
    assert np.median(np.abs(matched(found, beats))) < 0.004


@pytest.mark.parametrize("sign", [1, -1])
def test_polarity_does_not_matter(sign):
    beats = beats_of()
    found = find_r_peaks(sign * noisy(wave(beats, 128, qrs, 0.2)), 128)
    assert np.median(np.abs(matched(found, beats))) < 0.004
    found = find_pulses(sign * noisy(wave(beats, 64, pulse, 0.8)), 64)
    assert abs(len(found) - len(beats)) <= 2
    assert np.median(np.abs(matched(found, beats))) < 0.01


@pytest.mark.parametrize("rate", [25, 32, 64, 100, 128, 256])
def test_pulses_at_usual_rates(rate):
    beats = beats_of()
    found = find_pulses(noisy(wave(beats, rate, pulse, 0.8)), rate)
    assert abs(len(found) - len(beats)) <= 2
    assert np.median(np.abs(matched(found, beats))) < 0.012


@pytest.mark.parametrize(
    ("derive", "shape", "rate"), [(ibi_from_ecg, qrs, 128), (ibi_from_ppg, pulse, 64)]
)
def test_series_follow_true_intervals(derive, shape, rate):
    beats = beats_of()
    series, series_rate = derive(noisy(wave(beats, rate, shape, 0.8)), rate)
    assert (len(series), series_rate, series.dtype) == (4 * SECONDS, 4.0, np.float32)
    true = np.interp(np.arange(len(series)) / 4, beats[1:], np.diff(beats))
    inside = slice(12, -12)
    assert np.isfinite(series[inside]).all()
    assert np.median(np.abs(series - true)[inside]) < 0.012


@pytest.mark.parametrize(
    ("derive", "shape", "rate"), [(ibi_from_ecg, qrs, 128), (ibi_from_ppg, pulse, 64)]
)
def test_sensor_gap_is_series_gap(derive, shape, rate):
    values = noisy(wave(beats_of(), rate, shape, 0.8))
    values[60 * rate : 80 * rate] = np.nan
    series, _ = derive(values, rate)
    assert np.isnan(series[4 * 62 : 4 * 78]).all()
    assert np.isfinite(series[12 : 4 * 58]).all()
    assert np.isfinite(series[4 * 83 : -12]).all()


def test_extra_beat_is_removed():
    beats = beats_of()
    series, _ = ibi_from_ecg(wave(np.sort(np.append(beats, beats[60] + 0.45)), 128, qrs, 0.2), 128)
    assert series[np.isfinite(series)].min() > 0.75


def test_noise_is_not_trusted():
    noise = np.random.default_rng(0).standard_normal(128 * 600)
    assert np.isnan(ibi_from_ecg(noise, 128)[0]).mean() > 0.7
    values = wave(beats_of(600), 128, qrs, 0.2, 600)
    values[300 * 128 :] = np.random.default_rng(0).standard_normal(300 * 128)
    series, _ = ibi_from_ecg(values, 128)
    assert np.isfinite(series[12 : 4 * 260]).all()
    assert np.isnan(series[4 * 330 :]).mean() > 0.7


@pytest.mark.parametrize("derive", [ibi_from_ecg, ibi_from_ppg])
@pytest.mark.parametrize("values", [np.zeros(12_800), np.full(12_800, np.nan), np.zeros(0)])
def test_absent_sensor_gives_gaps(derive, values):
    series, _ = derive(values, 128)
    assert len(series) == len(values) // 32
    assert np.isnan(series).all()


@pytest.mark.parametrize("find", [find_r_peaks, find_pulses, ibi_from_ecg, ibi_from_ppg])
def test_wrong_shape_or_rate_raises(find):
    with pytest.raises(InvalidSignalError, match=r"has shape \(2, 900\).*one channel"):
        find(np.zeros((2, 900)), 128)
    with pytest.raises(InvalidSignalError, match=r"has rate 20 Hz; accepted are at least"):
        find(np.zeros(900), 20)


def test_input_is_not_modified():
    values = wave(beats_of(), 64, pulse, 0.8).astype(np.float32)
    values.flags.writeable = False
    before = values.copy()
    ibi_from_ppg(values, 64)
    ibi_from_ecg(values, 64)
    np.testing.assert_array_equal(values, before)


EACH_SECOND = np.arange(1.0, 61.0)


def seconds_of(series, rate=4.0):
    return np.arange(len(series)) / rate


@given(shift=st.integers(1, 80), interval=st.sampled_from([0.5, 0.75, 1.0, 1.5]))
def test_later_beats_shift_series(shift, interval):
    intervals = interval * (1 + 0.1 * np.sin(np.arange(40)))
    beats = np.cumsum(intervals)
    plain, _ = ibi_from_beats(beats, duration=100)
    later, _ = ibi_from_beats(beats + shift / 4, duration=100)
    np.testing.assert_allclose(later[shift:], plain[:-shift], atol=1e-5)


def test_interval_at_its_last_beat():
    intervals = np.where(np.arange(60) % 2, 1.0, 1.25)
    beats = np.concatenate([[0], np.cumsum(intervals)])
    series, rate = ibi_from_beats(beats)
    samples = np.round(beats[1:-1] * rate).astype(int)
    np.testing.assert_allclose(series[samples], intervals[:-1], atol=1e-6)
    series, _ = ibi_from_intervals([1, 2, 3], [1.0, 1.2, 1.0], duration=3)
    np.testing.assert_allclose(series[4:12], [1, 1.05, 1.1, 1.15, 1.2, 1.15, 1.1, 1.05], rtol=1e-6)


@given(rate=st.sampled_from([1.0, 2.0, 4.0, 7.5, 10.0]), duration=st.integers(30, 90))
def test_length_follows_the_duration(rate, duration):
    series, series_rate = ibi_from_beats(np.arange(20.0), duration=duration, rate=rate)
    assert (len(series), series_rate) == (int(duration * rate), rate)


@pytest.mark.parametrize("rate", [3.0, 4.0, 10.0])
def test_rounding_keeps_all_samples(rate):
    series, _ = ibi_from_beats(EACH_SECOND, duration=29.999999999, rate=rate)
    assert len(series) == 30 * rate


@pytest.mark.parametrize(("gap", "is_gap"), [(5.0, False), (5.25, True)])
def test_longest_bridge_ends_gap(gap, is_gap):
    times = np.concatenate([np.arange(1.0, 21.0), 20.0 + gap + np.arange(20.0)])
    series, _ = ibi_from_intervals(times, np.ones(40))
    seconds = seconds_of(series)
    inside = (seconds > 20) & (seconds < 20 + gap)
    assert np.isnan(series[inside]).all() == is_gap
    assert np.isfinite(series[~inside][4:]).all()


@pytest.mark.parametrize("max_gap", [2.0, 5.0, 8.0])
def test_ends_are_held_briefly(max_gap):
    series, _ = ibi_from_intervals(10 + np.arange(20.0), np.ones(20), duration=60, max_gap=max_gap)
    seconds = seconds_of(series)
    held = (seconds >= 10 - max_gap / 2) & (seconds <= 29 + max_gap / 2)
    np.testing.assert_array_equal(np.isfinite(series), held)


def test_gaps_end_after_a_while():
    times = np.array([*np.arange(1.0, 11.0), *np.arange(30.0, 40.0)])
    series, _ = ibi_from_intervals(times, np.full(20, 0.8))
    assert np.isfinite(series[[40, 120]]).all()
    assert np.isnan(series[[41, 119]]).all()
    for silent, is_gap in ((60, False), (61, True)):
        series, _ = ibi_from_heart_rate([0, 10, 10 + silent, 100], [60] * 4)
        assert np.isnan(series[11 : 10 + silent]).all() == is_gap


@pytest.mark.parametrize(
    ("interval", "remains"), [(0.3, True), (0.29, False), (2.0, True), (2.01, False)]
)
def test_possible_intervals_are_kept(interval, remains):
    series, _ = ibi_from_intervals(EACH_SECOND, np.full(60, interval))
    assert np.isfinite(series).any() == remains


@pytest.mark.parametrize(
    ("odd", "remains"), [(1.24, True), (1.26, False), (0.76, True), (0.74, False)]
)
def test_outlier_beats_are_dropped(odd, remains):
    intervals = np.ones(60)
    intervals[30] = odd
    series, _ = ibi_from_intervals(EACH_SECOND, intervals)
    assert series[4 * 31] == pytest.approx(odd if remains else 1.0)


@pytest.mark.parametrize(("n_odd", "remains"), [(5, False), (6, True)])
def test_long_runs_are_real(n_odd, remains):
    intervals = np.ones(60)
    intervals[30 : 30 + n_odd] = 0.6
    series, _ = ibi_from_intervals(EACH_SECOND, intervals)
    assert bool((series < 0.7).any()) == remains


def test_missing_intervals_are_dropped():
    intervals = np.full(60, 0.9)
    intervals[20:22] = np.nan
    series, _ = ibi_from_intervals(EACH_SECOND, intervals)
    np.testing.assert_allclose(series, np.float32(0.9))
    assert ibi_from_intervals([], [])[0].shape == (0,)
    series, _ = ibi_from_intervals([], [], duration=30)
    assert series.shape == (120,)
    assert np.isnan(series).all()


def test_equal_times_of_intervals():
    series, _ = ibi_from_intervals([1, 1, 2], [0.9, 0.9, 0.9])
    np.testing.assert_allclose(series, np.float32(0.9))
    with pytest.raises(InvalidSignalError, match=r"entry 1 is 1 s after 1 s\. Sort them together"):
        ibi_from_beats([1, 1, 2])


@given(bpm=st.floats(30, 200))
def test_heart_rate_is_inverted(bpm):
    series, rate = ibi_from_heart_rate([0, 30, 60], [bpm] * 3)
    assert (len(series), rate) == (60, 1.0)
    np.testing.assert_allclose(series, 60 / bpm, rtol=1e-6)


@pytest.mark.parametrize(("bpm", "remains"), [(30, True), (29.9, False), (200, True), (201, False)])
def test_possible_heart_rates_are_kept(bpm, remains):
    series, _ = ibi_from_heart_rate([0, 30], [bpm, bpm])
    assert np.isfinite(series).any() == remains
