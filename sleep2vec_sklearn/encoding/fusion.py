# SPDX-License-Identifier: BSD-3-Clause
"""From tokens per modality to one row per epoch, and from epochs to one row per night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .cache import EncodedModality

__all__ = ["FUSIONS", "POOLINGS", "fuse", "pool"]

FUSIONS = ("mean", "concat")
POOLINGS = ("mean", "mean_std", "max", "cls")


def fuse(
    night: Mapping[str, EncodedModality], modalities: Sequence[str], fusion: str
) -> tuple[np.ndarray, np.ndarray]:
    """Combine the modalities of a night.

    Where an epoch has no modality at all, its row is what the network inferred from the epochs
    around it, averaged over the night's modalities.

    Parameters
    ----------
    night : mapping of str to EncodedModality
        At least one modality.
    modalities : sequence of str
        All modalities, in the order of their blocks.
    fusion : {"mean", "concat"}
        The mean over the modalities an epoch has; or one block per modality, a missing one
        filled with that mean.

    Returns
    -------
    rows : float32 ndarray of shape (n_epochs, width) or (n_epochs, n_modalities * width)
    valid : bool ndarray of shape (n_epochs,)
        Whether any modality is there.
    """
    present = [name for name in modalities if name in night]
    valid = np.stack([night[name].valid for name in present])
    anything = valid.any(axis=0)
    weights = np.where(anything, valid, True).astype(np.float32)
    weights /= weights.sum(axis=0)
    mean = np.zeros_like(night[present[0]].tokens)
    for name, weight in zip(present, weights, strict=True):
        mean += night[name].tokens * weight[:, None]
    if fusion == "mean":
        return mean, anything
    blocks = [
        np.where((night[name].valid | ~anything)[:, None], night[name].tokens, mean)
        if name in night
        else mean
        for name in modalities
    ]
    return np.concatenate(blocks, axis=1), anything


def pool(rows: np.ndarray, valid: np.ndarray, pooling: str) -> np.ndarray:
    """Summarise the valid epochs of a night.

    Parameters
    ----------
    rows : float32 ndarray of shape (n_epochs, width)
    valid : bool ndarray of shape (n_epochs,)
        At least one is True.
    pooling : {"mean", "mean_std", "max"}

    Returns
    -------
    float32 ndarray of shape (width,), twice as wide for "mean_std"
    """
    rows = rows[valid]
    if pooling == "max":
        return rows.max(axis=0)
    mean = rows.mean(axis=0, dtype=np.float64)
    if pooling == "mean":
        return mean.astype(np.float32)
    std = rows.std(axis=0, dtype=np.float64)
    return np.concatenate([mean, std]).astype(np.float32)


def fuse_summaries(
    night: Mapping[str, EncodedModality], modalities: Sequence[str], fusion: str
) -> np.ndarray:
    """Combine the CLS vectors of a night as :func:`fuse` does tokens."""
    present = [night[name].summary for name in modalities if name in night]
    mean = np.mean(present, axis=0, dtype=np.float32)
    if fusion == "mean":
        return mean
    return np.concatenate([night[n].summary if n in night else mean for n in modalities])
