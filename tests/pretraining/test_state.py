# SPDX-License-Identifier: BSD-3-Clause
import json
import os
import pickle
import signal
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import TrainingError, TrainingWarning
from sleep2vec_sklearn.pretraining import prepare_cohort
from sleep2vec_sklearn.pretraining._state import RunFolder, list_differences

resource = pytest.importorskip("resource")


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


def test_a_state_comes_back_as_it_was(folder):
    state = folder.load()
    assert state["step"] == 3
    assert torch.equal(state["weights"]["a"], torch.arange(5.0))
    assert RunFolder(folder.folder / "other").load() is None


def test_a_full_disk_leaves_the_old_state(folder):
    with small_disk(), pytest.raises(OSError):
        folder.save({"step": 4, "weights": {"a": torch.zeros(10_000)}})
    assert folder.load()["step"] == 3
    assert os.listdir(folder.folder) == ["state.pt"]


def test_what_a_killed_process_left_is_removed(folder):
    (folder.folder / ".state.pt.0123").write_bytes(b"half")
    folder.tidy()
    assert os.listdir(folder.folder) == ["state.pt"]


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"text", pickle.dumps(Harm(), 2)])
def test_what_is_no_state_is_refused_and_never_run(folder, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"state\.pt: no state of a run"):
        folder.load()
    assert not (tmp_path / "harm").exists()


def test_a_flipped_bit_is_seen(folder):
    whole = folder.path.read_bytes()
    place = whole.index(torch.arange(5.0).numpy().tobytes())
    folder.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(TrainingError, match="wrong checksum of"):
        folder.load()


@pytest.mark.parametrize("lost", ["run", "optimizer"])
def test_a_state_that_lacks_something_is_refused(pretrainer, montage_store, tmp_path, lost):
    pretrainer(state_dir=tmp_path).fit(montage_store)
    state = RunFolder(tmp_path).load()
    del state[lost]
    RunFolder(tmp_path).save(state)
    with pytest.raises(TrainingError, match=f"no state of a run.*'{lost}'"):
        pretrainer(state_dir=tmp_path).fit(montage_store)


def test_a_folder_that_cannot_be_written_is_told_before_training(
    pretrainer, montage_store, tmp_path
):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="no state can be written there"):
        pretrainer(state_dir=tmp_path / "file" / "run").fit(montage_store)


def test_a_state_of_a_newer_version_is_refused(folder):
    torch.save({"format_version": 99}, folder.path)
    with pytest.raises(TrainingError, match="format 99 by a newer version"):
        folder.load()


def test_differences_are_named_by_their_place():
    before = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "e": None}
    assert list_differences(before, json.loads(json.dumps(before))) == []
    now = {"a": 1, "b": {"c": [1, 3], "d": "x"}, "f": 2}
    assert list_differences(before, now) == [
        "b.c: [1, 2] in the state, [1, 3] now",
        "e: None in the state, '(absent)' now",
        "f: '(absent)' in the state, 2 now",
    ]


def test_a_changed_configuration_is_told(pretrainer, montage_store, tmp_path):
    pretrainer(state_dir=tmp_path, batch_size=3).fit(montage_store)
    changed = pretrainer(state_dir=tmp_path, batch_size=3, lr=0.5, hidden_size=16, random_state=3)
    with pytest.raises(TrainingError) as error:
        changed.fit(montage_store)
    told = str(error.value)
    assert "parameters.lr: '0.001' in the state, '0.5' now" in told
    assert "encoder.hidden_size: 8 in the state, 16 now" in told
    assert "seed: 0 in the state, 3 now" in told
    with pytest.raises(TrainingError, match=r"data\.nights\.training"):
        pretrainer(state_dir=tmp_path, batch_size=3).fit(montage_store.take(np.arange(1, 8)))
    with pytest.raises(TrainingError, match=r"data\.nights\.demography"):
        pretrainer(state_dir=tmp_path, batch_size=3).fit(
            montage_store, montage_store.table.assign(age=50)
        )


def test_a_finished_run_is_loaded(pretrainer, montage_store, tmp_path):
    first = pretrainer(state_dir=tmp_path, random_state=None).fit(montage_store)
    stamp = (tmp_path / "state.pt").stat().st_mtime_ns
    second = pretrainer(
        state_dir=tmp_path, random_state=None, n_workers=1, save_every=7, verbose=0
    ).fit(montage_store)
    assert second.seed_ == first.seed_
    assert second.history_ == first.history_
    assert second.checkpoint().sha256 == first.checkpoint().sha256
    assert (tmp_path / "state.pt").stat().st_mtime_ns == stamp


def test_training_goes_on_over_a_full_disk(pretrainer, montage_store, tmp_path):
    with small_disk(), pytest.warns(TrainingWarning, match="could not be written"):
        fitted = pretrainer(state_dir=tmp_path / "state").fit(montage_store)
    assert fitted.net_.step_ == 6
    assert os.listdir(tmp_path / "state") == []


def test_a_second_fit_does_not_take_the_first_ones_state(pretrainer, montage_store, tmp_path):
    fitted = pretrainer(state_dir=tmp_path, warm_start=True).fit(montage_store)
    with pytest.raises(TrainingError, match="begins_at_step: 0 in the state, 6 now"):
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


def test_nights_whose_samples_changed_are_told(pretrainer, montages, montage_store, tmp_path):
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


def test_a_state_that_says_nothing_of_samples_is_gone_on_with(pretrainer, montage_store, tmp_path):
    pretrainer(state_dir=tmp_path).fit(montage_store)
    state = RunFolder(tmp_path).load()
    run = json.loads(state["run"])
    del run["data"]["nights"]["samples"]
    RunFolder(tmp_path).save({**state, "run": json.dumps(run)})
    assert pretrainer(state_dir=tmp_path).fit(montage_store).net_.step_ == 6


def test_a_grid_search_that_shares_a_state_is_told_what_to_do(pretrainer, montage_store, tmp_path):
    shared = pretrainer(state_dir=tmp_path, validation=0, batch_size=2, max_epochs=1)
    search = GridSearchCV(shared, {"hidden_size": [4, 8]}, cv=2, error_score="raise")
    with pytest.raises(TrainingError, match=r"In a grid search .* pass state_dir=None"):
        search.fit(montage_store)
