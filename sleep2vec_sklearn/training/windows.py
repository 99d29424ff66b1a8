# SPDX-License-Identifier: BSD-3-Clause
"""A batch: windows of the same nights as two modalities saw them, and what is hidden of either."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

__all__ = ["PairBatch", "View", "cut_valid", "cut_view", "draw_losses", "draw_masks"]

_SHORTEST_LOSS = 8


@dataclass(frozen=True, slots=True)
class View:
    """Windows of one modality.

    Attributes
    ----------
    name : str
        The modality.
    values : Tensor of shape [b, L, width]
        Samples or features of this process's rows of the batch.
    valid : bool Tensor of shape [B, L]
        Where the night has a signal; of all rows of the batch, as are the next two.
    lost : bool Tensor of shape [B, L]
        Where the sensor is taken away: as a gap, which no other epoch may look at.
    masked : bool Tensor of shape [B, L]
        Single epochs whose token is replaced.
    """

    name: str
    values: Tensor
    valid: Tensor
    lost: Tensor
    masked: Tensor

    @property
    def seen(self) -> Tensor:
        """Epochs that others may look at."""
        return self.valid & ~self.lost

    @property
    def replaced(self) -> Tensor:
        """Epochs whose token is the mask's."""
        return self.masked | self.lost | ~self.valid

    def to(self, device) -> View:
        """The same on another device."""
        moved = (
            t.to(device, non_blocking=True)
            for t in (self.values, self.valid, self.lost, self.masked)
        )
        return View(self.name, *moved)


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Two views of the same windows.

    Attributes
    ----------
    number : int
        Its place in the run; with the seed it says everything that was drawn.
    views : (View, View)
    shift : int
        Epochs by which the second view starts after the first.
    nights, starts : int ndarray of shape [B]
        Places of the recordings in the store, and where the first view's windows start.
    rows : slice
        Which rows are this process's.
    weights : (Tensor, Tensor) or None
        Weights and history, each [B, B], for DASH-InfoNCE.
    """

    number: int
    views: tuple[View, View]
    shift: int
    nights: np.ndarray
    starts: np.ndarray
    rows: slice
    weights: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.nights)

    @property
    def pair(self) -> str:
        """Names of the modalities, joined as history shows them."""
        return "-".join(view.name for view in self.views)

    @property
    def spans(self) -> tuple[slice, slice]:
        """The epochs of either view that both hold."""
        length = self.views[0].valid.shape[1] - abs(self.shift)
        return tuple(slice(s, s + length) for s in (max(self.shift, 0), max(-self.shift, 0)))

    def to(self, device) -> PairBatch:
        """The same on another device."""
        weights = self.weights and tuple(w.to(device, non_blocking=True) for w in self.weights)
        return replace(self, views=tuple(v.to(device) for v in self.views), weights=weights)


def cut_valid(store, name: str, nights: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Where windows have a signal, bool [B, length]; False beyond a night's end."""
    valid = np.zeros((len(nights), length), dtype=bool)
    for row, (night, start) in enumerate(zip(nights, starts, strict=True)):
        window = store.valid(night, name)[start : start + length]
        valid[row, : len(window)] = window
    return valid


def cut_view(store, name: str, nights: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """The values of windows, float32 [B, length, width]; 0 beyond a night's end."""
    values = np.zeros((len(nights), length, store.contents[name].width), dtype=np.float32)
    for row, (night, start) in enumerate(zip(nights, starts, strict=True)):
        window = store.window(night, name, start, length)
        values[row, : len(window)] = window
    return values


def draw_masks(random: np.random.Generator, valid: np.ndarray, share: float) -> np.ndarray:
    """Mask the given share of every window's valid epochs, rounded down, bool [B, L]."""
    order = random.random(valid.shape)
    order[~valid] = np.inf
    rank = order.argsort(axis=1).argsort(axis=1)
    return rank < np.floor(share * valid.sum(axis=1) + 1e-9)[:, None]


def draw_losses(random: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    """A sensor that is off for a stretch of a window, or for all of it, bool [B, L].

    ``share`` of the windows are hit. A stretch lasts at least 8 epochs where the window does.
    """
    n_windows, context = shape
    shortest = min(_SHORTEST_LOSS, context)
    length = random.integers(shortest, 2 * context, n_windows)
    start = random.integers(1 - length, context)
    length[random.random(n_windows) >= share] = 0
    place = np.arange(context)
    return (place >= start[:, None]) & (place < (start + length)[:, None])


def as_view(name: str, values, valid, lost=None, masked=None) -> View:
    """A view of numpy arrays; nothing is hidden where nothing is said."""
    nothing = np.zeros_like(valid)
    arrays = (nothing if a is None else a for a in (lost, masked))
    return View(name, *(torch.from_numpy(a) for a in (values, valid, *arrays)))
