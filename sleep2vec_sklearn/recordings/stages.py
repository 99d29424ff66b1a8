# SPDX-License-Identifier: BSD-3-Clause
"""Sleep stages of 30-s epochs, in the order of the AASM manual."""

from __future__ import annotations

import numbers
from enum import IntEnum

import numpy as np

from ..errors import InvalidRecordingError

__all__ = [
    "SleepStage",
    "as_stages",
]


class SleepStage(IntEnum):
    """A scored 30-s epoch; ``unscored`` also stands for movement and artefact.

    Examples
    --------
    >>> from sleep2vec_sklearn import SleepStage
    >>> SleepStage.R, int(SleepStage.R), SleepStage(2).name
    (<SleepStage.R: 4>, 4, 'N2')
    """

    unscored = -1
    W = 0
    N1 = 1
    N2 = 2
    N3 = 3
    R = 4


_SPELLINGS = {
    **{stage.name.lower(): stage for stage in SleepStage},
    "wake": SleepStage.W,
    "0": SleepStage.W,
    "s1": SleepStage.N1,
    "1": SleepStage.N1,
    "s2": SleepStage.N2,
    "2": SleepStage.N2,
    "s3": SleepStage.N3,
    "3": SleepStage.N3,
    "s4": SleepStage.N3,
    "n4": SleepStage.N3,
    "rem": SleepStage.R,
    "4": SleepStage.R,
    "mt": SleepStage.unscored,
    "m": SleepStage.unscored,
    "movement": SleepStage.unscored,
    "?": SleepStage.unscored,
    "": SleepStage.unscored,
    "none": SleepStage.unscored,
    "nan": SleepStage.unscored,
    "<na>": SleepStage.unscored,
    "-1": SleepStage.unscored,
}


def as_stages(values) -> np.ndarray:
    """Convert stage labels to a read-only int8 array of :class:`SleepStage` values.

    Parameters
    ----------
    values : array-like of shape (n_epochs,)
        Integers 0 to 4 and -1, names ("W", "N1", "REM", ...), or None, NaN or
        pandas.NA for unscored.

    Raises
    ------
    InvalidRecordingError
        If a label is none of these; True and False are none.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import as_stages
    >>> as_stages(["W", "S2", "REM", "?", None])
    array([ 0,  2,  4, -1, -1], dtype=int8)
    """
    labels = np.asarray(values)
    if labels.ndim != 1:
        raise InvalidRecordingError(
            f"stages must be one label per epoch, got shape {labels.shape}."
        )
    if labels.dtype.kind in "iuf":
        labels = np.where(np.isnan(labels), -1, labels) if labels.dtype.kind == "f" else labels
        with np.errstate(invalid="ignore"):
            stages = labels.astype(np.int8)
        unknown = (stages != labels) | (stages < -1) | (stages > 4)
    else:
        found = [_stage_of(label) for label in labels.tolist()]
        unknown = np.array([stage is None for stage in found], dtype=bool)
        stages = np.array([-1 if stage is None else stage for stage in found], dtype=np.int8)
    if unknown.any():
        odd = sorted({str(label) for label in labels[unknown].tolist()})[:5]
        raise InvalidRecordingError(
            f"unknown sleep stage {', '.join(map(repr, odd))}; accepted are W=0, N1=1, N2=2, N3=3, "
            "R=4, unscored=-1, or their names. Rechtschaffen & Kales stage 4 is N3."
        )
    stages.flags.writeable = False
    return stages


def _stage_of(label) -> SleepStage | None:
    if isinstance(label, bool):
        # asleep or not, or a mask: True is no N1
        return None
    if isinstance(label, numbers.Real) and float(label).is_integer():
        label = int(label)
    return _SPELLINGS.get(str(label).strip().lower())
