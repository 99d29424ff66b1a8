# SPDX-License-Identifier: BSD-3-Clause
"""A head on tokens of any modalities, and an encoder with such a head.

B is the number of sequences, L of epochs, M of modalities, K of layers kept, H the length of a
token, C of covariates, O of outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..model.sleep2vec import Sleep2Vec
from .aggregation import build_aggregation, fill_gaps
from .config import HeadConfig, LoraConfig
from .heads import build_head
from .layer_mix import LayerMix
from .lora import insert_lora
from .pooling import build_pooling
from .sequences import encode_sequences

__all__ = ["FineTuned", "Head"]


class Head(nn.Module):
    """Tokens per modality to outputs per epoch or night.

    Parameters
    ----------
    config : HeadConfig

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.finetuning.config import HeadConfig
    >>> from sleep2vec_sklearn.finetuning.network import Head
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
        covariates : Tensor of shape [B, C], optional
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
        if fused.ndim == 3:
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
    >>> from sleep2vec_sklearn.finetuning.network import FineTuned
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
        covariates : Tensor of shape [B, C], optional
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
