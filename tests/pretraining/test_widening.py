# SPDX-License-Identifier: BSD-3-Clause
from dataclasses import replace

import numpy as np
import pytest
import torch

from sleep2vec_sklearn import Sleep2VecTransformer
from sleep2vec_sklearn.errors import CheckpointError, UnknownModalityError
from sleep2vec_sklearn.model.config import TokenizerConfig
from sleep2vec_sklearn.pretraining import add_modality
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, MODALITIES


@pytest.fixture(scope="module")
def encoder(montage_store):
    from sleep2vec_sklearn import Sleep2VecPretrainer
    from tests.pretraining.nights import TINY

    return Sleep2VecPretrainer(["spo2", "ibi"], **TINY).fit(montage_store).checkpoint()


def test_what_was_there_stays_the_same_to_the_bit(encoder, montages):
    wide = add_modality(encoder, "effort")
    assert wide.config.names == ("spo2", "ibi", "effort")
    assert all(torch.equal(wide.state[name], tensor) for name, tensor in encoder.state.items())
    new = set(wide.state) - set(encoder.state)
    assert all(name.startswith(("tokenizers.effort.", "masks.effort")) for name in new)
    rows = [
        Sleep2VecTransformer(c, modalities=("spo2", "ibi")).fit_transform(montages)
        for c in (encoder, wide)
    ]
    np.testing.assert_array_equal(*rows)


def test_a_new_modality_can_be_read_before_it_is_trained(encoder, montages):
    wide = add_modality(encoder, "effort")
    rows = Sleep2VecTransformer(wide, modalities=("effort",)).fit_transform(montages[:2])
    assert np.isfinite(rows).all()


def test_its_first_weights_follow_from_the_seed(encoder):
    first, same, other = (add_modality(encoder, "effort", seed=seed) for seed in (0, 0, 1))
    assert first.sha256 == same.sha256 != other.sha256
    assert first.card["added_modalities"] == [{"name": "effort", "seed": 0}]


def test_the_tokenizer_is_of_the_encoders_kind_where_the_rate_allows(encoder):
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


def test_a_modality_of_the_encoder_or_of_no_catalogue_is_refused(encoder):
    with pytest.raises(CheckpointError, match="reads 'ibi' already"):
        add_modality(encoder, "ibi")
    with pytest.raises(UnknownModalityError, match="temperature"):
        add_modality(encoder, "temperature")
    with pytest.raises(ValueError, match="unknown tokenizer 'wavelet'"):
        add_modality(encoder, "effort", tokenizer="wavelet")
