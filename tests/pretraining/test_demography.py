# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.pretraining import Demography, dash_weights

NAN = np.nan


def table(**columns):
    return pd.DataFrame(
        {"age": [61, None, 30], "sex": ["F", "male", None], "site": ["x", "y", "x"], **columns},
        index=["n1", "n2", "n3"],
    )


def test_rows_are_matched_by_id_not_by_order():
    cohort = Demography.from_metadata(table(), ["n3", "n1", "n2"], subjects=["a", "b", "a"])
    np.testing.assert_array_equal(cohort.age, [30, 61, NAN])
    np.testing.assert_array_equal(cohort.sex, [NAN, 0, 1])
    np.testing.assert_array_equal(cohort.site, [0, 0, 1])
    np.testing.assert_array_equal(cohort.subject, [0, 1, 0])
    np.testing.assert_array_equal(cohort.recording, [0, 1, 2])


def test_rows_of_other_recordings_are_not_read():
    metadata = table()
    metadata.loc["elsewhere"] = [-5, "?!", "z"]
    assert Demography.from_metadata(metadata, ["n2"]).sex == [1]


def test_numbers_in_the_index_match_ids_of_the_same_digits():
    metadata = pd.DataFrame({"age": [10, 20]}, index=[200002, 200001])
    cohort = Demography.from_metadata(metadata, ["200001", "200002"])
    assert cohort.age.tolist() == [20, 10]


def test_without_ids_rows_are_in_order():
    metadata = table().reset_index(drop=True)
    for ids in (None, [None, None, None]):
        cohort = Demography.from_metadata(metadata, ids)
        np.testing.assert_array_equal(cohort.age, [61, NAN, 30])
        assert len(set(cohort.recording)) == 3


def test_subjects_come_from_the_recordings_else_from_the_column():
    metadata = table(subject=["a", "b", "b"])
    ids = list(metadata.index)
    assert Demography.from_metadata(metadata, ids).subject.tolist() == [0, 1, 1]
    cohort = Demography.from_metadata(metadata, ids, subjects=["b", None, NAN])
    assert cohort.subject.tolist() == [0, 0, 0]
    assert Demography.from_metadata(table(), ids).subject.tolist() == [-1, -1, -1]


def test_any_column_may_be_absent():
    cohort = Demography.from_metadata(table()[["sex"]], ["n1", "n2", "n3"])
    assert np.isnan(cohort.age).all()
    assert (cohort.site == -1).all()


def test_no_table_at_all_leaves_the_recordings_and_subjects():
    cohort = Demography.from_metadata(None, ["n1", "n2", "n3"], ["a", "b", "a"])
    weights, history = cohort.weights()
    np.testing.assert_allclose(weights[1, [0, 2]], 1)
    assert np.argwhere(history).tolist() == [[0, 2], [2, 0]]


def test_a_table_that_went_through_a_file_says_the_same(tmp_path):
    cohort = Demography.from_metadata(table(), ["n1", "n2", "n3"])
    table().to_csv(tmp_path / "table.csv")
    read = pd.read_csv(tmp_path / "table.csv", index_col=0)
    again = Demography.from_metadata(read, ["n1", "n2", "n3"])
    for name in ("age", "sex", "site", "subject", "recording"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cohort, name))


def test_a_cohort_says_what_is_needed():
    nights = make_sleep_cohort(
        3, nights_per_subject=2, hours=0.25, modalities=["actigraphy"], random_state=0
    )
    shuffled = nights.metadata.sample(frac=1, random_state=1)
    ids, subjects = ([getattr(n, key) for n in nights] for key in ("id", "subject"))
    cohort = Demography.from_metadata(shuffled, ids, subjects)
    np.testing.assert_array_equal(cohort.age, nights.metadata["age"])
    assert cohort.subject.tolist() == [0, 0, 1, 1, 2, 2]
    assert cohort.weights()[1].sum() == 6


def test_taking_some_gives_their_weights_and_windows_of_one_night_are_history():
    cohort = Demography.from_metadata(table(), ["n1", "n2", "n3"], ["a", "b", "c"])
    some = cohort.take([2, 0, 2])
    assert len(some) == 3
    np.testing.assert_array_equal(some.age, [30, 61, 30])
    weights, history = some.weights(age_bandwidth=5)
    expected, _ = dash_weights([30, 61], [NAN, 0], [0, 0], [2, 0], age_bandwidth=5)
    np.testing.assert_allclose(weights[:2, :2], expected, rtol=1e-4)
    assert np.argwhere(history).tolist() == [[0, 2], [2, 0]]


def test_taking_none_leaves_none():
    assert len(Demography.from_metadata(None, ["n1"]).take([])) == 0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("age", -1, "recording 'n2': 'age' is -1.*0 to 120 years"),
        ("age", 121, "'age' is 121"),
        ("age", "old", "'age' is 'old'"),
        ("sex", 2, "recording 'n2': 'sex' is 2.*F or female"),
        ("sex", "boy", "'sex' is 'boy'"),
    ],
)
def test_values_that_cannot_be_are_refused_with_the_recording_named(column, value, message):
    metadata = table().astype(object)
    metadata.loc["n2", column] = value
    with pytest.raises(InvalidRecordingError, match=message):
        Demography.from_metadata(metadata, ["n1", "n2", "n3"])


@pytest.mark.parametrize(
    ("metadata", "ids", "message"),
    [
        (table(), ["n1", "n4"], "no row for 1 of 2 recordings, for example 'n4'; .*set_index"),
        (table().reset_index(), ["n1", "n2", "n3"], "no row for 3 of 3 .* holds '0', '1', '2'"),
        (table()[:0], ["n1"], "holds nothing"),
        (pd.concat([table(), table()]), ["n1"], "more than one row for recording 'n1'"),
        (table(), [None] * 3, "rows of metadata have ids .*reset_index"),
        (table().reset_index(drop=True), [None] * 2, "3 rows for 2 recordings without an id"),
        (table(), ["n1", None], "recording 1 has no id, but others have"),
        ({"age": [1]}, ["n1"], "must be a DataFrame .* got dict"),
        (None, None, "nothing is given"),
    ],
)
def test_rows_that_do_not_match_recordings_are_refused(metadata, ids, message):
    with pytest.raises(InvalidRecordingError, match=message):
        Demography.from_metadata(metadata, ids)


def test_one_subject_per_recording():
    with pytest.raises(InvalidRecordingError, match="1 subjects are given for 3 recordings"):
        Demography.from_metadata(table(), ["n1", "n2", "n3"], ["a"])
