# SPDX-License-Identifier: BSD-3-Clause
import matplotlib as mpl
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer

mpl.use("Agg")


@pytest.fixture(scope="session")
def rows():
    """Function of the rows of each subject: X, labels it depends on, and subjects who differ."""

    def make(each=25):
        rng = np.random.default_rng(0)
        subjects = np.repeat([f"p{k:02d}" for k in range(12)], each)
        y = rng.integers(0, 3, len(subjects))
        shift = np.repeat(rng.normal(size=(12, 4)), each, axis=0)
        X = rng.normal(size=(len(subjects), 4)) + 1.5 * np.eye(4)[y] + shift
        return X, y, subjects

    return make


def make_night(number, modalities=("effort", "spo2", "ibi"), n_epochs=24):
    """A night whose sensors all depend on its stages, ibi most clearly."""
    rng = np.random.default_rng(number)
    awake = np.repeat(rng.integers(0, 2, n_epochs // 4 + 1), 4)[:n_epochs]
    state = np.repeat(2 * awake - 1, 120)
    n = len(state)
    signals = {
        "effort": np.sin(np.arange(n) * 0.3) * (1 + 0.3 * state) + 0.3 * rng.standard_normal(n),
        "spo2": 95 + 0.3 * state + rng.standard_normal(n),
        "ibi": 0.9 - 0.1 * state + 0.02 * rng.standard_normal(n),
    }
    return Recording(
        {name: (signals[name], 4) for name in modalities},
        id=f"n{number}",
        subject=f"s{number}",
        stages=2 - 2 * awake,
    )


@pytest.fixture(scope="session")
def night():
    return make_night


@pytest.fixture(scope="session")
def nights():
    """Nights of six subjects with three sensors each."""
    return [make_night(k) for k in range(6)]


@pytest.fixture
def pipeline(checkpoint_in_memory):
    """A linear head on the tiny encoder."""
    return make_pipeline(
        Sleep2VecTransformer(checkpoint_in_memory),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=200),
    )


@pytest.fixture
def asleep(nights):
    """X, y and groups of epochs: asleep or not."""
    X = EpochSequence(nights)
    return X, X.stages > 0, X.groups


@pytest.fixture
def encoded(monkeypatch):
    """Names of the modalities encoded, one per encode."""
    from sleep2vec_sklearn.encoding._sleep2vec import Sleep2VecEncoder

    seen = []
    original = Sleep2VecEncoder.encode_signal

    def watch(self, name, signal):
        seen.append(name)
        return original(self, name, signal)

    monkeypatch.setattr(Sleep2VecEncoder, "encode_signal", watch)
    return seen
