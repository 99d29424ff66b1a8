# SPDX-License-Identifier: BSD-3-Clause
"""What estimators share that name a checkpoint and remember whom they were fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils._set_output import _get_output_config

from ..config import adopt_settings, settings_for_workers
from ..errors import CheckpointError, InvalidRecordingError
from ._relay import is_sent_to_worker, listen, relay_warnings
from .inputs import EncoderInput

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint

__all__ = [
    "CheckpointBearerMixin",
    "RecordingInputMixin",
    "RecordingTransformerMixin",
]


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


try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """scikit-learn below 1.9 has no callbacks."""

    def with_callbacks(method):
        """Leave the method as it is."""
        return method


class RecordingInputMixin(CallbackSupportMixin):
    """Tags, documentation link and callbacks; stands left of ``BaseEstimator``."""

    _doc_link_module = "sleep2vec_sklearn"
    # the method, until the pages of docs/ have a public address
    _doc_link_template = "https://arxiv.org/abs/2602.13857"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        return tags


class RecordingTransformerMixin(RecordingInputMixin, TransformerMixin):
    """The same for transformers, whose rows are labelled with the elements of X."""

    @with_callbacks
    def fit_transform(self, X, y=None, **fit_params):
        """Fit, then transform; one task in the progress bar of scikit-learn's callbacks."""
        if not hasattr(self, "_init_callback_context"):
            return super().fit_transform(X, y, **fit_params)
        task = self._init_callback_context()
        task.call_on_fit_task_begin(estimator=self, X=X, y=y)
        rows = super().fit_transform(X, y, **fit_params)
        task.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return rows

    def _label_rows(self, rows: np.ndarray, given):
        """Give rows the index of X where ``set_output`` asks for pandas, which alone has one."""
        if _get_output_config("transform", self)["dense"] != "pandas":
            return rows
        import pandas as pd

        return pd.DataFrame(rows, index=given.index, columns=self.get_feature_names_out())
