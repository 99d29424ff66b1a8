# SPDX-License-Identifier: BSD-3-Clause
"""The network, its configuration and its checkpoints."""

from .checkpoint import BUNDLED, Checkpoint, load_checkpoint, save_checkpoint
from .config import EncoderConfig, ModalityConfig, ProjectionConfig, TokenizerConfig
from .conversion import convert_checkpoint
from .lightning import UpstreamCheckpoint, read_upstream_checkpoint
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
    "UpstreamCheckpoint",
    "config_from_upstream",
    "convert_checkpoint",
    "load_checkpoint",
    "read_upstream_checkpoint",
    "save_checkpoint",
    "state_from_upstream",
]
