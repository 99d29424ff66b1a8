# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.encoding.inputs import read_input
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.finetuning._labels import (
    Targets,
    event_targets,
    is_missing,
    seconds_of_events,
)
from sleep2vec_sklearn.finetuning.events import read_event_types

GROUPS = {"apnea": ("apnea",), "arousal": ("arousal",)}


def table(*rows):
    return pd.DataFrame(rows, columns=["onset", "duration", "type"])


def night(*rows, stages=None, events=True, duration=None):
    return Recording(
        {"spo2": (np.full(120, 95.0), 1)},
        stages=stages,
        events=table(*rows) if events else None,
        duration=duration,
        id="n1",
    )


def targets_of(nights, y=None, groups=GROUPS):
    return event_targets(read_input(EpochSequence(nights)), y, groups)


@pytest.mark.parametrize("missing", [np.nan, None, np.datetime64("NaT")])
def test_missing_values_in_every_form(missing):
    assert is_missing(np.array([missing, "word"], dtype=object)).tolist() == [True, False]


def test_known_cells_are_labels():
    cells = np.array([[np.nan, np.nan], [np.nan, 0.0]], dtype=np.float32)
    assert Targets.of(cells).labelled.tolist() == [False, True]
    assert Targets.of(np.array([-1, 0, 3])).labelled.tolist() == [False, True, True]
    weighted = Targets(np.array([1, 1]), np.array([0.0, 2.0]))
    assert weighted.labelled.tolist() == [False, True]


def test_rows_hold_seconds_and_types():
    targets = targets_of([night((28.0, 4.0, "central_apnea"), (70.0, 1.0, "Arousal"))])
    assert targets.values.shape == (4, 60)
    seconds = targets.values.reshape(120, 2)
    assert np.flatnonzero(seconds[:, 0]).tolist() == [28, 29, 30, 31]
    assert np.flatnonzero(seconds[:, 1]).tolist() == [70]
    strata = [[True, False], [True, False], [False, True], [False, False]]
    assert targets.strata.tolist() == strata


def test_unscored_epochs_have_no_label():
    recording = night((28.0, 4.0, "apnea"), stages=[2, -1, 2, 2])
    seconds, _ = seconds_of_events(recording, recording.events, GROUPS)
    assert (seconds[30:60] == -1).all()
    assert (seconds[28:30, 0] == 1).all()
    assert (seconds[60:] == 0).all()
    recording = night((28.0, 4.0, "apnea"), stages=[-1] * 4)
    seconds, _ = seconds_of_events(recording, recording.events, GROUPS)
    assert seconds.min() == 0


def test_events_beyond_are_cut():
    late = night((100.0, 60.0, "apnea"), (400.0, 9.0, "apnea"), (5.0, 1.0, "arousal"))
    with pytest.warns(RecordingWarning, match=r"were cut, by night: recording 0 \(n1\): 2"):
        values = targets_of([late]).values
    assert values.reshape(120, 2)[:, 0].sum() == 20


def test_events_before_are_cut():
    early = night((-5.0, 20.0, "apnea"), (-60.0, 10.0, "apnea"), (50.0, 1.0, "arousal"))
    with pytest.warns(RecordingWarning, match=r"begin before or end after.*\(n1\): 2"):
        values = targets_of([early]).values
    assert np.flatnonzero(values.reshape(120, 2)[:, 0] > 0).tolist() == list(range(15))


def test_harmless_ends_are_not_cut():
    targets_of([night((1.0, 5.0, "apnea"), (5.0, 1.0, "arousal"), (0.0, 999.0, "lights out"))])
    # in the incomplete epoch at the end of a night
    targets_of([night((110.0, 14.0, "apnea"), (5.0, 1.0, "arousal"), duration=125.0)])


def test_unscored_nights_have_no_label():
    with pytest.warns(RecordingWarning, match="1 of 2 nights have no scored events"):
        targets = targets_of([night(events=False), night((5, 5, "apnea"), (9, 5, "arousal"))])
    assert targets.labelled.tolist() == [False] * 4 + [True] * 4
    scored = targets_of([night(), night((5, 5, "apnea"), (9, 5, "arousal"))])
    assert scored.labelled.all()


def test_unknown_names_leave_night_out():
    known = night((28.0, 4.0, "OA"), (70.0, 1.0, "Weckreaktion"))
    other = night((28.0, 4.0, "apnea"), (50.0, 4.0, "Zeta"))
    with pytest.warns(RecordingWarning, match=r"'Zeta' \(1\).*recording 1 \(n1\): 1") as caught:
        labelled = targets_of([known, other]).labelled
    assert labelled.tolist() == [True] * 4 + [False] * 4
    assert len(caught) == 1
    inputs = read_input(EpochSequence([known, other]))
    targets = event_targets(inputs, None, GROUPS, event_names={"zeta": "arousal"})
    assert targets.values[4:].reshape(120, 2).sum(axis=0).tolist() == [4, 4]
    with pytest.raises(InvalidRecordingError, match=r"none of the 1 nights.*'Zeta' \(1\)"):
        targets_of([other])


def test_notes_of_no_length():
    known = night((28.0, 4.0, "OA"), (70.0, 1.0, "AR"), (90.0, 0.0, "Zeta"))
    with pytest.warns(RecordingWarning, match=r"'Zeta' \(2\)"):
        labelled = targets_of([known, night((90.0, 0.0, "Zeta"))]).labelled
    assert labelled.tolist() == [True] * 4 + [False] * 4


def test_wanted_names_are_known():
    values = targets_of([night((28.0, 4.0, "long gasp"))], groups={"gasp": ("gasp",)}).values
    assert values.sum() == 4


def test_marks_are_no_scoring():
    marked = night((0.0, 0.0, "Lights off"))
    with pytest.warns(RecordingWarning, match=r"1 of 2 nights have no scored events"):
        targets = targets_of([marked, night((5, 5, "apnea"), (9, 5, "arousal"))])
    assert targets.labelled.tolist() == [False] * 4 + [True] * 4


@pytest.mark.parametrize(
    ("row", "match"),
    [((3.0, -10.0, "apnea"), r"recording 0 \(n1\): event 0 \(apnea\) has duration"),
     ((np.nan, 10.0, "apnea"), "has onset"), ((3.0, 0.0, "apnea"), "lasts 0 s")],
)  # fmt: skip
def test_impossible_times_are_refused(row, match):
    with pytest.raises(InvalidRecordingError, match=match):
        targets_of([night(row)])


def test_nights_need_their_types():
    with pytest.raises(InvalidRecordingError, match=r"'arousal'; the nights have 'central_apnea'"):
        targets_of([night((5.0, 20.0, "central_apnea"))])
    with pytest.raises(InvalidRecordingError, match="none of the 2 nights"):
        targets_of([night(events=False)] * 2)
    with (
        pytest.warns(RecordingWarning, match="end after the night"),
        pytest.raises(InvalidRecordingError, match="type 'apnea' are outside the night"),
    ):
        targets_of([night((500.0, 20.0, "apnea"), (10.0, 5.0, "arousal"))])


@pytest.mark.parametrize("y", [[None], table((1.0, 20.0, "apnea")), []])
def test_one_table_per_night(y):
    with pytest.raises(ValueError, match="y must be 2 tables"):
        targets_of([night(), night()], y)


@pytest.mark.parametrize("y", [[[1, 2]], [pd.DataFrame({"onset": [1.0]})]])
def test_other_tables_are_refused(y):
    with pytest.raises(InvalidRecordingError, match=r"recording 0 \(n1\): events"):
        targets_of([night()], y)


def test_event_types_in_every_form():
    assert read_event_types(None) == {"apnea_hypopnea": ("apnea", "hypopnea")}
    assert read_event_types("arousal") == {"arousal": ("arousal",)}
    assert read_event_types({"any": ["apnea", "RERA"]}) == {"any": ("apnea", "RERA")}
