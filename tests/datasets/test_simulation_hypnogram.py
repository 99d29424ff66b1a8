# SPDX-License-Identifier: BSD-3-Clause
"""Stages that can follow each other, and a scorer who errs as people do."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets.simulation._night import (
    _CONFUSION,
    _EARLY,
    _LATE,
    _cycle,
    _interrupt,
    _wake_length,
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
def test_a_night_has_as_many_epochs_as_asked_for_and_all_are_stages(seed, n_epochs):
    stages = hypnogram(seed, n_epochs)
    assert stages.shape == (n_epochs,)
    assert stages.dtype == np.int8
    assert set(np.unique(stages)) <= {W, N1, N2, N3, R}


@few
@given(seed=seeds, age=st.floats(20, 85), ahi=st.floats(0, 90), unrest=st.floats(0.3, 3))
def test_sleep_is_entered_through_n1(seed, age, ahi, unrest):
    counts = transitions(hypnogram(seed, age=age, ahi=ahi, fragmentation=unrest))
    assert not counts[W, [N2, N3, R]].any()


@few
@given(seed=seeds)
def test_deep_sleep_and_rem_do_not_follow_each_other(seed):
    counts = transitions(hypnogram(seed))
    assert counts[R, N3] == counts[N3, R] == 0


@few
@given(seed=seeds, age=st.floats(20, 85), unrest=st.floats(0.3, 3))
def test_deep_sleep_is_reached_through_n2_however_broken_the_night(seed, age, unrest):
    counts = transitions(hypnogram(seed, age=age, fragmentation=unrest))
    assert not counts[[W, N1, R], N3].any()


def test_bouts_of_deep_sleep_and_rem_last_many_minutes_in_a_calm_night():
    nights = [hypnogram(seed, age=25.0, fragmentation=0.7) for seed in range(20)]
    for stage in (N3, R):
        assert np.mean(np.concatenate([lengths(night, stage) for night in nights])) > 20
    scored = [score_stages(n, np.random.default_rng(k)) for k, n in enumerate(nights)]
    single = np.concatenate([lengths(night, N3) for night in scored]) == 1
    assert single.mean() < 0.2


def test_most_awakenings_are_short_and_a_few_are_very_long():
    minutes = np.array([_wake_length(np.random.default_rng(k)) for k in range(4000)]) / 2
    # the tail of a density that falls with the power 2.2
    for longer in (1, 5, 20):
        expected = (longer / 0.5) ** -1.2
        assert (minutes >= longer).mean() == pytest.approx(expected, abs=0.03, rel=0.5)
    assert minutes.max() <= 60


@few
@given(seed=seeds, n_epochs=st.integers(40, 1000))
def test_a_night_begins_and_ends_awake(seed, n_epochs):
    stages = hypnogram(seed, n_epochs)
    assert stages[0] == stages[-1] == W
    asleep = np.flatnonzero(stages > W)
    assert stages[asleep[0]] == N1
    assert asleep[0] <= n_epochs // 3
    # the last awakening of an hour at most, and the time in bed after it
    assert n_epochs - 1 - asleep[-1] <= 120 + n_epochs // 8


@pytest.mark.parametrize("number", range(5))
def test_a_cycle_goes_from_light_over_deep_sleep_to_rem(number):
    cycles = [_cycle(number, 1.0, 1.0, np.random.default_rng(k)) for k in range(60)]
    for cycle in cycles:
        assert cycle[0] == N1
        deep, rem = np.flatnonzero(cycle == N3), np.flatnonzero(cycle == R)
        assert len(deep) == 0 or len(rem) == 0 or deep[-1] < rem[0]
    minutes = np.mean([len(cycle) for cycle in cycles]) / 2
    assert 75 < minutes < 110


def test_the_first_cycle_is_at_times_without_rem_and_the_others_never():
    skipped = [
        [not (_cycle(number, 1.0, 1.0, np.random.default_rng(k)) == R).any() for k in range(150)]
        for number in (0, 2)
    ]
    assert 0.08 < np.mean(skipped[0]) < 0.25
    assert not any(skipped[1])


@few
@given(seed=seeds, unrest=st.floats(0.1, 5))
def test_interruptions_add_wake_and_n1_and_take_nothing_away(seed, unrest):
    cycle = np.repeat([N1, N2, N3, N2, R], [5, 60, 40, 30, 40]).astype(np.int8)
    broken = _interrupt(cycle, unrest, np.random.default_rng(seed))
    for stage in (N3, R):
        assert (broken == stage).sum() == (cycle == stage).sum()
    assert (broken == N2).sum() >= (cycle == N2).sum()
    assert (broken == N1).sum() >= 5
    woken = np.flatnonzero((broken[:-1] == W) & (broken[1:] != W))
    assert (broken[woken + 1] == N1).all()


def test_unrest_wakes_more_often():
    cycle = np.full(400, N2, dtype=np.int8)
    waking = [
        np.mean([(_interrupt(cycle, u, np.random.default_rng(k)) == W).sum() for k in range(30)])
        for u in (0.3, 1.0, 3.0)
    ]
    assert waking[0] < waking[1] < waking[2]
    quiet = _interrupt(cycle, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(quiet, cycle)


def test_a_persons_deep_sleep_shows_in_the_night():
    shares = [
        np.mean([(hypnogram(k, deep_sleep=deep) == N3).mean() for k in range(12)])
        for deep in (0.5, 1.0, 2.0)
    ]
    assert shares[0] < 0.75 * shares[1] < 0.75 * 0.75 * shares[2]


def test_confusions_are_probabilities_and_mostly_right():
    np.testing.assert_allclose(_CONFUSION.sum(axis=1), 1)
    assert (_CONFUSION >= 0).all()
    assert (np.diag(_CONFUSION) >= 0.84).all()
    assert np.diag(_CONFUSION).argmin() == N1


@pytest.mark.parametrize("stage", range(5))
def test_a_scorer_confuses_stages_as_often_as_the_table_says(stage):
    true = np.full(160_000, stage, dtype=np.int8)
    scored = score_stages(true, np.random.default_rng(stage))
    shares = np.bincount(scored, minlength=5) / len(true)
    np.testing.assert_allclose(shares, _CONFUSION[stage], atol=0.006)
    assert not shares[_CONFUSION[stage] == 0].any()


def test_a_scorer_sets_a_border_late_more_often_than_early():
    true = np.tile(np.repeat([W, N1], 20), 800).astype(np.int8)
    scored = score_stages(true, np.random.default_rng(0))
    borders = np.flatnonzero((true[1:] == N1) & (true[:-1] == W))
    late = (scored[borders + 1] == W).mean()
    early = (scored[borders] == N1).mean()
    assert late == pytest.approx(_LATE + (1 - _LATE) * _CONFUSION[N1, W], abs=0.05)
    assert early == pytest.approx(_EARLY, abs=0.05)
    assert early < late


def test_a_scorers_doubts_last_and_do_not_cut_up_long_bouts():
    scored = score_stages(np.full(20_000, N3, dtype=np.int8), np.random.default_rng(0))
    assert 1.5 < lengths(scored, N2).mean() < 6


def test_a_scorer_never_puts_deep_sleep_beside_rem():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        counts = transitions(score_stages(hypnogram(seed, ahi=40.0), rng))
        assert counts[N3, R] == counts[R, N3] == 0


def test_scoring_leaves_the_truth_alone():
    true = hypnogram(0)
    kept = true.copy()
    score_stages(true, np.random.default_rng(0))
    np.testing.assert_array_equal(true, kept)
