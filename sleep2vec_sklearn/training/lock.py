# SPDX-License-Identifier: BSD-3-Clause
"""One run at a time in a folder, by a lock of the system that ends with its process."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import TrainingError

__all__ = ["hold_folder"]

_NAME = "run.lock"
# beyond what is written: what Windows has locked nobody can read
_LOCKED_BYTE = 2**20
_TRIES = 10
_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}

_logger = logging.getLogger("sleep2vec_sklearn")


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder.

    The lock is the system's, so what a killed process leaves behind, the empty shell of one,
    keeps nobody out. Where a file system has no locks, a run goes on without.

    Parameters
    ----------
    folder : Path
        That exists.

    Raises
    ------
    TrainingError
        If another run holds it, in this process or another.
    OSError
        If the folder cannot be written.
    """
    path = folder / _NAME
    descriptor = _open_locked(path)
    try:
        # a full disk keeps nobody from training
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        # while it is held, or another run's would go; Windows removes no open file
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)
        if os.name == "nt":
            with contextlib.suppress(OSError):
                path.unlink()


def _open_locked(path: Path) -> int:
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno not in _TAKEN:
                _logger.warning("%s: no lock (%s); start no second run there", path, error)
                return descriptor
            holder = os.read(descriptor, 200).decode(errors="replace")
            os.close(descriptor)
            raise TrainingError(
                f"state_dir={str(path.parent)!r}: another run is at work there "
                f"({holder or 'it does not say which'}), and would overwrite the state of this "
                "one. Wait for it, or give another state_dir; candidates of a grid search, which "
                "run side by side, go without: state_dir=None."
            ) from error
        # the run that held it may have removed it between the two
        if _is_there(descriptor, path):
            return descriptor
        os.close(descriptor)
    raise TrainingError(f"{path}: comes and goes; another program removes it. Give a state_dir.")


def _is_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> None:
    """Lock an open file or raise OSError; the system unlocks it when it is closed."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
