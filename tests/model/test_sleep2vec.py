# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model import Sleep2Vec


@pytest.fixture
def network(config):
    return Sleep2Vec.from_seed(config, 1).eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_seed_gives_the_same_network_and_leaves_the_global_state(config):
    before = torch.get_rng_state()
    first, second = (Sleep2Vec.from_seed(config, 3).state_dict() for _ in range(2))
    other = Sleep2Vec.from_seed(config, 4).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["input_projection.weight"], other["input_projection.weight"])


def test_encoder_starts_like_bert_and_masks_at_one(network):
    weights = network.encoder.blocks[0].feed_in.weight
    assert weights.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(network.masks["eeg"], torch.ones(24))


def test_padding_a_batch_does_not_change_valid_positions(network):
    tokens = noise(1, 9, 24)
    padded = torch.cat([tokens, noise(1, 4, 24, seed=1) * 50], dim=1)
    batch = torch.cat([padded, noise(1, 13, 24, seed=2)])
    valid = torch.arange(13)[None] < torch.tensor([[9], [13]])
    torch.testing.assert_close(
        network.encode(batch, valid)[:1, :9], network.encode(tokens), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("cls", [False, True])
def test_a_row_without_any_valid_position_stays_finite(config, with_cls, cls):
    network = Sleep2Vec.from_seed(with_cls if cls else config, 0).eval()
    hidden = network.encode(noise(2, 5, 24), torch.tensor([[False] * 5, [True] * 5]))
    assert hidden.isfinite().all()


def test_any_length_can_be_encoded(network):
    hidden = network.encode(noise(1, 3000, 24))
    assert hidden.shape == (1, 3000, 32)
    assert hidden.isfinite().all()


def test_positions_do_not_depend_on_what_was_encoded_before(config, network):
    tokens = noise(1, 300, 24)
    network.encode(tokens[:, :7])
    fresh = Sleep2Vec.from_seed(config, 1).eval()
    assert torch.equal(network.encode(tokens), fresh.encode(tokens))


def test_training_can_follow_inference(network):
    tokens = noise(1, 9, 24)
    with torch.inference_mode():
        network.encode(tokens)
    network.encode(tokens).sum().backward()
    assert network.encoder.blocks[0].attention.query.weight.grad.isfinite().all()


def test_attention_sees_order(network):
    tokens = noise(1, 6, 24)
    with torch.no_grad():
        network.encoder.blocks[0].attention.query.weight.mul_(50)
        network.encoder.blocks[0].attention.value.weight.mul_(50)
    turned = network.encode(tokens.flip(1)).flip(1)
    assert not torch.allclose(network.encode(tokens), turned, atol=1e-3)


def test_cls_comes_first_and_is_a_learned_token(with_cls):
    network = Sleep2Vec.from_seed(with_cls, 0).eval()
    states = network.hidden_states(noise(2, 5, 24), torch.ones(2, 5, dtype=torch.bool))
    assert states[-1].shape == (2, 6, 32)
    assert torch.equal(states[0][0, 0], states[0][1, 0])
    assert network.with_cls(torch.zeros(2, 5, dtype=torch.bool)).sum(dim=1).tolist() == [1, 1]


def test_layers_are_those_of_hidden_states(network):
    tokens = noise(2, 5, 24)
    states = network.hidden_states(tokens)
    for layer in range(3):
        assert torch.equal(network.encode(tokens, layer=layer), states[layer])
    assert torch.equal(network.encode(tokens), states[2])


def test_layers_above_are_not_run(network):
    network.encoder.blocks[1] = None
    assert network.encode(noise(1, 4, 24), layer=1).shape == (1, 4, 32)


@pytest.mark.parametrize("layer", [3, -1, "first", True])
def test_unknown_layer_is_refused(network, layer):
    with pytest.raises(ValueError, match="'last' or 0 to 2"):
        network.encode(noise(1, 4, 24), layer=layer)


@pytest.mark.parametrize(("name", "width"), [("eeg", 3840), ("ibi", 120)])
def test_nothing_of_a_missing_epoch_leaks(network, name, width):
    samples = noise(1, 4, width)
    missing = torch.tensor([[False, True, False, True]])
    spoilt = samples.masked_fill(missing[..., None], torch.nan)
    clean, tokens = (network.tokenize(name, values, missing) for values in (samples, spoilt))
    assert torch.equal(clean, tokens)
    assert torch.equal(tokens[0, 1], network.masks[name])
    tokens.square().sum().backward()
    gradients = [p.grad for p in network.tokenizers[name].parameters()]
    assert all(g.isfinite().all() for g in gradients)


def test_features_embed_to_the_same_tokens(network):
    samples, missing = noise(2, 3, 120), torch.tensor([[False, True, False]] * 2)
    features = network.tokenizers["spo2"].features(samples)
    features[:, 1] = torch.nan
    tokens = network.embed_features("spo2", features, missing)
    assert torch.equal(tokens, network.tokenize("spo2", samples, missing))


def test_raw_tokenizers_have_no_features(network):
    with pytest.raises(CheckpointError, match=r"tokenize\(\)"):
        network.embed_features("ibi", noise(1, 2, 120))


def test_unknown_modality_names_the_known(network):
    with pytest.raises(CheckpointError, match="eeg, spo2, ibi"):
        network.tokenize("ecg", noise(1, 2, 3840))


def test_projection_is_of_unit_length(network):
    projected = network.project(network.encode(noise(2, 5, 24)))
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(2, 5))


def test_padding_does_not_enter_batch_norm(config):
    hidden, valid = noise(2, 5, 32), torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    spoilt = hidden.masked_fill(~valid[..., None], 1e6)
    heads = [Sleep2Vec.from_seed(config, 0).train() for _ in range(2)]
    projected = heads[0].project(spoilt, valid)
    torch.testing.assert_close(projected[valid], heads[1].project(hidden[valid]))
    assert torch.equal(projected[~valid], torch.zeros(3, 8))
    means = [head.projection.output_norm.running_mean for head in heads]
    torch.testing.assert_close(*means)


def test_an_encoder_without_projection_says_so(config):
    network = Sleep2Vec.from_seed(_without_projection(config), 0)
    with pytest.raises(CheckpointError, match="without a projection"):
        network.project(noise(1, 2, 32))


def _without_projection(config):
    return type(config).from_dict({**config.to_dict(), "projection": None})
