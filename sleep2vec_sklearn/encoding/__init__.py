# SPDX-License-Identifier: BSD-3-Clause
"""Embeddings of recordings: transformers, tables of their rows, and covariates."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .covariates import RecordingMetadata, TimeOfNight
    from .expert_features import ExpertFeatures, feature_table
    from .inputs import RowKeys
    from .precomputed import PrecomputedEmbeddings
    from .table import EmbeddingTable
    from .transformer import Sleep2VecTransformer
    from .union import EncoderUnion

__all__ = [
    "EmbeddingTable",
    "EncoderUnion",
    "ExpertFeatures",
    "PrecomputedEmbeddings",
    "RecordingMetadata",
    "RowKeys",
    "Sleep2VecTransformer",
    "TimeOfNight",
    "feature_table",
]

_MODULES = {
    "EmbeddingTable": "table",
    "EncoderUnion": "union",
    "ExpertFeatures": "expert_features",
    "PrecomputedEmbeddings": "precomputed",
    "RecordingMetadata": "covariates",
    "RowKeys": "inputs",
    "Sleep2VecTransformer": "transformer",
    "TimeOfNight": "covariates",
    "feature_table": "expert_features",
}


def __getattr__(name: str) -> Any:
    # lazy: tables are looked up without torch
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
