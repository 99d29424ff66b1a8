# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import random

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from sleep2vec_sklearn import EpochSequence, Recording, RecordingMetadata
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
    assert [night.id for night in again] == ["1", "2"]


def test_frames_have_a_row_each(study):
    frame = study.to_frame()
    assert frame.columns.tolist() == ["recording", "age"]
    assert frame["recording"].tolist() == ["1", "2"]
    frame["age"] = 0
    assert study.metadata["age"].tolist() == [50, 60]
    epochs = EpochSequence(study)[1:].to_frame()
    assert epochs.values.tolist() == [["2", 0, "2", -1]]


def test_ids_may_be_missing(study):
    nights = [Recording(night.read(), id=i) for night, i in zip(study, (7, None), strict=True)]
    cohort = Cohort(nights, pd.DataFrame({"age": [50, 60]}))
    assert cohort.metadata.index.tolist() == [7, None]
    # a gap makes floats of integers
    cohort.metadata = pd.DataFrame({"age": [51, 61]}, index=[7.0, np.nan])
    assert [night.metadata["age"] for night in cohort] == [51, 61]


@pytest.mark.parametrize("key", [object(), {"1": 2}, [[0]], ([0], 1), np.zeros(2, "M8[s]")])
def test_odd_keys_are_refused(study, key):
    with pytest.raises(
        TypeError, match=r"the key of a cohort is .*; accepted|the index is .*; acc"
    ):
        study[key]
    with pytest.raises(TypeError, match=r"the index is .*; accepted"):
        EpochSequence(study)[key]


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


@pytest.fixture
def four():
    """Nights n0 to n3 of the subjects a, b, a and c, aged 40, 70, 40 and 55."""
    nights = [Recording({"spo2": np.linspace(90, 99, 120 * (i + 1))}, id=f"n{i}") for i in range(4)]
    table = pd.DataFrame({"subject": list("abac"), "age": [40, 70, 40, 55]})
    return Cohort(nights, table, [("bad.edf", "empty")])


def ids(cohort):
    assert cohort.metadata.index.tolist() == [night.id for night in cohort]
    assert cohort.metadata["age"].tolist() == [night.metadata["age"] for night in cohort]
    return "".join(night.id[1] for night in cohort)


@pytest.mark.parametrize(
    ("key", "expected"),
    [(slice(1, 3), "12"), ([True, False, False, True], "03"), (np.array([3, 0, 0]), "300"),
     (["n2", "n1"], "21"), (pd.Index(["n3"]), "3"), ([], ""), (slice(None, None, -1), "3210"),
     ([-1], "3"), (np.array([True, False, True, False], dtype=object), "02"),
     (np.array([0.0, 2.0]), "02")],
)  # fmt: skip
def test_parts_keep_their_rows(four, key, expected):
    part = four[key]
    assert (type(part), ids(part)) == (Cohort, expected)
    assert part.failures["path"].tolist() == ["bad.edf"]


def test_masks_come_from_metadata(four):
    old = four[four.metadata["age"] > 50]
    assert (ids(old), old.groups.tolist()) == ("13", ["b", "c"])
    with pytest.raises(InvalidRecordingError, match="the mask's index is not that"):
        old[four.metadata["age"][:2] > 50]
    with pytest.raises(InvalidRecordingError, match="3 values, 0 of them missing, for 4"):
        four[[True] * 3]
    with pytest.raises(InvalidRecordingError, match="4 values, 1 of them missing, for 4"):
        four[np.array([True, None, True, False], dtype=object)]


def test_one_night_by_name(four):
    assert four["n2"] is four[2] is list(four)[2]
    with pytest.raises(KeyError, match="'n9' is not an id of the cohort, which has 'n0', 'n1', "):
        four["n9"]
    with pytest.raises(KeyError, match="'n9' and 1 more are not ids of the cohort"):
        four[["n9", "n0", "n8"]]


def test_repeated_ids_are_refused(four):
    assert four[[0, 0]]["n0"].id == "n0"
    nights = [four[0], Recording({"spo2": np.linspace(90, 99, 120)}, id="n0")]
    with pytest.raises(KeyError, match="the id 'n0' is that of two nights, 0 and 1"):
        Cohort(nights, pd.DataFrame(index=["n0", "n0"]))["n0"]


def test_cohorts_are_added(four):
    four.metadata["race"] = pd.Categorical(["x", "x", "y", "z"])
    first, second = four[:2].copy(), four[2:].copy()
    second.metadata["race"] = second.metadata["race"].cat.remove_unused_categories()
    both = first + second
    assert ids(both) == "0123"
    assert both.metadata["race"].dtype == "category"
    assert len(both.failures) == 1
    with pytest.raises(InvalidRecordingError, match=r"1 nights are in both cohorts.*'n0'"):
        both + four[:1]


def test_lists_are_added_to_lists(four):
    more = [four[0]]
    assert type(four + more) is list


def test_order_takes_rows_along(four):
    assert ids(four.sort_by("age")) == "0231"
    assert ids(four.sort_by(["subject", "age"], ascending=False)) == "3102"
    assert sorted(ids(four.shuffle(0))) == list("0123")
    assert ids(four.shuffle(0)) == ids(four.shuffle(0)) != ids(four.shuffle(1))
    with pytest.raises(InvalidRecordingError, match="no column 'ahi' to sort by"):
        four.sort_by("ahi")


@pytest.mark.parametrize(
    "change",
    [lambda c: random.Random(1).shuffle(c), lambda c: c.reverse(), lambda c: c.pop(),
     lambda c: c.sort(key=id), lambda c: c.append(c[0]), lambda c: c.extend([]),
     lambda c: c.insert(0, c[0]), lambda c: c.remove(c[0]), lambda c: c.clear(),
     lambda c: c.__setitem__(0, c[1]), lambda c: c.__delitem__(0), lambda c: c.__iadd__(c),
     lambda c: c.__imul__(2), lambda c: np.random.default_rng(1).shuffle(c)],
)  # fmt: skip
def test_changes_in_place_are_refused(four, change):
    with pytest.raises(TypeError, match=r"cannot be changed in place.*sort_by"):
        change(four)
    assert ids(four) == "0123"


def test_new_columns_reach_recordings(four):
    four.metadata["ahi"] = [1.0, np.nan, 30.0, 5.0]
    four.metadata.loc["n3", "age"] = 56
    X = RecordingMetadata(fields=["age", "ahi"]).fit_transform(list(four[[3, 1]]))
    np.testing.assert_array_equal(X, [[56, 5], [70, np.nan]])
    assert "ahi" not in four[1].metadata
    assert dict(four[2].metadata) == {"age": 40, "ahi": 30.0}
    assert [type(value) for value in four[2].metadata.values()] == [int, float]


def test_subjects_follow_the_table(four):
    four.metadata["subject"] = list("aabb")
    assert four.groups.tolist() == EpochSequence(four).groups[[0, 1, 3, 6]].tolist() == list("aabb")
    assert four[1].subject == "a"
    assert [len(nights) for nights in four.by_subject()] == [2, 2]


def test_unchanged_subjects_are_kept(four):
    first = next(iter(four))
    first.subject = "mine"
    assert [night.subject for night in four] == ["mine", "b", "a", "c"]
    four.metadata.loc["n1", "subject"] = "d"
    assert [night.subject for night in four] == ["a", "d", "a", "c"]


def test_nights_by_subject(four):
    nights = four.by_subject()
    assert [[night.id for night in own] for own in nights] == [["n0", "n2"], ["n1"], ["n3"]]
    assert pd.unique(four.groups).tolist() == [own[0].subject for own in nights]


@pytest.mark.parametrize("labels", [["n0", "n2", "n1", "n3"], ["n0", "n1", "n2", "n4"]])
def test_moved_rows_are_noticed(four, labels):
    table, row = four.metadata.copy(), four[3].metadata
    four.metadata.index = labels
    for read in (lambda: four[0], lambda: list(four), lambda: four.groups, lambda: four.copy()):
        with pytest.raises(InvalidRecordingError, match="moved, renamed, dropped or added"):
            read()
    assert repr(four) == "Cohort(4 recordings of 3 subjects, 1 not read)"
    with pytest.raises(InvalidRecordingError, match="moved, renamed"):
        row["age"]
    four.metadata = table
    assert ids(four) == "0123"


def test_assigned_tables_need_the_index(four):
    four.metadata = four.metadata.assign(bmi=[20, 30, 20, 25])
    assert four[1].metadata["bmi"] == 30
    for table in (four.metadata.sort_values("age"), four.metadata.reset_index(drop=True)):
        with pytest.raises(InvalidRecordingError, match=r"row [01] of metadata is .*metadata\.loc"):
            four.metadata = table
    assert ids(four) == "0123"


def test_given_recordings_stay_theirs(four):
    night = Recording({"spo2": np.linspace(90, 99, 120)}, id="n", metadata={"age": 1, "site": "x"})
    cohort = Cohort([night], pd.DataFrame({"age": [2]}, index=["n"]))
    assert dict(cohort[0].metadata) == {"age": 2, "site": "x"}
    assert dict(night.metadata) == {"age": 1, "site": "x"}
    assert dict(Cohort(cohort, pd.DataFrame(index=["n"]))[0].metadata) == {"age": 1, "site": "x"}


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda c: c.copy()])
def test_copies_have_their_own_table(four, duplicate):
    other = duplicate(four)
    other.metadata["age"] = 1
    assert four[0].metadata["age"] == 40
    assert other[0].metadata["age"] == 1
    assert [night.metadata["age"] for night in pickle.loads(pickle.dumps(other))] == [1] * 4


def test_notebooks_show_a_table(four):
    html = four._repr_html_()
    assert "Cohort(4 recordings of 3 subjects, 1 not read)" in html
    assert "n3</th>" in html
    assert "and 2 more" in four[[0, 1, 2, 3] * 3]._repr_html_()


def test_report_describes_each_night(four):
    report = four.report()
    assert report.index.tolist() == ["n0", "n1", "n2", "n3"]
    assert report["subject"].tolist() == list("abac")
    np.testing.assert_allclose(report["hours"], [1 / 120, 2 / 120, 3 / 120, 4 / 120])
    assert report["epochs"].tolist() == [1, 2, 3, 4]
    assert set(report["labels"]) == {"none"}
    assert "coverage_spo2" not in report


def test_report_measures_coverage(counting_source, noise):
    sources = [counting_source({"spo2": (*noise("spo2", 6, seed=i), "%")}) for i in range(2)]
    nights = [Recording.from_source(s, id=f"n{i}") for i, s in enumerate(sources)]
    cohort = Cohort(nights, pd.DataFrame(index=["n0", "n1"]))
    cohort.report()
    assert [source.reads for source in sources] == [[], []]
    np.testing.assert_allclose(cohort.report(coverage=True)["coverage_spo2"], 3 / 60)
    assert [source.reads for source in sources] == [[("spo2",)], [("spo2",)]]


def test_report_of_nothing_is_empty(four):
    assert four[:0].report(coverage=True).empty


@pytest.mark.parametrize(
    ("note", "column"),
    [("eeg: channel 'Sleep' left out: flat", "left_out"), ("labels start +30 s; moved", "labels"),
     ("ibi: derived from ecg (R peaks)", "derived"), ("unit assumed", "notes"),
     ("discontinuous: 60 s without records are gaps", "left_out")],
)  # fmt: skip
def test_report_sorts_the_notes(counting_source, noise, note, column):
    source = counting_source({"spo2": (*noise("spo2"), "%")})
    cohort = Cohort(
        [Recording.from_source(source, id="n", notes=[note])], pd.DataFrame(index=["n"])
    )
    assert cohort.report().loc["n", column] == note
