# SPDX-License-Identifier: BSD-3-Clause
"""What the parameters of the fine-tuning estimators may be."""

from __future__ import annotations

import math
import numbers

import numpy as np

from ..encoding.cache import check_cache
from ..errors import CheckpointError
from .config import AGGREGATIONS, HEADS, POOLINGS, HeadConfig, LoraConfig

__all__ = [
    "FINETUNE",
    "check_parameters",
    "dropout_rates",
    "head_config",
    "lora_config",
    "resolve_batch_size",
    "resolve_head",
]

FINETUNE = ("head", "lora", "full")
_CHOICES = {
    "finetune": FINETUNE,
    "head": ("auto", *HEADS),
    "aggregation": AGGREGATIONS,
    "pooling": POOLINGS,
    "precision": ("float32", "bfloat16", "auto"),
}
# name: lowest, highest, whether the lowest itself is accepted
_NUMBERS = {
    "lora_alpha": (0, math.inf, False),
    "lr": (0, math.inf, False),
    "encoder_lr": (0, math.inf, False),
    "weight_decay": (0, math.inf, True),
}
_BELOW_ONE = ("dropout", "validation_fraction")
_COUNTS = ("max_epochs", "lora_rank")
_OPTIONAL_COUNTS = ("batch_size", "patience", "head_size")
_LARGEST_SEED = 2**32 - 1


def check_parameters(estimator) -> None:
    """Refuse values that no data make sense of.

    Raises
    ------
    ValueError
        If a parameter is not one of those accepted.
    """
    for name, accepted in _CHOICES.items():
        value = getattr(estimator, name)
        if not isinstance(value, str) or value not in accepted:
            listed = ", ".join(map(repr, accepted))
            raise ValueError(f"{name} must be one of {listed}; got {value!r}.")
    for name, (low, high, closed) in _NUMBERS.items():
        value = getattr(estimator, name)
        if not _is_number(value) or not low <= value < high or (value == low and not closed):
            least = f"at least {low:g}" if closed else f"above {low:g}"
            raise ValueError(f"{name} must be a number {least}, got {value!r}.")
    for name in _BELOW_ONE:
        value = getattr(estimator, name)
        if not _is_number(value) or not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}.")
    for name in (*_COUNTS, *_OPTIONAL_COUNTS):
        value = getattr(estimator, name)
        optional = name in _OPTIONAL_COUNTS
        if not (optional and value is None) and not (_is_whole(value) and value >= 1):
            also = " or None" if optional else ""
            raise ValueError(f"{name} must be a whole number from 1 on{also}, got {value!r}.")
    for name in ("layer_mix", "time_of_night"):
        value = getattr(estimator, name)
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {value!r}.")
    dropout_rates(estimator.modality_dropout)
    check_cache(estimator.cache)
    _check_covariates(estimator.covariates)
    _check_seed(estimator.random_state)


def dropout_rates(modality_dropout) -> tuple[float, float]:
    """Chances that a night, and that an epoch, loses a modality in training.

    Raises
    ------
    ValueError
        If it is neither a share below 1 nor a pair of them.
    """
    given = modality_dropout
    pair = given if isinstance(given, tuple | list) else (given, given)
    if len(pair) != 2 or not all(_is_number(p) and 0 <= p < 1 for p in pair):
        raise ValueError(
            "modality_dropout must be at least 0 and below 1, or a pair of such numbers, for "
            f"nights and for epochs; got {given!r}."
        )
    return float(pair[0]), float(pair[1])


def resolve_head(estimator) -> str:
    """The head that "auto" stands for."""
    if estimator.head != "auto":
        return estimator.head
    return "mlp" if estimator.unit_ == "night" else "temporal_conv"


def resolve_batch_size(estimator) -> int:
    """The batch size that None stands for."""
    if estimator.batch_size is not None:
        return int(estimator.batch_size)
    return 16 if estimator.unit_ == "night" and estimator.finetune == "head" else 4


def head_config(estimator, config, n_outputs: int, n_covariates: int) -> HeadConfig:
    """The head that the parameters ask for, on an encoder.

    Raises
    ------
    ValueError
        If they do not go together.
    CheckpointError
        If the encoder lacks what they ask for.
    """
    unit = estimator.unit_
    if unit == "night" and estimator.time_of_night:
        raise ValueError(
            "time_of_night=True tells epochs how late it is, but X holds nights, which have no one "
            "time. Leave it out, or wrap the nights: EpochSequence(X)."
        )
    if unit == "night" and estimator.pooling == "cls" and not config.cls:
        raise CheckpointError(
            "pooling='cls': this checkpoint has no CLS token to give. Use 'mean' or 'attention'."
        )
    return HeadConfig(
        config.hidden_size,
        estimator.modalities_,
        n_outputs,
        unit=unit,
        head=resolve_head(estimator),
        aggregation=estimator.aggregation,
        pooling=estimator.pooling if unit == "night" else "mean",
        n_layers=config.n_layers if estimator.layer_mix else 1,
        n_covariates=n_covariates,
        # not that of the input, which is nine times as wide with nine modalities side by side
        head_size=int(estimator.head_size or config.hidden_size),
        dropout=float(estimator.dropout),
    )


def lora_config(estimator) -> LoraConfig | None:
    """The adapter that the parameters ask for, None without one."""
    if estimator.finetune != "lora":
        return None
    return LoraConfig(rank=int(estimator.lora_rank), alpha=float(estimator.lora_alpha))


def _check_covariates(covariates) -> None:
    if covariates is None:
        return
    listed = isinstance(covariates, list | tuple) and len(covariates)
    if not listed or not all(isinstance(name, str) for name in covariates):
        raise ValueError(
            "covariates must be a list of keys of Recording.metadata, such as ('age', 'sex'), or "
            f"None; got {covariates!r}."
        )


def _check_seed(random_state) -> None:
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return
    if not _is_whole(random_state) or not 0 <= random_state <= _LARGEST_SEED:
        raise ValueError(
            "random_state must be a whole number from 0 to 2**32 - 1, a numpy.random.RandomState "
            f"or None, got {random_state!r}."
        )


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _is_whole(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
