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


@pytest.mark.parametrize(
    ("spelling", "stage"),
    [
        ("w", 0), ("Wake", 0), ("0", 0), ("n1", 1), ("S1", 1), ("1", 1), ("N2", 2), ("s2", 2),
        ("2", 2), ("n3", 3), ("S3", 3), ("3", 3), ("N4", 3), ("s4", 3), ("R", 4), ("rem", 4),
        ("4", 4), ("MT", -1), ("m", -1), ("Movement", -1), ("unscored", -1), ("", -1), ("none", -1),
        ("NaN", -1), ("<NA>", -1), ("-1", -1), ("?", -1),
    ],
)  # fmt: skip
def test_every_spelling_has_its_stage_in_any_case(spelling, stage):
    spellings = [spelling, spelling.upper(), spelling.lower(), f"  {spelling} "]
    assert as_stages(spellings).tolist() == [stage] * 4


@given(st.lists(st.integers(-1, 4), max_size=30), st.sampled_from(["i1", "i8", "f4", "f8", "O"]))
def test_codes_of_any_type_are_the_stages_themselves(codes, dtype):
    stages = as_stages(np.array(codes, dtype=dtype))
    assert stages.tolist() == codes
    assert stages.dtype == np.int8


@given(st.lists(st.sampled_from(SleepStage), max_size=20))
def test_names_of_stages_lead_back_to_them(stages):
    assert as_stages([stage.name for stage in stages]).tolist() == stages


@pytest.mark.parametrize("dtype", ["bool", "boolean", "object"])
def test_asleep_or_not_is_no_stage(dtype):
    with pytest.raises(InvalidRecordingError, match="unknown sleep stage 'False', 'True'; accept"):
        as_stages(pd.Series([True, False], dtype=dtype))


def test_each_unknown_label_is_named_once_and_at_most_five():
    with pytest.raises(InvalidRecordingError, match=r"stage 'a', 'b', 'c', 'd', 'e'; accepted"):
        as_stages([*"abcdefabc", "W"])


@pytest.mark.parametrize("value", [127, 128, 255, 260, -129, 2**40])
def test_a_code_that_wraps_around_a_byte_is_unknown(value):
    with pytest.raises(InvalidRecordingError, match="unknown sleep stage"):
        as_stages(np.array([0, value]))
