# SPDX-License-Identifier: BSD-3-Clause
"""Loss and retrieval on held-out nights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.pretraining import Demography, InfoNCEObjective, dash_info_nce_loss
from sleep2vec_sklearn.pretraining._validation import (
    HeldOutBatches,
    HeldOutWindows,
    measure_retrieval,
    project_windows,
    retrieve,
    retrieve_pairs,
)


def test_held_out_nights_change_nothing(pretrainer, montage_store):
    looked = pretrainer(validation=["s3"]).fit(montage_store)
    alone = pretrainer(validation=0).fit(montage_store.take(slice(0, 6)))
    assert looked.checkpoint().sha256 == alone.checkpoint().sha256
    assert "valid_loss" in looked.history_[0]
    assert "valid_loss" not in alone.history_[0]


def test_columns_are_means(pretrainer, montage_store):
    row = pretrainer(validation=2, batch_size=3).fit(montage_store).history_[-1]
    pairs = ["effort-spo2", "effort-ibi", "spo2-ibi"]
    for column in ("loss", "recall", "median_rank"):
        parts = [row[f"valid_{column}_{pair}"] for pair in pairs]
        assert row[f"valid_{column}"] == pytest.approx(np.mean(parts))
    assert row["valid_loss"] > 0
    assert 0 < row["valid_chance"] < 1


def test_loss_is_the_objective(pretrainer, montage_store):
    options = {"mask_ratio": 0.5, "modality_dropout": 1.0, "steps_per_epoch": 1}
    fitted = pretrainer(validation=["s2", "s3"], batch_size=100, **options)
    with pytest.warns(match="none of them twice"):
        fitted.fit(montage_store)
    network, held = fitted.net_.average_.network, montage_store.take(slice(4, 8))
    places = [(night, s) for night in range(4) for s in range(0, 21, 6) if s <= 18]
    places = [(n, s) for n, s in places if s < len(held.valid(n, "ibi")) - 2]
    projected, counted = [], torch.ones(len(places), 6, dtype=torch.bool)
    for name in ("spo2", "ibi"):
        values = torch.zeros(len(places), 6, held.contents[name].width)
        valid = torch.zeros(len(places), 6, dtype=torch.bool)
        for row, (night, start) in enumerate(places):
            window = torch.from_numpy(held.window(night, name, start, 6))
            values[row, : len(window)] = window
            seen = torch.from_numpy(held.valid(night, name)[start : start + 6])
            valid[row, : len(seen)] = seen
        with torch.no_grad():
            hidden = network.encode(network.embed_features(name, values, ~valid), valid)
            projected.append(network.project(hidden))
        counted &= valid
    kept = counted.any(dim=1)
    nights = np.array([night for night, _ in places])[kept.numpy()]
    people = Demography.from_metadata(held.table, held.table.index.tolist()).take(nights)
    weights = [torch.as_tensor(w).float() for w in people.weights()]
    loss, _ = dash_info_nce_loss(
        *(p[kept] for p in projected), *weights, temperature=0.1, valid=counted[kept]
    )
    assert fitted.history_[-1, "valid_loss_spo2-ibi"] == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("negatives", ["recordings", "both"])
def test_blocks_without_negatives_are_skipped(negatives):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 4, 6, 5, generator=generator)
    seen = torch.ones(4, 6, dtype=torch.bool)
    # of the last two windows the epochs never meet, so their block of the batch says nothing
    seen[2, 3:] = seen[3, :3] = False
    objective = InfoNCEObjective(negatives=negatives)
    windows = HeldOutWindows(None, np.arange(4), None, 6)
    held_out = HeldOutBatches(windows, (), Demography.from_metadata(None, range(4)), batch_size=2)
    found = held_out.loss(objective, (first, seen), (second, seen))
    alone, _ = objective.contrast(first[:2], second[:2], seen[:2], None)
    assert found == pytest.approx(alone.item())
    nothing = held_out.loss(objective, (first[2:], seen[2:]), (second[2:], seen[2:]))
    assert np.isnan(nothing)


def unit(n, size, seed=0):
    return normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_recall_at_its_ends():
    found = retrieve(unit(20, 5), unit(20, 5))
    assert (found.recall, found.median_rank, found.chance) == (1.0, 1.0, 1 / 20)
    found = retrieve(torch.ones(9, 3), torch.ones(9, 3))
    assert found.recall == 0
    assert found.median_rank == 5


@given(n=st.integers(2, 12), seed=st.integers(0, 99))
def test_ranks_are_those_of_sorting(n, seed):
    first, second = unit(n, 4, seed), unit(n, 4, seed + 100)
    similarity = (first @ second.T).numpy()
    ranks = [
        1 + (table[i] > table[i, i]).sum() for table in (similarity, similarity.T) for i in range(n)
    ]
    found = retrieve(first, second)
    assert found.recall == pytest.approx(np.mean(np.equal(ranks, 1)))
    assert found.median_rank == np.sort(ranks)[n - 1]


def test_windows_are_spread(montage_store):
    windows = HeldOutWindows.spread(montage_store, 10)
    assert set(zip(windows.nights.tolist(), windows.starts.tolist(), strict=True)) == {
        (night, start) for night in range(8) for start in (0, 10)
    }
    assert len(HeldOutWindows.spread(montage_store, 10, limit=11)) == 11
    assert len(set(HeldOutWindows.spread(montage_store, 10, limit=5).nights)) == 5
    assert len(set(HeldOutWindows.spread(montage_store, 10, limit=8).nights)) == 8


def test_projections_ignore_batch_size(pretrainer, montage_store):
    network = pretrainer().fit(montage_store).net_.averaged()
    windows = HeldOutWindows.spread(montage_store, 6)
    with torch.no_grad():
        one, many = (
            project_windows(network, windows, network.config.names, size) for size in (1, 100)
        )
    for name in one:
        torch.testing.assert_close(one[name][0], many[name][0], atol=1e-5, rtol=1e-5)
        assert torch.equal(one[name][1], many[name][1])


def test_candidates_have_both_modalities():
    first, second = unit(12, 3).view(3, 4, 3), unit(12, 3).view(3, 4, 3)
    seen = torch.ones(3, 4, dtype=torch.bool)
    seen[0] = False
    projected = {"spo2": (first, seen), "ibi": (second, ~seen | (torch.arange(4) < 3))}
    assert retrieve_pairs(projected)["spo2", "ibi"].n_candidates == 6
    assert retrieve_pairs(projected, limit=4)["spo2", "ibi"].n_candidates == 4
    assert retrieve_pairs({"spo2": (first, seen), "ibi": (second, ~seen)}) == {}


def test_nights_need_a_pair(pretrainer, montage_store, montages):
    config = pretrainer().fit(montage_store).encoder_config_
    network = Sleep2Vec.from_seed(config, 0).eval()
    lonely = montage_store.take([0, 1])
    lonely.table = lonely.table.assign(coverage_spo2=0, coverage_ibi=0)
    with pytest.raises(InvalidRecordingError, match="no night has two of effort, spo2, ibi"):
        measure_retrieval(network, lonely, 4)
