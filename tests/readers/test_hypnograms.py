# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms from EDF+ annotations and XML."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import read_recording
from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from sleep2vec_sklearn.readers import read_scoring
from sleep2vec_sklearn.readers.hypnograms import read_edf_annotations


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


def test_unknown_stage_words_named(write_edf):
    path = write_edf(seconds=300, annotations=marks(["Leichtschlaf"] * 10))
    with pytest.warns(RecordingWarning, match=r"10 labels are no .*'Leichtschlaf' \(10\)"):
        assert read_recording(path).stages is None
    with pytest.raises(ReadError, match=r"no sleep stage: 10 labels .*'Leichtschlaf' \(10\)"):
        read_scoring(path)


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


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["a.csv", "a.xml", "a.edf"])
@pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.RecordingWarning")
def test_any_bytes_are_read(tmp_path, name, raw):
    path = tmp_path / name
    path.write_bytes(raw)
    with contextlib.suppress(ReadError):
        read_scoring(path, duration=300.0)


NIGHT = [0, 1, 2, 2, 3, 3, 4, 4, 0, 0]
WORDS = ["W", "N1", "N2", "N2", "N3", "N3", "R", "R", "W", "W"]


def marks(labels, length=30.0, prefix="", step=30.0):
    return [(step * i, length, prefix + label) for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    "annotations",
    [marks(WORDS), marks(WORDS, None), marks(WORDS, None, "Sleep stage "),
     marks(WORDS, 30, "SLEEP-"), marks("0122335500"), marks("0122345500", 30, "Stage "),
     marks(["S0", "S1", "S2", "S2", "S3", "S4", "REM", "REM", "S0", "S0"]),
     marks(["W", "1", "2", "2", "3/4", "S3", "R", "R", "W", "W"], 30, "Sleep stage ")],
)  # fmt: skip
@pytest.mark.parametrize("event", ["Arousal", "Lights off", "1", "Schn\xf6rcheln"])
def test_letters_among_events(write_edf, annotations, event):
    path = write_edf(seconds=300, annotations=[*annotations, (100.0, 5.0, event)])
    assert stages(path, 10) == NIGHT
    assert read_scoring(path).events["type"].tolist() == [event]


@pytest.mark.parametrize(
    "annotations",
    [marks("1" * 30, None, step=7.25), marks("12" * 15, None, step=7.25), marks("12" * 5, None),
     marks("RW" * 15, None, step=7.25), marks("M1" * 9, None, step=11.0), marks("1" * 10),
     marks("12" * 15, 1.0, step=1.0)],
)  # fmt: skip
def test_triggers_are_no_stages(write_edf, annotations):
    found = read_edf_annotations(write_edf(seconds=300, annotations=annotations))
    assert found.onsets.size == 0
    assert len(found.events) == len(annotations)
    assert f"{len(annotations)} annotations such as" in found.notes[0]


def test_unknown_stage_ends_the_last(write_edf):
    path = write_edf(annotations=marks("W7RR", None, "Sleep stage "))
    with pytest.warns(RecordingWarning, match=r"no stage that is known: 'Sleep stage 7' \(1\)"):
        assert stages(path, 4) == [0, -1, 4, 4]


def test_words_end_the_stage(write_edf):
    named = [*enumerate(["W", "N1", "Tiefer", "R", "N2", "Tiefer", "W"])]
    annotations = [(60 * i, None, w if w == "Tiefer" else f"Sleep stage {w}") for i, w in named]
    annotations.append((150, None, "patient calls"))
    path = write_edf(seconds=420, annotations=annotations)
    with pytest.warns(RecordingWarning, match=r"known: 'Tiefer' \(2\)"):
        assert stages(path, 14)[:13] == [0, 0, 1, 1, -1, -1, 4, 4, 2, 2, -1, -1, 0]


STAMP = b"+0\x14\x14\x00"


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"Oxx", b"O\xf6\xff"), (STAMP, b"\x00" * 5), (STAMP, b"\x00+0\x14\x14"),
     (STAMP, b"+x\x14\x14\x00")],
)  # fmt: skip
def test_odd_bytes_cost_nothing(write_edf, stages_of, old, new):
    path = write_edf(annotations=[(0.0, 30.0, "Oxx"), *stages_of("?2RR")])
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new))
    assert stages(path, 4) == [-1, 2, 4, 4]


TALS = st.lists(
    st.sampled_from([b"+0", b"-5", b"+1e9", b"+9" * 9, b"+" + b"9" * 60, b"\x14", b"\x15", b"\x00",
                     b"30", b"Sleep stage W", b"\xff", b"1", b"."]),
    max_size=20,
)  # fmt: skip


@given(TALS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.RecordingWarning")
def test_any_annotations_are_read(write_edf, tals):
    path = write_edf("a.edf", {"SpO2": (1, "%")}, seconds=30, annotations=[(0.0, 30.0, "x" * 400)])
    raw, new = path.read_bytes(), b"".join(tals)[:400]
    first = raw.index(b"+0\x14\x14\x00")
    path.write_bytes(raw[:first] + new.ljust(400, b"\0") + raw[first + 400 :])
    with contextlib.suppress(ReadError):
        read_recording(path)


def test_xml_with_odd_bytes(tmp_path):
    path = tmp_path / "a.xml"
    for head in (b"", b"<?xml version='1.0' encoding='foo'?>", b"<?xml version='1.0'?>\n"):
        body = b"<Name>J\xf6rg\x01</Name><SleepStages><SleepStage>2</SleepStage></SleepStages>"
        path.write_bytes(head + b"<CMPStudyConfig>" + body + b"</CMPStudyConfig>")
        assert read_scoring(path).stages.tolist() == [2]


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

    def read(stages, events="", length=30, duration=None):
        each = "".join(f"<SleepStage>{stage}</SleepStage>" for stage in stages)
        path = tmp_path / "n-profusion.xml"
        path.write_text(
            f"<CMPStudyConfig><EpochLength>{length}</EpochLength><ScoredEvents>{events}"
            f"</ScoredEvents><SleepStages>{each}</SleepStages></CMPStudyConfig>"
        )
        return read_scoring(path, duration=duration)

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


def test_epoch_length_by_fit(profusion):
    found = profusion([0, 0, 2, 2, 5, 5], length="", duration=120.0)
    assert set(found.durations) == {20}
    assert set(profusion([0, 2], length="", duration=120.0).durations) == {30}


def test_names_and_unknown_codes(profusion, nsrr):
    with pytest.warns(RecordingWarning, match=r"3 labels are no .*: 'x' \(1\), 'stage 7'"):
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


@pytest.mark.parametrize("root", ["PSGAnnotation", "CMPStudyConfig"])
def test_empty_xml_has_no_stages(write, root):
    with pytest.raises(ReadError, match=r"holds no sleep stage.*hypnogram=False to read the sig"):
        read_scoring(write("n.xml", f"<{root}><ScoredEvents/></{root}>"))


def test_no_stage_lists_accepted(nsrr):
    with pytest.raises(ReadError, match=r"holds no sleep stage.*hypnogram=False to read the sig"):
        nsrr(("Respiratory", "Hypopnea", 1, 2))


def test_malformed_xml_names_line(tmp_path):
    path = tmp_path / "n.xml"
    path.write_text("<PSGAnnotation>\n<ScoredEvents>\n</PSGAnnotation>")
    with pytest.raises(ReadError, match=r"n\.xml: not well-formed XML \(line 3, column 2\)"):
        read_scoring(path)
