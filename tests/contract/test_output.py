# SPDX-License-Identifier: BSD-3-Clause
"""Tables, diagrams and progress bars."""

import numpy as np
import pandas as pd
import polars
import pytest
from sklearn import config_context
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, RecordingMetadata


def union_of(task):
    return FeatureUnion([("embedding", task.transformer()), ("known", RecordingMetadata())])


def test_pandas_union_has_one_index(task):
    table = union_of(task).set_output(transform="pandas").fit_transform(task.X)
    ids = [night.id for night in task.X] if isinstance(task.X, list) else task.X.index.tolist()
    assert table.index.tolist() == ids
    assert {"embedding__sleep2vec_000", "known__age"} <= set(table.columns)
    np.testing.assert_array_equal(table.to_numpy()[:, :32], task.rows)
    table = union_of(task).set_output(transform="polars").fit_transform(task.X)
    assert isinstance(table, polars.DataFrame)
    np.testing.assert_array_equal(table.to_numpy()[:, :32], task.rows)


def test_pandas_union_of_repeated_nights(task):
    X = task.X[[0, 0, 1]] if isinstance(task.X, EpochSequence) else [task.X[i] for i in (0, 0, 1)]
    table = union_of(task).set_output(transform="pandas").fit_transform(X)
    assert len(table) == 3
    assert table.iloc[0].equals(table.iloc[1])


@pytest.mark.parametrize("kind", [pd.DataFrame, polars.DataFrame])
def test_a_pipeline_hands_tables_on(task, kind):
    model = make_pipeline(task.transformer(), StandardScaler())
    with config_context(transform_output=kind.__module__.split(".")[0]):
        tables = [model[:1].fit_transform(task.X), model.fit_transform(task.X)]
    assert [type(table) for table in tables] == [kind, kind]
    assert list(tables[0].columns) == model.get_feature_names_out().tolist()


def test_the_diagram_links_to_documentation(task):
    html = make_pipeline(union_of(task), StandardScaler())._repr_html_()
    for name in ("Sleep2VecTransformer", "RecordingMetadata"):
        assert f">Documentation for {name}<" in html
    assert task.transformer()._get_doc_link() in html


@pytest.mark.filterwarnings("error")
def test_progress_bar_of_scikit_learn(task, capsys):
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    task.pipeline().set_callbacks(callback.ProgressBar()).fit(task.X, task.y)
    shown = capsys.readouterr().out
    assert "fit-transform-embed | Sleep2VecTransformer" in shown
    assert "100%" in shown
