# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import numpy as np
import pytest

from sleep2vec_sklearn.errors import CheckpointError, TrainingError
from sleep2vec_sklearn.model import EncoderConfig, TokenizerConfig
from sleep2vec_sklearn.training import NightStore, contents_of
from sleep2vec_sklearn.training.material import split_subjects

NAMES = ["effort", "spo2", "ibi"]


def split(store, validation, seed=0):
    return [nights.tolist() for nights in split_subjects(store, validation, seed, NAMES)]


def test_subjects_are_held_out_with_all_their_nights(montage_store):
    for validation, n_nights in ((0.1, 2), (0.5, 4), (2, 4), (0, 0), (None, 0)):
        train, held = split(montage_store, validation)
        assert sorted(train + held) == list(range(8))
        assert len(held) == n_nights
        assert {k // 2 for k in train}.isdisjoint({k // 2 for k in held})
    assert split(montage_store, ["s1", "s2"]) == [[0, 1, 6, 7], [2, 3, 4, 5]]


def test_who_is_held_out_follows_from_the_seed(montage_store):
    assert split(montage_store, 1, 5) == split(montage_store, 1, 5)
    assert len({tuple(split(montage_store, 1, seed)[1]) for seed in range(20)}) == 4


def test_who_cannot_be_measured_is_not_held_out(montage_store):
    store = montage_store.take(slice(None))
    missing = store.table.assign(coverage_effort=0)
    missing.loc[["n0", "n1", "n2", "n3"], "coverage_ibi"] = 0
    store.table = missing
    assert {night for seed in range(20) for night in split(store, 1, seed)[1]} == {4, 5, 6, 7}


def test_a_night_without_a_subject_is_its_own(montage_store):
    store = montage_store.take(slice(None))
    store.table = store.table.assign(subject=None)
    train, held = split(store, 3)
    assert (len(train), len(held)) == (5, 3)


def test_too_few_nights_to_train_on_are_refused(montage_store):
    with pytest.raises(TrainingError, match="holds out 4 of 4 subjects"):
        split(montage_store, 4)


def test_samples_are_trained_with_tokenizers_that_learn_from_them(pretrainer, montages):
    fitted = pretrainer(tokenizer="sundial", token_dim=4, dropout=0.1).fit(montages)
    tokenizer = fitted.encoder_config_.modalities[0].tokenizer
    assert tokenizer == TokenizerConfig("sundial", 4, {"dropout": 0.1})
    assert np.isfinite(fitted.score(montages))


def test_each_modality_may_have_its_tokenizer(pretrainer, montages):
    kinds = {"effort": "linear", "spo2": "spectral", "ibi": TokenizerConfig("sundial2", 99)}
    fitted = pretrainer(tokenizer=kinds, prediction=0.1).fit(montages)
    names = [m.tokenizer.name for m in fitted.encoder_config_.modalities]
    assert names == ["linear", "spectral", "sundial2"]
    assert fitted.encoder_config_.token_dim == 8


def test_a_store_of_samples_serves_spectral_tokenizers(pretrainer, montages, montage_store):
    config = pretrainer().fit(montage_store).encoder_config_
    store = NightStore.from_recordings(montages, contents_of(config, "samples"))
    stored = pretrainer().fit(store)
    given = pretrainer().fit(montages)
    for (one,), (other,) in zip(
        stored.history_[:, "batches", :1, "contrast"],
        given.history_[:, "batches", :1, "contrast"],
        strict=True,
    ):
        assert one == pytest.approx(other, rel=0.15)


def test_a_store_of_features_does_not_serve_others(pretrainer, montage_store):
    with pytest.raises(TrainingError, match="holds spectral features of 'effort'"):
        pretrainer(tokenizer="linear").fit(montage_store)


def test_an_architecture_is_taken_as_it_is(pretrainer, montages, small_config):
    config = dataclasses.replace(small_config, dropout=0.0, context_epochs=6, cls=True)
    fitted = pretrainer(init=config, hidden_size=64, modalities=["ibi", "spo2"]).fit(montages)
    assert isinstance(fitted.encoder_config_, EncoderConfig)
    assert fitted.encoder_config_ == config
    assert fitted.modalities_ == ("spo2", "ibi")


def test_a_store_conditioned_for_another_encoder_is_refused(
    pretrainer, montage_store, small_config
):
    other = tuple(
        dataclasses.replace(m, conditioning=dataclasses.replace(m.conditioning, clip=5.0))
        for m in small_config.modalities
    )
    config = dataclasses.replace(small_config, modalities=other)
    with pytest.raises(TrainingError, match="conditioned otherwise"):
        pretrainer(init=config).fit(montage_store)


def test_init_without_a_tokenizer_for_a_modality_says_so(pretrainer, montages, small_config):
    config = dataclasses.replace(small_config, modalities=small_config.modalities[-2:])
    with pytest.raises(CheckpointError, match="init reads ibi, actigraphy, not effort, spo2"):
        pretrainer(init=config, modalities=["effort", "spo2", "ibi"]).fit(montages)


def test_nights_are_drawn_by_their_weights(pretrainer, montages, montage_store):
    weights = np.where(np.arange(8) < 2, 0.0, 1.0)
    few = pretrainer(batch_size=2, objective="info_nce")
    by_weight = few.fit(montages, sample_weight=weights).checkpoint().sha256
    assert by_weight == few.fit(montage_store, sample_weight=weights).checkpoint().sha256
    assert by_weight != few.fit(montages).checkpoint().sha256


@pytest.mark.parametrize(
    "weights", [np.ones(7), -np.ones(8), np.full(8, np.nan), np.arange(8) == 3, np.ones((8, 1))]
)
def test_weights_that_cannot_be_are_refused(pretrainer, montages, weights):
    with pytest.raises(ValueError, match="sample_weight"):
        pretrainer().fit(montages, sample_weight=weights)
