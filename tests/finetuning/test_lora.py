# SPDX-License-Identifier: BSD-3-Clause
import pickle

import pytest
import torch

from sleep2vec_sklearn.finetuning._network import (
    LoraLinear,
    adapter_state,
    insert_lora,
    merge_lora,
)
from sleep2vec_sklearn.finetuning.config import LoraConfig

KINDS = [LoraConfig(rank=3, alpha=5.0), LoraConfig(rank=2, dora=True)]


@pytest.fixture(params=KINDS, ids=["lora", "dora"])
def lora(request):
    return request.param


@pytest.fixture
def adapted(make_encoder, lora, draw):
    """An encoder whose adapters have been moved, as by training."""
    encoder = make_encoder()
    insert_lora(encoder, lora)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * draw(*parameter.shape))
    return encoder


def test_a_new_adapter_changes_nothing(make_encoder, lora, draw):
    encoder, tokens = make_encoder(), draw(2, 6, 24)
    before = encoder.encode(tokens)
    insert_lora(encoder, lora)
    torch.testing.assert_close(encoder.encode(tokens), before, rtol=0, atol=1e-5)


def test_a_merged_encoder_answers_as_the_adapted_one(adapted, make_encoder, draw):
    tokens = draw(2, 6, 24)
    merged = merge_lora(adapted)
    assert set(merged.state_dict()) == set(make_encoder().state_dict())
    torch.testing.assert_close(merged.encode(tokens), adapted.encode(tokens), rtol=0, atol=1e-5)
    difference = merged.encode(tokens) - make_encoder().encode(tokens)
    assert difference.abs().max() > 1e-2


def test_only_adapters_are_trained(adapted, draw):
    adapted.train().encode(draw(2, 6, 24)).square().sum().backward()
    touched = {key for key, p in adapted.named_parameters() if p.grad is not None}
    assert touched == set(adapter_state(adapted))


def test_an_adapter_is_dora_as_its_paper_writes_it(draw):
    base = torch.nn.Linear(6, 4)
    layer = LoraLinear(base, LoraConfig(rank=2, alpha=4.0, dropout=0.0, dora=True))
    layer.lora_B["default"].weight.data = up = draw(4, 2)
    layer.lora_magnitude_vector["default"].data = lengths = draw(4).abs()
    weight = base.weight + 2 * up @ layer.lora_A["default"].weight
    weight = weight * (lengths / weight.norm(dim=1))[:, None]
    values = draw(3, 6)
    torch.testing.assert_close(layer(values), values @ weight.T + base.bias)


def test_adapters_are_few_and_move_between_encoders(adapted, make_encoder, lora, draw):
    other, tokens = make_encoder(), draw(2, 6, 24)
    insert_lora(other, lora)
    state = adapter_state(adapted)
    assert sum(p.numel() for p in state.values()) < 0.1 * sum(p.numel() for p in other.parameters())
    other.load_state_dict(state, strict=False)
    assert torch.equal(other.encode(tokens), adapted.encode(tokens))


def test_an_adapted_encoder_can_be_pickled(adapted, draw):
    tokens = draw(1, 5, 24)
    again = pickle.loads(pickle.dumps(adapted))
    assert torch.equal(again.encode(tokens), adapted.encode(tokens))


def test_dropout_of_adapters_is_for_training_alone(adapted, draw):
    layer, values = adapted.encoder.blocks[0].attention.query, draw(5, 32)
    assert torch.equal(layer(values), layer(values))
    layer.dropout.p = 0.5
    assert not torch.equal(layer.train()(values), layer(values))


def test_a_second_adapter_is_refused(adapted):
    with pytest.raises(ValueError, match="has adapters already"):
        insert_lora(adapted, LoraConfig())


def test_merging_what_has_no_adapter_copies_it(make_encoder, draw):
    encoder, tokens = make_encoder(), draw(1, 5, 24)
    assert torch.equal(merge_lora(encoder).encode(tokens), encoder.encode(tokens))
