# SPDX-License-Identifier: BSD-3-Clause
"""Labels of a recording: found by name, laid on its clock, and told of where they do not fit."""

import datetime
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import read_cohort
from sleep2vec_sklearn.errors import ReadError, RecordingWarning
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
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        found = find_hypnograms(tmp_path / recording)
        return found[0].name if found else None

    return find


@pytest.fixture
def read_study(write_edf, tmp_path):
    """Function of files of labels by their names: the cohort of two nights, a and b."""

    def read(files=None, table=None, **options):
        paths = [write_edf(f"study/{name}.edf", seconds=300) for name in "ab"]
        for name, text in (files or {}).items():
            (tmp_path / "study" / name).write_text(text)
        source = tmp_path / "study" if table is None else pd.DataFrame({"path": paths, **table})
        return read_cohort(source, verbose=0, **options)

    return read


def listed(codes):
    return "\n".join(codes)


def test_codes_are_one_coding(read_study):
    files = {"a_hypnogram.txt": listed("0123442550"), "b_hypnogram.txt": listed("0123442220")}
    cohort = read_study(files)
    assert cohort[0].stages.tolist() == [0, 1, 2, 3, 3, 3, 2, 4, 4, 0]
    assert cohort[1].stages.tolist() == [0, 1, 2, 3, 3, 3, 2, 2, 2, 0]
    assert "stages are integers; 4 is taken as N3, as in the cohort" in cohort[1].notes


def test_codes_of_stagers_agree(read_study):
    files = {"a_hypnogram.txt": listed("5012423420"), "b_hypnogram.txt": listed("0124242425")}
    cohort = read_study(files)
    assert cohort[0].stages.tolist() == [-1, 0, 1, 2, 4, 2, 3, 4, 2, 0]
    assert cohort[1].stages.tolist() == [0, 1, 2, 4, 2, 4, 2, 4, 2, -1]


def test_two_codings_are_told(read_study):
    files = {"a_hypnogram.txt": listed("0123434255"), "b_hypnogram.txt": listed("0124242420")}
    with pytest.warns(RecordingWarning, match="2 of 2 nights: stages are integers whose code"):
        cohort = read_study(files)
    assert cohort[0].stages.tolist() == [0, 1, 2, 3, 3, 3, 3, 2, 4, 4]
    assert cohort[1].stages.tolist() == [0, 1, 2, 4, 2, 4, 2, 4, 2, 0]


def test_ambiguous_codes_warn_once(read_study):
    files = {f"{name}_hypnogram.txt": listed("0123434350") for name in "ab"}
    files["b_hypnogram.txt"] = listed("5123434350")
    with pytest.warns(RecordingWarning, match="2 of 2 nights: stages are integers whose code") as w:
        read_study(files)
    assert len(w) == 1


def test_codes_without_zero_warn(read_study):
    files = {f"{name}_hypnogram.txt": listed("1123334511") for name in "ab"}
    with pytest.warns(RecordingWarning, match="is 1 wake"):
        cohort = read_study(files)
    assert any("1 is taken as N1 and 5 as R;" in note for note in cohort[0].notes)


def test_missing_stages_are_told(read_study):
    with pytest.warns(RecordingWarning, match="2 of 2 nights have no stages"):
        read_study()
    assert [night.stages for night in read_study(table={"hypnogram": False})] == [None, None]
    with pytest.warns(RecordingWarning, match="1 of 2 nights have no stages: 'b'") as caught:
        cohort = read_study({"a_hypnogram.csv": listed("WWNNWWWWWW").replace("N", "N2")})
    assert (len(caught), cohort[0].stages[2]) == (1, 2)
    assert read_study(table={"hypnogram": [None, False]})[1].stages is None


def test_unclaimed_labels_are_told(read_study):
    words = "2 of 2 nights: no stages, though files of labels lie in the folder that belong to no"
    with pytest.warns(RecordingWarning, match=words):
        cohort = read_study({"x_hypnogram.csv": "W", "y-nsrr.xml": "<a/>", "a_annotation.txt": ""})
    assert "3 such as a_annotation.txt, x_hypnogram.csv, y-nsrr.xml;" in cohort[0].notes[-1]
    assert "2 such as x_hypnogram.csv, y-nsrr.xml;" in cohort[1].notes[-1]


def test_scorer_of_a_cohort(read_study, tmp_path):
    rows = "".join(f"{30 * i},N2,W\n" for i in range(10))
    files = {f"{name}_hypnogram.csv": "onset,stage_hum,stage_ai\n" + rows for name in "ab"}
    assert [set(night.stages) for night in read_study(files, scorer="ai")] == [{0}, {0}]
    with pytest.raises(ReadError, match="Pass scorer='stage_hum'"):
        read_study(files, on_error="raise")
    for name in "ab":
        (tmp_path / "study" / f"{name}_hypnogram.csv").rename(tmp_path / f"study/{name}_events.csv")
    assert [set(night.stages) for night in read_study(scorer="hum")] == [{2}, {2}]


@pytest.mark.parametrize(
    ("n", "words"),
    [(8, "8 labels for 10 epochs of signal: 0 before and 0 after it were cut; they are laid"),
     (11, "11 labels for 10 epochs"), (3, "7 of 10 epochs are unscored")],
)  # fmt: skip
def test_short_lists_are_told(read_study, n, words):
    files = {f"{name}_hypnogram.txt": listed("W" * n) for name in "ab"}
    with pytest.warns(RecordingWarning) as caught:
        cohort = read_study(files)
    assert any(words in note for note in cohort[0].notes)
    assert all("2 of 2 nights" in str(warning.message) for warning in caught)


def test_day_of_labels_by_fit():
    noon = datetime.datetime(2020, 1, 1, 12)
    night = noon + datetime.timedelta(hours=13)
    assert clock_shift(night, noon, (0.0, 3000.0), 86_400.0)[0] == 46_800.0
    assert clock_shift(night, noon, (0.0, 3000.0), 28_800.0)[0] == -39_600.0


@pytest.mark.parametrize(
    "name",
    ["n-Hypnogram.edf", "n_Hypnogram.edf", "n-hypnogram.edf", "n_hypnogram.edf", "n-nsrr.xml",
     "n-profusion.xml", "n.xml", "n_hypnogram.csv", "n-hypnogram.csv", "n_hypnogram.tsv",
     "n_hypnogram.txt", "n.eannot", "n.csv", "n_staging.csv", "n-staging.txt", "n_sleepstages.csv",
     "n_sleep_stages.csv", "n.hypno.csv", "n_events.csv", "hypnogram_n.csv", "Staging-n.txt"],
)  # fmt: skip
def test_label_file_names(find_labels, name):
    assert find_labels("n.edf", name) == name
    assert find_labels("m.edf") is None


@pytest.mark.parametrize(
    ("recording", "labels"),
    [("NIGHT.EDF", "NIGHT.XML"), ("night.edf", "Night-NSRR.xml"), ("n_psg.edf", "n_hypnogram.csv"),
     ("sub-01_task-sleep_eeg.edf", "sub-01_task-sleep_hypnogram.tsv"),
     ("sub-01_task-sleep_acq-psg_eeg.edf", "sub-01_task-sleep_acq-psg_events.tsv"),
     ("01-03-0001 PSG.edf", "01-03-0001 Base.edf"), ("n.edf", "n_HYPNOGRAM.TXT"),
     ("n.edf", "n_stages.csv"), ("SN001.edf", "SN001_sleepscoring.edf"),
     ("wsc-visit1-10119-nsrr.edf", "wsc-visit1-10119-nsrr.xml"),
     ("n.edf", "n.txt"), ("n.edf", "hypnograms/n.csv"),
     ("edf/n.edf", "Annotations/n.edf"), ("PSG/a/n.edf", "labels/a/n_hypnogram.txt"),
     ("polysomnography/edfs/shhs1/shhs1-200001.edf",
      "polysomnography/annotations-events-nsrr/shhs1/shhs1-200001-nsrr.xml"),
     ("sub-01/eeg/sub-01_task-sleep_eeg.edf",
      "derivatives/yasa/sub-01/eeg/sub-01_task-sleep_hypnogram.tsv"),
     ("sub-01/ses-1/eeg/sub-01_ses-1_eeg.edf",
      "derivatives/staging/sub-01/ses-1/eeg/sub-01_ses-1_events.tsv"),
     ("polysomnography/edfs/mesa-sleep-0001.edf",
      "polysomnography/annotations-events-profusion/mesa-sleep-0001-profusion.xml")],
)  # fmt: skip
def test_public_layouts(find_labels, recording, labels):
    assert find_labels(recording) is None
    assert find_labels(recording, labels) == labels.rpartition("/")[2]


@pytest.mark.parametrize(
    ("recording", "labels"),
    [("edfs/a/n.edf", "annotations/b/n.csv"), ("edfs/a/n.edf", "annotations/n.csv"),
     ("site/n.edf", "hypnograms/n.csv"), ("edfs/n.edf", "hypnograms/n2.csv"),
     ("edfs/n.edf", "other/n_hypnogram.csv"), ("n.edf", "n_annotations.edf"),
     ("sub-01/eeg/n_eeg.edf", "derivatives/clean/sub-01/eeg/n.edf"),
     ("sub-01/eeg/n_eeg.edf", "derivatives/clean/sub-02/eeg/n_hypnogram.tsv")],
)  # fmt: skip
def test_foreign_folders_are_left(find_labels, recording, labels):
    assert find_labels(recording, labels) is None


def test_tree_of_nsrr_in_order(tmp_path, find_labels):
    trees = [f"annotations-events-{kind}/shhs1/a-{kind}.xml" for kind in ("profusion", "nsrr")]
    assert find_labels("edfs/shhs1/a.edf", *trees) == "a-nsrr.xml"
    assert find_labels("edfs/shhs1/a.edf", "edfs/shhs1/a_hypnogram.csv") == "a_hypnogram.csv"


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
     ("onset\tSTAGE\tx", True), ("onset\tstage_hum\tstage_ai", True), ("epoch;stage2", True),
     ("onset,expert", False), ("onset,scorer2", False), ("x,stage_hum", False),
     ("age,bmi", False), ("multistage,x", False), ("stage_ahi", False)],
)  # fmt: skip
def test_table_needs_stage_column(find_labels, header, found):
    text = header + "\n" + re.sub(r"[^,;\t]+", "1", header) + "\n"
    assert find_labels("n.edf", "n.csv", text=text) == ("n.csv" if found else None)


@pytest.mark.parametrize(
    ("name", "labels"),
    [("SC4001EC-Hypnogram", True), ("a_HYPNOGRAM", True), ("SN001_sleepscoring", True),
     ("annotations", True), ("night_scoring", True), ("SC4001E0-PSG", False), ("a_stages", True),
     ("wsc-visit1-10119-nsrr", False), ("night", False)],
)  # fmt: skip
def test_label_files_by_name(tmp_path, name, labels):
    assert is_hypnogram_name(tmp_path / f"{name}.edf") == labels


@pytest.mark.parametrize(
    ("rows", "found"),
    [(["12,9,Hypopnea,N2", "70,20,Apnea,N2"], False), (["0,30,,W", "30,30,Apnea,N2"], True),
     (["0,30,,N2", "30,30,,N2", "35,9,Apnea,N2", "50,9,Apnea,N2", "70,9,Apnea,N2"], True)],
)  # fmt: skip
def test_event_lists_are_left(find_labels, rows, found):
    text = "\n".join(["onset,duration,event,stage", *rows])
    assert find_labels("n.edf", "n_events.csv", text=text) == ("n_events.csv" if found else None)


def test_annotations_that_hold_stages(write_edf, stages_of):
    path = write_edf("n.edf")
    spindles = write_edf("n_Annotations.edf", annotations=[(0.0, 1.0, "Spindle")])
    assert find_hypnograms(path) == []
    spindles.unlink()
    labels = write_edf("n Annotations.edf", annotations=stages_of("WW2R"))
    assert find_hypnograms(path) == [labels]


START = datetime.datetime(1985, 1, 1, 22, 30)
moments = st.datetimes(datetime.datetime(1985, 1, 1), datetime.datetime(2084, 12, 31))


@given(moments, st.integers(-43_199, 43_200))
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
    [((60.0, None), (60.0, None)), ((None, 700.0), (None, 700.0)), ((-60.0, 2000.0), (0.0, 900.0)),
     ((500.0, 400.0), None), ((950.0, None), None), ((400.0, None), None), (None, None)],
)  # fmt: skip
def test_contradictory_lights_are_dropped(lights, found):
    stages = np.array([0] * 5 + [2] * 20 + [0] * 5)
    result, notes = check_lights(lights, 0.0, 900.0, stages)
    assert result == found
    assert len(notes) == (lights is not None and found is None)
