# SPDX-License-Identifier: BSD-3-Clause
import subprocess
import sys

import numpy as np
import pandas as pd
import polars
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import EmbeddingTable, PrecomputedEmbeddings
from sleep2vec_sklearn.encoding import RowKeys
from sleep2vec_sklearn.errors import InvalidRecordingError, LeakageWarning

NIGHTS = [f"n{i:02}" for i in range(12)]
PROVENANCE = {
    "features": ["a", "b", "c"], "modalities": ["eeg"], "checkpoint_sha256": "0" * 64
}  # fmt: skip


def make_table(keys, seed=0):
    values = np.random.default_rng(seed).standard_normal((len(keys), 3))
    return EmbeddingTable(keys, values, np.full((len(keys), 1), 30.0), PROVENANCE)


@pytest.fixture
def table():
    """Twelve nights, two of each subject."""
    return make_table(RowKeys(NIGHTS, [f"s{i // 2}" for i in range(12)], range(12)))


@pytest.fixture
def study():
    """Covariates of the nights, in another order than the table's."""
    rng = np.random.default_rng(1)
    order = rng.permutation(12)
    columns = {
        "recording": [NIGHTS[i] for i in order],
        "subject": [f"s{i // 2}" for i in order],
        "age": rng.integers(30, 80, 12),
        "bmi": [np.nan, *rng.uniform(20, 35, 11)],
        "case": np.arange(12) % 2,
    }
    return pd.DataFrame(columns, index=order + 100)


WANTED = ["n03", "n00", "n03", "n11"]
KINDS = {
    "list": list, "tuple": tuple, "array": np.array, "Series": pd.Series, "Index": pd.Index,
    "objects": lambda ids: np.array(ids, dtype=object),
    "array column": lambda ids: np.array(ids)[:, None],
    "category": lambda ids: pd.Series(ids, dtype="category"),
    "string": lambda ids: pd.Series(ids, dtype="string"),
    "DataFrame": lambda ids: pd.DataFrame({"night": ids}),
    "wide": lambda ids: pd.DataFrame({"age": [1, 2, 3, 4], "recording": ids, "epoch": 1}),
    "polars": lambda ids: polars.DataFrame({"age": [1, 2, 3, 4], "recording": ids}),
    "polars column": lambda ids: polars.Series(ids),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_ids_stand_for_rows(table, kind):
    X = KINDS[kind](WANTED)
    rows = PrecomputedEmbeddings(table).fit_transform(X)
    np.testing.assert_array_equal(rows, table.values[[3, 0, 3, 11]])


def test_ids_may_be_numbers():
    table = make_table(RowKeys([7, 12, 3], ["a", "b", "c"], [0, 1, 2]))
    for X in ([3, 7], np.array([3, 7]), pd.Series([3, 7])):
        rows = PrecomputedEmbeddings(table).fit_transform(X)
        np.testing.assert_array_equal(rows, table.values[[2, 0]])
    with pytest.raises(InvalidRecordingError, match=r"'7' is not .* has 7\. .*astype\(int\)"):
        PrecomputedEmbeddings(table).fit(["7"])


def test_column_is_named(table, study):
    X = study.rename(columns={"recording": "night"})
    lookup = PrecomputedEmbeddings(table, column="night")
    np.testing.assert_array_equal(
        lookup.fit_transform(X), PrecomputedEmbeddings(table).fit_transform(study["recording"])
    )
    with pytest.raises(InvalidRecordingError, match=r"without a column 'recording'.*'night'"):
        PrecomputedEmbeddings(table).fit(X)


def test_pandas_index_is_kept(table, study):
    lookup = PrecomputedEmbeddings(table).set_output(transform="pandas")
    rows = lookup.fit_transform(study[["recording"]])
    assert rows.index.equals(study.index)
    assert rows.columns.tolist() == ["a", "b", "c"]


@pytest.fixture
def epoch_table():
    keys = RowKeys(["n1", "n2"], ["s1", "s2"], [0, 0, 1], [0, 1, 7], [0, 2, -1])
    return make_table(keys)


def test_epochs_are_two_columns(epoch_table):
    X = pd.DataFrame({"recording": ["n2", "n1"], "epoch": [7, 1], "age": [50, 60]})
    for frame in (X, polars.DataFrame(X.to_dict("list"))):
        rows = PrecomputedEmbeddings(epoch_table).fit_transform(frame)
        np.testing.assert_array_equal(rows, epoch_table.values[[2, 1]])
    with pytest.raises(InvalidRecordingError, match=r"rows of epochs.*'recording' and 'epoch'"):
        PrecomputedEmbeddings(epoch_table).fit(X["recording"])
    with pytest.raises(InvalidRecordingError, match=r"no whole numbers, such as nan"):
        PrecomputedEmbeddings(epoch_table).fit(X.assign(epoch=[7, np.nan]))


def test_unknown_ids_are_counted(table):
    X = ["n00", "x1", "x2", "x1", "x3", "x4"]
    with pytest.raises(
        InvalidRecordingError,
        match=r"5 of the 6 rows.* of 4 recordings: 'x1', 'x2', 'x3' and 1 more",
    ):
        PrecomputedEmbeddings(table).fit(X)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_missing_ids_are_unknown(table, missing):
    for X in (["n00", missing], pd.Series(["n00", missing]), pd.Index(["n00", missing])):
        with pytest.raises(InvalidRecordingError, match="1 of the 2 rows"):
            PrecomputedEmbeddings(table).fit(X)


@pytest.mark.parametrize("X", [[np.zeros(9)], [True, False], "n00", np.zeros((2, 3)), [["n00"]]])
def test_other_inputs_are_no_ids(table, X):
    with pytest.raises(InvalidRecordingError, match=r"accepted (are|is)"):
        PrecomputedEmbeddings(table).fit(X)


def joint_model(table):
    covariates = make_pipeline(SimpleImputer())
    first = make_column_transformer(
        (PrecomputedEmbeddings(table), ["recording"]), (covariates, ["age", "bmi"])
    )
    return make_pipeline(first, LogisticRegression())


def test_ids_stand_beside_covariates(table, study):
    model = joint_model(table).set_output(transform="pandas").fit(study, study["case"])
    names = ["precomputedembeddings__a", "precomputedembeddings__b", "precomputedembeddings__c"]
    rows = model[0].transform(study)
    assert rows.columns.tolist() == [*names, "pipeline__age", "pipeline__bmi"]
    assert rows.index.equals(study.index)
    places = [NIGHTS.index(name) for name in study["recording"]]
    np.testing.assert_array_equal(rows[names], table.values[places])
    np.testing.assert_array_equal(rows["pipeline__age"], study["age"])


def test_joint_models_are_validated(table, study, tmp_path):
    paths = [str(tmp_path / f"rows-{seed}.npz") for seed in range(2)]
    for seed, path in enumerate(paths):
        make_table(table.X, seed).save(path)
    y, cv = study["case"], GroupKFold(3)
    grid = {"columntransformer__precomputedembeddings__table": paths}
    search = GridSearchCV(clone(joint_model(paths[0])), grid, cv=cv, error_score="raise")
    search.fit(study, y, groups=study["subject"])
    for path, score in zip(paths, search.cv_results_["mean_test_score"], strict=True):
        model = joint_model(path)
        scores = cross_val_score(model, study, y, groups=study["subject"], cv=cv)
        assert scores.mean() == score


def test_subjects_come_from_the_table(table):
    lookup = PrecomputedEmbeddings(table).fit(["n00", "n02"])
    with pytest.warns(LeakageWarning, match=r"1 of the subjects .*\(s0\)"):
        lookup.transform(["n01", "n04"])


WITHOUT_TORCH = """
import sys
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sleep2vec_sklearn import EmbeddingTable, PrecomputedEmbeddings

for path in sys.argv[1:]:
    study = EmbeddingTable.load(path).to_frame()
    first = make_column_transformer(
        (PrecomputedEmbeddings(path), ["recording"]), ("passthrough", ["age"])
    )
    model = make_pipeline(first, LogisticRegression())
    scores = cross_val_score(
        model, study, study["case"], groups=study["subject"], cv=GroupKFold(3), n_jobs=1
    )
    assert len(scores) == 3 and (scores >= 0).all()
assert "torch" not in sys.modules
"""


def test_lookups_never_import_torch(table, study, tmp_path):
    paths = [str(tmp_path / f"rows.{suffix}") for suffix in ("parquet", "npz")]
    for path in paths:
        table.save(path, study)
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, *paths]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
