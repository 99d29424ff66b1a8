# SPDX-License-Identifier: BSD-3-Clause
"""The head of the bundled stager: one vote per sensor, and how they are combined."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save

from .._files import check_format_version, write_atomic
from .._untrusted import check_finite, only_errors, parse_json, read_safetensors
from ..encoding._centering import night_centers
from ..errors import CheckpointError

if TYPE_CHECKING:
    from ..model.encoder import EncodedModality

STAGES = ("W", "N1", "N2", "N3", "R")
BUNDLED_HEAD = Path(__file__).parent / "weights" / "sleep2vec-mini-stager.safetensors"
_METADATA_KEY = "sleep2vec_sklearn_stager"
_FORMAT_VERSION = 2
_VOTE = ("scale", "weight", "bias")
_COMBINATION = ("trust", "level", "power")
# of what is standardised: an odd sensor has no say beyond it
_CLIP = 5.0
# a night's deviation counts as within these multiples of the usual one
_DEVIATIONS = (0.2, 5.0)


@dataclass(frozen=True, eq=False)
class SensorVote:
    """Stages by one sensor's token, its state and expert columns: logistic regression."""

    scale: np.ndarray  # float32 (width,), usual deviation from the night's mean
    weight: np.ndarray  # float32 (width, 5)
    bias: np.ndarray  # float32 (5,)

    def __call__(self, relative: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """Log-likelihoods of the stages but for a constant, (n, 5); see :func:`standardise`."""
        return standardise(relative, deviation, self.scale) @ self.weight + self.bias


def standardise(relative: np.ndarray, deviation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Tokens less their night's mean in units of its deviation, clipped.

    Laboratories and sensors differ in how far numbers reach, too. ``scale`` is a usual deviation:
    what hardly moves all night is not blown up.
    """
    low, high = _DEVIATIONS
    return np.clip(relative / np.clip(deviation, low * scale, high * scale), -_CLIP, _CLIP)


def relate_to_night(
    night: Mapping[str, EncodedModality], window: tuple[int, int] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Tokens of each sensor less their mean over the window, and their deviation there (width,)."""
    n_epochs = len(next(iter(night.values())).valid)
    inside = slice(*(window or (0, n_epochs)))
    found = {}
    for name, center in (night_centers(night, window or (0, n_epochs), fewest=1) or {}).items():
        relative, valid = night[name].tokens - center, night[name].valid
        used = relative[inside][valid[inside]] if valid[inside].any() else relative[valid]
        found[name] = relative, np.sqrt(np.square(used, dtype=np.float64).mean(axis=0))
    return found


@dataclass(frozen=True, eq=False)
class StageHead:
    """Votes of the sensors, summed with weights; fewer sensors give less certain stages."""

    votes: Mapping[str, SensorVote] = field(repr=False)
    trust: np.ndarray  # float32 (n_sensors,), weights of the votes
    level: np.ndarray = field(repr=False)  # float32 (5,), log-probabilities without any vote
    # 0 adds up votes as if sensors erred independently, 1 takes their mean
    power: float
    checkpoint_sha256: str
    card: dict = field(repr=False, default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Sensors that have a vote."""
        return tuple(self.votes)

    def stage(
        self, night: Mapping[str, EncodedModality], window: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n_epochs, 5) and agreement (n_epochs,), NaN where no sensor is on.

        Tokens are relative to their mean over the epochs of ``window``, all by default.
        """
        n_epochs = len(next(iter(night.values())).valid)
        related = relate_to_night(night, window)
        votes = np.full((n_epochs, len(self.votes), len(STAGES)), np.nan)
        for i, (name, vote) in enumerate(self.votes.items()):
            if name in related:
                relative, deviation = related[name]
                on = night[name].valid
                votes[on, i] = vote(relative[on], deviation)
        return self.combine(votes)

    def combine(self, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and agreement by votes (n, n_sensors, 5), NaN where a sensor is off.

        Agreement is the weight of the sensors that would, alone, give the stage of all.
        """
        weights = np.isfinite(votes[..., 0]) * self.trust.astype(np.float64)
        total = weights.sum(axis=1, keepdims=True)
        alone = self.level + self.trust[:, None] ** (1 - self.power) * np.nan_to_num(votes)
        with np.errstate(invalid="ignore", divide="ignore"):
            pooled = (weights[..., None] * np.nan_to_num(votes)).sum(axis=1) / total**self.power
            probabilities = softmax(self.level + pooled)
            same = alone.argmax(axis=2) == probabilities.argmax(axis=1)[:, None]
            return probabilities, (weights * same).sum(axis=1) / total[:, 0]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities by log-probabilities but for a constant, along the last axis."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def save_stage_head(path: str | os.PathLike, head: StageHead) -> None:
    """Write a head to one safetensors file."""
    arrays = dict(zip(_COMBINATION, (head.trust, head.level, [head.power]), strict=True))
    for name, vote in head.votes.items():
        arrays |= {f"{name}.{key}": getattr(vote, key) for key in _VOTE}
    tensors = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"{path}: not saved, it has values that are not finite.")
    document = {
        "format_version": _FORMAT_VERSION, "modalities": list(head.modalities),
        "stages": list(STAGES), "checkpoint_sha256": head.checkpoint_sha256, "card": head.card,
    }  # fmt: skip
    try:
        description = json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not saved, the card must be JSON: {error}") from error
    write_atomic(Path(path), save(tensors, metadata={_METADATA_KEY: description}))


@lru_cache(maxsize=2)
def load_stage_head(path: str | os.PathLike = BUNDLED_HEAD) -> StageHead:
    """Read a head; the bundled one by default."""
    path = Path(path)
    with only_errors(CheckpointError, path, "Get it again, or reinstall if it was bundled."):
        found, metadata = read_safetensors(path)
        check_finite(found)
        tensors = {name: tensor.clone().numpy() for name, tensor in found.items()}
        document = parse_json(metadata[_METADATA_KEY])
        check_format_version(path, document["format_version"], _FORMAT_VERSION, CheckpointError)
        votes = {
            name: SensorVote(*(tensors[f"{name}.{key}"] for key in _VOTE))
            for name in document["modalities"]
        }
        trust, level, power = (tensors[key] for key in _COMBINATION)
        head = StageHead(
            votes, trust, level, float(power[0]), str(document["checkpoint_sha256"]),
            dict(document["card"]),
        )  # fmt: skip
        _check_shapes(head)
    return head


def _check_shapes(head: StageHead) -> None:
    n = len(STAGES)
    fit = head.trust.shape == (len(head.votes),) and head.level.shape == (n,)
    for vote in head.votes.values():
        fit &= vote.weight.shape == (len(vote.scale), n) and vote.bias.shape == (n,)
    if not fit:
        raise ValueError(f"tensors do not fit {len(head.votes)} sensors and {n} stages")
