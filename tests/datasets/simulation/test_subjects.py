# SPDX-License-Identifier: BSD-3-Clause
"""Simulated subjects and outcomes, and the random streams they are drawn from."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets import make_sleep_cohort
from sleep2vec_sklearn.datasets.simulation._subjects import (
    draw_outcomes,
    draw_subject,
    random_stream,
    seed_from,
)

few = settings(max_examples=30)


@few
@given(seed=st.integers(0, 2**40), name=st.text("abc '", min_size=1, max_size=9))
def test_streams_have_names(seed, name):
    first = random_stream((seed, 1), name).random(4)
    np.testing.assert_array_equal(first, random_stream((seed, 1), name).random(4))
    others = [((seed, 2), name), ((seed + 1, 1), name), ((seed,), name), ((seed, 1), name + "'")]
    assert all((first != random_stream(*other).random(4)).all() for other in others)


def test_generator_seeds_advance():
    assert (seed_from(5), seed_from(np.int64(5)), seed_from(0)) == (5, 5, 0)
    generator = np.random.default_rng(0)
    assert seed_from(generator) != seed_from(generator)
    assert seed_from(None) != seed_from(None)


@pytest.mark.parametrize("state", [True, 1.0, "1", [1]])
def test_other_seeds_are_refused(state):
    with pytest.raises(TypeError, match=type(state).__name__):
        seed_from(state)


@few
@given(seed=st.integers(0, 2**32), index=st.integers(1, 5000))
def test_subject_is_plausible(seed, index):
    subject = draw_subject(seed, index)
    assert subject == draw_subject(seed, index)
    assert subject.id == f"sim-{index:04d}"
    assert 20 <= subject.age <= 85
    assert subject.sex in ("F", "M")
    assert 17 <= subject.bmi <= 48
    assert 0.3 <= subject.ahi <= 90
    assert 91 <= subject.saturation <= 99
    assert 42 <= subject.heart_rate <= 92
    assert 9 <= subject.breathing_rate <= 22
    assert 8.2 <= subject.alpha_frequency <= 12 <= subject.spindle_frequency <= 15
    positive = ("fragmentation", "deep_sleep", "heart_variability", "muscle_tone", "restlessness")
    assert all(getattr(subject, trait) > 0 for trait in positive)


@pytest.fixture(scope="module")
def subjects():
    return [draw_subject(0, index) for index in range(1, 1501)]


@pytest.fixture(scope="module")
def outcomes(subjects):
    return [draw_outcomes(0, k + 1, subject) for k, subject in enumerate(subjects)]


def trait(subjects, name):
    return np.array([getattr(subject, name) for subject in subjects])


@pytest.mark.parametrize(
    ("name", "sign"),
    [("heart_variability", -1), ("eeg_gain", -1), ("eeg_slope", -1), ("spindle_rate", -1),
     ("alpha_frequency", -1), ("ahi", 1), ("saturation", -1)],
)  # fmt: skip
def test_traits_change_with_age(subjects, name, sign):
    slope = np.corrcoef(trait(subjects, "age"), trait(subjects, name))[0, 1]
    assert sign * slope > 0.08


def test_population_is_representative(subjects, outcomes):
    ages = trait(subjects, "age")
    assert 20 <= ages.min() < 25
    assert 80 < ages.max() <= 85
    assert np.mean(trait(subjects, "sex") == "F") == pytest.approx(0.5, abs=0.05)
    assert 0.15 < np.mean(trait(subjects, "alpha") < 0.35) < 0.35
    assert 0.16 < np.mean(trait(subjects, "ahi") >= 15) < 0.4
    assert 0.25 < np.mean([o.hypertension for o in outcomes]) < 0.55
    assert 0.2 < np.mean([o.event for o in outcomes]) < 0.55
    times = [o.survival_time for o in outcomes]
    assert 0 < min(times) <= max(times) <= 12


def test_risks_are_not_certain(subjects, outcomes):
    pairs = list(zip(subjects, outcomes, strict=True))
    assert any(subject.age > 75 and not o.hypertension for subject, o in pairs)
    assert any(subject.age < 35 and o.hypertension for subject, o in pairs)
    died = np.array([o.event for o in outcomes])
    for name in ("age", "fragmentation", "ahi"):
        values = trait(subjects, name)
        assert values[died].mean() > values[~died].mean()


def test_outcomes_follow_seed_and_body(subjects):
    first = draw_outcomes(3, 1, subjects[0])
    assert first == draw_outcomes(3, 1, subjects[0])
    assert len({draw_outcomes(3, k, subjects[0]).survival_time for k in range(1, 9)}) > 4
    ahi, heavy = np.log(trait(subjects, "ahi")), trait(subjects, "bmi") > 29
    men = trait(subjects, "sex") == "M"
    assert ahi[heavy].mean() > ahi[~heavy].mean() + 0.2
    assert ahi[men].mean() > ahi[~men].mean() + 0.2


@pytest.mark.parametrize(
    ("outcome", "name", "better", "worse"),
    [("hypertension", "age", 30.0, 80.0), ("hypertension", "ahi", 1.0, 60.0),
     ("hypertension", "heart_variability", 1.8, 0.5), ("hypertension", "deep_sleep", 2.0, 0.4),
     ("hypertension", "bmi", 19.0, 45.0), ("survival_time", "fragmentation", 0.5, 2.0),
     ("survival_time", "ahi", 1.0, 60.0), ("survival_time", "age", 30.0, 80.0)],
)  # fmt: skip
def test_worse_traits_worsen_outcomes(subjects, outcome, name, better, worse):
    bodies = [dataclasses.replace(subjects[0], **{name: value}) for value in (better, worse)]
    good, bad = ([getattr(draw_outcomes(7, k, b), outcome) for k in range(1, 300)] for b in bodies)
    low, high = map(np.array, (good, bad) if outcome == "hypertension" else (bad, good))
    assert (low <= high).all()
    assert high.mean() > low.mean() + (0.1 if outcome == "survival_time" else 0)


def test_ahi_counts_the_events():
    cohort = make_sleep_cohort(30, hours=6, random_state=0)
    for recording in cohort:
        breaths = recording.events["type"].isin(["obstructive_apnea", "hypopnea"]).sum()
        hours = (recording._source.night.true_stages > 0).sum() / 120
        assert recording.metadata["ahi"] == pytest.approx(breaths / hours, abs=0.06)
        assert recording.metadata["apnea"] == (breaths / hours >= 15)
