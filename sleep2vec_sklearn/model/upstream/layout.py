# SPDX-License-Identifier: BSD-3-Clause
"""Configurations and parameter names of the paper's authors, of both dense packages, and ours."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._untrusted import shown
from ...errors import CheckpointError
from ...recordings.modality import EPOCH_SECONDS, MODALITIES, Conditioning
from ..config import EncoderConfig, ModalityConfig, ProjectionConfig, TokenizerConfig

_BY_UPSTREAM_KEY = {modality.upstream_key: modality for modality in MODALITIES.values()}
_BY_ALIAS = {"psg_heartbeat": MODALITIES["ibi"], "psg_breath": MODALITIES["resp"]}
_BY_CHANNEL = {**_BY_UPSTREAM_KEY, **_BY_ALIAS}
_UNCLIPPED = float(np.finfo(np.float32).max)

# what the network computes; an override is accepted only if it says the same
_FIXED_OVERRIDES = {
    "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0, "rotary_value": False,
    "type_vocab_size": 2, "initializer_range": 0.02,
}  # fmt: skip
# sizes, and a way to compute the same attention
_READ_OVERRIDES = (
    *("hidden_dropout_prob", "intermediate_size", "max_position_embeddings"),
    "attention_backend",
)


def config_from_upstream(
    values: Mapping, *, conditioning: str | Mapping[str, Conditioning] = "as given",
    context_epochs: int | None = None,
) -> EncoderConfig:  # fmt: skip
    """Read a ``model_config`` of the authors, alone or as ``model`` of a whole YAML file.

    Parameters
    ----------
    values : mapping
        The parsed file. A modality's rate is its ``input_dim`` / 30 s.
    conditioning : "as given", "catalogue" or mapping of modality to Conditioning
        How signals become network input. ``"as given"`` resamples and does nothing else:
        amplitudes have to be those of training. ``"catalogue"`` is this library's own conditioning
        at the checkpoint's rates. Modalities that a mapping lacks are taken as given.
    context_epochs : int, optional
        Window length of training; by default ``data.max_tokens`` where that is given, else 120.

    Raises
    ------
    CheckpointError
        If it describes something this network is not.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import config_from_upstream
    >>> tokenizer = {"name": "linear", "out_dim": 32}
    >>> channels = [{"name": "heartbeat", "input_dim": 120, "tokenizer": tokenizer}]
    >>> backbone = {"name": "roformer", "hidden_size": 32}
    >>> backbone |= {"num_hidden_layers": 2, "num_attention_heads": 4}
    >>> config = config_from_upstream({"backbone": backbone, "channels": channels})
    >>> config.names, config.hidden_size
    (('ibi',), 32)
    """
    try:
        model, channels = model_section(values), read_channels(values)
        if context_epochs is None:
            context_epochs = read_section(values, "data").get("max_tokens") or 120
        backbone = read_section(model, "backbone")
        if backbone.get("name") != "roformer":
            raise ValueError(
                f"backbone {shown(backbone.get('name'))}; only 'roformer' is supported"
            )
        modalities = tuple(_modality_from(channel, conditioning) for channel in channels)
        names = [modality.name for modality in modalities]
        if not isinstance(conditioning, str) and (unknown := set(conditioning) - set(names)):
            raise ValueError(
                f"conditioning for {', '.join(sorted(unknown))}; it reads {', '.join(names)}"
            )
        hidden_size = backbone["hidden_size"]
        return EncoderConfig(
            modalities=modalities,
            hidden_size=hidden_size,
            n_layers=backbone["num_hidden_layers"],
            n_heads=backbone["num_attention_heads"],
            cls=_has_cls(read_section(model, "cls")),
            projection=_projection_from(read_section(model, "projection"), hidden_size),
            context_epochs=context_epochs,
            **_sizes_from(read_section(backbone, "config_overrides"), hidden_size),
        )
    except KeyError as error:
        raise CheckpointError(f"upstream configuration: {error} is missing.") from error
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"upstream configuration: {error}") from error


def read_section(parent: Mapping, name: str) -> Mapping:
    """What a configuration has under a name, empty where it has nothing."""
    section = parent.get(name)
    if section is None or isinstance(section, Mapping):
        return section or {}
    raise CheckpointError(f"{name} is {shown(section)}; accepted is a mapping, or null.")


def read_number(parent: Mapping, name: str, default: float) -> float:
    """The number that a configuration has under a name."""
    number = parent.get(name)
    if number is None:
        return default
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not abs(number) <= sys.float_info.max
    ):
        raise CheckpointError(f"{name} is {shown(number)}; accepted is a number.")
    return number


def model_section(values: Mapping) -> Mapping:
    """The ``model_config`` of a whole configuration, or of one that is nothing else."""
    return read_section(values, "model") if "model" in values else values


def read_channels(values: Mapping) -> list[Mapping]:
    """The channels of a configuration, in its order."""
    channels = model_section(values).get("channels")
    if not isinstance(channels, list | tuple) or not all(
        isinstance(channel, Mapping) and isinstance(channel.get("name"), str)
        for channel in channels
    ):
        raise CheckpointError(
            f"channels is {shown(channels)}; accepted is a list of named mappings."
        )
    if len(channels) > len(_BY_CHANNEL):
        raise CheckpointError(f"{len(channels)} channels; accepted are up to {len(_BY_CHANNEL)}.")
    return list(channels)


def modality_of(channel: str) -> str | None:
    """Catalogue name of one of the authors' channels or aliases; None if it is not known."""
    return _BY_CHANNEL[channel].name if channel in _BY_CHANNEL else None


def _modality_from(
    channel: Mapping[str, Any], chosen: str | Mapping[str, Conditioning]
) -> ModalityConfig:
    if channel["name"] not in _BY_CHANNEL:
        raise ValueError(
            f"unknown channel {shown(channel['name'])}; accepted: {', '.join(_BY_CHANNEL)}"
        )
    name, rate = _BY_CHANNEL[channel["name"]].name, channel["input_dim"] / EPOCH_SECONDS
    if chosen == "catalogue":
        conditioning = _as_in_catalogue(name, rate)
    elif chosen == "as given":
        conditioning = _as_given(name, rate)
    elif isinstance(chosen, str):
        raise ValueError(f"conditioning {chosen!r}; accepted: 'as given', 'catalogue', a mapping")
    else:
        conditioning = chosen.get(name) or _as_given(name, rate)
    if conditioning.width != channel["input_dim"]:
        raise ValueError(
            f"the conditioning of {name!r} gives {conditioning.width} samples an epoch, its "
            f"input_dim is {channel['input_dim']}"
        )
    tokenizer = read_section(channel, "tokenizer")
    kind, options = tokenizer.get("name", "sundial"), read_section(tokenizer, "kwargs")
    return ModalityConfig(name, conditioning, TokenizerConfig(kind, tokenizer["out_dim"], options))


def _as_given(modality: str, rate: float) -> Conditioning:
    known = _as_in_catalogue(modality, rate)
    least = known.min_rate and min(known.min_rate, rate)
    resampled: dict[str, Any] = {"rate": rate, "min_rate": least, "resampling": known.resampling}
    return Conditioning(**resampled, scaling="absolute", clip=_UNCLIPPED)


def _as_in_catalogue(modality: str, rate: float) -> Conditioning:
    if modality == "actigraphy":
        # the authors' input is the vector magnitude of acceleration, ours are counts
        return Conditioning(rate=rate, min_rate=rate / 2)
    return dataclasses.replace(MODALITIES[modality].conditioning, rate=rate)


def _has_cls(cls: Mapping) -> bool:
    kind = cls.get("embedding_type")
    if kind not in (None, "none", "bert"):
        raise ValueError(f"CLS embedding {shown(kind)}; only none and 'bert' are supported")
    return kind == "bert"


def _projection_from(head: Mapping, hidden_size: int) -> ProjectionConfig | None:
    if not head.get("enabled", bool(head)):
        return None
    if head.get("name", "simclr") != "simclr":
        raise ValueError(f"projection {shown(head['name'])}; only 'simclr' is supported")
    return ProjectionConfig(head.get("hidden_dim") or hidden_size, head.get("out_dim", 128))


def _sizes_from(overrides: Mapping[str, Any], hidden_size: int) -> dict[str, Any]:
    dropout = overrides.get("hidden_dropout_prob", 0.1)
    sizes = {
        "dropout": dropout,
        "intermediate_size": overrides.get("intermediate_size", 3072),
        "max_positions": overrides.get("max_position_embeddings", 1536),
    }
    fixed = {"embedding_size": hidden_size, "attention_probs_dropout_prob": dropout}
    fixed = {**_FIXED_OVERRIDES, **fixed}
    others = {k: v for k, v in overrides.items() if k not in _READ_OVERRIDES}
    unfit = sorted(k for k, value in others.items() if fixed.get(k, ...) != value)
    if unfit:
        raise ValueError(f"config_overrides not supported: {', '.join(unfit)}")
    return sizes


_PARTS = {
    # of a tokenizer
    "proj": "linear",
    "hidden_layer": "hidden",
    "output_layer": "output",
    "residual_layer": "residual",
    "norm": "norm",
    "pre_norm": "pre_norm",
    # of a block
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feed_in",
    "output.dense": "feed_out",
    "output.LayerNorm": "feed_norm",
    # of the projection
    "fc1": "projection.hidden",
    "bn1": "projection.hidden_norm",
    "fc2": "projection.output",
    "bn2": "projection.output_norm",
}
_SINGLE = {
    "encoder.embeddings.LayerNorm.weight": "encoder.norm.weight",
    "encoder.embeddings.LayerNorm.bias": "encoder.norm.bias",
    "encoder.embeddings.token_type_embeddings.weight": "encoder.token_type",
    "cls_embedding.cls_token": "cls_token",
    "embedding_projection.weight": "input_projection.weight",
    "embedding_projection.bias": "input_projection.bias",
}
# a vocabulary of one word nothing looks up, and a table of sines that is computed
_UNUSED = ("encoder.embeddings.word_embeddings.weight", "encoder.encoder.embed_positions.weight")
_KEY_PATTERNS = (
    (r"tokenizer_mapping\.(\w+)\.(\w+)\.(weight|bias)", "tokenizers.{0}.{1}.{2}"),
    (r"tokenizer_mapping\.(\w+)\.modality_scale()()", "tokenizers.{0}.gain"),
    (
        r"tokenizer_mapping\.(\w+)\.extra_output_layers\.(\d+)\.(weight|bias)",
        "tokenizers.{0}.extra.{1}.{2}",
    ),
    (r"mask_embed\.(\w+)()()", "masks.{0}"),
    (r"encoder\.encoder\.layer\.(\d+)\.([\w.]+)\.(weight|bias)", "encoder.blocks.{0}.{1}.{2}"),
    (r"proj_head()\.(fc1|bn1|fc2|bn2)\.(\w+)", "{1}.{2}"),
)


def our_name(key: str) -> str | None:
    """Our name of one of the authors' parameters; None if it is not known, "" if it is not used."""
    if key in _UNUSED:
        return ""
    # names of the second package
    key = key.replace(".self_attention.", ".self.").replace("layer_norm", "LayerNorm")
    if key in _SINGLE:
        return _SINGLE[key]
    for pattern, template in _KEY_PATTERNS:
        match = re.fullmatch(pattern, key)
        if match:
            owner, part, kind = match.groups()
            if part and not part.isdigit() and part not in _PARTS:
                return None
            if owner and not owner.isdigit():
                if owner not in _BY_CHANNEL:
                    return None
                owner = _BY_CHANNEL[owner].name
            return template.format(owner, _PARTS.get(part, part), kind)
    return None
