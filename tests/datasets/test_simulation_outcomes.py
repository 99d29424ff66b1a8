# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.datasets import make_sleep_cohort
from sleep2vec_sklearn.datasets.simulation._subjects import draw_outcomes, draw_subject


@pytest.fixture(scope="module")
def people():
    subjects = [draw_subject(0, index) for index in range(1, 1501)]
    outcomes = [draw_outcomes(0, k + 1, subject) for k, subject in enumerate(subjects)]
    return subjects, outcomes


def test_outcomes_are_neither_rare_nor_the_rule(people):
    _, outcomes = people
    assert 0.25 < np.mean([o.hypertension for o in outcomes]) < 0.55
    assert 0.2 < np.mean([o.event for o in outcomes]) < 0.55


def test_people_span_the_adult_ages_and_both_sexes(people):
    subjects, _ = people
    ages = np.array([s.age for s in subjects])
    assert 20 <= ages.min() < 25
    assert 80 < ages.max() <= 85
    assert np.mean([s.sex == "F" for s in subjects]) == pytest.approx(0.5, abs=0.05)


def test_a_sixth_to_two_fifths_have_moderate_apnea(people):
    subjects, _ = people
    assert 0.16 < np.mean([s.ahi >= 15 for s in subjects]) < 0.4


def test_risk_grows_with_age_apnea_and_stiffness_but_is_not_certain(people):
    subjects, outcomes = people
    high = np.array([o.hypertension for o in outcomes]) == 1
    for trait in ("age", "ahi", "bmi"):
        values = np.array([getattr(s, trait) for s in subjects])
        assert values[high].mean() > values[~high].mean()
    variability = np.array([s.heart_variability for s in subjects])
    assert variability[high].mean() < variability[~high].mean()
    healthy_old = [s.age > 75 and not o.hypertension for s, o in zip(*people, strict=True)]
    assert any(healthy_old)


def test_survival_is_shorter_with_fragmentation_and_age(people):
    subjects, outcomes = people
    died = np.array([o.event for o in outcomes])
    for trait in ("age", "fragmentation", "ahi"):
        values = np.array([getattr(s, trait) for s in subjects])
        assert values[died].mean() > values[~died].mean()
    times = np.array([o.survival_time for o in outcomes])
    assert times.min() > 0
    assert times.max() <= 12


def test_apnea_is_counted_from_the_events_of_the_night():
    cohort = make_sleep_cohort(30, hours=6, random_state=0)
    for recording in cohort:
        breaths = recording.events["type"].isin(["obstructive_apnea", "hypopnea"]).sum()
        hours = (recording._source.night.true_stages > 0).sum() / 120
        assert recording.metadata["ahi"] == pytest.approx(breaths / hours, abs=0.06)
        assert recording.metadata["apnea"] == (breaths / hours >= 15)
