# SPDX-License-Identifier: BSD-3-Clause
"""Progress bars of long work, shown by default where somebody is watching."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Self

from ._arguments import check_number

_SECONDS_BEFORE_SHOWN = 3


class HiddenBar:
    """A bar that is not there.

    tqdm's own, with ``disable=True``, takes a lock that processes share, which one that was forked
    meanwhile waits for without end.
    """

    def __init__(self, iterable: Iterable = ()):
        self.iterable = iterable

    def __iter__(self) -> Iterator:
        return iter(self.iterable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to do."""

    def update(self, n: float = 1) -> None:
        """Nothing moves."""

    def set_postfix_str(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is open."""


def progress_bar(verbose: int | None, iterable: Iterable | None = None, **options: Any) -> Any:
    """A bar; by None shown in an interactive session, after a few seconds. Options are tqdm's."""
    if verbose is not None and not isinstance(verbose, bool):
        check_number("verbose", verbose, whole=True)
    by_default = verbose is None
    hidden = not is_interactive() if by_default else not verbose
    if hidden:
        return HiddenBar(iterable or ())
    from tqdm.auto import tqdm

    return tqdm(iterable, delay=_SECONDS_BEFORE_SHOWN * by_default, **options)


def is_interactive() -> bool:
    """Whether this is a notebook, a Python prompt, or a process that writes to a terminal."""
    if multiprocessing.parent_process() is not None:
        return False
    at_prompt = hasattr(sys, "ps1") or "ipykernel" in sys.modules
    return at_prompt or (sys.stderr is not None and sys.stderr.isatty())
