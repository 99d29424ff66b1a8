# SPDX-License-Identifier: BSD-3-Clause
"""Nights as a head or a network takes them, and batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..encoding.covariates import RecordingMetadata, time_columns
from ..encoding.inputs import EncoderInput
from ..errors import InvalidRecordingError
from ..recordings.recording import Recording
from ._labels import Targets

__all__ = [
    "Batch",
    "Covariates",
    "Night",
    "NightReader",
    "Piece",
    "Standardised",
    "TokenStatistics",
    "TrainingSet",
    "collate",
    "rows_of_nights",
]


@dataclass(frozen=True, slots=True, eq=False)
class Night:
    """A night, or a stretch of one.

    Attributes
    ----------
    n_epochs : int
    values : dict of str to tuple of float32 ndarray of shape (n_epochs, width)
        Of each modality that is there: its tokens in each layer kept, or what an encoder reads.
    valid : dict of str to bool ndarray of shape (n_epochs,)
        Which epochs have the modality.
    summaries : dict of str to tuple of float32 ndarray of shape (width,)
        The CLS vectors in each layer kept, where they are wanted.
    """

    n_epochs: int
    values: Mapping[str, tuple[np.ndarray, ...]]
    valid: Mapping[str, np.ndarray]
    summaries: Mapping[str, tuple[np.ndarray, ...]]

    def part(self, start: int, stop: int) -> Night:
        """Some epochs of it, as views."""
        if (start, stop) == (0, self.n_epochs):
            return self
        values = {n: tuple(a[start:stop] for a in arrays) for n, arrays in self.values.items()}
        valid = {name: mask[start:stop] for name, mask in self.valid.items()}
        return Night(stop - start, values, valid, self.summaries)


class NightReader(Protocol):
    """Where the nights of a training set are."""

    def part(self, night: int, start: int, stop: int) -> Night:
        """Some epochs of a night."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a night, and the rows of X to learn from it."""

    night: int
    start: int
    stop: int
    rows: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Sequences as a network takes them; B of them, L epochs, M modalities.

    Attributes
    ----------
    inputs : Tensor of shape [B, L, M, H] or [B, L, M, K, H], or dict of str to Tensor [B, L, n]
        Tokens for a head, or samples or features for an encoder.
    present : bool Tensor of shape [B, L, M]
    valid : bool Tensor of shape [B, L]
        False at padding.
    covariates : Tensor of shape [B, C] or [B, L, C], or None
    cls : Tensor of shape [B, M, H] or [B, M, K, H] or None
    places : int64 Tensor
        Epochs: the place in [B * L] of each row. Nights: the row of each sequence, shape [B].
    n_rows : int
    targets, weights : Tensor or None
        Of each row.
    """

    inputs: Tensor | dict[str, Tensor]
    present: Tensor
    valid: Tensor
    covariates: Tensor | None
    cls: Tensor | None
    places: Tensor
    n_rows: int
    targets: Tensor | None = None
    weights: Tensor | None = None

    def to(self, device) -> Batch:
        """The same batch on another device."""

        def moved(value):
            if isinstance(value, dict):
                return {name: tensor.to(device) for name, tensor in value.items()}
            return value.to(device) if isinstance(value, Tensor) else value

        return replace(self, **{name: moved(getattr(self, name)) for name in self.__slots__})

    def take_rows(self, outputs: Tensor) -> Tensor:
        """Outputs [B, L, O] or [B, O] as one per row, [n_rows, O]: nights of a row are averaged."""
        if outputs.ndim == 3:
            return outputs.flatten(0, 1)[self.places]
        sums = outputs.new_zeros(self.n_rows, outputs.shape[1]).index_add(0, self.places, outputs)
        counts = torch.bincount(self.places, minlength=self.n_rows).to(outputs.dtype)
        return sums / counts[:, None]


def collate(
    nights: Sequence[Night], modalities: Sequence[str], widths: Mapping[str, int] | None
) -> dict:
    """Pad nights to one length.

    Parameters
    ----------
    nights : sequence of Night
    modalities : sequence of str
        In the order of the axis M.
    widths : mapping of str to int or None
        Numbers per epoch of each modality that an encoder reads; None for tokens.

    Returns
    -------
    dict
        ``inputs``, ``present``, ``valid`` and ``cls`` of a :class:`Batch`.
    """
    shape = (len(nights), max(night.n_epochs for night in nights))
    present = torch.zeros(*shape, len(modalities), dtype=torch.bool)
    valid = torch.zeros(shape, dtype=torch.bool)
    for b, night in enumerate(nights):
        valid[b, : night.n_epochs] = True
        for m, name in enumerate(modalities):
            if name in night.valid:
                present[b, : night.n_epochs, m] = _as_tensor(night.valid[name])
    if widths is None:
        inputs = _stacked_tokens(nights, modalities, shape)
    else:
        inputs = {name: torch.zeros(*shape, widths[name]) for name in modalities}
        for b, night in enumerate(nights):
            for name, (values,) in night.values.items():
                inputs[name][b, : night.n_epochs] = _as_tensor(values)
    return {
        "inputs": inputs,
        "present": present,
        "valid": valid,
        "cls": _stacked_summaries(nights, modalities),
    }


def _stacked_tokens(nights, modalities, shape) -> Tensor:
    arrays = next(iter(nights[0].values.values()))
    n_layers, width = len(arrays), arrays[0].shape[1]
    tokens = torch.zeros(*shape, len(modalities), n_layers, width)
    for b, night in enumerate(nights):
        for name, layers in night.values.items():
            for k, values in enumerate(layers):
                tokens[b, : night.n_epochs, modalities.index(name), k] = _as_tensor(values)
    return tokens[:, :, :, 0] if n_layers == 1 else tokens


def _stacked_summaries(nights, modalities) -> Tensor | None:
    if not nights[0].summaries:
        return None
    layers = next(iter(nights[0].summaries.values()))
    cls = torch.zeros(len(nights), len(modalities), len(layers), len(layers[0]))
    for b, night in enumerate(nights):
        for name, summaries in night.summaries.items():
            for k, summary in enumerate(summaries):
                cls[b, modalities.index(name), k] = _as_tensor(summary)
    return cls[:, :, 0] if len(layers) == 1 else cls


def _as_tensor(array: np.ndarray) -> Tensor:
    # torch warns of arrays it may not write to, and entries of the cache are such
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def part_of(covariates: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Covariates of some epochs of a night, if epochs have their own."""
    return covariates if covariates.ndim == 1 else covariates[start:stop]


def stack_covariates(nights: Sequence[np.ndarray]) -> Tensor:
    """Those of several nights, or stretches of some, zeros after the end of the shorter ones."""
    return pad_sequence([torch.from_numpy(night) for night in nights], batch_first=True)


def rows_of_nights(given: EncoderInput) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Rows of X that each recording fills, and their epochs; None for nights."""
    epochs = given.epochs or [None] * len(given.recordings)
    return list(zip(given.rows, epochs, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """The labelled rows of some subjects, and the nights they are in.

    Attributes
    ----------
    reader : NightReader
    modalities : tuple of str
    widths : mapping of str to int or None
        See :func:`collate`.
    targets : Targets
        Of all rows of X.
    rows : tuple of int ndarray
        Labelled rows of each night; empty for nights that are not learned from.
    epochs : tuple of int ndarray or None
        Their epochs; None for nights.
    lengths : tuple of int
        Epochs of each night.
    covariates : sequence of float32 ndarray of shape (C,) or (n_epochs, C), or None
        Of each night.
    longest : int or None
        Most epochs of a piece; None for whole nights.
    """

    reader: NightReader
    modalities: tuple[str, ...]
    widths: Mapping[str, int] | None
    targets: Targets
    rows: tuple[np.ndarray, ...]
    epochs: tuple[np.ndarray, ...] | None
    lengths: tuple[int, ...]
    covariates: Sequence[np.ndarray] | None
    longest: int | None = None

    @property
    def nights(self) -> list[int]:
        """Those that have a labelled row."""
        return [night for night, rows in enumerate(self.rows) if len(rows)]

    def draw(self, rng: np.random.Generator, batch_size: int) -> list[list[Piece]]:
        """One pass over all rows: pieces in random order, in batches of about one size."""
        if self.epochs is None:
            groups = self._nights_by_row()
        else:
            groups = [[piece] for night in self.nights for piece in self._pieces(night, rng)]
        order = rng.permutation(len(groups))
        n_batches = -(-len(groups) // batch_size)
        return [
            [piece for g in part for piece in groups[g]]
            for part in np.array_split(order, n_batches)
        ]

    def whole(self) -> Iterator[list[Piece]]:
        """Every row once, in batches of one night, or of the nights of one row."""
        if self.epochs is None:
            yield from self._nights_by_row()
            return
        for night in self.nights:
            yield [Piece(night, 0, self.lengths[night], np.arange(len(self.rows[night])))]

    def _nights_by_row(self) -> list[list[Piece]]:
        groups: dict[int, list[Piece]] = {}
        for night in self.nights:
            rows = self.rows[night]
            piece = Piece(night, 0, self.lengths[night], np.arange(1))
            groups.setdefault(int(rows[0]), []).append(piece)
        return list(groups.values())

    def _pieces(self, night: int, rng: np.random.Generator) -> Iterator[Piece]:
        n_epochs, longest = self.lengths[night], self.longest
        if longest is None or n_epochs <= longest:
            edges = np.array([0, n_epochs])
        else:
            first = int(rng.integers(1, longest + 1))
            edges = np.unique([0, *range(first, n_epochs, longest), n_epochs])
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            asked = self.epochs[night]
            inside = np.flatnonzero((asked >= start) & (asked < stop))
            if len(inside):
                yield Piece(night, start, stop, inside)

    def batch(self, pieces: Sequence[Piece]) -> Batch:
        """Read pieces as one batch."""
        nights = [self.reader.part(p.night, p.start, p.stop) for p in pieces]
        parts = collate(nights, self.modalities, self.widths)
        mine = [self.rows[p.night][p.rows] for p in pieces]
        if self.epochs is None:
            rows, places = np.unique(np.concatenate(mine), return_inverse=True)
        else:
            length = parts["valid"].shape[1]
            rows = np.concatenate(mine)
            places = np.concatenate(
                [b * length + self.epochs[p.night][p.rows] - p.start for b, p in enumerate(pieces)]
            )
        targets = self.targets.take(rows)
        covariates = None
        if self.covariates is not None:
            of_pieces = [part_of(self.covariates[p.night], p.start, p.stop) for p in pieces]
            covariates = stack_covariates(of_pieces)
        return Batch(
            **parts,
            covariates=covariates,
            places=torch.from_numpy(places.astype(np.int64)),
            n_rows=len(rows),
            targets=torch.from_numpy(np.ascontiguousarray(targets.values)),
            weights=torch.from_numpy(targets.weights),
        )


_SMALLEST_STD = 1e-6


class TokenStatistics:
    """Mean and standard deviation of the tokens of each modality and layer, night by night.

    Parameters
    ----------
    nights : iterable of Night
        Of tokens; each is looked at once.
    modalities : sequence of str
    summaries : bool
        Whether the CLS vectors are meant and not the epochs'.
    """

    def __init__(self, nights: Iterable[Night], modalities: Sequence[str], summaries: bool):
        sums: dict[str, np.ndarray] = {}
        for night in nights:
            for name, layers in (night.summaries if summaries else night.values).items():
                valid = [True] if summaries else night.valid[name]
                rows = np.stack([np.atleast_2d(layer)[valid] for layer in layers], axis=1)
                rows = rows.astype(np.float64)
                added = np.stack([np.ones_like(rows).sum(0), rows.sum(0), (rows**2).sum(0)])
                sums[name] = sums.get(name, 0) + added
        shape = next(iter(sums.values())).shape[1:]
        self.mean = np.zeros((len(modalities), *shape), dtype=np.float32)
        self.std = np.ones_like(self.mean)
        for place, name in enumerate(modalities):
            if name in sums:
                count, total, squares = sums[name]
                mean = total / count
                std = np.sqrt(np.maximum(squares / count - mean**2, 0))
                self.mean[place] = mean
                self.std[place] = np.where(std > _SMALLEST_STD, std, 1)


class Standardised(nn.Module):
    """A head on standardised tokens.

    Parameters
    ----------
    head : Head
    """

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head
        config = head.config
        shape = (len(config.modalities), config.n_layers, config.hidden_size)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    @property
    def config(self):
        """Of the head."""
        return self.head.config

    def set_statistics(self, statistics: TokenStatistics) -> None:
        """Set what is subtracted and divided by."""
        self.mean.copy_(torch.from_numpy(statistics.mean))
        self.std.copy_(torch.from_numpy(statistics.std))

    def forward(
        self,
        tokens: Tensor | None,
        present: Tensor,
        valid: Tensor,
        covariates: Tensor | None = None,
        cls: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`Head.forward`."""
        mean, std = self.mean, self.std
        if self.config.n_layers == 1:
            mean, std = mean[:, 0], std[:, 0]
        if self.config.pooling == "cls" and self.config.unit == "night":
            return self.head(None, present, valid, covariates, (cls - mean) / std)
        return self.head((tokens - mean) / std, present, valid, covariates)


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Covariates as they were in training.

    A column of each is standardised by training's mean and standard deviation, so that a missing
    value is 0, the mean; for what a recording states, a second column is 1 where it is missing.

    Attributes
    ----------
    table : RecordingMetadata or None
        Fitted; its columns are what recordings state.
    time_of_night : bool
        Whether the columns of :class:`TimeOfNight` follow, which every epoch has of its own.
    mean, std : float32 ndarray of shape (n_values,)
    """

    table: RecordingMetadata | None
    time_of_night: bool
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(
        cls, fields: Sequence[str] | None, time_of_night: bool, recordings: Sequence[Recording]
    ) -> Covariates:
        """Learn means and standard deviations.

        Raises
        ------
        InvalidRecordingError
            If no recording states one of the fields.
        """
        table, blocks = None, []
        if fields is not None:
            table = RecordingMetadata(fields=tuple(fields)).set_output(transform="default")
            blocks.append(table.fit(list(recordings)).transform(list(recordings)))
            unknown = np.isnan(blocks[0]).all(axis=0)
            if unknown.any():
                names = ", ".join(table.get_feature_names_out()[unknown])
                raise InvalidRecordingError(
                    f"covariates has {names}, which no recording to train on states. Leave it out, "
                    "or give it with Recording(..., metadata={...})."
                )
        if time_of_night:
            blocks.append(np.concatenate([_times(recording) for recording in recordings]))
        mean = np.concatenate([np.nanmean(block, axis=0) for block in blocks])
        std = np.concatenate([np.nanstd(block, axis=0) for block in blocks])
        std = np.where(std > 0, std, 1)
        return cls(table, time_of_night, mean.astype(np.float32), std.astype(np.float32))

    @property
    def n_columns(self) -> int:
        """Numbers beside each feature vector."""
        return len(self.mean) + self._n_stated

    @property
    def _n_stated(self) -> int:
        return 0 if self.table is None else self.table.n_features_out_

    def of(self, recordings: Sequence[Recording]) -> list[np.ndarray]:
        """The columns of each recording, none of them NaN.

        Returns
        -------
        list of float32 ndarray of shape (n_columns,), or (n_epochs, n_columns) with the time
        """
        stated = [np.empty(0, dtype=np.float32)] * len(recordings)
        if self.table is not None:
            rows = self.table.transform(list(recordings))
            missing = np.isnan(rows)
            values = np.where(missing, 0, self._standardised(rows, slice(self._n_stated)))
            stated = list(np.concatenate([values, missing], axis=1).astype(np.float32))
        if not self.time_of_night:
            return stated
        return [self._beside_the_time(*pair) for pair in zip(stated, recordings, strict=True)]

    def _beside_the_time(self, stated: np.ndarray, recording: Recording) -> np.ndarray:
        times = self._standardised(_times(recording), slice(self._n_stated, None))
        everywhere = np.broadcast_to(stated, (len(times), len(stated)))
        return np.concatenate([everywhere, times], axis=1).astype(np.float32)

    def _standardised(self, values: np.ndarray, columns: slice) -> np.ndarray:
        return (values - self.mean[columns]) / self.std[columns]


def _times(recording: Recording) -> np.ndarray:
    return time_columns(recording, np.arange(recording.n_epochs))
