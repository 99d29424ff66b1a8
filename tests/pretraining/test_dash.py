# SPDX-License-Identifier: BSD-3-Clause
"""The loss of DASH-InfoNCE."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.pretraining import dash_info_nce_loss, dash_weights, info_nce_loss

PARITY = Path(__file__).parents[1] / "data" / "parity"
CONSTANTS = {
    "dash": {},
    "dash_hs0.5_pm0.1": {"temperature": 0.1, "hard_scale": 0.5, "pos_margin": 0.1},
}


@pytest.fixture(scope="module")
def golden():
    with np.load(PARITY / "dash.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file if not key.startswith("cases")}


def batch(n_samples=4, length=5, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    views = torch.randn(2, n_samples, length, width, generator=generator).unbind()
    weights = torch.rand(n_samples, n_samples, generator=generator) + 0.1
    history = torch.rand(n_samples, n_samples, generator=generator) < 0.3
    return *views, weights, history


@pytest.mark.parametrize("case", CONSTANTS)
def test_loss_and_gradients_are_the_authors(golden, case):
    with np.load(PARITY / "info_nce.npz") as file:
        first, second = (torch.from_numpy(file[k]).requires_grad_() for k in ("first", "second"))
    weights, history = golden["losses/w"], golden["losses/h"]
    loss, accuracy = dash_info_nce_loss(first, second, weights, history, **CONSTANTS[case])
    loss.backward()
    found = {"loss": loss, "acc": accuracy, "grad_first": first.grad, "grad_second": second.grad}
    for key, value in found.items():
        expected = golden[f"losses/{case}/{key}"].float()
        torch.testing.assert_close(value.detach(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("encoder", ["tokens", "cls", "sundial2", "linear"])
@pytest.mark.parametrize(("case", "margin"), [("", 0.0), ("_pm", 0.05)])
def test_the_authors_encoders_have_the_authors_loss(golden, encoder, case, margin):
    found = dash_info_nce_loss(
        *(golden[f"{encoder}/{key}"] for key in ("pair_first", "pair_second", "w", "h")),
        pos_margin=margin,
    )
    expected = [golden[f"{encoder}/{key}/weighted_info_nce{case}"] for key in ("loss", "acc")]
    torch.testing.assert_close(found, tuple(v.float() for v in expected), rtol=0, atol=1e-6)


def test_equal_weights_and_no_history_are_info_nce():
    first, second, *_ = batch()
    valid = torch.rand(4, 5, generator=torch.Generator().manual_seed(1)) < 0.7
    found = dash_info_nce_loss(first, second, torch.ones(4, 4), torch.zeros(4, 4), valid=valid)
    torch.testing.assert_close(found, info_nce_loss(first, second, valid=valid))


def naive(first, second, weights, history, temperature, hard_scale, pos_margin, valid):
    """The formula, one example in one direction at a time."""
    losses = []
    for anchors, targets in ((first, second), (second, first)):
        for i, t in valid.nonzero().tolist():
            others = [j for j in range(len(valid)) if j != i and valid[j, t]]
            cosine = torch.cosine_similarity(anchors[i, t], targets[:, t]).double()
            own = math.exp((cosine[i] + pos_margin) / temperature)
            negatives = [
                weights[i, j] * math.exp((cosine[j] - hard_scale * history[i, j]) / temperature)
                for j in others
            ]
            if others:
                losses.append(-math.log(own / (own + sum(negatives))))
    return sum(losses) / max(len(losses), 1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    n_samples=st.integers(2, 4),
    constants=st.tuples(st.floats(0.1, 1), st.floats(0, 0.5), st.floats(0, 0.5)),
    share=st.sampled_from([0.3, 0.7, 1.0]),
)
def test_the_loss_is_that_of_the_loop(seed, n_samples, constants, share):
    given_ = batch(n_samples, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(n_samples, 5, generator=generator) < share
    loss, _ = dash_info_nce_loss(*given_, *constants, valid=valid)
    assert loss.item() == pytest.approx(naive(*given_, *constants, valid), abs=1e-4)


@pytest.mark.parametrize("negatives", ["recordings", "both"])
def test_padding_changes_nothing(negatives):
    first, second, weights, history = batch()
    expected = dash_info_nce_loss(first, second, weights, history, negatives=negatives)
    pad = torch.full((4, 3, 6), torch.nan)
    padded = [torch.cat([v, pad], dim=1).requires_grad_() for v in (first, second)]
    valid = torch.arange(8).expand(4, -1) < 5
    found = dash_info_nce_loss(*padded, weights, history, valid=valid, negatives=negatives)
    torch.testing.assert_close(found, expected)
    found[0].backward()
    assert all(v.grad.isfinite().all() and not v.grad[:, 5:].any() for v in padded)


def test_a_sample_left_out_is_no_negative():
    first, second, weights, history = batch()
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[3] = False
    expected = dash_info_nce_loss(first[:3], second[:3], weights[:3, :3], history[:3, :3])
    found = dash_info_nce_loss(first, second, weights, history, valid=valid)
    torch.testing.assert_close(found, expected)


def test_both_adds_other_times_of_the_night_as_ordinary_negatives():
    given_ = batch()
    recordings, both = (dash_info_nce_loss(*given_, negatives=k) for k in ("recordings", "both"))
    night = info_nce_loss(*given_[:2], negatives="night")
    for a, b, mean in zip(recordings, night, both, strict=True):
        torch.testing.assert_close(mean, (a + b) / 2)


def test_other_times_cannot_be_solved_by_knowing_the_sleeper():
    sleeper = torch.eye(4)[:, None, :].expand(4, 5, 4)
    weights, history = dash_weights(n_samples=4)
    by_sleeper, with_night = (
        dash_info_nce_loss(sleeper, sleeper, weights, history, 0.05, negatives=kind)[0].item()
        for kind in ("recordings", "both")
    )
    assert by_sleeper < 1e-3
    assert with_night == pytest.approx(math.log(5) / 2, abs=1e-3)


def test_history_counts_less_and_accuracy_takes_no_notice():
    first, second, weights, _ = batch()
    none, some = torch.zeros(4, 4), torch.eye(4).roll(1, dims=1)
    (plain, right), (softer, as_right) = (
        dash_info_nce_loss(first, second, weights, h, hard_scale=0.5) for h in (none, some)
    )
    assert softer < plain
    assert right == as_right


def test_what_is_on_the_diagonal_is_not_read():
    first, second, weights, history = batch()
    other = weights.clone().fill_diagonal_(1e6), history.clone().fill_diagonal_(True)
    found = dash_info_nce_loss(first, second, *other)
    assert found == dash_info_nce_loss(first, second, weights, history)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_samples_can_come_in_any_order(seed):
    first, second, weights, history = batch(seed=seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    shuffled = (v[order][:, order] for v in (weights, history))
    found = dash_info_nce_loss(first[order], second[order], *shuffled)
    torch.testing.assert_close(found, dash_info_nce_loss(first, second, weights, history))


def test_gradients_are_those_of_differences():
    first, second, weights, history = (v.double() for v in batch(3, 2, 4))
    valid = torch.tensor([[True, True], [True, False], [True, True]])

    def loss(a, b):
        return dash_info_nce_loss(a, b, weights, history, valid=valid, negatives="both")[0]

    assert torch.autograd.gradcheck(loss, [v.requires_grad_() for v in (first, second)])


def test_precision_is_that_of_the_projections_but_never_half():
    first, second, weights, history = batch()
    in_numpy = dash_info_nce_loss(first, second, weights.double().numpy(), history.numpy())
    assert in_numpy == dash_info_nce_loss(first, second, weights, history)
    doubles = dash_info_nce_loss(first.double(), second.double(), weights, history)
    assert (in_numpy[0].dtype, doubles[0].dtype) == (torch.float32, torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = dash_info_nce_loss(first.bfloat16(), second.bfloat16(), weights, history)
    in_full = dash_info_nce_loss(first.bfloat16().float(), second.bfloat16().float(), *batch()[2:])
    torch.testing.assert_close(half, in_full)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.ones(3, 3)}, "weights must be \\(4, 4\\)"),
        ({"history": torch.zeros(4)}, "history must be \\(4, 4\\)"),
        ({"temperature": 0.0}, "temperature"),
        ({"negatives": "all"}, "recordings"),
        ({"valid": torch.ones(4, 6, dtype=torch.bool)}, "valid"),
        ({"second": torch.zeros(4, 5, 7)}, "one shape"),
    ],
)
def test_arguments_that_cannot_be_are_refused(change, message):
    names = ("first", "second", "weights", "history")
    with pytest.raises(ValueError, match=message):
        dash_info_nce_loss(**{**dict(zip(names, batch(), strict=True)), **change})


def test_one_sample_has_no_negative():
    with pytest.raises(ValueError, match="at least two recordings"):
        dash_info_nce_loss(*batch(1))
