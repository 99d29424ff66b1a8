# SPDX-License-Identifier: BSD-3-Clause
"""Lightning checkpoints of the paper's authors, of pretraining and of fine-tuning.

Re-implemented from a description of the format; no code of theirs is used or run.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..signals import Conditioning
from .adapters import adapters_in, merge_adapter
from .config import EncoderConfig
from .selection import WEIGHTS, Selection, select_tensors
from .sleep2vec import Sleep2Vec
from .torch_files import load_torch_file
from .upstream import config_from_upstream, modality_of, state_from_upstream
from .upstream_files import find_configuration, is_sound, state_in

__all__ = ["UpstreamCheckpoint", "read_upstream_checkpoint"]

_log = logging.getLogger("sleep2vec_sklearn")
_DEFAULT_ALPHA = 16
_CHANNEL = "ch_"
_NOT_EXTRA = {
    *("state_dict", "model_config", "model_config_yaml", "finetune_config", "finetune_config_yaml"),
    *("epoch", "global_step", "pytorch-lightning_version", "loops", "callbacks"),
    *("optimizer_states", "lr_schedulers", "hyper_parameters", "hparams_name", "MixedPrecision"),
    *("datamodule_hyper_parameters", "datamodule_hparams_name"),
}


@dataclass(frozen=True, eq=False)
class UpstreamCheckpoint:
    """One of the authors' checkpoints: an encoder in our names, and the rest as it was.

    Attributes
    ----------
    config : EncoderConfig
    state : dict of str to Tensor
        The encoder's parameters and buffers in this library's names, float32, adapters merged.
    head : dict of str to Tensor
        What fine-tuning added (``head.*``, ``temporal_agg.*``, ``layer_mix.weight``, ...), in the
        authors' names and from the same average as the encoder; empty after pretraining.
    model_config : mapping
        The authors' configuration of the model; ``"head"`` describes the head.
    finetune_config : mapping or None
        The authors' configuration of fine-tuning, such as its task and layer mix.
    extras : dict
        Other entries of the file, such as ``ahi_eval_threshold``.
    card : dict
        What is known of the encoder, as JSON values; notes on its use are in ``"notes"``.
    """

    config: EncoderConfig = field(repr=False)
    state: dict[str, Tensor] = field(repr=False)
    head: dict[str, Tensor] = field(repr=False)
    model_config: Mapping = field(repr=False)
    finetune_config: Mapping | None = field(repr=False)
    extras: dict = field(repr=False)
    card: dict

    def build(self) -> Sleep2Vec:
        """A new network with the encoder's parameters, in eval mode."""
        return Sleep2Vec.from_state(self.config, self.state)


def read_upstream_checkpoint(
    path: str | os.PathLike,
    *,
    config: Mapping | str | os.PathLike | None = None,
    weights: str = "auto",
    adapter: str | None = None,
    alpha: float | None = None,
    conditioning: str | Mapping[str, Conditioning] = "as given",
    context_epochs: int | None = None,
) -> UpstreamCheckpoint:
    """Read a Lightning checkpoint of the authors, head included.

    Parameters
    ----------
    path : path-like
        A ``.ckpt`` file of pretraining or fine-tuning, or a plain state dict of ``torch.save``.
    config : mapping or path-like, optional
        Configuration of training: parsed, or a YAML (extra ``yaml``) or JSON file. By default the
        file's own ``model_config``, else ``<name>.yaml`` or ``config.yaml`` beside it.
    weights : {"auto", "ema", "running_mean", "student"}
        Which of the networks in it; ``"auto"`` is the first of these that is there. BatchNorm
        statistics of ``"ema"`` are the student's, as the average's are never updated.
    adapter : str, optional
        With a LoRA adapter for each channel, the channel or modality to merge; the encoder then
        reads that one only. A single adapter is merged by itself.
    alpha : float, optional
        LoRA's alpha, where the file does not say it.
    conditioning : "as given", "catalogue" or mapping of modality to Conditioning
        See :func:`config_from_upstream`.
    context_epochs : int, optional
        Window length of training, ``data.max_tokens`` of a whole configuration; else 120.

    Raises
    ------
    CheckpointError
        If the file is damaged, holds code, describes another network, or keys are unknown or
        missing (all are named).
    ImportError
        If the configuration is YAML and pyyaml is not installed.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import read_upstream_checkpoint
    >>> tuned = read_upstream_checkpoint("stage5/best.ckpt")  # doctest: +SKIP
    >>> tuned.config.names, sorted(tuned.head)  # doctest: +SKIP
    """
    path = Path(path)
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}.")
    document = load_torch_file(path)
    state = state_in(path, document)
    _refuse_experts(path, state)
    values = find_configuration(path, document, config)
    try:
        selection = select_tensors(state, weights)
        finetuning = _finetuning_of(document, values)
        backbone, values, merged = _without_adapters(
            selection.backbone, values, finetuning, adapter, alpha
        )
        encoder = config_from_upstream(
            values, conditioning=conditioning, context_epochs=context_epochs
        )
        tensors = {k: _kept(t) for k, t in state_from_upstream(backbone, encoder).items()}
        _check_finite(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return UpstreamCheckpoint(
        encoder,
        tensors,
        {key: _kept(tensor) for key, tensor in selection.head.items()},
        values.get("model", values),
        finetuning,
        _extras_of(document),
        _card_of(path, document, selection, merged),
    )


def _extras_of(document: Mapping) -> dict:
    if "state_dict" not in document:
        return {}
    return {key: value for key, value in document.items() if key not in _NOT_EXTRA}


def _refuse_experts(path: Path, state: Mapping[str, Tensor]) -> None:
    if any(".moe_ffn." in key for key in state):
        raise CheckpointError(
            f"{path}: a mixture-of-experts encoder (sleep2expert), a network of another kind that "
            "this library does not have. Use a dense sleep2vec or sleep2vec2 checkpoint."
        )


def _finetuning_of(document: Mapping, values: Mapping) -> Mapping | None:
    for section in (document.get("finetune_config"), values.get("finetune")):
        if isinstance(section, Mapping):
            return section.get("finetune", section)
    return None


def _without_adapters(backbone, values: Mapping, finetuning, adapter, alpha):
    """Backbone with its adapter merged, configuration of what it then reads, adapter's name."""
    names = adapters_in(backbone)
    if not names:
        if adapter is not None:
            raise CheckpointError(f"adapter={adapter!r}, but it holds no adapters; leave it out.")
        return backbone, values, None
    channels = [name.removeprefix(_CHANNEL) for name in names if name.startswith(_CHANNEL)]
    wanted = _choose_adapter(names, channels, adapter)
    lora = (finetuning or {}).get("lora") or {}
    if alpha is None and not lora:
        raise CheckpointError(
            "it holds LoRA adapters and no finetune_config, which says their alpha. Pass "
            "alpha=..., or config= with the YAML of fine-tuning."
        )
    if alpha is None:
        alpha = lora.get("alpha") or _DEFAULT_ALPHA
    merged = merge_adapter(backbone, wanted, alpha, lora.get("r"))
    if channels:
        merged, values = _only_channel(merged, values, wanted.removeprefix(_CHANNEL))
    return merged, values, wanted


def _choose_adapter(names: list[str], channels: list[str], adapter: str | None) -> str:
    if not channels and len(names) == 1 and adapter in (None, *names):
        return names[0]
    asked = [c for c in channels if adapter in (c, modality_of(c))]
    if asked:
        return _CHANNEL + asked[0]
    accepted = ", ".join(repr(modality_of(c) or c) for c in channels) or ", ".join(names)
    if adapter is None and channels:
        raise CheckpointError(
            "it holds a LoRA adapter for each channel, so no single encoder reads them all. Take "
            f"one at a time: convert_checkpoint(..., adapter=...), one of {accepted}."
        )
    raise CheckpointError(f"adapter={adapter!r} is not in it; accepted: {accepted}.")


def _only_channel(backbone: dict[str, Tensor], values: Mapping, channel: str):
    values = copy.deepcopy(dict(values))
    model = values.get("model", values)
    listed = model.get("channels") or []
    model["channels"] = [c for c in listed if c.get("name") == channel]
    others = tuple(
        f"{part}.{c['name']}"
        for part in ("tokenizer_mapping", "mask_embed")
        for c in listed
        if c.get("name") != channel
    )
    kept = {
        key: tensor
        for key, tensor in backbone.items()
        if not any(key == other or key.startswith(f"{other}.") for other in others)
    }
    return kept, values


def _kept(tensor: Tensor) -> Tensor:
    """A copy, as the file is only mapped; numbers as this library keeps them."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype, copy=True).contiguous()


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    odd = sorted(key for key, tensor in tensors.items() if not is_sound(tensor))
    if odd:
        raise CheckpointError(
            f"NaN or infinite values in {', '.join(odd)}: training diverged. Take an earlier one."
        )


def _card_of(path: Path, document: Mapping, selection: Selection, adapter: str | None) -> dict:
    notes = list(selection.notes)
    if selection.head:
        notes.append(
            "the head of fine-tuning is left out; read_upstream_checkpoint(path).head has it"
        )
    for note in notes:
        _log.info("%s: %s", path, note)
    card = {
        "name": path.stem,
        "source": "Lightning checkpoint in the layout of the paper's authors",
        "kind": "fine-tuning" if selection.finetuned else "pretraining",
        "weights": selection.weights,
        "adapter": adapter,
        "left_out": sorted(selection.head),
        "notes": notes,
    }
    counts = {key: document.get(key) for key in ("epoch", "global_step")}
    return {**card, **{key: n for key, n in counts.items() if isinstance(n, int)}}
