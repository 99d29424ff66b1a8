# SPDX-License-Identifier: BSD-3-Clause
from xml.etree import ElementTree

import edfio
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.datasets import make_sleep_cohort, write_edf_cohort


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    cohort = make_sleep_cohort(
        8, n_sites=4, hours=0.5, missing=0.2, random_state=2, site_kinds=["laboratory", "wearable"]
    )
    return cohort, write_edf_cohort(cohort, folder), pd.read_csv(folder / "metadata.csv")


def test_samples_survive_within_a_digital_step(written):
    cohort, paths, _ = written
    for recording, path in zip(cohort, paths, strict=True):
        edf = edfio.read_edf(path)
        for stored, signal in zip(edf.signals, recording.read().values(), strict=True):
            step = (stored.physical_max - stored.physical_min) / 65535
            assert stored.sampling_frequency == pytest.approx(signal.rate)
            assert stored.physical_dimension in (signal.unit, "")
            error = np.abs(stored.data - np.nan_to_num(signal.values)).max()
            assert error <= step * 1.01


def test_files_are_edf_plus_with_clock_time_and_no_name(written):
    cohort, paths, _ = written
    edf = edfio.read_edf(paths[0])
    assert edf.startdate == cohort[0].start.date()
    assert edf.starttime.replace(microsecond=0) == cohort[0].start.time()
    assert edf.patient.name == "X"


def test_sites_spell_their_labels_differently(written):
    _, paths, table = written
    labels = {}
    for path, site in zip(paths, table["site"], strict=True):
        labels.setdefault(site, set()).update(edfio.read_edf(path).labels)
    assert labels["site-1"] != labels["site-3"]


def test_the_table_leads_from_subjects_to_files(written):
    cohort, paths, table = written
    assert list(table["path"]) == [path.name for path in paths]
    assert list(table["subject"]) == [recording.subject for recording in cohort]
    assert all((paths[0].parent / name).exists() for name in table["hypnogram"])
    assert {"age", "sex", "site", "hypertension", "survival_time", "event"} <= set(table)


def stages_of(path):
    """Epochs as the file names them, read without the library."""
    if path.suffix == ".edf":
        notes = edfio.read_edf(path).annotations
        rows = [
            (a.onset, a.duration, a.text[12:]) for a in notes if a.text.startswith("Sleep stage ")
        ]
    elif path.suffix == ".xml":
        found = ElementTree.parse(path).iter("ScoredEvent")
        rows = [
            (float(e.findtext("Start")), float(e.findtext("Duration")), e.findtext("EventConcept"))
            for e in found
            if e.findtext("EventType") == "Stages|Stages"
        ]
    else:
        rows = pd.read_csv(path).itertuples(index=False)
    epochs = {}
    for onset, duration, name in rows:
        for k in range(round(duration / 30)):
            epochs[round(onset / 30) + k] = name
    return [epochs[k] for k in sorted(epochs)]


_AASM = {"W": 0, "N1": 1, "N2": 2, "N3": 3, "R": 4}
_RECHTSCHAFFEN_KALES = {"1": 1, "2": 2, "3": 3, "4": 3}
_NSRR = {"Wake|0": 0, "Stage 1 sleep|1": 1, "Stage 2 sleep|2": 2, "Stage 3 sleep|3": 3}
CODES = _AASM | _RECHTSCHAFFEN_KALES | _NSRR | {"REM sleep|5": 4}


def test_every_form_of_hypnogram_holds_the_scored_stages(written):
    cohort, paths, table = written
    forms = set()
    for recording, name in zip(cohort, table["hypnogram"], strict=True):
        names = stages_of(paths[0].parent / name)
        assert [CODES[stage] for stage in names] == recording.stages.tolist()
        forms.add(name.removeprefix(recording.id))
    assert forms == {"-Hypnogram.edf", "-nsrr.xml", "-hypnogram.csv"}


def test_writing_twice_gives_the_same_bytes(written, tmp_path):
    cohort, paths, _ = written
    again = write_edf_cohort(cohort[:1], tmp_path)
    assert again[0].read_bytes() == paths[0].read_bytes()


def test_gaps_become_flat_lines_and_missing_stages_no_file(tmp_path):
    values = np.sin(np.arange(60 * 128)).astype(np.float32)
    values[1000:2000] = np.nan
    night = Recording({"eeg": (values, 128)}, units={"eeg": "mV"}, id="gap", subject="a")
    (path,) = write_edf_cohort([night], tmp_path)
    stored = edfio.read_edf(path).signals[0]
    assert np.ptp(stored.data[1000:2000]) == 0
    assert np.abs(stored.data[1000]) < 1e-3
    assert pd.isna(pd.read_csv(tmp_path / "metadata.csv")["hypnogram"][0])
    assert [file.name for file in tmp_path.iterdir() if "ypnogram" in file.name] == []
