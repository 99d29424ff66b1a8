# SPDX-License-Identifier: BSD-3-Clause
"""Nights of tokens from the engine, and nights of an encoder's inputs from disk.

Tokens are those of the cache, not copied. Inputs of an encoder are prepared once per fit, or, where
the cache is a folder, once for all fits; a batch of them is in memory at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from .._warnings import warn
from ..config import get_config
from ..encoding._engine import EncodedNight, Engine
from ..encoding.cache import open_store
from ..errors import CacheWarning
from ..nightstore.content import Content, compute_contents, contents_key, contents_of
from ..nightstore.store import NightStore, prepare_folder
from ..recordings.recording import Recording, prefix_errors
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

    def nights(self, recordings: Sequence[Recording], locations: Sequence[str]) -> Iterator[Night]:
        """Encode recordings in order, or take them from the cache."""
        store = open_store(self.cache)
        engines = [
            Engine(self.checkpoint, self.modalities, layer, self.precision, self.device, 2, store)
            for layer in self.layers
        ]
        bar = tqdm(total=len(recordings), desc="encoding", unit="night", disable=not self.verbose)
        with bar, closing(_encode_layers(engines, recordings, locations)) as encoded:
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
    engines: Sequence[Engine], recordings: Sequence[Recording], locations: Sequence[str]
) -> Generator[tuple[EncodedNight, ...], None, None]:
    if len(engines) == 1:
        with closing(engines[0].encode(recordings, locations)) as nights:
            for night in nights:
                yield (night,)
        return
    # all engines night by night, or all tokens of a layer would be in memory
    for recording, location in zip(recordings, locations, strict=True):
        once: Any = _ReadOnce(recording)
        yield tuple(night for engine in engines for night in engine.encode([once], [location]))


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

    store: NightStore

    @property
    def modalities(self) -> set[str]:
        """Those of any night."""
        table = self.store.table
        return {name for name in self.contents if table[f"coverage_{name}"].any()}

    @property
    def contents(self) -> dict[str, Content]:
        """Stored content of each modality."""
        return self.store.contents

    def part(self, night: int, start: int, stop: int) -> Night:
        names = self.store.present(night)
        values = {name: (self.store.window(night, name, start, stop - start),) for name in names}
        valid = {name: self.store.valid(night, name)[start:stop] for name in names}
        return Night(stop - start, values, valid, {})


@contextmanager
def prepared_nights(
    checkpoint: Checkpoint,
    modalities: Sequence[str],
    recordings: Sequence[Recording],
    locations: Sequence[str],
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
            path = Path(folder).expanduser().absolute() / "prepared" / contents_key(contents)
        subjects = pd.DataFrame(index=list(locations))
        store = prepare_folder(
            path, contents, recordings, subjects, verbose=verbose, with_manifest=False
        )
        yield NightsOnDisk(store)


def inputs_of(recording: Recording, contents: Mapping[str, Content], location: str) -> Night:
    """Inputs of an encoder for a whole night, conditioned exactly as the engine does."""
    values, valid = {}, {}
    with prefix_errors(location):
        for name, computed, mask in compute_contents(recording, contents):
            values[name], valid[name] = (computed,), mask
    return Night(recording.n_epochs, values, valid, {})
