# SPDX-License-Identifier: BSD-3-Clause
"""Recordings in, embeddings out."""

from __future__ import annotations

import importlib

__all__ = [
    "EmbeddingTable",
    "PrecomputedEmbeddings",
    "RecordingMetadata",
    "RowKeys",
    "Sleep2VecTransformer",
    "TimeOfNight",
]

_ROOMS = {
    "EmbeddingTable": "table",
    "PrecomputedEmbeddings": "precomputed",
    "RecordingMetadata": "covariates",
    "RowKeys": "inputs",
    "Sleep2VecTransformer": "transformer",
    "TimeOfNight": "covariates",
}


def __getattr__(name: str):
    # the cache can be asked, and tables looked up, without torch
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_ROOMS[name]}", __name__), name)
