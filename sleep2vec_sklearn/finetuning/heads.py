# SPDX-License-Identifier: BSD-3-Clause
"""From fused features to outputs: per epoch, or from the epochs around it too.

B is the number of sequences, L of epochs, W the width of the features, O of outputs. Epochs that
are padding never reach the others.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from .config import HeadConfig

__all__ = ["LinearHead", "MLPHead", "TemporalConvHead", "TemporalTransformerHead", "build_head"]

_N_HEADS = 8
_N_POSITIONS = 2048
_ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class LinearHead(nn.Module):
    """``Dropout``, then one linear layer."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(_width(config), config.n_outputs)

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """[..., W] to [..., O]."""
        return self.classifier(self.dropout(features))


class MLPHead(nn.Module):
    """Linear layers with dropout and an activation in between; "mlp" has one before them too."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        width = _width(config)
        inner = config.head_size or width
        sizes = [width, *[inner] * (config.depth_used - 1), config.n_outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activation = _ACTIVATIONS[config.activation]()
        self.dropout = nn.Dropout(config.dropout)
        self.activation_first = config.head == "mlp"

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """[..., W] to [..., O]."""
        first, *others = self.layers
        features = first(self.activation(features) if self.activation_first else features)
        for layer in others:
            features = layer(self.activation(self.dropout(features)))
        return features


class ConvBlock(nn.Module):
    """Depthwise and pointwise convolution over epochs, added to the input."""

    def __init__(self, config: HeadConfig, size: int, dilation: int):
        super().__init__()
        span = config.kernel_size
        self.depthwise = nn.Conv1d(
            size, size, span, padding=dilation * (span // 2), dilation=dilation, groups=size
        )
        self.pointwise = nn.Conv1d(size, size, 1)
        self.norm = nn.LayerNorm(size)
        self.activation = _ACTIVATIONS[config.activation]()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, values: Tensor) -> Tensor:
        """[B, L, W] to [B, L, W]."""
        mixed = self.pointwise(self.depthwise(values.transpose(1, 2))).transpose(1, 2)
        return values + self.dropout(self.activation(self.norm(mixed)))


class TemporalConvHead(nn.Module):
    """Blocks of dilated convolutions: each sees twice as far as the one before."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        size = config.head_size or config.hidden_size
        self.proj_in = _projection(_width(config), size)
        self.blocks = nn.ModuleList(ConvBlock(config, size, 2**i) for i in range(config.depth_used))
        self.norm = nn.LayerNorm(size)
        self.classifier = nn.Linear(size, config.n_outputs)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """[B, L, W] and ``valid`` [B, L] to [B, L, O]."""
        values = self.proj_in(features)
        for block in self.blocks:
            # padding looks as what is beyond the end: zeros
            values = block(values.masked_fill(~valid[..., None], 0.0))
        return self.classifier(self.norm(values))


class TemporalTransformerHead(nn.Module):
    """Pre-norm transformer over the whole sequence, with learned positions."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        size = config.head_size or config.hidden_size
        self.proj_in = _projection(_width(config), size)
        self.pos_emb = nn.Embedding(_N_POSITIONS, size)
        nn.init.normal_(self.pos_emb.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            size,
            math.gcd(_N_HEADS, size),
            4 * size,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, config.depth_used, nn.LayerNorm(size), enable_nested_tensor=False
        )
        self.classifier = nn.Linear(size, config.n_outputs)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """[B, L, W] and ``valid`` [B, L] to [B, L, O]."""
        values = self.proj_in(features) + self._positions(features.shape[1])
        hidden = valid | ~valid.any(dim=1, keepdim=True)
        return self.classifier(self.encoder(values, src_key_padding_mask=~hidden))

    def _positions(self, length: int) -> Tensor:
        learned = self.pos_emb.weight[:length]
        beyond = torch.arange(len(learned), length, device=learned.device)
        if len(beyond) == 0:
            return learned
        size = learned.shape[1]
        steps = torch.arange(0, size, 2, device=learned.device)
        angles = beyond[:, None] * torch.exp(steps * (-math.log(10000.0) / size))
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size]
        return torch.cat([learned, waves.to(learned.dtype)])


def build_head(config: HeadConfig) -> nn.Module:
    """The head that a configuration names: ``forward(features, valid)``."""
    kinds = {
        "linear": LinearHead,
        "mlp": MLPHead,
        "regression": MLPHead,
        "temporal_conv": TemporalConvHead,
        "temporal_transformer": TemporalTransformerHead,
    }
    return kinds[config.head](config)


def _width(config: HeadConfig) -> int:
    return config.fused_size + config.n_covariates


def _projection(width: int, size: int) -> nn.Module:
    return nn.Identity() if width == size else nn.Linear(width, size)
