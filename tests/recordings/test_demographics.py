# SPDX-License-Identifier: BSD-3-Clause

import math

import pytest

from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.recordings._demographics import read_age, read_sex, read_text


@pytest.mark.parametrize(("value", "years"), [(0, 0.0), ("61.5", 61.5), (120, 120.0)])
def test_age_from_number_or_text(value, years):
    assert read_age(value, "here") == years


@pytest.mark.parametrize("value", [None, "", "unknown", "not reported", ".", math.nan])
def test_unknown_is_nan_or_none(value):
    assert math.isnan(read_age(value, "here"))
    assert math.isnan(read_sex(value, "here"))
    assert read_text(value) is None


@pytest.mark.parametrize("value", [-1, -0.5, 120.5, 999, "old", math.inf, "90+", "<1"])
def test_impossible_age_raises_error(value):
    with pytest.raises(InvalidRecordingError, match="here: 'age' is"):
        read_age(value, "here")


@pytest.mark.parametrize("value", [2, -1, "boy", 0.5, "1"])
def test_unknown_sex_raises_error(value):
    with pytest.raises(InvalidRecordingError, match=r"here: 'sex' is .* accepted are F"):
        read_sex(value, "here")
