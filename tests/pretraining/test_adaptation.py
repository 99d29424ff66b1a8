# SPDX-License-Identifier: BSD-3-Clause
"""A new modality for a trained encoder."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skorch.callbacks import Callback

from sleep2vec_sklearn import Sleep2VecTransformer, load_checkpoint
from sleep2vec_sklearn.errors import CheckpointError, TrainingError, UnknownModalityError
from sleep2vec_sklearn.model.config import TokenizerConfig
from sleep2vec_sklearn.pretraining import PairSchedule, adapt_modality, add_modality
from sleep2vec_sklearn.pretraining._sampling import resolve_pair_weights
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, MODALITIES
from tests.pretraining.nights import TINY, tiny_pretrainer

# some epoch of each window is masked, so that the mask embeddings learn
RUN = {name: TINY[name] for name in ("batch_size", "max_epochs", "validation", "precision")}
RUN |= {"steps_per_epoch": 8, "augmentation__mask_ratio": 0.3, "random_state": 0}
OLD, NEW = ("spo2", "ibi"), ("effort",)
PAIRS = [("effort", "spo2"), ("effort", "ibi"), ("spo2", "ibi")]


@pytest.fixture(scope="module")
def encoder(montages):
    return tiny_pretrainer(OLD).fit(montages).checkpoint()


@pytest.fixture(scope="module")
def adapted(encoder, montage_store):
    return adapt_modality(encoder, montage_store, "effort", **RUN)


def changed(before, after):
    """Names of the weights that differ."""
    return {name for name, old in before.state.items() if not torch.equal(old, after.state[name])}


def rows_of(checkpoint, montages, *names):
    return Sleep2VecTransformer(checkpoint, modalities=names).fit_transform(montages)


def test_stage_one_trains_new_parts(adapted, encoder, montages):
    first = adapted.stage1.checkpoint()
    found = changed(adapted.start, first)
    assert "masks.effort" in found
    assert found == {name for name in first.state if name.split(".")[1] == "effort"}
    for names in (("spo2",), ("ibi",), OLD):
        rows = [rows_of(checkpoint, montages, *names) for checkpoint in (first, encoder)]
        np.testing.assert_array_equal(*rows)


def test_stage_two_scales_rates(adapted):
    scales = adapted.stage2.optimizer.lr_scales
    assert (scales["encoder"], scales["effort"]) == (0.1, 1.0)
    assert {scales[part] for part in (*OLD, "projection", "input_projection")} == {0.5}
    groups = adapted.stage2.net_.optimizer_.param_groups
    rate = adapted.stage2.history_[-1, "batches", -1, "lr"]
    assert {round(g["lr"] / rate, 9) for g in groups} == {1.0, 0.5, 0.1}
    kept = set(adapted.start.state) - changed(adapted.stage1.checkpoint(), adapted.checkpoint())
    assert all("feature_" in name for name in kept)


def test_pairs_come_by_the_schedule(encoder, montage_store):
    stages = [(0.5, 1.0), (1.0, 0.0)]
    adapted = adapt_modality(encoder, montage_store, "effort", schedule=stages, **RUN)
    new = {"effort-spo2", "effort-ibi"}
    assert set(adapted.stage1.history_[:, "batches", :, "pair"][0]) <= new
    first, last = adapted.stage2.history_[:, "batches", :, "pair"]
    assert set(first) <= new
    assert set(last) == {"spo2-ibi"}


def test_authors_schedule_is_the_default(adapted):
    schedule = adapted.stage2.pair_weights
    assert schedule.stages == ((0.25, 1.0), (0.5, 0.7), (0.75, 0.5), (1.0, 0.0))
    shares = resolve_pair_weights(PAIRS, schedule)
    np.testing.assert_allclose(shares(0.0), [0.5, 0.5, 0])
    np.testing.assert_allclose(shares(0.3), [0.35, 0.35, 0.3])
    np.testing.assert_allclose(shares(0.5), [0.25, 0.25, 0.5])
    np.testing.assert_allclose(shares(0.9), [0, 0, 1])


@given(n_new=st.integers(1, 3), n_old=st.integers(1, 4), share=st.floats(0, 1))
def test_new_pairs_have_their_share(n_new, n_old, share):
    new = tuple(f"new{k}" for k in range(n_new))
    pairs = list(combinations([*(f"old{k}" for k in range(n_old)), *new], 2))
    ((_, shares),) = PairSchedule(new, ((1.0, share),))(pairs)
    touching = [value for pair, value in shares.items() if set(pair) & set(new)]
    wanted = share if len(touching) < len(pairs) else 1.0
    assert sum(touching) == pytest.approx(wanted)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(touching) == min(touching)


@pytest.mark.parametrize(
    "stages", [(), ((0.5, 1), (0.5, 1)), ((0, 1),), ((1.5, 1),), ((1, 1.1),), ((1, -0.1),)]
)
def test_wrong_schedules_are_refused(stages):
    with pytest.raises(ValueError, match=r"rising shares|from 0 to 1"):
        PairSchedule(NEW, stages)


def test_saved_adaptations_transform(adapted, encoder, montages, tmp_path):
    sha256 = adapted.save(tmp_path / "adapted.safetensors", card={"name": "with effort"})
    loaded = load_checkpoint(tmp_path / "adapted.safetensors")
    assert loaded.sha256 == sha256 == adapted.checkpoint().sha256
    assert loaded.config.context_epochs == encoder.config.context_epochs
    rows = rows_of(loaded, montages, "effort", *OLD)
    assert np.isfinite(rows).all()
    told = loaded.card["adaptation"]
    assert (loaded.card["name"], told["new_modalities"]) == ("with effort", ["effort"])
    assert told["card_before"]["training_data"]["recordings"] == 6


def test_stopped_adaptations_resume(adapted, encoder, montage_store, tmp_path):
    class Stopped(Exception):
        pass

    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise Stopped

    arguments = (encoder, montage_store, "effort")
    settings = {**RUN, "save_every": 3, "state_dir": tmp_path}
    for stage in ("stage1", "stage2"):
        with pytest.raises(Stopped):
            adapt_modality(*arguments, **settings, **{stage: {"callbacks": [Stop()]}})
        assert (tmp_path / stage / "state.pt").exists()
    for _ in range(2):
        resumed = adapt_modality(*arguments, **settings)
        assert resumed.checkpoint().sha256 == adapted.checkpoint().sha256
    assert len(resumed.stage2.history_) == RUN["max_epochs"]


def test_stages_hold_out_alike(encoder, montages):
    settings = {**RUN, "validation": 1, "random_state": None, "batch_size": 2}
    adapted = adapt_modality(encoder, montages, "effort", **settings)
    assert adapted.stage1.seed_ == adapted.stage2.seed_
    cards = [stage.checkpoint().card for stage in (adapted.stage1, adapted.stage2)]
    for card in cards:
        # stage 1 draws new pairs alone
        del card["training_data"]["recordings_by_pair"]
    assert cards[0]["training_data"] == cards[1]["training_data"]


def test_one_stage_may_do(encoder, montage_store):
    adapted = adapt_modality(encoder, montage_store, "effort", n_stages=1, **RUN)
    assert adapted.stage2 is None
    assert adapted.checkpoint().sha256 == adapted.stage1.checkpoint().sha256
    adapted = adapt_modality(encoder, montage_store, "ibi", n_stages=1, **RUN)
    assert adapted.start is encoder
    parts = {name.split(".")[1] for name in changed(encoder, adapted.checkpoint())}
    assert parts == {"ibi"}


def test_stage_one_may_train_projection(encoder, montage_store):
    scales = {"optimizer__lr_scales": {"projection": 1.0}}
    adapted = adapt_modality(encoder, montage_store, "effort", n_stages=1, stage1=scales, **RUN)
    parts = {name.split(".")[0] for name in changed(adapted.start, adapted.checkpoint())}
    assert parts == {"tokenizers", "masks", "projection"}


def test_several_modalities_at_once(montages):
    one = add_modality(tiny_pretrainer(OLD).fit(montages).checkpoint(), "effort")
    both = [night for night in montages if "effort" in night]
    adapted = adapt_modality(one, both, ["effort", "spo2"], n_stages=1, **RUN)
    assert adapted.new_modalities == ("effort", "spo2")
    assert set(adapted.stage1.history_[-1, "batches", :, "pair"]) <= {"-".join(p) for p in PAIRS}


def test_nights_need_a_pair(encoder, montages):
    without = [night.without("effort") for night in montages]
    with pytest.raises(TrainingError, match="no recording has effort; found spo2, ibi"):
        adapt_modality(encoder, without, "effort", **RUN)
    apart = [
        night.without("spo2", "ibi") if k % 2 and "effort" in night else night.without("effort")
        for k, night in enumerate(montages)
    ]
    with pytest.raises(TrainingError, match=r"have effort together with another.*spo2-ibi"):
        adapt_modality(encoder, apart, "effort", **RUN)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [({"new_modalities": "temperature"}, UnknownModalityError, "temperature"),
     ({"new_modalities": OLD}, CheckpointError, "nothing but what is to be adapted"),
     ({"n_stages": 3}, ValueError, "n_stages must be 1 or 2"),
     ({"schedule": ((1.0, 2.0),)}, ValueError, "from 0 to 1"),
     ({"stage2": {"optimizer__lr": 0}}, ValueError, "lr"),
     ({"stage2": {"optimizer__lr_scales": {"head": 1}}}, ValueError, "no part head"),
     ({"encoder": "sleep2vec-mini"}, TypeError, "the checkpoint"),
     ({"colour": 1}, TypeError, "colour")],
)  # fmt: skip
def test_wrong_arguments_are_refused_first(encoder, wrong, error, message):
    with pytest.raises(error, match=message):
        adapt_modality(encoder, None, **{"new_modalities": "effort", **RUN, **wrong})


def test_adding_keeps_the_rest(encoder, montages):
    wide = add_modality(encoder, "effort")
    assert wide.config.names == ("spo2", "ibi", "effort")
    assert all(torch.equal(wide.state[name], tensor) for name, tensor in encoder.state.items())
    new = set(wide.state) - set(encoder.state)
    assert all(name.startswith(("tokenizers.effort.", "masks.effort")) for name in new)
    rows = [rows_of(checkpoint, montages, *OLD) for checkpoint in (encoder, wide)]
    np.testing.assert_array_equal(*rows)
    assert np.isfinite(rows_of(wide, montages[:2], "effort")).all()


def test_added_weights_follow_the_seed(encoder):
    first, same, other = (add_modality(encoder, "effort", seed=seed) for seed in (0, 0, 1))
    assert first.sha256 == same.sha256 != other.sha256
    assert first.card["added_modalities"] == [{"name": "effort", "seed": 0}]


def test_added_tokenizers_follow_the_encoder(encoder):
    slow = replace(MODALITIES["actigraphy"].conditioning, rate=1 / EPOCH_SECONDS)
    kinds = [
        add_modality(encoder, *arguments, **options).config.modalities[-1].tokenizer
        for arguments, options in (
            (("effort",), {}),
            (("actigraphy",), {"conditioning": slow}),
            (("effort",), {"tokenizer": "linear"}),
            (("effort",), {"tokenizer": TokenizerConfig("sundial", 99, {"dropout": 0.3})}),
        )
    ]
    assert [kind.name for kind in kinds] == ["spectral", "sundial", "linear", "sundial"]
    assert {kind.out_dim for kind in kinds} == {encoder.config.token_dim}
    assert kinds[3].option("dropout") == 0.3


def test_wrong_additions_are_refused(encoder):
    with pytest.raises(CheckpointError, match="reads 'ibi' already"):
        add_modality(encoder, "ibi")
    with pytest.raises(UnknownModalityError, match="temperature"):
        add_modality(encoder, "temperature")
    with pytest.raises(ValueError, match="unknown tokenizer 'wavelet'"):
        add_modality(encoder, "effort", tokenizer="wavelet")
