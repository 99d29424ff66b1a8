# SPDX-License-Identifier: BSD-3-Clause
"""What a store holds of each modality, and in how many bits.

Samples, conditioned epochs, are int16 of one scale, ``clip / 32767``, and off by half a step: with
the catalogue's clip of 20, a step is 0.0031 % of saturation or 0.12 ms of an inter-beat interval.
Features, a spectral tokenizer's input, differ in size: as float16 they are off by ``|x| / 2048`` at
most, or by 3e-8 near zero.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .._files import canonical_json, sha256
from ..errors import CheckpointError, InvalidRecordingError, InvalidSignalError
from ..model.checkpoint import as_checkpoint, require_sleep2vec
from ..model.config import EncoderConfig, ModalityConfig, TokenizerConfig, conditioning_from
from ..model.tokenizers import SpectralTokenizer, feature_names
from ..recordings._conditioning import read_conditioned
from ..recordings.modality import MODALITIES, Conditioning, list_modalities
from ..recordings.recording import Recording

KINDS = ("features", "samples")
# of the conditioning and the front ends: another one makes every night anew
PREPARATION_REVISION = 2
_LARGEST = np.iinfo(np.int16).max
_EPOCHS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Content:
    """What is stored of one modality; the same for every night of a store.

    Attributes
    ----------
    kind : {"samples", "features"}
        Conditioned epochs, or what :meth:`SpectralTokenizer.features` makes of them.
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
        """Spectral features of conditioned epochs."""
        return cls("features", len(feature_names(conditioning.rate)), conditioning)

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
        front_end = _front_end(self.conditioning.rate)
        with torch.inference_mode():
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
def _front_end(rate: float) -> SpectralTokenizer:
    # its learned layers, which nothing uses here, draw random numbers
    with torch.random.fork_rng(devices=[]):
        return SpectralTokenizer(rate, TokenizerConfig("spectral", 1, {"inner_dim": 1}))


def contents_of(
    encoder: Any = None, content: str = "features", modalities: str | Sequence[str] | None = None
) -> dict[str, Content]:
    """What an encoder is trained from.

    Parameters
    ----------
    encoder, modalities
        See :func:`prepare_cohort`.
    content : {"features", "samples"}
        Features need a spectral tokenizer; of any other modality the samples are stored.

    Returns
    -------
    dict of str to Content

    Raises
    ------
    ValueError
        If ``content`` is not accepted: features need a spectral tokenizer.
    CheckpointError
        If there is no such encoder, or it does not read one of the modalities.

    Examples
    --------
    >>> from sleep2vec_sklearn.pretraining import contents_of
    >>> {name: c.width for name, c in contents_of(modalities=["spo2", "ibi"]).items()}
    {'spo2': 42, 'ibi': 42}
    """
    available: Sequence[ModalityConfig]
    if encoder is None:
        spectral = TokenizerConfig("spectral", 1)
        available = [ModalityConfig(m.name, m.conditioning, spectral) for m in MODALITIES.values()]
    else:
        if not isinstance(encoder, EncoderConfig):
            encoder = require_sleep2vec(as_checkpoint(encoder), "a night store").config
        available = encoder.modalities
    names = [m.name for m in available]
    chosen = names if modalities is None else list_modalities(modalities)
    if unknown := [name for name in chosen if name not in names]:
        raise CheckpointError(
            f"the encoder reads {', '.join(names)}, not {', '.join(unknown)}. Leave them "
            "out of modalities, or give an encoder=EncoderConfig(...) that has them."
        )
    contents = {}
    for modality in (m for m in available if m.name in chosen):
        has_features = content == "features" and modality.tokenizer.name == "spectral"
        make = Content.features if has_features else Content.samples
        contents[modality.name] = make(modality.conditioning)
    if content not in {stored.kind for stored in contents.values()}:
        raise ValueError(
            f"content must be one of {KINDS}, features only where a tokenizer has a fixed front "
            f"end, which none of {', '.join(contents)} has; got {content!r}."
        )
    return contents


def describe_contents(contents: Mapping[str, Content]) -> dict:
    """Contents as dicts, lists and scalars, ready for JSON."""
    return json.loads(json.dumps({n: dataclasses.asdict(c) for n, c in contents.items()}))


def contents_from(described: Mapping[str, Any]) -> dict[str, Content]:
    """Contents from :func:`describe_contents`; raises one of many errors if they are none."""
    return {
        name: Content(d["kind"], d["width"], conditioning_from(d["conditioning"]))
        for name, d in described.items()
    }


def contents_key(contents: Mapping[str, Content]) -> str:
    return sha256(canonical_json([describe_contents(contents), PREPARATION_REVISION]))[:16]


def night_key(recording: Recording, contents: Mapping[str, Content]) -> str:
    """Hex sha256 of everything a prepared night depends on."""
    parts = {
        "signals": {n: recording.signal_fingerprint(n) for n in _shared(recording, contents)},
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
