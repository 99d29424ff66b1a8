# SPDX-License-Identifier: BSD-3-Clause
import locale
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import edfio
import mne
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import read_recording
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.evaluation import sleep_periods, sleep_statistics
from sleep2vec_sklearn.finetuning import StagedNight
from sleep2vec_sklearn.readers import read_scoring

START = datetime(2024, 3, 1, 22, 30, 15)
STAGES = np.array([0, 0, 1, 2, -1, 3, 4, 4, 0], dtype=np.int8)
NAMES = ["W", "W", "N1", "N2", "?", "N3", "R", "R", "W"]
COLUMNS = ["W", "N1", "N2", "N3", "R"]


def night_of(stages=STAGES, **described):
    stages = np.asarray(stages, dtype=np.int8)
    on = stages >= 0
    probabilities = np.where(on[:, None], 0.9 * np.eye(5)[stages] + 0.02, np.nan)
    return StagedNight(**{
        "id": "a7", "stages": stages,
        "probabilities": pd.DataFrame(probabilities, columns=COLUMNS),
        "measured": pd.DataFrame({"eeg": on}), "agreement": np.where(on, 1.0, np.nan),
        "start": START, **described,
    })  # fmt: skip


@pytest.mark.parametrize(
    "start", [START, START.replace(microsecond=250_000), START.replace(tzinfo=UTC)]
)
def test_edf_is_read_by_all(tmp_path, start):
    path = tmp_path / "night-Hypnogram.edf"
    night_of(start=start).to_edf(path)
    scoring = read_scoring(path)
    np.testing.assert_array_equal(scoring.stages, STAGES)
    assert scoring.start == start.replace(tzinfo=None)
    annotations = mne.read_annotations(path)
    assert annotations.description.tolist() == [f"Sleep stage {name}" for name in NAMES]
    assert annotations.onset.tolist() == [30.0 * i for i in range(9)]
    assert set(annotations.duration) == {30.0}
    edf = edfio.read_edf(path)
    assert [note.text.split()[-1] for note in edf.annotations] == NAMES
    assert (edf.startdate, edf.starttime) == (start.date(), start.time())
    assert edf.local_patient_identification == "X X X X"
    assert [*tmp_path.iterdir()] == [path]


def test_edf_lies_on_its_recording(tmp_path):
    signal = edfio.EdfSignal(np.sin(np.arange(27000)), 100, label="EEG C3-M2")
    described = edfio.Recording(startdate=START.date())
    edfio.Edf([signal], recording=described, starttime=START.time()).write(tmp_path / "n.edf")
    night_of().to_edf(tmp_path / "n-Hypnogram.edf")
    with pytest.warns(RecordingWarning, match=r"n-Hypnogram\.edf: its stages were predicted"):
        night = read_recording(tmp_path / "n.edf")
    np.testing.assert_array_equal(night.stages, STAGES)


@pytest.mark.parametrize("start", [None, datetime(2124, 3, 1, 22, 30, 15)])
def test_edf_without_a_date(tmp_path, start):
    night_of([2] * 2880, start=start).to_edf(tmp_path / "a.edf")
    edf = edfio.read_edf(tmp_path / "a.edf")
    assert edf.local_recording_identification.startswith("Startdate X")
    assert edf.starttime.hour == (0 if start is None else 22)
    assert len(mne.read_annotations(tmp_path / "a.edf")) == 2880
    read = read_scoring(tmp_path / "a.edf").start
    assert read is None if start is None else read.time() == start.time()


def test_csv_is_plain(tmp_path, monkeypatch):
    monkeypatch.setattr(locale, "localeconv", lambda: {"decimal_point": ","})
    night_of().to_csv(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_bytes().decode().split("\n")
    assert lines[0] == "epoch,onset,clock,stage,W,N1,N2,N3,R,n_modalities,agreement"
    assert lines[2] == "1,30.0,2024-03-01T22:30:45,W,0.92,0.02,0.02,0.02,0.02,1,1.0"
    assert lines[5] == "4,120.0,2024-03-01T22:32:15,unscored,,,,,,0,"
    np.testing.assert_array_equal(read_scoring(tmp_path / "a.csv").stages, STAGES)
    table = pd.read_csv(tmp_path / "a.csv", index_col="epoch", parse_dates=["clock"])
    pd.testing.assert_frame_equal(
        table, night_of().to_frame(), check_names=False, check_dtype=False
    )
    night_of(start=None).to_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().split("\n")[2].startswith("1,30.0,,W,")


def test_doubtful_epochs_come_first():
    sure = np.array([0.9, 0.5, 0.7, 0.6, np.nan, 0.8, 0.4, 0.95, 0.85])
    rest = np.repeat((1 - sure[:, None]) / 4, 4, axis=1)
    table = pd.DataFrame(np.c_[sure, rest], columns=COLUMNS)
    night = night_of(probabilities=table)
    assert night.review(1).index.tolist() == [6, 1, 3, 2, 5, 8, 0, 7]
    assert night.review(0.25)["stage"].tolist() == ["R", "W"]
    with pytest.raises(ValueError, match="share must be from 0 to 1"):
        night.review(10)


def test_clock_is_unknown_without_start():
    clock = night_of(start=None).to_frame()["clock"]
    assert clock.isna().all()
    assert clock.dtype.kind == "M"


@pytest.mark.parametrize("method", ["to_csv", "to_edf"])
def test_files_that_cannot_be_written(tmp_path, fails, method):
    path = tmp_path / "a.x"
    path.write_text("old")
    write = getattr(night_of(), method)
    with pytest.raises(IsADirectoryError, match=r"not saved, it is a folder"):
        write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere.*create it"):
        write(tmp_path / "nowhere" / "a.x")
    fails("pathlib.Path.open", PermissionError(13, "Permission denied"))
    with pytest.raises(PermissionError, match=r"a\.x: not saved, no permission.*another"):
        write(path)
    assert [*tmp_path.iterdir()] == [path]


def test_unstaged_nights_leave_too(tmp_path):
    night = night_of([-1] * 9)
    night.to_edf(tmp_path / "a.edf")
    assert (read_scoring(tmp_path / "a.edf").stages == -1).all()
    night.to_csv(tmp_path / "a.csv")
    assert night.to_frame()[COLUMNS].isna().all(axis=None)
    assert night.statistics()[["tib_min", "unscored_min"]].tolist() == [4.5, 4.5]
    assert np.isnan(night.statistics()["tst_min"])
    assert "not defined" in night._repr_html_()


@pytest.mark.parametrize("stages", [STAGES, [0, 2]])
def test_yasa_gets_the_stages(monkeypatch, stages):
    def hypnogram(values, n_stages=5, *, freq="30s", start=None, scorer=None, proba=None):
        # what YASA checks
        labels = ["WAKE", "N1", "N2", "N3", "REM", "ART", "UNS"]
        assert set(values) <= set(labels)
        assert set(proba.columns) <= set(labels)
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        return SimpleNamespace(values=values, n=n_stages, freq=freq, start=start, proba=proba)

    monkeypatch.setitem(sys.modules, "yasa", SimpleNamespace(Hypnogram=hypnogram))
    made = night_of(stages).to_yasa()
    assert made.values[:2] == (["WAKE", "WAKE"] if len(stages) > 2 else ["WAKE", "N2"])
    assert (made.n, made.freq, made.start) == (5, "30s", START)
    assert made.proba["WAKE"].iloc[0] == pytest.approx(0.92)
    if len(stages) > 2:
        assert (made.values[4], made.values[6]) == ("UNS", "REM")
        assert made.proba["UNS"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_yasa_has_to_be_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "yasa", None)
    with pytest.raises(ImportError, match="pip install yasa"):
        night_of().to_yasa()


def test_doubtful_windows_are_named():
    with pytest.warns(RecordingWarning, match=r"staged night \(a7\) 3 min"):
        assert night_of().statistics(lights=(-180, 240))["tib_min"] == 4
    with pytest.warns(RecordingWarning, match=r"12 h are not known.*\(a7\) 24.0 h"):
        night_of([2] * 2880).statistics(lights=(None, 86_400))


def test_statistics_have_a_window():
    night = night_of(lights=(30, 240))
    expected = sleep_statistics(STAGES, lights=(30, 240))
    np.testing.assert_array_equal(night.statistics(), expected)
    by_clock = night.statistics(lights=("22:30:45", "22:34:15"))
    np.testing.assert_array_equal(by_clock, expected)
    assert night.statistics(lights="recording")["tib_min"] == 4.5
    with pytest.raises(InvalidRecordingError, match=r"staged night \(a7\).*not known"):
        night_of(start=None).statistics(lights=("22:30", None))


def test_days_without_lights_warn():
    day = [0] * 600 + [2] * 900
    with pytest.warns(RecordingWarning, match=r"staged night \(a7\) 12.5 h.*lights='main'"):
        assert night_of(day).statistics()["sleep_efficiency_pct"] == 60
    assert night_of(day).statistics(lights="main")["tst_min"] == 450
    assert night_of(day, lights=(0, 45000)).statistics()["tst_min"] == 450
    assert sleep_periods(night_of(day))["onset_clock"].tolist() == [datetime(2024, 3, 2, 3, 30, 15)]
    text = Parser(night_of(day)._repr_html_()).text
    assert "the main sleep period (03:30 to 11:00), as lights" in text
    assert "Total sleep time (TST)\n      450.0" in text
    assert "Sleep efficiency\n      not defined" in text
    assert "main sleep period (unknown to unknown)" in night_of([0] * 1500)._repr_html_()


class Parser(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_notebooks_show_the_night():
    night = night_of([0] * 60 + [2] * 120 + [-1] * 10 + [4] * 50, lights=(0, 7200))
    page = night._repr_html_()
    assert len(page) < 8000
    picture = page[page.index("<svg") : page.index("</svg>") + 6]
    svg = ElementTree.fromstring(picture)
    assert svg.find("title").text.startswith("Hypnogram of StagedNight(a7: W 60")
    _, line, rem = (path.get("d") for path in svg.iter("path"))
    # a gap where nothing is scored, and R below W
    assert line.count("M") == 2
    assert rem.startswith("M507.4 31H")
    labels = [text.text for text in svg.iter("text")]
    assert labels == ["W", "R", "N1", "N2", "N3", "23:00", "00:00"]
    text = Parser(page).text
    assert "between lights off (22:30) and lights on (00:30)" in text
    for line in (
        "Sleep onset latency\n      30.0\n      min",
        "Share of the night with a signal: eeg",
    ):
        assert line in text


def test_texts_of_files_are_escaped():
    bad = "<script>alert('x')</script>"
    page = night_of(id=bad, derivations={"eeg": bad}, left_out=(bad,))._repr_html_()
    assert "script" not in Parser(page).tags
    assert Parser(page).text.count(bad) == 4


def test_hours_without_start():
    page = night_of([2] * 240, start=None, lights=(60, None))._repr_html_()
    assert ">1:00 h</text>" in page
    assert "lights off (0:01 h) and lights on (2:00 h)" in Parser(page).text
