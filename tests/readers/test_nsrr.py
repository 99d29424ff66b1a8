# SPDX-License-Identifier: BSD-3-Clause
"""Folders of the National Sleep Research Resource as they are downloaded, with made-up people."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import RecordingMetadata, read_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError, ReadError, RecordingWarning
from sleep2vec_sklearn.readers._nsrr import STUDIES, find_tables, identify, recognize_table

HARMONIZED = """nsrrid,visitnumber,nsrr_age,nsrr_age_gt89,nsrr_sex,nsrr_race,nsrr_bmi,nsrr_ahi_hp3u
200001,1,55,no,male,white,27.5,12.4
200002,1,90,yes,female,black or african american,31,22.1
200001,2,60,no,male,white,28.5,
200003,1,48,no,not reported,not reported,,5.3
"""
DATASET = """nsrrid,pptid,age_s1,gender,race,bmi_s1,rdi3p
200001,1,54,2,3,20,1
200003,3,47,2,1,24.5,1
200004,4,70,1,3,25.5,1
"""


@pytest.fixture
def write(write_edf, stages_of, tmp_path):
    """Function of paths of nights, and of paths and texts of tables."""

    def make(*nights, **tables):
        for night in nights:
            write_edf(night, {"SpO2": (1, "%")}, seconds=60, annotations=stages_of("W2"))
        for name, text in tables.items():
            path = tmp_path / name.replace("__", "/").replace("_", "-")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(path.name + "-0.21.0.csv").write_text(text)
        return tmp_path

    return make


@pytest.fixture
def shhs(write):
    edfs = "shhs/polysomnography/edfs"
    return write(
        f"{edfs}/shhs1/shhs1-200001.edf", f"{edfs}/shhs1/shhs1-200002.edf",
        f"{edfs}/shhs1/shhs1-200003.edf", f"{edfs}/shhs2/shhs2-200001.edf",
        shhs__datasets__shhs_harmonized_dataset=HARMONIZED, shhs__datasets__shhs1_dataset=DATASET,
        shhs__datasets__shhs_cvd_summary_dataset="nsrrid,age_s1\n200001,99\n",
    ) / "shhs"  # fmt: skip


@pytest.mark.parametrize("part", ["", "polysomnography", "polysomnography/edfs"])
def test_shhs_as_downloaded(shhs, part):
    cohort = read_cohort(shhs / part, verbose=0)
    assert cohort.metadata.index.str[:5].tolist() == ["shhs1"] * 3 + ["shhs2"]
    assert cohort.groups.tolist() == [f"shhs-20000{i}" for i in (1, 2, 3, 1)]
    assert cohort.metadata["age"].tolist() == [55, 90, 48, 60]
    assert cohort.metadata["sex"].tolist() == ["male", "female", "female", "male"]
    assert cohort.metadata["bmi"].tolist() == [27.5, 31.0, 24.5, 28.5]
    races = ["white", "black or african american", "white", "white"]
    assert cohort.metadata["race"].tolist() == races
    assert {cohort.metadata[name].dtype.name for name in ("race", "nsrr_race")} == {"category"}
    np.testing.assert_array_equal(cohort.metadata["nsrr_ahi_hp3u"], [12.4, 22.1, 5.3, np.nan])
    assert "rdi3p" not in cohort.metadata
    assert [night.metadata["age"] for night in cohort] == [55, 90, 48, 60]


def test_covariates_of_shhs(shhs):
    cohort = read_cohort(shhs, verbose=0)
    columns = RecordingMetadata(fields=["age", "sex", "race"]).fit(cohort)
    assert columns.categories_["race"] == ("black or african american", "white")
    expected = [[55, 1, 0, 1], [90, 0, 1, 0], [48, 0, 0, 1], [60, 1, 0, 1]]
    np.testing.assert_array_equal(columns.transform(cohort), expected)


def test_newest_tables_are_used(shhs):
    old = DATASET.replace("47,2", "12,1")
    for version in ("0.9.0", "0.20.0", "0.3.0.rc"):
        (shhs / "datasets" / f"shhs1-dataset-{version}.csv").write_text(old)
    tables = find_tables(shhs, ["shhs"])
    assert [table.path.name for table in tables] == [
        "shhs-harmonized-dataset-0.21.0.csv",
        "shhs1-dataset-0.21.0.csv",
    ]


def test_stated_columns_come_first(shhs):
    extra = pd.DataFrame({"nsrrid": [200001, 200002, 200003], "bmi": [1.0, np.nan, 3.0]})
    cohort = read_cohort(shhs, metadata=extra, verbose=0)
    assert cohort.metadata["bmi"].tolist() == [1.0, 31.0, 3.0, 1.0]


def test_missing_participants_are_counted(shhs, write):
    edfs = "shhs/polysomnography/edfs"
    write(f"{edfs}/shhs1/shhs1-200009.edf", f"{edfs}/shhs2/shhs2-200002.edf")
    words = "4 of 6 nights of shhs have a row .* without: 'shhs1-200009', 'shhs2-200002'"
    with pytest.warns(RecordingWarning, match=words):
        cohort = read_cohort(shhs, verbose=0)
    # of the header, as no table has it
    assert cohort["shhs1-200009"].metadata["age"] == 33


def test_visits_share_sex_and_race(shhs):
    (shhs / "datasets" / "shhs-harmonized-dataset-0.21.0.csv").unlink()
    (shhs / "datasets" / "shhs2-dataset-0.21.0.csv").write_text("nsrrid,age_s2\n200001,59\n")
    with pytest.warns(RecordingWarning, match="3 of 4 nights of shhs have a row") as caught:
        cohort = read_cohort(shhs, pattern="**/shhs[12]-20000[123].edf", verbose=0)
    assert cohort.metadata["sex"].astype(object).tolist()[2:] == ["female"] * 2
    assert cohort["shhs2-200001"].metadata["race"] == "other"
    np.testing.assert_array_equal(cohort.metadata["age"], [54, 33, 47, 59])
    assert "1 of 4 nights of shhs have no age in them: 'shhs1-200002'" in str(caught[0].message)


def test_differing_visits_share_nothing(shhs):
    text = HARMONIZED.replace("2,60,no,male,white", "2,60,no,,white") + "200001,3,1,no,female,,,\n"
    (shhs / "datasets" / "shhs-harmonized-dataset-0.21.0.csv").write_text(text)
    (shhs / "datasets" / "shhs1-dataset-0.21.0.csv").unlink()
    with pytest.warns(RecordingWarning, match="2 of 4 nights of shhs have no sex in them: 'shhs1-"):
        cohort = read_cohort(shhs, verbose=0)
    # of the header
    assert cohort["shhs2-200001"].metadata["sex"] == "F"


@pytest.mark.parametrize("end", ["200003,1,48,no", "200003,1,48,no,"])
def test_cut_tables_are_refused(shhs, end):
    (shhs / "datasets" / "shhs-harmonized-dataset-0.21.0.csv").write_text(HARMONIZED + end)
    words = r"dataset-0\.21\.0\.csv: cut short, its last line has [45] of 8 .* or end the line"
    with pytest.raises(ReadError, match=words):
        read_cohort(shhs, verbose=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [(HARMONIZED + "0200001,01,5,no,male,white,20,\n", "more than one row for the participant"),
     (HARMONIZED.replace("nsrrid", "who"), "no column of participants; accepted are nsrrid")],
)  # fmt: skip
def test_unclear_tables_are_refused(shhs, text, words):
    (shhs / "datasets" / "shhs-harmonized-dataset-0.21.0.csv").write_text(text)
    with pytest.raises(ReadError, match=rf"shhs-harmonized-dataset-0\.21\.0\.csv.*{words}"):
        read_cohort(shhs, verbose=0)


STUDY_CASES = [
    ("mesa-sleep-0001", "mesa-sleep", "mesaid,sleepage5c,gender1,bmi5c,race1c\n1,61,0,22,3",
     [61, "female", 22, "black or african american"]),
    ("mros-visit2-aa0001", "mros-visit2",
     "NSRRID,VISIT,VS2AGE1,GENDER,HWBMI,GIERACE\nAA0001,2,80,2,26,4", [80, "male", 26, "hispanic"]),
    ("cfs-visit5-800002", "cfs-visit5", "nsrrid,rectype,age,SEX,bmi,race\n800002,5,41.5,1,30,2",
     [41.5, "male", 30, "black or african american"]),
    ("wsc-visit3-10119-nsrr", "wsc",
     "wsc_id,wsc_vst,age,sex,bmi,race\n10119,1,1,M,1,5\n10119,3,58,F,27,05",
     [58, "female", 27, "white"]),
    ("chat-followup-300001", "chat-followup",
     "nsrrid,vnum,ageyear_at_meas,male,bmi,race3\n300001,10,7.5,1,16,2",
     [7.5, "male", 16, "black or african american"]),
    ("chat-baseline-nonrandomized-300004", "chat-nonrandomized",
     "nsrrid,age_nr,ref9,bmi\n300004,8,2,17", [8, "female", 17, None]),
    ("sof-visit-8-00012", "sof-visit-8", "sofid,V8AGE,gender,v8bmi,race\n12,83,1,24,1",
     [83, "female", 24, "white"]),
    ("hchs-sol-00163225", "hchs-sol-baseline", "pid,age,gendernum,bmi,race\n163225,50,1,31,6",
     [50, "male", 31, "multiple"]),
    ("abc-month09-900001", "abc-harmonized",
     "nsrrid,visitnumber,nsrr_age,nsrr_sex,nsrr_bmi,nsrr_race\n"
     "900001,0,44,male,41,white\n900001,9,45,male,35,white", [45, "male", 35, "white"]),
    ("heartbeat-followup-700001", "heartbeat-followup",
     "nsrrid,timepoint,calc_age,male,bmi,race3\n700001,7,66,0,29,1", [66, "female", 29, "white"]),
    ("bestair-month6-400001", "bestair-month6",
     "nsrrid,visitnumber,age,gender,bmi,race\n400001,6,70,2,28,4", [70, "female", 28, "asian"]),
    ("homepap-lab-full-1600001", "homepap-baseline", "nsrrid,age,bmi,race3\n1600001,47,38,1",
     [47, None, 38, "white"]),
    ("ccshs-trec-1800001", "ccshs-trec", "nsrrid,age,male,bmi,race3\n1800001,17,1,23,3",
     [17, "male", 23, "other"]),
    ("apples-110001", "apples-harmonized", "nsrrid,visitn,nsrr_age,nsrr_sex,nsrr_bmi,nsrr_race\n"
     "110001,1,50,male,33,white\n110001,3,,male,,white", [50, "male", 33, "white"]),
]  # fmt: skip


@pytest.mark.parametrize(("night", "table", "text", "expected"), STUDY_CASES)
def test_columns_of_each_study(write, tmp_path, night, table, text, expected):
    write(f"data/polysomnography/edfs/{night}.edf")
    (tmp_path / "data" / "datasets").mkdir()
    (tmp_path / "data" / "datasets" / f"{table}-dataset-0.5.0.csv").write_text(text)
    found = read_cohort(tmp_path / "data", verbose=0).metadata
    names = ["age", "sex", "bmi", "race"]
    known = [name for name, value in zip(names, expected, strict=True) if value is not None]
    assert found[known].iloc[0].tolist() == [value for value in expected if value is not None]


def test_unknown_codes_stay_visible(write):
    folder = write(*(f"mesa-sleep-000{i}.edf" for i in (1, 2, 3, 4)),
                   datasets__mesa_sleep_dataset="mesaid,sleepage5c,gender1,race1c\n"
                   "1,60,1,1\n2,90+,0,9\n3,,.,.\n4,61,3,2\n")  # fmt: skip
    words = "4 of 4 .*1 of 4 nights of mesa have no age in them: 'mesa-sleep-0003'.*no sex in them"
    with pytest.warns(RecordingWarning, match=words):
        cohort = read_cohort(folder, verbose=0)
    assert cohort.metadata["race"].astype(object).tolist()[:2] == ["white", "9"]
    assert cohort.metadata["race"].isna().tolist() == [False, False, True, False]
    for field, words in (("age", "recording 1 .*'90\\+'"), ("sex", "recording 3 .*'sex' is '3'")):
        with pytest.raises(InvalidRecordingError, match=words):
            RecordingMetadata(fields=[field]).fit_transform(cohort)


@pytest.mark.parametrize(
    ("name", "subject", "visit"),
    [("chat-baseline-300001", "chat-300001", "baseline"),
     ("chat-baseline-nonrandomized-300004", "chat-300004", "nonrandomized"),
     ("abc-month09-900001", "abc-900001", "month09"), ("sof-visit-8-00001", "sof-00001", "8"),
     ("wsc-visit1-10119-nsrr", "wsc-10119", "1"), ("SHHS2-200001", "shhs-200001", "2"),
     ("mros-visit1-AA0001", "mros-aa0001", "1"),
     ("heartbeat-followup-700001", "heartbeat-700001", "followup"),
     ("bestair-month6-400001", "bestair-400001", "month6"), ("mesa-sleep-0001", "mesa-0001", None),
     ("homepap-home-1600001", "homepap-1600001", None),
     ("pats-812345-baseline", "pats-812345", "baseline"),
     ("sub-01_ses-02_task-sleep_eeg", "sub-01", "02"), ("sub-01", "sub-01", None),
     ("lab-visit-2-0007", "lab-0007", "visit-2"), ("lab-month12-0007_psg", "lab-0007", "month12"),
     ("site1-0001", "site1-0001", None), ("10_22", "10_22", None),
     ("night1-1234", "night1-1234", None), ("P01_night2", "P01", "2"),
     ("psg_night2", "psg_night2", None),
     ("K 7-Session-03_PSG", "K 7", "03"), ("control-n1", "control-n1", None)],
)  # fmt: skip
def test_names_state_who_and_when(tmp_path, name, subject, visit):
    identity = identify(tmp_path / f"{name}.edf")
    assert (identity.subject, identity.visit) == (subject, visit)


def test_short_names_need_their_folder(tmp_path):
    assert identify(tmp_path / "nchsdb" / "sleep_data" / "10_22.edf").subject == "nchsdb-10"
    assert identify(tmp_path / "stages" / "BOGN" / "BOGN00004.edf").subject == "stages-bogn00004"
    assert identify(tmp_path / "BOGN" / "BOGN00004.edf").subject == "BOGN00004"


@pytest.mark.parametrize(
    ("name", "study", "harmonized", "visit"),
    [("shhs-harmonized-dataset-0.21.0", "shhs", True, None),
     ("shhs2-dataset-0.20.0", "shhs", False, "2"),
     ("mros-visit1-harmonized-0.6.0", "mros", True, "1"), ("wsc-dataset", "wsc", False, None),
     ("nchsdb-dataset-harmonized-0.3.0", "nchsdb", True, None),
     ("sof-visit-8-harmonized-dataset-0.8.0", "sof", True, "8"),
     ("chat-nonrandomized-dataset-0.12.0.rc", "chat", False, "nonrandomized"),
     ("shhs-interim-followup-dataset-0.21.0", None, None, None), ("shhs1", None, None, None),
     ("shhs-data-dictionary-0.21.0-variables", None, None, None), ("metadata", None, None, None)],
)  # fmt: skip
def test_names_of_tables(tmp_path, name, study, harmonized, visit):
    table = recognize_table(tmp_path / f"{name}.csv")
    if study is None:
        assert table is None
    else:
        assert (table.study.name, table.harmonized, table.visit) == (study, harmonized, visit)


def test_page_lists_the_studies():
    page = (Path(__file__).parents[2] / "docs" / "nsrr.md").read_text(encoding="utf-8")
    for study in STUDIES:
        row = next(line for line in page.splitlines() if line.startswith(f"| {study.name} |"))
        columns = {*study.ids, *study.visit, *study.age, *study.bmi, *study.sex, *study.race}
        assert [column for column in columns if f"`{column}`" not in row] == []
        assert row.endswith("| seen |" if study.seen else "| believed |")


@pytest.mark.parametrize(
    ("name", "subject"),
    [("SC4001E0-PSG.edf", "SC400"), ("SC4002E0-PSG.edf", "SC400"), ("ST7011J0-PSG.edf", "ST701"),
     ("shhs1-200001.edf", "shhs-200001"), ("shhs2-200001.edf", "shhs-200001"),
     ("mros-visit2-aa0001.edf", "mros-aa0001"), ("patient 12.edf", "patient 12"),
     ("cfs-visit5-800002-edited.edf", "cfs-800002"), ("night1-12.edf", "night1-12")],
)  # fmt: skip
def test_subject_from_file_name(tmp_path, name, subject):
    assert identify(tmp_path / name).subject == subject


@pytest.mark.parametrize("place", ["", "edfs/shhs1/"])
def test_tables_outside_of_datasets(write, place):
    root = write("edfs/shhs1/shhs1-200001.edf")
    (root / f"{place}shhs1-dataset-0.21.0.csv").write_text(DATASET)
    assert read_cohort(root, verbose=0).metadata["age"].tolist() == [54]
