# SPDX-License-Identifier: BSD-3-Clause
"""InfoNCE against loops over examples, for any shape, mask and kind of negatives."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.pretraining import info_nce_loss

few = settings(max_examples=30)


def views(n_recordings=4, length=5, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, n_recordings, length, width, generator=generator).unbind()


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def negatives_of(place, valid, kind):
    """Places whose counterpart is a negative of the example at ``place``."""
    b, t = place
    others = [(o, t) for o in range(len(valid)) if o != b]
    if kind == "night":
        others = [(b, o) for o in range(valid.shape[1]) if o != t]
    return [other for other in others if valid[other]]


def naive(first, second, temperature, valid, kind):
    """Loss and accuracy, one example in one direction at a time."""
    losses, hits = [], []
    for anchors, targets in ((first, second), (second, first)):
        for place in valid.nonzero().tolist():
            place = tuple(place)
            others = negatives_of(place, valid, kind)
            if not others:
                continue
            own, *rest = (cosine(anchors[place], targets[o]) for o in (place, *others))
            total = sum(math.exp(s / temperature) for s in (own, *rest))
            losses.append(-math.log(math.exp(own / temperature) / total))
            hits.append(own > max(rest))
    return (sum(v) / max(len(v), 1) for v in (losses, hits))


@st.composite
def batches(draw):
    shape = draw(st.tuples(st.integers(2, 4), st.integers(2, 5)))
    first, second = views(*shape, seed=draw(st.integers(0, 999)))
    flags = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=20))
    valid = torch.tensor(flags[: shape[0] * shape[1]]).reshape(shape)
    return first, second, valid


@few
@given(
    batch=batches(),
    temperature=st.floats(0.1, 2),
    kind=st.sampled_from(["recordings", "night"]),
)
def test_loss_and_accuracy_are_those_of_the_loop(batch, temperature, kind):
    first, second, valid = batch
    expected_loss, expected_accuracy = naive(first, second, temperature, valid, kind)
    loss, accuracy = info_nce_loss(first, second, temperature, valid, kind)
    assert loss.item() == pytest.approx(expected_loss, abs=1e-4)
    assert accuracy.item() == pytest.approx(expected_accuracy, abs=1e-6)


@few
@given(batch=batches(), kind=st.sampled_from(["recordings", "night", "both"]))
def test_what_is_invalid_has_no_influence_and_no_gradient(batch, kind):
    first, second, valid = batch
    noise = torch.where(valid[..., None], first, 50 * torch.ones_like(first)).requires_grad_()
    loss, _ = info_nce_loss(first, second, valid=valid, negatives=kind)
    other, _ = info_nce_loss(noise, second, valid=valid, negatives=kind)
    assert torch.equal(loss, other)
    other.backward()
    assert not noise.grad[~valid].any()


@few
@given(batch=batches(), scale=st.floats(1e-3, 1e3))
def test_only_directions_matter(batch, scale):
    first, second, valid = batch
    found = info_nce_loss(scale * first, second / scale, valid=valid)
    torch.testing.assert_close(found, info_nce_loss(first, second, valid=valid))


@few
@given(batch=batches())
def test_the_two_views_can_be_exchanged(batch):
    first, second, valid = batch
    found = info_nce_loss(second, first, valid=valid)
    torch.testing.assert_close(found, info_nce_loss(first, second, valid=valid))


@few
@given(batch=batches(), seed=st.integers(0, 99), kind=st.sampled_from(["recordings", "night"]))
def test_the_order_of_recordings_and_of_epochs_does_not_matter(batch, seed, kind):
    first, second, valid = batch
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(n, generator=generator) for n in valid.shape)
    shuffled = [v[rows][:, columns] for v in (first, second)]
    found = info_nce_loss(*shuffled, valid=valid[rows][:, columns], negatives=kind)
    torch.testing.assert_close(found, info_nce_loss(first, second, valid=valid, negatives=kind))


@pytest.mark.parametrize(("kind", "n_choices"), [("recordings", 7), ("night", 3)])
def test_views_without_information_cost_the_log_of_the_choices(kind, n_choices):
    same = torch.ones(7, 3, 4)
    loss, _ = info_nce_loss(same, same, negatives=kind)
    assert loss.item() == pytest.approx(math.log(n_choices), abs=1e-5)


def test_opposite_views_are_worse_than_chance():
    first, _ = views()
    loss, accuracy = info_nce_loss(first, -first)
    assert loss.item() > math.log(4)
    assert accuracy.item() < 0.2


def test_a_step_against_the_gradient_lowers_the_loss():
    first, second = (v.requires_grad_() for v in views())
    before, _ = info_nce_loss(first, second)
    before.backward()
    with torch.no_grad():
        after, _ = info_nce_loss(first - first.grad, second - second.grad)
    assert after < before


def test_a_lower_temperature_sharpens_a_right_answer_and_a_wrong_one():
    first, second = views()
    near = first + 0.1 * second
    sharp, soft = (info_nce_loss(first, near, t)[0] for t in (0.05, 0.5))
    assert sharp < soft
    sharp, soft = (info_nce_loss(first, -near, t)[0] for t in (0.05, 0.5))
    assert sharp > soft


def test_half_precision_input_is_compared_in_full():
    first, second = (v.to(torch.bfloat16) for v in views())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = info_nce_loss(first, second)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, info_nce_loss(first.float(), second.float())[0])


def test_leaving_the_mask_out_means_all_are_valid():
    first, second = views()
    everything = torch.ones(4, 5, dtype=torch.bool)
    assert info_nce_loss(first, second) == info_nce_loss(first, second, valid=everything)


@pytest.mark.parametrize("temperature", [-1.0, 0.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="positive"):
        info_nce_loss(*views(), temperature)


def test_a_single_epoch_has_no_negatives_in_its_night():
    first, second = views(length=1)
    assert info_nce_loss(first, second)[0] > 0
    with pytest.raises(ValueError, match="two positions"):
        info_nce_loss(first, second, negatives="night")
