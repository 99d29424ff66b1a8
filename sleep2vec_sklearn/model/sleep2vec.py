# SPDX-License-Identifier: BSD-3-Clause
"""The whole network: a tokenizer per modality, one shared encoder, a projection head."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .config import EncoderConfig
from .encoder import RoFormer
from .projection import Projection
from .tokenizers import build_tokenizer

__all__ = ["Sleep2Vec"]


class Sleep2Vec(nn.Module):
    """sleep2vec (arXiv 2602.13857): epochs of any one modality to hidden states.

    Parameters
    ----------
    config : EncoderConfig

    Notes
    -----
    Below, B is the number of sequences, L of epochs, d ``config.token_dim`` and H
    ``config.hidden_size``.

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
        self.projection = head and Projection(config.hidden_size, head.hidden_size, head.out_size)

    @classmethod
    def from_seed(cls, config: EncoderConfig, seed: int) -> Sleep2Vec:
        """A freshly initialised network, the same for the same seed; global state is untouched."""
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would seed the accelerators too
            torch.default_generator.manual_seed(seed)
            return cls(config)

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
        found = [f"missing {key}" for key in sorted(set(expected) - set(state))]
        found += [f"unexpected {key}" for key in sorted(set(state) - set(expected))]
        found += [
            f"{key} has shape {tuple(state[key].shape)}, expected {tuple(shape)}"
            for key, shape in expected.items()
            if key in state and state[key].shape != shape
        ]
        return found

    def tokenize(self, modality: str, samples: Tensor, missing: Tensor | None = None) -> Tensor:
        """Samples of one modality to tokens.

        Parameters
        ----------
        modality : str
        samples : Tensor of shape [B, L, width]
            Conditioned epochs; may be anything, NaN too, where ``missing``.
        missing : bool Tensor of shape [B, L], optional
            Positions that get the modality's mask embedding.

        Returns
        -------
        Tensor of shape [B, L, d]
        """
        return self._masked(modality, self._tokenizer(modality), samples, missing)

    def embed_features(
        self, modality: str, features: Tensor, missing: Tensor | None = None
    ) -> Tensor:
        """:meth:`tokenize` from a spectral tokenizer's features [B, L, n_features].

        Raises
        ------
        CheckpointError
            If the modality's tokenizer reads raw samples.
        """
        tokenizer = self._tokenizer(modality)
        if not hasattr(tokenizer, "embed"):
            raise CheckpointError(
                f"the tokenizer of {modality!r} reads raw samples and has no features; "
                "use tokenize()."
            )
        return self._masked(modality, tokenizer.embed, features, missing)

    def encode(
        self, tokens: Tensor, valid: Tensor | None = None, layer: int | str = "last"
    ) -> Tensor:
        """Tokens to the hidden states of one layer.

        Parameters
        ----------
        tokens : Tensor of shape [B, L, d]
        valid : bool Tensor of shape [B, L], optional
            False at padded positions.
        layer : int or "last"
            0 is after the embedding LayerNorm, ``n_layers`` the last. Layers above are not run.

        Returns
        -------
        Tensor of shape [B, L, H], or [B, L + 1, H] with CLS, which comes first
        """
        states = self._states(tokens, valid, self._n_blocks(layer))
        return deque(states, maxlen=1).pop()

    def hidden_states(self, tokens: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """What :meth:`encode` returns, for every layer from 0 to ``n_layers``."""
        return list(self._states(tokens, valid, None))

    def with_cls(self, valid: Tensor) -> Tensor:
        """Which positions count of what :meth:`encode` returns: those of ``valid``, and CLS."""
        if self.cls_token is None:
            return valid
        return torch.cat([valid.new_ones(len(valid), 1), valid], dim=1)

    def project(self, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
        """Hidden states [..., H] to unit vectors [..., O] of the contrastive objective.

        Parameters
        ----------
        hidden : Tensor of shape [..., H]
        valid : bool Tensor of shape [...], optional
            Positions that enter BatchNorm's statistics; the others come out as zeros.

        Raises
        ------
        CheckpointError
            If the encoder has no projection head.
        """
        if self.projection is None:
            raise CheckpointError(
                "this encoder was stored without a projection head; use its hidden states "
                "(layer='last' or a block number)."
            )
        return self.projection(hidden, valid)

    def _tokenizer(self, modality: str) -> nn.Module:
        if modality not in self.tokenizers:
            raise CheckpointError(
                f"this encoder has no tokenizer for {modality!r}; it reads "
                f"{', '.join(self.config.names)}."
            )
        return self.tokenizers[modality]

    def _masked(self, modality: str, embed, values: Tensor, missing: Tensor | None) -> Tensor:
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

    def _states(self, tokens: Tensor, valid: Tensor | None, n_blocks: int | None):
        embeddings = self.input_projection(tokens)
        if self.cls_token is not None:
            cls = self.cls_token.to(embeddings.dtype).expand(len(embeddings), 1, -1)
            embeddings = torch.cat([cls, embeddings], dim=1)
            valid = None if valid is None else self.with_cls(valid)
        return self.encoder(embeddings, valid, n_blocks)
