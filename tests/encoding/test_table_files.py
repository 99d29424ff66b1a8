# SPDX-License-Identifier: BSD-3-Clause
import datetime
import json

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import EmbeddingTable, PrecomputedEmbeddings, make_sleep_cohort
from sleep2vec_sklearn.encoding import RowKeys
from sleep2vec_sklearn.errors import InvalidRecordingError, ReadError

FORMATS = ["parquet", "npz"]
PROVENANCE = {"features": ["eeg_000", "eeg_001"], "modalities": ["eeg"], "checkpoint": "mini"}


def make_table(names, subjects, recording_index, *epochs, **options):
    n = len(recording_index)
    values = np.arange(2 * n, dtype=np.float32).reshape(n, 2) / 3
    keys = RowKeys(names, subjects, recording_index, *epochs)
    return EmbeddingTable(keys, values, np.full((n, 1), 30.0), PROVENANCE, **options)


@pytest.fixture
def nights():
    return make_table(["n1", "n2", "n3"], ["ann", "bob", "bob"], [0, 1, 2])


@pytest.fixture
def epochs():
    return make_table(["n1", "n2"], ["ann", "bob"], [0, 0, 1], [0, 1, 7], [0, 2, -1])


@pytest.fixture
def metadata():
    """In another order than the table's, and of one recording more."""
    return pd.DataFrame(
        {
            "age": [61, 40, 52, 33],
            "bmi": [31.5, np.nan, 24.25, 28.0],
            "parity": pd.array([2, None, 0, 1], dtype="Int64"),
            "smoker": pd.array([True, None, False, True], dtype="boolean"),
            "race": pd.Categorical(["black", None, "white", "asian"]),
            "exam": [datetime.date(2020, 5, d) for d in (3, 4, 1, 2)],
            "start": pd.to_datetime(["2020-05-03 23:10:05", None, "2020-05-02 00:30:00", None]),
            "code": [7, "seven", None, "é; \"x\""],
            "a very long name of a column, with (units)": [0.5, 1.5, 2.5, 3.5],
            "subject": "other",
            "path": "/study/n.edf",
        },
        index=["n2", "n4", "n1", "n3"],
    )  # fmt: skip


def test_covariates_follow_the_rows(nights, epochs, metadata):
    frame = nights.to_frame(metadata)
    assert frame.columns[:4].tolist() == ["recording", "subject", "age", "bmi"]
    assert frame.columns[-3:].tolist() == ["eeg_000", "eeg_001", "eeg_seconds"]
    assert frame["subject"].tolist() == ["ann", "bob", "bob"]
    assert frame["age"].tolist() == [52, 61, 33]
    frame = epochs.to_frame(metadata)
    assert frame["age"].tolist() == [52, 52, 61]
    assert frame["stage"].tolist() == [0, 2, -1]
    np.testing.assert_array_equal(frame[["eeg_000", "eeg_001"]], epochs.values)


def test_names_may_be_a_column(nights, metadata):
    by_column = metadata.rename_axis("recording").reset_index()
    pd.testing.assert_frame_equal(nights.to_frame(by_column), nights.to_frame(metadata))


def test_cohort_is_metadata(nights):
    cohort = make_sleep_cohort(2, hours=0.5, modalities=["ibi"], random_state=0)
    names = [night.id for night in cohort]
    table = make_table(names, ["a", "b"], [0, 1])
    assert table.to_frame(cohort)["age"].tolist() == cohort.metadata["age"].tolist()


def test_rows_are_after_centring():
    keys = RowKeys(["n"], ["s"], [0, 0], [0, 1], [0, 0])
    provenance = PROVENANCE | {"center": "night"}
    values, offsets = [[1, 2], [3, 4]], [[1, 1], [1, 1]]
    table = EmbeddingTable(keys, values, [[30], [30]], provenance, offsets)
    assert table.to_frame()["eeg_001"].tolist() == [1, 3]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", ["nights", "epochs"])
def test_covariates_survive_a_file(request, metadata, tmp_path, suffix, kind):
    table, path = request.getfixturevalue(kind), tmp_path / f"rows.{suffix}"
    table.save(path, metadata)
    read = EmbeddingTable.load(path)
    assert read.provenance == table.provenance
    assert read.metadata.index.tolist() == table.X.names.tolist()
    numbers = ["age", "bmi", "parity"]
    expected = table.to_frame(metadata)
    frame = read.to_frame()
    pd.testing.assert_frame_equal(
        frame[numbers].astype(float), expected[numbers].astype(float), check_exact=True
    )
    assert frame["start"].tolist() == expected["start"].tolist()
    for text in ("race", "code"):
        assert frame[text].dropna().tolist() == expected[text].dropna().tolist()
        assert frame[text].isna().tolist() == expected[text].isna().tolist()
    read.save(path)
    pd.testing.assert_frame_equal(EmbeddingTable.load(path).metadata, read.metadata)


def test_polars_reads_the_parquet(nights, metadata, tmp_path):
    polars = pytest.importorskip("polars")
    nights.save(tmp_path / "rows.parquet", metadata)
    frame = polars.read_parquet(tmp_path / "rows.parquet")
    assert frame["parity"].to_list() == [0, 2, 1]
    assert frame["race"].cast(polars.String).to_list() == ["white", "black", "asian"]
    assert frame["exam"].dt.day().to_list() == [1, 3, 2]


def test_csv_holds_everything(epochs, metadata, tmp_path):
    epochs.save(tmp_path / "rows.csv", metadata)
    frame = pd.read_csv(tmp_path / "rows.csv")
    np.testing.assert_array_equal(
        frame[["eeg_000", "eeg_001"]].to_numpy(dtype=np.float32), epochs.values
    )
    assert frame["epoch"].tolist() == [0, 1, 7]
    assert frame["smoker"].tolist() == [0, 0, 1]
    assert frame["exam"].tolist() == ["2020-05-01", "2020-05-01", "2020-05-03"]
    assert frame["start"].tolist()[2] == "2020-05-03 23:10:05"
    beside = json.loads((tmp_path / "rows.csv.json").read_text())
    assert beside["checkpoint"] == "mini"
    assert {p.name for p in tmp_path.iterdir()} == {"rows.csv", "rows.csv.json"}


def test_stata_reads_nights(nights, metadata, tmp_path):
    path = tmp_path / "rows.dta"
    nights.save(path, metadata)
    frame = pd.read_stata(path)
    assert frame["recording"].tolist() == ["n1", "n2", "n3"]
    assert frame["age"].tolist() == [52, 61, 33]
    assert frame["bmi"].tolist() == [24.25, 31.5, 28]
    assert frame["parity"].tolist() == [0, 2, 1]
    assert frame["smoker"].tolist() == [0, 1, 1]
    assert frame["race"].tolist() == ["white", "black", "asian"]
    assert frame["exam"].dt.day.tolist() == [1, 3, 2]
    assert frame["start"][1] == pd.Timestamp("2020-05-03 23:10:05")
    assert frame["start"].isna().tolist() == [False, False, True]
    assert frame["code"].tolist()[1:] == ["7", 'é; "x"']
    assert frame["code"].isna().tolist() == [True, False, False]
    np.testing.assert_array_equal(frame[["eeg_000", "eeg_001"]], nights.values)
    renamed = json.loads((tmp_path / "rows.dta.json").read_text())["columns"]
    assert renamed == {
        "a_very_long_name_of_a_column__wi": "a very long name of a column, with (units)"
    }
    with pd.read_stata(path, iterator=True) as reader:
        labels = reader.variable_labels()
        assert reader.data_label == "embeddings by mini"
    assert labels["a_very_long_name_of_a_column__wi"].endswith("with (units)")


def test_stata_gets_numbers_with_labels(nights, tmp_path):
    words = {"sex": ["M", "F", None], "osa": pd.Categorical(["mild", "none", None])}
    table = pd.DataFrame(words | {"note": ["a" * 81, "b", "c"]}, index=["n1", "n2", "n3"])
    nights.save(tmp_path / "rows.dta", table)
    with pd.read_stata(tmp_path / "rows.dta", iterator=True, convert_categoricals=False) as reader:
        frame, labels = reader.read(), reader.value_labels()
    assert labels == {"sex": {0: "F", 1: "M"}, "osa": {0: "mild", 1: "none"}}
    np.testing.assert_array_equal(frame["sex"], [1, 0, np.nan])
    assert frame["recording"].tolist() == ["n1", "n2", "n3"]
    assert frame["note"].tolist() == table["note"].tolist()


def test_stata_labels_stages(epochs, tmp_path):
    epochs.save(tmp_path / "rows.dta")
    frame = pd.read_stata(tmp_path / "rows.dta")
    assert frame["stage"].tolist() == ["W", "N2", "unscored"]
    codes = pd.read_stata(tmp_path / "rows.dta", convert_categoricals=False)
    assert codes["stage"].tolist() == [0, 2, -1]


def test_stata_holds_gaps_and_text(tmp_path):
    table = make_table(["n1", "n2"], ["s", "s"], [0, 1])
    described = pd.DataFrame(
        {
            "site": pd.Categorical([None, "b"]),
            "quarter": pd.Categorical([4, 2]),
            "tertile": pd.cut([1.0, 2.0], 2),
            "story": ["x" * 3000, None],
            "nothing": [None, None],
            "zoned": pd.to_datetime(["2020-01-01 22:00"] * 2).tz_localize("Europe/Berlin"),
            "bedtime": [datetime.time(23, 5), None],
        },
        index=["n1", "n2"],
    )
    table.save(tmp_path / "rows.dta", described)
    frame = pd.read_stata(tmp_path / "rows.dta")
    assert frame["site"].isna().tolist() == [True, False]
    assert frame["quarter"].tolist() == [4, 2]
    assert frame["tertile"].tolist() == ["(0.999, 1.5]", "(1.5, 2.0]"]
    assert frame["story"].str.len().tolist() == [3000, 0]
    assert frame["nothing"].isna().all()
    assert frame["zoned"][0] == pd.Timestamp("2020-01-01 22:00")
    assert frame["bedtime"].tolist() == ["23:05:00", np.nan]


def test_stata_accepts_the_names(tmp_path):
    names = ["age", "1st", "in", "ahi.3%", "ahi_3_", "x" * 40, "x" * 41, "größe"]
    table = make_table(["n1"], ["s"], [0])
    table.save(tmp_path / "rows.dta", pd.DataFrame([range(8)], columns=names, index=["n1"]))
    frame = pd.read_stata(tmp_path / "rows.dta")
    assert frame.columns[2:10].tolist() == [
        "age", "v_1st", "v_in", "ahi_3_", "ahi_3__2", "x" * 32, "x" * 30 + "_2", "gr__e",
    ]  # fmt: skip
    assert frame.loc[0, "age":"gr__e"].tolist() == list(range(8))


def test_stata_has_limits(nights, metadata, tmp_path):
    path = tmp_path / "rows.dta"
    metadata["bmi"] = np.inf
    with pytest.raises(ValueError, match=r"rows\.dta: Stata's format cannot .*bmi.*infinity"):
        nights.save(path, metadata)
    wide = {"features": [f"f{i}" for i in range(32768)], "modalities": []}
    keys, values = RowKeys(["n"], ["s"], [0]), np.zeros((1, 32768))
    with pytest.raises(ValueError, match="32770 columns, Stata reads 32767"):
        EmbeddingTable(keys, values, np.zeros((1, 0)), wide).save(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["csv", "dta"])
def test_exports_are_not_read_back(nights, tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    nights.save(path)
    with pytest.raises(ReadError, match=r"exports.*Save the table as \.parquet or \.npz"):
        EmbeddingTable.load(path)


def test_missing_recordings_are_named(nights, metadata):
    with pytest.raises(InvalidRecordingError, match=r"no row for 2 of the 3 .*'n1', 'n2'"):
        nights.to_frame(metadata.loc[["n3", "n4"]])
    with pytest.raises(InvalidRecordingError, match=r"called '0', '1', '2' and 1 more.*set_index"):
        nights.to_frame(metadata.reset_index(drop=True))


def test_repeated_recordings_are_refused(nights, metadata):
    with pytest.raises(InvalidRecordingError, match=r"several rows for 1 recordings .*'n1'"):
        nights.to_frame(metadata.loc[["n1", "n1", "n2", "n3", "n4", "n4"]])


@pytest.mark.parametrize("name", ["eeg_000", "stage", "eeg_seconds"])
def test_columns_are_not_overwritten(nights, metadata, name):
    with pytest.raises(InvalidRecordingError, match=f"taken: {name}"):
        nights.to_frame(metadata.rename(columns={"age": name}))


def test_other_metadata_is_refused(nights):
    with pytest.raises(InvalidRecordingError, match="metadata is a dict; accepted is a DataFrame"):
        nights.to_frame({"age": [1, 2, 3]})


@pytest.mark.parametrize("suffix", [*FORMATS, "csv", "dta"])
def test_read_only_folder_is_named(nights, tmp_path, fails, suffix):
    fails("pathlib.Path.open", PermissionError(13, "Permission denied"))
    with pytest.raises(PermissionError, match=r"rows\..*no permission to write in"):
        nights.save(tmp_path / f"rows.{suffix}")


def test_a_full_disk_leaves_both(nights, tmp_path, fails):
    path = tmp_path / "rows.csv"
    nights.save(path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    fails("os.fsync", OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        nights.save(path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_joined_tables_keep_covariates(metadata, tmp_path):
    paths = [tmp_path / f"rows-{i}.parquet" for i in range(2)]
    for name, path in zip(("n1", "n2"), paths, strict=True):
        make_table([name], ["s"], [0]).save(path, metadata)
    parts = [EmbeddingTable.load(path) for path in paths]
    assert EmbeddingTable.concat(parts).metadata["age"].tolist() == [52, 61]
    with pytest.raises(ValueError, match="1 of the 2 tables have covariates"):
        EmbeddingTable.concat([parts[0], make_table(["n2"], ["s"], [0])])


def forge(path, **arrays):
    with np.load(path) as stored:
        np.savez(path, **{**stored, **arrays})


def forge_provenance(path, **changes):
    with np.load(path) as stored:
        document = json.loads(str(stored["provenance"])) | changes
    forge(path, provenance=np.array(json.dumps(document)))


@pytest.mark.parametrize(
    "arrays",
    [{"recording_index": np.full(3, -5)}, {"recording_index": np.full(3, 2**32)},
     {"recording_index": np.zeros(3)}, {"recording": np.array(["n1", "n1", "n2"])},
     {"recording": np.array([], dtype=str)}, {"subject": np.array(["a"])},
     {"values": np.zeros(3)}, {"values": np.zeros((2, 2))}, {"values": np.array(["a", "b", "c"])},
     {"values": np.full((3, 2), np.inf)}, {"coverage": np.zeros(3)},
     {"provenance": np.array("null")}, {"provenance": np.array("[" * 100_000)}],
    ids=lambda arrays: next(iter(arrays)),
)  # fmt: skip
def test_forged_tables_are_refused(nights, tmp_path, arrays):
    nights.save(tmp_path / "rows.npz")
    forge(tmp_path / "rows.npz", **arrays)
    with pytest.raises(ReadError, match=r"rows\.npz"):
        EmbeddingTable.load(tmp_path / "rows.npz")


@pytest.mark.parametrize(
    "changes",
    [{"features": 5}, {"features": ["a", "a"]}, {"features": []}, {"modalities": None},
     {"checkpoint_sha256": 3}, {"contents": []}, {"center": "x"}, {"format_version": "x"}],
    ids=str,
)  # fmt: skip
def test_forged_provenance_is_refused(nights, tmp_path, changes):
    nights.save(tmp_path / "rows.npz")
    forge_provenance(tmp_path / "rows.npz", **changes)
    with pytest.raises(ReadError, match=r"rows\.npz"):
        EmbeddingTable.load(tmp_path / "rows.npz")


def test_rows_need_their_encoder(nights):
    with pytest.raises(ReadError, match="no checkpoint_sha256"):
        PrecomputedEmbeddings(nights).fit(nights.X)
