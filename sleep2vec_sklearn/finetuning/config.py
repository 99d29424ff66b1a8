# SPDX-License-Identifier: BSD-3-Clause
"""What a head and an adapter are made of, as frozen dataclasses that travel as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "ACTIVATIONS",
    "AGGREGATIONS",
    "HEADS",
    "POOLINGS",
    "TEMPORAL_HEADS",
    "UNITS",
    "HeadConfig",
    "LoraConfig",
]

UNITS = ("epoch", "night")
TEMPORAL_HEADS = ("temporal_conv", "temporal_transformer")
# "regression" is the authors' other order of the layers of "mlp"
HEADS = ("linear", "mlp", "regression", *TEMPORAL_HEADS)
AGGREGATIONS = ("mean", "concat", "gated")
POOLINGS = ("mean", "attention", "cls")
ACTIVATIONS = ("elu", "relu", "gelu", "silu")


@dataclass(frozen=True)
class HeadConfig:
    """Everything a head is built from.

    Attributes
    ----------
    hidden_size : int
        H, length of the encoder's tokens.
    modalities : tuple of str
        In the order of the tokens' third axis.
    n_outputs : int
        O, numbers per epoch or night.
    unit : {"epoch", "night"}
        What a row of the output stands for.
    head : {"linear", "mlp", "regression", "temporal_conv", "temporal_transformer"}
        The temporal ones see the epochs around and are for epochs only. "regression" is "mlp"
        without the activation before its first layer.
    aggregation : {"mean", "concat", "gated"}
        How modalities are combined.
    pooling : {"mean", "attention", "cls"}
        How the epochs of a night are combined; without effect on epochs.
    n_layers : int
        Encoder layers that are mixed; 1 for the last one alone.
    layer_mix_per_modality : bool
        Whether each modality has its own mixing weights.
    n_covariates : int
        C, numbers per sequence that are put beside the fused features.
    head_size : int or None
        Hidden width of the head; None for that of its input (of a temporal head: of a token).
    dropout : float
    activation : {"elu", "relu", "gelu", "silu"}
    depth : int or None
        Layers of the head; None for two in "mlp" and "regression", four in the temporal ones.
    kernel_size : int
        Epochs that one filter of "temporal_conv" spans, an odd number.

    Raises
    ------
    ValueError
        If a value is not accepted, or two of them do not go together.

    Examples
    --------
    >>> from sleep2vec_sklearn.finetuning.config import HeadConfig
    >>> config = HeadConfig(64, ("eeg", "spo2"), 5, aggregation="gated")
    >>> config.fused_size, config.depth_used
    (64, 2)
    """

    hidden_size: int
    modalities: tuple[str, ...]
    n_outputs: int
    unit: str = "epoch"
    head: str = "mlp"
    aggregation: str = "mean"
    pooling: str = "mean"
    n_layers: int = 1
    layer_mix_per_modality: bool = True
    n_covariates: int = 0
    head_size: int | None = None
    dropout: float = 0.1
    activation: str = "elu"
    depth: int | None = None
    kernel_size: int = 7

    def __post_init__(self):
        object.__setattr__(self, "modalities", tuple(self.modalities))
        _require_whole("head", 1, hidden_size=self.hidden_size, n_outputs=self.n_outputs)
        _require_whole("head", 1, n_layers=self.n_layers)
        _require_whole("head", 0, n_covariates=self.n_covariates)
        _require_whole("head", 1, kernel_size=self.kernel_size)
        optional = {"head_size": self.head_size, "depth": self.depth}
        _require_whole("head", 1, **{k: v for k, v in optional.items() if v is not None})
        _require_share("head", self.dropout)
        _require_one_of("unit", self.unit, UNITS)
        _require_one_of("head", self.head, HEADS)
        _require_one_of("aggregation", self.aggregation, AGGREGATIONS)
        _require_one_of("pooling", self.pooling, POOLINGS)
        _require_one_of("activation", self.activation, ACTIVATIONS)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"head: kernel_size must be odd, got {self.kernel_size}.")
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ValueError(
                f"a head reads each modality once and at least one, got {self.modalities!r}."
            )
        if self.unit == "night" and self.head in TEMPORAL_HEADS:
            plain = [name for name in HEADS if name not in TEMPORAL_HEADS]
            raise ValueError(
                f"head={self.head!r} reads the epochs around each epoch, and a night's row has "
                f"none; accepted for nights: {', '.join(map(repr, plain))}. Use "
                "pooling='attention' to weigh the epochs of a night."
            )

    @property
    def fused_size(self) -> int:
        """Width of the fused features, covariates not counted."""
        blocks = len(self.modalities) if self.aggregation == "concat" else 1
        return blocks * self.hidden_size

    @property
    def depth_used(self) -> int:
        """:attr:`depth`, or its default."""
        if self.head == "linear":
            return 1
        return self.depth or (4 if self.head in TEMPORAL_HEADS else 2)

    def to_dict(self) -> dict:
        """Everything as scalars and lists, ready for JSON."""
        return {**dataclasses.asdict(self), "modalities": list(self.modalities)}

    @classmethod
    def from_dict(cls, values: Mapping) -> HeadConfig:
        """Rebuild from :meth:`to_dict`."""
        return _build(cls, values)


@dataclass(frozen=True)
class LoraConfig:
    """A low-rank adapter on every query, key and value of the encoder.

    Attributes
    ----------
    rank : int
        Of the difference to each weight.
    alpha : float
        The difference is scaled by ``alpha / rank``.
    dropout : float
        Of what the adapters read, in training.
    dora : bool
        Whether the rows of an adapted weight have learned lengths (DoRA, arXiv 2402.09353).

    Raises
    ------
    ValueError
        If a value is not accepted.

    Examples
    --------
    >>> from sleep2vec_sklearn.finetuning.config import LoraConfig
    >>> LoraConfig(rank=4)
    LoraConfig(rank=4, alpha=16.0, dropout=0.05, dora=False)
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    dora: bool = False

    def __post_init__(self):
        _require_whole("LoRA", 1, rank=self.rank)
        _require_share("LoRA", self.dropout)
        if not _is_number(self.alpha) or not self.alpha > 0:
            raise ValueError(f"LoRA: alpha must be a positive number, got {self.alpha!r}.")

    def to_dict(self) -> dict:
        """Everything as scalars, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping) -> LoraConfig:
        """Rebuild from :meth:`to_dict`."""
        return _build(cls, values)


def _build(kind, values: Mapping):
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"{kind.__name__}: unknown {', '.join(map(repr, unknown))}; accepted: "
            f"{', '.join(sorted(known))}."
        )
    return kind(**values)


def _require_whole(where: str, least: int, **values) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"{where}: {name} must be a whole number from {least} on, got {value!r}."
            )


def _require_share(where: str, dropout) -> None:
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise ValueError(f"{where}: dropout must be at least 0 and below 1, got {dropout!r}.")


def _require_one_of(name: str, value, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {value!r}.")


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
