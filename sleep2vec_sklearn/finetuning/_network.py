# SPDX-License-Identifier: BSD-3-Clause
"""Networks that are fine-tuned: an encoder, its low-rank adapters, and a head.

In shapes, B is the number of sequences, L of epochs, M of modalities, K of layers, H the length of
a token, C the number of covariates and O of outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..encoding._sleep2vec import window_starts
from ..errors import CheckpointError
from ..model.network import Sleep2Vec
from ._heads import (
    LayerMix,
    build_aggregation,
    build_head,
    build_pooling,
    fill_gaps,
)
from .config import HeadConfig, LoRA

if TYPE_CHECKING:
    from ._data import Batch

_ADAPTED = ("query", "key", "value")
# adapters are stored under peft's names
_ADAPTER = "default"


class FineTuned(nn.Module):
    """An encoder, which is not copied, and a head on ``layers``, its last blocks by default.

    ``adapted`` are encoders that read the tokens of one modality each, in place of the one for all.
    """

    def __init__(
        self, encoder: Sleep2Vec, head_config: HeadConfig, lora: LoRA | None = None, *,
        layers: Sequence[int] | None = None, adapted: Mapping[str, Sleep2Vec] | None = None,
    ):  # fmt: skip
        super().__init__()
        _check_fit(encoder, head_config)
        top = encoder.config.n_layers
        self.layers = tuple(layers or range(top - head_config.n_layers + 1, top + 1))
        if len(self.layers) != head_config.n_layers or not set(self.layers) <= {*range(1, top + 1)}:
            raise ValueError(
                f"layers {self.layers} for a head with n_layers={head_config.n_layers}; accepted "
                f"are as many blocks of 1 to {top}."
            )
        self.encoder = encoder
        self.adapted = nn.ModuleDict(adapted or {})
        self.head: Any = Head(head_config)  # or Standardised
        if lora is not None:
            insert_lora(encoder, lora)
            return
        # outputs do not depend on these, and weight decay would still shrink them
        for part in (encoder.masks, encoder.projection):
            if isinstance(part, nn.Module):
                part.requires_grad_(False)

    def forward(
        self, inputs: Mapping[str, Tensor], present: Tensor, valid: Tensor,
        covariates: Tensor | None = None, *, features: bool = False,
    ) -> Tensor:  # fmt: skip
        """Outputs [B, L, O] of epochs or [B, O] of nights, from conditioned signals.

        ``inputs`` are samples [B, L, n] by modality, or with ``features`` those of spectral
        tokenizers, anything where not ``present`` [B, L, M]; ``valid`` [B, L] is False at padding.
        """
        tokens, cls = self.encode(inputs, present, valid, features=features)
        if self.head.config.n_layers == 1:
            tokens, cls = tokens[:, :, :, 0], None if cls is None else cls[:, :, 0]
        return self.head(tokens, present, valid, covariates, cls)

    def encode(
        self, inputs: Mapping[str, Tensor], present: Tensor, valid: Tensor, features: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, L, M, K, H] and summaries [B, M, K, H], zero where not present, or None."""
        counted = present & valid[..., None]
        names = self.head.config.modalities
        absent = [n for i, n in enumerate(names) if n not in inputs and counted[..., i].any()]
        if absent:
            raise ValueError(
                f"{', '.join(absent)} marked as present and not among the inputs, which are "
                f"{', '.join(inputs) or 'none'}. Give their samples, or mark them as not present."
            )
        embedded = [
            self._embed(name, inputs.get(name), counted[..., i], features)
            for i, name in enumerate(names)
        ]
        lengths = (valid * torch.arange(1, valid.shape[1] + 1, device=valid.device)).amax(dim=1)
        if not self.adapted:
            return self._encode_modalities(self.encoder, embedded, counted, lengths)
        parts = [
            self._encode_modalities(self.adapted[name], [tokens], counted[..., i, None], lengths)
            for i, (name, tokens) in enumerate(zip(names, embedded, strict=True))
        ]
        summaries = [cls for _, cls in parts if cls is not None]
        tokens = torch.cat([tokens for tokens, _ in parts], dim=2)
        return tokens, torch.cat(summaries, dim=1) if summaries else None

    def _encode_modalities(
        self, encoder: Any, embedded: Sequence[Tensor], counted: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The modalities are encoded as further sequences, [M * B, L, ...]."""
        n_modalities = len(embedded)
        tokens, cls = encode_sequences(
            encoder, torch.cat(list(embedded)), counted.movedim(-1, 0).flatten(0, 1),
            lengths.repeat(n_modalities), self.layers,
        )  # fmt: skip
        tokens = tokens.unflatten(0, (n_modalities, -1)).movedim(0, 2)
        return tokens, None if cls is None else cls.unflatten(0, (n_modalities, -1)).movedim(0, 1)

    def _embed(self, name: str, values: Tensor | None, counted: Tensor, features: bool) -> Tensor:
        if values is None:
            return self.encoder.masks[name].expand(*counted.shape, -1)
        by_features = features and hasattr(self.encoder.tokenizers[name], "embed")
        embed = self.encoder.embed_features if by_features else self.encoder.tokenize
        return embed(name, values, ~counted)


class Head(nn.Module):
    """Tokens per modality to outputs per epoch or night."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.config = config
        self.pooling = build_pooling(config)
        own = len(config.modalities) if config.layer_mix_per_modality else 1
        self.layer_mix = LayerMix(config.n_layers, own) if config.n_layers > 1 else None
        self.aggregation = build_aggregation(config)
        self.predictor = build_head(config)

    def forward(
        self, tokens: Tensor | None, present: Tensor, valid: Tensor,
        covariates: Tensor | None = None, cls: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Outputs [B, L, O] of epochs or [B, O] of nights.

        ``tokens`` [B, L, M(, K), H] or ``cls`` [B, M(, K), H] are read, NaN where not ``present``
        [B, L, M]; ``valid`` [B, L] is False at padding; ``covariates`` are [B, C] or [B, L, C].
        """
        counted = present & valid[..., None]
        if self.config.unit == "night":
            night_has = counted.any(dim=1)
            fused = self.aggregation(self._pool(tokens, counted, cls, night_has), night_has)
            return self.predictor(self._append_covariates(fused, covariates))
        return self.predictor(self.features(tokens, counted, covariates), valid)

    def features(
        self, tokens: Tensor | None, counted: Tensor, covariates: Tensor | None = None
    ) -> Tensor:
        """Features of epochs [B, L, W], of the modalities that are ``counted`` [B, L, M]."""
        mixed = self._mix_layers(self._masked(tokens, counted))
        fused = fill_gaps(self.aggregation(mixed, counted), counted.any(dim=-1))
        return self._append_covariates(fused, covariates)

    def _pool(
        self, tokens: Tensor | None, counted: Tensor, cls: Tensor | None, night_has: Tensor
    ) -> Tensor:
        if self.pooling is not None:
            return self._mix_layers(self.pooling(self._masked(tokens, counted), counted))
        if cls is None:
            raise ValueError(
                "pooling='cls' reads the encoder's summaries, and got none; accepted is cls of "
                "shape [B, M, H] from a checkpoint with a CLS token. Or use pooling='mean'."
            )
        return self._mix_layers(self._masked(cls, night_has))

    def _masked(self, states: Tensor | None, counted: Tensor) -> Tensor:
        """[..., M(, K), H] as [..., M, K, H], zero where not counted: no NaN, nor of gradients."""
        if states is None:
            raise ValueError(
                "the head reads tokens, and got none; accepted is a tensor [B, L, M, H]. Pass the "
                "tokens that the encoder gives."
            )
        states = states if self.config.n_layers > 1 else states.unsqueeze(-2)
        return states.masked_fill(~counted[..., None, None], 0.0)

    def _mix_layers(self, states: Tensor) -> Tensor:
        """[..., M, K, H] to [..., M, H]."""
        return states.squeeze(-2) if self.layer_mix is None else self.layer_mix(states)

    def _append_covariates(self, fused: Tensor, covariates: Tensor | None) -> Tensor:
        n_columns = 0 if covariates is None else covariates.shape[-1]
        if n_columns != self.config.n_covariates:
            raise ValueError(
                f"this head reads {self.config.n_covariates} covariates per sequence, got "
                f"{n_columns}."
            )
        if covariates is None or not n_columns:
            return fused
        covariates = covariates.to(fused.dtype)
        if fused.ndim > covariates.ndim:
            covariates = covariates[:, None].expand(-1, fused.shape[1], -1)
        return torch.cat([fused, covariates], dim=-1)


class Standardised(nn.Module):
    """A head on tokens relative to the mean and standard deviation of training."""

    mean: Tensor
    std: Tensor

    def __init__(self, head: Head):
        super().__init__()
        self.head = head
        self.config = config = head.config
        shape = (len(config.modalities), config.n_layers, config.hidden_size)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def set_statistics(self, mean: np.ndarray, std: np.ndarray) -> None:
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))

    def forward(
        self, tokens: Any, present: Tensor, valid: Tensor, covariates: Tensor | None = None,
        cls: Any = None,
    ) -> Tensor:  # fmt: skip
        """As :meth:`Head.forward`."""
        mean, std = self.mean, self.std
        if self.config.n_layers == 1:
            mean, std = mean[:, 0], std[:, 0]
        if self.config.pooling == "cls" and self.config.unit == "night":
            return self.head(None, present, valid, covariates, (cls - mean) / std)
        return self.head((tokens - mean) / std, present, valid, covariates)


class FineTuningModule(nn.Module):
    """Batches to outputs [n_rows, O], by a head on tokens or by a whole network."""

    def __init__(
        self, network: nn.Module, reads_tokens: bool, modality_dropout: tuple[float, float]
    ):
        super().__init__()
        self.network = network
        self.reads_tokens = reads_tokens
        self.modality_dropout = modality_dropout

    @property
    def head(self) -> Standardised:
        """The head, wherever it is."""
        return cast("Standardised", self.network if self.reads_tokens else self.network.head)

    def forward(self, batch: Batch) -> Tensor:
        present = batch.present
        if self.training:
            present = drop_modalities(present, *self.modality_dropout)
        others: dict[str, Any] = {"cls": batch.cls} if self.reads_tokens else {"features": True}
        outputs = self.network(batch.inputs, present, batch.valid, batch.covariates, **others)
        return batch.take_rows(outputs.float())


def drop_modalities(present: Tensor, by_night: float, by_epoch: float) -> Tensor:
    """Hide modalities of ``present`` [B, L, M] at random; an epoch never loses its last one."""
    shape = present.shape
    for share, length in ((by_night, 1), (by_epoch, shape[1])):
        if share == 0:
            continue
        draw = torch.rand(shape[0], length, shape[2], device=present.device).expand(shape)
        # of those an epoch has, the one with the highest number stays
        survivor = draw.masked_fill(~present, -1.0).argmax(dim=-1, keepdim=True)
        spared = torch.zeros_like(present).scatter(-1, survivor, True)
        present = present & ((draw >= share) | spared)
    return present


class LoraLinear(nn.Module):
    """``W x + b + alpha / rank * B A dropout(x)`` with B = 0 at first."""

    def __init__(self, base: nn.Linear, config: LoRA):
        super().__init__()
        self.scale = config.alpha / config.rank
        self.base_layer = base.requires_grad_(False)
        down = nn.Linear(base.in_features, config.rank, bias=False)
        up = nn.Linear(config.rank, base.out_features, bias=False)
        nn.init.zeros_(up.weight)
        self.lora_A = nn.ModuleDict({_ADAPTER: down.to(base.weight)})
        self.lora_B = nn.ModuleDict({_ADAPTER: up.to(base.weight)})
        self.dropout = nn.Dropout(config.dropout)
        self.train(base.training)

    def forward(self, values: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        down, up = self.lora_A[_ADAPTER], self.lora_B[_ADAPTER]
        change = self.scale * up(down(self.dropout(values)))
        return self.base_layer(values) + change


def insert_lora(encoder: Sleep2Vec, config: LoRA) -> None:
    """Freeze an encoder and wrap every query, key and value layer of it; in place."""
    if any(isinstance(module, LoraLinear) for module in encoder.modules()):
        raise ValueError("this encoder has adapters already; pass one without, build() makes it.")
    encoder.requires_grad_(False)
    for block in encoder.encoder.blocks:
        for name in _ADAPTED:
            setattr(block.attention, name, LoraLinear(getattr(block.attention, name), config))


def _check_fit(encoder: Sleep2Vec, config: HeadConfig) -> None:
    known = encoder.config.names
    unknown = [name for name in config.modalities if name not in known]
    if unknown:
        raise CheckpointError(
            f"the head reads {', '.join(unknown)}, which this encoder does not; it reads "
            f"{', '.join(known)}. Use modalities among these, or another checkpoint."
        )
    size, n_layers = encoder.config.hidden_size, encoder.config.n_layers
    if config.hidden_size != size:
        raise CheckpointError(
            f"the head reads tokens of {config.hidden_size} numbers, the encoder's have {size}."
        )
    if config.n_layers > n_layers:
        raise CheckpointError(
            f"the head mixes {config.n_layers} layers, the encoder has {n_layers}; accepted are "
            f"1 to {n_layers}."
        )
    if config.unit == "night" and config.pooling == "cls" and not encoder.config.cls:
        raise CheckpointError(
            "pooling='cls' needs an encoder with a CLS token, and this one has none. Use "
            "pooling='mean' or 'attention'."
        )


def encode_sequences(
    encoder: Sleep2Vec, tokens: Tensor, valid: Tensor, lengths: Tensor, layers: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    """States [S, L, K, H], zero where not ``valid`` [S, L], and summaries [S, K, H] or None.

    Windows are the engine's, so that a night's tokens are too, whatever its neighbours.
    """
    size = (len(layers), encoder.config.hidden_size)
    states = tokens.new_zeros(*tokens.shape[:2], *size)
    cls = tokens.new_zeros(len(tokens), *size) if encoder.config.cls else None
    rows = valid.any(dim=1).nonzero()[:, 0]
    if len(rows) == 0:
        return states, cls
    encoded, summary = _encode_rows(encoder, tokens[rows], valid[rows], lengths[rows], layers)
    encoded = encoded.masked_fill(~valid[rows][..., None, None], 0.0)
    # in the dtype the encoder computes in, which autocast chooses
    states = states.to(encoded.dtype).index_copy(0, rows, encoded)
    if cls is not None and summary is not None:
        cls = cls.to(summary.dtype).index_copy(0, rows, summary)
    return states, cls


def _encode_rows(
    encoder: Sleep2Vec, tokens: Tensor, valid: Tensor, lengths: Tensor, layers: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    context = encoder.config.context_epochs
    if tokens.shape[1] <= context:
        return encode_windows(encoder, tokens, valid, layers)
    layout = _layout(lengths.cpu().numpy(), context)
    owner, epochs, weight = (torch.from_numpy(part).to(tokens.device) for part in layout)
    seen = valid[owner[:, None], epochs] & (weight > 0)
    windows, summary = encode_windows(encoder, tokens[owner[:, None], epochs], seen, layers)
    n, length = tokens.shape[:2]
    index = (owner[:, None] * length + epochs).flatten()
    weight = weight.to(windows.dtype)
    merged = windows.new_zeros(n * length, *windows.shape[2:])
    merged = merged.index_add(0, index, (windows * weight[..., None, None]).flatten(0, 1))
    total = weight.new_zeros(n * length).index_add(0, index, weight.flatten())
    # zero where padding, which is masked afterwards
    merged = merged / total.clamp(min=1)[:, None, None]
    if summary is not None:
        n_windows = torch.bincount(owner, minlength=n)[:, None, None]
        summary = summary.new_zeros(n, *summary.shape[1:]).index_add(0, owner, summary) / n_windows
    return merged.unflatten(0, (n, length)), summary


def _layout(lengths: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sequence [N] of each window, its epochs [N, c], and their weights, 0 beyond its end."""
    starts = [window_starts(length, context) for length in lengths]
    owner = np.repeat(np.arange(len(lengths)), [len(s) for s in starts])
    offset = np.arange(context)
    long = np.minimum(lengths, context)[owner][:, None]
    weight = np.minimum(offset + 1, long - offset).clip(0)
    # what is beyond the end points at the first epoch, to which it adds nothing
    epochs = np.where(weight > 0, np.concatenate(starts)[:, None] + offset, 0)
    return owner, epochs, weight


def encode_windows(
    encoder: Sleep2Vec, tokens: Tensor, seen: Tensor, layers: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    """[N, c, d] to [N, c, K, H], and summaries [N, K, H] or None."""
    # attention without a mask is faster on a CPU; on a GPU asking would wait for the device
    mask = None if seen.device.type == "cpu" and seen.all() else seen
    if len(layers) == 1:
        states = encoder.encode(tokens, mask, layer=layers[0])[:, :, None]
    else:
        every = encoder.hidden_states(tokens, mask)
        states = torch.stack([every[layer] for layer in layers], dim=2)
    if encoder.config.cls:
        return states[:, 1:], states[:, 0]
    return states, None
