# SPDX-License-Identifier: BSD-3-Clause
"""Batches of windows: two modalities of the same nights, with sensors lost as on real nights."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from store import StoredNight

MASKED_SHARE = 0.15
MIN_VALID_SHARE = 0.5
LOSS_CHANCE = 0.3
SHORTEST_LOSS = 8
REAL_WEIGHT = 6.0
WEARABLE = {"ibi", "actigraphy"}


@dataclass(frozen=True, slots=True)
class View:
    """Windows of one modality.

    Attributes
    ----------
    name : str
        The modality.
    features : Tensor of shape [B, L, n_features]
    valid : bool Tensor of shape [B, L]
        Where the night has a signal.
    lost : bool Tensor of shape [B, L]
        Where the sensor is taken away: as a gap, which no other epoch may look at.
    masked : bool Tensor of shape [B, L]
        Single epochs whose token is replaced.
    """

    name: str
    features: torch.Tensor
    valid: torch.Tensor
    lost: torch.Tensor
    masked: torch.Tensor


class PairBatches:
    """Random windows of nights that have both modalities of a random pair.

    Parameters
    ----------
    nights : list of StoredNight
    names : sequence of str
        Modalities of the encoder.
    context : int
        Epochs per window.
    batch_size : int
        Windows per batch.
    seed : int
    """

    def __init__(self, nights: list[StoredNight], names, context: int, batch_size: int, seed: int):
        self.nights = nights
        self.context = context
        self.batch_size = batch_size
        self.max_shift = context // 2
        self.random = np.random.default_rng(seed)
        self.pools = {}
        for pair in itertools.combinations(names, 2):
            pool = [i for i, night in enumerate(nights) if all(m in night.features for m in pair)]
            if len(pool) >= 2:
                self.pools[pair] = np.array(pool)
        self.pairs = list(self.pools)
        weights = np.array([_pair_weight(pair) for pair in self.pairs])
        self.shares = weights / weights.sum()
        self.night_weights = np.array([REAL_WEIGHT if n.is_real else 1.0 for n in nights])

    def draw(self) -> tuple[int, tuple[View, View]]:
        """The shift between two views, and the views.

        The second view starts ``shift`` epochs after the first. Without it an epoch of a night
        could be told from the others by its place in the window, whatever the sensors show.
        """
        pair = self.pairs[self.random.choice(len(self.pairs), p=self.shares)]
        pool = self.pools[pair]
        chances = self.night_weights[pool] / self.night_weights[pool].sum()
        again = len(pool) < self.batch_size
        chosen = self.random.choice(pool, self.batch_size, replace=again, p=chances)
        shift = int(self.random.integers(-self.max_shift, self.max_shift + 1))
        starts = np.array([self._start(self.nights[i], pair, shift) for i in chosen])
        first, second = pair
        return shift, (
            self._view(first, chosen, starts),
            self._view(second, chosen, starts + shift),
        )

    def _start(self, night: StoredNight, pair, shift: int) -> int:
        first = max(-shift, 0)
        last = max(night.n_epochs - self.context - max(shift, 0), first)
        both = night.valid[pair[0]] & night.valid[pair[1]]
        for _ in range(8):
            start = int(self.random.integers(first, last + 1))
            if both[start : start + self.context].mean() >= MIN_VALID_SHARE:
                break
        return start

    def _view(self, name, chosen, starts) -> View:
        width = self.nights[chosen[0]].features[name].shape[1]
        features = np.zeros((len(chosen), self.context, width), dtype=np.float32)
        valid = np.zeros(features.shape[:2], dtype=bool)
        for row, (i, start) in enumerate(zip(chosen, starts, strict=True)):
            window = self.nights[i].features[name][start : start + self.context]
            features[row, : len(window)] = window
            valid[row, : len(window)] = self.nights[i].valid[name][start : start + self.context]
        masked = self.random.random(valid.shape) < MASKED_SHARE
        arrays = features, valid, self._draw_losses(len(chosen)), masked
        return View(name, *(torch.from_numpy(array) for array in arrays))

    def _draw_losses(self, n_windows: int) -> np.ndarray:
        """A sensor that is off for a stretch of the window, or for all of it."""
        length = self.random.integers(SHORTEST_LOSS, 2 * self.context, n_windows)
        start = self.random.integers(1 - length, self.context)
        length[self.random.random(n_windows) >= LOSS_CHANCE] = 0
        place = np.arange(self.context)
        return (place >= start[:, None]) & (place < (start + length)[:, None])


def _pair_weight(pair: tuple[str, str]) -> float:
    """More of the pairs that real sensors have: wearable and cardiac ones twice as often.

    The pair of a watch is the only one of which there are real nights, so it comes more often
    still.
    """
    return {0: 1.0, 1: 2.0, 2: 8.0}[len(WEARABLE & set(pair))]
