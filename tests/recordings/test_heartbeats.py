# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import numpy as np
import pytest

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings.derivation import (
    find_pulses,
    find_r_peaks,
    ibi_from_ecg,
    ibi_from_ppg,
)

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
        places = np.arange(first, min(last, len(values)))
        values[places] += shape(places / rate - beat)
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
def test_r_peaks_are_found_at_every_usual_rate(rate):
    beats = beats_of()
    found = find_r_peaks(noisy(wave(beats, rate, qrs, 0.2)), rate)
    assert abs(len(found) - len(beats)) <= 1
    assert np.median(np.abs(matched(found, beats))) < 0.004


@pytest.mark.parametrize("sign", [1, -1])
def test_polarity_of_either_sensor_does_not_matter(sign):
    beats = beats_of()
    found = find_r_peaks(sign * noisy(wave(beats, 128, qrs, 0.2)), 128)
    assert np.median(np.abs(matched(found, beats))) < 0.004
    found = find_pulses(sign * noisy(wave(beats, 64, pulse, 0.8)), 64)
    assert abs(len(found) - len(beats)) <= 2
    assert np.median(np.abs(matched(found, beats))) < 0.01


@pytest.mark.parametrize("rate", [25, 32, 64, 100, 128, 256])
def test_pulses_are_found_at_every_usual_rate(rate):
    beats = beats_of()
    found = find_pulses(noisy(wave(beats, rate, pulse, 0.8)), rate)
    assert abs(len(found) - len(beats)) <= 2
    assert np.median(np.abs(matched(found, beats))) < 0.012


@pytest.mark.parametrize(
    ("derive", "shape", "rate"), [(ibi_from_ecg, qrs, 128), (ibi_from_ppg, pulse, 64)]
)
def test_series_follow_the_true_intervals(derive, shape, rate):
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
def test_a_gap_of_the_sensor_is_a_gap_of_the_series(derive, shape, rate):
    values = noisy(wave(beats_of(), rate, shape, 0.8))
    values[60 * rate : 80 * rate] = np.nan
    series, _ = derive(values, rate)
    assert np.isnan(series[4 * 62 : 4 * 78]).all()
    assert np.isfinite(series[12 : 4 * 58]).all()
    assert np.isfinite(series[4 * 83 : -12]).all()


def test_an_extra_beat_leaves_no_trace():
    beats = beats_of()
    series, _ = ibi_from_ecg(wave(np.sort(np.append(beats, beats[60] + 0.45)), 128, qrs, 0.2), 128)
    assert series[np.isfinite(series)].min() > 0.75


def test_noise_alone_is_no_heart():
    noise = np.random.default_rng(0).standard_normal(128 * 600)
    assert np.isnan(ibi_from_ecg(noise, 128)[0]).mean() > 0.7


def test_a_lead_that_comes_off_is_not_trusted():
    values = wave(beats_of(600), 128, qrs, 0.2, 600)
    values[300 * 128 :] = np.random.default_rng(0).standard_normal(300 * 128)
    series, _ = ibi_from_ecg(values, 128)
    assert np.isfinite(series[12 : 4 * 260]).all()
    assert np.isnan(series[4 * 330 :]).mean() > 0.7


@pytest.mark.parametrize("derive", [ibi_from_ecg, ibi_from_ppg])
@pytest.mark.parametrize("values", [np.zeros(12_800), np.full(12_800, np.nan), np.zeros(0)])
def test_a_sensor_that_is_off_has_no_interval(derive, values):
    series, _ = derive(values, 128)
    assert len(series) == len(values) // 32
    assert np.isnan(series).all()


@pytest.mark.parametrize("find", [find_r_peaks, find_pulses, ibi_from_ecg, ibi_from_ppg])
def test_two_channels_or_a_slow_one_are_refused(find):
    with pytest.raises(InvalidSignalError, match=r"has shape \(2, 900\).*one channel"):
        find(np.zeros((2, 900)), 128)
    with pytest.raises(InvalidSignalError, match=r"has rate 20 Hz; accepted are at least"):
        find(np.zeros(900), 20)


def test_samples_are_left_as_they_were():
    values = wave(beats_of(), 64, pulse, 0.8).astype(np.float32)
    values.flags.writeable = False
    before = values.copy()
    ibi_from_ppg(values, 64)
    ibi_from_ecg(values, 64)
    np.testing.assert_array_equal(values, before)
