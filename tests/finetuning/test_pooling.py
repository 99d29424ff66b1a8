# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch

from sleep2vec_sklearn.finetuning._heads import AttentionPooling, LayerMix, MeanPooling


@pytest.fixture(params=[MeanPooling, lambda: AttentionPooling(6)])
def pooling(request):
    return request.param().requires_grad_(False)


@pytest.fixture
def counted():
    """Twelve epochs of two nights; the second night's second modality is missing."""
    counted = torch.ones(2, 12, 2, dtype=torch.bool)
    counted[0, 7:, 0] = False
    counted[1, :, 1] = False
    return counted


@pytest.fixture
def tokens(draw, counted):
    return draw(2, 12, 2, 3, 6).masked_fill(~counted[..., None, None], 0.0)


def test_only_epochs_that_count_are_pooled(pooling, tokens, counted):
    pooled = pooling(tokens, counted)
    alone = pooling(tokens[:1, :7, :1], counted[:1, :7, :1])
    torch.testing.assert_close(pooled[:1, :1], alone)


def test_a_modality_without_an_epoch_pools_to_zero(pooling, tokens, counted):
    assert pooling(tokens, counted)[1, 1].eq(0).all()


def test_mean_pooling_is_the_mean(tokens, counted):
    expected = tokens[0, :7, 0].mean(dim=0)
    torch.testing.assert_close(MeanPooling()(tokens, counted)[0, 0], expected)


def test_attention_weighs_by_its_query(tokens, counted):
    pooling = AttentionPooling(6).requires_grad_(False)
    weights = (pooling.key(tokens[0, :7, 0, 1]).tanh() @ pooling.query).softmax(dim=0)
    expected = weights @ tokens[0, :7, 0, 1]
    torch.testing.assert_close(pooling(tokens, counted)[0, 0, 1], expected)


def test_a_layer_mix_weighs_each_modality_by_its_own(draw):
    states, mix = draw(4, 2, 3, 6), LayerMix(n_layers=3, n_modalities=2).requires_grad_(False)
    mix.weight[1] = torch.tensor([0.0, -torch.inf, 0.0])
    mixed = mix(states)
    torch.testing.assert_close(mixed[:, 0], states[:, 0].mean(dim=1))
    torch.testing.assert_close(mixed[:, 1], (states[:, 1, 0] + states[:, 1, 2]) / 2)
