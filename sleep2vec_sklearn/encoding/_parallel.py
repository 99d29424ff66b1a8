# SPDX-License-Identifier: BSD-3-Clause
"""Nights spread over the processes or machines of a joblib backend that the user has opened.

Only ``joblib.parallel_config(backend="loky", n_jobs=...)``, ``backend="dask"`` and the like spread
anything, and only at the top: inside a worker, nights are encoded where they are. A night is
encoded as it is in one process, so rows do not depend on where it happened.
"""

from __future__ import annotations

import pickle
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

from .._files import adopt_hashes, known_hashes
from .._torch import resolve_device
from .._warnings import warn
from ..config import adopt_settings, settings_for_workers
from ..errors import CacheWarning, CheckpointError, RecordingWarning
from ..model.checkpoint import BUNDLED, Checkpoint, load_checkpoint
from ._engine import EncodedNight, Engine
from ._pooling import RowSummary
from .cache import EncodedModality, open_store
from .inputs import EncoderInput

__all__ = [
    "Share",
    "Work",
    "encode_nights",
    "encode_share",
    "packed",
]

_NIGHTS_PER_TASK = 8
_TASKS_PER_WORKER = 4
_SECONDS_FOR_WORKERS = 60


def encode_nights(
    engine: Engine, given: EncoderInput, summary: RowSummary, checkpoint, device: str
) -> Iterator[EncodedNight]:
    """Encode the recordings of X, in order, wherever the user wants them encoded.

    Parameters
    ----------
    engine : Engine
        Encodes them in this process.
    given : EncoderInput
        X.
    summary : RowSummary
        Makes rows in the workers, which are smaller to send than tokens.
    checkpoint : str, path or Checkpoint
        As given to the transformer: a name or path is loaded by each worker, a loaded checkpoint
        is sent to it.
    device : str
        As given to the transformer; each worker finds out for itself what "auto" is.

    Yields
    ------
    EncodedNight
        With ``rows`` in place of tokens if they come from a worker and need not be kept here.
    """
    n_workers = _count_workers()
    if n_workers is None or not given.recordings:
        return engine.encode(given.recordings, given.places)
    return _Spread(engine, given, summary, checkpoint, device, n_workers).encode()


def _count_workers() -> int | None:
    """Workers of the backend the user has opened, or None to stay in this process."""
    backend, n_jobs = get_active_backend()
    if getattr(backend, "supports_sharedmem", False) or not backend.supports_return_generator:
        return None
    if type(backend).__name__ == "DaskDistributedBackend":
        from distributed.utils import thread_state

        # a task of a search that is spread already; the backend itself would spread again
        if hasattr(thread_state, "execution_state"):
            return None
        n_workers = backend.effective_n_jobs(n_jobs)
    else:
        n_workers = 1 if n_jobs is None else backend.effective_n_jobs(n_jobs)
    # joblib itself stays in this process for a cluster of one
    return n_workers if n_workers > 1 else None


class _Spread:
    """One call of transform, spread; see :func:`encode_nights` for the parameters."""

    def __init__(self, engine, given, summary, checkpoint, device, n_workers):
        self._engine: Engine = engine
        self._given: EncoderInput = given
        self._n_workers: int = n_workers
        store = engine.cache
        folder = None if store is None or store.disk is None else store.disk.folder
        # what workers cannot share is kept here
        self._keeps_tokens = store is not None and folder is None
        self._complained = False
        place = None if isinstance(checkpoint, Checkpoint) else _place_of(checkpoint)
        self._weights = packed(engine.checkpoint) if place is None else None
        self._work = Work(
            place,
            engine.checkpoint.sha256,
            engine.modalities,
            engine.layer,
            engine.precision,
            device,
            engine.read_ahead,
            None if folder is None else str(folder.absolute()),
            None if self._keeps_tokens else summary,
            settings_for_workers(),
        )

    def encode(self) -> Iterator[EncodedNight]:
        """Yield one result per recording, in order."""
        held = self._held_here()
        elsewhere = [i for i in range(len(self._given.recordings)) if i not in held]
        with (
            closing(self._encode_here(sorted(held))) as here,
            closing(self._encode_elsewhere(elsewhere)) as spread,
        ):
            for position in range(len(self._given.recordings)):
                yield next(here if position in held else spread)

    def _held_here(self) -> set[int]:
        if not self._keeps_tokens or not len(self._engine.cache.memory):
            return set()
        # a file that has to be read for its key is better read by a worker
        recordings = enumerate(self._given.recordings)
        named = [(i, r) for i, r in recordings if known_hashes(r.files) is not None]
        return {i for i, recording in named if self._engine.holds(recording)}

    def _encode_here(self, positions: Sequence[int]) -> Iterator[EncodedNight]:
        recordings, places, _ = self._take(positions)
        with closing(self._engine.encode(recordings, places)) as nights:
            for night in nights:
                yield replace(night, position=positions[night.position])

    def _encode_elsewhere(self, positions: Sequence[int]) -> Iterator[EncodedNight]:
        left, failed = list(positions), False
        while left:
            n_done = 0
            try:
                with closing(self._dispatch(left)) as nights:
                    for night in nights:
                        n_done += 1
                        yield night
                return
            except _lost_worker_errors() as error:
                left = left[n_done:]
                # one that fails twice in a row without a night in between will fail again
                stays = (failed and n_done == 0) or not _workers_came_back()
                failed = n_done == 0
                _warn_of_lost_worker(error, len(left), stays)
            if stays:
                yield from self._encode_here(left)
                return

    def _dispatch(self, wanted: Sequence[int]) -> Iterator[EncodedNight]:
        size = -(-len(wanted) // (_TASKS_PER_WORKER * self._n_workers))
        size = min(size, _NIGHTS_PER_TASK)
        shares = [wanted[i : i + size] for i in range(0, len(wanted), size)]
        # nights take seconds: a task of several batches of them would only be lost as a whole
        parallel = Parallel(return_as="generator", batch_size=1)
        tasks = (delayed(encode_share)(self._work, self._weights, *self._take(s)) for s in shares)
        results = parallel(tasks)
        try:
            for positions, share in zip(shares, results, strict=True):
                self._pass_on(share.complaint)
                adopt_hashes(share.hashes)
                for key, encoded in share.tokens:
                    self._engine.cache.put(key, encoded)
                for night in share.nights:
                    yield replace(night, position=positions[night.position])
        finally:
            with warnings.catch_warnings():
                # after an error, joblib says that tasks were cancelled; nobody can adjust them
                warnings.filterwarnings("ignore", "[0-9]+ tasks ", UserWarning)
                results.close()

    def _pass_on(self, complaint: str | None) -> None:
        if complaint is not None and not self._complained:
            self._complained = True
            warn(f"in a worker: {complaint}", CacheWarning)

    def _take(self, positions: Sequence[int]) -> tuple[list, list, list]:
        """Recordings, their places in X, and the epochs asked for."""
        recordings, places = self._given.recordings, self._given.places
        epochs = self._given.epochs or [None] * len(recordings)
        return tuple([values[i] for i in positions] for values in (recordings, places, epochs))


def _workers_came_back() -> bool:
    """Wait for those of a cluster to be started again; with less than two joblib stays here."""
    give_up = time.monotonic() + _SECONDS_FOR_WORKERS
    while time.monotonic() < give_up:
        # joblib itself waits ten seconds for the first one, then raises
        with suppress(TimeoutError):
            if _count_workers() is not None:
                return True
        time.sleep(0.2)
    return False


def _place_of(checkpoint) -> str:
    is_name = isinstance(checkpoint, str) and checkpoint in BUNDLED
    return checkpoint if is_name else str(Path(checkpoint).resolve())


def _lost_worker_errors() -> tuple[type[Exception], ...]:
    errors = (BrokenProcessPool, CancelledError)
    distributed = sys.modules.get("distributed")
    return errors if distributed is None else (*errors, distributed.KilledWorker)


def _warn_of_lost_worker(error: Exception, n_left: int, stays: bool) -> None:
    what = "encoded in this process" if stays else "given to new workers"
    warn(
        f"a worker was lost ({type(error).__name__}); the {n_left} nights that had not come back "
        f"are {what}. Most often memory ran out: use fewer workers on a machine, or batch_size=1; "
        "with a directory as cache, nights that were finished are not encoded again.",
        RecordingWarning,
    )


_CHECKPOINTS_KEPT = 2
_checkpoints: dict[str, Checkpoint] = {}


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker has to know besides the recordings.

    Attributes
    ----------
    checkpoint : str or None
        Name or absolute path; None if the weights are sent.
    sha256 : str
        Of the checkpoint, whichever way it comes.
    modalities, layer, precision, device, read_ahead
        See :class:`Engine`.
    folder : str or None
        Where workers share tokens.
    summary : RowSummary or None
        None if the tokens themselves are wanted.
    settings : dict
        Those chosen with ``set_config``, as ``cache_bytes``.
    """

    checkpoint: str | None
    sha256: str
    modalities: tuple[str, ...]
    layer: str | int
    precision: str
    device: str
    read_ahead: int
    folder: str | None
    summary: RowSummary | None
    settings: dict = field(default_factory=dict)

    def find_checkpoint(self, weights: np.ndarray | None) -> Checkpoint:
        """The checkpoint, from this process's memory if it was needed before."""
        if self.checkpoint is not None:
            return self._load_checkpoint()
        if self.sha256 not in _checkpoints:
            while len(_checkpoints) >= _CHECKPOINTS_KEPT:
                del _checkpoints[next(iter(_checkpoints))]
            _checkpoints[self.sha256] = pickle.loads(weights)
        return _checkpoints[self.sha256]

    def _load_checkpoint(self) -> Checkpoint:
        way_out = (
            "Put the file where every worker sees it, or send the weights along: "
            "Sleep2VecTransformer(load_checkpoint(path))."
        )
        try:
            checkpoint = load_checkpoint(self.checkpoint)
        except CheckpointError as error:
            raise CheckpointError(f"in a worker: {error} {way_out}") from error
        if checkpoint.sha256 != self.sha256:
            raise CheckpointError(
                f"in a worker, {self.checkpoint} has sha256 {checkpoint.sha256[:12]} and not "
                f"{self.sha256[:12]} as here. {way_out}"
            )
        return checkpoint


class _Tokens:
    """A cache that only remembers what was put in, to be sent back."""

    def __init__(self):
        self.items: list[tuple[str, EncodedModality]] = []

    def get(self, key: str) -> None:
        return None

    peek = get

    def put(self, key: str, value: EncodedModality) -> None:
        self.items.append((key, value))


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker gives back.

    Attributes
    ----------
    nights : list of EncodedNight
    tokens : list of (str, EncodedModality)
        With their keys, where the caller keeps them.
    hashes : dict
        Of the files these keys were made from, so that the caller need not read them for a key.
    complaint : str or None
        Why the folder of the cache could not be used.
    """

    nights: list[EncodedNight]
    tokens: list[tuple[str, EncodedModality]] = field(default_factory=list)
    hashes: dict = field(default_factory=dict)
    complaint: str | None = None


def encode_share(
    work: Work,
    weights: np.ndarray | None,
    recordings: Sequence,
    places: Sequence,
    epochs: Sequence,
) -> Share:
    """Encode some nights in a worker."""
    adopt_settings(work.settings)
    cache = _Tokens() if work.summary is None else open_store(work.folder)
    engine = Engine(
        work.find_checkpoint(weights),
        work.modalities,
        work.layer,
        work.precision,
        resolve_device(work.device),
        work.read_ahead,
        cache,
    )
    nights = list(engine.encode(recordings, places))
    if work.summary is None:
        hashes = [known_hashes(recording.files) or {} for recording in recordings]
        return Share(nights, cache.items, {k: v for known in hashes for k, v in known.items()})
    bare = [_without_tokens(night, work.summary, epochs[night.position]) for night in nights]
    return Share(bare, complaint=None if cache is None else cache.take_complaint())


def _without_tokens(night: EncodedNight, summary: RowSummary, epochs) -> EncodedNight:
    if night.error is not None:
        return night
    nothing = EncodedModality.missing().tokens
    bare = {name: EncodedModality(nothing, m.valid) for name, m in night.modalities.items()}
    return replace(night, modalities=bare, rows=summary(night, epochs))


def packed(checkpoint: Checkpoint) -> np.ndarray:
    """As an array, which joblib hands over once: memory-mapped by loky, scattered by dask."""
    return np.frombuffer(pickle.dumps(checkpoint, protocol=5), dtype=np.uint8)
