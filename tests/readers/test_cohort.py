# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import pandas as pd
import pytest

from sleep2vec_sklearn import read_cohort
from sleep2vec_sklearn.errors import ReadError, RecordingWarning


@pytest.fixture
def folder(write_edf, stages_of, tmp_path):
    """Three nights of two people, one hypnogram each, and a damaged file."""
    for name in ("SC4001E", "SC4002E", "SC4011E"):
        write_edf(f"study/{name}0-PSG.edf", seconds=60)
        write_edf(f"study/{name}C-Hypnogram.edf", annotations=stages_of(["W", "2"]), seconds=60)
    (tmp_path / "study" / "SC4012E0-PSG.edf").write_bytes(b"0       ")
    return tmp_path / "study"


def test_one_bad_night_never_costs_the_cohort(folder):
    with pytest.warns(RecordingWarning, match="1 of 4 nights could not be read"):
        cohort = read_cohort(folder, verbose=0)
    assert [night.id for night in cohort] == ["SC4001E0-PSG", "SC4002E0-PSG", "SC4011E0-PSG"]
    assert cohort.groups.tolist() == ["SC400", "SC400", "SC401"]
    assert [night.stages.tolist() for night in cohort] == [[0, 2]] * 3
    assert len(cohort.failures) == 1
    assert cohort.failures["path"][0].endswith("SC4012E0-PSG.edf")
    assert "truncated" in cohort.failures["reason"][0]


def test_metadata_is_aligned_with_the_nights(folder):
    with pytest.warns(RecordingWarning):
        cohort = read_cohort(folder, verbose=0)
    assert cohort.metadata.index.tolist() == [night.id for night in cohort]
    assert cohort.metadata.columns.tolist()[:2] == ["subject", "path"]
    assert cohort.metadata["age"].tolist() == [33, 33, 33]


def test_on_error_raise_names_the_file(folder):
    with pytest.raises(ReadError, match="SC4012E0-PSG"):
        read_cohort(folder, on_error="raise", verbose=0)


def test_a_pattern_chooses_the_nights(folder):
    assert len(read_cohort(folder, pattern="SC400*-PSG.edf", verbose=0)) == 2


def test_metadata_is_joined_by_file_name_or_id(folder, tmp_path):
    extra = pd.DataFrame({"file": ["SC4011E0-PSG.edf", "SC4001E0-PSG"], "bmi": [31.0, 22.0]})
    extra.to_csv(tmp_path / "extra.csv", index=False)
    pattern = "SC40[01]1*-PSG.edf"
    for given in (extra, tmp_path / "extra.csv", extra.set_index("file")):
        cohort = read_cohort(folder, pattern=pattern, metadata=given, verbose=0)
        assert cohort.metadata["bmi"].tolist() == [22.0, 31.0]
        assert [night.metadata["bmi"] for night in cohort] == [22.0, 31.0]


def test_metadata_of_other_nights_is_an_error(folder):
    extra = pd.DataFrame({"id": ["somebody"], "bmi": [31.0]})
    with pytest.raises(ReadError, match="'somebody', the nights are called 'SC4001E0-PSG'"):
        read_cohort(folder, pattern="SC4001*PSG.edf", metadata=extra, verbose=0)


def test_a_table_gives_paths_hypnograms_subjects_and_outcomes(folder):
    table = pd.DataFrame(
        {
            "path": [folder / "SC4011E0-PSG.edf", folder / "SC4001E0-PSG.edf"],
            "hypnogram": [None, folder / "SC4011EC-Hypnogram.edf"],
            "subject": ["b", "a"],
            "ahi": [12.5, 3.0],
        }
    )
    cohort = read_cohort(table, verbose=0)
    assert cohort.groups.tolist() == ["b", "a"]
    assert cohort.metadata["ahi"].tolist() == [12.5, 3.0]
    assert cohort[0].metadata["ahi"] == 12.5


def test_a_missing_value_of_any_kind_is_missing(folder):
    table = pd.DataFrame(
        {
            "path": [folder / "SC4011E0-PSG.edf"] * 3,
            "hypnogram": pd.array([pd.NA] * 3, dtype="string"),
            "bmi": pd.array([pd.NA] * 3, dtype="Int64"),
            "id": ["a", "b", "c"],
        }
    )
    cohort = read_cohort(table, verbose=0)
    assert "bmi" not in cohort[0].metadata
    assert cohort[0].stages is not None


def test_a_folder_with_a_metadata_table_is_read_by_it(folder):
    pd.DataFrame(
        {
            "path": ["SC4011E0-PSG.edf", "SC4001E0-PSG.edf"],
            "hypnogram": ["SC4011EC-Hypnogram.edf", ""],
            "subject": ["b", "a"],
            "age": [70, 20],
        }
    ).to_csv(folder / "metadata.csv", index=False)
    cohort = read_cohort(folder, verbose=0)
    assert [night.subject for night in cohort] == ["b", "a"]
    assert [night.metadata["age"] for night in cohort] == [70, 20]
    assert cohort.metadata["age"].tolist() == [70, 20]


def test_equal_names_in_subfolders_get_longer_ids(write_edf, tmp_path):
    write_edf("all/site1/night.edf", seconds=60)
    write_edf("all/site2/night.edf", seconds=60)
    cohort = read_cohort(tmp_path / "all", verbose=0)
    assert [night.id for night in cohort] == ["site1/night", "site2/night"]


def test_threads_give_the_same_cohort(folder):
    with pytest.warns(RecordingWarning):
        one = read_cohort(folder, verbose=0)
    with pytest.warns(RecordingWarning):
        two = read_cohort(folder, verbose=0, n_jobs=2)
    pd.testing.assert_frame_equal(one.metadata, two.metadata)
    assert [a.fingerprint for a in one] == [b.fingerprint for b in two]


def test_files_that_hold_labels_only_are_not_nights(write_edf, stages_of, tmp_path):
    write_edf("all/night.edf", seconds=60)
    labels = write_edf("all/night_scored.edf", annotations=stages_of("W2"), seconds=60)
    make_annotations_only(labels, stages_of("W2"))
    assert len(read_cohort(tmp_path / "all", verbose=0)) == 1


def make_annotations_only(path, annotations):
    import edfio

    edfio.Edf([], annotations=[edfio.EdfAnnotation(*a) for a in annotations]).write(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "nowhere", "no such folder"),
        (lambda path: path, "holds no recording"),
        (lambda path: pd.DataFrame({"file": ["a"]}), "needed is 'path'"),
        (lambda path: pd.DataFrame({"path": []}), "no rows"),
        (lambda path: pd.DataFrame({"path": ["a.edf", "a.edf"]}), "unique ids"),
        (lambda path: pd.DataFrame({"path": ["a.edf"]}), "none of 1 nights could be read"),
    ],
)
def test_sources_without_nights_say_what_is_needed(tmp_path, make, words):
    with pytest.raises(ReadError, match=words):
        read_cohort(make(tmp_path), verbose=0)
