# SPDX-License-Identifier: BSD-3-Clause
"""Low-rank adapters of fine-tuned checkpoints, added into the weights that they adapt.

LoRA (Hu et al. 2022, arXiv 2106.09685): ``W + (alpha / r) B A``. DoRA (Liu et al. 2024, arXiv
2402.09353): the same sum with every row brought to a learned length. The names are those of peft.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import CheckpointError

__all__ = ["adapters_in", "merge_adapter"]

_WRAPPER = "base_model.model."
_PART = re.compile(r"(.+)\.(lora_A|lora_B|lora_magnitude_vector)\.(\w+)(?:\.weight)?")
_BASE = ".base_layer."


def adapters_in(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the adapters there are, e.g. ``["default"]``."""
    found = (_PART.fullmatch(key) for key in state)
    return sorted({match.group(3) for match in found if match})


def merge_adapter(
    state: Mapping[str, Tensor], adapter: str, alpha: float, rank: int | None = None
) -> dict[str, Tensor]:
    """Add one adapter into its base weights, and drop all adapters.

    Parameters
    ----------
    state : mapping of str to Tensor
    adapter : str
        One of :func:`adapters_in`.
    alpha : float
        Numerator of the scale; the denominator is the adapter's rank.
    rank : int, optional
        What the configuration says the rank is; to be checked.

    Returns
    -------
    dict of str to Tensor
        Under the names that the network had before adapters were put in.

    Raises
    ------
    CheckpointError
        If a part of the adapter is missing or shapes do not fit; all are named.
    """
    plain, parts, places = {}, {}, set()
    for key, value in state.items():
        key = key.replace(_WRAPPER, "")
        match = _PART.fullmatch(key)
        if match is None:
            plain[key.replace(_BASE, ".")] = value
            continue
        place, part, name = match.groups()
        places.add(place)
        if name == adapter:
            parts.setdefault(place, {})[part] = value
    complaints = []
    for place in sorted(places):
        weight = plain.get(f"{place}.weight")
        found = _complaints(place, weight, parts.get(place, {}), rank)
        complaints += found
        if not found:
            plain[f"{place}.weight"] = _merged(weight, parts[place], alpha)
    if complaints:
        raise CheckpointError(f"the adapter {adapter!r} cannot be merged: {'; '.join(complaints)}.")
    return plain


def _complaints(place: str, weight: Tensor | None, parts: Mapping, rank: int | None) -> list[str]:
    needed = {"lora_A", "lora_B"}
    missing = sorted(needed - set(parts)) + ["base_layer.weight"] * (weight is None)
    if missing:
        return [f"missing {place}.{part}" for part in missing]
    down, up = parts["lora_A"], parts["lora_B"]
    length = parts.get("lora_magnitude_vector", weight[:, 0])
    if (up.shape[0], down.shape[1]) != weight.shape or up.shape[1] != down.shape[0]:
        shapes = ", ".join(str(tuple(t.shape)) for t in (weight, down, up))
        return [f"{place} has shapes that do not fit: weight, A, B are {shapes}"]
    if length.numel() != len(weight):
        return [f"{place}.lora_magnitude_vector has shape {tuple(length.shape)}"]
    if rank is not None and len(down) != rank:
        return [f"{place} has rank {len(down)}, its configuration says r={rank}"]
    return []


def _merged(weight: Tensor, parts: Mapping[str, Tensor], alpha: float) -> Tensor:
    # in double precision, so that merging adds no rounding of its own
    down, up = parts["lora_A"].double(), parts["lora_B"].double()
    merged = weight.double() + alpha / len(down) * (up @ down)
    if "lora_magnitude_vector" in parts:
        lengths = parts["lora_magnitude_vector"].double().reshape(-1, 1)
        merged = merged * (lengths / torch.linalg.vector_norm(merged, dim=1, keepdim=True))
    return merged.to(weight.dtype)
