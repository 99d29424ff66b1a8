# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch

from sleep2vec_sklearn.finetuning._heads import build_head
from sleep2vec_sklearn.finetuning.config import HeadConfig

TEMPORAL = ("temporal_conv", "temporal_transformer")


def build(head, **options):
    config = HeadConfig(16, ("eeg", "spo2"), 3, head=head, aggregation="concat", **options)
    return build_head(config).eval().requires_grad_(False)


def all_valid(features):
    return torch.ones(features.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("head", ["linear", "mlp", "regression", *TEMPORAL])
@pytest.mark.parametrize("options", [{}, {"head_size": 10}, {"depth": 1}, {"n_covariates": 2}])
def test_every_epoch_gets_its_outputs(draw, head, options):
    features = draw(2, 7, 32 + options.get("n_covariates", 0))
    assert build(head, **options)(features, all_valid(features)).shape == (2, 7, 3)


@pytest.mark.parametrize("head", ["linear", "mlp", "regression"])
def test_plain_heads_see_one_epoch_alone(draw, head):
    features, built = draw(2, 7, 32), build(head)
    torch.testing.assert_close(built(features)[1, 3], built(features[1, 3]))


@pytest.mark.parametrize("head", TEMPORAL)
def test_temporal_heads_see_the_epochs_around(draw, head):
    features, built = draw(1, 7, 32), build(head)
    before = built(features, all_valid(features))[0, 3]
    features[0, 4] += 1
    assert not torch.allclose(built(features, all_valid(features))[0, 3], before)


@pytest.mark.parametrize("head", TEMPORAL)
def test_padding_never_reaches_an_epoch(draw, head):
    features, built = draw(2, 20, 32), build(head)
    valid = all_valid(features)
    valid[0, 11:] = False
    padded = built(features.masked_fill(~valid[..., None], 1e4), valid)
    alone = built(features[:1, :11], valid[:1, :11])
    torch.testing.assert_close(padded[:1, :11], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", TEMPORAL)
def test_a_sequence_of_padding_alone_stays_finite(draw, head):
    features = draw(1, 7, 32)
    assert build(head)(features, torch.zeros(1, 7, dtype=torch.bool)).isfinite().all()


def test_an_mlp_is_two_layers_with_activations_before_each(draw):
    built, features = build("mlp", activation="gelu"), draw(4, 32)
    first, second = built.layers
    gelu = torch.nn.functional.gelu
    torch.testing.assert_close(built(features), second(gelu(first(gelu(features)))))


def test_a_regression_head_has_no_activation_before_its_first_layer(draw):
    built, features = build("regression", activation="relu"), draw(4, 32)
    first, second = built.layers
    torch.testing.assert_close(built(features), second(first(features).relu()))


@pytest.mark.parametrize(("depth", "reach"), [(1, 3), (2, 9), (3, 21)])
def test_dilations_double_how_far_convolutions_see(draw, depth, reach):
    built = build("temporal_conv", depth=depth, head_size=4)
    features = draw(1, 60, 32).requires_grad_()
    built(features, all_valid(features))[0, 30].sum().backward()
    touched = features.grad[0].abs().sum(dim=1).nonzero()[:, 0]
    assert (touched.min(), touched.max()) == (30 - reach, 30 + reach)


def test_positions_go_on_beyond_those_that_are_learned():
    built = build("temporal_transformer", head_size=6, depth=1)
    positions = built._positions(2051)
    assert positions.shape == (2051, 6)
    expected = torch.tensor([2048.0 / 10000 ** (2 * i / 6) for i in range(3)])
    torch.testing.assert_close(positions[2048, ::2], expected.sin(), rtol=0, atol=1e-3)
    torch.testing.assert_close(positions[2048, 1::2], expected.cos(), rtol=0, atol=1e-3)
