# SPDX-License-Identifier: BSD-3-Clause
"""Age, sex and the like, and the time of night, as numbers beside the features of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..encoding.metadata import RecordingMetadata
from ..encoding.time_of_night import time_columns
from ..errors import InvalidRecordingError
from ..signals.recording import Recording

__all__ = ["Covariates"]


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Covariates as they were in training.

    A column of each is standardised by training's mean and standard deviation, so that a missing
    value is 0, the mean; for what a recording states, a second column is 1 where it is missing.

    Attributes
    ----------
    table : RecordingMetadata or None
        Fitted; its columns are what recordings state.
    time_of_night : bool
        Whether the columns of :class:`TimeOfNight` follow, which every epoch has of its own.
    mean, std : float32 ndarray of shape (n_values,)
    """

    table: RecordingMetadata | None
    time_of_night: bool
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(
        cls, fields: Sequence[str] | None, time_of_night: bool, recordings: Sequence[Recording]
    ) -> Covariates:
        """Learn means and standard deviations.

        Raises
        ------
        InvalidRecordingError
            If no recording states one of the fields.
        """
        table, blocks = None, []
        if fields is not None:
            table = RecordingMetadata(fields=tuple(fields)).set_output(transform="default")
            blocks.append(table.fit(list(recordings)).transform(list(recordings)))
            unknown = np.isnan(blocks[0]).all(axis=0)
            if unknown.any():
                names = ", ".join(table.get_feature_names_out()[unknown])
                raise InvalidRecordingError(
                    f"covariates has {names}, which no recording to train on states. Leave it out, "
                    "or give it with Recording(..., metadata={...})."
                )
        if time_of_night:
            blocks.append(np.concatenate([_times(recording) for recording in recordings]))
        mean = np.concatenate([np.nanmean(block, axis=0) for block in blocks])
        std = np.concatenate([np.nanstd(block, axis=0) for block in blocks])
        std = np.where(std > 0, std, 1)
        return cls(table, time_of_night, mean.astype(np.float32), std.astype(np.float32))

    @property
    def n_columns(self) -> int:
        """Numbers beside each feature vector."""
        return len(self.mean) + self._n_stated

    @property
    def _n_stated(self) -> int:
        return 0 if self.table is None else self.table.n_features_out_

    def of(self, recordings: Sequence[Recording]) -> list[np.ndarray]:
        """The columns of each recording, none of them NaN.

        Returns
        -------
        list of float32 ndarray of shape (n_columns,), or (n_epochs, n_columns) with the time
        """
        stated = [np.empty(0, dtype=np.float32)] * len(recordings)
        if self.table is not None:
            rows = self.table.transform(list(recordings))
            missing = np.isnan(rows)
            values = np.where(missing, 0, self._standardised(rows, slice(self._n_stated)))
            stated = list(np.concatenate([values, missing], axis=1).astype(np.float32))
        if not self.time_of_night:
            return stated
        return [self._beside_the_time(*pair) for pair in zip(stated, recordings, strict=True)]

    def _beside_the_time(self, stated: np.ndarray, recording: Recording) -> np.ndarray:
        times = self._standardised(_times(recording), slice(self._n_stated, None))
        everywhere = np.broadcast_to(stated, (len(times), len(stated)))
        return np.concatenate([everywhere, times], axis=1).astype(np.float32)

    def _standardised(self, values: np.ndarray, columns: slice) -> np.ndarray:
        return (values - self.mean[columns]) / self.std[columns]


def _times(recording: Recording) -> np.ndarray:
    return time_columns(recording, np.arange(recording.n_epochs))
