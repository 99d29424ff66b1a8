# SPDX-License-Identifier: BSD-3-Clause
"""Tokens already computed, by what they were computed from."""

from .entry import EncodedModality, token_key
from .memory import MEMORY_CACHE, TokenCache
from .store import CacheInfo, TokenStore, cache_info, check_cache, clear_cache, open_store

__all__ = [
    "MEMORY_CACHE",
    "CacheInfo",
    "EncodedModality",
    "TokenCache",
    "TokenStore",
    "cache_info",
    "check_cache",
    "clear_cache",
    "open_store",
    "token_key",
]
