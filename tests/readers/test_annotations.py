# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.readers import read_scoring
from sleep2vec_sklearn.readers._scoring import ScoringBuilder, parse_stage

W, N1, N2, N3, R, X = 0, 1, 2, 3, 4, -1

NSRR = """<?xml version="1.0"?><PSGAnnotation><EpochLength>30</EpochLength><ScoredEvents>
<ScoredEvent><EventType/><EventConcept>Recording Start Time</EventConcept><Start>0</Start>
<Duration>180</Duration><ClockTime>01.01.85 22.30.00</ClockTime></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Wake|0</EventConcept>
<Start>0.0</Start><Duration>60.0</Duration></ScoredEvent>
<ScoredEvent><EventType>Respiratory|Respiratory</EventType>
<EventConcept>Obstructive apnea|Obstructive Apnea</EventConcept>
<Start>70.5</Start><Duration>14.2</Duration></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Stage 2 sleep|2</EventConcept>
<Start>60.0</Start><Duration>30.0</Duration></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Stage 4 sleep|4</EventConcept>
<Start>90.0</Start><Duration>30.0</Duration></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>REM sleep|5</EventConcept>
<Start>120.0</Start><Duration>30.0</Duration></ScoredEvent>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Unscored|9</EventConcept>
<Start>150.0</Start><Duration>30.0</Duration></ScoredEvent>
</ScoredEvents></PSGAnnotation>"""

PROFUSION = """<?xml version="1.0"?><CMPStudyConfig><EpochLength>30</EpochLength><ScoredEvents>
<ScoredEvent><Name>Hypopnea</Name><Start>40</Start><Duration>12</Duration></ScoredEvent>
</ScoredEvents><SleepStages><SleepStage>0</SleepStage><SleepStage>1</SleepStage>
<SleepStage>2</SleepStage><SleepStage>3</SleepStage><SleepStage>4</SleepStage>
<SleepStage>5</SleepStage><SleepStage>6</SleepStage><SleepStage>9</SleepStage></SleepStages>
</CMPStudyConfig>"""


def stages(path, n=None, shift=0.0, **kwargs):
    scoring = read_scoring(path, **kwargs)
    n = round(float((scoring.onsets + scoring.durations).max()) / 30) if n is None else n
    return scoring.to_epochs(n, shift)[0].tolist()


@pytest.fixture
def write(tmp_path):
    def _write(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("Sleep stage W", W),
        ("Sleep stage 4", N3),
        ("Sleep stage N1", N1),
        ("SLEEP STAGE R", R),
        ("Stage 3 sleep|3", N3),
        ("Wake|0", W),
        ("REM sleep|5", R),
        ("Schlafstadium N2", N2),
        ("Stade 2", N2),
        ("Stage: N2", N2),
        ("NREM 3", N3),
        ("wach", W),
        ("Sleep stage ?", X),
        ("Unscored|9", X),
        ("Movement time", "movement"),
        ("Obstructive apnea", None),
        ("Lights off", None),
    ],
)
def test_stage_names_are_understood(text, stage):
    assert parse_stage(text) == stage


@pytest.mark.parametrize("text", ["1", "M", "A", "L", "wach auf", "2 Hz"])
def test_a_lone_letter_among_other_annotations_is_no_stage(text):
    assert parse_stage(text, bare=False) is None


def test_edf_annotations_give_stages_and_events(write_edf, stages_of):
    labels = [*stages_of(["W", "1", "2", "3", "4", "R", "?"]), (210.0, 30.0, "Movement time")]
    path = write_edf("h-Hypnogram.edf", annotations=[*labels, (65.0, 12.0, "Hypopnea")])
    assert stages(path) == [W, N1, N2, N3, N3, R, X, X]
    events = read_scoring(path).events
    assert events.to_numpy().tolist() == [[65.0, 12.0, "Hypopnea"]]


def test_lights_are_told_from_other_events(write_edf, stages_of):
    extra = [(15.0, None, "Lights Off"), (100.0, None, "Lights On"), (20.0, None, "Apnea")]
    scoring = read_scoring(write_edf(annotations=[*stages_of("WW2"), *extra]))
    assert scoring.lights == (15.0, 100.0)


@pytest.mark.parametrize(
    ("off", "on"),
    [("Licht aus", "Licht an"), ("lumières éteintes", "Lumières allumées"),
     ("luces apagadas", "Luces encendidas"), ("lights-out", "LIGHTS ON (tech)")],
)  # fmt: skip
def test_lights_are_told_in_other_languages(off, on):
    build = ScoringBuilder()
    for onset, text in enumerate((off, on, "highlights on screen")):
        build.add_event(float(onset), 0.0, text)
    assert build.build().lights == (0.0, 1.0)


def test_a_stray_quote_in_a_table_costs_no_other_line(write):
    lines = ["onset,duration,stage", "0,30,W", '30,30,"arousal, loud', "30,30,N2", "60,30,N3"]
    assert stages(write("a.csv", "\n".join(lines)), 3) == [W, N2, N3]


def test_annotations_without_a_duration_last_until_the_next(write_edf):
    marks = [(0.0, None, "Sleep stage W"), (90.0, None, "Sleep stage N2")]
    assert stages(write_edf(annotations=marks)) == [W, W, W, N2]


def test_nsrr_xml_gives_stages_events_and_the_clock(write):
    path = write("night-nsrr.xml", NSRR)
    assert stages(path) == [W, W, N2, N3, R, X]
    scoring = read_scoring(path)
    assert scoring.start == datetime.datetime(1985, 1, 1, 22, 30)
    assert scoring.events.to_numpy().tolist() == [[70.5, 14.2, "Obstructive apnea"]]


def test_profusion_xml_gives_stages_and_events(write):
    path = write("night-profusion.xml", PROFUSION)
    assert stages(path) == [W, N1, N2, N3, N3, R, X, X]
    assert read_scoring(path).events["type"].tolist() == ["Hypopnea"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "onset,duration,stage\n0,30,W\n30,60,N2\n90,30,REM\n"),
        ("b.csv", "Start (s);Duration [s];Sleep stage\n0;30;Wake\n30;60;S2\n90;30;R\n"),
        ("c.tsv", "onset\tend\tlabel\n0\t30\t0\n30\t90\t2\n90\t120\t4\n"),
        ("d.csv", "epoch,stage\n1,0\n2,2\n3,2\n4,4\n"),
        ("e.txt", "W\nN2\nN2\nREM\n"),
        ("f.csv", "stage\nW\n2\nS2\nR\n"),
        ("g.csv", "0,30,W\n30,60,N2\n90,30,R\n"),
        ("h.csv", "onset,stage\n0,W\n30,N2\n60,N2\n90,R\n"),
        ("i.txt", "# exported\n0\n2\n2\n5\n"),
        ("j.eannot", "wake\nN2\nN2\nREM\n"),
        ("k.csv", "time,stage\n22:30:00,W\n22:30:30,N2\n22:31:00,N2\n22:31:30,R\n"),
    ],
)
def test_tables_of_many_shapes_are_understood(write, name, text):
    start = datetime.datetime(1985, 1, 1, 22, 30)
    assert stages(write(name, text), start=start) == [W, N2, N2, R]


def test_integers_are_read_as_nsrr_codes_where_a_five_occurs(write):
    assert stages(write("a.txt", "0\n3\n4\n5\n")) == [W, N3, N3, R]
    assert stages(write("b.txt", "0\n3\n4\n")) == [W, N3, R]
    assert "4 is taken as R" in read_scoring(write("c.txt", "0\n4\n")).notes[0]


def test_clock_times_past_midnight_follow_the_start(write):
    start = datetime.datetime(1985, 1, 1, 23, 59, 30)
    path = write("a.csv", "time,stage\n23:59:30,W\n00:00:00,N2\n")
    assert stages(path, start=start) == [W, N2]


def test_events_of_a_table_are_kept_apart(write):
    path = write("a.csv", "onset,duration,event\n0,60,N2\n20,11,Hypopnea\n")
    assert read_scoring(path).events["type"].tolist() == ["Hypopnea"]


def test_labels_beyond_the_signals_are_cut_and_counted(write):
    labels, notes = read_scoring(write("a.txt", "W\n" * 8)).to_epochs(5)
    assert len(labels) == 5
    assert notes == ("8 labels for 5 epochs of signal: 0 before and 3 after it were cut",)


def test_epochs_without_a_label_are_unscored_and_counted(write):
    labels, notes = read_scoring(write("a.csv", "W\nmovement\n?")).to_epochs(5)
    assert labels.tolist() == [W, X, X, X, X]
    assert notes[-1] == "4 of 5 epochs are unscored, 1 of them movement"


@pytest.mark.parametrize(("shift", "expected"), [(-14.0, [W, N2, R]), (-16.0, [N2, R, X])])
def test_an_epoch_off_the_grid_has_the_stage_that_covers_most_of_it(write, shift, expected):
    scoring = read_scoring(write("a.txt", "W\nN2\nR\n"))
    labels, notes = scoring.to_epochs(3, shift)
    assert labels.tolist() == expected
    assert "s off the epochs of the signals" in notes[-1]


def test_labels_before_the_signals_are_cut(write):
    labels, notes = read_scoring(write("a.txt", "W\nW\nN2\nR\n")).to_epochs(2, -60.0)
    assert labels.tolist() == [N2, R]
    assert "2 before and 0 after" in notes[0]


def test_labels_longer_than_an_epoch_fill_all_of_theirs(write):
    labels, _ = read_scoring(write("a.csv", "onset,duration,stage\n0,3600,N2\n")).to_epochs(120)
    assert np.all(labels == N2)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "W\nbanana\n", "line 2: 'banana' is not a sleep stage"),
        ("a.txt", "[Hypnogram]\n3\n3\n", "line 1"),
        ("a.csv", "", "empty"),
        ("a.csv", "onset,duration\n0,30\n", "no column holds the stage"),
        ("a.csv", "onset,duration,stage\nsoon,30,W\n", "line 2: 'soon' is not a time"),
        ("a.csv", "onset,duration,stage\n0,9,Hypopnea\n", "holds no sleep stage"),
        ("a.csv", "time,stage\n22:30:00,W\n", "states no start"),
        ("a.xml", "<PSGAnnotation><ScoredEvents>", "not well-formed XML"),
        ("a.xml", "<html><body/></html>", "root <html>"),
    ],
)
def test_hypnograms_that_cannot_be_read_say_where_and_why(write, name, text, words):
    with pytest.raises(ReadError) as caught:
        read_scoring(write(name, text))
    assert name in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_hypnogram_says_how_to_go_without(tmp_path):
    with pytest.raises(ReadError, match="hypnogram=False"):
        read_scoring(tmp_path / "none.csv")


@given(
    labels=st.lists(st.sampled_from([X, W, N1, N2, N3, R]), min_size=1, max_size=30),
    shift=st.floats(-14.9, 14.9),
)
def test_labels_on_a_shifted_grid_keep_their_order(labels, shift):
    build = ScoringBuilder()
    for i, label in enumerate(labels):
        build.add_stage(30.0 * i, 30.0, label)
    found, _ = build.build().to_epochs(len(labels), shift)
    assert found.tolist() == labels


@given(st.text(max_size=40))
def test_any_text_is_a_stage_or_none(text):
    assert parse_stage(text) in (None, "movement", *range(-1, 5))
