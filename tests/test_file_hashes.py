# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import os

import pytest

from sleep2vec_sklearn._files import adopt_hashes, hash_file, known_hashes


@pytest.fixture
def path(tmp_path):
    (tmp_path / "night.edf").write_bytes(b"night")
    return tmp_path / "night.edf"


def test_unread_file_is_unknown(path):
    assert known_hashes([path]) is None
    assert known_hashes([]) == {}
    assert hash_file(path) == hashlib.sha256(b"night").hexdigest()
    assert list(known_hashes([path]).values()) == [hash_file(path)]


def test_changed_file_is_unknown(path):
    hash_file(path)
    os.utime(path, (1, 1))
    assert known_hashes([path]) is None
    path.unlink()
    assert known_hashes([path]) is None


def test_adopted_hash_is_used(path):
    state = path.stat()
    adopt_hashes({(str(path.resolve()), state.st_size, state.st_mtime_ns): "there"})
    assert hash_file(path) == "there"
