# SPDX-License-Identifier: BSD-3-Clause

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.recordings import Cohort


@pytest.fixture
def study():
    samples = np.linspace(90, 99, 120)
    nights = [Recording({"spo2": samples}, subject=s, id=i) for s, i in [("a", "1"), (None, "2")]]
    table = pd.DataFrame({"age": [50, 60]}, index=["1", "2"])
    return Cohort(nights, table, [("c.edf", "truncated")])


def test_cohort_is_a_list(study):
    assert isinstance(study, list)
    assert [night.id for night in study[::-1]] == ["2", "1"]
    again = Cohort((night for night in study), study.metadata)
    assert list(again) == list(study)


def test_groups_are_subjects_else_ids(study):
    assert study.groups.tolist() == ["a", "2"]
    empty = Cohort([], pd.DataFrame())
    assert len(empty) == len(empty.groups) == len(empty.failures) == 0


@pytest.mark.parametrize(
    ("subjects", "groups"),
    [([7, 3, 7], [7, 3, 7]), ([7, "a", 7], ["7", "a", "7"]),
     ([0, None, None], ["0", "recording 1", "recording 2"]), ([None, None, None], [0, 1, 2]),
     ([("a", 1), ("b", 2), ("a", 1)], [("a", 1), ("b", 2), ("a", 1)])],
)  # fmt: skip
def test_groups_sort_without_merging(subjects, groups):
    nights = [Recording({"spo2": np.linspace(90, 99, 120)}, subject=s) for s in subjects]
    cohort = Cohort(nights, pd.DataFrame(index=range(3)))
    assert cohort.groups.tolist() == EpochSequence(nights).groups.tolist() == groups
    assert np.unique(cohort.groups).tolist() == sorted(set(groups))


def test_failures_are_a_table(study):
    assert study.failures.to_dict("list") == {"path": ["c.edf"], "reason": ["truncated"]}
    assert repr(study) == "Cohort(2 recordings of 2 subjects, 1 not read)"
    whole = Cohort([study[0], *study], study.metadata.iloc[[0, 0, 1]])
    assert whole.failures.empty
    assert whole.failures.columns.tolist() == ["path", "reason"]
    assert repr(whole) == "Cohort(3 recordings of 2 subjects)"


def test_wrong_metadata_length_raises(study):
    with pytest.raises(InvalidRecordingError, match="metadata has 1 rows for 2 recordings"):
        Cohort(study, study.metadata[:1])


def test_cohort_is_pickled_and_split(study):
    again = pickle.loads(pickle.dumps(study))
    assert [night.id for night in again] == ["1", "2"]
    assert again.metadata.equals(study.metadata)
    train, test, ages, _ = train_test_split(study, study.metadata.age, random_state=0)
    assert len(train) == len(test) == 1
    assert study.metadata.age[train[0].id] == ages.iloc[0]
