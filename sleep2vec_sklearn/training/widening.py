# SPDX-License-Identifier: BSD-3-Clause
"""An encoder that reads one modality more, and everything else as before."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from ..errors import CheckpointError
from ..model.checkpoint import Checkpoint, as_checkpoint, load_checkpoint, save_checkpoint
from ..model.config import EncoderConfig, ModalityConfig, TokenizerConfig
from ..model.sleep2vec import Sleep2Vec
from ..signals import Conditioning, get_modality

__all__ = ["add_modality"]


def add_modality(
    checkpoint,
    name: str,
    *,
    tokenizer: str | TokenizerConfig | None = None,
    conditioning: Conditioning | None = None,
    seed: int = 0,
) -> Checkpoint:
    """Give an encoder an untrained tokenizer and mask embedding for one modality more.

    All other tensors are the same to the bit, and so are the rows of the modalities it had.
    :func:`adapt_modality` trains what is new.

    Parameters
    ----------
    checkpoint : Checkpoint, str or path
        The encoder, or what :func:`load_checkpoint` takes.
    name : str
        The modality; its columns come last.
    tokenizer : {"linear", "sundial", "sundial2", "spectral"} or TokenizerConfig, optional
        By default as the encoder's first modality has it, or "sundial" where a signal of less
        than 1 Hz leaves no spectrum. Its ``out_dim`` is always the encoder's.
    conditioning : Conditioning, optional
        Rate and scale at which the signal is read; the catalogue's by default.
    seed : int, default=0
        Of the first weights.

    Returns
    -------
    Checkpoint

    Raises
    ------
    UnknownModalityError
        If the modality is not in the catalogue.
    CheckpointError
        If the encoder reads it already.
    ValueError
        If the tokenizer is unknown or cannot read such a signal.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer, make_sleep_cohort
    >>> from sleep2vec_sklearn.training import add_modality
    >>> nights = make_sleep_cohort(4, hours=1, modalities=["ibi", "spo2"], random_state=0)
    >>> small = {"hidden_size": 16, "n_layers": 1, "context_epochs": 20, "batch_size": 2}
    >>> encoder = Sleep2VecPretrainer(**small, max_epochs=1).fit(nights).checkpoint()
    >>> add_modality(encoder, "actigraphy").config.names
    ('spo2', 'ibi', 'actigraphy')
    """
    source = as_checkpoint(checkpoint)
    modality = get_modality(name)
    if name in source.config.names:
        raise CheckpointError(
            f"{source.name} reads {name!r} already ({', '.join(source.config.names)}). To train it "
            f"on another device's signals, pass {name!r} to adapt_modality."
        )
    conditioning = conditioning or modality.conditioning
    added = ModalityConfig(name, conditioning, _tokenizer(tokenizer, conditioning, source.config))
    config = replace(source.config, modalities=(*source.config.modalities, added))
    state = {**Sleep2Vec.from_seed(config, seed).state_dict(), **source.state}
    history = [*source.card.get("added_modalities", []), {"name": name, "seed": seed}]
    card = {**source.card, "added_modalities": history}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "widened.safetensors"
        save_checkpoint(path, state, config, card=card)
        return replace(load_checkpoint(path), name=f"{source.name}+{name}")


def _tokenizer(
    given: str | TokenizerConfig | None, conditioning: Conditioning, config: EncoderConfig
) -> TokenizerConfig:
    if isinstance(given, TokenizerConfig):
        return replace(given, out_dim=config.token_dim)
    if given is not None:
        return TokenizerConfig(given, config.token_dim)
    first = config.modalities[0].tokenizer
    if first.name == "spectral" and conditioning.rate < 1:
        return TokenizerConfig("sundial", config.token_dim)
    return first
