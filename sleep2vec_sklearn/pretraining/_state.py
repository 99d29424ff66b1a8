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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import torch

from .._files import check_writable, list_differences, write_atomic
from .._untrusted import load_torch, parse_json, shown
from .._warnings import warn
from ..errors import TrainingError, TrainingWarning
from ._distributed import rank

if TYPE_CHECKING:
    from ._net import PretrainingNet

# 2: parameters by their nested names
_FORMAT_VERSION = 2
_NAME = "state.pt"
_LONGEST_REASON = 160
_RECORDED = {"train_loss", "train_batch_size", "data_wait", "step_time"}
_SETTINGS = {"params", "lr", "betas", "eps", "weight_decay", "lr_scale", "initial_lr"}
_MOMENTS = ("exp_avg", "exp_avg_sq")

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
            state = load_torch(self.path)
            version = int(state["format_version"])
            state = {"epoch": 0, "finished": False, **state}
            if not _is_count(state["epoch"]) or not isinstance(state["finished"], bool):
                raise TypeError("epoch or finished is none")
            if "seed" in state and not str(state["seed"]).isdecimal():
                raise TypeError("seed is none")
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
            differences = list_differences(parse_json(state["run"], finite=False), identity)
            if not differences:
                _check_state(state, net)
                net.load_state(state)
        # of tensors, JSON and torch
        except Exception as error:
            raise self.unreadable(error) from error
        if differences:
            raise TrainingError(
                f"{self.path} is the state of another run; what differs:\n  "
                + "\n  ".join(differences)
                + "\nRestore these to resume it, set another state_dir, or remove the file. In a "
                "grid search or a cross-validation every fit is another run: pass state_dir=None."
            )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _check_state(state: Mapping[str, Any], net: PretrainingNet) -> None:
    """Compare a state with that of the net it is for, as torch takes over what does not fit."""
    mine = net.state()
    for part in ("module", "average", "best"):
        if part != "best" or state[part] is not None:
            _check_tensors(part, state[part], mine["average" if part == "best" else part])
    _check_optimizer(state["optimizer"], net.optimizer_)
    wrong = [name for name in ("step", "first_step", "epoch") if not _is_count(state[name])]
    if wrong or state["first_step"] > state["step"]:
        raise ValueError(f"{', '.join(wrong) or 'first_step'} is no number of the run")
    rows = parse_json(state["history"], finite=False)
    if not isinstance(rows, list) or len(rows) < state["epoch"]:
        raise ValueError("its history is shorter than the run")
    for row in rows:
        batches = row["batches"]
        values = [v for part in (row, *batches) for k, v in part.items() if k != "batches"]
        if not all(v is None or isinstance(v, int | float | str) for v in values):
            raise ValueError("its history has values that are no numbers")
    # what validation compares
    losses = [row["valid_loss"] for row in rows if "valid_loss" in row]
    if not all(isinstance(loss, int | float) for loss in losses):
        raise ValueError("its history has losses that are no numbers")
    ended = rows[len(rows) - state["epoch"] :]
    if net.patience is not None and any("valid_loss" not in row for row in ended):
        raise ValueError("its history lacks losses of the validation")
    if not all(set(batch) >= _RECORDED for row in rows[-1:] for batch in row["batches"]):
        raise ValueError("its history lacks what is recorded of a step")


def _check_tensors(name: str, found: Mapping, mine: Mapping[str, torch.Tensor]) -> None:
    for key in {*found, *mine}:
        kinds = [(t.shape, t.dtype) for t in (found[key], mine[key])]
        if kinds[0] != kinds[1]:
            raise ValueError(f"{name} has {shown(key)} of another shape or type")
        if not found[key].isfinite().all():
            raise ValueError(f"{name} has values that are not finite")


def _check_optimizer(found: Mapping, optimizer: torch.optim.Optimizer) -> None:
    """Groups alike but for the learning rate, and moments in the shapes of the parameters.

    torch's fused kernels write beyond the end of moments that are shorter than their parameter.
    """
    mine = optimizer.state_dict()
    for theirs, ours in zip(found["param_groups"], mine["param_groups"], strict=True):
        changed = [k for k, v in theirs.items() if k != "lr" and (k not in ours or ours[k] != v)]
        # torch completes those that a later version of it has
        changed += sorted(_SETTINGS - set(theirs))
        if changed or type(theirs["lr"]) is not float or not 0 <= theirs["lr"] < float("inf"):
            raise ValueError(f"the optimizer has another {shown((changed or ['lr'])[0])}")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    indices = [index for group in mine["param_groups"] for index in group["params"]]
    by_index = dict(zip(indices, parameters, strict=True))
    for index, moments in found["state"].items():
        parameter = by_index[index]
        shapes = {"step": (torch.Size(()), torch.float32)}
        shapes |= dict.fromkeys(_MOMENTS, (parameter.shape, parameter.dtype))
        if {name: (t.shape, t.dtype) for name, t in moments.items()} != shapes:
            raise ValueError(f"the optimizer has moments unlike the parameter {index}")
        if not all(t.isfinite().all() for t in moments.values()):
            raise ValueError("the optimizer has moments that are not finite")


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
