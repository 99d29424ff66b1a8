# SPDX-License-Identifier: BSD-3-Clause
"""The tools of the simulator: named streams, autoregressive noise, waveforms, people."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets.simulation._neurophysiology import frequencies, shaped_noise
from sleep2vec_sklearn.datasets.simulation._night import (
    CONTROL_RATE,
    Night,
    add_waveforms,
    ar1_noise,
    impulse_response,
)
from sleep2vec_sklearn.datasets.simulation._subjects import (
    draw_outcomes,
    draw_subject,
    random_stream,
    seed_from,
)

few = settings(max_examples=30)


@few
@given(seed=st.integers(0, 2**40), name=st.text("abc '", min_size=1, max_size=9))
def test_a_stream_is_named_by_its_seed_and_its_name(seed, name):
    first = random_stream((seed, 1), name).random(4)
    np.testing.assert_array_equal(first, random_stream((seed, 1), name).random(4))
    for other in (
        random_stream((seed, 2), name),
        random_stream((seed + 1, 1), name),
        random_stream((seed,), name),
    ):
        assert (first != other.random(4)).all()
    assert (first != random_stream((seed, 1), name + "'").random(4)).all()


def test_an_int_is_its_own_seed_and_a_generator_moves_on():
    assert (seed_from(5), seed_from(np.int64(5)), seed_from(0)) == (5, 5, 0)
    generator = np.random.default_rng(0)
    assert seed_from(generator) != seed_from(generator)
    assert seed_from(None) != seed_from(None)


@pytest.mark.parametrize("state", [True, 1.0, "1", [1]])
def test_what_is_no_random_state_is_refused(state):
    with pytest.raises(TypeError, match=type(state).__name__):
        seed_from(state)


@pytest.mark.parametrize("memory", [1, 20, 300])
def test_wandering_has_unit_variance_and_forgets_in_its_memory(memory):
    track = ar1_noise(np.random.default_rng(0), 200_000, memory).astype(np.float64)
    assert track.std() == pytest.approx(1, abs=0.12)
    assert track.mean() == pytest.approx(0, abs=0.15)
    lagged = np.corrcoef(track[:-memory], track[memory:])[0, 1]
    assert lagged == pytest.approx(np.exp(-1), abs=0.1)


def test_wandering_starts_as_it_goes_on():
    starts = [ar1_noise(np.random.default_rng(k), 1, 1000)[0] for k in range(400)]
    assert np.std(starts) == pytest.approx(1, abs=0.15)


def test_an_impulse_starts_at_its_time_and_adds_up():
    kernel = np.array([1.0, 0.5], dtype=np.float32)
    track = impulse_response(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 5.0]), kernel, 12)
    expected = np.zeros(12)
    expected[4:6] += [3, 1.5]
    expected[8:10] += [5, 2.5]
    np.testing.assert_allclose(track, expected)


def test_an_impulse_at_the_end_is_cut_off_there():
    track = impulse_response(np.array([2.75, 99.0]), np.ones(2), np.ones(40, np.float32), 12)
    assert len(track) == 12
    assert track.tolist() == [0] * 11 + [2]


@few
@given(start=st.floats(-2, 12), rate=st.sampled_from([4, 10, 128]))
def test_a_waveform_is_placed_whole_or_not_at_all(start, rate):
    signal = np.zeros(10 * rate)
    add_waveforms(signal, rate, np.array([start]), np.ones((1, 2 * rate)))
    begin = round(start * rate)
    whole = 0 <= begin <= 8 * rate
    assert signal.sum() == (2 * rate if whole else 0)
    assert not whole or signal[begin : begin + 2 * rate].all()


def test_waveforms_that_overlap_are_added():
    signal = np.ones(6, dtype=np.float32)
    add_waveforms(signal, 1, np.array([1, 2]), np.array([[1, 1, 1], [10, 10, 10]]))
    assert signal.tolist() == [1, 2, 12, 12, 11, 1]
    add_waveforms(signal, 1, np.array([]), np.empty((0, 3)))
    assert signal.tolist() == [1, 2, 12, 12, 11, 1]


@pytest.mark.parametrize(
    ("rate", "top", "highest"), [(100, 30, 30), (100, 90, 49.75), (8, 45, 3.75)]
)
def test_the_grid_of_frequencies_stays_below_nyquist(rate, top, highest):
    grid = frequencies(rate, top)
    assert (grid[0], grid[-1]) == (0, highest)
    np.testing.assert_allclose(np.diff(grid), 0.25)


def test_shaped_noise_has_the_variance_of_its_density():
    density = np.zeros((2001, 121), dtype=np.float32)
    density[:, 20:41] = 0.5
    noise = shaped_noise(np.random.default_rng(1), density, 64)
    assert noise.dtype == np.float32
    assert noise.var() == pytest.approx(21 * 0.25 * 0.5, rel=0.05)
    halves = noise.reshape(-1, 64).var(axis=0)
    np.testing.assert_allclose(halves / halves.mean(), 1, atol=0.2)


@few
@given(seed=st.integers(0, 2**32), index=st.integers(1, 5000))
def test_a_person_can_be(seed, index):
    person = draw_subject(seed, index)
    assert person == draw_subject(seed, index)
    assert person.id == f"sim-{index:04d}"
    assert 20 <= person.age <= 85
    assert person.sex in ("F", "M")
    assert 17 <= person.bmi <= 48
    assert 0.3 <= person.ahi <= 90
    assert 91 <= person.saturation <= 99
    assert 42 <= person.heart_rate <= 92
    assert 9 <= person.breathing_rate <= 22
    assert 8.2 <= person.alpha_frequency <= 12 <= person.spindle_frequency <= 15
    positive = ("fragmentation", "deep_sleep", "heart_variability", "muscle_tone", "restlessness")
    assert all(getattr(person, trait) > 0 for trait in positive)


@pytest.fixture(scope="module")
def people():
    return [draw_subject(3, k) for k in range(1, 801)]


def trait(people, name):
    return np.array([getattr(person, name) for person in people])


@pytest.mark.parametrize(
    ("name", "sign"),
    [("heart_variability", -1), ("eeg_gain", -1), ("eeg_slope", -1), ("spindle_rate", -1),
     ("alpha_frequency", -1), ("ahi", 1), ("saturation", -1)],
)  # fmt: skip
def test_traits_age_in_the_direction_that_is_known(people, name, sign):
    slope = np.corrcoef(trait(people, "age"), trait(people, name))[0, 1]
    assert sign * slope > 0.08


def test_heavy_people_and_men_have_more_apnea(people):
    ahi, heavy = np.log(trait(people, "ahi")), trait(people, "bmi") > 29
    men = trait(people, "sex") == "M"
    assert ahi[heavy].mean() > ahi[~heavy].mean() + 0.2
    assert ahi[men].mean() > ahi[~men].mean() + 0.2


def test_a_quarter_of_people_has_hardly_any_alpha(people):
    assert 0.15 < np.mean(trait(people, "alpha") < 0.35) < 0.35


def test_outcomes_are_a_persons_own_and_do_not_depend_on_who_else_is_there(people):
    first = draw_outcomes(3, 1, people[0])
    assert first == draw_outcomes(3, 1, people[0])
    assert len({draw_outcomes(3, k, people[0]).survival_time for k in range(1, 9)}) > 4


@pytest.mark.parametrize(
    ("worse", "better"),
    [({"age": 80.0}, {"age": 30.0}), ({"ahi": 60.0}, {"ahi": 1.0}),
     ({"heart_variability": 0.5}, {"heart_variability": 1.8}),
     ({"deep_sleep": 0.4}, {"deep_sleep": 2.0}), ({"bmi": 45.0}, {"bmi": 19.0})],
)  # fmt: skip
def test_the_same_luck_with_a_worse_trait_never_ends_better(people, worse, better):
    person = people[0]
    rates = []
    for changed in (worse, better):
        body = dataclasses.replace(person, **changed)
        outcomes = [draw_outcomes(7, k, body) for k in range(1, 300)]
        rates.append([o.hypertension for o in outcomes])
    assert all(a >= b for a, b in zip(*rates, strict=True))
    assert sum(rates[0]) > sum(rates[1])


def test_unrest_and_apnea_shorten_life_for_the_same_luck(people):
    for name, low, high in (("fragmentation", 0.5, 2.0), ("ahi", 1.0, 60.0), ("age", 30.0, 80.0)):
        lives = [
            [
                draw_outcomes(7, k, dataclasses.replace(people[0], **{name: value})).survival_time
                for k in range(1, 200)
            ]
            for value in (low, high)
        ]
        assert all(a >= b for a, b in zip(*lives, strict=True))
        assert np.mean(lives[0]) > np.mean(lives[1]) + 0.1


@pytest.fixture
def night(people):
    """Ten epochs: wake, N2, N3, N2, R, in pairs."""
    stages = np.repeat([0, 2, 3, 2, 4], 2).astype(np.int8)
    return Night((1,), people[0], None, stages, stages, (), (), ())


def test_shares_of_stages_add_up_to_one_and_are_pure_far_from_borders(night):
    weights = night.stage_weights(4, 5)
    assert weights.shape == (10 * 30 * 4, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert weights[0].argmax() == 0
    assert weights[150 * 4, 3] == pytest.approx(1, abs=1e-3)
    border = weights[60 * 4]
    assert border[0] == pytest.approx(border[2], abs=0.1)


def test_a_value_per_stage_becomes_a_track_that_follows_the_stages(night):
    track = night.by_stage((1, 0, 2, 3, 4), blur=3)
    assert track.shape == (night.n_control,) == (300 * CONTROL_RATE,)
    middles = [track[(30 + 60 * k) * CONTROL_RATE] for k in range(5)]
    np.testing.assert_allclose(middles, [1, 2, 3, 2, 4], atol=0.01)


def test_a_night_knows_its_length_and_its_index_of_events(night):
    assert night.duration == 300
    # eight epochs of sleep are less than half an hour, which is the least it divides by
    assert dataclasses.replace(night, respiratory=(1, 2, 3)).ahi == 6
