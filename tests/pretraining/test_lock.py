# SPDX-License-Identifier: BSD-3-Clause
"""One run at a time in a state_dir; what a killed one leaves keeps nobody out."""

import errno
import os
import signal

import pytest

from sleep2vec_sklearn.errors import TrainingError
from sleep2vec_sklearn.pretraining import _state as lock
from sleep2vec_sklearn.pretraining._state import hold_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def other_run(tmp_path):
    """Number of a process that holds the folder."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with hold_folder(tmp_path):
                os.write(tell, b"held")
                signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    assert os.read(ready, 4) == b"held"
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready)


def test_a_second_run_in_the_same_folder_is_refused(pretrainer, montage_store, tmp_path, other_run):
    told = rf"another run is at work there \(process {other_run} on .*another state_dir"
    with pytest.raises(TrainingError, match=told):
        pretrainer(state_dir=tmp_path).fit(montage_store)
    assert os.listdir(tmp_path) == ["run.lock"]


def test_what_a_killed_run_leaves_keeps_nobody_out(pretrainer, montage_store, tmp_path, other_run):
    os.kill(other_run, signal.SIGKILL)
    # its number stays its own until the test has ended
    os.waitid(os.P_PID, other_run, os.WEXITED | os.WNOWAIT)
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
