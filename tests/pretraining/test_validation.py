# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch

from sleep2vec_sklearn.pretraining import dash_info_nce_loss
from sleep2vec_sklearn.pretraining._module import Objective
from sleep2vec_sklearn.pretraining._validation import Validation


def test_held_out_nights_change_nothing_in_training(pretrainer, montage_store):
    looked = pretrainer(validation=["s3"]).fit(montage_store)
    alone = pretrainer(validation=0).fit(montage_store.take(slice(0, 6)))
    assert looked.checkpoint().sha256 == alone.checkpoint().sha256
    assert "valid_loss" in looked.history_[0]
    assert "valid_loss" not in alone.history_[0]


def test_columns_are_means_and_pairs(pretrainer, montage_store):
    row = pretrainer(validation=2, batch_size=3).fit(montage_store).history_[-1]
    pairs = ["effort-spo2", "effort-ibi", "spo2-ibi"]
    for column in ("loss", "recall", "median_rank"):
        parts = [row[f"valid_{column}_{pair}"] for pair in pairs]
        assert row[f"valid_{column}"] == pytest.approx(np.mean(parts))
    assert row["valid_loss"] > 0
    assert 0 < row["valid_chance"] < 1


def test_the_loss_is_the_objective_on_unmasked_windows(pretrainer, montage_store):
    fitted = pretrainer(
        validation=["s2", "s3"], batch_size=100, mask_share=0.5, sensor_loss=1.0, steps_per_epoch=1
    )
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
    from sleep2vec_sklearn.pretraining import Demography

    people = Demography.from_metadata(held.table, held.table.index.tolist()).take(nights)
    weights = [torch.as_tensor(w).float() for w in people.weights()]
    loss, _ = dash_info_nce_loss(
        *(p[kept] for p in projected), *weights, temperature=0.1, valid=counted[kept]
    )
    assert fitted.history_[-1, "valid_loss_spo2-ibi"] == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("negatives", ["recordings", "both"])
def test_windows_without_negatives_do_not_lower_the_loss(negatives):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 4, 6, 5, generator=generator)
    seen = torch.ones(4, 6, dtype=torch.bool)
    # of the last two windows the epochs never meet, so their block of the batch says nothing
    seen[2, 3:] = seen[3, :3] = False
    criterion = Objective("info_nce", negatives=negatives)
    looking = Validation(None, (), None, {}, batch_size=2)
    found = looking._loss(criterion, (first, seen), (second, seen))
    alone, _ = criterion.contrast(first[:2], second[:2], seen[:2], None)
    assert found == pytest.approx(alone.item())
    nothing = looking._loss(criterion, (first[2:], seen[2:]), (second[2:], seen[2:]))
    assert np.isnan(nothing)
