# SPDX-License-Identifier: BSD-3-Clause
"""Cumulative incidence against statsmodels and lifelines, by frozen values, and by its laws."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import OutcomeWarning
from sleep2vec_sklearn.evaluation import (
    cause_specific_outcome,
    competing_outcome,
    cumulative_incidence,
    kaplan_meier,
    survival_outcome,
)

# transplants of 35 patients (Scrucca et al., Bone Marrow Transplantation 40, 2007), as load_bmt of
# scikit-survival 0.28.0 has them; 1 is relapse, 2 another event
BMT_CAUSE = [
    2, 1, 0, 2, 2, 0, 2, 2, 0, 0, 0, 0, 2, 2, 2, 1, 1, 1, 1, 1, 2, 1, 2, 2, 1, 0, 0, 2, 2, 2, 2, 0,
    0, 0, 1,
]  # fmt: skip
BMT_TIME = [
    13, 1, 72, 7, 8, 67, 9, 5, 70, 4, 7, 68, 1, 10, 7, 3, 4, 4, 3, 3, 22, 8, 2, 0, 0, 35, 35, 4, 14,
    26, 3, 2, 8, 32, 12,
]  # fmt: skip
# lifelines 0.30.3, AalenJohansenFitter().fit(time, cause, k, entry=entry), no ties
LATE_ENTRY = [
    1.88, 2.69, 2.33, 0.68, 0.9, 2.62, 0.02, 2.46, 2.39, 1.4, 0.91, 0.84, 0.76, 1.34, 1.51, 1.66,
    2.99, 2.38, 1.87, 2.97, 0.65, 0.48, 1.84, 0.13, 0.11, 1.54, 1.4, 2.75, 1.89, 1.54, 1.49, 0.74,
    0.04, 0.58, 2.08, 0.6, 1.11, 0.01, 2.49, 0.46,
]  # fmt: skip
LATE_TIME = [
    2.957, 11.926, 6.555, 12.079, 6.158, 9.364, 0.471, 3.385, 3.124, 4.864, 4.6, 1.243, 1.934,
    4.567, 1.74, 1.98, 5.63, 8.029, 9.987, 5.117, 4.598, 2.802, 4.683, 0.598, 7.629, 4.228, 4.062,
    2.866, 5.183, 4.765, 4.723, 2.487, 4.173, 5.344, 4.074, 1.698, 6.256, 2.075, 4.79, 0.843,
]  # fmt: skip
LATE_CAUSE = [
    1, 0, 2, 2, 0, 1, 0, 0, 1, 2, 2, 1, 1, 1, 0, 1, 2, 1, 0, 0, 2, 0, 2, 2, 1, 1, 2, 1, 1, 0, 1, 2,
    0, 0, 2, 1, 2, 0, 2, 0,
]  # fmt: skip


def draw(seed, n=60, step=None, late=False):
    rng = np.random.default_rng(seed)
    time = rng.exponential(3, n) + 0.1
    time = np.ceil(time * step) / step if step else time
    entry = time * rng.uniform(-1, 0.9, n) if late else None
    return competing_outcome(rng.choice(4, n), time, entry)


def test_incidence_equals_frozen_statsmodels():
    """CumIncidenceRight(time, cause) of statsmodels 0.15.0: cinc and cinc_se."""
    curves = cumulative_incidence(competing_outcome(BMT_CAUSE, np.add(BMT_TIME, 0.5)))
    expected = [
        [0.2049261084, 0.2377116364, 0.2728389878, 0.2728389878],
        [0.1757916960, 0.3407601464, 0.4110148493, 0.4812695522],
    ]
    moments = [5.5, 10.5, 20.5, 40.5]
    np.testing.assert_allclose(curves.at(moments), expected, atol=1e-10)
    errors = [
        [0.0691062859, 0.0736051949, 0.0780906879, 0.0780906879],
        [0.0652733508, 0.0841519237, 0.0882569852, 0.0900167957],
    ]
    at = np.searchsorted(curves.times, moments, side="right") - 1
    np.testing.assert_allclose(curves.standard_error[:, at], errors, atol=1e-10)


def test_late_entries_equal_lifelines():
    curves = cumulative_incidence(competing_outcome(LATE_CAUSE, LATE_TIME, LATE_ENTRY))
    expected = [
        [0.16503992901508432, 0.23704141882195717, 0.3399903844164254, 0.37541694022393357],
        [0.14285714285714285, 0.17054125998225378, 0.37659716912350916, 0.44745028073852555],
    ]
    np.testing.assert_allclose(curves.at([2, 4, 6, 8]), expected, atol=1e-12)


def variance_by_paths(y, cause, at):
    """Delta method with numerical derivatives by every increment of every hazard."""
    times = np.unique(y["time"][y["cause"] > 0])
    times = times[times <= at]
    n = np.array([((y["time"] >= t) & (y["entry"] < t)).sum() for t in times])
    kinds = np.arange(1, 4)
    hazards = np.array([[(y["cause"][y["time"] == t] == k).sum() for k in kinds] for t in times])
    hazards = hazards / n[:, None]

    def incidence(h):
        before = np.cumprod(np.append(1, 1 - h.sum(axis=1)))[:-1]
        return np.sum(before * h[:, cause - 1])

    variance = 0.0
    for i in range(len(times)):
        slopes = np.zeros(3)
        for k in range(3):
            up, down = hazards.copy(), hazards.copy()
            up[i, k] += 1e-6
            down[i, k] -= 1e-6
            slopes[k] = (incidence(up) - incidence(down)) / 2e-6
        spread = (np.diag(hazards[i]) - np.outer(hazards[i], hazards[i])) / n[i]
        variance += slopes @ spread @ slopes
    return variance


@pytest.mark.parametrize("seed", range(3))
def test_variance_equals_delta_method(seed):
    y = draw(seed, 40, step=2, late=True)
    y["entry"] = np.where(np.arange(40) < 20, 0.0, y["entry"])
    curves = cumulative_incidence(y)
    at = np.searchsorted(curves.times, 4.0, side="right") - 1
    for cause in (1, 2, 3):
        expected = variance_by_paths(y, cause, 4.0)
        assert curves.standard_error[cause - 1, at] ** 2 == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 80), step=st.sampled_from([None, 1, 4]))
def test_probabilities_sum_to_one(seed, n, step):
    y = draw(seed, n, step)
    curves = cumulative_incidence(y, causes=[1, 2, 3])
    np.testing.assert_allclose(curves.incidence.sum(axis=0) + curves.survival, 1, atol=1e-12)
    any_cause = kaplan_meier(survival_outcome(y["cause"] > 0, y["time"]))
    np.testing.assert_allclose(curves.survival, any_cause.survival, atol=1e-12)
    assert (np.diff(curves.incidence, axis=1) >= 0).all()


@pytest.mark.filterwarnings("ignore:all .* under observation")
@given(seed=st.integers(0, 10**6), late=st.booleans())
def test_one_cause_is_kaplan_meier(seed, late):
    y = draw(seed, 30, step=4, late=late)
    if late:
        y["entry"][:10] = 0
    y["cause"] = np.minimum(y["cause"], 1)
    curve = cumulative_incidence(y, level=0.9)
    expected = kaplan_meier(cause_specific_outcome(y, 1), level=0.9)
    np.testing.assert_allclose(curve.incidence[0], 1 - expected.survival, atol=1e-12)
    np.testing.assert_allclose(curve.lower[0], 1 - expected.upper, atol=1e-9)
    # limits of 0 to 0 would claim to know that nothing happens
    upper = np.where(curve.incidence[0] > 0, 1 - expected.lower, np.nan)
    np.testing.assert_allclose(curve.upper[0], upper, atol=1e-9)
    np.testing.assert_array_equal(curve.n_at_risk, expected.n_at_risk)


def test_curves_as_table():
    curves = cumulative_incidence(competing_outcome([2, 1, 0, 1], [1.0, 2.0, 3.0, 4.0]))
    table = curves.to_frame()
    names = ["cause", "time", "value", "low", "high", "n_events", "n_at_risk"]
    assert list(table.columns) == names
    assert table.query("cause == 2")["value"].tolist() == [0.25] * 4
    assert repr(curves).startswith("CumulativeIncidence(2 events of cause 1, 1 events of cause 2)")
    assert curves.at([0.5, 2.0], cause=1).tolist() == [0.0, 0.25]
    at = curves.to_frame(times=[0.5, 2.0])
    assert at[["cause", "time"]].to_numpy().tolist() == [[1, 0.5], [1, 2], [2, 0.5], [2, 2]]
    assert at["value"].tolist() == curves.at([0.5, 2.0]).ravel().tolist()
    assert at.loc[1, "high"] == table.query("cause == 1 and time == 2")["high"].item()
    with pytest.raises(ValueError, match="cause=3; accepted are those of the curves: 1, 2"):
        curves.at([1.0], cause=3)


def test_emptied_risk_sets_warn():
    y = competing_outcome([1, 2, 1], [1.0, 4.0, 5.0], [0.0, 2.0, 2.0])
    with pytest.warns(OutcomeWarning, match="all 1 under observation at time 1 .* enter later"):
        assert cumulative_incidence(y).incidence[0].tolist() == [1.0, 1.0, 1.0]


def test_tables_are_outcomes():
    table = pd.DataFrame({"cause": [1, 0, 2, None], "time": [1.0, 2.0, None, 3.0]})
    table["entry"] = [0.5, None, 0.0, 0.0]
    y = cause_specific_outcome(table, 1)
    assert y["event"].tolist() == [True, False, False, False]
    np.testing.assert_array_equal(y["time"], [1.0, 2.0, np.nan, np.nan])
    np.testing.assert_array_equal(y["entry"], [0.5, -np.inf, 0.0, 0.0])
    coded = competing_outcome(pd.Series([1, None, 2], dtype="Int64"), [1, 2, 3])
    assert coded["cause"].tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("cause", "time", "error", "message"),
    [(["alive", "cardiac"], [1, 2], ValueError, r"'alive', 'cardiac'.*\.map\("),
     (pd.Series(["alive", "cvd"], dtype="category"), [1, 2], ValueError, "'alive', 'cvd'"),
     ([1.5, 0], [1, 2], ValueError, r"cause holds 1\.5"),
     ([-1, 0], [1, 2], ValueError, "cause holds -1"),
     ([[1, 0]], [[1, 2]], ValueError, "numbers in one column"),
     ([1, 0], [1, 2, 3], ValueError, r"shape \(2,\) and time \(3,\)"),
     ([1, 0], [0, 2], ValueError, "times are not above zero"),
     ([1, 0], pd.to_timedelta([1, 2], unit="D"), TypeError, r"365\.25")],
)  # fmt: skip
def test_invalid_causes_are_refused(cause, time, error, message):
    with pytest.raises(error, match=message):
        competing_outcome(cause, time)


def test_unfit_outcomes_are_refused():
    with pytest.raises(TypeError, match="y is list; accepted is a structured array or a DataFrame"):
        cumulative_incidence([1, 2])
    y = competing_outcome([0, 1], [1, 2])
    with pytest.raises(ValueError, match=r"y has the shape \(2, 1\); accepted is \(n_subjects,\)"):
        cumulative_incidence(y[:, None])
    with pytest.raises(ValueError, match="fields event, time and lacks cause"):
        cumulative_incidence(survival_outcome([1, 0], [1, 2]))
    with pytest.raises(ValueError, match="no event in 2 known rows: all are censored"):
        cumulative_incidence(competing_outcome([0, 0, None], [1, 2, 3]))
    with pytest.raises(ValueError, match="nothing but NaN"):
        cumulative_incidence(competing_outcome([1], [np.nan]))
    with pytest.raises(ValueError, match="cause=0; accepted is the number of a cause"):
        cause_specific_outcome(y, 0)
    with pytest.raises(ValueError, match="level"):
        cumulative_incidence(y, level=95)
