# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn.evaluation import survival_outcome
from sleep2vec_sklearn.evaluation.survival_scores import read_outcome


def test_columns_of_a_table_become_fields():
    table = pd.DataFrame({"died": [True, False], "years": [2.5, 8.0], "age": [60, 50]})
    y = survival_outcome(table["died"], table["age"] + table["years"], table["age"])
    assert y.dtype.names == ("event", "time", "entry")
    assert y.tolist() == [(True, 62.5, 60.0), (False, 58.0, 50.0)]


def test_several_outcomes_stand_side_by_side():
    y = survival_outcome([[1, 0], [0, 1]], [[1, 2], [3, 4]], entry=[0.5, 1])
    assert y.shape == (2, 2)
    assert y["entry"].tolist() == [[0.5, 0.5], [1.0, 1.0]]
    outcome = read_outcome(y)
    assert (outcome.n_outcomes, len(outcome), outcome.one_dimensional) == (2, 2, False)


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA])
def test_what_is_missing_in_either_column_is_missing(nothing):
    event = pd.Series([1, nothing, 1, 0], dtype=object)
    y = survival_outcome(event, pd.Series([1.0, 2.0, nothing, 4.0], dtype=object))
    np.testing.assert_array_equal(np.isnan(y["time"]), [False, True, True, False])
    assert y["event"].tolist() == [True, False, False, False]


@pytest.mark.parametrize("kind", [bool, int, "boolean", "Int64", "float32"])
def test_flags_may_be_of_any_kind(kind):
    y = survival_outcome(pd.Series([1, 0], dtype=kind), [1, 2])
    assert y["event"].tolist() == [True, False]


def test_a_missing_entry_is_from_the_start():
    outcome = read_outcome(survival_outcome([1, 0], [1.0, 2.0], [np.nan, 1.0]))
    assert outcome.entry.ravel().tolist() == [-np.inf, 1.0]


@pytest.mark.parametrize("time", [0.0, -1.0, np.inf])
def test_times_have_to_be_above_zero(time):
    with pytest.raises(ValueError, match=rf"1 of 3 times.*row 1, is {time:g}.*set what is not"):
        survival_outcome([1, 0, 1], [1.0, time, 2.0])


def test_the_outcome_of_a_bad_time_is_named():
    with pytest.raises(ValueError, match="row 0, outcome 1, is -2"):
        survival_outcome([[1, 0]], [[1, -2]])


@pytest.mark.parametrize("entry", [5.0, 6.0])
def test_nobody_enters_after_the_event(entry):
    with pytest.raises(ValueError, match=rf"row 1, enters at {entry:g} and leaves at 5"):
        survival_outcome([1, 1], [5.0, 5.0], [0.0, entry])


def test_other_codes_of_events_are_refused():
    with pytest.raises(ValueError, match=r"event holds 2.*table\['status'\] == 2"):
        survival_outcome([1, 2, 1], [1, 2, 3])


def test_durations_are_refused_with_a_way_to_turn_them_into_years():
    with pytest.raises(TypeError, match=r"365\.25"):
        survival_outcome([1, 0], pd.to_timedelta([100, 200], unit="D"))


def test_words_are_refused():
    with pytest.raises(ValueError, match="event holds values that are no numbers"):
        survival_outcome(["dead", "alive"], [1, 2])


@pytest.mark.parametrize(
    ("event", "time", "entry", "message"),
    [
        ([1, 0], [1, 2, 3], None, r"event has the shape \(2,\) and time \(3,\)"),
        (1, 2.0, None, "one shape"),
        ([1, 0], [1, 2], [0, 0, 0], "entry has the shape"),
        ([], [], None, "at least one subject"),
    ],
)
def test_shapes_have_to_fit(event, time, entry, message):
    with pytest.raises(ValueError, match=message):
        survival_outcome(event, time, entry)


def test_missing_fields_are_named():
    y = np.zeros(3, dtype=[("event", bool), ("duration", float)])
    with pytest.raises(ValueError, match=r"fields event, duration and lacks time.*survival_out"):
        read_outcome(y)


@pytest.mark.parametrize("y", [np.ones(3), pd.DataFrame({"event": [1], "time": [1]}), [1, 2]])
def test_what_has_no_fields_is_refused(y):
    with pytest.raises(TypeError, match="structured array"):
        read_outcome(y)


def test_events_of_a_hand_made_array_are_checked():
    y = np.array([(2, 1.0)], dtype=[("event", int), ("time", float)])
    with pytest.raises(ValueError, match="more than 0 and 1"):
        read_outcome(y)
