# SPDX-License-Identifier: BSD-3-Clause
"""Training data: contents, weights and metadata of nights, and held-out subjects."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError, TrainingError
from sleep2vec_sklearn.model import TokenizerConfig
from sleep2vec_sklearn.pretraining import NightStore, contents_of
from sleep2vec_sklearn.pretraining._data import split_subjects

NAMES = ["effort", "spo2", "ibi"]


def test_samples_train_other_tokenizers(pretrainer, montages, montage_store):
    fitted = pretrainer(tokenizer="sundial", token_dim=4, dropout=0.1).fit(montages)
    tokenizer = fitted.encoder_config_.modalities[0].tokenizer
    assert tokenizer == TokenizerConfig("sundial", 4, {"dropout": 0.1})
    assert np.isfinite(fitted.score(montages))
    with pytest.raises(TrainingError, match="holds features of 'effort'"):
        pretrainer(tokenizer="linear").fit(montage_store)


def test_modalities_have_their_tokenizers(pretrainer, montages):
    kinds = {"effort": "linear", "spo2": "spectral", "ibi": TokenizerConfig("sundial2", 99)}
    fitted = pretrainer(tokenizer=kinds, reconstruction_weight=0.1).fit(montages)
    names = [m.tokenizer.name for m in fitted.encoder_config_.modalities]
    assert names == ["linear", "spectral", "sundial2"]
    assert fitted.encoder_config_.token_dim == 8


def test_samples_serve_spectral_tokenizers(pretrainer, montages, montage_store):
    config = pretrainer().fit(montage_store).encoder_config_
    store = NightStore.from_recordings(montages, contents_of(config, "samples"))
    of_store, of_nights = (
        np.ravel(pretrainer().fit(nights).history_[:, "batches", :1, "contrast"])
        for nights in (store, montages)
    )
    np.testing.assert_allclose(of_store, of_nights, rtol=0.15)


def test_architectures_lose_untrained_modalities(pretrainer, montages, small_config):
    config = dataclasses.replace(small_config, dropout=0.0, context_epochs=6, cls=True)
    fitted = pretrainer(encoder=config, modalities=["ibi", "spo2"]).fit(montages)
    kept = tuple(m for m in config.modalities if m.name in ("spo2", "ibi"))
    assert fitted.encoder_config_ == dataclasses.replace(config, modalities=kept)


def test_other_conditioning_is_refused(pretrainer, montages, montage_store, small_config):
    other = tuple(
        dataclasses.replace(m, conditioning=dataclasses.replace(m.conditioning, clip=5.0))
        for m in small_config.modalities
    )
    config = dataclasses.replace(small_config, modalities=other)
    told = r"conditioned otherwise than the encoder asks for: clip: 20.0 before, 5.0 now\."
    with pytest.raises(TrainingError, match=told):
        pretrainer(encoder=config).fit(montage_store)
    with pytest.raises(TrainingError, match=told):
        pretrainer(encoder=config).fit(montages).score(montage_store)


def test_sources_need_the_modalities(pretrainer, montages, small_config, montage_store):
    config = dataclasses.replace(small_config, modalities=small_config.modalities[-2:])
    with pytest.raises(CheckpointError, match="encoder reads ibi, actigraphy, not effort, spo2"):
        pretrainer(encoder=config, modalities=["effort", "spo2", "ibi"]).fit(montages)
    with pytest.raises(InvalidRecordingError, match="keeps effort, spo2, ibi, not eeg"):
        pretrainer(modalities=["eeg", "ibi"]).fit(montage_store)
    with pytest.raises(InvalidRecordingError, match=r"modalities names ibi\. Name another"):
        pretrainer(modalities="ibi").fit(montages)


def test_useless_tables_are_refused(pretrainer, montages, montage_store):
    with pytest.raises(InvalidRecordingError, match=r"must be a DataFrame .* got list"):
        pretrainer().fit(montages, [0, 1, 0, 1, 0, 1, 0, 1])
    twice = montage_store.table[["age", "age"]]
    for nights in (montages, montage_store):
        with pytest.raises(InvalidRecordingError, match="more than one column 'age'"):
            pretrainer().fit(nights, twice)
    shouted = pd.DataFrame({"AGE": 50.0, "SEX": "F"}, index=[night.id for night in montages])
    with pytest.raises(InvalidRecordingError, match="written so; its columns: 'AGE', 'SEX'"):
        pretrainer().fit(montages, shouted)


def test_nights_are_drawn_by_weight(pretrainer, montages, montage_store):
    weights = np.where(np.arange(8) < 2, 0.0, 1.0)
    few = pretrainer(batch_size=2, objective="info_nce")
    by_weight = few.fit(montages, sample_weight=weights).checkpoint().sha256
    assert by_weight == few.fit(montage_store, sample_weight=weights).checkpoint().sha256
    assert by_weight != few.fit(montages).checkpoint().sha256


@pytest.mark.parametrize(
    "weights",
    [np.ones(7), -np.ones(8), np.full(8, np.nan), np.arange(8) == 3, np.ones((8, 1)), "often"],
)
def test_wrong_weights_are_refused(pretrainer, montages, weights):
    with pytest.raises(ValueError, match="sample_weight"):
        pretrainer().fit(montages, sample_weight=weights)


def test_weights_must_leave_nights(pretrainer, montages):
    with pytest.raises(TrainingError, match="sample_weight leaves 0 nights to train on"):
        pretrainer().fit(montages, sample_weight=[0] * 6 + [1, 1])


def split(store, validation, seed=0):
    subjects = store.table["subject"].tolist()
    return [nights.tolist() for nights in split_subjects(store, subjects, validation, seed, NAMES)]


def test_subjects_are_held_out_whole(montage_store):
    for validation, n_nights in ((0.1, 2), (0.5, 4), (2, 4), (0, 0), (None, 0)):
        train, held = split(montage_store, validation)
        assert sorted(train + held) == list(range(8))
        assert len(held) == n_nights
        assert {k // 2 for k in train}.isdisjoint({k // 2 for k in held})
    assert split(montage_store, ["s1", "s2"]) == [[0, 1, 6, 7], [2, 3, 4, 5]]
    assert split(montage_store, 1, 5) == split(montage_store, 1, 5)
    assert len({tuple(split(montage_store, 1, seed)[1]) for seed in range(20)}) == 4


def test_unmeasurable_subjects_train(montage_store):
    store = montage_store.take(slice(None))
    missing = store.table.assign(coverage_effort=0)
    missing.loc[["n0", "n1", "n2", "n3"], "coverage_ibi"] = 0
    store.table = missing
    assert {night for seed in range(20) for night in split(store, 1, seed)[1]} == {4, 5, 6, 7}


def test_nights_without_subject_stand_alone(montage_store):
    store = montage_store.take(slice(None))
    store.table = store.table.assign(subject=None)
    train, held = split(store, 3)
    assert (len(train), len(held)) == (5, 3)


def test_too_few_nights_are_refused(montage_store):
    with pytest.raises(TrainingError, match="holds out 4 of 4 subjects"):
        split(montage_store, 4)
    with pytest.raises(TrainingError, match=r"^1 nights to train on; two at least"):
        split(montage_store.take([0]), 0)
