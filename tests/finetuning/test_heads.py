# SPDX-License-Identifier: BSD-3-Clause
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.encoding._pooling import fuse
from sleep2vec_sklearn.encoding.cache import EncodedModality
from sleep2vec_sklearn.finetuning._heads import (
    AttentionPooling,
    LayerMix,
    LSTMPooling,
    MeanPooling,
    build_aggregation,
    build_head,
    fill_gaps,
)
from sleep2vec_sklearn.finetuning.config import HeadConfig

TEMPORAL = ("temporal_conv", "temporal_transformer")
PLAIN = ("linear", "mlp", "regression")
NAMES = ("eeg", "spo2", "ibi", "resp")


def build(head, **options):
    config = HeadConfig(16, ("eeg", "spo2"), 3, head=head, aggregation="concat", **options)
    return build_head(config).eval().requires_grad_(False)


def all_valid(features):
    return torch.ones(features.shape[:2], dtype=torch.bool)


def test_config_survives_json():
    config = HeadConfig(8, ["eeg", "ibi"], 3, head="temporal_conv", head_size=4)
    assert HeadConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match=r"unknown 'heads'; accepted: .*activation"):
        HeadConfig.from_dict({"heads": 2})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"n_outputs": 0}, "n_outputs must be an integer from 1 on, got 0"),
     ({"n_layers": True}, "n_layers must be an integer from 1 on, got True"),
     ({"n_covariates": -1}, "n_covariates must be an integer from 0 on"),
     ({"head_size": 1.5}, "head_size must be an integer"),
     ({"kernel_size": 4}, "kernel_size must be odd"),
     ({"temperature": 0}, "temperature must be a number above 0, got 0"),
     ({"n_heads": 0}, "n_heads must be an integer from 1 on"),
     ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
     ({"unit": "hour"}, "unit must be one of 'epoch', 'night'"),
     ({"head": "svm"}, "head must be one of 'linear', 'mlp'"),
     ({"aggregation": "max"}, "aggregation must be one of 'mean', 'concat', 'gated'"),
     ({"pooling": "max"}, "pooling must be one of 'mean', 'attention', 'cls'"),
     ({"activation": "tanh"}, "activation must be one of 'elu'"),
     ({"modalities": ()}, "each modality once and at least one"),
     ({"modalities": ("eeg", "eeg")}, "each modality once"),
     ({"unit": "night", "head": "temporal_conv"}, "accepted for nights: 'linear', 'mlp'")],
)  # fmt: skip
def test_impossible_heads_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        HeadConfig(**{"hidden_size": 8, "modalities": ("eeg",), "n_outputs": 2, **wrong})


@pytest.mark.parametrize("head", [*PLAIN, *TEMPORAL])
@pytest.mark.parametrize("options", [{}, {"head_size": 10}, {"depth": 1}, {"n_covariates": 2}])
def test_every_epoch_has_outputs(draw, head, options):
    features = draw(2, 7, 32 + options.get("n_covariates", 0))
    assert build(head, **options)(features, all_valid(features)).shape == (2, 7, 3)


@pytest.mark.parametrize("head", PLAIN)
def test_plain_heads_see_one_epoch(draw, head):
    features, built = draw(2, 7, 32), build(head)
    torch.testing.assert_close(built(features)[1, 3], built(features[1, 3]))


@pytest.mark.parametrize("head", TEMPORAL)
def test_temporal_heads_see_neighbours(draw, head):
    features, built = draw(1, 7, 32), build(head)
    before = built(features, all_valid(features))[0, 3]
    features[0, 4] += 1
    assert not torch.allclose(built(features, all_valid(features))[0, 3], before)
    assert built(features, ~all_valid(features)).isfinite().all()


def test_mlp_layers_and_activations(draw):
    features = draw(4, 32)
    gelu = torch.nn.functional.gelu
    built = build("mlp", activation="gelu")
    first, second = built.layers
    torch.testing.assert_close(built(features), second(gelu(first(gelu(features)))))
    built = build("regression", activation="relu")
    first, second = built.layers
    torch.testing.assert_close(built(features), second(first(features).relu()))


@pytest.mark.parametrize(("depth", "reach"), [(1, 3), (2, 9), (3, 21)])
def test_dilations_double_the_reach(draw, depth, reach):
    built = build("temporal_conv", depth=depth, head_size=4)
    features = draw(1, 60, 32).requires_grad_()
    built(features, all_valid(features))[0, 30].sum().backward()
    touched = features.grad[0].abs().sum(dim=1).nonzero()[:, 0]
    assert (touched.min(), touched.max()) == (30 - reach, 30 + reach)


def test_positions_beyond_the_learned():
    positions = build("temporal_transformer", head_size=6, depth=1)._positions(2051)
    assert positions.shape == (2051, 6)
    angles = torch.tensor([2048.0 / 10000 ** (2 * i / 6) for i in range(3)])
    torch.testing.assert_close(positions[2048, ::2], angles.sin(), rtol=0, atol=1e-3)
    torch.testing.assert_close(positions[2048, 1::2], angles.cos(), rtol=0, atol=1e-3)


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


@pytest.mark.parametrize(
    "kind", [MeanPooling, lambda: AttentionPooling(6), lambda: AttentionPooling(6, 2, 3.0),
             lambda: LSTMPooling(6), lambda: LSTMPooling(6, 2)]
)  # fmt: skip
def test_only_counted_epochs_are_pooled(kind, tokens, counted):
    pooling = kind().requires_grad_(False)
    pooled = pooling(tokens, counted)
    alone = pooling(tokens[:1, :7, :1], counted[:1, :7, :1])
    torch.testing.assert_close(pooled[:1, :1], alone)
    assert pooled[1, 1].eq(0).all()


def test_lstm_skips_gaps(tokens, counted):
    pooling = LSTMPooling(6).requires_grad_(False)
    counted[0, 3:5, 0] = False
    pooled = pooling(tokens, counted)[0, 0]
    kept = tokens[:1, [0, 1, 2, 5, 6], :1]
    alone = pooling(kept, torch.ones(kept.shape[:3], dtype=torch.bool))[0, 0]
    torch.testing.assert_close(pooled, alone)
    assert pooling(tokens, torch.zeros_like(counted)).eq(0).all()


def test_pooling_by_mean_and_query(tokens, counted):
    expected = tokens[0, :7, 0].mean(dim=0)
    torch.testing.assert_close(MeanPooling()(tokens, counted)[0, 0], expected)
    pooling = AttentionPooling(6).requires_grad_(False)
    weights = (pooling.key(tokens[0, :7, 0, 1]).tanh() @ pooling.query).softmax(dim=0)
    expected = weights @ tokens[0, :7, 0, 1]
    torch.testing.assert_close(pooling(tokens, counted)[0, 0, 1], expected)


def test_layers_mix_by_modality(draw):
    states, mix = draw(4, 2, 3, 6), LayerMix(n_layers=3, n_modalities=2).requires_grad_(False)
    mix.weight[1] = torch.tensor([0.0, -torch.inf, 0.0])
    mixed = mix(states)
    torch.testing.assert_close(mixed[:, 0], states[:, 0].mean(dim=1))
    torch.testing.assert_close(mixed[:, 1], (states[:, 1, 0] + states[:, 1, 2]) / 2)


def aggregation(name):
    return build_aggregation(HeadConfig(6, NAMES, 2, aggregation=name))


@st.composite
def nights(draw):
    """Values of 5 to 12 epochs, and any choice of modalities in each, often none."""
    n_epochs = draw(st.integers(5, 12))
    flags = st.lists(st.booleans(), min_size=4, max_size=4)
    present = torch.tensor(draw(st.lists(flags, min_size=n_epochs, max_size=n_epochs)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    values = torch.randn(n_epochs, 4, 6, generator=generator)
    return values.masked_fill(~present[..., None], 0.0), present


@settings(max_examples=40)
@given(nights())
def test_gates_are_shared_among_present(night):
    values, present = night
    gated = aggregation("gated")
    torch.nn.init.normal_(gated.gates)
    with torch.no_grad():
        rows, gates = gated(values, present), gated.gates.exp()
    for row, here, epoch in zip(rows, present, values, strict=True):
        weights = gates[here] / gates[here].sum()
        torch.testing.assert_close(row, weights @ epoch[here] if here.any() else torch.zeros(6))


def test_silence_and_low_gates():
    gated = aggregation("gated")
    gated.gates.data = torch.tensor([0.0, 0.0, 0.0, -1000.0])
    values, present = torch.zeros(1, 4, 6), torch.tensor([[False, False, False, True]])
    values[:, 3] = 2.0
    torch.testing.assert_close(gated(values, present).detach(), torch.full((1, 6), 2.0))
    rows = fill_gaps(torch.ones(2, 4, 3), torch.tensor([[False] * 4, [True] * 4]))
    assert rows[0].eq(0).all()
    assert rows[1].eq(1).all()


@pytest.mark.parametrize("fusion", ["mean", "concat"])
@settings(max_examples=40)
@given(nights())
def test_aggregation_equals_transformer_fusion(fusion, night):
    values, present = night
    used = [i for i in range(4) if present[:, i].any()]
    if not used:
        return
    encoded = {NAMES[i]: EncodedModality(values[:, i].numpy(), present[:, i].numpy()) for i in used}
    expected, _ = fuse(encoded, NAMES, fusion)
    rows = aggregation(fusion)(values, present)
    filled = fill_gaps(rows[None], present.any(dim=1)[None])[0]
    np.testing.assert_allclose(filled.numpy(), expected, atol=1e-5)


@settings(max_examples=40)
@given(nights())
def test_gaps_ignore_following_padding(night):
    values, present = night
    rows, measured = values[:, 0][None], present.any(dim=1)[None]
    longer = torch.cat([rows, torch.full((1, 7, 6), 9.0)], dim=1)
    padded = torch.cat([measured, torch.zeros(1, 7, dtype=torch.bool)], dim=1)
    filled = fill_gaps(longer, padded)[:, : rows.shape[1]]
    torch.testing.assert_close(filled, fill_gaps(rows, measured))
