# SPDX-License-Identifier: BSD-3-Clause
"""Ids, joins and failures of a cohort, night by night."""

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import RecordingMetadata, read_cohort
from sleep2vec_sklearn.errors import (
    InvalidRecordingError,
    ReadError,
    RecordingWarning,
    UnknownModalityError,
)
from sleep2vec_sklearn.readers import cohort as cohort_module


@pytest.fixture
def folder(write_edf, stages_of, tmp_path):
    """Three nights of two subjects, one hypnogram each, and a damaged file."""
    for name in ("SC4001E", "SC4002E", "SC4011E"):
        write_edf(f"study/{name}0-PSG.edf", seconds=60)
        write_edf(f"study/{name}C-Hypnogram.edf", annotations=stages_of(["W", "2"]), seconds=60)
    (tmp_path / "study" / "SC4012E0-PSG.edf").write_bytes(b"0       ")
    return tmp_path / "study"


def test_bad_night_is_left_out(folder):
    with pytest.warns(RecordingWarning, match="1 of 4 nights could not be read"):
        cohort = read_cohort(folder, verbose=0)
    assert [night.id for night in cohort] == ["SC4001E0-PSG", "SC4002E0-PSG", "SC4011E0-PSG"]
    assert cohort.groups.tolist() == ["SC400", "SC400", "SC401"]
    assert [night.stages.tolist() for night in cohort] == [[0, 2]] * 3
    assert len(cohort.failures) == 1
    assert cohort.failures["path"][0].endswith("SC4012E0-PSG.edf")
    assert "truncated" in cohort.failures["reason"][0]


def test_metadata_follows_the_nights(folder):
    with pytest.warns(RecordingWarning):
        cohort = read_cohort(folder, verbose=0)
    assert cohort.metadata.index.tolist() == [night.id for night in cohort]
    assert cohort.metadata.columns.tolist()[:2] == ["subject", "path"]
    assert cohort.metadata["age"].tolist() == [33, 33, 33]


def test_on_error_raise_names_file(folder):
    with pytest.raises(ReadError, match="SC4012E0-PSG"):
        read_cohort(folder, on_error="raise", verbose=0)


def test_pattern_selects_the_nights(folder):
    assert len(read_cohort(folder, pattern="SC400*-PSG.edf", verbose=0)) == 2


def test_metadata_joins_by_name(folder, tmp_path):
    extra = pd.DataFrame({"file": ["SC4011E0-PSG.edf", "SC4001E0-PSG"], "bmi": [31.0, 22.0]})
    extra.to_csv(tmp_path / "extra.csv", index=False)
    pattern = "SC40[01]1*-PSG.edf"
    for metadata in (extra, tmp_path / "extra.csv", extra.set_index("file")):
        cohort = read_cohort(folder, pattern=pattern, metadata=metadata, verbose=0)
        assert cohort.metadata["bmi"].tolist() == [22.0, 31.0]
        assert [night.metadata["bmi"] for night in cohort] == [22.0, 31.0]


def test_foreign_metadata_raises_error(folder):
    extra = pd.DataFrame({"id": ["somebody"], "bmi": [31.0]})
    with pytest.raises(ReadError, match="'somebody', the nights are called 'SC4001E0-PSG'"):
        read_cohort(folder, pattern="SC4001*PSG.edf", metadata=extra, verbose=0)


def test_table_lists_the_nights(folder):
    paths = [folder / "SC4011E0-PSG.edf", folder / "SC4001E0-PSG.edf"]
    labels = [None, folder / "SC4011EC-Hypnogram.edf"]
    table = {"path": paths, "hypnogram": labels, "subject": ["b", "a"], "ahi": [12.5, 3.0]}
    cohort = read_cohort(pd.DataFrame(table), verbose=0)
    assert cohort.groups.tolist() == ["b", "a"]
    assert cohort.metadata["ahi"].tolist() == [12.5, 3.0]
    assert cohort[0].metadata["ahi"] == 12.5


def test_missing_values_are_dropped(folder):
    table = pd.DataFrame({"path": [folder / "SC4011E0-PSG.edf"] * 3, "id": ["a", "b", "c"]})
    table["hypnogram"] = pd.array([pd.NA] * 3, dtype="string")
    table["bmi"] = pd.array([pd.NA] * 3, dtype="Int64")
    cohort = read_cohort(table, verbose=0)
    assert "bmi" not in cohort[0].metadata
    assert cohort[0].stages is not None


def test_metadata_csv_lists_nights(folder):
    (folder / "metadata.csv").write_text(
        "path,hypnogram,subject,age\n"
        "SC4011E0-PSG.edf,SC4011EC-Hypnogram.edf,b,70\nSC4001E0-PSG.edf,,a,20\n"
    )
    with pytest.warns(RecordingWarning, match="2 recordings of .* not in metadata.csv"):
        cohort = read_cohort(folder, verbose=0)
    assert [night.subject for night in cohort] == ["b", "a"]
    assert [night.metadata["age"] for night in cohort] == [70, 20]
    assert cohort.metadata["age"].tolist() == [70, 20]


def test_threads_give_same_cohort(folder):
    with pytest.warns(RecordingWarning):
        one = read_cohort(folder, verbose=0)
    with pytest.warns(RecordingWarning):
        two = read_cohort(folder, verbose=0, n_jobs=2)
    pd.testing.assert_frame_equal(one.metadata, two.metadata)
    assert [a.fingerprint for a in one] == [b.fingerprint for b in two]


def test_label_files_are_not_nights(write_edf, stages_of, tmp_path):
    write_edf("all/night.edf", seconds=60)
    labels = write_edf("all/night_scored.edf", annotations=stages_of("W2"), seconds=60)
    make_annotations_only(labels, stages_of("W2"))
    assert len(read_cohort(tmp_path / "all", verbose=0)) == 1


def make_annotations_only(path, annotations):
    import edfio

    edfio.Edf([], annotations=[edfio.EdfAnnotation(*a) for a in annotations]).write(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [(lambda path: path / "nowhere", "no such folder"), (lambda path: path, "holds no recording"),
     (lambda path: pd.DataFrame({"file": ["a"]}), "needed is 'path'"),
     (lambda path: pd.DataFrame({"path": []}), "no rows"),
     (lambda path: pd.DataFrame({"path": ["a.edf", "a.edf"]}), "unique ids"),
     (lambda path: pd.DataFrame({"path": ["a.edf"]}), "none of 1 nights could be read")],
)  # fmt: skip
def test_invalid_sources_raise_error(tmp_path, make, words):
    with pytest.raises(ReadError, match=words):
        read_cohort(make(tmp_path), verbose=0)


@pytest.fixture
def nights(write_edf, tmp_path):
    """Function of names: a folder of short nights."""

    def make(*names):
        for name in names:
            labels = [(0.0, 60.0, "Sleep stage W")]
            write_edf(f"study/{name}", {"SpO2": (1, "%")}, seconds=60, annotations=labels)
        return tmp_path / "study"

    return make


def read(source, **options):
    return read_cohort(source, verbose=0, **options)


def test_repeated_names_get_longer_ids(nights):
    folder = nights("s1/a.edf", "s2/a.edf", "s2/b.edf", "c.edf")
    with pytest.warns(RecordingWarning, match=r"1 names .*s1/a\.edf and .*s2/a\.edf.*'s1', 's2'"):
        cohort = read(folder)
    assert [night.id for night in cohort] == ["c", "s1/a", "s2/a", "b"]
    assert cohort.groups.tolist() == ["c", "s1", "s2", "s2"]


def test_nights_keep_their_order(nights):
    folder = nights("b.edf", "a.edf", "c.edf")
    assert [night.id for night in read(folder)] == ["a", "b", "c"]
    table = pd.DataFrame({"path": [folder / f"{name}.edf" for name in "cab"]}, index=[5, 5, 9])
    assert [night.id for night in read(table)] == ["c", "a", "b"]


def test_stated_id_takes_precedence(nights):
    folder = nights("a.edf", "b.edf")
    table = pd.DataFrame({"path": [folder / "a.edf", folder / "b.edf"], "id": [7, None]})
    table["id"] = table["id"].astype("Int64")
    assert [night.id for night in read(table)] == ["7", "b"]


def test_names_in_files_are_text(nights):
    folder = nights("0001.edf", "1.edf")
    names = {"path": ["0001.edf", "1.edf"], "subject": ["007", "7"], "id": ["010", "10"]}
    pd.DataFrame({**names, "age": [70, 20]}).to_csv(folder / "metadata.csv", index=False)
    cohort = read(folder)
    assert [(night.subject, night.id) for night in cohort] == [("007", "010"), ("7", "10")]
    assert cohort.metadata["subject"].tolist() == ["007", "7"]
    assert cohort.metadata["age"].tolist() == [70, 20]


@pytest.mark.parametrize("column", ["id", "recording", "nsrrid", "file"])
def test_text_names_are_joined(nights, tmp_path, column):
    folder = nights("0001.edf", "1.edf")
    extra = {column: ["1", "0001"], "subject": ["07", "007"], "bmi": [22, 31]}
    pd.DataFrame(extra).to_csv(tmp_path / "extra.csv", index=False)
    cohort = read(folder, metadata=tmp_path / "extra.csv")
    assert [(n.id, n.subject, n.metadata["bmi"]) for n in cohort] == [
        ("0001", "007", 31),
        ("1", "07", 22),
    ]


def test_hidden_files_are_skipped(nights):
    folder = nights("a.edf", ".hidden.edf", "z-Hypnogram.edf", "notes.docx.edf")
    (folder / "readme.txt").write_text("no night")
    (folder / "a.csv").write_text("stage\nW\nN2\n")
    cohort = read(folder)
    assert [night.id for night in cohort] == ["a", "notes.docx"]
    assert cohort[0].stages.tolist() == [0, 2]


@pytest.mark.parametrize("suffix", [".EDF", ".rec", ".Edf"])
def test_suffixes_ignore_case(nights, suffix):
    folder = nights("a.edf")
    (folder / "a.edf").rename(folder / f"a{suffix}")
    assert [night.id for night in read(folder)] == ["a"]


def test_table_metadata_takes_precedence(nights):
    folder = nights("a.edf", "b.edf")
    table = pd.DataFrame({"path": sorted(folder.glob("*.edf")), "age": [20, None], "bmi": [1, 2]})
    cohort = read(table)
    assert cohort.metadata["age"].tolist() == [20, 33]
    assert cohort.metadata["bmi"].tolist() == [1, 2]
    assert dict(cohort[1].metadata) == {"sex": "F", "age": 33, "bmi": 2}
    assert list(cohort.metadata.columns) == ["subject", "path", "age", "bmi", "sex"]


def test_joined_values_take_precedence(nights):
    folder = nights("a.edf", "b.edf")
    table = pd.DataFrame({"path": sorted(folder.glob("*.edf")), "bmi": [1.0, 2.0]})
    extra = pd.DataFrame({"nsrrid": ["b", "z"], "bmi": [30.0, 1.0], "ahi": [9.0, 1.0]})
    words = "1 of 2 nights have a row in metadata, by its nsrrid as recordings; 1 of its 2 rows"
    with pytest.warns(RecordingWarning, match=words):
        cohort = read(table, metadata=extra)
    assert cohort.metadata["bmi"].tolist() == [1.0, 30.0]
    assert cohort.metadata["ahi"].tolist()[1] == 9.0
    assert "ahi" not in cohort[0].metadata


def test_full_path_takes_precedence(nights):
    folder = nights("s1/a.edf", "s2/a.edf")
    paths = [str(folder / site / "a.edf") for site in ("s2", "s1")]
    table = {"path": paths, "subject": ["p", "q"], "bmi": [2.0, 1.0]}
    cohort = read(folder, metadata=pd.DataFrame(table))
    assert cohort.groups.tolist() == ["q", "p"]
    assert cohort.metadata["bmi"].tolist() == [1.0, 2.0]


def test_failures_keep_the_alignment(nights):
    folder = nights("a.edf", "b.edf", "c.edf", "d.edf")
    for bad in ("a.edf", "c.edf"):
        (folder / bad).write_bytes(b"")
    extra = pd.DataFrame({"id": list("abcd"), "bmi": [1, 2, 3, 4]})
    with pytest.warns(RecordingWarning, match=r"2 of 4 nights.*The first: .*a\.edf: the file is"):
        cohort = read(folder, metadata=extra)
    assert cohort.metadata["bmi"].tolist() == [2, 4]
    assert [path[-5:] for path in cohort.failures["path"]] == ["a.edf", "c.edf"]


def test_options_hold_for_all(nights):
    folder = nights("a.edf", "b.edf")
    assert [n.modalities for n in read(folder, channels={"spo2": "spo2"})] == [("spo2",)] * 2
    with pytest.raises(ReadError, match=r"none of 2 nights could be read. The first: .*no usable"):
        read(folder, modalities=["eeg"])
    (folder / "b.edf").write_bytes(b"")
    with pytest.raises(ReadError, match=r"All 2 reasons: 1 as .*no usable.*; 1 as .*the file is"):
        read(folder, modalities=["eeg"])


def test_labels_may_be_ignored(folder):
    with pytest.warns(RecordingWarning, match="1 of 4 nights could not be read"):
        assert any(night.stages is not None for night in read(folder))
    with pytest.warns(RecordingWarning, match="1 of 4 nights could not be read"):
        assert all(night.stages is None for night in read(folder, hypnogram=False))
    with pytest.raises(ValueError, match="accepted for all nights is False"):
        read(folder, hypnogram="stages.csv")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [({"modalities": ["EEGs"]}, UnknownModalityError, "unknown modality 'EEGs'. Did you mean"),
     ({"modalities": "eegs"}, UnknownModalityError, "unknown modality 'eegs'"),
     ({"channels": {"heart": "ECG"}}, UnknownModalityError, "unknown modality 'heart'"),
     ({"n_jobs": 0}, ValueError, "n_jobs must be None or a whole number other than 0, got 0"),
     ({"on_error": "skip"}, ValueError, "on_error must be one of 'raise', 'warn'; got 'skip'"),
     ({"on": "subject"}, ValueError, "on is 'subject', but there is no metadata"),
     ({"metadata": "gone.csv"}, ReadError, r"^gone\.csv: no such file\. Check the path\.")],
)  # fmt: skip
def test_wrong_options_raise_first(nights, options, error, words):
    with pytest.raises(error, match=words):
        read(nights("a.edf", "b.edf"), **options)


def test_unmatched_pattern_is_named(nights):
    with pytest.raises(ReadError, match=r"no recording that matches '\*\.fif'; known suffixes"):
        read(nights("a.edf"), pattern="*.fif")


@pytest.mark.parametrize(
    "text",
    ["path;subject;bmi\na1.edf;A;20,5\na2.edf;A;20,5\nb1.edf;B;30\n",
     "path\tsubject\tbmi\na1.edf\tA\t20.5\na2.edf\tA\t20.5\nb1.edf\tB\t30\n",
     "Path,Subject,bmi\na1.edf,A,20.5\na2.edf,A,20.5\nb1.edf,B,30\n",
     "path,Participant_ID,bmi\na1.edf,A,20.5\na2.edf,A,20.5\nb1.edf,B,30\n",
     "file,patient,bmi\na1.edf,A,20.5\na2.edf,A,20.5\nb1.edf,B,30\n",
     "file,subject,bmi,\na1.edf,A,20.5,\nb1,B,30,\na2.EDF,A,20.5,\n",
     ",subject,bmi\nb1,B,30\na2,A,20.5\na1,A,20.5\n",
     "\ufeffrecording; subject; bmi\na1; A; 20,5\nb1; B; 30,0\na2; A; 20,5\n"],
)  # fmt: skip
def test_metadata_csv_of_many_kinds(nights, text):
    folder = nights("a1.edf", "a2.edf", "b1.edf")
    (folder / "metadata.csv").write_text(text.replace("EDF", "edf"), encoding="utf-8")
    cohort = read(folder)
    assert cohort.groups.tolist() == ["A", "A", "B"]
    assert cohort.metadata["bmi"].tolist() == [20.5, 20.5, 30]
    assert cohort.metadata.columns.tolist()[:2] == ["subject", "path"]


def test_metadata_csv_is_always_used(nights):
    folder = nights("a.edf", "b.edf")
    (folder / "metadata.csv").write_text("name,age\na,70\n")
    with pytest.raises(ReadError, match=r"no row of .*metadata\.csv belongs to a night"):
        read(folder)
    (folder / "metadata.csv").write_text("id,age\nb,70\n")
    with pytest.warns(RecordingWarning, match=r"1 of 2 nights .*metadata\.csv.*Without a row: 'a'"):
        assert read(folder).metadata["age"].tolist() == [33, 70]
    (folder / "metadata.csv").write_text("path,age\nb.edf,70\na.edf,60\n")
    assert read(folder, pattern="a*.edf").metadata["age"].tolist() == [60]


@pytest.mark.parametrize("name", ["METADATA.CSV", "Metadata.tsv", "Participants.CSV"])
def test_listed_tables_ignore_case(nights, name):
    folder = nights("a.edf", "b.edf")
    sep = "\t" if name.endswith("tsv") else ","
    (folder / name).write_text("File Name,bmi\na.edf,1\nb.edf,2\n".replace(",", sep))
    assert read(folder).metadata["bmi"].tolist() == [1, 2]


@pytest.mark.parametrize("name", ["demographics.CSV", "Clinical data.xlsx"])
def test_other_tables_are_named(nights, name):
    folder = nights("a.edf")
    (folder / name).write_text("id,bmi\na,1\n")
    with pytest.warns(RecordingWarning, match=rf"{name} is not used\. Pass it as metadata="):
        read(folder)


def test_sheets_need_openpyxl(nights, tmp_path, monkeypatch):
    folder = nights("a.edf")
    (folder / "metadata.xlsx").write_bytes(b"PK")
    monkeypatch.setattr(pd, "read_excel", missing_openpyxl)
    with pytest.warns(RecordingWarning, match=r"metadata\.xlsx: .*pip install openpyxl"):
        assert len(read(folder)) == 1
    (folder / "metadata.xlsx").rename(tmp_path / "y.xlsx")
    with pytest.raises(ImportError, match="pip install openpyxl"):
        read(folder, metadata=tmp_path / "y.xlsx")


def missing_openpyxl(*_, **__):
    raise ImportError("openpyxl")


def test_sheets_are_joined(nights):
    pytest.importorskip("openpyxl")
    folder = nights("0001.edf", "b.edf")
    table = pd.DataFrame({"Subject ID": ["0001", "b"], "bmi": [20.5, None]})
    table.to_excel(folder / "Metadata.XLSX", index=False)
    assert read(folder)[0].metadata["bmi"] == 20.5
    (folder / "Metadata.XLSX").write_bytes(b"PK\x03\x04")
    with pytest.raises(ReadError, match=r"Metadata\.XLSX: not a table"):
        read(folder)


def test_metadata_is_no_folder(nights):
    folder = nights("a.edf")
    with pytest.raises(ReadError, match="study: is a folder; accepted is a file"):
        read(folder, metadata=folder)


def test_nights_are_visits(nights):
    folder = nights("P01_night1.edf", "P01_night2.edf", "P02_night1.edf")
    extra = {"subject": ["P01", "P01", "P02"], "night": [2, "night1", 1], "bmi": [2, 1, 3]}
    assert read(folder, metadata=pd.DataFrame(extra)).metadata["bmi"].tolist() == [1, 2, 3]
    counts = pd.DataFrame({"subject": ["P01", "P02"], "night": [2, 1], "bmi": [2, 3]})
    assert read(folder, metadata=counts).metadata["bmi"].tolist() == [2, 2, 3]


def test_row_numbers_are_no_keys(nights):
    folder = nights("0.edf", "1.edf")
    with pytest.raises(ReadError, match="no row of metadata belongs to a night"):
        read(folder, metadata=pd.DataFrame({"who": ["x", "y"]}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "No columns"),
        (b"\0\1\2", "not a text file"),
        (b"id,age\na,1,2,3\n", "more values than its 2 names"),
    ],
)
def test_unreadable_tables_are_named(nights, content, words):
    folder = nights("a.edf")
    (folder / "metadata.csv").write_bytes(content)
    with pytest.raises(ReadError, match=rf"metadata\.csv: .*{words}"):
        read(folder)


def test_latin_letters_are_read(nights, tmp_path):
    folder = nights("a.edf")
    (tmp_path / "extra.csv").write_bytes("id;site\na;Köln\n".encode("cp1252"))
    assert read(folder, metadata=tmp_path / "extra.csv").metadata["site"].tolist() == ["Köln"]
    (tmp_path / "extra.csv").write_text("id\tsite\na\tŁódź\n", encoding="utf-16")
    assert read(folder, metadata=tmp_path / "extra.csv").metadata["site"].tolist() == ["Łódź"]


def test_one_wrong_value_stays_text(nights, tmp_path):
    folder = nights("a.edf", "b.edf", "c.edf")
    (tmp_path / "extra.csv").write_text("id;bmi;ahi\na;20,5;\nb;31;\nc;3l,5;\n")
    cohort = read(folder, metadata=tmp_path / "extra.csv")
    assert cohort.metadata["bmi"].tolist() == [20.5, 31.0, "3l,5"]
    assert "ahi" not in cohort[0].metadata
    with pytest.raises(InvalidRecordingError, match=r"recording 2 \(c\): 'bmi' is '3l,5'"):
        RecordingMetadata(fields=["bmi"]).fit_transform(cohort)


def test_lists_and_tables_are_sources(nights, tmp_path):
    folder = nights("b.edf", "p/a.edf")
    paths = [folder / "p" / "a.edf", str(folder / "b.edf")]
    assert [night.id for night in read(paths)] == ["a", "b"]
    (folder / "list.tsv").write_text("path\tsubject\nb.edf\t007\np/a.edf\t7\n")
    assert read(folder / "list.tsv").groups.tolist() == ["007", "7"]
    for wrong in ([], [3], {"path": 1}, 5):
        with pytest.raises(ReadError, match="accepted are a folder, a table with a column"):
            read(wrong)


@pytest.mark.parametrize(
    ("names", "groups"),
    [(("p1/night.edf", "p2/night.edf", "p2/other.edf"), ["p1", "p2", "p2"]),
     (("p1/night1.edf", "p1/night2.edf", "p2/night1.edf"), ["p1", "p1", "p2"]),
     (("p1/psg/n.edf", "p2/psg/n.edf"), ["p1", "p2"]),
     (("x/p1/ses-1/psg.edf", "x/p1/ses-2/psg.edf", "x/p2/ses-1/psg.edf"), ["x/p1"] * 2 + ["x/p2"]),
     (("visit1/p1.edf", "visit2/p1.edf"), ["p1", "p1"]),
     (("p1/2019-01-03/psg.edf", "p1/20200105/psg.edf", "p2/2019-02-03/psg.edf"),
      ["p1", "p1", "p2"]),
     (("x/visit1/p1.edf", "x/visit2/p1.edf"), ["x/p1", "x/p1"]),
     (("baseline/chat-baseline-300001.edf", "followup/chat-followup-300001.edf"),
      ["chat-300001"] * 2),
     (("sub-01/ses-1/sub-01_ses-1_eeg.edf", "sub-01/ses-2/sub-01_ses-2_eeg.edf"), ["sub-01"] * 2)],
)  # fmt: skip
def test_folders_name_subjects(nights, names, groups):
    assert read(nights(*names)).groups.tolist() == groups
    listed = read([nights() / name for name in names]).groups
    assert pd.factorize(listed)[0].tolist() == pd.factorize(np.array(groups))[0].tolist()


@pytest.mark.parametrize(
    ("names", "words"),
    [(("p1/1/psg.edf", "p1/2/psg.edf", "p2/1/psg.edf"), "folder '1' may be a person or a visit"),
     (("a/shhs1-200001.edf", "b/shhs1-200001.edf"), "'shhs1-200001' is there twice"),
     (("d1/sub-01/sub-01_eeg.edf", "d2/sub-01/sub-01_eeg.edf"), "'sub-01_eeg' is there twice"),
     (("a.edf", "a.rec"), "two nights have the id 'a'.*rename one file or choose with pattern=")],
)  # fmt: skip
def test_unclear_names_list_both_paths(nights, names, words):
    folder = nights(*names)
    with pytest.raises(ReadError, match=words) as caught:
        read(folder)
    assert all(str(folder / name) in str(caught.value) for name in names[:2])


@pytest.fixture
def visits(nights):
    """Two visits of two people, and one of a third."""
    names = [f"x-visit{visit}-000{i}.edf" for visit in (1, 2) for i in (1, 2, 3)]
    return nights(*names[:5])


def test_subjects_join_all_nights(visits):
    extra = pd.DataFrame({"subject": [1, 2, 3], "bmi": [21, 22, 23]})
    other = extra.rename(columns={"subject": "k"})
    for table, on in (
        (extra, None),
        (extra, "subject"),
        (other, "k"),
        (other.set_index("k"), None),
    ):
        cohort = read(visits, metadata=table, on=on)
        assert cohort.metadata["bmi"].tolist() == [21, 22, 23, 21, 22]
        assert cohort.groups.tolist() == [f"x-000{i}" for i in (1, 2, 3, 1, 2)]


def test_visits_join_their_night(visits):
    extra = pd.DataFrame(
        {"subject": ["0001", "0001", "0002"], "visit": [2, 1, 1], "bmi": [1, 2, 3]}
    )
    with pytest.warns(RecordingWarning, match="3 of 5 nights.*'x-visit1-0003', 'x-visit2-0002'"):
        cohort = read(visits, metadata=extra)
    np.testing.assert_array_equal(cohort.metadata["bmi"], [2, 3, np.nan, 1, np.nan])


@pytest.mark.parametrize(
    ("extra", "on", "words"),
    [({"subject": ["1", "1"]}, None, "more than one row for '1'"),
     ({"subject": ["1", "0001"]}, "subject", None),
     ({"subject": ["1", "1", "2"]}, None, "more than one row for the subject '1'"),
     ({"id": ["x-visit1-0001"] * 2}, None, "more than one row for 'x-visit1-0001'"),
     ({"id": ["nobody"]}, "subject", "its index holds 0"),
     ({"id": ["a"]}, "who", "on is 'who'; accepted are 'subject', 'recording' and the columns")],
)  # fmt: skip
def test_unclear_keys_are_refused(visits, extra, on, words):
    if words is None:
        with pytest.warns(RecordingWarning, match="2 of 5 nights"):
            read(visits, metadata=pd.DataFrame(extra), on=on)
        return
    with pytest.raises(ReadError, match=words):
        read(visits, metadata=pd.DataFrame(extra), on=on)


def test_row_fits_one_night(nights):
    folder = nights("p1/night.edf", "p2/night.edf")
    with pytest.raises(ReadError, match=r"the row 'night' .* fits 2 nights.*p1/night.*p2/night"):
        read(folder, metadata=pd.DataFrame({"file": ["night"], "bmi": [1]}))
    extra = pd.DataFrame({"file": ["p2/night.edf", "p1/night"], "bmi": [2, 1]})
    assert read(folder, metadata=extra).metadata["bmi"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("names", "key", "subjects"),
    [(("mesa-sleep-0001.edf", "sof-visit-8-00001.edf"), "1", "mesa-0001 and sof-00001"),
     (("x-visit1-0001.edf", "y-visit1-0001.edf"), "0001", "x-0001 and y-0001"),
     (("0001-night1.edf", "1-night1.edf"), "1", "0001 and 1")],
)  # fmt: skip
def test_row_fits_one_subject(nights, tmp_path, names, key, subjects):
    folder = nights(*names)
    (tmp_path / "y.csv").write_text(f"nsrrid,y\n{key},9\n")
    with pytest.raises(
        ReadError, match=rf"row '{key}' of .*y\.csv fits two subjects, {subjects}\."
    ):
        read(folder, metadata=tmp_path / "y.csv", on="nsrrid")
    first, second = subjects.split(" and ")
    (tmp_path / "y.csv").write_text(f"nsrrid,y\n{first},9\n{second},8\n")
    assert read(folder, metadata=tmp_path / "y.csv").metadata["y"].tolist() == [9, 8]


def test_subjects_of_two_studies(nights):
    folder = nights("mesa-sleep-0001.edf", "sof-visit-8-00001.edf")
    table = pd.DataFrame({"path": sorted(folder.glob("*.edf")), "nsrrid": ["1", "1"]})
    with pytest.warns(RecordingWarning, match="1 subjects have nights of two studies: '1', for"):
        assert read(table).groups.tolist() == ["1", "1"]


@pytest.mark.parametrize("end", ["b,2,x", "b,2,", "b,,x", '"b",2,"x\ny"', "b,2\n"])
def test_whole_tables_are_read(nights, tmp_path, end):
    folder = nights("a.edf", "b.edf")
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "y.csv").write_text("id,y,z\na,1,\n" + end, encoding=encoding)
        assert read(folder, metadata=tmp_path / "y.csv").metadata["y"].tolist()[0] == 1
        (tmp_path / "y.csv").write_text("id,y,z\na,1,\nb,2", encoding=encoding)
        with pytest.raises(ReadError, match=r"y\.csv: cut short, its last line has 2 of 3 values"):
            read(folder, metadata=tmp_path / "y.csv")


@pytest.mark.parametrize("on", ["subject", "nsrrid", None])
def test_unmatched_subjects_are_named(nights, on):
    folder = nights("mesa-sleep-0001.edf")
    with pytest.raises(ReadError, match=r"'7', the subjects are called 'mesa-0001'\. Name"):
        read(folder, metadata=pd.DataFrame({"nsrrid": ["7"]}), on=on)


def test_metadata_reads_the_cohort_again(nights):
    folder = nights("a.edf", "b.edf")
    table = pd.DataFrame({"path": sorted(folder.glob("*.edf")), "id": ["x", "y"], "bmi": [1, 2]})
    cohort = read(table)
    again = read(cohort.metadata[::-1])
    assert [night.id for night in again] == ["y", "x"]
    pd.testing.assert_frame_equal(again.sort_by("path").metadata, cohort.metadata)


def test_numbers_of_subjects_stay_whole(nights):
    folder = nights("a.edf", "b.edf")
    extra = pd.DataFrame({"id": ["a", "b"], "subject": [1, np.nan]})
    assert [night.subject for night in read(folder, metadata=extra)] == [1, "b"]
    table = extra.assign(path=[folder / "a.edf", folder / "b.edf"])
    assert read(table.rename(columns={"subject": "Patient"})).groups.tolist() == ["1", "b"]


def test_participants_of_bids_are_joined(nights):
    folder = nights("sub-01/ses-1/sub-01_ses-1_eeg.edf", "sub-01/ses-2/sub-01_ses-2_eeg.edf",
                    "sub-02/sub-02_eeg.edf")  # fmt: skip
    (folder / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t60\tM\nsub-02\tn/a\tF\n"
    )
    cohort = read(folder)
    assert cohort.groups.tolist() == ["sub-01", "sub-01", "sub-02"]
    assert cohort.metadata["sex"].tolist() == ["M", "M", "F"]
    assert cohort.metadata["age"].tolist() == [60, 60, 33]


def test_categories_stay_categories(nights):
    folder = nights("a.edf", "b.edf")
    race = pd.Categorical(["y", "x"], categories=["x", "y", "z"])
    cohort = read(folder, metadata=pd.DataFrame({"id": ["b", "a"], "race": race}))
    assert cohort.metadata["race"].cat.categories.tolist() == ["x", "y", "z"]
    assert cohort.metadata["race"].tolist() == ["x", "y"]


@pytest.mark.parametrize("error", [IndexError("out"), AssertionError(), UnicodeError("bad")])
def test_any_error_costs_one_night(nights, monkeypatch, error):
    folder = nights("a.edf", "b.edf")
    night = cohort_module.read_night

    def read_night(path, **options):
        if path.endswith("a.edf"):
            raise error
        return night(path, **options)

    monkeypatch.setattr(cohort_module, "read_night", read_night)
    with pytest.warns(RecordingWarning, match="1 of 2 nights could not be read"):
        cohort = read(folder)
    assert cohort.failures["reason"].tolist() == [f"{type(error).__name__}: {error}"]
    with pytest.raises(ReadError, match=rf"a\.edf cannot be read \({type(error).__name__}"):
        read(folder, on_error="raise")


def test_interrupts_are_not_failures(nights, monkeypatch):
    monkeypatch.setattr(
        cohort_module, "read_night", lambda **row: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        read(nights("a.edf"))


def test_one_wrong_row_of_many(nights):
    folder = nights("a.edf")
    (folder / "b.edf").write_bytes(b"0")
    rows = [(folder / ("b.edf" if i == 77 else "a.edf"), f"n{i}") for i in range(100)]
    with pytest.warns(RecordingWarning, match="1 of 100 nights could not be read"):
        cohort = read(pd.DataFrame(rows, columns=["path", "id"]))
    assert len(cohort) == 99
    assert "n77" not in cohort.metadata.index


def test_row_without_path_fails(tmp_path):
    table = pd.DataFrame({"path": [None], "id": ["n1"]})
    with pytest.raises(ReadError, match="has no path"):
        read_cohort(table, verbose=0)


def test_unknown_units_warn_once(write_edf, stages_of):
    write_edf("a.edf", {"ECG": 128}, annotations=stages_of("WWWW"))
    path = write_edf("b.edf", {"EKG": 128}, annotations=stages_of("WWWW"))
    with pytest.warns(RecordingWarning, match="1 of 2 nights: units= names 'ECG', which") as given:
        cohort = read_cohort(path.parent, units={"ECG": "mV"}, derive=False, verbose=0)
    assert len(given) == 1
    assert [night.units["ecg"] for night in cohort] == ["mV", "uV"]


def test_impossible_units_are_failures(write_edf):
    path = write_edf(channels={"ECG": 128, "SpO2": 1})
    with pytest.raises(ReadError, match=r"night\.edf: units\['spo2'\] is 'mV'; accepted"):
        read_cohort(path.parent, units={"spo2": "mV"}, verbose=0)


def test_folders_in_lists_are_named(nights):
    folder = nights("a.edf", "s1/b.edf")
    with pytest.raises(ReadError, match=r"s1: a folder; accepted here are files.*rglob"):
        read([folder / "a.edf", folder / "s1"], on_error="raise")


@pytest.mark.parametrize(
    "names", [("p1_N1", "p1_N2"), ("7-v1", "7-v2"), ("p_20200101", "p_2020-01-02"),
              ("x pre", "x post")]
)  # fmt: skip
def test_visits_may_be_subjects(nights, names):
    with pytest.warns(RecordingWarning, match=f"2 nights are each read as a subject.*{names[0]}"):
        cohort = read(nights(*(f"{name}.edf" for name in names)))
    assert sorted(cohort.groups) == sorted(names)


def test_sessions_of_bids(nights):
    names = ("sub-1/sub-1_ses-1_eeg", "sub-1/sub-1_ses-2_eeg", "sub-2/sub-2_ses-1_eeg")
    folder = nights(*(f"{name}.edf" for name in names))
    (folder / "participants.tsv").write_text("participant_id\tAGE\nsub-1\t9\nsub-2\t8\n")
    table = "session_id\tAge\nses-1\t40\nses-2\t41\n"
    (folder / "sub-1" / "sub-1_sessions.tsv").write_text(table)
    with pytest.warns(RecordingWarning, match="2 of 3 nights have a row in .*_sessions.tsv"):
        cohort = read(folder)
    assert RecordingMetadata(["age"]).fit_transform(cohort).ravel().tolist() == [40, 41, 8]


def test_rows_without_path(nights):
    folder = nights("a.edf")
    (folder / "nights.csv").write_text("path,hypnogram,subject\na.edf,False,A\n,,B\n,,C\n")
    with pytest.warns(RecordingWarning, match="2 of 3 nights could not be read"):
        cohort = read(folder / "nights.csv")
    assert cohort.groups.tolist() == ["A"]
    assert cohort.failures["reason"].str.extract(r"(row \d)")[0].tolist() == ["row 2", "row 3"]


@pytest.mark.parametrize(
    ("text", "values"),
    [('file,x\na,"1,234"\nb,"2,345.5"\n', [1234, 2345.5]), ("file;x\na;1,234\nb;2\n", [1.234, 2]),
     ('file,x\na,"0,234"\nb,"12,5"\n', [0.234, 12.5])],
)  # fmt: skip
def test_commas_in_numbers(nights, text, values):
    folder = nights("a.edf", "b.edf")
    (folder / "metadata.csv").write_text(text)
    (folder / "participants.tsv").write_text("file\tx\na\t7\nb\t8\n")
    assert read(folder).metadata["x"].tolist() == values


def test_derivatives_are_copies(nights):
    copy = "derivatives/clean/sub-1/sub-1_desc-clean_eeg"
    folder = nights("sub-1/sub-1_eeg.edf", f"{copy}.edf")
    with pytest.warns(RecordingWarning, match="1 recordings in derivatives, such as .*desc-clean"):
        assert [night.id for night in read(folder)] == ["sub-1_eeg"]
    assert len(read(folder / "derivatives")) == len(read(folder, pattern="d*/**/*.edf")) == 1


def test_columns_contradict(tmp_path, write_edf, stages_of):
    for name in ("1", "2"):
        write_edf(f"{name}.edf", annotations=stages_of("W2"), seconds=60)
    table = pd.DataFrame({"id": [1, 2], "subject": [2, 1], "age": [30, 40]})
    with pytest.raises(ReadError, match="'id', and another one by 'subject'"):
        read_cohort(tmp_path, metadata=table, verbose=0)
    cohort = read_cohort(tmp_path, metadata=table, on="subject", verbose=0)
    assert cohort.metadata["age"].tolist() == [40, 30]


def test_unlisted_recordings_are_counted(tmp_path, write_edf, stages_of):
    for name in ("a.edf", "site/b.edf", "site/c.edf"):
        write_edf(name, annotations=stages_of("W2"), seconds=60)
    (tmp_path / "metadata.csv").write_text("path,subject\na.edf,A\nsite\\b.edf,B\n")
    with pytest.warns(RecordingWarning, match=r"1 recordings of .* not in metadata.csv.*c\.edf"):
        cohort = read_cohort(tmp_path, verbose=0)
    assert cohort.groups.tolist() == ["A", "B"]


def test_file_of_two_subjects(write_edf):
    table = pd.DataFrame({"path": [write_edf("a.edf")] * 2, "subject": ["A", "B"], "id": [1, 2]})
    table["hypnogram"] = False
    with pytest.warns(RecordingWarning, match="1 files are nights of two subjects.*'A' and 'B'"):
        read_cohort(table, verbose=0)


def test_metadata_is_a_table(folder):
    with pytest.raises(ReadError, match="the table is of type Series"):
        read_cohort(folder, metadata=pd.Series({"SC4001E0-PSG": 33}), verbose=0)


@pytest.mark.parametrize(
    "names",
    [("20230105_p1", "20230106_p1"), ("p1", "p1 (1)"), ("p1_psg1", "p1_psg2"), ("p1n1", "p1n2"),
     ("p1/20230105", "p1/20230106"), ("p1/n1", "p1/n2"), ("p1", "P1")],
)  # fmt: skip
def test_names_may_be_visits(write_edf, names):
    paths = [write_edf(f"{name}.edf") for name in (*names, "p2/n3")]
    with pytest.warns(RecordingWarning) as warned:
        read_cohort(paths, verbose=0)
    assert any(str(w.message).startswith("2 nights are each read as a subject") for w in warned)


def test_names_of_subjects(write_edf):
    paths = [write_edf(f"{name}.edf") for name in ("n1", "n2", "20230105_p3", "20230105_p4")]
    with pytest.warns(RecordingWarning) as warned:
        read_cohort(paths, verbose=0)
    assert [str(w.message)[:31] for w in warned] == ["4 of 4 nights have no stages: '"]
