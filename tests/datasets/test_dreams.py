# SPDX-License-Identifier: BSD-3-Clause
"""DREAMS spindles: excerpts from EDF and text files."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets import load_dreams
from sleep2vec_sklearn.datasets.dreams import stages_by_majority
from sleep2vec_sklearn.errors import ReadError
from tests.datasets.files import write, write_edf

START = datetime(2003, 3, 27, 3, 27)
MONTAGE = {
    "O1-A1": 50, "EMG1": 50, "ECG": 100, "NAF1": 50, "VAB": 50, "VTH": 50, "C3-A1": 50,
    "EOG1-A1": 50, "SAO2": 50, "PR": 50, "PULSE": 50, "hypnogram": 1,
}  # fmt: skip
STAGES = {5: 0, 4: 4, 3: 1, 2: 2, 1: 3, 0: 3}


@pytest.fixture
def mons(tmp_path):
    write_edf(tmp_path / "excerpt3.edf", MONTAGE, START)
    write(tmp_path / "Hypnogram_excerpt3.txt", "[Hypnogram]\n" + "2\n" * 30 + "4\n" * 6)
    write(tmp_path / "excerpt3.txt", "[C3-A1]\n" + "1.5\n" * 100)
    return tmp_path


def test_edf_gives_the_montage(mons):
    (excerpt,) = load_dreams(mons)
    recorded = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2")
    assert excerpt.modalities == (*recorded, "ibi", "resp", "ppg")
    assert excerpt.derived == ("ibi", "resp")
    assert excerpt.stages.tolist() == [2] * 5 + [4]
    assert excerpt.events is None
    write_edf(mons / "excerpt3.edf", {**MONTAGE, "PULSE": 8}, START)
    assert "ppg" not in load_dreams(mons)[0].modalities


@pytest.mark.parametrize(
    ("patient", "demographics"),
    [("DatabaseSpindles, excerpt3, man - 28/03/1957 - 2003", {"sex": "M", "age": 45}),
     ("DatabaseSpindles, excerpt3, woman - 27/03/1957 - 2003", {"sex": "F", "age": 46}),
     ("DatabaseSpindles, excerpt3, woman", {"sex": "F"}), ("", {})],
)  # fmt: skip
def test_header_gives_sex_and_age(mons, patient, demographics):
    write_edf(mons / "excerpt3.edf", MONTAGE, START, patient=patient)
    (excerpt,) = load_dreams(mons)
    assert dict(excerpt.metadata) == {"site": "dreams", **demographics}


def test_spindles_are_events(mons):
    first, second = (mons / f"Visual_scoring{k}_excerpt3.txt" for k in (1, 2))
    write(first, "[vis1_Spindles/C3-A1]\n   12.5   0.75\n   60.25   1.0\n")
    write(second, "[vis2_Spindles/C3-A1]\n 12.25 1.5\n")
    assert load_dreams(mons)[0].events.values.tolist() == [
        [12.25, 1.5, "spindle_expert_2"],
        [12.5, 0.75, "spindle_expert_1"],
        [60.25, 1.0, "spindle_expert_1"],
    ]
    # an expert who found none is not an expert who did not look
    write(first, "[vis1_Spindles/C3-A1]\n")
    second.unlink()
    assert load_dreams(mons)[0].events.empty


@pytest.mark.parametrize(("rate", "extra"), [(50, 0), (50, -1), (100, 30), (200, -9)])
def test_text_rate_fits_labels(tmp_path, rate, extra):
    labels = [5] * 6 + [2] * 6 + [1] * 3
    write(tmp_path / "Hypnogram_excerpt1.txt", "[h]\n" + "\n".join(map(str, labels)) + "\n")
    samples = np.repeat([1.0, 2.0, 3.0], [30 * rate, 30 * rate, 15 * rate + extra])
    write(tmp_path / "excerpt1.txt", "[C3-A1]\n" + "\n".join(map(str, samples)) + "\n")
    (excerpt,) = load_dreams(tmp_path)
    assert excerpt.rates == {"eeg": rate}
    assert excerpt.stages.tolist() == [0, 2]
    assert excerpt.n_epochs == 2
    np.testing.assert_array_equal(excerpt["eeg"][[0, 30 * rate]], [1, 2])


def test_excerpt_without_samples_fails(mons):
    write(mons / "Hypnogram_excerpt4.txt", "[Hypnogram]\n" + "5\n" * 6)
    cohort = load_dreams(mons)
    assert len(cohort) == 1
    assert cohort.failures["path"].str.endswith("excerpt4.txt").all()


@pytest.mark.parametrize(
    ("labels", "stage"),
    [([2, 2, 2, 2, 3, 3], 2), ([2, 2, 2, 3, 3, 3], 1), ([1, 0, 1, 0, 2, 2], 3),
     ([-1, -1, -1, -2, 4, 4], -1), ([-1, -1, 4, 4, 5, 5], 0)],
)  # fmt: skip
def test_ties_go_to_lighter_stage(labels, stage):
    assert stages_by_majority(np.array(labels)).tolist() == [stage]


@settings(max_examples=30)
@given(st.lists(st.sampled_from(sorted(STAGES)), min_size=6, max_size=30))
def test_majority_decides_each_epoch(labels):
    stages = stages_by_majority(np.array(labels))
    assert len(stages) == len(labels) // 6
    for k, stage in enumerate(stages):
        votes = [STAGES[label] for label in labels[6 * k : 6 * k + 6]]
        assert votes.count(stage) == max(map(votes.count, votes))


def test_broken_labels_are_named(tmp_path):
    write(tmp_path / "Hypnogram_excerpt1.txt", "[h]\nfive\n")
    write(tmp_path / "excerpt1.txt", "[C3-A1]\n1\n")
    with pytest.raises(ReadError, match=r"Hypnogram_excerpt1\.txt cannot be read"):
        load_dreams(tmp_path)
