# SPDX-License-Identifier: BSD-3-Clause
"""Warnings of a process worker, given by the process that started it.

A warning in a worker would end on a terminal that nobody may look at, and cannot be caught. So
the process that sends an estimator to workers listens on a socket of its user's, named after its
process id; a worker sends the library's warnings there and waits until they are given, so they
come before the result. Where nobody listens (a worker on another machine), they stay where they
are. Nothing but text is exchanged.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import warnings
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from .. import errors

__all__ = [
    "is_sent_to_worker",
    "listen",
    "relay_warnings",
]

_SECONDS_TO_ANSWER = 10
_LONGEST_TEXT = 2**14
_LONGEST_MESSAGE = 2**18
_SENDERS = (
    "joblib.externals.loky.backend.reduction",
    "loky.backend.reduction",
    "joblib.pool",
    "multiprocessing.reduction",
    "distributed.protocol.pickle",
)
# by name too: a forked worker has the frames of the pool that made it
_SENDING = ("dump", "dumps", "send", "put")
_CATEGORIES = {name: getattr(errors, name) for name in errors.__all__ if name.endswith("Warning")}
_lock = threading.Lock()
_listening_in: int | None = None
_told: dict = {}
_show_here = None


def is_sent_to_worker() -> bool:
    """Whether the pickle that is being made is a message to a worker: no file, copy or hash.

    A pickler does not tell what it writes for, so the callers are looked at.
    """
    frame = sys._getframe(1)
    while frame is not None:
        named = frame.f_code.co_name in _SENDING
        if named and frame.f_globals.get("__name__") in _SENDERS:
            return True
        frame = frame.f_back
    return False


def listen() -> None:
    """Give the warnings of this process's workers from now on; once per process."""
    global _listening_in
    with _lock:
        # a forked child has the variable, but not the thread
        if _listening_in == os.getpid():
            return
        _listening_in = os.getpid()
        address = _address_of(os.getpid())
        if address is None:
            return
        with contextlib.suppress(OSError):
            with contextlib.suppress(OSError):
                os.unlink(address)
            listener = Listener(address, backlog=16)
            thread = threading.Thread(target=_serve, args=(listener,), daemon=True)
            thread.name = "sleep2vec_sklearn-warnings"
            thread.start()


def relay_warnings() -> None:
    """In a worker process, send the library's warnings to the process that started it."""
    global _show_here
    if multiprocessing.parent_process() is None or warnings.showwarning is _show:
        return
    _show_here = warnings.showwarning
    warnings.showwarning = _show


def _show(message, category, filename, lineno, file=None, line=None):
    if not (issubclass(category, errors.Sleep2VecWarning) and _sent(message, filename, lineno)):
        _show_here(message, category, filename, lineno, file, line)


def _sent(message: Warning, filename: str, lineno: int) -> bool:
    address = _address_of(multiprocessing.parent_process().pid)
    if address is None:
        return False
    described = [type(message).__name__, str(message)[:_LONGEST_TEXT], filename, lineno]
    try:
        with Client(address) as connection:
            connection.send_bytes(json.dumps(described).encode())
            if not connection.poll(_SECONDS_TO_ANSWER):
                return False
            answer = connection.recv_bytes(_LONGEST_MESSAGE)
    except (OSError, EOFError):
        return False
    if answer == b"raise":
        raise message
    return answer == b"told"


def _serve(listener: Listener) -> None:
    while True:
        try:
            connection = listener.accept()
        except ConnectionError:
            continue
        except OSError:
            return
        with connection, contextlib.suppress(OSError, EOFError):
            connection.send_bytes(_answer(connection))


def _answer(connection: Connection) -> bytes:
    if not connection.poll(_SECONDS_TO_ANSWER):
        return b"unheard"
    try:
        name, text, filename, lineno = json.loads(connection.recv_bytes(_LONGEST_MESSAGE))
        text, filename, lineno = str(text), str(filename), int(lineno)
        category = _CATEGORIES[name]
    except (ValueError, TypeError, KeyError):
        return b"unheard"
    try:
        warnings.warn_explicit(
            text, category, filename, lineno, module="sleep2vec_sklearn", registry=_told
        )
    except Warning:
        return b"raise"
    return b"told"


def _address_of(process: int) -> str | None:
    if sys.platform == "win32":
        return rf"\\.\pipe\sleep2vec_sklearn-{process}"
    folder = Path(tempfile.gettempdir()) / f"sleep2vec_sklearn-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    mine = folder.is_dir() and state.st_uid == os.getuid() and not state.st_mode & 0o077
    return str(folder / f"{process}.socket") if mine else None
