# SPDX-License-Identifier: BSD-3-Clause
"""The state of a run on disk: written whole or not at all, never unpickled.

A state follows a finished step. Killed at any moment, a run is resumed from the last whole one;
what was half written is a file of another name, which the next run removes.
"""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import torch

from .._files import check_writable, check_zip, list_differences, write_atomic
from .._warnings import warn
from ..errors import TrainingError, TrainingWarning
from ._distributed import rank

if TYPE_CHECKING:
    from ._net import PretrainingNet

# 2: parameters by their nested names
_FORMAT_VERSION = 2
_NAME = "state.pt"
_LONGEST_REASON = 160

_logger = logging.getLogger("sleep2vec_sklearn")


class RunFolder:
    """The folder in which a run keeps its state; made if it does not exist."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        self.path = self.folder / _NAME

    def load(self) -> dict[str, Any] | None:
        """The last state, or None if there is none."""
        if not self.path.exists():
            return None
        try:
            if zipfile.is_zipfile(self.path):
                check_zip(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            version = int(state["format_version"])
            state["epoch"] = int(state.get("epoch", 0))
            state["finished"] = bool(state.get("finished"))
        # torch says that something is no state in errors of many kinds
        except Exception as error:
            raise self.unreadable(error) from error
        if version != _FORMAT_VERSION:
            age, fix = ("newer", "Upgrade") if version > _FORMAT_VERSION else ("older", "Remove it")
            raise TrainingError(
                f"{self.path}: written in format {version} by a version that is {age}; this one "
                f"reads {_FORMAT_VERSION}. {fix}, or set state_dir to an empty folder."
            )
        return state

    def acquire(self, n_epochs: int, run: ExitStack) -> dict[str, Any] | None:
        """:meth:`load`, and unless the run has ended, lock the folder for as long as it lasts."""
        state = self.load()
        if state is not None and (state["finished"] or state["epoch"] >= n_epochs):
            return state
        try:
            check_writable(self.path)
        except OSError as error:
            raise TrainingError(
                f"state_dir={str(self.folder)!r}: no state can be written there ({error}). Choose "
                "a folder that can be written, or None to go without."
            ) from error
        run.enter_context(lock_folder(self.folder))
        # what a run killed while writing has left
        for path in self.folder.glob(f".{_NAME}.*"):
            path.unlink(missing_ok=True)
        # the run that held it until now may have gone on
        return self.load()

    def unreadable(self, error: Exception) -> TrainingError:
        reason = " ".join(repr(error).split())[:_LONGEST_REASON]
        return TrainingError(
            f"{self.path}: no state of a run that this version can read ({reason}). Remove it to "
            "start anew, or set another state_dir."
        )

    def save(self, state: Mapping[str, Any]) -> None:
        """Put a state in place of the last one, which stays if this fails with an OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"format_version": _FORMAT_VERSION, **state}, buffer)
        write_atomic(self.path, buffer.getbuffer())

    def keep(self, net: PretrainingNet, identity: Mapping[str, Any]) -> None:
        """Save the state of a net; a full disk is no reason to stop training."""
        if rank() != 0:
            return
        try:
            self.save({"run": json.dumps(identity), "seed": str(identity["seed"]), **net.state()})
        except OSError as error:
            warn(
                f"{self.path}: the state after step {net.step_} could not be written ({error}); "
                "training goes on, and the state before it stays. Free some space.",
                TrainingWarning,
            )

    def restore(
        self, net: PretrainingNet, state: Mapping[str, Any], identity: Mapping[str, Any]
    ) -> None:
        """Bring a net to where the run was stopped, if the state is of this run."""
        try:
            differences = list_differences(json.loads(state["run"]), identity)
            if not differences:
                net.load_state(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise self.unreadable(error) from error
        if differences:
            raise TrainingError(
                f"{self.path} is the state of another run; what differs:\n  "
                + "\n  ".join(differences)
                + "\nRestore these to resume it, set another state_dir, or remove the file. In a "
                "grid search or a cross-validation every fit is another run: pass state_dir=None."
            )


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; where a file system has no locks, go on without."""
    # the system's, so a killed process keeps nobody out
    lock = filelock.FileLock(folder / "run.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise TrainingError(
            f"state_dir={str(folder)!r}: another run is using it, and would overwrite the state of "
            "this one. Wait for it, or set another state_dir; candidates of a grid search, which "
            "run at the same time, go without: state_dir=None."
        ) from error
    except (OSError, NotImplementedError) as error:
        _logger.warning("%s: no lock (%s); start no second run there", folder, error)
    try:
        yield
    finally:
        lock.release()
