# SPDX-License-Identifier: BSD-3-Clause
"""What the pretrainer's parameters may be."""

from __future__ import annotations

import inspect
import math
import numbers
import os
from collections.abc import Iterable, Mapping

import numpy as np

from ..model.checkpoint import Checkpoint
from ..model.config import EncoderConfig
from ..recordings import EPOCH_SECONDS
from ._data import Material

__all__ = [
    "check_parameters",
    "describe_parameters",
    "make_card",
    "summarise_nights",
]

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
    "sex_factor": (0, math.inf, True),
    "site_same": (0, math.inf, True),
    "site_different": (0, math.inf, True),
    "sensor_loss": (0, 1, True),
    "prediction": (0, math.inf, True),
    "noise": (0, math.inf, True),
    "offset": (0, math.inf, True),
    "lr": (0, math.inf, False),
    "weight_decay": (0, math.inf, True),
    "warmup": (0, 1, True),
    "lr_floor": (0, 1, True),
}
_MAY_BE_INFINITE = {"age_bandwidth"}
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
_LARGEST_SEED = 2**63 - 1
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
    _check_kinds(pretrainer)
    _check_seed(pretrainer.random_state)
    _check_validation(pretrainer.validation)
    validation = pretrainer.validation
    held_out = validation if validation is None or _is_number(validation) else len(validation)
    if pretrainer.patience is not None and not held_out:
        raise ValueError("patience needs held-out subjects; pass validation=0.1, for example.")


def describe_parameters(pretrainer) -> dict[str, str]:
    """The parameters that a run depends on, as text."""
    values = pretrainer.get_params(deep=False)
    kept = sorted(set(values) - _FREE - _APART)
    return {name: repr(_plain(values[name])) for name in kept}


def _plain(value):
    """The same text for a number of numpy and of Python, for a tuple, an array and a list.

    A function is its name: its address would be another in the process that goes on with a run.
    """
    if inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _check_kinds(pretrainer) -> None:
    """Types that would else be found out by whoever comes to use them."""
    path = (str, os.PathLike)
    sequence = (list, tuple)
    accepted = {
        "init": (
            (*path, Checkpoint, EncoderConfig),
            "a name, a path, a Checkpoint, an Encoder"
            "Config (of a fitted pretrainer its checkpoint()), or None",
        ),
        "state_dir": (path, "the path of a folder, or None"),
        "callbacks": (sequence, "a list of skorch callbacks, or None"),
        "modalities": ((str, Iterable), "names of modalities, or None"),
    }
    for name, (kinds, described) in accepted.items():
        value = getattr(pretrainer, name)
        if not isinstance(value, (*kinds, type(None))):
            raise ValueError(f"{name} must be {described}; got {value!r}.")
    for callback in pretrainer.callbacks or ():
        made = callback[1] if isinstance(callback, tuple) and len(callback) == 2 else callback
        if not hasattr(made, "on_train_begin"):
            raise ValueError(f"callbacks must be a list of skorch callbacks; it has {callback!r}.")
    if not isinstance(pretrainer.verbose, numbers.Integral):
        raise ValueError(f"verbose must be a whole number, got {pretrainer.verbose!r}.")
    if pretrainer.state_dir is not None and not os.fspath(pretrainer.state_dir):
        raise ValueError("state_dir is empty; give the path of a folder, '.' for this one.")


def _check_seed(random_state) -> None:
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return
    whole = isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool)
    if not whole or not 0 <= random_state <= _LARGEST_SEED:
        raise ValueError(
            "random_state must be a whole number from 0 to 2**63 - 1, a numpy.random.RandomState "
            f"or None, got {random_state!r}."
        )


def _check_validation(validation) -> None:
    names = isinstance(validation, Iterable) and not isinstance(validation, str | bytes | Mapping)
    share = _is_number(validation) and 0 <= validation < 1
    count = isinstance(validation, numbers.Integral) and not isinstance(validation, bool)
    if validation is None or names or share or (count and validation >= 1):
        return
    raise ValueError(
        "validation must be a share of the subjects from 0 to below 1, a number of them, a list of "
        f"their names, or None; got {validation!r}."
    )


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_number(name: str, value, low: float, high: float, closed: bool) -> None:
    within = _is_number(value) and low <= value <= high
    endless = within and math.isinf(value) and name not in _MAY_BE_INFINITE
    if not within or endless or (value == low and not closed):
        upper = "" if high == math.inf else f" and at most {high:g}"
        lower = f"at least {low:g}" if closed else f"above {low:g}"
        raise ValueError(f"{name} must be a number {lower}{upper}, got {value!r}.")


def _check_count(name: str, value, low: int, also: str = "") -> None:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low:
        raise ValueError(f"{name} must be a whole number from {low} on{also}, got {value!r}.")


def summarise_nights(material: Material) -> dict:
    """How much there was of what, in the nights that trained; no name of anybody."""
    table = material.store.table
    hours = {
        name: round(float(table[f"coverage_{name}"].sum()) * EPOCH_SECONDS / 3600, 1)
        for name in material.modalities
    }
    ages = material.demography.age
    known = ages[ages == ages]
    sexes = material.demography.sex
    return {
        "recordings": len(table),
        "subjects": _count_known(material.demography.subject),
        "sites": _count_known(material.demography.site),
        "hours": round(float(table["n_epochs"].sum()) * EPOCH_SECONDS / 3600, 1),
        "hours_by_modality": hours,
        "recordings_by_pair": {"-".join(p): len(pool) for p, pool in material.pools.items()},
        "age": {
            "known": len(known),
            "mean": round(float(known.mean()), 1) if len(known) else None,
        },
        "female": int((sexes == 0).sum()),
        "male": int((sexes == 1).sum()),
        "held_out_recordings": len(material.held_out),
    }


def _count_known(codes: np.ndarray) -> int:
    return len(np.unique(codes[codes >= 0]))


def make_card(pretrainer) -> dict:
    """The card of a fitted pretrainer."""
    net = pretrainer.net_
    last = {k: v for k, v in net.history[-1].items() if k != "batches"} if net.history else {}
    parameters = describe_parameters(pretrainer)
    if pretrainer.validation is not None and not np.isscalar(pretrainer.validation):
        # names of subjects are not for everybody who gets the file
        parameters["validation"] = f"{len(pretrainer.validation)} subjects by name"
    measured = {k: v for k, v in last.items() if isinstance(v, int | float) and v == v}
    return {
        "made_by": "sleep2vec_sklearn.Sleep2VecPretrainer",
        "paper": "arXiv 2602.13857",
        "training_data": pretrainer._data_summary,
        "parameters": parameters,
        "seed": pretrainer.seed_,
        "steps": net.step_,
        "precision": pretrainer.precision_,
        "n_parameters": sum(p.numel() for p in net.module_.network.parameters()),
        "last_epoch": measured,
    }
