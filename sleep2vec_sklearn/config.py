# SPDX-License-Identifier: BSD-3-Clause
"""Settings of the library as a whole, and what to quote in a bug report.

Settings are looked up where they are used, in this order: a :func:`config_context` of the thread,
one of the main thread, :func:`set_config`, what a worker process was sent by the process that
started it, the defaults. A worker thread therefore sees what the main thread has set, and two
threads with contexts of their own do not disturb each other.
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

__all__ = [
    "config_context",
    "get_config",
    "set_config",
    "show_versions",
]

_LEAKAGE = ("warn", "raise", "ignore")
_DEFAULTS = {"leakage": "warn", "cache_dir": None, "cache_bytes": 512 * 2**20}
_PACKAGES = (
    "sleep2vec-sklearn",
    "scikit-learn",
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "safetensors",
    "joblib",
    "edfio",
    "mne",
    "skorch",
    "sleepecg",
    "matplotlib",
)

_KEEP = object()


class _Thread(threading.local):
    def __init__(self):
        self.contexts: list[dict] = []


_thread = _Thread()
_lock = threading.Lock()
_sent: dict = {}
_set: dict = {}
_of_main_thread: list[dict] = []


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
    return {**_DEFAULTS, **_sent, **chosen_settings()}


def set_config(*, leakage=_KEEP, cache_dir=_KEEP, cache_bytes=_KEEP) -> None:
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
        Bound of the tokens kept in memory, per process.

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
        contexts = _contexts()
        (contexts[-1] if contexts else _set).update(changes)


@contextmanager
def config_context(*, leakage=_KEEP, cache_dir=_KEEP, cache_bytes=_KEEP) -> Iterator[None]:
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
    contexts = _contexts()
    with _lock:
        contexts.append(changes)
    try:
        yield
    finally:
        with _lock:
            # by identity, as contexts of generators need not end in the order they began
            contexts[:] = [other for other in contexts if other is not changes]


def chosen_settings() -> dict:
    """The settings somebody chose in this process; what its workers are sent."""
    with _lock:
        layers = (_set, *_of_main_thread, *_thread.contexts)
        return {key: value for layer in layers for key, value in layer.items()}


def adopt_settings(settings: dict) -> None:
    """Take the settings of the process that started this one; without effect in a main process."""
    if multiprocessing.parent_process() is not None:
        with _lock:
            _sent.clear()
            _sent.update(settings)


def settings_for_workers() -> dict:
    """What a process that this one starts should adopt."""
    return {**_sent, **chosen_settings()}


def _contexts() -> list[dict]:
    if threading.current_thread() is threading.main_thread():
        return _of_main_thread
    return _thread.contexts


def _checked(**given) -> dict:
    changes = {key: value for key, value in given.items() if value is not _KEEP}
    leakage = changes.get("leakage", "warn")
    if leakage not in _LEAKAGE:
        raise ValueError(f"leakage must be one of {', '.join(_LEAKAGE)}; got {leakage!r}.")
    n_bytes = changes.get("cache_bytes", 0)
    if isinstance(n_bytes, bool) or not isinstance(n_bytes, Integral) or n_bytes < 0:
        raise ValueError(f"cache_bytes must be a number of bytes, 0 or more; got {n_bytes!r}.")
    folder = changes.get("cache_dir")
    if folder is not None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise ValueError(f"cache_dir must be a folder or None; got {folder!r}.")
        # workers may run elsewhere
        changes["cache_dir"] = str(Path(folder).expanduser().absolute())
    return changes


def show_versions() -> None:
    """Print the versions that a report of a problem should quote.

    Examples
    --------
    >>> from sleep2vec_sklearn import show_versions
    >>> show_versions()  # doctest: +ELLIPSIS
                 python: ...
    """
    from ._version import __version__

    rows = {"python": sys.version.split()[0], "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            rows[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            rows[name] = "not installed"
    rows["sleep2vec-sklearn"] = __version__
    rows["processors"] = str(os.cpu_count())
    if "torch" in sys.modules:
        import torch

        rows["threads of torch"] = str(torch.get_num_threads())
        rows["GPU"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    rows.update({f"setting {key}": repr(value) for key, value in get_config().items()})
    width = max(len(key) for key in rows)
    print("\n".join(f"{key:>{width}}: {value}" for key, value in rows.items()))
