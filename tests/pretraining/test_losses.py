# SPDX-License-Identifier: BSD-3-Clause
"""InfoNCE and DASH-InfoNCE: the authors' numbers, the formula in loops, and laws."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.pretraining import dash_info_nce_loss, dash_weights, info_nce_loss

PARITY = Path(__file__).parents[1] / "data" / "parity"
DASH_CASES = {
    "dash": {},
    "dash_hs0.5_pm0.1": {"temperature": 0.1, "hard_scale": 0.5, "pos_margin": 0.1},
}
few = settings(max_examples=30, deadline=None)


def plain_loss(first, second, weights, history, **options):
    return info_nce_loss(first, second, **options)


both_losses = pytest.mark.parametrize("loss_of", [plain_loss, dash_info_nce_loss])
all_negatives = pytest.mark.parametrize("negatives", ["recordings", "night", "both"])


def batch(n_samples=4, length=5, width=6, seed=0):
    """Two views, weights and history."""
    generator = torch.Generator().manual_seed(seed)
    views = torch.randn(2, n_samples, length, width, generator=generator).unbind()
    weights = torch.rand(n_samples, n_samples, generator=generator) + 0.1
    history = torch.rand(n_samples, n_samples, generator=generator) < 0.3
    return *views, weights, history


INPUTS = dict(zip(("first", "second", "weights", "history"), batch(), strict=True))


@st.composite
def batches(draw):
    """A batch and which of its epochs are valid."""
    shape = draw(st.tuples(st.integers(2, 4), st.integers(2, 5)))
    flags = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=20))
    valid = torch.tensor(flags[: shape[0] * shape[1]]).reshape(shape)
    return batch(*shape, seed=draw(st.integers(0, 999))), valid


@pytest.fixture(scope="module")
def golden():
    with np.load(PARITY / "dash.npz") as dash, np.load(PARITY / "info_nce.npz") as plain:
        arrays = {**plain, **{key: dash[key] for key in dash if not key.startswith("cases")}}
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def assert_golden(golden, prefix, loss, accuracy, first, second):
    loss.backward()
    found = {"loss": loss, "acc": accuracy, "grad_first": first.grad, "grad_second": second.grad}
    for key, value in found.items():
        expected = golden[f"{prefix}/{key}"].float()
        torch.testing.assert_close(value.detach(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.2, 0.07])
def test_info_nce_is_the_authors(golden, temperature):
    views = [golden[key].clone().requires_grad_() for key in ("first", "second")]
    found = info_nce_loss(*views, temperature)
    assert_golden(golden, f"info_nce_T{temperature}", *found, *views)


@pytest.mark.parametrize("case", DASH_CASES)
def test_dash_is_the_authors(golden, case):
    views = [golden[key].clone().requires_grad_() for key in ("first", "second")]
    weights, history = golden["losses/w"], golden["losses/h"]
    found = dash_info_nce_loss(*views, weights, history, **DASH_CASES[case])
    assert_golden(golden, f"losses/{case}", *found, *views)


@pytest.mark.parametrize("encoder", ["tokens", "cls", "sundial2", "linear"])
@pytest.mark.parametrize(("case", "margin"), [("", 0.0), ("_pm", 0.05)])
def test_authors_encoders_agree(golden, encoder, case, margin):
    found = dash_info_nce_loss(
        *(golden[f"{encoder}/{key}"] for key in ("pair_first", "pair_second", "w", "h")),
        pos_margin=margin,
    )
    expected = [golden[f"{encoder}/{key}/weighted_info_nce{case}"] for key in ("loss", "acc")]
    torch.testing.assert_close(found, tuple(v.float() for v in expected), rtol=0, atol=1e-6)


def naive(first, second, weights, history, temperature, hard_scale, pos_margin, valid, negatives):
    """The formula, one example in one direction at a time: loss and accuracy."""
    losses, hits = [], []
    for anchors, targets in ((first, second), (second, first)):
        for i, t in valid.nonzero().tolist():
            others = [(j, t) for j in range(len(valid)) if j != i]
            if negatives == "night":
                others = [(i, u) for u in range(valid.shape[1]) if u != t]
            others = [other for other in others if valid[other]]
            if not others:
                continue
            cosine = {
                p: torch.cosine_similarity(anchors[i, t], targets[p], dim=0).item()
                for p in [(i, t), *others]
            }
            own = math.exp((cosine[i, t] + pos_margin) / temperature)
            total = own + sum(
                weights[i, j] * math.exp((cosine[j, u] - hard_scale * history[i, j]) / temperature)
                for j, u in others
            )
            losses.append(-math.log(own / total))
            hits.append(cosine[i, t] > max(cosine[p] for p in others))
    return [sum(v) / max(len(v), 1) for v in (losses, hits)]


constants = st.tuples(st.floats(0.1, 1), st.floats(0, 0.5), st.floats(0, 0.5))
kinds = st.sampled_from(["recordings", "night"])


@few
@given(drawn=batches(), constants=constants)
def test_dash_is_its_formula(drawn, constants):
    inputs, valid = drawn
    expected = naive(*inputs, *constants, valid, "recordings")
    found = dash_info_nce_loss(*inputs, *constants, valid=valid)
    assert [v.item() for v in found] == pytest.approx(expected, abs=1e-4)


@few
@given(drawn=batches(), temperature=st.floats(0.1, 2), kind=kinds)
def test_info_nce_is_its_formula(drawn, temperature, kind):
    (first, second, weights, _), valid = drawn
    even = torch.ones_like(weights), torch.zeros_like(weights)
    expected = naive(first, second, *even, temperature, 0, 0, valid, kind)
    found = info_nce_loss(first, second, temperature, valid, kind)
    assert [v.item() for v in found] == pytest.approx(expected, abs=1e-4)


@both_losses
@all_negatives
def test_padding_changes_nothing(loss_of, negatives):
    first, second, *pairs = batch()
    expected = loss_of(first, second, *pairs, negatives=negatives)
    pad = torch.full((4, 3, 6), torch.nan)
    padded = [torch.cat([v, pad], dim=1).requires_grad_() for v in (first, second)]
    valid = torch.arange(8).expand(4, -1) < 5
    found = loss_of(*padded, *pairs, valid=valid, negatives=negatives)
    torch.testing.assert_close(found, expected)
    found[0].backward()
    assert all(v.grad.isfinite().all() and not v.grad[:, 5:].any() for v in padded)


@few
@given(drawn=batches(), kind=st.sampled_from(["recordings", "night", "both"]))
def test_invalid_epochs_have_no_influence(drawn, kind):
    (first, second, *_), valid = drawn
    noise = torch.where(valid[..., None], first, 50 * torch.ones_like(first)).requires_grad_()
    loss, _ = info_nce_loss(first, second, valid=valid, negatives=kind)
    other, _ = info_nce_loss(noise, second, valid=valid, negatives=kind)
    assert torch.equal(loss, other)
    other.backward()
    assert not noise.grad[~valid].any()


@both_losses
def test_both_is_a_mean(loss_of):
    inputs = batch()
    recordings, both = (loss_of(*inputs, negatives=k) for k in ("recordings", "both"))
    # the weights play no part among the epochs of a night
    night = info_nce_loss(*inputs[:2], negatives="night")
    for a, b, mean in zip(recordings, night, both, strict=True):
        torch.testing.assert_close(mean, (a + b) / 2)


@few
@given(drawn=batches(), scale=st.floats(1e-3, 1e3))
def test_only_directions_matter(drawn, scale):
    (first, second, *_), valid = drawn
    expected = info_nce_loss(first, second, valid=valid)
    torch.testing.assert_close(info_nce_loss(scale * first, second / scale, valid=valid), expected)
    torch.testing.assert_close(info_nce_loss(second, first, valid=valid), expected)


@pytest.mark.parametrize(("kind", "n_choices"), [("recordings", 7), ("night", 3)])
def test_equal_views_are_chance(kind, n_choices):
    same = torch.ones(7, 3, 4)
    loss, _ = info_nce_loss(same, same, negatives=kind)
    assert loss.item() == pytest.approx(math.log(n_choices), abs=1e-5)


def test_identical_views_are_told_apart():
    first, *_ = batch()
    loss, accuracy = info_nce_loss(first, 3 * first, temperature=0.01)
    assert loss.item() < 1e-3
    assert accuracy.item() == 1.0
    loss, accuracy = info_nce_loss(first, -first)
    assert loss.item() > math.log(4)
    assert accuracy.item() < 0.2


def test_night_negatives_see_through_subjects():
    subject = torch.eye(4)[:, None, :].expand(4, 5, 4)
    weights, history = dash_weights(n_samples=4)
    by_subject, with_night = (
        dash_info_nce_loss(subject, subject, weights, history, 0.05, negatives=kind)[0].item()
        for kind in ("recordings", "both")
    )
    assert by_subject < 1e-3
    assert with_night == pytest.approx(math.log(5) / 2, abs=1e-3)


def test_gradients_are_finite_differences():
    first, second, weights, history = (v.double() for v in batch(3, 2, 4))
    valid = torch.tensor([[True, True], [True, False], [True, True]])

    def loss(a, b):
        return dash_info_nce_loss(a, b, weights, history, valid=valid, negatives="both")[0]

    assert torch.autograd.gradcheck(loss, [v.requires_grad_() for v in (first, second)])


@both_losses
def test_precision_is_never_half(loss_of):
    first, second, weights, history = batch()
    pairs = weights.double().numpy(), history.numpy()
    single = loss_of(first, second, *pairs)
    assert single == loss_of(first, second, weights, history)
    double = loss_of(first.double(), second.double(), *pairs)
    assert (single[0].dtype, double[0].dtype) == (torch.float32, torch.float64)
    halves = [v.bfloat16() for v in (first, second)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_of(*halves, *pairs)
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found, loss_of(*(v.float() for v in halves), *pairs))


def test_valid_may_be_an_array():
    first, second, *_ = batch(3, 4)
    valid = np.arange(12).reshape(3, 4) % 5 > 0
    found = info_nce_loss(first, second, valid=valid)
    assert found == info_nce_loss(first, second, valid=torch.from_numpy(valid))
    everything = np.ones((3, 4), dtype=bool)
    assert info_nce_loss(first, second) == info_nce_loss(first, second, valid=everything)


@both_losses
def test_one_sample_has_no_negative(loss_of):
    with pytest.raises(ValueError, match="at least two recordings"):
        loss_of(*batch(1))
    with pytest.raises(ValueError, match="two positions"):
        loss_of(*batch(length=1), negatives="night")
    assert loss_of(*batch(1), negatives="night")[0] > 0
    assert loss_of(*batch(length=1))[0] > 0


@both_losses
@pytest.mark.parametrize(
    ("change", "message"),
    [({"temperature": 0.0}, "temperature must be positive"), ({"temperature": -1.0}, "positive"),
     ({"temperature": float("nan")}, "positive"), ({"negatives": "all"}, "recordings"),
     ({"valid": torch.ones(4, 6, dtype=torch.bool)}, "valid"),
     ({"second": torch.zeros(4, 5, 7)}, "one shape")],
)  # fmt: skip
def test_wrong_arguments_are_refused(loss_of, change, message):
    with pytest.raises(ValueError, match=message):
        loss_of(**INPUTS | change)


@pytest.mark.parametrize("name", ["weights", "history"])
def test_wrong_matrices_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name} must be \(4, 4\)"):
        dash_info_nce_loss(**INPUTS | {name: torch.ones(3, 3)})


@both_losses
@pytest.mark.parametrize("name", ["first", "second"])
def test_arrays_are_no_tensors(loss_of, name):
    with pytest.raises(TypeError, match=rf"{name} must be a Tensor.*got numpy\.ndarray"):
        loss_of(**INPUTS | {name: INPUTS[name].numpy()})
