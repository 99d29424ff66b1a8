# SPDX-License-Identifier: BSD-3-Clause
import weakref
from pathlib import Path

import numpy as np
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.encoding._engine import Engine
from sleep2vec_sklearn.finetuning._sources import TokenSource, inputs_of, prepared_nights
from sleep2vec_sklearn.nightstore import store as nightstore
from sleep2vec_sklearn.nightstore.content import contents_of
from tests.finetuning.simple_nights import N_EPOCHS, make_nights

NIGHTS = make_nights(3)
PLACES = ["a", "b", "c"]
NAMES = ("spo2", "ibi")


@pytest.mark.parametrize("cache", [None, "memory"])
def test_layers_take_one_read(checkpoint_in_memory, counting_source, cache):
    signals = {n: (s.values, s.rate, s.unit) for n, s in NIGHTS[0].read().items()}
    counting = counting_source(signals)
    night = Recording.from_source(counting, id="counted")
    source = TokenSource(checkpoint_in_memory, NAMES, (1, "last"), "float32", "cpu", cache)
    (found,) = source.nights([night], ["a"])
    assert {len(layers) for layers in found.values.values()} == {2}
    assert sorted(name for names in counting.reads for name in names) == sorted(NAMES)


def test_prepared_nights_equal_predictions(checkpoint_in_memory):
    contents = contents_of(checkpoint_in_memory, "features", list(NAMES))
    with prepared_nights(checkpoint_in_memory, NAMES, NIGHTS, PLACES, "memory") as reader:
        folder = Path(reader.store._nights[0].path)
        assert reader.modalities == set(NAMES)
        for number, night in enumerate(NIGHTS):
            part = reader.part(number, 3, 9)
            whole = inputs_of(night, contents, "a")
            for name in NAMES:
                direct = whole.part(3, 9).values[name][0]
                np.testing.assert_allclose(part.values[name][0], direct, rtol=1e-3, atol=1e-6)
                assert part.valid[name].shape == (6,)
    assert not folder.exists()


def test_nights_are_prepared_in_turn(checkpoint_in_memory, monkeypatch):
    alive, most = [], []

    def watch(key, n_epochs, masks, arrays):
        most.append(sum(ref() is not None for ref in alive))
        alive.extend(weakref.ref(array) for array in arrays.values())
        return serialize(key, n_epochs, masks, arrays)

    serialize = nightstore.serialize_night
    monkeypatch.setattr(nightstore, "serialize_night", watch)
    with prepared_nights(checkpoint_in_memory, NAMES, NIGHTS, PLACES, "memory"):
        assert len(alive) == 6
    assert most == [0, 0, 0]


@pytest.mark.parametrize("layers", [("last",), (1, "last")])
def test_tokens_equal_the_engine(checkpoint_in_memory, layers):
    source = TokenSource(checkpoint_in_memory, NAMES, layers, "float32", "cpu", None, True)
    for night, recording in zip(source.nights(NIGHTS, PLACES), NIGHTS, strict=True):
        assert night.n_epochs == N_EPOCHS
        for k, layer in enumerate(layers):
            engine = Engine(checkpoint_in_memory, NAMES, layer, "float32", "cpu", 1, None)
            (expected,) = engine.encode([recording], ["a"])
            for name, encoded in expected.modalities.items():
                np.testing.assert_array_equal(night.values[name][k], encoded.tokens)
                np.testing.assert_array_equal(night.summaries[name][k], encoded.summary)


def test_cached_tokens_are_not_copied(checkpoint_in_memory):
    source = TokenSource(checkpoint_in_memory, NAMES, ("last",), "float32", "cpu", "memory")
    first, second = (list(source.nights(NIGHTS, PLACES)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for name in NAMES:
            assert one.values[name][0] is other.values[name][0]
