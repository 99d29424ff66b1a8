# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import datetime
import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest

from sleep2vec_sklearn import describe_channels, read_recording
from sleep2vec_sklearn.errors import NoUsableChannelError, ReadError, RecordingWarning
from sleep2vec_sklearn.readers.recording import find_hypnograms, subject_of

PATIENT = "mustermann"


def test_a_night_is_read_with_its_labels_and_header(write_edf, stages_of):
    path = write_edf(annotations=[*stages_of(["W", "1", "2", "R"]), (40.0, 10.0, "Apnea")])
    night = read_recording(path)
    assert night.id == night.subject == "night"
    assert night.modalities == ("eeg", "spo2")
    assert night.stages.tolist() == [0, 1, 2, 4]
    assert night.events["type"].tolist() == ["Apnea"]
    assert night.start == datetime.datetime(1985, 1, 1, 22, 30)
    assert dict(night.metadata) == {"sex": "F", "age": 33}
    assert night.rates == {"eeg": 128, "spo2": 1}


def test_given_values_go_before_those_of_the_file(write_edf):
    night = read_recording(write_edf(), id="a", subject=7, metadata={"age": 50, "site": "x"})
    assert (night.id, night.subject) == ("a", 7)
    assert dict(night.metadata) == {"sex": "F", "age": 50, "site": "x"}


def test_labels_are_trimmed_to_the_signals_and_reported(write_edf, stages_of):
    night = read_recording(
        write_edf(annotations=stages_of(["W"] * 4), seconds=120), hypnogram=False
    )
    assert night.stages is None
    path = write_edf("long-PSG.edf", seconds=90)
    write_edf("long-Hypnogram.edf", annotations=stages_of(["W", "2", "2", "R", "R"]), seconds=90)
    night = read_recording(path)
    assert night.stages.tolist() == [0, 2, 2]
    assert "5 labels for 3 epochs of signal: 0 before and 2 after it were cut" in night.notes


def test_the_hypnogram_of_sleep_edf_is_found_by_its_name(write_edf, stages_of):
    path = write_edf("SC4001E0-PSG.edf", seconds=60)
    write_edf("SC4002EC-Hypnogram.edf", annotations=stages_of(["R", "R"]))
    write_edf("SC4001EC-Hypnogram.edf", annotations=stages_of(["W", "2"]))
    assert read_recording(path).stages.tolist() == [0, 2]


@pytest.mark.parametrize(
    "name", ["night-nsrr.xml", "night-profusion.xml", "night.csv", "night_hypnogram.csv"]
)
def test_hypnograms_beside_a_recording_are_found(write_edf, name):
    path = write_edf()
    path.with_name(name).write_text("onset,duration,stage\n")
    assert find_hypnograms(path) == [path.with_name(name)]


@pytest.mark.parametrize("content", ["nothing", "no stage"])
def test_labels_are_taken_from_the_next_file_where_the_first_has_none(write_edf, content):
    path = write_edf("night-PSG.edf", seconds=60)
    empty = write_edf("night-Hypnogram.edf", annotations=[(1.0, 2.0, "Apnea")], seconds=60)
    if content == "nothing":
        empty.write_bytes(b"")
    with pytest.raises(ReadError, match=r"night-Hypnogram\.edf"):
        read_recording(path)
    path.with_name("night_hypnogram.csv").write_text("onset,duration,stage\n0,30,W\n30,30,R\n")
    night = read_recording(path)
    assert night.stages.tolist() == [0, 4]
    told = "labels are from night_hypnogram.csv, as night-Hypnogram.edf holds none that can be read"
    assert told in night.notes
    with pytest.raises(ReadError, match=r"night-Hypnogram\.edf"):
        read_recording(path, hypnogram=empty)


def test_a_table_without_stages_is_no_hypnogram(write_edf):
    path = write_edf()
    path.with_suffix(".csv").write_text("age,bmi\n1,2\n")
    assert find_hypnograms(path) == []


@pytest.mark.parametrize(("seconds", "expected"), [(60, [-1, -1, 2, 4]), (-30, [4, -1, -1, -1])])
def test_clocks_of_labels_and_signals_are_honoured(write_edf, stages_of, seconds, expected):
    start = datetime.datetime(1985, 1, 1, 22, 30)
    path = write_edf(start=start)
    labels = [*stages_of(["2", "R"]), (5.0, 5.0, "Apnea"), (1.0, None, "Lights off")]
    later = start + datetime.timedelta(seconds=seconds)
    other = write_edf("scored.edf", annotations=labels, start=later)
    night = read_recording(path, hypnogram=other)
    assert night.stages.tolist() == expected
    assert night.lights == (seconds + 1.0, None)
    assert night.events["onset"].max() == seconds + 5.0
    assert any(f"labels start {seconds:+g} s" in note for note in night.notes)


def test_anonymised_dates_are_aligned_by_the_time_of_day(write_edf, stages_of):
    path = write_edf(start=datetime.datetime(1989, 4, 24, 23, 59, 30))
    moved = datetime.datetime(1985, 1, 1, 0, 0, 0)
    other = write_edf("scored.edf", annotations=stages_of(["2", "R"]), start=moved)
    night = read_recording(path, hypnogram=other)
    assert night.stages.tolist() == [-1, 2, 4, -1]
    assert any("dates of labels and signals differ" in note for note in night.notes)


def test_on_error_warn_returns_none_and_says_why(tmp_path):
    path = tmp_path / "bad.edf"
    path.write_bytes(b"")
    with pytest.warns(RecordingWarning, match=r"bad\.edf: the file is empty"):
        assert read_recording(path, on_error="warn") is None
    with pytest.raises(ReadError):
        read_recording(path)
    with pytest.raises(ValueError, match="'raise' or 'warn'"):
        read_recording(path, on_error="ignore")


def test_no_patient_name_leaks_anywhere(write_edf, stages_of, caplog):
    caplog.set_level(logging.DEBUG)
    night = read_recording(write_edf(annotations=stages_of(["W", "2", "2", "R"])))
    night.read()
    told = [repr(night), repr(night.metadata), *night.notes, str(night.id), str(night.subject)]
    told += [caplog.text, repr(night._source), repr(vars(night)), night.fingerprint]
    for path in (write_edf("none.edf", {"HR": 1}), write_edf("slow.edf", {"EEG C4-M1": 1})):
        with pytest.raises(NoUsableChannelError) as caught:
            read_recording(path)
        told.append(str(caught.value))
    assert not [text for text in told if PATIENT in text.lower()]
    assert PATIENT.encode() not in pickle.dumps(night).lower()


def test_describe_channels_says_used_or_why_not(write_edf):
    channels = {"C4": 128, "M1": 128, "EMG": 1, "HR": (1, "bpm"), "Körper".encode().hex(): 1}
    table = describe_channels(write_edf(channels=channels))
    assert list(table.columns) == ["label", "modality", "rate", "unit", "used", "why"]
    assert table["used"].tolist() == [True, True, False, False, False]
    assert table["why"][0] == "read as C4 - M1"
    assert table["why"][1] == "subtracted from C4 (eeg)"
    assert "1 Hz, emg needs at least 50 Hz" in table["why"][2]
    assert "not beat-to-beat" in repr(table)
    assert "..." not in repr(table)
    assert len({len(line) for line in repr(table).splitlines()}) == 1


def test_describe_channels_works_where_nothing_is_usable(write_edf):
    assert not describe_channels(write_edf(channels={"HR": 1, "xyzzy": 1}))["used"].any()


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("SC4001E0-PSG.edf", "SC400"),
        ("SC4002E0-PSG.edf", "SC400"),
        ("ST7011J0-PSG.edf", "ST701"),
        ("shhs1-200001.edf", "shhs-200001"),
        ("shhs2-200001.edf", "shhs-200001"),
        ("mros-visit2-aa0001.edf", "mros-aa0001"),
        ("patient 12.edf", "patient 12"),
    ],
)
def test_file_names_tell_whose_night_it_is(tmp_path, name, subject):
    assert subject_of(tmp_path / name) == subject


def test_a_recording_shorter_than_an_epoch_is_named(write_edf):
    with pytest.raises(
        ValueError, match=r"\(night\): the night lasts 20 s, shorter than one epoch"
    ):
        read_recording(write_edf(seconds=20))


def test_readers_import_neither_torch_nor_sklearn_nor_mne():
    code = (
        "import sys, sleep2vec_sklearn.readers;"
        "print([m for m in ('torch', 'sklearn', 'mne', 'matplotlib') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_reading_again_gives_the_same_samples(write_edf):
    night = read_recording(write_edf())
    np.testing.assert_array_equal(night["eeg"], night["eeg"])


def test_labels_in_the_recording_give_way_to_a_file_beside_it(write_edf, stages_of):
    path = write_edf(annotations=stages_of("WWWW"))
    assert read_recording(path).stages.tolist() == [0, 0, 0, 0]
    path.with_name("night_hypnogram.csv").write_text("stage\nN2\nN2\nR\nR\n")
    night = read_recording(path)
    assert night.stages.tolist() == [2, 2, 4, 4]
    assert night.events is None


def test_a_broken_hypnogram_is_an_error_that_can_be_turned_off(write_edf):
    path = write_edf()
    path.with_name("night-nsrr.xml").write_text("<PSGAnnotation>")
    with pytest.raises(ReadError, match=r"night-nsrr\.xml: not well-formed"):
        read_recording(path)
    assert read_recording(path, hypnogram=False).stages is None


def test_modalities_and_channels_narrow_what_is_read(write_edf):
    path = write_edf(channels={"C4": 128, "M1": 128, "F3-M2": 128, "ECG": 128})
    assert read_recording(path, modalities=["eeg"]).modalities == ("eeg",)
    both = read_recording(path, channels={"eeg": "F3-M2", "ecg": None})
    assert both.modalities == ("eeg",)
    assert both.fingerprint != read_recording(path, modalities=["eeg"]).fingerprint


def test_a_night_without_a_modality_keeps_its_epochs(write_edf):
    night = read_recording(write_edf())
    assert night.without("eeg").n_epochs == night.n_epochs == 4


def test_labels_that_miss_the_signals_wholly_leave_all_unscored(write_edf, stages_of):
    later = datetime.datetime(1985, 1, 2, 3, 0)
    other = write_edf("scored.edf", annotations=stages_of("22"), start=later)
    night = read_recording(write_edf(), hypnogram=other)
    assert night.stages.tolist() == [-1] * 4
    assert "4 of 4 epochs are unscored, 0 of them movement" in night.notes
