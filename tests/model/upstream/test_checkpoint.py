# SPDX-License-Identifier: BSD-3-Clause
import copy
import json
import re

import numpy as np
import pytest
import torch
from torch.nn.functional import elu, linear

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer
from sleep2vec_sklearn.errors import CheckpointError, InvalidSignalError
from sleep2vec_sklearn.model import (
    convert_checkpoint,
    load_checkpoint,
    read_upstream_checkpoint,
    state_from_upstream,
)

CHANNELS = {"heartbeat": "ibi", "breath": "resp", "eeg_original": "eeg"}
RATES = {"ibi": 6 / 30, "eeg": 24 / 30, "actigraphy": 12 / 30}
N_EPOCHS = 7


@pytest.fixture
def pretrained(upstream, state_of, as_module, write_ckpt):
    """Upstream document and state of a network, and the file of its training."""
    document, arrays = upstream("cls")
    state = state_of(arrays)
    return document, state, write_ckpt(as_module(state), document, optimizer_states=[{}])


@pytest.fixture
def finetuned(upstream, state_of, as_module):
    document, arrays = upstream("lora")
    return document, arrays, as_module(state_of(arrays), finetuned=True)


def assert_states_equal(found, expected):
    assert set(found) == set(expected)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=0)


def test_pretraining_gives_averaged_network(pretrained):
    document, state, path = pretrained
    found = read_upstream_checkpoint(path)
    assert_states_equal(found.state, state_from_upstream(state, found.config))
    assert found.config.cls
    assert found.card == {
        "name": "last", "source": "Lightning checkpoint in the layout of the paper's authors",
        "kind": "pretraining", "weights": "ema", "adapter": None, "left_out": [], "notes": [],
        "epoch": 1, "global_step": 12,
    }  # fmt: skip
    assert (found.head, found.finetune_config, found.extras) == ({}, None, {})
    assert found.model_config == document["model"]


def test_tensors_are_no_memory_maps(pretrained):
    *_, path = pretrained
    found = read_upstream_checkpoint(path)
    before = {key: tensor.clone() for key, tensor in found.state.items()}
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert_states_equal(found.state, before)


def test_names_of_second_package(pretrained, write_ckpt):
    document, state, _ = pretrained
    document["model"]["backbone"]["config_overrides"]["attention_backend"] = "sdpa"
    renamed = {
        "model." + k.replace(".self.", ".self_attention.").replace("LayerNorm", "layer_norm"): v
        for k, v in state.items()
        if "embed_positions" not in k
    }
    found = read_upstream_checkpoint(write_ckpt(renamed, document))
    assert_states_equal(found.state, state_from_upstream(state, found.config))


def test_older_channel_names(pretrained, write_ckpt):
    document, state, _ = pretrained
    document["model"]["channels"][0]["name"] = "psg_heartbeat"
    renamed = {f"model.{k.replace('heartbeat', 'psg_heartbeat')}": v for k, v in state.items()}
    found = read_upstream_checkpoint(write_ckpt(renamed, document))
    assert_states_equal(found.state, state_from_upstream(state, found.config))


def test_head_gives_golden_logits(finetuned, write_ckpt):
    document, arrays, module = finetuned
    tuned = read_upstream_checkpoint(
        write_ckpt(module, document, ahi_eval_threshold=0.4, callbacks={})
    )
    network, head = tuned.build(), tuned.head
    valid = torch.arange(12)[None] < arrays["inputs/length"][:, None]
    with torch.no_grad():
        states = [
            network.encode(network.tokenize(name, arrays[f"inputs/tokens/{channel}"]), valid)
            for channel, name in CHANNELS.items()
        ]
        shares = head["head.fusion.aggregator.gates"].softmax(0)
        fused = sum(share * state[:, 1:] for share, state in zip(shares, states, strict=True))
        hidden = elu(linear(elu(fused), head["head.mlp.1.weight"], head["head.mlp.1.bias"]))
        logits = linear(hidden, head["head.mlp.4.weight"], head["head.mlp.4.bias"])
    torch.testing.assert_close(logits, arrays["outputs/logits"], rtol=0, atol=1e-5)
    assert (tuned.card["kind"], tuned.card["adapter"]) == ("fine-tuning", "default")
    assert tuned.card["left_out"] == sorted(head)
    assert "head of fine-tuning is left out" in tuned.card["notes"][0]
    assert tuned.finetune_config["task"]["output_dim"] == 5
    assert tuned.extras == {"ahi_eval_threshold": 0.4}


def test_dora_file_is_read(finetuned, write_ckpt):
    document, _, module = finetuned
    plain = read_upstream_checkpoint(write_ckpt(module, document))
    lengths = dict(module)
    for key in module:
        if ".lora_A." in key:
            layer = key.split("base_model.model.encoder.")[1].split(".lora_A.")[0]
            name = layer.replace("attention.self", "attention").replace("layer.", "encoder.blocks.")
            norms = plain.state[f"{name}.weight"].norm(dim=1)
            lengths[key.replace("lora_A", "lora_magnitude_vector")] = 2 * norms
    found = read_upstream_checkpoint(write_ckpt(lengths, document))
    for key, tensor in found.state.items():
        times = 2 if key.endswith(("query.weight", "key.weight", "value.weight")) else 1
        torch.testing.assert_close(tensor, times * plain.state[key], rtol=1e-5, atol=1e-6)


def test_adapters_need_alpha(finetuned, write_ckpt):
    document, _, module = finetuned
    expected = read_upstream_checkpoint(write_ckpt(module, document))
    del document["finetune"]
    path = write_ckpt(module, document)
    with pytest.raises(CheckpointError, match=r"last.ckpt: .*Pass alpha="):
        read_upstream_checkpoint(path)
    assert_states_equal(read_upstream_checkpoint(path, alpha=4).state, expected.state)


def per_channel(state):
    """The same state with an adapter of its own for each channel, each a multiple of the one."""
    split = dict(state)
    for key, value in state.items():
        if ".default." in key:
            for times, channel in enumerate(CHANNELS, start=2):
                split[key.replace(".default.", f".ch_{channel}.")] = value * times
    return split


def test_channel_adapter_must_be_chosen(finetuned, write_ckpt):
    document, _, module = finetuned
    path = write_ckpt(per_channel(module), document)
    with pytest.raises(CheckpointError, match=r"each channel.*adapter=.*'resp', 'eeg', 'ibi'"):
        read_upstream_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"adapter='ppg' is not in it; accepted: 'resp'"):
        read_upstream_checkpoint(path, adapter="ppg")


@pytest.mark.parametrize("asked", ["resp", "breath"])
def test_channel_adapter_gives_one_modality(finetuned, write_ckpt, asked):
    document, _, module = finetuned
    before = copy.deepcopy(document)
    found = read_upstream_checkpoint(write_ckpt(per_channel(module), document), adapter=asked)
    # A and B of 'breath' are three times the default's, so their product is nine times it
    single = read_upstream_checkpoint(write_ckpt(module, document), alpha=4 * 9)
    assert found.config.names == ("resp",)
    for key, tensor in found.state.items():
        torch.testing.assert_close(tensor, single.state[key], rtol=1e-5, atol=1e-5)
    assert document == before


def test_each_channel_has_its_network(finetuned, write_ckpt, tmp_path):
    document, _, module = finetuned
    path = write_ckpt(per_channel(module), document)
    found = read_upstream_checkpoint(path, adapter="each")
    base = found.build()
    for name, network in found.build_adapted(base).items():
        single = read_upstream_checkpoint(path, adapter=name).build()
        query = network.encoder.blocks[1].attention.query
        torch.testing.assert_close(query.weight, single.encoder.blocks[1].attention.query.weight)
        assert query.bias is base.encoder.blocks[1].attention.query.bias
    with pytest.raises(CheckpointError, match=r"adapter='each' keeps .* accepted: 'ibi', 'resp'"):
        convert_checkpoint(path, tmp_path / "mine.safetensors", adapter="each")


def test_unknown_choices_are_refused(pretrained):
    with pytest.raises(CheckpointError, match="holds no adapters"):
        read_upstream_checkpoint(pretrained[2], adapter="eeg")
    with pytest.raises(ValueError, match=r"auto, ema, running_mean, student, got 'best'"):
        read_upstream_checkpoint(pretrained[2], weights="best")


def test_mixture_of_experts_is_refused(pretrained, write_ckpt):
    document, state, _ = pretrained
    state["encoder.encoder.layer.1.moe_ffn.router.router.weight"] = torch.zeros(16, 64)
    with pytest.raises(CheckpointError, match=r"last.ckpt: a mixture-of-experts .* Use a dense"):
        read_upstream_checkpoint(write_ckpt({f"model.{k}": v for k, v in state.items()}, document))


def test_all_unfit_keys_are_listed(pretrained, write_ckpt):
    document, state, _ = pretrained
    gone = [
        f"encoder.encoder.layer.{i}.output.dense.{p}" for i in (0, 1) for p in ("weight", "bias")
    ]
    kept = {f"model.{key}": value for key, value in state.items() if key not in gone}
    odd = [f"encoder.pooler.{i}.weight" for i in range(9)]
    kept |= {f"model.{key}": torch.zeros(1) for key in odd}
    with pytest.raises(CheckpointError) as caught:
        read_upstream_checkpoint(write_ckpt(kept, document))
    message = str(caught.value)
    assert len(re.findall("missing encoder.blocks.[01].feed_out", message)) == len(gone)
    assert all(f"unknown key {key}" in message for key in odd)


def test_diverged_weights_are_refused(pretrained, write_ckpt):
    document, state, _ = pretrained
    state["mask_embed.heartbeat"] = torch.full((48,), torch.nan)
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in masks\.ibi"):
        read_upstream_checkpoint(write_ckpt(state, document))
    document, state, _ = pretrained
    state["mask_embed.psg_heartbeat"] = state["mask_embed.heartbeat"]
    with pytest.raises(CheckpointError, match=r"mask_embed.psg_heartbeat is there under another"):
        read_upstream_checkpoint(write_ckpt(state, document))


def test_half_precision_becomes_float32(pretrained, write_ckpt):
    document, state, _ = pretrained
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()}
    found = read_upstream_checkpoint(write_ckpt(half, document))
    assert {tensor.dtype for tensor in found.state.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"state_dict": [1]}, {}])
def test_foreign_content_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(CheckpointError, match=r"odd.ckpt: holds \w+ without a state_dict"):
        read_upstream_checkpoint(tmp_path / "odd.ckpt")


def test_foreign_entries_are_named(tmp_path):
    torch.save(
        {"weights": {"a": torch.ones(1)}, "epoch": 3, 7: torch.ones(1)}, tmp_path / "odd.ckpt"
    )
    with pytest.raises(CheckpointError, match=r"no named tensors: 7, epoch, weights"):
        read_upstream_checkpoint(tmp_path / "odd.ckpt")


def test_plain_state_needs_configuration(pretrained, tmp_path):
    document, state, whole = pretrained
    path = tmp_path / "plain.pt"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"a plain state dict: .*config='config.yaml'"):
        read_upstream_checkpoint(path)
    found = read_upstream_checkpoint(path, config=document)
    assert_states_equal(found.state, read_upstream_checkpoint(whole).state)
    assert found.extras == {}
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert read_upstream_checkpoint(path, config=tmp_path / "model.json").config == found.config


@pytest.fixture
def source(upstream, state_of, as_module, write_ckpt):
    document, arrays = upstream("cls")
    return write_ckpt(as_module(state_of(arrays)), document)


@pytest.fixture
def night():
    rng = np.random.default_rng(0)
    signals = {
        name: (rng.normal(50, 9, round(rate * 30) * N_EPOCHS), rate) for name, rate in RATES.items()
    }
    return Recording(signals, units={"actigraphy": "g"})


def test_loading_equals_conversion(source, tmp_path):
    target = tmp_path / "mine.safetensors"
    sha256 = convert_checkpoint(source, target, card={"licence": "CC0-1.0"})
    direct, converted = load_checkpoint(source), load_checkpoint(target)
    assert direct.sha256 == converted.sha256 == sha256
    assert direct.config == converted.config
    assert all(torch.equal(tensor, converted.state[key]) for key, tensor in direct.state.items())
    assert (direct.name, converted.name) == ("last", "mine")
    assert converted.card == {**direct.card, "licence": "CC0-1.0"}


def test_unchanged_file_is_read_once(source, upstream, state_of, write_ckpt):
    first = load_checkpoint(source)
    assert load_checkpoint(str(source)) is first
    document, arrays = upstream("cls")
    write_ckpt(state_of(arrays), document, global_step=13)
    assert load_checkpoint(source).card["global_step"] == 13


def test_conversion_to_float16(source, tmp_path):
    target = tmp_path / "half.safetensors"
    convert_checkpoint(source, target, dtype="float16", context_epochs=60)
    assert load_checkpoint(target).config.context_epochs == 60
    assert target.stat().st_size < source.stat().st_size / 3


def test_unwritable_targets_are_refused(source, tmp_path):
    with pytest.raises(CheckpointError, match=r"call it mine\.safetensors"):
        convert_checkpoint(source, tmp_path / "mine.ckpt")
    with pytest.raises(CheckpointError, match="no folder"):
        convert_checkpoint("none.ckpt", tmp_path / "new" / "mine.safetensors")


def test_rows_use_samples_as_given(source, night):
    checkpoint = load_checkpoint(source)
    network = checkpoint.build()
    for name, rate in RATES.items():
        found = Sleep2VecTransformer(source, modalities=[name]).fit_transform(
            EpochSequence([night])
        )
        samples = torch.from_numpy(night[name].astype(np.float32)).reshape(1, N_EPOCHS, -1)
        assert samples.shape[-1] == round(rate * 30)
        with torch.no_grad():
            expected = network.encode(network.tokenize(name, samples))[0, 1:]
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def test_counts_for_acceleration_are_refused(source, night):
    counted = Recording({"actigraphy": (night["actigraphy"], 1 / 30)})
    with pytest.raises(InvalidSignalError, match=r"in counts.*'actigraphy': 'g'.*without"):
        Sleep2VecTransformer(source).fit_transform([counted])
