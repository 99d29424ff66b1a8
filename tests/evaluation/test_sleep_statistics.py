# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.evaluation import hours_of_sleep, sleep_statistics

NIGHT = ["W"] * 3 + ["N1"] * 2 + ["N2"] * 3 + ["?", "N2", "W"] + ["N3"] * 2 + ["R"] * 3 + ["W"] * 2


def recording(stages, **given):
    spo2 = np.full(30 * len(stages), 95.0)
    return Recording({"spo2": (spo2, 1)}, stages=stages, **given)


def test_statistics_of_a_known_night():
    expected = {
        "lights_off_min": 0, "lights_on_min": 9, "tib_min": 9, "tst_min": 5.5,
        "sleep_efficiency_pct": 100 * 11 / 18, "sol_min": 1.5, "rem_latency_min": 5,
        "waso_min": 1.5, "terminal_wake_min": 1, "spt_min": 6.5,
        "sleep_maintenance_pct": 100 * 11 / 13, "n1_min": 1, "n2_min": 2, "n3_min": 1,
        "r_min": 1.5, "w_min": 3, "n3_pct": 100 * 2 / 11, "awakenings": 2, "stage_shifts": 4,
        "stage_shifts_per_hour": 4 / (5.5 / 60), "sleep_bouts": 3,
        "mean_sleep_bout_min": 5.5 / 3, "longest_sleep_bout_min": 2.5, "unscored_epochs": 1,
        "unscored_min": 0.5, "scored_pct": 100 * 17 / 18,
    }  # fmt: skip
    assert sleep_statistics(NIGHT)[list(expected)].to_dict() == pytest.approx(expected)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=50))
def test_times_add_up(stages):
    row = sleep_statistics(np.array(stages))
    if any(stages):
        assert row["sol_min"] + row["tst_min"] + row["waso_min"] == row["tib_min"]
        assert row[["n1_pct", "n2_pct", "n3_pct", "r_pct"]].sum() == pytest.approx(100)
        assert row["spt_min"] - row["tst_min"] == row["waso_min"] - row["terminal_wake_min"]


@pytest.mark.parametrize(
    ("stages", "known", "undefined"),
    [
        (
            [0] * 10,
            {"tst_min": 0, "sleep_efficiency_pct": 0, "w_min": 5},
            ["sol_min", "rem_latency_min", "waso_min", "n2_pct", "awakenings", "sleep_bouts"],
        ),
        ([-1] * 10, {"unscored_epochs": 10}, ["tst_min", "sleep_efficiency_pct", "n2_min"]),
        ([0, 1, 2], {"tst_min": 1}, ["rem_latency_min"]),
    ],
    ids=["awake", "unscored", "without R"],
)
def test_undefined_statistics_are_nan(stages, known, undefined):
    row = sleep_statistics(stages)
    assert row[list(known)].to_dict() == known
    assert row[undefined].isna().all()


def test_only_epochs_in_bed_count():
    night = recording([2, 2, 0, 2, 2, 0, 2, 2], lights=(70, 160))
    row = sleep_statistics(night)
    assert (row["lights_off_min"], row["lights_on_min"]) == (1, 2.5)
    assert (row["tib_min"], row["tst_min"], row["sol_min"]) == (1.5, 1, 0.5)
    assert hours_of_sleep(night) == 1 / 60


@pytest.mark.parametrize(("lights", "minutes"), [((None, 120), 2), ((-500, 10_000), 4)])
def test_given_lights_replace_the_recordings(lights, minutes):
    night = recording([2] * 8, lights=(60, 180))
    assert sleep_statistics(night, lights=lights)["tib_min"] == minutes


@pytest.mark.parametrize(
    ("lights", "minutes"), [((60, None), 3), ((None, 60), 1), ((np.nan, 120), 2), ((180, None), 1)]
)
def test_one_light_is_enough(lights, minutes):
    assert sleep_statistics(recording([2] * 8, lights=lights))["tib_min"] == minutes


@pytest.mark.parametrize("lights", [(60, 0), (900, None), (-90, -60)])
def test_contradictory_lights_are_ignored(lights):
    night = recording([2] * 8, lights=lights, id="a7")
    with pytest.warns(RecordingWarning, match=r"lights off and on of 1 nights.*recording 1 \(a7\)"):
        assert sleep_statistics([[2] * 8, night])["tib_min"].tolist() == [4, 4]
    assert sleep_statistics(night, lights=(0, 60))["tib_min"] == 1
    with pytest.warns(RecordingWarning, match=r"of 1 nights.*: recording \(a7\) \("):
        assert hours_of_sleep(night) == 4 / 60


def test_many_nights_are_a_table():
    table = sleep_statistics([recording([0, 2], id="a"), [2, 2, 2], recording([4])])
    assert table.index.tolist() == ["a", 1, 2]
    assert table["tst_min"].tolist() == [0.5, 1.5, 0.5]
    pd.testing.assert_series_equal(table.loc[1], sleep_statistics([2, 2, 2]), check_names=False)
    night = Recording({"spo2": (np.full(60, 95.0), 1)}, id="a7")
    with pytest.raises(InvalidRecordingError, match=r"recording 1 \(a7\) has no stages"):
        sleep_statistics([[2, 2], night])


def test_unscored_night_is_all_sleep():
    assert hours_of_sleep(Recording({"spo2": (np.full(3600, 95.0), 1)})) == 1
    assert sleep_statistics(recording([0, 0]), stages=["N2", "N2"])["tst_min"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"recordings": [2] * 20, "lights": (300, 200)}, "lights-off is at 300 s"),
     ({"recordings": [recording([2])] * 2, "stages": [[2]]}, "1 nights of stages for 2")],
)  # fmt: skip
def test_inconsistent_inputs_are_refused(arguments, message):
    with pytest.raises(InvalidRecordingError, match=message):
        sleep_statistics(**arguments)
