# SPDX-License-Identifier: BSD-3-Clause
"""What a store keeps of each modality, and in how many bits.

==========  ========  ==============================  ============================================
kind        numbers   what they are                   largest error of a stored value x
==========  ========  ==============================  ============================================
samples     int16     conditioned epochs              ``clip / 65534``: 0.00031 of its own units
features    float16   the spectral tokenizer's input  ``|x| / 2048``, or 3e-8 near zero
==========  ========  ==============================  ============================================

Conditioned samples share one scale, ``clip / 32767``, so a step is the same at every level: with
the catalogue's clip of 20, 0.0031 % of saturation and 0.12 ms of an inter-beat interval. Features
mix log powers, levels and shares, whose sizes differ, so they keep eleven significant bits each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ..errors import CheckpointError, InvalidSignalError
from ..model.checkpoint import as_checkpoint
from ..model.config import EncoderConfig, ModalityConfig, TokenizerConfig
from ..model.tokenizers import SpectralTokenizer, feature_names
from ..recordings import MODALITIES, Conditioning, list_modalities

__all__ = [
    "Content",
    "contents_from",
    "contents_of",
    "describe_contents",
]

KINDS = ("features", "samples")
_LARGEST = np.iinfo(np.int16).max
_EPOCHS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Content:
    """What is kept of one modality; the same for every night of a store.

    Attributes
    ----------
    kind : {"samples", "features"}
        Conditioned epochs, or what :meth:`SpectralTokenizer.features` makes of them.
    width : int
        Numbers in one epoch.
    conditioning : Conditioning
        How the signal was conditioned.

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

    def __post_init__(self):
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
        """Type of the stored numbers, little-endian."""
        return np.dtype("<i2" if self.kind == "samples" else "<f2")

    @property
    def scale(self) -> float:
        """What a stored number is multiplied by."""
        return self.conditioning.clip / _LARGEST if self.kind == "samples" else 1.0

    def compute(self, epochs: np.ndarray) -> np.ndarray:
        """Conditioned epochs (n, samples) to what is kept of them, float32 (n, width)."""
        if self.kind == "samples":
            return epochs
        parts = torch.from_numpy(epochs).split(_EPOCHS_AT_ONCE)
        front_end = _front_end(self.conditioning.rate)
        with torch.inference_mode():
            return torch.cat([front_end.features(part) for part in parts]).numpy()

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Values as they are stored.

        Raises
        ------
        InvalidSignalError
            If the stored type cannot hold one.
        """
        if self.kind == "samples":
            steps = np.rint(values * np.float32(1 / self.scale))
            packed = np.clip(steps, -_LARGEST, _LARGEST).astype(self.dtype)
        else:
            with np.errstate(over="ignore"):
                packed = values.astype(self.dtype)
        if not (np.isfinite(values).all() and np.isfinite(packed).all()):
            raise InvalidSignalError(
                f"{self.kind} reach {np.abs(values).max():g}, which a store cannot hold; accepted "
                "are finite numbers below 65504. Clip the conditioned signal at 20."
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


def contents_of(encoder=None, content: str = "features", modalities=None) -> dict[str, Content]:
    """What an encoder is trained from.

    Parameters
    ----------
    encoder : EncoderConfig, Checkpoint, name or path, optional
        Whose conditioning and front ends to use; by default what :class:`Sleep2VecPretrainer`
        takes by default, the catalogue's conditioning and spectral front ends.
    content : {"features", "samples"}
        Features need a spectral tokenizer; of any other modality the samples are kept.
    modalities : str or sequence of str, optional
        All of the encoder's by default.

    Returns
    -------
    dict of str to Content
        In the encoder's order.

    Raises
    ------
    ValueError
        If ``content`` is not accepted, or no modality has a spectral tokenizer.
    CheckpointError
        If there is no such encoder, or it does not read one of the modalities.

    Examples
    --------
    >>> from sleep2vec_sklearn.pretraining import contents_of
    >>> {name: c.width for name, c in contents_of(modalities=["spo2", "ibi"]).items()}
    {'spo2': 42, 'ibi': 42}
    """
    if content not in KINDS:
        raise ValueError(f"content must be one of {KINDS}, got {content!r}.")
    known = _modalities_of(encoder)
    names = [m.name for m in known]
    chosen = names if modalities is None else list_modalities(modalities)
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise CheckpointError(
            f"the encoder reads {', '.join(names)}, not {', '.join(unknown)}. Leave them "
            "out of modalities, or give an encoder=EncoderConfig(...) that has them."
        )
    kept = [m for m in known if m.name in chosen]
    if content == "features" and all(m.tokenizer.name != "spectral" for m in kept):
        raise ValueError(
            f"no tokenizer of {', '.join(m.name for m in kept)} has a fixed front end, so there "
            "are no features to keep; pass content='samples'."
        )
    return {
        m.name: Content.features(m.conditioning)
        if content == "features" and m.tokenizer.name == "spectral"
        else Content.samples(m.conditioning)
        for m in kept
    }


def _modalities_of(encoder) -> Sequence[ModalityConfig]:
    if encoder is None:
        spectral = TokenizerConfig("spectral", 1)
        return [ModalityConfig(m.name, m.conditioning, spectral) for m in MODALITIES.values()]
    if isinstance(encoder, EncoderConfig):
        return encoder.modalities
    return as_checkpoint(encoder).config.modalities


def describe_contents(contents: Mapping[str, Content]) -> dict:
    """Contents as dicts, lists and scalars, ready for JSON."""
    return {name: _listed(dataclasses.asdict(content)) for name, content in contents.items()}


def contents_from(described: Mapping) -> dict[str, Content]:
    """Contents from :func:`describe_contents`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they cannot be contents.
    """
    contents = {}
    for name, entry in described.items():
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in _items(entry)}
        contents[name] = Content(entry["kind"], entry["width"], Conditioning(**settings))
    return contents


def _items(entry: Mapping) -> Iterable[tuple]:
    return entry["conditioning"].items()


def _listed(value):
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
