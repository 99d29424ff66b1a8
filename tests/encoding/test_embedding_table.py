# SPDX-License-Identifier: BSD-3-Clause
import builtins
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split

from sleep2vec_sklearn import (
    EmbeddingTable,
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    load_checkpoint,
)
from sleep2vec_sklearn.encoding import RowKeys
from sleep2vec_sklearn.errors import InvalidRecordingError, ReadError

FORMATS = ["parquet", "npz"]


@pytest.fixture(scope="module")
def make_table(checkpoint_path):
    """Function of (X, **parameters)."""

    def make(X, **parameters):
        return Sleep2VecTransformer(checkpoint_path, **parameters).fit(X).embed(X)

    return make


@pytest.fixture(scope="module")
def epochs(cohort):
    return EpochSequence(cohort)[3:200]


@pytest.fixture(scope="module")
def epoch_table(make_table, epochs):
    return make_table(epochs, fusion="concat")


@pytest.fixture(scope="module")
def night_table(make_table, cohort):
    return make_table(cohort, pooling="mean_std")


@pytest.fixture(scope="module", params=["epochs", "nights"])
def table(request, epoch_table, night_table):
    return epoch_table if request.param == "epochs" else night_table


def assert_same(one, other):
    np.testing.assert_array_equal(one.values, other.values)
    pd.testing.assert_frame_equal(one.frame, other.frame)
    pd.testing.assert_frame_equal(one.coverage, other.coverage)
    np.testing.assert_array_equal(one.X.groups, other.X.groups)
    np.testing.assert_array_equal(one.X.stages, other.X.stages)
    assert one.provenance == other.provenance


def test_rows_equal_transform(
    epoch_table, night_table, embed, epochs, cohort, make_table, checkpoint_path, of_one_subject
):
    np.testing.assert_array_equal(epoch_table.values, embed(epochs, fusion="concat"))
    np.testing.assert_array_equal(night_table.values, embed(cohort, pooling="mean_std"))
    for X in (epochs, cohort, [of_one_subject(cohort[:2]), of_one_subject(cohort[2:4])]):
        transformer = Sleep2VecTransformer(checkpoint_path).set_output(transform="pandas")
        pd.testing.assert_frame_equal(make_table(X).frame, transformer.fit_transform(X))


def test_provenance_names_the_encoder(night_table, checkpoint_path):
    checkpoint = load_checkpoint(checkpoint_path)
    provenance = night_table.provenance
    assert provenance["checkpoint"] == "small"
    assert provenance["checkpoint_sha256"] == checkpoint.sha256
    assert (provenance["pooling"], provenance["unit"]) == ("mean_std", "night")
    libraries = {"numpy", "scikit-learn", "torch"}
    assert set(provenance["versions"]) == {"sleep2vec_sklearn", "python", *libraries}
    assert json.loads(json.dumps(provenance)) == provenance


def test_coverage_counts_seconds(make_table, noise):
    eeg, rate = noise("eeg", 4)
    eeg[: round(30 * rate)] = np.nan
    night = Recording({"eeg": (eeg, rate), "spo2": noise("spo2", 3)}, duration=120, id="n")
    expected = {"eeg": [0, 30, 30, 30], "spo2": [30, 30, 30, 0], "ecg": [0, 0, 0, 0]}
    by_epoch, by_night = make_table(EpochSequence([night])).coverage, make_table([night]).coverage
    for name, seconds in expected.items():
        assert by_epoch[name].tolist() == seconds
        assert by_night[name].tolist() == [sum(seconds)]


def test_coverage_of_subjects_and_failures(make_table, cohort, of_one_subject):
    nights = make_table(cohort[:2]).coverage
    subject = make_table([of_one_subject(cohort[:2])]).coverage
    np.testing.assert_array_equal(subject.iloc[0], nights.sum())
    broken = Recording({"spo2": np.full(400, np.nan)}, id="broken")
    with pytest.warns(UserWarning, match="could not be encoded"):
        table = make_table([cohort[0], broken], on_error="nan")
    assert table.frame.loc["broken"].isna().all()
    assert not table.coverage.loc["broken"].any()


def test_embed_needs_matching_fit(checkpoint_path, cohort):
    transformer = Sleep2VecTransformer(checkpoint_path)
    with pytest.raises(NotFittedError):
        transformer.embed(cohort)
    with pytest.raises(InvalidRecordingError, match=r"X holds epochs, but .* fitted on nights"):
        transformer.fit(cohort).embed(EpochSequence(cohort))


def test_duplicate_names_are_refused(make_table, cohort, noise):
    one, other = (Recording({"spo2": noise("spo2", seed=s)}, id="same") for s in range(2))
    with pytest.raises(InvalidRecordingError, match=r"both named 'same'.*an id of its own"):
        make_table([one, other])
    assert len(make_table([one, one])) == 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_file_round_trip(table, tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    table.save(path)
    assert_same(EmbeddingTable.load(path), table)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


names = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
    min_size=1,
)


@settings(max_examples=25)
@given(names=names | st.lists(st.integers(-(2**40), 2**40), min_size=1), data=st.data())
def test_any_names_survive_a_file(tmp_path_factory, names, data):
    names = list(dict.fromkeys(names))
    rows = st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=9, unique=True)
    which = sorted(data.draw(rows))
    keys = RowKeys(names, names, which, np.arange(len(which)))
    provenance = {"features": ["a", "b"], "modalities": ["eeg"]}
    values = np.arange(2 * len(which)).reshape(-1, 2)
    table = EmbeddingTable(keys, values, np.zeros((len(which), 1)), provenance)
    for suffix in FORMATS:
        path = tmp_path_factory.getbasetemp() / f"names.{suffix}"
        table.save(path)
        assert_same(EmbeddingTable.load(path), table)


def test_unstorable_names_are_refused(make_table, cohort, tmp_path):
    night = Recording(dict(cohort[0]), rates=cohort[0].rates, id="n", subject=("site", 3))
    with pytest.raises(ValueError, match=r"found \('site', 3\)"):
        make_table([night]).save(tmp_path / "rows.npz")
    keys = RowKeys(["a", "a\0"], ["s", "s"], [0, 1])
    provenance = {"features": ["f"], "modalities": ["eeg"]}
    table = EmbeddingTable(keys, np.zeros((2, 1)), np.zeros((2, 1)), provenance)
    with pytest.raises(ValueError, match=r"may not end with NUL; found 'a\\x00'"):
        table.save(tmp_path / "rows.npz")


def test_pandas_reads_the_parquet(epoch_table, tmp_path):
    epoch_table.save(tmp_path / "rows.parquet")
    frame = pd.read_parquet(tmp_path / "rows.parquet").set_index(["recording", "epoch"])
    np.testing.assert_array_equal(frame[list(epoch_table.feature_names)], epoch_table.values)
    np.testing.assert_array_equal(frame["stage"], epoch_table.X.stages)
    np.testing.assert_array_equal(frame["eeg_seconds"], epoch_table.coverage["eeg"])


def test_missing_pyarrow_is_explained(night_table, tmp_path, monkeypatch):
    real = builtins.__import__

    def without_pyarrow(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    for use in (night_table.save, EmbeddingTable.load):
        with pytest.raises(ImportError, match=r"pip install 'sleep2vec-sklearn\[parquet\]'.*\.npz"):
            use(tmp_path / "rows.parquet")


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_files_are_explained(night_table, tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    with pytest.raises(ReadError, match=r"rows.*No such file"):
        EmbeddingTable.load(path)
    night_table.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadError, match=rf"rows\.{suffix}"):
        EmbeddingTable.load(path)
    if suffix == "npz":
        np.savez(path, a=np.zeros(3))
    else:
        pd.DataFrame({"a": [1.0]}).to_parquet(path)
    with pytest.raises(ReadError, match=r"something else.*EmbeddingTable\.save"):
        EmbeddingTable.load(path)


def test_npz_never_runs_code(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, provenance=np.array([{"format_version": 1}], dtype=object))
    with pytest.raises(ReadError, match="allow_pickle=False"):
        EmbeddingTable.load(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_newer_files_are_refused(night_table, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"rows.{suffix}"
    with monkeypatch.context() as patch:
        patch.setattr("sleep2vec_sklearn.encoding._table_files.FORMAT_VERSION", 2)
        night_table.save(path)
    with pytest.raises(ReadError, match=r"format 2 by a newer version.*pip install -U"):
        EmbeddingTable.load(path)


def test_unknown_suffix_is_refused(night_table, tmp_path):
    with pytest.raises(ValueError, match=r"'\.xlsx'.*\.parquet and \.npz.*\.csv and \.dta"):
        night_table.save(tmp_path / "rows.xlsx")


def test_failed_write_leaves_old_file(night_table, tmp_path, fails):
    path = tmp_path / "rows.npz"
    night_table.save(path)
    before = path.read_bytes()
    fails("os.fsync", OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        night_table.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_concat_gives_whole_table(make_table, cohort):
    for kind in (list, EpochSequence):
        parts = [make_table(kind(cohort[:3])), make_table(kind(cohort[3:]))]
        assert_same(EmbeddingTable.concat(parts), make_table(kind(cohort)))


def test_concat_compares_the_encoders(make_table, cohort, checkpoint_path):
    one, other = make_table(cohort[:2]), make_table(cohort[2:], layer=1)
    with pytest.raises(
        ValueError, match=r"table 1 differs from the first in layer \(1, not 'last'"
    ):
        EmbeddingTable.concat([one, other])
    one, other = make_table(cohort[:2]), make_table(cohort[2:])
    other.provenance["checkpoint"] = "copied"
    assert len(EmbeddingTable.concat([one, other])) == len(cohort)


def test_concat_shows_few_different_columns(make_table, cohort):
    whole = make_table(cohort[:2])
    blocks = make_table(cohort[2:], fusion="concat", modalities=["spo2", "ibi"])
    with pytest.raises(ValueError, match="differs from the first in ") as caught:
        EmbeddingTable.concat([whole, blocks])
    message = str(caught.value)
    assert "features (64 of 64 differ: spo2_000, spo2_001, spo2_002, ...)" in message
    assert "fusion ('concat', not 'mean'), modalities (6 of 6 differ: spo2, ibi, nothing" in message
    assert len(message) < 400


def test_values_and_keys_are_fixed(night_table):
    for table in (night_table, pickle.loads(pickle.dumps(night_table))):
        with pytest.raises(ValueError, match="read-only"):
            table.values[0] = 0
    with pytest.raises(TypeError, match="PrecomputedEmbeddings"):
        np.asarray(night_table.X)


def test_pickle_carries_no_frames(make_table, cohort):
    table = make_table(cohort)
    size = len(pickle.dumps(table))
    assert table.frame.shape == table.values.shape
    assert len(pickle.dumps(table)) == size
    assert_same(pickle.loads(pickle.dumps(table)), table)


def test_keys_index_like_epochs(epoch_table, epochs):
    X = epoch_table.X
    picks = [slice(5, 60, 7), np.array([4, 2, 150]), np.arange(len(X)) % 3 == 0, []]
    for pick in picks:
        assert X[pick].index.equals(epochs[pick].index)
        np.testing.assert_array_equal(X[pick].stages, epochs[pick].stages)
        np.testing.assert_array_equal(X[pick].groups, epochs[pick].groups)
    parts = train_test_split(X, X.stages, random_state=0)
    assert parts[0].shape == parts[2].shape
    assert tuple(X[0]) == epochs.index[0]
