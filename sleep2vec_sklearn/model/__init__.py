# SPDX-License-Identifier: BSD-3-Clause
"""The network, its configuration and its checkpoints."""

from .checkpoint import BUNDLED, Checkpoint, load_checkpoint, save_checkpoint
from .config import EncoderConfig, ModalityConfig, ProjectionConfig, TokenizerConfig
from .sleep2vec import Sleep2Vec
from .spectral import SpectralTokenizer
from .upstream import config_from_upstream, state_from_upstream

__all__ = [
    "BUNDLED",
    "Checkpoint",
    "EncoderConfig",
    "ModalityConfig",
    "ProjectionConfig",
    "Sleep2Vec",
    "SpectralTokenizer",
    "TokenizerConfig",
    "config_from_upstream",
    "load_checkpoint",
    "save_checkpoint",
    "state_from_upstream",
]
