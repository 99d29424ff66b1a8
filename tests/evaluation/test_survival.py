# SPDX-License-Identifier: BSD-3-Clause
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import CensoredData, ecdf

from sleep2vec_sklearn.errors import OutcomeWarning
from sleep2vec_sklearn.evaluation import kaplan_meier, survival_outcome
from sleep2vec_sklearn.evaluation.survival import read_outcome
from tests.survival_golden import draw


def test_columns_become_fields():
    table = pd.DataFrame({"died": [True, False], "years": [2.5, 8.0], "age": [60, 50]})
    y = survival_outcome(table["died"], table["age"] + table["years"], table["age"])
    assert y.dtype.names == ("event", "time", "entry")
    assert y.tolist() == [(True, 62.5, 60.0), (False, 58.0, 50.0)]


def test_several_outcomes_are_columns():
    y = survival_outcome([[1, 0], [0, 1]], [[1, 2], [3, 4]], entry=[0.5, 1])
    assert y.shape == (2, 2)
    assert y["entry"].tolist() == [[0.5, 0.5], [1.0, 1.0]]
    outcome = read_outcome(y)
    assert (outcome.n_outcomes, len(outcome), outcome.one_dimensional) == (2, 2, False)
    outcome = read_outcome(survival_outcome([1, 0], [1.0, 2.0], [np.nan, 1.0]))
    assert outcome.entry.ravel().tolist() == [-np.inf, 1.0]


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA])
def test_either_missing_is_missing(nothing):
    event = pd.Series([1, nothing, 1, 0], dtype=object)
    y = survival_outcome(event, pd.Series([1.0, 2.0, nothing, 4.0], dtype=object))
    np.testing.assert_array_equal(np.isnan(y["time"]), [False, True, True, False])
    assert y["event"].tolist() == [True, False, False, False]


@pytest.mark.parametrize("kind", [bool, int, "boolean", "Int64", "float32"])
def test_events_of_any_dtype(kind):
    y = survival_outcome(pd.Series([1, 0], dtype=kind), [1, 2])
    assert y["event"].tolist() == [True, False]


@pytest.mark.parametrize("time", [0.0, -1.0, np.inf])
def test_times_are_above_zero(time):
    with pytest.raises(ValueError, match=rf"1 of 3 times.*row 1, is {time:g}.*set what is not"):
        survival_outcome([1, 0, 1], [1.0, time, 2.0])
    with pytest.raises(ValueError, match=rf"row 0, outcome 1, is {time:g}"):
        survival_outcome([[1, 0]], [[1, time]])


@pytest.mark.parametrize("entry", [5.0, 6.0])
def test_entries_precede_their_time(entry):
    with pytest.raises(ValueError, match=rf"row 1, enters at {entry:g} and leaves at 5"):
        survival_outcome([1, 1], [5.0, 5.0], [0.0, entry])


@pytest.mark.parametrize(
    ("event", "time", "entry", "error", "message"),
    [([1, 2, 1], [1, 2, 3], None, ValueError, r"event holds 2.*table\['status'\] == 2"),
     (["dead", "alive"], [1, 2], None, ValueError, r"event holds text, such as 'dead'.*\.map\("),
     (pd.Series([1, 0]), pd.Series([1, 2])[::-1], None, ValueError, "event and time .* another"),
     ([1, 0], pd.to_timedelta([100, 200], unit="D"), None, TypeError, r"365\.25"),
     ([1, 0], [1, 2, 3], None, ValueError, r"event has the shape \(2,\) and time \(3,\)"),
     (1, 2.0, None, ValueError, "time is 2.0; accepted is a list"),
     ([1, 0], [1, 2], [0, 0, 0], ValueError, "entry has the shape"),
     ([], [], None, ValueError, "at least one subject")],
)  # fmt: skip
def test_invalid_outcomes_are_refused(event, time, entry, error, message):
    with pytest.raises(error, match=message):
        survival_outcome(event, time, entry)


def test_unfit_fields_are_named():
    y = np.zeros(3, dtype=[("event", bool), ("duration", float)])
    with pytest.raises(ValueError, match=r"fields event, duration and lacks time.*survival_out"):
        read_outcome(y)
    y = np.array([(2, 1.0)], dtype=[("event", int), ("time", float)])
    with pytest.raises(ValueError, match="more than 0 and 1"):
        read_outcome(y)


def test_tables_are_outcomes():
    table = pd.DataFrame({"event": [1, 0, None], "time": [2.0, 3, 4], "entry": [1.0, None, 0]})
    outcome = read_outcome(table)
    assert outcome.event[:, 0].tolist() == [True, False, False]
    assert np.isnan(outcome.time[2, 0])
    assert outcome.entry[:2, 0].tolist() == [1, -np.inf]
    assert kaplan_meier(table.drop(columns="entry")).n_at_risk.tolist() == [2, 1]
    with pytest.raises(ValueError, match="the columns event, time, sex"):
        read_outcome(table[["event", "time"]].assign(sex=1))


@pytest.mark.parametrize("y", [np.ones(3), pd.Series([1, 2]), [1, 2]])
def test_unstructured_outcomes_are_refused(y):
    with pytest.raises(TypeError, match="structured array"):
        read_outcome(y)


@pytest.mark.parametrize("step", [None, 4])
def test_curve_equals_scipy(step):
    _, y = draw(np.random.default_rng(0), 80, step, 4.0)
    data = CensoredData(y["time"][y["event"]], right=y["time"][~y["event"]])
    expected, curve = ecdf(data).sf, kaplan_meier(y)
    np.testing.assert_array_equal(curve.times, expected.quantiles)
    np.testing.assert_allclose(curve.survival, expected.probabilities, rtol=0, atol=1e-8)


def test_survival_at_times():
    curve = kaplan_meier(survival_outcome([1, 0, 1, 0], [1.0, 2.0, 3.0, 4.0]))
    table = curve.to_frame(times=[0.5, 3.5])
    assert table["value"].tolist() == [1.0, 0.375]
    whole = curve.to_frame().set_index("time")
    assert table.loc[1, ["low", "high"]].tolist() == whole.loc[3.0, ["low", "high"]].tolist()
    assert curve.to_markdown().splitlines()[0].split("|")[2].strip() == "value (CI)"
    with pytest.raises(ValueError, match=r"times holds 4\.5; accepted .* from 0 to 4"):
        curve.to_frame(times=[1.0, 4.5])


def test_late_entries_join_the_risk():
    y = survival_outcome([1, 0, 1, 1], [2.0, 4.0, 5.0, 6.0], [0.0, 0.0, 3.0, 0.0])
    curve = kaplan_meier(y)
    assert curve.n_at_risk.tolist() == [3, 3, 2, 1]
    np.testing.assert_allclose(curve.survival, [2 / 3, 2 / 3, 1 / 3, 0], atol=1e-12)
    _, y = draw(np.random.default_rng(0), 80, None, 4.0)
    narrow, wide = kaplan_meier(y, level=0.8), kaplan_meier(y, level=0.99)
    ascending = [wide.lower, narrow.lower, narrow.survival, narrow.upper, wide.upper]
    assert (np.diff(ascending, axis=0) >= 0).all()


def test_invalid_curves_are_refused():
    y = survival_outcome([1, 0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"2 outcomes.*y\[:, 0\]"):
        kaplan_meier(np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match="level"):
        kaplan_meier(y, level=95)
    y["time"] = np.nan
    with pytest.raises(ValueError, match="nothing but NaN"):
        kaplan_meier(y)


def follow_up(n=300, hazard=0.05, seed=0):
    """Deaths, and alive subjects recruited over 6 years and followed up to one day."""
    rng = np.random.default_rng(seed)
    time, end = rng.exponential(1 / hazard, n), rng.uniform(8, 14, n)
    return time <= end, np.minimum(time, end)


@pytest.mark.parametrize("name", ["vital", "alive_2010", "censored", "Survived", "any_cens"])
def test_columns_of_the_living_warn(name):
    died, years = follow_up(20)
    with pytest.warns(OutcomeWarning, match=f"event is the column '{name}'"):
        survival_outcome(pd.Series(died, name=name), years)


@pytest.mark.parametrize("hazard", [0.01, 0.03, 0.05])
def test_inverted_codes_warn(hazard):
    for seed in range(20):
        died, years = follow_up(hazard=hazard, seed=seed)
        with pytest.warns(OutcomeWarning, match="most rows are 1 and stay to the end"):
            survival_outcome(~died, years)
    age = np.linspace(40, 80, 300)
    with pytest.warns(OutcomeWarning, match="most rows are 1"):
        survival_outcome(~died, age + years, age)


@pytest.mark.parametrize("hazard", [0.01, 0.05, 0.2, 0.5, 2.0])
def test_true_codes_do_not_warn(hazard):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(20):
            died, years = follow_up(hazard=hazard, seed=seed)
            rng = np.random.default_rng(seed)
            lost = rng.uniform(0, 20, 300)
            survival_outcome(died & (years < lost), np.minimum(years, lost))
            survival_outcome(died, years)
            survival_outcome(died, rng.weibull(4, 300))
            survival_outcome(pd.Series(died, name="not_alive"), years)
            age = np.where(died, 75, 60) + 5 * rng.standard_normal(300)
            survival_outcome(died, age + years, age)
