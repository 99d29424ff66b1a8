# SPDX-License-Identifier: BSD-3-Clause
"""The shared encoder against its formulas, written out slowly."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from sleep2vec_sklearn.model import network as encoders
from sleep2vec_sklearn.model.network import (
    Attention,
    Block,
    RoFormer,
    RotaryPositions,
    attend_at_once,
    attend_by_head,
    rotate,
)

few = settings(max_examples=30)

CPU = torch.device("cpu")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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


def test_a_pair_is_turned_counter_clockwise_by_its_position():
    east = torch.tensor([[1.0, 0.0]] * 3)
    angles = torch.arange(3.0)
    expected = torch.stack([angles.cos(), angles.sin()], dim=-1)
    torch.testing.assert_close(turned(east, [0, 1, 2]), expected)


def test_pairs_are_neighbours_and_each_turns_slower_than_the_one_before():
    values = torch.tensor([[1.0, 0.0] * 4])
    found = turned(values, [5]).reshape(4, 2)
    angles = 5 * 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    torch.testing.assert_close(found, torch.stack([angles.cos(), angles.sin()], dim=-1))


def test_the_first_position_is_left_as_it_is():
    values = noise(1, 8)
    assert torch.equal(turned(values, [0]), values)


@few
@given(query=st.integers(0, 900), key=st.integers(0, 900), shift=st.integers(0, 900))
def test_similarity_depends_on_the_distance_alone(query, key, shift):
    pair = noise(2, 16)
    here, there = (turned(pair, [query + by, key + by]) for by in (0, shift))
    torch.testing.assert_close(here[0] @ here[1], there[0] @ there[1], rtol=1e-4, atol=1e-4)


@few
@given(position=st.integers(0, 5000))
def test_turning_keeps_lengths(position):
    values = noise(1, 8)
    torch.testing.assert_close(turned(values, [position]).norm(), values.norm())


def test_angles_are_exact_far_into_a_long_night():
    turns = RotaryPositions(4)(8192, CPU)
    expected = 8191 * 10000.0 ** (-np.array([0.0, 0.5]))
    np.testing.assert_allclose(turns[8191].real, np.cos(expected), atol=1e-6)
    np.testing.assert_allclose(turns[8191].imag, np.sin(expected), atol=1e-6)


def test_the_table_grows_when_needed_and_keeps_its_precision():
    rotary = RotaryPositions(8)
    short = rotary(3, CPU).clone()
    rotary(1000, CPU)
    assert len(rotary.table) >= 1000
    rotary.to(torch.bfloat16)
    assert rotary(3, CPU).dtype == torch.complex64
    assert torch.equal(rotary(3, CPU), short)


def test_the_table_is_no_part_of_a_checkpoint(make):
    assert not any("table" in key for key in make(RoFormer).state_dict())


def test_rotation_keeps_the_type_of_its_input():
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
def test_attention_is_a_softmax_over_the_valid_keys_of_each_head(make, valid):
    attention, hidden = make(Attention), noise(1, 5, 32)
    turns = RotaryPositions(8)(5, CPU)
    mask = torch.tensor(valid)[None, None, None]
    found = attention(hidden, turns, mask)
    torch.testing.assert_close(found, naive_attention(attention, hidden, valid), atol=1e-4, rtol=0)


def test_what_is_attended_to_carries_no_position(make):
    attention, hidden = make(Attention), noise(1, 1, 32)
    turns = RotaryPositions(8)(50, CPU)
    first, late = (attention(hidden, turns[p : p + 1], None) for p in (0, 40))
    torch.testing.assert_close(first, late)
    torch.testing.assert_close(first, attention.output(attention.value(hidden)))


def test_a_block_adds_its_input_and_normalises_afterwards(make):
    block, hidden = make(Block), noise(1, 4, 32)
    turns = RotaryPositions(8)(4, CPU)

    def norm(values, layer):
        return layer_norm(values, (32,), layer.weight, layer.bias, 1e-12)

    attended = norm(block.attention(hidden, turns, None) + hidden, block.attention_norm)
    fed = block.feed_out(gelu(block.feed_in(attended)))
    expected = norm(fed + attended, block.feed_norm)
    torch.testing.assert_close(block(hidden, turns, None), expected)


def test_the_first_state_is_the_normalised_embedding_with_its_type(make):
    encoder, embeddings = make(RoFormer), noise(2, 4, 32)
    (state,) = encoder(embeddings, n_layers=0)
    shifted = embeddings + encoder.token_type
    expected = layer_norm(shifted, (32,), encoder.norm.weight, encoder.norm.bias, 1e-12)
    torch.testing.assert_close(state, expected)


def test_an_encoder_is_its_blocks_one_after_another(make):
    encoder, embeddings = make(RoFormer), noise(1, 4, 32)
    states = list(encoder(embeddings))
    turns = encoder.rotary(4, CPU)
    assert len(states) == 3
    for block, before, after in zip(encoder.blocks, states[:-1], states[1:], strict=True):
        torch.testing.assert_close(block(before, turns, None), after)


@few
@given(valid=st.lists(st.booleans(), min_size=7, max_size=7).filter(any), seed=st.integers(0, 99))
def test_no_valid_position_sees_what_is_at_an_invalid_one(valid, seed):
    encoder = RoFormer(_config()).eval()
    valid = torch.tensor([valid])
    embeddings = noise(1, 7, 32, seed=seed)
    spoilt = torch.where(valid[..., None], embeddings, 100 * noise(1, 7, 32, seed=seed + 1))
    first, second = (list(encoder(e, valid))[-1][valid] for e in (embeddings, spoilt))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def _config():
    from sleep2vec_sklearn.model import EncoderConfig, ModalityConfig, TokenizerConfig
    from sleep2vec_sklearn.recordings import MODALITIES

    tokenizer = TokenizerConfig("linear", 8)
    modality = ModalityConfig("ibi", MODALITIES["ibi"].conditioning, tokenizer)
    return EncoderConfig((modality,), 32, 2, 4, 48)


def test_every_valid_position_is_seen_by_every_other(make):
    encoder, embeddings = make(RoFormer), noise(1, 5, 32)
    valid = torch.tensor([[True, True, False, True, True]])
    before = list(encoder(embeddings, valid))[-1]
    for changed in (0, 1, 3, 4):
        other = embeddings.clone()
        other[0, changed] = noise(32, seed=9)
        moved = (list(encoder(other, valid))[-1] - before).abs().amax(dim=-1)[0]
        assert (moved[valid[0]] > 1e-5).all()


def test_a_row_without_a_valid_position_is_encoded_as_if_all_were(make):
    encoder, embeddings = make(RoFormer), noise(2, 5, 32)
    valid = torch.tensor([[False] * 5, [True, True, True, False, False]])
    masked, plain = (list(encoder(embeddings, v))[-1] for v in (valid, None))
    torch.testing.assert_close(masked[0], plain[0])
    assert not torch.allclose(masked[1, :3], plain[1, :3], atol=1e-3)


def test_dropout_acts_in_training_alone(config):
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
def test_attention_in_plain_products_is_that_of_torch(n_hidden, attend):
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


def test_a_long_night_in_bfloat16_is_near_the_one_in_float32(make, monkeypatch):
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
def test_gradients_in_bfloat16_are_near_those_in_float32(make, monkeypatch, length, name, n_hidden):
    encoder, gradients, used = make(RoFormer), [], []
    attend = getattr(encoders, f"attend_{name}")
    monkeypatch.setattr(
        encoders, f"attend_{name}", lambda *args: used.append(args[0].dtype) or attend(*args)
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
