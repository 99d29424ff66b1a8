# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import pytest
import torch

from sleep2vec_sklearn import Sleep2VecClassifier, Sleep2VecRegressor
from sleep2vec_sklearn.finetuning._network import Head
from sleep2vec_sklearn.finetuning.config import HeadConfig
from sleep2vec_sklearn.model import Sleep2Vec
from tests.finetuning.simple_nights import QUICK

MODALITIES = ("eeg", "spo2", "ibi")
N_EPOCHS, SIZE = 9, 16


@pytest.fixture
def classify(checkpoint_path):
    """Function of parameters: a quick classifier on a tiny encoder."""
    return lambda **parameters: Sleep2VecClassifier(checkpoint_path, **(QUICK | parameters))


@pytest.fixture
def regress(checkpoint_path):
    """Function of parameters: a quick regressor on a tiny encoder."""
    return lambda **parameters: Sleep2VecRegressor(checkpoint_path, **(QUICK | parameters))


@pytest.fixture
def draw():
    """Function of a shape: noise, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.fixture
def make_head():
    """Function of a head's options: a head in eval mode, all its parameters random."""

    def make(**options):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(1)
            head = Head(HeadConfig(SIZE, MODALITIES, 5, **options))
            for parameter in head.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        return head.eval()

    return make


@pytest.fixture
def night(draw):
    """Function of the number of layers: tokens, present, valid and summaries of two nights."""

    def make(n_layers=1):
        shape = (2, N_EPOCHS + 1, len(MODALITIES), n_layers, SIZE)
        states = draw(*shape) if n_layers > 1 else draw(*shape)[:, :, :, 0]
        present = torch.ones(2, N_EPOCHS, len(MODALITIES), dtype=torch.bool)
        return states[:, 1:], present, torch.ones(2, N_EPOCHS, dtype=torch.bool), states[:, 0]

    return make


@pytest.fixture
def make_encoder(small_config):
    """Function of changes to the small configuration: an encoder in eval mode."""

    def make(**changes):
        config = dataclasses.replace(small_config, **changes)
        return Sleep2Vec.from_seed(config, 3).eval()

    return make
