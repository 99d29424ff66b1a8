# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.metrics import r2_score

from sleep2vec_sklearn import EpochSequence
from tests.finetuning.simple_nights import make_nights

NIGHTS = make_nights(6)
AGES = np.array([30.0, 70.0] * 3)


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_numbers_are_learned(regress, loss):
    model = regress(loss=loss, max_epochs=60, lr=1e-2).fit(NIGHTS, AGES)
    predicted = model.predict(NIGHTS)
    assert predicted.shape == (6,)
    assert model.score(NIGHTS, AGES) == r2_score(AGES, predicted) > 0.8


def test_unit_and_gaps_of_y(regress):
    years = regress().fit(NIGHTS, AGES).predict(NIGHTS)
    days = regress().fit(NIGHTS, 365 * AGES - 1000).predict(NIGHTS)
    np.testing.assert_allclose(days, 365 * years - 1000, rtol=1e-3)
    model = regress().fit(NIGHTS, [*AGES[:4], np.nan, np.nan])
    alone = regress().fit(NIGHTS[:4], AGES[:4])
    np.testing.assert_array_equal(model.predict(NIGHTS), alone.predict(NIGHTS))


def test_small_and_constant_numbers(regress):
    model = regress(max_epochs=60, lr=1e-2).fit(NIGHTS, [-1, 1] * 3)
    assert model.score(NIGHTS, [-1, 1] * 3) > 0.8
    predicted = regress().fit(NIGHTS, np.full(6, 50.0)).predict(NIGHTS)
    np.testing.assert_allclose(predicted, 50, atol=2)


def test_columns_with_missing_cells(regress):
    y = np.column_stack([AGES, -AGES])
    y[0, 1] = y[3, 0] = np.nan
    model = regress(max_epochs=60, lr=1e-2).fit(NIGHTS, y)
    predicted = model.predict(NIGHTS)
    assert predicted.shape == (6, 2)
    scores = [r2_score(y[k, i], predicted[k, i]) for i, k in enumerate(~np.isnan(y.T))]
    assert model.score(NIGHTS, y) == pytest.approx(np.mean(scores))
    assert min(scores) > 0.7


def test_numbers_of_epochs(regress):
    X = EpochSequence(NIGHTS)
    level = 96.0 - 6 * X.stages
    model = regress(max_epochs=25, lr=1e-2).fit(X, level)
    assert model.score(X, level) > 0.7
