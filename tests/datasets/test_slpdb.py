# SPDX-License-Identifier: BSD-3-Clause
"""MIT-BIH Polysomnographic Database."""

from datetime import datetime

import numpy as np
import pytest

from sleep2vec_sklearn.datasets import load_slpdb
from tests.datasets.files import NOTE, RHYTHM, beats_every, write_record

AWAKE = [(1, NOTE, "W")]


def load(folder, scoring=AWAKE, beats=None, rate=250, comment="# 44 M 89 32-01-89\n", seconds=180):
    """Record slp04, by default with a beat per second."""
    n_samples = seconds * rate
    annotations = {"ecg": beats or beats_every(rate, n_samples), "st": scoring}
    write_record(folder, "slp04", f"1 {rate} {n_samples}", annotations, comment)
    return load_slpdb(folder)[0]


def test_record_has_stages_and_events(tmp_path):
    texts = ["W", "1", "2 H LL", "4 OA OA", "R", "MT"]
    scoring = [(1 + 7500 * i, NOTE, text) for i, text in enumerate(texts)]
    line = "4 250/0.0333(94) 45000 23:07:00 19/1/1989"
    for name in ("slp01a", "slp01b", "slp67x"):
        annotations = {"ecg": beats_every(250, 45_000), "st": scoring}
        write_record(tmp_path, name, line, annotations, "# 44 M 89 32-01-89\n")
    cohort = load_slpdb(tmp_path)
    assert [night.subject for night in cohort] == ["slp01", "slp01", "slp67"]
    night = cohort[0]
    assert night.stages.tolist() == [0, 1, 2, 3, 4, -1]
    assert night.start == datetime(1989, 1, 19, 23, 7)
    assert dict(night.metadata) == {"site": "slpdb", "age": 44.0, "sex": "M", "weight": 89.0}
    kinds = ["hypopnea", *["leg_movement"] * 2, *["obstructive_apnea"] * 2]
    assert night.events["type"].tolist() == kinds
    assert night.events["onset"].tolist() == [60, 60, 60, 90, 90]
    np.testing.assert_allclose(night["ibi"][10:700], 1.0)


@pytest.mark.parametrize("rate", [100, 250])
def test_beats_use_the_headers_rate(tmp_path, rate):
    night = load(tmp_path, beats=beats_every(rate * 4 // 5, 120 * rate), rate=rate, seconds=120)
    assert night.duration == 120
    np.testing.assert_allclose(night["ibi"][8:-8], 0.8, atol=1e-3)


def test_other_annotations_are_no_beats(tmp_path):
    beats = beats_every(250, 45_000)
    others = [(sample + 100, RHYTHM) for sample, _ in beats]
    night = load(tmp_path, beats=sorted(beats + others))
    np.testing.assert_allclose(night["ibi"][8:-8], 1.0, atol=1e-3)


@pytest.mark.parametrize(
    ("scoring", "stages"),
    [
        ([(0, "1"), (7500, "2"), (3 * 7500, "R")], [1, 2, -1, 4, -1, -1]),
        # a little off the start of the epoch
        ([(1, "W"), (7490, "3"), (15_010, "4")], [0, 3, 3, -1, -1, -1]),
        # after the end of the record
        ([(1, "W"), (99 * 7500, "2")], [0, -1, -1, -1, -1, -1]),
    ],
)
def test_stages_begin_at_their_annotations(tmp_path, scoring, stages):
    night = load(tmp_path, [(sample, NOTE, text) for sample, text in scoring])
    assert night.stages.tolist() == stages


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        ("H", ["hypopnea"]), ("HA", ["hypopnea_with_arousal"]), ("OA", ["obstructive_apnea"]),
        ("X", ["obstructive_apnea_with_arousal"]), ("CA", ["central_apnea"]), ("?", []),
        ("CAA", ["central_apnea_with_arousal"]), ("L", ["leg_movement"]),
        ("LLL", ["leg_movement"] * 3), ("LA A", ["leg_movement_with_arousal", "arousal"]),
    ],
)  # fmt: skip
def test_codes_are_events(tmp_path, code, kinds):
    events = load(tmp_path, [*AWAKE, (15_000, NOTE, f"2 {code}")]).events
    assert events["type"].tolist() == kinds
    assert set(events["onset"]) <= {60.0}
    assert set(events["duration"]) <= {30.0}


@pytest.mark.parametrize(
    ("comment", "age", "sex", "weight"),
    [("# x F 70\n", np.nan, "F", 70), ("", np.nan, None, np.nan)],
)
def test_unknown_demographics_are_missing(tmp_path, comment, age, sex, weight):
    metadata = load(tmp_path, comment=comment).metadata
    assert metadata["sex"] == sex
    np.testing.assert_equal([metadata["age"], metadata["weight"]], [age, weight])
