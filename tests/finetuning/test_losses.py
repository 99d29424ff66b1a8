# SPDX-License-Identifier: BSD-3-Clause
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.finetuning._losses import (
    BreslowBaseline,
    cox_terms,
    log_risk_set_sums,
    mean_of_groups,
    mean_per_event,
)

DATA = Path(__file__).parents[1] / "data"
GOLDEN, SURVIVAL = DATA / "parity" / "cox.npz", DATA / "golden" / "survival.npz"


def cox_loss(log_risk, *columns):
    return mean_per_event(*cox_terms(log_risk, *columns)).to(log_risk.dtype)


def draw(n=40, k=2, seed=0, spread=1.0):
    """Log risks, events, times with ties, and entries of before them."""
    rng = np.random.default_rng(seed)
    time = rng.integers(1, 12, (n, k)).astype(float)
    time[rng.random((n, k)) < 0.15] = np.nan
    risk = spread * rng.standard_normal((n, k))
    event = rng.random((n, k)) < 0.5
    entry = np.floor(rng.random((n, k)) * time)
    return tuple(torch.from_numpy(v) for v in (risk, event, time, entry))


def by_definition(risk, event, time, entry=None, weights=None):
    """Breslow's likelihood with one loop per event."""
    weights = torch.ones(len(risk)) if weights is None else weights
    losses = []
    for j in range(risk.shape[1]):
        terms, total = [], 0.0
        for i in torch.nonzero(event[:, j] & ~time[:, j].isnan() & (weights > 0)).flatten():
            at_risk = (time[:, j] >= time[i, j]) & (weights > 0)
            if entry is not None:
                at_risk &= ~(entry[:, j] >= time[i, j])
            summed = (weights[at_risk] * risk[at_risk, j].exp()).sum().log()
            terms.append(weights[i] * (summed - risk[i, j]))
            total += weights[i]
        if terms:
            losses.append(sum(terms) / total)
    return sum(losses) / len(losses)


def test_loss_of_the_authors():
    with np.load(GOLDEN) as golden:
        golden = {key: torch.from_numpy(golden[key]) for key in golden.files}
    risk = golden["pred"].requires_grad_()
    time = golden["event_time"].masked_fill(golden["has_label"] == 0, torch.nan)
    loss = cox_loss(risk, golden["is_event"] == 1, time)
    loss.backward()
    assert loss.item() == pytest.approx(golden["loss"].item(), abs=1e-6)
    torch.testing.assert_close(risk.grad, golden["grad"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_by_definition(truncated, weighted):
    risk, event, time, entry = draw()
    entry = entry if truncated else None
    weights = torch.arange(40.0) % 4 if weighted else None
    expected = by_definition(risk, event, time, entry, weights)
    torch.testing.assert_close(cox_loss(risk, event, time, entry, weights), expected)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30))
def test_early_entries_change_nothing(seed, n):
    risk, event, time, _ = draw(n, seed=seed)
    gradients, losses = [], []
    for entry in (None, torch.zeros_like(time), torch.full_like(time, torch.nan)):
        followed = risk.clone().requires_grad_()
        losses.append(cox_loss(followed, event, time, entry))
        losses[-1].backward()
        gradients.append(followed.grad)
    for other in (1, 2):
        torch.testing.assert_close(losses[other], losses[0])
        torch.testing.assert_close(gradients[other], gradients[0])


@pytest.mark.parametrize("truncated", [False, True])
def test_gradient(truncated):
    risk, event, time, entry = draw(12)
    entry = entry if truncated else None
    assert torch.autograd.gradcheck(
        lambda r: cox_loss(r, event, time, entry), risk.requires_grad_()
    )


@pytest.mark.parametrize("truncated", [False, True])
def test_missing_outcomes_are_left_out(truncated):
    risk, event, time, entry = draw()
    entry = entry if truncated else None
    expected = cox_loss(risk, event, time, entry)
    changed = torch.where(time.isnan(), torch.tensor(50.0), risk).requires_grad_()
    found = cox_loss(changed, event | time.isnan(), time, entry)
    found.backward()
    torch.testing.assert_close(found, expected)
    assert (changed.grad[time.isnan()] == 0).all()


@pytest.mark.parametrize("truncated", [False, True])
def test_eventless_outcomes_count_nothing(truncated):
    risk, event, time, entry = draw()
    event[:, 1] = False
    alone = [v[:, :1] for v in (risk, event, time, entry)]
    torch.testing.assert_close(cox_loss(risk, event, time, entry), cox_loss(*alone))


def test_no_event_is_zero_loss():
    risk, event, time, entry = draw()
    risk.requires_grad_()
    loss = cox_loss(risk, torch.zeros_like(event), time, entry)
    loss.backward()
    assert loss.item() == 0
    assert not risk.grad.any()


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_only_differences_matter(shift, truncated):
    risk, event, time, entry = draw()
    entry = entry if truncated else None
    far = (risk + shift).requires_grad_()
    found = cox_loss(far, event, time, entry)
    found.backward()
    torch.testing.assert_close(found, cox_loss(risk, event, time, entry))
    assert far.grad.isfinite().all()


def test_few_at_risk_stay_exact():
    risk = torch.tensor([60.0, 60.0, 0.5, -0.5])
    event = torch.tensor([False, False, True, True])
    time, entry = torch.tensor([2.0, 3.0, 8.0, 9.0]), torch.tensor([0.0, 0.0, 5.0, 5.0])
    late = slice(2, None)
    expected = cox_loss(risk[late], event[late], time[late])
    torch.testing.assert_close(cox_loss(risk, event, time, entry), expected)


def test_sums_are_in_double():
    risk, event, time, _ = draw(3000, 1)
    found = cox_loss(risk.float(), event, time)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), cox_loss(risk, event, time), rtol=1e-6, atol=0)


def test_order_and_one_dimension():
    values = draw()
    shuffled = [v[torch.randperm(40, generator=torch.Generator().manual_seed(1))] for v in values]
    torch.testing.assert_close(cox_loss(*shuffled), cox_loss(*values))
    values = draw(k=1)
    torch.testing.assert_close(cox_loss(*(v[:, 0] for v in values)), cox_loss(*values))


def test_groups_and_empty_risk_sets():
    at = torch.tensor([1.0, 5.0, 9.0])
    sums = log_risk_set_sums(torch.tensor([0.3, 0.3]), at[1:2].repeat(2), at[:1].repeat(2), at)
    torch.testing.assert_close(sums.exp(), torch.tensor([0.0, 2 * np.exp(0.3), 0.0]).float())
    values = torch.tensor([[1.0], [3.0], [7.0]])
    found = mean_of_groups(values, torch.tensor([1, 1, 0]), 2)
    assert found.flatten().tolist() == [7.0, 2.0]


@pytest.mark.parametrize("data", ["real", "ties", "heavy"])
def test_coefficients_of_scikit_survival(data):
    with np.load(SURVIVAL) as golden:
        values = (golden[f"{data}/{k}"] for k in ("features", "coef", "event", "time"))
        features, coef, event, time = (torch.from_numpy(v) for v in values)
    coef.requires_grad_()
    cox_loss(features @ coef, event, time).backward()
    torch.testing.assert_close(coef.grad, torch.zeros(3).double(), rtol=0, atol=1e-8)


def draw_one(n=50, seed=0):
    rng = np.random.default_rng(seed)
    risk, time = rng.standard_normal(n), rng.integers(1, 15, n).astype(float)
    return risk, rng.random(n) < 0.5, time, np.floor(rng.random(n) * time)


def hazard_by_definition(risk, event, time, entry, weights):
    steps = {
        t: weights[event & (time == t)].sum()
        / (weights * np.exp(risk))[(time >= t) & (entry < t)].sum()
        for t in np.unique(time[event & (weights > 0)])
    }
    return np.array(list(steps)), np.cumsum(list(steps.values()))


@pytest.mark.parametrize("data", ["real", "ties", "heavy"])
def test_hazards_of_scikit_survival(data):
    with np.load(SURVIVAL) as golden:
        risk, event, time, at, expected = (
            golden[f"{data}/{k}"] for k in ("risk", "event", "time", "hazard_times", "hazard")
        )
    baseline = BreslowBaseline.fit(risk, event, time)
    hazard = baseline.cumulative_hazard(np.zeros(1), at)[0]
    np.testing.assert_allclose(hazard, expected, rtol=0, atol=1e-8)


def test_hazards_by_definition():
    risk, event, time, entry = draw_one()
    weights = np.arange(50) % 4 / 2
    times, expected = hazard_by_definition(risk, event, time, entry, weights)
    baseline = BreslowBaseline.fit(risk, event, time, entry, weights)
    np.testing.assert_array_equal(baseline.times, times)
    np.testing.assert_allclose(baseline.cumulative_hazard([0.0], times)[0], expected)


def test_survival_falls_with_risk():
    risk, event, time, _ = draw_one()
    at = np.linspace(0, 20, 50)
    survival = BreslowBaseline.fit(risk, event, time).survival([-1.0, 0.0, 1.0], at)
    assert (survival[:, 0] == 1).all()
    assert (np.diff(survival, axis=1) <= 0).all()
    assert (np.diff(survival[:, -1]) < 0).all()


def test_flat_hazards_are_nelson_aalen():
    baseline = BreslowBaseline.fit(np.full(4, 3.0), [1, 0, 1, 0], [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(baseline.cumulative_hazard([3.0], [1, 3])[0], [1 / 4, 1 / 4 + 1 / 2])
    baseline = BreslowBaseline.fit([0.0, 1.0], [False, False], [1.0, 2.0])
    assert (baseline.survival([0.0], [1.0, 9.0]) == 1).all()


@pytest.mark.parametrize("shift", [-2000.0, 2000.0])
def test_baseline_ignores_the_level(shift):
    risk, event, time, _ = draw_one()
    at = np.unique(time)
    expected = BreslowBaseline.fit(risk, event, time).survival(risk, at)
    found = BreslowBaseline.fit(risk + shift, event, time).survival(risk + shift, at)
    np.testing.assert_allclose(found, expected, atol=1e-9)
