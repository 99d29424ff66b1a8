# SPDX-License-Identifier: BSD-3-Clause
"""An encoder with a head: tokens of the engine, gradients where they belong."""

import numpy as np
import pytest
import torch

from sleep2vec_sklearn.encoding._engine import Engine
from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.finetuning._network import FineTuned, adapter_state, merge_lora
from sleep2vec_sklearn.finetuning.config import HeadConfig, LoraConfig
from sleep2vec_sklearn.recordings import get_modality
from sleep2vec_sklearn.recordings._conditioning import condition

NAMES = ("eeg", "spo2", "actigraphy")


def head_config(**options):
    return HeadConfig(32, NAMES, 3, **options)


@pytest.fixture
def network(make_encoder):
    """Function of a head's options and an adapter: the whole network, in eval mode."""

    def build(lora=None, **options):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return FineTuned(make_encoder(), head_config(**options), lora).eval()

    return build


@pytest.fixture(scope="module")
def nights(cohort):
    """Three nights of 30, 21 and 5 epochs, sensors missing, one with a gap."""
    return [cohort[place] for place in (0, 1, 2)], (30, 21, 5)


@pytest.fixture(scope="module")
def batch(nights, small_config):
    """These nights, conditioned and padded with NaN: inputs, present, valid."""
    recordings, lengths = nights
    conditioning = {m.name: m.conditioning for m in small_config.modalities}
    present = torch.zeros(3, 32, len(NAMES), dtype=torch.bool)
    inputs = {n: torch.full((3, 32, conditioning[n].width), torch.nan) for n in NAMES}
    for row, (recording, length) in enumerate(zip(recordings, lengths, strict=True)):
        for place, name in enumerate(NAMES):
            if name not in recording.modalities:
                continue
            signal = recording.read([name])[name]
            ready = condition(signal, get_modality(name), conditioning[name], recording.n_epochs)
            inputs[name][row, :length] = torch.from_numpy(np.array(ready.epochs))[:length]
            present[row, :length, place] = torch.from_numpy(np.array(ready.valid))[:length]
    present[0, 10:13, 0] = False
    valid = torch.arange(32) < torch.tensor(lengths)[:, None]
    return inputs, present, valid


def encoded_by_the_engine(checkpoint, batch, lengths):
    """The engine's own tokens and summaries, [L, H] and [H] by (night, modality)."""
    from sleep2vec_sklearn.recordings._conditioning import ConditionedSignal

    engine, found = Engine(checkpoint, NAMES, "last", "float32", "cpu", 0, None), {}
    inputs, present, _ = batch
    for row, length in enumerate(lengths):
        for place, name in enumerate(NAMES):
            there = present[row, :length, place]
            if there.any():
                samples = inputs[name][row, :length].numpy()
                signal = ConditionedSignal(samples, there.numpy())
                found[row, place] = engine._encode_modality(name, signal)
    return found


def test_tokens_are_those_of_the_engine(checkpoint_in_memory, batch, nights):
    network = FineTuned(checkpoint_in_memory.build(), head_config()).eval()
    with torch.no_grad():
        tokens, cls = network.encode(*batch)
    found = encoded_by_the_engine(checkpoint_in_memory, batch, nights[1])
    assert len(found) > 4
    for (row, place), night in found.items():
        ours = tokens[row, : len(night.valid), place, 0][night.valid].numpy()
        np.testing.assert_allclose(ours, night.tokens[night.valid], rtol=0, atol=1e-5)
        np.testing.assert_allclose(cls[row, place, 0].numpy(), night.summary, rtol=0, atol=1e-5)
    assert tokens.isfinite().all()


def test_mixed_layers_are_the_last_in_order(make_encoder, batch):
    with torch.no_grad():
        both, _ = FineTuned(make_encoder(), head_config(n_layers=2)).eval().encode(*batch)
        for place, layer in enumerate((1, 2)):
            one = FineTuned(make_encoder(), head_config(), layers=[layer]).eval()
            torch.testing.assert_close(one.encode(*batch)[0][:, :, :, 0], both[:, :, :, place])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"head": "temporal_conv", "n_layers": 2},
        {"unit": "night", "pooling": "attention", "aggregation": "gated"},
        {"unit": "night", "pooling": "cls"},
    ],
)
def test_a_night_does_not_depend_on_its_neighbours(network, batch, options):
    inputs, present, valid = batch
    built = network(**options)
    with torch.no_grad():
        together = built(*batch)[1:2]
        alone = built(
            {n: v[1:2, :21] for n, v in inputs.items()}, present[1:2, :21], valid[1:2, :21]
        )
    together = together[:, :21] if together.ndim == 3 else together
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert alone.isfinite().all()


def test_features_give_what_samples_give(network, batch):
    inputs, present, valid = batch
    built = network()
    features = {n: built.encoder.tokenizers[n].features(v.nan_to_num()) for n, v in inputs.items()}
    with torch.no_grad():
        found, expected = built(features, present, valid, features=True), built(*batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_modality_that_no_night_has_may_be_left_out(network, batch):
    inputs, present, valid = batch
    present = present.clone()
    present[..., 2] = False
    built = network()
    with torch.no_grad():
        without = built({n: inputs[n] for n in NAMES[:2]}, present, valid)
        torch.testing.assert_close(without, built(inputs, present, valid))


def test_a_modality_that_is_marked_and_not_given_is_an_error(network, batch):
    inputs, present, valid = batch
    with pytest.raises(ValueError, match="actigraphy marked as present and not among the inputs"):
        network()({n: inputs[n] for n in NAMES[:2]}, present, valid)


def trained_parts(built, batch):
    """Parameters that a step would change, and whether any gradient is NaN."""
    built.train()(*batch)[batch[2]].square().sum().backward()
    gradients = {k: p.grad for k, p in built.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    return {key for key, gradient in gradients.items() if gradient.ne(0).any()}


def test_full_training_reaches_all_that_the_outputs_depend_on(network, batch):
    built = network()
    built.encoder.cls_token.requires_grad_(True)
    reached = trained_parts(built, batch)
    parts = ("masks", "projection", *(f"tokenizers.{n}." for n in ("ecg", "effort", "ibi")))
    others = tuple(f"encoder.{part}" for part in parts)
    expected = {k for k, _ in built.named_parameters() if not k.startswith(others)}
    # what is added to every key alike does not change a softmax
    expected = {k for k in expected if not k.endswith("attention.key.bias")}
    assert {k for k in reached if not k.endswith("attention.key.bias")} == expected


def test_lora_training_reaches_adapters_and_head_alone(network, batch):
    built = network(LoraConfig(rank=2))
    trainable = {k for k, p in built.named_parameters() if p.requires_grad}
    adapters = {f"encoder.{key}" for key in adapter_state(built.encoder)}
    assert trainable == adapters | {f"head.{key}" for key, _ in built.head.named_parameters()}
    # the first product of a new adapter meets zeros in the second
    assert trained_parts(built, batch) == {k for k in trainable if ".lora_A." not in k}


def test_a_frozen_encoder_leaves_the_head_to_train(network, batch):
    built = network()
    built.encoder.requires_grad_(False)
    assert all(key.startswith("head.") for key in trained_parts(built, batch))


def test_merging_after_training_keeps_the_outputs(network, batch):
    built = network(LoraConfig(rank=2))
    with torch.no_grad():
        for key, value in adapter_state(built.encoder).items():
            value.add_(torch.full_like(value, 0.05 if "lora_B" in key else 0.0))
        adapted = built(*batch)
        built.encoder = merge_lora(built.encoder)
        torch.testing.assert_close(built(*batch), adapted, rtol=0, atol=1e-5)


def test_nights_without_any_signal_have_finite_outputs(network, batch):
    inputs, present, valid = batch
    for options in ({}, {"unit": "night", "pooling": "cls"}):
        built = network(**options)
        outputs = built(inputs, torch.zeros_like(present), valid)
        assert outputs.isfinite().all()
        outputs.sum().backward()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"modalities": ("eeg", "ppg")}, "the head reads ppg, which this encoder does not"),
        ({"hidden_size": 16}, "tokens of 16 numbers, the encoder's have 32"),
        ({"n_layers": 3}, "mixes 3 layers, the encoder has 2"),
    ],
)
def test_a_head_of_another_encoder_is_refused(make_encoder, wrong, message):
    values = {**head_config().to_dict(), **wrong}
    with pytest.raises(CheckpointError, match=message):
        FineTuned(make_encoder(), HeadConfig.from_dict(values))


def test_cls_pooling_needs_an_encoder_that_has_one(make_encoder):
    with pytest.raises(CheckpointError, match="needs an encoder with a CLS token"):
        FineTuned(make_encoder(cls=False), head_config(unit="night", pooling="cls"))


@pytest.mark.parametrize("layers", [[1], [0, 1], [2, 3]])
def test_layers_are_as_many_as_are_mixed_and_exist(make_encoder, layers):
    with pytest.raises(ValueError, match="layers"):
        FineTuned(make_encoder(), head_config(n_layers=2), layers=layers)
