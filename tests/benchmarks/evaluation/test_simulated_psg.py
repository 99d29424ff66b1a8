# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark as a whole, on a tiny simulated cohort."""

import pandas as pd
import pytest

from benchmarks.evaluation.simulated_psg import LOSSES, UNSEEN, main


@pytest.fixture(scope="module")
def run(tmp_path_factory, checkpoint_path):
    """Folder of a run with a small encoder that knows five of the nine sensors."""
    folder = tmp_path_factory.mktemp("psg")
    arguments = ["--checkpoint", str(checkpoint_path), "--out", str(folder / "out")]
    main([*arguments, "--nights", "12", "--hours", "0.25", "--jobs", "1", "--repeats", "1"])
    return folder / "out"


def test_every_input_is_scored(run):
    table = pd.read_csv(run / "simulated_staging.csv")
    inputs = {"all sensors", UNSEEN, *map(str, LOSSES)}
    inputs |= {f"{name} alone" for name in ("eeg", "ecg", "effort", "spo2", "ibi")}
    assert set(table["simulated input"]) == inputs
    assert set(table["features"]) == {"small", "small, random weights", "hand-crafted"}
    assert len(table) == len(inputs) * 3 * 2
    assert (table["subjects"] == 12).all()
    assert table["value"].notna().all()


def test_outcomes_with_cases_are_scored(run):
    table = pd.read_csv(run / "simulated_outcomes.csv")
    assert set(table["simulated outcome"]) <= {"apnea", "hypertension", "event"}
    assert "age, sex and BMI" in set(table["features"])
    assert table["value"].between(0, 1).all()


def test_every_subject_is_scored(run):
    table = pd.read_csv(run / "simulated_subjects.csv")
    assert table["subject"].nunique() == 12
    assert {path.suffix for path in run.iterdir()} == {".csv", ".md"}
