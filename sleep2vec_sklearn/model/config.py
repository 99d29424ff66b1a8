# SPDX-License-Identifier: BSD-3-Clause
"""Configuration of an encoder: frozen dataclasses that every checkpoint holds as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from types import MappingProxyType
from typing import Any

from .._untrusted import shown
from ..recordings._expert_catalogue import find_relative, list_columns
from ..recordings.modality import Conditioning, get_modality

# the most that a file may ask for; whoever trusts one with more raises it here
LIMITS = {
    "n_layers": 512, "num_mlp_layers": 64, "max_positions": 2**20, "context_epochs": 2**20,
    "rate": 2048, "other sizes": 2**18,
}  # fmt: skip
_RESAMPLINGS, _SCALINGS = ("polyphase", "linear", "mean"), ("robust", "absolute", "counts")

_SUNDIAL2 = {
    "dropout": 0.1, "pre_norm": True, "residual_scale": 0.5, "ff_scale": 1.0, "clamp_value": None,
    "modality_scale": 1.0, "num_mlp_layers": 2, "norm_layer": True,
}  # fmt: skip
TOKENIZER_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "linear": {"norm_layer": True},
        "sundial": {"dropout": 0.1, "norm_layer": True},
        "sundial2": _SUNDIAL2,
        "spectral": {"dropout": 0.1, "inner_dim": None},
        "expert": {"dropout": 0.1, "inner_dim": None},
    }
)


@dataclass(frozen=True)
class TokenizerConfig:
    """How one epoch of one modality becomes a vector.

    Attributes
    ----------
    name : {"linear", "sundial", "sundial2", "spectral", "expert"}
        Kind of tokenizer; the first three read raw samples, "spectral" a fixed front end, and
        "expert" the columns of its conditioning that are relative to the night.
    out_dim : int
        Length of the vector.
    options : mapping
        Options of that kind that differ from their defaults.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import TokenizerConfig
    >>> TokenizerConfig("spectral", 64, {"dropout": 0.0}).option("dropout")
    0.0
    """

    name: str
    out_dim: int
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        known = TOKENIZER_OPTIONS.get(self.name) if isinstance(self.name, str) else None
        if known is None:
            raise ValueError(
                f"unknown tokenizer {shown(self.name)}; accepted: {', '.join(TOKENIZER_OPTIONS)}."
            )
        _require_positive("tokenizer", out_dim=self.out_dim)
        _refuse_unknown(f"options of the tokenizer {self.name!r}", self.options, known)
        object.__setattr__(self, "options", dict(self.options))
        for key, value in self.options.items():
            _check_option(key, value, known[key])

    @property
    def has_front_end(self) -> bool:
        """Whether fixed features of the samples are taken first, which a store may keep."""
        return self.name in ("spectral", "expert")

    def option(self, key: str) -> Any:
        """Value of an option, or its default."""
        return self.options.get(key, TOKENIZER_OPTIONS[self.name][key])


@dataclass(frozen=True)
class ModalityConfig:
    """One modality of an encoder: what its input looks like and what reads it.

    Attributes
    ----------
    name : str
        Catalogue name, e.g. ``"eeg"``.
    conditioning : Conditioning
        What is done to a signal first.
    tokenizer : TokenizerConfig
        What makes a vector of each epoch.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import ModalityConfig, TokenizerConfig
    >>> from sleep2vec_sklearn.recordings import MODALITIES
    >>> ibi = ModalityConfig("ibi", MODALITIES["ibi"].conditioning, TokenizerConfig("spectral", 64))
    >>> ibi.conditioning.width
    120
    """

    name: str
    conditioning: Conditioning
    tokenizer: TokenizerConfig

    def __post_init__(self) -> None:
        get_modality(self.name)
        check_conditioning(self.name, self.conditioning)
        if self.conditioning.width < 1:
            raise ValueError(
                f"{self.name!r}: a rate of {self.conditioning.rate} Hz leaves no sample in 30 s."
            )
        columns = self.conditioning.columns
        if (self.tokenizer.name == "expert") != bool(columns):
            raise ValueError(
                f"{self.name!r}: the tokenizer {self.tokenizer.name!r} with {len(columns)} expert "
                "columns; 'expert' needs some, Conditioning(columns=...), and no other reads them."
            )
        if unknown := [c for c in columns if c not in list_columns(self.name)]:
            raise ValueError(
                f"{self.name!r} has no expert columns {', '.join(unknown)}; feature_table lists "
                "those there are."
            )
        if columns and not find_relative(columns):
            raise ValueError(
                f"{self.name!r}: none of its expert columns is relative to the night, and the "
                "tokenizer reads those alone. Add some, such as one that ends in '_rel'."
            )
        if self.tokenizer.name == "spectral" and self.conditioning.rate < 1:
            raise ValueError(
                f"{self.name!r}: the spectral tokenizer needs at least 1 Hz, got "
                f"{self.conditioning.rate} Hz; use 'sundial' for slower series."
            )


@dataclass(frozen=True)
class ProjectionConfig:
    """Sizes of the SimCLR head used in pretraining.

    Attributes
    ----------
    hidden_size, out_size : int
        Width between its two layers, and of the space of the contrastive loss.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import ProjectionConfig
    >>> ProjectionConfig(hidden_size=64, out_size=32)
    ProjectionConfig(hidden_size=64, out_size=32)
    """

    hidden_size: int
    out_size: int

    def __post_init__(self) -> None:
        _require_positive("projection", hidden_size=self.hidden_size, out_size=self.out_size)


@dataclass(frozen=True)
class EncoderConfig:
    """A whole encoder.

    Attributes
    ----------
    modalities : tuple of ModalityConfig
        All tokenizers share one ``out_dim``.
    hidden_size, n_layers, n_heads, intermediate_size : int
        The shared RoFormer; ``hidden_size / n_heads`` must be an even whole number.
    dropout : float
        Of hidden states and attention weights, in training.
    max_positions : int
        Longest sequence the encoder was made for; a bound for windowing, not for the arithmetic.
    cls : bool
        Whether a learned night-level token is put before the epochs.
    projection : ProjectionConfig or None
        Head of the contrastive objective; None leaves it out.
    context_epochs : int
        Window length, in epochs, the encoder was trained on.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import EncoderConfig, ModalityConfig, TokenizerConfig
    >>> from sleep2vec_sklearn.recordings import MODALITIES
    >>> modalities = [
    ...     ModalityConfig(name, MODALITIES[name].conditioning, TokenizerConfig("spectral", 32))
    ...     for name in ("ibi", "spo2")
    ... ]
    >>> sizes = {"hidden_size": 32, "n_layers": 2, "n_heads": 4, "intermediate_size": 64}
    >>> config = EncoderConfig(modalities, **sizes)
    >>> config.names, config == EncoderConfig.from_dict(config.to_dict())
    (('ibi', 'spo2'), True)
    """

    modalities: tuple[ModalityConfig, ...]
    hidden_size: int
    n_layers: int
    n_heads: int
    intermediate_size: int
    dropout: float = 0.1
    max_positions: int = 1536
    cls: bool = False
    projection: ProjectionConfig | None = None
    context_epochs: int = 120

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        _require_positive(
            "encoder", hidden_size=self.hidden_size, n_layers=self.n_layers, n_heads=self.n_heads,
            intermediate_size=self.intermediate_size, max_positions=self.max_positions,
            context_epochs=self.context_epochs,
        )  # fmt: skip
        _require_probability("encoder's dropout", self.dropout)
        if not isinstance(self.cls, bool):
            raise ValueError(f"encoder: cls must be True or False, got {shown(self.cls)}.")
        if not self.modalities:
            raise ValueError("an encoder needs at least one modality.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"an encoder has each modality once, got {', '.join(self.names)}.")
        if self.hidden_size % (2 * self.n_heads):
            raise ValueError(
                f"hidden_size={self.hidden_size} must be an even multiple of n_heads="
                f"{self.n_heads}: rotary positions turn pairs of numbers within a head."
            )
        widths = {m.name: m.tokenizer.out_dim for m in self.modalities}
        if len(set(widths.values())) > 1:
            raise ValueError(f"all tokenizers must share one out_dim, got {widths}.")
        if self.context_epochs + self.cls > self.max_positions:
            raise ValueError(
                f"context_epochs={self.context_epochs}{' and CLS' if self.cls else ''} do not fit "
                f"max_positions={self.max_positions}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(m.name for m in self.modalities)

    @property
    def token_dim(self) -> int:
        """Length of the vectors that the tokenizers give."""
        return self.modalities[0].tokenizer.out_dim

    def to_dict(self) -> dict[str, Any]:
        """Everything as dicts, lists and scalars, ready for JSON."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for modality in values["modalities"]:
            drop_empty_columns(modality["conditioning"])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Rebuild a configuration from :meth:`to_dict`; ValueError names keys that do not fit."""
        values = dict(values)
        values["modalities"] = tuple(map(_modality_from, values.get("modalities") or ()))
        if values.get("projection") is not None:
            values["projection"] = _build(ProjectionConfig, values["projection"])
        return _build(cls, values)


def drop_empty_columns(conditioning: dict[str, Any]) -> None:
    """Leave out what older files do not know, so that their hashes stay."""
    if not conditioning["columns"]:
        del conditioning["columns"]


def conditioning_for(name: str, tokenizer: TokenizerConfig, base: Conditioning) -> Conditioning:
    """A conditioning that a tokenizer can read: all expert columns for "expert", else none."""
    columns = tuple(list_columns(name)) if tokenizer.name == "expert" else ()
    return (
        base if bool(base.columns) == bool(columns) else dataclasses.replace(base, columns=columns)
    )


def check_conditioning(name: str, conditioning: Conditioning) -> None:
    """Refuse settings of a modality that signals cannot be conditioned by."""
    c, most = conditioning, LIMITS["rate"]
    if not _is_number(c.rate) or not 0 < c.rate <= most:
        raise ValueError(
            f"{name!r}: rate must be above 0 and up to {most} Hz, got {shown(c.rate)}. "
            "sleep2vec_sklearn.model.config.LIMITS has this limit."
        )
    wrong = {
        "min_rate": c.min_rate is not None and not (_is_number(c.min_rate) and c.min_rate >= 0),
        "band": not _is_range(c.band) or any(edge is not None and edge <= 0 for edge in c.band),
        "limits": not _is_range(c.limits),
        "resampling": c.resampling not in _RESAMPLINGS,
        "scaling": c.scaling not in _SCALINGS,
        "center": not _is_number(c.center),
        "scale": not _is_number(c.scale) or c.scale <= 0,
        # inf is no bound
        "clip": not (_is_number(c.clip) or c.clip == math.inf) or c.clip <= 0,
        "columns": not all(isinstance(column, str) for column in c.columns),
    }
    if unfit := [key for key, is_wrong in wrong.items() if is_wrong]:
        got = ", ".join(f"{key}={shown(getattr(c, key))}" for key in unfit)
        raise ValueError(f"{name!r}: signals cannot be conditioned by {got}; see Conditioning.")


def _is_range(pair: Any) -> bool:
    """Whether something is a lower and a larger upper bound, of which None leaves one open."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return False
    stated = [edge for edge in pair if edge is not None]
    return all(map(_is_number, stated)) and (len(stated) < 2 or stated[0] < stated[1])


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    # an integer may be larger than any float
    return is_real and abs(value) <= sys.float_info.max


def conditioning_from(values: Mapping[str, Any]) -> Conditioning:
    """A conditioning from a dict whose tuples may be lists."""
    lists_as_tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return _build(Conditioning, lists_as_tuples)


def _modality_from(values: Mapping[str, Any]) -> ModalityConfig:
    values = dict(values)
    if "conditioning" in values:
        values["conditioning"] = conditioning_from(values["conditioning"])
    if "tokenizer" in values:
        values["tokenizer"] = _build(TokenizerConfig, values["tokenizer"])
    return _build(ModalityConfig, values)


def _build(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of a dataclass; ValueError if a field is unknown or missing."""
    fields = dataclasses.fields(cls)
    _refuse_unknown(cls.__name__, values, [f.name for f in fields])
    required = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
    if missing := ", ".join(name for name in required if name not in values):
        raise ValueError(f"{cls.__name__} lacks {missing}.")
    return cls(**values)


def _refuse_unknown(where: str, names: Iterable[str], accepted: Collection[str]) -> None:
    unknown = sorted(map(shown, set(names) - set(accepted)))
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; accepted: {', '.join(accepted)}.")


def _check_option(key: str, value: Any, default: Any) -> None:
    """Refuse a value of a tokenizer's option that is not of the kind of its default."""
    if key == "num_mlp_layers":
        _require_positive("tokenizer", num_mlp_layers=value)
        if value < 2:
            raise ValueError(f"num_mlp_layers must be a whole number from 2 on, got {value!r}.")
    elif key == "dropout":
        _require_probability("tokenizer's dropout", value)
    elif key == "inner_dim":
        if value is not None:
            _require_positive("tokenizer", inner_dim=value)
    elif key == "clamp_value":
        if value is not None and not (_is_number(value) and value > 0):
            raise ValueError(f"clamp_value must be None or positive, got {shown(value)}.")
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{key} must be True or False, got {shown(value)}.")
    elif not _is_number(value):
        raise ValueError(f"{key} must be a finite number, got {shown(value)}.")


def _require_positive(where: str, **sizes: Any) -> None:
    for name, size in sizes.items():
        most = LIMITS.get(name, LIMITS["other sizes"])
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{where}: {name} must be a positive whole number, got {shown(size)}.")
        if size > most:
            raise ValueError(
                f"{where}: {name} must be up to {most}, got {shown(size)}. "
                "sleep2vec_sklearn.model.config.LIMITS has this limit."
            )


def _require_probability(where: str, value: Any) -> None:
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"the {where} must be at least 0 and below 1, got {shown(value)}.")
