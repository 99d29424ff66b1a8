# SPDX-License-Identifier: BSD-3-Clause
"""Sleep-EDF: nights of both studies and their tables of subjects."""

from __future__ import annotations

import datetime

import edfio
import pandas as pd
import pytest

from sleep2vec_sklearn.datasets import load_sleep_edf
from sleep2vec_sklearn.datasets.sleep_edf import _as_time_of_day
from sleep2vec_sklearn.errors import ReadError, RecordingWarning
from tests.datasets.files import write_edf

STAGES = ["W", "W", "1", "2", "3", "4", "R", "R"]
START = datetime.datetime(1989, 4, 24, 16, 13)
TABLES = {
    "SC": "subject,night,age,sex (F=1),LightsOff\n0,1,33,1,16:15:00\n0,2,33,1,21:57\n82,1,91,2,\n",
    "ST": (
        "Subject - age - sex,,,Placebo night,,Temazepam night,\n"
        "Nr,Age,M1/F2,night nr,lights off,night nr,lights off\n"
        "1,60,1,1,0.97,2,23:48:00\n2,35,2,2,00:27,1,00:00\n"
    ),
}


def write_night(folder, psg, hypnogram, patient="X F X Female_33yr", stages=STAGES):
    """Noise in the channels and the naming of the data set."""
    slow = 100 if psg.startswith("ST") else 1
    rates = {"EEG Fpz-Cz": 100, "EEG Pz-Oz": 100, "EOG horizontal": 100, "EMG submental": slow}
    rates |= {"Resp oro-nasal": 1, "Temp rectal": 1} if slow == 1 else {"Marker": 1}
    code, sex, _, name = patient.split()
    patient = edfio.Patient(code=code, sex=sex, name=name)
    path = folder / f"{psg}-PSG.edf"
    seconds = 30 * len(stages)
    write_edf(path, rates, START, seconds, edf_patient=patient, data_record_duration=30)
    marks = [edfio.EdfAnnotation(30.0 * i, 30.0, f"Sleep stage {s}") for i, s in enumerate(stages)]
    recording = edfio.Recording(startdate=START.date())
    edf = edfio.Edf([], annotations=marks, starttime=START.time(), recording=recording)
    edf.write(folder / f"{hypnogram}-Hypnogram.edf")


@pytest.fixture
def published(tmp_path):
    """Four nights of three subjects in the published layout."""
    cassette, telemetry = tmp_path / "sleep-cassette", tmp_path / "sleep-telemetry"
    write_night(cassette, "SC4001E0", "SC4001EC")
    write_night(cassette, "SC4002E0", "SC4002EC")
    write_night(cassette, "SC4821G0", "SC4821GC", "X X X X")
    write_night(telemetry, "ST7021J0", "ST7021JM", "X F X Female_35yr")
    return tmp_path


def write_tables(folder):
    for study, text in TABLES.items():
        (folder / f"{study}-subjects.csv").write_text(text)


def test_nights_share_their_subject(published):
    cohort = load_sleep_edf(published)
    table = cohort.metadata
    assert [night.subject for night in cohort] == ["SC400", "SC400", "SC482", "ST702"]
    assert table["night"].tolist() == [1, 2, 1, 1]
    assert table["site"].tolist() == ["sleep-cassette"] * 3 + ["sleep-telemetry"]
    assert table["sex"].tolist()[:2] == ["F", "F"]
    assert table["age"].tolist()[:2] == [33, 33]
    assert table.loc["SC4821G0-PSG", ["age", "sex"]].isna().all()


def test_rechtschaffen_kales_stages_merge(published):
    write_night(published / "sleep-cassette", "SC4001E0", "SC4001EC", stages=[*STAGES, "?"])
    night = load_sleep_edf(published)[0]
    assert night.stages.tolist() == [0, 0, 1, 2, 3, 3, 4, 4, -1]
    assert night.start == START


def test_slow_channels_are_dropped(published):
    cohort = load_sleep_edf(published)
    assert cohort[0].modalities == ("eeg", "eog")
    assert cohort[3].modalities == ("eeg", "eog", "emg")
    assert cohort[0].rates == {"eeg": 100.0, "eog": 100.0}
    assert any("1 Hz, airflow needs at least 4 Hz" in note for note in cohort[0].notes)


@pytest.mark.parametrize("where", [".", "sleep-cassette"])
def test_tables_give_metadata_and_lights(published, where):
    write_tables(published)
    cohort = load_sleep_edf(published / where)
    table = cohort.metadata
    assert table.loc["SC4821G0-PSG", ["age", "sex"]].tolist() == [91, "M"]
    assert cohort[0].lights == (120.0, None)
    assert cohort[1].lights is None
    if where == ".":
        row = table.loc["ST7021J0-PSG"]
        assert row[["age", "sex", "treatment"]].tolist() == [35, "F", "temazepam"]
        assert len(cohort) == 4
    else:
        assert len(cohort) == 3


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [("23:48:00", 85_680), ("00:38", 2_280), (datetime.time(0, 38), 2_280), (0.5, 43_200),
     (float("nan"), None), ("", None)],
)  # fmt: skip
def test_cells_are_times_of_day(cell, seconds):
    time = _as_time_of_day(cell)
    assert (None if time is None else time.total_seconds()) == seconds


def test_unreadable_table_warns(published):
    (published / "SC-subjects.csv").write_text("nothing of the kind\n")
    with pytest.warns(RecordingWarning, match=r"SC-subjects\.csv cannot be read"):
        cohort = load_sleep_edf(published)
    assert cohort.metadata.loc["SC4001E0-PSG", "age"] == 33


def test_xls_table_is_read(published, monkeypatch):
    def read_excel(path, engine, header):
        rows = [line.split(",") for line in TABLES["SC"].splitlines()]
        return pd.DataFrame(rows)

    (published / "SC-subjects.xls").write_bytes(b"simulated")
    monkeypatch.setattr(pd, "read_excel", read_excel)
    assert load_sleep_edf(published).metadata.loc["SC4821G0-PSG", "sex"] == "M"


def test_unfit_files_are_named(published):
    night = load_sleep_edf(published)[0]
    (published / "sleep-cassette" / "SC4001E0-PSG.edf").unlink()
    with pytest.raises(OSError, match="SC4001E0"):
        night.read()
    write_night(published / "sleep-cassette", "night", "night")
    with pytest.raises(ReadError, match=r"night-PSG\.edf is not named"):
        load_sleep_edf(published)
