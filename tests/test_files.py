# SPDX-License-Identifier: BSD-3-Clause
import hashlib
import os
import re
import time

import pytest

from sleep2vec_sklearn._files import (
    adopt_hashes,
    check_format_version,
    check_writable,
    create_exclusive,
    file_name,
    hash_file,
    known_hashes,
    sha256,
    sweep_temporary,
    write_atomic,
)


def test_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old and longer")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match=r"nowhere.*create it") as caught:
        write_atomic(tmp_path / "nowhere" / "a.bin", b"new")
    assert "/." not in str(caught.value)


def test_full_disk_keeps_file(tmp_path, fails):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    fails("os.fsync", OSError(28, "No space left on device"))
    with pytest.raises(OSError, match=r"No space.*not saved.*a\.bin"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("has_links", [True, False])
def test_file_is_created_once(tmp_path, fails, has_links):
    if not has_links:
        fails("os.link", OSError(1, "Operation not permitted"))
    path, beside = tmp_path / "a.json", tmp_path / "unfinished"
    beside.mkdir()
    assert create_exclusive(path, b"first", beside)
    assert not create_exclusive(path, b"second", beside)
    assert path.read_bytes() == b"first"
    assert list(beside.iterdir()) == []


def test_paths_are_checked_before_work(tmp_path):
    check_writable(tmp_path / "new" / "folder" / "a.csv")
    assert not list((tmp_path / "new" / "folder").iterdir())
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.csv", tmp_path / "file" / "b" / "a.csv"):
        with pytest.raises(NotADirectoryError, match=r"a\.csv: not saved, .* is no folder.*Choose"):
            check_writable(path)


def test_old_temporary_files_go(tmp_path):
    for name, age in [("old", 7200), ("new", 60)]:
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep_temporary(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.fixture
def night(tmp_path):
    (tmp_path / "night.edf").write_bytes(b"night")
    return tmp_path / "night.edf"


def test_unread_file_is_unknown(night):
    assert known_hashes([night]) is None
    assert known_hashes([]) == {}
    assert hash_file(night) == hashlib.sha256(b"night").hexdigest()
    assert list(known_hashes([night]).values()) == [hash_file(night)]
    os.utime(night, (1, 1))
    assert known_hashes([night]) is None
    night.unlink()
    assert known_hashes([night]) is None


def test_adopted_hash_is_used(night):
    state = night.stat()
    adopt_hashes({(str(night.resolve()), state.st_size, state.st_mtime_ns): "there"})
    assert hash_file(night) == "there"
    assert sha256("é", b"b", memoryview(b"c")) == hashlib.sha256("ébc".encode()).hexdigest()


def test_newer_format_is_refused():
    check_format_version("a.bin", 2, 2, ValueError)
    with pytest.raises(ValueError, match=r"a\.bin: written in format 3 .*pip install -U"):
        check_format_version("a.bin", 3, 2, ValueError)


def test_killed_writes_are_swept(tmp_path):
    left = tmp_path / f".a.bin.{32 * '0'}.unfinished"
    others = [tmp_path / ".hidden", tmp_path / ".b.unfinished"]
    for path, age in [(left, 7200), (others[0], 7200), (others[1], 60)]:
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    write_atomic(tmp_path / "a.bin", b"new")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "a.bin"])


def test_long_names_can_be_written(tmp_path):
    path = tmp_path / ("ü" * 120 + ".bin")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["n1", "sim-0001 n1", "Ü.2", "a=b+c@d"])
def test_plain_ids_name_files(name):
    assert file_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "/a", "a/b", "a\\b", "a\0b", "CON.x", "a."]
)
def test_other_ids_get_a_hash(name):
    assert re.fullmatch(r"[\w. ]+-[0-9a-f]{8}", file_name(name))
    assert file_name("a/b") != file_name("a:b")
