# SPDX-License-Identifier: BSD-3-Clause
"""Encoded nights gathered into the rows of X."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RecordingWarning
from .context import with_context
from .fusion import fuse, fuse_summaries, pool
from .inputs import EncoderInput

if TYPE_CHECKING:
    from .engine import EncodedNight

__all__ = ["RowCollector", "RowSummary"]

_LINES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class RowSummary:
    """How the tokens of a night become its rows.

    Attributes
    ----------
    modalities : tuple of str
        In the order of their blocks.
    fusion, pooling : str
        See :class:`Sleep2VecTransformer`.
    n_around : int
        Epochs on either side whose mean stands beside an epoch's row; 0 for none.
    """

    modalities: tuple[str, ...]
    fusion: str
    pooling: str
    n_around: int = 0

    def __call__(self, night: EncodedNight, epochs: np.ndarray | None) -> np.ndarray:
        """Rows of these epochs, or the one row of the night if there are none."""
        if epochs is None and self.pooling == "cls":
            return fuse_summaries(night.modalities, self.modalities, self.fusion)
        tokens, valid = fuse(night.modalities, self.modalities, self.fusion)
        if epochs is None:
            return pool(tokens, valid, self.pooling)
        return with_context(tokens, epochs, self.n_around)


class RowCollector:
    """Fill the output array night by night, and remember what went wrong.

    Parameters
    ----------
    given : EncoderInput
        X.
    n_columns : int
        Width of the output.
    summary : RowSummary
        How tokens become rows.
    """

    def __init__(self, given: EncoderInput, n_columns: int, summary: RowSummary):
        self._given = given
        self._summary = summary
        self._sums = np.zeros((given.n_rows, n_columns), dtype=np.float32)
        self._counts = np.zeros((given.n_rows, 1), dtype=np.float32)
        self._failures: list[str] = list(given.unusable)
        self._left_out: list[str] = []

    def add(self, night: EncodedNight) -> None:
        """Take one night's result in."""
        if night.error is not None:
            self._failures.append(str(night.error))
            return
        derived = self._given.recordings[night.position].derived
        # beats that are not found in a lead are no sensor that is off
        off = [name for name in night.left_out if name not in derived]
        if off:
            self._left_out.append(f"{self._given.places[night.position]}: {', '.join(off)}")
        rows = self._given.rows[night.position]
        if night.rows is None:
            epochs = self._given.epochs
            wanted = None if epochs is None else epochs[night.position]
            self._sums[rows] += self._summary(night, wanted)
        else:
            self._sums[rows] += night.rows
        self._counts[rows] += 1

    def result(self, stacklevel: int) -> np.ndarray:
        """The rows, NaN where nothing could be encoded; warns of what was left out."""
        _warn(
            "could not be encoded; their rows are NaN unless another night fills them",
            self._failures,
            stacklevel + 1,
        )
        _warn(
            "had a sensor that is flat or without samples, which counts as missing",
            self._left_out,
            stacklevel + 1,
        )
        with np.errstate(invalid="ignore"):
            return self._sums / self._counts


def _warn(what: str, lines: list[str], stacklevel: int) -> None:
    if not lines:
        return
    shown = "\n  ".join(lines[:_LINES_SHOWN])
    more = f"\n  and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
    warnings.warn(
        f"{len(lines)} of the recordings {what}:\n  {shown}{more}",
        RecordingWarning,
        stacklevel=stacklevel + 1,
    )
