# SPDX-License-Identifier: BSD-3-Clause
import os

import numpy as np
import pytest
import torch

from sleep2vec_sklearn.errors import CheckpointError
from sleep2vec_sklearn.model import load_checkpoint
from sleep2vec_sklearn.model.upstream._files import load_torch_file


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


def test_tensors_and_plain_values_come_back(path):
    document = load_torch_file(path)
    assert document["epoch"] == 3
    assert torch.equal(document["state_dict"]["weight"], torch.arange(6000.0))


def test_the_older_layout_is_read_too(tmp_path):
    path = tmp_path / "old.ckpt"
    torch.save({"epoch": 3}, path, _use_new_zipfile_serialization=False)
    assert load_torch_file(path) == {"epoch": 3}


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_named_and_not_run(tmp_path, zipped):
    path, mark = tmp_path / "trap.ckpt", tmp_path / "ran"
    torch.save({"state_dict": {}, "hook": Trap(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"trap.*mkdir.*could run code.*'plain.ckpt'"
    ) as error:
        load_checkpoint(path)
    assert not mark.exists()
    assert "weights_only=True" not in str(error.value)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_damaged(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"last.*truncated or damaged.*Get the file again"):
        load_torch_file(path)


def test_a_flipped_bit_of_a_weight_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="wrong checksum"):
        load_torch_file(path)


def test_a_truncated_older_file_is_damaged(tmp_path):
    path = tmp_path / "old.ckpt"
    torch.save({"w": torch.ones(999)}, path, _use_new_zipfile_serialization=False)
    for size in (3, 40, 700, 2000):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            load_torch_file(path)
        torch.save({"w": torch.ones(999)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "empty"), (b"<html>not found</html>", "not a file of torch.save")],
)
def test_files_of_another_kind(path, content, word):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=word):
        load_checkpoint(path)


def test_any_other_bytes_are_an_error_of_ours(path):
    for start in (b"PK", b"\x80\x02"):
        path.write_bytes(start + np.random.default_rng(0).bytes(200))
        with pytest.raises(CheckpointError, match=r"last\.ckpt"):
            load_torch_file(path)


def test_a_folder_of_shards_says_how_to_join_them(tmp_path):
    (tmp_path / "epoch=3.ckpt").mkdir()
    with pytest.raises(CheckpointError, match=r"DeepSpeed.*zero_to_fp32.py"):
        load_checkpoint(tmp_path / "epoch=3.ckpt")


def test_a_missing_file_is_an_error_of_ours(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_torch_file(tmp_path / "none.ckpt")
