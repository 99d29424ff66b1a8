# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union

from sleep2vec_sklearn import EpochSequence, PrecomputedEmbeddings, Sleep2VecTransformer
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.probing._nights import (
    Nights,
    check_reads_signals,
    choose_modalities,
    supported_modalities,
)


def all_but(*left_out):
    return lambda night, place: None if place in left_out else night.without("ibi")


def test_nights_are_exchanged_in_place(nights):
    X, kept = Nights(nights).change(all_but(2))
    assert kept.tolist() == [0, 1, 3, 4, 5]
    assert [n.id for n in X] == ["n0", "n1", "n3", "n4", "n5"]
    assert {n.modalities for n in X} == {("effort", "spo2")}


def test_epochs_stay_those_they_were(nights):
    epochs = EpochSequence(nights)[::-7]
    X, kept = Nights(epochs).change(all_but(0, 4))
    assert X.index.tolist() == epochs[kept].index.tolist()
    assert set(epochs.groups[np.setdiff1d(np.arange(len(epochs)), kept)]) == {"s0", "s4"}


def test_a_person_keeps_the_nights_that_are_left(nights):
    X, kept = Nights([nights[:2], nights[2:3], nights[3:]]).change(all_but(0, 2))
    assert kept.tolist() == [0, 2]
    assert [[n.id for n in row] for row in X] == [["n1"], ["n3", "n4", "n5"]]


def test_a_night_given_twice_is_changed_once(nights):
    changed = []
    Nights([nights[0], nights[0]]).change(lambda night, _: changed.append(night) or night)
    assert len(changed) == 1


def test_no_night_left_is_no_row_left(nights):
    for X in (nights, EpochSequence(nights)):
        rows, kept = Nights(X).change(lambda *_: None)
        assert len(rows) == len(kept) == 0


def test_dicts_and_columns_are_nights():
    rows = [{"ibi": np.ones(240)}, {"spo2": np.ones(240)}]
    for X in (rows, pd.Series(rows)):
        assert Nights(X).modalities == ("spo2", "ibi")


@pytest.mark.parametrize("X", [5, "nights", [[1.0, 2.0]]])
def test_other_things_are_refused(X):
    with pytest.raises(InvalidRecordingError, match="record"):
        Nights(X)


def test_what_an_estimator_reads_is_found_inside(checkpoint_in_memory, nights):
    model = make_pipeline(
        Sleep2VecTransformer(checkpoint_in_memory, modalities=["ibi"]), DummyClassifier()
    )
    assert supported_modalities(model) is None
    assert supported_modalities(model.fit(nights, [0, 1] * 3)) == ("ibi",)
    search = GridSearchCV(model, {"dummyclassifier__strategy": ["prior"]}, cv=2)
    assert supported_modalities(search.fit(nights, [0, 1] * 3)) == ("ibi",)


def test_tables_are_refused_as_they_see_no_sensor():
    for step in (PrecomputedEmbeddings("x"), make_union(PrecomputedEmbeddings("x"))):
        with pytest.raises(TypeError, match="a lost sensor would change nothing"):
            check_reads_signals(make_pipeline(step, DummyClassifier()))


def test_modalities_to_study_are_worn_and_read(nights):
    given = Nights(nights)
    assert choose_modalities(None, given, ("ibi", "eeg")) == ("ibi",)
    assert choose_modalities(["spo2"], given, None) == ("spo2",)
    with pytest.raises(InvalidRecordingError, match="eeg: in none of the 6 nights"):
        choose_modalities(["eeg", "ibi"], given, None)
    with pytest.raises(InvalidRecordingError, match="spo2: not read by this estimator"):
        choose_modalities(["spo2"], given, ("ibi",))
    with pytest.raises(InvalidRecordingError, match="Did you mean 'ecg'"):
        choose_modalities(["ekg"], given, None)
