# SPDX-License-Identifier: BSD-3-Clause
"""The whole table, on simulated nights and on nights in the layout of sleep-accel."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.evaluation import ledger, probes, tasks
from benchmarks.evaluation.parts import main, rows_of
from benchmarks.evaluation.questions import random_twin
from benchmarks.weights.pretrain import mini_config
from sleep2vec_sklearn import EpochSequence, load_checkpoint
from sleep2vec_sklearn.model import Sleep2Vec, save_checkpoint

N_EPOCHS = 40


@pytest.fixture
def data(tmp_path):
    """Six nights of a watch in the layout of sleep-accel."""
    folder = tmp_path / "sleep-accel"
    for name in ("labels", "heart_rate", "activity_counts"):
        (folder / name).mkdir(parents=True)
    for k in range(6):
        stages = np.random.default_rng(k).permutation(np.repeat([0, 2, 3, 5], N_EPOCHS // 4))
        text = "".join(f"{30 * i} {code}\n" for i, code in enumerate(stages))
        (folder / "labels" / f"{k}_labeled_sleep.txt").write_text(text)
        rows = "".join(f"{t},{60 + (t // 30 * (k + 1)) % 11}\n" for t in range(0, 1200, 5))
        (folder / "heart_rate" / f"{k}_heartrate.txt").write_text(rows)
        rows = "".join(f"{30 * i},{30 * (code == 0) + i % 3}\n" for i, code in enumerate(stages))
        (folder / "activity_counts" / f"{k}_counts_30s.csv").write_text("seconds,count\n" + rows)
    return tmp_path


@pytest.fixture(scope="module")
def mini_path(tmp_path_factory):
    """An encoder as the bundled one, untrained, of one block."""
    config = replace(mini_config(), n_layers=1)
    path = tmp_path_factory.mktemp("checkpoints") / "mini.safetensors"
    save_checkpoint(path, Sleep2Vec.from_seed(config, 0), config, card={"centered": True})
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "LOOKS.md")
    monkeypatch.setattr(probes, "STRENGTHS", (1e-2,))
    monkeypatch.setattr(probes, "N_RESAMPLES", 20)
    monkeypatch.setattr(tasks, "FOLDS", 2)


def test_variants_are_parts_of_rows(mini_path, cohort):
    checkpoint = load_checkpoint(mini_path)
    others = {"random weights": random_twin(checkpoint)}
    rows = rows_of(checkpoint, others, EpochSequence(cohort[:2]))
    assert {*rows["states alone"].shape} == {2 * N_EPOCHS, 128}
    assert {len(X) for X in rows.values()} == {2 * N_EPOCHS}
    both = np.hstack([rows["states alone"], rows["expert block"]])
    np.testing.assert_array_equal(both, rows["full"])
    assert rows["random weights"].shape == rows["not centred"].shape == rows["full"].shape
    assert rows["no context"].shape == rows["full"].shape
    assert "not centred" not in rows_of(checkpoint, others, cohort[:2])


def test_real_looks_are_written_down(data, mini_path, capsys):
    given = ["--data", str(data), "--checkpoint", str(mini_path), "--undistilled", str(mini_path)]
    main([*given, "--tasks", "sleep-accel-actigraphy"])
    shown = capsys.readouterr().out
    assert "| sleep-accel, actigraphy: W/NREM/REM, kappa | 6 |" in shown
    assert "full - expert features" in shown
    looks = ledger.LEDGER.read_text().splitlines()
    assert len(looks) == 8
    assert "| mini, no distillation |" in looks[-2]
    assert "| mini, full | wake_auc " in looks[0]
    assert "| expert features | wake_auc " in looks[-1]


def test_simulated_nights_leave_no_look(mini_path, capsys, monkeypatch):
    monkeypatch.setattr(tasks, "SENSORS", ("emg", "ibi"))
    given = ["--checkpoint", str(mini_path), "--tasks", "simulated"]
    main([*given, "--nights", "12", "--hours", "0.25"])
    shown = capsys.readouterr().out
    assert "simulated, unseen laboratory: five stages, kappa" in shown
    assert "half of the sensors lost" in shown
    assert not ledger.LEDGER.exists()


def test_real_nights_need_data():
    with pytest.raises(SystemExit):
        main(["--tasks", "slpdb"])
