# SPDX-License-Identifier: BSD-3-Clause
"""One run at a time in a state_dir; what a killed one leaves keeps nobody out."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sleep2vec_sklearn.errors import TrainingError
from sleep2vec_sklearn.training import lock
from sleep2vec_sklearn.training.lock import hold_folder

HOLD = """
import sys, time
from pathlib import Path
from sleep2vec_sklearn.training.lock import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_run(tmp_path):
    """A process that holds the folder."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_in_the_same_folder_is_refused(pretrainer, montage_store, tmp_path, other_run):
    told = rf"another run is at work there \(process {other_run.pid} on .*another state_dir"
    with pytest.raises(TrainingError, match=told):
        pretrainer(state_dir=tmp_path).fit(montage_store)
    assert os.listdir(tmp_path) == ["run.lock"]


def test_what_a_killed_run_leaves_keeps_nobody_out(pretrainer, montage_store, tmp_path, other_run):
    other_run.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    other_run.wait(30)
    assert os.listdir(tmp_path) == ["run.lock"]
    pretrainer(state_dir=tmp_path).fit(montage_store)
    assert os.listdir(tmp_path) == ["state.pt"]


def test_a_finished_run_is_loaded_whoever_holds_the_folder(pretrainer, montage_store, tmp_path):
    pretrainer(state_dir=tmp_path).fit(montage_store)
    with hold_folder(tmp_path):
        assert pretrainer(state_dir=tmp_path).fit(montage_store).net_.step_ == 6


def test_a_run_that_fails_frees_its_folder(tmp_path):
    with pytest.raises(KeyError), hold_folder(tmp_path):
        raise KeyError
    with hold_folder(tmp_path), pytest.raises(TrainingError), hold_folder(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_lock_that_was_removed_is_not_taken_for_one(tmp_path, monkeypatch):
    take = lock._lock

    def after_the_other_has_gone(descriptor):
        monkeypatch.setattr(lock, "_lock", take)
        (tmp_path / "run.lock").unlink()
        take(descriptor)

    monkeypatch.setattr(lock, "_lock", after_the_other_has_gone)
    with hold_folder(tmp_path), pytest.raises(TrainingError), hold_folder(tmp_path):
        pass


def test_where_there_are_no_locks_a_run_goes_on(tmp_path, monkeypatch, caplog):
    def none(descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", none)
    with hold_folder(tmp_path):
        assert "No locks available" in caplog.text
    assert os.listdir(tmp_path) == []
