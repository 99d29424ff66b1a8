# SPDX-License-Identifier: BSD-3-Clause
"""Recordings of objects that others hold: MNE-Python's, and tables of pandas."""

import datetime
import pickle

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import (
    InvalidRecordingError,
    InvalidSignalError,
    NoUsableChannelError,
    RecordingWarning,
)

START = datetime.datetime(2024, 3, 1, 23)


@pytest.fixture
def raw():
    mne = pytest.importorskip("mne")
    data = np.random.default_rng(0).normal(0, 3e-5, (5, 128 * 120))
    data[4] = 96
    info = mne.create_info(["C4", "M1", "LOC", "ECG", "SpO2"], 128, ["eeg"] * 3 + ["ecg", "misc"])
    raw = mne.io.RawArray(data, info, verbose="error")
    raw.set_meas_date(START.replace(tzinfo=datetime.UTC))
    names = ["Sleep stage W", "Sleep stage N2", "Obstructive apnea", "BAD_skip"]
    return raw.set_annotations(mne.Annotations([0, 30, 40, 90], [30, 90, 20, 10], names))


def test_raw_is_a_night(raw):
    night = Recording.from_mne(raw, subject="a", metadata={"age": 60}, id="n")
    assert night.modalities == ("eeg", "eog", "ecg", "spo2", "ibi", "resp")
    assert (night.derived, night.units["eeg"]) == (("ibi", "resp"), "V")
    assert (night.start, night.subject, night.metadata["age"]) == (START, "a", 60)
    assert night.stages.tolist() == [0, 2, 2, 2]
    assert night.events["type"].tolist() == ["Obstructive apnea", "BAD_skip"]
    expected = raw.get_data(picks="C4")[0] - raw.get_data(picks="M1")[0]
    np.testing.assert_allclose(night["eeg"][: 90 * 128], expected[: 90 * 128], atol=1e-9)
    assert np.isnan(night["eeg"][90 * 128 : 100 * 128]).all()


def test_raw_options_are_heeded(raw):
    night = Recording.from_mne(raw, modalities=["eeg"], channels={"eeg": "LOC"}, stages=[1] * 4)
    assert night.modalities == ("eeg",)
    assert night.stages.tolist() == [1] * 4
    np.testing.assert_allclose(night["eeg"][:99], raw.get_data(picks="LOC")[0][:99], atol=1e-9)
    assert Recording.from_mne(raw, derive=False).derived == ()


def test_raw_samples_are_fingerprint(raw):
    night, same = Recording.from_mne(raw), Recording.from_mne(raw.copy())
    other = Recording.from_mne(raw.copy().filter(1, 30, verbose="error"))
    assert night.fingerprint == same.fingerprint != other.fingerprint
    assert night.signal_fingerprint("spo2") == other.signal_fingerprint("spo2")
    assert night.signal_fingerprint("resp") != night.signal_fingerprint("ibi")
    again = pickle.loads(pickle.dumps(night))
    np.testing.assert_array_equal(again["eog"], night["eog"])


def test_cropped_raw_keeps_its_clock(raw):
    night = Recording.from_mne(raw.crop(tmin=30))
    assert night.start == START + datetime.timedelta(seconds=30)
    assert night.stages.tolist() == [2, 2, 2]
    assert night.events["onset"].tolist() == [10, 60]


def test_bad_channels_are_left_out(raw):
    raw.info["bads"] = ["C4"]
    night = Recording.from_mne(raw)
    assert "eeg" not in night
    assert "channels marked as bad: C4" in night.notes


def test_float_index_may_be_seconds():
    seconds = np.arange(0, 60, 0.25)
    with pytest.raises(InvalidSignalError, match=r"may be seconds or not\. Pass \(array, rate\)"):
        Recording({"spo2": pd.Series(96.0, index=seconds)})
    timed = pd.Series(96.0, index=pd.to_timedelta(seconds, unit="s"))
    assert Recording({"spo2": timed}).rates == {"spo2": 4.0}


def test_other_objects_are_refused(raw):
    with pytest.raises(InvalidRecordingError, match="the table is a dict"):
        Recording.from_dataframe({"spo2": [96.0] * 60}, rate=1)
    with pytest.raises(InvalidRecordingError, match="raw is a ndarray; accepted is a Raw"):
        Recording.from_mne(raw.get_data())
    with pytest.raises(NoUsableChannelError, match=r"RawArray has no usable channel; found 'x'"):
        Recording.from_mne(raw.copy().pick(["C4"]).rename_channels({"C4": "x"}))
    for thing, method in ((raw, "from_mne"), (pd.DataFrame({"eeg": [1]}), "from_dataframe")):
        with pytest.raises(InvalidRecordingError, match=rf"Use Recording\.{method}"):
            Recording(thing)


def test_columns_are_channels():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(0, 30, (7680, 4)), columns=["C3", "M2", "effort", "Note"])
    night = Recording.from_dataframe(table, rate=128, units={"eeg": "uV"}, subject=3, id="n")
    assert (night.modalities, night.rates["eeg"], night.subject) == (("eeg", "effort"), 128, 3)
    np.testing.assert_allclose(night["eeg"], table["C3"] - table["M2"])
    assert night.notes == ("'Note' left out: unknown label; if it is of use, name it with "
                           "channels={modality: label}",)  # fmt: skip
    chosen = Recording.from_dataframe(table, rate=128, channels={"emg": "Note", "eeg": None})
    assert chosen.modalities == ("emg", "effort")


def test_columns_state_units():
    columns = {"C3 [mV]": 0.05, "M2 (uV)": 20.0, "ibi (ms)": 900.0, "Note (x)": 1.0}
    night = Recording.from_dataframe(pd.DataFrame(columns, index=range(7680)), rate=128)
    assert night.units == {"eeg": "mV", "ibi": "ms"}
    np.testing.assert_allclose(night["eeg"], 0.03, rtol=1e-6)
    named = Recording.from_dataframe(
        pd.DataFrame(columns, index=range(7680)), rate=128, channels={"eog": "M2 (uV)"}
    )
    assert named.modalities == ("eeg", "eog", "ibi")


def test_times_of_rows_count():
    times = START + pd.to_timedelta(np.arange(0, 300, 0.5), unit="s")
    table = pd.DataFrame({"SpO2": 96.0, "hr": np.nan}, index=times)
    table.loc[times[::10], "hr"] = 50.0
    options = {"channels": {"ibi": "hr"}, "units": {"ibi": "bpm"}, "stages": [2] * 10}
    night = Recording.from_dataframe(table, **options)
    assert (night.rates, night.start) == ({"spo2": 2.0, "ibi": 0.2}, START)
    assert (night["ibi"] == 50).all()
    later = Recording.from_dataframe(table.tz_localize("Europe/Berlin"), **options, start=START)
    assert later.rates == night.rates
    late = Recording.from_dataframe(table.assign(SpO2=table["SpO2"].where(times >= times[60])))
    assert np.isnan(late["spo2"]).sum() == 60


@pytest.mark.parametrize(
    ("index", "rate"),
    [(None, None), (pd.to_timedelta(range(60), unit="s"), 1), ([], 1), (None, "1")],
)
def test_table_needs_one_clock(index, rate):
    table = pd.DataFrame({"spo2": 96.0}, index=range(60) if index is None else index)
    with pytest.raises(InvalidRecordingError, match="accepted are rows with times of day"):
        Recording.from_dataframe(table, rate=rate)


def test_impossible_columns_are_refused():
    table = pd.DataFrame({"spo2": [96.0] * 60, "x": "a"})
    with pytest.raises(NoUsableChannelError, match="the table has no usable channel"):
        Recording.from_dataframe(table[["x"]], rate=1)
    with pytest.raises(InvalidSignalError, match="needs at least 50 Hz"):
        Recording.from_dataframe(table, rate=1, channels={"eeg": "x"})


@pytest.mark.parametrize("name", ["stage", "Sleep_Stage", "hypnogram"])
def test_stage_column_is_named(name):
    table = pd.DataFrame({"spo2": [96.0] * 60, name: ["W"] * 60})
    with pytest.warns(RecordingWarning, match=f"'{name}'; pass stages= with one label per 30 s"):
        assert Recording.from_dataframe(table, rate=1).stages is None
    assert Recording.from_dataframe(table, rate=1, stages=["W"] * 2).stages.tolist() == [0, 0]
