# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import pytest
import torch

from sleep2vec_sklearn.model import TokenizerConfig
from tests.training import steps
from tests.training.ranks import Ranks


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    ranks = Ranks(tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.close()


@pytest.fixture(scope="module")
def config(small_config):
    """A network without dropout, whose draws would differ from those of one process."""
    tokenizer = TokenizerConfig("spectral", 24, {"dropout": 0.0})
    modalities = tuple(dataclasses.replace(m, tokenizer=tokenizer) for m in small_config.modalities)
    return dataclasses.replace(small_config, modalities=modalities, dropout=0.0)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("n_rows", [6, 5])
def test_a_step_is_that_of_one_process(two_ranks, config, n_rows, padded):
    request = config, ("eeg", "ibi"), n_rows, padded
    expected = steps.network_step(*request)
    for found in two_ranks(steps.network_step, *request):
        assert set(found) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=3e-6)
