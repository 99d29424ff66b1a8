# SPDX-License-Identifier: BSD-3-Clause
"""Centring: tokens relative to the mean of their night, inside its analysis window.

Subjects and sensors differ more than stages do, so that what tells the stages apart is how an epoch
differs from its night. A day at the same recorder would move that mean
(:mod:`~sleep2vec_sklearn.recordings._night_window`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..model.encoder import EncodedModality
from ..recordings._night_window import FEWEST_EPOCHS


def is_short(night: Mapping[str, EncodedModality], fewest: int = FEWEST_EPOCHS) -> bool:
    """Whether no sensor is on in enough epochs to have a mean."""
    return all(item.valid.sum() < fewest for item in night.values())


def night_centers(
    night: Mapping[str, EncodedModality], window: tuple[int, int], fewest: int = FEWEST_EPOCHS
) -> dict[str, np.ndarray] | None:
    """Mean token of each modality over its valid epochs in the window, [width]; None if too short.

    A modality that is off in the window has that of all its epochs.
    """
    if is_short(night, fewest):
        return None
    inside = slice(*window)
    centers = {}
    for name, item in night.items():
        valid = item.valid[inside]
        tokens = item.tokens[inside][valid] if valid.any() else item.tokens[item.valid]
        if len(tokens):
            centers[name] = tokens.mean(axis=0, dtype=np.float64).astype(np.float32)
    return centers


def centered_tokens(
    night: Mapping[str, EncodedModality], window: tuple[int, int] | None
) -> dict[str, np.ndarray]:
    """Tokens of each modality less their :func:`night_centers`; as they are in a short night."""
    centers = night_centers(night, window or (0, max(len(item.valid) for item in night.values())))
    if centers is None:
        return {name: item.tokens for name, item in night.items()}
    return {name: item.tokens - centers[name] for name, item in night.items()}
