# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from sleep2vec_sklearn.model.network import Projection

few = settings(max_examples=30)

VALID = torch.tensor([[True, True, True, False, True], [True, False, True, False, False]])


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def head():
    return make_head()


def make_head():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Projection(12, 10, 6)


def normalised(rows):
    return (rows - rows.mean(dim=0)) / (rows.var(dim=0, correction=0) + 1e-5).sqrt()


def test_training_normalises_by_the_batch(head):
    rows = noise(40, 12)
    inner = normalised(rows @ head.hidden.weight.T).relu()
    expected = normalize(normalised(inner @ head.output.weight.T), dim=-1)
    torch.testing.assert_close(head.train()(rows), expected, rtol=1e-4, atol=1e-5)


def test_evaluation_uses_the_running_statistics(head):
    head.train()(3 + noise(40, 12))
    head.eval()
    rows = noise(5, 12)
    torch.testing.assert_close(head(rows)[2:3], head(rows[2:3]))


def test_running_statistics_are_those_of_the_valid_positions(head):
    hidden = noise(2, 5, 12).masked_fill(~VALID[..., None], 1e4)
    head.train()(hidden, VALID)
    rows = hidden[VALID] @ head.hidden.weight.T
    torch.testing.assert_close(head.hidden_norm.running_mean, 0.1 * rows.mean(dim=0))
    torch.testing.assert_close(head.hidden_norm.running_var, 0.9 + 0.1 * rows.var(dim=0))


@few
@given(valid=st.lists(st.booleans(), min_size=10, max_size=10).filter(lambda v: sum(v) > 1))
def test_any_pattern_of_padding_leaves_the_rest_alone(valid):
    valid = torch.tensor(valid).reshape(2, 5)
    hidden = noise(2, 5, 12)
    found = make_head().train()(hidden, valid)
    torch.testing.assert_close(found[valid], make_head().train()(hidden[valid]))
    assert not found[~valid].any()


def test_positions_stay_where_they_are(head):
    head.eval()
    hidden = noise(2, 5, 12)
    whole, part = head(hidden), head(hidden, VALID)
    torch.testing.assert_close(part[VALID], whole[VALID])
    torch.testing.assert_close(whole[1, 3], head(hidden[1, 3]))


def test_no_gradient_comes_from_padding(head):
    hidden = noise(2, 5, 12).requires_grad_()
    (head.train()(hidden, VALID) * noise(2, 5, 6, seed=1)).sum().backward()
    assert not hidden.grad[~VALID].any()
    assert hidden.grad[VALID].abs().sum(dim=-1).min() > 0


def test_vectors_have_unit_length_whatever_the_scale(head):
    projected = head.train()(1e3 * noise(3, 4, 5, 12))
    assert projected.shape == (3, 4, 5, 6)
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(3, 4, 5))


def test_a_head_has_no_bias_that_normalisation_would_take_away(head):
    assert {key for key in head.state_dict() if "bias" in key} == {
        "hidden_norm.bias",
        "output_norm.bias",
    }
