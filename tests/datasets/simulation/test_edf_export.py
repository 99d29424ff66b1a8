# SPDX-License-Identifier: BSD-3-Clause
"""EDF+ files and hypnograms of simulated sites, read back without the library."""

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
from sleep2vec_sklearn.datasets import make_sleep_cohort, write_edf_cohort
from sleep2vec_sklearn.datasets.simulation.edf_export import (
    HYPNOGRAM_WRITERS,
    _bouts,
    _round_up,
    _site_number,
)
from sleep2vec_sklearn.errors import InvalidRecordingError

few = settings(max_examples=30)

STAGES = [-1, 0, 0, 1, 2, 3, 3, 4]
EVENTS = pd.DataFrame(
    {"onset": [95.25, 130.0], "duration": [12.5, 4.0], "type": ["obstructive_apnea", "arousal"]}
)
AASM, NSRR, RK, CSV = HYPNOGRAM_WRITERS
START = datetime(2020, 3, 1, 22, 30, 5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    cohort = make_sleep_cohort(
        8, n_sites=4, hours=0.5, missing=0.2, random_state=2, site_kinds=["laboratory", "wearable"]
    )
    return cohort, write_edf_cohort(cohort, folder), pd.read_csv(folder / "metadata.csv")


def test_samples_survive_within_digital_step(exported):
    cohort, paths, _ = exported
    for recording, path in zip(cohort, paths, strict=True):
        edf = edfio.read_edf(path)
        for stored, signal in zip(edf.signals, recording.read().values(), strict=True):
            step = (stored.physical_max - stored.physical_min) / 65535
            assert stored.sampling_frequency == pytest.approx(signal.rate)
            assert stored.physical_dimension in (signal.unit, "")
            error = np.abs(stored.data - np.nan_to_num(signal.values)).max()
            assert error <= step * 1.01


def test_files_are_dated_but_anonymous(exported):
    cohort, paths, _ = exported
    edf = edfio.read_edf(paths[0])
    assert edf.startdate == cohort[0].start.date()
    assert edf.starttime.replace(microsecond=0) == cohort[0].start.time()
    assert edf.patient.name == "X"


def test_sites_spell_labels_differently(exported):
    _, paths, table = exported
    labels = {}
    for path, site in zip(paths, table["site"], strict=True):
        labels.setdefault(site, set()).update(edfio.read_edf(path).labels)
    assert labels["site-1"] != labels["site-3"]


def test_table_lists_the_files(exported):
    cohort, paths, table = exported
    assert list(table["path"]) == [path.name for path in paths]
    assert list(table["subject"]) == [recording.subject for recording in cohort]
    assert all((paths[0].parent / name).exists() for name in table["hypnogram"])
    assert {"age", "sex", "site", "hypertension", "survival_time", "event"} <= set(table)


def test_gaps_become_flat_lines(tmp_path):
    values = np.sin(np.arange(60 * 128)).astype(np.float32)
    values[1000:2000] = np.nan
    night = Recording({"eeg": (values, 128)}, units={"eeg": "mV"}, id="gap", subject="a")
    (path,) = write_edf_cohort([night], tmp_path)
    stored = edfio.read_edf(path).signals[0]
    assert np.ptp(stored.data[1000:2000]) == 0
    assert np.abs(stored.data[1000]) < 1e-3
    assert pd.isna(pd.read_csv(tmp_path / "metadata.csv")["hypnogram"][0])
    assert [file.name for file in tmp_path.iterdir() if "ypnogram" in file.name] == []


def night(**options):
    defaults = {"id": "n", "stages": STAGES, "events": EVENTS, "start": START}
    values = np.random.default_rng(0).normal(size=8 * 30) + 1
    return Recording({"ibi": (values, 1)}, **{**defaults, **options})


def written(writer, folder, **options):
    return writer(night(**options), folder / "n", np.random.default_rng(0))


@few
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40))
def test_bouts_restore_the_stages(stages):
    bouts = _bouts(SimpleNamespace(stages=stages))
    again = [stage for _, length, stage in bouts for _ in range(round(length / 30))]
    assert again == stages
    assert all(a[2] != b[2] for a, b in pairwise(bouts))
    assert all(a[0] + a[1] == b[0] for a, b in pairwise([(0, 0), *bouts]))


def stage_annotations(path):
    prefix = "Sleep stage "
    annotations = [a for a in edfio.read_edf(path).annotations if a.text.startswith(prefix)]
    return [(a.onset, a.text.removeprefix(prefix)) for a in annotations]


def test_stages_have_their_names(tmp_path):
    path = written(AASM, tmp_path)
    assert path.name == "n-Hypnogram.edf"
    stages = [(0, "?"), (30, "W"), (90, "N1"), (120, "N2"), (150, "N3"), (210, "R")]
    assert stage_annotations(path) == stages
    names = [name for _, name in stage_annotations(written(RK, tmp_path, stages=[3, 2] * 4))]
    assert set(names) == {"2", "3", "4"}
    names = [name for _, name in stage_annotations(written(RK, tmp_path))]
    assert [names[k] for k in (0, 1, 2, 3, 5)] == ["?", "W", "1", "2", "R"]


def test_annotations_hold_events_and_clock(tmp_path):
    edf = edfio.read_edf(written(AASM, tmp_path, lights=(20.0, 200.0)))
    annotations = {a.text: (a.onset, a.duration) for a in edf.annotations}
    assert annotations["Obstructive apnea"] == (95.25, 12.5)
    assert annotations["Arousal"] == (130, 4)
    assert annotations["Lights off"] == (20, None)
    assert annotations["Lights on"] == (200, None)
    assert edf.startdate.isoformat() == "2020-03-01"
    assert edf.starttime.replace(microsecond=0).isoformat() == "22:30:05"


def scored_events(path):
    return [
        tuple(event.findtext(tag) for tag in ("EventType", "EventConcept", "Start", "Duration"))
        for event in ElementTree.parse(path).iter("ScoredEvent")
    ]


def test_nsrr_codes_stages_and_events(tmp_path):
    path = written(NSRR, tmp_path)
    events = scored_events(path)
    assert events[0] == ("", "Recording Start Time", "0.00", "240.00")
    apnea = ("Respiratory|Respiratory", "Obstructive apnea|Obstructive Apnea", "95.25", "12.50")
    assert apnea in events
    stages = [(name, float(onset)) for kind, name, onset, _ in events if kind == "Stages|Stages"]
    assert stages == [
        ("Unscored|9", 0), ("Wake|0", 30), ("Stage 1 sleep|1", 90), ("Stage 2 sleep|2", 120),
        ("Stage 3 sleep|3", 150), ("REM sleep|5", 210),
    ]  # fmt: skip


@pytest.mark.parametrize(("start", "clock"), [(START, "22.30.05"), (None, "00.00.00")])
def test_nsrr_has_the_clock(tmp_path, start, clock):
    path = written(NSRR, tmp_path, start=start)
    assert ElementTree.parse(path).findtext(".//ClockTime") == f"00.00.00 {clock}"


def test_csv_has_row_per_bout(tmp_path):
    with written(CSV, tmp_path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {"onset": "30.0", "duration": "60.0", "stage": "W"}
    assert [row["stage"] for row in rows] == ["?", "W", "N1", "N2", "N3", "R"]


@pytest.mark.parametrize("writer", HYPNOGRAM_WRITERS)
def test_events_are_optional(writer, tmp_path):
    assert written(writer, tmp_path, events=None).stat().st_size > 0


@few
@given(st.floats(1e-6, 1e7))
def test_physical_range_fits_header(value):
    high = _round_up(value)
    assert value <= high <= 1.12 * value
    assert _round_up(0.0) == 1.0
    assert len(f"-{high:.9g}") <= 9 or high < 1e-4


def test_sites_choose_their_format(tmp_path):
    named = [night(metadata={"site": f"site-{k}"}) for k in (1, 2, 12)]
    assert [_site_number(n) for n in named] == [0, 1, 11]
    ward = night(metadata={"site": "ward"})
    assert _site_number(ward) == _site_number(night(metadata={"site": "ward"})) >= 0
    nights = [night(id=f"n{k}", metadata={"site": f"site-{k}"}) for k in (1, 2, 4)]
    write_edf_cohort(nights, tmp_path)
    formats = {p.name for p in tmp_path.iterdir() if "ypnogram" in p.name or p.suffix == ".xml"}
    assert formats == {"n1-Hypnogram.edf", "n2-nsrr.xml", "n4-hypnogram.csv"}


def test_labels_ignore_other_nights(tmp_path):
    nights = [night(id=f"n{k}", subject=f"s{k}") for k in range(3)]
    both = write_edf_cohort(nights, tmp_path / "all", random_state=3)
    (last,) = write_edf_cohort(nights[2:], tmp_path / "one", random_state=3)
    assert last.read_bytes() == both[2].read_bytes()


def test_fractional_rate_needs_long_records(tmp_path):
    values = np.random.default_rng(0).normal(size=8) ** 2
    night = Recording({"actigraphy": (values, 1 / 30)}, id="slow", subject="s")
    (path,) = write_edf_cohort([night], tmp_path)
    edf = edfio.read_edf(path)
    assert (edf.data_record_duration, edf.num_data_records) == (30, 8)
    np.testing.assert_allclose(edf.signals[0].data, values, atol=values.max() / 3e4)
    assert edf.signals[0].physical_min == 0


def _night(ident, **metadata):
    return Recording({"spo2": np.full(480, 95.0)}, id=ident, subject=ident, metadata=metadata)


@pytest.mark.parametrize(
    "ident", ["../up", "/tmp/absolute", "site1/n1", "ü", "..", "con", "x" * 300]
)
def test_ids_stay_in_the_folder(tmp_path, ident):
    (path,) = write_edf_cohort([_night(ident, path="../other", sex="?")], tmp_path / "out")
    assert path.parent == tmp_path / "out"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    table = pd.read_csv(tmp_path / "out" / "metadata.csv")
    assert (table["path"][0], table["subject"][0]) == (path.name, ident)


def test_files_of_two_nights_differ(tmp_path):
    first, second = write_edf_cohort([_night("a/b"), _night("a_b")], tmp_path)
    assert first != second
    for ids in (["a", "A"], ["a", "a-Hypnogram"]):
        with pytest.raises(InvalidRecordingError, match="an id of its own"):
            write_edf_cohort(map(_night, ids), tmp_path / "out")


def test_what_edf_cannot_hold(tmp_path):
    night = Recording({"spo2": np.full(480, 95.0)}, id="old", start=datetime(1900, 1, 1))
    with pytest.raises(InvalidRecordingError, match=r"recording 0.*EDF cannot hold it"):
        write_edf_cohort([night], tmp_path)
    assert list(tmp_path.iterdir()) == []
