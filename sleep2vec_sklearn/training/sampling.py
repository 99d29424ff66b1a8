# SPDX-License-Identifier: BSD-3-Clause
"""Which windows make a batch: a pair of modalities, nights that have both, a place in each.

Batch number k of seed s follows from (s, k) alone. There is no state to store, so a run can stop
and go on anywhere, and every process of a distributed run draws the same batch and reads its rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .windows import PairBatch, as_view, cut_valid, cut_view, draw_losses, draw_masks

__all__ = ["Augmentation", "PairSampler", "find_pools", "resolve_shares"]

_MIN_VALID_SHARE = 0.5
_TRIES = 8

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What a batch hides.

    Attributes
    ----------
    mask_share : float
        Share of either modality's valid epochs whose token is replaced.
    sensor_loss : float
        Share of the windows in which a sensor is off for a stretch.
    max_shift : int
        Most epochs between the starts of the two views.
    """

    mask_share: float = 0.15
    sensor_loss: float = 0.0
    max_shift: int = 0


def find_pools(store, names: Sequence[str]) -> dict[Pair, np.ndarray]:
    """The nights that have both modalities of each pair, for pairs that any night has."""
    has = {name: store.table[f"coverage_{name}"].to_numpy() > 0 for name in names}
    pools = {p: np.flatnonzero(has[p[0]] & has[p[1]]) for p in itertools.combinations(names, 2)}
    return {pair: pool for pair, pool in pools.items() if len(pool)}


def resolve_shares(pairs: Sequence[Pair], shares) -> Callable[[float], np.ndarray]:
    """How often each pair comes, as a function of the progress of the run from 0 to 1.

    Parameters
    ----------
    pairs : sequence of (str, str)
    shares : mapping of (str, str) to float, sequence of (float, mapping), or None
        Relative; pairs not named never come. A sequence gives stages of the run, each with the
        progress at which it ends. None takes all pairs alike.

    Raises
    ------
    ValueError
        If a pair is not among those given, a share is not finite or negative, or all are zero.
    """
    if shares is None:
        return lambda progress: np.full(len(pairs), 1 / len(pairs))
    stages = [(1.0, shares)] if hasattr(shares, "keys") else list(shares)
    table = [(float(until), _share_vector(pairs, stage)) for until, stage in stages]
    return lambda progress: next((v for until, v in table if progress < until), table[-1][1])


def _share_vector(pairs: Sequence[Pair], shares) -> np.ndarray:
    places = {frozenset(pair): i for i, pair in enumerate(pairs)}
    vector = np.zeros(len(pairs))
    for pair, share in shares.items():
        if frozenset(pair) not in places:
            raise ValueError(
                f"pair_shares: no two recordings have the pair {'-'.join(pair)}; the data have "
                f"{', '.join('-'.join(p) for p in pairs)}."
            )
        vector[places[frozenset(pair)]] += share
    if not np.isfinite(vector).all() or (vector < 0).any() or not vector.sum():
        raise ValueError(
            f"pair_shares must be finite, not negative, and not all zero; got {shares}."
        )
    return vector / vector.sum()


class PairSampler:
    """Random windows of nights that have both modalities of a random pair.

    Parameters
    ----------
    store : NightStore
    pools : dict of (str, str) to int ndarray
        Nights to draw from for each pair; at least two each.
    context : int
        Epochs per window.
    batch_size : int
        Windows per batch, over all processes.
    seed : int
    augmentation : Augmentation
    shares : callable
        Of the progress; see :func:`resolve_shares`.
    night_weights : ndarray of shape [len(store)], optional
        Relative chances of the nights within a pool.
    weigh : callable, optional
        Weights and history of a batch, from the places of its nights.
    rank, world : int
        This process and how many there are.
    """

    def __init__(
        self,
        store,
        pools: dict[Pair, np.ndarray],
        context: int,
        batch_size: int,
        seed: int,
        *,
        augmentation: Augmentation,
        shares: Callable[[float], np.ndarray],
        night_weights: np.ndarray | None = None,
        weigh: Callable | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        self.store = store
        self.pools = pools
        self.pairs = list(pools)
        self.context = context
        self.seed = seed
        self.augmentation = augmentation
        self.shares = shares
        self.weigh = weigh
        self.rows = slice(rank, None, world)
        self.n_epochs = store.table["n_epochs"].to_numpy()
        self.chances = np.ones(len(store)) if night_weights is None else night_weights
        self.sizes = {
            pair: min(batch_size, int(self._n_starts(pool).sum())) for pair, pool in pools.items()
        }

    def _n_starts(self, nights: np.ndarray) -> np.ndarray:
        """Different windows a night has, whatever the shift."""
        room = self.n_epochs[nights] - self.context - self.augmentation.max_shift
        return np.maximum(room, 0) + 1

    def draw(self, number: int, progress: float = 0.0) -> PairBatch:
        """A batch.

        Parameters
        ----------
        number : int
            Its place in the run.
        progress : float
            Share of the run that is over.
        """
        random = np.random.default_rng([self.seed, number])
        shares = self.shares(progress)
        pair = self.pairs[random.choice(len(self.pairs), p=shares)]
        nights = self._draw_nights(random, pair)
        limit = min(self.augmentation.max_shift, int(self.n_epochs[nights].min()) // 2)
        shift = int(random.integers(-limit, limit + 1))
        starts = self._draw_starts(random, nights, pair, shift)
        views = tuple(
            self._view(random, name, nights, begin)
            for name, begin in zip(pair, (starts, starts + shift), strict=True)
        )
        weights = None
        if self.weigh is not None:
            weights = tuple(torch.as_tensor(w).float() for w in self.weigh(nights))
        return PairBatch(number, views, shift, nights, starts, self.rows, weights)

    def _draw_nights(self, random: np.random.Generator, pair: Pair) -> np.ndarray:
        """Each night once; from a small pool every night equally often, as far as it has windows.

        Night weights choose which nights come, and which come once more.
        """
        pool, size = self.pools[pair], self.sizes[pair]
        room = self._n_starts(pool).copy()
        chosen = []
        while size:
            open_ = np.flatnonzero(room > 0)
            chances = self.chances[pool[open_]]
            n_taken = min(size, int((chances > 0).sum()))
            taken = random.choice(open_, n_taken, replace=False, p=chances / chances.sum())
            chosen.append(pool[taken])
            room[taken] -= 1
            size -= n_taken
        return np.concatenate(chosen)

    def _draw_starts(self, random, nights: np.ndarray, pair: Pair, shift: int) -> np.ndarray:
        """Where windows start: at random, where both sensors are on for half of it if possible."""
        low = max(-shift, 0)
        high = np.maximum(self.n_epochs[nights] - self.context - max(shift, 0), low)
        tried = random.integers(low, high + 1, (_TRIES, len(nights))).T
        starts = np.empty(len(nights), dtype=np.int64)
        used: set[tuple[int, int]] = set()
        for row, (night, candidates) in enumerate(zip(nights, tried, strict=True)):
            fresh = [int(s) for s in candidates if (night, int(s)) not in used]
            if not fresh:
                fresh = [s for s in range(low, int(high[row]) + 1) if (night, s) not in used]
            starts[row] = self._most_valid(night, pair, fresh, shift)
            used.add((night, int(starts[row])))
        return starts

    def _most_valid(self, night: int, pair: Pair, starts: list[int], shift: int) -> int:
        """The first start with enough signal in both views, else the one with most."""
        first, second = (self.store.valid(night, name) for name in pair)
        if shift:
            moved = np.zeros_like(second)
            kept = slice(0, len(second) - shift) if shift > 0 else slice(-shift, None)
            moved[kept] = second[shift:] if shift > 0 else second[:shift]
            second = moved
        total = np.append(0, np.cumsum(first & second))
        ends = np.minimum(np.array(starts) + self.context, len(first))
        begins = np.minimum(starts, len(first))
        share = (total[ends] - total[begins]) / min(self.context, len(first))
        enough = np.flatnonzero(share >= _MIN_VALID_SHARE)
        return starts[enough[0] if len(enough) else int(share.argmax())]

    def _view(self, random, name: str, nights: np.ndarray, starts: np.ndarray):
        valid = cut_valid(self.store, name, nights, starts, self.context)
        lost = draw_losses(random, valid.shape, self.augmentation.sensor_loss)
        masked = draw_masks(random, valid, self.augmentation.mask_share)
        rows = self.rows
        values = cut_view(self.store, name, nights[rows], starts[rows], self.context)
        return as_view(name, values, valid, lost, masked)
