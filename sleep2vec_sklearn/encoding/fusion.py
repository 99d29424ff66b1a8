# SPDX-License-Identifier: BSD-3-Clause
"""From tokens per modality to one row per epoch, and from epochs to one row per night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .cache import EncodedModality

__all__ = ["FUSIONS", "POOLINGS", "fuse", "pool"]

FUSIONS = ("mean", "concat")
POOLINGS = ("mean", "mean_std", "max", "cls")
_FADE_EPOCHS = 20


def fuse(
    night: Mapping[str, EncodedModality], modalities: Sequence[str], fusion: str
) -> tuple[np.ndarray, np.ndarray]:
    """Combine the modalities of a night.

    Where an epoch has no modality at all, its row is a mean of the nearest rows before and after
    it, which fade over ten minutes, and of the night's mean row. What the network makes of a gap is
    unlike the rows of any signal, and a linear head is worse on it as long as no more than half of
    the night is lost (``benchmarks/lost_sensors.py``).

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
    weights = valid.astype(np.float32)
    weights /= np.maximum(weights.sum(axis=0), 1)
    mean = np.zeros_like(night[present[0]].tokens)
    for name, weight in zip(present, weights, strict=True):
        mean += night[name].tokens * weight[:, None]
    if fusion == "mean":
        return _fill_gaps(mean, anything), anything
    blocks = [
        np.where(night[name].valid[:, None], night[name].tokens, mean) if name in night else mean
        for name in modalities
    ]
    return _fill_gaps(np.concatenate(blocks, axis=1), anything), anything


def _fill_gaps(rows: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Give the epochs without a signal a row that is like those of the night; in place."""
    gaps, places = np.flatnonzero(~measured), np.flatnonzero(measured)
    if len(gaps) == 0:
        return rows
    after = np.searchsorted(places, gaps)
    filled = np.zeros((len(gaps), rows.shape[1]), dtype=rows.dtype)
    total = np.zeros((len(gaps), 1), dtype=rows.dtype)
    for neighbour, exists in ((after - 1, after > 0), (after, after < len(places))):
        neighbour = places[np.clip(neighbour, 0, len(places) - 1)]
        weight = exists * np.exp(-np.abs(neighbour - gaps) / _FADE_EPOCHS)
        weight = weight.astype(rows.dtype)[:, None]
        filled += weight * rows[neighbour]
        total += weight
    rest = np.maximum(1 - total, 0)
    rows[gaps] = (filled + rest * rows[places].mean(axis=0)) / (total + rest)
    return rows


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
