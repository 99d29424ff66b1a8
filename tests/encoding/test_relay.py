# SPDX-License-Identifier: BSD-3-Clause
"""What happens in process workers reaches the user."""

import contextlib
import copy
import importlib
import json
import os
import pickle
import warnings
from multiprocessing.connection import Client
from multiprocessing.reduction import ForkingPickler

import joblib
import numpy as np
import pytest
from joblib.externals import loky
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    config_context,
    get_config,
)
from sleep2vec_sklearn.encoding import _base as bearer
from sleep2vec_sklearn.encoding import _relay as relay
from sleep2vec_sklearn.errors import LeakageWarning, RecordingWarning, Sleep2VecWarning


@pytest.fixture
def leaking_scores(checkpoint_path, noise):
    """Function that scores shuffled epochs in two processes."""
    nights = [Recording({"ibi": noise("ibi", seed=i)}, subject=i, id=f"n{i}") for i in range(3)]
    X = EpochSequence(nights)
    probe = make_pipeline(Sleep2VecTransformer(checkpoint_path), RidgeClassifier())
    cv = KFold(2, shuffle=True, random_state=0)
    y = np.arange(len(X)) % 2
    return lambda: cross_val_score(probe, X, y, cv=cv, n_jobs=2)


def test_a_leak_in_a_worker_is_told_here(leaking_scores):
    with pytest.warns(LeakageWarning, match="other rows of 3 of the subjects") as caught:
        assert np.isfinite(leaking_scores()).all()
    assert len([w for w in caught if w.category is LeakageWarning]) == 2


def test_workers_follow_the_setting_each_time(leaking_scores):
    with config_context(leakage="ignore"):
        assert np.isfinite(leaking_scores()).all()
    with config_context(leakage="raise"):
        assert np.isnan(leaking_scores()).all()


def test_other_warnings_of_workers_are_told_too(checkpoint_path, noise):
    encoder = Sleep2VecTransformer(checkpoint_path)
    X = [{"ibi": noise("ibi"), "ecg": np.zeros(4 * 30 * 128)}]
    with pytest.warns(RecordingWarning, match="flat"):
        joblib.Parallel(2)(joblib.delayed(encoder.fit_transform)(X) for _ in range(2))


@pytest.mark.parametrize("kept", [pickle.dumps, copy.deepcopy, copy.copy, clone, joblib.hash])
def test_nobody_listens_for_a_file_a_copy_or_a_hash(kept, checkpoint_path, monkeypatch):
    monkeypatch.setattr(bearer, "listen", lambda: pytest.fail("a thread was started"))
    kept(make_pipeline(Sleep2VecTransformer(checkpoint_path)))


def test_who_sends_to_a_worker_listens(checkpoint_path, monkeypatch):
    calls = []
    monkeypatch.setattr(bearer, "listen", lambda: calls.append(1))
    model = make_pipeline(Sleep2VecTransformer(checkpoint_path))
    senders = [ForkingPickler.dumps, loky.backend.reduction.dumps]
    with contextlib.suppress(ImportError):
        senders.append(importlib.import_module("distributed.protocol.pickle").dumps)
    for send in senders:
        send(model)
    assert len(calls) == len(senders)


def settings_after_a_copy_in_a_context(model):
    with config_context(leakage="ignore"):
        copy.deepcopy(model)
    return get_config()["leakage"]


def test_a_copy_in_a_worker_brings_no_settings(checkpoint_path):
    model = make_pipeline(Sleep2VecTransformer(checkpoint_path))
    work = [joblib.delayed(settings_after_a_copy_in_a_context)(model)] * 2
    for backend in ("loky", "multiprocessing"):
        with config_context(leakage="raise"):
            assert joblib.Parallel(2, backend=backend)(work) == ["raise"] * 2
        assert joblib.Parallel(2, backend=backend)(work) == ["warn"] * 2


def ask(message):
    relay.listen()
    with Client(relay._address_of(os.getpid())) as connection:
        connection.send_bytes(message)
        return connection.recv_bytes()


def test_the_answer_tells_what_became_of_a_warning():
    told = json.dumps(["RecordingWarning", "a text", "file.py", 3]).encode()
    with pytest.warns(RecordingWarning, match="a text") as caught:
        assert ask(told) == b"told"
    assert (caught[0].filename, caught[0].lineno) == ("file.py", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Sleep2VecWarning)
        assert ask(told) == b"raise"


def test_noise_on_the_socket_is_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(b"\xff") == b"unheard"
        assert ask(b"[1]") == b"unheard"
        assert ask(b'["ReadError", "", "", 0]') == b"unheard"


def test_where_nobody_listens_a_warning_stays(monkeypatch):
    class Parent:
        pid = 2**30

    monkeypatch.setattr("multiprocessing.parent_process", lambda: Parent)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        shown = []
        monkeypatch.setattr(warnings, "showwarning", lambda *args: shown.append(args[0]))
        relay.relay_warnings()
        warnings.warn("here", RecordingWarning, stacklevel=1)
        warnings.warn("and this", UserWarning, stacklevel=1)
    assert [str(message) for message in shown] == ["here", "and this"]


def test_a_main_process_keeps_its_warnings(checkpoint_path):
    before = warnings.showwarning
    pickle.loads(pickle.dumps(Sleep2VecTransformer(checkpoint_path)))
    assert warnings.showwarning is before


@pytest.mark.skipif(os.name == "nt", reason="pipes have no folder")
def test_a_folder_open_to_others_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(relay.tempfile, "gettempdir", lambda: str(tmp_path))
    assert relay._address_of(1) is not None
    (folder,) = tmp_path.iterdir()
    folder.chmod(0o755)
    assert relay._address_of(1) is None
