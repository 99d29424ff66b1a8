# SPDX-License-Identifier: BSD-3-Clause
"""Scores and curves against scikit-survival, by frozen values and side by side."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.evaluation import (
    brier_score,
    concordance_index,
    dynamic_auc,
    integrated_brier_score,
    kaplan_meier,
    survival_outcome,
    uno_concordance,
)

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "survival.npz"
KINDS = ("real", "ties", "heavy")


def draw(n, seed, step=None, censored=4.0):
    """Risks and outcomes; a step makes ties."""
    rng = np.random.default_rng(seed)
    risk = rng.standard_normal(n)
    time, end = rng.exponential(np.exp(-risk)) * 5 + 0.1, rng.uniform(0.1, censored, n)
    seen = np.minimum(time, end)
    if step:
        seen, risk = np.ceil(seen * step) / step, np.round(risk, 1)
    return risk, survival_outcome(time <= end, seen)


def scores_of(train, y, risk, moments, survival, tau):
    auc, auc_mean = dynamic_auc(train, y, risk, moments)
    curve = kaplan_meier(y)
    falling = (curve.survival > 0) & (curve.survival < 1)
    return {
        "harrell": concordance_index(y, risk),
        "uno": uno_concordance(train, y, risk),
        "uno_tau": uno_concordance(train, y, risk, tau=tau),
        "auc": auc,
        "auc_mean": auc_mean,
        "brier": brier_score(train, y, survival, moments),
        "integrated_brier": integrated_brier_score(train, y, survival, moments),
        "km_times": curve.times,
        "km": curve.survival,
        "km_lower": np.where(falling, curve.lower, 0),
        "km_upper": np.where(falling, curve.upper, 0),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_that_scikit_survival_gave(kind):
    with np.load(GOLDEN) as golden:
        known = {key.split("/")[1]: golden[key] for key in golden.files if key.startswith(kind)}
    train = survival_outcome(known["train_event"], known["train_time"])
    y = survival_outcome(known["event"], known["time"])
    given_ = (known[key] for key in ("risk", "moments", "survival", "tau"))
    falling = (known["km"] > 0) & (known["km"] < 1)
    for limit in ("km_lower", "km_upper"):
        known[limit] = np.where(falling, known[limit], 0)
    for name, value in scores_of(train, y, *given_).items():
        np.testing.assert_allclose(value, known[name], rtol=0, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("step", "censored"), [(None, 4.0), (4, 4.0), (10, 1.2)])
def test_scores_are_those_of_scikit_survival(seed, step, censored):
    metrics = pytest.importorskip("sksurv.metrics")
    _, train = draw(120, seed, step, censored)
    risk, y = draw(90, seed + 100, step, censored)
    inside = y["time"] < train["time"].max()
    risk, y = risk[inside], y[inside]
    moments = np.unique(np.quantile(y["time"], [0.2, 0.4, 0.6, 0.8]))
    survival = np.exp(-np.outer(np.exp(risk), moments) * 0.2)
    tau = float(np.quantile(y["time"], 0.7))
    auc, auc_mean = metrics.cumulative_dynamic_auc(train, y, risk, moments)
    expected = {
        "harrell": metrics.concordance_index_censored(y["event"], y["time"], risk)[0],
        "uno": metrics.concordance_index_ipcw(train, y, risk)[0],
        "uno_tau": metrics.concordance_index_ipcw(train, y, risk, tau=tau)[0],
        "auc": auc,
        "auc_mean": auc_mean,
        "brier": metrics.brier_score(train, y, survival, moments)[1],
        "integrated_brier": metrics.integrated_brier_score(train, y, survival, moments),
    }
    found = scores_of(train, y, risk, moments, survival, tau)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-8, err_msg=name)


def concordance_by_pairs(y, risk):
    halves = pairs = 0
    for i in np.flatnonzero(y["event"]):
        later = (y["time"] > y["time"][i]) | ((y["time"] == y["time"][i]) & ~y["event"])
        with_i = later & (y["entry"] < y["time"][i])
        pairs += with_i.sum()
        halves += 2 * (risk[with_i] < risk[i]).sum() + (risk[with_i] == risk[i]).sum()
    return halves / 2 / pairs if pairs else None


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(8, 60))
def test_late_entries_are_compared_with_those_of_their_time(seed, n):
    risk, y = draw(n, seed, step=4)
    rng = np.random.default_rng(seed)
    y = survival_outcome(y["event"], y["time"], np.floor(4 * rng.random(n) * y["time"] - 0.1) / 4)
    expected = concordance_by_pairs(y, risk)
    if expected is None:
        with pytest.raises(ValueError, match="no comparable pair"):
            concordance_index(y, risk)
    else:
        assert concordance_index(y, risk) == pytest.approx(expected)


def test_entries_of_the_start_change_nothing():
    risk, y = draw(50, 0)
    late = survival_outcome(y["event"], y["time"], np.zeros(50))
    assert concordance_index(late, risk) == concordance_index(y, risk)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_turned_risks_turn_the_concordance(seed):
    risk, y = draw(40, seed)
    if y["event"][np.argsort(y["time"])[:-1]].any():
        assert concordance_index(y, -risk) == pytest.approx(1 - concordance_index(y, risk))
        assert uno_concordance(y, y, -risk) == pytest.approx(1 - uno_concordance(y, y, risk))


def test_equal_risks_are_chance():
    _, y = draw(40, 0)
    assert concordance_index(y, np.zeros(40)) == 0.5
    assert dynamic_auc(y, y, np.zeros(40), [1.0])[1] == pytest.approx(0.5)


def test_several_outcomes_are_averaged_and_those_without_an_event_left_out():
    risk, y = draw(40, 0)
    other, z = draw(40, 1)
    both = np.stack([y, z, y], axis=1)
    both["event"][:, 2] = False
    risks = np.stack([risk, other, risk], axis=1)
    expected = (concordance_index(y, risk) + concordance_index(z, other)) / 2
    assert concordance_index(both, risks) == pytest.approx(expected)
    expected = (uno_concordance(y, y, risk) + uno_concordance(z, z, other)) / 2
    assert uno_concordance(both, both, risks) == pytest.approx(expected)


def test_missing_outcomes_take_no_part_even_if_their_risk_is_nan():
    risk, y = draw(40, 0)
    y["time"][:10] = np.nan
    risk[:5] = np.nan
    assert concordance_index(y, risk) == concordance_index(y[10:], risk[10:])
    assert kaplan_meier(y).survival.tolist() == kaplan_meier(y[10:]).survival.tolist()


def test_everybody_censored_is_no_comparable_pair():
    _, y = draw(10, 0)
    y["event"] = False
    with pytest.raises(ValueError, match="no comparable pair: 0 events and 10 known times"):
        concordance_index(y, np.zeros(10))
    with pytest.raises(ValueError, match="no comparable pair"):
        uno_concordance(y, y, np.zeros(10))
    with pytest.raises(ValueError, match="no event until 1"):
        dynamic_auc(y, y, np.zeros(10), [1.0])


def test_an_event_with_nobody_left_is_no_comparable_pair():
    y = survival_outcome([0, 0, 1], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="no comparable pair: 1 events"):
        concordance_index(y, [1.0, 2.0, 3.0])


def test_events_beyond_the_follow_up_of_training_are_refused():
    train = survival_outcome([1, 0], [1.0, 2.0])
    y = survival_outcome([1, 1, 0], [1.5, 2.5, 3.0])
    with pytest.raises(ValueError, match=r"2.5 is beyond.*earlier tau"):
        uno_concordance(train, y, [1.0, 2.0, 3.0])
    assert uno_concordance(train, y, [1.0, 2.0, 3.0], tau=2.0) == 0


@pytest.mark.parametrize("moments", [[0.01], [1.0, 99.0]])
def test_times_outside_the_follow_up_are_refused(moments):
    risk, y = draw(40, 0)
    with pytest.raises(ValueError, match="follow-up of the outcomes to be scored is from"):
        dynamic_auc(y, y, risk, moments)


@pytest.mark.parametrize("moments", [[2.0, 1.0], [1.0, 1.0], [], [[1.0]], [np.nan]])
def test_times_have_to_ascend(moments):
    risk, y = draw(40, 0)
    with pytest.raises(ValueError, match="times must be"):
        dynamic_auc(y, y, risk, moments)


def test_late_entries_have_no_weights_of_inverse_censoring():
    y = survival_outcome([1, 0], [1.0, 2.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="left truncation"):
        uno_concordance(y, y, [1.0, 0.0])


def test_survival_has_to_be_a_probability_of_each_time():
    _, y = draw(10, 0)
    with pytest.raises(ValueError, match=r"accepted is \(10, 1\)"):
        brier_score(y, y, np.zeros((10, 2)), [1.0])
    with pytest.raises(ValueError, match="no probabilities"):
        brier_score(y, y, np.full((10, 1), 1.1), [1.0])
    with pytest.raises(ValueError, match="at least two times"):
        integrated_brier_score(y, y, np.zeros((10, 1)), [1.0])


def test_risks_have_to_be_one_finite_number_of_each():
    _, y = draw(10, 0)
    with pytest.raises(ValueError, match="one risk per subject"):
        concordance_index(y, np.zeros(9))
    with pytest.raises(ValueError, match="not finite"):
        concordance_index(y, np.full(10, np.nan))


def test_a_curve_with_late_entries_counts_who_is_there():
    y = survival_outcome([1, 0, 1, 1], [2.0, 4.0, 5.0, 6.0], [0.0, 0.0, 3.0, 0.0])
    curve = kaplan_meier(y)
    assert curve.n_at_risk.tolist() == [3, 3, 2, 1]
    np.testing.assert_allclose(curve.survival, [2 / 3, 2 / 3, 1 / 3, 0], atol=1e-12)


def test_limits_hold_the_curve_and_widen_with_the_level():
    _, y = draw(80, 0)
    narrow, wide = kaplan_meier(y, level=0.8), kaplan_meier(y, level=0.99)
    assert (wide.lower <= narrow.lower).all()
    assert (narrow.lower <= narrow.survival).all()
    assert (narrow.survival <= narrow.upper).all()
    assert (narrow.upper <= wide.upper).all()


def test_a_curve_is_of_one_known_outcome():
    _, y = draw(10, 0)
    with pytest.raises(ValueError, match=r"2 outcomes.*y\[:, 0\]"):
        kaplan_meier(np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match="level"):
        kaplan_meier(y, level=95)
    y["time"] = np.nan
    with pytest.raises(ValueError, match="nothing but NaN"):
        kaplan_meier(y)
