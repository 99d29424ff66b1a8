# SPDX-License-Identifier: BSD-3-Clause
"""Age, sex and the like as numbers beside the features of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..encoding.metadata import RecordingMetadata
from ..errors import InvalidRecordingError
from ..signals.recording import Recording

__all__ = ["Covariates"]


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Covariates as they were in training.

    A column of each is standardised by training's mean and standard deviation, so that a missing
    value is 0, the mean; a second column is 1 where it is missing, else 0.

    Attributes
    ----------
    table : RecordingMetadata
        Fitted; its columns are the covariates.
    mean, std : float32 ndarray of shape (n_columns,)
    """

    table: RecordingMetadata
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, fields: Sequence[str], recordings: Sequence[Recording]) -> Covariates:
        """Learn means and standard deviations.

        Raises
        ------
        InvalidRecordingError
            If no recording states one of them.
        """
        table = RecordingMetadata(fields=tuple(fields)).set_output(transform="default")
        table.fit(list(recordings))
        rows = table.transform(list(recordings))
        unknown = np.isnan(rows).all(axis=0)
        if unknown.any():
            names = ", ".join(table.get_feature_names_out()[unknown])
            raise InvalidRecordingError(
                f"covariates has {names}, which no recording to train on states. Leave it out, or "
                "give it with Recording(..., metadata={...})."
            )
        std = np.nanstd(rows, axis=0)
        return cls(table, np.nanmean(rows, axis=0), np.where(std > 0, std, 1).astype(np.float32))

    @property
    def n_columns(self) -> int:
        """Numbers per recording."""
        return 2 * len(self.mean)

    def of(self, recordings: Sequence[Recording]) -> np.ndarray:
        """The columns of recordings, float32 of shape (n, n_columns); none is NaN."""
        rows = self.table.transform(list(recordings))
        missing = np.isnan(rows)
        values = np.where(missing, 0, (rows - self.mean) / self.std)
        return np.concatenate([values, missing], axis=1).astype(np.float32)
