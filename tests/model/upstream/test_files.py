# SPDX-License-Identifier: BSD-3-Clause
import os
import sys

import numpy as np
import pytest
import torch
import yaml

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model import load_checkpoint, read_upstream_checkpoint
from sleep2vec_sklearn.model.upstream._files import load_torch_file


@pytest.fixture
def run(upstream, state_of, tmp_path):
    """A run's folder: weights in checkpoints/last.ckpt, and no configuration anywhere."""
    document, arrays = upstream("cls")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save({"state_dict": state_of(arrays)}, folder / "last.ckpt")
    document["data"]["max_tokens"] = 90
    return document, folder / "last.ckpt"


@pytest.mark.parametrize(
    "place", ["last.yaml", "last.yml", "config.yaml", "../config.yaml", "any.yml"], ids=str
)
def test_yaml_next_to_checkpoint(run, place):
    document, path = run
    (path.parent / place).write_text(yaml.safe_dump(document))
    assert read_upstream_checkpoint(path).config.context_epochs == 90


def test_yaml_is_found_by_name(run):
    document, path = run
    (path.parent / "config.yaml").write_text(yaml.safe_dump({"model": {}}))
    (path.parent / "last.yaml").write_text(yaml.safe_dump(document))
    assert read_upstream_checkpoint(path).config.cls
    document, path = run
    content = torch.load(path, weights_only=True)
    torch.save({**content, "model_config_yaml": yaml.safe_dump(document["model"])}, path)
    assert read_upstream_checkpoint(path).config.context_epochs == 120


def test_changed_yaml_is_noticed(run):
    document, path = run
    text = yaml.safe_dump(document)
    path.with_suffix(".yaml").write_text(text)
    first = load_checkpoint(path)
    assert load_checkpoint(path) is first
    path.with_suffix(".yaml").write_text(text.replace("max_tokens: 90", "max_tokens: 100"))
    assert load_checkpoint(path).config.context_epochs == 100


def test_absent_configuration_is_named(run, tmp_path):
    for name in ("a.yaml", "b.yaml"):
        (run[1].parent / name).touch()
    with pytest.raises(CheckpointError, match=r"no model_config.*no last.yaml or config.yaml"):
        load_checkpoint(run[1])
    with pytest.raises(CheckpointError, match=r"none.yaml: the configuration cannot be read"):
        read_upstream_checkpoint(run[1], config=tmp_path / "none.yaml")


def test_yaml_without_pyyaml(run, monkeypatch):
    document, path = run
    path.with_suffix(".yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"last.yaml.*sleep2vec-sklearn\[yaml\].*config={"):
        load_checkpoint(path)
    assert read_upstream_checkpoint(path, config=document).config.cls


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [("a.yaml", "model: [", "no YAML"), ("a.yaml", "- 1", "got list"),
     ("a.yaml", "!!python/object/apply:os.mkdir [x]", "no YAML"), ("a.json", "{", "no JSON"),
     ("a.json", "[]", "got list"), ("a.yaml", "model:", "upstream configuration"),
     ("a.yaml", "model: {backbone: {name: roformer}, channels: 3}", "upstream configuration")],
)  # fmt: skip
def test_unusable_configurations_are_refused(run, tmp_path, name, text, word):
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=word):
        read_upstream_checkpoint(run[1], config=tmp_path / name)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "state_dict": {"weight": torch.arange(6000.0)}}, path)
    return path


def test_plain_values_come_back(path, tmp_path):
    document = load_torch_file(path)
    assert document["epoch"] == 3
    assert torch.equal(document["state_dict"]["weight"], torch.arange(6000.0))
    path = tmp_path / "old.ckpt"
    torch.save({"epoch": 3}, path, _use_new_zipfile_serialization=False)
    assert load_torch_file(path) == {"epoch": 3}


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_not_run(tmp_path, zipped):
    path, mark = tmp_path / "trap.ckpt", tmp_path / "ran"
    torch.save({"state_dict": {}, "hook": Trap(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"trap.*mkdir.*could run code.*'plain.ckpt'"
    ) as error:
        load_checkpoint(path)
    assert not mark.exists()
    assert "weights_only=True" not in str(error.value)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated_file_is_damaged(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"last.*truncated or damaged.*Get the file again"):
        load_torch_file(path)


def test_flipped_bit_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="wrong checksum"):
        load_torch_file(path)


def test_truncated_older_file(tmp_path):
    path = tmp_path / "old.ckpt"
    torch.save({"w": torch.ones(999)}, path, _use_new_zipfile_serialization=False)
    for size in (3, 40, 700, 2000):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            load_torch_file(path)
        torch.save({"w": torch.ones(999)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("content", "word"), [(b"", "empty"), (b"<html>not found</html>", "not a file of torch.save")]
)
def test_foreign_files_are_refused(path, content, word):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=word):
        load_checkpoint(path)


def test_random_bytes_are_refused(path):
    for start in (b"PK", b"\x80\x02"):
        path.write_bytes(start + np.random.default_rng(0).bytes(200))
        with pytest.raises(CheckpointError, match=r"last\.ckpt"):
            load_torch_file(path)


def test_missing_file_is_refused(tmp_path):
    (tmp_path / "epoch=3.ckpt").mkdir()
    with pytest.raises(CheckpointError, match=r"DeepSpeed.*zero_to_fp32.py"):
        load_checkpoint(tmp_path / "epoch=3.ckpt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_torch_file(tmp_path / "none.ckpt")
