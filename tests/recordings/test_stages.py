# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import SleepStage
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.recordings import as_stages


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 2, 3, 4, -1], np.array([0, 1, 2, 3, 4, np.nan]),
     ["W", "N1", "N2", "N3", "R", "unscored"], ["wake", "s1", "S2", "S4", "REM", "?"],
     [0, 1.0, "N2", np.int64(3), SleepStage.R, None],
     pd.Series([0, 1, 2, 3, 4, pd.NA], dtype="Int64"),
     pd.Series(["W", "N1", "N2", "N3", "R", None], dtype="string"),
     pd.Categorical(["W", "N1", "N2", "N3", "R", None])],
)  # fmt: skip
def test_any_spelling_is_understood(labels):
    assert as_stages(labels).tolist() == [0, 1, 2, 3, 4, -1]


def test_stages_are_read_only_int8():
    stages = as_stages([0, 1])
    assert stages.dtype == np.int8
    with pytest.raises(ValueError, match="read-only"):
        stages[0] = 2
    labels = np.zeros(3, dtype=np.int8)
    as_stages(labels)
    labels[0] = 1
    assert labels.flags.writeable


@pytest.mark.parametrize("label", [5, -2, 256, 1.5, np.inf, "N5", "awake-ish"])
def test_unknown_label_is_named(label):
    with pytest.raises(InvalidRecordingError, match=f"unknown sleep stage '{label}'.*accepted"):
        as_stages([0, label])


def test_wrong_shape_raises_error():
    with pytest.raises(InvalidRecordingError, match=r"one label per epoch, got shape \(2, 5\)"):
        as_stages(np.zeros((2, 5)))
    with pytest.raises(InvalidRecordingError, match=r"stage 'a', 'b', 'c', 'd', 'e'; accepted"):
        as_stages([*"abcdefabc", "W"])


@pytest.mark.parametrize(
    ("spelling", "stage"),
    [
        ("w", 0), ("Wake", 0), ("0", 0), ("n1", 1), ("S1", 1), ("1", 1), ("N2", 2), ("s2", 2),
        ("2", 2), ("n3", 3), ("S3", 3), ("3", 3), ("N4", 3), ("s4", 3), ("R", 4), ("rem", 4),
        ("4", 4), ("MT", -1), ("m", -1), ("Movement", -1), ("unscored", -1), ("", -1), ("none", -1),
        ("NaN", -1), ("<NA>", -1), ("-1", -1), ("?", -1),
    ],
)  # fmt: skip
def test_spellings_ignore_case(spelling, stage):
    spellings = [spelling, spelling.upper(), spelling.lower(), f"  {spelling} "]
    assert as_stages(spellings).tolist() == [stage] * 4


@given(st.lists(st.integers(-1, 4), max_size=30), st.sampled_from(["i1", "i8", "f4", "f8", "O"]))
def test_codes_are_the_stages(codes, dtype):
    stages = as_stages(np.array(codes, dtype=dtype))
    assert stages.tolist() == codes
    assert stages.dtype == np.int8


@pytest.mark.parametrize("dtype", ["bool", "boolean", "object"])
def test_booleans_are_no_stages(dtype):
    with pytest.raises(InvalidRecordingError, match="unknown sleep stage 'False', 'True'; accept"):
        as_stages(pd.Series([True, False], dtype=dtype))


@pytest.mark.parametrize("value", [127, 128, 255, 260, -129, 2**40])
def test_wrapping_codes_are_unknown(value):
    with pytest.raises(InvalidRecordingError, match="unknown sleep stage"):
        as_stages(np.array([0, value]))
