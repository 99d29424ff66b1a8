# SPDX-License-Identifier: BSD-3-Clause
"""Feature sets that are made by an encoder, and by the same network without its training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sleep2vec_sklearn.recordings import EpochSequence, Recording

if TYPE_CHECKING:
    from sleep2vec_sklearn.model.checkpoint import Checkpoint

__all__ = ["encoder_features", "random_twin", "with_time"]


def encoder_features(checkpoint, **parameters) -> Callable[[Sequence[Recording]], list[np.ndarray]]:
    """Feature set of an encoder: one block of rows per recording, in its order.

    Parameters
    ----------
    checkpoint : Checkpoint, str or path
    **parameters
        Of :class:`~sleep2vec_sklearn.Sleep2VecTransformer`. Tokens stay in memory by default, so
        other subsets of modalities and other fusions of the same nights encode nothing again.
    """
    from sleep2vec_sklearn import Sleep2VecTransformer

    def features(recordings: Sequence[Recording]) -> list[np.ndarray]:
        X = EpochSequence(recordings)
        rows = Sleep2VecTransformer(checkpoint, **parameters).fit(X).transform(X)
        ends = np.cumsum([recording.n_epochs for recording in recordings])
        return np.split(np.asarray(rows), ends[:-1])

    return features


def with_time(make: Callable) -> Callable[[Sequence[Recording]], list[np.ndarray]]:
    """The same rows, and how late in the night each is, which all hand-made features tell too."""
    from sleep2vec_sklearn import TimeOfNight

    def features(recordings: Sequence[Recording]) -> list[np.ndarray]:
        rows = make(recordings)
        times = TimeOfNight().fit_transform(EpochSequence(recordings))
        ends = np.cumsum([len(block) for block in rows])
        return [np.hstack(pair) for pair in zip(rows, np.split(times, ends[:-1]), strict=True)]

    return features


def random_twin(checkpoint: Checkpoint, seed: int = 0) -> Checkpoint:
    """The same network with untrained parameters; input statistics (buffers) stay."""
    from sleep2vec_sklearn.model.network import Sleep2Vec

    model = Sleep2Vec.from_seed(checkpoint.config, seed)
    buffers = {name for name, _ in model.named_buffers()} & set(checkpoint.state)
    state = {**model.state_dict(), **{name: checkpoint.state[name] for name in buffers}}
    sha256 = hashlib.sha256(f"{checkpoint.sha256} random {seed}".encode()).hexdigest()
    return replace(checkpoint, state=state, sha256=sha256, name=f"{checkpoint.name}, random")
