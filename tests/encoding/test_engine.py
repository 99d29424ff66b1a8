# SPDX-License-Identifier: BSD-3-Clause
"""The engine: results in order, one failure at a time, nothing read that is known."""

import dataclasses
import threading
import time

import numpy as np
import pytest
import torch

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn import _torch as torch_module
from sleep2vec_sklearn.encoding import _sleep2vec as sleep2vec
from sleep2vec_sklearn.encoding._engine import Engine
from sleep2vec_sklearn.encoding._sleep2vec import Sleep2VecEncoder, as_encoder, network_for
from sleep2vec_sklearn.encoding.cache import TokenCache

NAMES = ("ecg", "ibi", "spo2")
SETTINGS = {"layer": "last", "precision": "float32", "device": "cpu"}


@pytest.fixture
def make(checkpoint_in_memory):
    """Function of options: an engine for three modalities."""

    def build(**options):
        settings = [options.pop(name, default) for name, default in SETTINGS.items()]
        encoder = as_encoder(options.pop("checkpoint", checkpoint_in_memory), *settings)
        return Engine(**{"encoder": encoder, "groups": NAMES, "read_ahead": 2, **options})

    return build


@pytest.fixture
def night(noise):
    """Function of (seed, names): a night of four epochs."""

    def build(seed=0, names=("ibi",), **options):
        return Recording({name: noise(name, seed=seed) for name in names}, **options)

    return build


def encode(engine, recordings):
    return list(engine.encode(recordings, [f"night {k}" for k in range(len(recordings))]))


@pytest.mark.parametrize("n_threads", [2, 3])
def test_rows_ignore_number_of_threads(make, night, n_threads):
    nights = [night(seed, NAMES) for seed in range(3)]
    expected = encode(make(), nights)
    torch.set_num_threads(n_threads)
    try:
        found = encode(make(), nights)
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(1)
    for one, other in zip(expected, found, strict=True):
        for name in NAMES:
            np.testing.assert_array_equal(
                one.modalities[name].tokens, other.modalities[name].tokens
            )


def test_repeated_night_is_encoded_once(make, night, monkeypatch):
    n_encoded = 0

    def count(encoder, name, signal):
        nonlocal n_encoded
        n_encoded += 1
        time.sleep(0.02)
        return encode_signal(encoder, name, signal)

    encode_signal = Sleep2VecEncoder.encode_signal
    monkeypatch.setattr(Sleep2VecEncoder, "encode_signal", count)
    torch.set_num_threads(3)
    try:
        encode(make(cache=TokenCache()), [night(0), night(0), night(1), night(0)])
    finally:
        torch.set_num_threads(1)
    assert n_encoded == 2


def test_modalities_are_encoded_separately(make, night):
    (together,) = encode(make(), [night(names=NAMES)])
    for name in NAMES:
        tokens, valid = make().encoder.encode(night(names=NAMES), name)
        np.testing.assert_array_equal(together.modalities[name].tokens, tokens)
        assert valid.all()
        (alone,) = encode(make(), [night(names=[name])])
        np.testing.assert_array_equal(
            together.modalities[name].tokens, alone.modalities[name].tokens
        )


def test_needed_modalities_are_read(make, noise, counting_source):
    signals = {name: (*noise(name), unit) for name, unit in (("ibi", "s"), ("spo2", "%"))}
    source, cache = counting_source(signals), TokenCache()
    recording = Recording.from_source(source, id="a")
    (found,) = encode(make(cache=cache, groups=("ibi",)), [recording])
    assert set(found.modalities) == {"ibi"}
    assert source.reads == [("ibi",)]
    (found,) = encode(make(cache=cache), [recording])
    assert set(found.modalities) == {"ibi", "spo2"}
    assert source.reads == [("ibi",), ("spo2",)]


def test_programming_errors_are_raised(make, counting_source, noise):
    class Odd(counting_source):
        def read(self, names):
            raise ZeroDivisionError

    odd = Recording.from_source(Odd({"ibi": (*noise("ibi"), "s")}), id="o")
    with pytest.raises(ZeroDivisionError):
        encode(make(), [odd])


def test_few_networks_per_process(checkpoint_in_memory, monkeypatch):
    monkeypatch.setattr(sleep2vec, "_networks", type(sleep2vec._networks)())
    network = network_for(checkpoint_in_memory, "cpu")
    assert network_for(checkpoint_in_memory, "cpu") is network
    for k in range(sleep2vec._NETWORKS_KEPT):
        network_for(dataclasses.replace(checkpoint_in_memory, sha256=str(k)), "cpu")
    assert len(sleep2vec._networks) == sleep2vec._NETWORKS_KEPT
    assert network_for(checkpoint_in_memory, "cpu") is not network


def test_stopping_early_leaves_rest_unread(make, noise, counting_source):
    sources = [counting_source({"ibi": (*noise("ibi"), "s")}) for _ in range(12)]
    nights = [Recording.from_source(source, id=str(k)) for k, source in enumerate(sources)]
    results = make(read_ahead=1).encode(nights, [str(k) for k in range(12)])
    next(results)
    results.close()
    assert sum(bool(source.reads) for source in sources) <= 4


def test_unstartable_threads_are_an_error(monkeypatch):
    start, started = threading.Thread.start, []

    def refuse_the_second(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_second)
    before = torch.get_num_threads()
    with (
        pytest.raises(RuntimeError, match=r"did not start the 3 threads .*can't start new thread"),
        torch_module.single_threaded(3),
    ):
        pass
    assert torch.get_num_threads() == before
    assert not started[0].is_alive()


def test_interruptions_end_starting_threads(monkeypatch):
    wait = threading.Barrier.wait

    def interrupt(barrier, timeout=None):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return wait(barrier, timeout)

    monkeypatch.setattr(threading.Barrier, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt), torch_module.single_threaded(2):
        pass


def test_missing_threads_time_out(monkeypatch):
    monkeypatch.setattr(torch_module, "_SECONDS_TO_START", 0.01)
    monkeypatch.setattr(torch_module.ThreadPoolExecutor, "submit", lambda *arguments: None)
    with (
        pytest.raises(RuntimeError, match="did not start the 2 threads"),
        torch_module.single_threaded(2),
    ):
        pass


def test_dropped_tokens_are_made_again(make, night, monkeypatch):
    nights, engine = [night(seed, NAMES) for seed in range(2)], make(cache=TokenCache())
    expected = encode(engine, nights)
    keys = engine._keys_in_memory(nights)
    engine.cache.clear()
    assert engine._keys_in_memory(nights) is None
    # as if another thread had taken the room after the question
    monkeypatch.setattr(engine, "_keys_in_memory", lambda recordings: keys)
    for one, other in zip(expected, encode(engine, nights), strict=True):
        assert other.key == one.key
        for name in NAMES:
            np.testing.assert_array_equal(
                one.modalities[name].tokens, other.modalities[name].tokens
            )
