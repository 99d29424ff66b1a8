# SPDX-License-Identifier: BSD-3-Clause
"""Recordings in, embeddings out."""

from .metadata import RecordingMetadata
from .transformer import Sleep2VecTransformer

__all__ = ["RecordingMetadata", "Sleep2VecTransformer"]
