# SPDX-License-Identifier: BSD-3-Clause
"""Fusion of modalities, pooling of epochs, and the rows of X that they fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from .._warnings import warn
from ..errors import RecordingWarning
from ..model.encoder import EncodedModality
from ..recordings._night_window import FEWEST_EPOCHS
from ..recordings.modality import EPOCH_SECONDS
from ._centering import is_short, night_centers
from .inputs import EncoderInput

if TYPE_CHECKING:
    from ..model.encoder import Encoder
    from ._engine import EncodedNight
    from .cache import TokenCache

FUSIONS = ("auto", "mean", "concat")
POOLINGS = ("mean", "mean_std", "max", "cls")
_FADE_EPOCHS = 20
_LINES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class OwnBlock:
    """The numbers of a group's tokens that are averaged with those of no other."""

    n_shared: int  # they follow so many that are
    neutral: np.ndarray  # what stands for a group that a night lacks
    of_night: Callable[[EncodedModality | None], np.ndarray]


@dataclass(frozen=True, slots=True)
class RowSummary:
    """How the tokens of a night become its rows; parameters as of :class:`Sleep2VecTransformer`."""

    modalities: tuple[str, ...]
    fusion: str
    pooling: str
    n_around: int = 0  # epochs on either side whose mean follows an epoch's row
    own: Mapping[str, OwnBlock] | None = None  # by group, unless tokens are shared as a whole
    center: bool = False  # whether an epoch's row is centred
    background: tuple[str, ...] = ()  # groups that are no sensor, and are not centred
    apart: bool = False  # whether what centring takes off a row follows it instead

    @classmethod
    def of(
        cls, encoder: Encoder, groups: tuple[str, ...], fusion: str, pooling: str, n_around: int,
        center: bool, apart: bool,
    ) -> RowSummary:  # fmt: skip
        """That of some groups of an encoder."""
        own = None
        if not encoder.shared_space or encoder.shared_width is not None:
            own = {
                name: OwnBlock(
                    encoder.n_shared(name), np.asarray(encoder.neutral(name), np.float32),
                    encoder.night_block(name),
                )
                for name in groups
            }  # fmt: skip
        return cls(groups, fusion, pooling, n_around, own, center, encoder.background, apart)

    @property
    def form(self) -> tuple:
        """What tells the rows that it makes of an encoder's tokens from others."""
        return self.modalities, self.fusion, self.n_around, self.center, self.apart

    def __call__(self, night: EncodedNight, epochs: np.ndarray | None) -> np.ndarray:
        """Rows of these epochs, or the one row of the night if there are none."""
        if epochs is None:
            return self._of_night(night.modalities)
        rows = with_context(self._fuse(night.modalities)[0], epochs, self.n_around)
        if not self.center:
            return rows
        offsets = self._offsets(night, epochs, rows)
        return np.hstack([rows, offsets]) if self.apart else rows - offsets

    def sensors(self, night: Mapping[str, EncodedModality]) -> dict[str, EncodedModality]:
        """The groups of a night that are sensors."""
        return {name: item for name, item in night.items() if name not in self.background}

    def _fuse(self, night: Mapping[str, EncodedModality]) -> tuple[np.ndarray, np.ndarray]:
        """Rows of all epochs, and which have a sensor."""
        if self.own is None:
            return fuse(night, self.modalities, self.fusion)
        n_epochs = len(next(iter(night.values())).valid)
        blocks = [_own_block(night.get(n), self.own[n], n_epochs) for n in self.modalities]
        shared = self._shared(night)
        if shared is None:
            valid = np.stack([item.valid for item in self.sensors(night).values()]).any(axis=0)
            return np.hstack(blocks), np.asarray(valid)
        return np.hstack([shared[0], *blocks]), shared[1]

    def _shared(self, night: Mapping[str, EncodedModality]) -> tuple[np.ndarray, np.ndarray] | None:
        """The shared part of rows, and which epochs have a sensor; None if there is none."""
        own = self.own or {}
        sharing = [name for name in self.modalities if own[name].n_shared]
        if not sharing:
            return None
        cut = {
            name: EncodedModality(
                night[name].tokens[:, : own[name].n_shared], night[name].valid, night[name].summary
            )
            for name in sharing
            if name in night
        }
        return fuse(cut, sharing, self.fusion)

    def _of_night(self, night: Mapping[str, EncodedModality]) -> np.ndarray:
        if self.pooling == "cls":
            sensors = tuple(name for name in self.modalities if name not in self.background)
            pooled = fuse_summaries(night, sensors, self.fusion)
        else:
            shared = self._fuse(night) if self.own is None else self._shared(night)
            if shared is None:
                return pool(*self._fuse(night), self.pooling)
            pooled = pool(*shared, self.pooling)
        if self.own is None:
            return pooled
        of_groups = [own.of_night(night.get(name)) for name, own in self.own.items()]
        return np.concatenate([pooled, *of_groups])

    def _offsets(self, night: EncodedNight, epochs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What centring takes off the rows: the night's mean tokens, fused as the tokens are.

        Fusion is linear, so this equals centring before it. What stands for a group that the night
        lacks becomes 0, the mean of a centred night.
        """
        sensors = self.sensors(night.modalities)
        uncentred = is_short(sensors)
        if uncentred and self.own is None:
            return np.zeros_like(rows)
        # own numbers are levels, which nothing else brings to the size of other nights
        centers = night_centers(sensors, cast("tuple[int, int]", night.window), fewest=1) or {}
        # without a gap every epoch has the same, and one of them is enough: a third of the time of
        # a transform whose tokens are cached
        is_whole = not self.n_around and all(i.valid.all() for i in night.modalities.values())
        constant = {}
        for name, item in night.modalities.items():
            center = centers.get(name, np.zeros(item.tokens.shape[1], np.float32))
            if uncentred and self.own is not None:
                center[: self.own[name].n_shared] = 0
            valid = item.valid[:1] if is_whole else item.valid
            constant[name] = EncodedModality(
                np.broadcast_to(center, (len(valid), len(center))), valid
            )
        fused = self._fuse(constant)[0]
        if is_whole:
            return np.broadcast_to(fused, (len(epochs), fused.shape[1]))
        return with_context(fused, epochs, self.n_around)


class RowCollector:
    """Fills the output array night by night, and remembers what went wrong."""

    def __init__(
        self, inputs: EncoderInput, n_columns: int, summary: RowSummary,
        memory: TokenCache | None = None,
    ):  # fmt: skip
        self._inputs, self.n_columns = inputs, n_columns
        self.summary, self._memory = summary, memory
        self._failures: list[str] = list(inputs.unusable)
        self._left_out: list[str] = []
        self._complaints: list[str] = []
        self._short: list[str] = []

    # made at the first night: rows that are written to a file are never together in memory
    @cached_property
    def _sums(self) -> np.ndarray:
        return np.full((self._inputs.n_rows, self.n_columns), np.nan, dtype=np.float32)

    @cached_property
    def _counts(self) -> np.ndarray:
        return np.zeros((self._inputs.n_rows, 1), dtype=np.float32)

    def add(self, night: EncodedNight) -> None:
        """Take one night's result in."""
        values = self.rows_of(night)
        if values is None:
            return
        rows = self._inputs.rows[night.position]
        if self._inputs.epochs is not None or not self._counts[rows]:
            self._sums[_as_slice(rows)] = values
        else:
            self._sums[rows] += values
        if self._inputs.epochs is None:
            self._counts[rows] += 1

    def rows_of(self, night: EncodedNight) -> np.ndarray | None:
        """One night's rows, which are not stored; None, and a note of why, if it has none."""
        if night.error is not None:
            self._failures.append(str(night.error))
            return None
        i, epochs = night.position, self._inputs.epochs
        # a lead in which no beats are found is no sensor that is off
        off = [name for name in night.left_out if name not in self._inputs.recordings[i].derived]
        if off:
            self._left_out.append(f"{self._inputs.locations[i]}: {', '.join(off)}")
        self._complaints += [f"{self._inputs.locations[i]}: {text}" for text in night.complaints]
        if self.summary.center and is_short(self.summary.sensors(night.modalities)):
            self._short.append(self._inputs.locations[i])
        if night.rows is not None:
            return night.rows + np.float32(0)
        if epochs is None or night.key is None or self._memory is None:
            return self.summary(night, None if epochs is None else epochs[i]) + np.float32(0)
        key = (night.key, self.summary.form)
        rows = self._memory.get_rows(key)
        if rows is None:
            every = np.arange(self._inputs.recordings[i].n_epochs)
            rows = self.summary(night, every) + np.float32(0)
            rows.flags.writeable = False
            self._memory.put_rows(key, rows)
        return rows[_as_slice(epochs[i])]

    def result(self) -> np.ndarray:
        """The rows, NaN where nothing could be encoded; warns of what was left out."""
        self.warn_of_omissions()
        if self._inputs.epochs is None:
            # in place, as the rows of a cohort may be half of the memory
            self._sums /= np.maximum(self._counts, 1)
            self._counts[:] = 1
        return self._sums

    def warn_of_omissions(self) -> None:
        """Warn of nights without rows, and of sensors that were left out."""
        what = "could not be encoded; their rows are NaN unless another night fills them"
        _warn_of_recordings(what, self._failures)
        what = "had a sensor that is flat or without samples, which counts as missing"
        _warn_of_recordings(what, self._left_out)
        what = "had a sensor or derivation that cannot be used, which counts as missing"
        _warn_of_recordings(what, self._complaints)
        warn_of_short(self._short)


def _as_slice(indices: np.ndarray) -> np.ndarray | slice:
    """Indices that follow each other as a slice, which copies nothing or at once."""
    if len(indices) and (np.diff(indices) == 1).all():
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices


def warn_of_short(locations: list[str]) -> None:
    """Warn of nights that have no centre."""
    what = f"had fewer than {FEWEST_EPOCHS} epochs with a signal; their states stay uncentred"
    _warn_of_recordings(what, locations)


def _warn_of_recordings(what: str, lines: list[str]) -> None:
    if not lines:
        return
    shown = "\n  ".join(lines[:_LINES_SHOWN])
    more = f"\n  and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
    warn(f"{len(lines)} of the recordings {what}:\n  {shown}{more}", RecordingWarning)


def fuse(
    night: Mapping[str, EncodedModality], modalities: Sequence[str], fusion: str
) -> tuple[np.ndarray, np.ndarray]:
    """Combine the modalities of a night: rows [n_epochs, width], and which have any modality.

    "mean" is over the modalities an epoch has; "concat" gives one block per modality, a missing
    one filled with that mean.
    """
    present = [name for name in modalities if name in night]
    valid = np.stack([night[name].valid for name in present])
    any_valid = np.asarray(valid.any(axis=0))
    weights = valid.astype(np.float32)
    weights /= np.maximum(weights.sum(axis=0), 1)
    mean = np.zeros_like(night[present[0]].tokens)
    for name, weight in zip(present, weights, strict=True):
        mean += night[name].tokens * weight[:, None]
    if fusion == "mean":
        return _fill_gaps(mean, any_valid), any_valid
    blocks = [
        np.where(night[name].valid[:, None], night[name].tokens, mean) if name in night else mean
        for name in modalities
    ]
    return _fill_gaps(np.concatenate(blocks, axis=1), any_valid), any_valid


def _own_block(block: EncodedModality | None, own: OwnBlock, n_epochs: int) -> np.ndarray:
    """Numbers of a group alone [n_epochs, width], its gaps filled as those of all sensors are."""
    if block is None:
        return np.broadcast_to(own.neutral, (n_epochs, len(own.neutral)))
    values = block.tokens[:, own.n_shared :]
    return values if block.valid.all() else _fill_gaps(values.copy(), block.valid)


def choose_fusion(fusion: str, encoder: Encoder) -> str:
    """What "auto" means for an encoder; a mean of tokens that lie in no one space is refused."""
    if fusion == "auto":
        return "mean" if encoder.shared_space else "concat"
    if fusion == "mean" and not encoder.shared_space:
        raise ValueError(
            f"fusion='mean': the tokens of {encoder.name}'s groups lie in no one space, and their "
            "mean would mean nothing. Use fusion='concat'."
        )
    return fusion


def _fill_gaps(rows: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Replace the rows of epochs without a signal, in place.

    Each is a mean of the nearest rows before and after it, which fade over ten minutes, and of the
    night's mean row. What the network makes of a gap is unlike the rows of any signal, and a linear
    head is worse on it.
    """
    gaps, known = np.flatnonzero(~measured), np.flatnonzero(measured)
    if len(gaps) == 0:
        return rows
    after = np.searchsorted(known, gaps)
    filled = np.zeros((len(gaps), rows.shape[1]), dtype=rows.dtype)
    total = np.zeros((len(gaps), 1), dtype=rows.dtype)
    for neighbour, exists in ((after - 1, after > 0), (after, after < len(known))):
        neighbour = known[np.clip(neighbour, 0, len(known) - 1)]
        weight = exists * np.exp(-np.abs(neighbour - gaps) / _FADE_EPOCHS)
        weight = weight.astype(rows.dtype)[:, None]
        filled += weight * rows[neighbour]
        total += weight
    rest = np.maximum(1 - total, 0)
    rows[gaps] = (filled + rest * rows[known].mean(axis=0)) / (total + rest)
    return rows


def pool(rows: np.ndarray, valid: np.ndarray, pooling: str) -> np.ndarray:
    """Summarise the valid epochs of a night: [width], twice as wide for "mean_std"."""
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
    summaries = {name: np.asarray(night[name].summary) for name in modalities if name in night}
    mean = np.asarray(np.mean(list(summaries.values()), axis=0, dtype=np.float32))
    if fusion == "mean":
        return mean
    return np.concatenate([summaries.get(name, mean) for name in modalities])


def n_around(minutes: float) -> int:
    """Epochs on either side within a window of so many minutes; 0 for none."""
    return int(minutes * 60 / EPOCH_SECONDS / 2)


def with_context(rows: np.ndarray, epochs: np.ndarray, n_around: int) -> np.ndarray:
    """Rows of these epochs of a night, each followed by the mean over those around it."""
    if n_around == 0:
        return rows[epochs]
    sums = np.zeros((len(rows) + 1, rows.shape[1]))
    np.cumsum(rows, axis=0, dtype=np.float64, out=sums[1:])
    # the window is shorter at the ends of the night
    begin = np.maximum(epochs - n_around, 0)
    end = np.minimum(epochs + n_around + 1, len(rows))
    mean = (sums[end] - sums[begin]) / (end - begin)[:, None]
    return np.concatenate([rows[epochs], mean.astype(np.float32)], axis=1)
