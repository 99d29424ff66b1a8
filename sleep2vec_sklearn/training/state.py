# SPDX-License-Identifier: BSD-3-Clause
"""The state of a run on disk: written whole or not at all, never unpickled.

A state follows a finished step. Killed at any moment, a run goes on from the last whole one; what
was half written is a file of another name, which the next run removes.
"""

from __future__ import annotations

import os
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from ..errors import TrainingError
from ..model.config import canonical_json
from .lock import hold_folder

__all__ = ["RunFolder", "list_differences"]

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
