# SPDX-License-Identifier: BSD-3-Clause
"""What a worker does with its share of the nights, and what it has to be told."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .._hardware import resolve_device
from ..config import adopt_settings
from ..errors import CheckpointError
from ..model.checkpoint import Checkpoint, load_checkpoint
from ..signals.file_hashes import known_hashes
from .cache import EncodedModality, open_store
from .engine import EncodedNight, Engine
from .rows import RowSummary

__all__ = ["Share", "Work", "encode_share", "packed"]

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
