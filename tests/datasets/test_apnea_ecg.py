# SPDX-License-Identifier: BSD-3-Clause
"""Apnea-ECG Database."""

import numpy as np
import pytest

from sleep2vec_sklearn.datasets import load_apnea_ecg
from sleep2vec_sklearn.errors import ReadError
from tests.datasets.files import APNEA, NORMAL, annotation_bytes, beats_every, write, write_record

ROW = "{name}\t490\t20\t470\t9\t{ai}\t{hi}\t{ahi}\t{age}\t{sex}\t{height}\t{weight}\n"
SUBJECT = {"ai": 1, "hi": 2, "ahi": 3, "age": 51, "sex": "M", "height": 175, "weight": 102}


def load(folder, subjects, minutes=((0, APNEA), (6000, NORMAL))):
    table = "Record\tLength\n\n"
    for name, changes in subjects.items():
        annotations = {"qrs": beats_every(100, 18_000), "apn": minutes}
        write_record(folder, name, "1 100 18000", annotations)
        table += ROW.format(name=name, **{**SUBJECT, **changes})
    write(folder / "additional-information.txt", table)
    return load_apnea_ecg(folder)


@pytest.mark.parametrize("change", [{"age": 52}, {"sex": "F"}, {"height": 170}, {"weight": 101}])
def test_equal_demographics_share_a_subject(tmp_path, change):
    cohort = load(tmp_path, {"a01": {}, "a02": change, "a03": {"ahi": 9}})
    first, second, third = (night.subject for night in cohort)
    assert first == third != second


def test_table_gives_metadata(tmp_path):
    (night,) = load(tmp_path, {"x07": {"ai": 12.5, "hi": 57.1, "ahi": 69.6, "sex": "F"}})
    assert dict(night.metadata) == {
        "site": "apnea-ecg", "apnea_index": 12.5, "hypopnea_index": 57.1, "ahi": 69.6,
        "age": 51, "sex": "F", "height": 175, "weight": 102,
    }  # fmt: skip


def test_minutes_with_apnea_are_events(tmp_path):
    (night,) = load(tmp_path, {"b02": {}}, [(0, NORMAL), (6000, APNEA), (12_000, NORMAL)])
    assert night.events.values.tolist() == [[60.0, 60.0, "apnea_minute"]]
    assert night.duration == 180


def test_beats_are_read_once(tmp_path):
    (night,) = load(tmp_path, {"c01": {}})
    (tmp_path / "c01.qrs").write_bytes(annotation_bytes(sorted(beats_every(100, 18_000) * 2)))
    (again,) = load_apnea_ecg(tmp_path)
    np.testing.assert_array_equal(night["ibi"], again["ibi"])
    (tmp_path / "c01.qrs").unlink()
    with pytest.raises(ReadError, match=r"c01\.qrs: no such file"):
        load_apnea_ecg(tmp_path)


def test_copies_of_night_are_skipped(tmp_path):
    load(tmp_path, {"a01": {}})
    for name in ("a01r", "a01er"):
        (tmp_path / f"{name}.apn").write_bytes((tmp_path / "a01.apn").read_bytes())
    assert [night.id for night in load_apnea_ecg(tmp_path)] == ["a01"]


def test_record_needs_its_subject(tmp_path):
    load(tmp_path, {"a01": {}})
    table = tmp_path / "additional-information.txt"
    write(table, "Record\n")
    with pytest.raises(ReadError, match="no row for a01"):
        load_apnea_ecg(tmp_path)
    table.unlink()
    with pytest.raises(ReadError, match="share a subject"):
        load_apnea_ecg(tmp_path)
