# SPDX-License-Identifier: BSD-3-Clause
"""Golden values of the authors' implementation, on random weights (float32, CPU)."""

import pytest
import torch

from sleep2vec_sklearn.model import Sleep2Vec, config_from_upstream, state_from_upstream
from sleep2vec_sklearn.recordings import MODALITIES

TAGS = ("tokens", "cls", "sundial2", "linear")
NAMES = {modality.upstream_key: modality.name for modality in MODALITIES.values()}


class Golden:
    def __init__(self, document, arrays, state):
        config = config_from_upstream(document)
        self.network = Sleep2Vec.from_state(config, state_from_upstream(state, config))
        self.arrays = arrays
        self.keys = [channel["name"] for channel in document["model"]["channels"]]
        self.valid = torch.arange(12)[None] < arrays["inputs/length"][:, None]

    def tokens(self, key, masked=False):
        missing = self.arrays[f"inputs/mlm_mask/{key}"] if masked else None
        return self.network.tokenize(NAMES[key], self.arrays[f"inputs/tokens/{key}"], missing)

    def assert_close(self, found, name):
        torch.testing.assert_close(found, self.arrays[f"outputs/{name}"], rtol=0, atol=1e-5)


@pytest.fixture(params=TAGS)
def golden(request, upstream, state_of):
    document, arrays = upstream(request.param)
    with torch.no_grad():
        yield Golden(document, arrays, state_of(arrays))


def test_token_embeddings(golden):
    for key in golden.keys:
        golden.assert_close(golden.tokens(key), f"token_embedding/{key}")


def test_hidden_states(golden):
    for key in golden.keys:
        for layer, state in enumerate(
            golden.network.hidden_states(golden.tokens(key), golden.valid)
        ):
            golden.assert_close(state, f"hidden_state_{layer}/{key}")


def test_projected_output(golden):
    for key in golden.keys:
        hidden = golden.network.encode(golden.tokens(key), golden.valid)
        golden.assert_close(golden.network.project(hidden), f"projected/{key}")
        hidden = golden.network.encode(golden.tokens(key, masked=True), golden.valid)
        golden.assert_close(hidden, f"masked_hidden/{key}")
        golden.assert_close(golden.network.project(hidden), f"masked_projected/{key}")


def test_batch_norm_in_training(golden):
    hidden = golden.network.encode(golden.tokens("heartbeat"), golden.valid)
    golden.network.projection.train()
    golden.assert_close(golden.network.project(hidden), "projected_trainbn/heartbeat")
    norm = golden.network.projection.hidden_norm
    golden.assert_close(norm.running_mean, "bn1_running_mean_after")
    golden.assert_close(norm.running_var, "bn1_running_var_after")


def test_rotary_table(upstream, state_of):
    table = state_of(upstream("tokens")[1])["encoder.encoder.embed_positions.weight"]
    config = config_from_upstream(upstream("tokens")[0])
    turns = Sleep2Vec.from_seed(config, 0).encoder.rotary(len(table), torch.device("cpu"))
    found = torch.cat([turns.imag, turns.real], dim=1)
    torch.testing.assert_close(found, table, rtol=0, atol=1e-6)
