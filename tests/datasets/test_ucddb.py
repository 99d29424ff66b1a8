# SPDX-License-Identifier: BSD-3-Clause
"""UCD database: nights as published, and a partial copy in npz files."""

import pickle
from datetime import datetime

import numpy as np
import pytest

from sleep2vec_sklearn.datasets import load_ucddb
from sleep2vec_sklearn.datasets.ucddb import read_respiratory_events, read_subjects
from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from tests.datasets.files import write, write_edf

MONTAGE = {
    "Lefteye": 64, "RightEye": 64, "EMG": 64, "C3A2": 128, "C4A1": 128, "ECG": 128, "SpO2": 8,
    "Sound": 64, "Flow": 8, "Sum": 8, "ribcage": 8, "abdo": 8, "BodyPos": 8, "Pulse": 8,
}  # fmt: skip
START = datetime(2002, 9, 3, 23, 59, 30)
DETAILS = (
    "Study Number,Age,Gender,BMI,PSG AHI,Epworth Sleepiness Score,PSG Start Time\n"
    "UCDDB002,54,M,33.9,23,16,23:59:30\nUCDDB003,40,F,22,1,2,22:00:00\n"
)
METADATA = {"site": "ucddb", "age": 54, "sex": "M", "bmi": 33.9, "ahi": 23, "epworth": 16}
EVENTS = (
    " Time       Type   PB/CS  Duration  Low    %Drop                 Rate  Change\n"
    "00:00:30  HYP-C             16       89.9    4.1     -     -      64.7   -5.7 \n"
    "00:01:00  APNEA-O           20       92      2.1     -     -      85.2   -26.2\n"
    "00:01:30  POSSIBLE           9       89.8    2.8     +     +      67.6   -9.5 \n"
    "00:02:00  HYP-O                      88      2.8     +     +      67.6   -9.5 \n"
    "00:02:30  PB EVENT  PB      14                       -     -              \n"
)
EXPECTED_EVENTS = [
    [60.0, 16.0, "central_hypopnea"],
    [90.0, 20.0, "obstructive_apnea"],
    [180.0, 14.0, "periodic_breathing"],
]


@pytest.fixture
def published(tmp_path):
    for name in ("ucddb002.edf", "ucddb002_lifecard.edf"):
        write_edf(tmp_path / name, MONTAGE, START)
    (tmp_path / "ucddb002.edf").rename(tmp_path / "ucddb002.rec")
    write(tmp_path / "ucddb002_stage.txt", "0\r\n1\r\n2\r\n5\r\n6\r\n7\r\n3\r\n")
    write(tmp_path / "ucddb002_respevt.txt", EVENTS)
    write(tmp_path / "SubjectDetails.csv", DETAILS)
    return tmp_path


def test_published_night_is_read(published):
    (night,) = load_ucddb(published)
    recorded = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2")
    assert night.modalities == (*recorded, "ibi", "resp")
    assert night.derived == ("ibi", "resp")
    assert (night.rates["eeg"], night.rates["eog"], night.rates["effort"]) == (128, 64, 8)
    assert night.stages.tolist() == [0, 4, 1, 3, -1, -1]
    assert night.start == START
    assert night.events.values.tolist() == EXPECTED_EVENTS
    assert (night.id, night.subject) == ("ucddb002", "ucddb002")
    assert dict(night.metadata) == METADATA


def test_header_start_replaces_table(published):
    (published / "SubjectDetails.csv").unlink()
    with pytest.warns(RecordingWarning, match="age, sex and the like are unknown"):
        (night,) = load_ucddb(published)
    assert night.events.values.tolist() == EXPECTED_EVENTS


@pytest.mark.parametrize("text", [None, "wake\n"])
def test_broken_stages_are_named(published, text):
    path = published / "ucddb002_stage.txt"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ReadError, match=r"ucddb002_stage\.txt"):
        load_ucddb(published)


def write_partial(folder, **changes):
    arrays = {
        "eeg_int16": np.arange(2 * 3840, dtype=np.int16).reshape(2, 3840),
        "scale": np.float32(0.5),
        "epoch_index": np.array([0, 3], dtype=np.int32),
        "stage_all": np.array([0, 1, 2, 4, 3, 5, 6, 7, -1, 99], dtype=np.int8),
        "fs": np.float32(128),
    }
    np.savez(folder / "ucddb002.npz", **{**arrays, **changes})
    write(folder / "annotations" / "SubjectDetails.csv", DETAILS)
    write(folder / "annotations" / "ucddb002_respevt.txt", EVENTS)


def test_partial_night_is_read(tmp_path):
    write_partial(tmp_path)
    (night,) = load_ucddb(tmp_path)
    assert night.stages.tolist() == [0, 4, 1, 3, 2, 3, -1, -1, -1, -1]
    epochs = night["eeg"].reshape(10, 3840)
    assert np.isfinite(epochs).all(axis=1).tolist() == [True, False, False, True] + [False] * 6
    np.testing.assert_allclose(epochs[3], np.arange(3840, 7680) / 2)
    assert (night.units["eeg"], night.rates["eeg"]) == ("mV", 128)
    assert dict(night.metadata) == METADATA
    assert night.start == datetime(1970, 1, 1, 23, 59, 30)
    assert night.events.values.tolist() == EXPECTED_EVENTS


def test_partial_night_is_lazy(tmp_path):
    write_partial(tmp_path)
    (night,) = load_ucddb(tmp_path)
    assert len(pickle.dumps(night)) < 10_000
    before = night.fingerprint
    (tmp_path / "ucddb002.npz").write_bytes(b"changed")
    assert night.fingerprint != before
    with pytest.raises(ReadError, match=r"ucddb002\.npz"):
        night.signal("eeg")


def test_partial_night_without_table(tmp_path):
    write_partial(tmp_path)
    (tmp_path / "annotations" / "SubjectDetails.csv").unlink()
    with pytest.warns(RecordingWarning, match="SubjectDetails.csv"):
        (night,) = load_ucddb(tmp_path)
    assert night.events is None
    assert dict(night.metadata) == {"site": "ucddb"}


@pytest.mark.parametrize("damaged", ["damaged", "PK\x03\x04", ""])
def test_damaged_copy_is_named(tmp_path, damaged):
    write_partial(tmp_path)
    write(tmp_path / "ucddb002.npz", damaged)
    with pytest.raises(ReadError, match=r"ucddb002\.npz cannot be read"):
        load_ucddb(tmp_path)


def test_other_rate_is_refused(tmp_path):
    write_partial(tmp_path, fs=np.float32(64))
    with pytest.raises(ReadError, match=r"64 Hz; accepted is 128 Hz"):
        load_ucddb(tmp_path)


def test_unusable_tables(tmp_path):
    write(tmp_path / "SubjectDetails.csv", DETAILS + DETAILS.splitlines()[1] + "\n")
    with pytest.warns(RecordingWarning, match=r"cannot be read.*unique"):
        assert read_subjects(tmp_path) == {}
    write(tmp_path / "events.txt", EVENTS.replace("00:00:30", "xx:00:30"))
    with pytest.raises(ReadError, match=r"events\.txt has an event at 'xx:00:30'.*01:23:45"):
        read_respiratory_events(tmp_path / "events.txt", START)
