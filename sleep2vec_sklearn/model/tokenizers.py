# SPDX-License-Identifier: BSD-3-Clause
"""Tokenizers: the samples of one 30-s epoch of one modality become one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ModalityConfig, TokenizerConfig
from .spectral import SpectralTokenizer

__all__ = ["LinearTokenizer", "Sundial2Tokenizer", "SundialTokenizer", "build_tokenizer"]


def _output_norm(config: TokenizerConfig) -> nn.Module:
    return nn.LayerNorm(config.out_dim) if config.option("norm_layer") else nn.Identity()


class LinearTokenizer(nn.Module):
    """``LayerNorm(W x + b)``."""

    def __init__(self, width: int, config: TokenizerConfig):
        super().__init__()
        self.linear = nn.Linear(width, config.out_dim)
        self.norm = _output_norm(config)

    def forward(self, samples: Tensor) -> Tensor:
        """[..., width] to [..., out_dim]."""
        return self.norm(self.linear(samples))


class SundialTokenizer(nn.Module):
    """``LayerNorm(Dropout(W2 SiLU(W1 x)) + Wr x)``, the paper's two-layer tokenizer."""

    def __init__(self, width: int, config: TokenizerConfig):
        super().__init__()
        dim = config.out_dim
        self.hidden = nn.Linear(width, 2 * dim)
        self.output = nn.Linear(2 * dim, dim)
        self.residual = nn.Linear(width, dim)
        self.norm = _output_norm(config)
        self.dropout = nn.Dropout(config.option("dropout"))

    def forward(self, samples: Tensor) -> Tensor:
        """[..., width] to [..., out_dim]."""
        inner = nn.functional.silu(self.hidden(samples))
        return self.norm(self.dropout(self.output(inner)) + self.residual(samples))


class Sundial2Tokenizer(nn.Module):
    """Sundial with a normalised input, scaled branches and a learned gain per modality."""

    def __init__(self, width: int, config: TokenizerConfig):
        super().__init__()
        dim = config.out_dim
        self.pre_norm = nn.LayerNorm(width) if config.option("pre_norm") else nn.Identity()
        self.hidden = nn.Linear(width, 2 * dim)
        self.output = nn.Linear(2 * dim, dim)
        self.extra = nn.ModuleList(
            nn.Linear(dim, dim) for _ in range(config.option("num_mlp_layers") - 2)
        )
        self.residual = nn.Linear(width, dim)
        self.norm = _output_norm(config)
        self.dropout = nn.Dropout(config.option("dropout"))
        self.gain = nn.Parameter(torch.tensor(float(config.option("modality_scale"))))
        self.residual_scale = config.option("residual_scale")
        self.ff_scale = config.option("ff_scale")
        self.clamp_value = config.option("clamp_value")

    def forward(self, samples: Tensor) -> Tensor:
        """[..., width] to [..., out_dim]."""
        samples = self.pre_norm(samples)
        inner = self.output(nn.functional.silu(self.hidden(samples)))
        for layer in self.extra:
            inner = layer(nn.functional.silu(inner))
        if self.clamp_value is not None:
            inner = self.clamp_value * torch.tanh(inner / self.clamp_value)
        inner = self.dropout(inner) * self.ff_scale
        return self.norm(self.residual_scale * self.residual(samples) + inner) * self.gain


_RAW = {"linear": LinearTokenizer, "sundial": SundialTokenizer, "sundial2": Sundial2Tokenizer}


def build_tokenizer(modality: ModalityConfig) -> nn.Module:
    """The tokenizer that a modality's configuration describes."""
    if modality.tokenizer.name == "spectral":
        return SpectralTokenizer(modality.conditioning.rate, modality.tokenizer)
    return _RAW[modality.tokenizer.name](modality.conditioning.width, modality.tokenizer)
