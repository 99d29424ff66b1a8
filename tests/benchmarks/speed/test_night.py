# SPDX-License-Identifier: BSD-3-Clause
"""The scripts that time a night and probe one person, on nights small enough for a test."""

import json
import sys
from types import SimpleNamespace

import pytest

from benchmarks.speed import night
from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets import write_edf_cohort


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(night, "HOURS", 0.25)


def test_timed_night_has_paper_modalities(short, tmp_path):
    from sleep2vec_sklearn import read_recording

    recording = read_recording(night.write_night(tmp_path))
    assert set(recording.modalities) == {
        "eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp",
    }  # fmt: skip
    assert recording.n_epochs == 30


def test_every_step_is_measured(short, tmp_path, checkpoint_path):
    cohort = make_sleep_cohort(
        1, hours=0.25, modalities=["ecg", "ibi", "spo2"], missing=0, random_state=4
    )
    (edf,) = write_edf_cohort(cohort, tmp_path)
    found = night.measure(edf, str(checkpoint_path))
    assert set(found) == {*night.STEPS, "rates"}
    assert set(found["rates"]) == set(cohort[0].modalities)
    assert found["peak MiB"] >= found["MiB before"] > 50
    assert min(found[step] for step in night.STEPS) > 0


def test_every_run_is_a_process(monkeypatch, capsys, tmp_path):
    commands = []

    def run(command, **options):
        commands.append(command)
        values = dict.fromkeys(night.STEPS, float(len(commands))) | {"rates": {"ibi": 4}}
        return SimpleNamespace(stdout=json.dumps(values))

    edf = tmp_path / "n.edf"
    edf.write_bytes(bytes(2**20))
    monkeypatch.setattr(night.subprocess, "run", run)
    monkeypatch.setattr(night, "write_night", lambda folder: edf)
    monkeypatch.setattr("sys.argv", ["x", "--runs", "3", "--checkpoint", "mine"])
    night.main()
    out = capsys.readouterr().out
    assert len(commands) == 3
    assert commands[0][:3] == [sys.executable, "-m", "benchmarks.speed.night"]
    assert commands[0][-2:] == ["--checkpoint", "mine"]
    assert "1 MiB EDF+" in out
    assert "2.000  (1.000 to 3.000)" in out


def test_given_file_is_measured_here(monkeypatch, capsys):
    monkeypatch.setattr(night, "measure", lambda edf, name: {"edf": str(edf), "name": name})
    monkeypatch.setattr("sys.argv", ["x", "--edf", "n.edf", "--checkpoint", "mine"])
    night.main()
    assert json.loads(capsys.readouterr().out) == {"edf": "n.edf", "name": "mine"}
