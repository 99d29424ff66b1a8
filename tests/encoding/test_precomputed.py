# SPDX-License-Identifier: BSD-3-Clause
import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import (
    EmbeddingTable,
    EpochSequence,
    PrecomputedEmbeddings,
    Recording,
    Sleep2VecTransformer,
    make_sleep_cohort,
    read_recording,
)
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError, ReadError


@pytest.fixture(scope="module")
def transformer(checkpoint_path):
    return Sleep2VecTransformer(checkpoint_path)


@pytest.fixture(scope="module")
def kinds(cohort, of_one_subject):
    subjects = [of_one_subject(nights) for nights in (cohort[:2], cohort[2:5], cohort[5:6])]
    return {"epochs": EpochSequence(cohort), "nights": cohort, "subjects": subjects}


@pytest.fixture(scope="module", params=["epochs", "nights", "subjects"])
def X(request, kinds):
    return kinds[request.param]


@pytest.fixture(scope="module")
def table(transformer, X):
    return clone(transformer).fit(X).embed(X)


@pytest.fixture(scope="module")
def rows(transformer, X):
    return clone(transformer).fit_transform(X)


@pytest.fixture(params=["parquet", "npz"])
def path(request, table, tmp_path):
    table.save(tmp_path / f"rows.{request.param}")
    return tmp_path / f"rows.{request.param}"


def test_rows_equal_the_transformer(table, path, X, rows):
    for source in (table, path, str(path)):
        for keys in (X, table.X, table.index, list(table.X)):
            found = PrecomputedEmbeddings(source).fit_transform(keys)
            np.testing.assert_array_equal(found, rows)
            assert found.dtype == np.float32


def test_any_part_is_found(table, X, rows):
    order = np.random.default_rng(0).permutation(len(X))[: len(X) // 2]
    part = X[order] if isinstance(X, EpochSequence) else [X[i] for i in order]
    lookup = PrecomputedEmbeddings(table).fit(X)
    for keys in (part, table.X[order], table.index[order]):
        np.testing.assert_array_equal(lookup.transform(keys), rows[order])


def test_names_equal_the_transformer(table, transformer, X):
    other = clone(transformer).set_output(transform="pandas").fit(X)
    lookup = PrecomputedEmbeddings(table).set_output(transform="pandas").fit(X)
    np.testing.assert_array_equal(lookup.get_feature_names_out(), other.get_feature_names_out())
    pd.testing.assert_frame_equal(lookup.transform(X), other.transform(X))
    polars = lookup.set_output(transform="polars").transform(table.X)
    assert polars.columns == other.get_feature_names_out().tolist()


def test_signals_are_not_read(counting_source, noise, checkpoint_path):
    source = counting_source({"spo2": (*noise("spo2", 6), "%")})
    nights = [Recording.from_source(source, id="n")]
    table = Sleep2VecTransformer(checkpoint_path).fit(nights).embed(nights)
    source.reads.clear()
    lookup = PrecomputedEmbeddings(table)
    lookup.fit_transform(nights)
    assert source.reads == []


def test_scores_equal_the_transformer(cohort, transformer):
    X = EpochSequence(cohort)
    table = clone(transformer).fit(X).embed(X)
    head, cv = LogisticRegression(C=1e-3), GroupKFold(3)

    def score(first, X):
        model = make_pipeline(first, head)
        return cross_val_score(model, X, X.stages, groups=X.groups, cv=cv, error_score="raise")

    expected = score(transformer, X)
    np.testing.assert_array_equal(score(PrecomputedEmbeddings(table), table.X), expected)
    np.testing.assert_array_equal(score(PrecomputedEmbeddings(table), X), expected)


def test_a_search_runs_on_keys(table):
    X, y = table.X, np.arange(len(table)) % 2
    model = make_pipeline(PrecomputedEmbeddings(table), LogisticRegression())
    grid = {"logisticregression__C": [1e-4, 1e-2]}
    cv = GroupKFold(3) if len(y) > 5 else [([0, 1], [2]), ([1, 2], [0])]
    search = GridSearchCV(model, grid, cv=cv, error_score="raise").fit(X, y, groups=X.groups)
    assert search.predict(X).shape == y.shape


WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ImportError(name)
sys.meta_path.insert(0, NoTorch())
import pickle, numpy as np
from sleep2vec_sklearn import EmbeddingTable
for path in sys.argv[1:]:
    model = pickle.load(open(path + ".pkl", "rb"))
    np.save(path + ".npy", model.predict_proba(EmbeddingTable.load(path).X))
"""


def test_pipelines_predict_without_torch(kinds, transformer, tmp_path):
    expected = {}
    for kind, X in kinds.items():
        table = clone(transformer).fit(X).embed(X)
        for suffix in ("parquet", "npz"):
            path = str(tmp_path / f"{kind}.{suffix}")
            table.save(path)
            model = make_pipeline(PrecomputedEmbeddings(path), LogisticRegression())
            model.fit(table.X, np.arange(len(table)) % 2)
            Path(path + ".pkl").write_bytes(pickle.dumps(model))
            expected[path] = model.predict_proba(table.X)
    command = [sys.executable, "-c", WITHOUT_TORCH, *expected]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    for path, rows in expected.items():
        np.testing.assert_array_equal(np.load(path + ".npy"), rows)


def test_clones_share_the_table(table):
    assert clone(PrecomputedEmbeddings(table)).table is table


def test_pickles_carry_tables_not_files(table, path):
    by_path = pickle.dumps(PrecomputedEmbeddings(path).fit(table.X))
    assert len(by_path) < 5000
    whole = pickle.loads(pickle.dumps(PrecomputedEmbeddings(table).fit(table.X)))
    np.testing.assert_array_equal(whole.transform(table.X), table.values)
    np.testing.assert_array_equal(pickle.loads(by_path).transform(table.X), table.values)


def test_rows_are_the_callers_own(table):
    rows = PrecomputedEmbeddings(table).fit_transform(table.X)
    rows[:] = 0
    assert table.values.any()


def test_a_missing_night_is_named(transformer, cohort):
    known = cohort[:3]
    for kind, what in ((list, ""), (EpochSequence, ", epoch 0,")):
        lookup = PrecomputedEmbeddings(clone(transformer).fit(kind(known)).embed(kind(known)))
        lookup.fit(kind(known))
        with pytest.raises(InvalidRecordingError) as caught:
            lookup.transform(kind(cohort[2:4]))
        message = str(caught.value)
        assert f"recording {cohort[3].id!r}{what} is not in the table" in message
        assert "concat" in message


def test_a_missing_epoch_is_named(transformer, cohort):
    X = EpochSequence(cohort[:2])
    lookup = PrecomputedEmbeddings(clone(transformer).fit(X).embed(X[:20])).fit(X[:20])
    with pytest.raises(InvalidRecordingError, match=r"epoch 20, is not .*2 of the 4 rows"):
        lookup.transform(X[18:22])
    with pytest.raises(InvalidRecordingError, match="epoch -1"):
        lookup.transform(pd.MultiIndex.from_tuples([(cohort[0].id, -1)]))


def test_nights_not_found_among_epochs(transformer, cohort):
    X = EpochSequence(cohort)
    lookup = PrecomputedEmbeddings(clone(transformer).fit(X).embed(X))
    with pytest.raises(InvalidRecordingError, match=r"X holds nights, .* rows of epochs"):
        lookup.fit(cohort)


def test_unnamed_nights_need_table_keys(transformer, noise):
    nights = [{"spo2": noise("spo2", seed=seed)[0]} for seed in range(3)]
    table = clone(transformer).fit(nights).embed(nights)
    lookup = PrecomputedEmbeddings(table).fit(table.X)
    np.testing.assert_array_equal(lookup.transform(table.X[[2]]), table.values[[2]])
    with pytest.raises(InvalidRecordingError, match=r"recording 0 has no id.*table's own X"):
        lookup.transform(nights[2:])


def test_changed_table_is_noticed(table, path, X, transformer, write_checkpoint, tmp_path):
    lookup = PrecomputedEmbeddings(path).fit(table.X)
    other = write_checkpoint(tmp_path / "other.safetensors", 9)
    clone(transformer).set_params(checkpoint=other).fit(X).embed(X).save(path)
    with pytest.raises(ReadError, match=r"not the table of fit.*fit again"):
        lookup.transform(table.X)
    assert lookup.fit_transform(table.X).shape == table.values.shape


def test_missing_file_is_explained(path, table):
    lookup = PrecomputedEmbeddings(path).fit(table.X)
    os.unlink(path)
    with pytest.raises(ReadError, match=r"no such table.*embed\(X\)\.save"):
        lookup.transform(table.X)


def test_other_objects_are_refused(table):
    with pytest.raises(TypeError, match="EmbeddingTable or the path of one, got DataFrame"):
        PrecomputedEmbeddings(table.frame).fit(table.X)
    with pytest.raises(NotFittedError):
        PrecomputedEmbeddings(table).transform(table.X)


def test_file_is_read_once(path, table, monkeypatch):
    lookup = PrecomputedEmbeddings(path).fit(table.X)
    monkeypatch.setattr(EmbeddingTable, "load", None)
    np.testing.assert_array_equal(clone(lookup).fit_transform(table.X), table.values)


@pytest.fixture(scope="module")
def lookup(transformer, cohort, tmp_path_factory):
    """Of two nights, from a file."""
    path = tmp_path_factory.mktemp("lookup") / "rows.npz"
    clone(transformer).fit(cohort[:2]).embed(cohort[:2]).save(path)
    return PrecomputedEmbeddings(path).fit(cohort[:2])


@pytest.mark.parametrize("kind", [list, EpochSequence])
def test_other_nights_of_one_name(transformer, cohort, kind):
    lookup = PrecomputedEmbeddings(clone(transformer).fit(kind(cohort)).embed(kind(cohort)))
    lookup.fit(kind(cohort[:2]))
    stranger, changed = copy.copy(cohort[0]), copy.copy(cohort[1])
    stranger.subject, changed.id = "stranger", cohort[0].id
    changed.subject = cohort[0].subject
    with pytest.raises(InvalidRecordingError, match=r"is of the subject 'stranger', that of the"):
        lookup.transform(kind([stranger]))
    with pytest.raises(InvalidRecordingError, match="holds other signals than the one in the ta"):
        lookup.transform(kind([changed]))


def test_changed_signals_are_noticed(lookup, cohort):
    night = cohort[0]
    signals = {name: signal.values.copy() for name, signal in night.read().items()}
    signals["ecg"][7] += 1
    parts = {"rates": night.rates, "units": night.units, "id": night.id, "subject": night.subject}
    with pytest.raises(InvalidRecordingError, match="holds other signals"):
        lookup.transform([Recording(signals, **parts)])
    signals["ecg"][7] -= 1
    assert lookup.transform([Recording(signals, **parts)]).shape[0] == 1


def test_nights_without_subject_are_found(lookup, cohort):
    night = copy.copy(cohort[0])
    night.subject = None
    np.testing.assert_array_equal(lookup.transform([night]), lookup.transform(cohort[:1]))


def test_files_may_be_gone(transformer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nights = make_sleep_cohort(1, hours=0.25, modalities=["ibi", "spo2"], missing=0, random_state=0)
    path = write_edf_cohort(nights, "study")[0]
    night = read_recording(path)
    lookup = PrecomputedEmbeddings(clone(transformer).fit([night]).embed([night])).fit([night])
    content = path.read_bytes()
    path.unlink()
    assert lookup.transform([night]).shape[0] == 1
    path.write_bytes(content[:-2] + b"\0\1")
    with pytest.raises(InvalidRecordingError, match="holds other signals"):
        lookup.transform([night])
    path.write_bytes(content)
    assert lookup.transform([night]).shape[0] == 1


def test_joined_tables_keep_contents(transformer, cohort):
    parts = [clone(transformer).fit(cohort).embed(cohort[k : k + 2]) for k in (0, 2)]
    whole = EmbeddingTable.concat(parts)
    assert set(whole.provenance["contents"]) == {night.id for night in cohort[:4]}
    assert PrecomputedEmbeddings(whole).fit_transform(cohort[:4]).shape[0] == 4
