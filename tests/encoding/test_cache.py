# SPDX-License-Identifier: BSD-3-Clause
import gc
import re
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone

from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecTransformer,
    cache_info,
    clear_cache,
    config_context,
)
from sleep2vec_sklearn.encoding.cache import EncodedModality, TokenCache
from sleep2vec_sklearn.errors import CacheWarning
from sleep2vec_sklearn.model.checkpoint import Checkpoint


@pytest.mark.parametrize(("cache", "n_encodes"), [("memory", 2), (None, 4)])
def test_cached_night_encoded_once(checkpoint_path, noise, encodes, cache, n_encodes):
    X = [{"ecg": noise("ecg"), "ibi": noise("ibi")}]
    transformer = Sleep2VecTransformer(checkpoint_path, cache=cache)
    first = transformer.fit_transform(X)
    np.testing.assert_array_equal(transformer.transform(X), first)
    assert len(encodes) == n_encodes


@pytest.mark.parametrize(
    ("parameters", "n_rounds"),
    [({"fusion": "concat"}, 1), ({"pooling": "max"}, 1), ({"context_minutes": 5}, 1),
     ({"modalities": ["ibi", "ecg"]}, 1), ({"batch_size": 5}, 1), ({"verbose": 1}, 1),
     ({"layer": 1}, 2), ({"layer": "projection"}, 2), ({"precision": "bfloat16"}, 2)],
)  # fmt: skip
def test_only_relevant_parameters_encode(checkpoint_path, noise, encodes, parameters, n_rounds):
    X = [{"ecg": noise("ecg"), "ibi": noise("ibi")}]
    Sleep2VecTransformer(checkpoint_path).fit_transform(X)
    Sleep2VecTransformer(checkpoint_path, **parameters).fit_transform(X)
    assert encodes == ["ecg", "ibi"] * n_rounds


def test_nights_and_epochs_share_tokens(checkpoint_path, noise, encodes):
    X = [{"ibi": noise("ibi")}]
    Sleep2VecTransformer(checkpoint_path).fit_transform(X)
    Sleep2VecTransformer(checkpoint_path).fit_transform(EpochSequence(X))
    assert encodes == ["ibi"]


def test_signals_are_not_kept(checkpoint_path, noise):
    class Samples(np.ndarray):
        pass

    samples = noise("ecg")[0].view(Samples)
    alive = weakref.ref(samples)
    transformer = Sleep2VecTransformer(checkpoint_path)
    transformer.fit_transform([{"ecg": samples}])
    del samples
    gc.collect()
    assert alive() is None


def test_clones_share_one_network(write_checkpoint, tmp_path, cohort, monkeypatch):
    builds = []
    build = Checkpoint.build
    monkeypatch.setattr(Checkpoint, "build", lambda self: builds.append(1) or build(self))
    path = write_checkpoint(tmp_path / "new.safetensors", 77)
    transformer = Sleep2VecTransformer(path, cache=None).fit(cohort)
    assert builds == []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: clone(transformer).fit_transform(cohort[:1]), range(4)))
    assert builds == [1]


def test_full_cache_drops_oldest_tokens(tokens):
    cache = TokenCache(max_bytes=2500)
    for key in "abc":
        cache.put(key, tokens(100))
        cache.get("a")
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    cache.resize(1500)
    assert [cache.get(key) is not None for key in "abc"] == [False, False, True]


def test_peek_is_no_use(tokens):
    cache = TokenCache(max_bytes=2500)
    for key in "abc":
        cache.put(key, tokens(100))
        assert cache.peek(key) is not None
        cache.peek("a")
    assert cache.peek("a") is None


def test_missing_sensors_take_room():
    cache = TokenCache(max_bytes=1000)
    for key in range(100):
        cache.put(key, EncodedModality.missing())
    assert cache.get(0) is None
    assert cache.get(99) is not None


def test_too_large_entry_not_stored(tokens):
    cache = TokenCache(max_bytes=1100)
    cache.put("a", tokens(100))
    cache.put("huge", tokens(1000))
    assert cache.get("a") is not None
    assert cache.get("huge") is None
    cache.clear()
    cache.put("b", tokens(100))
    assert (cache.get("a"), cache.get("b") is None) == (None, False)


def test_small_memory_complains_once(checkpoint_path, twelve_nights, encodes):
    transformer = Sleep2VecTransformer(checkpoint_path).fit(twelve_nights)
    transformer.transform(twelve_nights[:1])
    n_bytes = cache_info().n_bytes
    with config_context(cache_bytes=4 * n_bytes):
        transformer.transform(twelve_nights)
        with pytest.warns(CacheWarning, match=r"nights are encoded again.*cache_dir=") as caught:
            transformer.transform(twelve_nights)
        assert len(caught) == 1
        transformer.transform(twelve_nights)
    advised = int(re.search(r"cache_bytes=(\d+)", str(caught[0].message))[1])
    clear_cache()
    with config_context(cache_bytes=advised):
        transformer.transform(twelve_nights)
        encodes.clear()
        transformer.transform(twelve_nights)
    assert not encodes


def test_folder_needs_no_memory(checkpoint_path, twelve_nights, encodes, tmp_path):
    transformer = Sleep2VecTransformer(checkpoint_path).fit(twelve_nights)
    with config_context(cache_bytes=5000, cache_dir=tmp_path):
        for _ in range(2):
            transformer.transform(twelve_nights)
    assert len(encodes) == 12


def test_tokens_take_room_of_rows(tokens):
    size = tokens(9).n_bytes
    rows = np.zeros((size // 8, 1), dtype=np.float32)
    memory = TokenCache(2 * size)
    memory.put("first", tokens(9))
    memory.put_rows("rows", rows)
    assert memory.get_rows("rows") is rows
    assert memory.n_row_bytes == rows.nbytes
    memory.put_rows("others", np.zeros((size, 1), dtype=np.float32))
    assert memory.get_rows("others") is None
    memory.put("second", tokens(9))
    assert (memory.get_rows("rows"), memory.n_row_bytes, len(memory)) == (None, 0, 2)
