# SPDX-License-Identifier: BSD-3-Clause
"""Warnings that point at the user's line."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# scikit-learn wraps transform, and calls it in pipelines and searches
_SKIPPED = {"sleep2vec_sklearn", "sklearn", "skorch", "joblib", "contextlib"}


def warn(message: str, category: type[Warning]) -> None:
    """Warn of the first frame outside the package and the libraries that call it.

    ``skip_file_prefixes`` of :func:`warnings.warn` does the same from Python 3.12 on.
    """
    frame, level = inspect.currentframe(), 1
    while frame and frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _SKIPPED:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def ignored(category: type[Warning], message: str = "") -> Iterator[None]:
    """Ignore warnings for a while; in a thread they stay, as filters are of the whole process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield


def listed(texts: Sequence[str], most: int = 5) -> str:
    """The first few of many texts, and how many more there are."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")
