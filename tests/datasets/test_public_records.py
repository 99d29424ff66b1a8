# SPDX-License-Identifier: BSD-3-Clause
"""PhysioNet records: annotation files word by word, and the two sets that use them."""

import struct
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets import load_apnea_ecg, load_slpdb
from sleep2vec_sklearn.datasets._files import _parse_annotations as _parse
from sleep2vec_sklearn.datasets._files import read_header
from sleep2vec_sklearn.datasets.slpdb import _read_demographics
from sleep2vec_sklearn.errors import ReadError

few = settings(max_examples=30)

NORMAL, NOTE, RHYTHM = 1, 22, 28


def word(kind, value):
    return struct.pack("<H", kind << 10 | value)


def skip(interval):
    return word(59, 0) + struct.pack("<HH", interval >> 16 & 0xFFFF, interval & 0xFFFF)


def text(raw):
    return word(63, len(raw)) + raw + b"\0" * (len(raw) % 2)


def annotations(marks):
    """(sample, kind) or (sample, kind, text) in order, as a file's bytes."""
    data, last = b"", 0
    for sample, kind, *note in marks:
        data += skip(sample - last) + word(kind, 0)
        data += text(note[0].encode()) if note else b""
        last = sample
    return data + b"\0\0"


steps = st.lists(st.tuples(st.integers(0, 2**24), st.integers(1, 49)), max_size=12)


@few
@given(steps=steps, notes=st.lists(st.binary(min_size=1, max_size=9), min_size=12, max_size=12))
def test_any_marks_are_read_back_with_their_texts(steps, notes):
    samples = np.cumsum([step for step, _ in steps], dtype=int).tolist()
    data = b""
    for (step, kind), note in zip(steps, notes, strict=False):
        data += (word(kind, step) if step < 1024 else skip(step) + word(kind, 0)) + text(note)
    found = _parse(data + b"\0\0", "a.st")
    assert found.samples.tolist() == samples
    assert found.types.tolist() == [kind for _, kind in steps]
    expected = [note.rstrip(b"\0").decode("latin-1") for note in notes[: len(steps)]]
    assert list(found.texts) == expected


def test_fields_of_an_annotation_take_no_time():
    data = word(NORMAL, 10) + word(60, 1) + word(61, 2) + word(62, 3) + word(NORMAL, 5) + b"\0\0"
    assert _parse(data, "a.qrs").samples.tolist() == [10, 15]


def test_time_can_go_back():
    data = skip(5000) + word(NORMAL, 0) + skip(-1000 & 0xFFFFFFFF) + word(NORMAL, 0) + b"\0\0"
    assert _parse(data, "a.qrs").samples.tolist() == [5000, 4000]


@pytest.mark.parametrize("data", [word(59, 0), word(59, 0) + b"\1\0", text(b"no one")])
def test_what_breaks_off_is_an_error(data):
    with pytest.raises(ReadError, match=r"a\.st .*Download it again"):
        _parse(data, "a.st")


def header_of(tmp_path, line, comment=""):
    path = tmp_path / "r.hea"
    path.write_text(f"{line}\nr.dat 212 200 12 0 0 0 0 ECG\n{comment}", encoding="latin-1")
    return read_header(path)


@pytest.mark.parametrize(
    ("line", "rate", "start"),
    [
        ("r 1 250 7500", 250, None),
        ("r 1 250/0.5(9) 7500", 250, None),
        ("r 1 128.5(0) 7500 23:10:05 19/1/1989", 128.5, datetime(1989, 1, 19, 23, 10, 5)),
        ("r 1 100 7500 01:02:03 2/3/99", 100, datetime(1999, 3, 2, 1, 2, 3)),
        ("r 1 100 7500 01:02:03", 100, None),
        ("r 1 100 7500 one two", 100, None),
    ],
)
def test_headers_tell_rate_length_and_start(tmp_path, line, rate, start):
    header = header_of(tmp_path, line)
    assert (header.rate, header.n_samples, header.start) == (rate, 7500, start)
    assert header.duration == 7500 / rate


def test_the_first_comment_of_a_header_is_kept(tmp_path):
    assert header_of(tmp_path, "r 1 250 7500", "# 44 M 89\n# second\n").comment == "44 M 89"


def write_record(folder, name, line, beats, files, comment=""):
    (folder / f"{name}.hea").write_text(f"{name} {line}\n{name}.dat 212\n{comment}")
    for suffix, marks in {**beats, **files}.items():
        (folder / f"{name}.{suffix}").write_bytes(annotations(marks))


def beats_every(samples, stop, kind=NORMAL):
    return [(s, kind) for s in range(samples, stop, samples)]


def test_beats_are_placed_by_the_headers_rate(tmp_path):
    for rate in (100, 250):
        folder = tmp_path / str(rate)
        folder.mkdir()
        beats = {"ecg": beats_every(rate * 4 // 5, 120 * rate)}
        stages = {"st": [(1, NOTE, "W")]}
        write_record(folder, "slp02a", f"1 {rate} {120 * rate}", beats, stages)
        (night,) = load_slpdb(folder)
        assert night.duration == 120
        np.testing.assert_allclose(night["ibi"][8:-8], 0.8, atol=1e-3)


def test_what_is_no_heart_beat_makes_no_interval(tmp_path):
    marks = sorted(beats_every(250, 30_000) + [(s + 100, RHYTHM) for s in range(250, 29_000, 250)])
    write_record(tmp_path, "slp03", "1 250 30000", {"ecg": marks}, {"st": [(1, NOTE, "W")]})
    (night,) = load_slpdb(tmp_path)
    np.testing.assert_allclose(night["ibi"][8:-8], 1.0, atol=1e-3)


def slpdb_night(tmp_path, marks, comment="# 44 M 89 32-01-89\n"):
    beats = {"ecg": beats_every(250, 45_000)}
    write_record(tmp_path, "slp04", "1 250 45000", beats, {"st": marks}, comment)
    (night,) = load_slpdb(tmp_path)
    return night


def test_a_stage_stands_at_the_epoch_that_begins_at_its_mark(tmp_path):
    night = slpdb_night(tmp_path, [(0, NOTE, "1"), (7500, NOTE, "2"), (3 * 7500, NOTE, "R")])
    assert night.stages.tolist() == [1, 2, -1, 4, -1, -1]


def test_marks_a_little_beside_their_epoch_belong_to_it(tmp_path):
    night = slpdb_night(tmp_path, [(1, NOTE, "W"), (7490, NOTE, "3"), (15_010, NOTE, "4")])
    assert night.stages.tolist()[:3] == [0, 3, 3]


def test_marks_after_the_end_are_left_out_of_the_stages(tmp_path):
    night = slpdb_night(tmp_path, [(1, NOTE, "W"), (99 * 7500, NOTE, "2")])
    assert night.stages.tolist() == [0, -1, -1, -1, -1, -1]


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        ("H", ["hypopnea"]),
        ("HA", ["hypopnea_with_arousal"]),
        ("OA", ["obstructive_apnea"]),
        ("X", ["obstructive_apnea_with_arousal"]),
        ("CA", ["central_apnea"]),
        ("CAA", ["central_apnea_with_arousal"]),
        ("L", ["leg_movement"]),
        ("LLL", ["leg_movement"] * 3),
        ("LA A", ["leg_movement_with_arousal", "arousal"]),
        ("?", []),
    ],
)
def test_codes_of_an_epoch_are_events_of_its_thirty_seconds(tmp_path, code, kinds):
    night = slpdb_night(tmp_path, [(1, NOTE, "W"), (15_000, NOTE, f"2 {code}")])
    assert night.events["type"].tolist() == kinds
    assert set(night.events["onset"]) <= {60.0}
    assert set(night.events["duration"]) <= {30.0}


@pytest.mark.parametrize(
    ("comment", "age", "sex", "weight"),
    [("44 M 89 32-01-89", 44, "M", 89), ("x F 70", None, "F", 70), ("", None, None, None)],
)
def test_what_a_header_does_not_say_of_a_read_demographics_is_missing(comment, age, sex, weight):
    person = _read_demographics(comment)
    assert person["sex"] == sex
    for key, value in (("age", age), ("weight", weight)):
        assert np.isnan(person[key]) if value is None else person[key] == value


ROW = "{name}\t490\t20\t470\t9\t{ai}\t{hi}\t{ahi}\t{age}\t{sex}\t{height}\t{weight}\n"


def apnea_ecg(folder, people, marks=((0, 8), (6000, NORMAL))):
    table = ""
    for name, person in people.items():
        beats = {"qrs": beats_every(100, 18_000)}
        write_record(folder, name, "1 100 18000", beats, {"apn": list(marks)})
        given = {"ai": 1, "hi": 2, "ahi": 3, "age": 51, "sex": "M", "height": 175, "weight": 102}
        table += ROW.format(name=name, **{**given, **person})
    (folder / "additional-information.txt").write_text("Record\n" + table)
    return load_apnea_ecg(folder)


@pytest.mark.parametrize("change", [{"age": 52}, {"sex": "F"}, {"height": 170}, {"weight": 101}])
def test_people_with_any_other_body_are_other_people(tmp_path, change):
    cohort = apnea_ecg(tmp_path, {"a01": {}, "a02": change, "a03": {"ahi": 9}})
    first, second, third = (night.subject for night in cohort)
    assert first == third != second


def test_columns_of_the_table_keep_their_names(tmp_path):
    (night,) = apnea_ecg(tmp_path, {"x07": {"ai": 12.5, "hi": 57.1, "ahi": 69.6, "sex": "F"}})
    assert dict(night.metadata) == {
        "site": "apnea-ecg", "apnea_index": 12.5, "hypopnea_index": 57.1, "ahi": 69.6,
        "age": 51, "sex": "F", "height": 175, "weight": 102,
    }  # fmt: skip


def test_minutes_marked_with_apnea_are_events_and_the_others_are_not(tmp_path):
    marks = [(0, NORMAL), (6000, 8), (12_000, NORMAL)]
    (night,) = apnea_ecg(tmp_path, {"b02": {}}, marks)
    assert night.events.values.tolist() == [[60.0, 60.0, "apnea_minute"]]
    assert night.duration == 180


def test_a_beat_found_twice_is_one_beat(tmp_path):
    (night,) = apnea_ecg(tmp_path, {"c01": {}})
    doubled = sorted(beats_every(100, 18_000) * 2)
    (tmp_path / "c01.qrs").write_bytes(annotations(doubled))
    (again,) = load_apnea_ecg(tmp_path)
    np.testing.assert_array_equal(night["ibi"], again["ibi"])


def test_a_record_without_its_beats_is_named(tmp_path):
    apnea_ecg(tmp_path, {"c01": {}})
    (tmp_path / "c01.qrs").unlink()
    with pytest.raises(ReadError, match=r"c01\.qrs cannot be read"):
        load_apnea_ecg(tmp_path)


def test_other_records_of_the_same_night_are_passed_over(tmp_path):
    apnea_ecg(tmp_path, {"a01": {}})
    for name in ("a01r", "a01er"):
        (tmp_path / f"{name}.apn").write_bytes((tmp_path / "a01.apn").read_bytes())
    assert [night.id for night in load_apnea_ecg(tmp_path)] == ["a01"]
