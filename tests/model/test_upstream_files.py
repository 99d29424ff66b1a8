# SPDX-License-Identifier: BSD-3-Clause
import sys

import pytest
import torch
import yaml

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model import load_checkpoint, read_upstream_checkpoint


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
    "place", ["last.yaml", "last.yml", "config.yaml", "../config.yaml"], ids=str
)
def test_a_yaml_file_beside_the_checkpoint_is_read(run, place):
    document, path = run
    (path.parent / place).write_text(yaml.safe_dump(document))
    assert read_upstream_checkpoint(path).config.context_epochs == 90


def test_the_file_named_like_the_checkpoint_is_preferred(run):
    document, path = run
    (path.parent / "config.yaml").write_text(yaml.safe_dump({"model": {}}))
    (path.parent / "last.yaml").write_text(yaml.safe_dump(document))
    assert read_upstream_checkpoint(path).config.cls


def test_a_yaml_text_in_the_file_is_read(run):
    document, path = run
    content = torch.load(path, weights_only=True)
    torch.save({**content, "model_config_yaml": yaml.safe_dump(document["model"])}, path)
    assert read_upstream_checkpoint(path).config.context_epochs == 120


def test_a_changed_yaml_is_noticed(run):
    document, path = run
    text = yaml.safe_dump(document)
    path.with_suffix(".yaml").write_text(text)
    first = load_checkpoint(path)
    assert load_checkpoint(path) is first
    path.with_suffix(".yaml").write_text(text.replace("max_tokens: 90", "max_tokens: 100"))
    assert load_checkpoint(path).config.context_epochs == 100


def test_no_configuration_says_where_it_may_be(run):
    with pytest.raises(CheckpointError, match=r"no model_config.*no last.yaml or config.yaml"):
        load_checkpoint(run[1])


def test_yaml_without_pyyaml_says_what_to_install(run, monkeypatch):
    document, path = run
    path.with_suffix(".yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"last.yaml.*sleep2vec-sklearn\[yaml\].*config={"):
        load_checkpoint(path)
    assert read_upstream_checkpoint(path, config=document).config.cls


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("a.yaml", "model: [", "no YAML"),
        ("a.yaml", "- 1", "got list"),
        ("a.yaml", "!!python/object/apply:os.mkdir [x]", "no YAML"),
        ("a.json", "{", "no JSON"),
        ("a.json", "[]", "got list"),
        ("a.yaml", "model:", "upstream configuration"),
        ("a.yaml", "model: {backbone: {name: roformer}, channels: 3}", "upstream configuration"),
    ],
)
def test_configurations_that_cannot_be_used(run, tmp_path, name, text, word):
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=word):
        read_upstream_checkpoint(run[1], config=tmp_path / name)


def test_a_configuration_that_is_not_there(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"none.yaml: the configuration cannot be read"):
        read_upstream_checkpoint(run[1], config=tmp_path / "none.yaml")
