# SPDX-License-Identifier: BSD-3-Clause
"""Mixins of the estimators that take recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from .._warnings import warn
from ..config import export_settings, import_settings
from ..errors import CheckpointError, InvalidRecordingError, ModalityWarning
from ..recordings.modality import MODALITIES, get_modality
from ..recordings.recording import Recording
from .inputs import EncoderInput, RowKeys

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from ..model.checkpoint import Checkpoint
    from ..model.encoder import Encoder

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn below 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """No callbacks."""

    def with_callbacks(method: Callable) -> Callable:
        """Leave the method as it is."""
        return method


class CheckpointMixin:
    """Opens ``checkpoint``; pickles leave out the subjects of ``fit``."""

    _noun = "estimator"  # in messages
    checkpoint: Any
    checkpoint_sha256_: str
    unit_: str
    modalities_: tuple[str, ...]

    def _load_checkpoint(self) -> Checkpoint | Encoder:
        # what needs torch is imported where it is used: pipelines are built without it
        from ..model.checkpoint import as_checkpoint

        return as_checkpoint(self.checkpoint)

    def _pinned_checkpoint(self) -> Any:
        """``checkpoint``; an address of the hub with the commit that it led to at fit."""
        from ..model._hub import pin

        return pin(self.checkpoint, self.checkpoint_sha256_)

    def _load_fitted_checkpoint(self) -> Checkpoint | Encoder:
        from ..model.checkpoint import as_checkpoint

        checkpoint = as_checkpoint(self._pinned_checkpoint())
        if checkpoint.sha256 != self.checkpoint_sha256_:
            raise CheckpointError(
                f"{checkpoint.name} has sha256 {checkpoint.sha256[:12]}, but this {self._noun} "
                f"was fitted with {self.checkpoint_sha256_[:12]}. Restore that file, or fit again."
            )
        return checkpoint

    def _signals_read(self) -> tuple[str, ...]:
        """Modalities that the groups of tokens in ``modalities_`` are made of."""
        # those of a checkpoint are called as what they are made of, but for the time
        groups = getattr(self._load_fitted_checkpoint(), "groups", {})
        read = [name for group in self.modalities_ for name in groups.get(group, (group,))]
        return tuple(name for name in dict.fromkeys(read) if name in MODALITIES)

    def _check_unit(self, inputs: EncoderInput) -> None:
        check_unit(inputs, self.unit_, f"this {self._noun} was")

    def __getstate__(self) -> dict:
        state = without_subjects(super().__getstate__())  # type: ignore[arg-type]
        if "checkpoint_sha256_" not in state:
            # worker processes that receive an unfitted estimator take the settings
            state["_settings"] = export_settings()
        elif "checkpoint" in state:
            state["checkpoint"] = self._pinned_checkpoint()
        return state

    def __setstate__(self, state: dict) -> None:
        state = dict(state)
        if "_settings" in state:
            import_settings(state.pop("_settings"))
        super().__setstate__(state)  # type: ignore[misc]


class RecordingInputMixin(CallbackSupportMixin):
    """Tags, documentation link and callbacks; stands left of ``BaseEstimator``."""

    _doc_link_module = "sleep2vec_sklearn"
    # the paper, until docs/ has a public address
    _doc_link_template = "https://arxiv.org/abs/2602.13857"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        return tags


class RecordingTransformerMixin(RecordingInputMixin, TransformerMixin):
    """The same for transformers, whose rows are labelled with the elements of X."""

    @with_callbacks
    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit, then transform; one task in the progress bar of scikit-learn's callbacks."""
        if not hasattr(self, "_init_callback_context"):
            return super().fit_transform(X, y, **fit_params)
        task = self._init_callback_context()
        task.call_on_fit_task_begin(estimator=self, X=X, y=y)
        rows = super().fit_transform(X, y, **fit_params)
        task.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns, an object array of shape (n_features_out_,)."""
        check_is_fitted(self)
        return np.array(self._column_names(), dtype=object)

    def _label_rows(self, rows: np.ndarray, inputs: EncoderInput | RowKeys) -> Any:
        """Add the index of ``inputs`` where ``set_output`` asks for pandas, which alone has one."""
        if _get_output_config("transform", self)["dense"] != "pandas":
            return rows
        import pandas as pd

        return pd.DataFrame(rows, index=inputs.index, columns=self.get_feature_names_out())


def components(estimator: Any) -> Iterator:
    """An estimator and its parts."""
    yield estimator
    inner = getattr(estimator, "best_estimator_", None) or getattr(estimator, "estimator", None)
    if inner is not None and not isinstance(inner, str):
        yield from components(inner)
    for kind in ("steps", "transformer_list"):
        for step in getattr(estimator, kind, ()):
            yield from components(step[1])


def signals_read(estimator: Any) -> tuple[str, ...]:
    """Modalities that the fitted parts of an estimator read; none if no part says so."""
    parts = [part for part in components(estimator) if hasattr(part, "modalities_")]
    names = [p._signals_read() if hasattr(p, "_signals_read") else p.modalities_ for p in parts]
    # a group of features, such as the time, need not be a modality
    return tuple(name for name in MODALITIES if name in {*chain.from_iterable(names)})


def without_subjects(state: dict) -> dict:
    """The state of an estimator without what the leakage guard knows of its fit."""
    return {name: value for name, value in state.items() if name != "_rows_at_fit"}


def check_unit(inputs: EncoderInput, unit: str, subject: str) -> None:
    """Refuse nights where epochs were fitted on, and the other way round."""
    if inputs.unit != unit:
        raise InvalidRecordingError(
            f"X holds {inputs.unit}s, but {subject} fitted on {unit}s. "
            "Pass the same kind, or fit a clone for the other."
        )


def choose_groups(
    modalities: str | Sequence[str] | None, encoder: Encoder, recordings: Iterable[Recording]
) -> tuple[str, ...]:
    """The groups of tokens to encode: those asked for, else all that the encoder has."""
    supported = tuple(encoder.groups)
    if modalities is not None:
        is_one = isinstance(modalities, str) or not isinstance(modalities, Iterable)
        names: list[Any] = [modalities] if is_one else list(modalities)
        # a name that is in no catalogue is an error of its own
        chosen = tuple(n if n in supported else get_modality(n).name for n in dict.fromkeys(names))
        sensors = set(chosen).difference(encoder.background)
        if not sensors or not sensors <= set(supported):
            accepted = [group for group in supported if group not in encoder.background]
            raise CheckpointError(
                f"modalities={modalities!r}: this checkpoint supports "
                f"{', '.join(accepted)}. Choose at least one of these."
            )
        # what is no sensor, such as the time, comes along
        return (*chosen, *(group for group in encoder.background if group not in chosen))
    # to warn of: what a reader derived unasked is no loss of the user's
    recorded = {name for r in recordings for name in r.modalities if name not in r.derived}
    read = {name for group in encoder.groups.values() for name in group}
    ignored = [name for name in MODALITIES if name in recorded and name not in read]
    if ignored:
        warn(
            f"{', '.join(ignored)}: not supported by this checkpoint and ignored; it supports "
            f"{', '.join(supported)}.",
            ModalityWarning,
        )
    return supported
