# SPDX-License-Identifier: BSD-3-Clause
import hashlib
import os
import warnings
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    cache_info,
    config_context,
    read_recording,
)
from sleep2vec_sklearn.encoding import _engine as engine
from sleep2vec_sklearn.encoding import _parallel as parallel
from sleep2vec_sklearn.encoding._parallel import Work, packed
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE
from sleep2vec_sklearn.errors import (
    CacheWarning,
    CheckpointError,
    InvalidRecordingError,
    RecordingWarning,
)
from tests.encoding.nights import Night, NightThatNotesSettings, NightThatWarns, note_nesting


@pytest.fixture(scope="module")
def dask_client():
    """Function that waits until both workers of a cluster are there."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        yield lambda: client.wait_for_workers(2, timeout=60)


@pytest.fixture(params=["loky", "dask"])
def spread_out(request):
    """Function that opens the backend, two processes each."""
    if request.param == "dask":
        request.getfixturevalue("dask_client")()
    return lambda: joblib.parallel_config(backend=request.param, n_jobs=2)


@pytest.fixture
def elsewhere(spread_out):
    """Function that opens the backend, where encoding in this process is an error."""

    @contextmanager
    def opened():
        with pytest.MonkeyPatch.context() as patch, spread_out():
            patch.setattr(engine.Engine, "encode", None)
            yield

    return opened


def make_nights(n, folder=None, deadly=()):
    return [
        Recording.from_source(Night(i, folder, i in deadly), id=f"n{i}", subject=f"s{i // 2}")
        for i in range(n)
    ]


def processes_that_read(folder):
    """One process for each time a night was read."""
    return [int(pid) for file in folder.glob("read-*") for pid in file.read_text().split()]


@pytest.fixture(scope="module")
def serial(embed, cohort, of_one_subject):
    """Nights, subjects and epochs, each with the rows that this process makes alone."""
    subjects = [of_one_subject(cohort[:3]), of_one_subject(cohort[3:5])]
    inputs = cohort[:5], subjects, EpochSequence(cohort[:5])[5:150:3]
    return [(X, embed(X)) for X in inputs]


@pytest.mark.parametrize("cache", ["memory", None])
def test_parallel_rows_equal_serial_rows(elsewhere, serial, checkpoint_path, cache):
    for X, expected in serial:
        transformer = Sleep2VecTransformer(checkpoint_path, cache=cache)
        MEMORY_CACHE.clear()
        with elsewhere():
            rows = transformer.fit_transform(X)
        np.testing.assert_array_equal(rows, expected)


def test_weights_in_memory_are_sent(elsewhere, serial, checkpoint_in_memory):
    X, expected = serial[0]
    with elsewhere():
        rows = Sleep2VecTransformer(checkpoint_in_memory, cache=None).fit_transform(X)
    np.testing.assert_array_equal(rows, expected)


def test_bundled_encoder_in_workers(elsewhere, cohort):
    transformer = Sleep2VecTransformer(modalities=["ibi"], cache=None).fit(cohort[:3])
    expected = transformer.transform(cohort[:3])
    with elsewhere():
        np.testing.assert_array_equal(transformer.transform(cohort[:3]), expected)


def test_parallel_tables_have_coverage(elsewhere, checkpoint_path, cohort):
    X = cohort[:4]
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None).fit(X)
    with elsewhere():
        spread_out = transformer.embed(X)
    here = transformer.embed(X)
    np.testing.assert_array_equal(spread_out.values, here.values)
    assert spread_out.coverage.equals(here.coverage)


def test_tokens_return_to_memory(elsewhere, checkpoint_path, tmp_path):
    transformer = Sleep2VecTransformer(checkpoint_path).fit(make_nights(4))
    with elsewhere():
        rows = transformer.transform(make_nights(4, tmp_path))
    readers = processes_that_read(tmp_path)
    assert len(readers) == 4
    assert os.getpid() not in readers
    again = transformer.transform(make_nights(4, tmp_path))
    np.testing.assert_array_equal(again, rows)
    assert processes_that_read(tmp_path) == readers


def test_nights_in_memory_stay_here(spread_out, checkpoint_path, tmp_path, embed):
    transformer = Sleep2VecTransformer(checkpoint_path).fit(make_nights(5))
    transformer.transform(make_nights(3))
    with spread_out():
        rows = transformer.transform(make_nights(5, tmp_path))
    assert len(processes_that_read(tmp_path)) == 2
    np.testing.assert_array_equal(rows, embed(make_nights(5)))


@pytest.fixture
def files_read_here(monkeypatch):
    """Names of the files that this process has hashed."""
    names, digest = [], hashlib.file_digest

    def counted(file, *options):
        names.append(Path(file.name).name)
        return digest(file, *options)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return names


def test_only_workers_read_files(
    elsewhere, spread_out, checkpoint_path, noise, tmp_path, files_read_here, monkeypatch
):
    for i in range(4):
        np.savez(tmp_path / f"n{i}.npz", spo2=noise("spo2", seed=i)[0])

    def read():
        return [read_recording(tmp_path / f"n{i}.npz") for i in range(4)]

    transformer = Sleep2VecTransformer(checkpoint_path).fit(read())
    transformer.transform(make_nights(1))
    with elsewhere():
        rows = transformer.transform(read())
    monkeypatch.setattr(parallel._ParallelEncoding, "_dispatch", None)
    with spread_out():
        again = transformer.transform(read())
    np.testing.assert_array_equal(again, rows)
    assert files_read_here == []
    os.utime(tmp_path / "n0.npz", (0, 0))
    transformer.transform(read())
    assert files_read_here == ["n0.npz"]


def test_workers_share_a_folder(elsewhere, embed, checkpoint_path, tmp_path):
    parameters = {"cache": tmp_path / "tokens"}
    for pooling in ("mean", "max"):
        transformer = Sleep2VecTransformer(checkpoint_path, pooling=pooling, **parameters)
        with elsewhere():
            rows = transformer.fit_transform(make_nights(6, tmp_path))
        np.testing.assert_array_equal(rows, embed(make_nights(6), pooling=pooling))
    assert len(processes_that_read(tmp_path)) == 6
    assert transformer.transform(make_nights(6, tmp_path)).shape == rows.shape
    assert len(processes_that_read(tmp_path)) == 6


def test_workers_follow_cache_bytes(elsewhere, checkpoint_path, tmp_path):
    X = [Recording.from_source(NightThatNotesSettings(i, tmp_path)) for i in range(90, 93)]
    transformer = Sleep2VecTransformer(checkpoint_path, cache=tmp_path / "tokens").fit(X)
    with config_context(cache_bytes=12345), elsewhere():
        transformer.transform(X)
    assert {path.read_text() for path in tmp_path.glob("bytes-*")} == {"12345"}


def test_unusable_folder_warns_once(elsewhere, embed, checkpoint_path, tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "tokens"
    transformer = Sleep2VecTransformer(checkpoint_path, cache=folder).fit(make_nights(6))
    with elsewhere(), pytest.warns(CacheWarning, match="in a worker: cache folder") as given:
        rows = transformer.transform(make_nights(6))
    assert [Path(warning.filename).name for warning in given] == ["test_parallel.py"]
    np.testing.assert_array_equal(rows, embed(make_nights(6)))


@pytest.mark.parametrize("cache", ["memory", None])
def test_warnings_of_workers_return_once(embed, checkpoint_path, cache):
    nights = [Recording.from_source(NightThatWarns(i), id=f"n{i}") for i in range(4)]
    transformer = Sleep2VecTransformer(checkpoint_path, cache=cache).fit(nights)
    belt = pytest.warns(RecordingWarning, match="the belt slipped")
    with joblib.parallel_config(backend="loky", n_jobs=2), belt as caught:
        rows = transformer.transform(nights)
    assert [Path(warning.filename).name for warning in caught] == ["test_parallel.py"]
    np.testing.assert_array_equal(rows, embed(make_nights(4)))


def test_no_backend_no_workers(checkpoint_path, tmp_path):
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None).fit(make_nights(2))
    for config in ({}, {"backend": "loky", "n_jobs": 1}, {"backend": "threading", "n_jobs": 2}):
        with joblib.parallel_config(**config):
            transformer.transform(make_nights(2, tmp_path))
    assert set(processes_that_read(tmp_path)) == {os.getpid()}


def test_search_workers_start_no_workers(spread_out, checkpoint_path, tmp_path):
    nights = make_nights(8, tmp_path)
    model = make_pipeline(
        Sleep2VecTransformer(checkpoint_path, cache=None),
        FunctionTransformer(note_nesting, kw_args={"folder": str(tmp_path)}),
        DummyClassifier(),
    )
    with spread_out():
        cross_val_score(model, nights, [0, 1] * 4, cv=2, error_score="raise")
    noted = (tmp_path / "nesting").read_text().split()
    assert len(noted) == 4
    assert all(line == "None" for line in noted)
    assert os.getpid() not in processes_that_read(tmp_path)


def test_search_workers_follow_leakage(checkpoint_path, cohort):
    X = EpochSequence(cohort[:3])
    y = np.arange(len(X)) % 2
    probe = make_pipeline(Sleep2VecTransformer(checkpoint_path), RidgeClassifier())
    shuffled = KFold(2, shuffle=True, random_state=0)
    for leakage, fails in (("ignore", False), ("raise", True), ("ignore", False)):
        with config_context(leakage=leakage):
            scores = cross_val_score(probe, X, y, cv=shuffled, n_jobs=2)
        assert np.isnan(scores).all() == fails


def test_search_workers_share_folder(search, twelve_nights, answers, encodes, tmp_path):
    together = search(tmp_path, n_jobs=2).fit(twelve_nights, answers)
    assert cache_info(tmp_path).n_files == 12
    assert encodes == []
    alone = search(None).fit(twelve_nights, answers)
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"]
    )


def test_search_workers_follow_folder(search, twelve_nights, answers, tmp_path):
    with config_context(cache_dir=tmp_path):
        search(n_jobs=2, refit=False).fit(twelve_nights, answers)
        assert cache_info().n_files == 12


def test_workers_leave_out_sensors(elsewhere, checkpoint_path, noise):
    signals = {"spo2": noise("spo2"), "ecg": noise("ecg")}
    nights = [Recording(signals, units={"ecg": "V"}, id=name) for name in "ab"]
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None, on_error="nan").fit(nights)
    said = pytest.warns(RecordingWarning, match="2 of the recordings had a sensor or derivation")
    with elsewhere(), said:
        assert np.isfinite(transformer.transform(nights)).all()


def work_with(path, sha256="0" * 64):
    return Work(path, (sha256, "last", "float32"), (), "cpu", 1, None, None)


def test_wrong_checkpoints_for_workers(checkpoint_path, tmp_path):
    gone = work_with(str(tmp_path / "gone.safetensors"))
    with pytest.raises(CheckpointError, match=r"in a worker: no checkpoint.*load_checkpoint\(path"):
        gone.open_checkpoint(None)
    other = r"in a worker, .* has sha256 .* and not 000000000000"
    with pytest.raises(CheckpointError, match=other):
        work_with(str(checkpoint_path)).open_checkpoint(None)


def test_weights_are_unpacked_once(checkpoint_in_memory):
    work = work_with(None, checkpoint_in_memory.sha256)
    weights = packed(checkpoint_in_memory)
    assert work.open_checkpoint(weights) is work.open_checkpoint(None)


def test_lost_workers_end_in_process(checkpoint_path, embed, monkeypatch):
    def lose(self, positions):
        raise BrokenProcessPool("gone")
        yield

    monkeypatch.setattr(parallel._ParallelEncoding, "_dispatch", lose)
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None).fit(make_nights(3))
    with joblib.parallel_config(backend="loky", n_jobs=2), pytest.warns() as given:
        rows = transformer.transform(make_nights(3))
    ways = ["sent to new workers", "encoded in this process"]
    assert [way in str(w.message) for way, w in zip(ways, given, strict=True)] == [True, True]
    np.testing.assert_array_equal(rows, embed(make_nights(3)))


def test_workers_may_come_back(monkeypatch):
    counts = iter([TimeoutError("no worker yet"), None, 2])

    def count():
        if isinstance(found := next(counts), Exception):
            raise found
        return found

    monkeypatch.setattr(parallel, "count_workers", count)
    assert parallel._workers_came_back()
    monkeypatch.setattr(parallel, "_SECONDS_FOR_WORKERS", 0)
    assert not parallel._workers_came_back()


# the tests below end workers, and new ones import torch anew


def test_killed_worker_loses_no_night(embed, checkpoint_path, tmp_path):
    nights = make_nights(10, tmp_path, deadly=(4,))
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None).fit(nights)
    lost = pytest.warns(RecordingWarning, match="sent to new workers")
    with joblib.parallel_config(backend="loky", n_jobs=2), lost as given:
        rows = transformer.transform(nights)
    assert (tmp_path / "killed-4").exists()
    assert [Path(warning.filename).name for warning in given] == ["test_parallel.py"]
    np.testing.assert_array_equal(rows, embed(make_nights(10)))


def test_failing_night_follows_on_error(elsewhere, checkpoint_path):
    flat = Recording({"spo2": np.full(400, np.nan)}, id="flat")
    nights = [*make_nights(3), flat, *make_nights(2)]
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None, on_error="nan").fit(nights)
    with elsewhere(), pytest.warns(RecordingWarning, match=r"recording 3 \(flat\)"):
        rows = transformer.transform(nights)
    assert np.isnan(rows).any(axis=1).tolist() == [False] * 3 + [True] + [False] * 2
    transformer.set_params(on_error="raise")
    with elsewhere(), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidRecordingError, match=r"recording 3 \(flat\)"):
            transformer.transform(nights)


def test_worker_warning_as_error(checkpoint_path):
    nights = [Recording.from_source(NightThatWarns(i), id=f"n{i}") for i in range(4)]
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None).fit(nights)
    with joblib.parallel_config(backend="loky", n_jobs=2), warnings.catch_warnings():
        warnings.simplefilter("error", RecordingWarning)
        with pytest.raises(RecordingWarning, match="the belt slipped"):
            transformer.transform(nights)


def test_killed_workers_lose_no_weights(dask_client, embed, checkpoint_in_memory, tmp_path):
    nights = make_nights(8, tmp_path, deadly=(0, 1))
    transformer = Sleep2VecTransformer(checkpoint_in_memory, cache=None).fit(nights)
    dask_client()
    lost = pytest.warns(RecordingWarning, match="a worker was lost")
    with joblib.parallel_config(backend="dask"), lost:
        rows = transformer.transform(nights)
    np.testing.assert_array_equal(rows, embed(make_nights(8)))
