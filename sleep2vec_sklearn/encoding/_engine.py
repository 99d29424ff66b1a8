# SPDX-License-Identifier: BSD-3-Clause
"""The encoding engine: from recordings to tokens, by any encoder.

Each part of a night, such as a modality, is one task, from samples to tokens, on one core; there
are as many of them at a time as torch has threads. So a single night keeps all cores busy, and none
waits for another between two products.

Of a recording read with ``derivations="all"``, each derivation of a modality is a task of its own,
with an entry of its own in the cache. The modality's token of an epoch is their mean over the
derivations that are on in it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch

from .._files import known_hashes
from .._torch import single_threaded
from .._warnings import handed_on
from ..errors import (
    InvalidRecordingError,
    InvalidSignalError,
    ReadError,
    Sleep2VecError,
)
from ..model.encoder import EncodedModality, Encoder, Part
from ..recordings._night_window import find_window, needs_signals, window_modalities
from ..recordings.modality import list_modalities
from ..recordings.recording import Recording, keep_signals
from ._disk_cache import token_key

ENCODING_REVISION = 5


class Cache(Protocol):
    """Where tokens are stored between calls; a peek is not counted as a use."""

    def get(self, key: str) -> EncodedModality | None: ...
    def peek(self, key: str) -> EncodedModality | None: ...
    def put(self, key: str, value: EncodedModality) -> None: ...


@dataclass(frozen=True, slots=True)
class EncodedNight:
    """The result for one recording: tokens by modality, or the error."""

    position: int  # among the recordings
    modalities: dict[str, EncodedModality]
    left_out: tuple[str, ...] = ()  # sensors that are flat or have no samples
    complaints: tuple[str, ...] = ()  # why sensors that are on cannot be used
    n_cached: int = 0  # modalities that were in the cache
    error: Sleep2VecError | None = None
    rows: np.ndarray | None = None  # made where it was encoded, in place of tokens
    window: tuple[int, int] | None = None  # epochs whose mean centres it, if that was asked for
    key: tuple | None = None  # what tells its tokens from all others, if they have keys


class Engine:
    """Encodes groups of recordings with one encoder, some of them read ahead."""

    def __init__(
        self, encoder: Encoder, groups: Sequence[str], read_ahead: int, cache: Cache | None = None,
        skip_unusable: bool = False, find_windows: bool = False,
    ):  # fmt: skip
        self.encoder = encoder
        self.groups = tuple(groups)
        self.read_ahead = read_ahead
        self.cache = cache
        # a sensor whose samples cannot be used costs itself, not the night
        self.skip_unusable = skip_unusable
        self.find_windows = find_windows
        self._keys_in_progress: set[str] = set()
        self._one_ended = threading.Condition()

    def encode(
        self, recordings: Sequence[Recording], locations: Sequence[str]
    ) -> Generator[EncodedNight]:
        """Yield one result per recording, in order; errors begin with its location."""
        keys = self._keys_in_memory(recordings)
        if keys is not None:
            # waiting for threads took half of the 32 ms of six nights
            for position, recording in enumerate(recordings):
                known = partial(self._begin, recording, keys=keys[position])
                yield self._finish(position, known, locations)
            return
        pending: deque[tuple[int, Callable]] = deque()
        begin = handed_on(self._begin)
        n_at_once = min(torch.get_num_threads(), len(self.groups) * (self.read_ahead + 1))
        with single_threaded(n_at_once) as cores, ThreadPoolExecutor(2) as readers:
            try:
                for position, recording in enumerate(recordings):
                    if len(pending) > self.read_ahead:
                        yield self._finish(*pending.popleft(), locations)
                    begun = readers.submit(begin, recording, cores)
                    pending.append((position, begun.result))
                while pending:
                    yield self._finish(*pending.popleft(), locations)
            finally:
                for pool in (readers, cores):
                    pool.shutdown(wait=False, cancel_futures=True)

    def is_cached(self, recording: Recording) -> bool:
        """Whether all tokens of a recording are in this process's memory, its files unread."""
        return self._keys_in_memory([recording]) is not None

    def _keys_in_memory(self, recordings: Sequence[Recording]) -> list[dict[Part, str]] | None:
        """Keys by part of each recording, if the memory holds all of them."""
        found = []
        for recording in recordings:
            parts = self.encoder.parts(recording, self.groups)
            if self.cache is None or not parts or known_hashes(recording.files) is None:
                return None
            try:
                keys = self._keys(recording, parts)
            except (Sleep2VecError, OSError):
                return None
            if any(self.cache.peek(key) is None for key in keys.values()):
                return None
            found.append(keys)
        return found

    def _begin(
        self, recording: Recording, cores: ThreadPoolExecutor | None = None,
        keys: dict[Part, str] | None = None,
    ) -> tuple[dict, dict, tuple[int, int] | None, tuple]:  # fmt: skip
        """Tokens by part, futures of those being encoded and those of the cache; window; keys."""
        parts = self.encoder.parts(recording, self.groups)
        if not parts:
            read = (name for group in self.groups for name in self.encoder.groups[group])
            accepted = list(dict.fromkeys(read))
            raise InvalidRecordingError(
                f"the night has {', '.join(recording.modalities)}, none of which is among the "
                f"modalities to encode ({', '.join(list_modalities(accepted))}). Leave it out, or "
                "choose a checkpoint that supports them."
            )
        keys, cached = keys or {}, {}
        entries: dict[Part, EncodedModality | None] = {}
        if self.cache is not None:
            keys = keys or self._keys(recording, parts)
            entries = {part: self.cache.get(key) for part, key in keys.items()}
            cached = {
                part: entry
                for part, entry in entries.items()
                if entry is not None and self._fits(entry, recording, part[0])
            }
        window = None
        if self.find_windows:
            window, recording = self._find_window(recording)
        missing = [part for part in parts if part not in cached]
        if missing and cores is None:
            # what was in the memory a moment ago has been dropped
            with single_threaded(1) as own:
                return self._begin(recording, own, keys)
        if self._share_signals({group for group, _ in missing}):
            recording = keep_signals(recording)
        tasks = self.encoder.tasks(recording, missing)
        unfit = [part for part in parts if keys and entries[part] is not None]
        known = {part: keys.get(part) for part in parts if part not in unfit}
        encoded = {}
        if cores is not None:
            once = handed_on(self._once)
            encoded = {part: cores.submit(once, task, known.get(part)) for part, task in tasks}
        return encoded, cached, window, tuple(keys.values())

    def _fits(self, entry: EncodedModality, recording: Recording, group: str) -> bool:
        """Whether an entry is one of this night, as another program may have written the folder."""
        shape = entry.tokens.shape
        return shape in ((0, 0), (recording.n_epochs, self.encoder.widths[group]))

    def _share_signals(self, groups: set[str]) -> bool:
        """Whether several groups are made of one signal, which would be read for each."""
        sensors = groups.difference(self.encoder.background)
        read = [name for group in sensors for name in self.encoder.groups[group]]
        return len(set(read)) < len(read)

    def _find_window(self, recording: Recording) -> tuple[tuple[int, int], Recording]:
        """The analysis window, and the recording with the signals that were read for it."""
        if not needs_signals(recording):
            return find_window(recording, {}), recording
        names, key = window_modalities(recording), None
        if self.cache is not None:
            signals = [recording.signal_fingerprint(name) for name in names]
            key = token_key("analysis window", recording.n_epochs, *signals, ENCODING_REVISION)
            entry = self.cache.peek(key) or self.cache.get(key)
            if entry is not None and entry.tokens.shape == (1, 2):
                start, stop = map(int, entry.tokens[0])
                if 0 <= start < stop <= recording.n_epochs:
                    return (start, stop), recording
        read = recording.read(names)
        window = find_window(recording, read)
        if self.cache is not None and key is not None:
            stored = np.array([window], dtype=np.float32)
            self.cache.put(key, EncodedModality(stored, np.ones(1, dtype=bool)))
        return window, keep_signals(recording, read)

    def _keys(self, recording: Recording, parts: Sequence[Part]) -> dict[Part, str]:
        made_by = (*self.encoder.key, ENCODING_REVISION)
        return {
            part: token_key(
                self.encoder.fingerprint(recording, part), part[0], recording.n_epochs, *made_by
            )
            for part in parts
        }

    def _finish(self, position: int, begin: Callable, locations: Sequence[str]) -> EncodedNight:
        try:
            jobs, cached, window, keys = begin()
            tokens, errors = dict(cached), {}
            for part, job in jobs.items():
                try:
                    tokens[part] = job.result()
                except InvalidSignalError as error:
                    errors[part] = error
            encoded = self._combine(tokens, errors)
            usable = {name: item for name, item in encoded.items() if item.valid.any()}
            left_out = tuple(name for name in encoded if name not in usable)
            unusable = not set(usable).difference(self.encoder.background)
            if errors and unusable:
                raise next(iter(errors.values()))
            if unusable:
                raise InvalidRecordingError(
                    f"no usable signal: {', '.join(left_out)} flat or mostly without samples; "
                    "accepted is at least one sensor that is on for half of an epoch. Leave the "
                    "recording out."
                )
        except (Sleep2VecError, OSError) as error:
            kind = type(error) if isinstance(error, Sleep2VecError) else ReadError
            located = kind(f"{locations[position]}: {error}")
            located.__cause__ = error
            return EncodedNight(position, {}, error=located)
        complaints = tuple(str(error) for error in errors.values())
        key = (keys, window, tuple(usable)) if keys else None
        return EncodedNight(
            position, usable, left_out, complaints, len(cached), window=window, key=key
        )

    def _combine(
        self, tokens: dict[Part, EncodedModality], errors: dict[Part, InvalidSignalError]
    ) -> dict[str, EncodedModality]:
        """One entry a group; the error of one without any, unless such may be left out."""
        combined = {}
        for name in self.groups:
            items = [tokens[part] for part in sorted(tokens) if part[0] == name]
            failed = [errors[part] for part in sorted(errors) if part[0] == name]
            if failed and not self.skip_unusable and not any(item.valid.any() for item in items):
                raise failed[0]
            if items:
                combined[name] = combine_derivations(items)
        return combined

    def _once(self, encode: Callable[[], EncodedModality], key: str | None) -> EncodedModality:
        if key is None or self.cache is None:
            return encode()
        with self._exclusive(key):
            # the same night may have been read ahead twice, or encoded by another thread
            entry = self.cache.peek(key)
            if entry is None:
                entry = encode()
                self.cache.put(key, entry)
        return entry

    @contextmanager
    def _exclusive(self, key: str) -> Iterator[None]:
        """Wait until no other thread encodes the same samples."""
        with self._one_ended:
            self._one_ended.wait_for(lambda: key not in self._keys_in_progress)
            self._keys_in_progress.add(key)
        try:
            yield
        finally:
            with self._one_ended:
                self._keys_in_progress.remove(key)
                self._one_ended.notify_all()


def encode_together(
    engines: Sequence[Engine], recordings: Sequence[Recording], locations: Sequence[str]
) -> Generator[tuple[EncodedNight, ...]]:
    """Encode each recording with several engines, which read its signals once."""
    if len(engines) == 1:
        with closing(engines[0].encode(recordings, locations)) as nights:
            for night in nights:
                yield (night,)
        return
    # all engines night by night, or all tokens of one would be in memory
    for position, (recording, location) in enumerate(zip(recordings, locations, strict=True)):
        once = keep_signals(recording)
        nights = (night for engine in engines for night in engine.encode([once], [location]))
        yield tuple(replace(night, position=position) for night in nights)


def combine_derivations(items: Sequence[EncodedModality]) -> EncodedModality:
    """The mean of the derivations of a modality, each epoch over those that are on in it."""
    usable = [item for item in items if item.valid.any()]
    if len(usable) < 2:
        return usable[0] if usable else items[0]
    valid = np.stack([item.valid for item in usable])
    weights = valid.astype(np.float32)
    weights /= np.maximum(weights.sum(axis=0), 1)
    tokens = np.zeros_like(usable[0].tokens)
    for item, weight in zip(usable, weights, strict=True):
        tokens += item.tokens * weight[:, None]
    summaries = [item.summary for item in usable if item.summary is not None]
    summary = np.asarray(np.mean(summaries, axis=0, dtype=np.float32)) if summaries else None
    return EncodedModality(tokens, np.asarray(valid.any(axis=0)), summary)
