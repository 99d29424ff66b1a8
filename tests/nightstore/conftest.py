# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.pretraining import prepare_cohort

NAMES = ["ibi", "spo2"]


@pytest.fixture
def night():
    """Function of (id, seed, n_epochs): a night of intervals with a gap, and of saturation."""

    def make(id, seed=0, n_epochs=12, **settings):
        rng = np.random.default_rng(seed)
        ibi = 0.9 + 0.05 * rng.standard_normal(n_epochs * 120)
        ibi[3 * 120 : 5 * 120] = np.nan
        spo2 = 95 + rng.uniform(-3, 3, n_epochs * 120)
        return Recording({"ibi": (ibi, 4), "spo2": (spo2, 4)}, id=id, **settings)

    return make


@pytest.fixture
def nights(night):
    return [night(f"n{k}", k, subject=f"s{k % 3}", metadata={"age": 50 + k}) for k in range(5)]


@pytest.fixture
def prepare():
    """Function of (recordings, folder, **settings): :func:`prepare_cohort` of two modalities."""
    return lambda recordings, folder, **settings: prepare_cohort(
        recordings, folder, modalities=NAMES, **settings
    )


@pytest.fixture
def folder(nights, prepare, tmp_path):
    prepare(nights, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def assert_same():
    """Function of two stores: they have the same table and hold the same numbers."""

    def check(store, other):
        pd.testing.assert_frame_equal(store.table, other.table)
        for k in range(len(store)):
            for name in store.contents:
                np.testing.assert_array_equal(store.valid(k, name), other.valid(k, name))
                windows = [s.window(k, name, 0, 10**6) for s in (store, other)]
                np.testing.assert_array_equal(*windows)

    return check
