# SPDX-License-Identifier: BSD-3-Clause
"""Wearables: values and clocks of files that the tests write, and what is refused."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import describe_channels, read_cohort, read_recording
from sleep2vec_sklearn.errors import NoUsableChannelError, ReadError, RecordingWarning
from sleep2vec_sklearn.recordings.derivation import counts_from_acceleration
from tests.readers.wearable_files import (
    START,
    clock_times,
    health_record,
    seconds_of,
    wrist,
    write_agd,
    write_cwa,
    write_geneactiv,
    write_gt3x,
    write_health,
    write_table,
)

HOUR = np.arange(0, 3600, 5)
HEART, SPO2, SLEEP = (
    "HKQuantityTypeIdentifierHeartRate",
    "HKQuantityTypeIdentifierOxygenSaturation",
    "HKCategoryTypeIdentifierSleepAnalysis",
)


@pytest.fixture
def heart(tmp_path):
    """An hour of 60 beats per minute, then 75, by a header and its times."""

    def write(header="time,heart_rate", times=None, name="hr.csv", values=None, **options):
        times = clock_times(HOUR) if times is None else times
        values = np.where(HOUR < 1800, 60, 75) if values is None else values
        path = write_table(tmp_path / name, header, times, values)
        return read_recording(path, **options)

    return write


def is_hour_of_heart(night, rate=1.0):
    middle = int(1800 * rate)
    np.testing.assert_allclose(night["ibi"][[100, middle - 20, middle + 20]], [1.0, 1.0, 0.8])
    return night.rates == {"ibi": rate}


@pytest.mark.parametrize(
    ("header", "form", "start"),
    [
        ("Time,HR (bpm)", "%Y-%m-%d %H:%M:%S", START),
        ("ActivityMinute,Heart Rate", "%m/%d/%Y %I:%M:%S %p", START),
        ("Datum,puls", "%d.%m.%Y %H:%M:%S", START),
        ("timestamp_iso,pulse_rate_bpm", "%Y-%m-%dT%H:%M:%S+02:00", START),
        ("isoDate,beatsPerMinute", "%Y-%m-%dT%H:%M:%SZ", None),
        ("Time (UTC),bpm", "%Y-%m-%d %H:%M:%S", None),
        ("time,hr", "%Y-%m-%d %H:%M:%S UTC", None),
        ("zeit,herzfrequenz", "%H:%M:%S", datetime(1970, 1, 1, 22)),
    ],
)
def test_clocks_of_tables(heart, header, form, start):
    header = header.replace("Datum", "datetime")
    night = heart(header, clock_times(HOUR, form=form))
    assert is_hour_of_heart(night)
    assert night.start == start


@pytest.mark.parametrize(
    ("header", "factor", "shift"),
    [
        ("unix,hr", 1, seconds_of(START)),
        ("unixTimestampInMs,hr", 1000, seconds_of(START)),
        ("Timestamp,hr", 10**9, seconds_of(START)),
        ("t,hr", 1, 0),
        ("time_ms,hr", 1000, 0),
        ("Time [min],hr", 1 / 60, 0),
    ],
)
def test_times_as_numbers(heart, header, factor, shift):
    night = heart(header, [repr(float((s + shift) * factor)) for s in HOUR])
    assert is_hour_of_heart(night)
    assert night.start is None


def test_zone_gives_the_local_clock(heart):
    times = (HOUR + seconds_of(START)).tolist()
    night = heart("unix,hr", times, timezone="Europe/Berlin")
    assert night.start == START + timedelta(hours=2)
    with pytest.raises(ReadError, match="IANA"):
        heart("unix,hr", times, timezone="Berlin")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_separators_and_decimal_commas(tmp_path, separator):
    rows = [
        f"{t}{separator}0,{97 if i < 1800 else 90}" for i, t in enumerate(clock_times(range(3600)))
    ]
    head = f'"Device";"Watch"\n\n"time"{separator}"SpO2"'
    (tmp_path / "oxy.csv").write_text("\n".join([head, *rows]))
    night = read_recording(tmp_path / "oxy.csv")
    np.testing.assert_allclose(night["spo2"][[10, 3000]], [97, 90], rtol=1e-6)


def test_date_and_time_columns(tmp_path):
    moments = [START + timedelta(hours=2 * i) for i in range(8)]
    days, times = ([m.strftime(form) for m in moments] for form in ("%d/%m/%Y", "%H:%M:%S"))
    path = write_table(tmp_path / "hr.csv", "Date,Time,HR", days, times, [60] * 8)
    night = read_recording(path)
    assert (night.start, night.duration) == (START, 14 * 3600)


def test_columns_by_name_and_position(heart):
    for header, time in (("a,b,c", "a"), (None, 0)):
        times = [f"{t},x" for t in HOUR + seconds_of(START)]
        column = "c" if header else 2
        assert is_hour_of_heart(heart(header, times, columns={"time": time, "heart_rate": column}))
    with pytest.raises(
        ReadError, match="no line names the columns 'pulse'; it begins with 'time,h"
    ):
        heart(columns={"heart_rate": "pulse"})
    with pytest.raises(ReadError, match="no table has the column 'tme', named for 'time'"):
        heart(columns={"time": "tme"})
    assert is_hour_of_heart(heart(columns={"timestamp": "time", "hr": "heart_rate"}))
    assert is_hour_of_heart(heart("time,polar_hr", columns={"hr": "polar_hr"}))
    with pytest.raises(ReadError, match="columns name 'eeg'; accepted are time, heart_rate"):
        heart(columns={"eeg": "heart_rate"})
    with pytest.raises(ReadError, match="no line names a time and a signal; it begins with '1714"):
        heart(None, times)


def test_file_name_says_value(heart):
    assert is_hour_of_heart(heart("Id,Time,Value", [f"7,{t}" for t in clock_times(HOUR)],
                                  name="heartrate_seconds_merged.csv"))  # fmt: skip
    with pytest.raises(ReadError, match="no line names"):
        heart("Time,Value", name="merged.csv")
    with pytest.raises(ReadError, match="holds 2 participants"):
        heart("Id,Time,hr", [f"{i % 2},{t}" for i, t in enumerate(clock_times(HOUR))])


def test_heart_rate_has_no_variability(heart):
    assert heart().notes == ("ibi is 60 / heart rate: without beat-to-beat variability",)


BEATS = np.where(np.arange(3000) < 1500, 1.0, 0.8) + np.tile([0.01, -0.01], 1500)


@pytest.mark.parametrize(
    ("name", "header", "columns"),
    [
        ("polar.txt", None, [np.round(BEATS * 1000).astype(int)]),
        ("kubios.txt", "RR (ms)", [np.round(BEATS * 1000)]),
        ("kubios.csv", None, [np.cumsum(BEATS).round(3), BEATS]),
        ("h10.csv", "Phone timestamp,RR-interval [ms]",
         [clock_times(np.cumsum(BEATS), form="%Y-%m-%dT%H:%M:%S.%f"), BEATS * 1000]),
        ("whole.csv", "timestamp,ibi_s", [clock_times(np.cumsum(BEATS)), BEATS]),
    ],
)  # fmt: skip
def test_intervals_keep_beats(tmp_path, name, header, columns):
    night = read_recording(write_table(tmp_path / name, header, *columns))
    assert night.rates == {"ibi": 4.0}
    first = np.flatnonzero(night["ibi"] < 0.9)[0] / 4
    assert first == pytest.approx(1500, abs=1.5)
    assert night.duration == pytest.approx(2700, abs=2)


def test_stages_are_no_intervals(tmp_path):
    path = write_table(tmp_path / "n.txt", None, [0, 1, 2, 2, 2, 3, 3, 2] * 30)
    with pytest.raises(ReadError, match="hypnogram goes to hypnogram="):
        read_recording(path)


@pytest.mark.parametrize(
    ("header", "unit"),
    [("t,x,y,z", 1), ("time,acc_x_mg,acc_y_mg,acc_z_mg", 1000),
     ("Timestamp,Accelerometer X,Accelerometer Y,Accelerometer Z", 9.80665)],
)  # fmt: skip
def test_acceleration_is_counted_in_blocks(tmp_path, header, unit):
    axes = wrist(3 * 3600, 10, moving=[(600, 700), (7180, 7300)])
    times = np.arange(len(axes)) / 10
    path = write_table(tmp_path / "acc.csv", header, times, *(axes * unit).T)
    whole, _ = counts_from_acceleration(np.linalg.norm(axes, axis=1), 10)
    counts = read_recording(path)["actigraphy"]
    np.testing.assert_allclose(counts, whole, rtol=1e-4)
    assert counts[650] > 20 * np.median(counts) >= 0


def test_acceleration_without_unit(tmp_path):
    axes = wrist(300, 10) - np.array([0.0, 0.0, 1.0])
    path = write_table(tmp_path / "acc.csv", "t,x,y,z", np.arange(3000) / 10, *axes.T)
    with pytest.raises(
        ReadError, match=r"median of acceleration is 0\.03\d* and no unit is stated"
    ):
        read_recording(path)
    stated = {"time": "t", "acceleration": (["x", "y", "z"], "g")}
    assert read_recording(path, columns=stated).modalities == ("actigraphy",)


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("time,rr_ms", 0.8, "median of rr is 0.8 and the stated unit is 'ms'"),
        ("time,rr", 12, "median of rr is 12 and no unit"),
        ("time,SpO2 (%)", 0.96, "stated unit is '%'"),
        ("time,heart_rate", 1.1, "median of heart_rate is 1.1"),
        ("time_furlongs,hr", 60, "no line names a time"),
    ],
)
def test_units_are_checked(heart, header, value, message):
    with pytest.raises(ReadError, match=message.replace("(", r"\(")):
        heart(header, values=[value] * len(HOUR))


def test_elapsed_times_need_units(heart):
    with pytest.raises(ReadError, match="elapsed times are 5000 apart, which are no seconds"):
        heart("t,hr", HOUR * 1000)


def test_slow_saturation_is_left_out(tmp_path):
    times = np.arange(0, 3600, 300)
    path = write_table(tmp_path / "o.csv", "t,spo2,hr", times, [96] * 12, [60] * 12)
    night = read_recording(path)
    assert night.modalities == ("ibi",)
    assert "spo2 left out: a reading every 300 s" in night.notes[-1]


def test_files_share_one_clock(tmp_path):
    write_table(tmp_path / "s1_hr.csv", "unix,hr", HOUR + seconds_of(START), [60] * len(HOUR))
    times = np.arange(0, 1800, 0.1)
    moments = clock_times(times, START + timedelta(hours=2, minutes=30), "%Y-%m-%d %H:%M:%S.%f")
    axes = wrist(1800, 10, moving=[(300, 360)])
    motion = write_table(tmp_path / "s1_motion.csv", "time,x,y,z", moments, *axes.T)
    (tmp_path / "s1_hypnogram.csv").write_text("stage\n" + "W\n" * 120)
    files = [tmp_path / "s1_hr.csv", motion]
    night = read_recording(files, timezone="Europe/Berlin")
    assert (night.id, night.subject, night.start) == ("s1", "s1", START + timedelta(hours=2))
    assert (night.n_epochs, night.stages.tolist()) == (120, [0] * 120)
    moving = np.flatnonzero(np.nan_to_num(night["actigraphy"]) > 10)
    assert (moving[0], moving[-1]) == pytest.approx((2100, 2160), abs=3)
    assert np.isnan(night["actigraphy"][:1790]).all()
    with pytest.raises(ReadError, match=r"local, utc; accepted .* Pass timezone="):
        read_recording(files)


def test_files_of_two_nights(tmp_path):
    for day in (0, 1):
        times = clock_times(HOUR, START + timedelta(days=day))
        write_table(tmp_path / f"hr{day}.csv", "time,hr", times, [60] * len(HOUR))
    with pytest.raises(ReadError, match=r"hr1\.csv begins 23\.0 h after the end of .*hr0\.csv"):
        read_recording([tmp_path / "hr0.csv", tmp_path / "hr1.csv"])


@pytest.mark.parametrize("autumn", [True, False])
def test_daylight_saving_time(heart, autumn):
    """Six hours by the wall clock, over the change at 1 a.m. UTC."""
    night = datetime(2024, 10, 27) if autumn else datetime(2024, 3, 31)
    elapsed = np.arange(0, 6 * 3600, 60)
    before = 3 * 3600 if autumn else 2 * 3600
    wall = elapsed + (elapsed >= before) * (-3600 if autumn else 3600)
    times = clock_times(wall, night)
    recording = heart("time,hr", times, values=np.where(elapsed < before, 60, 80),
                      timezone="Europe/Berlin")  # fmt: skip
    assert recording.duration == 6 * 3600 - 60
    assert np.flatnonzero(recording["ibi"] < 0.9)[0] == pytest.approx(before, abs=60)
    if autumn:
        with pytest.raises(
            ReadError, match=r"backwards by 3,540 s after 2024-10-27 02:59:00.*zone="
        ):
            heart("time,hr", times, values=[60] * len(times))
    else:
        with pytest.warns(RecordingWarning, match=r"an hour is missing after 2024-03-31 01:59"):
            heart("time,hr", times, values=[60] * len(times))


@pytest.mark.parametrize("night", [datetime(2024, 10, 27), datetime(2024, 3, 31)])
def test_clocks_without_daylight_saving(tmp_path, night):
    """A device shows the time of its start plus what has elapsed, also over the change."""
    times = clock_times(np.arange(0, 6 * 3600, 60), night)
    path = write_table(tmp_path / "hr.csv", "time,hr", times, np.r_[[60] * 180, [80] * 180])
    recording = read_recording(path, timezone="Europe/Berlin")
    assert (recording.start, recording.duration) == (night, 6 * 3600 - 60)
    assert np.flatnonzero(recording["ibi"] < 0.9)[0] == pytest.approx(3 * 3600, abs=60)
    counts = write_agd(tmp_path / "n.agd", np.ones(360), start=night)
    assert read_recording(counts, timezone="Europe/Berlin").duration == 6 * 3600


def test_clock_that_runs_backwards(heart):
    late = HOUR - 600 * (HOUR >= 1800)
    with pytest.raises(ReadError, match="backwards by 595 s after 2024-05-01 22:29:55; accepted"):
        heart(times=clock_times(late))
    jitter = HOUR + 7.0 * (HOUR % 60 == 0)
    assert is_hour_of_heart(heart(times=clock_times(jitter)))
    newest_first = heart(times=clock_times(HOUR[::-1]), values=np.where(HOUR < 1800, 75, 60))
    assert is_hour_of_heart(newest_first)


def test_acceleration_runs_backwards(tmp_path):
    times = np.arange(3000) / 10.0
    times[2000:] -= 90
    path = write_table(tmp_path / "a.csv", "t,x,y,z", times, *wrist(300, 10).T)
    with pytest.raises(ReadError, match="backwards by 90 s"):
        read_recording(path)
    stamps = clock_times(np.arange(3000) / 10)
    path = write_table(tmp_path / "a.csv", "time,x,y,z", stamps, *wrist(300, 10).T)
    with pytest.raises(ReadError, match="2,700 of 3,000 samples of acceleration share their time"):
        read_recording(path)


def test_one_wrong_row_is_named(heart):
    values = ["60"] * 5000
    values[1234] = "6o"
    with pytest.warns(RecordingWarning, match=r"1 of 5,000 rows .* line 1236: .*6o"):
        night = heart("t,hr", range(5000), values=values)
    assert not np.isnan(night["ibi"]).any()
    with pytest.raises(ReadError, match=r"500 of 5,000 rows cannot be read, the first in line 2: "):
        heart("t,hr", range(5000), values=["?!"] * 500 + ["60"] * 4500)


def test_last_line_cut_short(tmp_path):
    path = write_table(tmp_path / "c.csv", "time,hr", clock_times(HOUR), [60] * len(HOUR))
    path.write_bytes(path.read_bytes()[: -len(":55,60\n")])
    night = read_recording(path)
    assert (night.start, night.duration) == (START, 3590)


def test_clock_goes_past_midnight(heart):
    hours = np.arange(0, 8 * 3600, 40)
    night = heart("time,hr", clock_times(hours, form="%H:%M:%S"), values=[60] * len(hours))
    assert night.duration == hours[-1]
    assert not np.isnan(night["ibi"]).any()


def test_geneactiv_table(tmp_path):
    times = [time[:-3] for time in clock_times(np.arange(6000) / 10, form="%Y-%m-%d %H:%M:%S:%f")]
    axes = wrist(600, 10, moving=[(100, 160)])
    path = write_table(tmp_path / "g.csv", "Device Type,GENEActiv\nUnits,g", times, *axes.T)
    night = read_recording(path, columns={"time": 0, "acceleration": [1, 2, 3]})
    moving = np.flatnonzero(night["actigraphy"] > 10)
    assert (moving[0], moving[-1]) == pytest.approx((100, 160), abs=3)


def test_empty_columns(tmp_path):
    path = write_table(tmp_path / "e.csv", "t,hr,spo2", range(600), [60] * 600, [""] * 600)
    with pytest.warns(RecordingWarning, match="column of spo2 is empty"):
        assert read_recording(path).modalities == ("ibi",)
    mostly_off = write_table(tmp_path / "o.csv", "t,hr", range(600), [0] * 500 + [60] * 100)
    with pytest.warns(RecordingWarning, match="500 of 600 readings of heart_rate are implausible"):
        night = read_recording(mostly_off)
    assert np.nanmax(np.abs(night["ibi"] - 1)) < 1e-6
    path = write_table(tmp_path / "e.csv", "t,hr", range(600), ["--"] * 600)
    with pytest.raises(ReadError, match="holds no reading of heart rate"):
        read_recording(path)


def test_repeated_times_are_counted(heart):
    with pytest.warns(RecordingWarning, match="720 rows repeat a time; the first of each is used"):
        night = heart("t,hr", np.repeat(HOUR, 2), values=np.tile([60, 99], len(HOUR)))
    np.testing.assert_allclose(night["ibi"], 1.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04\x00\x00", "not a text file"),
        (b"time,hr\n", "has a header and no rows"),
        (b"\x89hello\n", "no line names a time"),
        (b"t,hr\n0,60\n2000000000,60\n", "times span 23,148 days"),
        (
            b"t,x,y,z\n0,0,0,1\n1714600000,0,0,1\n",
            "times span 19,845 days, from 1970-01-01 00:00:00 to 2024-05-01",
        ),
    ],
)
def test_damaged_tables(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ReadError, match=message):
        read_recording(tmp_path / "x.csv")


def test_columns_are_for_wearables(tmp_path):
    with pytest.raises(ReadError, match="columns and timezone are for files of wearables"):
        read_recording(tmp_path / "night.edf", columns={"time": "t"})


def test_empatica_exports(tmp_path):
    start = seconds_of(START)
    axes = np.round(wrist(600, 32, moving=[(100, 160)]) * 64).astype(int)
    write_table(tmp_path / "ACC.csv", f"{start}, {start}, {start}\n32.0, 32.0, 32.0", *axes.T)
    write_table(tmp_path / "HR.csv", f"{start + 10}\n1.0", [60.0] * 590)
    write_table(tmp_path / "IBI.csv", f"{start}, IBI", np.arange(1, 600) * 0.8, [0.8] * 599)
    files = [tmp_path / name for name in ("ACC.csv", "HR.csv")]
    night = read_recording(files, timezone="America/New_York")
    assert (night.start, night.duration) == (START - timedelta(hours=4), 600)
    moving = np.flatnonzero(night["actigraphy"] > 10)
    assert (moving[0], moving[-1]) == pytest.approx((100, 160), abs=3)
    np.testing.assert_allclose(night["ibi"][30:], 1.0)
    beats = read_recording([*files, tmp_path / "IBI.csv"])
    assert beats.rates == {"ibi": 4.0, "actigraphy": 1.0}
    assert "heart_rate is not used" in " ".join(beats.notes)


def test_non_wear_is_a_gap(tmp_path):
    """Two hours on a table amid eight on the wrist."""
    axes = wrist(8 * 3600, 5, moving=[(i, i + 20) for i in range(0, 8 * 3600, 600)])
    off = slice(3 * 3600 * 5, 5 * 3600 * 5)
    axes[off] = np.random.default_rng(1).normal([0.6, 0.0, 0.8], 0.003, (36_000, 3))
    times = np.arange(len(axes)) / 5
    path = write_table(tmp_path / "acc.csv", "t,x,y,z", times, *axes.round(4).T)
    night = read_recording(path)
    gap = np.isnan(night["actigraphy"])
    assert (np.flatnonzero(gap)[[0, -1]] / 3600).tolist() == pytest.approx([3, 5], abs=0.01)
    assert night.events[["onset", "duration", "type"]].values.tolist() == [
        [10800, 7200, "non_wear"]
    ]
    assert "2.0 h of non-wear are gaps of actigraphy" in night.notes
    pulse = write_table(tmp_path / "hr.csv", "t,hr", range(0, 28800, 5), [60] * 5760)
    assert not np.isnan(read_recording([path, pulse])["actigraphy"]).any()


def test_agd_counts(tmp_path):
    counts = np.tile([[30, 40, 0]], (600, 1))
    counts[200:320] = 0
    night = read_recording(write_agd(tmp_path / "n.agd", counts, sex="Female", age=54))
    assert (night.start, night.n_epochs) == (START, 1200)
    assert dict(night.metadata) == {"sex": "F", "age": 54.0}
    np.testing.assert_allclose(night["actigraphy"][[0, 11_000]], 50 / 60, rtol=1e-6)
    assert np.flatnonzero(np.isnan(night["actigraphy"]))[[0, -1]].tolist() == [12_000, 19_199]
    assert "Mustermann" not in str(vars(night))


@pytest.mark.parametrize("cut", [0, 90, 3000])
def test_damaged_databases(tmp_path, cut):
    path = write_agd(tmp_path / "n.agd", np.ones((600, 3)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ReadError, match=r"n\.agd"):
        read_recording(path)


def test_apple_health(tmp_path):
    minutes = [f"2024-10-27 0{h}:{m:02d}:00 +0200" for h in (1, 2) for m in range(60)]
    minutes += [f"2024-10-27 02:{m:02d}:00 +0100" for m in range(60)]
    records = [health_record(HEART, time, 60 + 15 * (i >= 120)) for i, time in enumerate(minutes)]
    records += [health_record(SPO2, time, 0.97) for time in minutes[::30]]
    asleep = "HKCategoryValueSleepAnalysisAsleepREM"
    records.append(health_record(SLEEP, minutes[60], asleep, minutes[150]))
    records = [*records[::-1], health_record("HKQuantityTypeIdentifierStepCount", minutes[0], 9)]
    night = read_recording(write_health(tmp_path / "export.xml", records), hypnogram=None)
    assert (night.start, night.duration) == (datetime(2024, 10, 27, 1), 179 * 60)
    np.testing.assert_allclose(night["ibi"][[60, 7140 + 70]], [1.0, 0.8])
    assert night.modalities == ("ibi",)
    assert night.events.values.tolist() == [[3600.0, 5400.0, "asleep (Apple Health)"]]


def test_damaged_health_exports(tmp_path):
    path = write_health(
        tmp_path / "export.xml", [health_record(HEART, "2024-10-27 01:00:00 +0200", 60)]
    )
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ReadError, match=r"not well-formed XML .* cut short"):
        read_recording(path)
    path.write_text("<PSGAnnotation></PSGAnnotation>")
    with pytest.raises(ReadError, match=r"root <PSGAnnotation>; accepted is export.xml"):
        read_recording(path)
    write_health(path, [])
    with pytest.raises(ReadError, match="holds no reading"):
        read_recording(path)


DEVICES = {"n.gt3x": (write_gt3x, 30), "n.cwa": (write_cwa, 100), "n.bin": (write_geneactiv, 100)}


@pytest.fixture(params=DEVICES)
def device(request, tmp_path):
    """File with 20 minutes of acceleration in g, of which the sixth moves, and its axes."""
    pytest.importorskip("actfast")
    write, rate = DEVICES[request.param]
    axes = wrist(1200, rate, moving=[(300, 360)])
    return write(tmp_path / request.param, axes), axes, rate


def test_devices_are_counted(device):
    path, axes, rate = device
    night = read_recording(path)
    assert (night.start, night.duration, night.rates) == (START, 1200, {"actigraphy": 1.0})
    exact, _ = counts_from_acceleration(np.linalg.norm(axes, axis=1), rate)
    counts = night["actigraphy"]
    np.testing.assert_allclose(counts[302:358], exact[302:358], rtol=0.1)
    assert counts[:290].max() < 0.2 * counts[310:350].min()
    assert describe_channels(path)["modality"].tolist() == ["actigraphy"]


def test_devices_cut_short(device):
    path, *_ = device
    path.write_bytes(path.read_bytes()[:-200])
    if path.suffix == ".gt3x":
        with pytest.raises(ReadError, match=r"n\.gt3x: not a readable \.gt3x file"):
            read_recording(path)
    else:
        with pytest.warns(RecordingWarning, match="damaged or cut short"):
            assert read_recording(path).duration == pytest.approx(1197, abs=3)


def test_devices_need_actfast(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "actfast", None)
    (tmp_path / "n.cwa").write_bytes(b"MD")
    with pytest.raises(ImportError, match=r"pip install 'sleep2vec-sklearn\[wearables\]'"):
        read_recording(tmp_path / "n.cwa")


@pytest.mark.parametrize("name", ["n.gt3x", "n.cwa", "n.bin"])
def test_wrong_endings(tmp_path, name):
    pytest.importorskip("actfast")
    (tmp_path / name).write_bytes(b"time,hr\n0,60\n" * 100)
    with pytest.raises(ReadError, match="not a readable"):
        read_recording(tmp_path / name)


def test_folder_of_tables(tmp_path, write_edf):
    write_edf("p1.edf")
    (tmp_path / "p1.csv").write_text("stage\nW\nW\nN1\nN2\n")
    (tmp_path / "p2_scores.csv").write_text("time,duration,stage,hr\n0,30,W,60\n30,30,W,60\n")
    (tmp_path / "list.csv").write_text("path,age,hr\np1.edf,50,60\n")
    (tmp_path / "notes.txt").write_text("The heart rate was fine.\n")
    (tmp_path / "rr.txt").write_text("800\n" * 200)
    (tmp_path / "p1-nsrr.xml").write_text("<PSGAnnotation></PSGAnnotation>")
    (tmp_path / "firmware.bin").write_bytes(b"\0\1\2")
    for name in ("p3.csv", "p4.csv"):
        write_table(tmp_path / name, "time,hr", clock_times(HOUR), [60] * len(HOUR))
    write_edf("p4.edf", annotations=[(0.0, 60.0, "Sleep stage W")])
    with pytest.warns(RecordingWarning, match="from p1.csv, as p1-nsrr.xml holds none"):
        cohort = read_cohort(tmp_path, verbose=0)
    assert [night.id for night in cohort] == ["p1", "p3", "p4"]
    assert cohort[0].stages.tolist() == [0, 0, 1, 2]


def test_tables_of_a_cohort(tmp_path):
    for i in range(2):
        write_table(tmp_path / f"p{i}.csv", "Time,Value", clock_times(HOUR), [60 + i] * len(HOUR))
    columns = {"time": "Time", "heart_rate": "Value"}
    options = {"columns": columns, "timezone": "Europe/Berlin", "verbose": 0}
    cohort = read_cohort(tmp_path, pattern="*.csv", **options)
    assert cohort.groups.tolist() == ["p0", "p1"]
    assert cohort.metadata["timezone"].tolist() == ["Europe/Berlin"] * 2
    np.testing.assert_allclose(cohort[1]["ibi"][10], 60 / 61)


def test_modalities_are_chosen(tmp_path):
    path = write_table(tmp_path / "w.csv", "t,hr,spo2", range(600), [60] * 600, [96] * 600)
    assert read_recording(path, modalities=["spo2"]).modalities == ("spo2",)
    assert read_recording(path, channels={"spo2": None}).modalities == ("ibi",)
    with pytest.raises(NoUsableChannelError, match="found heart_rate, spo2"):
        read_recording(path, modalities=["eeg"])


def test_changed_files_are_read_again(tmp_path):
    path = write_table(tmp_path / "w.csv", "t,hr", range(600), [60] * 600)
    night = read_recording(path)
    before = night.fingerprint
    write_table(path, "t,hr", range(600), [80] * 600)
    np.testing.assert_allclose(night["ibi"], 0.75)
    assert night.fingerprint != before


ONSETS = "".join(f"{30 * i},30,{'W' if i < 20 else 'N2'}\n" for i in range(120))


@pytest.mark.parametrize("times", [list(HOUR), clock_times(HOUR)], ids=["elapsed", "clock"])
@pytest.mark.parametrize(("name", "empty"), [("hr", 0), ("hr", ""), ("counts", "")])
def test_labels_count_from_rows(tmp_path, times, name, empty):
    """The sensor finds nothing for 95 s, and nothing in the last 75 s."""
    values = [60] * len(HOUR)
    values[:19], values[-15:] = [empty] * 19, [empty] * 15
    path = write_table(tmp_path / "n.csv", f"time,{name},note", times, values, ["x"] * len(HOUR))
    (tmp_path / "n_hypnogram.csv").write_text("onset,duration,stage\n" + ONSETS)
    night = read_recording(path, hypnogram=tmp_path / "n_hypnogram.csv")
    assert night.duration == (3600 if name == "counts" else 3595)
    assert night.stages.tolist()[:21] == [0] * 20 + [2]
    (values,) = (night[kind] for kind in night.modalities)
    assert np.isnan(values[:60]).all()
    assert not np.isnan(values[100:3400]).any()


@pytest.mark.parametrize(("begin", "duration", "first"), [(95, 3690, 100), (2000, 3595, 2)])
def test_elapsed_times_begin_late(heart, begin, duration, first):
    night = heart("t,hr", HOUR + begin, values=np.r_[[75] * 10, [60] * 710])
    assert night.duration == duration
    assert night["ibi"][first] == pytest.approx(0.8)
    assert any("begin at 2,000 s" in note for note in night.notes) == (begin == 2000)


@pytest.fixture
def pairs(tmp_path):
    """Heart rate and counts of two participants in one folder."""
    for who in ("p01", "p02"):
        write_table(tmp_path / f"{who}_hr.csv", "time,hr", clock_times(HOUR), [60] * 720)
        times = clock_times(range(0, 3600, 60))
        write_table(tmp_path / f"{who}_motion.csv", "time,counts", times, [5] * 60)
    return tmp_path


def test_folder_joins_a_night(pairs):
    write_table(pairs / "p03_hr.csv", "time,hr", clock_times(HOUR), [60] * 720)
    for name, n_epochs in (("p01", 120), ("p02", 120), ("p03_hr", 119)):
        (pairs / f"{name}_hypnogram.csv").write_text("stage\n" + "W\n" * n_epochs)
    cohort = read_cohort(pairs, verbose=0)
    assert [night.id for night in cohort] == ["p01", "p02", "p03_hr"]
    assert cohort.groups.tolist() == ["p01", "p02", "p03_hr"]
    assert cohort[1].modalities == ("ibi", "actigraphy")
    assert cohort[0].stages.tolist() == [0] * 120
    listed = read_cohort([pairs / "p02_hr.csv", pairs / "p02_motion.csv"], verbose=0)
    assert (listed.groups.tolist(), len(listed[0].files)) == (["p02"], 2)


def test_words_in_front_join(pairs):
    for path in list(pairs.iterdir()):
        who, kind = path.stem.split("_")
        path.rename(path.with_name(f"{kind}_{who}.csv"))
    (pairs / "p02_hypnogram.csv").write_text("stage\n" + "W\n" * 120)
    # no warning that the labels of p02 belong to nobody
    cohort = read_cohort(pairs, verbose=0)
    assert cohort.groups.tolist() == ["p01", "p02"]
    assert (cohort[0].stages, cohort[1].stages.tolist()) == (None, [0] * 120)


def test_lists_in_a_table(pairs):
    files = [["p01_hr.csv", "p01_motion.csv"], ["p02_hr.csv", "p02_motion.csv"]]
    table = pd.DataFrame({"path": [[str(pairs / name) for name in pair] for pair in files]})
    ages = pd.DataFrame({"subject": ["p01", "p02"], "age": [30, 40]})
    cohort = read_cohort(table, metadata=ages, verbose=0)
    assert cohort.groups.tolist() == ["p01", "p02"]
    assert cohort.metadata["age"].tolist() == [30, 40]


def test_same_quantity_is_unsure(pairs):
    seconds = np.arange(3600)
    values = np.full((2, 3600), 97)
    write_table(pairs / "p02_spo2.csv", "time,spo2,pulse", clock_times(seconds), *values)
    with pytest.warns(RecordingWarning, match=r"p02_hr\.csv and .*p02_motion\.csv; each is read"):
        cohort = read_cohort(pairs, verbose=0)
    assert cohort.groups.tolist() == ["p01", "p02_hr", "p02_motion", "p02_spo2"]


def test_recording_beside_a_wearable(pairs, write_edf):
    write_edf().rename(pairs / "p01.edf")
    with pytest.warns(RecordingWarning) as given:
        cohort = read_cohort(pairs, verbose=0)
    texts = [str(warning.message) for warning in given if "names are those" in str(warning.message)]
    assert len(texts) == 1
    assert "lie beside a recording of that name" in texts[0]
    assert "p01_motion.csv beside" in texts[0]
    assert cohort.groups.tolist() == ["p01", "p01_hr", "p01_motion", "p02"]


@pytest.mark.parametrize(
    ("names", "id"),
    [(["p01_acc", "p01_activity"], "p01"), (["1_hr", "1_motion"], "1"), (["hr0", "hr1"], "hr"),
     (["hr_p01", "motion_p01"], "p01"), (["heart_rate_7", "7_acc"], "7")],
)  # fmt: skip
def test_names_end_with_words(tmp_path, names, id):
    kinds = ["hr", "counts"]
    files = [
        write_table(tmp_path / f"{name}.csv", f"t,{kind}", HOUR, [60] * 720)
        for name, kind in zip(names, kinds, strict=True)
    ]
    assert read_recording(files).id == id


@pytest.mark.parametrize(
    ("offsets", "start"),
    [
        (("+00:00", "+00:00"), None),
        (("+0000", "Z"), None),
        (("+00:00", "+01:00"), START),
        (("+01:00", "+01:00"), START),
    ],
)
def test_offset_of_zero(heart, offsets, start):
    """An export in UTC, and a local clock in London on the night of 30 March."""
    times = [f"{t}{offsets[i >= 360]}" for i, t in enumerate(clock_times(HOUR))]
    if len(set(offsets)) == 2 and start:
        times[360:] = [f"{t}+01:00" for t in clock_times(HOUR[360:] + 3600)]
    night = heart("time,hr", times)
    assert is_hour_of_heart(night)
    assert night.start == start
    local = heart("time,hr", times, timezone="Europe/Berlin")
    assert local.start == START + timedelta(hours=1 if offsets[0] == "+01:00" else 2)


def test_files_hold_one_quantity(heart, tmp_path):
    for name, begin in (("a", 0), ("b", 1800), ("c", 3600)):
        times = clock_times(HOUR + begin)
        write_table(tmp_path / f"{name}.csv", "time,hr,counts", times, [60] * 720, [5] * 720)
    first, second, third = (tmp_path / f"{name}.csv" for name in "abc")
    with pytest.raises(ReadError, match=r"a\.csv and .*b\.csv both hold heart_rate at the same"):
        read_recording([second, first])
    with pytest.raises(ReadError, match=r"a\.csv is listed twice"):
        read_recording([first, tmp_path / "." / "a.csv"])
    night = read_recording([third, first])
    assert (night.start, night.duration) == (START, 7200)
    pieces = [heart("time,hr", clock_times(HOUR + 3600 * i), name=f"{i}.csv") for i in range(3)]
    whole = read_recording([path for piece in pieces for path in piece.files])
    assert (whole.duration, np.isnan(whole["ibi"]).sum()) == (3 * 3600 - 5, 0)


def test_folder_without_known_columns(tmp_path):
    for name in ("a.csv", "b.csv"):
        write_table(tmp_path / name, "when,what", clock_times(HOUR), [60] * 720)
    with pytest.raises(ReadError, match=r"of its 2 tables \(\.csv\), such as a\.csv, none names"):
        read_cohort(tmp_path, verbose=0)
    table = pd.DataFrame({"path": [tmp_path / "a.csv", tmp_path / "b.csv"]})
    columns = {"time": "when", "heart_rate": "what"}
    assert len(read_cohort(table, columns=columns, verbose=0)) == 2


@pytest.mark.parametrize(
    ("header", "usual", "wrong"),
    [("t,hr", 60, 20_000), ("t,hr", 60, 0), ("t,spo2", 97, 255), ("t,spo2", 0.97, 255),
     ("t,spo2", 97, 0), ("t,counts", 5, -1), ("t,rr_ms", 1000, 9000)],
)  # fmt: skip
def test_implausible_readings_are_counted(tmp_path, header, usual, wrong):
    path = tmp_path / "n.csv"
    write_table(path, header, range(1000), [wrong if i % 50 == 7 else usual for i in range(1000)])
    night = read_recording(path)
    assert any("20 of 1,000 readings of" in note for note in night.notes)
    values = np.concatenate([night[name] for name in night.modalities])
    assert np.nanmax(values) - np.nanmin(values) < 1e-4
    write_table(path, header, range(1000), [wrong if i % 10 == 7 else usual for i in range(1000)])
    with pytest.warns(RecordingWarning, match="100 of 1,000 readings of .* are implausible"):
        read_recording(path)


@pytest.mark.parametrize("form", ["%H:%M:%S %d/%m/%Y", "%d/%m/%Y %H:%M:%S"])
def test_midnight_decides_the_day(tmp_path, form):
    start = datetime(2024, 3, 1, 21)
    seconds = np.arange(4 * 3600)
    times = clock_times(seconds, start, form)
    path = write_table(tmp_path / "o.csv", "Time,Oxygen Level", times, 95 + seconds % 3)
    night = read_recording(path)
    assert (night.start, night.duration) == (start, 4 * 3600 - 1)
    assert night.coverage()["spo2"] >= 4 * 3600 - 30


def test_open_dates_are_named(heart):
    start = datetime(2024, 3, 1, 21)
    with pytest.warns(RecordingWarning, match="dates are taken as month/day"):
        night = heart(times=clock_times(HOUR, start, "%d/%m/%Y %H:%M:%S"))
    assert night.start == datetime(2024, 1, 3, 21)
    assert heart(times=clock_times(HOUR, start, "%m/%d/%Y %I:%M:%S %p")).start == start


def test_readings_of_4_s(tmp_path):
    times = np.arange(0, 3600, 4)
    path = write_table(tmp_path / "o.csv", "t,spo2,hr", times, [96] * 900, [60] * 900)
    with pytest.warns(RecordingWarning, match="spo2 left out: a reading every 4 s"):
        assert read_recording(path).modalities == ("ibi",)


def test_folder_names_a_night(tmp_path):
    for name in ("p01", "p02"):
        (tmp_path / name).mkdir()
        first = f"{seconds_of(START)}\n1.0\n"
        (tmp_path / name / "HR.csv").write_text(first + "60\n" * 600)
        (tmp_path / name / "ACC.csv").write_text(first.replace("1.0", "32") + "64\n" * 19_200)
        (tmp_path / name / "TEMP.csv").write_text(first + "31\n" * 600)
    cohort = read_cohort(tmp_path, verbose=0)
    assert cohort.groups.tolist() == [night.id for night in cohort] == ["p01", "p02"]
    assert [night.modalities for night in cohort] == [("ibi", "actigraphy")] * 2


def test_damaged_counts_are_refused(tmp_path):
    whole = write_agd(tmp_path / "n.agd", np.arange(600) % 50).read_bytes()
    path = tmp_path / "cut.agd"
    for share in (0.95, 0.9, 0.8, 0.5):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ReadError, match=r"cut\.agd"), np.errstate(all="ignore"):
            read_recording(path)


@pytest.mark.parametrize("value", ["60,5", '"60,5"'])
def test_decimal_commas_between_commas(heart, value):
    with pytest.raises(ReadError, match="decimal"):
        heart(values=[value] * len(HOUR))


def test_quoted_commas_are_text(heart):
    assert is_hour_of_heart(heart("note,time,hr", [f'"a, b",{t}' for t in clock_times(HOUR)]))


def test_devices_are_not_mixed(heart):
    times = [f"{'left' if i % 2 else 'right'},{t}" for i, t in enumerate(clock_times(HOUR))]
    with pytest.raises(ReadError, match=r"2 devices \(left, right\)"):
        heart("device,time,hr", times)
