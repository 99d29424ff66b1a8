# SPDX-License-Identifier: BSD-3-Clause
"""Which windows make a batch: a pair of modalities, nights that have both, a place in each.

Batch number k of seed s follows from (s, k) alone. There is no state to store, so a run can stop
and go on anywhere, and every process of a distributed run draws the same batch and reads its rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Augmentation",
    "PairBatch",
    "PairSampler",
    "PairShares",
    "View",
    "cut_valid",
    "cut_view",
    "draw_losses",
    "draw_masks",
    "find_pools",
    "resolve_shares",
]

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


@dataclass(frozen=True, eq=False)
class PairShares:
    """How often each pair comes, as a function of the progress of the run from 0 to 1.

    Attributes
    ----------
    stages : list of (float, ndarray of shape [n_pairs])
        The progress at which a stage ends, and its shares; the last holds beyond.
    """

    stages: list[tuple[float, np.ndarray]]

    def __call__(self, progress: float) -> np.ndarray:
        """Shares of the pairs, of sum 1."""
        return next((v for until, v in self.stages if progress < until), self.stages[-1][1])

    @property
    def ever(self) -> np.ndarray:
        """Which pairs come at all, bool [n_pairs]."""
        return np.any([vector > 0 for _, vector in self.stages], axis=0)


def resolve_shares(pairs: Sequence[Pair], shares) -> PairShares:
    """How often each pair comes.

    Parameters
    ----------
    pairs : sequence of (str, str)
    shares : mapping of (str, str) to float, sequence of (float, mapping), callable, or None
        Relative; pairs not named never come. A sequence gives stages of the run, each with the
        progress at which it ends. A callable makes either from the pairs. None takes all alike.

    Raises
    ------
    ValueError
        If a pair is not among those given, a share is not finite or negative, or all are zero.
    """
    if callable(shares):
        shares = shares(pairs)
    if shares is None:
        return PairShares([(1.0, np.full(len(pairs), 1 / len(pairs)))])
    try:
        stages = [(1.0, shares)] if hasattr(shares, "keys") else list(shares)
        table = [(float(until), _share_vector(pairs, stage)) for until, stage in stages]
    except (AttributeError, TypeError) as error:
        raise _no_shares(shares) from error
    ends = [until for until, _ in table]
    if not ends or ends != sorted(ends) or not 0 < ends[0] <= ends[-1] <= 1:
        raise _no_shares(shares)
    return PairShares(table)


def _no_shares(shares) -> ValueError:
    return ValueError(
        "pair_shares must be a mapping such as {('ibi', 'spo2'): 2}, or stages of the run, each "
        "with the share of it at which it ends, from 0 to 1 and in their order, such as "
        f"[(0.5, {{('ibi', 'spo2'): 1}}), (1.0, ...)]; got {shares!r}."
    )


def _share_vector(pairs: Sequence[Pair], shares) -> np.ndarray:
    places = {frozenset(pair): i for i, pair in enumerate(pairs)}
    vector = np.zeros(len(pairs))
    for pair, share in shares.items():
        if isinstance(pair, str) or len(pair) != 2:
            raise TypeError(f"{pair!r} is not a pair of modalities")
        if frozenset(pair) not in places:
            if share == 0:
                continue
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
