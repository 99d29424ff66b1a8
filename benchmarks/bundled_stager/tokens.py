# SPDX-License-Identifier: BSD-3-Clause
"""Tokens of nights with stages, each modality relative to its mean over the night."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from sleep2vec_sklearn import load_checkpoint
from sleep2vec_sklearn.encoding._engine import Engine
from sleep2vec_sklearn.recordings import Recording

__all__ = ["TokenTable", "encode", "join", "kept"]

# epochs: recordings of more than twelve hours are cut to half an hour around sleep
LONGEST_NIGHT, AROUND_SLEEP = 1440, 60


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
    subjects : str ndarray of shape (n,)
        "data set/person".
    """

    modalities: tuple[str, ...]
    tokens: np.ndarray
    present: np.ndarray
    stages: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.stages)

    def take(self, rows) -> TokenTable:
        """Those rows."""
        columns = (self.tokens, self.present, self.stages, self.subjects)
        return TokenTable(self.modalities, *(column[rows] for column in columns))


def join(tables: Sequence[TokenTable]) -> TokenTable:
    """Several tables as one."""
    names = ("tokens", "present", "stages", "subjects")
    columns = (np.concatenate([getattr(table, name) for table in tables]) for name in names)
    return TokenTable(tables[0].modalities, *columns)


def kept(path: Path, recordings: Sequence[Recording], name: str) -> TokenTable:
    """The table of these nights; read from a file if there is one, else made and written."""
    if path.exists():
        with np.load(path) as file:
            columns = [file[key] for key in ("tokens", "present", "stages", "subjects")]
            return TokenTable(tuple(file["modalities"].tolist()), *columns)
    table = encode(recordings, name)
    np.savez(path, **{field.name: getattr(table, field.name) for field in fields(table)})
    return table


def encode(recordings: Sequence[Recording], name: str) -> TokenTable:
    """Encode nights with the bundled encoder.

    Parameters
    ----------
    recordings : sequence of Recording
        With stages.
    name : str
        Of the data set; the first part of the subjects.
    """
    checkpoint = load_checkpoint("sleep2vec-mini")
    modalities = tuple(m.name for m in checkpoint.config.modalities)
    engine = Engine(checkpoint, modalities, "last", "float32", "cpu", 1, None)
    parts = []
    with closing(engine.encode(recordings, [str(r.id) for r in recordings])) as nights:
        for night in tqdm(nights, total=len(recordings), desc=name):
            if night.error is not None:
                raise night.error
            recording = recordings[night.position]
            rows = _rows_of(night, recording, modalities)
            who = recording.id if recording.subject is None else recording.subject
            parts.append(TokenTable(modalities, *rows, np.full(len(rows[2]), f"{name}/{who}")))
    return join(parts)


def _rows_of(night, recording: Recording, modalities: Sequence[str]):
    width = next(iter(night.modalities.values())).tokens.shape[1]
    tokens = np.zeros((recording.n_epochs, len(modalities), width), dtype=np.float16)
    present = np.zeros((recording.n_epochs, len(modalities)), dtype=bool)
    first, last = _night_of(recording)
    for place, name in enumerate(modalities):
        if name not in night.modalities:
            continue
        encoded = night.modalities[name]
        there = encoded.valid.copy()
        there[:first] = there[last:] = False
        if there.any():
            centred = encoded.tokens - encoded.tokens[there].mean(axis=0)
            tokens[:, place] = np.where(there[:, None], centred, 0)
            present[:, place] = there
    used = (recording.stages >= 0) & present.any(axis=1)
    return tokens[used], present[used], recording.stages[used]


def _night_of(recording: Recording) -> tuple[int, int]:
    if recording.n_epochs <= LONGEST_NIGHT:
        return 0, recording.n_epochs
    asleep = np.flatnonzero(recording.stages > 0)
    return max(asleep[0] - AROUND_SLEEP, 0), asleep[-1] + 1 + AROUND_SLEEP
