# SPDX-License-Identifier: BSD-3-Clause
import pickle
import subprocess
import sys

import numpy as np
import pytest

from sleep2vec_sklearn import describe_channels, read_cohort, read_recording
from sleep2vec_sklearn.errors import NoUsableChannelError
from sleep2vec_sklearn.readers import EdfSource, formats

SECONDS = 120


RATE = 128


def ecg_of(beats, rate=RATE, seconds=SECONDS):
    """Simulated R waves in uV."""
    times = np.arange(rate * seconds) / rate
    index = np.searchsorted(beats, times)
    nearest = np.minimum(
        np.abs(times - beats[np.minimum(index, len(beats) - 1)]),
        np.abs(times - beats[np.maximum(index - 1, 0)]),
    )
    return 400 * np.exp(-0.5 * (nearest / 0.012) ** 2)


BELT = 100 * np.sin(2 * np.pi * 0.25 * np.arange(16 * SECONDS) / 16)


ECG = ecg_of(np.arange(0.5, SECONDS, 0.8))


@pytest.fixture
def night(write_edf):
    channels = {"ECG": (RATE, "uV", ECG), "Thor": (16, "", BELT), "EEG C4-M1": 128}
    return write_edf(channels=channels, seconds=SECONDS)


def test_ibi_and_resp_are_derived(night):
    recording = read_recording(night)
    assert recording.modalities == ("eeg", "ecg", "effort", "ibi", "resp")
    assert (recording.rates["ibi"], recording.units["ibi"]) == (4.0, "s")
    np.testing.assert_allclose(recording["ibi"][8:-8], 0.8, atol=0.004)
    assert len(recording["resp"]) == len(recording["ibi"]) == 4 * SECONDS
    assert "ibi: derived from ecg (R peaks)" in recording.notes


def test_channel_table_lists_derived(night):
    table = describe_channels(night).set_index("label")
    row = table.loc["ECG (derived)"]
    assert row.tolist() == ["ibi", 4.0, "s", True, "derived from ecg: R peaks"]
    assert table.loc["Thor (derived)", "modality"] == "resp"
    assert table["used"].sum() == 5


@pytest.mark.parametrize(
    ("options", "modalities"),
    [({"derive": False}, ("eeg", "ecg", "effort")),
     ({"channels": {"resp": None}}, ("eeg", "ecg", "effort", "ibi")),
     ({"channels": {"ecg": None}}, ("eeg", "effort", "resp")), ({"modalities": ["ibi"]}, ("ibi",)),
     ({"modalities": ["eeg", "resp"]}, ("eeg", "resp")),
     ({"modalities": ["eeg", "ecg"]}, ("eeg", "ecg"))],
)  # fmt: skip
def test_derivation_can_be_chosen(night, options, modalities):
    assert read_recording(night, **options).modalities == modalities
    (same,) = read_cohort(night.parent, verbose=0, **options)
    assert same.modalities == modalities


def test_own_series_is_not_derived(write_edf):
    own = {"ECG": (RATE, "uV", ECG), "IBI": (4, "ms", np.full(4 * SECONDS, 450.0))}
    recording = read_recording(write_edf(channels=own), modalities=["ibi"])
    assert recording.units == {"ibi": "ms"}
    assert recording.notes == ()


def test_ppg_replaces_missing_ecg(write_edf):
    recording = read_recording(
        write_edf(channels={"Pleth": (64, "", ecg_of(np.arange(0.5, SECONDS, 0.8), 64))})
    )
    assert recording.modalities == ("ibi", "ppg")
    assert np.nanmedian(recording["ibi"]) == pytest.approx(0.8, abs=0.01)


def test_file_without_any_sources(write_edf):
    path = write_edf(channels={"EEG C4-M1": 128, "ECG": (32, "uV")})
    assert read_recording(path).modalities == ("eeg",)
    with pytest.raises(NoUsableChannelError):
        read_recording(path, modalities=["ibi"])


def test_plain_night_opens_once(night, monkeypatch):
    opened = []
    original = EdfSource.__init__

    def counted(self, *args, **options):
        opened.append(options["modalities"])
        original(self, *args, **options)

    monkeypatch.setattr(EdfSource, "__init__", counted)
    assert read_recording(night, modalities=["ecg", "eeg"]).modalities == ("eeg", "ecg")
    assert len(opened) == 1


def test_reading_is_lazy(night, monkeypatch):
    asked = []
    original = EdfSource.read
    monkeypatch.setattr(
        EdfSource, "read", lambda self, names: asked.append(list(names)) or original(self, names)
    )
    recording = read_recording(night)
    assert asked == []
    recording.read(["eeg"])
    recording.read(["ibi", "resp"])
    assert asked == [["eeg"], ["ecg", "effort"]]


def test_peaks_are_found_once(write_edf, monkeypatch):
    from sleep2vec_sklearn.recordings import derivation

    calls = []
    find = derivation.find_r_peaks
    monkeypatch.setattr(derivation, "find_r_peaks", lambda *a: calls.append(1) or find(*a))
    recording = read_recording(write_edf(channels={"ECG": (RATE, "uV", ECG)}))
    recording.read(["ibi", "resp"])
    assert len(calls) == 1


def test_fingerprints_follow_the_derivation(night, monkeypatch):
    whole, plain = read_recording(night), read_recording(night, derive=False)
    assert whole.fingerprint != plain.fingerprint
    assert whole.signal_fingerprint("eeg") == plain.signal_fingerprint("eeg")
    alone = read_recording(night, modalities=["ibi"])
    assert alone.signal_fingerprint("ibi") == whole.signal_fingerprint("ibi")
    before = whole.signal_fingerprint("ibi"), whole.signal_fingerprint("resp")
    assert before[0] != before[1]
    monkeypatch.setattr(formats, "DERIVATION_REVISION", 99)
    assert whole.signal_fingerprint("ibi") != before[0]


def test_fingerprint_follows_source_channel(write_edf):
    channels = {"ECG I": (RATE, "uV", ECG), "ECG II": (RATE, "uV", -ECG[::-1])}
    path = write_edf(channels=channels)
    first, second = (read_recording(path, channels={"ecg": name}) for name in channels)
    assert first.signal_fingerprint("ibi") != second.signal_fingerprint("ibi")


def test_derived_recordings_can_be_pickled(night):
    recording = read_recording(night)
    raw = pickle.dumps(recording)
    assert b"Mustermann" not in raw
    assert len(raw) < 20_000
    restored = pickle.loads(raw)
    assert restored.fingerprint == recording.fingerprint
    np.testing.assert_array_equal(restored["ibi"], recording["ibi"])


def test_detached_lead_leaves_gaps(write_edf):
    path = write_edf(channels={"EEG C4-M1": 128, "ECG": (RATE, "uV", np.zeros(RATE * SECONDS))})
    assert np.isnan(read_recording(path)["ibi"]).all()
    assert np.isnan(read_recording(path)["resp"]).all()


def test_detector_is_loaded_lazily(night):
    program = (
        "import sys; from sleep2vec_sklearn import read_recording; "
        f"night = read_recording({str(night)!r}); assert 'ibi' in night; "
        "print(sorted({'sleepecg', 'torch', 'sklearn'} & set(sys.modules)))"
    )
    run = [sys.executable, "-c", program]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_channel_table_says_why(write_edf):
    channels = {"C4": 128, "M1": 128, "EMG": 1, "HR": (1, "bpm"), "Körper".encode().hex(): 1}
    table = describe_channels(write_edf(channels=channels))
    assert list(table.columns) == ["label", "modality", "rate", "unit", "used", "why"]
    assert table["used"].tolist() == [True, True, False, False, False]
    assert table["why"][0] == "read as C4 - M1"
    assert table["why"][1] == "subtracted from C4 (eeg)"
    assert "1 Hz, emg needs at least 50 Hz" in table["why"][2]
    assert "not beat-to-beat" in repr(table)
    assert "..." not in repr(table)
    assert len({len(line) for line in repr(table).splitlines()}) == 1


def test_unusable_channels_are_described(write_edf):
    assert not describe_channels(write_edf(channels={"HR": 1, "xyzzy": 1}))["used"].any()
