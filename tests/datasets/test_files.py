# SPDX-License-Identifier: BSD-3-Clause
"""Annotations and headers of PhysioNet's records, and what loaders share."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import datasets
from sleep2vec_sklearn.datasets._files import as_cohort, find_files, read_annotations, read_header
from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.recordings import Recording
from tests.datasets.files import NORMAL, skip, text, word, write

LOADERS = [getattr(datasets, name) for name in datasets.__all__ if name.startswith("load_")]
# written by wrann and read by rdann of the wfdb package 4.3.1
WFDB_FILE = bytes.fromhex(
    "127003fc284e00003b04251501f4fe0701f800ec00000004002003f000ec01000008005800f000f804fc32204c41"
    "000400ec0100d0fb005802fc4d54014002f400ec2a007fb900080000"
)
WFDB_SAMPLES = [18, 77, 370, 1392, 2416, 70_000, 70_000, 200_000, 200_001, 3_000_000]
WFDB_TYPES = [28, 1, 5, 1, 8, 22, 1, 22, 16, 2]
WFDB_TEXTS = ("(N", "", "", "", "", "2 LA", "", "MT", "", "")


def read(folder, data):
    (folder / "a.st").write_bytes(data)
    return read_annotations(folder / "a.st")


def test_annotations_equal_wfdb(tmp_path):
    annotations = read(tmp_path, WFDB_FILE)
    assert annotations.samples.tolist() == WFDB_SAMPLES
    assert annotations.types.tolist() == WFDB_TYPES
    assert annotations.texts == WFDB_TEXTS


steps = st.lists(st.tuples(st.integers(0, 2**24), st.integers(1, 49)), max_size=12)


@settings(max_examples=30)
@given(steps=steps, notes=st.lists(st.binary(min_size=1, max_size=9), min_size=12, max_size=12))
def test_annotations_survive_round_trip(tmp_path_factory, steps, notes):
    data = b""
    for (step, kind), note in zip(steps, notes, strict=False):
        data += (word(kind, step) if step < 1024 else skip(step) + word(kind, 0)) + text(note)
    annotations = read(tmp_path_factory.mktemp("marks"), data + b"\0\0")
    assert annotations.samples.tolist() == np.cumsum([s for s, _ in steps], dtype=int).tolist()
    assert annotations.types.tolist() == [kind for _, kind in steps]
    expected = [note.rstrip(b"\0").decode("latin-1") for note in notes[: len(steps)]]
    assert list(annotations.texts) == expected


def test_fields_and_steps_back(tmp_path):
    data = word(NORMAL, 10) + word(60, 1) + word(61, 2) + word(62, 3) + word(NORMAL, 5) + b"\0\0"
    assert read(tmp_path, data).samples.tolist() == [10, 15]
    data = skip(5000) + word(NORMAL, 0) + skip(-1000 & 0xFFFFFFFF) + word(NORMAL, 0) + b"\0\0"
    assert read(tmp_path, data).samples.tolist() == [5000, 4000]


@pytest.mark.parametrize(
    ("data", "reason"),
    [*((data, "truncated") for data in (b"", b"abc", b"\x01\x58\x07", b"\x01\x58")),
     (word(59, 0) + b"\0\0", "ends inside an annotation"),
     (text(b"no one") + b"\0\0", "text without an annotation")],
)  # fmt: skip
def test_broken_annotations_are_refused(tmp_path, data, reason):
    with pytest.raises(ReadError, match=rf"a\.st .*{reason}.*Download it again"):
        read(tmp_path, data)


def header_of(folder, line, comment=""):
    write(folder / "r.hea", f"# first\n{line}\nr.dat 212 200 12 0 0 0 0 ECG\n{comment}")
    return read_header(folder / "r.hea")


@pytest.mark.parametrize(
    ("line", "rate", "start"),
    [("r 1 250 7500", 250, None), ("r 1 250/0.5(9) 7500", 250, None),
     ("r 1 128.5(0) 7500 23:10:05 19/1/1989", 128.5, datetime(1989, 1, 19, 23, 10, 5)),
     ("r 1 100 7500 01:02:03 2/3/99", 100, datetime(1999, 3, 2, 1, 2, 3)),
     ("r 1 100 7500 01:02:03", 100, None), ("r 1 100 7500 one two", 100, None)],
)  # fmt: skip
def test_header_has_rate_and_start(tmp_path, line, rate, start):
    header = header_of(tmp_path, line, "# second\n")
    assert (header.rate, header.n_samples, header.start) == (rate, 7500, start)
    assert (header.duration, header.comment) == (7500 / rate, "first")
    with pytest.raises(ReadError, match=r"r\.hea is not a record's header"):
        header_of(tmp_path, "r")


def test_files_are_in_natural_order(tmp_path):
    for name in ("n10.txt", "n9.txt", "n1.txt", "m2.txt"):
        write(tmp_path / name, "")
    names = [path.name for path in find_files(tmp_path, "*.txt", "a set")]
    assert names == ["m2.txt", "n1.txt", "n9.txt", "n10.txt"]


def test_cohort_has_row_per_recording():
    nights = [
        Recording({"ibi": (np.ones(240), 4)}, id=name, subject="x", metadata={"age": age})
        for name, age in (("a", 30), ("b", 31))
    ]
    table = as_cohort(nights).metadata
    assert table.index.tolist() == ["a", "b"]
    assert table.to_dict("list") == {"subject": ["x", "x"], "age": [30, 31]}


@pytest.mark.parametrize("load", LOADERS)
def test_other_folder_is_refused(load, tmp_path):
    with pytest.raises(ReadError, match=r"holds no .*accepted is the unpacked folder"):
        load(tmp_path)
    with pytest.raises(ReadError, match="is not a folder"):
        load(tmp_path / "absent")
