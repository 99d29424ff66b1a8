# SPDX-License-Identifier: BSD-3-Clause
"""The state of a run on disk, and the lock of its folder."""

import errno
import json
import os
import pickle
import signal
import warnings
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn._files import list_differences
from sleep2vec_sklearn.errors import TrainingError, TrainingWarning
from sleep2vec_sklearn.pretraining import prepare_cohort
from sleep2vec_sklearn.pretraining._state import RunFolder, lock_folder

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "new" / "run")
    folder.save({"step": 3, "weights": {"a": torch.arange(5.0)}})
    return folder


@contextmanager
def small_disk():
    """Files cannot grow beyond 2 kB, as if a disk was full; what pytest prints into, neither."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_states_come_back(folder):
    state = folder.load()
    assert state["step"] == 3
    assert torch.equal(state["weights"]["a"], torch.arange(5.0))
    assert RunFolder(folder.folder / "other").load() is None
    with small_disk(), pytest.raises(OSError):
        folder.save({"step": 4, "weights": {"a": torch.zeros(10_000)}})
    assert folder.load()["step"] == 3
    assert os.listdir(folder.folder) == ["state.pt"]
    (folder.folder / ".state.pt.0123").write_bytes(b"half")
    with ExitStack() as run:
        assert folder.acquire(9, run)["step"] == 3
    assert not list(folder.folder.glob(".state*"))


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"text", pickle.dumps(Harm(), 2)])
def test_foreign_files_are_never_run(folder, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"state\.pt: no state of a run"):
        folder.load()
    assert not (tmp_path / "harm").exists()


def test_flipped_bits_are_seen(folder):
    whole = folder.path.read_bytes()
    place = whole.index(torch.arange(5.0).numpy().tobytes())
    folder.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(TrainingError, match="wrong checksum of"):
        folder.load()


def test_damaged_states_are_refused(pretrainer, montage_store, tmp_path):
    pretrainer(state_dir=tmp_path).fit(montage_store)
    state = RunFolder(tmp_path).load()
    damaged = [{**state, "epoch": "x"}, {**state, "finished": torch.zeros(3)}]
    damaged += [{**state, "optimizer": 5}, {k: v for k, v in state.items() if k != "run"}]
    for values in damaged:
        RunFolder(tmp_path).save(values)
        with pytest.raises(TrainingError, match="no state of a run"):
            pretrainer(state_dir=tmp_path).fit(montage_store)


def test_unfit_folders_are_refused(pretrainer, montage_store, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="no state can be written there"):
        pretrainer(state_dir=tmp_path / "file" / "run").fit(montage_store)
    shared = pretrainer(state_dir=tmp_path, validation=0, batch_size=2, max_epochs=1)
    search = GridSearchCV(shared, {"encoder__hidden_size": [4, 8]}, cv=2, error_score="raise")
    with pytest.raises(TrainingError, match=r"In a grid search .* pass state_dir=None"):
        search.fit(montage_store)


@pytest.mark.parametrize(
    ("version", "age", "fix"), [(99, "newer", "Upgrade"), (1, "older", "Remove")]
)
def test_other_versions_are_refused(folder, version, age, fix):
    torch.save({"format_version": version, "step": 3}, folder.path)
    with pytest.raises(TrainingError, match=rf"format {version} .* {age}; .* {fix}"):
        folder.load()


def test_differences_have_their_path():
    before = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "e": None}
    assert list_differences(before, json.loads(json.dumps(before))) == []
    now = {"a": 1, "b": {"c": [1, 3], "d": "x"}, "f": 2}
    assert list_differences(before, now) == [
        "b.c: [1, 2] before, [1, 3] now",
        "e: None before, '(absent)' now",
        "f: '(absent)' before, 2 now",
    ]


def test_changed_parameters_are_named(pretrainer, montage_store, tmp_path):
    pretrainer(state_dir=tmp_path, batch_size=3).fit(montage_store)
    changed = pretrainer(state_dir=tmp_path, batch_size=3, lr=0.5, hidden_size=16, random_state=3)
    with pytest.raises(TrainingError) as error:
        changed.fit(montage_store)
    told = str(error.value)
    assert "parameters.optimizer__lr: '0.001' before, '0.5' now" in told
    assert "encoder.hidden_size: 8 before, 16 now" in told
    assert "seed: 0 before, 3 now" in told
    with pytest.raises(TrainingError, match=r"data\.nights\.training"):
        pretrainer(state_dir=tmp_path, batch_size=3).fit(montage_store.take(np.arange(1, 8)))
    table = montage_store.table.assign(age=50)
    with pytest.raises(TrainingError, match=r"data\.nights\.demography"):
        pretrainer(state_dir=tmp_path, batch_size=3).fit(montage_store, table)


def test_finished_runs_are_loaded(pretrainer, montage_store, tmp_path):
    first = pretrainer(state_dir=tmp_path, random_state=None).fit(montage_store)
    stamp = (tmp_path / "state.pt").stat().st_mtime_ns
    free = {"random_state": None, "n_workers": 1, "save_every": 7, "verbose": 0}
    second = pretrainer(state_dir=tmp_path, **free).fit(montage_store)
    assert second.seed_ == first.seed_
    assert second.history_ == first.history_
    assert second.checkpoint().sha256 == first.checkpoint().sha256
    assert (tmp_path / "state.pt").stat().st_mtime_ns == stamp


def test_full_disks_stop_no_training(pretrainer, montage_store, tmp_path):
    with small_disk(), pytest.warns(TrainingWarning, match="could not be written"):
        fitted = pretrainer(state_dir=tmp_path / "state").fit(montage_store)
    assert fitted.net_.step_ == 6
    assert os.listdir(tmp_path / "state") == ["run.lock"]


def test_second_fits_need_another_folder(pretrainer, montage_store, tmp_path):
    fitted = pretrainer(state_dir=tmp_path, warm_start=True).fit(montage_store)
    with pytest.raises(TrainingError, match="begins_at_step: 0 before, 6 now"):
        fitted.fit(montage_store)
    again = fitted.set_params(state_dir=tmp_path / "second").fit(montage_store)
    assert again.net_.step_ == 12
    assert (tmp_path / "second" / "state.pt").exists()


def changed(montages):
    """The same nights, of which one has another saturation, as often and as valid as before."""
    signals = montages[1].read()
    values = 190 - signals["spo2"].values
    signals = {n: (s.values, s.rate) for n, s in signals.items()} | {"spo2": (values, 4)}
    night = montages[1]
    other = Recording(signals, id=night.id, subject=night.subject, metadata=night.metadata)
    return [montages[0], other, *montages[2:]]


def test_changed_samples_are_named(pretrainer, montages, montage_store, tmp_path):
    names = ["effort", "spo2", "ibi"]
    state = tmp_path / "state"
    pretrainer(state_dir=state).fit(montage_store)
    told = r"what differs:\n  data\.nights\.samples: [^\n]*\nRestore"
    with pytest.raises(TrainingError, match=told):
        pretrainer(state_dir=state).fit(changed(montages))
    stored = prepare_cohort(changed(montages), tmp_path / "changed", modalities=names)
    with pytest.raises(TrainingError, match=told):
        pretrainer(state_dir=state).fit(stored)
    same = prepare_cohort(montages, tmp_path / "same", modalities=names)
    assert pretrainer(state_dir=state).fit(same).net_.step_ == 6


@pytest.fixture
def other_run(tmp_path):
    """Number of a process that holds the folder."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with lock_folder(tmp_path):
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


def test_second_runs_are_refused(pretrainer, montage_store, tmp_path, other_run):
    told = "another run is using it.*another state_dir"
    with pytest.raises(TrainingError, match=told):
        pretrainer(state_dir=tmp_path).fit(montage_store)
    assert os.listdir(tmp_path) == ["run.lock"]


def test_killed_runs_free_their_folder(pretrainer, montage_store, tmp_path, other_run):
    os.kill(other_run, signal.SIGKILL)
    # its number stays its own until the test has ended
    os.waitid(os.P_PID, other_run, os.WEXITED | os.WNOWAIT)
    assert os.listdir(tmp_path) == ["run.lock"]
    pretrainer(state_dir=tmp_path).fit(montage_store)
    assert sorted(os.listdir(tmp_path)) == ["run.lock", "state.pt"]


def test_finished_runs_need_no_lock(pretrainer, montage_store, tmp_path):
    pretrainer(state_dir=tmp_path).fit(montage_store)
    with lock_folder(tmp_path):
        assert pretrainer(state_dir=tmp_path).fit(montage_store).net_.step_ == 6


def test_failed_runs_free_their_folder(tmp_path):
    with pytest.raises(KeyError), lock_folder(tmp_path):
        raise KeyError
    with lock_folder(tmp_path), pytest.raises(TrainingError), lock_folder(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["run.lock"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_runs_go_on(pretrainer, montage_store, tmp_path, fails, code):
    fails("fcntl.flock", OSError(code, "No locks available"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flock not supported")
        assert pretrainer(state_dir=tmp_path).fit(montage_store).net_.step_ == 6
    assert (tmp_path / "state.pt").exists()


def change_optimizer(**moments):
    def change(state):
        for values in state["optimizer"]["state"].values():
            values.update(moments)

    return change


@pytest.mark.parametrize(
    "change",
    [{"epoch": "x"}, {"epoch": float("inf")}, {"finished": torch.zeros(3)}, {"seed": "x"},
     {"optimizer": 5}, {"history": "["}, {"history": "[" * 100_000}, {"history": "[]"},
     {"step": -1}, {"step": 10**30}, {"run": "5"}, {"best": {}}, {"module": {}},
     # too short for torch's kernels, which would write beyond their end
     change_optimizer(exp_avg=torch.zeros(1)), change_optimizer(step=torch.zeros(2)),
     change_optimizer(exp_avg_sq="x"),
     lambda state: state["average"]["masks.ibi"].fill_(torch.nan),
     lambda state: state["optimizer"]["param_groups"][0].update(lr="x"),
     lambda state: state["optimizer"]["param_groups"][0].update(betas=(5.0, 6.0))],
)  # fmt: skip
def test_forged_states_are_refused(pretrainer, montages, forged, change):
    path, state = forged
    state.update(change) if isinstance(change, dict) else change(state)
    torch.save(state, path)
    with pytest.raises(TrainingError, match=r"state\.pt: no state of a run"):
        pretrainer(state_dir=path.parent).fit(montages)


@pytest.fixture
def forged(pretrainer, montages, tmp_path):
    """The path of a state, and what it holds after the first of two epochs."""
    pretrainer(state_dir=tmp_path).fit(montages)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    history = json.loads(state["history"])
    state |= {"epoch": 1, "step": 3, "finished": False, "history": json.dumps(history[:1])}
    return tmp_path / "state.pt", state


def test_states_of_an_epoch_resume(pretrainer, montages, forged):
    path, state = forged
    torch.save(state, path)
    assert pretrainer(state_dir=path.parent).fit(montages).net_.step_ == 6
