# SPDX-License-Identifier: BSD-3-Clause
"""What file names tell of labels and people."""

from __future__ import annotations

import pytest

from sleep2vec_sklearn.readers.recording import find_hypnograms, is_hypnogram_name, subject_of


@pytest.fixture
def beside(tmp_path):
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
def test_labels_are_known_by_the_name_of_their_night(beside, name):
    assert beside("n.edf", name) == name
    assert beside("m.edf") is None


def test_labels_in_the_nsrr_form_go_before_those_of_its_software(beside):
    assert beside("n.edf", "n-profusion.xml", "n-nsrr.xml", "n.xml") == "n-nsrr.xml"


def test_all_that_are_there_are_found_in_order(tmp_path):
    for name in ("SC4001E0-PSG.edf", "SC4001EV-Hypnogram.edf", "SC4001EC-Hypnogram.edf"):
        (tmp_path / name).touch()
    (tmp_path / "SC4001E0_hypnogram.csv").touch()
    assert [path.name for path in find_hypnograms(tmp_path / "SC4001E0-PSG.edf")] == [
        "SC4001EC-Hypnogram.edf",
        "SC4001EV-Hypnogram.edf",
        "SC4001E0_hypnogram.csv",
    ]


def test_a_name_that_only_begins_alike_is_another_night(beside):
    assert beside("n1.edf", "n10-nsrr.xml", "n-nsrr.xml", "n1b.csv") is None


@pytest.mark.parametrize("recording", ["n-PSG.edf", "n_PSG.edf"])
def test_the_ending_psg_is_no_part_of_a_night(beside, recording):
    assert beside(recording, "n_hypnogram.csv") == "n_hypnogram.csv"


def test_labels_of_the_full_name_go_before_those_of_the_short_one(beside):
    assert beside("n-PSG.edf", "n-nsrr.xml", "n-PSG-nsrr.xml") == "n-PSG-nsrr.xml"


@pytest.mark.parametrize(
    ("other", "found"),
    [("SC4001EC-Hypnogram.edf", True), ("SC4001E9-Hypnogram.edf", True),
     ("sc4001ec-hypnogram.edf", True), ("SC4002EC-Hypnogram.edf", False),
     ("SC4001FC-Hypnogram.edf", False), ("SC4001ECC-Hypnogram.edf", False)],
)  # fmt: skip
def test_sleep_edf_names_the_scorer_in_its_last_letter(beside, other, found):
    assert beside("SC4001E0-PSG.edf", other) == (other if found else None)


def test_the_first_of_two_scorers_is_taken(beside):
    others = "SC4001EV-Hypnogram.edf", "SC4001EC-Hypnogram.edf"
    assert beside("SC4001E0-PSG.edf", *others) == "SC4001EC-Hypnogram.edf"


@pytest.mark.parametrize(
    ("header", "found"),
    [("stage", True), ("Stages", True), ("onset,Sleep Stage", True), ('a;"sleep_stage";b', True),
     ("onset\tSTAGE\tx", True), ("age,bmi", False), ("multistage,x", False), ("stage_ahi", False)],
)  # fmt: skip
def test_a_table_of_the_same_name_needs_a_column_of_stages(beside, header, found):
    assert beside("n.edf", "n.csv", text=header + "\n1,2\n") == ("n.csv" if found else None)


@pytest.mark.parametrize(
    ("name", "labels"),
    [("SC4001EC-Hypnogram", True), ("a_HYPNOGRAM", True), ("a-nsrr", True), ("a-profusion", True),
     ("annotations", True), ("night_scoring", True), ("SC4001E0-PSG", False), ("a-nsrr-2", False),
     ("night", False)],
)  # fmt: skip
def test_files_of_labels_are_told_by_their_names(tmp_path, name, labels):
    assert is_hypnogram_name(tmp_path / f"{name}.edf") == labels


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SC4011E0-PSG", "SC4012E0-PSG", True),
        ("SC4011E0-PSG", "SC4021E0-PSG", False),
        ("SC4011E0", "ST7011E0", False),
        ("ST7011J0-PSG", "ST7012J0-PSG", True),
        ("mros-visit1-aa0001", "mros-visit2-aa0001", True),
        ("mros-visit1-aa0001", "mros-visit1-aa0002", False),
        ("shhs1-200001", "shhs2-200001", True),
        ("shhs1-200001", "cfs-visit5-200001", False),
        ("cfs-visit5-800002", "cfs-visit5-800002-edited", True),
        ("patient 1", "patient 2", False),
        ("night1-12", "night2-12", False),
    ],
)
def test_nights_of_one_person_are_told_from_those_of_two(tmp_path, one, other, same):
    found = [subject_of(tmp_path / f"{name}.edf") for name in (one, other)]
    assert (found[0] == found[1]) == same
