# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.encoding.inputs import read_input
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.finetuning._event_labels import (
    event_targets,
    read_event_types,
    seconds_of_events,
)

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
    return event_targets(read_input(EpochSequence(nights)), y, groups, stacklevel=1)


def test_a_row_has_its_epochs_seconds_and_within_each_the_types():
    values = targets_of([night((28.0, 4.0, "central_apnea"), (70.0, 1.0, "Arousal"))]).values
    assert values.shape == (4, 60)
    seconds = values.reshape(120, 2)
    assert np.flatnonzero(seconds[:, 0]).tolist() == [28, 29, 30, 31]
    assert np.flatnonzero(seconds[:, 1]).tolist() == [70]


def test_rows_tell_what_they_are_an_example_of():
    strata = targets_of([night((28.0, 4.0, "apnea"), (70.0, 1.0, "arousal"))]).strata
    assert strata.tolist() == [[True, False], [True, False], [False, True], [False, False]]


def test_seconds_of_unscored_epochs_have_no_label():
    recording = night((28.0, 4.0, "apnea"), stages=[2, -1, 2, 2])
    seconds, _ = seconds_of_events(recording, recording.events, GROUPS)
    assert (seconds[30:60] == -1).all()
    assert (seconds[28:30, 0] == 1).all()
    assert (seconds[60:] == 0).all()


def test_a_night_without_any_stage_is_labelled_all_the_same():
    recording = night((28.0, 4.0, "apnea"), stages=[-1] * 4)
    seconds, _ = seconds_of_events(recording, recording.events, GROUPS)
    assert seconds.min() == 0


def test_events_beyond_the_night_are_cut_with_a_word():
    late = night((100.0, 60.0, "apnea"), (400.0, 9.0, "apnea"), (5.0, 1.0, "arousal"))
    with pytest.warns(RecordingWarning, match=r"cut at its end.*recording 0 \(n1\): 2"):
        values = targets_of([late]).values
    assert values.reshape(120, 2)[:, 0].sum() == 20


def test_other_events_may_reach_beyond_the_night():
    targets_of([night((1.0, 5.0, "apnea"), (5.0, 1.0, "arousal"), (0.0, 999.0, "lights out"))])


def test_the_part_epoch_at_the_end_of_a_night_is_no_mistake():
    targets_of([night((110.0, 14.0, "apnea"), (5.0, 1.0, "arousal"), duration=125.0)])


def test_a_night_nobody_scored_has_no_label():
    with pytest.warns(RecordingWarning, match="1 of 2 nights have no scored events"):
        targets = targets_of([night(events=False), night((5, 5, "apnea"), (9, 5, "arousal"))])
    assert targets.labelled.tolist() == [False] * 4 + [True] * 4


def test_a_night_in_which_nothing_was_found_is_labelled():
    targets = targets_of([night(), night((5, 5, "apnea"), (9, 5, "arousal"))])
    assert targets.labelled.all()


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ((-3.0, 10.0, "apnea"), r"recording 0 \(n1\): event 0 \(apnea\) has onset"),
        ((3.0, -10.0, "apnea"), "has duration"),
        ((np.nan, 10.0, "apnea"), "has onset"),
        ((3.0, 0.0, "apnea"), "lasts 0 s"),
    ],
)
def test_times_that_cannot_be_are_refused_with_the_night(row, match):
    with pytest.raises(InvalidRecordingError, match=match):
        targets_of([night(row)])


def test_a_type_that_never_occurs_is_refused_with_what_does():
    with pytest.raises(InvalidRecordingError, match=r"'arousal'; the nights have 'central_apnea'"):
        targets_of([night((5.0, 20.0, "central_apnea"))])


def test_nights_that_nobody_scored_are_refused():
    with pytest.raises(InvalidRecordingError, match="none of the 2 nights"):
        targets_of([night(events=False)] * 2)


@pytest.mark.parametrize("y", [[None], table((1.0, 20.0, "apnea")), []])
def test_y_is_one_table_per_night(y):
    with pytest.raises(ValueError, match="y must be 2 tables"):
        targets_of([night(), night()], y)


@pytest.mark.parametrize("y", [[[1, 2]], [pd.DataFrame({"onset": [1.0]})]])
def test_what_is_no_table_of_events_is_refused_with_the_night(y):
    with pytest.raises(InvalidRecordingError, match=r"recording 0 \(n1\): events"):
        targets_of([night()], y)


def test_types_may_be_one_name_several_or_groups():
    assert read_event_types(None) == {"apnea_hypopnea": ("apnea", "hypopnea")}
    assert read_event_types("arousal") == {"arousal": ("arousal",)}
    assert read_event_types({"any": ["apnea", "RERA"]}) == {"any": ("apnea", "RERA")}


def test_events_that_are_all_beyond_the_night_are_no_missing_type():
    with (
        pytest.warns(RecordingWarning, match="end after the night"),
        pytest.raises(InvalidRecordingError, match="type 'apnea' are after the night"),
    ):
        targets_of([night((500.0, 20.0, "apnea"), (10.0, 5.0, "arousal"))])
