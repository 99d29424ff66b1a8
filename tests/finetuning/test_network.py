# SPDX-License-Identifier: BSD-3-Clause
"""Heads on tokens, encoders with heads, and adapters: shapes, masks, gradients, parity."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.encoding._sleep2vec import cut_windows, merge_windows
from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.finetuning import LoRA
from sleep2vec_sklearn.finetuning._network import FineTuned, encode_sequences, insert_lora
from sleep2vec_sklearn.finetuning.config import HeadConfig
from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.model.upstream.checkpoint import merge_adapter
from sleep2vec_sklearn.recordings import get_modality
from sleep2vec_sklearn.recordings._conditioning import condition

EPOCH_KINDS = [
    {},
    {"aggregation": "gated", "n_layers": 2},
    {"aggregation": "concat", "head": "temporal_conv", "depth": 2},
    {"aggregation": "gated", "head": "temporal_transformer", "depth": 1},
]
NIGHT_KINDS = [
    {"unit": "night"},
    {"unit": "night", "pooling": "attention", "aggregation": "gated", "n_layers": 2},
    {"unit": "night", "pooling": "cls", "aggregation": "concat"},
    {"unit": "night", "pooling": "cls", "n_layers": 3, "layer_mix_per_modality": False},
]
EVERY_KIND = pytest.mark.parametrize("options", EPOCH_KINDS + NIGHT_KINDS)
NAMES = ("eeg", "spo2", "actigraphy")


@pytest.fixture
def case(make_head, night):
    """Function of a head's options: the head, and a batch it reads."""

    def build(options):
        tokens, present, valid, cls = night(options.get("n_layers", 1))
        return make_head(**options), [tokens, present, valid, None, cls]

    return build


def answer(head, batch):
    with torch.no_grad():
        return head(*batch)


@EVERY_KIND
def test_row_is_epoch_or_night(case, options):
    head, batch = case(options)
    by_night = options.get("unit") == "night"
    assert answer(head, batch).shape == ((2, 5) if by_night else (2, 9, 5))


@EVERY_KIND
def test_nan_never_leaks(case, options):
    head, batch = case(options)
    tokens, present, valid, _, cls = batch
    present[0, 2:5, 1] = False
    present[1, :, 0] = False
    present[0, 8] = False
    valid[1, 6:] = False
    before = answer(head, batch)
    hole = ~(present & valid[..., None])
    tokens[hole] = cls[hole.all(dim=1)] = torch.nan
    read = cls if options.get("pooling") == "cls" else tokens
    read.requires_grad_()
    outputs = head(*batch)
    torch.testing.assert_close(outputs, before, rtol=0, atol=1e-6)
    outputs.sum().backward()
    assert read.grad.isfinite().all()
    assert read.grad[hole.all(dim=1) if read is cls else hole].eq(0).all()


@EVERY_KIND
def test_padding_never_matters(case, options):
    head, batch = case(options)
    tokens, present, valid, _, cls = batch
    valid[0, 6:] = False
    outputs = answer(head, batch)
    alone = answer(head, [tokens[:1, :6], present[:1, :6], valid[:1, :6], None, cls[:1]])
    row = outputs[:1] if outputs.ndim == 2 else outputs[:1, :6]
    torch.testing.assert_close(row, alone, rtol=0, atol=1e-5)


@EVERY_KIND
def test_neighbours_do_not_matter(case, options):
    head, batch = case(options)
    alone = answer(head, [part if part is None else part[1:] for part in batch])
    torch.testing.assert_close(answer(head, batch)[1:], alone, rtol=0, atol=1e-5)


@EVERY_KIND
def test_any_modality_may_be_missing(case, options):
    head, batch = case(options)
    whole = answer(head, batch)
    batch[1][:, :, 1] = False
    without = answer(head, batch)
    assert without.isfinite().all()
    assert not torch.allclose(without, whole)
    batch[1][0] = False
    assert answer(head, batch).isfinite().all()


def test_empty_epoch_follows_its_neighbours(case):
    head, batch = case({"head": "linear"})
    batch[1][0, 4] = False
    assert answer(head, batch).isfinite().all()
    batch[0][0] = batch[0][0, 3]
    steady = answer(head, batch)
    torch.testing.assert_close(steady[0, 4], steady[0, 3])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.booleans(), min_size=3, max_size=3).filter(any))
def test_subsets_use_their_own_weights(case, present):
    """As if the gates and the mix had been made for the modalities there are."""
    present = torch.tensor(present)
    head, batch = case({"aggregation": "gated", "n_layers": 2, "head": "mlp"})
    batch[1][:] = present
    with torch.no_grad():
        tokens, mix = batch[0][:, :, present], head.layer_mix.weight[present].softmax(dim=1)
        mixed = torch.einsum("blmkh,mk->blmh", tokens, mix)
        gates = head.aggregation.gates[present].softmax(dim=0)
        expected = head.predictor(torch.einsum("blmh,m->blh", mixed, gates))
    torch.testing.assert_close(answer(head, batch), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("unit", ["epoch", "night"])
def test_covariates_are_appended(make_head, night, draw, unit):
    head = make_head(unit=unit, n_covariates=2, head="linear")
    tokens, present, valid, _ = night()
    with torch.no_grad():
        first, second = draw(2, 2), draw(2, 2)
        change = head(tokens, present, valid, second) - head(tokens, present, valid, first)
        expected = (second - first) @ head.predictor.classifier.weight[:, -2:].T
    expected = expected[:, None].expand(-1, 9, -1) if unit == "epoch" else expected
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("covariates", [None, torch.zeros(2, 1)])
def test_missing_covariates_are_refused(make_head, night, covariates):
    tokens, present, valid, _ = night()
    with pytest.raises(ValueError, match=r"reads 2 covariates per sequence, got [01]"):
        make_head(n_covariates=2)(tokens, present, valid, covariates)


def test_cls_pooling_reads_summaries_alone(make_head, night):
    tokens, present, valid, cls = night()
    head = make_head(unit="night", pooling="cls")
    assert head(None, present, valid, cls=cls).shape == (2, 5)
    with pytest.raises(ValueError, match="pooling='cls' reads the encoder's summaries"):
        head(tokens, present, valid)


@EVERY_KIND
def test_every_head_parameter_trains(case, options):
    head, batch = case(options)
    head(*batch).square().sum().backward()
    unused = [name for name, p in head.named_parameters() if p.grad is None or p.grad.eq(0).all()]
    assert not unused


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
    return [cohort[index] for index in (0, 1, 2)], (30, 21, 5)


@pytest.fixture(scope="module")
def batch(nights, small_config):
    """These nights, conditioned and padded with NaN: inputs, present, valid."""
    recordings, lengths = nights
    conditioning = {m.name: m.conditioning for m in small_config.modalities}
    present = torch.zeros(3, 32, len(NAMES), dtype=torch.bool)
    inputs = {n: torch.full((3, 32, conditioning[n].width), torch.nan) for n in NAMES}
    for row, (recording, length) in enumerate(zip(recordings, lengths, strict=True)):
        for m, name in enumerate(NAMES):
            if name not in recording.modalities:
                continue
            signal = recording.read([name])[name]
            ready = condition(signal, get_modality(name), conditioning[name], recording.n_epochs)
            inputs[name][row, :length] = torch.from_numpy(np.array(ready.epochs))[:length]
            present[row, :length, m] = torch.from_numpy(np.array(ready.valid))[:length]
    present[0, 10:13, 0] = False
    valid = torch.arange(32) < torch.tensor(lengths)[:, None]
    return inputs, present, valid


def test_mixed_layers_are_in_order(make_encoder, batch):
    with torch.no_grad():
        both, _ = FineTuned(make_encoder(), head_config(n_layers=2)).eval().encode(*batch)
        for k, layer in enumerate((1, 2)):
            one = FineTuned(make_encoder(), head_config(), layers=[layer]).eval()
            torch.testing.assert_close(one.encode(*batch)[0][:, :, :, 0], both[:, :, :, k])


def test_features_equal_samples(network, batch):
    inputs, present, valid = batch
    built = network()
    features = {n: built.encoder.tokenizers[n].features(v.nan_to_num()) for n, v in inputs.items()}
    with torch.no_grad():
        outputs, expected = built(features, present, valid, features=True), built(*batch)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-5)


def test_absent_modality_needs_no_input(network, batch):
    inputs, present, valid = batch
    built, some = network(), {n: inputs[n] for n in NAMES[:2]}
    with pytest.raises(ValueError, match="actigraphy marked as present and not among the inputs"):
        built(some, present, valid)
    present = present.clone()
    present[..., 2] = False
    with torch.no_grad():
        torch.testing.assert_close(built(some, present, valid), built(inputs, present, valid))


def trained_parts(built, batch):
    """Parameters that a step would change, and whether any gradient is NaN."""
    built.train()(*batch)[batch[2]].square().sum().backward()
    gradients = {k: p.grad for k, p in built.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    return {key for key, gradient in gradients.items() if gradient.ne(0).any()}


def adapters_of(encoder):
    return {key: value for key, value in encoder.state_dict().items() if ".lora_" in key}


def test_full_training_reaches_everything_used(network, batch):
    built = network()
    built.encoder.cls_token.requires_grad_(True)
    reached = trained_parts(built, batch)
    parts = ("masks", "projection", *(f"tokenizers.{n}." for n in ("ecg", "effort", "ibi")))
    others = tuple(f"encoder.{part}" for part in parts)
    expected = {k for k, _ in built.named_parameters() if not k.startswith(others)}
    # a bias of all keys alike does not change a softmax
    expected = {k for k in expected if not k.endswith("attention.key.bias")}
    assert {k for k in reached if not k.endswith("attention.key.bias")} == expected


def test_lora_trains_adapters_and_head(network, batch):
    built = network(LoRA(rank=2))
    trainable = {k for k, p in built.named_parameters() if p.requires_grad}
    adapters = {f"encoder.{key}" for key in adapters_of(built.encoder)}
    assert trainable == adapters | {f"head.{key}" for key, _ in built.head.named_parameters()}
    # the first product of a new adapter meets zeros in the second
    assert trained_parts(built, batch) == {k for k in trainable if ".lora_A." not in k}


def test_empty_nights_have_finite_outputs(network, batch):
    inputs, present, valid = batch
    for options in ({}, {"unit": "night", "pooling": "cls"}):
        outputs = network(**options)(inputs, torch.zeros_like(present), valid)
        assert outputs.isfinite().all()
        outputs.sum().backward()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"modalities": ("eeg", "ppg")}, "the head reads ppg, which this encoder does not"),
     ({"hidden_size": 16}, "tokens of 16 numbers, the encoder's have 32"),
     ({"n_layers": 3}, "mixes 3 layers, the encoder has 2")],
)  # fmt: skip
def test_foreign_heads_are_refused(make_encoder, wrong, message):
    with pytest.raises(CheckpointError, match=message):
        FineTuned(make_encoder(), HeadConfig.from_dict({**head_config().to_dict(), **wrong}))
    with pytest.raises(CheckpointError, match="needs an encoder with a CLS token"):
        FineTuned(make_encoder(cls=False), head_config(unit="night", pooling="cls"))


@pytest.mark.parametrize("layers", [[1], [0, 1], [2, 3]])
def test_layers_must_exist(make_encoder, layers):
    with pytest.raises(ValueError, match="layers"):
        FineTuned(make_encoder(), head_config(n_layers=2), layers=layers)


@pytest.fixture
def adapted(make_encoder, draw):
    """An encoder whose adapters have been moved, as by training."""
    encoder = make_encoder()
    insert_lora(encoder, LoRA(rank=3, alpha=5.0))
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * draw(*parameter.shape))
    return encoder


def test_new_adapter_changes_nothing(make_encoder, draw):
    encoder, tokens = make_encoder(), draw(2, 6, 24)
    before = encoder.encode(tokens)
    insert_lora(encoder, LoRA(rank=3))
    torch.testing.assert_close(encoder.encode(tokens), before, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="has adapters already"):
        insert_lora(encoder, LoRA())


def test_adapters_merge_as_the_authors(adapted, make_encoder, draw):
    tokens = draw(2, 6, 24)
    merged = make_encoder()
    merged.load_state_dict(merge_adapter(adapted.state_dict(), "default", 5.0))
    torch.testing.assert_close(merged.encode(tokens), adapted.encode(tokens), rtol=0, atol=1e-5)
    difference = merged.encode(tokens) - make_encoder().encode(tokens)
    assert difference.abs().max() > 1e-2


def test_adapters_are_few_and_pickle(adapted, draw):
    n_adapters = sum(p.numel() for p in adapters_of(adapted).values())
    assert n_adapters < 0.1 * sum(p.numel() for p in adapted.parameters())
    tokens = draw(1, 5, 24)
    again = pickle.loads(pickle.dumps(adapted))
    assert torch.equal(again.encode(tokens), adapted.encode(tokens))


def test_adapter_dropout_is_for_training(adapted, draw):
    layer, values = adapted.encoder.blocks[0].attention.query, draw(5, 32)
    assert torch.equal(layer(values), layer(values))
    layer.dropout.p = 0.5
    assert not torch.equal(layer.train()(values), layer(values))


@pytest.fixture(scope="module")
def encode_alone(small_config):
    """Function of a context: an encoder, and its encoding of one whole sequence."""

    def build(context, with_cls):
        config = dataclasses.replace(small_config, context_epochs=context, cls=with_cls)
        encoder = Sleep2Vec.from_seed(config, 1).eval()

        def alone(tokens, valid):
            windows, mask = cut_windows(tokens, context), cut_windows(valid, context)
            hidden = encoder.encode(windows, mask)
            summary = hidden[:, 0].mean(dim=0) if with_cls else None
            hidden = hidden[:, 1:] if with_cls else hidden
            return merge_windows(hidden, len(tokens), context), summary

        return encoder, alone

    return build


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 23), min_size=1, max_size=4),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 99),
)
def test_sequences_encode_as_if_alone(encode_alone, lengths, context, with_cls, seed):
    encoder, alone = encode_alone(context, with_cls)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(len(lengths), max(lengths), 24, generator=generator)
    valid = torch.rand(len(lengths), max(lengths), generator=generator) < 0.7
    valid &= torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        states, cls = encode_sequences(encoder, tokens, valid, torch.tensor(lengths), (2,))
        for row, length in enumerate(lengths):
            here = valid[row, :length]
            if not here.any():
                assert states[row].eq(0).all()
                continue
            expected, summary = alone(tokens[row, :length], here)
            encoded = states[row, :length, 0]
            torch.testing.assert_close(encoded[here], expected[here], rtol=0, atol=1e-5)
            if with_cls:
                torch.testing.assert_close(cls[row, 0], summary, rtol=0, atol=1e-5)


def test_bfloat16_is_close_and_finite(encode_alone, draw):
    encoder, _ = encode_alone(8, True)
    tokens = draw(2, 20, 24).requires_grad_()
    valid, lengths = torch.ones(2, 20, dtype=torch.bool), torch.tensor([20, 20])
    expected, _ = encode_sequences(encoder, tokens, valid, lengths, (1, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states, cls = encode_sequences(encoder, tokens, valid, lengths, (1, 2))
    torch.testing.assert_close(states.float(), expected, rtol=0, atol=0.1)
    (states.sum() + cls.sum()).backward()
    assert tokens.grad.isfinite().all()
