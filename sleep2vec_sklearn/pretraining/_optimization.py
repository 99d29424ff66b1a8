# SPDX-License-Identifier: BSD-3-Clause
"""The learning rate over a run, and which parameters decay.

A part is a modality, that is its tokenizer and its mask embedding, or one of those that all
modalities share.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from .._progress import ProgressBar
from .._torch import rate_factor
from ..model.config import EncoderConfig
from ..model.network import Sleep2Vec

__all__ = [
    "SHARED",
    "MovingAverage",
    "ProgressBar",
    "StepProgress",
    "check_pairs",
    "check_scales",
    "decay_groups",
    "parts_of",
    "put_to_rest",
    "rate_factor",
    "scale_of",
]


def decay_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    weight_decay: float,
    scales: Mapping[str, float] | None = None,
) -> list[dict]:
    """Optimizer groups: matrices decay; biases, norms, masks and the CLS token do not.

    With ``scales`` there are two groups for each, the fastest first, with ``lr_scale`` beside;
    what has a scale of 0 is in none.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        is_matrix = parameter.ndim >= 2 and "norm" not in name and "bias" not in name
        groups.setdefault((scale_of(name, scales or {}), is_matrix), []).append(parameter)
    return [
        {"params": group, "weight_decay": weight_decay if decays else 0.0, "lr_scale": scale}
        for (scale, decays), group in sorted(groups.items(), key=lambda item: item[0], reverse=True)
        if scale
    ]


SHARED = ("input_projection", "cls_token", "encoder", "projection")
_BY_MODALITY = ("tokenizers", "masks")
_NETWORK = "network"


def parts_of(config: EncoderConfig) -> tuple[str, ...]:
    """The parts that an encoder may have: its modalities, then the shared ones."""
    return (*config.names, *SHARED)


def check_scales(scales: Mapping[str, float] | None, config: EncoderConfig) -> dict[str, float]:
    """Scales by part, as given.

    Raises
    ------
    ValueError
        If a part is not the encoder's, a scale is not a finite number from 0 on, or all are 0.
    """
    if scales is None:
        return {}
    if not isinstance(scales, Mapping):
        raise ValueError(f"lr_scales must be a mapping of parts to numbers, got {scales!r}.")
    known = parts_of(config)
    unknown = [str(part) for part in scales if part not in known]
    if unknown:
        raise ValueError(
            f"lr_scales: the encoder has no part {', '.join(unknown)}; accepted: "
            f"{', '.join(known)}."
        )
    for part, scale in scales.items():
        is_number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
        if not is_number or not math.isfinite(scale) or scale < 0:
            raise ValueError(
                f"lr_scales: {part!r} must be a finite number, 0 or above; got {scale!r}."
            )
    # most encoders have no CLS token
    if not any(scales.get(part, 1) for part in known if part != "cls_token"):
        raise ValueError("lr_scales: every part is 0, so nothing would be trained.")
    return {str(part): float(scale) for part, scale in scales.items()}


def scale_of(name: str, scales: Mapping[str, float]) -> float:
    """Scale of a parameter of the training module, by its name; 1 where none is given.

    What serves training alone, such as readers, is new in every run and has 1.
    """
    root, *path = name.split(".")
    if root != _NETWORK:
        return 1.0
    part = path[1] if path[0] in _BY_MODALITY else path[0]
    return scales.get(part, 1.0)


def put_to_rest(network: Sleep2Vec, scales: Mapping[str, float]) -> None:
    """Set the parts that do not learn to evaluation: no dropout, BatchNorm as it was trained."""
    for part, scale in scales.items():
        module = getattr(network, part) if part in SHARED else network.tokenizers[part]
        if scale == 0 and isinstance(module, nn.Module):
            module.eval()


def check_pairs(pairs: Sequence[tuple[str, str]], scales: Mapping[str, float]) -> None:
    """Refuse pairs that would come without moving anything.

    Raises
    ------
    ValueError
        That names them.
    """
    shared = [part for part in SHARED if part != "cls_token"]
    idle = [
        "-".join(pair)
        for pair in pairs
        if not any(scales.get(part, 1.0) for part in (*shared, *pair))
    ]
    if idle:
        raise ValueError(
            f"lr_scales leaves nothing to train with {', '.join(idle)}. Leave these pairs out of "
            "pair_shares, or give one of their parts a scale above 0."
        )


class MovingAverage:
    """An average of a network's parameters and buffers over the steps.

    BatchNorm's running statistics are averaged as the parameters are: without them the averaged
    projection would be normalised by numbers of no training data at all.

    Parameters
    ----------
    network : Sleep2Vec
        As it is now; the average starts there.
    decay : float
        What is kept of the average in a step; less in the first ones, ``(1 + t) / (10 + t)``, so
        that the random start is soon forgotten. 0 follows the network.

    Attributes
    ----------
    network : Sleep2Vec
        The average, in eval mode.
    """

    def __init__(self, network: Sleep2Vec, decay: float):
        self.network = type(network).from_state(network.config, network.state_dict())
        self.network.to(network.input_projection.weight.device)
        self.network.requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Sleep2Vec, step: int) -> None:
        """Move towards the network after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        for kept, new in pairs:
            if kept.is_floating_point() and decay:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


class StepProgress(ProgressBar):
    """One bar for the whole run, whatever its epochs are.

    Parameters
    ----------
    total : int
        Steps of the run.
    """

    def __init__(self, total: int):
        self.total = total

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Open the bar where the run is at."""
        done = net.step_ - net.first_step_
        self.open_bar(total=self.total, initial=done, desc="pretraining", unit="step")

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Count a step and show its loss."""
        row = net.history[-1]["batches"][-1]
        shown = {"epoch": len(net.history), "loss": f"{row['train_loss']:.3f}"}
        if "valid_recall" in (net.history[-2] if len(net.history) > 1 else {}):
            shown["recall"] = f"{net.history[-2]['valid_recall']:.3f}"
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update()
