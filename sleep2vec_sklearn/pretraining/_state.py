# SPDX-License-Identifier: BSD-3-Clause
"""The state of a run on disk: written whole or not at all, never unpickled.

A state follows a finished step. Killed at any moment, a run goes on from the last whole one; what
was half written is a file of another name, which the next run removes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from .._files import canonical_json
from ..errors import TrainingError

__all__ = [
    "RunFolder",
    "hold_folder",
    "list_differences",
]

_FORMAT_VERSION = 1
_NAME = "state.pt"
_LONGEST_REASON = 160


class RunFolder:
    """The folder in which a run keeps its state.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist.
    """

    def __init__(self, folder):
        self.folder = Path(folder).expanduser()
        self.path = self.folder / _NAME

    def load(self) -> dict | None:
        """The last state, or None if there is none.

        Raises
        ------
        TrainingError
            If the file is damaged or of a newer version.
        """
        if not self.path.exists():
            return None
        try:
            _check_sums(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            version = int(state["format_version"])
        # of what is not a state torch says so in errors of many kinds
        except Exception as error:
            raise self.unreadable(error) from error
        if version > _FORMAT_VERSION:
            raise TrainingError(
                f"{self.path}: written in format {version} by a newer version, this one reads up "
                f"to {_FORMAT_VERSION}. Upgrade, or give an empty state_dir."
            )
        return state

    def take_up(self, n_epochs: int, until_the_end: ExitStack) -> dict | None:
        """:meth:`load`, and unless the run has ended, hold the folder and make it ready.

        Parameters
        ----------
        n_epochs : int
            Of the whole run.
        until_the_end : ExitStack
            At whose end the folder is free again.

        Raises
        ------
        TrainingError
            As :meth:`load`; or if the folder cannot be written, or another run holds it.
        """
        state = self.load()
        if state is not None and (state.get("finished") or state.get("epoch", 0) >= n_epochs):
            return state
        self.check_writable()
        until_the_end.enter_context(hold_folder(self.folder))
        self.tidy()
        # the run that held it until now may have gone on
        return self.load()

    def unreadable(self, error: Exception) -> TrainingError:
        """What to say of a state that cannot be gone on with."""
        why = " ".join(repr(error).split())[:_LONGEST_REASON]
        return TrainingError(
            f"{self.path}: no state of a run that this version can read ({why}). Remove it to "
            "start anew, or give another state_dir."
        )

    def check_writable(self) -> None:
        """Make the folder, and see at the start what would else come out hours later.

        Raises
        ------
        TrainingError
            If no file can be written there.
        """
        probe = self.path.with_name(f".{_NAME}.{uuid.uuid4().hex}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise TrainingError(
                f"state_dir={str(self.folder)!r}: no state can be written there ({error}). Give a "
                "folder that can be written, or None to go without."
            ) from error

    def save(self, state: Mapping) -> None:
        """Put a state in place of the last one, which stays if this fails.

        Raises
        ------
        OSError
            If it cannot be written, for want of room for instance.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{_NAME}.{uuid.uuid4().hex}")
        try:
            with temporary.open("xb") as file:
                _write({"format_version": _FORMAT_VERSION, **state}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a run killed while writing has left."""
        for left in self.folder.glob(f".{_NAME}.*"):
            left.unlink(missing_ok=True)


def _check_sums(path: Path) -> None:
    """Compare the sums of all records, which torch does not look at."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"damaged: wrong checksum of {damaged}")


def _write(state: Mapping, file) -> None:
    try:
        torch.save(state, file)
    except RuntimeError as error:
        # torch's writer hides the error of the disk behind one of its own
        cause = error.__context__
        if isinstance(cause, OSError):
            raise cause from error
        raise OSError(f"the state could not be written: {error}") from error


def list_differences(before: Mapping, now: Mapping) -> list[str]:
    """What differs between two descriptions of a run, one line each; empty if nothing does."""
    lines = []
    for key in sorted(set(before) | set(now)):
        old, new = (described.get(key, "(absent)") for described in (before, now))
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [f"{key}.{line}" for line in list_differences(old, new)]
        elif canonical_json(old) != canonical_json(new):
            lines.append(f"{key}: {old!r} in the state, {new!r} now")
    return lines


_LOCK_NAME = "run.lock"
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
    path = folder / _LOCK_NAME
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
