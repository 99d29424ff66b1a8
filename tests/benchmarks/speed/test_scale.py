# SPDX-License-Identifier: BSD-3-Clause
"""The steps of a cohort that grows, on four nights."""

import numpy as np
import pytest

from benchmarks.speed import scale
from sleep2vec_sklearn import EmbeddingTable

N_NIGHTS = 4


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "N_EPOCHS", 40)
    monkeypatch.setattr(scale, "WIDTH", 8)
    scale.embed(scale.make_epochs(N_NIGHTS), tmp_path / "rows.npz")
    return tmp_path


def test_probes_agree(folder):
    X, y, groups = scale.labels_of(N_NIGHTS)
    table = EmbeddingTable.load(folder / "rows.npz")
    assert table.index.equals(X.index)
    np.testing.assert_array_equal(table.X.stages, y)
    scale.write_array(folder)
    mapped = scale.probe(folder / "rows.npz", X, y, groups)
    assert mapped == scale.probe_arrays(folder / "rows.npy", X, y, groups)
    assert 0 <= scale.probe_in_batches(folder / "rows.npz", y)["accuracy"] <= 1


def test_memory_is_the_largest(folder):
    with scale.peak_of_anonymous_memory() as peak:
        held = np.ones(2**24)
        scale.time.sleep(0.1)
        del held
    assert 120 < peak[0] < 250
