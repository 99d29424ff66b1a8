# SPDX-License-Identifier: BSD-3-Clause
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer
from sleep2vec_sklearn.encoding import _engine as engine
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE, EncodedModality, TokenCache
from sleep2vec_sklearn.model.checkpoint import Checkpoint


@pytest.mark.parametrize(("cache", "n_encodes"), [("memory", 2), (None, 4)])
def test_a_night_is_encoded_once_if_cached(checkpoint_path, noise, encodes, cache, n_encodes):
    X = [{"ecg": noise("ecg"), "ibi": noise("ibi")}]
    transformer = Sleep2VecTransformer(checkpoint_path, cache=cache)
    first = transformer.fit_transform(X)
    np.testing.assert_array_equal(transformer.transform(X), first)
    assert len(encodes) == n_encodes


def test_cached_rows_are_the_rows(checkpoint_path, cohort, embed):
    transformer = Sleep2VecTransformer(checkpoint_path).fit(cohort)
    transformer.transform(cohort[::-1])
    np.testing.assert_array_equal(transformer.transform(cohort), embed(cohort))


@pytest.mark.parametrize(
    "parameters",
    [
        {"fusion": "concat"},
        {"pooling": "max"},
        {"context_minutes": 5},
        {"modalities": ["ibi", "ecg"]},
        {"batch_size": 5},
        {"verbose": 1},
    ],
)
def test_what_does_not_change_tokens_encodes_nothing(checkpoint_path, noise, encodes, parameters):
    X = [{"ecg": noise("ecg"), "ibi": noise("ibi")}]
    Sleep2VecTransformer(checkpoint_path).fit_transform(X)
    Sleep2VecTransformer(checkpoint_path, **parameters).fit_transform(X)
    assert encodes == ["ecg", "ibi"]


@pytest.mark.parametrize("parameters", [{"layer": 1}, {"precision": "bfloat16"}])
def test_what_changes_tokens_is_encoded_again(checkpoint_path, noise, encodes, parameters):
    X = [{"ibi": noise("ibi")}]
    Sleep2VecTransformer(checkpoint_path).fit_transform(X)
    Sleep2VecTransformer(checkpoint_path, **parameters).fit_transform(X)
    assert encodes == ["ibi", "ibi"]


def test_nights_and_epochs_share_tokens(checkpoint_path, noise, encodes):
    X = [{"ibi": noise("ibi")}]
    Sleep2VecTransformer(checkpoint_path).fit_transform(X)
    Sleep2VecTransformer(checkpoint_path).fit_transform(EpochSequence(X))
    assert encodes == ["ibi"]


def test_a_night_without_a_sensor_costs_nothing_more(checkpoint_path, noise, encodes):
    night = Recording({"ecg": noise("ecg"), "ibi": noise("ibi")})
    Sleep2VecTransformer(checkpoint_path).fit_transform([night])
    Sleep2VecTransformer(checkpoint_path).fit_transform([night.without("ecg")])
    assert encodes == ["ecg", "ibi"]


def test_a_changed_sample_is_encoded_again(checkpoint_path, noise, encodes):
    ibi, rate = noise("ibi")
    transformer = Sleep2VecTransformer(checkpoint_path)
    before = transformer.fit_transform([{"ibi": (ibi, rate)}])
    ibi[5] += 0.1
    assert (transformer.transform([{"ibi": (ibi, rate)}]) != before).any()


def test_a_lazy_recording_is_read_once_per_transform(checkpoint_path, counting_source, noise):
    source = counting_source({"ecg": (*noise("ecg"), "uV"), "ppg": (*noise("ppg"), "a.u.")})
    night = Recording.from_source(source)
    transformer = Sleep2VecTransformer(checkpoint_path, modalities=["ecg", "ibi"], cache=None)
    transformer.fit(EpochSequence([night])).transform(EpochSequence([night]))
    assert source.reads == [("ecg",)]


def test_a_cached_recording_is_not_read_at_all(checkpoint_path, counting_source, noise):
    source = counting_source({"ecg": (*noise("ecg"), "uV")})
    transformer = Sleep2VecTransformer(checkpoint_path)
    transformer.fit_transform([Recording.from_source(source)])
    transformer.transform([Recording.from_source(source)])
    assert source.reads == [("ecg",)]


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


def test_clones_and_threads_share_one_network(checkpoint_path, cohort, monkeypatch):
    builds = []
    build = Checkpoint.build
    monkeypatch.setattr(engine, "_networks", engine.OrderedDict())
    monkeypatch.setattr(Checkpoint, "build", lambda self: builds.append(1) or build(self))
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None).fit(cohort)
    assert builds == []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: clone(transformer).fit_transform(cohort[:1]), range(4)))
    assert builds == [1]


def test_the_oldest_tokens_are_dropped_when_the_cache_is_full(tokens):
    cache = TokenCache(max_bytes=2500)
    for key in "abc":
        cache.put(key, tokens(100))
        cache.get("a")
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    cache.resize(1500)
    assert [cache.get(key) is not None for key in "abc"] == [False, False, True]


def test_a_peek_is_not_a_use(tokens):
    cache = TokenCache(max_bytes=2500)
    for key in "abc":
        cache.put(key, tokens(100))
        assert cache.peek(key) is not None
        cache.peek("a")
    assert cache.peek("a") is None


def test_missing_sensors_do_not_pile_up():
    cache = TokenCache(max_bytes=1000)
    for key in range(100):
        cache.put(key, EncodedModality.missing())
    assert cache.get(0) is None
    assert cache.get(99) is not None


def test_what_is_larger_than_the_cache_is_not_kept(tokens):
    cache = TokenCache(max_bytes=1100)
    cache.put("a", tokens(100))
    cache.put("huge", tokens(1000))
    assert cache.get("a") is not None
    assert cache.get("huge") is None


def test_a_cleared_cache_has_room_again(tokens):
    cache = TokenCache(max_bytes=1100)
    cache.put("a", tokens(100))
    cache.clear()
    cache.put("b", tokens(100))
    assert (cache.get("a"), cache.get("b") is None) == (None, False)


def test_the_process_has_one_cache(checkpoint_path, noise):
    Sleep2VecTransformer(checkpoint_path).fit_transform([{"ibi": noise("ibi")}])
    assert len(MEMORY_CACHE) == 1
    assert MEMORY_CACHE.n_bytes > 0
