# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import numpy as np
import pytest
from torch.nn.functional import normalize

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, cross_modal_retrieval
from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError, UnknownModalityError
from sleep2vec_sklearn.plotting import RetrievalDisplay
from sleep2vec_sklearn.pretraining._validation import retrieve
from sleep2vec_sklearn.probing.retrieval import _draw_pools, _rank

FAST = {"n_candidates": 16, "n_resamples": 50}


def unit(n, seed):
    import torch

    return normalize(torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)), dim=-1)


def views_of(*pairs):
    """Nights of two modalities, all epochs of which are valid."""
    names = ("ibi", "spo2")
    return [
        {
            name: (rows.numpy(), np.ones(len(rows), bool))
            for name, rows in zip(names, pair, strict=True)
        }
        for pair in pairs
    ]


def test_ordered_pairs_in_both_scopes(checkpoint_in_memory, nights):
    result = cross_modal_retrieval(checkpoint_in_memory, nights, **FAST)
    table = result.summary
    assert len(table) == 2 * 3 * 2
    assert result.modalities == ("effort", "spo2", "ibi")
    assert (table["chance_1"] == 1 / 16).all()
    assert (table["chance_rank"] == 8.5).all()
    assert (table["subjects"] == 6).all()
    # whole pools only: 9 of 16 from all 144 epochs, 1 from the 24 of each night
    assert table.groupby("scope")["queries"].unique().to_dict() == {"night": [96], "nights": [144]}
    for name in ("recall_1", "recall_5", "loss"):
        assert (table[f"{name}_low"] <= table[name] + 1e-9).all()
        assert (table[name] <= table[f"{name}_high"] + 1e-9).all()


def test_both_directions_equal_training_metric():
    first, second = unit(40, 0), unit(40, 1) * 0.5 + unit(40, 0) * 0.5
    first, second = normalize(first, dim=-1), normalize(second, dim=-1)
    views = views_of((first, second))
    (pool,) = _draw_pools(views, "ibi", "spo2", "nights", 40, 0)
    ranks = np.concatenate(
        [_rank(views, *pair, pool, 0.1)[:, 0] for pair in (("ibi", "spo2"), ("spo2", "ibi"))]
    )
    expected = retrieve(first, second)
    assert (ranks == 1).mean() == pytest.approx(expected.recall)
    assert np.sort(ranks)[39] == expected.median_rank


def test_constant_tokens_score_at_chance():
    constant = unit(1, 0).repeat(20, 1)
    views = views_of((constant, constant))
    (pool,) = _draw_pools(views, "ibi", "spo2", "nights", 20, 0)
    ranked = _rank(views, "ibi", "spo2", pool, 0.1)
    np.testing.assert_allclose(ranked[:, 1], np.log(20), rtol=1e-5)
    np.testing.assert_array_equal(ranked[:, 0], 10.5)


def test_pools_hold_each_epoch_once():
    views = views_of((unit(10, 0), unit(10, 1)), (unit(7, 2), unit(7, 3)))
    views[0]["ibi"][1][:3] = False
    mixed = list(_draw_pools(views, "ibi", "spo2", "nights", 5, 0))
    assert [len(pool) for pool in mixed] == [5, 5]
    apart = list(_draw_pools(views, "ibi", "spo2", "night", 50, 0))
    assert [set(pool[:, 0]) for pool in apart] == [{0}, {1}]
    assert [sorted(pool[:, 1].tolist()) for pool in apart] == [[*range(3, 10)], [*range(7)]]
    assert not list(_draw_pools(views, "ibi", "effort", "nights", 5, 0))


def test_unpaired_sensors_are_nan(checkpoint_in_memory, night):
    nights = [night(0, ["ibi", "spo2"]), night(1, ["effort", "spo2"])]
    table = cross_modal_retrieval(checkpoint_in_memory, nights, **FAST).matrix()
    assert np.isnan(table.loc["ibi", "effort"])
    assert np.isfinite(table.loc["ibi", "spo2"])


def test_second_study_encodes_nothing(checkpoint_in_memory, nights, encoded):
    once, again = (cross_modal_retrieval(checkpoint_in_memory, nights, **FAST) for _ in range(2))
    assert once.summary.equals(again.summary)
    assert len(encoded) == 18


def test_display_takes_a_transformer(checkpoint_in_memory, nights):
    model = Sleep2VecTransformer(checkpoint_in_memory)
    display = RetrievalDisplay.from_estimator(model, nights, scope="night", **FAST)
    expected = cross_modal_retrieval(checkpoint_in_memory, nights, scopes="night", **FAST)
    assert display.table_.equals(expected.matrix(scope="night"))


def test_invalid_inputs_are_refused(checkpoint_in_memory, nights, night):
    with pytest.raises(InvalidRecordingError, match="the nights have ibi"):
        cross_modal_retrieval(checkpoint_in_memory, [night(0, ["ibi"])])
    alone = [night(0, ["ibi"]), night(1, ["spo2"])]
    with pytest.raises(InvalidRecordingError, match="at the same time"):
        cross_modal_retrieval(checkpoint_in_memory, alone)
    with pytest.raises(InvalidRecordingError, match="holds epochs"):
        cross_modal_retrieval(checkpoint_in_memory, EpochSequence(nights))
    with pytest.raises(CheckpointError, match="ppg: this checkpoint supports"):
        cross_modal_retrieval(checkpoint_in_memory, nights, modalities=["ibi", "ppg"])
    with pytest.raises(UnknownModalityError):
        cross_modal_retrieval(checkpoint_in_memory, nights, modalities=["ibi", "ekg"])
    for changed in ({"scopes": ["day"]}, {"n_candidates": 1}, {"temperature": 0}):
        with pytest.raises(ValueError, match=next(iter(changed))):
            cross_modal_retrieval(checkpoint_in_memory, nights, **changed)
    result = cross_modal_retrieval(checkpoint_in_memory, nights, scopes="night", **FAST)
    with pytest.raises(ValueError, match="accepted are"):
        result.matrix(scope="nights")


def test_encoder_without_projection_is_refused(checkpoint_in_memory, nights):
    config = dataclasses.replace(checkpoint_in_memory.config, projection=None)
    headless = dataclasses.replace(checkpoint_in_memory, config=config)
    with pytest.raises(CheckpointError, match="no projection head"):
        cross_modal_retrieval(headless, nights)
