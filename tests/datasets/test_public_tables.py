# SPDX-License-Identifier: BSD-3-Clause
"""Loaders of sets kept as tables and arrays: no label or sample moves."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets import (
    load_dreams,
    load_mmash,
    load_sleep_accel,
    load_ucddb,
)
from sleep2vec_sklearn.datasets._files import as_cohort, find_files
from sleep2vec_sklearn.datasets.dreams import stages_by_majority
from sleep2vec_sklearn.datasets.mmash import _refine_beat_times, _unwrap_clock
from sleep2vec_sklearn.datasets.ucddb import read_respiratory_events, read_subjects
from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from sleep2vec_sklearn.recordings import Recording

few = settings(max_examples=30)
DETAILS = (
    "Study Number,Age,Gender,BMI,PSG AHI,Epworth Sleepiness Score,PSG Start Time\n"
    "UCDDB002,40,F,22,1,2,22:00:00\nUCDDB003,54,M,33.9,23,16,23:59:30\n"
)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lines(*columns):
    return "".join(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def test_files_come_in_the_order_a_person_would_count(tmp_path):
    for name in ("n10.txt", "n9.txt", "n1.txt", "m2.txt"):
        write(tmp_path / name, "")
    found = [path.name for path in find_files(tmp_path, "*.txt", "a set")]
    assert found == ["m2.txt", "n1.txt", "n9.txt", "n10.txt"]


def test_a_cohort_of_files_has_a_row_per_recording():
    nights = [
        Recording({"ibi": (np.ones(240), 4)}, id=name, subject=s, metadata={"age": age})
        for name, s, age in (("a", "x", 30), ("b", "x", 31))
    ]
    table = as_cohort(nights).metadata
    assert table.index.tolist() == ["a", "b"]
    assert table.to_dict("list") == {"subject": ["x", "x"], "age": [30, 31]}


def watch(folder, stages, heart=None, counts=None, offset=0):
    seconds = range(offset, offset + 30 * len(stages), 30)
    rows = "".join(f"{t} {s}\n" for t, s in zip(seconds, stages, strict=True))
    write(folder / "labels" / "5_labeled_sleep.txt", rows)
    times, rates = heart or (np.arange(0, 30 * len(stages), 5), None)
    rates = np.full(len(times), 60) if rates is None else rates
    write(folder / "heart_rate" / "5_heartrate.txt", lines(times, rates))
    if counts is not None:
        write(folder / "activity_counts" / "5_counts_30s.csv", "seconds,count\n" + lines(*counts))
    return load_sleep_accel(folder)[0]


def test_watch_labels_stay_beside_their_signals(tmp_path):
    times = np.arange(0, 240, 5)
    rates = np.where(times // 30 == 5, 100, 50)
    night = watch(tmp_path, [0, 0, 2, 2, 2, 5, 2, 2], (times, rates))
    fast = np.nanmean(night["ibi"].reshape(8, 30), axis=1) < 0.9
    np.testing.assert_array_equal(fast, night.stages == 4)


def test_labels_that_are_no_stage_are_unscored(tmp_path):
    assert watch(tmp_path, ["nan", 2, 9, 3]).stages.tolist() == [-1, 2, -1, 3]


def test_labels_that_begin_late_leave_the_first_epochs_unscored(tmp_path):
    night = watch(tmp_path, [2, 3, 5], offset=60)
    assert night.stages.tolist() == [-1, -1, 2, 3, 4]
    assert night.n_epochs == 5


def test_a_heart_rate_of_zero_is_no_reading(tmp_path):
    times = np.arange(0, 120, 5)
    night = watch(tmp_path, [0] * 4, (times, np.where(times == 60, 0, 60)))
    np.testing.assert_allclose(night["ibi"][10:110], 1.0)


def test_heart_rates_outside_the_labels_are_not_used(tmp_path):
    times = np.arange(-60, 300, 5)
    night = watch(tmp_path, [0] * 4, (times, np.where((times < 0) | (times >= 120), 180, 60)))
    np.testing.assert_allclose(night["ibi"][:118], 1.0, rtol=1e-5)


def test_counts_are_per_second_of_their_own_half_minute(tmp_path):
    night = watch(tmp_path, [0] * 4, counts=([0, 30, 60, 90], [0, 90, 0, 300]))
    per_epoch = night["actigraphy"].reshape(4, -1).mean(axis=1)
    np.testing.assert_allclose(per_epoch, [0, 3, 0, 10])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["1,2,3\n", ""])
def test_a_table_of_another_shape_is_named(tmp_path, text):
    watch(tmp_path, [0, 0])
    write(tmp_path / "heart_rate" / "5_heartrate.txt", text)
    with pytest.raises(ReadError, match=r"5_heartrate\.txt.*(seconds and values|cannot)"):
        load_sleep_accel(tmp_path)


def test_a_clock_that_passes_midnight_goes_on():
    seconds = np.array([86_390.0, 86_399.0, 5.0, 20.0])
    assert _unwrap_clock(seconds).tolist() == [86_390, 86_399, 86_405, 86_420]
    assert (
        _unwrap_clock(seconds - 29 * 86_400 * (seconds < 60)).tolist()
        == _unwrap_clock(seconds).tolist()
    )


@few
@given(st.lists(st.floats(0.4, 1.4), min_size=40, max_size=90))
def test_beats_never_go_back_and_keep_to_the_clock(intervals):
    true = np.cumsum(intervals)
    found = _refine_beat_times(np.floor(true), np.array(intervals))
    assert (np.diff(found) >= 0).all()
    assert np.abs(found - true).max() <= 1.0


HEAD = ",In Bed Date,In Bed Time,Out Bed Date,Out Bed Time,Total Sleep Time (TST)\n"


def day(folder, diary, first=79_200):
    seconds = first + np.arange(36_000.0)
    np.savez(
        folder / "user_1.npz",
        rr_seconds=seconds,
        rr_ibi_s=np.ones(len(seconds)),
        act_seconds=seconds + 60,
        act_vector_magnitude=np.arange(len(seconds)) % 7,
    )
    write(folder / "user_1_sleep.csv", HEAD + diary)
    return load_mmash(folder)[0]


def test_every_stay_in_bed_is_an_event_and_lights_span_them(tmp_path):
    found = day(tmp_path, "0,1,23:00,2,03:00,200\n1,2,04:00,2,06:00,100\n")
    assert found.events["onset"].tolist() == [3600, 6 * 3600]
    assert found.events["duration"].tolist() == [4 * 3600, 2 * 3600]
    assert found.lights == (3600, 8 * 3600)
    assert dict(found.metadata) == {
        "site": "mmash", "sex": "M", "in_bed_min": 360, "sleep_min": 300,
    }  # fmt: skip


def test_a_morning_with_the_evenings_date_is_the_next_morning(tmp_path):
    found = day(tmp_path, "0,1,23:00,1,07:00,400\n")
    assert found.lights == (3600, 9 * 3600)


def test_a_day_starts_with_its_first_sensor_and_keeps_the_clock(tmp_path):
    found = day(tmp_path, "0,1,23:00,2,07:00,400\n")
    assert found.start == datetime(1970, 1, 1, 22, 0)
    assert np.isnan(found["actigraphy"][:60]).all()
    np.testing.assert_array_equal(found["actigraphy"][60:74], [*range(7)] * 2)


@pytest.mark.parametrize("name", ["user_1.npz", "user_1_sleep.csv"])
def test_a_damaged_file_of_a_day_is_named(tmp_path, name):
    day(tmp_path, "0,1,23:00,2,07:00,400\n")
    for damaged in ("damaged", "PK\x03\x04", ""):
        write(tmp_path / name, damaged)
        with pytest.raises(ReadError, match=name):
            load_mmash(tmp_path)


def test_a_day_without_a_beat_is_named(tmp_path):
    none = np.zeros(0)
    write(tmp_path / "user_1_sleep.csv", HEAD)
    names = ("rr_seconds", "rr_ibi_s", "act_seconds", "act_vector_magnitude")
    np.savez(tmp_path / "user_1.npz", **dict.fromkeys(names, none))
    with pytest.raises(ReadError, match=r"user_1\.npz.*no row"):
        load_mmash(tmp_path)


def dublin(folder, **changes):
    arrays = {
        "eeg_int16": np.full((1, 3840), 100, np.int16), "scale": np.float32(0.25),
        "epoch_index": np.array([1]), "stage_all": np.array([0, 5, 2]), "fs": np.float32(128),
    }  # fmt: skip
    np.savez(folder / "ucddb003.npz", **{**arrays, **changes})
    write(folder / "annotations" / "SubjectDetails.csv", DETAILS)
    return load_ucddb(folder)[0]


def test_stored_integers_are_scaled_and_stand_at_their_epoch(tmp_path):
    epochs = dublin(tmp_path)["eeg"].reshape(3, 3840)
    assert (epochs[1] == 25).all()
    assert np.isnan(epochs[[0, 2]]).all()


def test_a_person_is_found_by_the_study_number(tmp_path):
    night = dublin(tmp_path)
    assert dict(night.metadata) == {
        "site": "ucddb", "age": 54, "sex": "M", "bmi": 33.9, "ahi": 23, "epworth": 16,
    }  # fmt: skip
    assert night.start == datetime(1970, 1, 1, 23, 59, 30)
    assert (night.units["eeg"], night.rates["eeg"]) == ("mV", 128)


@pytest.mark.parametrize("damaged", ["damaged", "PK\x03\x04", ""])
def test_a_damaged_copy_of_a_night_is_named(tmp_path, damaged):
    write(tmp_path / "annotations" / "SubjectDetails.csv", DETAILS)
    write(tmp_path / "ucddb002.npz", damaged)
    with pytest.raises(ReadError, match=r"ucddb002\.npz cannot be read"):
        load_ucddb(tmp_path)


def test_a_table_with_a_study_twice_tells_nothing(tmp_path):
    write(tmp_path / "SubjectDetails.csv", DETAILS + DETAILS.splitlines()[1] + "\n")
    with pytest.warns(RecordingWarning, match=r"cannot be read.*unique"):
        assert read_subjects(tmp_path) == {}


def test_an_event_without_a_clock_time_is_named(tmp_path):
    line = "xx:00:30  HYP-C             16       89.9    4.1     -     -      64.7   -5.7 \n"
    write(tmp_path / "events.txt", line)
    with pytest.raises(ReadError, match=r"events\.txt has an event at 'xx:00:30'.*01:23:45"):
        read_respiratory_events(tmp_path / "events.txt", datetime(1970, 1, 1))


def test_another_rate_is_refused(tmp_path):
    with pytest.raises(ReadError, match=r"64 Hz; accepted is 128 Hz"):
        dublin(tmp_path, fs=np.float32(64))


def test_codes_that_are_no_stage_are_unscored(tmp_path):
    night = dublin(tmp_path, stage_all=np.array([0, 1, 2, 3, 4, 5, 6, 7, -1, 99]))
    assert night.stages.tolist() == [0, 4, 1, 2, 3, 3, -1, -1, -1, -1]


@pytest.mark.parametrize(("rate", "extra"), [(50, 0), (50, -1), (100, 30), (200, -9)])
def test_an_excerpts_rate_and_labels_fit_each_other(tmp_path, rate, extra):
    labels = [5] * 6 + [2] * 6 + [1] * 3
    write(tmp_path / "Hypnogram_excerpt1.txt", "[h]\n" + "\n".join(map(str, labels)) + "\n")
    samples = np.repeat([1.0, 2.0, 3.0], [30 * rate, 30 * rate, 15 * rate + extra])
    write(tmp_path / "excerpt1.txt", "[C3-A1]\n" + "\n".join(map(str, samples)) + "\n")
    (excerpt,) = load_dreams(tmp_path)
    assert excerpt.rates["eeg"] == rate
    assert excerpt.stages.tolist() == [0, 2]
    assert excerpt.n_epochs == 2
    np.testing.assert_array_equal(excerpt["eeg"][[0, 30 * rate]], [1, 2])


CODES = {5: 0, 4: 4, 3: 1, 2: 2, 1: 3, 0: 3}


@few
@given(st.lists(st.sampled_from(sorted(CODES)), min_size=6, max_size=30))
def test_a_majority_of_labels_wins_its_epoch_and_its_alone(labels):
    found = stages_by_majority(np.array(labels))
    assert len(found) == len(labels) // 6
    for k, stage in enumerate(found):
        votes = [CODES[label] for label in labels[6 * k : 6 * k + 6]]
        assert votes.count(stage) == max(map(votes.count, votes))


def test_a_file_that_is_no_column_of_numbers_is_named(tmp_path):
    write(tmp_path / "Hypnogram_excerpt1.txt", "[h]\nfive\n")
    write(tmp_path / "excerpt1.txt", "[C3-A1]\n1\n")
    with pytest.raises(ReadError, match=r"Hypnogram_excerpt1\.txt cannot be read"):
        load_dreams(tmp_path)
