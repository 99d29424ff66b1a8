# SPDX-License-Identifier: BSD-3-Clause
"""Each simulated signal in a night of one stage, without arousals and events."""

import dataclasses

import numpy as np
import pytest
from scipy.signal import welch

from sleep2vec_sklearn.datasets.simulation._cardiorespiratory import (
    _surge,
    airflow,
    beat_times,
    breathe,
    ecg,
    effort,
    heart_rate,
    ibi,
    ppg,
    resp,
    spo2,
)
from sleep2vec_sklearn.datasets.simulation._neurophysiology import (
    _stage_spectra,
    brain_field,
    eeg,
    emg,
)
from sleep2vec_sklearn.datasets.simulation._night import Bursts, Night, RespiratoryEvents
from sleep2vec_sklearn.datasets.simulation._subjects import draw_site, draw_subject
from sleep2vec_sklearn.datasets.simulation.cohort import actigraphy

W, N1, N2, N3, R = range(5)
SUBJECT = dataclasses.replace(draw_subject(0, 1), heart_rate=60.0, age=30.0, breathing_rate=15.0)
SITE = draw_site(1, 1, "full_laboratory")
SITE = dataclasses.replace(SITE, counts_smoothing=0.0, counts_scale=5.0)
QUIET = Bursts(np.empty(0), np.empty(0), np.empty(0))
MOVES = Bursts(np.array([100.0, 1000.0]), np.array([4.0, 8.0]), np.array([1.5, 2.0]))
NO_EVENTS = RespiratoryEvents(*(np.empty(0) for _ in range(6)))


def night_of(stage, n_epochs=120, seed=0, site=SITE, movements=QUIET, **traits):
    """A night in one stage, without arousals and events."""
    stages = np.full(n_epochs, stage, dtype=np.int8)
    subject = dataclasses.replace(SUBJECT, **traits)
    return Night((seed,), subject, site, stages, stages, NO_EVENTS, QUIET, movements)


def peak(signal, rate, low, high):
    grid, density = welch(signal, rate, nperseg=round(60 * rate))
    band = (grid >= low) & (grid <= high)
    return grid[band][density[band].argmax()]


def test_beats_have_subjects_rate():
    for rate in (50.0, 80.0):
        beats = beat_times(night_of(N2, 960, heart_rate=rate))
        intervals = np.diff(beats)
        assert intervals.min() > 0.25
        assert 60 / np.median(intervals[len(intervals) // 2 :]) == pytest.approx(rate, rel=0.1)
    night, again = night_of(N2), night_of(N2)
    np.testing.assert_array_equal(beat_times(night), beat_times(again))
    np.testing.assert_array_equal(breathe(night).phase, breathe(again).phase)


def simulate_rate(stage, **options):
    return heart_rate(night_of(stage, **options), np.random.default_rng(0))


def test_heart_rate_limits_and_offsets():
    rate = simulate_rate(W, heart_rate=92.0, heart_variability=4.0)
    assert 34 <= rate.min() < rate.max() <= 170
    slow, fast = (simulate_rate(N2, stage_heart_rate=(0, 0, k, 0, 0)) for k in (0.0, 6.0))
    np.testing.assert_allclose(fast - slow, 6, atol=0.01)


def test_movement_raises_heart_rate():
    move = Bursts(np.array([1800.0]), np.array([5.0]), np.array([2.0]))
    still, moved = (simulate_rate(N2, movements=m) for m in (QUIET, move))
    # other draws depend on the number of movements, so only sizes are compared
    change = moved - still
    assert change[1800 * 4 : 1815 * 4].max() > change[: 1797 * 4].max() + 3


def test_surge_rises_and_rebounds():
    surge = _surge(9, 5.0)
    assert surge.max() == pytest.approx(1, abs=1e-4)
    assert (surge.argmax() + 1) / 4 == 9
    assert -0.3 < surge.min() < -0.1
    assert surge.argmin() > surge.argmax()


def test_ibi_lies_between_beats():
    night = night_of(N2)
    beats, series = beat_times(night), ibi(night, 4)
    assert series.shape == (3600 * 4,)
    at = np.searchsorted(beats, np.arange(len(series)) / 4)
    inside = slice(40, -40)
    bounds = np.stack([np.diff(beats)[np.clip(at + k, 0, len(beats) - 2)] for k in (-2, -1, 0)])
    assert (series[inside] >= bounds.min(axis=0)[inside] - 1e-4).all()
    assert (series[inside] <= bounds.max(axis=0)[inside] + 1e-4).all()


@pytest.mark.parametrize("rate", [100, 250])
def test_ecg_has_qrs_per_beat(rate):
    night = night_of(N2, 20)
    signal, beats = ecg(night, rate), beat_times(night)
    slope = np.abs(np.gradient(signal))
    steep = np.flatnonzero(slope > 0.5 * np.quantile(slope, 0.995)) / rate
    nearest = np.abs(steep[:, None] - beats[None, :]).min(axis=1)
    assert np.quantile(nearest, 0.95) < 0.08


def test_pulse_follows_beat():
    night = night_of(N2)
    signal, beats = ppg(night, 100), beat_times(night)
    beats = beats[(beats > 10) & (beats < 3590)]
    wave = np.mean([signal[int(b * 100) : int(b * 100) + 60] for b in beats], axis=0)
    assert 0.12 < wave.argmax() / 100 < 0.35


def test_respiratory_signals_share_rate():
    night = night_of(N3)
    breaths = night.subject.breathing_rate / 60
    for generate in (airflow, effort, resp):
        assert peak(generate(night, 8), 8, 0.1, 0.6) == pytest.approx(breaths, abs=0.04)
    sites = (dataclasses.replace(SITE, airflow_scale=scale) for scale in (1.0, 50.0))
    plain, large = (airflow(night_of(N2, site=site), 8) for site in sites)
    np.testing.assert_allclose(large, 50 * plain, rtol=1e-5)


def test_breathing_is_steady_in_n3():
    spread = []
    for stage in (N3, R, W):
        phase = breathe(night_of(stage, 480)).phase
        spread.append(np.diff(phase[:: 4 * 30]).std())
    assert spread[0] < spread[1] < spread[2]


@pytest.mark.parametrize("step", [1.0, 0.1])
@pytest.mark.parametrize("level", [92.0, 98.0])
def test_oximeter_has_level_and_steps(step, level):
    site = dataclasses.replace(SITE, spo2_step=step)
    values = spo2(night_of(N2, site=site, saturation=level), 1).astype(np.float64)
    assert np.median(values) == pytest.approx(level - 0.6, abs=1.1)
    np.testing.assert_allclose(values / step, np.round(values / step), atol=1e-3)
    assert len(np.unique(values)) > (1 if step == 1 else 8)


@pytest.mark.parametrize("seed", range(4))
def test_counts_need_movement(seed):
    counts = actigraphy(night_of(N2, 60, seed=seed, movements=MOVES), 1)
    moving = np.flatnonzero(counts)
    assert set(moving) <= {*range(100, 104), *range(1000, 1008)}


def test_half_minutes_sum_seconds():
    night = night_of(N2, 60, seed=1, movements=MOVES)
    each, half = actigraphy(night, 1), actigraphy(night, 1 / 30)
    assert half.shape == (60,)
    np.testing.assert_allclose(half, each.reshape(60, 30).sum(axis=1), atol=3)
    np.testing.assert_array_equal(np.flatnonzero(half), np.flatnonzero(each.reshape(60, 30).any(1)))


def test_smoothing_preserves_sum():
    site = dataclasses.replace(SITE, counts_smoothing=50.0)
    sharp, smooth = (
        actigraphy(night_of(N2, 60, seed=1, site=s, movements=MOVES), 1) for s in (SITE, site)
    )
    assert smooth.sum() == pytest.approx(sharp.sum(), rel=0.1)
    assert smooth.max() < 0.2 * sharp.max()
    assert (smooth > 0).sum() > 10 * (sharp > 0).sum()


def power(signal, rate, low, high):
    grid, density = welch(signal, rate, nperseg=round(4 * rate))
    return density[(grid >= low) & (grid < high)].mean()


@pytest.mark.parametrize("frequency", [8.5, 11.5])
def test_alpha_has_subjects_frequency(frequency):
    signal = eeg(night_of(W, alpha=4.0, alpha_frequency=frequency), 100)
    assert peak(signal, 100, 7, 13) == pytest.approx(frequency, abs=0.6)


def test_gain_and_spindles_raise_power():
    # without muscle, which is no part of the gain
    nights = (night_of(N2, eeg_gain=g, muscle_tone=1e-9) for g in (1.0, 2.0))
    quiet, loud = (brain_field(night, 64, 30) for night in nights)
    np.testing.assert_allclose(loud, 2 * quiet, rtol=1e-3, atol=1e-3)
    few, many = (power(eeg(night_of(N2, spindle_rate=r), 100), 100, 12, 15) for r in (0.0, 8.0))
    assert many > 1.1 * few


def test_spectra_fall_with_frequency():
    grid = np.arange(1, 120) / 4
    spectra = _stage_spectra(dataclasses.replace(SUBJECT, stage_gain=(1.0,) * 5), grid)
    assert (spectra > 0).all()
    assert spectra[:, 0].argmax() == N3
    assert (spectra[:, grid < 2].mean(axis=1) > 5 * spectra[:, grid > 25].mean(axis=1)).all()


def test_emg_has_tone_and_bursts():
    soft, firm = (np.median(np.abs(emg(night_of(N2, muscle_tone=t), 100))) for t in (2.0, 8.0))
    assert firm == pytest.approx(4 * soft, rel=0.15)
    signal = emg(night_of(N2, movements=MOVES), 100)
    assert np.abs(signal[99_800:100_400]).mean() > 2 * np.median(np.abs(signal))
