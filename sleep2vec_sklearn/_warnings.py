# SPDX-License-Identifier: BSD-3-Clause
"""Warnings that point at the user's line, and what becomes of them.

Filters of :mod:`warnings` are of the whole process. So what the library itself warns of is ignored
and collected on the way to them, in the thread that asks for it and in the threads that it starts.
"""

from __future__ import annotations

import inspect
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

_Inputs = ParamSpec("_Inputs")
_Output = TypeVar("_Output")
# scikit-learn wraps transform, and calls it in pipelines and searches
_SKIPPED = {"sleep2vec_sklearn", "sklearn", "skorch", "joblib", "contextlib"}


class _Handler(NamedTuple):
    handle: Callable[[type[Warning], str], object]
    category: type[Warning]
    pattern: str

    def takes(self, category: type[Warning], message: str) -> bool:
        return issubclass(category, self.category) and bool(re.match(self.pattern, message))


_handlers: ContextVar[tuple[_Handler, ...]] = ContextVar("sleep2vec_sklearn_warnings", default=())


def warn(message: str, category: type[Warning]) -> None:
    """Warn of the first frame outside the package and the libraries that call it.

    ``skip_file_prefixes`` of :func:`warnings.warn` does the same from Python 3.12 on.
    """
    for handler in reversed(_handlers.get()):
        if handler.takes(category, message):
            handler.handle(category, message)
            return
    frame, level = inspect.currentframe(), 1
    while frame and frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _SKIPPED:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def handled(
    handle: Callable[[type[Warning], str], object], category: type[Warning], pattern: str = ""
) -> Iterator[None]:
    """Call ``handle(category, message)`` instead of warning, for what :func:`warn` gives."""
    token = _handlers.set((*_handlers.get(), _Handler(handle, category, pattern)))
    try:
        yield
    finally:
        _handlers.reset(token)


@contextmanager
def ignored(category: type[Warning], pattern: str = "") -> Iterator[None]:
    """Ignore what the library warns of, in this thread."""
    with handled(lambda *warning: None, category, pattern):
        yield


@contextmanager
def collected(
    category: type[Warning], others: bool = False
) -> Iterator[list[tuple[type[Warning], str]]]:
    """Collect what the library warns of in this thread, as pairs of category and message.

    With ``others``, also what other libraries warn of, as far as :func:`others_ignored` can.
    """
    caught: list[tuple[type[Warning], str]] = []
    is_recorded = others and _may_change_filters()
    recorder = warnings.catch_warnings(record=True) if is_recorded else nullcontext()
    with recorder as recorded, handled(lambda *warning: caught.append(warning), category):
        yield caught
    caught += [(warning.category, str(warning.message)) for warning in recorded or ()]


def handed_on(function: Callable[_Inputs, _Output]) -> Callable[_Inputs, _Output]:
    """A function whose warnings go where they do here, for a thread that is started here."""
    # not all of the context, which holds numpy's errstate too
    handlers = _handlers.get()

    @wraps(function)
    def call(*args: _Inputs.args, **kwargs: _Inputs.kwargs) -> _Output:
        token = _handlers.set(handlers)
        try:
            return function(*args, **kwargs)
        finally:
            _handlers.reset(token)

    return call


@contextmanager
def others_ignored(category: type[Warning]) -> Iterator[None]:
    """Ignore what other libraries warn of, unless other threads run, whose filters these are."""
    if not _may_change_filters():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def _may_change_filters() -> bool:
    """Whether no other thread would notice; from Python 3.14 on threads may have filters each."""
    return threading.active_count() == 1 or getattr(sys.flags, "context_aware_warnings", False)


def listed(texts: Sequence[str], most: int = 5) -> str:
    """The first few of many texts, and how many more there are."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")
