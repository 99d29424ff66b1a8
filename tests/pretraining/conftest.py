# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import Recording
from tests.pretraining.nights import make_night, tiny_pretrainer


@pytest.fixture
def night():
    """Function of (id, seed, n_epochs): a night of intervals with a gap, and of saturation."""

    def make(id, seed=0, n_epochs=12, **settings):
        rng = np.random.default_rng(seed)
        beats = 0.9 + 0.05 * rng.standard_normal(n_epochs * 120)
        beats[3 * 120 : 5 * 120] = np.nan
        oxygen = 95 + rng.uniform(-3, 3, n_epochs * 120)
        return Recording({"ibi": (beats, 4), "spo2": (oxygen, 4)}, id=id, **settings)

    return make


@pytest.fixture
def nights(night):
    return [night(f"n{k}", k, subject=f"s{k % 3}", metadata={"age": 50 + k}) for k in range(5)]


@pytest.fixture(scope="session")
def montages():
    """Eight nights of four subjects, 24 epochs or fewer; three sensors, of which some are lost."""
    return [make_night(k) for k in range(8)]


@pytest.fixture(scope="session")
def montage_store(montages):
    from sleep2vec_sklearn.pretraining import NightStore, contents_of

    return NightStore.from_recordings(montages, contents_of(modalities=["effort", "spo2", "ibi"]))


@pytest.fixture
def pretrainer():
    """Function of (**parameters): a pretrainer of a tiny encoder, two epochs of three steps."""
    return tiny_pretrainer
