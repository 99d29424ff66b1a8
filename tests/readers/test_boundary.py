# SPDX-License-Identifier: BSD-3-Clause
"""What is refused before it takes memory or time, and whose errors end as which."""

import os
import sqlite3
import struct
import sys
import warnings
import zipfile

import numpy as np
import pytest

from sleep2vec_sklearn import (
    Recording,
    Sleep2VecTransformer,
    describe_channels,
    read_cohort,
    read_recording,
)
from sleep2vec_sklearn.errors import InvalidSignalError, ReadError, RecordingWarning
from sleep2vec_sklearn.readers import EdfSource, _boundary, read_scoring
from sleep2vec_sklearn.readers._boundary import (
    BadFileError,
    only_read_errors,
    parse_xml,
)
from sleep2vec_sklearn.recordings._resampling import _as_whole_numbers
from tests.fuzz import edf

SIGNALS = [("EEG C4-M1", 100, "uV"), ("SaO2", 1, "%")]
ANNOTATIONS = ("EDF Annotations", 30, "")


@pytest.mark.parametrize("error", [MemoryError, RecursionError, KeyError, OSError, AssertionError])
def test_errors_name_the_file(tmp_path, error):
    words = rf"night\.x: MNE cannot read it \({error.__name__}\)\. Do"
    path = tmp_path / "night.x"
    with pytest.raises(ReadError, match=words), only_read_errors(path, "MNE", "Do"):
        raise error("Mustermann")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ImportError])
def test_stops_pass_the_boundary(tmp_path, error):
    with pytest.raises(error), only_read_errors(tmp_path, "MNE"):
        raise error


def test_own_words_are_kept(tmp_path):
    with pytest.raises(ReadError, match=r"it is odd\. Do"), only_read_errors(tmp_path, "x", "Do"):
        raise BadFileError("it is odd.")


@pytest.mark.parametrize("name", ["n.edf", "n.npz", "n.csv", "n.vhdr", "n.set", "n.agd", "n.xml"])
def test_pipes_are_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (describe_channels, read_recording):
        with pytest.raises(ReadError, match=rf"{name}: a pipe, socket or device"):
            read(tmp_path / name)


def test_pipes_cost_one_night(tmp_path):
    for i in range(2):
        edf.write(tmp_path / f"n{i}.edf", SIGNALS, seed=i)
    for name in ("pipe.edf", "table.csv", "n1_hypnogram.csv"):
        os.mkfifo(tmp_path / name)
    with pytest.warns(RecordingWarning):
        cohort = read_cohort(tmp_path)
    assert [night.id for night in cohort] == ["n0"]
    assert len(cohort.failures) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_odd_names_are_left_out(tmp_path):
    edf.write(tmp_path / "n1.edf", SIGNALS)
    edf.write(tmp_path / "n\udcfc.edf", SIGNALS)
    with pytest.warns(RecordingWarning, match="no text in UTF-8"):
        assert [night.id for night in read_cohort(tmp_path)] == ["n1"]


@pytest.mark.parametrize("stated", [0, 256, 766, 1024, "", "99999999"])
def test_header_states_its_bytes(tmp_path, stated):
    path = edf.write(tmp_path / "n.edf", SIGNALS)
    assert EdfSource(path).header.data_offset == 768
    data = bytearray(path.read_bytes())
    data[184:192] = str(stated).ljust(8).encode()
    path.write_bytes(data)
    with pytest.raises(ReadError, match="bytes"):
        read_recording(path)


@pytest.mark.parametrize("digits", ["1_0", "\xb2", "0x10", "1e400", "--5"])
def test_digits_are_those_of_ascii(tmp_path, digits):
    path = edf.write(tmp_path / "n.edf", SIGNALS)
    data = bytearray(path.read_bytes())
    data[244:252] = digits.ljust(8).encode("latin-1")
    path.write_bytes(data)
    with pytest.raises(ReadError, match="the length of a record in the header is not a number"):
        read_recording(path)


def test_channels_lie_where_listed(tmp_path):
    """Annotations first, and labels that are there twice, move no samples."""
    signals = [ANNOTATIONS, SIGNALS[0], SIGNALS[0], SIGNALS[1]]
    path = edf.write(tmp_path / "n.edf", signals, reserved="EDF+C")
    header = EdfSource(path).header
    assert [channel.offset for channel in header.channels] == [0, 30, 130, 230]
    assert [channel.index for channel in header.signals] == [1, 2, 3]
    _, expected = edf.read_independently(path)
    for signal, digital, (_, values) in zip(
        header.signals, header.read_digital(path, header.signals), expected, strict=True
    ):
        np.testing.assert_allclose(signal.to_physical(digital), values, 1e-5, 1e-3)


@pytest.mark.parametrize(("seconds", "words"), [(1e6, "1041.67 days"), ("1e-30", "usable channel")])
def test_length_of_night_is_bounded(tmp_path, seconds, words):
    with pytest.raises(ReadError, match=words):
        read_recording(edf.write(tmp_path / "n.edf", SIGNALS, seconds=seconds))


def test_gaps_are_bounded(tmp_path):
    signals = [("C4-M1", 500, "uV"), ANNOTATIONS]
    onsets = [*range(59), 90_000]
    path = edf.write(tmp_path / "n.edf", signals, n_records=60, reserved="EDF+D", onsets=onsets)
    with pytest.raises(ReadError, match=r"44,970,500 samples that the file does not hold"):
        read_recording(path)
    onsets[-1] = 600
    path = edf.write(tmp_path / "n.edf", signals, n_records=60, reserved="EDF+D", onsets=onsets)
    eeg = read_recording(path)["eeg"]
    assert (len(eeg), int(np.isfinite(eeg).sum())) == (601 * 500, 60 * 500)


def test_unusable_scale_in_single_precision(tmp_path):
    path = edf.write(tmp_path / "n.edf", SIGNALS)
    data = bytearray(path.read_bytes())
    first = 256 + 2 * (16 + 80 + 8)
    data[first : first + 8] = b"-1e300  "
    path.write_bytes(data)
    night = read_recording(path)
    assert night.modalities == ("spo2",)
    assert any("its header gives no usable scale" in note for note in night.notes)


@pytest.mark.parametrize("sign", ["_", " _", "lights_", "rem n", "1-1-", "epoch(", "-_, :."])
def test_long_labels_take_no_time(tmp_path, sign):
    path = tmp_path / "h.csv"
    path.write_text(f"onset,duration,stage\n0,30,W\n30,30,'{sign * 100_000}'\n60,30,N2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        scoring = read_scoring(path)
    assert scoring.stages[[0, -1]].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [("W\n" * 100_002, "accepted are 100,000"), ("W," * 600_000, "letters"),
     ("onset,stage\n" + "".join(f"{i},x{i}\n" for i in range(5001)), "5,001 of them different"),
     ("onset,stage\nnan,W\n", "'nan' is not a time"), ("onset,stage\n1e30,W\n", "is not a time"),
     ("onset,duration,stage\n0,1e15,W\n", "a label begins at 0 s and lasts 1e"),
     ("epoch,stage\n9999999,W\n", "as no night has so many")],
)  # fmt: skip
def test_labels_are_bounded(tmp_path, text, words):
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(ReadError, match=words):
        read_scoring(tmp_path / "h.csv")


@pytest.mark.parametrize(
    ("document", "words"),
    [(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "defines entities"),
     ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"), "defines entities"),
     (b'<!DOCTYPE a [<!ATTLIST a b CDATA "c">]><a/>', "defines entities or attributes"),
     (b"<a>" * 65, "more than 64 levels")],
)  # fmt: skip
def test_growing_xml_is_refused(tmp_path, document, words):
    with pytest.raises(BadFileError, match=words):
        list(parse_xml([document[:20], document[20:]]))
    (tmp_path / "h.xml").write_bytes(document)
    with pytest.raises(ReadError, match=words):
        read_scoring(tmp_path / "h.xml")


def npy(shape, kind="<f4"):
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


@pytest.mark.parametrize(
    ("members", "words"),
    [({"eeg": npy((10**12,))}, "announces 4,000,000,000,0"), ({"eeg": npy((-5,))}, "announces"),
     ({"eeg": npy((10**6,), "|i1") + bytes(10**6)}, "grow to 1,000,0"),
     ({f"a{i}": b"" for i in range(101)}, "an archive of 101 files")],
)  # fmt: skip
def test_archives_are_bounded(tmp_path, monkeypatch, members, words):
    monkeypatch.setattr(_boundary, "ARCHIVE_BYTES", 10**5)
    monkeypatch.setattr(_boundary, "MOST_MEMBERS", 100)
    path = tmp_path / "n.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    with pytest.raises(ReadError, match=words):
        read_recording(path)


def test_arrays_are_those_of_npy(tmp_path):
    path = tmp_path / "n.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("spo2.npy", npy((480,)) + np.full(480, 96, "<f4").tobytes())
        archive.writestr("spo2", npy((480,)) + np.full(480, 50, "<f4").tobytes())
    np.testing.assert_array_equal(read_recording(path)["spo2"], 96)


@pytest.mark.parametrize("rate", [1e-9, 1e9, np.nan])
def test_rates_in_files_are_bounded(tmp_path, rate):
    np.savez(tmp_path / "n.npz", resp=np.arange(4800) % 7, rate_resp=rate)
    with pytest.raises(ReadError, match="rate"):
        read_recording(tmp_path / "n.npz")


@pytest.mark.parametrize("rate", ["100", [64], object(), 10**400, 1e-9, 1e9, True, 1j])
@pytest.mark.parametrize("shape", [(15360,), (4, 3840)])
def test_rates_are_numbers(rate, shape):
    with pytest.raises(InvalidSignalError, match="has rate"):
        Recording({"eeg": (np.zeros(shape), rate)})


@pytest.mark.parametrize("rate", [128.0001, 127.9999, 5000.003, 199_999.7, 1 / 3600, np.pi * 100])
def test_factors_of_resampling_are_bounded(rate):
    for other in (4.0, 128.0):
        up, down = _as_whole_numbers(other, rate)
        assert max(up, down) <= 1_000_000
        assert up / down == pytest.approx(other / rate, rel=2e-6)


def test_views_of_databases_are_refused(tmp_path):
    with sqlite3.connect(tmp_path / "n.agd") as database:
        database.executescript(
            "CREATE TABLE settings(settingName, settingValue); CREATE VIEW data AS WITH RECURSIVE "
            "c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x AS dataTimestamp FROM c;"
        )
    database.close()
    with pytest.raises(ReadError, match="its 'data' is no plain table"):
        read_recording(tmp_path / "n.agd")


def test_night_lasts_no_decades():
    with pytest.raises(ValueError, match="accepted are up to 5,000"):
        Recording({"resp": np.zeros(480)}, duration=1e12)


def test_night_lost_later_is_named(tmp_path):
    """What fails when samples are first used is an error of its night, as on_error= needs it."""
    paths = [edf.write(tmp_path / f"n{i}.edf", SIGNALS, seed=i) for i in range(2)]
    cohort = [read_recording(path) for path in paths]
    paths[1].write_bytes(paths[1].read_bytes()[:5000])
    with pytest.raises(ReadError, match=r"n1\.edf: has \d+ records, .* changed"):
        cohort[1].read()
    transformer = Sleep2VecTransformer(modalities=["eeg"], on_error="nan", cache=None)
    with pytest.warns(RecordingWarning, match="n1"):
        rows = transformer.fit_transform(cohort)
    assert np.isfinite(rows).all(axis=1).tolist() == [True, False]
    paths[1].unlink()
    with pytest.raises(ReadError, match=r"n1\.edf"):
        _ = cohort[1].fingerprint
