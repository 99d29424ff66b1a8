# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.finetuning._data import Night, TrainingSet, collate
from sleep2vec_sklearn.finetuning._labels import Targets, is_missing
from sleep2vec_sklearn.finetuning._sources import NightsInMemory

WIDTH = 3


def night_of(number, n_epochs, names=("eeg", "ibi")):
    """Tokens that say whose they are: 100 times the night plus the epoch."""
    tokens = np.repeat(100.0 * number + np.arange(n_epochs)[:, None], WIDTH, axis=1)
    tokens = tokens.astype(np.float32)
    tokens.flags.writeable = False
    valid = np.ones(n_epochs, dtype=bool)
    return Night(n_epochs, dict.fromkeys(names, (tokens,)), dict.fromkeys(names, valid), {})


def training_set(lengths, labelled, longest):
    """A set of nights whose every epoch is a row; its target says where it is."""
    places = [(k, e) for k, length in enumerate(lengths) for e in range(length)]
    values = np.array([100.0 * k + e for k, e in places], dtype=np.float32)
    rows, epochs = [], []
    for k, length in enumerate(lengths):
        mine = np.array([i for i, (night, _) in enumerate(places) if night == k])
        mine = mine[labelled[mine]]
        rows.append(mine)
        epochs.append(np.array([places[i][1] for i in mine], dtype=int))
        assert len(mine) <= length
    nights = [night_of(k, length) for k, length in enumerate(lengths)]
    return TrainingSet(
        NightsInMemory(nights),
        ("eeg", "ibi"),
        None,
        Targets.of(values),
        tuple(rows),
        tuple(epochs),
        tuple(lengths),
        None,
        longest,
    )


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.integers(1, 12) | st.none(),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_a_pass_learns_every_labelled_row_once_from_its_own_token(lengths, longest, size, seed):
    rng = np.random.default_rng(seed)
    labelled = rng.random(sum(lengths)) < 0.7
    labelled[0] = True
    training = training_set(lengths, labelled, longest)
    seen = []
    for pieces in training.draw(rng, size):
        assert len(pieces) <= size
        batch = training.batch(pieces)
        assert longest is None or batch.valid.shape[1] <= longest
        tokens = batch.take_rows(batch.inputs[:, :, 0])
        assert torch.equal(tokens[:, 0], batch.targets)
        seen += batch.targets.tolist()
    assert sorted(seen) == training.targets.values[labelled].tolist()


def test_nights_of_one_row_are_averaged():
    nights = [night_of(k, 4) for k in range(3)]
    training = TrainingSet(
        NightsInMemory(nights),
        ("eeg", "ibi"),
        None,
        Targets.of(np.array([0, 1])),
        (np.array([0]), np.array([1]), np.array([0])),
        None,
        (4, 4, 4),
        None,
    )
    (pieces,) = training.draw(np.random.default_rng(0), 2)
    batch = training.batch(pieces)
    numbers = torch.tensor([[float(p.night)] for p in pieces])
    assert batch.take_rows(numbers)[:, 0].tolist() == [1.0, 1.0]
    assert batch.targets.tolist() == [0, 1]


def test_nights_of_different_lengths_and_sensors_are_padded():
    parts = collate([night_of(0, 2), night_of(1, 4, names=("ibi",))], ("eeg", "ibi"), None)
    assert parts["inputs"].shape == (2, 4, 2, WIDTH)
    assert parts["valid"].tolist() == [[True, True, False, False], [True] * 4]
    assert parts["present"][1].tolist() == [[False, True]] * 4
    assert not parts["present"][0, 2:].any()
    assert parts["inputs"][1, :, 0].abs().sum() == 0


@pytest.mark.parametrize("missing", [np.nan, None, np.datetime64("NaT")])
def test_ways_to_say_nothing(missing):
    assert is_missing(np.array([missing, "word"], dtype=object)).tolist() == [True, False]


def test_a_row_with_any_known_cell_is_labelled():
    cells = np.array([[np.nan, np.nan], [np.nan, 0.0]], dtype=np.float32)
    assert Targets.of(cells).labelled.tolist() == [False, True]
    assert Targets.of(np.array([-1, 0, 3])).labelled.tolist() == [False, True, True]
    weighted = Targets.of(np.array([1, 1])).weighted(np.array([0.0, 2.0]))
    assert weighted.labelled.tolist() == [False, True]
