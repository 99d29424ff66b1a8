# SPDX-License-Identifier: BSD-3-Clause
"""Files of SeqSleepNet: read from a path, and downloaded from a server on this computer."""

from __future__ import annotations

import hashlib
import io
import sys

import pytest
import torch
from safetensors.torch import save_file

from sleep2vec_sklearn import load_checkpoint
from sleep2vec_sklearn.errors import CacheWarning, CheckpointError
from sleep2vec_sklearn.model import SeqSleepNet
from sleep2vec_sklearn.model.external import seqsleepnet
from tests.mirror import Mirror
from tests.seqsleepnet import random_state

PATH = f"/physioex/commit/{seqsleepnet.FILE}"


def lightning_bytes(state, **entries):
    """The original's file: prefixed tensors among what else Lightning writes."""
    named = {f"nn.{name}": tensor for name, tensor in state.items()}
    content = {"epoch": 3, "state_dict": {**named, "loss.weight": torch.ones(5)}, **entries}
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server that holds a file, which is the pinned one, and an empty cache folder."""
    pytest.importorskip("pooch")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    data = lightning_bytes(random_state())
    mirror = Mirror("physioex", {seqsleepnet.FILE: data}, "commit")
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr(seqsleepnet, "ADDRESS", f"{mirror.address}/physioex/commit/")
    monkeypatch.setattr(seqsleepnet, "FILE_SHA256", hashlib.sha256(data).hexdigest())
    yield mirror
    mirror.close()


@pytest.fixture
def cached(tmp_path):
    return tmp_path / "sleep2vec_sklearn" / "encoders" / "seqsleepnet" / seqsleepnet.FILE


def test_both_files_are_recognised(tmp_path):
    state, expected = random_state(), SeqSleepNet(random_state())
    save_file(state, tmp_path / "eeg.safetensors")
    (tmp_path / "eeg.ckpt").write_bytes(lightning_bytes(state))
    for name in ("eeg.safetensors", "eeg.ckpt"):
        loaded = load_checkpoint(tmp_path / name)
        assert isinstance(loaded, SeqSleepNet)
        assert (loaded.sha256, loaded.name) == (expected.sha256, "seqsleepnet")
        assert loaded.card["file"] == name
        assert load_checkpoint(tmp_path / name) is loaded


def test_other_networks_are_named(tmp_path):
    wide = {
        name: tensor.tile(3, 1, 1) if "filtbank" in name else tensor
        for name, tensor in random_state().items()
    }
    save_file(wide, tmp_path / "wide.safetensors")
    (tmp_path / "wide.ckpt").write_bytes(lightning_bytes(wide))
    for name in ("wide.safetensors", "wide.ckpt"):
        with pytest.raises(CheckpointError, match=rf"{name}: the tensors are not those of"):
            load_checkpoint(tmp_path / name)


def test_code_is_never_run(tmp_path):
    data = lightning_bytes(random_state(), hyper_parameters=Mirror)
    (tmp_path / "eeg.ckpt").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"Python objects \(tests.mirror.Mirror\)"):
        load_checkpoint(tmp_path / "eeg.ckpt")


def test_file_is_downloaded_once(server, cached, capsys):
    loaded = load_checkpoint("seqsleepnet")
    assert loaded.sha256 == SeqSleepNet(random_state()).sha256
    assert "Guido Gagliardi" in cached.with_name("LICENSE.txt").read_text()
    assert seqsleepnet.FILE in capsys.readouterr().err
    assert load_checkpoint("seqsleepnet") is loaded
    assert [path for path, _ in server.asked] == [PATH]


def test_half_a_download_continues(server, monkeypatch):
    monkeypatch.setattr("sleep2vec_sklearn._download._CHUNK_BYTES", 1000)
    server.cut[PATH] = 200_000
    load_checkpoint("seqsleepnet")
    assert server.asked == [(PATH, None), (PATH, "bytes=200000-")]


def test_damaged_files_are_replaced(server, cached):
    cached.parent.mkdir(parents=True)
    cached.write_bytes(server.files[PATH][:1000])
    with pytest.warns(CacheWarning, match=r"ckpt: its sha256 is not the expected one; deleted"):
        load_checkpoint("seqsleepnet")
    assert cached.read_bytes() == server.files[PATH]


def test_changed_files_are_refused(server, cached):
    server.files[PATH] = lightning_bytes(random_state(1))
    with pytest.raises(CheckpointError, match=r"http.*has changed: its sha256.*pass its path"):
        load_checkpoint("seqsleepnet")
    assert [path.name for path in cached.parent.iterdir()] == ["LICENSE.txt"]


def test_offline_error_names_address(server, cached, monkeypatch):
    monkeypatch.setattr(seqsleepnet, "ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(CheckpointError, match=r"http://127.0.0.1:9/seq.*ckpt cannot.*its path"):
        load_checkpoint("seqsleepnet")
    cached.write_bytes(server.files[PATH])
    assert isinstance(load_checkpoint("seqsleepnet"), SeqSleepNet)


def test_missing_pooch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"https://raw.*ckpt by hand and pass its path"):
        load_checkpoint("seqsleepnet")


def test_near_names_are_suggested():
    with pytest.raises(CheckpointError, match="Did you mean 'seqsleepnet'"):
        load_checkpoint("seqsleep")
