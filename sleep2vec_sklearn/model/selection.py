# SPDX-License-Identifier: BSD-3-Clause
"""Which tensors of the authors' training module make the encoder, and which its head.

A module holds a network up to three times: as trained (``model.``), as its exponential average
(``ema_model.``) and as a running mean (``running_mean_model.``). One under fine-tuning holds the
backbone in ``backbone.`` and once more in ``model.backbone.``, beside a head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CheckpointError

__all__ = ["WEIGHTS", "Selection", "select_tensors"]

_ROOTS = {"ema": "ema_model.", "running_mean": "running_mean_model.", "student": "model."}
WEIGHTS = ("auto", *_ROOTS)
_BACKBONE = "backbone."
_CLS = "cls_embedding.cls_token"
_LOSS_BUFFER = re.compile(r"_?\w*loss\.\w+")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Selection:
    """Tensors of one network, without prefixes.

    Attributes
    ----------
    backbone : dict of str to Tensor
        The encoder, in the authors' names.
    head : dict of str to Tensor
        What fine-tuning put on it, and the weights of its loss; empty after pretraining.
    weights : {"ema", "running_mean", "student"}
        Which network was taken.
    finetuned : bool
    notes : tuple of str
        What a user ought to know of the choice.
    """

    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    weights: str
    finetuned: bool
    notes: tuple[str, ...] = ()


def select_tensors(state: Mapping[str, Tensor], weights: str = "auto") -> Selection:
    """Choose the averaged network if there is one, with BatchNorm statistics that were updated.

    Parameters
    ----------
    state : mapping of str to Tensor
        ``state_dict`` of a Lightning checkpoint, or of one network alone.
    weights : {"auto", "ema", "running_mean", "student"}
        ``"auto"`` is the first of the others that is there.

    Notes
    -----
    The authors' exponential average follows the parameters only: its BatchNorm buffers stay 0 and
    1, so those of the trained network are taken. Their running mean averages the buffers too.

    Raises
    ------
    CheckpointError
        If the wanted network is not there, copies of a tensor differ, or keys belong to nothing.
    """
    networks, rest = _split(state)
    if weights == "auto":
        weights = next(iter(networks))
    if weights not in networks:
        raise CheckpointError(
            f"there are no {weights!r} weights in it; it has {', '.join(map(repr, networks))}."
        )
    losses = {key: value for key, value in rest.items() if _LOSS_BUFFER.fullmatch(key)}
    unknown = sorted(set(rest) - set(losses))
    if unknown:
        raise CheckpointError(f"unknown keys {', '.join(unknown)}.")
    chosen, notes = networks[weights], ()
    if weights == "ema":
        chosen, notes = _with_statistics(chosen, networks.get("student", {}))
    finetuned = any(key.startswith(_BACKBONE) for key in chosen)
    if not finetuned:
        return Selection(chosen, losses, weights, False, notes)
    backbone = {
        key.removeprefix(_BACKBONE): value
        for key, value in chosen.items()
        if key.startswith(_BACKBONE)
    }
    head = {key: value for key, value in chosen.items() if not key.startswith(_BACKBONE)}
    if _CLS in head and _CLS in backbone:
        _check_same(_CLS, head.pop(_CLS), backbone[_CLS])
    return Selection(backbone, {**head, **losses}, weights, True, notes)


def _split(state: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """The networks there are, the preferred first, and the keys outside of them."""
    networks: dict[str, dict[str, Tensor]] = {name: {} for name in _ROOTS}
    rest = {}
    for key, value in state.items():
        for name, root in _ROOTS.items():
            if key.startswith(root):
                networks[name][key.removeprefix(root)] = value
                break
        else:
            rest[key] = value
    if not any(networks.values()):
        return {"student": rest}, {}
    student = networks["student"]
    for key in [key for key in rest if key.startswith(_BACKBONE)]:
        _check_same(key, rest[key], student.setdefault(key, rest[key]))
        del rest[key]
    return {name: tensors for name, tensors in networks.items() if tensors}, rest


def _check_same(key: str, first: Tensor, second: Tensor) -> None:
    # names of one storage, as a rule
    if first.data_ptr() != second.data_ptr() and not torch.equal(first, second):
        raise CheckpointError(f"{key} is there twice with different values; which one was trained?")


def _with_statistics(averaged: dict[str, Tensor], student: Mapping[str, Tensor]):
    statistics = [key for key in averaged if key.rsplit(".", 1)[-1] in _STATISTICS]
    taken = {key: student[key] for key in statistics if key in student}
    notes = ()
    if len(taken) < len(statistics):
        notes = (
            "BatchNorm statistics of the projection are those of the exponential average, which "
            "were never updated: do not use layer='projection'",
        )
    return {**averaged, **taken}, notes
