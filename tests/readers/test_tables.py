# SPDX-License-Identifier: BSD-3-Clause
"""Tables and lists of labels: columns, units, clocks, scorers, lengths and encodings."""

import contextlib
import datetime

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from sleep2vec_sklearn.readers import read_scoring

START = datetime.datetime(2001, 2, 3, 22, 30, 0)


@pytest.fixture
def read(tmp_path):
    """Function of text: list of (onset, duration, stage) of the table."""

    def _read(text, name="a.csv", **known):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return rows_of(read_scoring(path, **known))

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
    assert read("0,30,2,7\n30,30,0,9\n") == [(0, 30, 2), (30, 30, 0)]
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
     ("0.000e+00 2.000e+00 -1.000e+00", [0, 2, -1]),

     ("-1 0 2", [-1, 0, 2]), ("0 2 8 9", [0, 2, -1, -1]), ("0 ? nan NA 4", [0, -1, -1, -1, 4]),
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


NIGHT = [0, 1, 2, 2, 3, 3, 4, 4, 0, 0]
WORDS = ["W", "N1", "N2", "N2", "N3", "N3", "R", "R", "W", "W"]


def table(title, times, sep=","):
    """A table of the night's ten stages with one column of times."""
    rows = zip(times, WORDS, strict=True)
    return f"{title}{sep}stage\n" + "".join(f"{time}{sep}{word}\n" for time, word in rows)


def stages_in(rows):
    """Stages of rows that begin every 30 s."""
    assert [onset for onset, _, _ in rows] == pytest.approx([30.0 * i for i in range(len(rows))])
    assert [duration for _, duration, _ in rows] == pytest.approx([30.0] * len(rows))
    return [stage for _, _, stage in rows]


@pytest.mark.parametrize(
    ("title", "factor"),
    [("start_ms", 30_000), ("onset (msec)", 30_000), ("startMs", 30_000), ("Time [min]", 0.5),
     ("onset_min", 0.5), ("Beginn (h)", 1 / 120), ("time_hours", 1 / 120),
     ("onset [samples]", 7680), ("sample", 3840), ("start_sample", 30 * 500),
     ("Début (secondes)", 30), ("onset in sec", 30), ("time (in seconds)", 30)],
)  # fmt: skip
def test_units_of_times(read, title, factor):
    text = table(title, [f"{i * factor:.9g}" for i in range(10)])
    assert stages_in(read(text, duration=300.0)) == NIGHT


@pytest.mark.parametrize(
    ("title", "length"),
    [("duration [min]", 0.5), ("Dauer (ms)", 30000), ("duration", "00:00:30"), ("dur_h", 1 / 120)],
)  # fmt: skip
def test_units_of_durations(read, title, length):
    rows = [f"{30 * i},{length},{word}\n" for i, word in enumerate(WORDS)]
    assert stages_in(read(f"onset,{title},stage\n" + "".join(rows))) == NIGHT


@pytest.mark.parametrize(
    ("text", "words"),
    [(table("start [foo]", range(0, 300, 30)), "unit of the column 'start .foo.' is not known"),
     (table("onset [samples]", range(0, 7001, 777)[:10]), "counts samples, and no rate of them"),
     (table("foo", range(0, 300, 30)), "the column 'foo' may hold the times"),
     (table("minutes", range(10)), "the column 'minutes' may hold the times"),
     (table("epoch", range(6, 16)), "numbered 6 to 15, the signals have 10 epochs of 30 s; which"),
     ("epoch,stage\n2,W\n30,N2\n", "numbered 2 to 30, the signals have 10 epochs of 30 s; which"),
     (table("epoch", [1, 2, 2, 3, 4, 5, 6, 7, 8, 9]), "numbers of 'epoch' repeat"),
     (table("onset", ["nan", *range(9)]), "line 2: 'nan' is not a time"),
     (table("time", ["22:30:00", *range(9)]), "line 3: '0' is not a time like those of the other"),
     (table("time", ["2001-02-30 22:30:00"] * 10), "the date '2001-02-30' is not understood"),
     ("onset,duration,stage\n0,-30,W\n", "line 2: lasts -30 s"),
     ("onset,duration,stage\n", "a header without rows"),
     ("onset,duration,stage\n0,300,W\n0,300,N2\n", "300 of 600 scored seconds have two"),
     ("\n".join(["W"] * 12), "12 labels for 300 s of signal are epochs of no usual length")],
)  # fmt: skip
def test_unclear_numbers_are_refused(read, text, words):
    with pytest.raises(ReadError, match=words):
        read(text, start=START, duration=300.0)


@pytest.mark.parametrize("seconds", [30, 20, 15, 10, 5, 2, 1])
@pytest.mark.parametrize("form", ["list", "line", "epochs", "bare epochs", "times", "comment"])
def test_length_of_epochs(read, seconds, form):
    labels = [WORDS[t // 60] for t in range(0, 600, seconds)]
    text = {
        "list": "\n".join(labels),
        "line": ",".join(labels),
        "epochs": "epoch,stage\n" + "\n".join(f"{i},{s}" for i, s in enumerate(labels)),
        "bare epochs": "\n".join(f"{i},{s}" for i, s in enumerate(labels, 1)),
        "times": "onset,stage\n" + "\n".join(f"{seconds * i},{s}" for i, s in enumerate(labels)),
        "comment": f"# epoch length: {seconds} s\n" + "\n".join(labels),
    }[form]
    found = read(text, duration=None if form in ("times", "comment") else 600.0)
    assert {duration for _, duration, _ in found} == {seconds}
    assert [stage for onset, _, stage in found if onset % 60 == 0] == NIGHT


def test_long_epochs_are_told(read):
    with pytest.warns(RecordingWarning, match="5 labels fill 300 s of signal: each lasts 60 s"):
        assert read("W\nN1\nN2\nN2\nR", duration=300.0)[1] == (60.0, 60.0, 1)


@pytest.mark.parametrize(
    "text",
    [",".join(map(str, NIGHT)), "\t".join(WORDS), " ".join(WORDS), str(NIGHT), ";".join(WORDS),
     "0,1,2,2,3\n3,4,4,0,0\n"],
)  # fmt: skip
def test_labels_in_lines(read, text):
    assert stages_in(read(text, "a.txt")) == NIGHT


def clocks(first, form, step=30, n=10):
    start = datetime.datetime.fromisoformat(first)
    return [(start + datetime.timedelta(seconds=step * i)).strftime(form) for i in range(n)]


def scored_at(times):
    return "time,stage\n" + "".join(f"{time},N2\n" for time in times)


FORMS = [
    "%H:%M:%S", "0 days %H:%M:%S",
    "%H:%M:%S,000", "%H:%M:%S.000", "%I:%M:%S %p", "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S+01:00", "%Y-%m-%dT%H:%M:%S.000000Z",
    "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d.%m.%y %H:%M:%S",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", ["2001-02-03 22:30:00", "1999-05-06 22:30:00"])
def test_forms_of_clocks(read, form, first):
    rows = read(table("time", clocks(first, form), ";"), start=START, duration=300.0)
    assert stages_in(rows) == NIGHT


def test_date_of_the_evening(read):
    times = [f"2001-02-03 {time}" for time in clocks("2001-02-03 23:59:00", "%H:%M:%S", n=4)]
    assert [row[0] for row in read(scored_at(times), start=START)] == [5340, 5370, 5400, 5430]


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"])
def test_day_or_month_by_span(read, form):
    times = clocks("2001-04-05 23:59:00", f"{form} %H:%M:%S", n=4)
    rows = read(scored_at(times), start=START.replace(month=5, day=4), duration=8000.0)
    assert [row[0] for row in rows] == [5340, 5370, 5400, 5430]


def test_dates_in_their_column(read):
    text = "date,time,stage\n2001-02-04,00:00:00,W\n2001-02-05,00:00:00,N2\n"
    rows = read(text, start=START, duration=2 * 86_400.0)
    assert [row[0] for row in rows] == [5400.0, 91_800.0]


@pytest.mark.parametrize(
    ("first", "hours", "start", "n"),
    [("00:00:00", 8, 0, 960), ("22:30:00", 8, 0, 960), ("23:30:00", 8, 3600, 700),
     ("00:10:00", 8, 6000, 700), ("00:00:00", 1, 0, 120), ("22:00:00", 40, -1800, 4000)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*scored seconds")
def test_clock_or_elapsed_by_fit(read, first, hours, start, n):
    text = scored_at(clocks(f"2000-01-01 {first}", "%H:%M:%S", n=n))
    rows = read(text, start=START, duration=3600.0 * hours)
    assert [row[0] for row in rows] == [start + 30.0 * i for i in range(n)]


def test_two_fits_are_told(read):
    text = scored_at(clocks("2000-01-01 00:00:00", "%H:%M:%S", n=600))
    with pytest.warns(RecordingWarning, match="though they fit as clock times as well"):
        assert read(text, start=START, duration=8 * 3600.0)[0][0] == 0.0


@pytest.mark.parametrize("form", ["%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
@pytest.mark.parametrize("hour", [-3600, 3600])
def test_daylight_saving_is_undone(read, form, hour):
    elapsed = [30 * i for i in range(960)]
    shown = [START + datetime.timedelta(seconds=t + hour * (t >= 14_400)) for t in elapsed]
    rows = read(scored_at(t.strftime(form) for t in shown), start=START, duration=28_800.0)
    assert [row[0] for row in rows] == elapsed


def test_zones_that_change(read):
    times = ["2001-02-03T22:30:00+02:00", "2001-02-03T21:30:30+01:00", "2001-02-03T21:31:00+01:00"]
    assert [row[0] for row in read(scored_at(times), start=START)] == [0.0, 30.0, 60.0]


@pytest.mark.parametrize(("zero", "name"), [(81_000, "midnight"), (981_239_400, "1970")])
def test_other_zeros_of_time(read, zero, name):
    with pytest.warns(RecordingWarning, match=f"as seconds since {name}"):
        rows = read(table("onset", range(zero, zero + 300, 30)), start=START, duration=300.0)
    assert stages_in(rows) == NIGHT


@pytest.mark.parametrize(("title", "length"), [("duration", 30), ("duration", 30_000)])
def test_unix_milliseconds(read, title, length):
    onsets = [981_239_400_000 + 30_000 * i for i in range(10)]
    with pytest.warns(RecordingWarning, match="as milliseconds since 1970, as only then they fit"):
        rows = read(table("onset", onsets), start=START, duration=300.0)
    assert stages_in(rows) == NIGHT
    rows = [f"{t},{length},{word}\n" for t, word in zip(onsets, WORDS, strict=True)]
    text = f"onset,{title},stage\n" + "".join(rows)
    with pytest.warns(RecordingWarning, match="as milliseconds since 1970"):
        assert stages_in(read(text, start=START, duration=300.0)) == NIGHT
    assert stages_in(read(text)) == NIGHT
    late = START + datetime.timedelta(days=1)
    with pytest.raises(ReadError, match=r"are milliseconds since 1970, which is 2001-02-03 22:30"):
        read(text, start=late, duration=300.0)


def test_ends_count_as_onsets(read):
    rows = [f"{30_000 * i},{30_000 * i + 30_000},{word}\n" for i, word in enumerate(WORDS)]
    assert stages_in(read("start_ms,end,stage\n" + "".join(rows))) == NIGHT


def test_gap_is_no_stage(read):
    text = "onset,stage\n0,W\n30,W\n60,N2\n90,N2\n900,R\n930,R\n"
    assert read(text)[3:5] == [(90.0, 30.0, 2), (900.0, 30.0, 4)]


LONG = "scorer,onset,duration,stage\nab,0,30,W\nab,30,30,R\ncd,0,30,R\ncd,30,30,2\n"
WIDE = "onset,duration,stage_hum,stage_ai\n0,30,W,R\n30,30,R,2\n"


@pytest.mark.parametrize(
    ("text", "scorer", "stages"),
    [(LONG, "ab", [0, 4]), (LONG, "cd", [4, 2]), (WIDE, "hum", [0, 4]), (WIDE, "stage_ai", [4, 2]),
     ("Scorer 1,Scorer 2\nW,R\nR,2\n", "Scorer 2", [4, 2])],
)  # fmt: skip
def test_scorer_is_chosen(read, text, scorer, stages):
    assert [row[2] for row in read(text, scorer=scorer)] == stages
    for other in (None, "xy"):
        with pytest.raises(ReadError, match=rf"scorer={other!r} names none of them. Pass scorer="):
            read(text, scorer=other)


@pytest.mark.parametrize("text", ["onset,stage\n0,W\n", "0,W\n", "W\nN2\n"])
def test_scorer_must_be_there(read, text):
    with pytest.raises(ReadError, match="names no scorers, got scorer='ab'"):
        read(text, scorer="ab")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
def test_encodings_are_found(read, encoding):
    text = table("Début", range(0, 300, 30), ";").replace("W", "Éveil")
    assert stages_in(read(text.encode(encoding))) == NIGHT


CLOCKS = clocks("2001-02-03 22:30:00", "%H:%M:%S")
DOMINO = (
    "Signal ID: SchlafProfil\\profil\nStart Time: 03.02.2001 22:30:00\nUnit: \n"
    "Events list: N3,N2,N1,Rem,Wach,Artefakt\nRate: 30 s\n\n"
) + "".join(f"{time},000; {word}\n" for time, word in zip(CLOCKS, WORDS, strict=True))
REMLOGIC = (
    "RemLogic Event Export\nPatient:\tn1\nEvents Included:\nSLEEP-S0\n\n"
    "Sleep Stage\tTime [hh:mm:ss]\tEvent\tDuration[s]\n"
) + "".join(
    f"{word}\t{time}\tSLEEP-{word}\t30\n"
    for time, word in zip(
        CLOCKS, ["S0", "S1", "S2", "S2", "S3", "S4", "REM", "REM", "S0", "S0"], strict=True
    )
)
FULL = {"W": "WAKE", "R": "REM"}
YASA = "Epoch,Stage\n" + "".join(f"{i},{FULL.get(s, s)}\n" for i, s in enumerate(WORDS))


@pytest.mark.parametrize("text", [DOMINO, REMLOGIC, YASA], ids=["domino", "remlogic", "yasa"])
def test_exports_of_stagers(read, text):
    assert stages_in(read(text, "a.txt", start=START, duration=300.0)) == NIGHT


def test_events_beside_stages(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(REMLOGIC + "S1\t22:30:35\tMCAP-A1\t4\n")
    found = read_scoring(path, start=START, duration=300.0)
    assert found.events.to_numpy().tolist() == [[35.0, 4.0, "MCAP-A1"]]
    assert found.stages.tolist() == NIGHT


def test_unread_events_are_told(read):
    rows = "epoch,stage,event\n1,W,\n2,N2,Hypopnea\n3,N2,supine\n"
    with pytest.warns(RecordingWarning, match="1 events in the column 'event'.*'Hypopnea'"):
        assert [row[2] for row in read(rows)] == [0, 2, 2]


@pytest.mark.parametrize("word", ["UNS", "ART", "Artefakt", "8", "-1", "<NA>", ""])
def test_unscored_words(read, word):
    assert [row[2] for row in read(f"epoch,stage\n0,W\n1,{word}\n")] == [0, -1]


def test_unknown_stages_are_counted(read):
    with pytest.warns(RecordingWarning, match=r"3 labels .*: 'leicht' \(2\), 'tief' \(1\)"):
        rows = read("onset,duration,stage\n0,30,W\n30,30,leicht\n60,30,leicht\n90,30,tief\n")
    assert rows == [(0, 30, 0)]


@pytest.mark.parametrize("word", ["leicht", "Stage 7"])
@pytest.mark.parametrize("title", ["stage", "description"])
def test_unknown_stage_ends_the_last(read, word, title):
    with pytest.warns(RecordingWarning, match=rf"1 labels are no stage .*: '{word}' \(1\)"):
        assert read(f"onset,{title}\n0,W\n30,{word}\n60,N2\n90,N2\n") == [
            (0, 30, 0), (60, 30, 2), (90, 30, 2),
        ]  # fmt: skip
    text = f"onset,{title}\n0,Lights off\n0,W\n17,Arousal\n30,N2\n60,Hypopnea\n60,N2\n"
    assert read(text)[:3] == [(0, 30, 0), (30, 30, 2), (60, 30, 2)]


ALPHABET = st.sampled_from(
    ["onset", "stage", "epoch", "time", "W", "N2", "3", "0.5", "22:30:00", "é", "2001-02-03", ",",
     ";", "\t", "\n", " ", '"', "nan", "[ms]", "-1"]
)  # fmt: skip


@given(
    words=st.lists(ALPHABET, max_size=30),
    start=st.sampled_from([None, START]),
    duration=st.sampled_from([None, 300.0]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.RecordingWarning")
def test_any_table_is_read(tmp_path, words, start, duration):
    path = tmp_path / "a.csv"
    path.write_text("".join(words))
    with contextlib.suppress(ReadError):
        assert read_scoring(path, start=start, duration=duration).onsets.size


def test_unknown_codes_are_named(read):
    with pytest.warns(RecordingWarning, match=r"3 labels are no stage .*'-2' \(2\), '7' \(1\)"):
        assert [row[2] for row in read("stage\n0\n-2\n-2\n2\n7\n")] == [0, -1, -1, 2, -1]


def test_classes_are_stages(read):
    text = "class\tinstance\tstart\tstop\nN2\t.\t0\t30\nR\t.\t30\t60\napnea\t.\t40\t50\n"
    assert read(text, "a.annot") == [(0, 30, 2), (30, 30, 4)]
