# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints of the paper's authors: their layout, names and adapters."""

from .checkpoint import UpstreamCheckpoint, read_upstream_checkpoint, state_from_upstream
from .layout import config_from_upstream

__all__ = [
    "UpstreamCheckpoint",
    "config_from_upstream",
    "read_upstream_checkpoint",
    "state_from_upstream",
]
