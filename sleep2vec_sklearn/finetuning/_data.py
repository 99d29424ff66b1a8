# SPDX-License-Identifier: BSD-3-Clause
"""Nights as a head or a network reads them, where they come from, and batches of them."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .._progress import progress_bar
from .._torch import RunningStatistics
from .._warnings import warn
from ..config import get_config
from ..encoding._centering import centered_tokens, is_short
from ..encoding._engine import EncodedNight, Engine, encode_together
from ..encoding._expert_blocks import time_columns
from ..encoding._pooling import warn_of_short
from ..encoding._sleep2vec import as_encoder
from ..encoding.cache import open_store
from ..encoding.covariates import RecordingMetadata
from ..errors import CacheWarning, InvalidRecordingError
from ..nightstore.content import Content, compute_contents, contents_key
from ..nightstore.store import NightStore, contents_of, prepare_folder
from ..recordings.recording import Recording, prefix_errors
from ._losses import mean_of_groups

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint
    from ..model.encoder import Encoder
    from ._labels import Targets

_BYTES_OF_TOKENS = 2**28
_NIGHTS_THROUGH_ENCODER = 4
_READ_AHEAD = 2
_SMALLEST_STD = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class NightArrays:
    """A night, or a stretch of one."""

    n_epochs: int
    # tokens of each modality in each layer read, or inputs of an encoder, float32 (n_epochs, width)
    values: Mapping[str, tuple[np.ndarray, ...]]
    valid: Mapping[str, np.ndarray]  # bool (n_epochs,)
    summaries: Mapping[str, tuple[np.ndarray, ...]]  # CLS vectors, where the head reads them

    def part(self, start: int, stop: int) -> NightArrays:
        """Some epochs of it, as views."""
        if (start, stop) == (0, self.n_epochs):
            return self
        values = {n: tuple(a[start:stop] for a in arrays) for n, arrays in self.values.items()}
        valid = {name: mask[start:stop] for name, mask in self.valid.items()}
        return NightArrays(stop - start, values, valid, self.summaries)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a night, and its labelled rows, as indices into those of the night."""

    night: int
    start: int
    stop: int
    rows: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B sequences of L epochs and M modalities, as a network reads them."""

    # tokens [B, L, M, H] or [B, L, M, K, H] for a head, or [B, L, n] by modality for an encoder
    inputs: Tensor | dict[str, Tensor]
    present: Tensor  # bool [B, L, M]
    valid: Tensor  # bool [B, L], False at padding
    covariates: Tensor | None  # [B, C] or [B, L, C]
    cls: Tensor | None  # [B, M, H] or [B, M, K, H]
    # int64: of epochs the position of each row in [B * L], of nights the row of each sequence, [B]
    index: Tensor
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def to(self, device: str | torch.device) -> Batch:
        """The same batch on another device."""

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: tensor.to(device) for name, tensor in value.items()}
            return value.to(device) if isinstance(value, Tensor) else value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})

    def take_rows(self, outputs: Tensor) -> Tensor:
        """Outputs [B, L, O] or [B, O] as one per row, [n_rows, O]: nights of a row are averaged."""
        if outputs.ndim == 3:
            return outputs.flatten(0, 1)[self.index]
        return mean_of_groups(outputs, self.index, self.n_rows)


# a batch, and the targets and weights of its rows
LabelledBatch = tuple[Batch, tuple[Tensor, Tensor]]


def collate(
    nights: Sequence[NightArrays], modalities: Sequence[str], widths: Mapping[str, int] | int,
    covariates: Sequence[np.ndarray] | None, index: np.ndarray, n_rows: int,
) -> Batch:  # fmt: skip
    """Pad nights to one length, with the widths of an encoder's inputs, or that of tokens."""
    shape = (len(nights), max(night.n_epochs for night in nights))
    present = torch.zeros(*shape, len(modalities), dtype=torch.bool)
    valid = torch.zeros(shape, dtype=torch.bool)
    for b, night in enumerate(nights):
        valid[b, : night.n_epochs] = True
        for m, name in enumerate(modalities):
            if name in night.valid:
                present[b, : night.n_epochs, m] = _as_tensor(night.valid[name])
    padded = None
    if covariates is not None:
        padded = pad_sequence([torch.from_numpy(c) for c in covariates], batch_first=True)
    inputs: Tensor | dict[str, Tensor]
    summaries = None
    if isinstance(widths, int):
        inputs = _stack_layers([night.values for night in nights], modalities, shape[1], widths)
        if nights[0].summaries:
            vectors = [night.summaries for night in nights]
            summaries = _stack_layers(vectors, modalities, 1, widths)[:, 0]
    else:
        inputs = {name: torch.zeros(*shape, widths[name]) for name in modalities}
        for b, night in enumerate(nights):
            for name, (values,) in night.values.items():
                inputs[name][b, : night.n_epochs] = _as_tensor(values)
    rows = torch.from_numpy(index.astype(np.int64))
    return Batch(inputs, present, valid, padded, summaries, rows, n_rows)


def _stack_layers(
    nights: Sequence[Mapping[str, tuple[np.ndarray, ...]]], modalities: Sequence[str], length: int,
    width: int,
) -> Tensor:  # fmt: skip
    """Arrays (n, H), or (H,), by modality and layer as [B, length, M, H] or [..., M, K, H].

    Those narrower than ``width`` are followed by zeros.
    """
    n_layers = len(next(iter(nights[0].values())))
    stacked = torch.zeros(len(nights), length, len(modalities), n_layers, width)
    for b, night in enumerate(nights):
        for name, layers in night.items():
            for k, values in enumerate(layers):
                rows = _as_tensor(np.atleast_2d(values))
                stacked[b, : len(rows), modalities.index(name), k, : rows.shape[1]] = rows
    return stacked[..., 0, :] if n_layers == 1 else stacked


def _as_tensor(array: np.ndarray) -> Tensor:
    # torch warns of arrays it may not write to, and entries of the cache are such
    return torch.from_numpy(array if array.flags.writeable else array.copy())


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """The labelled rows of some subjects, and the nights they are in."""

    reader: NightsInMemory | NightsOnDisk
    modalities: tuple[str, ...]
    widths: Mapping[str, int] | int  # of an encoder's inputs, or the one of tokens
    targets: Targets  # of all rows of X
    rows: tuple[np.ndarray, ...]  # labelled ones of each night; none in those of other subjects
    epochs: tuple[np.ndarray, ...] | None  # of these rows; None for nights
    lengths: tuple[int, ...]  # of all nights, in epochs
    covariates: Sequence[np.ndarray] | None  # of all nights, (C,) or (n_epochs, C)
    longest: int | None = None  # most epochs of a piece; None for whole nights

    @property
    def nights(self) -> list[int]:
        """Those that have a labelled row."""
        return [night for night, rows in enumerate(self.rows) if len(rows)]

    def draw(self, rng: np.random.Generator, batch_size: int) -> list[list[Piece]]:
        """One pass over all rows: pieces in random order, in batches of about one size."""
        if self.epochs is None:
            groups = self._nights_by_row()
        else:
            labels = self.epochs
            groups = [
                [piece]
                for night in self.nights
                for piece in self._pieces(night, labels[night], rng)
            ]
        return _shuffled(groups, rng, batch_size)

    def whole(self) -> Iterator[list[Piece]]:
        """Every row once, in batches of one night, or of the nights of one row."""
        if self.epochs is None:
            yield from self._nights_by_row()
            return
        for night in self.nights:
            yield [Piece(night, 0, self.lengths[night], np.arange(len(self.rows[night])))]

    def _nights_by_row(self) -> list[list[Piece]]:
        return self._by_row([Piece(n, 0, self.lengths[n], np.arange(1)) for n in self.nights])

    def _by_row(self, pieces: Iterable[Piece]) -> list[list[Piece]]:
        groups: dict[int, list[Piece]] = {}
        for piece in pieces:
            groups.setdefault(int(self.rows[piece.night][0]), []).append(piece)
        return list(groups.values())

    def _pieces(
        self, night: int, labelled: np.ndarray, rng: np.random.Generator
    ) -> Iterator[Piece]:
        n_epochs, longest = self.lengths[night], self.longest
        if longest is None or n_epochs <= longest:
            edges = np.array([0, n_epochs])
        else:
            first = int(rng.integers(1, longest + 1))
            edges = np.unique([0, *range(first, n_epochs, longest), n_epochs])
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            inside = np.flatnonzero((labelled >= start) & (labelled < stop))
            if len(inside):
                yield Piece(night, start, stop, inside)

    def load(self, pieces: Sequence[Piece]) -> tuple[Any, Any]:
        """The batch of a training step."""
        return self.batch(pieces)

    def batch(self, pieces: Sequence[Piece]) -> LabelledBatch:
        """Read pieces as one batch, with the targets and weights of its rows."""
        rows = np.concatenate([self.rows[p.night][p.rows] for p in pieces])
        if self.epochs is None:
            rows, index = np.unique(rows, return_inverse=True)
        else:
            length = max(p.stop - p.start for p in pieces)
            index = np.concatenate(
                [b * length + self.epochs[p.night][p.rows] - p.start for b, p in enumerate(pieces)]
            )
        covariates = None
        if self.covariates is not None:
            # of epochs each has its own
            of_nights = [(self.covariates[p.night], slice(p.start, p.stop)) for p in pieces]
            covariates = [c if c.ndim == 1 else c[part] for c, part in of_nights]
        nights = [self.reader.part(p.night, p.start, p.stop) for p in pieces]
        batch = collate(nights, self.modalities, self.widths, covariates, index, len(rows))
        targets = self.targets.take(rows)
        values = torch.from_numpy(np.ascontiguousarray(targets.values))
        return batch, (values, torch.from_numpy(targets.weights))


def _shuffled(
    groups: Sequence[list[Piece]], rng: np.random.Generator, batch_size: int
) -> list[list[Piece]]:
    """Groups in random order, in batches of about ``batch_size`` of them."""
    parts = np.array_split(rng.permutation(len(groups)), -(-len(groups) // batch_size))
    return [[piece for group in part for piece in groups[group]] for part in parts]


def token_statistics(
    nights: Iterable[NightArrays], modalities: Sequence[str], summaries: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [M, K, H] of tokens, or of CLS vectors, one night at a time."""
    statistics: dict[str, RunningStatistics] = defaultdict(RunningStatistics)
    for night in nights:
        for name, layers in (night.summaries if summaries else night.values).items():
            valid = [True] if summaries else night.valid[name]
            rows = np.stack([np.atleast_2d(layer)[valid] for layer in layers], axis=1)
            statistics[name].update(rows)
    known = {name: part.mean_and_std(_SMALLEST_STD) for name, part in statistics.items()}
    n_layers, width = np.max([part[0].shape for part in known.values()], axis=0)
    mean = np.zeros((len(modalities), n_layers, width), dtype=np.float32)
    std = np.ones_like(mean)
    for name, part in known.items():
        for whole, own in zip((mean, std), part, strict=True):
            whole[modalities.index(name), :, : own.shape[1]] = own
    return mean, std


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Standardised covariates; a missing value is 0, and 1 in a second column of its field."""

    table: RecordingMetadata | None  # fitted
    time_of_night: bool  # whether the columns of TimeOfNight, one row per epoch, follow
    mean: np.ndarray  # float32 (n_values,)
    std: np.ndarray

    @classmethod
    def fit(
        cls, names: Sequence[str] | None, time_of_night: bool, recordings: Sequence[Recording]
    ) -> Covariates:
        """Learn means and standard deviations."""
        table, blocks = None, []
        if names is not None:
            table = RecordingMetadata(fields=tuple(names)).set_output(transform="default")
            blocks.append(table.fit(list(recordings)).transform(list(recordings)))
            unknown = np.isnan(blocks[0]).all(axis=0)
            if unknown.any():
                listed = ", ".join(table.get_feature_names_out()[unknown])
                raise InvalidRecordingError(
                    f"covariates has {listed}, which no recording to train on states. Leave it "
                    "out, or add it by Recording(..., metadata={...})."
                )
        if time_of_night:
            blocks.append(np.concatenate([_time_columns(recording) for recording in recordings]))
        mean = np.concatenate([np.nanmean(block, axis=0) for block in blocks])
        std = np.concatenate([np.nanstd(block, axis=0) for block in blocks])
        std = np.where(std > 0, std, 1)
        return cls(table, time_of_night, mean.astype(np.float32), std.astype(np.float32))

    @property
    def n_columns(self) -> int:
        """Width of :meth:`of`."""
        return len(self.mean) + self._n_stated

    @property
    def _n_stated(self) -> int:
        return 0 if self.table is None else self.table.n_features_out_

    def of(self, recordings: Sequence[Recording]) -> list[np.ndarray]:
        """Float32 columns (n_columns,) of each recording, or (n_epochs, n_columns) with time."""
        stated = [np.empty(0, dtype=np.float32)] * len(recordings)
        if self.table is not None:
            rows = self.table.transform(list(recordings))
            missing = np.isnan(rows)
            values = np.where(missing, 0, self._standardise(rows, slice(self._n_stated)))
            stated = list(np.concatenate([values, missing], axis=1).astype(np.float32))
        if not self.time_of_night:
            return stated
        with_time = []
        for row, recording in zip(stated, recordings, strict=True):
            times = self._standardise(_time_columns(recording), slice(self._n_stated, None))
            repeated = np.broadcast_to(row, (len(times), len(row)))
            with_time.append(np.concatenate([repeated, times], axis=1).astype(np.float32))
        return with_time

    def _standardise(self, values: np.ndarray, columns: slice) -> np.ndarray:
        return (values - self.mean[columns]) / self.std[columns]


def _time_columns(recording: Recording) -> np.ndarray:
    return time_columns(recording, np.arange(recording.n_epochs))


@dataclass(frozen=True, slots=True, eq=False)
class CohortStep:
    """Subjects whose risks are compared in one step, in chunks that fit in memory."""

    source: TrainingSet
    chunks: list[list[Piece]]

    def __len__(self) -> int:
        return len({int(self.source.rows[p.night][0]) for chunk in self.chunks for p in chunk})

    def batches(self) -> Iterator[LabelledBatch]:
        """Read one chunk after the other."""
        for pieces in self.chunks:
            yield self.source.batch(pieces)


@dataclass(frozen=True, slots=True, eq=False)
class CohortSet(TrainingSet):
    """Nights, drawn by subject."""

    def draw(self, rng: np.random.Generator, batch_size: int) -> list[list[Piece]]:
        """All subjects in random order, about ``batch_size`` in a step; nights stay together."""
        by_subject: dict[float, list[Piece]] = {}
        for group in self._nights_by_row():
            subject = float(self.targets.values[self.rows[group[0].night][0], 0])
            by_subject.setdefault(subject, []).extend(group)
        return _shuffled(list(by_subject.values()), rng, batch_size)

    def load(self, pieces: Sequence[Piece]) -> tuple[CohortStep, None]:
        """Pieces as chunks, in each of which rows are whole."""
        chunks: list[list[Piece]] = [[]]
        n_nights = self._nights_in_memory()
        for group in self._by_row(pieces):
            if chunks[-1] and len(chunks[-1]) + len(group) > n_nights:
                chunks.append([])
            chunks[-1].extend(group)
        return CohortStep(self, chunks), None

    def whole_cohort(self) -> CohortStep:
        return self.load([piece for group in self._nights_by_row() for piece in group])[0]

    def _nights_in_memory(self) -> int:
        if not isinstance(self.reader, NightsInMemory):
            return _NIGHTS_THROUGH_ENCODER
        layers = next(iter(self.reader.nights[0].values.values()))
        per_epoch = 4 * len(self.modalities) * len(layers) * layers[0].shape[1]
        return max(1, _BYTES_OF_TOKENS // (per_epoch * max(self.lengths)))


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Tokens of some layers of a checkpoint; CLS vectors too with ``summaries``."""

    checkpoint: Checkpoint | Encoder
    modalities: tuple[str, ...]
    layers: tuple[str | int, ...]
    precision: str
    device: str
    cache: Any
    summaries: bool = False
    verbose: int | None = None
    center: bool = False  # tokens relative to the mean of their night

    def nights(
        self, recordings: Sequence[Recording], locations: Sequence[str]
    ) -> Iterator[NightArrays]:
        """Encode recordings in order, or take them from the cache."""
        store = open_store(self.cache)
        engines = [
            Engine(
                as_encoder(self.checkpoint, layer, self.precision, self.device, states_only=True),
                self.modalities,
                _READ_AHEAD,
                store,
                find_windows=self.center,
            )
            for layer in self.layers
        ]
        bar = progress_bar(self.verbose, total=len(recordings), desc="encoding", unit="night")
        short = []
        with bar, closing(encode_together(engines, recordings, locations)) as encoded:
            for recording, location, layers in zip(recordings, locations, encoded, strict=True):
                for layer in layers:
                    if layer.error is not None:
                        raise layer.error
                if self.center and is_short(layers[0].modalities):
                    short.append(location)
                yield self._night(recording.n_epochs, layers)
                bar.update()
        warn_of_short(short)
        complaint = None if store is None else store.take_complaint()
        if complaint is not None:
            warn(complaint, CacheWarning)

    def _night(self, n_epochs: int, encoded: Sequence[EncodedNight]) -> NightArrays:
        layers: list[Any] = [layer.modalities for layer in encoded]
        names = layers[0]
        cls = names if self.summaries else ()
        tokens = [{name: item.tokens for name, item in layer.items()} for layer in layers]
        if self.center:
            tokens = [centered_tokens(night.modalities, night.window) for night in encoded]
        return NightArrays(
            n_epochs,
            {name: tuple(layer[name] for layer in tokens) for name in names},
            {name: layers[0][name].valid for name in names},
            {name: tuple(layer[name].summary for layer in layers) for name in cls},
        )


@dataclass(frozen=True, slots=True)
class NightsInMemory:
    """Nights as arrays in memory."""

    nights: Sequence[NightArrays]

    @property
    def modalities(self) -> set[str]:
        """Those of any night."""
        return {name for night in self.nights for name in night.values}

    def part(self, night: int, start: int, stop: int) -> NightArrays:
        return self.nights[night].part(start, stop)


@dataclass(frozen=True, slots=True)
class NightsOnDisk:
    """Prepared nights in a folder, read part by part."""

    store: NightStore

    @property
    def modalities(self) -> set[str]:
        """Those of any night."""
        table = self.store.table
        return {name for name in self.store.contents if table[f"coverage_{name}"].any()}

    def part(self, night: int, start: int, stop: int) -> NightArrays:
        names = self.store.present(night)
        values = {name: (self.store.window(night, name, start, stop - start),) for name in names}
        valid = {name: self.store.valid(night, name)[start:stop] for name in names}
        return NightArrays(stop - start, values, valid, {})


@contextmanager
def prepared_nights(
    checkpoint: Checkpoint, modalities: Sequence[str], recordings: Sequence[Recording],
    locations: Sequence[str], cache: Any, verbose: int | None = None,
) -> Iterator[NightsOnDisk]:  # fmt: skip
    """Condition recordings onto disk, in the cache's folder or one that is deleted afterwards."""
    contents = contents_of(checkpoint, "features", list(modalities))
    folder = get_config()["cache_dir"] if isinstance(cache, str) and cache == "memory" else cache
    with tempfile.TemporaryDirectory(prefix="sleep2vec-") as temporary:
        if folder is None:
            path = Path(temporary)
        else:
            path = Path(folder).expanduser().absolute() / "prepared" / contents_key(contents)
        subjects = pd.DataFrame(index=list(locations))
        store = prepare_folder(
            path, contents, recordings, subjects, verbose=verbose or 0, with_manifest=False
        )
        yield NightsOnDisk(store)


def inputs_of(recording: Recording, contents: Mapping[str, Content], location: str) -> NightArrays:
    """Inputs of an encoder for a whole night, conditioned exactly as the engine does."""
    values, valid = {}, {}
    with prefix_errors(location):
        for name, computed, mask in compute_contents(recording, contents):
            values[name], valid[name] = (computed,), mask
    return NightArrays(recording.n_epochs, values, valid, {})
