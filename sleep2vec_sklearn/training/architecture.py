# SPDX-License-Identifier: BSD-3-Clause
"""The encoder that the pretrainer's parameters describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import CheckpointError
from ..model.checkpoint import as_checkpoint
from ..model.config import (
    TOKENIZER_OPTIONS,
    EncoderConfig,
    ModalityConfig,
    ProjectionConfig,
    TokenizerConfig,
)
from ..model.sleep2vec import Sleep2Vec
from ..signals import Conditioning, get_modality

__all__ = ["Beginning", "asked_sizes", "build_config"]

_SIZES = ("hidden_size", "n_layers", "n_heads", "projection_size")
_MAX_POSITIONS = 1536


class Beginning:
    """What ``init`` stands for: nothing, an architecture, or an encoder to go on with.

    Parameters
    ----------
    init : None, EncoderConfig, Checkpoint, str or path

    Attributes
    ----------
    config : EncoderConfig or None
    checkpoint : Checkpoint or None
    """

    def __init__(self, init):
        self.config = self.checkpoint = None
        if isinstance(init, EncoderConfig):
            self.config = init
        elif init is not None:
            self.checkpoint = as_checkpoint(init)
            self.config = self.checkpoint.config

    def name(self):
        """What identifies it, ready for JSON."""
        if self.checkpoint is not None:
            return self.checkpoint.sha256
        return None if self.config is None else self.config.to_dict()

    def network(self, config: EncoderConfig, seed: int) -> Sleep2Vec:
        """A network of ``config``, with the checkpoint's weights where there is one."""
        network = Sleep2Vec.from_seed(config, seed)
        if self.checkpoint is not None:
            state = dict(network.state_dict())
            state.update(
                {key: value for key, value in self.checkpoint.state.items() if key in state}
            )
            network.load_state_dict(state)
        return network


def build_config(
    parameters,
    names: Sequence[str],
    begin: EncoderConfig | None,
    conditioning: Mapping[str, Conditioning],
) -> EncoderConfig:
    """The encoder's configuration.

    Parameters
    ----------
    parameters : Sleep2VecPretrainer
    names : sequence of str
        Modalities, in order.
    begin : EncoderConfig or None
        What ``init`` gives; its sizes, tokenizers and conditioning stand then. A checkpoint keeps
        the modalities that are not trained now, an architecture does not.
    conditioning : mapping of str to Conditioning
        Of a store; the catalogue's where a modality is not in it.

    Raises
    ------
    ValueError
        If the parameters make no encoder.
    CheckpointError
        If ``init`` does not read a modality.
    """
    if begin is not None:
        return _continue(parameters, names, begin)
    context = int(parameters.context_epochs)
    return EncoderConfig(
        modalities=tuple(
            ModalityConfig(
                name,
                conditioning.get(name, get_modality(name).conditioning),
                _tokenizer(parameters, name),
            )
            for name in names
        ),
        **asked_sizes(parameters),
        dropout=float(parameters.dropout),
        max_positions=max(_MAX_POSITIONS, context + 1),
        context_epochs=context,
    )


def asked_sizes(parameters) -> dict:
    """What the parameters say of the encoder's shape, whatever it reads.

    Parameters
    ----------
    parameters : Sleep2VecPretrainer

    Returns
    -------
    dict
        Fields of :class:`EncoderConfig`.
    """
    # a grid search may hand over numbers of numpy, which JSON does not know
    size = {name: int(getattr(parameters, name)) for name in _SIZES}
    return {
        "hidden_size": size["hidden_size"],
        "n_layers": size["n_layers"],
        "n_heads": size["n_heads"],
        "intermediate_size": int(parameters.intermediate_size or 4 * size["hidden_size"]),
        "cls": bool(parameters.cls),
        "projection": ProjectionConfig(size["hidden_size"], size["projection_size"]),
    }


def _continue(parameters, names, begin: EncoderConfig) -> EncoderConfig:
    unknown = [name for name in names if name not in begin.names]
    if unknown:
        raise CheckpointError(
            f"init reads {', '.join(begin.names)}, not {', '.join(unknown)}. Leave them out of "
            "modalities, or give the encoder a tokenizer for them first."
        )
    # what is not trained now has only been learned if it comes from a checkpoint
    fresh = begin is parameters.init
    head = begin.projection or ProjectionConfig(begin.hidden_size, int(parameters.projection_size))
    context = int(parameters.context_epochs)
    return replace(
        begin,
        modalities=tuple(m for m in begin.modalities if m.name in names or not fresh),
        projection=head,
        context_epochs=context,
        max_positions=max(begin.max_positions, context + begin.cls),
        dropout=float(parameters.dropout),
    )


def _tokenizer(parameters, name: str) -> TokenizerConfig:
    kind = parameters.tokenizer
    if isinstance(kind, Mapping):
        if name not in kind:
            raise ValueError(f"tokenizer names none for {name!r}; it has {', '.join(kind)}.")
        kind = kind[name]
    if isinstance(kind, TokenizerConfig):
        return replace(kind, out_dim=int(parameters.token_dim))
    if not isinstance(kind, str):
        raise ValueError(
            f"tokenizer must be a name, a TokenizerConfig, or a mapping of modalities to either; "
            f"got {kind!r}."
        )
    has_dropout = "dropout" in TOKENIZER_OPTIONS.get(kind, ())
    options = {"dropout": float(parameters.dropout)} if has_dropout else {}
    return TokenizerConfig(kind, int(parameters.token_dim), options)
