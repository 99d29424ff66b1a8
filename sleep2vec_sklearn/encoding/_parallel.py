# SPDX-License-Identifier: BSD-3-Clause
"""Parallel encoding by the processes or machines of a joblib backend that the user has opened.

Only ``joblib.parallel_config(backend="loky", n_jobs=...)``, ``backend="dask"`` and the like start
anything, and only at the top: inside a worker, nights are encoded where they are. A night is
encoded as it is in one process, so rows do not depend on where it happened.

joblib.Parallel does the distribution. What is here on top of it keeps finished nights when a worker
is lost, brings tokens and warnings back, and encodes in this process what is in its memory.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed, wrap_non_picklable_objects
from joblib.parallel import get_active_backend

from .._clusters import how_to_resume, lost_worker_errors
from .._files import adopt_hashes, known_hashes
from .._torch import resolve_device
from .._warnings import collected, ignored, warn
from ..config import export_settings, import_settings
from ..errors import (
    CacheWarning,
    CheckpointError,
    CheckpointWarning,
    ClusterError,
    RecordingWarning,
)
from ..model.checkpoint import BUNDLED, Checkpoint, as_checkpoint
from ..model.encoder import EncodedModality, Encoder
from ._engine import EncodedNight, Engine
from ._pooling import RowSummary
from ._sleep2vec import as_encoder
from .cache import TokenStore, open_store
from .inputs import EncoderInput

_NIGHTS_PER_TASK = 8
_TASKS_PER_WORKER = 4
_SECONDS_FOR_WORKERS = 60
_CHECKPOINTS_KEPT = 2
_checkpoints: dict[str, Checkpoint | Encoder] = {}


def encode_nights(
    engine: Engine, inputs: EncoderInput, summary: RowSummary, checkpoint: Any, device: str
) -> Generator[EncodedNight]:
    """Encode the recordings of X, in order, wherever the user wants them encoded.

    ``engine`` encodes in this process; each worker loads the ``checkpoint`` by its name or path,
    and resolves a ``device`` of "auto" for itself.
    """
    n_workers = count_workers()
    if n_workers is None or not inputs.recordings:
        return engine.encode(inputs.recordings, inputs.locations)
    return _ParallelEncoding(engine, inputs, summary, checkpoint, device, n_workers).encode()


def count_workers() -> int | None:
    """Workers of the backend the user has opened, or None to stay in this process."""
    backend, n_jobs = get_active_backend()
    if getattr(backend, "supports_sharedmem", False) or not backend.supports_return_generator:
        return None
    if type(backend).__name__ == "DaskDistributedBackend":
        from distributed.utils import thread_state

        # a task of a search that is parallel already; the backend itself would start more
        if hasattr(thread_state, "execution_state"):
            return None
        n_workers = backend.effective_n_jobs(n_jobs)
    else:
        n_workers = 1 if n_jobs is None else backend.effective_n_jobs(n_jobs)
    # joblib itself stays in this process for a cluster of one
    return n_workers if n_workers > 1 else None


class _ParallelEncoding:
    """One call of :func:`encode_nights` with workers."""

    def __init__(
        self, engine: Engine, inputs: EncoderInput, summary: RowSummary, checkpoint: Any,
        device: str, n_workers: int,
    ):  # fmt: skip
        self._engine = engine
        self._inputs = inputs
        self._n_workers = n_workers
        self._shown: set[str] = set()
        self._store = cast("TokenStore | None", engine.cache)
        disk = None if self._store is None else self._store.disk
        # tokens that workers cannot share return to the memory of this process
        self._keeps_tokens = self._store is not None and disk is None
        source = None
        if isinstance(checkpoint, str | os.PathLike):
            is_name = checkpoint in BUNDLED or not Path(checkpoint).exists()
            source = checkpoint if is_name else str(Path(checkpoint).resolve())
        self._weights = packed(as_checkpoint(checkpoint)) if source is None else None
        folder = None if disk is None else str(disk.folder.absolute())
        self._work = Work(
            None if source is None else str(source), engine.encoder.key, engine.groups, device,
            engine.read_ahead, folder, None if self._keeps_tokens else summary,
            export_settings(), engine.skip_unusable, engine.find_windows,
        )  # fmt: skip

    def encode(self) -> Generator[EncodedNight]:
        """Yield one result per recording, in order."""
        positions = range(len(self._inputs.recordings))
        in_memory = self._positions_in_memory()
        to_send = [i for i in positions if i not in in_memory]
        here, sent = self._encode_here(sorted(in_memory)), self._encode_in_workers(to_send)
        with closing(here), closing(sent):
            for position in positions:
                yield next(here if position in in_memory else sent)

    def _positions_in_memory(self) -> set[int]:
        if self._store is None or not self._keeps_tokens or not len(self._store.memory):
            return set()
        # a file that has to be read for its key is better read by a worker
        return {
            i
            for i, recording in enumerate(self._inputs.recordings)
            if self._engine.is_cached(recording)
        }

    def _encode_here(self, positions: Sequence[int]) -> Generator[EncodedNight]:
        recordings, locations, _ = self._select(positions)
        with closing(self._engine.encode(recordings, locations)) as nights:
            for night in nights:
                yield replace(night, position=positions[night.position])

    def _encode_in_workers(self, positions: Sequence[int]) -> Generator[EncodedNight]:
        remaining, failed = list(positions), False
        while remaining:
            n_done = 0
            try:
                with closing(self._dispatch(remaining)) as nights:
                    for night in nights:
                        n_done += 1
                        yield night
                return
            except lost_worker_errors() as error:
                remaining = remaining[n_done:]
                # one that fails twice in a row without a night in between will fail again
                gives_up = (failed and n_done == 0) or not _workers_came_back()
                failed = n_done == 0
                what = "encoded in this process" if gives_up else "sent to new workers"
                warn(
                    f"a worker was lost ({type(error).__name__}); the {len(remaining)} nights that "
                    f"had not come back are {what}. Most often memory ran out: use fewer workers "
                    "on a machine, or batch_size=1; with a directory as cache, nights that were "
                    "finished are not encoded again.",
                    RecordingWarning,
                )
            if gives_up:
                yield from self._encode_here(remaining)
                return

    def _dispatch(self, positions: Sequence[int]) -> Generator[EncodedNight]:
        size = min(-(-len(positions) // (_TASKS_PER_WORKER * self._n_workers)), _NIGHTS_PER_TASK)
        shares = [positions[i : i + size] for i in range(0, len(positions), size)]
        # nights take seconds: a task of several batches of them would only be lost as a whole
        parallel = _Parallel(return_as="generator", batch_size=1)
        encode = delayed(encode_share)
        results = parallel(encode(self._work, self._weights, *self._select(s)) for s in shares)
        try:
            for share, (encoded, tokens, hashes, caught) in zip(shares, results, strict=True):
                for category, text in caught:
                    if text not in self._shown:
                        self._shown.add(text)
                        warn(text, category)
                adopt_hashes(hashes)
                if self._store is not None:
                    for key, entry in tokens:
                        self._store.put(key, entry)
                for night in encoded:
                    yield replace(night, position=share[night.position])
        finally:
            results.close()

    def _select(self, positions: Sequence[int]) -> tuple[list, ...]:
        """Recordings, their locations in X, and the epochs asked for."""
        inputs = self._inputs
        epochs = inputs.epochs or [None] * len(inputs.recordings)
        columns = (inputs.recordings, inputs.locations, epochs)
        return tuple([column[i] for i in positions] for column in columns)


class _Parallel(Parallel):
    """One that does not say, after an error, that tasks were cancelled: nobody can adjust them."""

    def _warn_exit_early(self) -> None:
        pass


def _workers_came_back() -> bool:
    """Wait for those of a cluster to be started again; with less than two joblib stays here."""
    deadline = time.monotonic() + _SECONDS_FOR_WORKERS
    while time.monotonic() < deadline:
        try:
            if count_workers() is not None:
                return True
        except TimeoutError:
            # joblib itself waits ten seconds for the first one, then raises
            pass
        except OSError as error:
            # alone, this process could need weeks for what was meant for a cluster
            finished = "with a directory as cache, finished nights are not encoded again"
            raise ClusterError(how_to_resume(error, finished)) from error
        time.sleep(0.2)
    return False


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker has to know besides the recordings; see :class:`Engine`."""

    checkpoint: str | None  # a name or an absolute path; None if the weights are sent
    key: tuple  # sha256, layer and precision
    groups: tuple[str, ...]
    device: str
    read_ahead: int
    folder: str | None  # where workers share tokens
    summary: RowSummary | None  # None if the tokens themselves are wanted
    settings: dict = field(default_factory=dict)
    skip_unusable: bool = False
    find_windows: bool = False

    def open_checkpoint(self, weights: np.ndarray | None) -> Checkpoint | Encoder:
        """The checkpoint, from this process's memory if it was needed before."""
        if self.checkpoint is not None:
            return self._load_checkpoint(self.checkpoint)
        if self.key[0] not in _checkpoints:
            while len(_checkpoints) >= _CHECKPOINTS_KEPT:
                del _checkpoints[next(iter(_checkpoints))]
            _checkpoints[self.key[0]] = pickle.loads(weights)  # type: ignore[arg-type]
        return _checkpoints[self.key[0]]

    def _load_checkpoint(self, source: str) -> Checkpoint | Encoder:
        hint = (
            "Put the file where every worker sees it, or send the weights along: "
            "Sleep2VecTransformer(load_checkpoint(path))."
        )
        try:
            # said where the estimator was fitted
            with ignored(CheckpointWarning):
                checkpoint = as_checkpoint(source)
        except CheckpointError as error:
            raise CheckpointError(f"in a worker: {error} {hint}") from error
        if checkpoint.sha256 != self.key[0]:
            raise CheckpointError(
                f"in a worker, {source} has sha256 {checkpoint.sha256[:12]} and not "
                f"{self.key[0][:12]} as here. {hint}"
            )
        return checkpoint


class _TokenList:
    """A cache that only collects what is put in, to be sent back."""

    def __init__(self) -> None:
        self.items: list[tuple[str, EncodedModality]] = []

    def get(self, key: str) -> None:
        return None

    peek = get

    def put(self, key: str, value: EncodedModality) -> None:
        self.items.append((key, value))


def encode_share(
    work: Work, weights: np.ndarray | None, recordings: Sequence, locations: Sequence[str],
    epochs: Sequence,
) -> tuple[list[EncodedNight], list, dict, list]:  # fmt: skip
    """Encode some nights in a worker: the nights, tokens and hashes to keep, and warnings.

    Tokens come by key where the caller keeps them, with the hashes of the files that keys were made
    from, so that the caller need not read them. Else nights have rows in place of tokens, which are
    larger to send.
    """
    import_settings(work.settings)
    tokens = _TokenList()
    store = None if work.summary is None else open_store(work.folder)
    settings = *work.key[1:3], resolve_device(work.device)
    encoder = as_encoder(work.open_checkpoint(weights), *settings)
    cache = tokens if work.summary is None else store
    options = work.skip_unusable, work.find_windows
    engine = Engine(encoder, work.groups, work.read_ahead, cache, *options)
    with collected(Warning, others=True) as caught:
        nights = list(engine.encode(recordings, locations))
    if work.summary is None:
        hashes = [known_hashes(recording.files) or {} for recording in recordings]
        merged = {path: digest for known in hashes for path, digest in known.items()}
        return nights, tokens.items, merged, caught
    complaint = None if store is None else store.take_complaint()
    if complaint is not None:
        caught.append((CacheWarning, f"in a worker: {complaint}"))
    nights = [_without_tokens(night, work.summary, epochs[night.position]) for night in nights]
    return nights, [], {}, caught


def _without_tokens(
    night: EncodedNight, summary: RowSummary, epochs: np.ndarray | None
) -> EncodedNight:
    if night.error is not None:
        return night
    nothing = EncodedModality.missing().tokens
    bare = {name: EncodedModality(nothing, m.valid) for name, m in night.modalities.items()}
    return replace(night, modalities=bare, rows=summary(night, epochs))


def packed(checkpoint: Checkpoint | Encoder) -> np.ndarray:
    """As an array, which joblib sends once: memory-mapped by loky, scattered by dask."""
    try:
        # by value where it is of a notebook's own class, which no worker can import
        portable = wrap_non_picklable_objects(checkpoint, keep_wrapper=False)
        data = pickle.dumps(portable, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint.name} cannot be sent to workers ({error}). Write a __getstate__ that "
            "leaves out what has no pickle, or encode in this process."
        ) from error
    return np.frombuffer(data, dtype=np.uint8)
