# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sleep2vec_sklearn.model import EncoderConfig, ModalityConfig, ProjectionConfig, TokenizerConfig
from sleep2vec_sklearn.recordings import MODALITIES

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
    return EncoderConfig(modalities, 32, 2, 4, 48, projection=ProjectionConfig(20, 8))


@pytest.fixture
def with_cls(config):
    return dataclasses.replace(config, cls=True)


@pytest.fixture
def as_module():
    """Function of one network's upstream state: a whole training module's, average and all."""

    def build(state, finetuned=False):
        def untouched(key, value):
            name = key.rsplit(".", 1)[-1]
            if name in ("running_mean", "running_var", "num_batches_tracked"):
                return torch.full_like(value, name == "running_var")
            return value.clone()

        module = {f"model.{k}": v + 1 if v.is_floating_point() else v for k, v in state.items()}
        for key, value in state.items():
            if untouched(key, value).ne(value).any():
                module[f"model.{key}"] = value
        module |= {f"ema_model.{key}": untouched(key, value) for key, value in state.items()}
        twice = {k: module[f"model.{k}"] for k in state if k.startswith("backbone.")}
        return {**module, **twice} if finetuned else module

    return build


@pytest.fixture
def write_ckpt(tmp_path):
    """Function of a state dict and a configuration: a file as Lightning writes it."""

    def write(state, document=None, name="last.ckpt", **entries):
        content = {"epoch": 1, "global_step": 12, "state_dict": state, "loops": {}}
        if document is not None:
            content["model_config"] = document["model"]
        if "finetune" in (document or {}):
            content["finetune_config"] = document["finetune"]
        torch.save({**content, **entries}, tmp_path / name)
        return tmp_path / name

    return write
