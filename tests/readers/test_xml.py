# SPDX-License-Identifier: BSD-3-Clause
"""Scorings in XML: what each element becomes, and damage."""

from __future__ import annotations

import pytest

from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.readers import read_scoring

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
     ("Movement|6", -1, True), ("Unscored|9", -1, False), ("REM sleep", 4, False),
     ("Something else", -1, False)],
)  # fmt: skip
def test_codes_of_the_nsrr_are_rechtschaffen_and_kales(nsrr, concept, stage, moved):
    found = nsrr((STAGE, concept, 30, 60))
    assert (found.onsets.tolist(), found.durations.tolist()) == ([30], [60])
    assert (found.stages.tolist(), found.movement.tolist()) == ([stage], [moved])


@pytest.mark.parametrize(
    ("clock", "start"),
    [("01.02.85 22.30.05", "1985-02-01T22:30:05"), ("01/02/2004 22:30:05", "2004-02-01T22:30:05"),
     ("01.02.04 22.30.05", "2004-02-01T22:30:05"), ("31.02.85 22.30.05", None),
     ("00.00.00 22.30.05", None), ("22:30", None), ("", None)],
)  # fmt: skip
def test_the_start_of_a_recording_is_read_where_it_can_be(nsrr, clock, start):
    found = nsrr(("", "Recording Start Time", 0, 90, clock), (STAGE, "Wake|0", 0, 90)).start
    assert (found and found.isoformat()) == start


def test_events_keep_the_words_before_the_bar(nsrr):
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


def test_a_namespace_does_not_matter(nsrr):
    found = nsrr((STAGE, "REM sleep|5", 0, 30), namespace=' xmlns="http://example.org/x"')
    assert found.stages.tolist() == [4]


@pytest.mark.parametrize("length", [20, 30, 60, ""])
def test_the_length_of_an_epoch_is_the_files_own(profusion, length):
    found = profusion([0, 2, 5], length=length)
    assert found.onsets.tolist() == [0, length or 30, 2 * (length or 30)]
    assert set(found.durations) == {length or 30}
    assert found.stages.tolist() == [0, 2, 4]


def test_names_and_unknown_codes_are_read_or_unscored(profusion):
    assert profusion(["W", "N3", "R", "x", "", "7", "10"]).stages.tolist() == [0, 3, 4] + [-1] * 4


def test_an_event_without_a_name_is_passed_over(profusion):
    events = "<ScoredEvent><Name>{}</Name><Start>4</Start><Duration>2</Duration></ScoredEvent>"
    found = profusion([0], events.format("") + events.format(" Arousal "))
    assert found.events.to_numpy().tolist() == [[4.0, 2.0, "Arousal"]]


def test_a_time_that_is_none_is_named(nsrr):
    with pytest.raises(ReadError, match=r"n-nsrr\.xml: <Start> is 'soon'; accepted is a number of"):
        nsrr((STAGE, "Wake|0", "soon", 30))


def test_a_scoring_without_a_stage_says_what_is_accepted(nsrr):
    with pytest.raises(ReadError, match=r"holds no sleep stage.*hypnogram=False to read the sig"):
        nsrr(("Respiratory", "Hypopnea", 1, 2))


def test_malformed_xml_is_named_by_its_line(tmp_path):
    path = tmp_path / "n.xml"
    path.write_text("<PSGAnnotation>\n<ScoredEvents>\n</PSGAnnotation>")
    with pytest.raises(ReadError, match=r"n\.xml: not well-formed XML \(line 3, column 2\)"):
        read_scoring(path)
