# SPDX-License-Identifier: BSD-3-Clause
"""Encoders: their protocol, the network, configurations and checkpoints of sleep2vec."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import (
        BUNDLED,
        Checkpoint,
        convert_checkpoint,
        load_checkpoint,
        save_checkpoint,
    )
    from .config import EncoderConfig, ModalityConfig, ProjectionConfig, TokenizerConfig
    from .encoder import Encoder, SignalInput
    from .external import SeqSleepNet, SleepFM, SleepFMStager
    from .network import Sleep2Vec
    from .tokenizers import ExpertTokenizer, SpectralTokenizer
    from .upstream.checkpoint import (
        UpstreamCheckpoint,
        read_upstream_checkpoint,
        state_from_upstream,
    )
    from .upstream.layout import config_from_upstream

_MODULES = {
    "BUNDLED": "checkpoint",
    "Checkpoint": "checkpoint",
    "Encoder": "encoder",
    "EncoderConfig": "config",
    "ModalityConfig": "config",
    "ProjectionConfig": "config",
    "SeqSleepNet": "external",
    "SignalInput": "encoder",
    "SleepFM": "external",
    "SleepFMStager": "external",
    "Sleep2Vec": "network",
    "ExpertTokenizer": "tokenizers",
    "SpectralTokenizer": "tokenizers",
    "TokenizerConfig": "config",
    "UpstreamCheckpoint": "upstream.checkpoint",
    "config_from_upstream": "upstream.layout",
    "convert_checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "read_upstream_checkpoint": "upstream.checkpoint",
    "save_checkpoint": "checkpoint",
    "state_from_upstream": "upstream.checkpoint",
}
__all__ = [
    "BUNDLED",
    "Checkpoint",
    "Encoder",
    "EncoderConfig",
    "ExpertTokenizer",
    "ModalityConfig",
    "ProjectionConfig",
    "SeqSleepNet",
    "SignalInput",
    "Sleep2Vec",
    "SleepFM",
    "SleepFMStager",
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


def __getattr__(name: str) -> Any:
    # lazy: the protocol of encoders is used without torch
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
