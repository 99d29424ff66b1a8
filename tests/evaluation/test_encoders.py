# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    make_sleep_cohort,
)
from sleep2vec_sklearn.encoding import ExpertFeatures
from sleep2vec_sklearn.evaluation import compare_encoders, compare_estimators

HEAD = LogisticRegression(C=1e-3, max_iter=200)
FEATURES = ExpertFeatures(levels=False, cache=None)
MINI = Sleep2VecTransformer(cache=None)


@pytest.fixture(scope="module")
def nights():
    return make_sleep_cohort(4, hours=1, modalities=["ibi"], missing=0, random_state=0)


@pytest.fixture(scope="module")
def X(nights):
    return EpochSequence(nights)


def compare(encoders, X, **parameters):
    parameters |= {"head": HEAD, "cv": 2, "n_resamples": 50}
    return compare_encoders(encoders, X, X.stages > 0, **parameters)


def test_rows_are_those_of_transformers(X):
    encoders = {"features": FEATURES, "mini": MINI, "both": (FEATURES, MINI)}
    found = compare(encoders, X)
    rows = [transformer.fit_transform(X) for transformer in (FEATURES, MINI)]
    for name, expected in zip(encoders, [*rows, np.hstack(rows)], strict=True):
        alone = compare_estimators(
            {"a": HEAD, "b": HEAD}, expected, X.stages > 0, X.groups, cv=2, n_resamples=50
        )
        value = found.scores.loc[name, "value"]
        np.testing.assert_allclose(value, alone.scores.loc["a", "value"])


def test_signals_are_read_once(nights, counting_source):
    sources = [counting_source({"ibi": (night["ibi"], 4, "s")}) for night in nights]
    recordings = [
        Recording.from_source(source, subject=night.subject, stages=night.stages)
        for source, night in zip(sources, nights, strict=True)
    ]
    compare([FEATURES, MINI, (FEATURES, MINI)], EpochSequence(recordings))
    assert all(source.reads == [("ibi",)] for source in sources)


def test_encoders_have_names(X):
    found = compare(["sleep2vec-mini", FEATURES, ("sleep2vec-mini", FEATURES)], X)
    names = found.scores.index.get_level_values("estimator").tolist()
    assert names == ["sleep2vec-mini", "expert-features", "sleep2vec-mini + expert-features"]
    with pytest.raises(ValueError, match="two are called 'sleep2vec-mini'"):
        compare(["sleep2vec-mini", MINI], X)


def test_learned_steps_are_refused(X):
    with pytest.raises(TypeError, match="Put steps that learn into the head"):
        compare([MINI, PCA(2)], X)


@pytest.mark.parametrize("encoders", ["sleep2vec-mini", [MINI], {"a": MINI, "b": ()}])
def test_two_encoders_are_needed(X, encoders):
    with pytest.raises(ValueError, match="accepted are at least two"):
        compare(encoders, X)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reference": "c"}, "none of"),
        ({"average": "x"}, "average must be"),
        ({"y": [1]}, "labels"),
    ],
)
def test_refusals_precede_rows(X, fails, wrong, message):
    fails("sleep2vec_sklearn.evaluation.comparison.EncoderUnion.fit_transform", AssertionError())
    given = {"y": X.stages > 0, "cv": 2} | wrong
    with pytest.raises(ValueError, match=message):
        compare_encoders({"a": FEATURES, "b": MINI}, X, **given)


def test_unscored_epochs_are_refused(X):
    y = np.where(np.arange(len(X)) == 3, -1, X.stages)
    with pytest.raises(ValueError, match="-1"):
        compare_encoders([FEATURES, MINI], X, y, cv=2)


@pytest.mark.parametrize(
    ("y", "metric"), [([0, 1] * 4, "roc_auc"), (np.arange(8.0), "neg_mean_absolute_error")]
)
def test_heads_fit_the_labels(y, metric):
    cohort = make_sleep_cohort(8, hours=0.5, modalities=["ibi"], missing=0, random_state=0)
    found = compare_encoders([FEATURES, MINI], cohort, y, cv=2, n_resamples=50)
    assert set(found.scores.index.get_level_values("metric")) == {metric}
