# SPDX-License-Identifier: BSD-3-Clause
"""Labels and signals by their clocks, whatever their dates."""

import datetime
import logging
import pickle

import pandas as pd
import pytest

from sleep2vec_sklearn import read_recording
from sleep2vec_sklearn.errors import NoUsableChannelError, ReadError, RecordingWarning

START = datetime.datetime(1985, 1, 1, 22, 30)


def test_own_labels_share_the_clock(write_edf, stages_of):
    night = read_recording(write_edf(annotations=stages_of("W2RR"), start=START))
    assert night.stages.tolist() == [0, 2, 4, 4]
    assert not [note for note in night.notes if "clock" in note]


def test_clock_tables_follow_recording(write_edf):
    path = write_edf(start=START)
    path.with_name("night_hypnogram.csv").write_text("time,stage\n22:31:00,N2\n22:31:30,R\n")
    assert read_recording(path).stages.tolist() == [-1, -1, 2, 4]


def test_second_tables_need_no_clock(write_edf):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:88] + b" " * 96 + data[184:])
    path.with_name("night_hypnogram.csv").write_text("onset,stage\n0,W\n30,N2\n60,N2\n90,R\n")
    night = read_recording(path)
    assert (night.start, night.stages.tolist()) == (None, [0, 2, 2, 4])
    assert "the header states no valid start time" in night.notes


@pytest.mark.parametrize("hypnogram", [False, None])
def test_unlabelled_night_has_no_notes(write_edf, hypnogram):
    night = read_recording(write_edf(), hypnogram=hypnogram)
    assert (night.stages, night.events, night.lights, night.notes) == (None, None, None, ())


def test_events_without_any_stages(write_edf):
    night = read_recording(write_edf(annotations=[(3.0, 10.0, "Apnea"), (1.0, None, "Lights off")]))
    assert night.stages is None
    assert night.lights == (1.0, None)
    expected = pd.DataFrame(
        {"onset": [1.0, 3.0], "duration": [0.0, 10.0], "type": ["Lights off", "Apnea"]}
    )
    pd.testing.assert_frame_equal(night.events, expected, check_dtype=False)


@pytest.mark.parametrize(("n", "seconds"), [(3, 90), (3, 119)])
def test_unfinished_epoch_has_no_stage(write_edf, stages_of, n, seconds):
    night = read_recording(write_edf(annotations=stages_of("W2R4"), seconds=seconds))
    assert night.n_epochs == len(night.stages) == n
    assert night.duration == seconds


PATIENT = "mustermann"


def test_night_with_labels_and_header(write_edf, stages_of):
    path = write_edf(annotations=[*stages_of(["W", "1", "2", "R"]), (40.0, 10.0, "Apnea")])
    night = read_recording(path)
    assert night.id == night.subject == "night"
    assert night.modalities == ("eeg", "spo2")
    assert night.stages.tolist() == [0, 1, 2, 4]
    assert night.events["type"].tolist() == ["Apnea"]
    assert night.start == datetime.datetime(1985, 1, 1, 22, 30)
    assert dict(night.metadata) == {"sex": "F", "age": 33}
    assert night.rates == {"eeg": 128, "spo2": 1}


def test_arguments_take_precedence(write_edf):
    night = read_recording(write_edf(), id="a", subject=7, metadata={"age": 50, "site": "x"})
    assert (night.id, night.subject) == ("a", 7)
    assert dict(night.metadata) == {"sex": "F", "age": 50, "site": "x"}


def test_labels_are_trimmed(write_edf, stages_of):
    night = read_recording(
        write_edf(annotations=stages_of(["W"] * 4), seconds=120), hypnogram=False
    )
    assert night.stages is None
    path = write_edf("long-PSG.edf", seconds=90)
    write_edf("long-Hypnogram.edf", annotations=stages_of(["W", "2", "2", "R", "R"]), seconds=90)
    cut = "5 labels for 3 epochs of signal: 0 before and 2 after it were cut"
    with pytest.warns(RecordingWarning, match=cut):
        night = read_recording(path)
    assert night.stages.tolist() == [0, 2, 2]
    assert night.notes[-1].startswith(cut)


@pytest.mark.parametrize("content", ["nothing", "no stage"])
def test_next_label_file_is_used(write_edf, content):
    path = write_edf("night-PSG.edf", seconds=60)
    empty = write_edf("night-Hypnogram.edf", annotations=[(1.0, 2.0, "Apnea")], seconds=60)
    if content == "nothing":
        empty.write_bytes(b"")
    with pytest.raises(ReadError, match=r"night-Hypnogram\.edf"):
        read_recording(path)
    path.with_name("night_hypnogram.csv").write_text("onset,duration,stage\n0,30,W\n30,30,R\n")
    note = "labels are from night_hypnogram.csv, as night-Hypnogram.edf holds none that can be read"
    with pytest.warns(RecordingWarning, match=note):
        assert read_recording(path).stages.tolist() == [0, 4]
    with pytest.raises(ReadError, match=r"night-Hypnogram\.edf"):
        read_recording(path, hypnogram=empty)


def test_own_labels_are_last(write_edf, stages_of):
    path = write_edf("n.edf", annotations=stages_of(["W", "R"]), seconds=60)
    path.with_name("n.xml").write_text("<PatientStudy/>")
    with pytest.warns(RecordingWarning, match="from the recording itself, as n.xml holds none"):
        assert read_recording(path).stages.tolist() == [0, 4]


def test_unread_events_are_named(write_edf, stages_of):
    path = write_edf("n.edf", annotations=stages_of(["W", "R"]), seconds=60)
    path.with_name("n_events.csv").write_text("onset,duration,type\n5,12,Apnea\n")
    with pytest.warns(RecordingWarning, match="they hold no stages: n_events.csv"):
        assert read_recording(path).events is None


@pytest.mark.parametrize(
    ("seconds", "labels", "expected", "lights"),
    [(60, "2R", [-1, -1, 2, 4], 61.0), (-30, "2RRR", [4, 4, 4, -1], 0.0)],
)
def test_clocks_are_respected(write_edf, stages_of, seconds, labels, expected, lights):
    start = datetime.datetime(1985, 1, 1, 22, 30)
    marks = [*stages_of(labels), (35.0, 5.0, "Apnea"), (1.0, None, "Lights off")]
    later = start + datetime.timedelta(seconds=seconds)
    other = write_edf("scored.edf", annotations=marks, start=later)
    night = read_recording(write_edf(start=start), hypnogram=other)
    assert night.stages.tolist() == expected
    assert night.lights == (lights, None)
    assert night.events["onset"].max() == seconds + 35.0
    assert any(f"labels start {seconds:+g} s" in note for note in night.notes)


def test_on_error_warn_returns_none(tmp_path):
    path = tmp_path / "bad.edf"
    path.write_bytes(b"")
    with pytest.warns(RecordingWarning, match=r"bad\.edf: the file is empty"):
        assert read_recording(path, on_error="warn") is None
    with pytest.raises(ReadError):
        read_recording(path)
    with pytest.raises(ValueError, match="'raise', 'warn'"):
        read_recording(path, on_error="ignore")


def test_patient_name_never_leaks(write_edf, stages_of, caplog):
    caplog.set_level(logging.DEBUG)
    night = read_recording(write_edf(annotations=stages_of(["W", "2", "2", "R"])))
    night.read()
    texts = [repr(night), repr(night.metadata), *night.notes, str(night.id), str(night.subject)]
    texts += [caplog.text, repr(night._source), repr(vars(night)), night.fingerprint]
    for path in (write_edf("none.edf", {"HR": 1}), write_edf("slow.edf", {"EEG C4-M1": 1})):
        with pytest.raises(NoUsableChannelError) as caught:
            read_recording(path)
        texts.append(str(caught.value))
    assert not [text for text in texts if PATIENT in text.lower()]
    assert PATIENT.encode() not in pickle.dumps(night).lower()


def test_short_recording_is_named(write_edf):
    with pytest.raises(
        ValueError, match=r"\(night\): the night lasts 20 s, shorter than one epoch"
    ):
        read_recording(write_edf(seconds=20))


def test_file_precedes_own_labels(write_edf, stages_of):
    path = write_edf(annotations=stages_of("WWWW"))
    assert read_recording(path).stages.tolist() == [0, 0, 0, 0]
    path.with_name("night_hypnogram.csv").write_text("stage\nN2\nN2\nR\nR\n")
    night = read_recording(path)
    assert night.stages.tolist() == [2, 2, 4, 4]
    assert night.events is None


def test_broken_hypnogram_can_be_skipped(write_edf):
    path = write_edf()
    path.with_name("night-nsrr.xml").write_text("<PSGAnnotation>")
    with pytest.raises(ReadError, match=r"night-nsrr\.xml: not well-formed"):
        read_recording(path)
    assert read_recording(path, hypnogram=False).stages is None


def test_options_narrow_the_reading(write_edf):
    path = write_edf(channels={"C4": 128, "M1": 128, "F3-M2": 128, "ECG": 128})
    assert read_recording(path, modalities=["eeg"]).modalities == ("eeg",)
    both = read_recording(path, channels={"eeg": "F3-M2", "ecg": None})
    assert both.modalities == ("eeg",)
    assert both.fingerprint != read_recording(path, modalities=["eeg"]).fingerprint


def test_foreign_labels_leave_unscored(write_edf, stages_of):
    later = datetime.datetime(1985, 1, 2, 3, 0)
    other = write_edf("scored.edf", annotations=stages_of("22"), start=later)
    with pytest.warns(RecordingWarning, match="2 labels for 4 epochs of signal: 0 before and 2 "):
        night = read_recording(write_edf(), hypnogram=other)
    assert night.stages.tolist() == [-1] * 4
    assert "4 of 4 epochs are unscored, 0 of them movement" in night.notes
