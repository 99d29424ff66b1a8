# SPDX-License-Identifier: BSD-3-Clause
"""The networks of SleepFM: of channels of 5 minutes, and of a night of their embeddings.

Layers are torch's, for the names of their tensors. They are not called but computed here: torch's
own call holds all scores of attention, 530 MB for the stager's night of 8 h.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = ("W", "N1", "N2", "N3", "R")
# samples of 5 s, the step of all that follows
PATCH = 640
# of the stager, 11.4 h
MOST_STEPS = 8196
_STEPS_OF_CHUNK = 128
_STAGER_HEADS, _FEED_FORWARD = 4, 2048
_CHANNELS = (1, 4, 8, 16, 32, 64, 128)
# steps of one channel: more leave a core's cache, and take 1.3 times as long each
_AT_ONCE = 240
_CHUNKS_AT_ONCE = 16
_LOG2_E = 1 / math.log(2)


class SleepFMNetwork(nn.Module):
    """The encoder: one network for all groups. Submodules are called as in the original's files."""

    def __init__(self, width: int, n_heads: int, n_layers: int, n_pooling_heads: int):
        super().__init__()
        length, layers = PATCH, []
        for n_in, n_out in pairwise(_CHANNELS):
            length //= 2
            layers += [
                nn.Conv1d(n_in, n_out, 5, stride=2, padding=2), nn.BatchNorm1d(n_out), nn.ELU(),
                nn.LayerNorm([n_out, length]),
            ]  # fmt: skip
        layers += [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(_CHANNELS[-1], width)]
        self.patch_embedding = _named(tokenizer=nn.Sequential(*layers))
        self.spatial_pooling = _named(transformer_layer=_layer(width, n_pooling_heads))
        self.positional_encoding = _positions(_STEPS_OF_CHUNK, width)
        self.layer_norm = nn.LayerNorm(width)
        layers = [_layer(width, n_heads, norm_first=True) for _ in range(n_layers)]
        self.transformer_encoder = _named(layers=nn.ModuleList(layers))
        self.temporal_pooling = _named(transformer_layer=_layer(width, n_pooling_heads))

    def fold(self) -> None:
        """Take each batch normalisation into its convolution, once the numbers are there."""
        self._convolutions, layers = [], self.patch_embedding.tokenizer
        for i in range(0, 4 * (len(_CHANNELS) - 1), 4):
            convolution, norm = layers[i], layers[i + 1]
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight = convolution.weight * scale[:, None, None]
            bias = (convolution.bias - norm.running_mean) * scale + norm.bias
            self._convolutions.append((weight, bias, layers[i + 3]))

    def tokenize(self, patches: Tensor) -> Tensor:
        """(n, 640) to (n, width), each patch of each channel by itself."""
        values = patches[:, None]
        for weight, bias, norm in self._convolutions:
            values = F.conv1d(values, weight, bias, stride=2, padding=2)
            # ELU and 1 more, which the norm takes off: by powers of 2 in half the time
            powers = values.clamp(max=0).mul_(_LOG2_E).exp2_()
            values = norm(powers.add_(values.relu_()))
        return self.patch_embedding.tokenizer[-1](values.mean(dim=-1))

    def pool_channels(self, signals: Tensor, missing: Tensor) -> Tensor:
        """(n_channels, n, 640) and (n_channels, n) to (n, width), over the channels that are on."""
        n_channels, pooled = len(signals), []
        size = max(_AT_ONCE // n_channels, 1)
        for some, off in zip(signals.split(size, dim=1), missing.split(size, dim=1), strict=True):
            patches = some.transpose(0, 1).reshape(-1, PATCH).float()
            tokens = self.tokenize(patches).unflatten(0, (-1, n_channels))
            pooled.append(self.pool(tokens, off.T))
        return torch.cat(pooled)

    def pool(self, tokens: Tensor, missing: Tensor) -> Tensor:
        """(n, n_channels, width) and (n, n_channels) to (n, width)."""
        return _pool(self.spatial_pooling.transformer_layer, tokens, missing)

    def add_context(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(n_chunks, n, width) to the same, each among its chunk, and (n_chunks, width)."""
        batches = tokens.split(_CHUNKS_AT_ONCE)
        states, chunks = zip(*(self._add_context(some) for some in batches), strict=True)
        return torch.cat(states), torch.cat(chunks)

    def _add_context(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        states = self.layer_norm(tokens + self.positional_encoding.pe[:, : tokens.shape[1]])
        for layer in self.transformer_encoder.layers:
            states = _attend(layer, states)
        return states, _pool(self.temporal_pooling.transformer_layer, states)


class SleepFMStagerNetwork(nn.Module):
    """The stager: one vector of groups each 5 s, attention and an LSTM over the night."""

    def __init__(self, width: int):
        super().__init__()
        self.spatial_pooling = _named(transformer_layer=_layer(width, _STAGER_HEADS))
        self.positional_encoding = _positions(MOST_STEPS, width)
        self.layer_norm = nn.LayerNorm(width)
        layers = [_layer(width, _STAGER_HEADS, norm_first=True)]
        self.transformer_encoder = _named(layers=nn.ModuleList(layers))
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(width, len(STAGES))

    def forward(self, embeddings: Tensor, missing: Tensor) -> Tensor:
        """(n, n_groups, time, width), (n, n_groups, time) to logits, (n, time, 5)."""
        n, _, length, width = embeddings.shape
        layer = self.spatial_pooling.transformer_layer
        groups, off = embeddings.transpose(1, 2).flatten(0, 1), missing.transpose(1, 2)
        parts = (part.split(_AT_ONCE) for part in (groups, off.flatten(0, 1)))
        pooled = [_pool(layer, *part) for part in zip(*parts, strict=True)]
        tokens = torch.cat(pooled).view(n, length, width)
        states = self.layer_norm(tokens + self.positional_encoding.pe[:, :length])
        states = _attend(self.transformer_encoder.layers[0], states, off.all(dim=2))
        return self.fc(self.lstm(states)[0])


def _layer(width: int, n_heads: int, norm_first: bool = False) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width, n_heads, _FEED_FORWARD, batch_first=True, norm_first=norm_first
    )


def _named(**modules: nn.Module) -> Any:
    return nn.ModuleDict(modules)


def _positions(n: int, width: int) -> Any:
    positions = nn.Module()
    positions.register_buffer("pe", torch.zeros(1, n, width))
    return positions


def _attend(layer: Any, items: Tensor, missing: Tensor | None = None) -> Tensor:
    """What a ``TransformerEncoderLayer`` does in eval mode, (n, length, width) to the same."""
    attention, mask = layer.self_attn, None
    if missing is not None and missing.any():
        # where all are missing, any answer does
        mask = (~missing | missing.all(dim=1, keepdim=True))[:, None, None]
    normed = layer.norm1(items) if layer.norm_first else items
    projected = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = projected.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    items = items + attention.out_proj(found)
    items = items if layer.norm_first else layer.norm1(items)
    normed = layer.norm2(items) if layer.norm_first else items
    items = items + layer.linear2(layer.linear1(normed).relu_())
    return items if layer.norm_first else layer.norm2(items)


def _pool(layer: Any, items: Tensor, missing: Tensor | None = None) -> Tensor:
    """Attention among items, then the mean of those that are there; the item itself if it is one.

    (n, length, width) to (n, width).
    """
    if items.shape[1] == 1:
        return items[:, 0]
    states = _attend(layer, items, missing)
    if missing is None:
        return states.mean(dim=1)
    weights = (~missing).to(states.dtype)[..., None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
