# SPDX-License-Identifier: BSD-3-Clause
"""Parts of an encoder that learn at rates of their own, or not at all.

A part is a modality, that is its tokenizer and its mask embedding, or one of those that all
modalities share.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence

from torch import nn

from ..model.config import EncoderConfig
from ..model.sleep2vec import Sleep2Vec

__all__ = ["SHARED", "check_pairs", "check_scales", "parts_of", "put_to_rest", "scale_of"]

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
