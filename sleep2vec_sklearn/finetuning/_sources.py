# SPDX-License-Identifier: BSD-3-Clause
"""Where nights come from: tokens of the engine, or what an encoder reads, kept on disk.

Tokens are those of the cache, without a copy. What an encoder reads is prepared once for a fit, or,
where the cache is a folder, once for all of them; of it a batch is in memory at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from .._warnings import warn
from ..config import get_config
from ..encoding._engine import Engine
from ..encoding.cache import open_store
from ..errors import CacheWarning
from ..nightstore.content import Content, compute_contents, contents_key, contents_of
from ..nightstore.store import NightStore, prepare_folder
from ..recordings.recording import Recording, prefix_errors
from ..recordings.sources import Signal
from ._data import Night

__all__ = [
    "NightsInMemory",
    "NightsOnDisk",
    "TokenSource",
    "inputs_of",
    "prepared_nights",
]


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Tokens of a checkpoint.

    Attributes
    ----------
    checkpoint : Checkpoint
    modalities : tuple of str
    layers : tuple of str or int
        As :class:`~sleep2vec_sklearn.encoding._engine.Engine` takes them.
    precision, device : str
    cache : "memory", path or None
    summaries : bool
        Whether CLS vectors are wanted.
    verbose : int
    """

    checkpoint: object
    modalities: tuple[str, ...]
    layers: tuple
    precision: str
    device: str
    cache: object
    summaries: bool = False
    verbose: int = 0

    def nights(self, recordings: Sequence[Recording], places: Sequence[str]) -> Iterator[Night]:
        """Encode recordings in order, or take them from the cache.

        Raises
        ------
        InvalidRecordingError, ReadError
            If one cannot be encoded.
        """
        store = open_store(self.cache)
        engines = [
            Engine(self.checkpoint, self.modalities, layer, self.precision, self.device, 2, store)
            for layer in self.layers
        ]
        bar = tqdm(total=len(recordings), desc="encoding", unit="night", disable=not self.verbose)
        # one engine after the other for each night, or all tokens of a layer would be in memory
        with bar, closing(_side_by_side(engines, recordings, places)) as encoded:
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


def _side_by_side(engines: Sequence[Engine], recordings, places) -> Iterator[tuple]:
    if len(engines) == 1:
        with closing(engines[0].encode(recordings, places)) as nights:
            for night in nights:
                yield (night,)
        return
    for recording, place in zip(recordings, places, strict=True):
        once = _ReadOnce(recording)
        (nights,) = zip(*(engine.encode([once], [place]) for engine in engines), strict=True)
        yield nights


class _ReadOnce:
    """A recording whose signals are kept from one layer's engine to the next."""

    def __init__(self, recording: Recording):
        self._recording = recording
        self._signals: dict[str, Signal] = {}

    def __getattr__(self, name: str):
        return getattr(self._recording, name)

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """As :meth:`Recording.read`."""
        unread = [name for name in names if name not in self._signals]
        if unread:
            self._signals |= self._recording.read(unread)
        return {name: self._signals[name] for name in names}


@dataclass(frozen=True, slots=True)
class NightsInMemory:
    """Nights that are there."""

    nights: Sequence[Night]

    @property
    def modalities(self) -> set[str]:
        """Those that any night has."""
        return {name for night in self.nights for name in night.values}

    def part(self, night: int, start: int, stop: int) -> Night:
        """Some epochs of a night."""
        return self.nights[night].part(start, stop)


@dataclass(frozen=True, slots=True)
class NightsOnDisk:
    """Prepared nights in a folder, of which parts are read."""

    store: NightStore

    @property
    def modalities(self) -> set[str]:
        """Those that any night has."""
        table = self.store.table
        return {name for name in self.contents if table[f"coverage_{name}"].any()}

    @property
    def contents(self) -> dict[str, Content]:
        """What is stored of each modality."""
        return self.store.contents

    def part(self, night: int, start: int, stop: int) -> Night:
        """Read some epochs of a night."""
        names = self.store.present(night)
        values = {name: (self.store.window(night, name, start, stop - start),) for name in names}
        valid = {name: self.store.valid(night, name)[start:stop] for name in names}
        return Night(stop - start, values, valid, {})


@contextmanager
def prepared_nights(
    checkpoint,
    modalities: Sequence[str],
    recordings: Sequence[Recording],
    places: Sequence[str],
    cache,
    verbose: int = 0,
) -> Iterator[NightsOnDisk]:
    """Condition recordings onto disk, into the cache's folder or one that is deleted afterwards.

    Raises
    ------
    InvalidRecordingError
        If one has no usable signal.
    """
    contents = contents_of(checkpoint, "features", list(modalities))
    folder = get_config()["cache_dir"] if isinstance(cache, str) and cache == "memory" else cache
    with tempfile.TemporaryDirectory(prefix="sleep2vec-") as temporary:
        if folder is None:
            path = Path(temporary)
        else:
            path = Path(folder).expanduser().absolute() / "prepared" / contents_key(contents)
        subjects = pd.DataFrame(index=list(places))
        store = prepare_folder(
            path, contents, recordings, subjects, verbose=verbose, with_manifest=False
        )
        yield NightsOnDisk(store)


def inputs_of(recording: Recording, contents: Mapping[str, Content], place: str) -> Night:
    """What an encoder reads of a night, as exactly as the engine conditions it.

    Raises
    ------
    InvalidRecordingError
        If it has no usable signal of these modalities.
    """
    values, valid = {}, {}
    with prefix_errors(place):
        for name, computed, mask in compute_contents(recording, contents):
            values[name], valid[name] = (computed,), mask
    return Night(recording.n_epochs, values, valid, {})
