# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import os
import pickle

import edfio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import NoUsableChannelError, ReadError
from sleep2vec_sklearn.readers import EdfSource
from sleep2vec_sklearn.readers import edf as edf_module
from sleep2vec_sklearn.readers._edf_header import read_header


@pytest.fixture
def opened(monkeypatch):
    """Count how often a file is opened for its samples."""
    count = []
    original = edf_module._open
    monkeypatch.setattr(
        edf_module, "_open", lambda path, header: count.append(path) or original(path, header)
    )
    return count


def test_signals_come_at_native_rates_in_physical_units(write_edf):
    t = np.arange(120 * 200) / 200
    wave = 100 * np.sin(2 * np.pi * 0.1 * t)
    source = EdfSource(write_edf(channels={"C4-M1": (200, "uV", wave), "SpO2": (1, "%")}))
    assert {name: item.rate for name, item in source.layout.items()} == {"eeg": 200, "spo2": 1}
    eeg = source.read(["eeg"])["eeg"]
    assert eeg.values.dtype == np.float32
    assert not eeg.values.flags.writeable
    np.testing.assert_allclose(eeg.values, wave, atol=1000 / 65535)
    assert len(eeg.values) == source.layout["eeg"].n_samples


def test_samples_equal_those_of_edfio(write_edf):
    path = write_edf()
    expected = edfio.read_edf(path).get_signal("EEG C4-M1").data
    np.testing.assert_allclose(EdfSource(path).read(["eeg"])["eeg"].values, expected, atol=1e-4)


def test_no_sample_is_read_at_construction_and_one_pass_reads_many(write_edf, opened):
    source = EdfSource(write_edf(channels={"C4-M1": 128, "EMG": 128, "ECG": 128}))
    assert source.layout["emg"].n_samples == 120 * 128
    source.fingerprint()
    assert opened == []
    assert set(source.read(["eeg", "ecg"])) == {"eeg", "ecg"}
    assert len(opened) == 1


def test_references_are_subtracted_in_the_unit_of_the_channel(write_edf):
    c4, m1 = np.full(15360, 50.0), np.full(15360, 0.02)
    c4[::2] = -50
    path = write_edf(channels={"C4": (128, "uV", c4), "M1": (128, "mV", m1)})
    eeg = EdfSource(path).read(["eeg"])["eeg"]
    assert eeg.unit == "uV"
    np.testing.assert_allclose(eeg.values, c4 - 20.0, atol=20)
    np.testing.assert_allclose(np.ptp(eeg.values), 100, atol=0.05)


def test_slow_channels_are_left_out_with_a_note(write_edf):
    source = EdfSource(write_edf(channels={"C4-M1": 128, "EMG submental": 1, "Resp oro-nasal": 1}))
    assert list(source.layout) == ["eeg"]
    assert [note.split(":")[0] for note in source.notes] == ["emg", "airflow"]


def test_fingerprints_depend_on_the_file_and_the_settings(write_edf):
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


def test_a_signals_fingerprint_does_not_depend_on_what_else_is_read(write_edf):
    path = write_edf(channels={"C4-M1": 128, "F3-M2": 128, "ECG": 128})
    whole = EdfSource(path)
    assert EdfSource(path, modalities=["ecg"]).signal_fingerprint("ecg") == (
        whole.signal_fingerprint("ecg")
    )
    other = EdfSource(path, channels={"eeg": "F3-M2"})
    assert other.signal_fingerprint("ecg") == whole.signal_fingerprint("ecg")
    assert other.signal_fingerprint("eeg") != whole.signal_fingerprint("eeg")


def test_a_file_is_hashed_once(write_edf, monkeypatch):
    source = EdfSource(write_edf())
    first = source.fingerprint()
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert source.fingerprint() == first


def make_discontinuous(path, onsets):
    """Turn a continuous EDF+ file into EDF+D whose records start at these seconds."""
    data = bytearray(path.read_bytes())
    data[192:197] = b"EDF+D"
    for i, onset in enumerate(onsets):
        old = b"+%d\x14\x14" % i
        new = b"+%d\x14\x14" % onset
        place = data.index(old, 256)
        data[place : place + len(new)] = new
    path.write_bytes(data)


def test_gaps_of_a_discontinuous_file_become_nan_at_their_place(write_edf):
    path = write_edf(seconds=60, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, [*range(50), *range(90, 100)])
    source = EdfSource(path)
    eeg = source.read(["eeg"])["eeg"].values
    assert source.duration == 100
    assert "discontinuous: 40 s without records are gaps" in source.notes
    assert len(eeg) == 100 * 128 == source.layout["eeg"].n_samples
    assert np.isnan(eeg[50 * 128 : 90 * 128]).all()
    assert np.isfinite(np.delete(eeg, np.s_[50 * 128 : 90 * 128])).all()


def test_bdf_files_are_read(tmp_path):
    wave = np.sin(np.arange(60 * 128) / 20) * 40
    path = tmp_path / "night.bdf"
    signal = edfio.BdfSignal(wave, 128, label="C4-M1", physical_dimension="uV")
    edfio.Bdf([signal]).write(path)
    source = EdfSource(path)
    np.testing.assert_allclose(source.read(["eeg"])["eeg"].values, wave, atol=1e-3)


def test_a_record_cut_short_at_the_end_is_dropped_with_a_note(write_edf):
    path = write_edf()
    path.write_bytes(path.read_bytes()[:-100])
    source = EdfSource(path)
    assert source.duration == 119
    assert "the last of 120 records is cut short and was dropped" in source.notes
    assert len(source.read(["eeg"])["eeg"].values) == 119 * 128


def test_a_recording_that_was_never_closed_is_read_whole(write_edf):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:236] + b"-1      " + data[244:])
    assert EdfSource(path).duration == 120


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "empty"),
        (lambda data: data[:100], "truncated within its header"),
        (lambda data: data[:400], "truncated within its header"),
        (lambda data: data[: len(data) // 2], r"truncated: expected \d+ bytes .* found \d+"),
        (lambda data: data[:768], "no whole record"),
        (lambda data: np.random.default_rng(0).bytes(5000), "not an EDF"),
        (lambda data: b"a hypnogram, perhaps\n" * 100, "not an EDF"),
        (lambda data: data[:252] + b"abcd" + data[256:], "number of signals"),
        (lambda data: data[:252] + b"-3  " + data[256:], "announces -3 signals"),
        (lambda data: data[:244] + b"0       " + data[252:], "record 0 s"),
        (lambda data: data[:244] + b"inf     " + data[252:], "length of a record"),
        (lambda data: data[:236] + b"many    " + data[244:], "number of records"),
    ],
)
def test_damaged_files_say_what_was_found_and_a_way_out(write_edf, damage, words):
    path = write_edf()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ReadError, match=words) as caught:
        EdfSource(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).rstrip(".").count(". ") >= 1


def test_a_missing_file_is_a_read_error(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        EdfSource(tmp_path / "none.edf")


def test_a_channel_without_a_scale_is_left_out(write_edf):
    path = write_edf(channels={"C4-M1": 128, "ECG": 128})
    data = path.read_bytes()
    low = 256 + 2 * (16 + 80 + 8)
    path.write_bytes(data[:low] + b"500     " + data[low + 8 :])
    source = EdfSource(path)
    assert list(source.layout) == ["ecg"]
    assert any("no usable scale" in note for note in source.notes)


def test_no_usable_channel_names_the_file(write_edf):
    path = write_edf(channels={"HR": 1, "Snore": 128})
    with pytest.raises(NoUsableChannelError, match=r"night\.edf has no usable channel; found 'HR'"):
        EdfSource(path)


def test_start_sex_and_age_come_from_the_header(write_edf):
    header = read_header(write_edf())
    assert header.start.isoformat() == "1985-01-01T22:30:00"
    assert header.patient == {"sex": "F", "age": 33}


def test_age_is_computed_where_only_a_birthdate_is_given(write_edf):
    import datetime

    patient = edfio.Patient(code="X", sex="M", birthdate=datetime.date(1950, 6, 1), name="X")
    assert read_header(write_edf(patient=patient)).patient == {"sex": "M", "age": 34}


def test_a_source_survives_pickling_and_pickles_small(write_edf):
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
@given(place=st.integers(0, 1023), junk=st.binary(min_size=1, max_size=12))
def test_a_damaged_header_is_read_or_named_but_never_crashes(write_edf, place, junk):
    path = write_edf("fuzzed.edf", {"C4-M1": 64, "SpO2": 1}, seconds=4)
    data = bytearray(path.read_bytes())
    data[place : place + len(junk)] = junk
    path.write_bytes(data)
    told = None
    try:
        EdfSource(path).read([])
    except ReadError as error:
        told = str(error)
    assert told is None or str(path) in told


@pytest.mark.parametrize("onsets", [[0, 5, 4 * 86400 * 7], [50, 0, 1]])
def test_record_times_that_cannot_be_are_an_error(write_edf, onsets):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, onsets)
    with pytest.raises(ReadError, match="Split the file by night"):
        EdfSource(path)


def test_a_discontinuous_file_without_times_is_an_error(write_edf):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:192] + b"EDF+D" + data[197:])
    with pytest.raises(ReadError, match="Convert it to a continuous EDF"):
        EdfSource(path)


@pytest.mark.parametrize(
    ("field", "start"),
    [
        (b"17.11.0303.27.00", "2003-11-17T03:27:00"),
        (b"01.01.8523.59.59", "1985-01-01T23:59:59"),
        (b"99.99.9999.99.99", None),
        (b"                ", None),
    ],
)
def test_start_times_are_taken_as_they_stand(write_edf, field, start):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:88] + b" " * 80 + field + data[184:])
    header = read_header(path)
    assert (header.start and header.start.isoformat()) == start
    assert bool(header.notes) == (start is None)


@pytest.mark.parametrize(
    ("patient", "known"),
    [
        (b"X F X Female_33yr", {"sex": "F", "age": 33}),
        (b"MCH-0234567 M 02-MAY-1951 Haagse_Harry", {"sex": "M", "age": 33}),
        (b"excerpt3, man - 28/03/1957", {}),
        (b"X X X X", {}),
        (b"", {}),
    ],
)
def test_only_sex_and_age_are_kept_of_the_patient(write_edf, patient, known):
    path = write_edf()
    data = path.read_bytes()
    path.write_bytes(data[:8] + patient.ljust(80) + data[88:])
    header = read_header(path)
    assert header.patient == known
    assert "Harry" not in repr(header)


def test_a_record_without_a_time_is_named(write_edf):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    make_discontinuous(path, [0, 1, 2])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"+1\x14\x14", b"?1\x14\x14", 1))
    with pytest.raises(ReadError, match="record 2 of a discontinuous file has no start time"):
        EdfSource(path)


def test_records_that_follow_each_other_leave_no_gap(write_edf):
    path = write_edf(seconds=3, annotations=[(0.0, None, "x" * 40)])
    plain = EdfSource(path).read(["eeg"])["eeg"].values
    make_discontinuous(path, [0, 1, 2])
    source = EdfSource(path)
    assert (source.duration, source.notes) == (3, ())
    np.testing.assert_array_equal(source.read(["eeg"])["eeg"].values, plain)
