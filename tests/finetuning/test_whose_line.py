# SPDX-License-Identifier: BSD-3-Clause
"""Warnings point at the line of the user, whichever method it calls."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import (
    Recording,
    Sleep2VecClassifier,
    Sleep2VecCoxRegressor,
    Sleep2VecEventDetector,
    Sleep2VecRegressor,
)
from sleep2vec_sklearn.evaluation import survival_outcome
from tests.finetuning.simple_nights import N_EPOCHS, QUICK, make_nights

NIGHTS = make_nights(4)
EVENTS = [pd.DataFrame({"onset": [60.0], "duration": [30.0], "type": ["apnea"]})] * 4
SURVIVAL = survival_outcome([1, 1, 1, 1], [1, 1, 2, 2])
CASES = {
    Sleep2VecClassifier: ([0, 1, 0, 1], ["predict", "predict_proba", "decision_function"]),
    Sleep2VecRegressor: ([1.0, 2, 3, 4], ["predict"]),
    Sleep2VecCoxRegressor: (SURVIVAL, ["predict", "predict_survival_function"]),
    Sleep2VecEventDetector: (EVENTS, ["predict", "predict_proba", "predict_events"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_warnings_name_the_callers_file(kind, checkpoint_path, noise):
    y, methods = CASES[kind]
    parameters = {"event_types": "apnea"} if kind is Sleep2VecEventDetector else {}
    model = kind(checkpoint_path, **QUICK, **parameters)
    more = [
        Recording({**night.read(), "effort": noise("effort", N_EPOCHS)}, id=night.id)
        for night in NIGHTS
    ]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(NIGHTS, y)
        for name in methods:
            getattr(model, name)(more)
        model.score(more, y)
        model.set_params(modalities=["ecg", "spo2"]).fit(NIGHTS, y)
    assert len(told) == len(methods) + 2
    assert {warning.filename for warning in told} == {__file__}


def test_a_score_without_any_label_says_so(checkpoint_path):
    classify = Sleep2VecClassifier(checkpoint_path, **QUICK).fit(NIGHTS, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="no label for any of the 4 nights"):
        classify.score(NIGHTS, [None] * 4)
    regress = Sleep2VecRegressor(checkpoint_path, **QUICK).fit(NIGHTS, np.arange(4.0))
    with pytest.raises(ValueError, match="NaN in every row of column 0"):
        regress.score(NIGHTS, [np.nan] * 4)
