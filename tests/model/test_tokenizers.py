# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch
from torch.nn.functional import layer_norm, silu

from sleep2vec_sklearn.model.config import ModalityConfig, TokenizerConfig
from sleep2vec_sklearn.model.tokenizers import build_tokenizer
from sleep2vec_sklearn.recordings import MODALITIES

SAMPLES = torch.randn(3, 120, generator=torch.Generator().manual_seed(0))


def tokenizer_of(kind, **options):
    config = TokenizerConfig(kind, 8, options)
    return build_tokenizer(ModalityConfig("ibi", MODALITIES["ibi"].conditioning, config)).eval()


@pytest.mark.parametrize("kind", ["linear", "sundial", "sundial2", "spectral"])
def test_every_kind_gives_its_out_dim(kind):
    assert tokenizer_of(kind)(SAMPLES).shape == (3, 8)


@pytest.mark.parametrize("kind", ["linear", "sundial", "sundial2"])
def test_the_output_norm_can_be_left_out(kind):
    tokenizer = tokenizer_of(kind, norm_layer=False)
    plain = tokenizer(SAMPLES)
    tokenizer.norm = torch.nn.LayerNorm(8)
    torch.testing.assert_close(tokenizer(SAMPLES), layer_norm(plain, (8,)), rtol=0, atol=1e-5)


def test_sundial2_normalises_gain_away_unless_told_not_to():
    normed, raw = tokenizer_of("sundial2"), tokenizer_of("sundial2", pre_norm=False)
    torch.testing.assert_close(normed(SAMPLES), normed(9 * SAMPLES), rtol=0, atol=1e-4)
    assert not torch.allclose(raw(SAMPLES), raw(9 * SAMPLES), atol=1e-2)


def test_sundial2_clamps_the_feed_forward_branch():
    tokenizer = tokenizer_of(
        "sundial2", clamp_value=0.5, residual_scale=0.0, norm_layer=False, modality_scale=3.0
    )
    with torch.no_grad():
        tokenizer.output.weight.mul_(1e3)
    assert tokenizer(SAMPLES).abs().max().item() == pytest.approx(1.5, rel=1e-4)


def test_sundial2_passes_extra_layers_through_silu():
    tokenizer = tokenizer_of("sundial2", num_mlp_layers=3, residual_scale=0.0, norm_layer=False)
    inner = tokenizer.output(silu(tokenizer.hidden(tokenizer.pre_norm(SAMPLES))))
    torch.testing.assert_close(tokenizer(SAMPLES), tokenizer.extra[0](silu(inner)))


@pytest.mark.parametrize("kind", ["sundial", "sundial2", "spectral"])
def test_dropout_acts_in_training_only(kind):
    tokenizer = tokenizer_of(kind, dropout=0.5)
    assert torch.equal(tokenizer(SAMPLES), tokenizer(SAMPLES))
    with torch.random.fork_rng(devices=[]):
        tokenizer.train()
        assert not torch.equal(tokenizer(SAMPLES), tokenizer(SAMPLES))
