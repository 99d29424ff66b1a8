# SPDX-License-Identifier: BSD-3-Clause
"""Ids, joins and failures of a cohort, night by night."""

from __future__ import annotations

import pandas as pd
import pytest

from sleep2vec_sklearn import read_cohort
from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from sleep2vec_sklearn.readers._edf_header import fingerprint_of


@pytest.fixture
def nights(write_edf, tmp_path):
    """Function of names: a folder of short nights."""

    def make(*names):
        for name in names:
            write_edf(f"study/{name}", {"SpO2": (1, "%")}, seconds=60)
        return tmp_path / "study"

    return make


def read(source, **options):
    return read_cohort(source, verbose=0, **options)


def test_only_repeated_names_get_longer_ids(nights):
    folder = nights("s1/a.edf", "s2/a.edf", "s2/b.edf", "c.edf")
    assert [night.id for night in read(folder)] == ["c", "s1/a", "s2/a", "b"]


def test_nights_come_in_the_order_of_their_paths_or_of_the_table(nights):
    folder = nights("b.edf", "a.edf", "c.edf")
    assert [night.id for night in read(folder)] == ["a", "b", "c"]
    table = pd.DataFrame({"path": [folder / f"{name}.edf" for name in "cab"]}, index=[5, 5, 9])
    assert [night.id for night in read(table)] == ["c", "a", "b"]


def test_an_id_that_is_given_goes_before_the_name(nights):
    folder = nights("a.edf", "b.edf")
    table = pd.DataFrame({"path": [folder / "a.edf", folder / "b.edf"], "id": [7, None]})
    table["id"] = table["id"].astype("Int64")
    assert [night.id for night in read(table)] == ["7", "b"]


def test_names_in_a_file_are_text(nights):
    folder = nights("0001.edf", "1.edf")
    names = {"path": ["0001.edf", "1.edf"], "subject": ["007", "7"], "id": ["010", "10"]}
    pd.DataFrame({**names, "age": [70, 20]}).to_csv(folder / "metadata.csv", index=False)
    cohort = read(folder)
    assert [(night.subject, night.id) for night in cohort] == [("007", "010"), ("7", "10")]
    assert cohort.metadata["subject"].tolist() == ["007", "7"]
    assert cohort.metadata["age"].tolist() == [70, 20]


@pytest.mark.parametrize("column", ["id", "recording", "nsrrid", "file"])
def test_names_in_a_file_are_joined_as_text(nights, tmp_path, column):
    folder = nights("0001.edf", "1.edf")
    extra = {column: ["1", "0001"], "subject": ["07", "007"], "bmi": [22, 31]}
    pd.DataFrame(extra).to_csv(tmp_path / "extra.csv", index=False)
    cohort = read(folder, metadata=tmp_path / "extra.csv")
    assert [(n.id, n.subject, n.metadata["bmi"]) for n in cohort] == [
        ("0001", "007", 31),
        ("1", "07", 22),
    ]


def test_hidden_files_and_labels_are_not_nights(nights):
    folder = nights("a.edf", ".hidden.edf", "z-Hypnogram.edf", "notes.docx.edf")
    (folder / "readme.txt").write_text("no night")
    (folder / "a.csv").write_text("stage\nW\nN2\n")
    cohort = read(folder)
    assert [night.id for night in cohort] == ["a", "notes.docx"]
    assert cohort[0].stages.tolist() == [0, 2]


@pytest.mark.parametrize("suffix", [".EDF", ".rec", ".Edf"])
def test_suffixes_are_known_in_any_case(nights, suffix):
    folder = nights("a.edf")
    (folder / "a.edf").rename(folder / f"a{suffix}")
    assert [night.id for night in read(folder)] == ["a"]


def test_metadata_of_the_table_goes_before_that_of_the_header(nights):
    folder = nights("a.edf", "b.edf")
    table = pd.DataFrame({"path": sorted(folder.glob("*.edf")), "age": [20, None], "bmi": [1, 2]})
    cohort = read(table)
    assert cohort.metadata["age"].tolist() == [20, 33]
    assert cohort.metadata["bmi"].tolist() == [1, 2]
    assert dict(cohort[1].metadata) == {"sex": "F", "age": 33, "bmi": 2}
    assert list(cohort.metadata.columns) == ["subject", "path", "age", "bmi", "sex"]


def test_joined_columns_replace_those_of_the_table_and_leave_gaps(nights):
    folder = nights("a.edf", "b.edf")
    table = pd.DataFrame({"path": sorted(folder.glob("*.edf")), "bmi": [1.0, 2.0]})
    cohort = read(table, metadata=pd.DataFrame({"nsrrid": ["b"], "bmi": [30.0], "ahi": [9.0]}))
    assert cohort.metadata["bmi"].isna().tolist() == [True, False]
    assert cohort.metadata.loc["b", ["bmi", "ahi"]].tolist() == [30.0, 9.0]
    assert "ahi" not in cohort[0].metadata


def test_a_row_of_the_full_path_goes_before_one_of_the_name(nights):
    folder = nights("s1/a.edf", "s2/a.edf")
    paths = [str(folder / site / "a.edf") for site in ("s2", "s1")]
    cohort = read(folder, metadata=pd.DataFrame({"path": paths, "bmi": [2.0, 1.0]}))
    assert cohort.metadata["bmi"].tolist() == [1.0, 2.0]


def test_failures_are_listed_in_order_and_the_rest_stay_aligned(nights):
    folder = nights("a.edf", "b.edf", "c.edf", "d.edf")
    for bad in ("a.edf", "c.edf"):
        (folder / bad).write_bytes(b"")
    extra = pd.DataFrame({"id": list("abcd"), "bmi": [1, 2, 3, 4]})
    with pytest.warns(RecordingWarning, match=r"2 of 4 nights.*The first: .*a\.edf: the file is"):
        cohort = read(folder, metadata=extra)
    assert cohort.metadata["bmi"].tolist() == [2, 4]
    assert [path[-5:] for path in cohort.failures["path"]] == ["a.edf", "c.edf"]


def test_modalities_and_channels_hold_for_all_nights(nights):
    folder = nights("a.edf", "b.edf")
    assert [n.modalities for n in read(folder, channels={"spo2": "spo2"})] == [("spo2",)] * 2
    with pytest.raises(ReadError, match=r"none of 2 nights could be read. The first: .*no usable"):
        read(folder, modalities=["eeg"])


def test_a_pattern_that_matches_nothing_is_named(nights):
    with pytest.raises(ReadError, match=r"no recording that matches '\*\.fif'; known suffixes"):
        read(nights("a.edf"), pattern="*.fif")


def test_an_unknown_way_with_errors_is_refused(nights):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'warn', got 'skip'"):
        read(nights("a.edf"), on_error="skip")


def test_a_metadata_table_without_paths_is_no_list_of_nights(nights):
    folder = nights("a.edf", "b.edf")
    pd.DataFrame({"id": ["b"], "age": [70]}).to_csv(folder / "metadata.csv", index=False)
    assert [night.id for night in read(folder)] == ["a", "b"]


def test_a_fingerprint_of_files_has_an_order_and_knows_the_settings(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (tmp_path / name for name in "abc")
    prints = [fingerprint_of(f, s) for f, s in [([a], 1), ([a], 2), ([a, b], 1), ([b, a], 1)]]
    assert len(set(prints)) == 4
    assert fingerprint_of([c], 1) == prints[0]
    assert all(len(text) == 64 for text in prints)
