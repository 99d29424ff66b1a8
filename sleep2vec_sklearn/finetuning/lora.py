# SPDX-License-Identifier: BSD-3-Clause
"""Adapters inside the encoder: LoRA (arXiv 2106.09685) and DoRA (arXiv 2402.09353).

Parameters are named as peft names them, so that :func:`..model.adapters.merge_adapter` adds them
into the weights again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..model.adapters import merge_adapter
from ..model.sleep2vec import Sleep2Vec
from .config import LoraConfig

__all__ = ["LoraLinear", "adapter_state", "insert_lora", "merge_lora"]

_ADAPTED = ("query", "key", "value")
_NAME = "default"


class LoraLinear(nn.Module):
    """``W x + b + alpha / rank * B A dropout(x)``; with DoRA, rows of a learned length.

    The same as the layer it wraps until it is trained, as B starts at zero. The wrapped layer is
    frozen.

    Parameters
    ----------
    base : nn.Linear
    config : LoraConfig
    """

    def __init__(self, base: nn.Linear, config: LoraConfig):
        super().__init__()
        self.alpha = config.alpha
        self.scale = config.alpha / config.rank
        self.base_layer = base.requires_grad_(False)
        down = nn.Linear(base.in_features, config.rank, bias=False)
        up = nn.Linear(config.rank, base.out_features, bias=False)
        nn.init.zeros_(up.weight)
        self.lora_A = nn.ModuleDict({_NAME: down.to(base.weight)})
        self.lora_B = nn.ModuleDict({_NAME: up.to(base.weight)})
        self.dropout = nn.Dropout(config.dropout)
        self.lora_magnitude_vector = nn.ParameterDict()
        if config.dora:
            self.lora_magnitude_vector[_NAME] = nn.Parameter(_row_lengths(base.weight.detach()))
        self.train(base.training)

    def forward(self, values: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        down, up = self.lora_A[_NAME], self.lora_B[_NAME]
        change = self.scale * up(down(self.dropout(values)))
        if not len(self.lora_magnitude_vector):
            return self.base_layer(values) + change
        weight, bias = self.base_layer.weight, self.base_layer.bias
        # their lengths are taken as constants on the way back, as in the paper's section 4.3
        lengths = _row_lengths((weight + self.scale * up.weight @ down.weight).detach())
        stretch = self.lora_magnitude_vector[_NAME] / lengths
        return stretch * (linear(values, weight) + change) + bias


def insert_lora(encoder: Sleep2Vec, config: LoraConfig) -> None:
    """Freeze an encoder and wrap every query, key and value layer of it; in place.

    Raises
    ------
    ValueError
        If there are adapters in it already.
    """
    if any(isinstance(module, LoraLinear) for module in encoder.modules()):
        raise ValueError(
            "this encoder has adapters already. Add them into its weights first: "
            "encoder = merge_lora(encoder)."
        )
    encoder.requires_grad_(False)
    for block in encoder.encoder.blocks:
        for name in _ADAPTED:
            setattr(block.attention, name, LoraLinear(getattr(block.attention, name), config))


def merge_lora(encoder: Sleep2Vec) -> Sleep2Vec:
    """A new encoder, in eval mode, with the adapters of this one added into plain weights.

    Examples
    --------
    >>> from sleep2vec_sklearn import load_checkpoint
    >>> from sleep2vec_sklearn.finetuning.config import LoraConfig
    >>> from sleep2vec_sklearn.finetuning.lora import insert_lora, merge_lora
    >>> encoder = load_checkpoint("sleep2vec-mini").build()
    >>> insert_lora(encoder, LoraConfig(rank=2))
    >>> type(merge_lora(encoder).encoder.blocks[0].attention.query).__name__
    'Linear'
    """
    state = encoder.state_dict()
    alphas = {m.alpha for m in encoder.modules() if isinstance(m, LoraLinear)}
    if alphas:
        state = merge_adapter(state, _NAME, alphas.pop())
    device = next(encoder.parameters()).device
    return Sleep2Vec.from_state(encoder.config, state).to(device)


def adapter_state(encoder: Sleep2Vec) -> dict[str, Tensor]:
    """The adapters' parameters alone, a few per cent of the encoder's."""
    return {key: value for key, value in encoder.state_dict().items() if ".lora_" in key}


def _row_lengths(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=1)
