# SPDX-License-Identifier: BSD-3-Clause
import copy
import gc

import numpy as np
import pytest
from hypothesis import settings

from sleep2vec_sklearn import Recording, Sleep2VecTransformer, make_sleep_cohort
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE
from sleep2vec_sklearn.recordings import MODALITIES, Signal

# a time limit would fail the first example, which loads torch, on a busy machine
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("quick")

SMALL_MODALITIES = ("eeg", "ecg", "effort", "spo2", "ibi", "actigraphy")


def pytest_collection_finish():
    # what was imported and collected lives to the end; the collector need not go through it again
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small products gain nothing from threads, and on a busy machine lose much."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def small_config():
    """A tiny encoder whose context is shorter than the nights of these tests."""
    from sleep2vec_sklearn import model

    modalities = tuple(
        model.ModalityConfig(
            name, MODALITIES[name].conditioning, model.TokenizerConfig("spectral", 24)
        )
        for name in SMALL_MODALITIES
    )
    return model.EncoderConfig(
        modalities, hidden_size=32, n_layers=2, n_heads=4, intermediate_size=48, cls=True,
        projection=model.ProjectionConfig(20, 8), context_epochs=8,
    )  # fmt: skip


@pytest.fixture(scope="session")
def write_checkpoint(small_config):
    """Function of (path, seed): writes random weights."""
    from sleep2vec_sklearn.model import Sleep2Vec, save_checkpoint

    def write(path, seed):
        save_checkpoint(path, Sleep2Vec.from_seed(small_config, seed), small_config)
        return path

    return write


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory, write_checkpoint):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small.safetensors", 3)


@pytest.fixture(scope="session")
def checkpoint_in_memory(checkpoint_path):
    from sleep2vec_sklearn import load_checkpoint

    return load_checkpoint(checkpoint_path)


@pytest.fixture(scope="session")
def embed(checkpoint_in_memory):
    """Function of (X, **parameters): the rows of a fitted transformer, nothing cached."""

    def rows_of(X, **parameters):
        parameters = {"cache": None, **parameters}
        return Sleep2VecTransformer(checkpoint_in_memory, **parameters).fit_transform(X)

    return rows_of


@pytest.fixture(autouse=True)
def empty_memory_cache():
    MEMORY_CACHE.clear()


@pytest.fixture(scope="session")
def cohort():
    """Eight simulated nights of 15 minutes, some sensors missing."""
    cohort = make_sleep_cohort(8, hours=0.25, modalities=SMALL_MODALITIES, random_state=0)
    # read once: a simulated recording would make its signals again for every test
    return [
        Recording(
            {name: (s.values, s.rate) for name, s in lazy.read().items()},
            units=lazy.units, stages=lazy.stages, subject=lazy.subject, id=lazy.id,
        )
        for lazy in cohort
    ]  # fmt: skip


@pytest.fixture(scope="session")
def of_one_subject():
    """Function of nights: the same nights, all of the first one's subject."""

    def make(nights):
        nights = [copy.copy(night) for night in nights]
        for night in nights:
            night.subject = nights[0].subject
        return nights

    return make


@pytest.fixture
def noise():
    """Function of (name, n_epochs, rate, seed): a plausible signal and its rate."""

    def make(name, n_epochs=4, rate=None, seed=0):
        rate = MODALITIES[name].conditioning.rate if rate is None else rate
        values = np.random.default_rng(seed).standard_normal(round(n_epochs * 30 * rate))
        level, spread = {"spo2": (95, 1), "ibi": (0.9, 0.05)}.get(name, (0, 30))
        values = np.abs(values) * spread if name == "actigraphy" else level + spread * values
        return values.astype(np.float32), rate

    return make


@pytest.fixture
def fails(monkeypatch):
    """Function of (name, error): every call of that name raises the error."""

    def patch(name, error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(name, fail)

    return patch


class CountingSource:
    """A lazy source that remembers what was read."""

    def __init__(self, signals):
        self.signals = {name: Signal(*signal) for name, signal in signals.items()}
        self.reads = []

    @property
    def layout(self):
        return {name: signal.layout for name, signal in self.signals.items()}

    def read(self, names):
        self.reads.append(tuple(names))
        return {name: self.signals[name] for name in names}

    def fingerprint(self):
        return "counting"


@pytest.fixture
def counting_source():
    return CountingSource
