# SPDX-License-Identifier: BSD-3-Clause
"""What estimators share that name a checkpoint and remember whom they were fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import adopt_settings, settings_for_workers
from ..errors import CheckpointError, InvalidRecordingError
from .inputs import EncoderInput
from .relay import is_sent_to_worker, listen, relay_warnings

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint

__all__ = ["CheckpointBearerMixin"]


class CheckpointBearerMixin:
    """Opens ``checkpoint``, and pickles without subjects but with the settings workers need.

    ``_called`` is the word for itself in messages; fitted are ``unit_`` and
    ``checkpoint_sha256_``.
    """

    _called = "estimator"

    def _load_checkpoint(self) -> Checkpoint:
        # what needs torch is imported where it is used: pipelines are built without it
        from ..model.checkpoint import as_checkpoint

        return as_checkpoint(self.checkpoint)

    def _load_fitted_checkpoint(self) -> Checkpoint:
        checkpoint = self._load_checkpoint()
        if checkpoint.sha256 != self.checkpoint_sha256_:
            raise CheckpointError(
                f"{checkpoint.name} has sha256 {checkpoint.sha256[:12]}, but this {self._called} "
                f"was fitted with {self.checkpoint_sha256_[:12]}. Restore that file, or fit again."
            )
        return checkpoint

    def _check_unit(self, given: EncoderInput) -> None:
        if given.unit != self.unit_:
            raise InvalidRecordingError(
                f"X holds {given.unit}s, but this {self._called} was fitted on {self.unit_}s. "
                "Pass the same kind, or fit a clone for the other."
            )

    def __getstate__(self) -> dict:
        state = dict(super().__getstate__())
        # who was in a study is not for everybody who gets the model
        state.pop("_rows_at_fit", None)
        if "checkpoint_sha256_" not in state and is_sent_to_worker():
            state["_settings"] = settings_for_workers()
            listen()
        return state

    def __setstate__(self, state: dict) -> None:
        state = dict(state)
        if "_settings" in state:
            adopt_settings(state.pop("_settings"))
        relay_warnings()
        super().__setstate__(state)
