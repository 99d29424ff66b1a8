# SPDX-License-Identifier: BSD-3-Clause
"""The architecture of ``sleep2vec-mini``, its conditioning, and how it is trained."""

from __future__ import annotations

from dataclasses import replace

from sleep2vec_sklearn import Sleep2VecPretrainer
from sleep2vec_sklearn.model.config import (
    EncoderConfig,
    ModalityConfig,
    ProjectionConfig,
    TokenizerConfig,
)
from sleep2vec_sklearn.pretraining import AdamW, Augmentation, InfoNCEObjective
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, MODALITIES

TOKEN_SIZE = 128
STEPS = 1800
REAL_SHARE = 0.4
WEARABLE = {"ibi", "actigraphy"}


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
        context_epochs=240,
    )
    return replace(config, **changes)


def make_pretrainer(seed: int, state_dir, steps: int | None = None) -> Sleep2VecPretrainer:
    """The estimator that made the bundled encoder."""
    config = mini_config()
    return Sleep2VecPretrainer(
        encoder=config,
        context_epochs=config.context_epochs,
        objective=InfoNCEObjective(reconstruction_weight=1.0),
        augmentation=Augmentation(modality_dropout=0.3, max_shift=60, noise=0.2, offset=0.2),
        pair_weights=wearable_shares,
        optimizer=AdamW(ema_decay=0.998),
        batch_size=32,
        max_epochs=1,
        steps_per_epoch=steps or STEPS,
        precision="bfloat16",
        validation=None,
        random_state=seed,
        state_dir=state_dir,
        verbose=1,
    )


def wearable_shares(pairs) -> dict[tuple[str, str], float]:
    """Pairs with a sensor of a watch twice as often as others, the pair of a watch eight times.

    Those are the sensors of which there are real nights.
    """
    return {pair: (1.0, 2.0, 8.0)[len(WEARABLE & set(pair))] for pair in pairs}


def _modality(name: str) -> ModalityConfig:
    conditioning = MODALITIES[name].conditioning
    if name == "actigraphy":
        # Watches differ in how they count within 30 s, so the encoder sees one value an epoch.
        conditioning = replace(conditioning, rate=1 / EPOCH_SECONDS)
        return ModalityConfig(name, conditioning, TokenizerConfig("sundial", TOKEN_SIZE))
    return ModalityConfig(name, conditioning, TokenizerConfig("spectral", TOKEN_SIZE))
