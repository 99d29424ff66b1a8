# SPDX-License-Identifier: BSD-3-Clause
"""The shared encoder: a RoFormer (Su et al. 2021, arXiv 2104.09864), post-norm as in BERT."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu, scaled_dot_product_attention

from .config import EncoderConfig

__all__ = ["RoFormer"]

_NORM_EPS = 1e-12
_LONG_SEQUENCE = 512


class RotaryPositions(nn.Module):
    """Turns the interleaved pairs of a query or key by ``p * 10000**(-2 i / head_dim)``."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        # no buffer: a network cast to half precision would lose the imaginary part
        self.table = self._turns(0)

    def forward(self, length: int, device: torch.device) -> Tensor:
        """``exp(i angle)`` of the first ``length`` positions, complex [length, head_dim / 2]."""
        # read once: another thread may replace it by a shorter one
        table = self.table
        if table.device != device or len(table) < length:
            size = max(256, 1 << (length - 1).bit_length())
            # a table made in inference mode could not be used in training afterwards
            with torch.inference_mode(False):
                self.table = table = self._turns(size).to(device)
        return table[:length]

    def _turns(self, length: int) -> Tensor:
        # float64 until the end: at thousands of positions float32 angles are off by 1e-4
        steps = torch.arange(0, self.head_dim, 2, dtype=torch.float64, device="cpu")
        positions = torch.arange(length, dtype=torch.float64, device="cpu")
        angles = positions[:, None] * 10000.0 ** (-steps / self.head_dim)
        return torch.complex(angles.cos(), angles.sin()).to(torch.complex64)


def rotate(values: Tensor, turns: Tensor) -> Tensor:
    """Turn pairs (0, 1), (2, 3), ... of the last axis of [B, heads, L, head_dim].

    As one complex product per pair, which is one pass over the values.
    """
    pairs = torch.view_as_complex(values.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(values.dtype)


def attend_by_head(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of [B, heads, L, head_dim] as two plain products per head; no dropout."""
    return _ByHead.apply(query, key, value, mask)


class _ByHead(Function):
    """On the way back scores are made anew, so that those of one head are held at a time."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        query = query * query.shape[-1] ** -0.5
        query, key, value = (t.contiguous() for t in (query, key, value))
        ctx.save_for_backward(query, key, value, mask)
        mixed = torch.empty_like(query)
        for place, seen in _heads_of(query, mask):
            torch.mm(_shares(query[place], key[place], seen), value[place], out=mixed[place])
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        query, key, value, mask = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_query, to_key, to_value = (torch.empty_like(t) for t in (query, key, value))
        for place, seen in _heads_of(query, mask):
            shares = _shares(query[place], key[place], seen)
            torch.mm(shares.T, gradient[place], out=to_value[place])
            slope = gradient[place] @ value[place].T
            slope = torch._softmax_backward_data(slope, shares, -1, shares.dtype)
            torch.mm(slope, key[place], out=to_query[place])
            torch.mm(slope.T, query[place], out=to_key[place])
        return to_query.mul_(query.shape[-1] ** -0.5), to_key, to_value, None


def _heads_of(
    query: Tensor, mask: Tensor | None
) -> Iterator[tuple[tuple[int, int], Tensor | None]]:
    """Places of the heads, and which keys each may see; None for all."""
    for row in range(len(query)):
        seen = None if mask is None or mask[row].all() else mask[row, 0]
        for head in range(query.shape[1]):
            yield (row, head), seen


def _shares(query: Tensor, key: Tensor, seen: Tensor | None) -> Tensor:
    scores = query @ key.T
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    return scores.softmax(dim=-1)


def attend_at_once(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of [B, heads, L, head_dim] as two products of all heads; no dropout."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ value


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float):
    # torch's kernel for bfloat16 on a processor works on small blocks, which a long night
    # outgrows; its way back takes thrice the time of plain products at 120 epochs
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and not dropout:
        if query.shape[2] >= _LONG_SEQUENCE:
            return attend_by_head(query, key, value, mask)
        if query.requires_grad:
            return attend_at_once(query, key, value, mask)
    return scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout)


class Attention(nn.Module):
    """Self-attention with rotary positions on queries and keys."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        size = config.hidden_size
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.output = nn.Linear(size, size)
        self.n_heads = config.n_heads
        self.dropout = config.dropout

    def forward(self, hidden: Tensor, turns: Tensor, mask: Tensor | None) -> Tensor:
        """[B, L, H] to [B, L, H]; ``mask`` [B, 1, 1, L] is True at keys that may be seen."""
        query = rotate(self._heads(self.query(hidden)), turns)
        key = rotate(self._heads(self.key(hidden)), turns)
        value = self._heads(self.value(hidden))
        dropout = self.dropout if self.training else 0.0
        mixed = _attend(query, key, value, mask, dropout)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _heads(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention and feed-forward, each added to its input and normalised."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        size = config.hidden_size
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(size, eps=_NORM_EPS)
        self.feed_in = nn.Linear(size, config.intermediate_size)
        self.feed_out = nn.Linear(config.intermediate_size, size)
        self.feed_norm = nn.LayerNorm(size, eps=_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, turns: Tensor, mask: Tensor | None) -> Tensor:
        """[B, L, H] to [B, L, H]."""
        attended = self.attention(hidden, turns, mask)
        hidden = self.attention_norm(self.dropout(attended) + hidden)
        fed = self.feed_out(gelu(self.feed_in(hidden)))
        return self.feed_norm(self.dropout(fed) + hidden)


class RoFormer(nn.Module):
    """Embedding LayerNorm and ``n_layers`` blocks over a sequence of vectors."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.token_type = nn.Parameter(torch.empty(config.hidden_size))
        self.norm = nn.LayerNorm(config.hidden_size, eps=_NORM_EPS)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.dropout = nn.Dropout(config.dropout)
        self.rotary = RotaryPositions(config.hidden_size // config.n_heads)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.token_type, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self, embeddings: Tensor, valid: Tensor | None = None, n_layers: int | None = None
    ) -> Iterator[Tensor]:
        """Hidden states after the embedding LayerNorm (first) and after each block, in turn.

        Parameters
        ----------
        embeddings : Tensor of shape [B, L, H]
        valid : bool Tensor of shape [B, L], optional
            False at padded positions, which no position then attends to. In a row without any
            valid position all are taken as valid, so that it stays finite.
        n_layers : int, optional
            Blocks to run; all by default.
        """
        mask = None
        if valid is not None:
            mask = (valid | ~valid.any(dim=1, keepdim=True))[:, None, None, :]
        turns = self.rotary(embeddings.shape[1], embeddings.device)
        hidden = self.dropout(self.norm(embeddings + self.token_type))
        yield hidden
        for block in self.blocks[:n_layers]:
            hidden = block(hidden, turns, mask)
            yield hidden
