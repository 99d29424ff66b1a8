# SPDX-License-Identifier: BSD-3-Clause
"""Hypnogram files of simulated sites, read back without the library."""

import csv
from datetime import datetime
from itertools import pairwise
from types import SimpleNamespace
from xml.etree import ElementTree

import edfio
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.datasets.simulation.edf_export import (
    HYPNOGRAM_WRITERS,
    _bouts,
    _round_up,
    _site_number,
)

few = settings(max_examples=30)

STAGES = [-1, 0, 0, 1, 2, 3, 3, 4]
EVENTS = pd.DataFrame(
    {"onset": [95.25, 130.0], "duration": [12.5, 4.0], "type": ["obstructive_apnea", "arousal"]}
)
AASM, NSRR, RK, CSV = HYPNOGRAM_WRITERS


def night(**options):
    given = {"stages": STAGES, "events": EVENTS, "start": datetime(2020, 3, 1, 22, 30, 5)}
    values = np.random.default_rng(0).normal(size=8 * 30) + 1
    return Recording({"ibi": (values, 1)}, id="n", **{**given, **options})


def written(writer, folder, **options):
    return writer(night(**options), folder / "n", np.random.default_rng(0))


@few
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40))
def test_bouts_tell_the_stages_again(stages):
    bouts = _bouts(SimpleNamespace(stages=stages))
    again = [stage for _, length, stage in bouts for _ in range(round(length / 30))]
    assert again == stages
    assert all(a[2] != b[2] for a, b in pairwise(bouts))
    onsets = [onset for onset, _, _ in bouts]
    assert onsets == list(np.cumsum([0, *[length for _, length, _ in bouts]])[:-1])


def stage_notes(path):
    notes = edfio.read_edf(path).annotations
    return [(a.onset, a.duration, a.text) for a in notes if a.text.startswith("Sleep stage")]


def test_annotations_name_stages_as_the_aasm_does(tmp_path):
    path = written(AASM, tmp_path)
    assert path.name == "n-Hypnogram.edf"
    names = [(onset, text.removeprefix("Sleep stage ")) for onset, _, text in stage_notes(path)]
    assert names == [(0, "?"), (30, "W"), (90, "N1"), (120, "N2"), (150, "N3"), (210, "R")]


def test_rechtschaffen_and_kales_split_deep_sleep_in_two(tmp_path):
    texts = [text[12:] for _, _, text in stage_notes(written(RK, tmp_path, stages=[3, 2] * 4))]
    assert set(texts) == {"2", "3", "4"}
    texts = [text[12:] for _, _, text in stage_notes(written(RK, tmp_path))]
    assert [texts[k] for k in (0, 1, 2, 3, 5)] == ["?", "W", "1", "2", "R"]


def test_events_and_lights_are_annotations_too(tmp_path):
    path = written(AASM, tmp_path, lights=(20.0, 200.0))
    notes = {a.text: (a.onset, a.duration) for a in edfio.read_edf(path).annotations}
    assert notes["Obstructive apnea"] == (95.25, 12.5)
    assert notes["Arousal"] == (130, 4)
    assert notes["Lights off"] == (20, None)
    assert notes["Lights on"] == (200, None)


def test_annotation_files_carry_the_clock(tmp_path):
    edf = edfio.read_edf(written(AASM, tmp_path))
    assert edf.startdate.isoformat() == "2020-03-01"
    assert edf.starttime.replace(microsecond=0).isoformat() == "22:30:05"


def scored_events(path):
    return [
        tuple(event.findtext(tag) for tag in ("EventType", "EventConcept", "Start", "Duration"))
        for event in ElementTree.parse(path).iter("ScoredEvent")
    ]


def test_nsrr_files_code_stages_and_start_with_the_recording(tmp_path):
    events = scored_events(written(NSRR, tmp_path))
    assert events[0] == ("", "Recording Start Time", "0.00", "240.00")
    stages = [(e[1], float(e[2])) for e in events if e[0] == "Stages|Stages"]
    assert stages[0] == ("Unscored|9", 0)
    assert stages[4:] == [("Stage 3 sleep|3", 150), ("REM sleep|5", 210)]


def test_nsrr_files_name_events_and_tell_the_clock(tmp_path):
    path = written(NSRR, tmp_path)
    assert (
        "Respiratory|Respiratory",
        "Obstructive apnea|Obstructive Apnea",
        "95.25",
        "12.50",
    ) in scored_events(path)
    assert ElementTree.parse(path).findtext(".//ClockTime") == "00.00.00 22.30.05"
    unknown = written(NSRR, tmp_path, start=None)
    assert ElementTree.parse(unknown).findtext(".//ClockTime") == "00.00.00 00.00.00"


def test_tables_have_a_row_per_bout(tmp_path):
    with written(CSV, tmp_path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"onset": "0.0", "duration": "30.0", "stage": "?"}
    assert rows[1] == {"onset": "30.0", "duration": "60.0", "stage": "W"}
    assert [row["stage"] for row in rows[2:]] == ["N1", "N2", "N3", "R"]


@pytest.mark.parametrize("writer", HYPNOGRAM_WRITERS)
def test_a_night_without_events_can_be_written(writer, tmp_path):
    assert written(writer, tmp_path, events=None).stat().st_size > 0


@few
@given(st.floats(1e-6, 1e7))
def test_a_physical_range_is_just_above_and_fits_a_header(value):
    reach = _round_up(value)
    assert value <= reach <= 1.12 * value
    assert len(f"-{reach:.9g}") <= 9 or reach < 1e-4


def test_a_signal_of_zeros_has_a_range():
    assert _round_up(0.0) == 1.0


def test_sites_with_a_number_choose_their_form_by_it():
    named = [night(metadata={"site": f"site-{k}"}) for k in (1, 2, 12)]
    assert [_site_number(n) for n in named] == [0, 1, 11]
    ward = night(metadata={"site": "ward"})
    assert _site_number(ward) == _site_number(night(metadata={"site": "ward"})) >= 0


def test_sites_next_to_each_other_write_different_forms(tmp_path):
    values = np.random.default_rng(0).normal(size=8 * 30 * 4)
    nights = [
        Recording({"ibi": (values, 4)}, id=f"n{k}", stages=STAGES, metadata={"site": f"site-{k}"})
        for k in (1, 2, 4)
    ]
    write_edf_cohort(nights, tmp_path)
    forms = {p.name for p in tmp_path.iterdir() if "ypnogram" in p.name or p.suffix == ".xml"}
    assert forms == {"n1-Hypnogram.edf", "n2-nsrr.xml", "n4-hypnogram.csv"}


def test_labels_do_not_depend_on_the_other_nights(tmp_path):
    values = np.random.default_rng(0).normal(size=8 * 30 * 4)
    nights = [Recording({"resp": (values, 4)}, id=f"n{k}", subject=f"s{k}") for k in range(3)]
    both = write_edf_cohort(nights, tmp_path / "all", random_state=3)
    (last,) = write_edf_cohort(nights[2:], tmp_path / "one", random_state=3)
    assert last.read_bytes() == both[2].read_bytes()


def test_a_rate_that_is_no_whole_number_is_written_in_long_records(tmp_path):
    values = np.random.default_rng(0).normal(size=8) ** 2
    night = Recording({"actigraphy": (values, 1 / 30)}, id="slow", subject="s")
    (path,) = write_edf_cohort([night], tmp_path)
    edf = edfio.read_edf(path)
    assert (edf.data_record_duration, edf.num_data_records) == (30, 8)
    np.testing.assert_allclose(edf.signals[0].data, values, atol=values.max() / 3e4)
    assert edf.signals[0].physical_min == 0
