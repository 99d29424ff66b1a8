# SPDX-License-Identifier: BSD-3-Clause
"""Tokens of nights with stages, encoded once and kept in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from sleep2vec_sklearn import load_checkpoint
from sleep2vec_sklearn.encoding.cache import open_store
from sleep2vec_sklearn.encoding.engine import Engine
from sleep2vec_sklearn.signals import Recording

__all__ = ["TokenTable", "encode"]


@dataclass(frozen=True)
class TokenTable:
    """Scored epochs that have a signal.

    Attributes
    ----------
    modalities : tuple of str
    tokens : float16 ndarray of shape (n, n_modalities, width)
        Zero where a modality is missing.
    present : bool ndarray of shape (n, n_modalities)
    stages : int8 ndarray of shape (n,)
    night : int ndarray of shape (n,)
        Which of the recordings.
    subjects : ndarray of shape (n_nights,)
    """

    modalities: tuple[str, ...]
    tokens: np.ndarray
    present: np.ndarray
    stages: np.ndarray
    night: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def groups(self) -> np.ndarray:
        """Subject of each row."""
        return self.subjects[self.night]

    def take(self, rows) -> TokenTable:
        """Those rows."""
        return TokenTable(
            self.modalities,
            self.tokens[rows],
            self.present[rows],
            self.stages[rows],
            self.night[rows],
            self.subjects,
        )


def encode(
    recordings: Sequence[Recording], checkpoint: str = "sleep2vec-mini", cache=None, name: str = ""
) -> TokenTable:
    """Encode nights; what is in the folder ``cache`` is not encoded again."""
    checkpoint = load_checkpoint(checkpoint)
    modalities = tuple(m.name for m in checkpoint.config.modalities)
    engine = Engine(checkpoint, modalities, "last", "float32", "cpu", 1, open_store(cache))
    places = [str(recording.id) for recording in recordings]
    parts = []
    with closing(engine.encode(recordings, places)) as nights:
        for night in tqdm(nights, total=len(recordings), desc=name, disable=not name):
            if night.error is not None:
                raise night.error
            parts.append(_rows_of(night, recordings[night.position], modalities))
    tokens, present, stages, night = (np.concatenate(column) for column in zip(*parts, strict=True))
    subjects = np.array([f"{name}/{r.subject if r.subject is not None else r.id}"
                         for r in recordings])  # fmt: skip
    return TokenTable(modalities, tokens, present, stages, night, subjects)


def _rows_of(night, recording: Recording, modalities: Sequence[str]):
    width = next(iter(night.modalities.values())).tokens.shape[1]
    tokens = np.zeros((recording.n_epochs, len(modalities), width), dtype=np.float16)
    present = np.zeros((recording.n_epochs, len(modalities)), dtype=bool)
    for place, name in enumerate(modalities):
        if name in night.modalities:
            encoded = night.modalities[name]
            present[:, place] = encoded.valid
            tokens[:, place] = np.where(encoded.valid[:, None], encoded.tokens, 0)
    used = (recording.stages >= 0) & present.any(axis=1)
    where = np.full(used.sum(), night.position)
    return tokens[used], present[used], recording.stages[used], where
