# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.encoding import _sleep2vec as sleep2vec
from sleep2vec_sklearn.model.encoder import EncodedModality


@pytest.fixture
def encodes(monkeypatch):
    """Names of the modalities the network was called for."""
    calls = []
    encode = sleep2vec.Sleep2VecEncoder.encode_signal

    def counted(self, name, signal):
        calls.append(name)
        return encode(self, name, signal)

    monkeypatch.setattr(sleep2vec.Sleep2VecEncoder, "encode_signal", counted)
    return calls


@pytest.fixture
def tokens():
    """Function of a number of floats: an entry that holds so many."""

    def make(n_floats=8):
        values = np.arange(n_floats, dtype=np.float32)[:, None]
        return EncodedModality(values, np.ones(n_floats, bool), values[:1, 0])

    return make


@pytest.fixture
def twelve_nights(noise):
    """Twelve subjects with one night of one sensor."""
    return [
        Recording({"ibi": noise("ibi", seed=seed)}, subject=f"s{seed}", id=f"n{seed}")
        for seed in range(12)
    ]


@pytest.fixture
def twelve_nights_of_epochs(twelve_nights):
    return EpochSequence(twelve_nights)
