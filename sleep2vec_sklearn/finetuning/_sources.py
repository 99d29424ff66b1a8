# SPDX-License-Identifier: BSD-3-Clause
"""Nights of tokens from the engine, and nights of an encoder's inputs from disk.

Tokens are those of the cache, not copied. Inputs of an encoder are prepared once per fit, or, where
the cache is a folder, once for all fits; a batch of them is in memory at a time.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from .._warnings import warn
from ..config import get_config
from ..encoding._engine import EncodedNight, Engine
from ..encoding.cache import open_store
from ..errors import CacheWarning, InvalidRecordingError
from ..model.config import canonical_json
from ..nightstore._files import FolderReader, StoredNight, StoreFolder
from ..nightstore._prepare import PREPARATION_REVISION, key_of, prepare_each, prepare_night
from ..nightstore.content import Content, contents_of, describe_contents
from ..recordings._conditioning import condition
from ..recordings.modality import get_modality
from ..recordings.recording import Recording, naming
from ..recordings.sources import Signal
from ._data import Night

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Tokens of some layers of a checkpoint; CLS vectors too with ``summaries``."""

    checkpoint: Checkpoint
    modalities: tuple[str, ...]
    layers: tuple[str | int, ...]
    precision: str
    device: str
    cache: Any
    summaries: bool = False
    verbose: int = 0

    def nights(self, recordings: Sequence[Recording], places: Sequence[str]) -> Iterator[Night]:
        """Encode recordings in order, or take them from the cache."""
        store = open_store(self.cache)
        engines = [
            Engine(self.checkpoint, self.modalities, layer, self.precision, self.device, 2, store)
            for layer in self.layers
        ]
        bar = tqdm(total=len(recordings), desc="encoding", unit="night", disable=not self.verbose)
        with bar, closing(_encode_layers(engines, recordings, places)) as encoded:
            for recording, layers in zip(recordings, encoded, strict=True):
                for layer in layers:
                    if layer.error is not None:
                        raise layer.error
                yield self._night(recording.n_epochs, [layer.modalities for layer in layers])
                bar.update()
        complaint = None if store is None else store.take_complaint()
        if complaint is not None:
            warn(complaint, CacheWarning)

    def _night(self, n_epochs: int, layers: list[Mapping]) -> Night:
        names = layers[0]
        summaries = {}
        if self.summaries:
            summaries = {name: tuple(layer[name].summary for layer in layers) for name in names}
        return Night(
            n_epochs,
            {name: tuple(layer[name].tokens for layer in layers) for name in names},
            {name: layers[0][name].valid for name in names},
            summaries,
        )


def _encode_layers(
    engines: Sequence[Engine], recordings: Sequence[Recording], places: Sequence[str]
) -> Generator[tuple[EncodedNight, ...]]:
    if len(engines) == 1:
        with closing(engines[0].encode(recordings, places)) as nights:
            for night in nights:
                yield (night,)
        return
    # all engines night by night, or all tokens of a layer would be in memory
    for recording, place in zip(recordings, places, strict=True):
        once = _ReadOnce(recording)
        yield tuple(night for engine in engines for night in engine.encode([once], [place]))


class _ReadOnce:
    """A recording whose signals stay in memory from one layer's engine to the next."""

    def __init__(self, recording: Recording):
        self._recording = recording
        self._signals: dict[str, Signal] = {}

    def __getattr__(self, name: str):
        return getattr(self._recording, name)

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        unread = [name for name in names if name not in self._signals]
        if unread:
            self._signals |= self._recording.read(unread)
        return {name: self._signals[name] for name in names}


@dataclass(frozen=True, slots=True)
class NightsInMemory:
    """Nights as arrays in memory."""

    nights: Sequence[Night]

    @property
    def modalities(self) -> set[str]:
        """Those of any night."""
        return {name for night in self.nights for name in night.values}

    def part(self, night: int, start: int, stop: int) -> Night:
        return self.nights[night].part(start, stop)


@dataclass(frozen=True, slots=True)
class NightsOnDisk:
    """Prepared nights in a folder, read part by part."""

    reader: FolderReader
    stored: tuple[StoredNight, ...]

    @property
    def modalities(self) -> set[str]:
        """Those of any night."""
        stored = np.any(self.reader.offsets >= 0, axis=0).tolist()
        return {name for name, is_stored in zip(self.contents, stored, strict=True) if is_stored}

    @property
    def contents(self) -> dict[str, Content]:
        """Stored content of each modality."""
        return self.reader.folder.contents

    def part(self, night: int, start: int, stop: int) -> Night:
        values, valid = {}, {}
        for column, (name, content) in enumerate(self.contents.items()):
            if self.stored[night].offsets[column] >= 0:
                packed = self.reader.read(night, name, start, stop)
                values[name] = (content.unpack(packed),)
                valid[name] = self.stored[night].presence.mask(column)[start:stop]
        return Night(stop - start, values, valid, {})


@contextmanager
def prepared_nights(
    checkpoint: Checkpoint,
    modalities: Sequence[str],
    recordings: Sequence[Recording],
    places: Sequence[str],
    cache: Any,
    verbose: int = 0,
) -> Iterator[NightsOnDisk]:
    """Condition recordings onto disk, in the cache's folder or one that is deleted afterwards."""
    contents = contents_of(checkpoint, "features", list(modalities))
    folder = get_config()["cache_dir"] if isinstance(cache, str) and cache == "memory" else cache
    with tempfile.TemporaryDirectory(prefix="sleep2vec-") as temporary:
        if folder is None:
            path = Path(temporary)
        else:
            described = [describe_contents(contents), PREPARATION_REVISION]
            name = hashlib.sha256(canonical_json(described).encode()).hexdigest()[:16]
            path = Path(folder).expanduser().absolute() / "prepared" / name
        there = StoreFolder.create(path, contents)
        _, stored, _ = prepare_each(
            partial(_kept, folder=there),
            recordings,
            places,
            n_jobs=None,
            on_error="raise",
            verbose=verbose,
        )
        offsets, sums = (
            np.array([getattr(night, kind) for night in stored], dtype=np.int64)
            for kind in ("offsets", "sums")
        )
        reader = FolderReader(there, tuple(night.key for night in stored), offsets, sums)
        yield NightsOnDisk(reader, tuple(stored))


def _kept(recording: Recording, folder: StoreFolder) -> StoredNight:
    key = key_of(recording, folder.contents)
    found = folder.find(key)
    return folder.write(key, prepare_night(recording, folder.contents)) if found is None else found


def inputs_of(recording: Recording, contents: Mapping[str, Content], place: str) -> Night:
    """Inputs of an encoder for a whole night, conditioned exactly as the engine does."""
    values, valid = {}, {}
    with naming(place):
        names = [name for name in contents if name in recording.modalities]
        if not names:
            raise InvalidRecordingError(
                f"the night has {', '.join(recording.modalities)}, none of which this estimator "
                f"reads ({', '.join(contents)}). Leave it out."
            )
        signals = recording.read(names)
        for name in list(signals):
            content = contents[name]
            night = condition(
                signals.pop(name), get_modality(name), content.conditioning, recording.n_epochs
            )
            if night is not None:
                values[name], valid[name] = (content.compute(night.epochs),), night.valid
        if not values:
            raise InvalidRecordingError(
                f"no usable signal: {', '.join(names)} flat or mostly without samples; accepted is "
                "at least one sensor that is on for half of an epoch. Leave the recording out."
            )
    return Night(recording.n_epochs, values, valid, {})
