# SPDX-License-Identifier: BSD-3-Clause
"""What a fitted pretrainer gives: its history, its retrieval, its encoder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint

__all__ = ["PretrainedMixin"]


class PretrainedMixin:
    """For estimators with ``net_`` and ``encoder_config_``; stands left of ``BaseEstimator``."""

    @property
    def history_(self):
        """What skorch recorded, epoch by epoch."""
        check_is_fitted(self, "net_")
        return self.net_.history

    def score(self, X, y=None) -> float:
        """Mean share, over pairs of modalities, of epochs that find themselves; higher is better.

        Parameters
        ----------
        X : list of Recording or dict, NightStore, or path of a store's folder
            Nights that did not train.
        y : ignored
        """
        return float(np.mean([result.recall for result in self.retrieval(X).values()]))

    def retrieval(self, X) -> dict:
        """Cross-modal retrieval on nights that did not train.

        Parameters
        ----------
        X : list of Recording or dict, NightStore, or path of a store's folder

        Returns
        -------
        dict of (str, str) to Retrieval
            Of each pair of modalities: recall, median rank, and what chance gives.

        Raises
        ------
        InvalidRecordingError
            If no night has two modalities of the encoder.
        """
        from .material import open_for
        from .retrieval import measure_retrieval

        check_is_fitted(self, "net_")
        store = open_for(self.encoder_config_, X)
        return measure_retrieval(self.net_.averaged(), store, self.batch_size)

    def checkpoint(self) -> Checkpoint:
        """The averaged encoder, as :class:`Sleep2VecTransformer` and ``init`` take it."""
        from ..model.checkpoint import load_checkpoint

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pretrained.safetensors"
            self.save(path)
            return load_checkpoint(path)

    def save(self, path: str | os.PathLike, card=None, dtype: str = "float32") -> str:
        """Write the averaged encoder to a file, with a card of what it learned from.

        Parameters
        ----------
        path : path-like
        card : mapping, optional
            JSON values that are added to the card.
        dtype : {"float32", "float16"}
            Of the matrices in the file; half precision halves it.

        Returns
        -------
        str
            The checkpoint's sha256.
        """
        from ..model.checkpoint import save_checkpoint
        from .card import make_card

        check_is_fitted(self, "net_")
        described = {**make_card(self), **(card or {})}
        network, config = self.net_.averaged(), self.encoder_config_
        return save_checkpoint(path, network, config, card=described, dtype=dtype)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        return tags
