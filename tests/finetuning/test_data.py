# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecClassifier, TimeOfNight
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.finetuning._data import Covariates, Night, TrainingSet, collate
from sleep2vec_sklearn.finetuning._labels import Targets
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
    batch, (targets, _) = training.batch(pieces)
    numbers = torch.tensor([[float(p.night)] for p in pieces])
    assert batch.take_rows(numbers)[:, 0].tolist() == [1.0, 1.0]
    assert targets.tolist() == [0, 1]


def test_nights_are_padded():
    nights = [night_of(0, 2), night_of(1, 4, names=("ibi",))]
    batch = collate(nights, ("eeg", "ibi"), None, None, np.arange(2), 2)
    assert batch.inputs.shape == (2, 4, 2, WIDTH)
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


def test_unstated_fields_are_refused():
    with pytest.raises(InvalidRecordingError, match=r"bmi.*no recording"):
        Covariates.fit(["bmi"], False, [night(2, age=40)])


@pytest.fixture
def timed(checkpoint_in_memory):
    rng = np.random.default_rng(0)
    X = EpochSequence(
        [Recording({"ibi": 0.9 + 0.05 * rng.standard_normal(4800)}, id=f"n{i}") for i in range(4)]
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
