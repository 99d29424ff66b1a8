# SPDX-License-Identifier: BSD-3-Clause
from pathlib import Path

import numpy as np
import pytest

from sleep2vec_sklearn.finetuning._cox_loss import BreslowBaseline

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "survival.npz"


def draw(n=50, seed=0):
    rng = np.random.default_rng(seed)
    risk, time = rng.standard_normal(n), rng.integers(1, 15, n).astype(float)
    return risk, rng.random(n) < 0.5, time, np.floor(rng.random(n) * time)


def by_definition(risk, event, time, entry, weights):
    steps = {
        t: weights[event & (time == t)].sum()
        / (weights * np.exp(risk))[(time >= t) & (entry < t)].sum()
        for t in np.unique(time[event & (weights > 0)])
    }
    return np.array(list(steps)), np.cumsum(list(steps.values()))


@pytest.mark.parametrize("data", ["real", "ties", "heavy"])
def test_hazards_are_those_of_scikit_survival(data):
    with np.load(GOLDEN) as golden:
        risk, event, time, at, expected = (
            golden[f"{data}/{k}"] for k in ("risk", "event", "time", "hazard_times", "hazard")
        )
    baseline = BreslowBaseline.fit(risk, event, time)
    hazard = baseline.cumulative_hazard(np.zeros(1), at)[0]
    np.testing.assert_allclose(hazard, expected, rtol=0, atol=1e-8)


def test_entries_and_weights_are_those_of_the_definition():
    risk, event, time, entry = draw()
    weights = np.arange(50) % 4 / 2
    times, expected = by_definition(risk, event, time, entry, weights)
    baseline = BreslowBaseline.fit(risk, event, time, entry, weights)
    np.testing.assert_array_equal(baseline.times, times)
    np.testing.assert_allclose(baseline.cumulative_hazard([0.0], times)[0], expected)


def test_survival_falls_from_one_and_faster_at_a_higher_risk():
    risk, event, time, _ = draw()
    at = np.linspace(0, 20, 50)
    survival = BreslowBaseline.fit(risk, event, time).survival([-1.0, 0.0, 1.0], at)
    assert (survival[:, 0] == 1).all()
    assert (np.diff(survival, axis=1) <= 0).all()
    assert (np.diff(survival[:, -1]) < 0).all()


def test_without_a_difference_in_risk_it_is_the_nelson_aalen_estimate():
    baseline = BreslowBaseline.fit(np.full(4, 3.0), [1, 0, 1, 0], [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(baseline.cumulative_hazard([3.0], [1, 3])[0], [1 / 4, 1 / 4 + 1 / 2])


@pytest.mark.parametrize("shift", [-2000.0, 2000.0])
def test_only_differences_of_risk_matter_however_large(shift):
    risk, event, time, _ = draw()
    at = np.unique(time)
    expected = BreslowBaseline.fit(risk, event, time).survival(risk, at)
    found = BreslowBaseline.fit(risk + shift, event, time).survival(risk + shift, at)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_no_event_is_no_hazard():
    baseline = BreslowBaseline.fit([0.0, 1.0], [False, False], [1.0, 2.0])
    assert (baseline.survival([0.0], [1.0, 9.0]) == 1).all()
