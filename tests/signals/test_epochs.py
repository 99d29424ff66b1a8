# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, train_test_split
from sklearn.utils import resample

from sleep2vec_sklearn import EpochSequence, Recording, SleepStage
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.signals import EpochView
from sleep2vec_sklearn.signals.epochs import as_epoch_sequence

NIGHTS = [
    Recording({"spo2": np.linspace(90, 99, n * 120)}, stages=stages, subject=subject, id=id)
    for n, stages, subject, id in [
        (3, [0, 1, 2], "a", "a-1"),
        (2, None, "a", "a-2"),
        (4, [4, 4, -1, 3], None, "b"),
    ]
]
X = EpochSequence(NIGHTS)


def places(view):
    return list(zip(view.recording_index.tolist(), view.epoch_index.tolist(), strict=True))


def test_there_is_one_element_per_epoch():
    assert (len(X), X.shape, X.ndim) == (9, (9,), 1)
    assert places(X)[2:5] == [(0, 2), (1, 0), (1, 1)]


def test_stages_line_up_with_epochs():
    assert X.stages.tolist() == [0, 1, 2, -1, -1, 4, 4, -1, 3]
    assert [view.stage for view in X] == X.stages.tolist()
    assert X[8].stage is SleepStage.N3


def test_stages_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        X.stages[0] = 3


def test_groups_are_subjects_else_recordings():
    assert X.groups.tolist() == ["a"] * 5 + ["b"] * 4


def test_the_index_names_recording_and_epoch():
    assert X.index[4] == ("a-2", 1)
    assert X.index.names == ["recording", "epoch"]


@given(st.lists(st.integers(-9, 8), max_size=20))
def test_integer_arrays_pick_elements_as_numpy_would(idx):
    picked = [places(X)[i] for i in idx]
    assert places(X[idx]) == picked
    assert places(X[np.array(idx, dtype=int), ...]) == picked


@given(st.lists(st.booleans(), min_size=9, max_size=9))
def test_masks_pick_elements_as_numpy_would(mask):
    picked = [place for place, keep in zip(places(X), mask, strict=True) if keep]
    assert places(X[np.array(mask)]) == picked


@given(st.slices(9))
def test_slices_pick_elements_as_lists_would(key):
    assert places(X[key]) == places(X)[key]


def test_views_share_their_recordings():
    assert X[3:7].recordings is X.recordings
    assert X[5].recording is NIGHTS[2]


@pytest.mark.parametrize("key", [9, -10, [9], np.ones(4, dtype=bool)])
def test_what_is_out_of_range_is_an_index_error(key):
    with pytest.raises(IndexError):
        X[key]


def test_views_of_views_keep_their_stages_and_groups():
    view = X[::2][[4, 0]]
    assert view.stages.tolist() == [3, 0]
    assert view.groups.tolist() == ["b", "a"]


def test_a_list_of_epochs_becomes_a_sequence_again():
    order = [8, 0, 4, 8]
    again = as_epoch_sequence([X[i] for i in order])
    assert again.index.tolist() == [X.index[i] for i in order]


def test_what_holds_no_epochs_is_not_a_sequence():
    assert as_epoch_sequence(NIGHTS) is None
    assert as_epoch_sequence([]) is None


def test_one_recording_is_not_a_list_of_recordings():
    with pytest.raises(InvalidRecordingError, match=r"wrap it: \[recording\]"):
        EpochSequence(NIGHTS[0])


def test_dicts_are_taken_as_recordings():
    assert len(EpochSequence([{"spo2": np.linspace(90, 99, 240)}])) == 2


def test_a_bad_dict_is_named():
    with pytest.raises(InvalidRecordingError, match="recording 1"):
        EpochSequence([NIGHTS[0], {}])


@pytest.mark.parametrize("thing", [X, X[0]], ids=["sequence", "view"])
def test_numpy_is_told_what_to_do_instead(thing):
    with pytest.raises(TypeError, match="the step that needs numbers after a Sleep2VecTr"):
        np.asarray(thing)


def test_train_test_split_gives_epoch_sequences():
    parts = train_test_split(X, X.stages, random_state=0)
    assert [type(part) for part in parts[:2]] == [EpochSequence, EpochSequence]
    for part, stages in zip(parts[:2], parts[2:], strict=True):
        np.testing.assert_array_equal(part.stages, stages)


def test_bootstrap_samples_are_epoch_sequences():
    assert isinstance(resample(X, random_state=0), EpochSequence)


def test_group_folds_keep_subjects_apart():
    for train, test in GroupKFold(2).split(X, groups=X.groups):
        assert not set(X[train].groups) & set(X[test].groups)


def test_epochs_survive_a_pickle():
    again = pickle.loads(pickle.dumps(X[2:6]))
    assert again.index.equals(X[2:6].index)


def test_iteration_gives_views():
    assert all(isinstance(view, EpochView) for view in X)
    assert repr(X[:5]) == "EpochSequence(5 epochs of 2 recordings)"
