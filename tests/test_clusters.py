# SPDX-License-Identifier: BSD-3-Clause
"""Schedulers and workers of dask that are killed while nights are encoded and prepared."""

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest

from sleep2vec_sklearn import Recording, Sleep2VecTransformer, cache_info
from sleep2vec_sklearn.errors import ClusterError
from sleep2vec_sklearn.pretraining import prepare_cohort
from tests.encoding.nights import Night, NightThatEnds

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

N_NIGHTS = 24
ENDS_AT = 12
ROOT = Path(__file__).parents[1]


@contextmanager
def cluster(folder):
    """A scheduler and two workers, each a process; the client, and the scheduler's number."""
    folder.mkdir()
    file = str(folder / "scheduler.json")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = ["--scheduler-file", file, "--no-dashboard"]
    kinds = {
        "scheduler": ["--port", "0"],
        "worker": ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)],
    }

    def start(kind):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options, *kinds[kind]]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process

    with ExitStack() as stack:
        scheduler = start("scheduler")
        for _ in range(2):
            start("worker")
        # so long a client tries to find a scheduler again, by default for thirty seconds
        with distributed.Client(scheduler_file=file, timeout=5) as client:
            client.wait_for_workers(2, timeout=60)
            yield client, scheduler.pid


def make_nights(folder, victim=None):
    sources = [Night(i, folder) for i in range(N_NIGHTS)]
    if victim is not None:
        sources[ENDS_AT] = NightThatEnds(ENDS_AT, folder, victim)
    return [Recording.from_source(source, id=f"n{i}") for i, source in enumerate(sources)]


def times_read(folder):
    return Counter(path.name for path in folder.glob("read-*") for _ in path.read_text().split())


def test_encoding_resumes_from_cache(checkpoint_path, embed, tmp_path):
    transformer = Sleep2VecTransformer(checkpoint_path, cache=tmp_path / "tokens")
    with cluster(tmp_path / "first") as (_, scheduler):
        nights = make_nights(tmp_path, scheduler)
        transformer.fit(nights)
        lost = pytest.raises(ClusterError, match="connect a new Client, and call again")
        with joblib.parallel_config(backend="dask"), lost:
            transformer.transform(nights)
    n_finished = cache_info(tmp_path / "tokens").n_files
    assert 0 < n_finished < N_NIGHTS
    before = times_read(tmp_path)
    with cluster(tmp_path / "second"), joblib.parallel_config(backend="dask"):
        rows = transformer.transform(nights)
    assert (times_read(tmp_path) - before).total() == N_NIGHTS - n_finished
    np.testing.assert_array_equal(rows, embed(make_nights(tmp_path)))


def test_preparation_resumes_from_store(tmp_path):
    def prepare(nights, folder="store"):
        return prepare_cohort(nights, tmp_path / folder, modalities=["spo2"])

    with cluster(tmp_path / "first") as (_, scheduler):
        nights = make_nights(tmp_path, scheduler)
        lost = pytest.raises(ClusterError, match=f"[0-9]+ of {N_NIGHTS} nights were prepared")
        with joblib.parallel_config(backend="dask"), lost as caught:
            prepare(nights)
    assert isinstance(caught.value.__cause__, CancelledError)
    n_finished = len(list((tmp_path / "store" / "nights").glob("??/*")))
    assert 0 < n_finished < N_NIGHTS
    before = times_read(tmp_path)
    with cluster(tmp_path / "second") as (client, _):
        with joblib.parallel_config(backend="dask"):
            store = prepare(nights)
        assert (times_read(tmp_path) - before).total() == N_NIGHTS - n_finished
        # of two workers one is ended, and the other does what it had not finished
        victim = next(iter(client.run(os.getpid).values()))
        with joblib.parallel_config(backend="dask"):
            again = prepare(make_nights(tmp_path, victim), "another")
        assert len(client.scheduler_info()["workers"]) == 1
    alone = prepare(make_nights(tmp_path), "alone")
    for night in range(N_NIGHTS):
        windows = [s.window(night, "spo2", 0, 6) for s in (store, again, alone)]
        np.testing.assert_array_equal(windows[0], windows[2])
        np.testing.assert_array_equal(windows[1], windows[2])
