# SPDX-License-Identifier: BSD-3-Clause
"""Labels of a recording: found by name, laid on its clock, and told of where they do not fit."""

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.readers._labels import (
    check_lights,
    clock_shift,
    cut_events,
    find_hypnograms,
    is_hypnogram_name,
)


@pytest.fixture
def find_labels(tmp_path):
    """Function of (recording, others): the name of the hypnogram found, or None."""

    def find(recording, *others, text="onset,stage\n0,W\n"):
        for name in (recording, *others):
            (tmp_path / name).write_text(text)
        found = find_hypnograms(tmp_path / recording)
        return found[0].name if found else None

    return find


@pytest.mark.parametrize(
    "name",
    ["n-Hypnogram.edf", "n_Hypnogram.edf", "n-hypnogram.edf", "n_hypnogram.edf", "n-nsrr.xml",
     "n-profusion.xml", "n.xml", "n_hypnogram.csv", "n-hypnogram.csv", "n_hypnogram.tsv",
     "n_hypnogram.txt", "n.eannot", "n.csv"],
)  # fmt: skip
def test_label_file_names(find_labels, name):
    assert find_labels("n.edf", name) == name
    assert find_labels("m.edf") is None


def test_nsrr_form_takes_precedence(find_labels):
    assert find_labels("n.edf", "n-profusion.xml", "n-nsrr.xml", "n.xml") == "n-nsrr.xml"


def test_label_files_in_order(tmp_path):
    for name in ("SC4001E0-PSG.edf", "SC4001EV-Hypnogram.edf", "SC4001EC-Hypnogram.edf"):
        (tmp_path / name).touch()
    (tmp_path / "SC4001E0_hypnogram.csv").touch()
    assert [path.name for path in find_hypnograms(tmp_path / "SC4001E0-PSG.edf")] == [
        "SC4001EC-Hypnogram.edf",
        "SC4001EV-Hypnogram.edf",
        "SC4001E0_hypnogram.csv",
    ]


def test_similar_names_differ(find_labels):
    assert find_labels("n1.edf", "n10-nsrr.xml", "n-nsrr.xml", "n1b.csv") is None


@pytest.mark.parametrize("recording", ["n-PSG.edf", "n_PSG.edf"])
def test_psg_ending_is_ignored(find_labels, recording):
    assert find_labels(recording, "n_hypnogram.csv") == "n_hypnogram.csv"


def test_full_name_takes_precedence(find_labels):
    assert find_labels("n-PSG.edf", "n-nsrr.xml", "n-PSG-nsrr.xml") == "n-PSG-nsrr.xml"


@pytest.mark.parametrize(
    ("other", "found"),
    [("SC4001EC-Hypnogram.edf", True), ("SC4001E9-Hypnogram.edf", True),
     ("sc4001ec-hypnogram.edf", True), ("SC4002EC-Hypnogram.edf", False),
     ("SC4001FC-Hypnogram.edf", False), ("SC4001ECC-Hypnogram.edf", False)],
)  # fmt: skip
def test_sleep_edf_scorer_letter(find_labels, other, found):
    assert find_labels("SC4001E0-PSG.edf", other) == (other if found else None)


@pytest.mark.parametrize(
    ("header", "found"),
    [("stage", True), ("Stages", True), ("onset,Sleep Stage", True), ('a;"sleep_stage";b', True),
     ("onset\tSTAGE\tx", True), ("age,bmi", False), ("multistage,x", False), ("stage_ahi", False)],
)  # fmt: skip
def test_table_needs_stage_column(find_labels, header, found):
    assert find_labels("n.edf", "n.csv", text=header + "\n1,2\n") == ("n.csv" if found else None)


@pytest.mark.parametrize(
    ("name", "labels"),
    [("SC4001EC-Hypnogram", True), ("a_HYPNOGRAM", True), ("a-nsrr", True), ("a-profusion", True),
     ("annotations", True), ("night_scoring", True), ("SC4001E0-PSG", False), ("a-nsrr-2", False),
     ("night", False)],
)  # fmt: skip
def test_label_files_by_name(tmp_path, name, labels):
    assert is_hypnogram_name(tmp_path / f"{name}.edf") == labels


START = datetime.datetime(1985, 1, 1, 22, 30)
moments = st.datetimes(datetime.datetime(1985, 1, 1), datetime.datetime(2084, 12, 31))


@given(moments, st.integers(-43_200, 43_200))
def test_half_a_day_is_taken(start, shift):
    labels = start + datetime.timedelta(seconds=shift)
    found, notes = clock_shift(labels, start, (0.0, 3600.0), 43_201.0)
    assert found == shift
    note = f"labels start {shift:+g} s from the signals by the clock; moved there"
    assert notes == ((note,) if shift else ())


@given(moments, st.integers(-21_000, 21_000), st.integers(1, 3000) | st.integers(-3000, -1))
def test_changed_dates_are_ignored(start, shift, days):
    labels = start + datetime.timedelta(days, shift)
    found, notes = clock_shift(labels, start, (0.0, 28_800.0), 28_800.0)
    assert found == shift
    assert notes[0] == "the dates of labels and signals differ; aligned by the time of day"


@pytest.mark.parametrize(("labels", "signals"), [(None, START), (START, None), (None, None)])
def test_no_clock_means_no_shift(labels, signals):
    assert clock_shift(labels, signals, (0.0, 30.0), 30.0) == (0.0, ())


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(0.0, [(5, 10), (50, 20)]), (-8.0, [(0, 7), (42, 20)]), (-20.0, [(30, 20)]),
     (40.0, [(45, 10), (90, 10)]), (200.0, [])],
)  # fmt: skip
def test_events_are_cut(shift, expected):
    events = pd.DataFrame({"onset": [5.0, 50.0], "duration": [10.0, 20.0], "type": ["a", "b"]})
    found, notes = cut_events(events, shift, 100.0)
    assert list(zip(found["onset"], found["duration"], strict=True)) == expected
    lost = 2 - len(expected)
    said = f"{lost} of 2 events lie outside the signals and are left out"
    assert [note.startswith(said) for note in notes] == [True] * (shift in (-20, -8, 40, 200))


@pytest.mark.parametrize(
    ("lights", "found"),
    [((60.0, None), (60.0, None)), ((None, 500.0), (None, 500.0)), ((-60.0, 2000.0), (0.0, 900.0)),
     ((500.0, 400.0), None), ((950.0, None), None), ((800.0, None), None), (None, None)],
)  # fmt: skip
def test_contradictory_lights_are_dropped(lights, found):
    stages = np.array([0] * 5 + [2] * 20 + [0] * 5)
    result, notes = check_lights(lights, 0.0, 900.0, stages)
    assert result == found
    assert len(notes) == (lights is not None and found is None)
