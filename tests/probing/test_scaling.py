# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import fit_scaling_law
from sleep2vec_sklearn.errors import Sleep2VecWarning

SIZES = np.repeat([4.0, 8, 16, 32, 64, 128], 2)


def points_of(y, x=SIZES):
    return pd.DataFrame({"n_nights": x, "loss": y})


@settings(max_examples=25)
@given(a=st.floats(0, 3), b=st.floats(0.5, 5), c=st.floats(0.2, 2), unit=st.sampled_from([1, 1e4]))
def test_a_law_without_noise_is_found_in_any_unit(a, b, c, unit):
    y = a + b * SIZES**-c
    law = fit_scaling_law(points_of(y, SIZES * unit), x="n_nights", n_resamples=3)
    np.testing.assert_allclose([law.a, law.b, law.c], [a, b * unit**c, c], rtol=0.01, atol=0.02)
    np.testing.assert_allclose(law.predict(SIZES * unit)["y"], y, rtol=1e-3)


def test_intervals_hold_the_law_and_widen_beyond_what_was_measured():
    rng = np.random.default_rng(0)
    y = 1 + 3 * SIZES**-0.5 + 0.03 * rng.standard_normal(len(SIZES))
    law = fit_scaling_law(points_of(y), x="n_nights", n_resamples=200)
    table = law.parameters.set_index("parameter")
    assert table.loc["c", "low"] < 0.5 < table.loc["c", "high"]
    assert 0.9 < law.r2 < 1
    curve = law.predict([16, 1e5])
    width = curve["high"] - curve["low"]
    assert width[1] > 2 * width[0]
    assert curve["extrapolated"].tolist() == [False, True]


def test_points_without_a_law_are_told():
    y = 1 + np.random.default_rng(0).standard_normal(len(SIZES))
    with pytest.warns(Sleep2VecWarning, match="the points do not fix a law"):
        fit_scaling_law(points_of(y), x="n_nights", asymptote=(-9, 9), n_resamples=100)


def test_measures_may_rise():
    y = 0.8 - 0.6 * SIZES**-0.5
    law = fit_scaling_law(points_of(y), x="n_nights", asymptote=(0, 1), n_resamples=3)
    assert (law.a, law.b, law.c) == pytest.approx((0.8, -0.6, 0.5), abs=0.01)


def test_a_loss_is_not_foretold_to_fall_below_its_bound():
    law = fit_scaling_law(points_of(3 - 0.4 * np.log(SIZES)), x="n_nights", n_resamples=20)
    assert (law.predict([1e3, 1e9])["low"] >= 0).all()


def test_the_axis_of_a_sweep_is_taken_from_it():
    points = points_of(1 + SIZES**-1.0).assign(axis="n_nights")
    assert fit_scaling_law(points, n_resamples=3).x_name == "n_nights"
    with pytest.raises(ValueError, match="rows of one axis"):
        fit_scaling_law(pd.concat([points, points.assign(axis="n_modalities")]))
    with pytest.raises(ValueError, match="no column 'axis'"):
        fit_scaling_law(points_of(SIZES))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (points_of(SIZES[:6], [1, 2, 3, 1, 2, 3]), "3 different values of n_nights"),
        (points_of(np.r_[np.nan, SIZES[1:]]), "row 0 of points has n_nights=4 and loss=nan"),
        (points_of(SIZES, np.r_[0, SIZES[1:]]), "sizes must be positive"),
        (points_of(np.ones(len(SIZES))), "is 1 at all sizes"),
        (pd.DataFrame({"n_nights": SIZES}), "no column 'loss'"),
    ],
)
def test_points_that_fix_no_law_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        fit_scaling_law(points, x="n_nights")


def test_bounds_and_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="two rising numbers around the values"):
        fit_scaling_law(points_of(1 + 1 / SIZES), x="n_nights", asymptote=(5, 9))
    law = fit_scaling_law(points_of(1 + 1 / SIZES), x="n_nights", n_resamples=3)
    with pytest.raises(ValueError, match="x must be positive"):
        law.predict([0, 1])
