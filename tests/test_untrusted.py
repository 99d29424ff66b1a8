# SPDX-License-Identifier: BSD-3-Clause
"""Limits of what files may hold, and the one kind of error that their parsers end in."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sleep2vec_sklearn import _untrusted
from sleep2vec_sklearn._untrusted import (
    check_npz,
    check_pickle,
    check_plain,
    load_torch,
    only_errors,
    parse_json,
    read_bytes,
    read_safetensors,
    shown,
)
from sleep2vec_sklearn.errors import CheckpointError, ReadError


def nested(depth, width=10):
    """A tuple that holds one other many times, to a depth: small in memory, large in print."""
    value = ("a",) * width
    for _ in range(depth):
        value = (value,) * width
    return value


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError("deep"), MemoryError(), OSError(5, "I/O"), ValueError()]
)
def test_any_error_names_the_file(tmp_path, error):
    message = r"night\.npz: cannot be read.*Get the file again"
    with pytest.raises(ReadError, match=message), only_errors(ReadError, tmp_path / "night.npz"):
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ImportError, UserWarning])
def test_other_ends_pass(tmp_path, error):
    with pytest.raises(error), only_errors(ReadError, tmp_path / "night.npz"):
        raise error


def test_own_errors_keep_their_text(tmp_path):
    message = r"^a/b\.ckpt: no head$"
    with pytest.raises(CheckpointError, match=message), only_errors(CheckpointError, "a/b.ckpt"):
        raise CheckpointError("no head")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (load_torch, read_safetensors, check_npz, lambda path: read_bytes(path, 9)):
        with pytest.raises(ValueError, match="a pipe, socket or device"):
            read(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("text", "message"),
    [("[" * 100_000, "nested deeper"), ("[" * 99 + "]" * 99, "nested deeper"),
     ("1" * 30, "beyond 64 bits"), ("1e999", "finite"), ("[1]" + " " * 99, "accepted are up to")],
)  # fmt: skip
def test_json_is_bounded(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text, longest=100 if text.endswith(" ") else 10**6)


def test_plain_values_are_counted():
    check_plain({"a": [1, 2.5, None, "x", (True,)]})
    with pytest.raises(ValueError, match="more than"):
        check_plain(nested(9))


def test_messages_stay_short():
    assert len(shown(nested(9))) < 200
    assert shown(10**5000) == "a large int"


def test_pickles_are_followed_only():
    for value in ({"x": nested(9)}, {nested(2): 1}, {"x": 1 << 200}):
        with pytest.raises(ValueError, match=r"values|128 bits"):
            check_pickle(io.BytesIO(pickle.dumps(value, protocol=2)))
    check_pickle(io.BytesIO(pickle.dumps({"x": [1, {2: (3, 4)}], ("a", 1): nested(1)})))


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_come_back(tmp_path, zipped):
    state = {"weight": torch.arange(6.0), "nested": [1, (2, "x")]}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = load_torch(tmp_path / "a.pt")
    assert torch.equal(found.pop("weight"), state.pop("weight"))
    assert found == state


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).expand(10**12), torch.eye(3).to_sparse(), torch.empty(3, device="meta")],
)  # fmt: skip
def test_odd_tensors_are_refused(tmp_path, tensor):
    torch.save({"weight": tensor}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="a tensor"):
        load_torch(tmp_path / "a.pt")


def test_compressed_torch_files_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(999)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match="compresses nothing"):
        load_torch(tmp_path / "a.pt")


def test_arrays_fit_their_bytes(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3))
    check_npz(path)
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", data.getvalue())
    with pytest.raises(ValueError, match="has not the numbers"):
        check_npz(path)
    np.savez_compressed(path, a=np.zeros(10**7))
    with pytest.raises(ValueError, match="it claims"):
        check_npz(path)


def test_many_tensors_are_refused(tmp_path, monkeypatch):
    save_file({str(i): torch.zeros(1) for i in range(9)}, tmp_path / "a.safetensors")
    assert len(read_safetensors(tmp_path / "a.safetensors")[0]) == 9
    monkeypatch.setattr(_untrusted, "MOST_TENSORS", 8)
    with pytest.raises(ValueError, match="up to 8"):
        read_safetensors(tmp_path / "a.safetensors")
