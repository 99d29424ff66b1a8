# SPDX-License-Identifier: BSD-3-Clause
"""Recordings in, embeddings out."""

from .transformer import Sleep2VecTransformer

__all__ = ["Sleep2VecTransformer"]
