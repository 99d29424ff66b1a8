# SPDX-License-Identifier: BSD-3-Clause
"""Random windows of nights that have both modalities of a random pair.

A batch follows from seed and number alone, so a run can stop and resume anywhere, and every process
of a distributed run draws the same one and reads its rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .config import Augmentation

if TYPE_CHECKING:
    from ..nightstore.store import NightStore

_MIN_VALID_SHARE = 0.5
_CANDIDATE_STARTS = 8
_SHORTEST_LOSS = 8
_IDS_SHOWN = 5

Pair = tuple[str, str]


def find_pools(
    store: NightStore, names: Sequence[str], alone: bool = False
) -> dict[Pair, np.ndarray]:
    """The nights that have both modalities of each pair, for pairs that any night has.

    With ``alone`` also the nights that have one modality only, each as a pair of it with itself.
    """
    has = {name: store.table[f"coverage_{name}"].to_numpy() > 0 for name in names}
    pools = {p: np.flatnonzero(has[p[0]] & has[p[1]]) for p in itertools.combinations(names, 2)}
    if alone:
        single = np.sum(list(has.values()), axis=0) == 1
        pools |= {(name, name): np.flatnonzero(has[name] & single) for name in names}
    return {pair: pool for pair, pool in pools.items() if len(pool)}


@dataclass(frozen=True, eq=False)
class PairProbabilities:
    """How often each pair comes at a progress of the run from 0 to 1."""

    # the progress at which each ends, and its probabilities [n_pairs]
    stages: list[tuple[float, np.ndarray]]

    def __call__(self, progress: float) -> np.ndarray:
        return next((p for end, p in self.stages if progress < end), self.stages[-1][1])

    @property
    def ever(self) -> np.ndarray:
        """Which pairs come at all, bool [n_pairs]."""
        return np.any([probabilities > 0 for _, probabilities in self.stages], axis=0)


def resolve_pair_weights(pairs: Sequence[Pair], weights: Any) -> PairProbabilities:
    """Probabilities of pairs from ``pair_weights`` of :class:`Sleep2VecPretrainer`."""
    if callable(weights):
        weights = weights(pairs)
    if weights is None:
        return PairProbabilities([(1.0, np.full(len(pairs), 1 / len(pairs)))])
    try:
        stages = [(1.0, weights)] if hasattr(weights, "keys") else list(weights)
        resolved = [(float(end), _normalise(pairs, stage)) for end, stage in stages]
        ends = [end for end, _ in resolved]
        if not ends or ends != sorted(ends) or not 0 < ends[0] <= ends[-1] <= 1:
            raise TypeError(f"stages that end at {ends}")
    except (AttributeError, TypeError) as error:
        raise ValueError(
            "pair_weights must be a mapping such as {('ibi', 'spo2'): 2}, or stages of the run, "
            "each with the share of it at which it ends, from 0 to 1 and in their order, such as "
            f"[(0.5, {{('ibi', 'spo2'): 1}}), (1.0, ...)]; got {weights!r}."
        ) from error
    return PairProbabilities(resolved)


def _normalise(pairs: Sequence[Pair], weights: Mapping[Pair, float]) -> np.ndarray:
    indices = {frozenset(pair): i for i, pair in enumerate(pairs)}
    vector = np.zeros(len(pairs))
    for pair, weight in weights.items():
        if isinstance(pair, str) or len(pair) != 2:
            raise TypeError(f"{pair!r} is not a pair of modalities")
        if frozenset(pair) in indices:
            vector[indices[frozenset(pair)]] += weight
        elif weight != 0:
            raise ValueError(
                f"pair_weights: no two recordings have the pair {'-'.join(pair)}; the data have "
                f"{', '.join(map('-'.join, pairs))}."
            )
    if not np.isfinite(vector).all() or (vector < 0).any() or not vector.sum():
        raise ValueError(f"pair_weights must be finite, not negative, not all zero; got {weights}.")
    return vector / vector.sum()


class PairSampler:
    """Draws batches by their number; rank of ``world`` processes reads the rows ``rank::world``."""

    def __init__(
        self, store: NightStore, pools: dict[Pair, np.ndarray], context: int, batch_size: int,
        seed: int, *, augmentation: Augmentation, probabilities: Callable[[float], np.ndarray],
        night_weights: np.ndarray | None = None, targets: Sequence[np.ndarray] | None = None,
        weigh: Callable[[np.ndarray], tuple | None] = lambda nights: None, rank: int = 0,
        world: int = 1,
    ):  # fmt: skip
        self.store = store
        self.pools = pools
        self.pairs = list(pools)
        self.context = context
        self.seed = seed
        self.augmentation = augmentation
        self.probabilities = probabilities
        self.targets = targets
        self.weigh = weigh
        self.rows = slice(rank, None, world)
        self.n_epochs = store.table["n_epochs"].to_numpy()
        self.chances = np.ones(len(store)) if night_weights is None else night_weights
        n_windows = {pair: int(self._n_starts(pool).sum()) for pair, pool in pools.items()}
        self.sizes = {pair: min(batch_size, n) for pair, n in n_windows.items()}

    def _n_starts(self, nights: np.ndarray) -> np.ndarray:
        """Different windows a night has, whatever the shift."""
        room = self.n_epochs[nights] - self.context - self.augmentation.max_shift
        return np.maximum(room, 0) + 1

    def draw(self, number: int, progress: float = 0.0) -> PairBatch:
        """The batch of a number, at a progress of the run from 0 to 1."""
        random = np.random.default_rng([self.seed, number])
        pair = self.pairs[random.choice(len(self.pairs), p=self.probabilities(progress))]
        nights = self._draw_nights(random, pair)
        limit = min(self.augmentation.max_shift, int(self.n_epochs[nights].min()) // 2)
        shift = int(random.integers(-limit, limit + 1))
        starts = self._draw_starts(random, nights, pair, shift)
        first, second = (
            self._view(random, name, nights, begin)
            for name, begin in zip(pair, (starts, starts + shift), strict=True)
        )
        weights = self.weigh(nights)
        if weights is not None:
            weights = tuple(torch.as_tensor(w).float() for w in weights)
        ids = self.store.table.index[nights]
        return PairBatch(number, (first, second), shift, nights, starts, self.rows, weights, ids)

    def _draw_nights(self, random: np.random.Generator, pair: Pair) -> np.ndarray:
        """Each night once; from a small pool all equally often, as far as they have windows."""
        pool, size = self.pools[pair], self.sizes[pair]
        room = self._n_starts(pool).copy()
        chosen = []
        while size:
            open_ = np.flatnonzero(room > 0)
            chances = self.chances[pool[open_]]
            n_drawn = min(size, int((chances > 0).sum()))
            drawn = random.choice(open_, n_drawn, replace=False, p=chances / chances.sum())
            chosen.append(pool[drawn])
            room[drawn] -= 1
            size -= n_drawn
        return np.concatenate(chosen)

    def _draw_starts(
        self, random: np.random.Generator, nights: np.ndarray, pair: Pair, shift: int
    ) -> np.ndarray:
        """Where windows start: at random, where both sensors are on for half of it if possible."""
        low = max(-shift, 0)
        high = np.maximum(self.n_epochs[nights] - self.context - max(shift, 0), low)
        drawn = random.integers(low, high + 1, (_CANDIDATE_STARTS, len(nights))).T
        starts = np.empty(len(nights), dtype=np.int64)
        used: set[tuple[int, int]] = set()
        for row, (night, candidates) in enumerate(zip(nights, drawn, strict=True)):
            fresh = [int(s) for s in candidates if (night, int(s)) not in used]
            if not fresh:
                fresh = [s for s in range(low, int(high[row]) + 1) if (night, s) not in used]
            starts[row] = self._most_valid(night, pair, fresh, shift)
            used.add((night, int(starts[row])))
        return starts

    def _most_valid(self, night: int, pair: Pair, starts: list[int], shift: int) -> int:
        """The first start with enough signal in both views, else the one with most."""
        first, second = (self.store.valid(night, name) for name in pair)
        # where the second view has a signal for an epoch of the first
        epochs = np.arange(len(second)) + shift
        inside = (epochs >= 0) & (epochs < len(second))
        second = inside & second[np.where(inside, epochs, 0)]
        total = np.append(0, np.cumsum(first & second))
        ends = np.minimum(np.array(starts) + self.context, len(first))
        begins = np.minimum(starts, len(first))
        share = (total[ends] - total[begins]) / min(self.context, len(first))
        enough = np.flatnonzero(share >= _MIN_VALID_SHARE)
        return starts[enough[0] if len(enough) else int(share.argmax())]

    def _view(
        self, random: np.random.Generator, name: str, nights: np.ndarray, starts: np.ndarray
    ) -> View:
        valid = cut_valid(self.store, name, nights, starts, self.context)
        lost = draw_losses(random, valid.shape, self.augmentation.modality_dropout)
        masked = draw_masks(random, valid, self.augmentation.mask_ratio)
        rows = self.rows
        values = cut_view(self.store, name, nights[rows], starts[rows], self.context)
        view = as_view(name, values, valid, lost, masked)
        if self.targets is None:
            return view
        target = cut_targets(self.targets, nights, starts, self.context)
        return replace(view, target=torch.from_numpy(target))


@dataclass(frozen=True, slots=True)
class View:
    """Windows of one modality."""

    name: str
    values: Tensor  # of this process's rows of the batch, [b, L, width]; the rest of all, [B, L]
    valid: Tensor  # the night has a signal
    lost: Tensor  # the sensor is taken away, as a gap that no other epoch may look at
    masked: Tensor  # single epochs whose token is replaced
    target: Tensor | None = None  # probabilities to learn, [B, L, K], NaN where they are unknown

    @property
    def seen(self) -> Tensor:
        """Epochs that others may look at."""
        return self.valid & ~self.lost

    @property
    def replaced(self) -> Tensor:
        """Epochs whose token is the mask's."""
        return self.masked | self.lost | ~self.valid

    def to(self, device: str) -> View:
        tensors = (self.values, self.valid, self.lost, self.masked)
        target = None if self.target is None else self.target.to(device, non_blocking=True)
        values, valid, lost, masked = (t.to(device, non_blocking=True) for t in tensors)
        return View(self.name, values, valid, lost, masked, target)


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Two views of the same windows, the second ``shift`` epochs after the first."""

    number: int
    views: tuple[View, View]
    shift: int
    # where the first view's windows are, [B]
    nights: np.ndarray
    starts: np.ndarray
    rows: slice  # of this process
    weights: tuple[Tensor, ...] | None = None  # and history, [B, B], for DASH-InfoNCE
    ids: Sequence = ()

    def __len__(self) -> int:
        return len(self.nights)

    @property
    def pair(self) -> str:
        """Names of the modalities, joined as history shows them."""
        return "-".join(view.name for view in self.views)

    @property
    def is_of_one(self) -> bool:
        """Whether both views are of one modality, which has nothing to be contrasted with."""
        return self.views[0].name == self.views[1].name

    @property
    def spans(self) -> tuple[slice, slice]:
        """The epochs of either view that both hold."""
        length = self.views[0].valid.shape[1] - abs(self.shift)
        first, second = max(self.shift, 0), max(-self.shift, 0)
        return slice(first, first + length), slice(second, second + length)

    def describe(self) -> str:
        """What an error names it by."""
        shown = ", ".join(map(str, self.ids[:_IDS_SHOWN]))
        more = f" and {len(self.ids) - _IDS_SHOWN} more" if len(self.ids) > _IDS_SHOWN else ""
        return f"pair {self.pair}, recordings {shown}{more} (batch {self.number})"

    def to(self, device: str) -> PairBatch:
        first, second = self.views
        weights = self.weights
        if weights is not None:
            weights = tuple(w.to(device, non_blocking=True) for w in weights)
        return replace(self, views=(first.to(device), second.to(device)), weights=weights)


def cut_valid(
    store: NightStore, name: str, nights: np.ndarray, starts: np.ndarray, length: int
) -> np.ndarray:
    """Where windows have a signal, bool [B, length]; False beyond a night's end."""
    valid = np.zeros((len(nights), length), dtype=bool)
    for row, (night, start) in enumerate(zip(nights, starts, strict=True)):
        window = store.valid(night, name)[start : start + length]
        valid[row, : len(window)] = window
    return valid


def cut_view(
    store: NightStore, name: str, nights: np.ndarray, starts: np.ndarray, length: int
) -> np.ndarray:
    """The values of windows, float32 [B, length, width]; 0 beyond a night's end."""
    values = np.zeros((len(nights), length, store.contents[name].width), dtype=np.float32)
    for row, (night, start) in enumerate(zip(nights, starts, strict=True)):
        window = store.window(night, name, start, length)
        values[row, : len(window)] = window
    return values


def cut_targets(
    targets: Sequence[np.ndarray], nights: np.ndarray, starts: np.ndarray, length: int
) -> np.ndarray:
    """Targets of windows, float32 [B, length, K]; NaN beyond a night's end."""
    cut = np.full((len(nights), length, targets[0].shape[1]), np.nan, dtype=np.float32)
    for row, (night, start) in enumerate(zip(nights, starts, strict=True)):
        window = targets[night][start : start + length]
        cut[row, : len(window)] = window
    return cut


def draw_masks(random: np.random.Generator, valid: np.ndarray, share: float) -> np.ndarray:
    """Mask a share of every window's valid epochs, rounded down, bool [B, L]."""
    order = random.random(valid.shape)
    order[~valid] = np.inf
    rank = order.argsort(axis=1).argsort(axis=1)
    return rank < np.floor(share * valid.sum(axis=1) + 1e-9)[:, None]


def draw_losses(random: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """A sensor that is off for a stretch of some windows, or for all of them, bool [B, L]."""
    n_windows, context = shape
    # at least 8 epochs where the window has them
    shortest = min(_SHORTEST_LOSS, context)
    length = random.integers(shortest, 2 * context, n_windows)
    start = random.integers(1 - length, context)
    length[random.random(n_windows) >= share] = 0
    epoch = np.arange(context)
    return (epoch >= start[:, None]) & (epoch < (start + length)[:, None])


def as_view(
    name: str, values: np.ndarray, valid: np.ndarray, lost: np.ndarray | None = None,
    masked: np.ndarray | None = None,
) -> View:  # fmt: skip
    """A view of numpy arrays; by default nothing is lost or masked."""
    nothing = np.zeros_like(valid)
    arrays = (nothing if a is None else a for a in (lost, masked))
    return View(name, *(torch.from_numpy(a) for a in (values, valid, *arrays)))
