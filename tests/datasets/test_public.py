# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import pickle
import struct
from datetime import datetime

import numpy as np
import pytest

from sleep2vec_sklearn import datasets
from sleep2vec_sklearn.datasets import (
    load_apnea_ecg,
    load_dreams,
    load_mmash,
    load_sleep_accel,
    load_sleep_edf,
    load_slpdb,
    load_ucddb,
)
from sleep2vec_sklearn.datasets._files import read_annotations, read_header
from sleep2vec_sklearn.datasets.dreams import stages_by_majority
from sleep2vec_sklearn.datasets.sleep_accel import _as_epochs
from sleep2vec_sklearn.errors import ReadError, RecordingWarning

LOADERS = [
    load_apnea_ecg,
    load_dreams,
    load_mmash,
    load_sleep_accel,
    load_sleep_edf,
    load_slpdb,
    load_ucddb,
]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def annotation_bytes(marks):
    """MIT format: (sample, type, text) in order; long intervals through a SKIP word."""
    data, last = b"", 0
    for sample, kind, text in marks:
        step, last = sample - last, sample
        if step > 1023:
            data += struct.pack("<HHH", 59 << 10, step >> 16, step & 0xFFFF)
            step = 0
        data += struct.pack("<H", kind << 10 | step)
        if text:
            raw = text.encode()
            data += struct.pack("<H", 63 << 10 | len(raw)) + raw + b"\0" * (len(raw) % 2)
    return data + b"\0\0"


def test_every_loader_is_a_name_of_the_room_of_data_sets():
    assert {load.__name__ for load in LOADERS} <= set(datasets.__all__)
    assert all(getattr(datasets, load.__name__) is load for load in LOADERS)


@pytest.mark.parametrize("load", LOADERS)
def test_a_folder_of_another_kind_is_a_clear_error(load, tmp_path):
    with pytest.raises(ReadError, match=r"holds no .*accepted is the unpacked folder"):
        load(tmp_path)
    with pytest.raises(ReadError, match="is not a folder"):
        load(tmp_path / "absent")


def write_watch_night(folder, name="77", labels=(-1, 0, 1, 2, 3, 4, 5)):
    rows = "".join(f"{30 * i} {stage}\n" for i, stage in enumerate(labels))
    write(folder / "labels" / f"{name}_labeled_sleep.txt", rows)
    times = [-500.0, *np.arange(2.5, 300, 5)]
    rows = "".join(f"{t},{120 if t < 0 else 60}\n" for t in times)
    write(folder / "heart_rate" / f"{name}_heartrate.txt", rows)


def test_sleep_accel_night_is_as_long_as_its_labels(tmp_path):
    write_watch_night(tmp_path)
    write(tmp_path / "activity_counts" / "77_counts_30s.csv", "seconds,count\n30,60\n90,0\n")
    (night,) = cohort = load_sleep_accel(tmp_path)
    assert night.stages.tolist() == [-1, 0, 1, 2, 3, 3, 4]
    assert (night.n_epochs, night.subject, night.rates["ibi"]) == (7, "77", 1.0)
    np.testing.assert_allclose(night["ibi"], 1.0)
    np.testing.assert_allclose(night["actigraphy"][30:60], 2.0)
    assert np.isnan(night["actigraphy"][:30]).all()
    assert cohort.metadata.index.tolist() == ["77"]


def test_sleep_accel_labels_of_before_the_start_are_left_out():
    labels = np.array([[0.0, 0], [30.0, 2], [60.0, 5], [-30.0, 3]])
    assert _as_epochs(labels).tolist() == [0, 2, 4]


def test_sleep_accel_without_counts_has_heart_rate_alone(tmp_path):
    write_watch_night(tmp_path)
    write_watch_night(tmp_path, name="8")
    cohort = load_sleep_accel(tmp_path)
    assert [night.id for night in cohort] == ["8", "77"]
    assert cohort[0].modalities == ("ibi",)


def test_sleep_accel_reads_unsorted_and_repeated_readings(tmp_path):
    write_watch_night(tmp_path)
    write(tmp_path / "heart_rate" / "77_heartrate.txt", "100,60\n50,60\n100,60\n150,60\n")
    (night,) = load_sleep_accel(tmp_path)
    np.testing.assert_allclose(night["ibi"][50:150], 1.0)


def test_a_damaged_file_is_named(tmp_path):
    write_watch_night(tmp_path)
    write(tmp_path / "heart_rate" / "77_heartrate.txt", "not a table")
    with pytest.raises(ReadError, match=r"77_heartrate\.txt"):
        load_sleep_accel(tmp_path)


DIARY = (
    ",In Bed Date,In Bed Time,Out Bed Date,Out Bed Time,Total Sleep Time (TST)\n"
    "0,1,23:59,1,00:03,3\n"
)


def write_day(folder, packed, second_day=2):
    """Ten minutes around midnight: a beat and a count per second, 20 s lost."""
    seconds = 86_400 - 300 + np.concatenate([np.arange(200), np.arange(220, 600)])
    if packed:
        days = np.where(seconds >= 86_400, (second_day - 2) * 86_400, 0)
        folder.mkdir(exist_ok=True)
        np.savez(
            folder / "user_3.npz",
            rr_seconds=seconds + days,
            rr_ibi_s=np.ones(len(seconds), np.float32),
            act_seconds=seconds + days,
            act_vector_magnitude=np.full(len(seconds), 7.0, np.float32),
        )
        write(folder / "user_3_sleep.csv", DIARY)
        return
    clock = [f"{s // 3600 % 24:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in seconds]
    stamps = [f"{1 + s // 86_400},{c}" for s, c in zip(seconds, clock, strict=True)]
    rows = "".join(f"{i},1.0,{stamp}\n" for i, stamp in enumerate(stamps))
    write(folder / "user_3" / "RR.csv", ",ibi_s,day,time\n" + rows)
    rows = "".join(f"{i},7.0,{stamp}\n" for i, stamp in enumerate(stamps))
    write(folder / "user_3" / "Actigraph.csv", ",Vector Magnitude,day,time\n" + rows)
    write(folder / "user_3" / "sleep.csv", DIARY)


@pytest.mark.parametrize("packed", [True, False])
def test_mmash_day_keeps_its_clock_and_gaps(tmp_path, packed):
    write_day(tmp_path, packed)
    (day,) = load_mmash(tmp_path)
    assert (day.id, day.n_epochs, day.rates) == ("user_3", 20, {"ibi": 4.0, "actigraphy": 1.0})
    assert day.start == datetime(1970, 1, 1, 23, 55)
    assert day.lights == (240.0, 480.0)
    assert day.events.to_dict("records") == [{"onset": 240.0, "duration": 240.0, "type": "in_bed"}]
    assert np.isnan(day["actigraphy"][200:220]).all()
    assert np.nansum(day["actigraphy"]) == 7 * 580
    assert np.isnan(day["ibi"][4 * 203 : 4 * 217]).all()
    np.testing.assert_allclose(day["ibi"][: 4 * 195], 1.0)


def test_mmash_bodies_are_metadata_and_zero_is_not_an_age(tmp_path):
    write_day(tmp_path, packed=False)
    assert "age" not in load_mmash(tmp_path)[0].metadata
    info = tmp_path / "user_3" / "user_info.csv"
    write(info, ",Gender,Weight,Height,Age\n0,M,65,169,0\n")
    person = load_mmash(tmp_path)[0].metadata
    assert (person["sex"], person["weight"], person["height"]) == ("M", 65, 169)
    assert np.isnan(person["age"])
    write(info, "nothing\n")
    with pytest.raises(ReadError, match=r"user_info\.csv cannot be read"):
        load_mmash(tmp_path)


def test_mmash_second_day_of_minus_29_follows_the_first(tmp_path):
    write_day(tmp_path, packed=True, second_day=-29)
    (day,) = load_mmash(tmp_path)
    assert day.n_epochs == 20


def test_mmash_without_a_diary_has_no_lights(tmp_path):
    write_day(tmp_path, packed=True)
    write(tmp_path / "user_3_sleep.csv", DIARY.splitlines()[0] + "\n")
    (day,) = load_mmash(tmp_path)
    assert day.lights is None
    assert day.events.empty
    assert np.isnan(day.metadata["in_bed_min"])


def test_mmash_beats_lie_between_the_whole_seconds(tmp_path):
    times = np.cumsum(np.full(300, 0.7))
    np.savez(
        tmp_path / "user_1.npz",
        rr_seconds=np.floor(times),
        rr_ibi_s=np.where(np.arange(300) < 150, 0.7, 0.75),
        act_seconds=np.arange(210.0),
        act_vector_magnitude=np.zeros(210),
    )
    write(tmp_path / "user_1_sleep.csv", DIARY.splitlines()[0] + "\n")
    (day,) = load_mmash(tmp_path)
    changed = np.flatnonzero(day["ibi"] > 0.725)[0] / 4
    assert changed == pytest.approx(times[150], abs=1.0)


def test_annotations_survive_long_intervals_and_texts(tmp_path):
    marks = [(5, 1, ""), (1028, 5, ""), (70_000, 22, "2 LA"), (200_000, 22, "W"), (200_001, 1, "")]
    (tmp_path / "a.st").write_bytes(annotation_bytes(marks))
    found = read_annotations(tmp_path / "a.st")
    assert found.samples.tolist() == [mark[0] for mark in marks]
    assert found.types.tolist() == [mark[1] for mark in marks]
    assert found.texts == tuple(mark[2] for mark in marks)


@pytest.mark.parametrize("data", [b"", b"abc", b"\x01\x58\x07", b"\x01\x58"])
def test_truncated_annotations_are_an_error(tmp_path, data):
    (tmp_path / "a.st").write_bytes(data)
    with pytest.raises(ReadError, match="truncated"):
        read_annotations(tmp_path / "a.st")


def test_header_without_a_start_has_none(tmp_path):
    write(tmp_path / "a.hea", "# made\na 1 100 6000\na.dat 16 200 12 0 -12 5827 0 ECG\n")
    header = read_header(tmp_path / "a.hea")
    assert (header.duration, header.start, header.comment) == (60.0, None, "made")
    write(tmp_path / "b.hea", "b")
    with pytest.raises(ReadError, match=r"b\.hea is not a record's header"):
        read_header(tmp_path / "b.hea")


def write_record(folder, name, first_line, comment, beats_suffix, marks_suffix, marks, rate=250):
    write(folder / f"{name}.hea", f"{name} {first_line}\n{name}.dat 212 -200 12 0 0 0 0 ECG\n")
    with (folder / f"{name}.hea").open("a") as header:
        header.write(comment)
    beats = [(sample, 1, "") for sample in range(rate, 180 * rate, rate)]
    (folder / f"{name}.{beats_suffix}").write_bytes(annotation_bytes(beats))
    (folder / f"{name}.{marks_suffix}").write_bytes(annotation_bytes(marks))


def test_slpdb_parts_of_a_night_share_their_subject(tmp_path):
    texts = ["W", "1", "2 H LL", "4 OA OA", "R", "MT"]
    marks = [(1 + 7500 * i, 22, text) for i, text in enumerate(texts)]
    first_line = "4 250/0.0333(94) 45000 23:07:00 19/1/1989"
    for name in ("slp01a", "slp01b", "slp67x"):
        write_record(tmp_path, name, first_line, "# 44 M 89 32-01-89\n", "ecg", "st", marks)
    cohort = load_slpdb(tmp_path)
    assert [night.subject for night in cohort] == ["slp01", "slp01", "slp67"]
    night = cohort[0]
    assert night.stages.tolist() == [0, 1, 2, 3, 4, -1]
    assert night.start == datetime(1989, 1, 19, 23, 7)
    assert dict(night.metadata) == {"site": "slpdb", "age": 44.0, "sex": "M", "weight": 89.0}
    assert (
        night.events["type"].tolist()
        == ["hypopnea", *["leg_movement"] * 2] + ["obstructive_apnea"] * 2
    )
    assert night.events["onset"].tolist() == [60, 60, 60, 90, 90]
    np.testing.assert_allclose(night["ibi"][10:700], 1.0)


def test_apnea_ecg_equal_bodies_are_one_person(tmp_path):
    marks = [(0, 8, ""), (6000, 1, ""), (12_000, 8, "")]
    rows = ""
    for name, weight in {"a01": 102, "a14": 102, "b01": 63}.items():
        write_record(tmp_path, name, "1 100 18000", "", "qrs", "apn", marks, rate=100)
        rows += f"{name}\t490\t20\t470\t9\t12.5\t57.1\t69.6\t51\tM\t175\t{weight}\t\t\n"
    write(tmp_path / "additional-information.txt", "Record\tLength\n\n" + rows)
    cohort = load_apnea_ecg(tmp_path)
    assert len(cohort) == 3
    assert len(set(cohort.groups)) == 2
    assert cohort[0].subject == cohort[1].subject
    assert cohort[0].events["onset"].tolist() == [0.0, 120.0]
    assert cohort.metadata.loc["a01", ["ahi", "age"]].tolist() == [69.6, 51]


def test_apnea_ecg_record_without_a_person_is_an_error(tmp_path):
    write_record(tmp_path, "a01", "1 100 18000", "", "qrs", "apn", [(0, 8, "")], rate=100)
    with pytest.raises(ReadError, match="share a subject"):
        load_apnea_ecg(tmp_path)
    write(tmp_path / "additional-information.txt", "Record\n")
    with pytest.raises(ReadError, match="no row for a01"):
        load_apnea_ecg(tmp_path)


DETAILS = (
    "Study Number,Age,Gender,BMI,PSG AHI,Epworth Sleepiness Score,PSG Start Time\n"
    "UCDDB002,54,M,33.9,23,16,23:59:30\n"
)
EVENTS = (
    " Time       Type   PB/CS  Duration  Low    %Drop                 Rate  Change\n"
    "00:00:30  HYP-C             16       89.9    4.1     -     -      64.7   -5.7 \n"
    "00:01:00  APNEA-O           20       92      2.1     -     -      85.2   -26.2\n"
    "00:01:30  POSSIBLE           9       89.8    2.8     +     +      67.6   -9.5 \n"
    "00:02:00  HYP-O                      88      2.8     +     +      67.6   -9.5 \n"
    "00:02:30  PB EVENT  PB      14                       -     -              \n"
)


def write_dublin_night(folder):
    np.savez(
        folder / "ucddb002.npz",
        eeg_int16=np.arange(2 * 3840, dtype=np.int16).reshape(2, 3840),
        scale=np.float32(0.5),
        epoch_index=np.array([0, 3], dtype=np.int32),
        stage_all=np.array([0, 1, 2, 4, 3, 5, 6, 7], dtype=np.int8),
        fs=np.float32(128),
    )
    write(folder / "annotations" / "SubjectDetails.csv", DETAILS)
    write(folder / "annotations" / "ucddb002_respevt.txt", EVENTS)


def test_ucddb_epochs_without_signal_are_gaps(tmp_path):
    write_dublin_night(tmp_path)
    (night,) = load_ucddb(tmp_path)
    assert night.stages.tolist() == [0, 4, 1, 3, 2, 3, -1, -1]
    epochs = night["eeg"].reshape(8, 3840)
    assert np.isfinite(epochs).all(axis=1).tolist() == [True, False, False, True] + [False] * 4
    np.testing.assert_allclose(epochs[3], np.arange(3840, 7680) / 2)


def test_ucddb_events_are_placed_past_midnight(tmp_path):
    write_dublin_night(tmp_path)
    (night,) = load_ucddb(tmp_path)
    assert night.metadata["ahi"] == 23
    assert night.events.values.tolist() == [
        [60.0, 16.0, "central_hypopnea"],
        [90.0, 20.0, "obstructive_apnea"],
        [180.0, 14.0, "periodic_breathing"],
    ]


def test_ucddb_is_lazy(tmp_path):
    write_dublin_night(tmp_path)
    (night,) = load_ucddb(tmp_path)
    assert len(pickle.dumps(night)) < 10_000
    before = night.fingerprint
    (tmp_path / "ucddb002.npz").write_bytes(b"changed")
    assert night.fingerprint != before
    with pytest.raises(ReadError, match=r"ucddb002\.npz"):
        night.signal("eeg")


def test_ucddb_without_its_table_warns_and_goes_on(tmp_path):
    write_dublin_night(tmp_path)
    (tmp_path / "annotations" / "SubjectDetails.csv").unlink()
    with pytest.warns(RecordingWarning, match="SubjectDetails.csv"):
        (night,) = load_ucddb(tmp_path)
    assert night.events is None
    assert dict(night.metadata) == {"site": "ucddb"}


def test_dreams_excerpt_takes_its_rate_from_the_labels(tmp_path):
    write(tmp_path / "Hypnogram_excerpt2.txt", "[Hypnogram]\n" + "5\n" * 6 + "2\n" * 6)
    write(tmp_path / "excerpt2.txt", "[C3-A1]\n" + "   1.5\n" * 6000)
    write(tmp_path / "Hypnogram_excerpt4.txt", "[Hypnogram]\n" + "5\n" * 6)
    (excerpt,) = cohort = load_dreams(tmp_path)
    assert excerpt.rates == {"eeg": 100.0}
    assert excerpt.stages.tolist() == [0, 2]
    assert cohort.failures["path"].str.endswith("excerpt4.txt").all()


@pytest.mark.parametrize(
    ("labels", "stage"),
    [
        ([2, 2, 2, 2, 3, 3], 2),
        ([2, 2, 2, 3, 3, 3], 1),
        ([1, 0, 1, 0, 2, 2], 3),
        ([-1, -1, -1, -2, 4, 4], -1),
        ([-1, -1, 4, 4, 5, 5], 0),
    ],
)
def test_six_labels_vote_for_a_stage(labels, stage):
    assert stages_by_majority(np.array(labels)).tolist() == [stage]
