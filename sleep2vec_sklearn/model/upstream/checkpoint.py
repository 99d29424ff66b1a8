# SPDX-License-Identifier: BSD-3-Clause
"""Lightning checkpoints of the paper's authors, of pretraining and of fine-tuning.

Re-implemented from a description of the format; no code of theirs is used or run.

A module holds a network up to three times: as trained (``model.``), as its exponential average
(``ema_model.``) and as a running mean (``running_mean_model.``). One under fine-tuning holds the
backbone in ``backbone.`` and once more in ``model.backbone.``, next to a head.

LoRA (Hu et al. 2022, arXiv 2106.09685): ``W + (alpha / r) B A``. DoRA (Liu et al. 2024, arXiv
2402.09353): the same sum with every row brought to a learned length. The names are those of peft.
"""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._torch import own_modes
from ..._untrusted import check_finite, only_errors, shown
from ...errors import CheckpointError
from ...recordings.modality import Conditioning
from ..config import EncoderConfig
from ..network import Sleep2Vec
from ._files import find_configuration, find_finetuning, load_torch_file, locate, state_in
from .layout import (
    config_from_upstream,
    modality_of,
    model_section,
    our_name,
    read_channels,
    read_number,
    read_section,
)

_log = logging.getLogger("sleep2vec_sklearn")
_DEFAULT_ALPHA = 16
_CHANNEL = "ch_"
EACH = "each"
HEAD_LEFT_OUT = "the head of fine-tuning is left out; see load_finetuned(path)"
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
        What fine-tuning added (``head.*``, ...), in the authors' names; empty after pretraining.
    model_config : mapping
        The authors' configuration of the model; ``"head"`` describes the head.
    finetune_config : mapping or None
    extras : dict
        Other entries of the file, such as ``ahi_eval_threshold``.
    card : dict
        What is known of the encoder, as JSON values.
    adapted : dict of str to dict of str to Tensor
        With ``adapter="each"`` and several channels, the parameters of the encoder that are others
        for a modality, by modality; ``state`` has those without any adapter then. Else empty.
    """

    config: EncoderConfig = field(repr=False)
    state: dict[str, Tensor] = field(repr=False)
    head: dict[str, Tensor] = field(repr=False)
    model_config: Mapping = field(repr=False)
    finetune_config: Mapping | None = field(repr=False)
    extras: dict = field(repr=False)
    card: dict
    adapted: dict[str, dict[str, Tensor]] = field(repr=False, default_factory=dict)

    def build(self) -> Sleep2Vec:
        """A new network with the encoder's parameters, in eval mode."""
        return Sleep2Vec.from_state(self.config, self.state)

    def build_adapted(self, network: Sleep2Vec) -> dict[str, Sleep2Vec]:
        """Networks of the modalities with adapters; all else they share with that of ``build``."""
        networks = {}
        for modality, tensors in self.adapted.items():
            shared = {id(p): p for key, p in network.named_parameters() if key not in tensors}
            networks[modality] = copy.deepcopy(network, shared)
            networks[modality].load_state_dict(tensors, strict=False)
        return networks


def read_upstream_checkpoint(
    path: str | os.PathLike, *, config: Mapping | str | os.PathLike | None = None,
    weights: str = "auto", adapter: str | None = None, alpha: float | None = None,
    conditioning: str | Mapping[str, Conditioning] = "as given", context_epochs: int | None = None,
) -> UpstreamCheckpoint:  # fmt: skip
    """Read a Lightning checkpoint of the authors, head included.

    Parameters
    ----------
    path : path-like
        A ``.ckpt`` file of pretraining or fine-tuning, or a plain state dict of ``torch.save``; an
        address of the hub or a folder that holds one, as of :func:`load_checkpoint`.
    config : mapping or path-like, optional
        Parsed, or a YAML (extra ``yaml``) or JSON file. By default the file's own
        ``model_config``, else ``<name>.yaml`` or ``config.yaml`` next to it.
    weights : {"auto", "ema", "running_mean", "student"}
        Which of the networks in it; ``"auto"`` is the first of these that is there.
    adapter : str, optional
        With a LoRA adapter for each channel, the one to merge, which alone is read then; or
        ``"each"``, for :func:`~sleep2vec_sklearn.finetuning.load_finetuned`.
    alpha : float, optional
        LoRA's alpha, where the file does not say it.
    conditioning : "as given", "catalogue" or mapping of modality to Conditioning
        See :func:`config_from_upstream`.
    context_epochs : int, optional
        Window length of training, ``data.max_tokens`` of a whole configuration; else 120.

    Raises
    ------
    CheckpointError
        If the file is damaged, holds code or another network, or keys are unknown or missing.
    ImportError
        If the configuration is YAML and pyyaml is not installed.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import read_upstream_checkpoint
    >>> tuned = read_upstream_checkpoint("stage5/best.ckpt")  # doctest: +SKIP
    >>> tuned.config.names, sorted(tuned.head)  # doctest: +SKIP
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}.")
    file = locate(path)
    with only_errors(CheckpointError, file.path), own_modes():
        found = upstream_from_document(
            file.path, load_torch_file(file.path), config=config, weights=weights, adapter=adapter,
            alpha=alpha, conditioning=conditioning, context_epochs=context_epochs,
        )  # fmt: skip
    return replace(found, card=file.complete({**found.card, "name": file.name}))


def upstream_from_document(
    path: Path, document: Any, *, config: Mapping | str | os.PathLike | None = None,
    weights: str = "auto", adapter: str | None = None, alpha: float | None = None,
    conditioning: str | Mapping[str, Conditioning] = "as given", context_epochs: int | None = None,
) -> UpstreamCheckpoint:  # fmt: skip
    """:func:`read_upstream_checkpoint` of a file whose content was read already."""
    state = state_in(path, document)
    if any(".moe_ffn." in key for key in state):
        raise CheckpointError(
            f"{path}: a mixture-of-experts encoder (sleep2expert), a network of another kind that "
            "this library does not have. Use a dense sleep2vec or sleep2vec2 checkpoint."
        )
    values = find_configuration(path, document, config)
    try:
        selection = select_tensors(state, weights)
        finetuning = find_finetuning(path, document, values) if selection.finetuned else None
        backbone, values, merged, adapted = _without_adapters(
            selection.backbone, values, finetuning, adapter, alpha
        )
        encoder = config_from_upstream(
            values, conditioning=conditioning, context_epochs=context_epochs
        )
        tensors = _copied(state_from_upstream(backbone, encoder))
        for part in (tensors, *adapted.values()):
            check_finite(part)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return UpstreamCheckpoint(
        encoder, tensors, _copied(selection.head), model_section(values), finetuning,
        {k: v for k, v in document.items() if k not in _NOT_EXTRA and "state_dict" in document},
        _card_of(path, document, selection, merged), adapted,
    )  # fmt: skip


def state_from_upstream(state: Mapping[str, Any], config: EncoderConfig) -> dict[str, Tensor]:
    """Rename the parameters of the authors' pretraining model (no prefix) to ours.

    Parameters
    ----------
    state : mapping of str to Tensor or array
    config : EncoderConfig
        From :func:`config_from_upstream`.

    Raises
    ------
    CheckpointError
        If keys are unknown, missing, or of another shape; all are named.
    """
    renamed: dict[str, Tensor] = {}
    unknown, duplicates = [], []
    for key, value in state.items():
        name = our_name(key)
        if name is None:
            unknown.append(key)
        elif name in renamed:
            duplicates.append(key)
        elif name:
            tensor = torch.as_tensor(value)
            # row 1 is for a second sentence, which a night does not have
            renamed[name] = tensor[0] if name == "encoder.token_type" else tensor
    complaints = [f"unknown key {key}" for key in sorted(unknown)]
    complaints += [f"{key} is there under another name too" for key in sorted(duplicates)]
    complaints += Sleep2Vec.differences(config, renamed)
    if complaints:
        raise CheckpointError(
            "these parameters are not those of the configuration: " + "; ".join(complaints) + "."
        )
    return renamed


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies, as the file is only mapped; floating numbers become float32."""
    dtypes = {k: torch.float32 if t.is_floating_point() else t.dtype for k, t in tensors.items()}
    return {k: t.detach().to(dtypes[k], copy=True).contiguous() for k, t in tensors.items()}


def _card_of(path: Path, document: Mapping, selection: Selection, adapter: str | None) -> dict:
    notes = list(selection.notes)
    if selection.head:
        notes.append(HEAD_LEFT_OUT)
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


_ROOTS = {"ema": "ema_model.", "running_mean": "running_mean_model.", "student": "model."}
WEIGHTS = ("auto", *_ROOTS)
_BACKBONE = "backbone."
_CLS = "cls_embedding.cls_token"
_LOSS_BUFFER = re.compile(r"_?\w*loss\.\w+")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Selection:
    """Tensors of one network without prefixes; ``notes`` are what a user should know of it."""

    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    weights: str
    finetuned: bool
    notes: tuple[str, ...] = ()


def select_tensors(state: Mapping[str, Tensor], weights: str = "auto") -> Selection:
    """Choose a network of a state dict, by default the averaged one if there is one."""
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
    chosen, notes = networks[weights], tuple[str, ...]()
    # the authors' exponential average leaves BatchNorm's buffers as they began
    if weights == "ema":
        chosen, notes = _with_statistics(chosen, networks.get("student", {}))
    backbone = {k.removeprefix(_BACKBONE): v for k, v in chosen.items() if k.startswith(_BACKBONE)}
    if not backbone:
        return Selection(chosen, losses, weights, False, notes)
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


def _with_statistics(
    averaged: dict[str, Tensor], student: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    statistics = {key for key in averaged if key.rsplit(".", 1)[-1] in _STATISTICS}
    updated = {key: student[key] for key in statistics & set(student)}
    if len(updated) == len(statistics):
        return {**averaged, **updated}, ()
    note = (
        "BatchNorm statistics of the projection are those of the exponential average, which were "
        "never updated: do not use layer='projection'"
    )
    return {**averaged, **updated}, (note,)


_WRAPPER = "base_model.model."
_PART = re.compile(r"(.+)\.(lora_A|lora_B|lora_magnitude_vector)\.(\w+)(?:\.weight)?")
_BASE = ".base_layer."


def _without_adapters(
    backbone: Mapping[str, Tensor], values: Mapping, finetuning: Mapping | None,
    adapter: str | None, alpha: float | None,
) -> tuple[Mapping[str, Tensor], Mapping, str | None, dict[str, dict[str, Tensor]]]:  # fmt: skip
    """Backbone with its adapter merged, configuration of what it then reads, adapter's name.

    And, with several to be kept apart, what each makes of the layers that it changes.
    """
    names = adapters_in(backbone)
    if not names:
        if adapter not in (None, EACH):
            raise CheckpointError(f"adapter={adapter!r}, but it holds no adapters; leave it out.")
        return backbone, values, None, {}
    lora = read_section(finetuning or {}, "lora")
    _check_lora(lora, names)
    if alpha is None and not lora:
        raise CheckpointError(
            "it holds LoRA adapters and no finetune_config, which says their alpha. Pass "
            "alpha=..., or config= with the YAML of fine-tuning."
        )
    if alpha is None:
        alpha = read_number(lora, "alpha", _DEFAULT_ALPHA)
    channels = [channel["name"] for channel in read_channels(values)]
    own = [name for name in names if name.startswith(_CHANNEL)]
    if own and len(channels) == 1 and adapter in (None, EACH):
        # of one channel there is no choice
        adapter = channels[0]
    if own and adapter == EACH:
        adapted = _adapted_layers(backbone, channels, alpha, lora.get("r"))
        return _split_adapters(backbone)[0], values, EACH, adapted
    name = _choose_adapter(names, None if adapter == EACH else adapter)
    merged = merge_adapter(backbone, name, alpha, lora.get("r"))
    if name.startswith(_CHANNEL):
        merged, values = _only_channel(merged, values, name.removeprefix(_CHANNEL))
    return merged, values, name, {}


def _check_lora(lora: Mapping, names: Sequence[str]) -> None:
    # rsLoRA divides alpha by another number, and a pattern has several
    odd = sorted(k for k in lora if ("rslora" in k.lower() or "pattern" in k) and lora[k])
    if odd:
        raise CheckpointError(
            f"finetune.lora has {odd[0]}: {shown(lora[odd[0]])}; accepted is alpha / r, without it."
        )
    separate = lora.get("separate_adapters")
    if separate is not None and separate is not any(name.startswith(_CHANNEL) for name in names):
        raise CheckpointError(
            f"finetune.lora has separate_adapters: {shown(separate)}, of which true gives each "
            f"channel an adapter {_CHANNEL}<channel>; it holds {', '.join(names)}. Is the "
            "configuration that of another run?"
        )


def _adapted_layers(
    backbone: Mapping[str, Tensor], channels: Sequence[str], alpha: float, rank: int | None
) -> dict[str, dict[str, Tensor]]:
    """Weights that each channel's own adapter changes, by modality, in our names."""
    layers = {f"{layer}.weight" for layer in _split_adapters(backbone)[1]}
    adapted = {}
    for channel in channels:
        merged = merge_adapter(backbone, _CHANNEL + channel, alpha, rank)
        changed = {our_name(key) or key: merged[key] for key in merged if key in layers}
        adapted[modality_of(channel) or channel] = _copied(changed)
    return adapted


def _choose_adapter(names: Sequence[str], adapter: str | None) -> str:
    channels = [name.removeprefix(_CHANNEL) for name in names if name.startswith(_CHANNEL)]
    if not channels and len(names) == 1 and adapter in (None, *names):
        return names[0]
    matches = [c for c in channels if adapter in (c, modality_of(c))]
    if matches:
        return _CHANNEL + matches[0]
    accepted = ", ".join(repr(modality_of(c) or c) for c in channels) or ", ".join(names)
    if adapter is None and channels:
        raise CheckpointError(
            "it holds a LoRA adapter for each channel, so no single encoder reads them all. Take "
            f"one at a time: convert_checkpoint(..., adapter=...), one of {accepted}."
        )
    raise CheckpointError(f"adapter={adapter!r} is not in it; accepted: {accepted}.")


def _only_channel(
    backbone: Mapping[str, Tensor], values: Mapping, channel: str
) -> tuple[dict[str, Tensor], Mapping]:
    channels = read_channels(values)
    model = {**model_section(values), "channels": [c for c in channels if c["name"] == channel]}
    values = {**values, "model": model} if "model" in values else model
    unused = tuple(
        f"{part}.{c['name']}."
        for part in ("tokenizer_mapping", "mask_embed")
        for c in channels
        if c["name"] != channel
    )
    return {k: v for k, v in backbone.items() if not f"{k}.".startswith(unused)}, values


def adapters_in(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the adapters there are, e.g. ``["default"]``."""
    matches = (_PART.fullmatch(key) for key in state)
    return sorted({match.group(3) for match in matches if match})


def merge_adapter(
    state: Mapping[str, Tensor], adapter: str, alpha: float, rank: int | None = None
) -> dict[str, Tensor]:
    """Add one adapter times ``alpha / r`` into its base weights, and drop all adapters."""
    merged, layers = _split_adapters(state)
    complaints = []
    for layer, adapters in sorted(layers.items()):
        parts = adapters.get(adapter, {})
        weight = merged.get(f"{layer}.weight")
        found = _complaints(layer, weight, parts, rank)
        if weight is None or found:
            complaints += found
        else:
            merged[f"{layer}.weight"] = _merged(weight, parts, alpha)
    if complaints:
        raise CheckpointError(f"the adapter {adapter!r} cannot be merged: {'; '.join(complaints)}.")
    return merged


def _split_adapters(
    state: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, dict[str, dict[str, Tensor]]]]:
    """Parameters without adapters, and the parts of adapters by layer and name of the adapter."""
    plain: dict[str, Tensor] = {}
    layers: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, value in state.items():
        key = key.replace(_WRAPPER, "")
        match = _PART.fullmatch(key)
        if match is None:
            plain[key.replace(_BASE, ".")] = value
        else:
            layer, part, name = match.groups()
            layers.setdefault(layer, {}).setdefault(name, {})[part] = value
    return plain, layers


def _complaints(
    layer: str, weight: Tensor | None, parts: Mapping[str, Tensor], rank: int | None
) -> list[str]:
    missing = sorted({"lora_A", "lora_B"} - set(parts)) + ["base_layer.weight"] * (weight is None)
    if missing or weight is None:
        return [f"missing {layer}.{part}" for part in missing]
    down, up = parts["lora_A"], parts["lora_B"]
    lengths = parts.get("lora_magnitude_vector", weight[:, 0])
    if (up.shape[0], down.shape[1]) != weight.shape or up.shape[1] != down.shape[0]:
        shapes = ", ".join(str(tuple(t.shape)) for t in (weight, down, up))
        return [f"{layer} has shapes that do not fit: weight, A, B are {shapes}"]
    if lengths.numel() != len(weight):
        return [f"{layer}.lora_magnitude_vector has shape {tuple(lengths.shape)}"]
    if rank is not None and len(down) != rank:
        return [f"{layer} has rank {len(down)}, its configuration says r={rank}"]
    return []


def _merged(weight: Tensor, parts: Mapping[str, Tensor], alpha: float) -> Tensor:
    # in double precision, so that merging adds no rounding of its own
    down, up = parts["lora_A"].double(), parts["lora_B"].double()
    merged = weight.double() + alpha / len(down) * (up @ down)
    if "lora_magnitude_vector" in parts:
        lengths = parts["lora_magnitude_vector"].double().reshape(-1, 1)
        merged = merged * (lengths / torch.linalg.vector_norm(merged, dim=1, keepdim=True))
    return merged.to(weight.dtype)
