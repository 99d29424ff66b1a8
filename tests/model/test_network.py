# SPDX-License-Identifier: BSD-3-Clause
"""The network against its formulas, written out slowly."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model import EncoderConfig, ModalityConfig, Sleep2Vec, TokenizerConfig
from sleep2vec_sklearn.model import network as networks
from sleep2vec_sklearn.model.network import (
    Attention,
    Projection,
    RoFormer,
    RotaryPositions,
    attend_at_once,
    attend_by_head,
    rotate,
)
from sleep2vec_sklearn.recordings import MODALITIES

few = settings(max_examples=30)
CPU = torch.device("cpu")
VALID = torch.tensor([[True, True, True, False, True], [True, False, True, False, False]])


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network(config):
    return Sleep2Vec.from_seed(config, 1).eval()


def test_initial_weights_follow_seed(config, network):
    before = torch.get_rng_state()
    first, second = (Sleep2Vec.from_seed(config, 3).state_dict() for _ in range(2))
    other = Sleep2Vec.from_seed(config, 4).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["input_projection.weight"], other["input_projection.weight"])
    weights = network.encoder.blocks[0].feed_in.weight
    assert weights.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(network.masks["eeg"], torch.ones(24))


def test_padding_changes_nothing(network):
    tokens = noise(1, 9, 24)
    padded = torch.cat([tokens, noise(1, 4, 24, seed=1) * 50], dim=1)
    batch = torch.cat([padded, noise(1, 13, 24, seed=2)])
    valid = torch.arange(13)[None] < torch.tensor([[9], [13]])
    torch.testing.assert_close(
        network.encode(batch, valid)[:1, :9], network.encode(tokens), rtol=0, atol=1e-5
    )


def test_any_length_is_encoded(network, config):
    hidden = network.encode(noise(1, 3000, 24))
    assert hidden.shape == (1, 3000, 32)
    assert hidden.isfinite().all()
    tokens = noise(1, 300, 24)
    network.encode(tokens[:, :7])
    fresh = Sleep2Vec.from_seed(config, 1).eval()
    assert torch.equal(network.encode(tokens), fresh.encode(tokens))


def test_attention_sees_order(network):
    tokens = noise(1, 6, 24)
    with torch.no_grad():
        network.encoder.blocks[0].attention.query.weight.mul_(50)
        network.encoder.blocks[0].attention.value.weight.mul_(50)
    turned = network.encode(tokens.flip(1)).flip(1)
    assert not torch.allclose(network.encode(tokens), turned, atol=1e-3)


def test_cls_comes_first(with_cls):
    network = Sleep2Vec.from_seed(with_cls, 0).eval()
    states = network.hidden_states(noise(2, 5, 24), torch.ones(2, 5, dtype=torch.bool))
    assert states[-1].shape == (2, 6, 32)
    assert torch.equal(states[0][0, 0], states[0][1, 0])
    assert network.with_cls(torch.zeros(2, 5, dtype=torch.bool)).sum(dim=1).tolist() == [1, 1]


def test_layers_equal_hidden_states(network):
    tokens = noise(2, 5, 24)
    states = network.hidden_states(tokens)
    for layer in range(3):
        assert torch.equal(network.encode(tokens, layer=layer), states[layer])
    assert torch.equal(network.encode(tokens), states[2])
    network.encoder.blocks[1] = None
    assert network.encode(noise(1, 4, 24), layer=1).shape == (1, 4, 32)


@pytest.mark.parametrize("layer", [3, -1, "first", True])
def test_unknown_layer_is_refused(network, layer):
    with pytest.raises(ValueError, match="'last' or 0 to 2"):
        network.encode(noise(1, 4, 24), layer=layer)


@pytest.mark.parametrize(("name", "width"), [("eeg", 3840), ("ibi", 120)])
def test_missing_epoch_does_not_leak(network, name, width):
    samples = noise(1, 4, width)
    missing = torch.tensor([[False, True, False, True]])
    spoilt = samples.masked_fill(missing[..., None], torch.nan)
    clean, tokens = (network.tokenize(name, values, missing) for values in (samples, spoilt))
    assert torch.equal(clean, tokens)
    assert torch.equal(tokens[0, 1], network.masks[name])
    tokens.square().sum().backward()
    gradients = [p.grad for p in network.tokenizers[name].parameters()]
    assert all(g.isfinite().all() for g in gradients)


def test_features_give_same_tokens(network):
    samples, missing = noise(2, 3, 120), torch.tensor([[False, True, False]] * 2)
    features = network.tokenizers["spo2"].features(samples)
    features[:, 1] = torch.nan
    tokens = network.embed_features("spo2", features, missing)
    assert torch.equal(tokens, network.tokenize("spo2", samples, missing))


def test_absent_parts_are_named(network, config):
    with pytest.raises(CheckpointError, match=r"tokenize\(\)"):
        network.embed_features("ibi", noise(1, 2, 120))
    with pytest.raises(CheckpointError, match="eeg, spo2, ibi"):
        network.tokenize("ecg", noise(1, 2, 3840))
    network = Sleep2Vec.from_seed(dataclasses.replace(config, projection=None), 0)
    with pytest.raises(CheckpointError, match="without a projection"):
        network.project(noise(1, 2, 32))


def test_from_state_copies(config, network):
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    built = Sleep2Vec.from_state(config, state)
    state["masks.eeg"].fill_(7)
    assert torch.equal(built.masks["eeg"], network.masks["eeg"])
    assert not built.training


def test_differences_are_named(config, network):
    assert Sleep2Vec.differences(config, network.state_dict()) == []
    state = dict(network.state_dict())
    del state["masks.eeg"]
    state["extra"] = torch.ones(1)
    state["masks.ibi"] = torch.ones(5)
    assert Sleep2Vec.differences(config, state) == [
        "missing masks.eeg",
        "unexpected extra",
        "masks.ibi has shape (5,), expected (24,)",
    ]


def test_differences_need_no_memory():
    modality = ModalityConfig(
        "eeg", MODALITIES["eeg"].conditioning, TokenizerConfig("linear", 65536)
    )
    huge = EncoderConfig((modality,), 65536, 64, 64, 4 * 65536)
    assert len(Sleep2Vec.differences(huge, {})) > 64


def _ibi_network(cls=False):
    modality = ModalityConfig("ibi", MODALITIES["ibi"].conditioning, TokenizerConfig("linear", 8))
    network = Sleep2Vec.from_seed(EncoderConfig((modality,), 16, 1, 2, 16, cls=cls), 0)
    with torch.no_grad():
        network.masks["ibi"].copy_(torch.arange(8.0))
    return network.eval()


@few
@given(missing=st.lists(st.booleans(), min_size=6, max_size=6), seed=st.integers(0, 99))
def test_only_missing_positions_are_masked(missing, seed):
    network = _ibi_network()
    missing = torch.tensor([missing])
    samples = noise(1, 6, 120, seed=seed)
    tokens, plain = network.tokenize("ibi", samples, missing), network.tokenize("ibi", samples)
    assert torch.equal(tokens[~missing], plain[~missing])
    assert torch.equal(tokens[missing], network.masks["ibi"].expand(int(missing.sum()), -1))


def test_modalities_have_own_tokenizers(network, config):
    with torch.no_grad():
        network.masks["ibi"].fill_(5)
    everything = torch.ones(1, 2, dtype=torch.bool)
    assert network.tokenize("ibi", noise(1, 2, 120), everything).unique().tolist() == [5]
    assert network.tokenize("spo2", noise(1, 2, 120), everything).unique().tolist() == [1]
    first, second = (network.tokenize(name, noise(1, 2, 120)) for name in ("ibi", "spo2"))
    assert not torch.allclose(first, second)
    shared = {key.split(".")[0] for key in network.state_dict()} - {"tokenizers", "masks"}
    assert shared == {"input_projection", "encoder", "projection"}


def test_batch_equals_single_sequences(network):
    tokens = noise(3, 7, 24)
    alone = torch.cat([network.encode(row[None]) for row in tokens])
    torch.testing.assert_close(network.encode(tokens), alone, rtol=0, atol=1e-5)


def test_training_can_follow_inference(network):
    tokens = noise(1, 9, 24)
    with torch.inference_mode():
        network.encode(tokens)
    network.encode(tokens).sum().backward()
    assert network.encoder.blocks[0].attention.query.weight.grad.isfinite().all()


@pytest.mark.parametrize("cls", [False, True])
@few
@given(length=st.integers(1, 9), layer=st.sampled_from([0, 1, "last"]))
def test_states_per_epoch_and_cls(cls, length, layer):
    hidden = _ibi_network(cls).encode(noise(2, length, 8), layer=layer)
    assert hidden.shape == (2, length + cls, 16)


def test_cls_reads_valid_epochs(with_cls):
    network = Sleep2Vec.from_seed(with_cls, 0).eval()
    tokens, valid = noise(1, 5, 24), torch.tensor([[True, True, True, False, False]])
    before = network.encode(tokens, valid)[0, 0]
    other = tokens.clone()
    other[0, 4] = 50
    torch.testing.assert_close(network.encode(other, valid)[0, 0], before)
    other[0, 1] = 50
    assert not torch.allclose(network.encode(other, valid)[0, 0], before, atol=1e-5)


def test_cls_is_always_valid(with_cls, network):
    valid = torch.tensor([[True, False, True]])
    assert network.with_cls(valid) is valid
    counted = Sleep2Vec.from_seed(with_cls, 0).with_cls(valid)
    assert counted.tolist() == [[True, True, False, True]]
    assert counted.dtype == torch.bool


def test_all_parameters_learn(with_cls):
    network = Sleep2Vec.from_seed(with_cls, 0).train()
    total = 0.0
    for name in with_cls.names:
        width = network.config.modalities[with_cls.names.index(name)].conditioning.width
        missing = torch.tensor([[True, False, False]])
        hidden = network.encode(network.tokenize(name, noise(1, 3, width), missing))
        total = total + (network.project(hidden) * noise(1, 4, 8, seed=1)).sum()
    total.backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.fixture
def still(config):
    """The configuration without dropout."""
    return dataclasses.replace(config, dropout=0.0)


@pytest.fixture
def make(still):
    """Function of a class: one with parameters large enough for attention to choose."""

    def build(kind, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            module = kind(still)
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.4)
        return module.eval()

    return build


def turned(values, positions):
    """``values`` [n, head_dim] as they are at these positions."""
    turns = RotaryPositions(values.shape[-1])(max(positions) + 1, CPU)
    return rotate(values[None, None], turns[positions])[0, 0]


@few
@given(query=st.integers(0, 900), key=st.integers(0, 900), shift=st.integers(0, 900))
def test_similarity_depends_on_distance(query, key, shift):
    pair = noise(2, 16)
    here, there = (turned(pair, [query + by, key + by]) for by in (0, shift))
    torch.testing.assert_close(here[0] @ here[1], there[0] @ there[1], rtol=1e-4, atol=1e-4)


@few
@given(position=st.integers(0, 5000))
def test_rotation_keeps_lengths(position):
    values = noise(1, 8)
    torch.testing.assert_close(turned(values, [position]).norm(), values.norm())


def test_late_angles_are_exact():
    turns = RotaryPositions(4)(8192, CPU)
    expected = 8191 * 10000.0 ** (-np.array([0.0, 0.5]))
    np.testing.assert_allclose(turns[8191].real, np.cos(expected), atol=1e-6)
    np.testing.assert_allclose(turns[8191].imag, np.sin(expected), atol=1e-6)


def test_rotary_table_grows(make):
    rotary = RotaryPositions(8)
    short = rotary(3, CPU).clone()
    rotary(1000, CPU)
    assert len(rotary.table) >= 1000
    rotary.to(torch.bfloat16)
    assert rotary(3, CPU).dtype == torch.complex64
    assert torch.equal(rotary(3, CPU), short)
    assert not any("table" in key for key in make(RoFormer).state_dict())
    values = noise(1, 1, 4, 8).to(torch.bfloat16)
    assert rotate(values, RotaryPositions(8)(4, CPU)).dtype == torch.bfloat16


def naive_attention(attention, hidden, valid):
    """One head, one query and one key at a time."""
    n_heads, length = attention.n_heads, hidden.shape[1]
    size = hidden.shape[2] // n_heads
    query, key, value = (getattr(attention, part)(hidden[0]) for part in ("query", "key", "value"))
    mixed = torch.zeros_like(query)
    for head in range(n_heads):
        mine = slice(head * size, (head + 1) * size)
        places = list(range(length))
        queries, keys = turned(query[:, mine], places), turned(key[:, mine], places)
        for q in range(length):
            scores = {k: (queries[q] @ keys[k] / size**0.5).exp() for k in places if valid[k]}
            mixed[q, mine] = sum(s * value[k, mine] for k, s in scores.items()) / sum(
                scores.values()
            )
    return attention.output(mixed)[None]


@pytest.mark.parametrize("valid", [[True] * 5, [True, False, True, True, False]])
def test_attention_matches_naive_loops(make, valid):
    attention, hidden = make(Attention), noise(1, 5, 32)
    turns = RotaryPositions(8)(5, CPU)
    mask = torch.tensor(valid)[None, None, None]
    found = attention(hidden, turns, mask)
    torch.testing.assert_close(found, naive_attention(attention, hidden, valid), atol=1e-4, rtol=0)


@few
@given(valid=st.lists(st.booleans(), min_size=7, max_size=7).filter(any), seed=st.integers(0, 99))
def test_invalid_positions_are_unseen(valid, seed):
    encoder = RoFormer(_ibi_network().config).eval()
    valid = torch.tensor([valid])
    embeddings = noise(1, 7, 16, seed=seed)
    spoilt = torch.where(valid[..., None], embeddings, 100 * noise(1, 7, 16, seed=seed + 1))
    first, second = (list(encoder(e, valid))[-1][valid] for e in (embeddings, spoilt))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_valid_positions_see_each_other(make):
    encoder, embeddings = make(RoFormer), noise(1, 5, 32)
    valid = torch.tensor([[True, True, False, True, True]])
    before = list(encoder(embeddings, valid))[-1]
    for changed in (0, 1, 3, 4):
        other = embeddings.clone()
        other[0, changed] = noise(32, seed=9)
        moved = (list(encoder(other, valid))[-1] - before).abs().amax(dim=-1)[0]
        assert (moved[valid[0]] > 1e-5).all()


def test_row_without_valid_positions(make):
    encoder, embeddings = make(RoFormer), noise(2, 5, 32)
    valid = torch.tensor([[False] * 5, [True, True, True, False, False]])
    masked, plain = (list(encoder(embeddings, v))[-1] for v in (valid, None))
    torch.testing.assert_close(masked[0], plain[0])
    assert not torch.allclose(masked[1, :3], plain[1, :3], atol=1e-3)


def test_dropout_acts_in_training(config):
    encoder = RoFormer(dataclasses.replace(config, dropout=0.5)).eval()
    embeddings = noise(1, 5, 32)
    assert torch.equal(*(list(encoder(embeddings))[-1] for _ in range(2)))
    with torch.random.fork_rng(devices=[]):
        encoder.train()
        first, second = (list(encoder(embeddings)) for _ in range(2))
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[-1], second[-1])


@pytest.mark.parametrize("attend", [attend_at_once, attend_by_head])
@pytest.mark.parametrize("n_hidden", [None, 0, 7])
def test_plain_attention_matches_torch(n_hidden, attend):
    query, key, value = (noise(2, 3, 40, 8, seed=seed) for seed in range(3))
    mask = None if n_hidden is None else torch.ones(2, 1, 1, 40, dtype=torch.bool)
    if n_hidden:
        mask[1, ..., -n_hidden:] = False
    results = []
    for function in (attend, scaled_dot_product_attention):
        given = [t.clone().requires_grad_() for t in (query, key, value)]
        mixed = function(*given, mask)
        (mixed * noise(2, 3, 40, 8, seed=4)).sum().backward()
        results.append([mixed, *(t.grad for t in given)])
    torch.testing.assert_close(*results)


def test_bfloat16_long_night(make, monkeypatch):
    encoder, embeddings = make(RoFormer), noise(1, 600, 32)
    heads = []
    monkeypatch.setattr(
        "sleep2vec_sklearn.model.network.attend_by_head",
        lambda *args: heads.append(args[0].dtype) or attend_by_head(*args),
    )
    valid = torch.arange(600)[None] < 550
    with torch.inference_mode():
        expected = list(encoder(embeddings, valid))[-1]
        assert heads == []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = list(encoder(embeddings, valid))[-1]
    assert set(heads) == {torch.bfloat16}
    alike = torch.cosine_similarity(found[valid].float(), expected[valid], dim=-1)
    assert alike.min() > 0.99


@pytest.mark.parametrize(("length", "name"), [(40, "at_once"), (520, "by_head")])
@pytest.mark.parametrize("n_hidden", [0, 7])
def test_bfloat16_gradients(make, monkeypatch, length, name, n_hidden):
    encoder, gradients, used = make(RoFormer), [], []
    attend = getattr(networks, f"attend_{name}")
    monkeypatch.setattr(
        networks, f"attend_{name}", lambda *args: used.append(args[0].dtype) or attend(*args)
    )
    valid = torch.arange(length)[None] < length - n_hidden if n_hidden else None
    for half in (False, True):
        embeddings = noise(1, length, 32).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            hidden = list(encoder(embeddings, valid))[-1]
        (hidden.float() * noise(1, length, 32, seed=1)).sum().backward()
        gradients.append(embeddings.grad.flatten())
    assert set(used) == {torch.bfloat16}
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.fixture
def head():
    return make_head()


def make_head():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Projection(12, 10, 6)


def test_running_statistics_ignore_padding(head):
    hidden = noise(2, 5, 12).masked_fill(~VALID[..., None], 1e4)
    head.train()(hidden, VALID)
    rows = hidden[VALID] @ head.hidden.weight.T
    torch.testing.assert_close(head.hidden_norm.running_mean, 0.1 * rows.mean(dim=0))
    torch.testing.assert_close(head.hidden_norm.running_var, 0.9 + 0.1 * rows.var(dim=0))


@few
@given(valid=st.lists(st.booleans(), min_size=10, max_size=10).filter(lambda v: sum(v) > 1))
def test_projection_ignores_any_padding(valid):
    valid = torch.tensor(valid).reshape(2, 5)
    hidden = noise(2, 5, 12)
    found = make_head().train()(hidden, valid)
    torch.testing.assert_close(found[valid], make_head().train()(hidden[valid]))
    assert not found[~valid].any()


def test_projected_positions_keep_order(head):
    head.eval()
    hidden = noise(2, 5, 12)
    whole, part = head(hidden), head(hidden, VALID)
    torch.testing.assert_close(part[VALID], whole[VALID])
    torch.testing.assert_close(whole[1, 3], head(hidden[1, 3]))


def test_padding_has_no_gradient(head):
    hidden = noise(2, 5, 12).requires_grad_()
    (head.train()(hidden, VALID) * noise(2, 5, 6, seed=1)).sum().backward()
    assert not hidden.grad[~VALID].any()
    assert hidden.grad[VALID].abs().sum(dim=-1).min() > 0


def test_projection_has_unit_length(head):
    projected = head.train()(1e3 * noise(3, 4, 5, 12))
    assert projected.shape == (3, 4, 5, 6)
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(3, 4, 5))
    biases = {key for key in head.state_dict() if "bias" in key}
    assert biases == {"hidden_norm.bias", "output_norm.bias"}
