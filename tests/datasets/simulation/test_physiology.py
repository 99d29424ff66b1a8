# SPDX-License-Identifier: BSD-3-Clause
"""Whole simulated nights show the physiology of sleep."""

import dataclasses

import numpy as np
import pytest
from scipy.signal import welch

from sleep2vec_sklearn.datasets.simulation._cardiorespiratory import (
    _ahead_of_stage,
    _undetected,
    beat_times,
)
from sleep2vec_sklearn.datasets.simulation._neurophysiology import frequencies, shaped_noise
from sleep2vec_sklearn.datasets.simulation._night import (
    CONTROL_RATE,
    draw_night,
    score_stages,
    simulate_hypnogram,
)
from sleep2vec_sklearn.datasets.simulation._subjects import draw_site, draw_subject
from sleep2vec_sklearn.datasets.simulation.cohort import GENERATORS

W, N1, N2, N3, R = range(5)
SUBJECT = dataclasses.replace(draw_subject(0, 1), age=45.0, ahi=2.0, heart_rate=62.0)


def simulate(seed, **traits):
    subject = dataclasses.replace(SUBJECT, **traits)
    return draw_night((9, seed), subject, draw_site(1, 1, "full_laboratory"), 960)


@pytest.fixture(scope="module")
def nights():
    return [simulate(seed) for seed in range(2)]


@pytest.fixture(scope="module")
def apneic():
    return simulate(0, ahi=50.0, desaturation=1.5, rem_apnea=1.5)


def by_epoch(night, name, rate):
    return GENERATORS[name](night, rate).reshape(len(night.true_stages), -1)


def power(epochs, rate, low, high):
    frequency, density = welch(epochs, rate, nperseg=round(4 * rate), axis=1)
    return density[:, (frequency >= low) & (frequency < high)].mean(axis=1)


def typical(nights, values):
    """Median over the epochs of each stage, over all nights."""
    stages = np.concatenate([night.true_stages for night in nights])
    values = np.concatenate(values)
    return [np.median(values[stages == stage]) for stage in range(5)]


def fractions(age, ahi=2.0):
    subject = dataclasses.replace(SUBJECT, age=age, ahi=ahi, fragmentation=1.0, deep_sleep=1.0)
    generators = map(np.random.default_rng, range(40))
    stages = np.concatenate([simulate_hypnogram(subject, 960, rng) for rng in generators])
    return np.bincount(stages, minlength=5) / len(stages)


def test_young_adults_sleep_by_textbook():
    share = fractions(25)
    asleep = share[1:] / share[1:].sum()
    assert share[W] < 0.2
    assert asleep[N1 - 1] < 0.12
    assert 0.40 < asleep[N2 - 1] < 0.65
    assert 0.12 < asleep[N3 - 1] < 0.30
    assert 0.12 < asleep[R - 1] < 0.30


def test_age_and_apnea_fragment_sleep():
    young, old = fractions(25), fractions(75)
    assert old[N3] < 0.7 * young[N3]
    assert old[W] > 1.3 * young[W]
    assert old[N1] > young[N1]
    assert fractions(50, ahi=50)[[W, N1]].sum() > 1.2 * fractions(50, ahi=1)[[W, N1]].sum()


def test_n3_precedes_rem():
    generators = map(np.random.default_rng, range(20))
    stages = np.array([simulate_hypnogram(SUBJECT, 960, rng) for rng in generators])
    first, second = stages[:, :480], stages[:, 480:]
    assert (first == N3).sum() > 2 * (second == N3).sum()
    assert (second == R).sum() > 1.4 * (first == R).sum()


def test_scoring_and_movements_are_human(nights):
    true = np.concatenate([night.true_stages for night in nights])
    agreement = (score_stages(true, np.random.default_rng(0)) == true).mean()
    assert 0.85 < agreement < 0.97
    gaps = np.concatenate([np.diff(night.movements.onset) for night in nights])
    # of a Poisson process the median would be 0.69 of the mean
    assert np.median(gaps) < 0.35 * gaps.mean()


def test_tone_and_waves_by_stage(nights):
    delta = typical(nights, [power(by_epoch(night, "eeg", 128), 128, 0.5, 4) for night in nights])
    assert delta[N3] > 2 * delta[N2] > 2 * delta[R]
    tone = typical(nights, [by_epoch(night, "emg", 128).std(axis=1) for night in nights])
    assert tone[W] > tone[N1] > tone[N2] > 2 * tone[R]
    assert tone[N3] > tone[R]


def test_rem_is_not_wake(nights):
    epochs = [by_epoch(night, "eeg", 128) for night in nights]
    alpha, beta, low, high = (
        typical(nights, [power(e, 128, *band) for e in epochs])
        for band in ((8, 12), (20, 30), (30, 34), (41, 45))
    )
    assert 3 * alpha[R] < alpha[W]
    assert 2 * beta[R] < beta[W]
    # Lendner et al. (2020): steeper above 30 Hz from wake over NREM to REM sleep
    steepness = np.divide(low, high)
    assert steepness[W] < steepness[N2] < steepness[R]


def test_scalp_muscle_follows_chin(nights):
    awake = nights[0].true_stages == W
    chin = np.log(by_epoch(nights[0], "emg", 128).std(axis=1))
    fast, slow = (
        np.corrcoef(chin[awake], np.log(power(by_epoch(nights[0], "eeg", 128), 128, *band))[awake])
        for band in ((35, 45), (2, 6))
    )
    assert fast[0, 1] > 0.6 > 0.3 > abs(slow[0, 1])


def test_eyes_blink_awake(nights):
    deepest = typical(nights, [by_epoch(night, "eog", 100).min(axis=1) for night in nights])
    assert deepest[W] < -80 < deepest[N2]
    assert deepest[R] < deepest[N2]


def test_spindles_belong_to_n2(nights):
    ratio = []
    for night in nights:
        epochs = by_epoch(night, "eeg", 128)
        ratio.append(power(epochs, 128, 12, 15.5) / power(epochs, 128, 18, 30))
    ratio = typical(nights, ratio)
    assert ratio[N2] > 1.5 * max(ratio[W], ratio[N1], ratio[R])


def test_alpha_belongs_to_wake():
    night = simulate(3, alpha=2.0, alpha_frequency=10.0)
    blocked = simulate(3, alpha=0.02, alpha_frequency=10.0)
    awake = night.true_stages == W
    epochs = [by_epoch(n, "eeg", 100)[awake] for n in (night, blocked)]
    with_alpha, without = (power(e, 100, 9, 11).mean() for e in epochs)
    assert with_alpha > 2 * without


def test_derivation_tilts_spectrum(nights):
    site = dataclasses.replace(nights[0].site, eeg_tilt=0.5)
    tilted = dataclasses.replace(nights[0], site=site)
    plain, changed = (by_epoch(night, "eeg", 100) for night in (nights[0], tilted))
    slow, fast = (
        np.median(power(changed, 100, *band) / power(plain, 100, *band))
        for band in ((1, 2), (20, 30))
    )
    assert slow > 1.3
    assert fast < 0.7


def test_eog_moves_and_shares_brain(nights):
    eyes = typical(nights, [power(by_epoch(night, "eog", 100), 100, 0.3, 2) for night in nights])
    assert eyes[R] > 2 * eyes[N2]
    assert eyes[N1] > 2 * eyes[N2]
    eeg, eog = (GENERATORS[name](nights[0], 100) for name in ("eeg", "eog"))
    deep = np.repeat(nights[0].true_stages == N3, 3000)
    assert np.corrcoef(eeg[deep], eog[deep])[0, 1] > 0.6


def test_heart_rate_follows_stages():
    offsets = (4.0, 1.5, -0.9, -1.0, 2.8)
    nights = [simulate(seed, stage_heart_rate=offsets) for seed in range(6)]
    rate = [60 / by_epoch(night, "ibi", 4) for night in nights]
    level = typical(nights, [epochs.mean(axis=1) for epochs in rate])
    assert level[W] > level[R] > max(level[N2], level[N3])
    minutes = [
        np.lib.stride_tricks.sliding_window_view(np.pad(e.mean(axis=1), 5, mode="edge"), 11)
        for e in rate
    ]
    spread = typical(nights, [window.std(axis=1) for window in minutes])
    assert spread[R] > 1.4 * spread[N2] > 1.4 * spread[N3]
    assert 0.4 < spread[N3] < spread[R] < 6


def test_cardiac_signals_share_beats(nights):
    night = nights[0]
    beats = beat_times(night)
    rate = 256
    signal = GENERATORS["ecg"](night, rate)
    quiet = beats[(beats > 5) & (beats < night.duration - 5)]
    at = np.round(quiet * rate).astype(int)
    peaks = np.max([signal[at + shift] for shift in (-2, -1, 0, 1, 2)], axis=0)
    between = signal[at - round(0.1 * rate)]
    assert np.mean(peaks > between + 300) > 0.98
    expected = np.interp(quiet, beats[1:], np.diff(beats))
    series = GENERATORS["ibi"](night, 4)
    middle = np.median(series[(quiet * 4).astype(int)])
    assert middle == pytest.approx(np.median(expected), rel=0.01)
    pulse = GENERATORS["ppg"](night, 100)
    frequency, density = welch(pulse, 100, nperseg=6000)
    band = (frequency > 0.6) & (frequency < 2)
    peak = frequency[band][density[band].argmax()]
    assert peak == pytest.approx(1 / np.median(expected), rel=0.12)


def test_watch_smooths_beat_variability():
    site = draw_site(1, 1, "wearable")
    night = draw_night((9, 0), SUBJECT, site, 960)
    beats = draw_night((9, 0), SUBJECT, draw_site(1, 1, "home"), 960)
    watch = GENERATORS["ibi"](night, 1)
    heart = 60 / GENERATORS["ibi"](beats, 1)
    assert np.median(watch) == pytest.approx(np.median(heart), abs=3)
    assert np.corrcoef(watch, heart)[0, 1] > 0.5
    assert np.median(np.abs(np.diff(watch))) < 0.5 * np.median(np.abs(np.diff(heart)))


def test_ahi_meets_expectation():
    counts = [simulate(seed, ahi=30.0).ahi for seed in range(10)]
    assert np.mean(counts) == pytest.approx(30, rel=0.3)


def test_chest_moves_during_apnea(apneic):
    events = apneic.respiratory
    flow, chest = (GENERATORS[name](apneic, 8) for name in ("airflow", "effort"))
    ratios = {"flow": [], "chest": []}
    for start, stop in zip(events.onset[events.apnea], events.end[events.apnea], strict=True):
        inside = slice(round(start * 8) + 16, round(stop * 8) - 8)
        for name, signal in (("flow", flow), ("chest", chest)):
            ratios[name].append(signal[inside].std() / signal.std())
    assert np.median(ratios["flow"]) < 0.2
    assert np.median(ratios["chest"]) > 2 * np.median(ratios["flow"])


def test_desaturations_lag_events(apneic):
    events = apneic.respiratory
    alone = np.flatnonzero(np.diff(events.onset, append=np.inf) > 90)
    saturation = GENERATORS["spo2"](apneic, 1)
    before = saturation[events.onset[alone].astype(int)]
    nadir = (events.end + events.lag)[alone].astype(int)
    after = saturation[np.minimum(nadir, len(saturation) - 1)]
    assert np.mean(after < before) > 0.7
    assert np.median(before - after) >= 1
    lowest = (events.end + events.lag - events.onset)[alone]
    assert 20 < np.median(lowest) < 60
    assert 50 <= saturation.min() < 90
    assert saturation.max() <= 100


def test_wrist_is_still_asleep(nights):
    site = dataclasses.replace(nights[0].site, counts_smoothing=0.0)
    for night in nights:
        night = dataclasses.replace(night, site=site)
        counts = by_epoch(night, "actigraphy", 1).sum(axis=1)
        still = counts <= counts.max() * 1e-3
        asleep = night.true_stages > 0
        assert still[asleep].mean() > 0.8
        assert 0.2 < still[~asleep].mean() < 0.8
        assert counts[~asleep].mean() > 5 * counts[asleep].mean()


def test_shaped_noise_has_its_density():
    grid = frequencies(100, 30)
    density = np.zeros((501, len(grid)), dtype=np.float32)
    density[:250, (grid >= 8) & (grid <= 12)] = 4.0
    noise = shaped_noise(np.random.default_rng(0), density, 100)
    assert len(noise) == 500 * 2 * 100
    loud, quiet = noise[:49_000], noise[51_000:]
    assert loud.var() == pytest.approx(4.0 * 4.25, rel=0.1)
    assert quiet.std() == 0
    halves = loud[: 490 * 100].reshape(-1, 100).var(axis=0)
    np.testing.assert_allclose(halves / halves.mean(), 1, atol=0.25)
    frequency, measured = welch(loud, 100, nperseg=400)
    assert measured[(frequency >= 8) & (frequency <= 12)].mean() == pytest.approx(4.0, rel=0.2)


def test_slow_waves_ignore_rate():
    density = np.ones((31, 41), dtype=np.float32)
    slow, fast = (shaped_noise(np.random.default_rng(0), density, rate) for rate in (50, 100))
    slow, fast = slow.reshape(-1, 50).mean(axis=1), fast.reshape(-1, 100).mean(axis=1)
    assert np.corrcoef(slow, fast)[0, 1] > 0.99
    assert slow.std() == pytest.approx(fast.std(), rel=0.05)


@pytest.mark.parametrize(
    ("rate", "top", "highest"), [(100, 30, 30), (100, 90, 49.75), (8, 45, 3.75)]
)
def test_frequencies_stay_below_nyquist(rate, top, highest):
    grid = frequencies(rate, top)
    assert (grid[0], grid[-1]) == (0, highest)
    np.testing.assert_allclose(np.diff(grid), 0.25)


def test_heart_rate_leads_stages():
    stages = np.repeat([N2, R], 60).astype(np.int8)
    night = dataclasses.replace(simulate(0), true_stages=stages)
    track = _ahead_of_stage(night, (0, 0, 0, 0, 1))
    assert track[(1800 - 120) * CONTROL_RATE] == pytest.approx(0.5, abs=0.06)
    assert track[600 * CONTROL_RATE] < 0.02
    assert track[2400 * CONTROL_RATE] > 0.98


def test_movement_hides_pulse(nights):
    unread = _undetected(nights[0], np.random.default_rng(0))
    assert 0.002 < unread.mean() < 0.2
    still = dataclasses.replace(nights[0].movements, size=np.full(len(nights[0].movements), 0.1))
    calm = dataclasses.replace(nights[0], movements=still)
    assert not _undetected(calm, np.random.default_rng(0)).any()
