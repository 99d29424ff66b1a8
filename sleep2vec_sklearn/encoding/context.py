# SPDX-License-Identifier: BSD-3-Clause
"""The mean of the rows around an epoch, beside its own."""

from __future__ import annotations

import numbers

import numpy as np

from ..signals.modality import EPOCH_SECONDS

__all__ = ["n_around", "with_context"]


def n_around(minutes: float) -> int:
    """Epochs on either side within a window of so many minutes; 0 for none.

    Raises
    ------
    ValueError
        If it is no number of minutes.
    """
    is_number = isinstance(minutes, numbers.Real) and not isinstance(minutes, bool)
    if not is_number or not 0 <= minutes < np.inf:
        raise ValueError(f"context_minutes must be a number of minutes from 0 on, got {minutes!r}.")
    return int(minutes * 60 / EPOCH_SECONDS / 2)


def with_context(rows: np.ndarray, epochs: np.ndarray, n_around: int) -> np.ndarray:
    """Rows of these epochs, each followed by the mean over those at most ``n_around`` away.

    Parameters
    ----------
    rows : float32 ndarray of shape (n_epochs, width)
        Of the whole night; at its ends the window is shorter.
    epochs : int ndarray of shape (n,)
    n_around : int

    Returns
    -------
    float32 ndarray of shape (n, width), or (n, 2 * width) unless ``n_around`` is 0
    """
    if n_around == 0:
        return rows[epochs]
    sums = np.zeros((len(rows) + 1, rows.shape[1]))
    np.cumsum(rows, axis=0, dtype=np.float64, out=sums[1:])
    begin = np.maximum(epochs - n_around, 0)
    end = np.minimum(epochs + n_around + 1, len(rows))
    mean = (sums[end] - sums[begin]) / (end - begin)[:, None]
    return np.concatenate([rows[epochs], mean.astype(np.float32)], axis=1)
