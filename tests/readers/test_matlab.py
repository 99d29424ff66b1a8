# SPDX-License-Identifier: BSD-3-Clause
"""MATLAB files that scipy's reader would not survive, and sound ones."""

import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import eye

from sleep2vec_sklearn.readers import _matlab
from sleep2vec_sklearn.readers._boundary import BadFileError
from sleep2vec_sklearn.readers._matlab import check_matlab, read_vectors

CONTENT = {
    "data": np.arange(6, dtype="f4").reshape(2, 3), "label": "C3-M2", "empty": np.zeros((0, 0)),
    "cells": np.array(["W", np.arange(3), {"b": 1}], dtype=object), "sparse": eye(4).tocsc(),
    "complex": np.array([1 + 2j]), "flags": np.array([True, False]),
}  # fmt: skip


def write(path, content, compress=False):
    savemat(path, content, do_compression=compress)
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_sound_files_pass(tmp_path, compress):
    path = write(tmp_path / "a.mat", {"EEG": CONTENT}, compress)
    check_matlab(path)
    assert str(loadmat(path)["EEG"]["label"][0, 0][0]) == "C3-M2"


def test_vectors_are_read(tmp_path):
    path = write(tmp_path / "a.mat", {"x": np.arange(5), "name": "2024", "other": CONTENT})
    found = read_vectors(path, ("x", "name", "absent"))
    assert found["x"].tolist() == [0, 1, 2, 3, 4]
    assert found["name"] == "2024"
    assert set(found) == {"x", "name"}
    with pytest.raises(BadFileError, match="x is no vector"):
        read_vectors(write(tmp_path / "b.mat", {"x": np.eye(2)}), ("x",))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (128, 13, "something else than arrays"),
        (132, 255, "longer than what holds it"),
        (136, 7, "does not begin with its class"),
        (144, 99, "has not the parts"),  # a class that there is not
        (145, 8, "has not the parts"),  # complex, without a second part
        (160, 200, "has not the parts"),  # a shape
        (192, 19, "has not the parts"),  # a type that scipy looks up beyond its table
    ],
)
def test_damage_is_refused(tmp_path, place, value, message):
    path = write(tmp_path / "a.mat", {"long name": np.arange(1.0, 4)})
    data = bytearray(path.read_bytes())
    data[place] = value
    path.write_bytes(data)
    with pytest.raises(BadFileError, match=message):
        check_matlab(path)


def test_sparse_arrays_stay_inside(tmp_path):
    path = write(tmp_path / "a.mat", {"x": eye(3).tocsc()})
    rows, others = (np.array(numbers, "<i4").tobytes() for numbers in ([0, 1, 2], [0, 1, 9]))
    path.write_bytes(path.read_bytes().replace(rows, others, 1))
    with pytest.raises(BadFileError, match="has not the parts"):
        check_matlab(path)


def test_growth_and_depth_end(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mat", {"x": np.zeros(10**6, "i1")}, compress=True)
    check_matlab(path)
    monkeypatch.setattr(_matlab, "ARCHIVE_BYTES", 10**5)
    with pytest.raises(BadFileError, match="grow out of bounds"):
        check_matlab(path)
    nested = np.zeros(1)
    for _ in range(40):
        nested = {"x": nested}
    with pytest.raises(BadFileError, match="nested in more than 32 levels"):
        check_matlab(write(tmp_path / "b.mat", nested))


def test_damaged_compression_is_refused(tmp_path):
    path = write(tmp_path / "a.mat", CONTENT, compress=True)
    data = path.read_bytes()
    path.write_bytes(data[:-2])
    with pytest.raises(BadFileError, match="longer than what holds it"):
        check_matlab(path)
    path.write_bytes(data[:160] + b"\xff" + data[161:])
    with pytest.raises((BadFileError, zlib.error)):
        check_matlab(path)
