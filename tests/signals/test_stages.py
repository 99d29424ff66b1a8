# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import SleepStage
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.signals import as_stages


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2, 3, 4, -1],
        np.array([0, 1, 2, 3, 4, np.nan]),
        ["W", "N1", "N2", "N3", "R", "unscored"],
        ["wake", "s1", "S2", "S4", "REM", "?"],
        [0, 1.0, "N2", np.int64(3), SleepStage.R, None],
        pd.Series([0, 1, 2, 3, 4, pd.NA], dtype="Int64"),
        pd.Series(["W", "N1", "N2", "N3", "R", None], dtype="string"),
        pd.Categorical(["W", "N1", "N2", "N3", "R", None]),
    ],
)
def test_stages_are_understood_in_any_spelling(labels):
    assert as_stages(labels).tolist() == [0, 1, 2, 3, 4, -1]


def test_stages_are_small_and_read_only():
    stages = as_stages([0, 1])
    assert stages.dtype == np.int8
    with pytest.raises(ValueError, match="read-only"):
        stages[0] = 2


def test_the_callers_labels_stay_writable():
    labels = np.zeros(3, dtype=np.int8)
    as_stages(labels)
    labels[0] = 1
    assert labels.flags.writeable


@pytest.mark.parametrize("label", [5, -2, 256, 1.5, np.inf, "N5", "awake-ish"])
def test_an_unknown_label_is_named(label):
    with pytest.raises(InvalidRecordingError, match=f"unknown sleep stage '{label}'.*accepted"):
        as_stages([0, label])


def test_one_label_per_epoch_is_wanted():
    with pytest.raises(InvalidRecordingError, match=r"one label per epoch, got shape \(2, 5\)"):
        as_stages(np.zeros((2, 5)))
