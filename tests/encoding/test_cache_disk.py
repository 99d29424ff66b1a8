# SPDX-License-Identifier: BSD-3-Clause
"""Tokens in a folder: damage, full disks, killed and competing processes."""

import errno
import logging
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from sleep2vec_sklearn import Sleep2VecTransformer, cache_info, clear_cache, config_context
from sleep2vec_sklearn.encoding import _disk_cache as disk
from sleep2vec_sklearn.encoding._disk_cache import (
    DamagedEntryError,
    DiskCache,
    EncodedModality,
    pack,
    token_key,
    unpack,
)
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE
from sleep2vec_sklearn.errors import CacheWarning

KEY = token_key("a")


def entry_of(folder):
    (path,) = folder.glob("tokens-v1/??/*.tokens")
    return path


@pytest.fixture
def transform(checkpoint_path, noise, tmp_path):
    """Function of a folder: rows of one night, with an empty memory."""

    def rows(folder=tmp_path, **parameters):
        MEMORY_CACHE.clear()
        transformer = Sleep2VecTransformer(checkpoint_path, cache=folder, **parameters)
        return transformer.fit([{"ibi": noise("ibi")}]).transform([{"ibi": noise("ibi")}])

    return rows


def test_keys_differ_in_every_part():
    parts = ("print", "eeg", 4, "sha", "last", "float32", 1)
    others = ("another", "eog", 5, "sha2", 2, "bfloat16", 2)
    keys = {token_key(*parts[:i], others[i], *parts[i + 1 :]) for i in range(len(parts))}
    assert len(keys | {token_key(*parts)}) == len(parts) + 1
    assert token_key(*parts) == token_key(*parts)


def test_entries_come_back(tokens):
    whole = tokens(5)
    for entry in (whole, EncodedModality(whole.tokens, whole.valid), EncodedModality.missing()):
        again = unpack(KEY, pack(KEY, entry))
        np.testing.assert_array_equal(again.tokens, entry.tokens)
        np.testing.assert_array_equal(again.valid, entry.valid)
        assert (again.summary is None) == (entry.summary is None)
        assert again.tokens.dtype == np.float32
        assert not again.tokens.flags.writeable


def test_every_damaged_byte_is_noticed(tokens):
    data = pack(KEY, tokens(4))
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x10
        with pytest.raises(DamagedEntryError):
            unpack(KEY, bytes(changed))
        with pytest.raises(DamagedEntryError):
            unpack(KEY, data[:place])


def cut(data):
    return data[: len(data) // 2]


def older(data):
    return data[:8] + struct.pack("<I", 0) + data[12:]


@pytest.mark.parametrize(
    ("damage", "why"),
    [(lambda data: b"", "0 bytes"), (cut, "checksum is wrong"),
     (lambda data: data[:-1] + b"?", "checksum is wrong"),
     (older, "format 0, this version reads 1"), (lambda data: b"PK" + data[2:], "not an entry"),
     (lambda data: pack(token_key("b"), EncodedModality.missing()), "checksum is wrong")],
)  # fmt: skip
def test_damaged_entry_is_encoded_again(transform, encodes, tmp_path, caplog, damage, why):
    rows = transform()
    path = entry_of(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING, "sleep2vec_sklearn"):
        np.testing.assert_array_equal(transform(), rows)
    assert len(caplog.records) == 1
    assert why in caplog.text
    assert path.read_bytes() == whole
    assert len(encodes) == 2


def test_formats_share_a_folder(tokens, monkeypatch, tmp_path):
    older = DiskCache(tmp_path)
    older.put(KEY, tokens(4))
    monkeypatch.setattr(disk, "FORMAT_VERSION", disk.FORMAT_VERSION + 1)
    newer = DiskCache(tmp_path)
    assert newer.get(KEY) is None
    newer.put(KEY, tokens(5))
    assert len(newer.get(KEY).valid) == 5
    monkeypatch.undo()
    assert len(older.get(KEY).valid) == 4
    assert older.size()[0] == 2
    older.clear()
    assert older.size() == (0, 0)


def test_misplaced_formats_logged_once(tokens, tmp_path, caplog):
    keys = [token_key(i) for i in range(3)]
    cache = DiskCache(tmp_path)
    for key in keys:
        cache.put(key, tokens())
    for path in tmp_path.glob("tokens-v1/??/*.tokens"):
        path.write_bytes(older(path.read_bytes()))
    with caplog.at_level(logging.DEBUG, "sleep2vec_sklearn"):
        assert [cache.get(key) for key in keys] == [None] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]


def test_memory_is_copied_to_folder(checkpoint_path, noise, encodes, tmp_path):
    X = [{"ibi": noise("ibi")}]
    Sleep2VecTransformer(checkpoint_path).fit_transform(X)
    with config_context(cache_dir=tmp_path):
        Sleep2VecTransformer(checkpoint_path).fit_transform(X)
    MEMORY_CACHE.clear()
    Sleep2VecTransformer(checkpoint_path, cache=tmp_path).fit_transform(X)
    assert encodes == ["ibi"]


def test_only_entries_are_cleared(transform, tmp_path):
    mine = tmp_path / "tokens-v1" / "ab" / "mine.tokens"
    mine.parent.mkdir(parents=True)
    mine.write_text("not an entry")
    (tmp_path / "mine.csv").write_text("1,2")
    transform()
    info, entries = cache_info(tmp_path), tmp_path.rglob(f"{'?' * 64}.tokens")
    assert (info.n_files, info.n_file_bytes) == (1, next(entries).stat().st_size)
    clear_cache(tmp_path)
    assert cache_info(tmp_path).n_files == 0
    assert (tmp_path / "mine.csv").exists()
    assert mine.exists()


def test_full_disk_warns(transform, fails, tmp_path):
    rows = transform(None)
    fails("os.replace", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.warns(CacheWarning, match="No space left on device") as caught:
        np.testing.assert_array_equal(transform(), rows)
    assert len(caught) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions")
def test_unwritable_folder_warns(transform, tmp_path):
    rows = transform(None)
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.warns(CacheWarning, match="cannot be written") as caught:
        np.testing.assert_array_equal(transform(tmp_path / "file" / "cache"), rows)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_inaccessible_folder_warns(transform, monkeypatch, tmp_path):
    rows = transform(None)
    stat = os.stat

    def look(path, **options):
        if "closed" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(path, **options)

    (tmp_path / "closed").write_text("stands for a folder without permission to look into it")
    monkeypatch.setattr(os, "stat", look)
    with pytest.warns(CacheWarning, match="cannot be written"):
        np.testing.assert_array_equal(transform(tmp_path / "closed" / "cache"), rows)


def test_read_only_folder_is_read(transform, fails, encodes, tmp_path):
    rows = transform()
    fails("pathlib.Path.mkdir", PermissionError(errno.EACCES, "Permission denied"))
    np.testing.assert_array_equal(transform(), rows)
    assert len(encodes) == 1
    with pytest.warns(CacheWarning, match="Permission denied"):
        transform(layer=1)


def test_unreadable_entry_is_encoded_again(transform, fails, encodes):
    rows = transform()
    fails(
        "sleep2vec_sklearn.encoding._disk_cache.read_bytes",
        OSError(errno.EIO, "Input/output error"),
    )
    with pytest.warns(CacheWarning, match=r"cannot be read \(Input/output error\)"):
        np.testing.assert_array_equal(transform(), rows)
    assert len(encodes) == 2


def test_old_unfinished_files_are_swept(tokens, tmp_path):
    folder = tmp_path / "unfinished"
    folder.mkdir()
    for name, age in [("old", 7200), ("new", 60)]:
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    DiskCache(tmp_path).put(KEY, tokens())
    assert [path.name for path in folder.iterdir()] == ["new"]


WRITER = """
import sys
import numpy as np
from sleep2vec_sklearn.encoding._disk_cache import EncodedModality, token_key
from sleep2vec_sklearn.encoding._disk_cache import DiskCache
cache = DiskCache(sys.argv[1])
rounds = int(sys.argv[2])
print("writing", flush=True)
for number in range(rounds):
    for i in range(20):
        values = np.full((960, 64), i, dtype=np.float32)
        cache.put(token_key(i), EncodedModality(values, np.ones(960, bool)))
        found = cache.get(token_key(i))
        assert found is not None and (found.tokens == i).all(), i
assert cache.take_complaint() is None
"""


def start_writer(folder, rounds):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(rounds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    return process


def test_killed_writer_leaves_readable_cache(tmp_path, caplog):
    rng = np.random.default_rng(0)
    for _ in range(5):
        process = start_writer(tmp_path, 10**6)
        time.sleep(rng.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        process.wait()
        process.stdout.close()
        cache = DiskCache(tmp_path)
        for i in range(20):
            found = cache.get(token_key(i))
            assert found is None or (found.tokens == i).all()
    assert cache.size()[0] > 0
    assert caplog.records == []


def test_two_processes_share_a_folder(tmp_path):
    processes = [start_writer(tmp_path, 10) for _ in range(2)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert DiskCache(tmp_path).size()[0] == 20
    assert list((tmp_path / "unfinished").iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [{"tokens": np.zeros((4, 3))}, {"tokens": np.zeros(4, np.float32)},
     {"tokens": np.full((4, 3), np.nan, np.float32)}, {"valid": np.ones(4)},
     {"valid": np.ones(3, bool)}, {"summary": np.zeros((2, 3), np.float32)}],
)  # fmt: skip
def test_forged_entries_are_noticed(change):
    sound = {"tokens": np.zeros((4, 3), np.float32), "valid": np.ones(4, bool), "summary": None}
    with pytest.raises(DamagedEntryError, match="cannot be read"):
        unpack(KEY, pack(KEY, EncodedModality(**sound | change)))


def test_entries_of_others_are_left(transform, tmp_path):
    rows = transform()
    path = entry_of(tmp_path)
    other = EncodedModality(np.ones((3, 3), np.float32), np.ones(3, bool))
    path.write_bytes(pack(path.stem, other))
    np.testing.assert_array_equal(transform(), rows)
