# SPDX-License-Identifier: BSD-3-Clause
"""From scored intervals to one stage per epoch, and what is said of the rest."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import SleepStage
from sleep2vec_sklearn.readers._scoring import ScoringBuilder, parse_stage
from sleep2vec_sklearn.recordings._notes import Caution

W, N1, N2, N3, R, X = 0, 1, 2, 3, 4, -1


@pytest.mark.parametrize(
    ("text", "stage"),
    [("Sleep stage W", W), ("Sleep stage 4", N3), ("Sleep stage N1", N1), ("SLEEP STAGE R", R),
     ("Stage 3 sleep|3", N3), ("Wake|0", W), ("REM sleep|5", R), ("Schlafstadium N2", N2),
     ("Stade 2", N2), ("NREM-2", N2), ("NonREM2", N2), ("Non-REM 2", N2), ("Stg2", N2),
     ("AASM N2", N2), ("Sommeil N2", N2), ("Sommeil paradoxal", R), ("REM-slaap", R),
     ("Sonno REM", R), ("Sueño REM", R), ("Sommeil lent profond", N3),
     ("Slow-wave sleep", N3), ("Slow wave", None),
     ("stage N2 - auto", N2), ("N2 (epoch 3)", N2), ("Staging: N2", N2), ("light sleep", None),
     ("Stage: N2", N2), ("NREM 3", N3), ("wach", W), ("Sleep stage ?", X),
     ("Unscored|9", X), ("Movement time", "movement"), ("Obstructive apnea", None),
     ("Lights off", None)],
)  # fmt: skip
def test_stage_names_are_understood(text, stage):
    assert parse_stage(text) == stage


@pytest.mark.parametrize(
    ("off", "on"),
    [("Licht aus", "Licht an"), ("lumières éteintes", "Lumières allumées"),
     ("luces apagadas", "Luces encendidas"), ("Luci spente", "Luci accese"),
     ("Lampen uit", "Licht aan"), ("Lichter aus", "Lichter an"), ("LOff", "LOn"),
     ("Extinction lumière", "Allumage des lumières"), ("L-off", "L-on"),
     ("Luz apagada", "Luz acesa"), ("Luzes desligadas", "ligar luzes"),
     ("spegnimento luci", "Accensione della luce"), ("Turn off the light", "turned on lights"),
     ("Licht ausgeschaltet", "Licht eingeschaltet"), ("lights: turned off", "light = on"),
     ("Extinction des feux", "Allumage des feux"), ("Licht gelöscht", "Luz prendida"),
     ("Se apagan luces", "se encienden las luces"), ("lights-out", "LIGHTS ON (tech)")],
)  # fmt: skip
def test_lights_in_other_languages(off, on):
    build = ScoringBuilder()
    for onset, text in enumerate((off, on, "highlights on screen", "EOG L-on", "on light pills")):
        build.add_event(float(onset), 0.0, text)
    scoring = build.build()
    assert (scoring.lights, scoring.notes) == ((0.0, 1.0), ())


def test_unread_lights_are_told():
    build = ScoringBuilder()
    for onset, text in enumerate(("Lights off", "Light sleep", "Licht morgens")):
        build.add_event(float(onset), 0.0, text)
    [note] = build.build().notes
    assert isinstance(note, Caution)
    assert note.endswith("understood: 'Licht morgens'")


@given(
    labels=st.lists(st.sampled_from([X, W, N1, N2, N3, R]), min_size=1, max_size=30),
    shift=st.floats(-14.9, 14.9),
)
def test_shifted_labels_keep_order(labels, shift):
    build = ScoringBuilder()
    for i, label in enumerate(labels):
        build.add_stage(30.0 * i, 30.0, label)
    found, _ = build.build().to_epochs(len(labels), shift)
    assert found.tolist() == labels


@given(st.text(max_size=40))
def test_any_text_can_be_parsed(text):
    assert parse_stage(text) in (None, "movement", *range(-1, 5))


SPELLINGS = {
    0: "W wake Awake WACH wk Eveil Éveil veille vigilia despierto Wakefulness 0 S0 n0 veglia",
    1: "1 N1 s1 I NREM1 St1",
    2: "2 n2 S2 II nrem2 st2",
    3: "3 N3 s3 iii NREM3 st3 SWS 4 N4 S4 IV nrem4 ST4 3/4 S3/S4",
    4: "R rem MOR sp Paradoxal paradoxical 5",
    -1: "? unscored Unknown U un NA nan none -1 8 9 undefined artefact Artifact unsure a l UNS Art",
    "movement": "movement MT m mvt 6",
}


def scored(*intervals):
    """A scoring of (onset, duration, stage) in seconds."""
    build = ScoringBuilder()
    for interval in intervals:
        build.add_stage(*interval)
    return build.build()


def epochs_of(intervals, n, shift=0.0):
    return scored(*intervals).to_epochs(n, shift)[0].tolist()


def notes_of(intervals, n, shift=0.0):
    return scored(*intervals).to_epochs(n, shift)[1]


def night(stages):
    return [(30.0 * i, 30.0, stage) for i, stage in enumerate(stages)]


@pytest.mark.parametrize(
    ("text", "stage"), [(text, s) for s, texts in SPELLINGS.items() for text in texts.split()]
)
def test_spellings_with_surrounding_words(text, stage):
    for form in ("{}", " {} ", "Sleep stage {}", "stage_{}", "Stage: {}", "{}|7", "{} sleep"):
        assert parse_stage(form.format(text)) == stage
        assert parse_stage(form.format(text).upper()) == stage


@pytest.mark.parametrize(
    "text",
    ["Arousal", "N5", "Stage 7", "Hypopnea|Hypopnea", "wake up call", "REM-related", "N2 arousal",
     "Limb movement (left)", "SpO2 desaturation", "lights on", "stage change"],
)  # fmt: skip
def test_events_are_no_stages(text):
    assert parse_stage(text) is None
    assert parse_stage(text, bare=False) is None


@pytest.mark.parametrize("text", ["N1", "n2", "N3", "REM", "Wake", "Movement time", "Stage 2"])
def test_unmistakable_stages_need_no_prefix(text):
    assert parse_stage(text, bare=False) == parse_stage(text) is not None


@pytest.mark.parametrize("text", ["W", "2", "R", "?", "S3", "6", "mt"])
def test_short_stages_need_prefix(text):
    assert parse_stage(text, bare=False) is None
    assert parse_stage(f"Sleep stage {text}", bare=False) == parse_stage(text)


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40), st.randoms())
def test_interval_order_is_ignored(stages, random):
    shuffled = night(stages)
    random.shuffle(shuffled)
    assert epochs_of(shuffled, len(stages)) == stages


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 20)), min_size=1, max_size=8))
def test_long_intervals_fill_epochs(runs):
    each = [stage for stage, n in runs for _ in range(n)]
    starts = np.cumsum([0, *(n for _, n in runs)]) * 30.0
    long = [(start, n * 30.0, stage) for start, (stage, n) in zip(starts, runs, strict=False)]
    assert epochs_of(long, len(each)) == epochs_of(night(each), len(each)) == each


@given(
    stages=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    shift=st.integers(-15, 15),
    n=st.integers(1, 15),
)
def test_whole_epochs_shift(stages, shift, n):
    expected = np.full(n, -1)
    for place, stage in enumerate(stages, shift):
        if 0 <= place < n:
            expected[place] = stage
    assert epochs_of(night(stages), n, shift * 30.0) == expected.tolist()


@pytest.mark.parametrize(("seconds", "stage"), [(16, 2), (15.1, 2), (14.9, -1), (1, -1)])
def test_stage_must_outweigh_unscored(seconds, stage):
    assert epochs_of([(0, seconds, 2)], 1) == [stage]
    assert epochs_of([(30 - seconds, seconds, 2)], 1) == [stage]


def test_majority_stage_wins():
    assert epochs_of([(0, 9, 0), (9, 12, 2), (21, 9, 4)], 1) == [2]
    assert epochs_of([(0, 8, 2), (8, 12, 0), (20, 10, 2)], 1) == [2]


def test_ties_are_unscored_and_counted():
    halves = [(15.0 * i, 15.0, stage) for i, stage in enumerate([0, 0, 0, 2, 2, 2, 2, -1])]
    assert epochs_of(halves, 4) == [0, -1, 2, -1]
    assert "2 epochs are unscored, as two labels cover them alike" in notes_of(halves, 4)


@pytest.mark.parametrize("seconds", [20, 15, 10, 5, 1])
def test_short_epochs_keep_lengths(seconds):
    labels = [[0, 1, 2, 2, 3, 4][t // 60] for t in range(0, 360, seconds)]
    intervals = [(float(seconds * i), float(seconds), stage) for i, stage in enumerate(labels)]
    assert epochs_of(intervals, 12) == [0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4]
    assert set(scored(*intervals).durations) == {seconds}


@pytest.mark.parametrize(
    ("intervals", "seconds"),
    [(night([0, 1, 2]), 0), ([(0, 30, 0), (20, 30, 2)], 10), ([(0, 30, 0), (29.5, 30, 2)], 0),
     ([(0, 90, 2), (30, 30, 2)], 0), ([(0, 90, 2), (30, 30, -1)], 0),
     ([(0, 90, 2), (30, 30, 4)], 30),
     (night([0, 1]) + night([0, 2]), 30)],
)  # fmt: skip
def test_conflicts_are_measured(intervals, seconds):
    assert scored(*intervals).find_conflicts()[0] == seconds


@pytest.mark.parametrize(
    ("n", "inside", "words"),
    [(10, 5, "10 labels for 5 epochs of signal: 0 before and 5 after"), (10, 20, None),
     (10, 21, "11 of 21 epochs are unscored"), (20, 19, None), (20, 17, "20 labels for 17 epochs")],
)  # fmt: skip
def test_misfits_are_cautions(n, inside, words):
    cautions = [note for note in notes_of(night([2] * n), inside) if isinstance(note, Caution)]
    assert [note.startswith(words) for note in cautions] == [True] * (words is not None)


def test_untimed_misfit_is_caution():
    build = ScoringBuilder()
    for interval in night([2] * 9):
        build.add_stage(*interval)
    notes = build.build(timed=False).to_epochs(10)[1]
    assert notes[0].kind == "labels without times are more or fewer than the epochs of signal"
    assert not isinstance(build.build().to_epochs(10)[1][0], Caution)


@pytest.mark.parametrize(
    ("onsets", "length", "n"),
    [([60], 30, 1), ([60, 90], 30, 2), ([60], 17, 0), ([0], 30, 0), ([600], 30, 0)],
)
def test_words_in_gaps_are_counted(onsets, length, n):
    build = ScoringBuilder()
    for interval in (*night([0, 1]), (120, 30, 2)):
        build.add_stage(*interval)
    for onset in onsets:
        build.add_event(onset, length, "leicht")
    notes = build.build().notes
    said = f"{n} labels are no stage that is known: 'leicht' ({n})"
    assert notes == ((said,) if n else ())


@pytest.mark.parametrize(
    ("events", "n"),
    [(night(["Leichtschlaf"] * 10), 10), (night(["Epoch 3"] * 10), 0), (night(["1"] * 10), 0),
     ([(20.0 * i, 20.0, "light sleep") for i in range(3)], 3),
     ([(0.0, 300.0, "Leichtschlaf"), (300.0, 90.0, "Tiefschlaf")], 2),
     ([(0.0, 30.0, "Hypopnea"), (30.0, 30.0, "Apnea"), (900.0, 5.0, "Arousal")], 0)],
)  # fmt: skip
def test_unknown_stages_alone_counted(events, n):
    build = ScoringBuilder()
    for event in events:
        build.add_event(*event)
    notes = build.build().notes
    assert [note.split(" labels")[0] for note in notes] == [str(n)] * (n > 0)
    assert all(f"{events[0][2]!r} (" in note for note in notes)


def test_explicit_unscored_is_no_label():
    assert epochs_of([(0, 10, 2), (10, 20, -1)], 1) == [-1]
    assert epochs_of([(0, 10, 2), (10, 10, -1)], 1) == [-1]


@pytest.mark.parametrize(("seconds", "expected"), [(16, 1), (14, 0)])
def test_movement_must_prevail(seconds, expected):
    notes = notes_of([(0, 30, 0), (30, seconds, "movement"), (30 + seconds, 30 - seconds, -1)], 2)
    assert notes == (f"1 of 2 epochs are unscored, {expected} of them movement",)


def test_unlabelled_is_not_movement():
    assert notes_of(night([0, -1, -1]), 3) == ("2 of 3 epochs are unscored, 0 of them movement",)


def test_whole_night_has_no_note():
    assert notes_of(night([0, 1, 2, 3, 4]), 5) == ()


@pytest.mark.parametrize(
    ("n", "shift", "expected"),
    [(4, 0.0, "6 labels for 4 epochs of signal: 0 before and 2 after it were cut"),
     (4, -30.0, "6 labels for 4 epochs of signal: 1 before and 1 after it were cut"),
     (6, -60.0, "6 labels for 6 epochs of signal: 2 before and 0 after it were cut"),
     (6, 90.0, "6 labels for 6 epochs of signal: 0 before and 3 after it were cut"),
     (9, 0.0, "6 labels for 9 epochs of signal: 0 before and 0 after it were cut"),
     (2_000, 0.0, "6 labels for 2,000 epochs of signal: 0 before and 0 after it were cut")],
)  # fmt: skip
def test_misfit_labels_are_counted(n, shift, expected):
    assert notes_of(night([0, 1, 2, 2, 3, 4]), n, shift)[0].startswith(expected)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(0.0, None), (0.02, None), (0.1, "0.1 s"), (7.0, "7.0 s"), (-2.0, "28.0 s")],
)
def test_grid_offset_is_noted(shift, expected):
    notes = notes_of(night([2] * 10), 10, shift)
    off = [note for note in notes if "off the epochs" in note]
    why = "each epoch has the stage that covers most of it"
    said = f"labels lie {expected} off the epochs of the signals: {why}"
    assert off == ([] if expected is None else [said])


def test_file_notes_come_first():
    build = ScoringBuilder()
    build.add_stage(0.0, 30.0, SleepStage.N2)
    assert build.build(notes=["read by hand"]).to_epochs(2)[1][0] == "read by hand"


def test_scoring_is_sorted():
    found = scored((30.0, 30.0, 2), (0.0, 30.0, "movement"))
    assert found.onsets.tolist() == [0, 30]
    assert (found.stages.tolist(), found.stages.dtype) == ([-1, 2], np.int8)
    assert found.movement.tolist() == [True, False]


def test_empty_scoring_is_unscored():
    empty = ScoringBuilder().build()
    assert len(empty.onsets) == 0
    assert (empty.events, empty.lights, empty.start) == (None, None, None)
    assert empty.to_epochs(2)[0].tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("texts", "lights"),
    [(["Lights off"], (0.0, None)), (["Lights on"], (None, 0.0)),
     (["Lights off", "Lights on"], (0.0, 1.0)),
     (["Lights off", "Lights off", "Lights on", "Lights on"], (0.0, 3.0)),
     (["Light OUT", "light_on"], (0.0, 1.0)), (["Apnea", "headlights offer"], None),
     (["Lights on", "Lights off"], (1.0, None)),
     (["Lights on", "Lights off", "Lights on"], (1.0, 2.0))],
)  # fmt: skip
def test_first_off_last_on(texts, lights):
    build = ScoringBuilder()
    for onset, text in enumerate(texts):
        build.add_event(float(onset), 0.0, text)
    found = build.build(datetime.datetime(2000, 1, 1))
    assert found.lights == lights
    assert found.start == datetime.datetime(2000, 1, 1)
    assert found.events["type"].tolist() == texts


def test_events_are_sorted():
    build = ScoringBuilder()
    for event in [(9.0, 1.0, "b"), (3.0, 2.0, "a")]:
        build.add_event(*event)
    assert build.build().events.to_numpy().tolist() == [[3.0, 2.0, "a"], [9.0, 1.0, "b"]]
