# SPDX-License-Identifier: BSD-3-Clause
"""A folder is brought to a size, the entries that were not used for longest going first."""

import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from sleep2vec_sklearn import cache_info, clear_cache, config_context
from sleep2vec_sklearn.encoding._disk_cache import DiskCache, token_key
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE

KEYS = [token_key(i) for i in range(6)]
HOUR = 3600.0


@pytest.fixture
def cache(tmp_path, tokens):
    """Six entries, used from six hours and a half to one and a half ago."""
    cache = DiskCache(tmp_path)
    for number, key in enumerate(KEYS):
        cache.put(key, tokens())
        used = time.time() - (6.5 - number) * HOUR
        os.utime(cache._path(key), (used, used))
    return cache


def kept(cache):
    return [number for number, key in enumerate(KEYS) if key in cache]


def test_least_recently_used_goes_first(cache):
    n_bytes = cache.size()[1]
    clear_cache(cache.folder, bytes_limit=n_bytes)
    assert kept(cache) == [0, 1, 2, 3, 4, 5]
    clear_cache(cache.folder, bytes_limit=n_bytes - 1)
    assert kept(cache) == [1, 2, 3, 4, 5]
    clear_cache(cache.folder, bytes_limit=n_bytes // 2)
    assert kept(cache) == [3, 4, 5]


def test_reading_is_a_use(cache, monkeypatch):
    assert cache.get(KEYS[0]) is not None
    clear_cache(cache.folder, bytes_limit=cache.size()[1] // 2)
    assert kept(cache) == [0, 4, 5]
    monkeypatch.setattr(os, "utime", None)
    assert cache.get(KEYS[0]) is not None


def test_entries_beyond_age_limit_go(cache):
    clear_cache(cache.folder, age_limit=timedelta(hours=4))
    assert kept(cache) == [3, 4, 5]
    clear_cache(cache.folder, age_limit=timedelta(hours=4), bytes_limit=0)
    assert kept(cache) == []


def test_the_memory_is_left_alone(cache, tokens):
    MEMORY_CACHE.put("key", tokens())
    with config_context(cache_dir=cache.folder):
        clear_cache(bytes_limit="0K")
    assert kept(cache) == []
    assert cache_info().n_entries == 1


@pytest.mark.parametrize("limit", ["20", "many", "", "infG", -1, 1.5, True])
def test_invalid_size_is_refused(tmp_path, limit):
    with pytest.raises(ValueError, match=r"bytes_limit must be a number of bytes, or text such"):
        clear_cache(tmp_path, bytes_limit=limit)


@pytest.mark.parametrize("limit", [3, "3 days", timedelta(-1)])
def test_invalid_age_is_refused(tmp_path, limit):
    with pytest.raises(ValueError, match=r"age_limit must be a timedelta, such as"):
        clear_cache(tmp_path, age_limit=limit)


def test_absent_folders_stay_absent(tmp_path):
    clear_cache(tmp_path / "later", bytes_limit=0)
    assert not (tmp_path / "later").exists()
    with pytest.raises(ValueError, match=r"those of a folder, and none is set\. Pass clear_cache"):
        clear_cache(bytes_limit="1G")


REDUCER = """
import sys
from sleep2vec_sklearn.encoding._disk_cache import DiskCache
print("reducing", flush=True)
for _ in range(200):
    DiskCache(sys.argv[1]).reduce(bytes_limit=int(sys.argv[2]))
"""


def test_folder_reduced_while_written(tmp_path, tokens):
    cache = DiskCache(tmp_path)
    cache.put(KEYS[0], tokens())
    limit = 3 * cache.size()[1]
    command = [sys.executable, "-c", REDUCER, str(tmp_path), str(limit)]
    reducers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in reducers:
        assert process.stdout.readline() == "reducing\n"
    while any(process.poll() is None for process in reducers):
        for number, key in enumerate(KEYS):
            cache.put(key, tokens(number + 1))
            found = cache.get(key)
            assert found is None or len(found.valid) == number + 1
    for process in reducers:
        process.communicate()
        assert process.returncode == 0
    assert cache.take_complaint() is None
    cache.reduce(bytes_limit=limit)
    assert 0 < cache.size()[1] <= limit
