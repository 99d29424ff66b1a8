# SPDX-License-Identifier: BSD-3-Clause
"""Nights as tokenizer features on disk, computed once and resumable.

The front ends of the tokenizers have no learned part, so a night's features (about 3 MB) are all
that training needs of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from sleep2vec_sklearn.model.config import EncoderConfig
from sleep2vec_sklearn.model.sleep2vec import Sleep2Vec
from sleep2vec_sklearn.signals import Recording, get_modality
from sleep2vec_sklearn.signals.conditioning import condition


@dataclass(frozen=True, slots=True)
class StoredNight:
    """Features and validity of each modality of a night."""

    name: str
    is_real: bool
    features: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]

    @property
    def n_epochs(self) -> int:
        return len(next(iter(self.valid.values())))


def write_store(recordings: Iterable[Recording], folder: Path, config: EncoderConfig, n_jobs: int):
    """Write the features of every recording that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [r for r in recordings if not (folder / f"{r.id}.npz").exists()]
    work = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(_write_night)(recording, folder, config) for recording in missing
    )
    for _ in tqdm(work, total=len(missing), desc=f"features -> {folder.name}", unit="night"):
        pass


def read_store(folder: Path, is_real: bool) -> list[StoredNight]:
    """All nights of a folder, sorted by name."""
    nights = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            names = [key for key in arrays.files if not key.endswith(".valid")]
            nights.append(
                StoredNight(
                    path.stem,
                    is_real,
                    {name: arrays[name] for name in names},
                    {name: arrays[f"{name}.valid"] for name in names},
                )
            )
    return nights


def _write_night(recording: Recording, folder: Path, config: EncoderConfig) -> None:
    torch.set_num_threads(1)
    network = Sleep2Vec.from_seed(config, 0)
    arrays = {}
    signals = recording.read([m.name for m in config.modalities])
    for modality in config.modalities:
        name = modality.name
        if name not in signals:
            continue
        night = condition(
            signals[name], get_modality(name), modality.conditioning, recording.n_epochs
        )
        if night is not None:
            arrays[name] = _features(network, name, night.epochs)
            arrays[f"{name}.valid"] = night.valid
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, folder / f"{recording.id}.npz")


@torch.inference_mode()
def _features(network: Sleep2Vec, name: str, epochs: np.ndarray) -> np.ndarray:
    tokenizer = network.tokenizers[name]
    if not hasattr(tokenizer, "features"):
        return epochs
    return tokenizer.features(torch.from_numpy(epochs)).numpy()
