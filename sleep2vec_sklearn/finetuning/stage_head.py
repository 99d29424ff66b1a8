# SPDX-License-Identifier: BSD-3-Clause
"""A small head for sleep stages: every sensor votes, and the votes are averaged by trust."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .._files import write_whole
from ..errors import CheckpointError

__all__ = ["BUNDLED_HEAD", "StageHead", "load_stage_head", "save_stage_head"]

BUNDLED_HEAD = Path(__file__).parent / "weights" / "sleep2vec-mini-stager.safetensors"
STAGES = ("W", "N1", "N2", "N3", "R")
_METADATA_KEY = "sleep2vec_sklearn_stager"
_FORMAT_VERSION = 1
_TENSORS = ("weight", "bias", "trust")
# epochs: twelve hours, and ten
_LONGEST_NIGHT, _NIGHT = 1440, 1200


@dataclass(frozen=True, eq=False)
class StageHead:
    """Linear votes of the modalities on the stage of an epoch.

    The tokens of a night are taken relative to their mean over the night, modality by modality:
    what stays the same all night tells of the person, the sensor and the laboratory, not of the
    stage.

    Attributes
    ----------
    modalities : tuple of str
    weight : float32 ndarray of shape (n_modalities, width, 5)
    bias : float32 ndarray of shape (n_modalities, 5)
    trust : float32 ndarray of shape (n_modalities,)
        How much a vote counts beside others; a sensor alone has the same say whatever its trust.
    checkpoint_sha256 : str
        The encoder whose tokens it reads.
    card : dict
        What it was trained on and how good it is.
    """

    modalities: tuple[str, ...]
    weight: np.ndarray = field(repr=False)
    bias: np.ndarray = field(repr=False)
    trust: np.ndarray = field(repr=False)
    checkpoint_sha256: str
    card: dict = field(repr=False, default_factory=dict)

    def probabilities(self, tokens: Mapping[str, np.ndarray], valid: Mapping) -> np.ndarray:
        """Probability of each stage.

        Parameters
        ----------
        tokens : mapping of str to ndarray of shape (n_epochs, width)
            At least one modality.
        valid : mapping of str to bool ndarray of shape (n_epochs,)
            Where each has a signal.

        Returns
        -------
        float64 ndarray of shape (n_epochs, 5)
            In the order W, N1, N2, N3, R; NaN where no modality is valid.

        Notes
        -----
        The mean is that of the whole night. In a recording of more than twelve hours, most of which
        is a day, it is that of the ten hours with the most sleep, as told by a first pass.
        """
        n_epochs = len(next(iter(valid.values())))
        found = self._vote(tokens, valid, slice(None))
        if n_epochs <= _LONGEST_NIGHT:
            return found
        asleep = np.nan_to_num(1 - found[:, 0])
        sums = np.cumsum(np.concatenate([[0], asleep]))
        start = int((sums[_NIGHT:] - sums[:-_NIGHT]).argmax())
        return self._vote(tokens, valid, slice(start, start + _NIGHT))

    def _vote(self, tokens: Mapping, valid: Mapping, night: slice) -> np.ndarray:
        """Average the votes, of tokens relative to their mean over these epochs."""
        n_epochs = len(next(iter(valid.values())))
        total, trust = np.zeros((n_epochs, len(STAGES))), np.zeros((n_epochs, 1))
        for place, name in enumerate(self.modalities):
            if name not in tokens or not valid[name].any():
                continue
            there = valid[name]
            within = tokens[name][night][there[night]]
            mean = (within if len(within) else tokens[name][there]).mean(axis=0)
            vote = (tokens[name] - mean).astype(np.float64) @ self.weight[place] + self.bias[place]
            total += np.where(there[:, None], self.trust[place] * vote, 0)
            trust += there[:, None] * self.trust[place]
        with np.errstate(invalid="ignore", divide="ignore"):
            logits = total / trust
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def save_stage_head(path: str | os.PathLike, head: StageHead) -> None:
    """Write a head to one safetensors file, in float16.

    Raises
    ------
    CheckpointError
        If a value is too large for float16, or the card is not JSON.
    """
    with np.errstate(over="ignore"):
        tensors = {name: getattr(head, name).astype(np.float16) for name in _TENSORS}
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"{path}: not saved, it has values that are not finite as float16.")
    document = {
        "format_version": _FORMAT_VERSION,
        "modalities": list(head.modalities),
        "stages": list(STAGES),
        "checkpoint_sha256": head.checkpoint_sha256,
        "card": head.card,
    }
    try:
        description = json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not saved, the card must be JSON: {error}") from error
    write_whole(Path(path), save(tensors, metadata={_METADATA_KEY: description}))


def load_stage_head(path: str | os.PathLike = BUNDLED_HEAD) -> StageHead:
    """Read a head; the bundled one by default.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of something else, or of a newer version.

    Examples
    --------
    >>> from sleep2vec_sklearn.finetuning.stage_head import load_stage_head
    >>> load_stage_head().weight.shape
    (11, 128, 5)
    """
    return _load(Path(path))


@lru_cache(maxsize=2)
def _load(path: Path) -> StageHead:
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in _TENSORS}
            metadata = file.metadata() or {}
        document = json.loads(metadata[_METADATA_KEY])
        version = int(document["format_version"])
        modalities = tuple(document["modalities"])
        sha256, card = str(document["checkpoint_sha256"]), dict(document["card"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: no stager can be read from it ({error!r}). Get the file again, or reinstall "
            "if it was bundled."
        ) from error
    if version > _FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: written in format {version} by a newer version, this one reads up to "
            f"{_FORMAT_VERSION}. Upgrade with: pip install -U sleep2vec-sklearn"
        )
    n = len(modalities)
    shapes = [tensors[name].shape for name in _TENSORS]
    if shapes != [(n, *shapes[0][1:2], len(STAGES)), (n, len(STAGES)), (n,)]:
        raise CheckpointError(
            f"{path}: tensors have the shapes {shapes} for {n} modalities, {len(STAGES)} stages; "
            "get the file again."
        )
    return StageHead(modalities, **tensors, checkpoint_sha256=sha256, card=card)
