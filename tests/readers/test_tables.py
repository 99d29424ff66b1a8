# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms as text: columns by name, codes by what occurs, times of day."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.readers import read_scoring

START = datetime.datetime(2001, 2, 3, 22, 30, 0)


@pytest.fixture
def read(tmp_path):
    """Function of text: list of (onset, duration, stage) of the table."""

    def _read(text, name="a.csv", start=None):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return rows_of(read_scoring(path, start=start))

    return _read


def rows_of(scoring):
    columns = scoring.onsets, scoring.durations, scoring.stages
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("onset", ["onset", "Start", "Start time", "BEGIN", "time (s)", "Seconds"])
@pytest.mark.parametrize("stage", ["stage", "Sleep_Stage", "label", "Hypnogram", "Description"])
@pytest.mark.parametrize("duration", ["duration", "Dur", "length [s]", "Duration in sec"])
def test_columns_are_known_by_many_names(read, onset, stage, duration):
    text = f"{onset},{duration},{stage}\n10,20,N2\n30,60,R\n"
    assert read(text) == [(10, 20, 2), (30, 60, 4)]


def test_columns_may_come_in_any_order_among_others(read):
    text = "scorer,stage,position,duration,onset\nab,N3,supine,30,90\nab,W,left,60,120\n"
    assert read(text) == [(90, 30, 3), (120, 60, 0)]


def test_the_better_name_of_two_is_the_stage(read):
    assert read("onset,event,stage\n0,R,N2\n30,R,W\n") == [(0, 30, 2), (30, 30, 0)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_do_not_matter(read, delimiter, ending):
    lines = [("onset", "duration", "stage"), ("0", "30", "W"), ("30", "30", "N2")]
    text = ending.join(delimiter.join(line) for line in lines)
    assert read(text) == [(0, 30, 0), (30, 30, 2)]


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"# by hand\n% twice\n\n\n"])
def test_marks_comments_and_empty_lines_are_passed_over(read, before):
    assert read(before + b"onset,stage\n0,W\n\n30,N1\n\n") == [(0, 30, 0), (30, 30, 1)]


def test_decimal_commas_are_understood(read):
    assert read("onset;duration;stage\n0,5;29,5;W\n30,0;30,0;N2\n")[0] == (0.5, 29.5, 0)


def test_an_end_gives_the_duration(read):
    assert read("start,stop,stage\n10,25,W\n25,100,N2\n") == [(10, 15, 0), (25, 75, 2)]


def test_a_duration_goes_before_an_end(read):
    assert read("start,stop,duration,stage\n10,99,15,W\n") == [(10, 15, 0)]


def test_an_empty_duration_lasts_until_the_next_and_the_last_an_epoch(read):
    text = "onset,duration,stage\n0,,W\n90,,N2\n150,,R\n"
    assert read(text) == [(0, 90, 0), (90, 60, 2), (150, 30, 4)]


def test_an_end_as_a_time_of_day_is_left_to_the_next_onset(read):
    text = "time,end,stage\n22:30:00,22:31:00,W\n22:31:00,22:31:30,N2\n"
    assert read(text, start=START) == [(0, 60, 0), (60, 30, 2)]


def test_three_bare_columns_are_onset_duration_stage_and_two_are_onset_stage(read):
    assert read("0,60,W\n60,30,N2\n") == [(0, 60, 0), (60, 30, 2)]
    assert read("0,W\n60,N2\n") == [(0, 60, 0), (60, 30, 2)]
    assert read("0 60 W\n60 30 N2\n", "a.txt") == [(0, 60, 0), (60, 30, 2)]
    assert read("onset duration stage\n0 60 W\n60 30 N2\n", "a.txt") == [(0, 60, 0), (60, 30, 2)]


def test_one_bare_column_is_a_label_per_epoch(read):
    assert read("W\n\nN2\nREM sleep\n", "a.txt") == [(0, 30, 0), (30, 30, 2), (60, 30, 4)]


def test_a_label_per_epoch_is_counted_in_rows_not_by_the_epochs_number(read):
    assert read("epoch,stage\n11,W\n12,N2\n") == [(0, 30, 0), (30, 30, 2)]


@pytest.mark.parametrize(
    ("codes", "stages"),
    [
        ("0 1 2 3", [0, 1, 2, 3]),
        ("0 1 2 3 4", [0, 1, 2, 3, 4]),
        ("0 1 2 3 4 5", [0, 1, 2, 3, 3, 4]),
        ("0 2 5 6", [0, 2, 4, -1]),
        ("0.0 2.0 4.0", [0, 2, 4]),
        ("-1 0 2", [-1, 0, 2]),
        ("0 2 7 9", [0, 2, -1, -1]),
        ("0 ? nan NA 4", [0, -1, -1, -1, 4]),
        ("W 4 R", [0, 3, 4]),
        ("0 1 2 3 4 W", [-1, 1, 2, 3, 3, 0]),
    ],
)
def test_integers_are_read_by_what_else_occurs(read, codes, stages):
    text = "stage\n" + codes.replace(" ", "\n")
    if codes.endswith("W"):
        with pytest.raises(ReadError, match="line 2: '0' is not a sleep stage"):
            read(text)
    else:
        assert [stage for _, _, stage in read(text)] == stages


@pytest.mark.parametrize(
    ("codes", "told"),
    [("0 2 4", "4 is taken as R, as no 5 occurs"), ("0 4 5", "4 is taken as N3, as 5 occurs"),
     ("0 2 3", None), ("0 2 5", None)],
)  # fmt: skip
def test_what_a_four_was_taken_for_is_said(tmp_path, codes, told):
    path = tmp_path / "a.txt"
    path.write_text(codes.replace(" ", "\n"))
    assert read_scoring(path).notes == (() if told is None else (f"stages are integers; {told}",))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.integers(0, 82_700))
def test_a_time_of_day_is_the_next_one_after_the_start(read, seconds):
    clock = (START + datetime.timedelta(seconds=seconds)).strftime("%H:%M:%S")
    assert read(f"time,stage\n{clock},N2\n", start=START)[0][0] == seconds


@pytest.mark.parametrize(
    ("clock", "onset"),
    [("22:29:59", -1), ("21:30:01", -3599), ("21:29:59", 82_799), ("22:30:00.5", 0.5),
     ("2001-02-03 22:31:00", 60), ("2001-02-04T00:00:00", 5400), ("9:30:00", 39_600)],
)  # fmt: skip
def test_times_up_to_an_hour_before_the_start_are_before_it(read, clock, onset):
    assert read(f"time,stage\n{clock},N2\n", start=START)[0][0] == pytest.approx(onset)


def test_a_start_within_a_second_is_honoured(read):
    start = START.replace(microsecond=250_000)
    assert read("time,stage\n22:30:30,N2\n", start=start)[0][0] == pytest.approx(29.75)


def test_times_that_run_backwards_give_no_negative_duration(read):
    assert [d for _, d, _ in read("onset,stage\n60,W\n0,N2\n")] == [30, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("onset,duration,stage\n0,30,W\nx,30,N2\n", "line 3: 'x' is not a time; accepted are sec"),
        ("onset,duration,stage\n0,long,W\n", "line 2: 'long' is not a time"),
        ("# note\nstage\nW\nN9\n", "line 4: 'N9' is not a sleep stage; accepted are W, N1"),
        (
            "onset,score_of\n0,W\n",
            "no column holds the stage; accepted names are stage, sleepstage",
        ),
        ("PK\x00\x03", "not a text file. Accepted are CSV, TSV and plain text"),
        ("\n \n# only a comment\n", "the file is empty. Pass hypnogram=False"),
    ],
)
def test_a_table_that_is_not_understood_names_the_line(read, text, words):
    with pytest.raises(ReadError) as caught:
        read(text)
    assert "a.csv" in str(caught.value)
    assert words in str(caught.value)
