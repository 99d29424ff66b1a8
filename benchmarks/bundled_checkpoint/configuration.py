# SPDX-License-Identifier: BSD-3-Clause
"""The architecture of ``sleep2vec-mini`` and the conditioning it was trained with."""

from __future__ import annotations

from dataclasses import replace

from sleep2vec_sklearn.model.config import (
    EncoderConfig,
    ModalityConfig,
    ProjectionConfig,
    TokenizerConfig,
)
from sleep2vec_sklearn.signals import EPOCH_SECONDS, MODALITIES

TOKEN_SIZE = 128


def mini_config(**changes) -> EncoderConfig:
    """Configuration of the bundled encoder; ``changes`` replace fields of it."""
    config = EncoderConfig(
        modalities=tuple(_modality(name) for name in MODALITIES),
        hidden_size=128,
        n_layers=4,
        n_heads=4,
        intermediate_size=512,
        # Masking regularises enough at this size, and dropout in attention doubles a step's time.
        dropout=0.0,
        projection=ProjectionConfig(hidden_size=128, out_size=64),
        context_epochs=120,
    )
    return replace(config, **changes)


def _modality(name: str) -> ModalityConfig:
    conditioning = MODALITIES[name].conditioning
    if name == "actigraphy":
        # Watches differ in how they count within 30 s, so the encoder sees one value an epoch.
        conditioning = replace(conditioning, rate=1 / EPOCH_SECONDS)
        return ModalityConfig(name, conditioning, TokenizerConfig("sundial", TOKEN_SIZE))
    return ModalityConfig(name, conditioning, TokenizerConfig("spectral", TOKEN_SIZE))
