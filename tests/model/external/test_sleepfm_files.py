# SPDX-License-Identifier: BSD-3-Clause
"""Files of SleepFM: recognised by their tensors, with the sizes beside them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sleep2vec_sklearn import Recording, Sleep2VecTransformer, load_checkpoint, stage_night
from sleep2vec_sklearn.errors import CheckpointError, CheckpointWarning
from sleep2vec_sklearn.model import SleepFM, SleepFMStager
from tests.mirror import Mirror
from tests.sleepfm import CONFIG, PlainNetwork, PlainStager, channel, plain, write_sleepfm


@pytest.fixture(scope="module")
def state():
    return plain(PlainNetwork).state_dict()


@pytest.fixture
def file(tmp_path):
    """The encoder, without a configuration."""
    write_sleepfm(tmp_path)
    file = tmp_path / "model_base" / "best.pt"
    file.with_name("config.json").unlink()
    return file


def write_config(file, text=None, **changes):
    text = json.dumps({**CONFIG, **changes}) if text is None else text
    file.with_name("config.json").write_text(text)


def test_heads_are_guessed_once(file, state):
    with pytest.warns(CheckpointWarning, match=r"best.pt: no config.json.*8 are used"):
        loaded = load_checkpoint(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_checkpoint(file) is loaded
    assert loaded.sha256 == SleepFM(state).sha256
    assert (loaded.name, loaded.card["file"]) == ("sleepfm", "best.pt")
    assert "MIT" in loaded.card["licence"]
    assert "CC BY-NC 4.0" in loaded.card["licence"]


def test_configuration_says_the_heads(file, state):
    write_config(file)
    expected = SleepFM(state, n_heads=4).sha256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_checkpoint(file).sha256 == expected
        write_config(file, num_heads=2)
        assert load_checkpoint(file).sha256 == SleepFM(state, n_heads=2).sha256


@pytest.mark.parametrize("text", ["{}", '{"num_heads": 4}'])
def test_unstated_heads_are_guessed(file, state, text):
    write_config(file, text)
    with pytest.warns(CheckpointWarning, match=r"has \(.*pooling_head\).*8 are used"):
        loaded = load_checkpoint(file)
    assert loaded.sha256 == SleepFM(state, n_heads=json.loads(text).get("num_heads", 8)).sha256


def test_safetensors_are_recognised(file, state):
    write_config(file)
    halves = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    for name, tensors in (("a.safetensors", state), ("b.safetensors", halves)):
        save_file(tensors, file.with_name(name))
        loaded = load_checkpoint(file.with_name(name))
        assert isinstance(loaded, SleepFM)
        assert loaded.network.layer_norm.weight.dtype == torch.float32


def test_paths_are_checkpoints(file):
    write_config(file)
    night = Recording({"ecg": channel(3)}, id="a")
    rows = Sleep2VecTransformer(file, cache=None).fit_transform([night])
    expected = load_checkpoint(file).encode(night, "EKG")[0].mean(axis=0)
    np.testing.assert_allclose(rows[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "said"),
    [({"text": "{"}, "is no JSON"), ({"text": "[]"}, "is no JSON object"),
     ({"in_channels": 2}, "in_channels 2, the tensors say 1"),
     ({"embed_dim": 128}, "embed_dim 128, the tensors say 16"),
     ({"num_layers": 6}, "num_layers 6, the tensors say 2"),
     ({"patch_size": 320}, "patch_size 320"), ({"num_heads": 3}, "num_heads 3, accepted is a div"),
     ({"pooling_head": "8"}, "pooling_head '8'"), ({"num_heads": True}, "num_heads True")],
)  # fmt: skip
def test_wrong_configurations_are_refused(file, config, said):
    write_config(file, **config)
    with pytest.raises(CheckpointError, match=f"best.pt: config.json beside it.*{said}"):
        load_checkpoint(file)


def test_other_channels_are_refused(file, state):
    two = state | {"patch_embedding.tokenizer.0.weight": torch.zeros(4, 2, 5)}
    torch.save({"state_dict": two}, file)
    with pytest.raises(CheckpointError, match=r"best.pt: the tensors.*\(4, 2, 5\), accepted"):
        load_checkpoint(file)


def test_damaged_files_are_named(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"best.pt: truncated or damaged"):
        load_checkpoint(file)
    torch.save({"weight": torch.ones(2)}, file)
    with pytest.raises(CheckpointError, match=r"best.pt: a plain state dict: it holds no m"):
        load_checkpoint(file)


def test_code_is_never_run(file, state):
    torch.save({"state_dict": state, "settings": Mirror}, file)
    with pytest.raises(CheckpointError, match=r"Python objects \(tests.mirror.Mirror\)"):
        load_checkpoint(file)


def test_stager_needs_the_encoder(file):
    write_config(file)
    head = file.parents[1] / "model_sleep_staging" / "best.pth"
    with pytest.raises(CheckpointError, match=r"best.pth: SleepFM's stager, .*SleepFMStager\("):
        load_checkpoint(head)
    stager = SleepFMStager(load_checkpoint(file), head)
    assert stager.card["stager"] == "best.pth"
    save_file(plain(PlainStager).state_dict(), head.with_suffix(".safetensors"))
    again = SleepFMStager(load_checkpoint(file), head.with_suffix(".safetensors"))
    assert torch.equal(again.network.fc.weight, stager.network.fc.weight)


def test_paths_are_no_stagers(file):
    write_config(file)
    head = file.parents[1] / "model_sleep_staging" / "best.pth"
    for path in (file, head):
        with pytest.raises(CheckpointError, match="SleepFMStager"):
            stage_night({"ecg": channel(3)}, stager=path)


def test_unfit_stagers_are_refused(file):
    write_config(file)
    encoder, head = load_checkpoint(file), file.parents[1] / "model_sleep_staging" / "best.pth"
    with pytest.raises(CheckpointError, match=r"encoder is a str.*load_checkpoint"):
        SleepFMStager("model_base/best.pt", head)
    with pytest.raises(CheckpointError, match=r"best.pt: the tensors are not those of the stager"):
        SleepFMStager(encoder, file)
    with pytest.raises(CheckpointError, match=r"nothing.pth: cannot be read"):
        SleepFMStager(encoder, file.with_name("nothing.pth"))
    head.write_bytes(head.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"best.pth: truncated"):
        SleepFMStager(encoder, head)
    head = head.with_suffix(".safetensors")
    head.write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"safetensors: cannot be read"):
        SleepFMStager(encoder, head)
