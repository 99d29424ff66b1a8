# SPDX-License-Identifier: BSD-3-Clause
import pytest

from sleep2vec_sklearn.errors import TrainingError
from sleep2vec_sklearn.pretraining._data import split_subjects

NAMES = ["effort", "spo2", "ibi"]


def split(store, validation, seed=0):
    subjects = store.table["subject"].tolist()
    return [nights.tolist() for nights in split_subjects(store, subjects, validation, seed, NAMES)]


def test_subjects_are_held_out_with_all_their_nights(montage_store):
    for validation, n_nights in ((0.1, 2), (0.5, 4), (2, 4), (0, 0), (None, 0)):
        train, held = split(montage_store, validation)
        assert sorted(train + held) == list(range(8))
        assert len(held) == n_nights
        assert {k // 2 for k in train}.isdisjoint({k // 2 for k in held})
    assert split(montage_store, ["s1", "s2"]) == [[0, 1, 6, 7], [2, 3, 4, 5]]


def test_who_is_held_out_follows_from_the_seed(montage_store):
    assert split(montage_store, 1, 5) == split(montage_store, 1, 5)
    assert len({tuple(split(montage_store, 1, seed)[1]) for seed in range(20)}) == 4


def test_who_cannot_be_measured_is_not_held_out(montage_store):
    store = montage_store.take(slice(None))
    missing = store.table.assign(coverage_effort=0)
    missing.loc[["n0", "n1", "n2", "n3"], "coverage_ibi"] = 0
    store.table = missing
    assert {night for seed in range(20) for night in split(store, 1, seed)[1]} == {4, 5, 6, 7}


def test_a_night_without_a_subject_is_its_own(montage_store):
    store = montage_store.take(slice(None))
    store.table = store.table.assign(subject=None)
    train, held = split(store, 3)
    assert (len(train), len(held)) == (5, 3)


def test_too_few_nights_to_train_on_are_refused(montage_store):
    with pytest.raises(TrainingError, match="holds out 4 of 4 subjects"):
        split(montage_store, 4)


def test_one_night_is_too_few_whoever_is_held_out(montage_store):
    with pytest.raises(TrainingError, match=r"^1 nights to train on; two at least"):
        split(montage_store.take([0]), 0)
