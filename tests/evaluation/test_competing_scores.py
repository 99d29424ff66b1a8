# SPDX-License-Identifier: BSD-3-Clause
"""Scores of competing risks against loops over pairs, and against those of one cause."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sleep2vec_sklearn.evaluation import (
    CompetingConcordance,
    CompetingIntegratedBrier,
    brier_score,
    cause_specific_outcome,
    competing_brier_score,
    competing_concordance,
    competing_outcome,
    integrated_competing_brier_score,
    uno_concordance,
)


def draw(seed, n=50, step=None):
    rng = np.random.default_rng(seed)
    risk = rng.standard_normal(n)
    times = rng.exponential(4 * np.exp(-np.stack([risk, 0 * risk])), (2, n)) + 0.1
    end = rng.uniform(0.1, 6, n)
    cause = np.where(times.min(axis=0) < end, times.argmin(axis=0) + 1, 0)
    time = np.minimum(times.min(axis=0), end)
    if step:
        time, risk = np.ceil(time * step) / step, np.round(risk, 1)
    return competing_outcome(cause, time), risk


def uncensored(y, at, before):
    """Kaplan-Meier of censoring, until or before a time; events come first at a time."""
    probability = 1.0
    for time in np.unique(y["time"][y["cause"] == 0]):
        if time < at or (time == at and not before):
            n = ((y["time"] > time) | ((y["time"] == time) & (y["cause"] == 0))).sum()
            probability *= 1 - ((y["time"] == time) & (y["cause"] == 0)).sum() / n
    return probability


def concordance_by_pairs(train, y, risk, tau):
    """The estimator of Wolbers et al. (2014), as it is written there."""
    above = below = 0.0
    cause, time = y["cause"], y["time"]
    for i in np.flatnonzero((cause == 1) & (time <= tau)):
        for j in range(len(y)):
            a = time[i] < time[j] or (time[i] == time[j] and cause[j] == 0)
            b = time[i] >= time[j] and cause[j] == 2
            weight = 0.0
            if a:
                weight = uncensored(train, time[i], True) * uncensored(train, time[i], False)
            elif b:
                weight = uncensored(train, time[i], True) * uncensored(train, time[j], True)
            if a or b:
                below += 1 / weight
                above += ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])) / weight
    return above / below


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [None, 3])
def test_concordance_equals_loop(seed, step):
    (train, _), (y, risk) = draw(seed + 10, step=step), draw(seed, 25, step)
    found = competing_concordance(train, y, risk, tau=3.0)
    assert found == pytest.approx(concordance_by_pairs(train, y, risk, 3.0), abs=1e-12)


@pytest.mark.parametrize("step", [None, 3])
def test_brier_equals_loop(step):
    (train, _), (y, risk) = draw(1, step=step), draw(2, 30, step)
    times = np.array([1.0, 2.0, 3.0])
    predicted = 1 / (1 + np.exp(-risk[:, None] + times))
    for column, at in enumerate(times):
        total = 0.0
        for outcome, p in zip(y, predicted[:, column], strict=True):
            if outcome["time"] > at:
                total += p**2 / uncensored(train, at, False)
            elif outcome["cause"]:
                weight = uncensored(train, outcome["time"], True)
                total += ((outcome["cause"] == 1) - p) ** 2 / weight
        found = competing_brier_score(train, y, predicted, times)[column]
        assert found == pytest.approx(total / len(y), abs=1e-12)


@given(seed=st.integers(0, 10**6))
def test_one_cause_as_survival(seed):
    (train, _), (y, risk) = draw(seed, 80), draw(seed + 1, 80)
    for outcome in (train, y):
        outcome["cause"] = np.minimum(outcome["cause"], 1)
    last = min(train["time"].max(), y["time"].max()) * 0.9
    expected = uno_concordance(
        cause_specific_outcome(train, 1), cause_specific_outcome(y, 1), risk, tau=last
    )
    assert competing_concordance(train, y, risk, tau=last) == pytest.approx(expected, abs=1e-12)
    times, survival = [0.5 * last, 0.8 * last], np.full((80, 2), 0.7)
    expected = brier_score(
        cause_specific_outcome(train, 1), cause_specific_outcome(y, 1), survival, times
    )
    found = competing_brier_score(train, y, 1 - survival, times)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_missing_outcomes_are_left():
    (train, _), (y, risk) = draw(1), draw(2)
    kept = y[5:]
    score = competing_concordance(train, kept, risk[5:], tau=4.0)
    y["time"][:5], y["cause"][:5], risk[:5] = np.nan, 0, np.nan
    assert competing_concordance(train, y, risk, tau=4.0) == score
    predicted = np.full((50, 2), 0.3)
    brier = integrated_competing_brier_score(train, y, predicted, [1, 3])
    assert brier == integrated_competing_brier_score(train, kept, predicted[5:], [1, 3])


class Given:
    """Predicts the risks in X, as incidence and as risk."""

    def predict(self, X):
        return X[:, 0]

    def predict_cumulative_incidence(self, X, times, *, cause=1):
        sign = 1 if cause == 1 else -1
        return 1 / (1 + np.exp(-sign * X[:, :1] - np.asarray(times) / 5))


def test_scorers_equal_functions():
    (train, _), (y, risk) = draw(1, 200), draw(2)
    model, X = Given(), risk[:, None]
    score = CompetingConcordance(train, tau=3.0)(model, X, y)
    assert score == competing_concordance(train, y, risk, tau=3.0) > 0.6
    piped = make_pipeline(FunctionTransformer(np.negative), model)
    backward = CompetingConcordance(train, tau=3.0)(piped, X, y)
    assert backward == pytest.approx(1 - score, abs=1e-12)
    second = CompetingConcordance(train, cause=2, tau=3.0)(model, X, y)
    assert second == competing_concordance(train, y, -risk, cause=2, tau=3.0)
    scorer = pickle.loads(pickle.dumps(CompetingIntegratedBrier(train, times=[1.0, 2.0])))
    predicted = model.predict_cumulative_incidence(X, [1.0, 2.0])
    expected = integrated_competing_brier_score(train, y, predicted, [1.0, 2.0])
    assert scorer(model, X, y) == -expected
    model.training_outcomes_ = train
    deciles = np.quantile(train["time"][train["cause"] == 1], np.linspace(0.1, 0.9, 9))
    times = deciles[deciles < y["time"].max()]
    expected = CompetingIntegratedBrier(times=times)(model, X, y)
    assert CompetingIntegratedBrier()(model, X, y) == expected


def test_unfit_scores_are_refused():
    (train, _), (y, risk) = draw(1), draw(2)
    with pytest.raises(ValueError, match="no comparable pair: 0 events of cause 3"):
        competing_concordance(train, y, risk, cause=3)
    with pytest.raises(ValueError, match="left truncation"):
        competing_concordance(train, competing_outcome([1], [2], [1]), [0.0])
    with pytest.raises(ValueError, match=r"incidence has the shape \(50,\)"):
        competing_brier_score(train, y, risk, [1.0])
    with pytest.raises(ValueError, match="no probabilities"):
        competing_brier_score(train, y, np.full((50, 1), 2.0), [1.0])
    with pytest.raises(ValueError, match=r"CompetingConcordance\(y_train\)"):
        CompetingConcordance()(Given(), risk[:, None], y)
    with pytest.raises(ValueError, match="0 events of cause 3 in the training"):
        CompetingIntegratedBrier(train, cause=3)(Given(), risk[:, None], y)
    with pytest.raises(TypeError, match="no predict_cumulative_incidence"):
        CompetingIntegratedBrier(train)(FunctionTransformer(), risk[:, None], y)
