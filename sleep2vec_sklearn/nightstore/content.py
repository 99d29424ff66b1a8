# SPDX-License-Identifier: BSD-3-Clause
"""What a store holds of each modality, and in how many bits.

Samples, conditioned epochs, are int16 of one scale, ``clip / 32767``, and off by half a step: with
the catalogue's clip of 20, a step is 0.0031 % of saturation or 0.12 ms of an inter-beat interval.
Features, what a tokenizer's front end makes of them, differ in size: as float16 they are off by
``|x| / 2048`` at most, or by 3e-8 near zero.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .._files import canonical_json, sha256
from .._torch import building, inference
from ..errors import InvalidRecordingError, InvalidSignalError
from ..model.config import (
    TokenizerConfig,
    check_conditioning,
    conditioning_from,
    drop_empty_columns,
)
from ..model.tokenizers import ExpertTokenizer, FrontEndTokenizer, SpectralTokenizer
from ..recordings._conditioning import fingerprint, read_conditioned
from ..recordings.modality import Conditioning, get_modality
from ..recordings.recording import Recording

KINDS = ("features", "samples")
# of the conditioning and the front ends: another one makes every night anew
PREPARATION_REVISION = 2
_LARGEST = np.iinfo(np.int16).max
_EPOCHS_AT_ONCE = 256
_SMALL = {"inner_dim": 1}


@dataclass(frozen=True, slots=True)
class Content:
    """What is stored of one modality; the same for every night of a store.

    Attributes
    ----------
    kind : {"samples", "features"}
        Conditioned epochs, or what a tokenizer's front end makes of them.
    width : int
        Numbers in one epoch.
    conditioning : Conditioning

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import MODALITIES
    >>> from sleep2vec_sklearn.pretraining import Content
    >>> Content.samples(MODALITIES["spo2"].conditioning).width
    120
    """

    kind: str
    width: int
    conditioning: Conditioning

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"content must be one of {KINDS}, got {self.kind!r}.")
        check_conditioning("a store", self.conditioning)
        if not 0 < self.conditioning.clip < np.inf:
            raise ValueError(
                f"a store needs signals within finite bounds, got clip={self.conditioning.clip!r}."
            )

    @classmethod
    def samples(cls, conditioning: Conditioning) -> Content:
        """Conditioned epochs."""
        return cls("samples", conditioning.width, conditioning)

    @classmethod
    def features(cls, conditioning: Conditioning) -> Content:
        """Features of conditioned epochs."""
        return cls("features", _front_end(conditioning).n_features, conditioning)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("<i2" if self.kind == "samples" else "<f2")

    @property
    def scale(self) -> float:
        """What a stored number is multiplied by."""
        return self.conditioning.clip / _LARGEST if self.kind == "samples" else 1.0

    def compute(self, epochs: np.ndarray) -> np.ndarray:
        """Conditioned epochs (n, samples) to what is stored of them, as float32 (n, width)."""
        if self.kind == "samples":
            return epochs
        parts = torch.from_numpy(epochs).split(_EPOCHS_AT_ONCE)
        front_end = _front_end(self.conditioning)
        with inference():
            return torch.cat([front_end.features(part) for part in parts]).numpy()

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Values as they are stored; InvalidSignalError if the stored type cannot hold one."""
        if self.kind == "samples":
            steps = np.rint(values * np.float32(1 / self.scale))
            packed = np.clip(steps, -_LARGEST, _LARGEST).astype(self.dtype)
        else:
            with np.errstate(over="ignore"):
                packed = values.astype(self.dtype)
        if not (np.isfinite(values).all() and np.isfinite(packed).all()):
            raise InvalidSignalError(
                f"{self.kind} reach {np.abs(values).max():g}; a store holds finite numbers below "
                "65504. Clip the conditioned signal at 20."
            )
        return packed

    def unpack(self, packed: np.ndarray) -> np.ndarray:
        """Stored numbers as float32, a copy."""
        packed = packed if packed.flags.writeable else packed.copy()
        # numpy takes four times as long to widen half precision
        values = torch.from_numpy(packed).float()
        return (values if self.scale == 1 else values.mul_(self.scale)).numpy()


@lru_cache(maxsize=16)
def _front_end(conditioning: Conditioning) -> FrontEndTokenizer:
    # its learned layers, which nothing uses here, draw random numbers
    with building():
        if conditioning.columns:
            return ExpertTokenizer(conditioning.columns, TokenizerConfig("expert", 1, _SMALL))
        return SpectralTokenizer(conditioning.rate, TokenizerConfig("spectral", 1, _SMALL))


def describe_contents(contents: Mapping[str, Content]) -> dict:
    """Contents as dicts, lists and scalars, ready for JSON."""
    described = {name: dataclasses.asdict(content) for name, content in contents.items()}
    for content in described.values():
        drop_empty_columns(content["conditioning"])
    return json.loads(json.dumps(described))


def contents_from(described: Mapping[str, Any]) -> dict[str, Content]:
    """Contents from :func:`describe_contents`; raises one of many errors if they are none."""
    contents = {}
    for name, d in described.items():
        conditioning = conditioning_from(d["conditioning"])
        content = Content(d["kind"], d["width"], conditioning)
        make = Content.samples if content.kind == "samples" else Content.features
        if content != make(conditioning):
            raise ValueError(f"{get_modality(name).name} has no {content.kind} of this width")
        contents[name] = content
    return contents


def contents_key(contents: Mapping[str, Content]) -> str:
    return sha256(canonical_json([describe_contents(contents), PREPARATION_REVISION]))[:16]


def night_key(recording: Recording, contents: Mapping[str, Content]) -> str:
    """Hex sha256 of everything a prepared night depends on."""
    parts = {
        "signals": {
            name: fingerprint(recording, name, 0, contents[name].conditioning)
            for name in _shared(recording, contents)
        },
        "n_epochs": recording.n_epochs,
        "contents": describe_contents(contents),
        "revision": PREPARATION_REVISION,
    }
    return sha256(canonical_json(parts))


def compute_contents(
    recording: Recording, contents: Mapping[str, Content]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Read and condition a night; of each usable signal name, contents (n_epochs, width), mask.

    Raises InvalidRecordingError if it has none of the modalities, or no usable signal of them.
    """
    names = _shared(recording, contents)
    is_usable = False
    conditionings = {name: contents[name].conditioning for name in names}
    for name, conditioned in read_conditioned(recording, conditionings):
        if (signal := conditioned()) is not None:
            is_usable = True
            yield name, contents[name].compute(signal.epochs), signal.valid
    if not is_usable:
        raise InvalidRecordingError(
            f"no usable signal: {', '.join(names)} flat or mostly without samples. Leave the "
            "recording out."
        )


def _shared(recording: Recording, contents: Mapping[str, Content]) -> list[str]:
    names = [name for name in recording.modalities if name in contents]
    if not names:
        raise InvalidRecordingError(
            f"the night has {', '.join(recording.modalities)}, none of which is among "
            f"{', '.join(contents)}. Leave it out, or name one of them in modalities."
        )
    return names
