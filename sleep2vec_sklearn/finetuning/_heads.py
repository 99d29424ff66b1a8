# SPDX-License-Identifier: BSD-3-Clause
"""Heads on tokens: mixing layers, pooling epochs, combining modalities, and the outputs.

In shapes, B is the number of sequences, L of epochs, M of modalities, K of layers, H the length of
a token, W the width of the features and O the number of outputs. Padded epochs never reach others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .config import HeadConfig

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU,
}  # fmt: skip
_N_ATTENTION_HEADS = 8
_FADE_EPOCHS = 20


def build_head(config: HeadConfig) -> nn.Module:
    """The head that a configuration names: ``forward(features, valid)``."""
    classes: dict[str, Callable[[HeadConfig], nn.Module]] = {
        "linear": LinearHead, "mlp": MLPHead, "regression": MLPHead,
        "temporal_conv": TemporalConvHead, "temporal_transformer": TemporalTransformerHead,
    }  # fmt: skip
    return classes[config.head](config)


class LinearHead(nn.Module):
    """Dropout, then one linear layer."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.input_size, config.n_outputs)

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """[..., W] to [..., O]."""
        return self.classifier(self.dropout(features))


class MLPHead(nn.Module):
    """Linear layers with dropout and an activation in between; "mlp" starts with one too."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        inner = config.head_size or config.input_size
        sizes = [config.input_size, *[inner] * (config.depth_used - 1), config.n_outputs]
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
        reach = dilation * (span // 2)
        self.depthwise = nn.Conv1d(size, size, span, padding=reach, dilation=dilation, groups=size)
        self.pointwise = nn.Conv1d(size, size, 1)
        self.norm = nn.LayerNorm(size)
        self.activation = _ACTIVATIONS[config.activation]()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, values: Tensor) -> Tensor:
        """[B, L, W] to [B, L, W]."""
        mixed = self.pointwise(self.depthwise(values.transpose(1, 2))).transpose(1, 2)
        return values + self.dropout(self.activation(self.norm(mixed)))


class TemporalConvHead(nn.Module):
    """Blocks of dilated convolutions, each with twice the reach of the one before."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        size = config.head_size or config.hidden_size
        self.proj_in = _projection(config.input_size, size)
        self.blocks = nn.ModuleList(ConvBlock(config, size, 2**i) for i in range(config.depth_used))
        self.norm = nn.LayerNorm(size)
        self.classifier = nn.Linear(size, config.n_outputs)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """[B, L, W] and ``valid`` [B, L] to [B, L, O]."""
        values = self.proj_in(features)
        for block in self.blocks:
            # padding looks like what is beyond the end: zeros
            values = block(values.masked_fill(~valid[..., None], 0.0))
        return self.classifier(self.norm(values))


class TemporalTransformerHead(nn.Module):
    """Pre-norm transformer over the whole sequence, with learned positions."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        size = config.head_size or config.hidden_size
        self.proj_in = _projection(config.input_size, size)
        self.pos_emb = nn.Embedding(config.n_positions, size)
        nn.init.normal_(self.pos_emb.weight, std=0.02)
        n_heads = config.n_heads or math.gcd(_N_ATTENTION_HEADS, size)
        layer = nn.TransformerEncoderLayer(
            size, n_heads, config.feed_size or 4 * size, config.dropout, "gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(
            layer, config.depth_used, nn.LayerNorm(size), enable_nested_tensor=False
        )
        self.classifier = nn.Linear(size, config.n_outputs)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """[B, L, W] and ``valid`` [B, L] to [B, L, O]."""
        values = self.proj_in(features) + self._positions(features.shape[1])
        # attention over nothing would be NaN, so a sequence of padding alone attends to all of it
        attended = valid | ~valid.any(dim=1, keepdim=True)
        return self.classifier(self.encoder(values, src_key_padding_mask=~attended))

    def _positions(self, length: int) -> Tensor:
        """Learned positions, continued by sinusoids beyond the last one."""
        learned = self.pos_emb.weight[:length]
        beyond = torch.arange(len(learned), length, device=learned.device)
        if len(beyond) == 0:
            return learned
        size = learned.shape[1]
        steps = torch.arange(0, size, 2, device=learned.device)
        angles = beyond[:, None] * torch.exp(steps * (-math.log(10000.0) / size))
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size]
        return torch.cat([learned, waves.to(learned.dtype)])


def _projection(width: int, size: int) -> nn.Module:
    return nn.Identity() if width == size else nn.Linear(width, size)


class MeanPooling(nn.Module):
    """Mean over the counted epochs."""

    def forward(self, tokens: Tensor, counted: Tensor) -> Tensor:
        """[B, L, M, K, H], zero where not ``counted`` [B, L, M], to [B, M, K, H]."""
        return tokens.sum(dim=1) / counted.sum(dim=1).clamp(min=1)[..., None, None]


class AttentionPooling(nn.Module):
    """Weighted mean with ``softmax(q · tanh(W h + b) / temperature)`` over the counted epochs.

    That of several queries is concatenated.
    """

    def __init__(self, hidden_size: int, n_queries: int = 1, temperature: float = 1.0):
        super().__init__()
        self.key = nn.Linear(hidden_size, hidden_size)
        shape = (hidden_size,) if n_queries == 1 else (n_queries, hidden_size)
        self.query = nn.Parameter(0.02 * torch.randn(shape))
        self.temperature = temperature

    def forward(self, tokens: Tensor, counted: Tensor) -> Tensor:
        """[B, L, M, K, H], zero where not ``counted`` [B, L, M], to [B, M, K, n_queries * H]."""
        keys = self.key(tokens).tanh()
        pooled = []
        for query in self.query.reshape(-1, tokens.shape[-1]):
            scores = keys @ query / self.temperature
            weights = masked_softmax(scores, counted[..., None].expand_as(scores), dim=1)
            pooled.append((weights[..., None] * tokens).sum(dim=1))
        return torch.cat(pooled, dim=-1)


class LSTMPooling(nn.Module):
    """Mean state of a bidirectional LSTM that reads the counted epochs, as if none lay between."""

    def __init__(self, hidden_size: int, n_layers: int = 1):
        super().__init__()
        self.lstm = nn.LSTM(
            hidden_size, hidden_size // 2, n_layers, batch_first=True, bidirectional=True
        )

    def forward(self, tokens: Tensor, counted: Tensor) -> Tensor:
        """[B, L, M, K, H], anything where not ``counted`` [B, L, M], to [B, M, K, H]."""
        by_epoch = tokens.movedim(1, 3)
        shape = by_epoch.shape[:3]
        sequences = by_epoch.flatten(0, 2)
        seen = counted.movedim(1, 2)[:, :, None].expand(*shape, -1).flatten(0, 2)
        lengths = seen.sum(dim=1)
        pooled = tokens.new_zeros(len(sequences), 2 * self.lstm.hidden_size)
        rows = lengths.nonzero()[:, 0]
        if len(rows):
            # those that count come first, in their order
            order = (~seen[rows]).byte().argsort(dim=1, stable=True)[..., None]
            first = sequences[rows].gather(1, order.expand(-1, -1, sequences.shape[-1]))
            packed = pack_padded_sequence(
                first, lengths[rows].cpu(), batch_first=True, enforce_sorted=False
            )
            states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
            mean = states.sum(dim=1) / lengths[rows][:, None]
            pooled = pooled.to(mean.dtype).index_copy(0, rows, mean)
        return pooled.unflatten(0, shape)


def build_pooling(config: HeadConfig) -> nn.Module | None:
    """How the epochs of a night become one; None where nothing is pooled."""
    if config.unit == "epoch" or config.pooling == "cls":
        return None
    if config.pooling == "lstm":
        return LSTMPooling(config.hidden_size, config.lstm_layers)
    if config.pooling == "attention":
        return AttentionPooling(config.hidden_size, config.n_queries, config.temperature)
    return MeanPooling()


def masked_softmax(scores: Tensor, counted: Tensor, dim: int) -> Tensor:
    """Softmax over what is counted; zero elsewhere, and all zero where nothing is."""
    # the least finite number rather than -inf, of which a softmax makes NaN
    masked = scores.masked_fill(~counted, torch.finfo(scores.dtype).min)
    return masked.softmax(dim=dim) * counted


def build_aggregation(config: HeadConfig) -> nn.Module:
    """The aggregation that a head's configuration names."""
    if config.aggregation == "gated":
        return GatedAggregation(len(config.modalities))
    return ConcatAggregation() if config.aggregation == "concat" else MeanAggregation()


class MeanAggregation(nn.Module):
    """Mean over the modalities present."""

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """[..., M, H], zero where not ``present`` [..., M], to [..., H]."""
        return values.sum(dim=-2) / present.sum(dim=-1, keepdim=True).clamp(min=1)


class ConcatAggregation(MeanAggregation):
    """One block per modality; a missing one is filled with the mean of the others."""

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """[..., M, H], zero where not ``present`` [..., M], to [..., M * H]."""
        mean = super().forward(values, present)
        return torch.where(present[..., None], values, mean[..., None, :]).flatten(-2)


class GatedAggregation(nn.Module):
    """Weighted sum; the weights are the softmax of learned gates over the modalities present."""

    def __init__(self, n_modalities: int):
        super().__init__()
        self.gates = nn.Parameter(torch.zeros(n_modalities))

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """[..., M, H], zero where not ``present`` [..., M], to [..., H]."""
        weights = masked_softmax(self.gates.expand(present.shape), present, dim=-1)
        return (weights[..., None] * values).sum(dim=-2)


def fill_gaps(rows: Tensor, measured: Tensor) -> Tensor:
    """Fill ``rows`` [B, L, W] where not ``measured`` [B, L], as ``encoding.fusion`` does."""
    length = rows.shape[1]
    index = torch.arange(length, device=rows.device)
    before = torch.where(measured, index, -1).cummax(dim=1).values
    after = torch.where(measured, index, length).flip(1).cummin(dim=1).values.flip(1)
    counts = measured.sum(dim=1).clamp(min=1)[:, None, None]
    mean = rows.masked_fill(~measured[..., None], 0.0).sum(dim=1, keepdim=True) / counts
    filled, total = torch.zeros_like(rows), rows.new_zeros(*measured.shape, 1)
    for neighbour, exists in ((before, before >= 0), (after, after < length)):
        weight = exists * torch.exp((neighbour - index).abs() / -_FADE_EPOCHS)
        weight = weight.to(rows.dtype)[..., None]
        source = neighbour.clamp(0, length - 1)[..., None].expand_as(rows)
        filled = filled + weight * rows.gather(1, source)
        total = total + weight
    rest = (1 - total).clamp(min=0)
    return torch.where(measured[..., None], rows, (filled + rest * mean) / (total + rest))


class LayerMix(nn.Module):
    """``sum_k softmax(weight)_k h_k``; modalities share the weights with ``n_modalities=1``."""

    def __init__(self, n_layers: int, n_modalities: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_modalities, n_layers))

    def forward(self, states: Tensor) -> Tensor:
        """[..., M, K, H] to [..., M, H]."""
        return (self.weight.softmax(dim=-1)[..., None] * states).sum(dim=-2)
