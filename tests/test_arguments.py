# SPDX-License-Identifier: BSD-3-Clause
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.dummy import DummyClassifier

import sleep2vec_sklearn as s2v
from sleep2vec_sklearn import evaluation, readers
from sleep2vec_sklearn._arguments import (
    as_labels,
    as_numbers,
    check_number,
    check_option,
    check_row_order,
    shown,
)

GAP = [1.0, np.nan, 3.0]


@pytest.mark.parametrize(
    "values",
    [GAP, (1, None, 3), np.array([1, pd.NA, 3], object), pd.Series([1, None, 3], dtype="Int64"),
     np.ma.array([1, 2, 3], mask=[0, 1, 0]), torch.tensor(GAP, requires_grad=True)],
)  # fmt: skip
def test_numbers_of_any_kind(values):
    numbers = as_numbers("x", values)
    np.testing.assert_array_equal(numbers, GAP)
    assert numbers.dtype == np.float64


@pytest.mark.parametrize(
    "values",
    ["text", b"1", None, 3, 1j, {1: 2}, {1, 2}, iter([1.0]), int, ["a", "b"], [1, [2]], [[1, 2]],
     [10**400], [1j], [Decimal(1)], [datetime(2024, 1, 1)], np.zeros(2, "M8[s]"),
     np.zeros(2, "m8[s]"), np.zeros(2, "i4,f8"), pd.DataFrame({"a": [1]})],
)  # fmt: skip
def test_other_values_are_refused(values):
    with pytest.raises(ValueError, match=r"^x (is|has|holds) .*; accepted (is|are) .*\. [A-Z]"):
        as_numbers("x", values)


@pytest.mark.parametrize(
    "value", [0, 11, 2.5, True, np.nan, np.inf, 10**400, "3", None, [3], np.timedelta64(3, "s"),
              pd.NA, 1j, torch.ones(2)],
)  # fmt: skip
def test_counts_have_a_range(value):
    with pytest.raises(ValueError, match=r"n is .*; accepted is a whole number from 1 up to 10\."):
        check_number("n", value, 1, 10, whole=True)
    for good in (3, np.int64(3), np.array(3)):
        assert check_number("n", good, 1, 10, whole=True) == 3


def test_gap_stays_a_gap():
    # numpy alone would make the text "nan" of it
    assert as_labels("groups", ["a", np.nan]).tolist()[0] == "a"
    assert np.isnan(as_labels("groups", ["a", np.nan]).tolist()[1])
    with pytest.raises(ValueError, match="groups has 2 values for 3 rows"):
        as_labels("groups", ["a", "b"], 3)


def test_option_is_one_of():
    assert check_option("n_classes", np.int64(4), (5, 4, 3)) == 4
    for value in ("a", [5], np.ones(2), pd.NA):
        with pytest.raises(ValueError, match="n_classes must be one of 5, 4, 3; got"):
            check_option("n_classes", value, (5, 4, 3))


def test_long_values_are_cut():
    assert shown("x" * 999) == f"{repr('x' * 999)[:50]}... (a str)"
    assert shown(object()) == "of type object"


def test_rows_have_one_order():
    y, table = pd.Series([0, 1, 1], ["a", "b", "c"]), pd.DataFrame({"age": [3, 4, 5]}, list("cab"))
    with pytest.raises(ValueError, match=r"y and table have the same rows in another order"):
        check_row_order(y=y, other=[1, 2, 3], table=table)
    with pytest.raises(ValueError, match=r"Sort one, such as table.loc\[X.metadata.index\]"):
        check_row_order(X=SimpleNamespace(metadata=y.to_frame()), table=table)
    check_row_order(y=y, table=table.loc[y.index], more=table.reset_index(drop=True), none=None)
    check_row_order(y=y, fewer=table[:2], unknown=table.set_axis(list("xyz")))


NIGHTS = s2v.make_sleep_cohort(2, hours=0.25, modalities=["spo2"], random_state=0)
CHANCE = {"a": DummyClassifier(), "b": DummyClassifier()}
ROWS, MIXED = np.zeros((4, 1)), pd.Series([0, [1], 0, 1])
# each reached another library, whose error names no argument of ours


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: evaluation.sleep_periods([0, 2] * 60, start={}), "start is {}; accepted is a date"),
     (lambda: readers.split_nights(NIGHTS[0], timezone=2**63), "timezone is 9223372036854775808"),
     (lambda: readers.split_nights(NIGHTS[0], timezone=0), "timezone is 0; accepted are IANA"),
     (lambda: s2v.Sleep2VecClassifier().fit(np.array(3), [0]), "X is an array of shape"),
     (lambda: s2v.Sleep2VecTransformer(modalities=3).fit(NIGHTS), "unknown modality 3. Accepted"),
     (lambda: s2v.Recording({"eeg": np.zeros(999), "spo2": []}, rates={"spo2": 4}), "lasts 7.8"),
     (lambda: evaluation.oximetry_statistics([[1, 2], [3]]), r"recordings hold \[1, 2\]"),
     (lambda: evaluation.oximetry_statistics(np.ma.masked), "recordings hold of type Masked"),
     (lambda: evaluation.respiratory_statistics(3), "recordings hold 3; accepted are one Rec"),
     (lambda: s2v.make_sleep_cohort(1, random_state=np.timedelta64(3)), "random_state must be"),
     (lambda: s2v.Recording({"eeg": None}, duration=60), "no modality has a signal"),
     (lambda: s2v.Recording.from_dataframe(pd.Series([1.0]), rate=4), "the table is a Series"),
     (lambda: evaluation.table_one(NIGHTS, median=np.ones(0)), "median is of type ndarray; acc"),
     (lambda: evaluation.merge_stages([0, 3], n_classes=np.timedelta64(3)), "n_classes must be"),
     (lambda: evaluation.regression_report([1, 2, 1e300], [1, 2, 3]), r"y_true holds 1e\+300; acc"),
     (lambda: NIGHTS[np.timedelta64(0)], "key of a cohort is"),
     (lambda: evaluation.compare_estimators(CHANCE, ROWS[:2], [0, 1]), "has no folds"),
     (lambda: evaluation.compare_estimators(CHANCE, ROWS, MIXED), "y holds what are no classes"),
     (lambda: evaluation.compare_estimators(CHANCE, ROWS, [0, 1, 1j, 1]), "y holds what are no cl"),
     (lambda: evaluation.compare_estimators(CHANCE, ROWS, [0, 1, 0.5, 1]), "no classes.*continu")],
)  # fmt: skip
def test_odd_arguments_are_named(call, message):
    with pytest.raises((ValueError, TypeError, s2v.errors.Sleep2VecError), match=message):
        call()


def test_rows_end_where_they_do():
    nights = s2v.make_sleep_cohort(2, hours=0.5, modalities=["ibi"], random_state=0)
    for rows in (nights, s2v.EpochSequence(nights)):
        for key in (2**63, -(2**63), len(rows)):
            with pytest.raises(IndexError, match=f"out of range for {len(rows)} rows"):
                rows[key]
    assert nights[np.int8(-1)].id == nights[1].id
