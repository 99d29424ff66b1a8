# SPDX-License-Identifier: BSD-3-Clause
"""A head on tokens of any modalities, and an encoder with such a head.

B is the number of sequences, L of epochs, M of modalities, K of layers kept, H the length of a
token, C of covariates, O of outputs.

The windows are those of :mod:`..encoding.windows`, so that a night's tokens are the engine's,
whichever nights are beside it.

Parameters are named as peft names them, so that :func:`..model.adapters.merge_adapter` adds them
into the weights again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..encoding._engine import window_starts
from ..errors import CheckpointError
from ..model.network import Sleep2Vec
from ..model.upstream.checkpoint import merge_adapter
from ._heads import LayerMix, build_aggregation, build_head, build_pooling, fill_gaps
from .config import HeadConfig, LoraConfig

__all__ = [
    "FineTuned",
    "Head",
    "LoraLinear",
    "adapter_state",
    "encode_sequences",
    "insert_lora",
    "merge_lora",
]


class Head(nn.Module):
    """Tokens per modality to outputs per epoch or night.

    Parameters
    ----------
    config : HeadConfig

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.finetuning.config import HeadConfig
    >>> from sleep2vec_sklearn.finetuning._network import Head
    >>> head = Head(HeadConfig(64, ("eeg", "spo2"), n_outputs=5))
    >>> tokens = torch.randn(2, 10, 2, 64)
    >>> present = torch.ones(2, 10, 2, dtype=torch.bool)
    >>> present[1, :, 0] = False  # the second night has no EEG
    >>> head(tokens, present, torch.ones(2, 10, dtype=torch.bool)).shape
    torch.Size([2, 10, 5])
    """

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.config = config
        by_night = config.unit == "night"
        self.pooling = build_pooling(config.pooling, config.hidden_size) if by_night else None
        own = len(config.modalities) if config.layer_mix_per_modality else 1
        self.layer_mix = LayerMix(config.n_layers, own) if config.n_layers > 1 else None
        self.aggregation = build_aggregation(config)
        self.predictor = build_head(config)

    def forward(
        self,
        tokens: Tensor | None,
        present: Tensor,
        valid: Tensor,
        covariates: Tensor | None = None,
        cls: Tensor | None = None,
    ) -> Tensor:
        """Outputs of each epoch or night.

        Parameters
        ----------
        tokens : Tensor of shape [B, L, M, H], or [B, L, M, K, H] with several layers
            Anything, NaN too, where not present; None if only ``cls`` is read.
        present : bool Tensor of shape [B, L, M]
            Which modalities each epoch has. Any subset: weights are shared among those present,
            and an epoch without any gets the outputs of a row like those around it.
        valid : bool Tensor of shape [B, L]
            False at padding.
        covariates : Tensor of shape [B, C] or, for epochs, [B, L, C], optional
            Needed if the configuration has some; no NaN.
        cls : Tensor of shape [B, M, H] or [B, M, K, H], optional
            Summaries of each modality, for ``pooling="cls"``.

        Returns
        -------
        Tensor of shape [B, L, O] or [B, O]

        Raises
        ------
        ValueError
            If covariates or summaries are missing, or not as many as the configuration says.
        """
        counted = present & valid[..., None]
        if self.config.unit == "night":
            there = counted.any(dim=1)
            fused = self.aggregation(self._pooled(tokens, counted, cls, there), there)
            return self.predictor(self._beside(fused, covariates))
        mixed = self._mixed(_only(self._by_layer(tokens), counted))
        fused = fill_gaps(self.aggregation(mixed, counted), counted.any(dim=-1))
        return self.predictor(self._beside(fused, covariates), valid)

    def _pooled(self, tokens, counted: Tensor, cls, there: Tensor) -> Tensor:
        if self.pooling is not None:
            return self._mixed(self.pooling(_only(self._by_layer(tokens), counted), counted))
        if cls is None:
            raise ValueError(
                "pooling='cls' reads the encoder's summaries, and none were given; accepted is "
                "cls of shape [B, M, H] from a checkpoint that has a CLS token. Or use "
                "pooling='mean' or 'attention'."
            )
        return self._mixed(_only(self._by_layer(cls), there))

    def _by_layer(self, states: Tensor) -> Tensor:
        """[..., M, K, H] of either shape."""
        return states if self.config.n_layers > 1 else states.unsqueeze(-2)

    def _mixed(self, states: Tensor) -> Tensor:
        """[..., M, K, H] to [..., M, H]."""
        return states.squeeze(-2) if self.layer_mix is None else self.layer_mix(states)

    def _beside(self, fused: Tensor, covariates: Tensor | None) -> Tensor:
        wanted = self.config.n_covariates
        found = 0 if covariates is None else covariates.shape[-1]
        if found != wanted:
            raise ValueError(f"this head reads {wanted} covariates per sequence, got {found}.")
        if not wanted:
            return fused
        covariates = covariates.to(fused.dtype)
        if fused.ndim > covariates.ndim:
            covariates = covariates[:, None].expand(-1, fused.shape[1], -1)
        return torch.cat([fused, covariates], dim=-1)


class FineTuned(nn.Module):
    """An encoder and a head that are trained together.

    Parameters
    ----------
    encoder : Sleep2Vec
        Taken over, not copied. Of its own parameters those that a head's outputs depend on are
        trained, or, with ``lora``, none.
    head_config : HeadConfig
        Its modalities are all or some of the encoder's.
    lora : LoraConfig, optional
        Adapters to put into the encoder, which are then trained instead.
    layers : sequence of int, optional
        Blocks whose states the head mixes, the first being 1; the last ``n_layers`` by default.

    Raises
    ------
    CheckpointError
        If the encoder is not the one the head was configured for.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn import load_checkpoint
    >>> from sleep2vec_sklearn.finetuning.config import HeadConfig
    >>> from sleep2vec_sklearn.finetuning._network import FineTuned
    >>> encoder = load_checkpoint("sleep2vec-mini").build()
    >>> config = HeadConfig(encoder.config.hidden_size, ("spo2",), n_outputs=2, unit="night")
    >>> network = FineTuned(encoder, config).eval()
    >>> spo2 = {"spo2": 95 + torch.randn(1, 20, 120)}
    >>> here = torch.ones(1, 20, dtype=torch.bool)
    >>> network(spo2, here[..., None], here).shape
    torch.Size([1, 2])
    """

    def __init__(
        self,
        encoder: Sleep2Vec,
        head_config: HeadConfig,
        lora: LoraConfig | None = None,
        *,
        layers: Sequence[int] | None = None,
    ):
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
        self.head = Head(head_config)
        if lora is not None:
            insert_lora(encoder, lora)
        else:
            _freeze_unused(encoder)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        present: Tensor,
        valid: Tensor,
        covariates: Tensor | None = None,
        *,
        features: bool = False,
    ) -> Tensor:
        """Outputs of each epoch or night, from conditioned signals.

        Parameters
        ----------
        inputs : mapping of str to Tensor of shape [B, L, n]
            Samples of each modality's epochs; anything, NaN too, where not present. A modality
            that no sequence has may be left out.
        present : bool Tensor of shape [B, L, M]
            In the order of the head's modalities.
        valid : bool Tensor of shape [B, L]
            False at padding, which comes last.
        covariates : Tensor of shape [B, C] or, for epochs, [B, L, C], optional
        features : bool
            Whether inputs of spectral tokenizers are their features instead of samples.

        Returns
        -------
        Tensor of shape [B, L, O] or [B, O]

        Raises
        ------
        ValueError
            If a modality is present and has no input.
        """
        tokens, cls = self.encode(inputs, present, valid, features=features)
        if self.head.config.n_layers == 1:
            tokens, cls = tokens[:, :, :, 0], None if cls is None else cls[:, :, 0]
        return self.head(tokens, present, valid, covariates, cls)

    def encode(
        self, inputs: Mapping[str, Tensor], present: Tensor, valid: Tensor, features: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, L, M, K, H], and summaries [B, M, K, H] of an encoder with a CLS token.

        Both are zero where a modality is not present. See :meth:`forward`.
        """
        counted = present & valid[..., None]
        names = self.head.config.modalities
        absent = [n for i, n in enumerate(names) if n not in inputs and counted[..., i].any()]
        if absent:
            raise ValueError(
                f"{', '.join(absent)} marked as present and not among the inputs, which are "
                f"{', '.join(inputs) or 'none'}. Give their samples, or mark them as not present."
            )
        embedded = [
            self._embedded(name, inputs.get(name), counted[..., i], features)
            for i, name in enumerate(names)
        ]
        # sequences of all modalities side by side: [M * B, L, ...]
        lengths = (valid * torch.arange(1, valid.shape[1] + 1, device=valid.device)).amax(dim=1)
        tokens, cls = encode_sequences(
            self.encoder,
            torch.cat(embedded),
            counted.movedim(-1, 0).flatten(0, 1),
            lengths.repeat(len(names)),
            self.layers,
        )
        tokens = tokens.unflatten(0, (len(names), -1)).movedim(0, 2)
        return tokens, None if cls is None else cls.unflatten(0, (len(names), -1)).movedim(0, 1)

    def _embedded(self, name: str, values: Tensor | None, there: Tensor, features: bool) -> Tensor:
        if values is None:
            return self.encoder.masks[name].expand(*there.shape, -1)
        by_features = features and hasattr(self.encoder.tokenizers[name], "embed")
        embed = self.encoder.embed_features if by_features else self.encoder.tokenize
        return embed(name, values, ~there)


def _only(states: Tensor, there: Tensor) -> Tensor:
    """[..., K, H] with zeros where not ``there`` [...]; NaN stays behind, in gradients too."""
    return states.masked_fill(~there[..., None, None], 0.0)


def _check_fit(encoder: Sleep2Vec, config: HeadConfig) -> None:
    known = encoder.config.names
    foreign = [name for name in config.modalities if name not in known]
    if foreign:
        raise CheckpointError(
            f"the head reads {', '.join(foreign)}, which this encoder does not; it reads "
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


def _freeze_unused(encoder: Sleep2Vec) -> None:
    # of no effect on tokens of what is measured; weight decay would still shrink them
    for part in (encoder.masks, encoder.projection):
        if part is not None:
            part.requires_grad_(False)


def encode_sequences(
    encoder: Sleep2Vec, tokens: Tensor, valid: Tensor, lengths: Tensor, layers: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    """States of chosen layers.

    Parameters
    ----------
    encoder : Sleep2Vec
    tokens : Tensor of shape [S, L, d]
        One modality each.
    valid : bool Tensor of shape [S, L]
        Epochs that have the modality.
    lengths : int Tensor of shape [S]
        Epochs of each sequence, those without the modality included and padding not.
    layers : sequence of int
        The first block is 1.

    Returns
    -------
    states : Tensor of shape [S, L, K, H]
        Zeros where not valid.
    cls : Tensor of shape [S, K, H] or None
        Mean over windows; zeros in a sequence without a valid epoch.
    """
    size = (len(layers), encoder.config.hidden_size)
    states = tokens.new_zeros(*tokens.shape[:2], *size)
    cls = tokens.new_zeros(len(tokens), *size) if encoder.config.cls else None
    rows = valid.any(dim=1).nonzero()[:, 0]
    if len(rows) == 0:
        return states, cls
    found, summary = _encode_rows(encoder, tokens[rows], valid[rows], lengths[rows], layers)
    found = found.masked_fill(~valid[rows][..., None, None], 0.0)
    # in the dtype the encoder computes in, which autocast chooses
    states = states.to(found.dtype).index_copy(0, rows, found)
    if cls is not None:
        cls = cls.to(summary.dtype).index_copy(0, rows, summary)
    return states, cls


def _encode_rows(encoder, tokens: Tensor, valid: Tensor, lengths: Tensor, layers):
    context = encoder.config.context_epochs
    if tokens.shape[1] <= context:
        return _encode_windows(encoder, tokens, valid, layers)
    layout = _layout(lengths.cpu().numpy(), context)
    owner, place, weight = (torch.from_numpy(part).to(tokens.device) for part in layout)
    seen = valid[owner[:, None], place] & (weight > 0)
    found, summary = _encode_windows(encoder, tokens[owner[:, None], place], seen, layers)
    n, length = tokens.shape[:2]
    at = (owner[:, None] * length + place).flatten()
    weight = weight.to(found.dtype)
    merged = found.new_zeros(n * length, *found.shape[2:])
    merged = merged.index_add(0, at, (found * weight[..., None, None]).flatten(0, 1))
    total = weight.new_zeros(n * length).index_add(0, at, weight.flatten())
    # zero where padding, which is masked afterwards
    merged = merged / total.clamp(min=1)[:, None, None]
    if summary is not None:
        n_windows = torch.bincount(owner, minlength=n)[:, None, None]
        summary = summary.new_zeros(n, *summary.shape[1:]).index_add(0, owner, summary) / n_windows
    return merged.unflatten(0, (n, length)), summary


def _layout(lengths: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all windows: whose they are [N], their epochs [N, c], and the weights of these [N, c].

    A sequence shorter than the context is one window whose end has no weight.
    """
    starts = [window_starts(length, context) for length in lengths]
    owner = np.repeat(np.arange(len(lengths)), [len(s) for s in starts])
    offset = np.arange(context)
    long = np.minimum(lengths, context)[owner][:, None]
    weight = np.minimum(offset + 1, long - offset).clip(0)
    # what is beyond the end points at the first epoch, to which it adds nothing
    place = np.where(weight > 0, np.concatenate(starts)[:, None] + offset, 0)
    return owner, place, weight


def _encode_windows(encoder, tokens: Tensor, seen: Tensor, layers):
    """[N, c, d] to [N, c, K, H], and summaries [N, K, H] or None."""
    # without a mask attention is faster on a processor; elsewhere the question costs a wait
    mask = None if seen.device.type == "cpu" and seen.all() else seen
    if len(layers) == 1:
        states = encoder.encode(tokens, mask, layer=layers[0])[:, :, None]
    else:
        every = encoder.hidden_states(tokens, mask)
        states = torch.stack([every[layer] for layer in layers], dim=2)
    if encoder.config.cls:
        return states[:, 1:], states[:, 0]
    return states, None


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
    >>> from sleep2vec_sklearn.finetuning._network import insert_lora, merge_lora
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
