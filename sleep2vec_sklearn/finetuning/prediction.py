# SPDX-License-Identifier: BSD-3-Clause
"""Outputs of a fitted estimator, a night at a time: none depends on the nights around it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..encoding.inputs import EncoderInput
from ..errors import ModalityWarning
from ..training.content import contents_of
from .data import Batch, Night, collate, rows_of_nights
from .sources import inputs_of

if TYPE_CHECKING:
    from .estimator import FineTuningEstimator

__all__ = ["predict_outputs"]


def predict_outputs(
    estimator: FineTuningEstimator, given: EncoderInput, stacklevel: int
) -> np.ndarray:
    """Outputs of each row of X, float32 of shape (n_rows, n_outputs)."""
    _tell_unknown(estimator, given, stacklevel + 1)
    net, modalities = estimator.net_, estimator.modalities_
    checkpoint = estimator._load_fitted_checkpoint()
    widths, contents = None, None
    if estimator.finetune != "head":
        contents = contents_of(checkpoint, "features", list(modalities))
        widths = {name: content.width for name, content in contents.items()}
    covariates = None
    if estimator.covariates_ is not None:
        covariates = torch.from_numpy(estimator.covariates_.of(given.recordings))
    sums = np.zeros((given.n_rows, estimator.head_config_.n_outputs), dtype=np.float32)
    counts = np.zeros((given.n_rows, 1), dtype=np.float32)
    nights = _nights(estimator, checkpoint, given, contents)
    for i, (night, (rows, epochs)) in enumerate(zip(nights, rows_of_nights(given), strict=True)):
        places = np.zeros(1, dtype=np.int64) if epochs is None else epochs.astype(np.int64)
        batch = Batch(
            **collate([night], modalities, widths),
            covariates=None if covariates is None else covariates[i : i + 1],
            places=torch.from_numpy(places),
            n_rows=len(rows),
        )
        sums[rows] += net.outputs(batch).cpu().numpy()
        counts[rows] += 1
    return sums / counts


def _nights(estimator, checkpoint, given: EncoderInput, contents) -> Iterator[Night]:
    if contents is None:
        source = estimator._token_source(checkpoint, estimator.modalities_)
        yield from source.nights(given.recordings, given.places)
        return
    for recording, place in zip(given.recordings, given.places, strict=True):
        yield inputs_of(recording, contents, place)


def _tell_unknown(estimator, given: EncoderInput, stacklevel: int) -> None:
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
        warnings.warn(
            f"{', '.join(unknown)}: no night had it in training, so it is ignored; this estimator "
            f"reads {', '.join(estimator.modalities_)}. Fit again with such nights to use it.",
            ModalityWarning,
            stacklevel=stacklevel + 1,
        )
