# SPDX-License-Identifier: BSD-3-Clause
"""Recordings in, embeddings out."""

from __future__ import annotations

import importlib

_ROOMS = {"RecordingMetadata": "metadata", "Sleep2VecTransformer": "transformer"}

__all__ = ["RecordingMetadata", "Sleep2VecTransformer"]


def __getattr__(name: str):
    # the cache can be asked without loading torch
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_ROOMS[name]}", __name__), name)
