# SPDX-License-Identifier: BSD-3-Clause
"""Ids, joins and failures of a cohort, night by night."""

import pandas as pd
import pytest

from sleep2vec_sklearn import read_cohort
from sleep2vec_sklearn.errors import ReadError, RecordingWarning


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
            write_edf(f"study/{name}", {"SpO2": (1, "%")}, seconds=60)
        return tmp_path / "study"

    return make


def read(source, **options):
    return read_cohort(source, verbose=0, **options)


def test_repeated_names_get_longer_ids(nights):
    folder = nights("s1/a.edf", "s2/a.edf", "s2/b.edf", "c.edf")
    assert [night.id for night in read(folder)] == ["c", "s1/a", "s2/a", "b"]


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


def test_joined_columns_replace_table(nights):
    folder = nights("a.edf", "b.edf")
    table = pd.DataFrame({"path": sorted(folder.glob("*.edf")), "bmi": [1.0, 2.0]})
    cohort = read(table, metadata=pd.DataFrame({"nsrrid": ["b"], "bmi": [30.0], "ahi": [9.0]}))
    assert cohort.metadata["bmi"].isna().tolist() == [True, False]
    assert cohort.metadata.loc["b", ["bmi", "ahi"]].tolist() == [30.0, 9.0]
    assert "ahi" not in cohort[0].metadata


def test_full_path_takes_precedence(nights):
    folder = nights("s1/a.edf", "s2/a.edf")
    paths = [str(folder / site / "a.edf") for site in ("s2", "s1")]
    cohort = read(folder, metadata=pd.DataFrame({"path": paths, "bmi": [2.0, 1.0]}))
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


def test_unmatched_pattern_is_named(nights):
    with pytest.raises(ReadError, match=r"no recording that matches '\*\.fif'; known suffixes"):
        read(nights("a.edf"), pattern="*.fif")


def test_unknown_on_error_raises(nights):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'warn', got 'skip'"):
        read(nights("a.edf"), on_error="skip")


def test_metadata_csv_without_paths(nights):
    folder = nights("a.edf", "b.edf")
    pd.DataFrame({"id": ["b"], "age": [70]}).to_csv(folder / "metadata.csv", index=False)
    assert [night.id for night in read(folder)] == ["a", "b"]


def test_row_without_path_fails(tmp_path):
    table = pd.DataFrame({"path": [None], "id": ["n1"]})
    with pytest.raises(ReadError, match="has no path"):
        read_cohort(table, verbose=0)


def test_unknown_units_warn_once(write_edf):
    write_edf("a.edf", {"ECG": 128})
    path = write_edf("b.edf", {"EKG": 128})
    with pytest.warns(RecordingWarning, match="1 of 2 nights: units= names 'ECG', which") as given:
        cohort = read_cohort(path.parent, units={"ECG": "mV"}, derive=False, verbose=0)
    assert len(given) == 1
    assert [night.units["ecg"] for night in cohort] == ["mV", "uV"]


def test_impossible_units_are_failures(write_edf):
    path = write_edf(channels={"ECG": 128, "SpO2": 1})
    with pytest.raises(ReadError, match=r"night\.edf: units\['spo2'\] is 'mV'; accepted"):
        read_cohort(path.parent, units={"spo2": "mV"}, verbose=0)
