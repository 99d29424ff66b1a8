# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuned networks of the paper's authors, encoder and head."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from .config import HeadConfig

# torch takes seconds to import, so what needs it is imported where it is used
if TYPE_CHECKING:
    from torch import Tensor

    from ..model.upstream.checkpoint import UpstreamCheckpoint
    from ._network import FineTuned, Head

__all__ = ["load_finetuned"]

_HEADS = {
    "classification": "mlp",
    **{name: name for name in ("regression", "temporal_conv", "temporal_transformer")},
}
_AGGREGATIONS = {"mean": "mean", "concat": "concat", "gated_scalar": "gated"}
_POOLINGS = {"mean": "mean", "attn": "attention"}
_FILTERS = "head.blocks.0.depthwise.weight"
_KEYS = {
    "head.fusion.aggregator.gates": "aggregation.gates",
    "temporal_agg.pool.q": "pooling.query",
    "temporal_agg.pool.W.weight": "pooling.key.weight",
    "temporal_agg.pool.W.bias": "pooling.key.bias",
    "layer_mix.weight": "layer_mix.weight",
}
_LAYER = re.compile(r"head\.(?:mlp|regressor)\.(\d+)\.(weight|bias)")
_BLOCK = re.compile(r"head\.(?:blocks|encoder\.layers)\.(\d+)\..*")
_OF_THE_LOSS = re.compile(r"_?\w*loss\.\w+")


def load_finetuned(path: str | os.PathLike, **options: Any) -> FineTuned:
    """Read a fine-tuned Lightning checkpoint of the authors: encoder and head, ready to predict.

    Parameters
    ----------
    path : path-like
        A ``.ckpt`` file of fine-tuning.
    **options
        ``config``, ``weights``, ``adapter``, ``alpha``, ``conditioning``, ``context_epochs`` of
        :func:`~sleep2vec_sklearn.model.read_upstream_checkpoint`.

    Returns
    -------
    FineTuned
        A torch module in eval mode, its adapters merged. ``network(inputs, present, valid)`` takes
        samples of each modality, [n_nights, n_epochs, n_samples], and bool masks: which modalities
        an epoch has, [n_nights, n_epochs, n_modalities], in the order of
        ``network.head.config.modalities``, and which are no padding, [n_nights, n_epochs]. Returns
        the head's outputs, [n_nights, n_epochs, n_outputs] of epochs or [n_nights, n_outputs].

    Raises
    ------
    CheckpointError
        If the file is damaged, of another network, of pretraining, or its head is of a kind that
        this library does not have.
    ImportError
        If the configuration is YAML and pyyaml is not installed.

    See Also
    --------
    sleep2vec_sklearn.load_checkpoint : The encoder alone.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.finetuning import load_finetuned
    >>> network = load_finetuned("stage5/best.ckpt")  # doctest: +SKIP
    >>> network.head.config.modalities, network.head.config.n_outputs  # doctest: +SKIP
    (('ibi', 'resp', 'eeg'), 5)
    >>> night = {"ibi": torch.randn(1, 960, 120)}  # eight hours at 4 Hz
    >>> present = torch.tensor([True, False, False]).expand(1, 960, 3)
    >>> network(night, present, torch.ones(1, 960, dtype=torch.bool)).shape  # doctest: +SKIP
    torch.Size([1, 960, 5])
    """
    from ..model.upstream.checkpoint import read_upstream_checkpoint

    try:
        return _build(read_upstream_checkpoint(path, **options))
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error


def _build(checkpoint: UpstreamCheckpoint) -> FineTuned:
    from ._network import FineTuned

    if not checkpoint.head:
        raise CheckpointError(
            "a checkpoint of pretraining, which has no head. Read it with load_checkpoint, or "
            "fine-tune it first."
        )
    state = {k: v for k, v in checkpoint.head.items() if not _OF_THE_LOSS.fullmatch(k)}
    layers, per_modality = _mixed_layers(checkpoint)
    config = _head_config(checkpoint, state, len(layers), per_modality)
    network = FineTuned(checkpoint.build(), config, layers=layers)
    _load_head(network.head, _translate_keys(state, config))
    return network.eval()


def _head_config(
    checkpoint: UpstreamCheckpoint, state: Mapping[str, Tensor], n_layers: int, per_modality: bool
) -> HeadConfig:
    model, task = checkpoint.model_config, (checkpoint.finetune_config or {}).get("task")
    if not task or "is_seq" not in task:
        raise CheckpointError(
            "nothing says whether its outputs are of epochs or of nights (task.is_seq of the "
            "finetune_config). Pass config= with the YAML of fine-tuning."
        )
    head, names = model.get("head") or {}, checkpoint.config.names
    aggregation = _translate("channel_agg", head.get("channel_agg"), _AGGREGATIONS, "mean")
    linear = _linear_layers(state)
    # these are read from the shapes of the parameters
    _refuse_options("head", head, ("num_layers", "kernel_size"))
    return HeadConfig(
        checkpoint.config.hidden_size,
        names,
        n_outputs=len(linear[-1]),
        unit="epoch" if task["is_seq"] else "night",
        head=_translate("head", head, _HEADS, "classification"),
        # a single channel is not combined with others
        aggregation=aggregation if len(names) > 1 else "mean",
        pooling="mean" if task["is_seq"] else _pooling_of(model),
        n_layers=n_layers,
        layer_mix_per_modality=per_modality,
        dropout=head.get("dropout") or 0.0,
        activation=head.get("act") or "elu",
        **_sizes_of(state, linear),
    )


def _pooling_of(model: Mapping) -> str:
    if (model.get("cls") or {}).get("downstream") == "cls":
        return "cls"
    section = (model.get("head") or {}).get("temporal_agg")
    pooling = _translate("temporal_agg", section, _POOLINGS, "mean")
    _refuse_options("temporal_agg", section or {})
    return pooling


def _refuse_options(what: str, section: Mapping, known: tuple[str, ...] = ()) -> None:
    unknown = sorted(set(section.get("kwargs") or {}) - set(known))
    if unknown:
        raise CheckpointError(f"options of its {what} not supported: {', '.join(unknown)}.")


def _mixed_layers(checkpoint: UpstreamCheckpoint) -> tuple[tuple[int, ...], bool]:
    """Blocks that are mixed, and whether each modality has weights of its own."""
    mix = (checkpoint.finetune_config or {}).get("layer_mix") or {}
    n_layers = checkpoint.config.n_layers
    if not mix.get("enabled", bool(mix)):
        return (n_layers,), True
    layers = mix.get("layer_indices") or range(1, n_layers + 1)
    return tuple(layers), not mix.get("shared_across_modalities")


def _translate(what: str, section: Mapping | None, names: Mapping[str, str], default: str) -> str:
    name = (section or {}).get("name") or default
    if name not in names:
        raise CheckpointError(f"{what} {name!r}; supported: {', '.join(map(repr, names))}.")
    return names[name]


def _linear_layers(state: Mapping[str, Tensor]) -> list[Tensor]:
    """Weights of the layers from features to outputs, in order."""
    matches = [m for m in map(_LAYER.fullmatch, state) if m and m[2] == "weight"]
    layers = [state[m[0]] for m in sorted(matches, key=lambda m: int(m[1]))]
    if not layers and "head.classifier.weight" not in state:
        raise CheckpointError(f"a head of unknown layout; its keys are {', '.join(sorted(state))}.")
    return layers or [state["head.classifier.weight"]]


def _sizes_of(state: Mapping[str, Tensor], linear: list[Tensor]) -> dict:
    blocks = {m[1] for m in map(_BLOCK.fullmatch, state) if m}
    sizes = {"head_size": linear[-1].shape[1], "depth": len(blocks) or len(linear)}
    if _FILTERS in state:
        sizes["kernel_size"] = state[_FILTERS].shape[-1]
    return sizes


def _translate_keys(state: Mapping[str, Tensor], config: HeadConfig) -> dict[str, Tensor]:
    numbers = sorted({int(m[1]) for m in map(_LAYER.fullmatch, state) if m})
    renamed = {}
    for key, tensor in state.items():
        match = _LAYER.fullmatch(key)
        if match:
            renamed[f"predictor.layers.{numbers.index(int(match[1]))}.{match[2]}"] = tensor
        else:
            renamed[_KEYS.get(key, re.sub(r"^head\.", "predictor.", key))] = tensor
    if "pooling.query" in renamed:
        renamed["pooling.query"] = renamed["pooling.query"].reshape(-1)
    if config.n_layers == 1:
        # the mean of one layer
        renamed.pop("layer_mix.weight", None)
    return renamed


def _load_head(head: Head, state: Mapping[str, Tensor]) -> None:
    expected = head.state_dict()
    problems = [f"missing {key}" for key in sorted(set(expected) - set(state))]
    problems += [f"unknown {key}" for key in sorted(set(state) - set(expected))]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if problems:
        raise CheckpointError(f"a head that this library does not have: {'; '.join(problems)}.")
    head.load_state_dict(state)
