# SPDX-License-Identifier: BSD-3-Clause
"""Rows without a weight are as good as absent, whatever their labels say."""

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecClassifier,
    Sleep2VecCoxRegressor,
    Sleep2VecEventDetector,
    Sleep2VecRegressor,
)
from sleep2vec_sklearn.evaluation import survival_outcome
from tests.finetuning.simple_nights import QUICK, make_nights

NIGHTS = make_nights(6)
WEIGHTS = [1, 1, 1, 1, 0, 0]


def test_their_values_do_not_scale_the_target(checkpoint_path):
    model = Sleep2VecRegressor(checkpoint_path, **QUICK)
    ages = [30.0, 40.0, 50.0, 60.0, 9e9, np.nan]
    model.fit(NIGHTS, ages, sample_weight=WEIGHTS)
    assert model.target_mean_.tolist() == [45.0]
    alone = Sleep2VecRegressor(checkpoint_path, **QUICK).fit(NIGHTS[:4], ages[:4])
    np.testing.assert_array_equal(model.predict(NIGHTS), alone.predict(NIGHTS))


def test_their_classes_are_not_learned(checkpoint_path):
    model = Sleep2VecClassifier(checkpoint_path, class_weight="balanced", **QUICK)
    y = pd.Series(["a", "b", "b", "b", "c", "c"], index=list("uvwxyz"))
    model.fit(NIGHTS, y, sample_weight=WEIGHTS)
    assert model.classes_.tolist() == ["a", "b"]
    np.testing.assert_allclose(model.class_weight_, [2, 2 / 3], rtol=1e-6)


def test_epochs_are_left_out_one_by_one(checkpoint_path):
    X = EpochSequence(NIGHTS[:2])
    y = X.stages.astype(int)
    weights = np.ones(len(X))
    weights[::3], y[::3] = 0, 2
    model = Sleep2VecClassifier(checkpoint_path, **QUICK).fit(X, y, sample_weight=weights)
    alone = Sleep2VecClassifier(checkpoint_path, **QUICK).fit(X[weights > 0], y[weights > 0])
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))


def test_their_events_are_not_counted(checkpoint_path):
    nights = make_nights(4)
    tables = [
        pd.DataFrame({"onset": [60.0], "duration": [length], "type": ["apnea"]})
        for length in (30.0, 30.0, 400.0, 400.0)
    ]
    model = Sleep2VecEventDetector(checkpoint_path, event_types="apnea", **QUICK)
    model.fit(nights, tables, sample_weight=[1, 1, 0, 0])
    assert model.log_odds_ == pytest.approx(np.log(60 / 1140), rel=1e-5)


def test_their_deaths_are_no_events(checkpoint_path):
    y = survival_outcome([0, 0, 0, 0, 1, 1], [1, 1, 2, 2, 3, 3])
    with pytest.raises(ValueError, match="no event in 4 rows"):
        Sleep2VecCoxRegressor(checkpoint_path, **QUICK).fit(NIGHTS, y, sample_weight=WEIGHTS)


def test_labels_are_still_one_for_each_element(checkpoint_path):
    with pytest.raises(ValueError, match=r"y has shape \(4,\) and X 6 elements"):
        Sleep2VecRegressor(checkpoint_path, **QUICK).fit(NIGHTS, [1, 2, 3, 4], WEIGHTS)
