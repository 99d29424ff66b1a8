# SPDX-License-Identifier: BSD-3-Clause
"""Tables written part by part, and mapped."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import (
    EmbeddingTable,
    EpochSequence,
    PrecomputedEmbeddings,
    Recording,
    Sleep2VecTransformer,
)
from sleep2vec_sklearn.encoding import RowKeys
from sleep2vec_sklearn.encoding.table import join_files
from sleep2vec_sklearn.errors import InvalidRecordingError, ReadError, RecordingWarning

FORMATS = ["parquet", "npz"]
DIGEST_KEY = b"sleep2vec_sklearn.sha256"
PROVENANCE = {"features": ["a", "b", "c"], "modalities": ["ibi"], "checkpoint_sha256": "0" * 64}


@pytest.fixture
def cohort(noise):
    return [
        Recording(
            {"ibi": noise("ibi", seed=seed)}, subject=f"s{seed // 2}", id=f"n{seed}",
            stages=np.arange(4) % 5,
        )
        for seed in range(4)
    ]  # fmt: skip


@pytest.fixture(params=["night", None])
def transformer(request, checkpoint_path):
    return Sleep2VecTransformer(checkpoint_path, center=request.param)


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of five rows of three numbers."""
    monkeypatch.setattr("sleep2vec_sklearn.encoding._table_rows._GROUP_BYTES", 5 * 3 * 4)


def make_table(n_nights=4, n_epochs=7, seed=0, **options):
    rng = np.random.default_rng(seed)
    names = [f"n{i}" for i in range(n_nights)]
    rows, epochs = np.divmod(np.arange(n_nights * n_epochs), n_epochs)
    values = rng.normal(size=(len(rows), 3)).astype(np.float32)
    offsets = rng.normal(size=(n_nights, 3)).astype(np.float32)[rows]
    keys = RowKeys(names, [f"s{i}" for i in range(n_nights)], rows, epochs, epochs % 6 - 1)
    coverage = np.full((len(rows), 1), 30.0)
    return EmbeddingTable(keys, values, coverage, PROVENANCE | {"center": "night"}, offsets)


def assert_same(one, other):
    assert one.index.equals(other.index)
    for name in ("groups", "stages"):
        np.testing.assert_array_equal(getattr(one.X, name), getattr(other.X, name))
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.coverage, other.coverage)
    if one.provenance.get("center"):
        np.testing.assert_array_equal(one.rows(center="night"), other.rows(center="night"))


@pytest.mark.filterwarnings("ignore:.*fewer than 20 epochs")
@pytest.mark.parametrize("suffix", FORMATS)
def test_embed_writes_the_table(transformer, cohort, tmp_path, suffix):
    X = EpochSequence(cohort)
    path, metadata = (
        tmp_path / f"rows.{suffix}",
        pd.DataFrame({"age": range(4)}, ["n0", "n1", "n2", "n3"]),
    )
    transformer.fit(X)
    assert transformer.embed(X, path, metadata) is None
    written = EmbeddingTable.load(path)
    assert_same(written, transformer.embed(X))
    assert written.provenance == transformer.embed(X).provenance
    assert written.metadata["age"].tolist() == [0, 1, 2, 3]
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_are_sorted_by_night(checkpoint_path, cohort, tmp_path, suffix):
    X = EpochSequence(cohort)
    X = X[np.random.default_rng(0).permutation(len(X))[: len(X) // 2]]
    transformer, path = Sleep2VecTransformer(checkpoint_path).fit(X), tmp_path / f"rows.{suffix}"
    transformer.embed(X, path)
    found = PrecomputedEmbeddings(path).fit_transform(X)
    np.testing.assert_array_equal(found, transformer.transform(X))
    written = EmbeddingTable.load(path)
    assert (np.diff(written.X.recording_index) >= 0).all()


@pytest.mark.parametrize("suffix", [*FORMATS, "csv"])
def test_nights_go_to_files(checkpoint_path, cohort, tmp_path, suffix):
    transformer, path = (
        Sleep2VecTransformer(checkpoint_path).fit(cohort),
        tmp_path / f"rows.{suffix}",
    )
    transformer.embed(cohort, path)
    if suffix != "csv":
        assert_same(EmbeddingTable.load(path), transformer.embed(cohort))
    else:
        assert pd.read_csv(path)["recording"].tolist() == ["n0", "n1", "n2", "n3"]


def test_failed_nights_are_nan(checkpoint_path, cohort, tmp_path):
    cohort[1] = Recording({"ibi": np.zeros(480)}, id="n1")
    X, path = EpochSequence(cohort), tmp_path / "rows.npz"
    transformer = Sleep2VecTransformer(checkpoint_path, on_error="nan").fit(X)
    with pytest.warns(RecordingWarning, match="1 of the recordings could not be encoded"):
        transformer.embed(X, path)
    of_night = EmbeddingTable.load(path).X.recording_index
    missing = np.isnan(EmbeddingTable.load(path).values).all(axis=1)
    np.testing.assert_array_equal(missing, of_night == 1)
    path.unlink()
    with pytest.raises(InvalidRecordingError):
        Sleep2VecTransformer(checkpoint_path).fit(X).embed(X, path)
    assert not list(tmp_path.iterdir())


def test_wrong_calls_encode_nothing(checkpoint_path, cohort, tmp_path, encodes):
    X = EpochSequence([*cohort, cohort[0].without()])
    transformer = Sleep2VecTransformer(checkpoint_path).fit(X)
    with pytest.raises(InvalidRecordingError, match="both named 'n0'"):
        transformer.embed(X, tmp_path / "rows.npz")
    with pytest.raises(ValueError, match=r"unknown kind of file '\.npy'"):
        transformer.embed(X, tmp_path / "rows.npy")
    with pytest.raises(ValueError, match="metadata was passed without path"):
        transformer.embed(X, metadata=pd.DataFrame())
    with pytest.raises(InvalidRecordingError, match="metadata has no row"):
        transformer.embed(X[:4], tmp_path / "rows.parquet", pd.DataFrame({"age": [1]}))
    assert not encodes
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", FORMATS)
def test_parts_become_groups(small_groups, tmp_path, suffix):
    table, path = make_table(), tmp_path / f"rows.{suffix}"
    table.save(path)
    assert_same(EmbeddingTable.load(path), table)
    if suffix == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.ParquetFile(path).metadata.num_row_groups == 6


@pytest.mark.parametrize("suffix", FORMATS)
def test_groups_may_end_within_batches(monkeypatch, tmp_path, suffix):
    table, path = make_table(), tmp_path / f"rows.{suffix}"
    table.save(path)
    monkeypatch.setattr("sleep2vec_sklearn.encoding._table_files._ROWS_AT_ONCE", 4)
    assert_same(EmbeddingTable.load(path), table)


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_are_joined(small_groups, tmp_path, suffix):
    parts = [make_table(2, seed=seed) for seed in range(3)]
    paths = [tmp_path / f"{number}.npz" for number in range(3)]
    for number, (table, path) in enumerate(zip(parts, paths, strict=True)):
        table.X.names[:] = [f"{number}{name}" for name in table.X.names]
        table.save(path)
    metadata = pd.DataFrame({"age": range(6)}, [f"{i}n{j}" for i in range(3) for j in range(2)])
    out = tmp_path / f"rows.{suffix}"
    assert join_files(paths, out, metadata) == 3 * 14
    assert_same(EmbeddingTable.load(out), EmbeddingTable.concat(parts))
    assert EmbeddingTable.load(out).metadata["age"].tolist() == list(range(6))
    with pytest.raises(InvalidRecordingError, match="both named '0n0'"):
        join_files([paths[0], paths[0]], out)
    other = EmbeddingTable(parts[0].X, parts[0].values, parts[0].coverage, PROVENANCE)
    other.save(paths[1])
    with pytest.raises(ValueError, match=r"1\.npz differs from the first in center"):
        join_files(paths, out)


def is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def test_npz_is_mapped(tmp_path):
    path = tmp_path / "rows.npz"
    make_table().save(path)
    table = EmbeddingTable.load(path)
    assert is_mapped(table.values)
    assert table.values.flags.aligned
    assert not table.values.flags.writeable
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    np.testing.assert_array_equal(np.load(path)["values"], table.values)
    model = PrecomputedEmbeddings(path).fit(table.X)
    assert not is_mapped(model.transform(table.X[:5]))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_other_npz_are_read(tmp_path, save):
    path, other = tmp_path / "rows.npz", tmp_path / "other.npz"
    make_table().save(path)
    with np.load(path) as file:
        save(other, **file)
    assert_same(EmbeddingTable.load(other), make_table())


@pytest.mark.parametrize("position", [200, 300])
def test_changed_bytes_are_noticed(tmp_path, position):
    path = tmp_path / "rows.npz"
    make_table().save(path)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"rows\.npz"):
        EmbeddingTable.load(path)


def rewrite(path, change, has_digest=True):
    """Change columns of a Parquet file, whose checksums of pages are right again."""
    parquet = pytest.importorskip("pyarrow.parquet")
    with parquet.ParquetFile(path) as file:
        table, stored = change(file.read()), file.metadata.metadata
    document = stored[b"sleep2vec_sklearn"]
    if not has_digest:
        document = document.replace(b', "checksum": "sha256"', b"")
    table = table.replace_schema_metadata({b"sleep2vec_sklearn": document})
    with parquet.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        if has_digest:
            writer.add_key_value_metadata({DIGEST_KEY: stored[DIGEST_KEY]})


def with_columns(**numbers):
    """Columns at the places of others."""

    def change(table):
        places = list(range(table.num_columns))
        for name, other in numbers.items():
            places[table.column_names.index(name)] = table.column_names.index(other)
        return table.select(places).rename_columns(table.column_names)

    return change


@pytest.mark.parametrize(
    "names",
    [{"a": "b", "b": "a"}, {"epoch": "stage"}, {"subject": "recording"}, {"ibi_seconds": "c"},
     {"a_night_mean": "c_night_mean"}, {"age": "bmi"}],
    ids=lambda names: next(iter(names)),
)  # fmt: skip
def test_rows_have_a_hash(small_groups, tmp_path, names):
    path, metadata = tmp_path / "rows.parquet", {"age": [1.5, None, 2, 3], "bmi": [4.5, 5, 6, 7]}
    make_table().save(path, pd.DataFrame(metadata, [f"n{i}" for i in range(4)]))
    rewrite(path, with_columns())
    table = EmbeddingTable.load(path)
    assert_same(table, make_table())
    rewrite(path, with_columns(**names))
    with pytest.raises(ReadError, match=r"rows\.parquet: damaged"):
        EmbeddingTable.load(path)
    with pytest.raises(ReadError, match=r"rows\.parquet: damaged"):
        PrecomputedEmbeddings(path).fit(table.X)


def test_older_files_are_read(tmp_path):
    path = tmp_path / "rows.parquet"
    make_table().save(path)
    rewrite(path, with_columns(), has_digest=False)
    assert_same(EmbeddingTable.load(path), make_table())
    assert EmbeddingTable.load(path).provenance == make_table().provenance


def test_probe_is_that_of_arrays(tmp_path):
    path, table = tmp_path / "rows.npz", make_table(12, 40)
    table.save(path)
    X, y, groups = table.X, table.X.stages > 0, table.X.groups
    probe, cv = SGDClassifier(random_state=0), GroupKFold(3)
    expected = cross_val_score(probe, table.rows(center="night"), y, groups=groups, cv=cv)
    model = make_pipeline(PrecomputedEmbeddings(path), probe)
    np.testing.assert_array_equal(cross_val_score(model, X, y, groups=groups, cv=cv), expected)


@pytest.mark.parametrize("pick", [slice(3, 25, 2), [20, 3, 3], np.arange(28) % 3 == 0])
def test_centred_rows_are_picked(monkeypatch, pick):
    table = make_table()
    whole = table.values - table._offsets[:]
    monkeypatch.setattr("sleep2vec_sklearn.encoding.table._ROWS_AT_ONCE", 2)
    np.testing.assert_array_equal(table.rows(pick, center="night"), whole[pick])
    assert not np.array_equal(table.values, whole)
