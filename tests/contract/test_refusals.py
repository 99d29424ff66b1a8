# SPDX-License-Identifier: BSD-3-Clause
"""Tools that make an array of X say what to do instead, and that way works."""

import numpy as np
import pytest
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsOneClassifier

SENTENCE = (
    r"^recordings and their epochs are no array, and this tool makes one of X: put the step that "
    r"needs numbers after a Sleep2VecTransformer, as in make_pipeline\(Sleep2VecTransformer\(\), "
    r"BaggingClassifier\(\)\), or hand the tool the rows, Sleep2VecTransformer\(\).fit_transform"
)


def bag(model):
    return BaggingClassifier(model, n_estimators=3, random_state=0)


def boost(model):
    return AdaBoostClassifier(model, n_estimators=2, random_state=0)


@pytest.mark.parametrize("wrap", [bag, boost, OneVsOneClassifier])
def test_ensembles_refuse_whole_pipelines(task, wrap):
    with pytest.raises(TypeError, match=SENTENCE):
        wrap(task.pipeline(LogisticRegression())).fit(task.X, task.y)


@pytest.mark.parametrize("wrap", [bag, boost, OneVsOneClassifier])
def test_they_work_behind_the_transformer(task, wrap):
    model = task.pipeline(wrap(LogisticRegression())).fit(task.X, task.y)
    expected = wrap(LogisticRegression()).fit(task.rows, task.y).predict(task.rows)
    np.testing.assert_array_equal(model.predict(task.X), expected)


def test_stacking_with_passthrough_refuses(task, noise):
    with pytest.raises(TypeError, match=SENTENCE):
        StackingClassifier([("a", task.pipeline())], passthrough=True, cv=2).fit(task.X, task.y)
    plain = [{"ibi": noise("ibi", seed=seed)} for seed in range(4)]
    with pytest.raises(ValueError, match="Expected 2D array"):
        bag(task.pipeline(LogisticRegression())).fit(plain, [0, 1, 0, 1])


def test_permutation_importance_takes_rows_only(task):
    model = task.pipeline().fit(task.X, task.y)
    with pytest.raises(TypeError, match=SENTENCE):
        permutation_importance(model, task.X, task.y)
    rows = model[:-1].transform(task.X)
    found = permutation_importance(model[-1], rows, task.y, n_repeats=2, random_state=0)
    assert found.importances.shape == (32, 2)


def test_partial_dependence_takes_rows(task):
    model = task.pipeline().fit(task.X, task.y)
    # of epochs scikit-learn asks for a second dimension before it makes an array
    with pytest.raises((TypeError, IndexError)):
        partial_dependence(model, task.X, [0])
    rows = model[:-1].transform(task.X)
    assert len(partial_dependence(model[-1], rows, [0]).average) == 1


@pytest.mark.parametrize("element", [0, slice(None)])
def test_numpy_says_the_same(task, element):
    for make in (np.asarray, np.array):
        with pytest.raises(TypeError, match=SENTENCE):
            make(task.X[element])


def test_plain_dicts_are_split(task, noise):
    plain = [{"ibi": noise("ibi", seed=seed)} for seed in range(4)]
    train, test = train_test_split(plain, random_state=0)
    assert [type(part[0]) for part in (train, test)] == [dict, dict]
    objects = np.empty(len(plain), dtype=object)
    objects[:] = plain
    rows = task.transformer().fit_transform(plain)
    np.testing.assert_array_equal(task.transformer().fit_transform(objects), rows)
