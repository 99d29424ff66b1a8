# SPDX-License-Identifier: BSD-3-Clause
"""Conditioned nights on disk, of which training reads windows."""

from .content import Content
from .store import NightStore, contents_of, prepare_cohort

__all__ = ["Content", "NightStore", "contents_of", "prepare_cohort"]
