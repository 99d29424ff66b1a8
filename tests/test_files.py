# SPDX-License-Identifier: BSD-3-Clause
import pytest

from sleep2vec_sklearn._files import write_whole


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old and longer")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_survives_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named_and_not_a_temporary_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*create it") as caught:
        write_whole(tmp_path / "nowhere" / "a.bin", b"new")
    assert "/." not in str(caught.value)
