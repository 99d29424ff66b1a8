# SPDX-License-Identifier: BSD-3-Clause
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecClassifier, TimeOfNight
from sleep2vec_sklearn.encoding._engine import Engine
from sleep2vec_sklearn.encoding._sleep2vec import as_encoder
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.finetuning._data import (
    Covariates,
    NightArrays,
    NightsInMemory,
    TokenSource,
    TrainingSet,
    collate,
    inputs_of,
    prepared_nights,
)
from sleep2vec_sklearn.finetuning._labels import Targets
from sleep2vec_sklearn.nightstore import store as nightstore
from sleep2vec_sklearn.pretraining import contents_of
from tests.finetuning.simple_nights import N_EPOCHS, make_nights

NIGHTS = make_nights(3)
PLACES = ["a", "b", "c"]
NAMES = ("spo2", "ibi")
WIDTH = 3


def night_of(number, n_epochs, names=("eeg", "ibi")):
    """Tokens that say whose they are: 100 times the night plus the epoch."""
    tokens = np.repeat(100.0 * number + np.arange(n_epochs)[:, None], WIDTH, axis=1)
    tokens = tokens.astype(np.float32)
    tokens.flags.writeable = False
    valid = np.ones(n_epochs, dtype=bool)
    return NightArrays(n_epochs, dict.fromkeys(names, (tokens,)), dict.fromkeys(names, valid), {})


def training_set(lengths, labelled, longest):
    """A set of nights whose every epoch is a row; its target says where it is."""
    where = [(k, e) for k, length in enumerate(lengths) for e in range(length)]
    values = np.array([100.0 * k + e for k, e in where], dtype=np.float32)
    rows, epochs = [], []
    for k, length in enumerate(lengths):
        mine = np.array([i for i, (night, _) in enumerate(where) if night == k])
        mine = mine[labelled[mine]]
        rows.append(mine)
        epochs.append(np.array([where[i][1] for i in mine], dtype=int))
        assert len(mine) <= length
    nights = [night_of(k, length) for k, length in enumerate(lengths)]
    inputs = NightsInMemory(nights), ("eeg", "ibi"), WIDTH, Targets.of(values)
    return TrainingSet(*inputs, tuple(rows), tuple(epochs), tuple(lengths), None, longest)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.integers(1, 12) | st.none(),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_a_pass_covers_labelled_rows(lengths, longest, size, seed):
    rng = np.random.default_rng(seed)
    labelled = rng.random(sum(lengths)) < 0.7
    labelled[0] = True
    training = training_set(lengths, labelled, longest)
    seen = []
    for pieces in training.draw(rng, size):
        assert len(pieces) <= size
        batch, (targets, _) = training.batch(pieces)
        assert longest is None or batch.valid.shape[1] <= longest
        tokens = batch.take_rows(batch.inputs[:, :, 0])
        assert torch.equal(tokens[:, 0], targets)
        seen += targets.tolist()
    assert sorted(seen) == training.targets.values[labelled].tolist()


def test_nights_of_rows_are_averaged():
    nights = [night_of(k, 4) for k in range(3)]
    inputs = NightsInMemory(nights), ("eeg", "ibi"), WIDTH, Targets.of(np.array([0, 1]))
    rows = (np.array([0]), np.array([1]), np.array([0]))
    training = TrainingSet(*inputs, rows, None, (4, 4, 4), None)
    (pieces,) = training.draw(np.random.default_rng(0), 2)
    batch, (targets, _) = training.batch(pieces)
    numbers = torch.tensor([[float(p.night)] for p in pieces])
    assert batch.take_rows(numbers)[:, 0].tolist() == [1.0, 1.0]
    assert targets.tolist() == [0, 1]


def test_nights_are_padded():
    nights = [night_of(0, 2), night_of(1, 4, names=("ibi",))]
    batch = collate(nights, ("eeg", "ibi"), WIDTH + 1, None, np.arange(2), 2)
    assert batch.inputs.shape == (2, 4, 2, WIDTH + 1)
    assert batch.inputs[..., WIDTH].abs().sum() == 0
    assert batch.valid.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.present[1].tolist() == [[False, True]] * 4
    assert not batch.present[0, 2:].any()
    assert batch.inputs[1, :, 0].abs().sum() == 0


def night(minutes, **metadata):
    return Recording({"ibi": (np.full(minutes * 240, 0.9), 4)}, metadata=metadata)


def test_missing_covariates_are_marked():
    nights = [night(2, age=40), night(2, age=60), night(2)]
    found = np.stack(Covariates.fit(["age"], False, nights).of(nights))
    np.testing.assert_allclose(found, [[-1, 0], [1, 0], [0, 1]], atol=1e-6)
    with pytest.raises(InvalidRecordingError, match=r"bmi.*no recording"):
        Covariates.fit(["bmi"], False, [night(2, age=40)])


def test_time_follows_the_metadata():
    nights = [night(6, age=40), night(2, age=60)]
    covariates = Covariates.fit(["age"], True, nights)
    first, second = covariates.of(nights)
    assert (first.shape, second.shape) == ((12, 6), (4, 6))
    times = TimeOfNight().fit_transform(EpochSequence(nights))
    expected = (times - times.mean(axis=0)) / times.std(axis=0)
    np.testing.assert_allclose(np.concatenate([first, second])[:, 2:], expected, atol=1e-4)
    assert set(first[:, 0]) == {-1.0}
    assert covariates.n_columns == 6


@pytest.fixture
def timed(checkpoint_in_memory):
    rng = np.random.default_rng(0)
    X = EpochSequence(
        [
            Recording({"ibi": (0.9 + 0.05 * rng.standard_normal(4800), 4)}, id=f"n{i}")
            for i in range(4)
        ]
    )
    model = Sleep2VecClassifier(
        checkpoint_in_memory, modalities=["ibi"], head="linear", time_of_night=True, lr=0.05,
        max_epochs=20, patience=None, random_state=0,
    )  # fmt: skip
    late = X.index.get_level_values("epoch") >= 20
    return model.fit(X, late), X, late


def test_time_of_night_is_learned(timed, tmp_path):
    model, X, late = timed
    assert model.score(X, late) > 0.95
    part = np.arange(len(X))[::3]
    np.testing.assert_allclose(
        model.predict_proba(X[part]), model.predict_proba(X)[part], atol=1e-6
    )
    model.save(tmp_path / "model.safetensors")
    again = Sleep2VecClassifier.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)


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

    def watch(key, masks, arrays):
        most.append(sum(ref() is not None for ref in alive))
        alive.extend(weakref.ref(array) for array in arrays.values())
        return serialize(key, masks, arrays)

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
            engine = Engine(as_encoder(checkpoint_in_memory, layer), NAMES, 1)
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
