# SPDX-License-Identifier: BSD-3-Clause
import copy
import dataclasses
import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model import Sleep2Vec, checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def network(config):
    return Sleep2Vec.from_seed(config, 5).eval()


@pytest.fixture
def path(tmp_path, network, config):
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, network, config, card={"name": "mine", "licence": "CC0-1.0"})
    return path


def rewrite(path, tensors=None, **changes):
    """Change tensors or entries of the description, leaving the rest."""
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["sleep2vec_sklearn"])
    document.update(changes)
    save_file(
        {**load_file(path), **(tensors or {})}, path, {"sleep2vec_sklearn": json.dumps(document)}
    )


def test_encoder_comes_back(path, network, config):
    stored = load_checkpoint(path)
    assert (stored.config, stored.name, stored.card["licence"]) == (config, "mine", "CC0-1.0")
    samples = torch.randn(1, 3, 120, generator=torch.Generator().manual_seed(0))
    first, second = (n.encode(n.tokenize("ibi", samples)) for n in (network, stored.build()))
    assert torch.equal(first, second)


def test_unchanged_file_is_read_once(path, network, config):
    first = load_checkpoint(path)
    assert load_checkpoint(str(path)) is first
    save_checkpoint(path, network, dataclasses.replace(config, context_epochs=60))
    assert load_checkpoint(path).config.context_epochs == 60
    path.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(path)


def test_state_is_no_memory_map(path):
    stored = load_checkpoint(path)
    before = {key: tensor.clone() for key, tensor in stored.state.items()}
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(tensor, before[key]) for key, tensor in stored.state.items())


def test_copies_and_builds(path):
    stored = load_checkpoint(path)
    assert copy.deepcopy(stored) is stored
    assert repr(stored) == f"Checkpoint(sha256={stored.sha256!r}, name='mine')"
    before = torch.get_rng_state()
    network = load_checkpoint(path).build()
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training


@pytest.mark.parametrize(("name", "rate"), [("ibi", 4), ("eeg", 128)])
def test_default_dtype_is_ignored(name, rate):
    samples = torch.randn(1, 2, 30 * rate, generator=torch.Generator().manual_seed(0))
    stored = load_checkpoint("sleep2vec-mini")
    expected = stored.build().tokenize(name, samples)
    torch.set_default_dtype(torch.float64)
    try:
        found = stored.build().tokenize(name, samples)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)


def test_hash_covers_weights_and_configuration(tmp_path, network, config, path):
    again = tmp_path / "again.safetensors"
    sha256 = save_checkpoint(again, network.state_dict(), config, card={"name": "other"})
    assert sha256 == load_checkpoint(path).sha256 == load_checkpoint(again).sha256
    longer = dataclasses.replace(config, context_epochs=240)
    other = save_checkpoint(tmp_path / "b.safetensors", network, longer)
    assert other != load_checkpoint(path).sha256


def test_float16_loads_as_float32(tmp_path, network, config, path):
    half = tmp_path / "half.safetensors"
    network.tokenizers["eeg"].feature_std.fill_(3e-9)
    save_checkpoint(half, network, config, dtype="float16")
    state = load_checkpoint(half).state
    assert half.stat().st_size < 0.6 * path.stat().st_size
    assert {t.dtype for t in state.values()} == {torch.float32, torch.int64}
    assert torch.equal(state["tokenizers.eeg.feature_std"], network.tokenizers["eeg"].feature_std)
    for key, tensor in network.state_dict().items():
        torch.testing.assert_close(state[key], tensor, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "word"),
    [(lambda old: old[:-1000], "truncated"), (lambda old: b"", "truncated"),
     (lambda old: os.urandom(64), "safetensors"), (lambda old: b"PK\x03\x04", "damaged")],
)  # fmt: skip
def test_unreadable_files_are_named(path, content, word):
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(CheckpointError, match=f"mine.*{word}"):
        load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path, network):
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    with pytest.raises(CheckpointError, match="plain state dict: it holds no model_config"):
        load_checkpoint(path)
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="something else"):
        load_checkpoint(path)


@pytest.mark.parametrize("part", ["tensors", "config"])
def test_changed_content_is_noticed(path, config, part):
    tensors = {"input_projection.bias": torch.ones(32)}
    changed = {"tensors": tensors, "config": {**config.to_dict(), "context_epochs": 60}}
    rewrite(path, **{part: changed[part]})
    with pytest.raises(CheckpointError, match="changed or damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"format_version": 99}, "newer version"), ({"format_version": None}, "damaged"),
     ({"config": {"hidden_size": 8}}, "lacks"), ({"config": None}, "cannot be used"),
     ({"sha256": None}, "changed or damaged")],
)  # fmt: skip
def test_unusable_descriptions_are_refused(path, changes, word):
    rewrite(path, **changes)
    with pytest.raises(CheckpointError, match=word):
        load_checkpoint(path)


def test_unfit_tensors_are_named(path, tmp_path, network, config):
    rewrite(path, {"extra": torch.ones(1), "cls_token": torch.ones(32), "masks.ibi": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"unexpected cls_token.*masks.ibi has shape \(3,\)"):
        load_checkpoint(path)
    state = network.state_dict()
    del state["masks.eeg"]
    with pytest.raises(CheckpointError, match=r"missing masks\.eeg"):
        save_checkpoint(tmp_path / "x.safetensors", state, config)
    assert not (tmp_path / "x.safetensors").exists()


def test_float16_overflow_is_refused(tmp_path, network, config):
    with torch.no_grad():
        network.input_projection.weight[0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"input_projection.weight.*float16"):
        save_checkpoint(tmp_path / "x.safetensors", network, config, dtype="float16")
    with pytest.raises(CheckpointError, match="bfloat16"):
        save_checkpoint(tmp_path / "x.safetensors", network, config, dtype="bfloat16")


def test_unwritable_checkpoints_are_refused(tmp_path, network, config):
    with pytest.raises(CheckpointError, match="card must hold"):
        save_checkpoint(tmp_path / "x.safetensors", network, config, card={"auc": float("nan")})
    with pytest.raises(CheckpointError, match="no folder"):
        save_checkpoint(tmp_path / "new" / "x.safetensors", network, config)
    with pytest.raises(CheckpointError, match=r"mine\.ckpt: .* call it mine\.safetensors"):
        save_checkpoint(tmp_path / "mine.ckpt", network, config)
    with pytest.raises(CheckpointError, match=r"does not upload.*upload_folder"):
        save_checkpoint("hf://me/mine", network, config)
    assert not list(tmp_path.iterdir())


def test_foreign_readme_is_kept(tmp_path, network, config):
    (tmp_path / "README.md").write_text("# My study")
    with pytest.raises(CheckpointError, match=r"README.md is not of a checkpoint.*another folder"):
        save_checkpoint(tmp_path, network, config)
    assert [entry.name for entry in tmp_path.iterdir()] == ["README.md"]


def test_folders_come_back(tmp_path, path, network, config):
    card = {"licence": "CC-BY-4.0", "sources": [{"nights": 3}, {"nights": 4}], "tasks": ["a", "b"]}
    for target in (tmp_path / "mine", tmp_path / "mine", tmp_path / "v1.0"):
        (tmp_path / "v1.0").mkdir(exist_ok=True)
        sha256 = save_checkpoint(target, network, config, card=card)
        stored = load_checkpoint(target)
        assert (stored.name, stored.card) == (target.name, card)
        assert stored.sha256 == load_checkpoint(path).sha256 == sha256
    assert {entry.name for entry in target.iterdir()} == {"README.md", "model.safetensors"}


def test_readme_holds_card(tmp_path, network, config):
    yaml = pytest.importorskip("yaml")
    card = {"licence": "for\nstudents: only", "name": "Mine", "sources": [{"nights": 3}]}
    save_checkpoint(tmp_path / "mine", network, config, card=card)
    _, head, page = (tmp_path / "mine" / "README.md").read_text().split("---\n")
    head = yaml.safe_load(head)
    assert (head["library_name"], head["license"]) == ("sleep2vec-sklearn", "other")
    assert head["license_name"] == "for students: only"
    assert page.startswith("# Mine\n")
    assert "- **sources**:\n  - **1**:\n    - **nights**: 3\n" in page


def test_only_file_of_folder(tmp_path, path, network, config):
    assert load_checkpoint(tmp_path) is load_checkpoint(path)
    (tmp_path / "notes").mkdir()
    save_checkpoint(tmp_path / "other.safetensors", network, config)
    with pytest.raises(CheckpointError, match=r"several checkpoints: mine\.safetensors, other"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="folder without a checkpoint"):
        load_checkpoint(tmp_path / "notes")


def test_links_keep_their_suffix(tmp_path, path):
    (tmp_path / "blob").write_bytes(path.read_bytes())
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "model.safetensors").symlink_to(tmp_path / "blob")
    assert load_checkpoint(tmp_path / "links").name == "links"


def test_failed_write_keeps_file(path, network, config, fails):
    before = path.read_bytes()
    fails("os.replace", OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, network, dataclasses.replace(config, context_epochs=60))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_bundled_hashes_are_pinned(path, monkeypatch):
    sha256 = load_checkpoint(path).sha256
    monkeypatch.setattr(checkpoint, "_WEIGHTS", path.parent)
    monkeypatch.setattr(checkpoint, "BUNDLED", {"mine": sha256})
    assert load_checkpoint("mine").name == "mine"
    with pytest.raises(CheckpointError, match=r"Did you mean 'mine'.*or a path"):
        load_checkpoint("mini")
    monkeypatch.setattr(checkpoint, "BUNDLED", {"mine": "0" * 64})
    with pytest.raises(CheckpointError, match="expected 000000000000"):
        load_checkpoint("mine")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="or a path"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint("epoch=0-step=6.ckpt")


def test_new_settings_keep_hash(path, config):
    described = config.to_dict()
    del described["max_positions"]
    rewrite(path, config=described, sha256=checkpoint._hash_of(load_file(path), described))
    assert load_checkpoint(path).config == config


@pytest.mark.parametrize("given", [3, None, "", {"eeg": 1}])
def test_foreign_types_are_refused(given):
    with pytest.raises(CheckpointError, match=r"is no checkpoint\. Give the name"):
        load_checkpoint(given)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"n_layers": 10**9}, "n_layers must be up to"), ({"n_layers": 2.0}, "n_layers"),
     ({"modalities": 3}, "cannot be used"), ({"hidden_size": 10**18}, "hidden_size")],
)  # fmt: skip
def test_forged_configurations_are_refused(path, change, message):
    with safe_open(path, framework="pt") as file:
        config = json.loads(file.metadata()["sleep2vec_sklearn"])["config"] | change
    rewrite(path, config=config, sha256=checkpoint._hash_of(load_file(path), config))
    with pytest.raises(CheckpointError, match=rf"mine\.safetensors.*{message}"):
        load_checkpoint(path)


def test_unfinite_weights_are_refused(path, config):
    tensors = load_file(path)
    tensors["masks.ibi"][0] = torch.nan
    sha256 = checkpoint._hash_of(tensors, config.to_dict())
    rewrite(path, tensors, sha256=sha256)
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in masks\.ibi"):
        load_checkpoint(path)


def test_hashes_are_recognised(path, network, config):
    for dtype in ("float32", "float16"):
        digest = save_checkpoint(path, network, config, dtype=dtype)
        state = load_checkpoint(path).state
        assert checkpoint.recognise_hash(state, config, digest) == digest
        assert checkpoint.recognise_hash(state, config, "0" * 64) != "0" * 64
