# SPDX-License-Identifier: BSD-3-Clause
"""Labels and signals by their clocks, whatever their dates."""

from __future__ import annotations

import datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import read_recording
from sleep2vec_sklearn.readers._scoring import ScoringBuilder
from sleep2vec_sklearn.readers.recording import _clock_shift, _shift_events

START = datetime.datetime(1985, 1, 1, 22, 30)
moments = st.datetimes(datetime.datetime(1985, 1, 1), datetime.datetime(2084, 12, 31))


def seconds(**kwargs):
    return datetime.timedelta(**kwargs)


@given(moments, st.integers(-43_200, 43_200))
def test_up_to_half_a_day_is_taken_as_it_is(start, shift):
    found, notes = _clock_shift(start + seconds(seconds=shift), start)
    assert found == shift
    told = (f"labels start {shift:+g} s from the signals by the clock; moved there",)
    assert notes == (told if shift else ())


@given(moments, st.integers(-21_000, 21_000), st.integers(1, 3000) | st.integers(-3000, -1))
def test_dates_that_were_changed_are_forgiven(start, shift, days):
    found, notes = _clock_shift(start + seconds(days=days, seconds=shift), start)
    assert found == shift
    assert notes[0] == "the dates of labels and signals differ; aligned by the time of day"


@pytest.mark.parametrize(("labels", "signals"), [(None, START), (START, None), (None, None)])
def test_without_two_clocks_nothing_is_moved(labels, signals):
    assert _clock_shift(labels, signals) == (0.0, ())


def test_events_and_lights_move_with_the_stages():
    build = ScoringBuilder()
    build.add_event(5.0, 2.0, "Lights off")
    scoring = build.build()
    events, lights = _shift_events(scoring, -3.0)
    assert events["onset"].tolist() == [2.0]
    assert lights == (2.0, None)
    assert scoring.events["onset"].tolist() == [5.0]
    assert _shift_events(scoring, 0.0)[0] is scoring.events


def test_labels_inside_a_recording_share_its_clock(write_edf, stages_of):
    night = read_recording(write_edf(annotations=stages_of("W2RR"), start=START))
    assert night.stages.tolist() == [0, 2, 4, 4]
    assert not [note for note in night.notes if "clock" in note]


def test_a_table_with_times_of_day_is_read_by_the_recordings_clock(write_edf):
    path = write_edf(start=START)
    path.with_name("night_hypnogram.csv").write_text("time,stage\n22:31:00,N2\n22:31:30,R\n")
    assert read_recording(path).stages.tolist() == [-1, -1, 2, 4]


def test_a_table_with_seconds_needs_no_clock(write_edf):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:88] + b" " * 96 + data[184:])
    path.with_name("night_hypnogram.csv").write_text("onset,stage\n0,W\n30,N2\n60,N2\n90,R\n")
    night = read_recording(path)
    assert (night.start, night.stages.tolist()) == (None, [0, 2, 2, 4])
    assert "the header states no valid start time" in night.notes


@pytest.mark.parametrize("hypnogram", [False, None])
def test_a_night_without_labels_says_nothing_of_them(write_edf, hypnogram):
    night = read_recording(write_edf(), hypnogram=hypnogram)
    assert (night.stages, night.events, night.lights, night.notes) == (None, None, None, ())


def test_events_alone_give_events_and_no_stages(write_edf):
    night = read_recording(write_edf(annotations=[(3.0, 10.0, "Apnea"), (1.0, None, "Lights off")]))
    assert night.stages is None
    assert night.lights == (1.0, None)
    expected = pd.DataFrame(
        {"onset": [1.0, 3.0], "duration": [0.0, 10.0], "type": ["Lights off", "Apnea"]}
    )
    pd.testing.assert_frame_equal(night.events, expected, check_dtype=False)


@pytest.mark.parametrize(("n", "seconds"), [(2, 60), (2, 89), (3, 90), (3, 119)])
def test_an_unfinished_epoch_at_the_end_has_no_stage(write_edf, stages_of, n, seconds):
    night = read_recording(write_edf(annotations=stages_of("W2R4"[:4]), seconds=seconds))
    assert night.n_epochs == len(night.stages) == n
    assert night.duration == seconds
