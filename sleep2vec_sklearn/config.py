# SPDX-License-Identifier: BSD-3-Clause
"""Settings of the library, and the versions that a bug report should quote.

A setting is looked up where it is used. In this order: the thread's own :func:`config_context`, a
context of the main thread, :func:`set_config`, the settings of the process that started this one,
the defaults.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

__all__ = [
    "config_context",
    "get_config",
    "set_config",
    "show_versions",
]

_LEAKAGE = ("warn", "raise", "ignore")
_DEFAULTS = {"leakage": "warn", "cache_dir": None, "cache_bytes": 512 * 2**20}
_PACKAGES = (
    "scikit-learn", "numpy", "scipy", "pandas", "torch", "safetensors", "joblib", "edfio", "mne",
    "skorch", "sleepecg", "matplotlib", "actfast", "huggingface_hub",
)  # fmt: skip


class _Unchanged:
    """The default of a setting that is not named; help() shows it."""

    def __repr__(self) -> str:
        return "unchanged"


_UNCHANGED: Any = _Unchanged()


class _ThreadContexts(threading.local):
    def __init__(self) -> None:
        self.stack: list[dict] = []


_lock = threading.Lock()
_inherited: dict = {}
_process_wide: dict = {}
_main_stack: list[dict] = []
_thread = _ThreadContexts()


def get_config() -> dict:
    """The settings in force here, as a new dict.

    Returns
    -------
    dict
        Keys as in :func:`set_config`.

    Examples
    --------
    >>> from sleep2vec_sklearn import get_config
    >>> get_config()["leakage"]
    'warn'
    """
    return {**_DEFAULTS, **export_settings()}


def set_config(
    *, leakage: str = _UNCHANGED, cache_dir: str | os.PathLike | None = _UNCHANGED,
    cache_bytes: int = _UNCHANGED,
) -> None:  # fmt: skip
    """Change settings of this process; those not named stay.

    Inside a :func:`config_context` the change ends with it. Worker processes of joblib follow
    the process that started them.

    Parameters
    ----------
    leakage : {"warn", "raise", "ignore"}, default="warn"
        What :class:`Sleep2VecTransformer` does with other rows of a subject it was fitted on.
    cache_dir : path-like or None, default=None
        Folder in which transformers with ``cache="memory"`` keep their tokens as well, so that
        the next session, and every worker, finds them. None keeps them in memory only.
    cache_bytes : int, default=536870912
        Bound of the tokens in memory, per process.

    Raises
    ------
    ValueError
        If a value is not one of those accepted.

    Examples
    --------
    >>> from sleep2vec_sklearn import get_config, set_config
    >>> set_config(cache_bytes=2**30)
    >>> get_config()["cache_bytes"]
    1073741824
    """
    changes = _checked(leakage=leakage, cache_dir=cache_dir, cache_bytes=cache_bytes)
    with _lock:
        stack = _own_stack()
        (stack[-1] if stack else _process_wide).update(changes)


@contextmanager
def config_context(
    *, leakage: str = _UNCHANGED, cache_dir: str | os.PathLike | None = _UNCHANGED,
    cache_bytes: int = _UNCHANGED,
) -> Iterator[None]:  # fmt: skip
    """Change settings for a while, in this thread and the workers it starts.

    Parameters
    ----------
    leakage, cache_dir, cache_bytes : optional
        As in :func:`set_config`.

    Notes
    -----
    A context of the main thread holds for every thread, except for what that thread's own contexts
    name; one of another thread does not reach the threads or processes that it starts. Use
    :func:`set_config` there.

    Examples
    --------
    >>> from sleep2vec_sklearn import config_context, get_config
    >>> with config_context(leakage="ignore"):
    ...     get_config()["leakage"]
    'ignore'
    """
    changes = _checked(leakage=leakage, cache_dir=cache_dir, cache_bytes=cache_bytes)
    stack = _own_stack()
    with _lock:
        stack.append(changes)
    try:
        yield
    finally:
        with _lock:
            # by identity, as contexts of generators need not end in the order they began
            stack[:] = [other for other in stack if other is not changes]


def show_versions() -> None:
    """Print the versions that a bug report should quote.

    Examples
    --------
    >>> from sleep2vec_sklearn import show_versions
    >>> show_versions()  # doctest: +ELLIPSIS
                 python: ...
    """
    from ._version import __version__

    rows = {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "sleep2vec-sklearn": __version__,
    }
    for name in _PACKAGES:
        try:
            rows[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            rows[name] = "not installed"
    rows["processors"] = str(os.cpu_count())
    if "torch" in sys.modules:
        import torch

        rows["threads of torch"] = str(torch.get_num_threads())
        rows["GPU"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    rows.update({f"setting {key}": repr(value) for key, value in get_config().items()})
    width = max(len(key) for key in rows)
    print("\n".join(f"{key:>{width}}: {value}" for key, value in rows.items()))


def export_settings() -> dict:
    """All settings that are not left at their defaults, for the workers of this process."""
    with _lock:
        layers = (_inherited, _process_wide, *_main_stack, *_thread.stack)
        return {key: value for layer in layers for key, value in layer.items()}


def import_settings(settings: dict) -> None:
    """In a worker process, take the settings of the process that started it."""
    # a copy that was made in this worker brings its own settings back, which may end with a context
    if multiprocessing.parent_process() is None or settings == export_settings():
        return
    with _lock:
        _inherited.clear()
        _inherited.update(settings)


def _own_stack() -> list[dict]:
    in_main_thread = threading.current_thread() is threading.main_thread()
    return _main_stack if in_main_thread else _thread.stack


def _checked(**settings: Any) -> dict:
    changes = {key: value for key, value in settings.items() if value is not _UNCHANGED}
    leakage = changes.get("leakage", "warn")
    if not isinstance(leakage, str) or leakage not in _LEAKAGE:
        raise ValueError(f"leakage must be one of {', '.join(_LEAKAGE)}; got {leakage!r}.")
    n_bytes = changes.get("cache_bytes", 0)
    if isinstance(n_bytes, bool) or not isinstance(n_bytes, Integral) or n_bytes < 0:
        raise ValueError(f"cache_bytes must be a number of bytes, 0 or more; got {n_bytes!r}.")
    folder = changes.get("cache_dir")
    if folder is not None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise ValueError(f"cache_dir must be a folder or None; got {folder!r}.")
        # workers may have another working directory
        changes["cache_dir"] = str(Path(folder).expanduser().absolute())
    return changes
