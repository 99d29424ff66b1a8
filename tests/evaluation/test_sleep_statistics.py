# SPDX-License-Identifier: BSD-3-Clause
from datetime import datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence, Recording, staging_report
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.evaluation import (
    hours_of_sleep,
    oximetry_statistics,
    sleep_periods,
    sleep_statistics,
)

NIGHT = ["W"] * 3 + ["N1"] * 2 + ["N2"] * 3 + ["?", "N2", "W"] + ["N3"] * 2 + ["R"] * 3 + ["W"] * 2


def recording(stages, **given):
    spo2 = np.full(30 * len(stages), 95.0)
    return Recording({"spo2": (spo2, 1)}, stages=stages, **given)


def test_statistics_of_a_known_night():
    expected = {
        "window_start_min": 0, "window_end_min": 9, "tib_min": 9, "tst_min": 5.5,
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
    assert row.iloc[:4].tolist() == [1, 2.5, 1, 2.5]
    assert (row["tib_min"], row["tst_min"], row["sol_min"]) == (1.5, 1, 0.5)
    assert hours_of_sleep(night) == 1 / 60


@pytest.mark.parametrize(("lights", "minutes"), [((None, 120), 2), ((-29, 269), 4)])
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


def long_day(**given):
    """13:00 to 07:00: wake, a nap of 40 min, an evening with lone N1, a night of 7.5 h, wake."""
    evening = (["W"] * 39 + ["N1"]) * 22
    stages = ["W"] * 240 + ["N2"] * 80 + evening + ["N2"] * 880 + ["R"] * 20 + ["W"] * 60
    return recording(stages, start=datetime(2024, 3, 1, 13), id="day", **given)


def test_sleep_periods_of_a_day():
    periods = sleep_periods(long_day())
    expected = {
        "onset_s": [7200, 35970], "end_s": [9600, 63000], "spt_min": [40, 450.5],
        "tst_min": [40, 450.5], "waso_min": [0, 0], "unscored_min": [0, 0],
        "is_main": [False, True],
    }  # fmt: skip
    assert periods[list(expected)].to_dict("list") == expected
    assert periods["onset_clock"].dt.strftime("%H:%M:%S").tolist() == ["15:00:00", "22:59:30"]
    assert periods["end_clock"].tolist()[1] == pd.Timestamp("2024-03-02 06:30")


@pytest.mark.parametrize(
    ("gap", "n_minutes", "onsets"), [(119, [119.5], [0]), (120, [30, 29.5], [0, 5400])]
)
@pytest.mark.parametrize("between", [0, -1])
def test_an_hour_parts_sleep_periods(gap, n_minutes, onsets, between):
    periods = sleep_periods([2] * 60 + [between] * gap + [4] * (60 - (gap == 120)))
    assert periods["spt_min"].tolist() == n_minutes
    assert periods["onset_s"].tolist() == onsets
    lost = gap / 2 if len(onsets) == 1 else 0
    assert periods["unscored_min" if between else "waso_min"].tolist()[0] == lost
    assert periods["is_main"].tolist() == [True, False][: len(onsets)]
    assert periods["onset_clock"].isna().all()


def test_periods_reach_to_brief_sleep():
    periods = sleep_periods([0] * 9 + [1] * 5 + [0] * 8 + [2] * 200 + [0] * 18 + [1, 0, 0])
    expected = {"onset_s": [270], "spt_min": [116], "tst_min": [103], "waso_min": [13]}
    assert periods[list(expected)].to_dict("list") == expected
    apart = sleep_periods([0] * 9 + [1] * 5 + [0] * 20 + [2] * 200 + [0] * 20 + [1])
    assert apart[["onset_s", "spt_min"]].to_numpy().tolist() == [[34 * 30, 100]]


@pytest.mark.parametrize("stages", [[0] * 50, [-1] * 50, [0] * 20 + [2] * 10 + [0] * 20])
def test_no_consolidated_sleep_no_period(stages):
    assert len(sleep_periods(stages)) == 0
    assert sleep_statistics(stages, lights="main").isna().all()


def test_gap_has_to_be_positive():
    assert len(sleep_periods([2] * 60 + [0] * 40 + [2] * 60, min_gap=20)) == 2
    with pytest.raises(ValueError, match="min_gap is 0; accepted is a number above 0"):
        sleep_periods([2] * 60, min_gap=0)


def test_main_period_is_a_window():
    day = long_day(lights=(0, 600))
    row = sleep_statistics(day, lights="main")
    expected = {
        "window_start_min": 599.5, "window_end_min": 1050, "tst_min": 450.5, "waso_min": 0,
        "rem_latency_min": 440.5, "spt_min": 450.5, "sleep_maintenance_pct": 100,
    }  # fmt: skip
    assert row[list(expected)].to_dict() == expected
    lights = ["lights_off_min", "lights_on_min", "tib_min", "sleep_efficiency_pct", "sol_min"]
    assert row[lights].isna().all()
    assert sleep_statistics(day, lights="recording")["tib_min"] == 18 * 60


def test_days_without_lights_warn():
    short = recording([0, 2])
    with pytest.warns(RecordingWarning, match=r"of 2 nights .*recording 0 \(day\) 18.0 h") as told:
        table = sleep_statistics([long_day(), short, [2] * 1441])
    assert len(told) == 1
    assert table.loc["day", "sleep_efficiency_pct"] == pytest.approx(100 * 1002 / 2160)
    with pytest.warns(RecordingWarning, match="17.0 h"):
        sleep_statistics(long_day(lights=(3600, None)))
    sleep_statistics([2] * 1440)
    sleep_statistics(long_day(lights=(0, 50_000)))


def test_reports_warn_of_days_once():
    X = EpochSequence([long_day(), long_day()])
    with pytest.warns(RecordingWarning, match=r"of 2 nights .*recording 0 \(day\) 18.0 h") as told:
        report = staging_report(X, X.stages, n_resamples=2)
    assert len(told) == 1
    assert report.nights.set_index("measure").loc["tst_min", "reference"].tolist() == [501, 501]


def test_unscored_days_are_no_sleep():
    spo2 = {"spo2": (np.full(13 * 3600, 95.0), 1)}
    with pytest.warns(RecordingWarning, match="neither sleep stages nor lights.*13.0 h"):
        assert hours_of_sleep(Recording(spo2)) == 13
    with pytest.warns(RecordingWarning, match="neither sleep stages nor lights.*13.0 h"):
        oximetry_statistics([Recording(spo2)])
    assert hours_of_sleep(Recording(spo2, stages=[2] * 1560)) == 13


@pytest.mark.parametrize(
    ("lights", "hours"),
    [
        (("22:30", "6:45"), (9.5, 17.75)),
        (("22:30:00", None), (9.5, 18)),
        (("13:30", "16:00"), (0.5, 3)),
        ((9.5 * 3600, "06:45"), (9.5, 17.75)),
        (("22:30", 17.75 * 3600), (9.5, 17.75)),
        (("2024-03-01T22:30", time(6, 45)), (9.5, 17.75)),
        ((pd.Timestamp("2024-03-01 22:30"), np.datetime64("2024-03-02T06:45")), (9.5, 17.75)),
        ((pd.NaT, datetime(2024, 3, 2)), (0, 11)),
    ],
)
def test_lights_as_clock_times(lights, hours):
    row = sleep_statistics(long_day(), lights=lights)
    assert (row["window_start_min"] / 60, row["window_end_min"] / 60) == hours


@pytest.mark.parametrize(
    ("lights", "hours", "message"),
    [
        (("12:30", "16:00"), (0, 3), r"outside of the recording: recording \(day\) 30 min"),
        (("06:50", "23:10"), (0, 10 + 1 / 6), "370 min"),
        (("22:30", "08:10"), (9.5, 18), "70 min"),
        ((17.9 * 3600, "06:45"), (17.9, 18), "1425 min"),
        ((None, "06:45"), (0, 17.75), r"12 h are not known.*recording \(day\) 17.8 h"),
        ((np.nan, "06:45"), (0, 17.75), "12 h are not known"),
    ],
)
def test_doubtful_lights_are_named(lights, hours, message):
    with pytest.warns(RecordingWarning, match=message) as caught:
        row = sleep_statistics(long_day(), lights=lights)
    assert len(caught) == 1
    assert (row["window_start_min"] / 60, row["window_end_min"] / 60) == hours
    assert np.isnan(row["lights_off_min"]) == (lights[0] is None or lights[0] is np.nan)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(("day", "asleep"), [((2024, 3, 30), 7), ((2024, 10, 26), 9)])
@pytest.mark.parametrize("as_text", [False, True])
def test_clock_is_set_at_night(day, asleep, as_text):
    night = recording([2] * 120 * 12, start=datetime(*day, 22, tzinfo=BERLIN))
    lights = [datetime(*day, 23), datetime(*day, 7) + timedelta(days=1)]
    for pair in (("23:00", "07:00"), [t.replace(tzinfo=BERLIN) for t in lights], lights):
        pair = [str(light) for light in pair] if as_text else pair
        row = sleep_statistics(night, lights=pair)
        assert (row["lights_off_min"], row["tib_min"]) == (60, asleep * 60)


def test_latency_counts_from_lights_off():
    row = sleep_statistics(long_day(), lights=("22:30", "06:45"))
    assert row[["sol_min", "waso_min", "tst_min", "tib_min"]].tolist() == [9.5, 34.5, 451, 495]
    assert sleep_statistics(long_day(), lights=("23:30", "06:30"))["sol_min"] == 0


@pytest.mark.parametrize(
    ("lights", "message"),
    [
        ("mian", "accepted are 'main', 'recording'"),
        ((1,), "accepted are two times"),
        (("ten", None), "lights has 'ten'"),
        (("22:30", "22:30"), "lights-off is at 34200 s and lights-on at 34200 s"),
        (("08:00", "12:00"), "an end after the beginning"),
        (("2024-03-01T22:30+01:00", None), "with a time zone"),
    ],
)
def test_impossible_lights_are_refused(lights, message):
    with pytest.raises(InvalidRecordingError, match=rf"recording \(day\).*{message}"):
        sleep_statistics(long_day(), lights=lights)


def test_clock_times_need_a_start():
    with pytest.raises(
        InvalidRecordingError, match=r"recording 1: .*start of the recording is not"
    ):
        sleep_statistics([long_day(), [2] * 1500], lights=("23:00", "07:00"))
    zone = timezone(timedelta(hours=2))
    day = recording([2] * 240, start=datetime(2024, 3, 1, 23, tzinfo=zone))
    assert sleep_statistics(day, lights=("23:30", "2024-03-01T22:30+00:00"))["tib_min"] == 60
