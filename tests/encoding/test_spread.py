# SPDX-License-Identifier: BSD-3-Clause
import os
import signal
import warnings
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer
from sleep2vec_sklearn.encoding import engine, spread
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE
from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.signals import Signal

RATE = 1.0
N_EPOCHS = 6


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(params=["loky", "dask"])
def spread_out(request):
    """Function that opens the backend, two processes each."""
    if request.param == "dask":
        request.getfixturevalue("dask_client")
    return lambda: joblib.parallel_config(backend=request.param, n_jobs=2)


@pytest.fixture
def elsewhere(spread_out, monkeypatch):
    """Function that opens the backend, where encoding in this process is an error."""

    @contextmanager
    def opened():
        def refuse(self, recordings, places):
            raise AssertionError("encoded in this process")

        with monkeypatch.context() as patch, spread_out():
            patch.setattr(engine.Engine, "encode", refuse)
            yield

    return opened


class Night:
    """A source that notes where it is read, and may kill its worker first."""

    def __init__(self, seed, folder=None, deadly=False):
        self.seed, self.folder, self.deadly = seed, folder, deadly
        self.layout = {"spo2": self._signal().layout}

    def _signal(self):
        noise = np.random.default_rng(self.seed).standard_normal(int(N_EPOCHS * 30 * RATE))
        return Signal((95 + noise).astype(np.float32), RATE, "%")

    def read(self, names):
        if self.folder is not None:
            with open(Path(self.folder) / f"read-{self.seed}", "a") as file:
                file.write(f"{os.getpid()}\n")
            killed = Path(self.folder) / f"killed-{self.seed}"
            if self.deadly and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return {"spo2": self._signal()}

    def fingerprint(self):
        return f"night {self.seed}"


def make_nights(n, folder=None, deadly=()):
    return [
        Recording.from_source(Night(i, folder, i in deadly), id=f"n{i}", subject=f"s{i // 2}")
        for i in range(n)
    ]


def processes_that_read(folder):
    return {int(pid) for file in folder.glob("read-*") for pid in file.read_text().split()}


@pytest.mark.parametrize("cache", ["memory", None])
def test_rows_spread_equal_rows_of_one_process(elsewhere, embed, checkpoint_path, cohort, cache):
    for X in (cohort, [cohort[:3], cohort[3:5]], EpochSequence(cohort)[5:150:3]):
        transformer = Sleep2VecTransformer(checkpoint_path, cache=cache)
        MEMORY_CACHE.clear()
        with elsewhere():
            rows = transformer.fit_transform(X)
        np.testing.assert_array_equal(rows, embed(X))


def test_weights_in_memory_are_sent(elsewhere, embed, checkpoint_in_memory, cohort):
    with elsewhere():
        rows = Sleep2VecTransformer(checkpoint_in_memory, cache=None).fit_transform(cohort)
    np.testing.assert_array_equal(rows, embed(cohort))


def test_tokens_come_back_to_the_memory_of_this_process(elsewhere, checkpoint_path, tmp_path):
    nights = make_nights(4, tmp_path)
    transformer = Sleep2VecTransformer(checkpoint_path).fit(nights)
    with elsewhere():
        rows = transformer.transform(nights)
    n_reads = len(list(tmp_path.glob("read-*")))
    np.testing.assert_array_equal(
        transformer.set_params(pooling="max").transform(nights).shape, rows.shape
    )
    assert processes_that_read(tmp_path) and os.getpid() not in processes_that_read(tmp_path)
    assert n_reads == 4
