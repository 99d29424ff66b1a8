# SPDX-License-Identifier: BSD-3-Clause
"""Network of sleep2vec: a tokenizer per modality, one shared encoder, a projection head."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu, normalize, relu, scaled_dot_product_attention

from .._torch import building
from ..errors import CheckpointError
from .tokenizers import FrontEndTokenizer, build_tokenizer

if TYPE_CHECKING:
    from .config import EncoderConfig

_NORM_EPS = 1e-12
_LONG_SEQUENCE = 512


class Sleep2Vec(nn.Module):
    """sleep2vec (arXiv 2602.13857): epochs of any one modality to hidden states.

    Parameters
    ----------
    config : EncoderConfig
        For B sequences of L epochs, d is its ``token_dim`` and H its ``hidden_size``.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn import load_checkpoint
    >>> network = load_checkpoint("sleep2vec-mini").build()
    >>> samples = torch.zeros(1, 6, 120)  # one night of six epochs, conditioned, at 4 Hz
    >>> tokens = network.tokenize("ibi", samples)
    >>> network.encode(tokens).shape
    torch.Size([1, 6, 128])
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.tokenizers = nn.ModuleDict({m.name: build_tokenizer(m) for m in config.modalities})
        self.masks = nn.ParameterDict(
            {name: nn.Parameter(torch.ones(config.token_dim)) for name in config.names}
        )
        self.input_projection = nn.Linear(config.token_dim, config.hidden_size)
        self.cls_token = nn.Parameter(torch.randn(config.hidden_size)) if config.cls else None
        self.encoder = RoFormer(config)
        head = config.projection
        sizes = head and (config.hidden_size, head.hidden_size, head.out_size)
        self.projection = Projection(*sizes) if sizes else None

    @classmethod
    def from_seed(cls, config: EncoderConfig, seed: int) -> Sleep2Vec:
        """A freshly initialised network, the same for the same seed; global state is untouched."""
        with building(seed):
            return cls(config).float()

    @classmethod
    def from_state(cls, config: EncoderConfig, state: Mapping[str, Tensor]) -> Sleep2Vec:
        """A network with a copy of these parameters and buffers, in eval mode."""
        network = cls.from_seed(config, 0)
        network.load_state_dict(state)
        return network.eval()

    @classmethod
    def differences(cls, config: EncoderConfig, state: Mapping[str, Tensor]) -> list[str]:
        """How a state differs from what a network of this configuration holds; empty if not."""
        with torch.device("meta"):
            expected = {key: tensor.shape for key, tensor in cls(config).state_dict().items()}
        differences = [f"missing {key}" for key in sorted(set(expected) - set(state))]
        differences += [f"unexpected {key}" for key in sorted(set(state) - set(expected))]
        differences += [
            f"{key} has shape {tuple(state[key].shape)}, expected {tuple(shape)}"
            for key, shape in expected.items()
            if key in state and state[key].shape != shape
        ]
        return differences

    def tokenize(self, modality: str, samples: Tensor, missing: Tensor | None = None) -> Tensor:
        """Conditioned epochs of one modality [B, L, width] to tokens [B, L, d].

        Where ``missing`` [B, L] they may be NaN, and get the modality's mask embedding.
        """
        return self._mask_missing(modality, self._tokenizer(modality), samples, missing)

    def embed_features(
        self, modality: str, features: Tensor, missing: Tensor | None = None
    ) -> Tensor:
        """:meth:`tokenize` from the features of a tokenizer's front end [B, L, n_features]."""
        tokenizer = self._tokenizer(modality)
        if not isinstance(tokenizer, FrontEndTokenizer):
            raise CheckpointError(
                f"the tokenizer of {modality!r} reads raw samples; use tokenize()."
            )
        return self._mask_missing(modality, tokenizer.embed, features, missing)

    def encode(
        self, tokens: Tensor, valid: Tensor | None = None, layer: int | str = "last"
    ) -> Tensor:
        """Tokens [B, L, d] to hidden states [B, L, H], or with CLS, which is first, [B, L + 1, H].

        ``valid`` [B, L] is False at padded positions. Layer 0 is after the embedding LayerNorm;
        those above ``layer`` are not run.
        """
        states = self._states(tokens, valid, self._n_blocks(layer))
        return deque(states, maxlen=1).pop()

    def hidden_states(self, tokens: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """What :meth:`encode` returns, for every layer from 0 to ``n_layers``."""
        return list(self._states(tokens, valid, None))

    def with_cls(self, valid: Tensor) -> Tensor:
        """Mask of what :meth:`encode` returns: ``valid``, and before it True for CLS, if any."""
        if self.cls_token is None:
            return valid
        return torch.cat([valid.new_ones(len(valid), 1), valid], dim=1)

    def project(self, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
        """Hidden states [..., H] to unit vectors [..., O] of the contrastive objective.

        Positions that are not ``valid`` [...] stay out of BatchNorm's statistics and become zeros.
        """
        if self.projection is None:
            raise CheckpointError(
                "this encoder was stored without a projection head; use its hidden states "
                "(layer='last' or a block number)."
            )
        return self.projection(hidden, valid)

    def _tokenizer(self, modality: str) -> nn.Module:
        if modality not in self.tokenizers:
            known = ", ".join(self.config.names)
            raise CheckpointError(f"no tokenizer for {modality!r}; this encoder reads {known}.")
        return self.tokenizers[modality]

    def _mask_missing(
        self, modality: str, embed: Callable, values: Tensor, missing: Tensor | None
    ) -> Tensor:
        if missing is None:
            return embed(values)
        # before the network too: a NaN would come back through the gradient of torch.where
        tokens = embed(values.masked_fill(missing[..., None], 0.0))
        return torch.where(missing[..., None], self.masks[modality].to(tokens.dtype), tokens)

    def _n_blocks(self, layer: int | str) -> int:
        n_layers = self.config.n_layers
        if layer == "last":
            return n_layers
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= n_layers:
            raise ValueError(f"layer must be 'last' or 0 to {n_layers}, got {layer!r}.")
        return layer

    def _states(
        self, tokens: Tensor, valid: Tensor | None, n_blocks: int | None
    ) -> Iterator[Tensor]:
        embeddings = self.input_projection(tokens)
        if self.cls_token is not None:
            cls = self.cls_token.to(embeddings.dtype).expand(len(embeddings), 1, -1)
            embeddings = torch.cat([cls, embeddings], dim=1)
            valid = None if valid is None else self.with_cls(valid)
        states: Iterator[Tensor] = self.encoder(embeddings, valid, n_blocks)
        return states


class RoFormer(nn.Module):
    """Embedding LayerNorm and ``n_layers`` blocks over a sequence of vectors."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.token_type = nn.Parameter(torch.empty(config.hidden_size))
        self.norm = nn.LayerNorm(config.hidden_size, eps=_NORM_EPS)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.dropout = nn.Dropout(config.dropout)
        self.rotary = RotaryPositions(config.hidden_size // config.n_heads)
        if self.token_type.is_meta:
            # only shapes are asked for, and torch imports its compiler, in 1.5 s, to draw no number
            return
        nn.init.normal_(self.token_type, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self, embeddings: Tensor, valid: Tensor | None = None, n_layers: int | None = None
    ) -> Iterator[Tensor]:
        """Yield hidden states [B, L, H] after the embedding LayerNorm and after each block."""
        mask = None
        if valid is not None:
            # a row without any valid position would become NaN
            mask = (valid | ~valid.any(dim=1, keepdim=True))[:, None, None, :]
        turns = self.rotary(embeddings.shape[1], embeddings.device)
        hidden = self.dropout(self.norm(embeddings + self.token_type))
        yield hidden
        for block in self.blocks[:n_layers]:
            hidden = block(hidden, turns, mask)
            yield hidden


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
        attended = self.attention(hidden, turns, mask)
        hidden = self.attention_norm(self.dropout(attended) + hidden)
        fed = self.feed_out(gelu(self.feed_in(hidden)))
        return self.feed_norm(self.dropout(fed) + hidden)


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
        """[B, L, H] to [B, L, H]; ``mask`` [B, 1, 1, L] is True at keys to attend to."""
        query = rotate(self._heads(self.query(hidden)), turns)
        key = rotate(self._heads(self.key(hidden)), turns)
        value = self._heads(self.value(hidden))
        dropout = self.dropout if self.training else 0.0
        mixed = _attend(query, key, value, mask, dropout)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _heads(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float
) -> Tensor:
    """Attention of [B, heads, L, head_dim]."""
    # torch's kernel for bfloat16 on a processor works on small blocks, which a long night
    # outgrows; its way back takes thrice the time of plain products at 120 epochs
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and not dropout:
        if query.shape[2] >= _LONG_SEQUENCE:
            return attend_by_head(query, key, value, mask)
        if query.requires_grad:
            return attend_at_once(query, key, value, mask)
    return scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout)


def attend_at_once(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention as two products of all heads; no dropout."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ value


def attend_by_head(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention as two products per head; no dropout."""
    mixed: Tensor = _AttentionByHead.apply(query, key, value, mask)
    return mixed


class _AttentionByHead(Function):
    """The backward pass makes scores anew, so that those of one head are held at a time."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        query = query * query.shape[-1] ** -0.5
        query, key, value = (t.contiguous() for t in (query, key, value))
        ctx.save_for_backward(query, key, value, mask)
        mixed = torch.empty_like(query)
        for head, attended in _heads_of(query, mask):
            torch.mm(_weights(query[head], key[head], attended), value[head], out=mixed[head])
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, mask = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_query, to_key, to_value = (torch.empty_like(t) for t in (query, key, value))
        for head, attended in _heads_of(query, mask):
            weights = _weights(query[head], key[head], attended)
            torch.mm(weights.T, gradient[head], out=to_value[head])
            to_scores = gradient[head] @ value[head].T
            to_scores = torch._softmax_backward_data(to_scores, weights, -1, weights.dtype)
            torch.mm(to_scores, key[head], out=to_query[head])
            torch.mm(to_scores.T, query[head], out=to_key[head])
        return to_query.mul_(query.shape[-1] ** -0.5), to_key, to_value, None


def _heads_of(
    query: Tensor, mask: Tensor | None
) -> Iterator[tuple[tuple[int, int], Tensor | None]]:
    """Index of each head, and the keys it attends to; None for all."""
    for row in range(len(query)):
        attended = None if mask is None or mask[row].all() else mask[row, 0]
        for head in range(query.shape[1]):
            yield (row, head), attended


def _weights(query: Tensor, key: Tensor, attended: Tensor | None) -> Tensor:
    scores = query @ key.T
    if attended is not None:
        scores = scores.masked_fill(~attended, -torch.inf)
    return scores.softmax(dim=-1)


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
    """Turn pairs (0, 1), (2, 3), ... of the last axis of [B, heads, L, head_dim]."""
    # one complex product per pair is one pass over the values
    pairs = torch.view_as_complex(values.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(values.dtype)


class Projection(nn.Module):
    """SimCLR head: Linear, BatchNorm, ReLU, Linear, BatchNorm, then unit length."""

    def __init__(self, in_size: int, hidden_size: int, out_size: int):
        super().__init__()
        self.hidden = nn.Linear(in_size, hidden_size, bias=False)
        self.hidden_norm = nn.BatchNorm1d(hidden_size)
        self.output = nn.Linear(hidden_size, out_size, bias=False)
        self.output_norm = nn.BatchNorm1d(out_size)

    def forward(self, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
        """[..., H] to [..., O]; BatchNorm sees positions that are ``valid``, others become 0."""
        width = self.output.out_features
        rows = hidden.reshape(-1, hidden.shape[-1])
        if valid is None:
            inner = relu(self.hidden_norm(self.hidden(rows)))
            projected = normalize(self.output_norm(self.output(inner)), dim=-1)
            return projected.view(*hidden.shape[:-1], width)
        # The products are over all positions, padding too: their kernels are made anew, and kept,
        # for every number of rows, which would differ from batch to batch.
        counted = valid.reshape(-1)
        inner = self.hidden(rows.masked_fill(~counted[:, None], 0.0))[counted]
        inner = _scatter(relu(self.hidden_norm(inner)), counted)
        projected = normalize(self.output_norm(self.output(inner)[counted]), dim=-1)
        return _scatter(projected, counted).view(*hidden.shape[:-1], width)


def _scatter(rows: Tensor, counted: Tensor) -> Tensor:
    """Rows at the positions that count, zeros elsewhere."""
    out = rows.new_zeros(len(counted), rows.shape[-1])
    return torch.index_put(out, (counted,), rows)
