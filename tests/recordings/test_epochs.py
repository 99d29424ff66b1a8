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
from sleep2vec_sklearn.recordings import EpochView
from sleep2vec_sklearn.recordings.epochs import as_epoch_sequence

NIGHTS = [
    Recording({"spo2": np.linspace(90, 99, n * 120)}, stages=stages, subject=subject, id=id)
    for n, stages, subject, id in [
        (3, [0, 1, 2], "a", "a-1"),
        (2, None, "a", "a-2"),
        (4, [4, 4, -1, 3], None, "b"),
    ]
]


X = EpochSequence(NIGHTS)


def pairs_of(view):
    return list(zip(view.recording_index.tolist(), view.epoch_index.tolist(), strict=True))


def test_one_element_per_epoch():
    assert (len(X), X.shape, X.ndim) == (9, (9,), 1)
    assert pairs_of(X)[2:5] == [(0, 2), (1, 0), (1, 1)]
    assert X.index[4] == ("a-2", 1)
    assert X.index.names == ["recording", "epoch"]
    assert X.groups.tolist() == ["a"] * 5 + ["b"] * 4


def test_stages_align_with_epochs():
    assert X.stages.tolist() == [0, 1, 2, -1, -1, 4, 4, -1, 3]
    assert [view.stage for view in X] == X.stages.tolist()
    assert X[8].stage is SleepStage.N3
    with pytest.raises(ValueError, match="read-only"):
        X.stages[0] = 3


@given(st.lists(st.integers(-9, 8), max_size=20))
def test_integer_arrays_pick_elements(idx):
    picked = [pairs_of(X)[i] for i in idx]
    assert pairs_of(X[idx]) == picked
    assert pairs_of(X[np.array(idx, dtype=int), ...]) == picked


def test_views_keep_their_recordings():
    assert X[3:7].recordings is X.recordings
    assert X[5].recording is NIGHTS[2]
    view = X[::2][[4, 0]]
    assert view.stages.tolist() == [3, 0]
    assert view.groups.tolist() == ["b", "a"]


@pytest.mark.parametrize("key", [9, -10, [9], np.ones(4, dtype=bool)])
def test_out_of_range_raises_error(key):
    with pytest.raises(IndexError):
        X[key]


def test_only_epochs_become_sequence():
    assert as_epoch_sequence(NIGHTS) is None
    assert as_epoch_sequence([]) is None
    assert as_epoch_sequence(X) is X
    with pytest.raises(
        InvalidRecordingError, match=r"element 2 is a Recording\. Pass recordings on"
    ):
        as_epoch_sequence([X[0], X[1], NIGHTS[0]])


def test_dicts_become_recordings():
    assert len(EpochSequence([{"spo2": np.linspace(90, 99, 240)}])) == 2
    with pytest.raises(InvalidRecordingError, match="recording 1"):
        EpochSequence([NIGHTS[0], {}])
    with pytest.raises(InvalidRecordingError, match=r"wrap it: \[recording\]"):
        EpochSequence(NIGHTS[0])


@pytest.mark.parametrize("thing", [X, X[0]], ids=["sequence", "view"])
def test_array_conversion_raises_error(thing):
    with pytest.raises(TypeError, match="the step that needs numbers after a Sleep2VecTr"):
        np.asarray(thing)


def test_splits_keep_the_type():
    parts = train_test_split(X, X.stages, random_state=0)
    assert [type(part) for part in parts[:2]] == [EpochSequence, EpochSequence]
    for part, stages in zip(parts[:2], parts[2:], strict=True):
        np.testing.assert_array_equal(part.stages, stages)
    assert isinstance(resample(X, random_state=0), EpochSequence)
    for train, test in GroupKFold(2).split(X, groups=X.groups):
        assert not set(X[train].groups) & set(X[test].groups)


def test_sequence_can_be_pickled():
    again = pickle.loads(pickle.dumps(X[2:6]))
    assert again.index.equals(X[2:6].index)
    assert all(isinstance(view, EpochView) for view in X)
    assert repr(X[:5]) == "EpochSequence(5 epochs of 2 recordings)"


@given(lengths=st.lists(st.integers(1, 5), max_size=4), data=st.data())
def test_indexing_chains_match_arrays(lengths, data):
    nights = [Recording({"spo2": np.linspace(90, 99, n * 120)}) for n in lengths]
    pairs = np.array([(i, e) for i, n in enumerate(lengths) for e in range(n)]).reshape(-1, 2)
    view = EpochSequence(nights)
    for _ in range(3):
        n = len(pairs)
        key = data.draw(
            st.slices(n)
            | st.lists(st.booleans(), min_size=n, max_size=n).map(lambda m: np.array(m, dtype=bool))
            | (st.lists(st.integers(-n, n - 1)) if n else st.just([])).map(
                lambda i: np.array(i, dtype=int)
            )
        )
        pairs, view = pairs[key], view[key]
        assert pairs_of(view) == list(map(tuple, pairs.tolist()))
        assert (len(view), view.shape) == (len(pairs), (len(pairs),))


@given(st.integers(-9, 8), st.sampled_from([int, np.int32, np.int64]))
def test_any_integer_gives_epoch(i, kind):
    view = X[kind(i)]
    assert isinstance(view, EpochView)
    assert (view.recording, view.epoch) == (NIGHTS[pairs_of(X)[i][0]], pairs_of(X)[i][1])
    assert X[kind(i), ...].stage == X.stages[i]


@given(st.lists(st.integers(0, 8), max_size=12))
def test_rows_by_recording_partition_rows(idx):
    view = X[np.array(idx, dtype=int)]
    found = list(view.rows_by_recording())
    assert sorted(row for _, rows in found for row in rows) == list(range(len(idx)))
    for index, rows in found:
        assert set(view.recording_index[rows]) == {index}
        assert np.all(np.diff(rows) > 0)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_gathered_epochs_match_indexing(idx):
    gathered, picked = EpochSequence.from_views([X[i] for i in idx]), X[idx]
    assert [(v.recording, v.epoch) for v in gathered] == [(v.recording, v.epoch) for v in picked]
    assert gathered.stages.tolist() == picked.stages.tolist()
    assert len(gathered.recordings) == len(set(picked.recording_index.tolist()))


def test_empty_sequence_still_works():
    for empty in (EpochSequence([]), X[[]], X[np.zeros(9, dtype=bool)], X[5:5]):
        assert len(empty) == 0
        assert empty.stages.tolist() == empty.groups.tolist() == list(empty) == []
        assert list(empty.rows_by_recording()) == []


@pytest.mark.parametrize("kind", [list, tuple, lambda views: np.fromiter(views, object, 2)])
def test_any_list_of_epochs_converts(kind):
    assert pairs_of(as_epoch_sequence(kind([X[3], X[1]]))) == [(0, 0), (1, 1)]


def test_equality_is_identity():
    assert X == X
    assert X[:] != X
    assert hash(X) != hash(X[:])
    assert X[0] != X[0]
    assert len({X, X}) == 1


def test_unnamed_recordings_are_numbered():
    view = EpochSequence([{"spo2": np.linspace(90, 99, 240)} for _ in range(2)])
    assert view.groups.tolist() == [0, 0, 1, 1]
    assert view.index.tolist() == [(0, 0), (0, 1), (1, 0), (1, 1)]
