# SPDX-License-Identifier: BSD-3-Clause
"""Encoded nights gathered into the rows of X."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._warnings import warn
from ..errors import RecordingWarning
from ..recordings.modality import EPOCH_SECONDS
from .cache import EncodedModality
from .inputs import EncoderInput

if TYPE_CHECKING:
    from ._engine import EncodedNight

__all__ = [
    "FUSIONS",
    "POOLINGS",
    "RowCollector",
    "RowSummary",
    "fuse",
    "n_around",
    "pool",
    "with_context",
]

_LINES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class RowSummary:
    """How the tokens of a night become its rows.

    Attributes
    ----------
    modalities : tuple of str
        In the order of their blocks.
    fusion, pooling : str
        See :class:`Sleep2VecTransformer`.
    n_around : int
        Epochs on either side whose mean stands beside an epoch's row; 0 for none.
    """

    modalities: tuple[str, ...]
    fusion: str
    pooling: str
    n_around: int = 0

    def __call__(self, night: EncodedNight, epochs: np.ndarray | None) -> np.ndarray:
        """Rows of these epochs, or the one row of the night if there are none."""
        if epochs is None and self.pooling == "cls":
            return fuse_summaries(night.modalities, self.modalities, self.fusion)
        tokens, valid = fuse(night.modalities, self.modalities, self.fusion)
        if epochs is None:
            return pool(tokens, valid, self.pooling)
        return with_context(tokens, epochs, self.n_around)


class RowCollector:
    """Fill the output array night by night, and remember what went wrong.

    Parameters
    ----------
    given : EncoderInput
        X.
    n_columns : int
        Width of the output.
    summary : RowSummary
        How tokens become rows.
    """

    def __init__(self, given: EncoderInput, n_columns: int, summary: RowSummary):
        self._given = given
        self._summary = summary
        self._sums = np.zeros((given.n_rows, n_columns), dtype=np.float32)
        self._counts = np.zeros((given.n_rows, 1), dtype=np.float32)
        self._failures: list[str] = list(given.unusable)
        self._left_out: list[str] = []

    def add(self, night: EncodedNight) -> None:
        """Take one night's result in."""
        if night.error is not None:
            self._failures.append(str(night.error))
            return
        derived = self._given.recordings[night.position].derived
        # beats that are not found in a lead are no sensor that is off
        off = [name for name in night.left_out if name not in derived]
        if off:
            self._left_out.append(f"{self._given.places[night.position]}: {', '.join(off)}")
        rows = self._given.rows[night.position]
        if night.rows is None:
            epochs = self._given.epochs
            wanted = None if epochs is None else epochs[night.position]
            self._sums[rows] += self._summary(night, wanted)
        else:
            self._sums[rows] += night.rows
        self._counts[rows] += 1

    def result(self) -> np.ndarray:
        """The rows, NaN where nothing could be encoded; warns of what was left out."""
        _warn(
            "could not be encoded; their rows are NaN unless another night fills them",
            self._failures,
        )
        _warn(
            "had a sensor that is flat or without samples, which counts as missing", self._left_out
        )
        with np.errstate(invalid="ignore"):
            return self._sums / self._counts


def _warn(what: str, lines: list[str]) -> None:
    if not lines:
        return
    shown = "\n  ".join(lines[:_LINES_SHOWN])
    more = f"\n  and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
    warn(f"{len(lines)} of the recordings {what}:\n  {shown}{more}", RecordingWarning)


FUSIONS = ("mean", "concat")
POOLINGS = ("mean", "mean_std", "max", "cls")
_FADE_EPOCHS = 20


def fuse(
    night: Mapping[str, EncodedModality], modalities: Sequence[str], fusion: str
) -> tuple[np.ndarray, np.ndarray]:
    """Combine the modalities of a night.

    Where an epoch has no modality at all, its row is a mean of the nearest rows before and after
    it, which fade over ten minutes, and of the night's mean row. What the network makes of a gap is
    unlike the rows of any signal, and a linear head is worse on it.

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


def n_around(minutes: float) -> int:
    """Epochs on either side within a window of so many minutes; 0 for none.

    Raises
    ------
    ValueError
        If it is no number of minutes.
    """
    is_number = isinstance(minutes, numbers.Real) and not isinstance(minutes, bool)
    if not is_number or not 0 <= minutes < np.inf:
        raise ValueError(f"context_minutes must be a number of minutes from 0 on, got {minutes!r}.")
    return int(minutes * 60 / EPOCH_SECONDS / 2)


def with_context(rows: np.ndarray, epochs: np.ndarray, n_around: int) -> np.ndarray:
    """Rows of these epochs, each followed by the mean over those at most ``n_around`` away.

    Parameters
    ----------
    rows : float32 ndarray of shape (n_epochs, width)
        Of the whole night; at its ends the window is shorter.
    epochs : int ndarray of shape (n,)
    n_around : int

    Returns
    -------
    float32 ndarray of shape (n, width), or (n, 2 * width) unless ``n_around`` is 0
    """
    if n_around == 0:
        return rows[epochs]
    sums = np.zeros((len(rows) + 1, rows.shape[1]))
    np.cumsum(rows, axis=0, dtype=np.float64, out=sums[1:])
    begin = np.maximum(epochs - n_around, 0)
    end = np.minimum(epochs + n_around + 1, len(rows))
    mean = (sums[end] - sums[begin]) / (end - begin)[:, None]
    return np.concatenate([rows[epochs], mean.astype(np.float32)], axis=1)
