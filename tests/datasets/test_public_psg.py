# SPDX-License-Identifier: BSD-3-Clause
"""Public polysomnograms kept as EDF files, here of simulated noise in the published layout."""

from __future__ import annotations

from datetime import datetime

import edfio
import numpy as np
import pytest

from sleep2vec_sklearn.datasets import load_dreams, load_ucddb
from sleep2vec_sklearn.errors import ReadError, RecordingWarning

SECONDS = 180
DUBLIN = {
    "Lefteye": 64, "RightEye": 64, "EMG": 64, "C3A2": 128, "C4A1": 128, "ECG": 128, "SpO2": 8,
    "Sound": 64, "Flow": 8, "Sum": 8, "ribcage": 8, "abdo": 8, "BodyPos": 8, "Pulse": 8,
}  # fmt: skip
MONS = {
    "O1-A1": 50, "EMG1": 50, "ECG": 100, "NAF1": 50, "VAB": 50, "VTH": 50, "C3-A1": 50,
    "EOG1-A1": 50, "SAO2": 50, "PR": 50, "PULSE": 50, "hypnogram": 1,
}  # fmt: skip
DETAILS = (
    "Study Number,Age,Gender,BMI,PSG AHI,Epworth Sleepiness Score,PSG Start Time\n"
    "UCDDB002,54,M,33.9,23,16,00:11:04\n"
)
EVENTS = (
    " Time       Type   PB/CS  Duration  Low    %Drop                 Rate  Change\n"
    "00:12:04  HYP-C             16       89.9    4.1     -     -      64.7   -5.7 \n"
)
EXPERT = "[vis1_Spindles/C3-A1]\n   12.5   0.75\n   60.25   1.0\n"


def write_edf(path, rates, start, patient=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    signals = [
        edfio.EdfSignal(
            rng.normal(0, 30, rate * SECONDS),
            rate,
            label=label,
            physical_dimension="%" if label.upper() in ("SPO2", "SAO2") else "uV",
            physical_range=(-500, 500),
        )
        for label, rate in rates.items()
    ]
    recording = edfio.Recording(startdate=start.date())
    edfio.Edf(signals, starttime=start.time(), recording=recording).write(path)
    if patient is not None:
        data = bytearray(path.read_bytes())
        data[8:88] = patient.ljust(80).encode()
        data[168:176] = start.strftime("%d.%m.%y").encode()
        path.write_bytes(data)


@pytest.fixture
def dublin(tmp_path):
    start = datetime(2002, 9, 3, 0, 11, 4)
    for name in ("ucddb002.edf", "ucddb002_lifecard.edf"):
        write_edf(tmp_path / name, DUBLIN, start)
    (tmp_path / "ucddb002.edf").rename(tmp_path / "ucddb002.rec")
    (tmp_path / "ucddb002_stage.txt").write_text("0\r\n1\r\n2\r\n5\r\n6\r\n7\r\n3\r\n")
    (tmp_path / "ucddb002_respevt.txt").write_text(EVENTS)
    (tmp_path / "SubjectDetails.csv").write_text(DETAILS)
    return tmp_path


def test_a_published_night_of_dublin_has_its_montage(dublin):
    (night,) = load_ucddb(dublin)
    own = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2")
    assert night.modalities == (*own, "ibi", "resp")
    assert night.derived == ("ibi", "resp")
    assert (night.rates["eeg"], night.rates["eog"], night.rates["effort"]) == (128, 64, 8)


def test_a_published_night_of_dublin_has_its_labels(dublin):
    (night,) = load_ucddb(dublin)
    assert night.stages.tolist() == [0, 4, 1, 3, -1, -1]
    assert night.start == datetime(2002, 9, 3, 0, 11, 4)
    assert night.events.values.tolist() == [[60.0, 16.0, "central_hypopnea"]]
    assert (night.id, night.subject) == ("ucddb002", "ucddb002")
    assert dict(night.metadata) == {
        "site": "ucddb", "age": 54, "sex": "M", "bmi": 33.9, "ahi": 23, "epworth": 16,
    }  # fmt: skip


def test_a_header_tells_the_start_where_there_is_no_table(dublin):
    (dublin / "SubjectDetails.csv").unlink()
    with pytest.warns(RecordingWarning, match="age, sex and the like are unknown"):
        (night,) = load_ucddb(dublin)
    assert night.events["onset"].tolist() == [60.0]


@pytest.mark.parametrize("text", [None, "wake\n"])
def test_stages_that_cannot_be_read_are_named(dublin, text):
    path = dublin / "ucddb002_stage.txt"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ReadError, match=r"ucddb002_stage\.txt cannot be read"):
        load_ucddb(dublin)


@pytest.fixture
def mons(tmp_path):
    patient = "DatabaseSpindles, excerpt3, man - 28/03/1957 - 2003-1085-508/1"
    write_edf(tmp_path / "excerpt3.edf", MONS, datetime(2003, 3, 27, 3, 27), patient)
    (tmp_path / "Hypnogram_excerpt3.txt").write_text("[Hypnogram]\n" + "2\n" * 30 + "4\n" * 6)
    (tmp_path / "excerpt3.txt").write_text("[C3-A1]\n" + "1.5\n" * 100)
    return tmp_path


def test_an_excerpt_is_read_from_its_edf_file_with_all_sensors(mons):
    (excerpt,) = load_dreams(mons)
    own = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2")
    assert excerpt.modalities == (*own, "ibi", "resp", "ppg")
    assert excerpt.derived == ("ibi", "resp")
    assert excerpt.stages.tolist() == [2] * 5 + [4]
    assert excerpt.events is None


def test_a_pulse_wave_that_is_too_slow_is_left_out(mons):
    write_edf(mons / "excerpt3.edf", {**MONS, "PULSE": 8}, datetime(2003, 3, 27, 3, 27))
    (excerpt,) = load_dreams(mons)
    assert "ppg" not in excerpt.modalities


@pytest.mark.parametrize(
    ("patient", "known"),
    [
        ("DatabaseSpindles, excerpt3, man - 28/03/1957 - 2003", {"sex": "M", "age": 45}),
        ("DatabaseSpindles, excerpt3, woman - 27/03/1957 - 2003", {"sex": "F", "age": 46}),
        ("DatabaseSpindles, excerpt3, woman", {"sex": "F"}),
        ("", {}),
    ],
)
def test_sex_and_age_are_all_that_is_kept_of_the_header(mons, patient, known):
    write_edf(mons / "excerpt3.edf", MONS, datetime(2003, 3, 27, 3, 27), patient)
    (excerpt,) = load_dreams(mons)
    assert dict(excerpt.metadata) == {"site": "dreams", **known}


def test_spindles_of_both_experts_are_events(mons):
    (mons / "Visual_scoring1_excerpt3.txt").write_text(EXPERT)
    (mons / "Visual_scoring2_excerpt3.txt").write_text("[vis2_Spindles/C3-A1]\n 12.25 1.5\n")
    (excerpt,) = load_dreams(mons)
    assert excerpt.events.values.tolist() == [
        [12.25, 1.5, "spindle_expert_2"],
        [12.5, 0.75, "spindle_expert_1"],
        [60.25, 1.0, "spindle_expert_1"],
    ]


def test_an_expert_who_found_nothing_is_not_an_expert_who_did_not_look(mons):
    (mons / "Visual_scoring1_excerpt3.txt").write_text("[vis1_Spindles/C3-A1]\n")
    (excerpt,) = load_dreams(mons)
    assert excerpt.events.empty
