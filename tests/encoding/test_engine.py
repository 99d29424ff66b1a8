# SPDX-License-Identifier: BSD-3-Clause
"""The engine: results in order, one failure at a time, nothing read that is known."""

import dataclasses
import threading
import time

import numpy as np
import pytest
import torch

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.encoding import _engine as engine_module
from sleep2vec_sklearn.encoding._engine import Engine, network_for
from sleep2vec_sklearn.encoding.cache import TokenCache
from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError, ReadError

NAMES = ("ecg", "ibi", "spo2")


@pytest.fixture
def make(checkpoint_in_memory):
    """Function of options: an engine for three modalities."""

    def build(**options):
        given = {
            "checkpoint": checkpoint_in_memory, "modalities": NAMES, "layer": "last",
            "precision": "float32", "device": "cpu", "read_ahead": 2, "cache": None,
        }  # fmt: skip
        return Engine(**{**given, **options})

    return build


@pytest.fixture
def night(noise):
    """Function of (seed, names): a night of four epochs."""

    def build(seed=0, names=("ibi",), **options):
        return Recording({name: noise(name, seed=seed) for name in names}, **options)

    return build


def encode(engine, recordings):
    return list(engine.encode(recordings, [f"night {k}" for k in range(len(recordings))]))


@pytest.mark.parametrize("read_ahead", [1, 2, 9])
def test_results_come_in_the_order_of_the_recordings(make, night, read_ahead):
    nights = [night(seed) for seed in range(5)]
    found = encode(make(read_ahead=read_ahead), nights)
    assert [result.position for result in found] == list(range(5))
    for result, recording in zip(found, nights, strict=True):
        (alone,) = encode(make(), [recording])
        np.testing.assert_array_equal(
            result.modalities["ibi"].tokens, alone.modalities["ibi"].tokens
        )


@pytest.mark.parametrize("n_threads", [2, 3])
def test_rows_do_not_depend_on_the_number_of_threads(make, night, n_threads):
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


def test_a_night_given_several_times_is_encoded_once_by_several_threads(make, night, monkeypatch):
    n_encoded = 0

    def count(engine, name, conditioned):
        nonlocal n_encoded
        n_encoded += 1
        time.sleep(0.02)
        return encode_modality(engine, name, conditioned)

    encode_modality = Engine._encode_modality
    monkeypatch.setattr(Engine, "_encode_modality", count)
    torch.set_num_threads(3)
    try:
        encode(make(cache=TokenCache()), [night(0), night(0), night(1), night(0)])
    finally:
        torch.set_num_threads(1)
    assert n_encoded == 2


def test_a_modality_is_encoded_apart_from_the_others(make, night):
    (together,) = encode(make(), [night(names=NAMES)])
    for name in NAMES:
        (alone,) = encode(make(), [night(names=[name])])
        np.testing.assert_array_equal(
            together.modalities[name].tokens, alone.modalities[name].tokens
        )


def test_modalities_that_are_not_asked_for_are_not_read(make, noise, counting_source):
    signals = {name: (*noise(name), unit) for name, unit in (("ibi", "s"), ("spo2", "%"))}
    source = counting_source(signals)
    (found,) = encode(make(modalities=("ibi",)), [Recording.from_source(source, id="a")])
    assert set(found.modalities) == {"ibi"}
    assert source.reads == [("ibi",)]


def test_what_is_in_the_cache_is_not_read_again(make, noise, counting_source):
    signals = {name: (*noise(name), unit) for name, unit in (("ibi", "s"), ("spo2", "%"))}
    source = counting_source(signals)
    recording, cache = Recording.from_source(source, id="a"), TokenCache()
    encode(make(cache=cache, modalities=("ibi",)), [recording])
    (found,) = encode(make(cache=cache), [recording])
    assert source.reads == [("ibi",), ("spo2",)]
    assert set(found.modalities) == {"ibi", "spo2"}


@pytest.mark.parametrize(
    "change", [{"layer": 0}, {"layer": "projection"}, {"precision": "bfloat16"}]
)
def test_what_changes_a_token_has_its_own_place_in_the_cache(make, night, change):
    cache, recording = TokenCache(), night()
    (plain,) = encode(make(cache=cache), [recording])
    (changed,) = encode(make(cache=cache, **change), [recording])
    first, second = (r.modalities["ibi"].tokens for r in (plain, changed))
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_one_bad_night_does_not_stop_the_others(make, night):
    flat = Recording({"ibi": (np.full(480, 0.9), 4)})
    found = encode(make(), [night(0), flat, night(1)])
    assert [result.error is None for result in found] == [True, False, True]
    assert isinstance(found[1].error, InvalidRecordingError)
    assert str(found[1].error).startswith("night 1: no usable signal: ibi flat")
    assert found[1].modalities == {}


def test_a_flat_sensor_beside_a_good_one_is_left_out(make, noise):
    night = Recording({"ibi": noise("ibi"), "spo2": (np.full(480, 97.0), 4)})
    (found,) = encode(make(), [night])
    assert found.error is None
    assert set(found.modalities) == {"ibi"}
    assert found.left_out == ("spo2",)


def test_a_file_that_cannot_be_read_is_a_read_error_of_its_night(make, counting_source, noise):
    class Broken(counting_source):
        def read(self, names):
            raise OSError("disk on fire")

    broken = Recording.from_source(Broken({"ibi": (*noise("ibi"), "s")}), id="b")
    (found,) = encode(make(), [broken])
    assert isinstance(found.error, ReadError)
    assert str(found.error) == "night 0: disk on fire"
    assert isinstance(found.error.__cause__, OSError)


def test_a_programming_error_is_not_hidden_as_a_bad_night(make, counting_source, noise):
    class Odd(counting_source):
        def read(self, names):
            raise ZeroDivisionError

    odd = Recording.from_source(Odd({"ibi": (*noise("ibi"), "s")}), id="o")
    with pytest.raises(ZeroDivisionError):
        encode(make(), [odd])


def test_weights_that_overflow_are_an_error_that_says_so(make, checkpoint_in_memory, night):
    state = {k: torch.full_like(v, torch.nan) if "feed_out" in k else v
             for k, v in checkpoint_in_memory.state.items()}  # fmt: skip
    spoilt = dataclasses.replace(checkpoint_in_memory, state=state, sha256="spoilt")
    (found,) = encode(make(checkpoint=spoilt), [night()])
    assert isinstance(found.error, CheckpointError)
    assert "'ibi' gave tokens that are not finite" in str(found.error)


def test_a_checkpoint_has_one_network_per_process_and_few_are_kept(
    checkpoint_in_memory, monkeypatch
):
    monkeypatch.setattr(engine_module, "_networks", type(engine_module._networks)())
    network = network_for(checkpoint_in_memory, "cpu")
    assert network_for(checkpoint_in_memory, "cpu") is network
    for k in range(engine_module._NETWORKS_KEPT):
        network_for(dataclasses.replace(checkpoint_in_memory, sha256=str(k)), "cpu")
    assert len(engine_module._networks) == engine_module._NETWORKS_KEPT
    assert network_for(checkpoint_in_memory, "cpu") is not network


def test_stopping_early_leaves_the_rest_unread(make, noise, counting_source):
    sources = [counting_source({"ibi": (*noise("ibi"), "s")}) for _ in range(12)]
    nights = [Recording.from_source(source, id=str(k)) for k, source in enumerate(sources)]
    results = make(read_ahead=1).encode(nights, [str(k) for k in range(12)])
    next(results)
    results.close()
    assert sum(bool(source.reads) for source in sources) <= 4


def test_a_long_night_is_encoded_in_windows_and_its_summary_is_their_mean(make, noise):
    night = Recording({"ibi": noise("ibi", n_epochs=20)})
    (found,) = encode(make(), [night])
    item = found.modalities["ibi"]
    assert item.tokens.shape == (20, 32)
    assert item.summary.shape == (32,)
    assert item.valid.all()


def test_threads_that_cannot_start_are_an_error_and_no_wait_for_ever(monkeypatch):
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
        engine_module.single_threaded(3),
    ):
        pass
    assert torch.get_num_threads() == before
    assert not started[0].is_alive()


def test_threads_that_do_not_come_are_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(engine_module, "_SECONDS_TO_START", 0.01)
    monkeypatch.setattr(engine_module.ThreadPoolExecutor, "submit", lambda *arguments: None)
    with (
        pytest.raises(RuntimeError, match="did not start the 2 threads"),
        engine_module.single_threaded(2),
    ):
        pass
