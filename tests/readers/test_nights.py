# SPDX-License-Identifier: BSD-3-Clause
"""Nights cut from records of days, by clock, diary and inactivity."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording, read_recording
from sleep2vec_sklearn.errors import InvalidRecordingError, ReadError, RecordingWarning
from sleep2vec_sklearn.readers import split_nights
from tests.readers.wearable_files import (
    clock_times,
    health_record,
    write_agd,
    write_health,
    write_table,
)

NOON = datetime(2024, 5, 1, 12)
HOUR = 3600


@pytest.fixture
def week():
    """Three days with 50 counts a second, 1 from 23 to 7; off in the second night."""
    hours = (12 + np.arange(3 * 24 * HOUR) / HOUR) % 24
    counts = np.where((hours >= 23) | (hours < 7), 1.0, 50.0) + np.arange(len(hours)) % 2
    counts[34 * HOUR : 44 * HOUR] = np.nan
    stages = np.arange(3 * 24 * 120) % 5
    events = pd.DataFrame(
        [(11.5 * HOUR, HOUR, "in_bed"), (60 * HOUR, 30.0, "arousal")],
        columns=["onset", "duration", "type"],
    )
    return Recording(
        {"actigraphy": counts}, subject="s1", id="w", start=NOON, stages=stages, events=events,
        metadata={"age": 40},
    )  # fmt: skip


def starts_and_hours(cohort):
    return [(f"{night.start:%d %H:%M}", night.duration / HOUR) for night in cohort]


def test_nights_by_clock(week):
    with pytest.warns(RecordingWarning, match=r"1 of 3 nights were left out.*w-night2: 0\.0 h"):
        nights = split_nights(week, window=("22:00", "08:00"))
    assert starts_and_hours(nights) == [("01 22:00", 10.0), ("03 22:00", 10.0)]
    assert nights.groups.tolist() == ["s1", "s1"]
    assert nights.metadata["night"].tolist() == [1, 3]
    assert nights.failures["path"].tolist() == ["w-night2"]
    np.testing.assert_array_equal(nights[1].stages, week.stages[58 * 120 : 68 * 120])
    np.testing.assert_array_equal(
        nights[0]["actigraphy"], week["actigraphy"][10 * HOUR : 20 * HOUR]
    )
    assert nights[0].events.values.tolist() == [[1.5 * HOUR, HOUR, "in_bed"]]
    assert nights[1].events.values.tolist() == [[2.0 * HOUR, 30.0, "arousal"]]


def test_fingerprints_follow_the_stretch(week):
    nights = split_nights(week, window=("23:00", "03:00"), min_hours=0)
    prints = {night.signal_fingerprint("actigraphy") for night in nights}
    assert len(prints) == len(nights) == 3


def test_nights_by_diary(week):
    diary = pd.DataFrame(
        {"lights_off": ["2024-05-01 23:10:10"], "lights_on": ["2024-05-02 06:40:00"]}
    )
    (night,) = split_nights(week, by="diary", diary=diary)
    assert night.start == datetime(2024, 5, 1, 23, 10)
    assert night.lights == (10.0, 7.5 * HOUR)
    (night,) = split_nights(week, by="diary", min_hours=1)
    assert (night.start, night.duration) == (datetime(2024, 5, 1, 23, 30), HOUR)


@pytest.mark.parametrize(
    "row",
    [("2024-05-02 07:00", "2024-05-01 23:00"), ("23:00", "oh"), (None, "2024-05-02 07:00"),
     ("2024-05-01 23:00+02:00", "2024-05-02 07:00+02:00")],
)  # fmt: skip
def test_impossible_diaries(week, row):
    with pytest.raises(ReadError, match="the diary has lights off at"):
        split_nights(week, by="diary", diary=[row])
    with pytest.raises(ReadError, match="needed are lights_off and lights_on"):
        split_nights(week, by="diary", diary=pd.DataFrame({"bed": [row[0]]}))


def test_nights_by_inactivity(week):
    nights = split_nights(week, by="inactivity")
    assert starts_and_hours(nights) == [("01 23:00", 8.0), ("03 23:00", 8.0)]
    assert nights[0].lights is None


def test_lights_follow_the_night(week):
    week.lights = (11 * HOUR, None)
    nights = split_nights(week)
    assert [night.lights for night in nights] == [(5 * HOUR, None), None, None]


def test_non_wear_is_no_rest(week):
    """Neither the night with the watch off nor the hours around it are rest."""
    values = week["actigraphy"].copy()
    values[10 * HOUR : 13 * HOUR] = np.nan
    record = Recording({"actigraphy": values}, start=NOON, id="w")
    nights = split_nights(record, by="inactivity")
    assert starts_and_hours(nights) == [("02 01:00", 6.0), ("03 23:00", 8.0)]


def test_missing_inputs_are_named(week):
    without = Recording({"actigraphy": week["actigraphy"]}, id="w")
    with pytest.raises(ReadError, match=r"has no start.*timezone= to read_recording"):
        split_nights(without)
    assert len(split_nights(without, by="inactivity")) == 2
    with pytest.raises(ReadError, match="no events of type in_bed"):
        split_nights(without, by="diary")
    spo2 = Recording({"spo2": np.full(4 * HOUR, 96.0)}, rates={"spo2": 1.0}, start=NOON)
    with pytest.raises(ReadError, match="has no actigraphy"):
        split_nights(spo2, by="inactivity")
    with pytest.raises(ReadError, match="has no night: none of 0 has 3 h"):
        split_nights(spo2, window=("15:30", "16:00"))
    with pytest.raises(ReadError, match=r"window is \('22:00', '25 h'\)"):
        split_nights(week, window=("22:00", "25 h"))


def test_watch_over_daylight_saving(tmp_path):
    """Heart rate is 100 from 22:00 to 22:30 by the local clock of each evening, else 60."""
    start = pd.Timestamp("2024-10-26 12:00", tz="Europe/Berlin")
    moments = pd.date_range(start, periods=48 * 360, freq="10s")
    late = (moments.hour == 22) & (moments.minute < 30)
    times = [moment.isoformat() for moment in moments.tz_convert("UTC")]
    path = write_table(tmp_path / "hr.csv", "time,hr", times, np.where(late, 100, 60))
    record = read_recording(path, timezone="Europe/Berlin")
    nights = split_nights(record, window=("22:00", "08:00"))
    assert starts_and_hours(nights) == [("26 22:00", 11.0), ("27 22:00", 10.0)]
    for night in nights:
        np.testing.assert_allclose(night["ibi"][[10, 1780, 1820]], [0.6, 0.6, 1.0])


def test_week_of_counts(tmp_path):
    counts = np.random.default_rng(0).integers(1, 300, 5 * 1440)
    record = read_recording(write_agd(tmp_path / "w.agd", counts, start=NOON))
    nights = split_nights(record)
    assert [night.id for night in nights] == [f"w-night{n}" for n in range(1, 6)]
    expected = np.repeat(counts[360 : 360 + 18 * 60] / 60, 60)
    np.testing.assert_allclose(nights[0]["actigraphy"], expected, rtol=1e-6)
    assert nights[0].fingerprint != nights[1].fingerprint


def test_health_export_of_years(tmp_path):
    times = clock_times(np.arange(0, 8 * HOUR, 30), NOON + timedelta(hours=11), "%Y-%m-%d %H:%M:%S")
    heart = "HKQuantityTypeIdentifierHeartRate"
    stamps = [f"{time} +0200" for time in ["2019-05-01 12:00:00", *times]]
    rows = [health_record(heart, stamp, 60) for stamp in stamps]
    rows[100] = rows[100].replace('"60"', '"61"')
    for begin, end in (("23:00", "23:40"), ("23:45", "23:59")):
        stamps = [f"2024-05-01 {clock}:00 +0200" for clock in (begin, end)]
        asleep = "HKCategoryValueSleepAnalysisAsleepCore"
        rows.append(
            health_record("HKCategoryTypeIdentifierSleepAnalysis", stamps[0], asleep, stamps[1])
        )
    rows.append(
        rows[-1].replace("05-01 23:45", "05-02 00:10").replace("05-01 23:59", "05-02 07:00")
    )
    record = read_recording(write_health(tmp_path / "export.xml", rows))
    (night,) = split_nights(record, by="diary")
    assert (night.start, night.lights) == (NOON + timedelta(hours=11), (0.0, 8 * HOUR - 30))
    np.testing.assert_allclose(night["ibi"][: 8 * HOUR - 60], 1.0, rtol=0.02)


@pytest.mark.parametrize("record", ["wk.csv", ["wk.csv"], None])
def test_only_recordings_are_split(record):
    with pytest.raises(
        InvalidRecordingError, match=r"is a \w+; .*read_recording\(path\).*cohort\[0\]"
    ):
        split_nights(record)


def test_cohort_is_not_split(week):
    nights = split_nights(week, window=("22:00", "08:00"), min_hours=0)
    with pytest.raises(InvalidRecordingError, match="recording is a Cohort"):
        split_nights(nights)


def test_unusable_calls_are_refused(week):
    with pytest.raises(ReadError, match="timezone is 'Berlin'"):
        split_nights(week, timezone="Berlin")
    day = f"{week.start:%Y-%m-%d}"
    diary = [(f"{day} 20:00", f"{day} 22:00"), (f"{day} 21:00", f"{day} 23:00")]
    with pytest.raises(ReadError, match="two nights at one time"):
        split_nights(week, by="diary", diary=diary)


def test_diary_of_several_subjects(week, tmp_path):
    form = "participant,lights_off,lights_on\n{},01.05.2024 23:10,02.05.2024 06:40\n"
    path = tmp_path / "diary.csv"
    path.write_text(form.format(week.subject or week.id) + "other,2.5.2024 23:00,3.5.2024 7:00\n")
    (night,) = split_nights(week, by="diary", diary=path)
    assert (night.start, night.duration) == (datetime(2024, 5, 1, 23, 10), 7.5 * HOUR)
    path.write_text(form.format("other"))
    with pytest.raises(ReadError, match="the diary has no row of"):
        split_nights(week, by="diary", diary=path)
    with pytest.raises(ReadError, match="the diary has lights off at 1 "):
        split_nights(week, by="diary", diary=[(1, week.start, week.start)])
