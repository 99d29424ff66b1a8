# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights: hypnograms, scoring, and the noise that sensors share."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from sleep2vec_sklearn.datasets.simulation._night import (
    _CONFUSION,
    _EARLY,
    _LATE,
    CONTROL_RATE,
    Night,
    _cycle,
    _interrupt,
    _wake_length,
    add_waveforms,
    ar1_noise,
    ar2_noise,
    impulse_response,
    score_stages,
    simulate_hypnogram,
)
from sleep2vec_sklearn.datasets.simulation._subjects import draw_subject

W, N1, N2, N3, R = range(5)
SUBJECT = dataclasses.replace(draw_subject(0, 1), age=45.0, ahi=2.0)
seeds = st.integers(0, 2**32)
few = settings(max_examples=25)


def hypnogram(seed, n_epochs=960, **traits):
    subject = dataclasses.replace(SUBJECT, **traits)
    return simulate_hypnogram(subject, n_epochs, np.random.default_rng(seed))


def lengths(stages, stage):
    """Epochs of each bout of a stage."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], stages == stage, [0]])))
    return edges[1::2] - edges[::2]


def transitions(stages):
    counts = np.zeros((5, 5), dtype=int)
    np.add.at(counts, (stages[:-1], stages[1:]), 1)
    return counts


@few
@given(seed=seeds, n_epochs=st.integers(1, 1200))
def test_hypnogram_has_requested_length(seed, n_epochs):
    stages = hypnogram(seed, n_epochs)
    assert stages.shape == (n_epochs,)
    assert stages.dtype == np.int8
    assert set(np.unique(stages)) <= {W, N1, N2, N3, R}


@few
@given(seed=seeds, age=st.floats(20, 85), ahi=st.floats(0, 90), unrest=st.floats(0.3, 3))
def test_transitions_are_physiological(seed, age, ahi, unrest):
    counts = transitions(hypnogram(seed, age=age, ahi=ahi, fragmentation=unrest))
    assert not counts[W, [N2, N3, R]].any(), "sleep begins with N1"
    assert not counts[[W, N1, R], N3].any(), "N3 is entered through N2"
    assert counts[N3, R] == 0


def test_calm_nights_have_long_bouts():
    nights = [hypnogram(seed, age=25.0, fragmentation=0.7) for seed in range(20)]
    for stage in (N3, R):
        assert np.mean(np.concatenate([lengths(night, stage) for night in nights])) > 20
    scored = [score_stages(n, np.random.default_rng(k)) for k, n in enumerate(nights)]
    single = np.concatenate([lengths(night, N3) for night in scored]) == 1
    assert single.mean() < 0.2


def test_awakenings_follow_power_law():
    minutes = np.array([_wake_length(np.random.default_rng(k)) for k in range(4000)]) / 2
    # the tail of a density that falls with the power 2.2
    for longer in (1, 5, 20):
        expected = (longer / 0.5) ** -1.2
        assert (minutes >= longer).mean() == pytest.approx(expected, abs=0.03, rel=0.5)
    assert minutes.max() <= 60


@few
@given(seed=seeds, n_epochs=st.integers(40, 1000))
def test_night_begins_and_ends_awake(seed, n_epochs):
    stages = hypnogram(seed, n_epochs)
    assert stages[0] == stages[-1] == W
    asleep = np.flatnonzero(stages > W)
    assert stages[asleep[0]] == N1
    assert asleep[0] <= n_epochs // 3
    # the last awakening of an hour at most, and the time in bed after it
    assert n_epochs - 1 - asleep[-1] <= 120 + n_epochs // 8


@pytest.mark.parametrize("number", range(5))
def test_cycle_goes_deep_then_rem(number):
    cycles = [_cycle(number, 1.0, 1.0, np.random.default_rng(k)) for k in range(60)]
    for cycle in cycles:
        assert cycle[0] == N1
        deep, rem = np.flatnonzero(cycle == N3), np.flatnonzero(cycle == R)
        assert len(deep) == 0 or len(rem) == 0 or deep[-1] < rem[0]
    minutes = np.mean([len(cycle) for cycle in cycles]) / 2
    assert 75 < minutes < 110


def test_only_first_cycle_lacks_rem():
    generators = [np.random.default_rng(k) for k in range(150)]
    first, third = ([R not in _cycle(n, 1.0, 1.0, rng) for rng in generators] for n in (0, 2))
    assert 0.08 < np.mean(first) < 0.25
    assert not any(third)


@few
@given(seed=seeds, unrest=st.floats(0.1, 5))
def test_interruptions_remove_no_sleep(seed, unrest):
    cycle = np.repeat([N1, N2, N3, N2, R], [5, 60, 40, 30, 40]).astype(np.int8)
    broken = _interrupt(cycle, unrest, np.random.default_rng(seed))
    for stage in (N3, R):
        assert (broken == stage).sum() == (cycle == stage).sum()
    assert (broken == N2).sum() >= (cycle == N2).sum()
    assert (broken == N1).sum() >= 5
    woken = np.flatnonzero((broken[:-1] == W) & (broken[1:] != W))
    assert (broken[woken + 1] == N1).all()


def test_traits_shape_the_hypnogram():
    cycle = np.full(400, N2, dtype=np.int8)
    np.testing.assert_array_equal(_interrupt(cycle, 0.0, np.random.default_rng(0)), cycle)
    waking, shares = [], []
    for unrest in (0.3, 1.0, 3.0):
        broken = [_interrupt(cycle, unrest, np.random.default_rng(k)) for k in range(30)]
        waking.append(np.mean(np.array([(stages == W).sum() for stages in broken])))
    for deep in (0.5, 1.0, 2.0):
        shares.append(np.mean([hypnogram(k, deep_sleep=deep) == N3 for k in range(12)]))
    assert waking[0] < waking[1] < waking[2]
    assert shares[0] < 0.75 * shares[1] < 0.75 * 0.75 * shares[2]


@pytest.mark.parametrize("stage", range(5))
def test_scorer_confuses_by_table(stage):
    true = np.full(160_000, stage, dtype=np.int8)
    scored = score_stages(true, np.random.default_rng(stage))
    shares = np.bincount(scored, minlength=5) / len(true)
    np.testing.assert_allclose(shares, _CONFUSION[stage], atol=0.006)
    assert not shares[_CONFUSION[stage] == 0].any()


def test_scorer_sets_borders_late():
    true = np.tile(np.repeat([W, N1], 20), 800).astype(np.int8)
    scored = score_stages(true, np.random.default_rng(0))
    borders = np.flatnonzero((true[1:] == N1) & (true[:-1] == W))
    late = (scored[borders + 1] == W).mean()
    early = (scored[borders] == N1).mean()
    assert late == pytest.approx(_LATE + (1 - _LATE) * _CONFUSION[N1, W], abs=0.05)
    assert early == pytest.approx(_EARLY, abs=0.05)
    assert early < late


def test_confusions_last_and_stay_possible():
    scored = score_stages(np.full(20_000, N3, dtype=np.int8), np.random.default_rng(0))
    assert 1.5 < lengths(scored, N2).mean() < 6
    for seed in range(10):
        true = hypnogram(seed, ahi=40.0)
        before = true.copy()
        counts = transitions(score_stages(true, np.random.default_rng(seed)))
        assert counts[N3, R] == counts[R, N3] == 0
        np.testing.assert_array_equal(true, before)


@pytest.mark.parametrize("memory", [1, 20, 300])
def test_ar1_noise_has_its_memory(memory):
    track = ar1_noise(np.random.default_rng(0), 200_000, memory).astype(np.float64)
    assert track.std() == pytest.approx(1, abs=0.12)
    assert track.mean() == pytest.approx(0, abs=0.15)
    lagged = np.corrcoef(track[:-memory], track[memory:])[0, 1]
    assert lagged == pytest.approx(np.exp(-1), abs=0.1)


def test_noise_is_stationary():
    starts = [ar1_noise(np.random.default_rng(k), 1, 1000)[0] for k in range(400)]
    assert np.std(starts) == pytest.approx(1, abs=0.15)
    noise = ar2_noise(np.random.default_rng(0), 200_000, 0.02, 60)
    assert noise.std() == pytest.approx(1, abs=0.1)
    frequency, power = welch(noise, nperseg=2000)
    assert frequency[power.argmax()] == pytest.approx(0.02, abs=0.002)


def test_impulses_add_up():
    kernel = np.array([1.0, 0.5], dtype=np.float32)
    response = impulse_response(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 5.0]), kernel, 12)
    np.testing.assert_allclose(response, [0, 0, 0, 0, 3, 1.5, 0, 0, 5, 2.5, 0, 0])
    # the last ones are cut at the end
    response = impulse_response(np.array([2.75, 99.0]), np.ones(2), np.ones(40, np.float32), 12)
    assert response.tolist() == [0] * 11 + [2]


@few
@given(start=st.floats(-2, 12), rate=st.sampled_from([4, 10, 128]))
def test_waveforms_are_added_whole(start, rate):
    signal = np.zeros(10 * rate)
    add_waveforms(signal, rate, np.array([start]), np.ones((1, 2 * rate)))
    begin = round(start * rate)
    whole = 0 <= begin <= 8 * rate
    assert signal.sum() == (2 * rate if whole else 0)
    assert not whole or signal[begin : begin + 2 * rate].all()


def test_overlapping_waveforms_add_up():
    signal = np.ones(6, dtype=np.float32)
    add_waveforms(signal, 1, np.array([1, 2]), np.array([[1, 1, 1], [10, 10, 10]]))
    assert signal.tolist() == [1, 2, 12, 12, 11, 1]
    add_waveforms(signal, 1, np.array([]), np.empty((0, 3)))
    assert signal.tolist() == [1, 2, 12, 12, 11, 1]


@pytest.fixture
def night():
    """Ten epochs: wake, N2, N3, N2, R, in pairs."""
    stages = np.repeat([0, 2, 3, 2, 4], 2).astype(np.int8)
    return Night((1,), SUBJECT, None, stages, stages, (), (), ())


def test_stage_weights_sum_to_one(night):
    weights = night.stage_weights(4, 5)
    assert weights.shape == (10 * 30 * 4, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert weights[0].argmax() == 0
    assert weights[150 * 4, 3] == pytest.approx(1, abs=1e-3)
    border = weights[60 * 4]
    assert border[0] == pytest.approx(border[2], abs=0.1)


def test_values_follow_the_stages(night):
    track = night.by_stage((1, 0, 2, 3, 4), blur=3)
    assert track.shape == (night.n_control,) == (300 * CONTROL_RATE,)
    middles = [track[(30 + 60 * k) * CONTROL_RATE] for k in range(5)]
    np.testing.assert_allclose(middles, [1, 2, 3, 2, 4], atol=0.01)
    assert night.duration == 300
    # eight epochs of sleep are less than half an hour, which is the least it divides by
    assert dataclasses.replace(night, respiratory=(1, 2, 3)).ahi == 6
