# SPDX-License-Identifier: BSD-3-Clause
import datetime
import pickle
import sys

import numpy as np
import pytest

from sleep2vec_sklearn import Recording, describe_channels, read_cohort, read_recording
from sleep2vec_sklearn.errors import ReadError, RecordingWarning

mne = pytest.importorskip("mne")


@pytest.fixture
def night(tmp_path):
    rng = np.random.default_rng(0)
    names, types = ["C4", "M1", "LOC", "ECG", "SpO2"], ["eeg", "eeg", "eog", "ecg", "misc"]
    info = mne.create_info(names, 128, types)
    data = rng.normal(0, 3e-5, (5, 128 * 120))
    data[4] = 96
    raw = mne.io.RawArray(data, info, verbose="error")
    raw.set_meas_date(datetime.datetime(1985, 1, 1, 22, 30, tzinfo=datetime.UTC))
    raw.info["subject_info"] = {"last_name": "Mustermann", "sex": 2}
    labels = ["Sleep stage W", "Sleep stage N2", "Sleep stage R", "BAD_skip"]
    raw.set_annotations(
        mne.Annotations([0, 30, 60, 90], [30, 30, 60, 10], labels, orig_time=raw.info["meas_date"])
    )
    path = tmp_path / "night_raw.fif"
    raw.save(path, verbose="error")
    return path, data


def test_formats_are_read_through_mne(night):
    path, data = night
    recording = read_recording(path, derive=False)
    assert recording.modalities == ("eeg", "eog", "ecg", "spo2")
    assert recording.units["eeg"] == "V"
    assert recording.stages.tolist() == [0, 2, 4, 4]
    assert recording.start == datetime.datetime(1985, 1, 1, 22, 30)
    assert dict(recording.metadata) == {"sex": "F"}
    expected = (data[0] - data[1])[: 90 * 128]
    np.testing.assert_allclose(recording["eeg"][: 90 * 128], expected, atol=1e-9)


def test_first_time_moves_start(night):
    path, data = night
    raw = mne.io.read_raw(path, verbose="error").crop(30.5)
    raw.save(path.with_name("cut_raw.fif"), verbose="error")
    recording = read_recording(path.with_name("cut_raw.fif"))
    assert recording.start == datetime.datetime(1985, 1, 1, 22, 30, 30, 500_000)
    np.testing.assert_allclose(recording["ecg"][:99], data[3, 3904:4003], atol=1e-9)
    assert recording.stages.tolist() == [2, 4]


def test_cropped_annotations_keep_place(night):
    raw = mne.io.read_raw(night[0], preload=True, verbose="error").set_meas_date(None)
    raw.set_annotations(mne.Annotations([0, 60, 90], [60, 30, 30], ["N1", "N2", "odd stage"]))
    with pytest.warns(RecordingWarning, match="'odd stage'"):
        cut = Recording.from_mne(raw.crop(30))
    assert (cut.start, cut.stages.tolist()) == (None, [1, 2, -1])


def test_letters_come_in_runs(night):
    raw = mne.io.read_raw(night[0], verbose="error")
    marks = ["Comment/arousal", "Hypopnea w/ arousal", "Apnea/Mixed"]
    onsets, texts = [0, 30, 41, 50, 55, 60, 90], ["W", "N1", *marks, "R", "R"]
    raw.set_annotations(mne.Annotations(onsets, [30, 30, 4, 9, 9, 30, 30], texts))
    raw.save(night[0].with_name("letters_raw.fif"), verbose="error")
    recording = read_recording(night[0].with_name("letters_raw.fif"))
    assert recording.stages.tolist() == [0, 1, 4, 4]
    assert recording.events["type"].tolist() == ["arousal", *marks[1:]]


def test_marks_of_one_sample(night):
    raw = mne.io.read_raw(night[0], verbose="error")
    texts = ["Comment/W", "Comment/N2", "Comment/R", "Comment/R"]
    length = 1 / raw.info["sfreq"]
    raw.set_annotations(mne.Annotations([0, 30, 60, 90], [length] * 4, texts))
    recording = Recording.from_mne(raw)
    assert recording.stages.tolist() == [0, 2, 4, 4]


def test_units_replace_volts(night):
    assert read_recording(night[0], units={"ECG": "uV"}).units["ecg"] == "uV"


@pytest.mark.parametrize("error", [AssertionError, IndexError, UnicodeDecodeError, MemoryError])
def test_third_parties_errors_are_named(night, monkeypatch, error):
    def fail(*args, **options):
        raise error(*("utf-8", b"Mustermann", 0, 1, "odd")[: 5 * (error is UnicodeDecodeError)])

    recording = read_recording(night[0])
    for name in ("read_raw", "read_raw_fif"):
        monkeypatch.setattr(mne.io, name, fail)
    for call in (recording.read, lambda: read_recording(night[0])):
        with pytest.raises(ReadError, match=rf"cannot read it \({error.__name__}\)") as caught:
            call()
        assert "Mustermann" not in str(caught.value)


def test_bad_spans_are_gaps(night):
    eeg = read_recording(night[0])["eeg"]
    assert np.isnan(eeg[91 * 128 : 99 * 128]).all()
    assert np.isfinite(eeg[: 89 * 128]).all()


def test_signal_fingerprint_is_independent(night):
    alone, whole = read_recording(night[0], modalities=["eeg"]), read_recording(night[0])
    assert alone.fingerprint != whole.fingerprint
    assert alone.signal_fingerprint("eeg") == whole.signal_fingerprint("eeg")


def test_names_are_dropped_when_pickled(night):
    recording = read_recording(night[0])
    raw = pickle.dumps(recording)
    assert b"Mustermann" not in raw
    assert pickle.loads(raw).fingerprint == recording.fingerprint
    assert describe_channels(night[0]).query("used")["label"].str.endswith("(derived)").sum() == 2


def test_unreadable_file_is_named(tmp_path):
    path = tmp_path / "night.vhdr"
    path.write_text("nothing of the kind")
    with pytest.raises(ReadError, match=r"night\.vhdr: MNE-Python cannot read it"):
        read_recording(path)


@pytest.mark.parametrize("damage", ["shorter", "broken"])
def test_changed_file_is_named(night, damage):
    path, data = night
    recording = read_recording(path)
    if damage == "shorter":
        raw = mne.io.read_raw(path, verbose="error").load_data(verbose="error")
        raw.crop(0, 60).save(path, overwrite=True, verbose="error")
    else:
        path.write_bytes(path.read_bytes()[: data.nbytes // 4])
    with pytest.raises(ReadError, match=r"night_raw\.fif"):
        recording["eeg"]


def test_unknown_suffix_is_named(tmp_path):
    path = tmp_path / "night.docx"
    path.write_text("")
    with pytest.raises(ReadError, match=r"night\.docx: MNE-Python cannot read it"):
        read_recording(path)


def test_missing_mne_names_command(night, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(ImportError, match=r"pip install 'sleep2vec-sklearn\[mne\]'"):
        read_recording(night[0])


def test_unusable_channels_are_described(tmp_path):
    info = mne.create_info(["xyzzy", "HR"], 128, "misc")
    path = tmp_path / "odd_raw.fif"
    mne.io.RawArray(np.zeros((2, 5000)), info, verbose="error").save(path, verbose="error")
    table = describe_channels(path)
    assert table["label"].tolist() == ["xyzzy", "HR"]
    assert not table["used"].any()


def test_brainvision_companions_are_read(tmp_path):
    header = "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\n"
    header += "DataFile=night.eeg\nMarkerFile=night.vmrk\nDataFormat=BINARY\n"
    header += "DataOrientation=MULTIPLEXED\nNumberOfChannels=1\nSamplingInterval=10000\n"
    header += "[Binary Infos]\nBinaryFormat=INT_16\n[Channel Infos]\nCh1=C4-M1,,0.5,µV\n"
    marks = "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\n"
    marks += "DataFile=night.eeg\n[Marker Infos]\nMk1=New Segment,,1,1,0,19850101223000000000\n"
    samples = np.arange(6000, dtype="<i2") % 100
    (tmp_path / "night.vhdr").write_text(header, encoding="utf-8")
    (tmp_path / "night.vmrk").write_text(marks, encoding="utf-8")
    (tmp_path / "night.eeg").write_bytes(samples.tobytes())
    recording = read_recording(tmp_path / "night.vhdr")
    np.testing.assert_allclose(recording["eeg"] * 1e6, samples * 0.5, atol=1e-3)
    before = recording.fingerprint
    (tmp_path / "night.eeg").write_bytes((samples + 1).astype("<i2").tobytes() + b"  ")
    assert read_recording(tmp_path / "night.vhdr").fingerprint != before
    assert len(read_cohort(tmp_path, verbose=0)) == 1
