# SPDX-License-Identifier: BSD-3-Clause
"""What a whole network promises, whatever its parameters."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.model import (
    EncoderConfig,
    ModalityConfig,
    Sleep2Vec,
    TokenizerConfig,
)
from sleep2vec_sklearn.recordings import MODALITIES

few = settings(max_examples=30)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network(config):
    return Sleep2Vec.from_seed(config, 1).eval()


def test_a_network_from_a_state_holds_copies(config, network):
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    built = Sleep2Vec.from_state(config, state)
    state["masks.eeg"].fill_(7)
    assert torch.equal(built.masks["eeg"], network.masks["eeg"])
    assert not built.training


def test_differences_name_what_is_missing_odd_and_misshapen(config, network):
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


def test_comparing_states_makes_no_network_of_real_size():
    modality = ModalityConfig(
        "eeg", MODALITIES["eeg"].conditioning, TokenizerConfig("linear", 65536)
    )
    huge = EncoderConfig((modality,), 65536, 64, 64, 4 * 65536)
    assert len(Sleep2Vec.differences(huge, {})) > 64


@pytest.mark.parametrize("change", [{"hidden_size": 64}, {"n_layers": 3}, {"cls": True}])
def test_a_state_of_another_size_differs(config, network, change):
    other = dataclasses.replace(config, **change)
    assert Sleep2Vec.differences(other, network.state_dict())


@few
@given(missing=st.lists(st.booleans(), min_size=6, max_size=6), seed=st.integers(0, 99))
def test_missing_positions_alone_get_the_mask(missing, seed):
    network = _ibi_network()
    missing = torch.tensor([missing])
    samples = noise(1, 6, 120, seed=seed)
    tokens, plain = network.tokenize("ibi", samples, missing), network.tokenize("ibi", samples)
    assert torch.equal(tokens[~missing], plain[~missing])
    assert torch.equal(tokens[missing], network.masks["ibi"].expand(int(missing.sum()), -1))


def _ibi_network(cls=False):
    modality = ModalityConfig("ibi", MODALITIES["ibi"].conditioning, TokenizerConfig("linear", 8))
    network = Sleep2Vec.from_seed(EncoderConfig((modality,), 16, 1, 2, 16, cls=cls), 0)
    with torch.no_grad():
        network.masks["ibi"].copy_(torch.arange(8.0))
    return network.eval()


def test_each_modality_has_a_mask_and_a_tokenizer_of_its_own(network):
    with torch.no_grad():
        network.masks["ibi"].fill_(5)
    everything = torch.ones(1, 2, dtype=torch.bool)
    assert network.tokenize("ibi", noise(1, 2, 120), everything).unique().tolist() == [5]
    assert network.tokenize("spo2", noise(1, 2, 120), everything).unique().tolist() == [1]
    first, second = (network.tokenize(name, noise(1, 2, 120)) for name in ("ibi", "spo2"))
    assert not torch.allclose(first, second)


def test_modalities_share_one_encoder(config, network):
    shared = {key.split(".")[0] for key in network.state_dict()} - {"tokenizers", "masks"}
    assert shared == {"input_projection", "encoder", "projection"}


def test_a_batch_is_its_sequences_one_by_one(network):
    tokens = noise(3, 7, 24)
    alone = torch.cat([network.encode(row[None]) for row in tokens])
    torch.testing.assert_close(network.encode(tokens), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cls", [False, True])
@few
@given(length=st.integers(1, 9), layer=st.sampled_from([0, 1, "last"]))
def test_there_is_one_state_per_epoch_and_one_for_cls(cls, length, layer):
    hidden = _ibi_network(cls).encode(noise(2, length, 8), layer=layer)
    assert hidden.shape == (2, length + cls, 16)


def test_the_night_token_reads_the_valid_epochs(with_cls):
    network = Sleep2Vec.from_seed(with_cls, 0).eval()
    tokens, valid = noise(1, 5, 24), torch.tensor([[True, True, True, False, False]])
    before = network.encode(tokens, valid)[0, 0]
    other = tokens.clone()
    other[0, 4] = 50
    torch.testing.assert_close(network.encode(other, valid)[0, 0], before)
    other[0, 1] = 50
    assert not torch.allclose(network.encode(other, valid)[0, 0], before, atol=1e-5)


def test_positions_that_count_are_the_epochs_and_cls(with_cls, network):
    valid = torch.tensor([[True, False, True]])
    assert network.with_cls(valid) is valid
    counted = Sleep2Vec.from_seed(with_cls, 0).with_cls(valid)
    assert counted.tolist() == [[True, True, False, True]]
    assert counted.dtype == torch.bool


def test_everything_that_is_used_learns(with_cls):
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
