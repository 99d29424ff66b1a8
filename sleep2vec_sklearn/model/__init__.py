# SPDX-License-Identifier: BSD-3-Clause
"""Network, configurations and checkpoints of an encoder."""

from .checkpoint import BUNDLED, Checkpoint, convert_checkpoint, load_checkpoint, save_checkpoint
from .config import EncoderConfig, ModalityConfig, ProjectionConfig, TokenizerConfig
from .external import SeqSleepNet
from .network import Sleep2Vec
from .tokenizers import SpectralTokenizer
from .upstream.checkpoint import UpstreamCheckpoint, read_upstream_checkpoint, state_from_upstream
from .upstream.layout import config_from_upstream

__all__ = [
    "BUNDLED",
    "Checkpoint",
    "EncoderConfig",
    "ModalityConfig",
    "ProjectionConfig",
    "SeqSleepNet",
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
