# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError, TrainingError
from sleep2vec_sklearn.model import TokenizerConfig
from sleep2vec_sklearn.pretraining import NightStore, contents_of


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


def test_an_architecture_is_taken_with_the_modalities_trained(pretrainer, montages, small_config):
    config = dataclasses.replace(small_config, dropout=0.0, context_epochs=6, cls=True)
    fitted = pretrainer(init=config, hidden_size=64, modalities=["ibi", "spo2"]).fit(montages)
    kept = tuple(m for m in config.modalities if m.name in ("spo2", "ibi"))
    assert fitted.encoder_config_ == dataclasses.replace(config, modalities=kept)


def test_a_store_conditioned_for_another_encoder_is_refused(
    pretrainer, montages, montage_store, small_config
):
    other = tuple(
        dataclasses.replace(m, conditioning=dataclasses.replace(m.conditioning, clip=5.0))
        for m in small_config.modalities
    )
    config = dataclasses.replace(small_config, modalities=other)
    told = r"conditioned otherwise than the encoder asks for: clip 20.0 and not 5.0\."
    with pytest.raises(TrainingError, match=told):
        pretrainer(init=config).fit(montage_store)
    with pytest.raises(TrainingError, match=told):
        pretrainer(init=config).fit(montages).score(montage_store)


def test_init_without_a_tokenizer_for_a_modality_says_so(pretrainer, montages, small_config):
    config = dataclasses.replace(small_config, modalities=small_config.modalities[-2:])
    with pytest.raises(CheckpointError, match="init reads ibi, actigraphy, not effort, spo2"):
        pretrainer(init=config, modalities=["effort", "spo2", "ibi"]).fit(montages)


def test_a_store_without_a_modality_asked_for_says_so(pretrainer, montage_store):
    with pytest.raises(InvalidRecordingError, match="keeps effort, spo2, ibi, not eeg"):
        pretrainer(modalities=["eeg", "ibi"]).fit(montage_store)


def test_metadata_are_a_table(pretrainer, montages):
    with pytest.raises(InvalidRecordingError, match=r"must be a DataFrame .* got list"):
        pretrainer().fit(montages, [0, 1, 0, 1, 0, 1, 0, 1])


def test_nights_are_drawn_by_their_weights(pretrainer, montages, montage_store):
    weights = np.where(np.arange(8) < 2, 0.0, 1.0)
    few = pretrainer(batch_size=2, objective="info_nce")
    by_weight = few.fit(montages, sample_weight=weights).checkpoint().sha256
    assert by_weight == few.fit(montage_store, sample_weight=weights).checkpoint().sha256
    assert by_weight != few.fit(montages).checkpoint().sha256


@pytest.mark.parametrize(
    "weights",
    [np.ones(7), -np.ones(8), np.full(8, np.nan), np.arange(8) == 3, np.ones((8, 1)), "often"],
)
def test_weights_that_cannot_be_are_refused(pretrainer, montages, weights):
    with pytest.raises(ValueError, match="sample_weight"):
        pretrainer().fit(montages, sample_weight=weights)


def test_weights_that_leave_nobody_to_train_on_are_told_apart_from_pairs(pretrainer, montages):
    with pytest.raises(TrainingError, match="sample_weight leaves 0 nights to train on"):
        pretrainer().fit(montages, sample_weight=[0] * 6 + [1, 1])


def test_a_column_of_metadata_that_comes_twice_is_refused(pretrainer, montages, montage_store):
    twice = montage_store.table[["age", "age"]]
    for nights in (montages, montage_store):
        with pytest.raises(InvalidRecordingError, match="more than one column 'age'"):
            pretrainer().fit(nights, twice)


def test_a_table_that_says_nothing_of_the_sleepers_is_refused(pretrainer, montages):
    shouted = pd.DataFrame({"AGE": 50.0, "SEX": "F"}, index=[night.id for night in montages])
    with pytest.raises(InvalidRecordingError, match="written so; its columns: 'AGE', 'SEX'"):
        pretrainer().fit(montages, shouted)


def test_too_few_modalities_asked_for_are_no_fault_of_the_nights(pretrainer, montages):
    with pytest.raises(InvalidRecordingError, match=r"modalities names ibi\. Name another"):
        pretrainer(modalities="ibi").fit(montages)
