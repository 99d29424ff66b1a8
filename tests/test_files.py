# SPDX-License-Identifier: BSD-3-Clause
import os
import time

import pytest

from sleep2vec_sklearn._files import create_exclusive, sweep_temporary, write_atomic


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old and longer")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_survives_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named_and_not_a_temporary_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*create it") as caught:
        write_atomic(tmp_path / "nowhere" / "a.bin", b"new")
    assert "/." not in str(caught.value)


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_created_once(tmp_path, monkeypatch, has_links):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr("os.link", refuse)
    path, beside = tmp_path / "a.json", tmp_path / "unfinished"
    beside.mkdir()
    assert create_exclusive(path, b"first", beside)
    assert not create_exclusive(path, b"second", beside)
    assert path.read_bytes() == b"first"
    assert list(beside.iterdir()) == []


def test_only_what_is_old_is_swept(tmp_path):
    for name, age in [("old", 7200), ("new", 60)]:
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep_temporary(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
