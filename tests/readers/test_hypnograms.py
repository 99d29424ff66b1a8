# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms from EDF+ annotations, text tables and XML."""

import datetime

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from sleep2vec_sklearn.readers import read_scoring


def stages(path, n_epochs):
    return read_scoring(path).to_epochs(n_epochs)[0].tolist()


@pytest.fixture
def write(tmp_path):
    def _write(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def test_edf_annotations_are_read(write_edf, stages_of):
    labels = [*stages_of(["W", "1", "2", "3", "4", "R", "?"]), (210.0, 30.0, "Movement time")]
    path = write_edf("h-Hypnogram.edf", annotations=[*labels, (65.0, 12.0, "Hypopnea")])
    assert stages(path, 8) == [0, 1, 2, 3, 3, 4, -1, -1]
    events = read_scoring(path).events
    assert events.to_numpy().tolist() == [[65.0, 12.0, "Hypopnea"]]


def test_stray_quote_costs_one_line(write):
    lines = ["onset,duration,stage", "0,30,W", '30,30,"arousal, loud', "30,30,N2", "60,30,N3"]
    with pytest.warns(RecordingWarning, match=r"1 labels are no stage .*'arousal, loud' \(1\)"):
        assert stages(write("a.csv", "\n".join(lines)), 3) == [0, 2, 3]


def test_missing_durations_last_until_next(write_edf):
    marks = [(0.0, None, "Sleep stage W"), (90.0, None, "Sleep stage N2")]
    assert stages(write_edf(annotations=marks), 4) == [0, 0, 0, 2]


def test_table_events_are_separate(write):
    path = write("a.csv", "onset,duration,event\n0,60,N2\n20,11,Hypopnea\n")
    assert read_scoring(path).events["type"].tolist() == ["Hypopnea"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("a.txt", "[Hypnogram]\n3\n3\n", "line 1"),
     ("a.csv", "onset,duration,stage\n0,9,Hypopnea\n", "holds no sleep stage"),
     ("a.csv", "time,stage\n22:30:00,W\n", "states no start"),
     ("a.xml", "<html><body/></html>", "root <html>")],
)  # fmt: skip
def test_unreadable_hypnograms_say_why(write, name, text, words):
    with pytest.raises(ReadError) as caught:
        read_scoring(write(name, text))
    assert name in str(caught.value)
    assert words in str(caught.value)


def test_missing_hypnogram_raises_error(tmp_path):
    with pytest.raises(ReadError, match="hypnogram=False"):
        read_scoring(tmp_path / "none.csv")


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
def test_column_names_are_known(read, onset, stage, duration):
    text = f"{onset},{duration},{stage}\n10,20,N2\n30,60,R\n"
    assert read(text) == [(10, 20, 2), (30, 60, 4)]


def test_column_order_is_free(read):
    text = "scorer,stage,position,duration,onset\nab,N3,supine,30,90\nab,W,left,60,120\n"
    assert read(text) == [(90, 30, 3), (120, 60, 0)]


def test_better_column_name_wins(read):
    assert read("onset,event,stage\n0,R,N2\n30,R,W\n") == [(0, 30, 2), (30, 30, 0)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(read, delimiter, ending):
    lines = [("onset", "duration", "stage"), ("0", "30", "W"), ("30", "30", "N2")]
    text = ending.join(delimiter.join(line) for line in lines)
    assert read(text) == [(0, 30, 0), (30, 30, 2)]


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"# by hand\n% twice\n\n\n"])
def test_comments_are_skipped(read, before):
    assert read(before + b"onset,stage\n0,W\n\n30,N1\n\n") == [(0, 30, 0), (30, 30, 1)]


def test_decimal_commas_are_understood(read):
    assert read("onset;duration;stage\n0,5;29,5;W\n30,0;30,0;N2\n")[0] == (0.5, 29.5, 0)


def test_end_gives_the_duration(read):
    assert read("start,stop,stage\n10,25,W\n25,100,N2\n") == [(10, 15, 0), (25, 75, 2)]


def test_duration_precedes_end(read):
    assert read("start,stop,duration,stage\n10,99,15,W\n") == [(10, 15, 0)]


def test_empty_duration_until_next(read):
    text = "onset,duration,stage\n0,,W\n90,,N2\n150,,R\n"
    assert read(text) == [(0, 90, 0), (90, 60, 2), (150, 30, 4)]


def test_clock_end_is_ignored(read):
    text = "time,end,stage\n22:30:00,22:31:00,W\n22:31:00,22:31:30,N2\n"
    assert read(text, start=START) == [(0, 60, 0), (60, 30, 2)]


def test_bare_columns_are_understood(read):
    assert read("0,60,W\n60,30,N2\n") == [(0, 60, 0), (60, 30, 2)]
    assert read("0,W\n60,N2\n") == [(0, 60, 0), (60, 30, 2)]
    assert read("0 60 W\n60 30 N2\n", "a.txt") == [(0, 60, 0), (60, 30, 2)]
    assert read("onset duration stage\n0 60 W\n60 30 N2\n", "a.txt") == [(0, 60, 0), (60, 30, 2)]


def test_one_label_per_epoch(read):
    assert read("W\n\nN2\nREM sleep\n", "a.txt") == [(0, 30, 0), (30, 30, 2), (60, 30, 4)]


@pytest.mark.parametrize(
    ("numbers", "onsets"),
    [("0 1 2", [0, 30, 60]), ("1 2 3", [0, 30, 60]), ("1 6 7", [0, 150, 180]),
     ("11 12 13", [300, 330, 360]), ("3 2 1", [0, 30, 60])],
)  # fmt: skip
@pytest.mark.parametrize("name", ["epoch", "Epoch Number", ""])
def test_epoch_numbers_are_used(read, numbers, onsets, name):
    rows = "".join(f"{number},N2\n" for number in numbers.split())
    assert [row[0] for row in read(f"{name},stage\n{rows}")] == onsets


@pytest.mark.parametrize(
    ("codes", "stages"),
    [("0 1 2 3", [0, 1, 2, 3]), ("0 1 2 3 4", [0, 1, 2, 3, 4]),
     ("0 1 2 3 4 5", [0, 1, 2, 3, 3, 4]), ("0 2 5 6", [0, 2, 4, -1]), ("0.0 2.0 4.0", [0, 2, 4]),
     ("-1 0 2", [-1, 0, 2]), ("0 2 7 9", [0, 2, -1, -1]), ("0 ? nan NA 4", [0, -1, -1, -1, 4]),
     ("W 4 R", [0, 3, 4]), ("0 1 2 3 4 W", [0, 1, 2, 3, 3, 0]),
     ("0 1 3 4 3 4 2 5", [0, 1, 3, 3, 3, 3, 2, 4]),
     ("5 0 2 4 2 4 1 4 0 5", [-1, 0, 2, 4, 2, 4, 1, 4, 0, -1])],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*which is ambiguous")
def test_integer_codes_by_context(read, codes, stages):
    assert [stage for _, _, stage in read("stage\n" + codes.replace(" ", "\n"))] == stages


@pytest.mark.parametrize(
    ("codes", "note", "clear"),
    [("0 2 4", "4 is taken as R", True), ("0 2 5", "5 is taken as R", True),
     ("0 2 3 4 2 5", "4 is taken as N3 and 5 is taken as R", True),
     ("5 0 1 2 3 3 4 4 5", "4 is taken as N3 and 5 is taken as R", False),
     ("0 2 3 4 3 4 2", "4 is taken as R", False),
     ("0 2 4 2 4 5 2 4 0", "4 is taken as R and 5 is taken as unscored", False)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*which is ambiguous")
def test_ambiguous_codes_are_told(tmp_path, codes, note, clear):
    path = tmp_path / "a.txt"
    path.write_text(codes.replace(" ", "\n"))
    notes = read_scoring(path).notes
    assert notes[0] == f"stages are integers; {note}"
    assert [getattr(note, "kind", None) is not None for note in notes[1:]] == [True] * (not clear)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.integers(0, 82_700))
def test_clock_after_the_start(read, seconds):
    clock = (START + datetime.timedelta(seconds=seconds)).strftime("%H:%M:%S")
    assume(not clock.startswith("00:00"))
    assert read(f"time,stage\n{clock},N2\n", start=START)[0][0] == seconds


@pytest.mark.parametrize(
    ("clock", "onset"),
    [("22:29:59", -1), ("21:30:01", -3599), ("21:29:59", 82_799), ("22:30:00.5", 0.5),
     ("2001-02-03 22:31:00", 60), ("2001-02-04T00:00:00", 5400), ("9:30:00", 39_600)],
)  # fmt: skip
def test_clock_before_the_start(read, clock, onset):
    assert read(f"time,stage\n{clock},N2\n", start=START)[0][0] == pytest.approx(onset)


def test_fractional_start_is_used(read):
    start = START.replace(microsecond=250_000)
    assert read("time,stage\n22:30:30,N2\n", start=start)[0][0] == pytest.approx(29.75)


def test_rows_in_any_order(read):
    assert read("onset,stage\n60,W\n0,N2\n") == [(0, 60, 2), (60, 30, 0)]


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
def test_unreadable_rows_are_named(read, text, words):
    with pytest.raises(ReadError) as caught:
        read(text)
    assert "a.csv" in str(caught.value)
    assert words in str(caught.value)


STAGE = "Stages|Stages"


@pytest.fixture
def nsrr(tmp_path):
    """Function of (type, concept, start, duration, clock) rows: the scoring."""

    def read(*rows, namespace=""):
        events = "".join(
            f"<ScoredEvent><EventType>{kind}</EventType><EventConcept>{concept}</EventConcept>"
            f"<Start>{start}</Start><Duration>{duration}</Duration>"
            f"<ClockTime>{clock[0] if clock else ''}</ClockTime></ScoredEvent>"
            for kind, concept, start, duration, *clock in rows
        )
        path = tmp_path / "n-nsrr.xml"
        path.write_text(
            f"<PSGAnnotation{namespace}><ScoredEvents>{events}</ScoredEvents></PSGAnnotation>"
        )
        return read_scoring(path)

    return read


@pytest.fixture
def profusion(tmp_path):
    """Function of (stages, events, epoch length): the scoring."""

    def read(stages, events="", length=30):
        each = "".join(f"<SleepStage>{stage}</SleepStage>" for stage in stages)
        path = tmp_path / "n-profusion.xml"
        path.write_text(
            f"<CMPStudyConfig><EpochLength>{length}</EpochLength><ScoredEvents>{events}"
            f"</ScoredEvents><SleepStages>{each}</SleepStages></CMPStudyConfig>"
        )
        return read_scoring(path)

    return read


@pytest.mark.parametrize(
    ("concept", "stage", "moved"),
    [("Wake|0", 0, False), ("Stage 1 sleep|1", 1, False), ("Stage 2 sleep|2", 2, False),
     ("Stage 3 sleep|3", 3, False), ("Stage 4 sleep|4", 3, False), ("REM sleep|5", 4, False),
     ("Movement|6", -1, True), ("Unscored|9", -1, False), ("REM sleep", 4, False)],
)  # fmt: skip
def test_nsrr_codes_are_read(nsrr, concept, stage, moved):
    found = nsrr((STAGE, concept, 30, 60))
    assert (found.onsets.tolist(), found.durations.tolist()) == ([30], [60])
    assert (found.stages.tolist(), found.movement.tolist()) == ([stage], [moved])


@pytest.mark.parametrize(
    ("clock", "start"),
    [("01.02.85 22.30.05", "1985-02-01T22:30:05"), ("01/02/2004 22:30:05", "2004-02-01T22:30:05"),
     ("01.02.04 22.30.05", "2004-02-01T22:30:05"), ("31.02.85 22.30.05", None),
     ("00.00.00 22.30.05", None), ("22:30", None), ("", None)],
)  # fmt: skip
def test_recording_start_is_read(nsrr, clock, start):
    found = nsrr(("", "Recording Start Time", 0, 90, clock), (STAGE, "Wake|0", 0, 90)).start
    assert (found and found.isoformat()) == start


def test_event_words_before_bar(nsrr):
    found = nsrr(
        (STAGE, "Wake|0", 0, 90),
        ("Respiratory|Respiratory", "Hypopnea|Hypopnea", 12.5, 20.25),
        ("Arousals|Arousals", "Arousal|Arousal ()", "3,5", 4),
        ("", "Lights off", 30, 0),
    )
    assert found.events.to_numpy().tolist() == [
        [3.5, 4.0, "Arousal"], [12.5, 20.25, "Hypopnea"], [30.0, 0.0, "Lights off"],
    ]  # fmt: skip
    assert found.lights == (30.0, None)


def test_namespace_is_ignored(nsrr):
    found = nsrr((STAGE, "REM sleep|5", 0, 30), namespace=' xmlns="http://example.org/x"')
    assert found.stages.tolist() == [4]


@pytest.mark.parametrize("length", [20, 30, 60, ""])
def test_epoch_length_of_file(profusion, length):
    found = profusion([0, 2, 5], length=length)
    assert found.onsets.tolist() == [0, length or 30, 2 * (length or 30)]
    assert set(found.durations) == {length or 30}
    assert found.stages.tolist() == [0, 2, 4]


def test_names_and_unknown_codes(profusion, nsrr):
    with pytest.warns(RecordingWarning, match=r"1 labels are no stage that is known: 'x' \(1\)"):
        found = profusion(["W", "N3", "R", "x", "", "7", "10"])
    assert found.stages.tolist() == [0, 3, 4] + [-1] * 4
    with pytest.warns(RecordingWarning, match="'Something else'"):
        assert nsrr((STAGE, "Something else", 0, 30)).stages.tolist() == [-1]


def test_unnamed_event_is_skipped(profusion):
    events = "<ScoredEvent><Name>{}</Name><Start>4</Start><Duration>2</Duration></ScoredEvent>"
    found = profusion([0], events.format("") + events.format(" Arousal "))
    assert found.events.to_numpy().tolist() == [[4.0, 2.0, "Arousal"]]


def test_invalid_time_is_named(nsrr):
    with pytest.raises(ReadError, match=r"n-nsrr\.xml: <Start> is 'soon'; accepted is a number of"):
        nsrr((STAGE, "Wake|0", "soon", 30))


def test_no_stage_lists_accepted(nsrr):
    with pytest.raises(ReadError, match=r"holds no sleep stage.*hypnogram=False to read the sig"):
        nsrr(("Respiratory", "Hypopnea", 1, 2))


def test_malformed_xml_names_line(tmp_path):
    path = tmp_path / "n.xml"
    path.write_text("<PSGAnnotation>\n<ScoredEvents>\n</PSGAnnotation>")
    with pytest.raises(ReadError, match=r"n\.xml: not well-formed XML \(line 3, column 2\)"):
        read_scoring(path)
