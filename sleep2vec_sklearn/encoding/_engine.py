# SPDX-License-Identifier: BSD-3-Clause
"""The encoding engine: from recordings to tokens.

Each modality of a night is one task, from samples to tokens, on one core; there are as many of them
at a time as torch has threads. So a single night keeps all cores busy, and none waits for another
between two products.

The network is only ever called on the windows of one modality of one recording, so a row cannot
depend on the recordings around it, their order, how many are read ahead, or the number of threads.

A night of n epochs and a context of c epochs gives windows that start every c // 2 epochs, the
last one ending with the night; a shorter night is one window. An epoch's token is the mean over
the windows that hold it, weighted by a triangle that peaks in each window's middle, where the
network sees most on either side. The layout depends on n and c alone.

Of a recording read with ``derivations="all"``, each derivation of a modality is a task of its own,
with an entry of its own in the cache. The modality's token of an epoch is their mean over the
derivations that are on in it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch

from ..errors import (
    CheckpointError,
    InvalidRecordingError,
    InvalidSignalError,
    ReadError,
    Sleep2VecError,
)
from ..model.checkpoint import Checkpoint
from ..model.network import Sleep2Vec
from ..recordings._conditioning import (
    ConditionedSignal,
    condition_derivation,
    read_conditioned,
)
from ..recordings.recording import Recording
from ._disk_cache import EncodedModality, token_key

ENCODING_REVISION = 4
_NETWORKS_KEPT = 4
_SECONDS_TO_START = 60
_Part = tuple[str, int]  # a modality, and the index of one of its derivations
_networks: OrderedDict[tuple[str, str], Sleep2Vec] = OrderedDict()
_building = threading.Lock()


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


class Engine:
    """Encodes the modalities of recordings with one checkpoint, some of them read ahead."""

    def __init__(
        self, checkpoint: Checkpoint, modalities: Sequence[str], layer: str | int, precision: str,
        device: str, read_ahead: int, cache: Cache | None, skip_unusable: bool = False,
    ):  # fmt: skip
        self.checkpoint = checkpoint
        self.modalities = tuple(modalities)
        self.layer = layer
        self.precision = precision
        self.device = device
        self.read_ahead = read_ahead
        self.cache = cache
        # a sensor whose samples cannot be used costs itself, not the night
        self.skip_unusable = skip_unusable
        self._conditioning = {m.name: m.conditioning for m in checkpoint.config.modalities}
        self._keys_in_progress: set[str] = set()
        self._one_ended = threading.Condition()

    def encode(
        self, recordings: Sequence[Recording], locations: Sequence[str]
    ) -> Generator[EncodedNight]:
        """Yield one result per recording, in order; errors begin with its location."""
        pending: deque[tuple[int, Future]] = deque()
        n_at_once = min(torch.get_num_threads(), len(self.modalities) * (self.read_ahead + 1))
        with single_threaded(n_at_once) as cores, ThreadPoolExecutor(2) as readers:
            try:
                for position, recording in enumerate(recordings):
                    if len(pending) > self.read_ahead:
                        yield self._finish(*pending.popleft(), locations)
                    pending.append((position, readers.submit(self._begin, recording, cores)))
                while pending:
                    yield self._finish(*pending.popleft(), locations)
            finally:
                for pool in (readers, cores):
                    pool.shutdown(wait=False, cancel_futures=True)

    def is_cached(self, recording: Recording) -> bool:
        """Whether all tokens of a recording are in this process's memory."""
        names = [name for name in self.modalities if name in recording.modalities]
        if self.cache is None or not names:
            return False
        try:
            keys = self._keys(recording, _list_parts(recording, names))
        except (Sleep2VecError, OSError):
            return False
        return all(self.cache.peek(key) is not None for key in keys.values())

    def _begin(self, recording: Recording, cores: ThreadPoolExecutor) -> tuple[dict, dict]:
        """Tokens by part: futures of those being encoded, and those of the cache."""
        names = [name for name in self.modalities if name in recording.modalities]
        if not names:
            raise InvalidRecordingError(
                f"the night has {', '.join(recording.modalities)}, none of which is among the "
                f"modalities to encode ({', '.join(self.modalities)}). Leave it out, or choose a "
                "checkpoint that supports them."
            )
        parts, keys, cached = _list_parts(recording, names), {}, {}
        if self.cache is not None:
            keys = self._keys(recording, parts)
            entries = {part: self.cache.get(key) for part, key in keys.items()}
            cached = {part: entry for part, entry in entries.items() if entry is not None}
        to_encode = {name: self._conditioning[name] for name in names if (name, 0) not in cached}
        encoded = {
            (name, 0): cores.submit(self._encode_once, name, conditioned, keys.get((name, 0)))
            for name, conditioned in read_conditioned(recording, to_encode)
        }
        for name, index in parts:
            if index and (name, index) not in cached:
                # read when its turn comes, so that memory does not grow with the derivations
                conditioned = partial(
                    condition_derivation, recording, name, index, self._conditioning[name]
                )
                key = keys.get((name, index))
                encoded[name, index] = cores.submit(self._encode_once, name, conditioned, key)
        return encoded, cached

    def _keys(self, recording: Recording, parts: Sequence[_Part]) -> dict[_Part, str]:
        made_by = (self.checkpoint.sha256, self.layer, self.precision, ENCODING_REVISION)
        return {
            part: token_key(
                recording.signal_fingerprint(*part), part[0], recording.n_epochs, *made_by
            )
            for part in parts
        }

    def _finish(self, position: int, future: Future, locations: Sequence[str]) -> EncodedNight:
        try:
            jobs, cached = future.result()
            tokens, errors = dict(cached), {}
            for part, job in jobs.items():
                try:
                    tokens[part] = job.result()
                except InvalidSignalError as error:
                    errors[part] = error
            encoded = self._combine(tokens, errors)
            usable = {name: item for name, item in encoded.items() if item.valid.any()}
            left_out = tuple(name for name in encoded if name not in usable)
            if errors and not usable:
                raise next(iter(errors.values()))
            if not usable:
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
        return EncodedNight(position, usable, left_out, complaints, len(cached))

    def _combine(
        self, tokens: dict[_Part, EncodedModality], errors: dict[_Part, InvalidSignalError]
    ) -> dict[str, EncodedModality]:
        """One entry a modality; the error of one without any, unless such may be left out."""
        combined = {}
        for name in self.modalities:
            items = [tokens[part] for part in sorted(tokens) if part[0] == name]
            failed = [errors[part] for part in sorted(errors) if part[0] == name]
            if failed and not self.skip_unusable and not any(item.valid.any() for item in items):
                raise failed[0]
            if items:
                combined[name] = combine_derivations(items)
        return combined

    def _encode_once(
        self, name: str, conditioned: Callable[[], ConditionedSignal | None], key: str | None
    ) -> EncodedModality:
        if key is None or self.cache is None:
            return self._encode_modality(name, conditioned())
        with self._exclusive(key):
            # the same night may have been read ahead twice, or encoded by another thread
            entry = self.cache.peek(key)
            if entry is None:
                entry = self._encode_modality(name, conditioned())
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

    def _encode_modality(self, name: str, signal: ConditionedSignal | None) -> EncodedModality:
        if signal is None:
            return EncodedModality.missing()
        network = network_for(self.checkpoint, self.device)
        context = self.checkpoint.config.context_epochs
        samples = torch.from_numpy(signal.epochs).to(self.device)
        valid = torch.from_numpy(signal.valid).to(self.device)
        n_epochs = len(valid)
        lower = self.precision != "float32"
        autocast = torch.autocast(samples.device.type, torch.bfloat16) if lower else nullcontext()
        with torch.inference_mode(), autocast:
            missing = None if valid.all() else ~valid[None]
            tokens = network.tokenize(name, samples[None], missing)[0]
            tokens, mask = cut_windows(tokens, context), cut_windows(valid, context)
            layer = "last" if self.layer == "projection" else self.layer
            hidden = network.encode(tokens, mask, layer=layer)
            if self.layer == "projection":
                hidden = network.project(hidden)
            hidden = hidden.float()
            summary = None
            if self.checkpoint.config.cls:
                summary, hidden = hidden[:, 0].mean(0).cpu().numpy(), hidden[:, 1:]
            merged = merge_windows(hidden, n_epochs, context)
        if not merged.isfinite().all():
            raise CheckpointError(
                f"{name!r} gave tokens that are not finite with {self.checkpoint.name} in "
                f"{self.precision}. Try precision='float32', or get the checkpoint again."
            )
        return EncodedModality(merged.cpu().numpy(), signal.valid, summary)


def _list_parts(recording: Recording, names: Sequence[str]) -> list[_Part]:
    """What is encoded by itself: each modality, or each of its derivations."""
    kept = recording.derivations if recording.derivation_mode == "all" else {}
    return [(name, index) for name in names for index in range(len(kept.get(name, ())) or 1)]


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


def network_for(checkpoint: Checkpoint, device: str) -> Sleep2Vec:
    """The process's one network for a checkpoint on a device; built at the first call."""
    key = (checkpoint.sha256, device)
    with _building:
        if key not in _networks:
            _networks[key] = checkpoint.build().to(device)
            while len(_networks) > _NETWORKS_KEPT:
                _networks.popitem(last=False)
        _networks.move_to_end(key)
        return _networks[key]


@contextmanager
def single_threaded(n_workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads in each of which torch computes with one thread."""
    started = threading.Barrier(n_workers + 1)

    def begin() -> None:
        # torch sets a thread's number at its first use, from the one that was set last anywhere
        torch.get_num_threads()
        torch.set_num_threads(1)

    before = torch.get_num_threads()
    with ThreadPoolExecutor(n_workers, initializer=begin) as pool:
        try:
            for _ in range(n_workers):
                pool.submit(started.wait)
            started.wait(_SECONDS_TO_START)
        except RuntimeError as error:
            # those that did start would wait for the others forever
            started.abort()
            raise RuntimeError(
                f"the system did not start the {n_workers} threads that encode ({error!r}). Ask "
                "for fewer with torch.set_num_threads, or raise its limit (ulimit -u)."
            ) from error
        finally:
            torch.set_num_threads(before)
        yield pool


def window_starts(n_epochs: int, context: int) -> np.ndarray:
    """First epoch of each window, shape (n_windows,)."""
    if n_epochs <= context:
        return np.zeros(1, dtype=np.int64)
    last = n_epochs - context
    return np.append(np.arange(0, last, max(context // 2, 1)), last)


def cut_windows(sequence: torch.Tensor, context: int) -> torch.Tensor:
    """Cut (n_epochs, ...) into (n_windows, min(context, n_epochs), ...)."""
    n_epochs = sequence.shape[0]
    starts = torch.from_numpy(window_starts(n_epochs, context)).to(sequence.device)
    index = starts[:, None] + torch.arange(min(context, n_epochs), device=sequence.device)
    return sequence[index]


def merge_windows(windows: torch.Tensor, n_epochs: int, context: int) -> torch.Tensor:
    """Average (n_windows, length, width) back to (n_epochs, width)."""
    if len(windows) == 1:
        return windows[0]
    length = windows.shape[1]
    ramp = torch.arange(1, length + 1, dtype=windows.dtype, device=windows.device)
    weights = torch.minimum(ramp, ramp.flip(0))
    merged = windows.new_zeros(n_epochs, windows.shape[2])
    total = windows.new_zeros(n_epochs)
    for start, window in zip(window_starts(n_epochs, context), windows, strict=True):
        merged[start : start + length] += window * weights[:, None]
        total[start : start + length] += weights
    return merged / total[:, None]
