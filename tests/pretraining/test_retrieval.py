# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.pretraining._validation import (
    HeldOutWindows,
    measure_retrieval,
    project_windows,
    retrieve,
    retrieve_pairs,
)


def unit(n, size, seed=0):
    return normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_equal_spaces_find_everything():
    found = retrieve(unit(20, 5), unit(20, 5))
    assert (found.recall, found.median_rank, found.chance) == (1.0, 1.0, 1 / 20)


def test_one_point_for_all_is_chance():
    found = retrieve(torch.ones(9, 3), torch.ones(9, 3))
    assert found.recall == 0
    assert found.median_rank == 5


@given(n=st.integers(2, 12), seed=st.integers(0, 99))
def test_ranks_are_those_of_a_sort(n, seed):
    first, second = unit(n, 4, seed), unit(n, 4, seed + 100)
    similarity = (first @ second.T).numpy()
    ranks = [
        1 + (table[i] > table[i, i]).sum() for table in (similarity, similarity.T) for i in range(n)
    ]
    found = retrieve(first, second)
    assert found.recall == pytest.approx(np.mean(np.equal(ranks, 1)))
    assert found.median_rank == np.sort(ranks)[n - 1]


def test_windows_of_short_and_long_nights_are_spread(montage_store):
    windows = HeldOutWindows.spread(montage_store, 10)
    assert set(zip(windows.nights.tolist(), windows.starts.tolist(), strict=True)) == {
        (night, start) for night in range(8) for start in (0, 10)
    }
    assert len(HeldOutWindows.spread(montage_store, 10, most=11)) == 11
    assert len(set(HeldOutWindows.spread(montage_store, 10, most=5).nights)) == 5
    assert len(set(HeldOutWindows.spread(montage_store, 10, most=8).nights)) == 8


def test_projections_do_not_depend_on_the_batch_size(pretrainer, montage_store):
    network = pretrainer().fit(montage_store).net_.averaged()
    windows = HeldOutWindows.spread(montage_store, 6)
    with torch.no_grad():
        one, many = (
            project_windows(network, windows, network.config.names, size) for size in (1, 100)
        )
    for name in one:
        torch.testing.assert_close(one[name][0], many[name][0], atol=1e-5, rtol=1e-5)
        assert torch.equal(one[name][1], many[name][1])


def test_candidates_are_epochs_that_both_have():
    first, second = unit(12, 3).view(3, 4, 3), unit(12, 3).view(3, 4, 3)
    seen = torch.ones(3, 4, dtype=torch.bool)
    seen[0] = False
    projected = {"spo2": (first, seen), "ibi": (second, ~seen | (torch.arange(4) < 3))}
    assert retrieve_pairs(projected)["spo2", "ibi"].n_candidates == 6
    assert retrieve_pairs(projected, most=4)["spo2", "ibi"].n_candidates == 4
    assert retrieve_pairs({"spo2": (first, seen), "ibi": (second, ~seen)}) == {}


def test_nights_without_a_pair_cannot_be_measured(pretrainer, montage_store, montages):
    config = pretrainer().fit(montage_store).encoder_config_
    network = Sleep2Vec.from_seed(config, 0).eval()
    lonely = montage_store.take([0, 1])
    lonely.table = lonely.table.assign(coverage_spo2=0, coverage_ibi=0)
    with pytest.raises(InvalidRecordingError, match="no night has two of effort, spo2, ibi"):
        measure_retrieval(network, lonely, 4)
