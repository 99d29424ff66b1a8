# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sleep2vec_sklearn.model import (
    EncoderConfig,
    ModalityConfig,
    ProjectionConfig,
    TokenizerConfig,
)
from sleep2vec_sklearn.signals import MODALITIES

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture
def upstream():
    """Function of a tag: the upstream configuration, and arrays by name."""

    def load(tag):
        config = json.loads((PARITY / f"{tag}.json").read_text())
        with np.load(PARITY / f"{tag}.npz") as arrays:
            return config, {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    return load


@pytest.fixture
def state_of():
    """Function of such arrays: the upstream state dict in them."""

    def select(arrays):
        return {k.removeprefix("state/"): v for k, v in arrays.items() if k.startswith("state/")}

    return select


@pytest.fixture
def config():
    """A small encoder of our own kind: spectral tokenizers for eeg and spo2, sundial for ibi."""
    kinds = {"eeg": "spectral", "spo2": "spectral", "ibi": "sundial"}
    modalities = tuple(
        ModalityConfig(name, MODALITIES[name].conditioning, TokenizerConfig(kind, 24))
        for name, kind in kinds.items()
    )
    return EncoderConfig(
        modalities,
        hidden_size=32,
        n_layers=2,
        n_heads=4,
        intermediate_size=48,
        projection=ProjectionConfig(20, 8),
    )


@pytest.fixture
def with_cls(config):
    return dataclasses.replace(config, cls=True)
