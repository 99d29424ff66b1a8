# SPDX-License-Identifier: BSD-3-Clause
"""What all fine-tuning estimators share; each adds what its targets and predictions are.

A subclass gives its parameters to ``super().__init__`` and overrides

- ``_encode_targets(given, y)``: :class:`~.targets.Targets`, one entry per row of X; may set fitted
  attributes;
- ``_n_outputs()``: how many numbers the head gives for a row, asked after the targets are encoded;
- ``_loss(outputs, targets, weights)``: a scalar tensor of outputs [R, O], the targets of these rows
  and their weights [R], on any device;
- ``_predict(outputs)``: what ``predict`` returns of all outputs, an array [n_rows, O];

and, if need be, ``_read(X)``, which brings X to one form, ``_run_class()`` and ``_net_class()``,
which train, and ``_finish_fit(given, targets)``, called when the network is trained, where
``self._forward(given)`` gives its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_is_fitted

from .._torch import resolve_device, resolve_precision
from .._warnings import warn
from ..encoding._base import CheckpointMixin, RecordingInputMixin
from ..encoding._leakage import RowsBySubject, guard
from ..encoding.inputs import EncoderInput, read_input
from ..errors import InvalidRecordingError, ModalityWarning
from ..nightstore.content import contents_of
from ._data import Batch, Night, collate, rows_of_nights, stack_covariates
from ._labels import Targets, check_sample_weight
from ._parameters import check_parameters
from ._sources import inputs_of

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint

__all__ = [
    "FineTuningEstimator",
    "predict_outputs",
]

_LARGEST_SEED = 2**31 - 1


class FineTuningEstimator(CheckpointMixin, RecordingInputMixin, BaseEstimator):
    """Base of the estimators that fine-tune an encoder; see :class:`Sleep2VecClassifier`."""

    def __init__(
        self,
        checkpoint="sleep2vec-mini",
        *,
        modalities=None,
        finetune="head",
        head="auto",
        head_size=None,
        aggregation="concat",
        pooling="mean",
        layer_mix=False,
        dropout=0.1,
        lora_rank=8,
        lora_alpha=16.0,
        modality_dropout=0.1,
        covariates=None,
        time_of_night=False,
        max_epochs=40,
        batch_size=None,
        lr=1e-3,
        encoder_lr=1e-4,
        weight_decay=1e-2,
        validation_fraction=0.1,
        patience=10,
        precision="float32",
        device="auto",
        cache="memory",
        random_state=None,
        verbose=0,
    ):
        self.checkpoint = checkpoint
        self.modalities = modalities
        self.finetune = finetune
        self.head = head
        self.head_size = head_size
        self.aggregation = aggregation
        self.pooling = pooling
        self.layer_mix = layer_mix
        self.dropout = dropout
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.modality_dropout = modality_dropout
        self.covariates = covariates
        self.time_of_night = time_of_night
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.encoder_lr = encoder_lr
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.precision = precision
        self.device = device
        self.cache = cache
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None):
        """Train on the rows of X that have a label.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            Nights, subjects, or epochs. The whole of a night is read in any case; only the epochs
            asked for are learned from.
        y : array of shape (len(X),) or (len(X), n_outputs)
            What to learn. Rows, and cells of a row, without a label are left out.
        sample_weight : array of shape (len(X),), optional
            How much each row counts; one with 0 is left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not one of those accepted, y does not fit X, or has nothing to learn.
        InvalidRecordingError, ReadError
            If X is not such a list, or a recording cannot be encoded.
        CheckpointError
            If the checkpoint cannot be loaded or lacks what the parameters ask for.
        TrainingError
            If a loss is not finite.
        """
        return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        """What ``fit`` does; a subclass with another ``fit`` calls it from there."""
        check_parameters(self)
        given = self._read(X)
        weights = check_sample_weight(sample_weight, given.n_rows)
        checkpoint = self._load_checkpoint()
        counted = weights > 0
        # a y of another length is left to those who read it
        if not counted.all() and hasattr(y, "__len__") and len(y) == given.n_rows:
            given, weights = given.take(counted), weights[counted]
            y = _safe_indexing(y, np.flatnonzero(counted))
        self.unit_ = given.unit
        self.device_ = resolve_device(self.device)
        self.precision_ = resolve_precision(self.precision, self.device_)
        self.checkpoint_sha256_ = checkpoint.sha256
        targets = self._encode_targets(given, y).weighted(weights)
        if not targets.labelled.any():
            raise ValueError(
                f"y has no label for any of the {given.n_rows} {given.unit}s that have a weight "
                "above 0. Give at least some."
            )
        self._train(given, targets, checkpoint)
        self._rows_at_fit = RowsBySubject.of_input(given)
        self._finish_fit(given, targets)
        return self

    def _train(self, given: EncoderInput, targets: Targets, checkpoint):
        seed = int(check_random_state(self.random_state).randint(_LARGEST_SEED))
        run = self._run_class()(self, given, targets, checkpoint, seed)
        fitted = run.train()
        self.net_ = fitted.net
        self.history_ = fitted.net.history
        self.modalities_ = fitted.modalities
        self.covariates_ = fitted.covariates
        self.head_config_ = fitted.head_config
        return fitted

    def _run_class(self):
        # what needs torch is imported where it is used: pipelines are built without it
        from ._run import Run

        return Run

    def _net_class(self):
        from ._net import FineTuningNet

        return FineTuningNet

    def predict(self, X) -> np.ndarray:
        """Predict for each element of X.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            Of the same kind as at fit. A night may lack modalities, and have others, which are
            ignored with a warning.

        Returns
        -------
        ndarray of shape (len(X),) or (len(X), n_outputs)

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidRecordingError, ReadError
            If a recording cannot be encoded.
        """
        return self._predict(self._outputs(X))

    def save(self, path) -> None:
        """Write the fitted estimator, its encoder included, to one safetensors file.

        Parameters
        ----------
        path : path-like
            The file is replaced in one step. Nothing of it is a pickle. Parameters are kept but
            for ``device``, ``cache``, ``random_state`` and ``verbose``.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        CheckpointError
            If there is no such folder, or a parameter is no text, number, list or dict.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from sleep2vec_sklearn import Sleep2VecClassifier, make_sleep_cohort
        >>> nights = make_sleep_cohort(2, hours=0.25, modalities=["ibi"], random_state=0)
        >>> model = Sleep2VecClassifier(max_epochs=1, random_state=0).fit(nights, ["a", "b"])
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> model.save(path)
        >>> (Sleep2VecClassifier.load(path).predict(nights) == model.predict(nights)).all()
        np.True_
        """
        from ._saving import save_estimator

        save_estimator(self, path)

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        FineTuningEstimator
            Of this class, fitted; it predicts what the saved one did.

        Raises
        ------
        CheckpointError
            If the file is damaged, foreign, of another class, or made by a newer version.
        """
        from ._saving import load_estimator

        return load_estimator(cls, path)

    def _read(self, X) -> EncoderInput:
        """X in one form.

        Raises
        ------
        InvalidRecordingError
            If it is no list of recordings or epochs.
        """
        if getattr(X, "ndim", 1) == 2 and getattr(X, "shape", (0, 0))[1] != 1:
            kind = f"{type(X).__module__}.{type(X).__name__}"
            raise InvalidRecordingError(
                f"X is a {kind} of shape {X.shape}; accepted are recordings, as this estimator "
                "has an encoder of its own. Leave Sleep2VecTransformer out of the pipeline before "
                "it, or put LogisticRegression() or the like after the transformer."
            )
        return read_input(X)

    def _encode_targets(self, given: EncoderInput, y) -> Targets:
        """Targets of the rows of X."""
        raise NotImplementedError

    def _n_outputs(self) -> int:
        """Numbers that the head gives for a row."""
        raise NotImplementedError

    def _loss(self, outputs, targets, weights):
        """What training minimises, a scalar tensor."""
        raise NotImplementedError

    def _predict(self, outputs: np.ndarray) -> np.ndarray:
        """What :meth:`predict` returns."""
        raise NotImplementedError

    def _finish_fit(self, given: EncoderInput, targets: Targets) -> None:
        """Learn what the trained network's outputs are needed for."""

    def _outputs(self, X) -> np.ndarray:
        """Outputs of X, float32 of shape (len(X), n_outputs), after the checks of a prediction."""
        check_is_fitted(self, "net_")
        given = self._read(X)
        self._check_unit(given)
        rows_at_fit = getattr(self, "_rows_at_fit", None)
        guard(rows_at_fit, lambda: RowsBySubject.of_input(given))
        return self._forward(given)

    def _forward(self, given: EncoderInput) -> np.ndarray:
        """Outputs of X, night by night; memory does not grow with their number."""

        return predict_outputs(self, given)

    def _token_source(self, checkpoint: Checkpoint, modalities):
        from ._run import layers_of
        from ._sources import TokenSource

        by_summary = self.unit_ == "night" and self.pooling == "cls"
        # a pickle may come from a machine with another device
        device = resolve_device(self.device if self.device == "auto" else self.device_)
        return TokenSource(
            checkpoint,
            tuple(modalities),
            layers_of(self, checkpoint.config),
            self.precision_,
            device,
            self.cache,
            by_summary,
            int(self.verbose),
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def predict_outputs(estimator: FineTuningEstimator, given: EncoderInput) -> np.ndarray:
    """Outputs of each row of X, float32 of shape (n_rows, n_outputs)."""
    _tell_unknown(estimator, given)
    net, modalities = estimator.net_, estimator.modalities_
    checkpoint = estimator._load_fitted_checkpoint()
    widths, contents = None, None
    if estimator.finetune != "head":
        contents = contents_of(checkpoint, "features", list(modalities))
        widths = {name: content.width for name, content in contents.items()}
    covariates = None
    if estimator.covariates_ is not None:
        covariates = estimator.covariates_.of(given.recordings)
    sums = np.zeros((given.n_rows, estimator.head_config_.n_outputs), dtype=np.float32)
    counts = np.zeros((given.n_rows, 1), dtype=np.float32)
    nights = _nights(estimator, checkpoint, given, contents)
    for i, (night, (rows, epochs)) in enumerate(zip(nights, rows_of_nights(given), strict=True)):
        places = np.zeros(1, dtype=np.int64) if epochs is None else epochs.astype(np.int64)
        batch = Batch(
            **collate([night], modalities, widths),
            covariates=None if covariates is None else stack_covariates(covariates[i : i + 1]),
            places=torch.from_numpy(places),
            n_rows=len(rows),
        )
        sums[rows] += net.outputs(batch).cpu().numpy()
        counts[rows] += 1
    return sums / counts


def _nights(estimator, checkpoint, given: EncoderInput, contents) -> Iterator[Night]:
    if contents is None:
        source = estimator._token_source(checkpoint, estimator.modalities_)
        yield from source.nights(given.recordings, given.locations)
        return
    for recording, place in zip(given.recordings, given.locations, strict=True):
        yield inputs_of(recording, contents, place)


def _tell_unknown(estimator, given: EncoderInput) -> None:
    """Warn of modalities that no night had in training; with ``modalities`` that is known."""
    if estimator.modalities is not None:
        return
    checkpoint = estimator._load_fitted_checkpoint()
    unknown = [
        name
        for name in checkpoint.config.names
        if name not in estimator.modalities_
        and any(name in r.modalities and name not in r.derived for r in given.recordings)
    ]
    if unknown:
        warn(
            f"{', '.join(unknown)}: no night had it in training, so it is ignored; this estimator "
            f"reads {', '.join(estimator.modalities_)}. Fit again with such nights to use it.",
            ModalityWarning,
        )
