# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.evaluation import bland_altman

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(400, 40, 60)
MEASURED = REFERENCE + RNG.normal(8, 12, 60)


def test_bias_and_limits_are_those_of_the_differences():
    found = bland_altman(REFERENCE, MEASURED, n_resamples=50)
    difference = MEASURED - REFERENCE
    assert found["bias"] == pytest.approx(difference.mean())
    assert found["upper"] == pytest.approx(difference.mean() + 1.96 * difference.std(ddof=1), 1e-4)
    assert found["mae"] == pytest.approx(np.abs(difference).mean())
    assert found["nights"] == 60


def test_intervals_are_as_wide_as_theory_says():
    found = bland_altman(REFERENCE, MEASURED, n_resamples=4000)
    width = found["bias_high"] - found["bias_low"]
    assert width == pytest.approx(2 * 1.96 * found["sd"] / np.sqrt(60), rel=0.1)
    # Bland and Altman: the standard error of a limit is about that of the bias times 1.71
    assert found["upper_high"] - found["upper_low"] == pytest.approx(1.71 * width, rel=0.25)


def test_nights_without_one_of_the_two_are_left_out():
    measured = MEASURED.copy()
    measured[:3] = np.nan
    found = bland_altman(REFERENCE, measured, n_resamples=50)
    assert found["nights"] == 57
    assert found["bias"] == pytest.approx((MEASURED - REFERENCE)[3:].mean())


def test_nothing_known_is_nan_and_no_error():
    found = bland_altman([np.nan], [1.0])
    assert found["nights"] == 0
    assert found.drop("nights").isna().all()
    both = bland_altman(REFERENCE, MEASURED, n_resamples=5)
    assert set(found.index) == set(both.index)


def test_subjects_are_drawn_not_nights():
    twice = [np.repeat(side, 2) for side in (REFERENCE, MEASURED)]
    of_nights = bland_altman(*twice)
    of_people = bland_altman(*twice, groups=np.repeat(np.arange(60), 2))
    wide, narrow = (f["bias_high"] - f["bias_low"] for f in (of_people, of_nights))
    assert wide == pytest.approx(np.sqrt(2) * narrow, rel=0.15)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="common length"):
        bland_altman([1, 2], [1])
