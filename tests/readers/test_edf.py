# SPDX-License-Identifier: BSD-3-Clause
"""What was written as EDF comes back: samples, scales, references, times."""

import os
import pickle

import edfio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import read_recording
from sleep2vec_sklearn.errors import (
    InvalidSignalError,
    NoUsableChannelError,
    ReadError,
    RecordingWarning,
)
from sleep2vec_sklearn.readers import EdfSource
from sleep2vec_sklearn.readers._edf_header import EdfHeader


@pytest.fixture
def opened(monkeypatch):
    """Count how often a file is opened for its samples."""
    count = []
    original = EdfHeader.read_bytes

    def read_bytes(self, path, channels):
        count.append(path)
        return original(self, path, channels)

    monkeypatch.setattr(EdfHeader, "read_bytes", read_bytes)
    return count


def test_native_rates_and_units(write_edf):
    t = np.arange(120 * 200) / 200
    wave = 100 * np.sin(2 * np.pi * 0.1 * t)
    source = EdfSource(write_edf(channels={"C4-M1": (200, "uV", wave), "SpO2": (1, "%")}))
    assert {name: item.rate for name, item in source.layout.items()} == {"eeg": 200, "spo2": 1}
    eeg = source.read(["eeg"])["eeg"]
    assert eeg.values.dtype == np.float32
    assert not eeg.values.flags.writeable
    np.testing.assert_allclose(eeg.values, wave, atol=1000 / 65535)
    assert len(eeg.values) == source.layout["eeg"].n_samples


def test_one_pass_reads_many(write_edf, opened):
    source = EdfSource(write_edf(channels={"C4-M1": 128, "EMG": 128, "ECG": 128}))
    assert source.layout["emg"].n_samples == 120 * 128
    source.fingerprint()
    assert opened == []
    assert set(source.read(["eeg", "ecg"])) == {"eeg", "ecg"}
    assert len(opened) == 1


def test_slow_channels_are_noted(write_edf):
    source = EdfSource(write_edf(channels={"C4-M1": 128, "EMG submental": 1, "Resp oro-nasal": 1}))
    assert list(source.layout) == ["eeg"]
    assert [note.split(":")[0] for note in source.notes] == ["emg", "airflow"]


def test_fingerprint_covers_file_and_settings(write_edf):
    channels = {"C4-M1": 128, "F3-M2": 128}
    path = write_edf(channels=channels)
    prints = {
        EdfSource(path).fingerprint(),
        EdfSource(path, channels={"eeg": "F3-M2"}).fingerprint(),
        EdfSource(write_edf("other.edf", channels, seconds=150)).fingerprint(),
    }
    assert len(prints) == 3
    assert EdfSource(path).fingerprint() in prints
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert EdfSource(path).fingerprint() not in prints


def test_signal_fingerprint_is_independent(write_edf):
    path = write_edf(channels={"C4-M1": 128, "F3-M2": 128, "ECG": 128})
    whole = EdfSource(path)
    assert EdfSource(path, modalities=["ecg"]).signal_fingerprint("ecg") == (
        whole.signal_fingerprint("ecg")
    )
    other = EdfSource(path, channels={"eeg": "F3-M2"})
    assert other.signal_fingerprint("ecg") == whole.signal_fingerprint("ecg")
    assert other.signal_fingerprint("eeg") != whole.signal_fingerprint("eeg")


def test_file_is_hashed_once(write_edf, monkeypatch):
    source = EdfSource(write_edf())
    first = source.fingerprint()
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert source.fingerprint() == first


def make_discontinuous(path, onsets, kind=b"EDF+D", before=b""):
    """Turn a continuous EDF+ file into one whose records start at these seconds."""
    data = bytearray(path.read_bytes())
    data[192:197] = kind
    for i, onset in enumerate(onsets):
        old = b"+%d\x14\x14" % i
        new = before + b"+%s\x14\x14" % str(onset).encode()
        offset = data.index(old, 256)
        data[offset : offset + len(new)] = new
    path.write_bytes(data)


@pytest.mark.parametrize("kind", [b"EDF+D", b"EDF+C"])
def test_gaps_between_time_stamps(write_edf, kind):
    path = write_edf(seconds=60, annotations=[(0.0, None, "x" * 40)])
    before = EdfSource(path).signal_fingerprint("eeg")
    make_discontinuous(path, [*range(50), *range(90, 100)], kind)
    source = EdfSource(path)
    assert source.signal_fingerprint("eeg") != before
    eeg = source.read(["eeg"])["eeg"].values
    assert source.duration == 100
    assert "discontinuous: 40 s without records are gaps" in source.notes
    assert len(eeg) == 100 * 128 == source.layout["eeg"].n_samples
    assert np.isnan(eeg[50 * 128 : 90 * 128]).all()
    assert np.isfinite(np.delete(eeg, np.s_[50 * 128 : 90 * 128])).all()


def test_cut_record_is_dropped(write_edf):
    path = write_edf()
    path.write_bytes(path.read_bytes()[:-100])
    source = EdfSource(path)
    assert source.duration == 119
    assert "the last of 120 records is cut short and was dropped" in source.notes
    assert len(source.read(["eeg"])["eeg"].values) == 119 * 128


@pytest.mark.parametrize(
    ("damage", "words"),
    [(lambda data: b"", "empty"), (lambda data: data[:100], "truncated within its header"),
     (lambda data: data[:400], "truncated within its header"),
     (lambda data: data[: len(data) // 2], r"truncated: expected \d+ bytes .* found \d+"),
     (lambda data: data[:768], "no whole record"),
     (lambda data: np.random.default_rng(0).bytes(5000), "not an EDF"),
     (lambda data: b"a hypnogram, perhaps\n" * 100, "not an EDF"),
     (lambda data: data[:252] + b"abcd" + data[256:], "number of signals"),
     (lambda data: data[:252] + b"-3  " + data[256:], "announces -3 signals"),
     (lambda data: data[:244] + b"0       " + data[252:], "record 0 s"),
     (lambda data: data[:244] + b"inf     " + data[252:], "length of a record"),
     (lambda data: data[:236] + b"many    " + data[244:], "number of records")],
)  # fmt: skip
def test_damaged_files_say_why(write_edf, damage, words):
    path = write_edf()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ReadError, match=words) as caught:
        EdfSource(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).rstrip(".").count(". ") >= 1


def test_channel_without_scale_left_out(write_edf):
    path = write_edf(channels={"C4-M1": 128, "ECG": 128})
    data = path.read_bytes()
    low = 256 + 2 * (16 + 80 + 8)
    path.write_bytes(data[:low] + b"500     " + data[low + 8 :])
    source = EdfSource(path)
    assert list(source.layout) == ["ecg"]
    assert any("no usable scale" in note for note in source.notes)


def test_unusable_file_is_named(write_edf):
    path = write_edf(channels={"HR": 1, "Snore": 128})
    with pytest.raises(NoUsableChannelError, match=r"night\.edf has no usable channel; found 'HR'"):
        EdfSource(path)


def test_source_pickles_small(write_edf):
    source = EdfSource(write_edf())
    copy = pickle.dumps(source)
    assert len(copy) < 5000
    restored = pickle.loads(copy)
    np.testing.assert_array_equal(
        restored.read(["eeg"])["eeg"].values, source.read(["eeg"])["eeg"].values
    )
    assert restored.fingerprint() == source.fingerprint()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(offset=st.integers(0, 1023), junk=st.binary(min_size=1, max_size=12))
def test_damaged_header_never_crashes(write_edf, offset, junk):
    path = write_edf("fuzzed.edf", {"C4-M1": 64, "SpO2": 1}, seconds=4)
    data = bytearray(path.read_bytes())
    data[offset : offset + len(junk)] = junk
    path.write_bytes(data)
    message = None
    try:
        EdfSource(path).read([])
    except ReadError as error:
        message = str(error)
    assert message is None or str(path) in message


@pytest.mark.parametrize("kind", [b"EDF+D", b"EDF+C"])
@pytest.mark.parametrize(
    ("onsets", "words"),
    [([0, 5, 5 * 86400 * 7], "Split the file by night"),
     ([50, 0, 1], "record 2 starts 51 s before record 1 ends"),
     ([0, 9, 2], "record 3 starts 8 s before record 2 ends"),
     ([0, 1, 1], "record 3 starts 1 s before record 2 ends")],
)  # fmt: skip
def test_impossible_record_times_raise(write_edf, kind, onsets, words):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, onsets, kind)
    with pytest.raises(ReadError, match=words):
        EdfSource(path)


@pytest.mark.parametrize("kind", [b"EDF+D", b"EDF+C"])
def test_first_stamp_moves_start(write_edf, stages_of, kind):
    path = write_edf(seconds=60, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, range(120, 180), kind)
    write_edf("night-Hypnogram.edf", {}, annotations=stages_of("WWWW1223"))
    with pytest.warns(RecordingWarning, match="8 labels for 2 epochs of signal: 4 before and 2"):
        night = read_recording(path)
    assert night.start.isoformat() == "1985-01-01T22:32:00"
    assert night.stages.tolist() == [1, 2]
    assert "the signals start 120 s after the header's clock time" in night.notes
    assert night.duration == 60


def test_first_stamp_moves_labels(write_edf, stages_of):
    path = write_edf(seconds=120)
    labels = write_edf("night-Hypnogram.edf", {}, annotations=stages_of("W2R", onset=30.0))
    data = labels.read_bytes()
    assert data.count(b"+0\x14\x14\0") == 1
    labels.write_bytes(data.replace(b"+0\x14\x14\0", b"+30\x14\x14\0")[:-1])
    assert read_recording(path).stages.tolist() == [-1, 0, 2, 4]


@pytest.mark.parametrize(
    ("onsets", "start"), [([0.25, 1.25, 2.25], "22:30:00.250000"), ([0, 1.2, 1.9], "22:30:00")]
)
def test_small_steps_are_no_gaps(write_edf, onsets, start):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, onsets, b"EDF+C")
    source = EdfSource(path)
    assert (source.duration, source.notes) == (3, ())
    assert source.start.time().isoformat() == start


@pytest.mark.parametrize("lost", [b"+0\x14\x14", b"+1\x14\x14"])
def test_missing_stamps_follow_each_other(write_edf, lost):
    path = write_edf(seconds=4, annotations=[(0.0, None, "x" * 40)])
    path.write_bytes(path.read_bytes().replace(lost, bytes(4), 1))
    source = EdfSource(path)
    assert source.duration == 4
    assert any("first record has no time stamp" in note for note in source.notes) == (b"0" in lost)


def test_stamp_after_zero_byte(write_edf):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, [60, 61, 62], b"EDF+C", before=b"\0")
    assert EdfSource(path).start.isoformat() == "1985-01-01T22:31:00"


def test_calendar_ends_at_9999(write_edf):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, [86400, 86401, 86402])
    data = path.read_bytes()
    path.write_bytes(data[:88] + b"Startdate 31-DEC-9999".ljust(80) + data[168:])
    assert EdfSource(path).start.year == 9999


@pytest.mark.parametrize("error", [AssertionError, IndexError, UnicodeDecodeError])
def test_third_parties_errors_are_named(write_edf, monkeypatch, error):
    def fail(*args, **options):
        raise error(*("utf-8", b"Mustermann", 0, 1, "odd")[: 5 * (error is UnicodeDecodeError)])

    night = read_recording(write_edf(), hypnogram=False)
    monkeypatch.setattr("sleep2vec_sklearn.readers._edf_header._read_into", fail)
    with pytest.raises(ReadError, match=rf"night\.edf: the .* cannot read it \({error.__name__}\)"):
        night.read()


def test_discontinuous_without_times_raises(write_edf):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:192] + b"EDF+D" + data[197:])
    with pytest.raises(ReadError, match="Convert it to a continuous EDF"):
        EdfSource(path)


def test_record_without_time_is_named(write_edf):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, [0, 1, 2])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"+1\x14\x14", b"?1\x14\x14", 1))
    with pytest.raises(ReadError, match="record 2 of a discontinuous file has no start time"):
        EdfSource(path)


def test_contiguous_records_leave_no_gap(write_edf):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    plain = EdfSource(path).read(["eeg"])["eeg"].values
    make_discontinuous(path, [0, 1, 2])
    source = EdfSource(path)
    assert (source.duration, source.notes) == (3, ())
    np.testing.assert_array_equal(source.read(["eeg"])["eeg"].values, plain)


few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path, channels, *, seconds=60, bits=16):
    """Channels are (label, rate, unit, samples, physical range)."""
    kind, container = {16: (edfio.EdfSignal, edfio.Edf), 24: (edfio.BdfSignal, edfio.Bdf)}[bits]
    signals = [
        kind(values, rate, label=label, physical_dimension=unit, physical_range=limits)
        for label, rate, unit, values, limits in channels
    ]
    container(signals).write(path)
    return path


def noise(n, seed=0, spread=30.0):
    return np.random.default_rng(seed).normal(0, spread, n)


@few
@given(
    rate=st.sampled_from([50, 64, 100, 128, 200, 256, 500]),
    seconds=st.integers(30, 45),
    low=st.integers(-9000, -200),
    high=st.integers(200, 9000),
    seed=st.integers(0, 99),
    bits=st.sampled_from([16, 24]),
)
def test_samples_survive_round_trip(tmp_path, rate, seconds, low, high, seed, bits):
    values = noise(rate * seconds, seed).clip(low, high)
    path = tmp_path / f"night.{'edf' if bits == 16 else 'bdf'}"
    write(path, [("C4-M1", rate, "uV", values, (low, high))], bits=bits)
    night = read_recording(path)
    assert (night.rates, night.units) == ({"eeg": rate}, {"eeg": "uV"})
    assert night.duration == seconds
    step = (high - low) / (2**bits - 1)
    np.testing.assert_allclose(night["eeg"], values, atol=0.51 * step + 1e-3)


@few
@given(rates=st.lists(st.sampled_from([50, 100, 128, 256]), min_size=4, max_size=4))
def test_channels_keep_their_rates(tmp_path, rates):
    labels = {"eeg": "C4-M1", "eog": "E1-M2", "emg": "Chin", "ppg": "Pleth"}
    channels = [
        (label, rate, "uV", noise(rate * 60, i), (-500, 500))
        for i, (label, rate) in enumerate(zip(labels.values(), rates, strict=True))
    ]
    night = read_recording(write(tmp_path / "a.edf", channels), derive=False)
    assert night.rates == dict(zip(labels, rates, strict=True))
    for name, channel in zip(labels, channels, strict=True):
        np.testing.assert_allclose(night[name], channel[3], atol=0.01)


@pytest.mark.parametrize("names", [["eeg"], ["emg", "eeg"], ["eog"], []])
def test_reading_alone_or_together(tmp_path, names):
    labels = ("C4", "M1", "Chin", "E1", "M2")
    channels = [(x, 128, "uV", noise(128 * 60, i), (-500, 500)) for i, x in enumerate(labels)]
    source = EdfSource(write(tmp_path / "a.edf", channels))
    everything = source.read(["eeg", "eog", "emg"])
    found = source.read(names)
    assert list(found) == names
    for name in names:
        np.testing.assert_array_equal(found[name].values, everything[name].values)


@pytest.mark.parametrize(
    ("unit", "reference_unit", "factor"),
    [("uV", "uV", 1.0), ("uV", "mV", 1e3), ("mV", "uV", 1e-3), ("V", "mV", 1e-3), ("uV", "V", 1e6)],
)
def test_reference_unit_is_converted(tmp_path, unit, reference_unit, factor):
    c4, m1 = noise(7680, 1), noise(7680, 2) / factor
    limits = 200 / factor
    channels = [
        ("C4", 128, unit, c4, (-300, 300)),
        ("M1", 128, reference_unit, m1, (-limits, limits)),
    ]
    night = read_recording(write(tmp_path / "a.edf", channels))
    assert night.units["eeg"] == unit
    np.testing.assert_allclose(night["eeg"], c4 - factor * m1, atol=0.02)


def test_shared_reference_stays_intact(tmp_path):
    labels = ("C4", "LOC", "M1", "M2")
    channels = [(x, 128, "uV", noise(7680, i), (-500, 500)) for i, x in enumerate(labels)]
    night = read_recording(write(tmp_path / "a.edf", channels))
    values = {label: samples for label, _, _, samples, _ in channels}
    np.testing.assert_allclose(night["eeg"], values["C4"] - values["M1"], atol=0.03)
    np.testing.assert_allclose(night["eog"], values["LOC"] - values["M2"], atol=0.03)
    np.testing.assert_array_equal(night["eeg"], night.read()["eeg"].values)


def test_inverted_range_inverts_signal(tmp_path):
    values = noise(7680)
    path = write(tmp_path / "a.edf", [("C4-M1", 128, "uV", values, (-500, 500))])
    data = bytearray(path.read_bytes())
    least, most = 256 + 16 + 80 + 8, 256 + 16 + 80 + 8 + 8
    data[least : least + 8], data[most : most + 8] = data[most : most + 8], data[least : least + 8]
    path.write_bytes(data)
    np.testing.assert_allclose(read_recording(path)["eeg"], -values, atol=0.02)


@pytest.mark.parametrize("unit", ["mV", "V", "nV", "uV"])
def test_file_unit_is_kept(tmp_path, unit):
    path = write(tmp_path / "a.edf", [("ECG", 128, unit, noise(7680), (-500, 500))])
    night = read_recording(path, derive=False)
    assert (night.units, night.notes) == ({"ecg": unit}, ())


def test_shrunk_file_is_named(tmp_path):
    path = write(tmp_path / "a.edf", [("ECG", 128, "uV", noise(7680), (-500, 500))])
    night = read_recording(path)
    write(path, [("ECG", 128, "uV", noise(3840), (-500, 500))])
    with pytest.raises(
        ReadError, match=r"a\.edf: has 30 records, its header announced 60 .* has changed"
    ):
        night.read()


def test_vanished_file_is_named(tmp_path):
    path = write(tmp_path / "a.edf", [("ECG", 128, "uV", noise(7680), (-500, 500))])
    night = read_recording(path)
    path.unlink()
    with pytest.raises(ReadError, match=r"a\.edf: no such file"):
        night.read()
    with pytest.raises(ReadError, match="no such file"):
        EdfSource(path)


def test_named_channel_ignores_label(tmp_path):
    channels = [
        ("x1", 128, "uV", noise(7680, 1), (-500, 500)),
        ("x2", 128, "uV", noise(7680, 2), (-500, 500)),
    ]
    path = write(tmp_path / "a.edf", channels)
    with pytest.raises(NoUsableChannelError, match="found 'x1', 'x2'"):
        read_recording(path)
    night = read_recording(path, channels={"ecg": ("x1", "x2")})
    np.testing.assert_allclose(night["ecg"], channels[0][3] - channels[1][3], atol=0.03)
    write(path, [("x1", 128, *channels[0][2:]), ("x2", 64, "uV", noise(3840), (-200, 200))])
    with pytest.raises(InvalidSignalError, match="accepted are channels of one rate"):
        read_recording(path, channels={"ecg": ("x1", "x2")})
