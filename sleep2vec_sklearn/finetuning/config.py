# SPDX-License-Identifier: BSD-3-Clause
"""Adapters, rules of events, and configurations of heads; torch is not imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sklearn.base import BaseEstimator

from .._untrusted import shown
from .._validation import BELOW_ONE, POSITIVE, count
from ..errors import CheckpointError

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint
    from ..model.encoder import Encoder

__all__ = ["EventRules", "FullFineTuning", "LoRA"]

TEMPORAL_HEADS = ("temporal_conv", "temporal_transformer")
# "regression" is the authors' other order of the layers of "mlp"
HEADS = ("linear", "mlp", "regression", *TEMPORAL_HEADS)
AGGREGATIONS = ("mean", "concat", "gated")
POOLINGS = ("mean", "attention", "cls")
ACTIVATIONS = ("elu", "relu", "gelu", "silu")
# the most that a file may ask for; whoever trusts one with more raises it here
LIMITS = {
    "depth": 512,
    "lstm_layers": 64,
    "n_layers": 512,
    "kernel_size": 1025,
    "other sizes": 2**18,
}
_ACCEPTED = {
    "unit": ("epoch", "night"), "head": HEADS, "aggregation": AGGREGATIONS,
    # "lstm" is of networks that are read alone: it does no better here, and is slow
    "pooling": (*POOLINGS, "lstm"), "activation": ACTIVATIONS,
}  # fmt: skip


class FullFineTuning(BaseEstimator):
    """Training of all of an encoder's weights, as a value of ``finetune``.

    Parameters
    ----------
    lr : float, default=1e-4
        Peak learning rate of the encoder.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecClassifier
    >>> from sleep2vec_sklearn.finetuning import FullFineTuning
    >>> Sleep2VecClassifier(finetune=FullFineTuning(lr=5e-4)).get_params()["finetune__lr"]
    0.0005
    """

    _parameter_constraints: ClassVar[dict] = {"lr": [POSITIVE]}

    def __init__(self, *, lr: float = 1e-4):
        self.lr = lr


class LoRA(BaseEstimator):
    """Low-rank adapters on every query, key and value of an encoder, as a value of ``finetune``.

    Parameters
    ----------
    rank : int, default=8
        Rank of the difference to each weight.
    alpha : float, default=16.0
        The difference is scaled by ``alpha / rank``.
    dropout : float, default=0.05
        Dropout of the adapters' input, in training.
    lr : float, default=1e-4
        Peak learning rate of the adapters.

    References
    ----------
    Hu et al., LoRA: low-rank adaptation of large language models, 2021. arXiv 2106.09685.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecClassifier
    >>> from sleep2vec_sklearn.finetuning import LoRA
    >>> Sleep2VecClassifier(finetune=LoRA(rank=4)).get_params()["finetune__rank"]
    4
    """

    _parameter_constraints: ClassVar[dict] = {
        "rank": [count()], "alpha": [POSITIVE], "dropout": [BELOW_ONE], "lr": [POSITIVE],
    }  # fmt: skip

    def __init__(
        self, *, rank: int = 8, alpha: float = 16.0, dropout: float = 0.05, lr: float = 1e-4
    ):
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.lr = lr


class EventRules(BaseEstimator):
    """How seconds above the threshold become events, and what scored events are called.

    Parameters
    ----------
    gap : int, default=3
        Seconds from the last of one run to the first of the next within which two become one.
    min_duration : float or dict of type to float, optional
        Shortest event in seconds. By default 3 for types named "arousal", 10 for all others.
    event_names : dict of str to str or None, optional
        Scored names that are not understood, and the types that they are; None for none of them.
        As of :func:`~sleep2vec_sklearn.evaluation.respiratory_statistics`.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecEventDetector
    >>> from sleep2vec_sklearn.finetuning import EventRules
    >>> Sleep2VecEventDetector(rules=EventRules(gap=5)).get_params()["rules__gap"]
    5
    """

    _parameter_constraints: ClassVar[dict] = {
        "gap": [count()],
        "min_duration": [POSITIVE, dict, None],
        "event_names": [dict, None],
    }

    def __init__(
        self, *, gap: int = 3, min_duration: float | Mapping[str, float] | None = None,
        event_names: Mapping[str, str | None] | None = None,
    ):  # fmt: skip
        self.gap = gap
        self.min_duration: Any = min_duration
        self.event_names = event_names


@dataclass(frozen=True)
class HeadConfig:
    """Everything a head is built from."""

    hidden_size: int  # H
    modalities: tuple[str, ...]  # in the order of the axis M
    n_outputs: int  # O
    unit: str = "epoch"  # what a row of the output stands for
    head: str = "mlp"
    aggregation: str = "mean"
    pooling: str = "mean"  # no effect on epochs
    n_queries: int = 1  # of "attention", whose results are concatenated
    temperature: float = 1.0  # that its scores are divided by
    n_layers: int = 1  # encoder layers that are mixed; 1 for the last one alone
    layer_mix_per_modality: bool = True  # whether each modality has its own mixing weights
    n_covariates: int = 0  # numbers per sequence that are appended to the fused features
    head_size: int | None = None  # None for the width of the input; in temporal heads, H
    dropout: float = 0.1
    activation: str = "elu"
    depth: int | None = None  # None for two layers, or four in the temporal heads
    kernel_size: int = 7  # epochs spanned by a filter of "temporal_conv", odd
    # of "temporal_transformer"
    n_heads: int | None = None  # None for eight, or fewer where the size is no multiple of eight
    feed_size: int | None = None  # None for four times the head's size
    n_positions: int = 2048  # that are learned
    lstm_layers: int = 1  # of the pooling "lstm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        for name in (
            *("hidden_size", "n_outputs", "n_layers", "kernel_size"),
            *("n_queries", "n_positions", "lstm_layers"),
        ):
            _require_count(name, getattr(self, name))
        _require_count("n_covariates", self.n_covariates, least=0)
        for name in ("head_size", "depth", "n_heads", "feed_size"):
            if getattr(self, name) is not None:
                _require_count(name, getattr(self, name))
        for name, accepted in _ACCEPTED.items():
            if getattr(self, name) not in accepted:
                listed = ", ".join(map(repr, accepted))
                raise ValueError(
                    f"{name} must be one of {listed}, got {shown(getattr(self, name))}."
                )
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {shown(self.dropout)}.")
        is_number = isinstance(self.temperature, int | float)
        if not is_number or not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature must be a number above 0, got {shown(self.temperature)}."
            )
        if not all(isinstance(name, str) for name in self.modalities):
            raise ValueError(f"modalities must be names, got {shown(self.modalities)}.")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}.")
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
    def pooled_size(self) -> int:
        """Width of what is known of a modality, once epochs are pooled."""
        if self.unit == "epoch" or self.pooling in ("mean", "cls"):
            return self.hidden_size
        # an LSTM has as many states in either direction
        return (
            2 * (self.hidden_size // 2)
            if self.pooling == "lstm"
            else self.n_queries * self.hidden_size
        )

    @property
    def input_size(self) -> int:
        """Width of the fused features with covariates."""
        blocks = len(self.modalities) if self.aggregation == "concat" else 1
        return blocks * self.pooled_size + self.n_covariates

    @property
    def depth_used(self) -> int:
        """Layers of the head."""
        return self.depth or (4 if self.head in TEMPORAL_HEADS else 2)

    def to_dict(self) -> dict:
        """Everything as scalars and lists, ready for JSON."""
        return dataclasses.asdict(self) | {"modalities": list(self.modalities)}

    @classmethod
    def from_dict(cls, values: Mapping) -> HeadConfig:
        """Rebuild from :meth:`to_dict`."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(
                f"HeadConfig: unknown {', '.join(map(repr, unknown))}; accepted: "
                f"{', '.join(sorted(known))}."
            )
        return cls(**values)


def _require_count(name: str, value: object, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer from {least} on, got {shown(value)}.")
    most = LIMITS.get(name, LIMITS["other sizes"])
    if value > most:
        raise ValueError(
            f"{name} must be up to {most}, got {shown(value)}. "
            "sleep2vec_sklearn.finetuning.config.LIMITS has this limit."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """Parameters of an estimator, resolved for its rows and this machine."""

    unit: str
    modalities: Sequence[str] | None
    finetune: LoRA | FullFineTuning | None
    head: str
    head_size: int | None
    aggregation: str
    pooling: str = "mean"  # of epochs, or where the estimator has no such parameter
    layer_mix: bool
    dropout: float
    modality_dropout: tuple[float, float]
    covariates: Sequence[str] | None
    time_of_night: bool = False
    max_epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    validation_fraction: float
    patience: int | None
    precision: str
    device: str
    cache: Any
    verbose: int | None

    def head_config(
        self, checkpoint: Checkpoint | Encoder, encoder: Encoder, modalities: tuple[str, ...],
        n_outputs: int, n_covariates: int,
    ) -> HeadConfig:  # fmt: skip
        """The head on the tokens of the encoder that a checkpoint is."""
        from ..model.checkpoint import require_sleep2vec

        n_layers, width = 1, max(encoder.widths.values())
        if self.layer_mix:
            n_layers = require_sleep2vec(checkpoint, "layer_mix=True").config.n_layers
        if not encoder.shared_space and len(modalities) > 1 and self.aggregation != "concat":
            raise ValueError(
                f"aggregation={self.aggregation!r} combines tokens of several groups, and those of "
                f"{encoder.name} lie in no one space. Use aggregation='concat'."
            )
        by_night = self.unit == "night"
        if by_night and self.time_of_night:
            raise ValueError(
                "time_of_night=True describes epochs, but X holds nights, which have no one time. "
                "Leave it out, or wrap the nights: EpochSequence(X)."
            )
        if by_night and self.pooling == "cls" and not encoder.has_summary:
            raise CheckpointError(
                "pooling='cls': this checkpoint has no CLS token to give. Use 'mean' or "
                "'attention'."
            )
        return HeadConfig(
            width,
            modalities,
            n_outputs,
            unit=self.unit,
            head=self.head,
            aggregation=self.aggregation,
            pooling=self.pooling if by_night else "mean",
            n_layers=n_layers,
            n_covariates=n_covariates,
            # not the width of the input, which "concat" makes nine times that of a token
            head_size=int(self.head_size or width),
            dropout=self.dropout,
        )
