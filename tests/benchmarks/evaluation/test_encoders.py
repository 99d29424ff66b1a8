# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import torch

from benchmarks.evaluation.questions import encoder_features, random_twin, with_time
from sleep2vec_sklearn import EpochSequence


def test_encoder_features_split_by_night(checkpoint_in_memory, cohort, embed):
    blocks = encoder_features(checkpoint_in_memory, cache=None)(cohort[:3])
    assert [len(block) for block in blocks] == [night.n_epochs for night in cohort[:3]]
    np.testing.assert_array_equal(blocks[1], embed(EpochSequence(cohort[1:2])))


def test_time_of_night_is_added(checkpoint_in_memory, cohort):
    make = encoder_features(checkpoint_in_memory, cache=None)
    alone, beside = make(cohort[:2]), with_time(make)(cohort[:2])
    for rows, more in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(more[:, : rows.shape[1]], rows)
        assert (np.diff(more[:, rows.shape[1]]) > 0).all()
        assert more[0, rows.shape[1]] < 0.01


def test_random_twin_shares_statistics_only(checkpoint_in_memory):
    twin = random_twin(checkpoint_in_memory)
    assert twin.config == checkpoint_in_memory.config
    assert twin.sha256 != checkpoint_in_memory.sha256
    key = "tokenizers.eeg.feature_std"
    assert torch.equal(twin.state[key], checkpoint_in_memory.state[key])
    key = "encoder.blocks.0.feed_in.weight"
    assert not torch.equal(twin.state[key], checkpoint_in_memory.state[key])
    assert random_twin(checkpoint_in_memory).sha256 == twin.sha256
    assert random_twin(checkpoint_in_memory, seed=1).sha256 != twin.sha256
