# SPDX-License-Identifier: BSD-3-Clause
"""Staging in five, four or three classes."""

from __future__ import annotations

import numpy as np

from ..signals import SleepStage, as_stages

__all__ = ["STAGE_CLASSES", "merge_stages"]

# each class is written as one of its stages, so that merged nights are nights still
STAGE_CLASSES: dict[int, dict[str, SleepStage]] = {
    5: {"W": SleepStage.W, "N1": SleepStage.N1, "N2": SleepStage.N2, "N3": SleepStage.N3,
        "R": SleepStage.R},
    4: {"W": SleepStage.W, "light": SleepStage.N2, "N3": SleepStage.N3, "R": SleepStage.R},
    3: {"W": SleepStage.W, "NREM": SleepStage.N2, "R": SleepStage.R},
}  # fmt: skip
_MERGED = {
    5: {},
    4: {SleepStage.N1: SleepStage.N2},
    3: {SleepStage.N1: SleepStage.N2, SleepStage.N3: SleepStage.N2},
}


def merge_stages(stages, n_classes: int = 5) -> np.ndarray:
    """Stages in fewer classes, N2 standing for light sleep (4) or for NREM sleep (3).

    Parameters
    ----------
    stages : array-like of shape (n_epochs,)
        See :class:`~sleep2vec_sklearn.SleepStage`.
    n_classes : {5, 4, 3}, default=5
        W, N1, N2, N3, R; W, N1 + N2, N3, R; or W, NREM, R.

    Returns
    -------
    int8 ndarray of shape (n_epochs,)
        Stages still, so everything that takes stages takes them.

    Raises
    ------
    InvalidRecordingError
        If a label is no stage.
    ValueError
        For any other number of classes.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import merge_stages
    >>> merge_stages(["W", "N1", "N2", "N3", "R", None], 3)
    array([ 0,  2,  2,  2,  4, -1], dtype=int8)
    """
    if n_classes not in _MERGED:
        raise ValueError(f"n_classes must be 5, 4 or 3, got {n_classes!r}.")
    merged = np.array(as_stages(stages))
    for stage, into in _MERGED[n_classes].items():
        merged[merged == stage] = into
    return merged
