# SPDX-License-Identifier: BSD-3-Clause
"""What the pretrainer's parameters may be."""

from __future__ import annotations

import math
import numbers

__all__ = ["check_parameters", "describe_parameters"]

_CHOICES = {
    "objective": ("dash", "info_nce"),
    "negatives": ("recordings", "night", "both"),
    "precision": ("float32", "bfloat16", "auto"),
}
# name: lowest, highest, whether the lowest itself is accepted
_NUMBERS = {
    "temperature": (0, math.inf, False),
    "hard_scale": (0, math.inf, True),
    "pos_margin": (0, math.inf, True),
    "age_bandwidth": (0, math.inf, False),
    "sex_factor": (0, math.inf, False),
    "site_same": (0, math.inf, False),
    "site_different": (0, math.inf, False),
    "sensor_loss": (0, 1, True),
    "prediction": (0, math.inf, True),
    "noise": (0, math.inf, True),
    "offset": (0, math.inf, True),
    "lr": (0, math.inf, False),
    "weight_decay": (0, math.inf, True),
    "warmup": (0, 1, True),
    "lr_floor": (0, 1, True),
}
_BELOW_ONE = {"mask_share", "ema_decay", "dropout"}
_COUNTS = {
    "token_dim": 1,
    "hidden_size": 1,
    "n_layers": 1,
    "n_heads": 1,
    "projection_size": 1,
    "context_epochs": 2,
    "max_epochs": 1,
    "batch_size": 2,
    "accumulate": 1,
    "save_every": 1,
    "n_workers": 0,
    "max_shift": 0,
}
_OPTIONAL_COUNTS = ("intermediate_size", "steps_per_epoch", "patience")
# what a run may be resumed with in another way
_FREE = {"device", "n_workers", "verbose", "callbacks", "state_dir", "save_every", "warm_start"}
_APART = {"init", "random_state"}


def check_parameters(pretrainer) -> None:
    """Refuse values that no data make sense of.

    Raises
    ------
    ValueError
        If a parameter is not one of those accepted.
    """
    for name, accepted in _CHOICES.items():
        value = getattr(pretrainer, name)
        if value not in accepted:
            listed = ", ".join(map(repr, accepted))
            raise ValueError(f"{name} must be one of {listed}; got {value!r}.")
    for name, (low, high, closed) in _NUMBERS.items():
        _check_number(name, getattr(pretrainer, name), low, high, closed)
    for name in _BELOW_ONE:
        value = getattr(pretrainer, name)
        if not (_is_number(value) and 0 <= value < 1):
            raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}.")
    for name, low in _COUNTS.items():
        _check_count(name, getattr(pretrainer, name), low)
    for name in _OPTIONAL_COUNTS:
        if getattr(pretrainer, name) is not None:
            _check_count(name, getattr(pretrainer, name), 1, " or None")
    if pretrainer.clip is not None:
        _check_number("clip", pretrainer.clip, 0, math.inf, False)
    if pretrainer.max_shift >= pretrainer.context_epochs:
        raise ValueError(
            f"max_shift={pretrainer.max_shift} leaves two windows of {pretrainer.context_epochs} "
            "epochs nothing in common; accepted is less than context_epochs."
        )
    if pretrainer.patience is not None and not pretrainer.validation:
        raise ValueError("patience needs held-out subjects; pass validation=0.1, for example.")


def describe_parameters(pretrainer) -> dict[str, str]:
    """The parameters that a run depends on, as text."""
    values = pretrainer.get_params(deep=False)
    kept = sorted(set(values) - _FREE - _APART)
    return {name: repr(_plain(values[name])) for name in kept}


def _plain(value):
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_number(name: str, value, low: float, high: float, closed: bool) -> None:
    within = _is_number(value) and math.isfinite(value) and low <= value <= high
    if not within or (value == low and not closed):
        upper = "" if high == math.inf else f" and at most {high:g}"
        lower = f"at least {low:g}" if closed else f"above {low:g}"
        raise ValueError(f"{name} must be a number {lower}{upper}, got {value!r}.")


def _check_count(name: str, value, low: int, also: str = "") -> None:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low:
        raise ValueError(f"{name} must be a whole number from {low} on{also}, got {value!r}.")
