# SPDX-License-Identifier: BSD-3-Clause
"""Unions, ensembles and what stands behind the transformer."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, TunedThresholdClassifierCV, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier

from sleep2vec_sklearn import RecordingMetadata


def folds(task):
    return list(GroupKFold(2).split(task.X, task.y, task.groups))


def assert_same_probabilities(on_recordings, on_rows, task):
    np.testing.assert_array_equal(
        on_recordings.fit(task.X, task.y).predict_proba(task.X),
        on_rows.fit(task.rows, task.y).predict_proba(task.rows),
    )


def test_union_of_embeddings_and_covariates(task):
    # folds by subject leave a site out
    known = RecordingMetadata(handle_unknown="ignore")
    union = FeatureUnion([("embedding", task.transformer()), ("known", known)])
    rows = union.fit_transform(task.X)
    np.testing.assert_array_equal(rows[:, :32], task.rows)
    np.testing.assert_array_equal(rows[:, 32:], RecordingMetadata().fit_transform(task.X))
    model = make_pipeline(union, SimpleImputer(), StandardScaler(), LogisticRegression())
    scores = cross_val_score(model, task.X, task.y, cv=folds(task), error_score="raise")
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", ["night", ["night"]])
def test_column_transformer_takes_recordings(task, name):
    table = pd.DataFrame({"night": list(task.X), "bmi": np.linspace(20, 30, len(task.X))})
    table.index += 100
    columns = make_column_transformer((task.transformer(), name), ("passthrough", ["bmi"]))
    joined = columns.set_output(transform="pandas").fit_transform(table)
    np.testing.assert_array_equal(joined.to_numpy()[:, :32], task.rows)
    assert joined.index.equals(table.index)
    assert joined["remainder__bmi" if "remainder__bmi" in joined else "passthrough__bmi"].equals(
        table["bmi"]
    )


def calibrate(task, strong, weak):
    return CalibratedClassifierCV(strong, cv=folds(task))


def vote(task, strong, weak):
    return VotingClassifier([("a", strong), ("b", weak)], voting="soft")


def stack(task, strong, weak):
    return StackingClassifier([("a", strong), ("b", weak)], cv=folds(task))


@pytest.mark.parametrize("combine", [calibrate, vote, stack])
def test_ensembles_of_pipelines(task, combine):
    weak = LogisticRegression(C=0.01)
    on_recordings = combine(task, task.pipeline(), task.pipeline(weak))
    assert_same_probabilities(on_recordings, combine(task, task.head(), weak), task)


def test_calibration_of_a_frozen_pipeline(task):
    on_recordings = task.pipeline().fit(task.X, task.y)
    on_rows = task.head().fit(task.rows, task.y)
    calibrated = (
        CalibratedClassifierCV(FrozenEstimator(m), cv=folds(task)) for m in (on_recordings, on_rows)
    )
    assert_same_probabilities(*calibrated, task)


def test_frozen_and_dummy_steps(task):
    fitted = task.transformer().fit(task.X)
    model = make_pipeline(FrozenEstimator(fitted), task.head()).fit(task.X, task.y)
    assert model[0].estimator is fitted
    np.testing.assert_array_equal(model[0].transform(task.X), task.rows)
    y = np.arange(len(task.X)) % 3 == 0
    for baseline in (task.pipeline(DummyClassifier()), DummyClassifier()):
        assert not baseline.fit(task.X, y).predict(task.X).any()


def test_tuned_threshold(task):
    # so timid that no probability is 0 or 1, which would leave no threshold to tune
    head = task.head().set_params(classify__C=1e-4)
    tuned = [
        TunedThresholdClassifierCV(m, cv=folds(task), scoring="balanced_accuracy").fit(X, task.y)
        for m, X in ((task.pipeline(head), task.X), (head, task.rows))
    ]
    assert tuned[0].best_threshold_ == tuned[1].best_threshold_
    np.testing.assert_array_equal(tuned[0].predict(task.X), tuned[1].predict(task.rows))


def make_net():
    return NeuralNetClassifier(
        torch.nn.Linear, module__in_features=32, module__out_features=2,
        criterion=torch.nn.CrossEntropyLoss, max_epochs=3, train_split=None, verbose=0,
    )  # fmt: skip


def test_skorch_head(task):
    def probabilities(model, X):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return model.fit(X, task.y).predict_proba(X)

    found = probabilities(task.pipeline(make_net()), task.X)
    np.testing.assert_array_equal(found, probabilities(make_net(), task.rows))
    scores = cross_val_score(
        task.pipeline(make_net()), task.X, task.y, cv=folds(task), error_score="raise"
    )
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("reduce", [PCA(3), SelectFromModel(LogisticRegression(), max_features=4)])
def test_fewer_columns_behind_the_transformer(task, reduce):
    head = make_pipeline(StandardScaler(), reduce, LogisticRegression())
    assert_same_probabilities(task.pipeline(head), head, task)
    model = task.pipeline(head).fit(task.X, task.y)
    names = model["head"][:-1].get_feature_names_out(model["embed"].get_feature_names_out())
    assert len(names) <= 4
